"""Predictions and other distributions: what an array of them must hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_noisy._checks.errors import Described, as_array, describe_array, message
from keras_noisy._typing import ArrayLike, FloatArray

# How far predictions may sum from one: half precision rounds a softmax of many classes
# by about a hundredth.
SUM_TOLERANCE = 0.02
_SOFTMAX = "Apply the softmax to logits first."
_PIECE_BYTES = 1 << 25


def pieces(array: np.ndarray) -> Iterator[slice]:
    """Yield slices of rows of `array`, some megabytes of float64 each."""
    rows = max(1, _PIECE_BYTES // (8 * max(1, int(np.prod(array.shape[1:])))))
    for start in range(0, len(array), rows):
        yield slice(start, min(start + rows, len(array)))


def as_numbers(owner: str, argument: str, values: Any) -> np.ndarray:
    """Return `values` as an array of real numbers, or raise; a memory map stays so."""
    array = as_array(values)
    # NumPy does not know bfloat16 by itself.
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise TypeError(
            message(owner, argument, "an array of numbers", describe_array(array))
        )
    return array


def is_one_output(shape: Sequence[int | None]) -> bool:
    """Whether predictions of a shape are one output for each example.

    It is that of the second of two classes: a probability `p` is `[1 - p, p]`, a logit
    `z` is `[0, z]`.
    """
    return len(shape) == 1 or shape[-1] == 1


def by_class(outputs: Any, from_logits: bool, numeric: Any = np) -> Any:
    """Return outputs with a column for each class, as they are if they have several.

    Args:
        outputs: Array or tensor `(n, num_classes)`, or `(n, 1)` or `(n,)`.
        from_logits: Whether outputs are logits.
        numeric: The module that computes, `numpy` or `keras.ops`.
    """
    if not is_one_output(outputs.shape):
        return outputs
    second = outputs if len(outputs.shape) == 1 else outputs[..., 0]
    first = numeric.zeros_like(second) if from_logits else 1 - second
    return numeric.stack([first, second], axis=-1)


def as_predictions(
    owner: str,
    argument: str,
    values: Any,
    *,
    least: int = 0,
    from_logits: bool = False,
) -> np.ndarray:
    """Return `values` as an array `(n, num_classes)` of `least` rows, or raise.

    A column `(n, 1)`, of one sigmoid output, becomes two.
    """
    array = as_numbers(owner, argument, values)
    if array.ndim == 2:
        array = by_class(array, from_logits)
    if array.ndim != 2 or array.shape[1] < 2 or len(array) < least:
        expected = "of shape (n, num_classes), with at least two classes"
        if least:
            expected = f"{expected} and {least} example"
        raise ValueError(message(owner, argument, expected, describe_array(array)))
    return array


def check_rows(
    owner: str, argument: str, rows: np.ndarray, mend: str = _SOFTMAX
) -> None:
    """Raise unless the rows of an array are distributions."""
    sums = rows.sum(axis=-1, dtype="float64")
    # NaN fails both comparisons.
    is_right = (np.abs(sums - 1) <= SUM_TOLERANCE) & (rows.min(axis=-1) >= 0)
    if not is_right.all():
        row = int(np.argmin(is_right))
        low = rows[row].min()
        received = Described(f"a row from {low:.4g} on that sums to {sums[row]:.4g}")
        expected = "distributions: non-negative rows that sum to one"
        raise ValueError(message(owner, argument, expected, received, mend))


def check_distribution(
    owner: str,
    argument: str,
    values: ArrayLike,
    num_classes: int | None = None,
    *,
    tolerance: float = 1e-6,
) -> FloatArray:
    """Return one distribution over classes as a new float64 array, or raise.

    Args:
        owner: Name of the public class or function that was called.
        argument: Name of the argument.
        values: Array-like `(num_classes,)`, non-negative, summing to one.
        num_classes: Expected number of classes, if known.
        tolerance: How far the sum may be from one.
    """
    shape = "(num_classes,)" if num_classes is None else f"({num_classes},)"
    expected = f"a distribution of shape {shape}"
    array = np.array(as_numbers(owner, argument, values), "float64")
    if array.ndim != 1 or len(array) < 2 or num_classes not in (None, len(array)):
        raise ValueError(message(owner, argument, expected, describe_array(array)))
    if not array.min() >= 0 or not abs(array.sum() - 1) <= tolerance:
        mend = "Shares of the classes: divide counts by their sum."
        raise ValueError(message(owner, argument, expected, array.tolist(), mend))
    return array
