"""Checks of arguments that several files of `keras_noisy.noise` share."""

import numpy as np

from keras_noisy._checks.errors import Described, describe_array, message


def is_integer(value):
    """Whether `value` is a Python or NumPy integer; a bool is not one."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_seed(owner, seed):
    """Return `seed` as an int in [0, 2**63), or raise."""
    expected = "an integer in [0, 2**63)"
    mend = "Label noise must be reproducible; pass seed=0."
    if not is_integer(seed):
        raise TypeError(message(owner, "seed", expected, seed, mend))
    if not 0 <= seed < 2**63:
        raise ValueError(message(owner, "seed", expected, int(seed), mend))
    return int(seed)


def check_num_classes(owner, num_classes):
    """Return `num_classes` as an int of at least two, or raise."""
    expected = "an integer of at least 2"
    if not is_integer(num_classes):
        raise TypeError(message(owner, "num_classes", expected, num_classes))
    if num_classes < 2:
        mend = "Noise needs another class to flip to."
        raise ValueError(message(owner, "num_classes", expected, num_classes, mend))
    return int(num_classes)


def check_class_ids(owner, argument, array, num_classes):
    """Raise unless `array` holds integers in [0, `num_classes`) and can hold all."""
    if array.dtype.kind not in "iu":
        mend = "Cast class ids to an integer dtype, e.g. labels.astype('int64')."
        expected = "class ids of an integer dtype"
        raise TypeError(message(owner, argument, expected, describe_array(array), mend))
    if num_classes - 1 > np.iinfo(array.dtype).max:
        mend = "Cast the labels to a wider dtype, e.g. labels.astype('int64')."
        expected = f"of a dtype that can hold class {num_classes - 1}"
        raise ValueError(
            message(owner, argument, expected, describe_array(array), mend)
        )
    if array.size == 0:
        return
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= num_classes:
        expected = f"class ids in [0, {num_classes})"
        received = Described(
            f"array of shape {array.shape} with values in [{low}, {high}]"
        )
        mend = "The transition matrix must have a row for every class."
        raise ValueError(message(owner, argument, expected, received, mend))


def check_sample_ids(owner, argument, array):
    """Raise unless `array` holds non-negative integers."""
    expected = "non-negative integers"
    if array.dtype.kind not in "iu":
        mend = "Number the samples, e.g. with dataset.enumerate()."
        raise TypeError(message(owner, argument, expected, describe_array(array), mend))
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        received = Described(
            f"array of shape {array.shape} with minimum {int(array.min())}"
        )
        raise ValueError(message(owner, argument, expected, received))
