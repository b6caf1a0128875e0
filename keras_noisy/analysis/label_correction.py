"""How far soft labels are from the truth, and which labels they would correct."""

from __future__ import annotations

import numpy as np

from keras_noisy._checks.distributions import as_predictions, pieces
from keras_noisy._checks.errors import Described, message
from keras_noisy._checks.labels import check_labels, is_wrong
from keras_noisy._typing import ArrayLike, FloatArray, IntArray


def label_distance(
    soft_labels: ArrayLike, noisy: ArrayLike, clean: ArrayLike
) -> FloatArray:
    """Distance of soft labels to the truth, where the given label is wrong.

    `||S_i - e_y||_1 / ||e_ybar - e_y||_1` for true class `y` and given class `ybar`:
    0 where the soft label is the true class, 1 where it is the given, wrong one.

    Args:
        soft_labels: Distributions `(n, num_classes)`.
        noisy: Given labels, class ids `(n,)`.
        clean: True labels, class ids `(n,)`, -1 where they are not verified.

    Returns:
        float64 `(n,)`; NaN where the given label is right, or nobody knows.

    Raises:
        TypeError: If labels are no integers, or predictions no numbers.
        ValueError: If shapes or lengths do not fit, ids are out of range, or soft
            labels are not finite.

    Example:
        >>> from keras_noisy import analysis
        >>> analysis.label_distance([[0.75, 0.25], [0.2, 0.8]], [1, 1], [0, 1])
        array([0.25,  nan])

    Reference:
        Eq. 9 of Chen et al., "Beyond Class-Conditional Assumption", AAAI 2021.
    """
    owner = "label_distance"
    soft_labels = _check_soft(owner, "soft_labels", soft_labels)
    noisy = check_labels(owner, "noisy", noisy, like=soft_labels)
    clean = check_labels(owner, "clean", clean, like=soft_labels, unverified=True)
    distance = np.full(len(clean), np.nan)
    wrong = is_wrong(noisy, clean)
    for part in pieces(soft_labels):
        rows = part.start + np.flatnonzero(wrong[part])
        soft = _finite(owner, "soft_labels", np.asarray(soft_labels[rows], float))
        at_clean = np.take_along_axis(soft, clean[rows, None].astype(int), 1)[:, 0]
        # The other classes' distances are their values: the label there is zero.
        others = np.abs(soft).sum(axis=1) - np.abs(at_clean)
        distance[rows] = (others + np.abs(at_clean - 1)) / 2
    return distance


def correction_candidates(
    soft_labels: ArrayLike, labels: ArrayLike
) -> tuple[FloatArray, IntArray]:
    """How sure soft labels are that a label is wrong, and what they say instead.

    `N_i = max_{k != ybar_i} S_ik` and its argmax; of equal ones the lowest class.

    Args:
        soft_labels: Distributions `(n, num_classes)`; a memory map is read in parts.
        labels: Given labels `ybar`, class ids `(n,)`.

    Returns:
        `(confidence, corrected_label)`: float `(n,)` of the dtype of `soft_labels`
        and int64 `(n,)`.

    Raises:
        TypeError: If labels are no integers, or predictions no numbers.
        ValueError: If shapes or lengths do not fit, ids are out of range, or soft
            labels are not finite.

    Example:
        >>> from keras_noisy import analysis
        >>> analysis.correction_candidates([[0.1, 0.6, 0.3], [0.7, 0.3, 0.0]], [1, 1])
        (array([0.3, 0.7]), array([2, 0]))

    Reference:
        Eq. 10 of Chen et al., "Beyond Class-Conditional Assumption", AAAI 2021.
    """
    return candidates("correction_candidates", "soft_labels", soft_labels, labels)


def candidates(owner, argument, soft_labels, labels):
    """Return what `correction_candidates` does, for another public function."""
    soft_labels = _check_soft(owner, argument, soft_labels)
    labels = check_labels(owner, "labels", labels, like=soft_labels)
    confidence = np.empty(len(labels), soft_labels.dtype)
    corrected = np.empty(len(labels), np.int64)
    for rows in pieces(soft_labels):
        others = _finite(owner, argument, np.array(soft_labels[rows]))
        np.put_along_axis(others, labels[rows, None].astype(int), -np.inf, 1)
        corrected[rows] = others.argmax(axis=1)
        confidence[rows] = others.max(axis=1)
    return confidence, corrected


def _check_soft(owner, argument, soft_labels):
    """Return predictions of a floating-point dtype, or raise."""
    soft_labels = as_predictions(owner, argument, soft_labels)
    is_integer = soft_labels.dtype.kind in "iu"
    return soft_labels.astype("float64") if is_integer else soft_labels


def _finite(owner, argument, rows):
    """Return some soft labels, or raise unless they are finite."""
    if not np.isfinite(rows).all():
        received = Described("NaN or infinity")
        raise ValueError(message(owner, argument, "finite numbers", received))
    return rows
