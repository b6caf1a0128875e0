"""Data sets and label noise of a recipe."""

import dataclasses
import os

import numpy as np

from benchmarks import recipes
from keras_noisy import datasets, noise
from keras_noisy._data import arrays

# Of the seeds: labels that are made by a training are the same for every run.
GENERATION_SEED = 0
DIGIT_PAIRS = {1: 7, 7: 1, 3: 8, 8: 3, 4: 9, 9: 4, 5: 6, 6: 5}


@dataclasses.dataclass(frozen=True)
class Data:
    """What a recipe trains on and tests on.

    Attributes:
        x_train: Images `(n, height, width, channels)`, uint8; a memory map where the
            data set is streamed.
        y_train: Class ids `(n,)`, the clean ones where the set has both.
        x_test: As `x_train`.
        y_test: As `y_train`.
        num_classes: Number of classes.
        superclasses: Superclass of each class, or None.
        source: Where the arrays are from, in words.
        digest: Identifies all of them.
        x_validation: Clean images to choose an epoch by, or None.
        y_validation: Their class ids, or None.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int
    superclasses: np.ndarray | None
    source: str
    digest: str
    x_validation: np.ndarray | None = None
    y_validation: np.ndarray | None = None


def load(spec, source, folder):
    """Return the data set of a recipe.

    Args:
        spec: The recipe's `data`.
        source: As for `datasets.load`.
        folder: Where the images of a data set that does not fit in memory are kept,
            decoded: `height * width * 3` bytes each.
    """
    dataset = datasets.load(spec["name"], source=source)
    if isinstance(dataset, datasets.StreamedDataset):
        size = spec["image_size"]
        path = os.path.join(folder, f"{dataset.name}-{size}")
        splits = dataset.to_arrays(path, image_size=size)
    else:
        splits = {
            "train": (dataset.x_train, dataset.y_train),
            "test": (dataset.x_test, dataset.y_test),
        }
    validation = splits.get("validation", (None, None))
    return Data(
        *splits["train"],
        *splits["test"],
        num_classes=dataset.num_classes,
        superclasses=dataset.superclasses,
        source=os.path.basename(os.fspath(source)) if source else "its own source",
        digest=arrays.digest([*splits["train"], *splits["test"]]),
        x_validation=validation[0],
        y_validation=validation[1],
    )


class LabelFiles:
    """Published noisy labels, each used for the rate that it has.

    Args:
        files: As `datasets.read_label_file` takes them, such as FILE:KEY.
        data: `Data` that they belong to.
        order: Order of the rows of files without clean labels.
    """

    # A file of 60,000 labels that is said to have 40 % has 24,000 wrong ones.
    TOLERANCE = 0.01

    def __init__(self, files, data, order):
        self.labels = {
            os.path.basename(name): datasets.read_label_file(
                name, data.y_train, order=order, num_classes=data.num_classes
            )
            for name in files
        }

    def find(self, rate):
        """Return `(name, labels)` with this rate, or None where there are no files.

        Raises:
            ValueError: If there are files, and none or two of them have it.
        """
        if not self.labels:
            return None
        found = [
            (name, labels)
            for name, labels in self.labels.items()
            if rate is not None and abs(labels.rate - rate) < self.TOLERANCE
        ]
        if len(found) == 1:
            return found[0]
        rates = ", ".join(f"{x.rate:.3f} ({n})" for n, x in self.labels.items())
        raise ValueError(
            f"--labels must have one file with a noise rate of {rate}. Received: "
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
    if kind == "digit_pairs_two_way":
        return noise.asymmetric(num_classes, DIGIT_PAIRS, rate)
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
