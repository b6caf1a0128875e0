"""Suspects among several labels of an example: multi-hot ones, and pixels of maps."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers, by_class
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_integers, check_range
from keras_noisy._typing import ArrayLike, BoolArray, FloatArray, IntArray
from keras_noisy.analysis.suspects import find_suspects

_OWNER = "find_suspect_parts"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SuspectParts:
    """What is thought of each label, in the shape of the labels.

    Attributes:
        is_suspect: Whether a label is held for wrong.
        confidence: How suspicious it is, in [0, 1]; NaN where there is none.
        proposed_label: The label proposed instead; the given one where there is none.
        share: Share of its labels that are suspect, of each example, `(n,)`; NaN where
            it has none.
        order: Positions of the examples, that of the largest share first, `(n,)`.
    """

    is_suspect: BoolArray
    confidence: FloatArray
    proposed_label: IntArray
    share: FloatArray
    order: IntArray

    def __repr__(self) -> str:
        known = ~np.isnan(self.confidence)
        share = self.is_suspect[known].mean() if known.any() else float("nan")
        return (
            f"SuspectParts({int(self.is_suspect.sum())} of {int(known.sum())} labels "
            f"of {len(self.share)} examples, {share:.1%})"
        )


def find_suspect_parts(
    labels: ArrayLike,
    soft_labels: ArrayLike,
    *,
    missing_label: int | None = None,
) -> SuspectParts:
    """Judge each label of examples that have several.

    Each label is judged by `find_suspects` and its soft label: of multi-hot labels each
    column by itself, of maps all pixels together.

    Args:
        labels: Multi-hot labels `(n, num_labels)`, or class ids of maps
            `(n, height, width)` or other positions `(n, ..., )` of three dimensions and
            more.
        soft_labels: Predicted probabilities: of multi-hot labels that they are one,
            `(n, num_labels)`, such as SEAL's averages of a model with
            `losses.MultiLabel`; of maps `(n, height, width, num_classes)`.
        missing_label: What stands for a label that is not known, such as -1 or 255, or
            None. It is not judged.

    Returns:
        `SuspectParts`.

    Raises:
        TypeError: If labels are no integers, or soft labels no numbers.
        ValueError: If shapes do not fit, or values are no labels or probabilities.

    Example:
        >>> from keras_noisy import analysis
        >>> labels = [[1, 0], [1, 0], [0, 1]]
        >>> soft = [[0.9, 0.2], [0.8, 0.9], [0.2, 0.7]]
        >>> parts = analysis.find_suspect_parts(labels, soft)
        >>> parts.is_suspect.tolist(), parts.order.tolist()
        ([[False, False], [False, True], [False, False]], [1, 0, 2])
    """
    array = errors.as_array(labels)
    soft = as_numbers(_OWNER, "soft_labels", soft_labels)
    if array.ndim < 2 or not array.size:
        expected = "of shape (n, num_labels), (n, height, width) or more dimensions"
        received = errors.describe_array(array)
        raise ValueError(message(_OWNER, "labels", expected, received))
    check_integers(_OWNER, "labels", array)
    is_multi_hot = array.ndim == 2
    fits = soft.shape == array.shape if is_multi_hot else soft.shape[:-1] == array.shape
    if not fits:
        shape = str(array.shape)
        expected = f"of shape {shape}" if is_multi_hot else f"of {shape} and classes"
        received = errors.describe_array(soft)
        raise ValueError(message(_OWNER, "soft_labels", expected, received))
    if missing_label is not None:
        errors.check_count(_OWNER, "missing_label", missing_label, low=-(2**31))
    is_known = np.ones(array.shape, bool)
    if missing_label is not None:
        is_known = array != missing_label
    num_classes = 2 if is_multi_hot else soft.shape[-1]
    check_range(_OWNER, "labels", array[is_known], num_classes)
    # Of multi-hot labels each has a baseline of its own.
    columns = np.arange(array.shape[1]) if is_multi_hot else [slice(None)]
    confidence, proposed = np.full(array.shape, np.nan), array.copy()
    is_suspect = np.zeros(array.shape, bool)
    for column in columns:
        known = is_known[:, column]
        if not known.any():
            continue
        given = soft[:, column][known]
        given = by_class(given, False) if is_multi_hot else given
        found = find_suspects(array[:, column][known], given)
        back = np.argsort(found.sample_id)
        for target, values in (
            (confidence, found.confidence),
            (proposed, found.proposed_label),
            (is_suspect, found.is_suspect),
        ):
            part = target[:, column]
            part[known] = values[back]
    axes = tuple(range(1, array.ndim))
    count = is_known.sum(axis=axes)
    share = np.full(len(array), np.nan)
    np.divide(is_suspect.sum(axis=axes), count, out=share, where=count > 0)
    order = np.argsort(-np.nan_to_num(share, nan=-1.0), kind="stable")
    return SuspectParts(is_suspect, confidence, proposed, share, order)
