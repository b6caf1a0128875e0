"""Data sets and label noise of a recipe."""

import dataclasses
import os
import shutil

import numpy as np

from benchmarks import recipes
from keras_noisy import _arrays, _files, datasets, noise

# Of the seeds: labels that are made by a training are the same for every run.
GENERATION_SEED = 0
# Images of a streamed data set that are read at once.
_CHUNK = 256


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
        splits = _decode_all(dataset, spec["image_size"], folder)
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
        digest=_arrays.digest([*splits["train"], *splits["test"]]),
        x_validation=validation[0],
        y_validation=validation[1],
    )


def _decode_all(dataset, image_size, folder):
    """Return `(images, labels)` of each split of a streamed data set.

    Decoding once makes an epoch a read of uint8 in any order, and SEAL's passes and
    resuming work as they do for arrays.
    """
    splits = {}
    for split in dataset.splits:
        path = os.path.join(folder, f"{dataset.name}-{image_size}", split)
        if not os.path.exists(os.path.join(path, "done.json")):
            _decode(dataset, split, image_size, path)
        images = np.load(os.path.join(path, "images.npy"), mmap_mode="r")
        splits[split] = images, np.load(os.path.join(path, "labels.npy"))
    return splits


def _decode(dataset, split, image_size, path):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    count = dataset.num_examples(split)
    images = np.lib.format.open_memmap(
        os.path.join(path, "images.npy"),
        mode="w+",
        dtype=np.uint8,
        shape=(count, image_size, image_size, 3),
    )
    labels = np.zeros(count, np.int64)
    pipeline = dataset.pipeline(split, image_size=image_size).batch(_CHUNK)
    for ids, batch, classes in pipeline.as_numpy_iterator():
        images[ids], labels[ids] = batch, classes
    images.flush()
    np.save(os.path.join(path, "labels.npy"), labels)
    # Written last: a killed process leaves a folder that is made again.
    _files.write_json(os.path.join(path, "done.json"), {"examples": count})


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
