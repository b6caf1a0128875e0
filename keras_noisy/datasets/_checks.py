"""Checks and small helpers that several files of `keras_noisy.datasets` share."""

import importlib

import numpy as np

from keras_noisy._checks.errors import message
from keras_noisy._data.arrays import labels_of
from keras_noisy.noise._checks import Described, describe_array
from keras_noisy.noise.noisy_labels import NoisyLabels

KERAS, TFDS, SKLEARN, FILE = "keras.datasets", "tfds", "scikit-learn", "file"
ORDERS = (KERAS, TFDS, SKLEARN, FILE)

_PACKAGES = {
    "tensorflow": "keras-noisy[tensorflow]",
    "tensorflow_datasets": "keras-noisy[datasets]",
    "sklearn": "keras-noisy[examples]",
}


def require(owner, package, purpose):
    """Return an optional package, or raise an error that says how to install it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{owner}: {purpose} needs the package {error.name!r}, which is not "
            f"installed. pip install '{_PACKAGES[package.partition('.')[0]]}'",
            name=error.name,
        ) from error


def as_class_ids(owner, argument, labels, num_classes=None):
    """Return labels of shape `(n,)` or `(n, 1)` as int64 `(n,)`, or raise.

    Without `num_classes` any non-negative ids are good.
    """
    labels = labels_of(labels)
    if labels.ndim != 1:
        mend = "Turn one-hot labels into class ids with argmax."
        received = describe_array(labels)
        raise ValueError(message(owner, argument, "of shape (n,)", received, mend))
    if labels.dtype.kind not in "iu":
        mend = "Cast class ids to an integer dtype, e.g. labels.astype('int64')."
        expected = "class ids of an integer dtype"
        received = describe_array(labels)
        raise TypeError(message(owner, argument, expected, received, mend))
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    # Larger ones would wrap around below.
    limit = 2**63 if num_classes is None else num_classes
    if low < 0 or high >= limit:
        expected = "non-negative class ids"
        if num_classes is not None:
            expected = f"class ids in [0, {num_classes})"
        received = Described(f"array with values in [{low}, {high}]")
        raise ValueError(message(owner, argument, expected, received))
    return labels.astype(np.int64)


def as_column(values):
    """Return plain integers as int64 `(n,)`, with other numbers and texts as objects.

    With anything else it is no column, and what it is is returned.
    """
    values = list(values)
    for value in values:
        if type(value) not in (int, float, str, bool, type(None)):
            return f"a list with a {type(value).__name__} in it"
    if all(type(value) is int and value.bit_length() < 64 for value in values):
        return np.array(values, np.int64)
    column = np.empty(len(values), object)
    column[:] = values
    return column


def labels_for(owner, labels, size):
    """Return labels that replace those of a split of `size` examples."""
    if isinstance(labels, NoisyLabels):
        labels = labels.noisy
    labels = as_class_ids(owner, "labels", labels)
    if len(labels) != size:
        expected = f"of length {size}, that of the split"
        received = describe_array(labels)
        raise ValueError(message(owner, "labels", expected, received))
    return labels


def check_split(owner, split, splits):
    """Raise unless `split` is one of `splits`."""
    if split not in splits:
        expected = f"one of {', '.join(map(repr, splits))}"
        raise ValueError(message(owner, "split", expected, split))
