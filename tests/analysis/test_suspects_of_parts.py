"""Suspects among multi-hot labels and among pixels."""

import numpy as np
import pytest

from keras_noisy import analysis

rng = np.random.default_rng(0)


def test_multi_hot_labels_are_judged_by_column():
    clean = (rng.random((300, 4)) < [0.5, 0.4, 0.45, 0.6]).astype(int)
    soft = np.clip(0.8 * clean + 0.1 + rng.normal(0, 0.05, clean.shape), 0, 1)
    wrong = rng.random(clean.shape) < 0.1
    labels = np.where(wrong, 1 - clean, clean)
    parts = analysis.find_suspect_parts(labels, soft)
    np.testing.assert_array_equal(parts.is_suspect, wrong)
    np.testing.assert_array_equal(parts.proposed_label, 1 - labels)
    for column in range(4):
        both = np.stack([1 - soft[:, column], soft[:, column]], axis=-1)
        found = analysis.find_suspects(labels[:, column], both)
        confidence = parts.confidence[found.sample_id, column]
        np.testing.assert_array_equal(confidence, found.confidence)
    np.testing.assert_allclose(parts.share, wrong.mean(axis=1))
    assert (np.diff(parts.share[parts.order]) <= 0).all()
    assert repr(parts).startswith(f"SuspectParts({wrong.sum()} of 1200 labels of 300")


def test_missing_labels_are_not_judged():
    labels = np.array([[1, -1], [0, 1], [-1, -1], [0, 0]])
    soft = np.array([[0.1, 0.5], [0.9, 0.9], [0.5, 0.5], [0.2, 0.1]])
    parts = analysis.find_suspect_parts(labels, soft, missing_label=-1)
    assert parts.is_suspect.tolist() == [
        [True, False], [True, False], [False, False], [False, False]
    ]  # fmt: skip
    np.testing.assert_array_equal(parts.share, [1, 0.5, np.nan, 0])
    np.testing.assert_array_equal(np.isnan(parts.confidence), labels == -1)
    assert parts.proposed_label[2].tolist() == [-1, -1]
    assert parts.order.tolist() == [0, 1, 3, 2]


def test_pixels_are_judged_together():
    clean = rng.integers(0, 3, (6, 8, 8))
    soft = 0.1 + 0.7 * np.eye(3)[clean]
    labels = clean.copy()
    labels[4, :4] = (labels[4, :4] + 1) % 3
    labels[1, 0, 0] = (labels[1, 0, 0] + 1) % 3
    labels[0, 7] = 255
    parts = analysis.find_suspect_parts(labels, soft, missing_label=255)
    expected = (labels != clean) & (labels != 255)
    np.testing.assert_array_equal(parts.is_suspect, expected)
    np.testing.assert_array_equal(parts.proposed_label[expected], clean[expected])
    assert parts.order[:2].tolist() == [4, 1]
    assert parts.share[4] == 0.5


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"labels": [0, 1]}, ValueError, "`labels` must be of shape"),
        ({"labels": [[0.5, 1.0]] * 3}, TypeError, "`labels` must be class ids"),
        (
            {"labels": [[0, 2]] * 3},
            ValueError,
            r"`labels` must be class ids in \[0, 2\)",
        ),
        ({"soft_labels": [[0.5]] * 3}, ValueError, "`soft_labels` must be of shape"),
        ({"missing_label": "none"}, ValueError, "`missing_label` must be"),
        ({"labels": [[0, 2]] * 3}, ValueError, r"class ids in \[0, 2\)"),
        ({"labels": np.zeros((3, 2, 2), int)}, ValueError, "and classes"),
    ],
)
def test_bad_arguments(arguments, error, text):
    given = {"labels": [[0, 1]] * 3, "soft_labels": [[0.5, 0.5]] * 3}
    with pytest.raises(error, match=text):
        analysis.find_suspect_parts(**{**given, **arguments})
