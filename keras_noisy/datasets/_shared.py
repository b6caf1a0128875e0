"""What several files of `keras_noisy.datasets` share."""

import importlib

import numpy as np

from keras_noisy._checks.labels import check_labels
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
    return check_labels(owner, "labels", labels, size=size).astype(np.int64)
