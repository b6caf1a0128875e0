"""Transition matrices estimated from predictions."""

import sys

import numpy as np
import pytest

from keras_noisy import noise
from tests import helpers

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
    # The second example is more probably of the first class, as the last row says.
    with pytest.warns(UserWarning, match="off the diagonal in rows 1: "):
        matrix = noise.estimate_from_anchors(predictions)
    np.testing.assert_allclose(matrix, expected)


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
    with pytest.warns(UserWarning, match="quantile=1e-09 looks beyond"):
        lowest = noise.estimate_from_anchors(predictions, quantile=1e-9)
    np.testing.assert_allclose(lowest, TRUE, atol=0.25)


def predict(clean, matrix, sharpness, seed=0):
    """Return `P(noisy | x)` of a network that is not always sure."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(len(clean), len(matrix)))
    logits[np.arange(len(clean)), clean] += sharpness
    return helpers.softmax(1.5 * logits) @ matrix


def test_quantile_stays_inside_the_smallest_class():
    """100 classes: the 97th percentile is of another class."""
    matrix = noise.symmetric(100, 0.3)
    predictions = predict(np.arange(10_000) % 100, matrix, 6)
    with pytest.warns(UserWarning, match=r"quantile=0.97 looks.*raised to 0.995"):
        estimate = noise.estimate_from_anchors(predictions, quantile=0.97)
    np.testing.assert_allclose(np.diag(estimate), 0.7, atol=0.05)
    # Long-tailed: the rarest class is one of 400.
    clean = np.repeat(np.arange(5), [2000, 1000, 500, 100, 9])
    predictions = predict(clean, noise.symmetric(5, 0.3), 6)
    with pytest.warns(UserWarning, match="class 4, which is predicted for"):
        estimate = noise.estimate_from_anchors(predictions, quantile=0.97)
    np.testing.assert_allclose(estimate, noise.symmetric(5, 0.3), atol=0.05)


def test_quantile_that_is_high_enough_is_kept():
    clean = np.arange(5000) % 10
    predictions = predict(clean, noise.symmetric(10, 0.3), 6)
    for quantile in (0.97, 0.99, 1.0):
        place = int(quantile * 4999)
        column = np.sort(predictions[:, 3])[place]
        row = predictions[np.argmax(predictions[:, 3] == column)]
        estimate = noise.estimate_from_anchors(predictions, quantile=quantile)
        np.testing.assert_allclose(estimate[3], row)


def test_estimators_warn_of_rows_that_look_wrong():
    """Nine in ten of a class are labelled as another, or the network errs."""
    labels, clean = np.array([1] * 9 + [0] + [1] * 10), np.repeat([0, 1], 10)
    predictions = np.eye(2)[clean]
    with pytest.warns(UserWarning, match="^estimate_from_confusion: .* in rows 0: "):
        matrix = noise.estimate_from_confusion(labels, predictions)
    np.testing.assert_allclose(matrix, [[0.1, 0.9], [0, 1]])
    with pytest.warns(UserWarning, match="^estimate_from_anchors: .* in rows 1: "):
        noise.estimate_from_anchors([[0.9, 0.1], [0.6, 0.4]])
    with pytest.warns(UserWarning, match="rows 0, 1, .*, 9 and 4 more: "):
        noise.estimate_from_confusion((np.arange(14) + 1) % 14, np.eye(14))


def test_classes_that_never_occur():
    labels, predictions = [0, 1, 1, 0], np.eye(3)[[0, 1, 1, 0]]
    for estimate in (
        lambda: noise.estimate_from_anchors(predictions),
        lambda: noise.estimate_from_confusion(labels, predictions),
    ):
        with pytest.warns(UserWarning, match="nothing is known of classes 2, which"):
            np.testing.assert_array_equal(estimate(), np.eye(3))


@pytest.mark.parametrize("missing", [0, 2, 3])
def test_cleanlab_with_a_class_that_never_occurs(missing):
    pytest.importorskip("cleanlab")
    labels, predictions = make()
    there = (labels != missing) & (predictions.argmax(axis=1) != missing)
    others = np.delete(np.arange(4), missing)
    predictions = predictions[there]
    predictions[:, missing] = 0
    predictions /= predictions.sum(axis=1, keepdims=True)
    with pytest.warns(UserWarning, match=f"known of classes {missing}, which never"):
        matrix = noise.estimate_with_cleanlab(labels[there], predictions)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert matrix[missing, missing] == 1
    # The others are as they are without that class.
    alone = noise.estimate_with_cleanlab(
        np.searchsorted(others, labels[there]), predictions[:, others]
    )
    np.testing.assert_allclose(matrix[np.ix_(others, others)], alone)


def test_rows_sum_to_one_and_are_a_valid_matrix():
    _, predictions = make()
    matrix = noise.estimate_from_anchors(predictions.astype("float16"))
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
    noisy = noise.corrupt_labels(np.arange(4), matrix, seed=0, exact=False).noisy
    assert noisy.shape == (4,)


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
        ValueError, match=r"`predictions` must be distributions.*softmax"
    ):
        estimate([[2.0, -1.0]])
    with pytest.raises(
        ValueError, match=r"`predictions` must be of shape \(n, num_classes\)"
    ):
        estimate([0.5, 0.5])
    for quantile in (0, 1.1, -0.5):
        with pytest.raises(
            ValueError, match=r"`quantile` must be a number in \(0, 1\]"
        ):
            estimate([[0.5, 0.5]], quantile=quantile)
    with pytest.raises(ValueError, match=r"`labels` must be class ids of shape \(2,\)"):
        noise.estimate_with_cleanlab([0], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match=r"`labels` must be class ids"):
        noise.estimate_with_cleanlab([0, 2], [[0.5, 0.5], [0.5, 0.5]])


def test_confusion_by_hand():
    predictions = [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.25, 0.75, 0.0]]
    with pytest.warns(UserWarning) as warned:
        matrix = noise.estimate_from_confusion([0, 1, 1], predictions)
    assert "nothing is known of classes 2" in str(warned[0].message)
    assert "off the diagonal in rows 0: " in str(warned[1].message)
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
        (
            [0, 1, 2],
            np.full((2, 4), 0.25),
            r"`labels` must be class ids of shape \(2,\)",
        ),
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


def test_estimate_from_neighbors():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 2400)
    features = np.eye(4)[classes] + rng.normal(0, 0.2, (2400, 4))
    matrix = np.array([[0.7, 0.3, 0], [0, 0.9, 0.1], [0.1, 0.1, 0.8]])
    noisy = noise.corrupt_labels(classes, matrix, seed=0).noisy
    estimate = noise.estimate_from_neighbors(noisy, features)
    np.testing.assert_allclose(estimate, matrix, atol=0.07)
    np.testing.assert_allclose(estimate.sum(axis=1), 1)
    # Rows without a label do not count, and neither do copies of others.
    rows = np.r_[np.arange(2400), np.arange(300)]
    labels = np.r_[noisy[:2400], np.full(300, -1)]
    again = noise.estimate_from_neighbors(labels, features[rows], groups=rows, seed=1)
    np.testing.assert_allclose(again, matrix, atol=0.08)


def test_neighbors_that_say_nothing_are_warned_of():
    rng = np.random.default_rng(0)
    labels, features = rng.integers(0, 3, 600), rng.normal(size=(600, 3))
    with pytest.warns(
        UserWarning, match="estimate_from_neighbors: .*class-conditional"
    ):
        noise.estimate_from_neighbors(labels, features)
    with pytest.raises(ValueError, match=r"^estimate_from_neighbors: `features`"):
        noise.estimate_from_neighbors(labels, features[:5])
