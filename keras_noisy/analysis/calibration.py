"""Whether predictions are as certain as they are right."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_noisy._checks.distributions import as_predictions, check_rows, pieces
from keras_noisy._checks.errors import Described, check_count, message
from keras_noisy._checks.labels import UNVERIFIED, check_labels
from keras_noisy._typing import ArrayLike

# A table of more would have nothing but empty ones.
MOST_BINS = 10**6


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
        labels: True labels, class ids `(n,)`; -1 where they are not verified, and the
            example is left out.
        bins: Number of bins of equal width in [0, 1].

    Returns:
        A `Calibration`.

    Raises:
        TypeError: If labels are no integers, or predictions no numbers.
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
    predictions = as_predictions(owner, "predictions", predictions)
    labels = check_labels(owner, "labels", labels, like=predictions, unverified=True)
    known = labels != UNVERIFIED
    if not known.any():
        received = Described("none")
        expected = "of at least one example whose class is verified"
        raise ValueError(message(owner, "labels", expected, received))
    bins = check_count(owner, "bins", bins, high=MOST_BINS)
    largest, right = np.empty(len(labels)), np.empty(len(labels), bool)
    for rows in pieces(predictions):
        p = np.asarray(predictions[rows], dtype="float64")
        check_rows(owner, "predictions", p)
        largest[rows], right[rows] = p.max(axis=1), p.argmax(axis=1) == labels[rows]
    largest, right = largest[known], right[known]
    # Bins are open on the left, so that a certain prediction is in the last one.
    which = np.clip(np.ceil(largest * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)

    def mean(values):
        sums = np.bincount(which, weights=values, minlength=bins)
        return np.divide(sums, count, out=np.full(bins, np.nan), where=count > 0)

    confidence, accuracy = mean(largest), mean(right)
    gaps = np.nan_to_num(np.abs(accuracy - confidence))
    return Calibration(confidence, accuracy, count, float(gaps @ count / len(right)))
