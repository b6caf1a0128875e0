"""Whether predictions are as certain as they are right."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_noisy._checks.errors import check_count, message
from keras_noisy._data.arrays import labels_of
from keras_noisy._typing import ArrayLike
from keras_noisy.analysis import _rows


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability diagram in numbers.

    Attributes:
        confidence: Mean largest probability per bin, NaN in empty bins.
        accuracy: Share of right predictions per bin, NaN in empty bins.
        count: Number of examples per bin.
        error: Expected calibration error, the mean of `|accuracy - confidence|` over
            the bins, weighted by their examples.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    error: float


def calibration(
    predictions: ArrayLike, labels: ArrayLike, *, bins: int = 15
) -> Calibration:
    """Compare the confidence of predictions with their accuracy.

    Args:
        predictions: Probabilities `(n, num_classes)`.
        labels: True labels, class ids `(n,)`.
        bins: Number of bins of equal width in [0, 1].

    Returns:
        A `Calibration`.

    Raises:
        ValueError: If shapes do not fit or predictions are not distributions.

    Example:
        >>> from keras_noisy import analysis
        >>> result = analysis.calibration([[0.9, 0.1], [0.8, 0.2]], [0, 1], bins=2)
        >>> round(result.error, 2)
        0.35

    Reference:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    owner = "calibration"
    predictions, labels = _check(owner, predictions, labels)
    bins = check_count(owner, "bins", bins)
    largest, right = np.empty(len(labels)), np.empty(len(labels), bool)
    for rows in _rows.chunks(predictions):
        p = np.asarray(predictions[rows], dtype="float64")
        _check_distributions(owner, p)
        largest[rows], right[rows] = p.max(axis=1), p.argmax(axis=1) == labels[rows]
    # Bins are open on the left, so that a certain prediction is in the last one.
    which = np.clip(np.ceil(largest * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)

    def mean(values):
        sums = np.bincount(which, weights=values, minlength=bins)
        return np.divide(sums, count, out=np.full(bins, np.nan), where=count > 0)

    confidence, accuracy = mean(largest), mean(right)
    gaps = np.nan_to_num(np.abs(accuracy - confidence))
    return Calibration(confidence, accuracy, count, float(gaps @ count / len(labels)))


def _check(owner, predictions, labels):
    """Return predictions and class ids that fit, or raise."""
    predictions, labels = _rows.as_array(predictions), labels_of(labels)
    shape = predictions.shape
    if len(shape) != 2 or shape[1] < 2 or not shape[0]:
        expected = "(n, num_classes), with examples and at least two classes"
        raise ValueError(message(owner, "predictions.shape", expected, shape))
    if labels.shape != shape[:1] or labels.dtype.kind not in "iu":
        expected = f"class ids of an integer dtype and shape ({shape[0]},)"
        received = f"{labels.dtype}{list(labels.shape)}"
        raise ValueError(message(owner, "labels", expected, received))
    return predictions, labels


def _check_distributions(owner, p):
    if not (np.all(p >= 0) and np.all(np.abs(p.sum(axis=1) - 1) < 0.02)):
        mend = "Apply a softmax to logits first."
        received = "rows that are not"
        expected = "distributions, rows that sum to one"
        raise ValueError(message(owner, "predictions", expected, received, mend))
