"""Labels: class ids of examples, read alike wherever they are taken but in the losses.

-1 marks an example whose true class nobody has verified. Only true labels can have it,
and only where a function says that it leaves such examples out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_noisy._checks.errors import Described, as_array, describe_array, message
from keras_noisy._typing import ArrayLike, BoolArray, IntArray

# Marks an example whose true class is not verified.
UNVERIFIED = -1
_CURE = "`classes, labels = np.unique(labels, return_inverse=True)` makes class ids"


def labels_of(labels: Any) -> np.ndarray:
    """Return labels as an array; a column of them, as Keras's CIFAR has, as `(n,)`."""
    labels = as_array(labels)
    is_column = labels.ndim == 2 and labels.shape[1] == 1
    return labels[:, 0] if is_column else labels


def check_labels(
    owner: str,
    argument: str,
    labels: ArrayLike,
    *,
    size: int | None = None,
    num_classes: int | None = None,
    like: np.ndarray | None = None,
    unverified: bool = False,
) -> IntArray:
    """Return labels as an array `(n,)` of the integer dtype that they have, or raise.

    Args:
        owner: Name of the public class or function that was called.
        argument: Name of the argument.
        labels: Class ids `(n,)` or `(n, 1)`.
        size: How many there must be, if it is known.
        num_classes: Number of classes, if it is known.
        like: Predictions `(size, num_classes)`, in place of the two.
        unverified: Whether -1 may stand for a class that is not known.
    """
    if like is not None:
        size, num_classes = like.shape
    array = labels_of(labels)
    if array.size == 0 and array.ndim == 1 and not hasattr(labels, "dtype"):
        array = array.astype(np.int64)  # An empty list has no dtype of its own.
    if array.ndim != 1 or size not in (None, len(array)):
        shape = "(n,)" if size is None else f"({size},)"
        mend = "Turn one-hot labels into class ids with labels.argmax(axis=-1)."
        raise ValueError(
            message(
                owner,
                argument,
                f"class ids of shape {shape}",
                describe_array(array),
                mend if array.ndim > 1 else "",
            )
        )
    check_integers(owner, argument, array)
    check_range(owner, argument, array, num_classes, unverified=unverified)
    return array


def check_integers(owner: str, argument: str, array: np.ndarray) -> None:
    """Raise unless an array is of an integer dtype."""
    if array.dtype.kind in "iu":
        return
    mend = "Cast class ids to an integer dtype, e.g. labels.astype('int64')."
    if array.dtype.kind in "OSUT":
        mend = f"{_CURE} of names."
    expected = "class ids of an integer dtype"
    raise TypeError(message(owner, argument, expected, describe_array(array), mend))


def check_range(
    owner: str,
    argument: str,
    array: IntArray,
    num_classes: int | None,
    *,
    unverified: bool = False,
) -> None:
    """Raise unless all labels are ids of classes, or -1 where it has a meaning.

    Args:
        owner: Name of the public class or function that was called.
        argument: Name of the argument.
        array: Integers.
        num_classes: Number of classes; None if it is not known.
        unverified: Whether -1 may stand for a class that is not known.
    """
    if not array.size:
        return
    low, high = int(array.min()), int(array.max())
    least = UNVERIFIED if unverified else 0
    # Larger ones would wrap around in int64.
    if low >= least and high < (2**63 if num_classes is None else num_classes):
        return
    expected = "non-negative class ids"
    if num_classes is not None:
        expected = f"class ids in [0, {num_classes})"
    if unverified:
        expected += ", or -1 for an example whose class is not verified"
    received = Described(f"array of shape {array.shape} with values in [{low}, {high}]")
    mend = f"{_CURE} of ids with gaps."
    if low == UNVERIFIED and not unverified:
        mend = "-1 is no class: leave out examples that are not verified."
    raise ValueError(message(owner, argument, expected, received, mend))


def is_wrong(noisy: IntArray, clean: IntArray) -> BoolArray:
    """Return where given labels are known to be wrong, `(n,)`."""
    return (noisy != clean) & (clean != UNVERIFIED)


def check_class_ids(
    owner: str, argument: str, array: np.ndarray, num_classes: int
) -> None:
    """Raise unless an array holds class ids, and can hold those of all classes."""
    check_integers(owner, argument, array)
    if num_classes - 1 > np.iinfo(array.dtype).max:
        mend = "Cast the labels to a wider dtype, e.g. labels.astype('int64')."
        expected = f"of a dtype that can hold class {num_classes - 1}"
        raise ValueError(
            message(owner, argument, expected, describe_array(array), mend)
        )
    check_range(owner, argument, array, num_classes)


def check_sample_ids(
    owner: str, argument: str, array: np.ndarray, shape: tuple[int, ...] | None = None
) -> IntArray:
    """Return an array of non-negative integers, or raise."""
    expected = "non-negative integers"
    if array.dtype.kind not in "iu":
        mend = "Number the samples, e.g. with dataset.enumerate()."
        raise TypeError(message(owner, argument, expected, describe_array(array), mend))
    if array.min(initial=0) < 0:
        received = Described(
            f"array of shape {array.shape} with minimum {int(array.min())}"
        )
        raise ValueError(message(owner, argument, expected, received))
    if shape is not None and array.shape != shape:
        expected = f"of shape {shape}, one id for each label"
        raise ValueError(message(owner, argument, expected, describe_array(array)))
    return array
