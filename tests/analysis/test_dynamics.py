import math

import numpy as np
import pytest

from keras_noisy import analysis

# Five examples; the last three are corrupted. Their predictions: the wrong label,
# the true label, neither.
CLEAN = np.array([0, 1, 2, 0, 1])
NOISY = np.array([0, 1, 1, 2, 0])
CLASSES = np.array([0, 2, 1, 0, 2])
PREDICTIONS = 0.7 * np.eye(3)[CLASSES] + 0.1

SHARES = [analysis.wrong_label_fit, analysis.semantic_correction]
shares = pytest.mark.parametrize("share", SHARES)


def test_wrong_label_fit():
    assert analysis.wrong_label_fit(PREDICTIONS, NOISY, CLEAN) == pytest.approx(1 / 3)
    assert analysis.wrong_label_fit(NOISY, NOISY, CLEAN) == 1
    assert analysis.wrong_label_fit(CLEAN, NOISY, CLEAN) == 0


def test_semantic_correction():
    value = analysis.semantic_correction(PREDICTIONS, NOISY, CLEAN)
    assert value == pytest.approx(1 / 3)
    assert analysis.semantic_correction(NOISY, NOISY, CLEAN) == 0
    assert analysis.semantic_correction(CLEAN, NOISY, CLEAN) == 1


@shares
def test_forms_of_predictions_agree(share):
    expected = share(CLASSES, NOISY, CLEAN)
    assert share(PREDICTIONS, NOISY, CLEAN) == expected
    assert share(np.log(PREDICTIONS) + 3, NOISY, CLEAN) == expected
    assert share(CLASSES.tolist(), NOISY.tolist(), CLEAN.tolist()) == expected
    assert share(CLASSES, NOISY.astype("uint8"), CLEAN) == expected


@shares
def test_no_corrupted_example_is_nan(share):
    assert math.isnan(share(PREDICTIONS, CLEAN, CLEAN))
    assert math.isnan(share(PREDICTIONS[:0], CLEAN[:0], CLEAN[:0]))


@shares
@pytest.mark.parametrize(
    ("predictions", "noisy", "clean", "text"),
    [
        (PREDICTIONS[1:], NOISY, CLEAN, r"`noisy` must be class ids of shape \(4,\)"),
        (PREDICTIONS, NOISY, CLEAN[1:], r"`clean` must be class ids of shape \(5,\)"),
        (
            PREDICTIONS,
            np.eye(3)[NOISY],
            CLEAN,
            r"`noisy` must be class ids of shape .* one-hot",
        ),
        (PREDICTIONS[:, :1], NOISY, CLEAN, "`predictions` must.*whole numbers"),
        (PREDICTIONS[None], NOISY, CLEAN, r"`predictions` must be of shape"),
        (PREDICTIONS * np.nan, NOISY, CLEAN, "`predictions` must be numbers"),
        (CLASSES * np.nan, NOISY, CLEAN, "`predictions` must be numbers"),
        (PREDICTIONS + np.inf, NOISY, CLEAN, "`predictions` must be numbers"),
        (CLASSES + np.inf, NOISY, CLEAN, "`predictions` must be numbers"),
    ],
)
def test_errors_of_shares(share, predictions, noisy, clean, text):
    with pytest.raises(ValueError, match=f"^{share.__name__}: {text}"):
        share(predictions, noisy, clean)


def test_normalized_entropy():
    p = [[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0]]
    actual = analysis.normalized_entropy(p)
    np.testing.assert_allclose(actual, [1, 0, 0.5], atol=1e-15)
    assert actual.dtype == "float64"


def test_normalized_entropy_of_half_precision():
    p = np.full((1, 1000), 0.001, "float16")
    assert analysis.normalized_entropy(p)[0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("predictions", "text"),
    [
        ([0.5, 0.5], "must be of shape"),
        (np.ones((3, 1, 1)), "must be of shape"),
        ([[2.0, -1.0]], "must be distributions"),
        ([[0.9, 0.9]], "must be distributions"),
        ([[np.nan, 1.0]], "must be distributions"),
    ],
)
def test_errors_of_normalized_entropy(predictions, text):
    with pytest.raises(ValueError, match=f"^normalized_entropy: `predictions` {text}"):
        analysis.normalized_entropy(predictions)
