"""Mixing of examples in pairs."""

import keras
from keras import ops


def is_mixable(array):
    """Return whether an array holds quantities, not ids of words or strings."""
    dtype = keras.backend.standardize_dtype(array.dtype)
    return dtype != "string" and not dtype.startswith("int")


def are_mixable(x):
    """Return whether all arrays of a structure hold quantities."""
    return all(map(is_mixable, keras.tree.flatten(x)))


def as_floats(values):
    """Return what can be mixed: dense, in float32 at least where it was no float."""
    values = ops.convert_to_tensor(values, sparse=False)
    if "float" not in keras.backend.standardize_dtype(values.dtype):
        values = ops.cast(values, "float32")
    return values


def between(values, others, share):
    """Return `share values + (1 - share) others`, a share for each row."""
    share = ops.reshape(share, (-1, *[1] * (len(values.shape) - 1)))
    share = ops.cast(share, values.dtype)
    return share * values + (1 - share) * others
