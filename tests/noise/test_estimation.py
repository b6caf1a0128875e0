"""Transition matrices estimated from predictions."""

import sys

import numpy as np
import pytest

from keras_noisy import noise

TRUE = noise.asymmetric(4, {1: 0, 2: 3, 3: 2}, 0.3)


def make(num_examples=4000, seed=0):
    """Labels, and `P(noisy | x)` of examples between certain and ambiguous."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, 4, num_examples)
    certainty = rng.uniform(0.5, 1, num_examples)[:, None]
    posterior = certainty * np.eye(4)[clean] + (1 - certainty) / 4
    posterior[:4] = np.eye(4)  # One anchor for each class.
    clean[:4] = np.arange(4)
    predictions = posterior @ TRUE
    noisy = np.array([rng.choice(4, p=TRUE[k]) for k in clean])
    return noisy, predictions


def test_anchors_by_hand():
    predictions = [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6], [0.4, 0.3, 0.3]]
    expected = [predictions[0], predictions[1], predictions[2]]
    np.testing.assert_allclose(noise.estimate_from_anchors(predictions), expected)


def test_perfect_anchors_give_the_matrix():
    _, predictions = make()
    np.testing.assert_allclose(
        noise.estimate_from_anchors(predictions), TRUE, atol=1e-12
    )


def test_quantile_leaves_outliers_out():
    _, predictions = make()
    predictions[4] = [1, 0, 0, 0]  # The network is too sure of one example.
    assert noise.estimate_from_anchors(predictions)[0].tolist() == [1, 0, 0, 0]
    robust = noise.estimate_from_anchors(predictions, quantile=0.97)
    np.testing.assert_allclose(robust, TRUE, atol=0.08)
    assert noise.estimate_from_anchors(predictions[:3], quantile=1e-9).shape == (4, 4)


def test_rows_sum_to_one_and_are_a_valid_matrix():
    _, predictions = make()
    matrix = noise.estimate_from_anchors(predictions.astype("float16"))
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
    assert noise.corrupt_labels(np.arange(4), matrix, seed=0).noisy.shape == (4,)


def test_cleanlab_transposed():
    pytest.importorskip("cleanlab")
    labels, predictions = make()
    matrix = noise.estimate_with_cleanlab(labels, predictions)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-9)
    np.testing.assert_allclose(matrix, TRUE, atol=0.15)


def test_without_cleanlab(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(ImportError, match=r"pip install keras-noisy\[cleanlab\]"):
        noise.estimate_with_cleanlab(*make(100))


def test_errors():
    estimate = noise.estimate_from_anchors
    with pytest.raises(
        ValueError, match=r"`predictions` must be probabilities.*softmax"
    ):
        estimate([[2.0, -1.0]])
    with pytest.raises(ValueError, match=r"`predictions` must be probabilities"):
        estimate([0.5, 0.5])
    for quantile in (0, 1.1, -0.5):
        with pytest.raises(
            ValueError, match=r"`quantile` must be a number in \(0, 1\]"
        ):
            estimate([[0.5, 0.5]], quantile=quantile)
    with pytest.raises(ValueError, match=r"`labels` must be of shape \(2,\)"):
        noise.estimate_with_cleanlab([0], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match=r"`labels` must be class ids"):
        noise.estimate_with_cleanlab([0, 2], [[0.5, 0.5], [0.5, 0.5]])


def test_confusion_by_hand():
    predictions = [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.25, 0.75, 0.0]]
    matrix = noise.estimate_from_confusion([0, 1, 1], predictions)
    # The sums of the columns are 1.75 and 1.25; nothing is predicted as the last.
    expected = [[0.5 / 1.75, 1.25 / 1.75, 0], [0.5 / 1.25, 0.75 / 1.25, 0], [0, 0, 1]]
    np.testing.assert_allclose(matrix, expected, rtol=1e-12)


def test_confusion_with_right_predictions_is_the_realised_matrix():
    clean = np.arange(4000) % 4
    labels = noise.corrupt_labels(clean, TRUE, seed=0)
    matrix = noise.estimate_from_confusion(labels.noisy, np.eye(4)[clean])
    np.testing.assert_allclose(matrix, labels.transition_matrix, rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "predictions", "text"),
    [
        ([0, 4], np.full((2, 4), 0.25), "`labels`"),
        ([0, 1, 2], np.full((2, 4), 0.25), r"`labels` must be of shape \(2,\)"),
        ([0, 1], np.ones((2, 4)), "`predictions`"),
        ([], np.zeros((0, 4)), "`predictions`"),
    ],
)
def test_confusion_refuses(labels, predictions, text):
    with pytest.raises((ValueError, TypeError), match=text):
        noise.estimate_from_confusion(np.array(labels, int), predictions)


def test_keep_structure_by_hand():
    matrix = [[0.5, 0.3, 0.2], [0.9, 0.0, 0.1], [0.25, 0.25, 0.5]]
    structure = [[True, True, False], [False, True, False], [True, True, True]]
    kept = noise.keep_structure(matrix, structure)
    # Nothing is left of the second row but its own label.
    expected = [[0.625, 0.375, 0], [0, 1, 0], [0.25, 0.25, 0.5]]
    np.testing.assert_allclose(kept, expected, rtol=1e-12)
    nothing = noise.keep_structure([[0, 0, 1], [0, 1, 0], [0, 0, 1]], structure)
    np.testing.assert_array_equal(nothing, [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])


def test_keep_structure_refuses():
    """What it says of structures is tested with `training.Masking`."""
    with pytest.raises(ValueError, match=r"^keep_structure: `transition_matrix` must"):
        noise.keep_structure([[0.5, 0.6], [0.5, 0.5]], np.eye(2))
    with pytest.raises(ValueError, match=r"^keep_structure: `structure` must"):
        noise.keep_structure(np.eye(2), np.eye(3))
