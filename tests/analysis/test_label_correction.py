"""Distance of soft labels to the truth, and candidates for correction."""

import numpy as np
import pytest

from keras_noisy._checks import distributions
from keras_noisy.analysis import correction_candidates, label_distance

N, CLASSES = 50, 4
rng = np.random.default_rng(0)
S = rng.dirichlet(np.ones(CLASSES), N)
NOISY, CLEAN = rng.integers(0, CLASSES, (2, N))


def test_label_distance_is_the_definition():
    eye = np.eye(CLASSES)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.abs(S - eye[CLEAN]).sum(1) / np.abs(eye[NOISY] - eye[CLEAN]).sum(
            1
        )
    expected[NOISY == CLEAN] = np.nan
    actual = label_distance(S, NOISY, CLEAN)
    np.testing.assert_allclose(actual, expected, atol=1e-12)
    assert np.isnan(actual).sum() == (NOISY == CLEAN).sum()


def test_label_distance_of_the_given_and_of_the_true_label():
    noisy = (CLEAN + 1) % CLASSES
    assert np.all(label_distance(np.eye(CLASSES)[noisy], noisy, CLEAN) == 1)
    assert np.all(label_distance(np.eye(CLASSES)[CLEAN], noisy, CLEAN) == 0)


def test_correction_candidates_are_the_definition():
    confidence, corrected = correction_candidates(S, NOISY)
    for i in range(N):
        others = {k: S[i, k] for k in range(CLASSES) if k != NOISY[i]}
        assert confidence[i] == max(others.values())
        assert corrected[i] == max(others, key=others.get)


def test_parts_agree(monkeypatch):
    expected = (*correction_candidates(S, NOISY), label_distance(S, NOISY, CLEAN))
    monkeypatch.setattr(distributions, "_PIECE_BYTES", 7 * 8 * CLASSES)
    actual = (*correction_candidates(S, NOISY), label_distance(S, NOISY, CLEAN))
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_soft_labels_of_a_diverged_network(value):
    bad = np.where(np.arange(N)[:, None] == 3, value, S)
    noisy = (CLEAN + 1) % CLASSES
    for call in (
        lambda: label_distance(bad, noisy, CLEAN),
        lambda: correction_candidates(bad, noisy),
    ):
        with pytest.raises(ValueError, match="`soft_labels` must be finite numbers"):
            call()


def test_soft_labels_are_not_changed():
    before = S.copy()
    correction_candidates(S, NOISY)
    label_distance(S, NOISY, CLEAN)
    np.testing.assert_array_equal(S, before)


@pytest.mark.parametrize(
    ("soft", "labels", "text"),
    [
        (S[0], NOISY, "`soft_labels` must be of shape"),
        (S[:, :1, None], NOISY, "`soft_labels` must be of shape"),
        (S, NOISY[1:], "must be class ids of"),
        (S, NOISY.astype("float64"), "must be class ids of"),
        (S, NOISY - 1, r"must be class ids in \[0, 4\)"),
        (S, NOISY + 1, r"must be class ids in \[0, 4\)"),
    ],
)
def test_bad_input(soft, labels, text):
    with pytest.raises(
        (TypeError, ValueError), match=f"^correction_candidates: .*{text}"
    ):
        correction_candidates(soft, labels)
    with pytest.raises((TypeError, ValueError), match=f"^label_distance: .*{text}"):
        label_distance(soft, labels, CLEAN)
    # As a true label -1 says that nobody knows.
    if soft is S and labels.min() >= 0:
        expected = f"^label_distance: `clean` {text}"
        with pytest.raises((TypeError, ValueError), match=expected):
            label_distance(soft, NOISY, labels)
