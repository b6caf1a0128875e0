"""Data sets and label noise of a recipe."""

import dataclasses
import os

import numpy as np

from benchmarks import recipes
from keras_noisy import _arrays, noise

# Of the seeds: labels that are made by a training are the same for every run.
GENERATION_SEED = 0


@dataclasses.dataclass(frozen=True)
class Data:
    """What a recipe trains on and tests on.

    Attributes:
        x_train: Images `(n, height, width, channels)`, uint8.
        y_train: Clean class ids `(n,)`.
        x_test: As `x_train`.
        y_test: As `y_train`.
        num_classes: Number of classes.
        superclasses: Superclass of each class, or None.
        source: Where the arrays are from, in words.
        digest: Identifies all of them.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int
    superclasses: np.ndarray | None
    source: str
    digest: str


def load(name, source=None):
    """Return the data set of a recipe."""
    x_train, y_train, x_test, y_test = _load_arrays(name, source)
    x_train, x_test = _with_channels(x_train), _with_channels(x_test)
    y_train, y_test = (
        np.asarray(y).reshape(-1).astype("int64") for y in (y_train, y_test)
    )
    return Data(
        x_train,
        y_train,
        x_test,
        y_test,
        int(y_train.max()) + 1,
        None,
        os.path.basename(source) if source else "downloaded",
        _arrays.digest([x_train, y_train, x_test, y_test]),
    )


def _load_arrays(name, source):
    if source:
        with np.load(source) as archive:
            return [archive[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    if name == "digits":
        import sklearn.datasets
        import sklearn.model_selection

        x, y = sklearn.datasets.load_digits(return_X_y=True)
        x = (x.reshape(-1, 8, 8) * (255 / 16)).astype("uint8")
        x_train, x_test, y_train, y_test = sklearn.model_selection.train_test_split(
            x, y, test_size=0.25, random_state=0, stratify=y
        )
        return x_train, y_train, x_test, y_test
    import keras

    (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    return x_train, y_train, x_test, y_test


def _with_channels(x):
    return x[..., None] if x.ndim == 3 else x


class LabelFiles:
    """Published noisy labels, each used for the rate that it has.

    Args:
        files: Names as FILE:KEY.
        clean: Clean class ids of the training set.
    """

    # A file of 60,000 labels that is said to have 40 % has 24,000 wrong ones.
    TOLERANCE = 0.01

    def __init__(self, files, clean):
        self.labels = {name: self._read(name, clean) for name in files}

    def _read(self, name, clean):
        path, _, key = name.partition(":")
        with np.load(path) as archive:
            noisy = archive[key].astype("int64")
        return noise.NoisyLabels(noisy, clean, int(clean.max()) + 1)

    def find(self, rate):
        """Return `(name, labels)` with this rate, or None.

        Raises:
            ValueError: If there are files, and none or two of them have it.
        """
        if not self.labels:
            return None
        found = [
            (os.path.basename(name), labels)
            for name, labels in self.labels.items()
            if abs(labels.rate - rate) < self.TOLERANCE
        ]
        if len(found) == 1:
            return found[0]
        rates = ", ".join(f"{x.rate:.3f} ({n})" for n, x in self.labels.items())
        raise ValueError(
            f"--labels must have one file with a noise rate of {rate:g}. Received: "
            f"{rates}. Choose the rate with --rate."
        )


def transition_matrix(entry, rate, data, seed):
    """Return the matrix of a class-conditional noise, or None for another one."""
    kind, num_classes = entry["kind"], data.num_classes
    if kind in ("symmetric", "symmetric_included"):
        included = kind == "symmetric_included"
        return noise.symmetric(num_classes, rate, include_original=included)
    if kind == "pair_flip":
        return noise.pair_flip(num_classes, rate)
    if kind == "class_pairs_two_way":
        return noise.asymmetric(num_classes, noise.CIFAR10_FLIPS_TWO_WAY, rate)
    if kind == "superclass_pairs":
        return noise.within_groups(data.superclasses, rate, kind="pair", seed=seed)
    return None


def corrupt(entry, rate, data, seed):
    """Return the training labels under class-conditional noise, or as they are."""
    if entry["kind"] == "as_given":
        return noise.NoisyLabels(data.y_train, data.y_train, data.num_classes)
    matrix = transition_matrix(entry, rate, data, seed)
    if matrix is None:
        raise recipes.UnknownNameError("kind", entry["kind"], recipes.DEFINITIONS)
    return noise.corrupt_labels(data.y_train, matrix, seed=seed)
