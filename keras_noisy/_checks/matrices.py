"""The check of a transition matrix, for all that take one."""

from __future__ import annotations

import math

import numpy as np

from keras_noisy._checks.errors import Described, describe_array, message
from keras_noisy._typing import ArrayLike, FloatArray

# A matrix of more has 34 GB.
MOST_CLASSES = 2**16
# Wide enough for a matrix that went through float32.
ROW_SUM_TOLERANCE = 1e-6


def check_transition_matrix(
    owner: str,
    transition_matrix: ArrayLike,
    num_classes: int | None = None,
    *,
    tolerance: float = ROW_SUM_TOLERANCE,
) -> FloatArray:
    """Return `transition_matrix` as a new float64 array, or raise.

    Args:
        owner: Name of the public class or function that was called.
        transition_matrix: Square array-like, finite, non-negative, rows summing to
            one within `tolerance`.
        num_classes: Expected number of classes, if known.
        tolerance: How far the sum of a row may be from one.
    """
    name = "transition_matrix"
    try:
        matrix = np.array(transition_matrix, dtype=np.float64)
    except (TypeError, ValueError):
        expected = "a square array of probabilities"
        raise TypeError(message(owner, name, expected, transition_matrix)) from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        expected = "a square array (num_classes, num_classes) of at least 2 classes"
        raise ValueError(message(owner, name, expected, describe_array(matrix)))
    if num_classes is not None and len(matrix) != num_classes:
        expected = f"of shape ({num_classes}, {num_classes})"
        raise ValueError(message(owner, name, expected, describe_array(matrix)))
    valid = np.isfinite(matrix) & (matrix >= 0)
    if not valid.all():
        expected = "finite and non-negative"
        received = _first_entry(matrix, ~valid)
        raise ValueError(message(owner, name, expected, received))
    # fsum is exact: whether a matrix passes does not depend on the machine.
    sums = np.array([math.fsum(row) for row in matrix.tolist()])
    wrong = np.abs(sums - 1.0) > tolerance
    if wrong.any():
        row = int(np.argmax(wrong))
        expected = "an array whose rows sum to one"
        received = Described(f"array whose row {row} sums to {sums[row]:.9g}")
        mend = "T[i, j] is the probability that class i is labelled j."
        if (np.abs(matrix.sum(axis=0) - 1.0) <= tolerance).all():
            mend += " The columns sum to one: it looks transposed, pass its `.T`."
        raise ValueError(message(owner, name, expected, received, mend))
    return matrix


def _first_entry(matrix, chosen):
    """Describe a matrix by the first of the entries that are chosen."""
    row, column = map(int, np.argwhere(chosen)[0])
    return Described(f"array with {matrix[row, column]} at [{row}, {column}]")


def check_structure(owner: str, structure: ArrayLike, num_classes: int) -> FloatArray:
    """Return which transitions exist as a new array of zeros and ones, or raise.

    Args:
        owner: Name of the public class or function that was called.
        structure: Square array-like of booleans, or of zeros and ones; its diagonal is
            true.
        num_classes: Number of classes.
    """
    name = "structure"
    expected = (
        f"an array ({num_classes}, {num_classes}) of booleans: which class can show "
        "which label"
    )
    try:
        array = np.array(structure, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(message(owner, name, expected, structure)) from None
    if array.shape != (num_classes, num_classes):
        raise ValueError(message(owner, name, expected, describe_array(array)))
    valid = (array == 0) | (array == 1)
    if not valid.all():
        received = _first_entry(array, ~valid)
        mend = "Of a transition matrix it is `matrix > 0`."
        raise ValueError(message(owner, name, expected, received, mend))
    if not np.diag(array).all():
        row = int(np.argmin(np.diag(array)))
        expected = "true on the diagonal: every class can show its own label"
        received = Described(f"array that is false at [{row}, {row}]")
        raise ValueError(message(owner, name, expected, received))
    return array
