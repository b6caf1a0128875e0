"""Loading data sets by name."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
from typing import Any

import keras
import numpy as np

from keras_noisy._checks.errors import check_choice, check_path, message
from keras_noisy._data import npz
from keras_noisy.datasets import _class_names, _folders, _shared, _tfds
from keras_noisy.datasets.dataset import Dataset, check_images
from keras_noisy.datasets.read_label_file import LABEL_SETS, read_label_file
from keras_noisy.datasets.streamed_dataset import StreamedDataset
from keras_noisy.noise.noisy_labels import NoisyLabels

_OWNER = "load"
_CUSTOM = "custom"
_STREAMED = ("clothing1m", "imagenet2012")
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_SOURCES = (
    "None, 'tfds', a builder of TensorFlow Datasets, or an existing .npz file or folder"
)
_MEND = {
    "imagenet2012": "Pass a folder with train/CLASS/* and val/CLASS/*, or 'tfds'.",
    "clothing1m": "Its authors give it out on request; pass the folder.",
    "custom": "It is the name for data of your own.",
}
_LABEL_FILES = "https://github.com/UCSC-REAL/cifar-10-100n/raw/main/data/"


@dataclasses.dataclass(frozen=True)
class _Known:
    """What is known of a data set before it is loaded.

    Attributes:
        shape: `(h, w, c)` of its images.
        class_names: Names of its classes.
        base: Its name in `keras.datasets`.
        label_file: Name of the file with its human labels.
        label_sets: Which label sets the file has.
    """

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    base: str
    label_file: str | None = None
    label_sets: tuple[str, ...] = ()


_CIFAR = (32, 32, 3)
_KNOWN = {
    "digits": _Known((8, 8, 1), _class_names.DIGITS, "digits"),
    "mnist": _Known((28, 28, 1), _class_names.DIGITS, "mnist"),
    "fashion_mnist": _Known((28, 28, 1), _class_names.FASHION_MNIST, "fashion_mnist"),
    "cifar10": _Known(_CIFAR, _class_names.CIFAR10, "cifar10"),
    "cifar100": _Known(_CIFAR, _class_names.CIFAR100, "cifar100"),
    "cifar10_n": _Known(
        _CIFAR,
        _class_names.CIFAR10,
        "cifar10",
        "CIFAR-10_human.pt",
        ("aggre", "worst", "random1", "random2", "random3"),
    ),
    "cifar100_n": _Known(
        _CIFAR, _class_names.CIFAR100, "cifar100", "CIFAR-100_human.pt", ("noisy_fine",)
    ),
}

# The digest, as of `noise.NoisyLabels`, of the training labels in the order of
# `keras.datasets`: a file with these labels has this order.
_LABELS_IN_KERAS_ORDER = {
    "mnist": "b2b99337e587a8e2be14a109a76237256a1713a577f4d9c2c73b23484ab2cbcb",
    "cifar10": "9c53dc2c001574ab3f1b78d48632b8a82d0003c754bf7367f230280068e118a4",
}


def load(
    name: str,
    *,
    source: str | os.PathLike[str] | Any = None,
    label_file: str | os.PathLike[str] | None = None,
    labels: str | None = None,
) -> Dataset | StreamedDataset:
    """Load a data set, with ids for joining published noisy labels.

    | name | without `source` | else |
    |---|---|---|
    | "digits" | scikit-learn, a quarter for testing | `.npz` |
    | "mnist", "fashion_mnist", "cifar10", "cifar100" | `keras.datasets` | any |
    | "cifar10_n", "cifar100_n" | `keras.datasets`, with human labels | any |
    | "imagenet2012" | | TFDS, or class folders |
    | "clothing1m" | | the authors' folder |
    | "custom" | | a builder, `.npz`, prepared or class folders |

    `keras.datasets`, "tfds" and the human labels download missing files; other sources
    never download anything.

    Args:
        name: Name of the data set.
        source: None; "tfds" for TensorFlow Datasets, or a builder of it; a `.npz` file
            with `x_train`, `y_train`, `x_test`, `y_test` and, optionally,
            `class_names`; or a folder: a `data_dir` of TFDS, a data set that TFDS
            prepared, images as `train/CLASS/*` and `val/CLASS/*`, for "custom" also
            as `CLASS/*`, or Clothing1M. All images of `CLASS/*` are the split
            "train", in the order of `keras.utils.image_dataset_from_directory` with
            `shuffle=False`; nothing is held out, and there is no split "test".
        label_file: A file with noisy labels of the training set, for
            `read_label_file`. For CIFAR-N None takes the labels of a builder of the
            same name, or else downloads the authors' file.
        labels: Which label set: "aggre", "worst", "random1", "random2" or "random3" for
            "cifar10_n", without a default because these are between 9 and 40 % wrong;
            for other files the `key` of `read_label_file`.

    Returns:
        A `Dataset`; for "imagenet2012", "clothing1m" and class folders a
        `StreamedDataset`. TFDS's CIFAR comes sorted by its ids, in the order of
        `keras.datasets`; other data of TFDS in TFDS's order. See `Dataset.order`.

    Raises:
        FileNotFoundError: If `source` or `label_file` does not exist.
        ModuleNotFoundError: If a package that the source needs is not installed.
        ValueError: If there is no such name, the source does not fit it or is damaged,
            or the label file does not belong to it.

    Example:
        >>> from keras_noisy import datasets
        >>> digits = datasets.load("digits")
        >>> digits
        Dataset('digits', train=(1347, 8, 8, 1), test=(450, 8, 8, 1), num_classes=10, \
order='scikit-learn')
    """
    check_choice(_OWNER, "name", name, (*_KNOWN, *_STREAMED, _CUSTOM))
    for argument, value in (("label_file", label_file), ("labels", labels)):
        if value is not None:
            check_path(_OWNER, argument, value, "a string, or None")
    known = _KNOWN.get(name)
    _check_label_set(name, known, labels, label_file)
    read = _reader(name, source)
    dataset, columns = read()
    if isinstance(dataset, Dataset):
        return _with_noisy_labels(dataset, known, columns, label_file, labels)
    if label_file is not None:
        expected = "None for a data set that is streamed"
        mend = "read_label_file(path, dataset.y_train) joins labels to it."
        raise ValueError(message(_OWNER, "label_file", expected, label_file, mend))
    return dataset


def _check_label_set(name, known, labels, label_file):
    sets = known.label_sets if known else ()
    if len(sets) > 1 and labels not in sets and label_file is None:
        expected = f"one of {', '.join(map(repr, sets))} for {name!r}"
        raise ValueError(message(_OWNER, "labels", expected, labels))
    if not sets and labels is not None and label_file is None:
        expected = f"None for {name!r} without `label_file`"
        mend = "Human labels have 'cifar10_n' and 'cifar100_n'."
        raise ValueError(message(_OWNER, "labels", expected, labels, mend))


# --- where the data come from


def _reader(name, source):
    """Return a function that returns the data set, and further columns of TFDS."""
    if source is None:
        return functools.partial(_read_default, name)
    if _tfds.is_builder(source) or (isinstance(source, str) and source == "tfds"):
        _check_in_tfds(name, source)
        return functools.partial(_read_tfds, name, source)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(message(_OWNER, "source", _SOURCES, source))
    path = pathlib.Path(source).expanduser()
    if not path.exists() or not os.fspath(source):
        raise FileNotFoundError(message(_OWNER, "source", _SOURCES, str(source)))
    if path.is_file():
        return functools.partial(_read_npz, name, path)
    return functools.partial(_read_folder, name, path)


def _check_in_tfds(name, source):
    is_known_there = name not in ("digits", "clothing1m", _CUSTOM)
    if not is_known_there and not (name == _CUSTOM and _tfds.is_builder(source)):
        expected = f"another one for {name!r}, which is not in TFDS"
        raise ValueError(message(_OWNER, "source", expected, source))


def _read_default(name):
    if name not in _KNOWN:
        expected = f"given for {name!r}, which cannot be downloaded"
        raise ValueError(message(_OWNER, "source", expected, None, _MEND[name]))
    if name == "digits":
        return _assemble(name, _split_digits(), _shared.SKLEARN), {}
    module = getattr(keras.datasets, _KNOWN[name].base)
    (x_train, y_train), (x_test, y_test) = module.load_data()
    arrays = dict(zip(_ARRAYS, (x_train, y_train, x_test, y_test), strict=True))
    return _assemble(name, arrays, _shared.KERAS), {}


def _split_digits():
    """Return scikit-learn's 1,797 digits, a random quarter of them for testing."""
    datasets = _shared.require(_OWNER, "sklearn.datasets", "'digits'")
    selection = _shared.require(_OWNER, "sklearn.model_selection", "'digits'")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8) * (255 / 16)).astype("uint8")
    x_train, x_test, y_train, y_test = selection.train_test_split(
        x, y, test_size=0.25, random_state=0, stratify=y
    )
    return dict(zip(_ARRAYS, (x_train, y_train, x_test, y_test), strict=True))


def _read_tfds(name, source):
    names = [name]
    if name in _KNOWN and _KNOWN[name].base != name:
        names.append(_KNOWN[name].base)
    builder = _tfds.builder_for(_OWNER, names, source)
    if name == "imagenet2012" or not _tfds.fits_in_memory(builder):
        return _tfds.load_stream(name, builder), {}
    arrays, columns, order = _tfds.load_arrays(builder)
    names = None if name in _KNOWN else _tfds.class_names(builder)
    return _assemble(name, arrays, order, names), columns


def _read_npz(name, path):
    if name in _STREAMED:
        expected = f"a folder for {name!r}"
        raise ValueError(message(_OWNER, "source", expected, str(path)))
    try:
        with open(path, "rb") as file:
            archive = npz.Npz(file)
            arrays = {key: archive[key] for key in _ARRAYS if key in archive.names}
            names = archive["class_names"] if "class_names" in archive.names else None
        if names is not None and names.ndim != 1:
            raise ValueError(f"its 'class_names' have the shape {names.shape}")
        scalars = [key for key, array in arrays.items() if array.ndim == 0]
        if scalars:
            raise ValueError(f"its {scalars[0]!r} is one number")
    except MemoryError:
        raise
    # zipfile, zlib and NumPy raise half a dozen types on damaged bytes.
    except Exception as error:
        expected = "an undamaged .npz file"
        mend = f"({type(error).__name__}: {error}) Copy or download it again."
        text = message(_OWNER, "source", expected, str(path), mend)
        raise ValueError(text) from error
    missing = [key for key in _ARRAYS if key not in arrays]
    if missing:
        expected = f"a .npz file with {', '.join(_ARRAYS)}"
        mend = f"It has no {', '.join(missing)}."
        raise ValueError(message(_OWNER, "source", expected, str(path), mend))
    names = None if names is None or name in _KNOWN else tuple(map(str, names))
    base = _KNOWN[name].base if name in _KNOWN else name
    order = _shared.FILE
    if _digest(arrays["y_train"]) == _LABELS_IN_KERAS_ORDER.get(base):
        order = _shared.KERAS
    return _assemble(name, arrays, order, names), {}


def _digest(labels):
    labels = np.asarray(labels).reshape(-1)
    content = str(labels.shape).encode() + labels.astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()


def _read_folder(name, folder):
    if name == "clothing1m":
        return _folders.load_clothing1m(_OWNER, folder), {}
    may_be_images = name in ("imagenet2012", _CUSTOM) and not _tfds.is_prepared(folder)
    if may_be_images and _folders.has_splits(folder):
        return _folders.load_splits(_OWNER, name, folder), {}
    if may_be_images and name == _CUSTOM and not _tfds.prepared_versions(folder / name):
        return _folders.load_flat(_OWNER, name, folder), {}
    if name == "digits":
        expected = "None or a .npz file for 'digits'"
        raise ValueError(message(_OWNER, "source", expected, str(folder)))
    return _read_tfds(name, folder)


def _assemble(name, arrays, order, class_names=None):
    """Return the data set of four arrays."""
    if name not in _KNOWN:
        return Dataset(name, **arrays, class_names=class_names, order=order)
    known = _KNOWN[name]
    arrays = check_images(_OWNER, name, arrays, known.shape)
    superclasses = superclass_names = None
    if known.base == "cifar100":
        superclasses = _class_names.cifar100_superclasses()
        superclass_names = _class_names.CIFAR100_SUPERCLASSES
    return Dataset(
        name,
        **arrays,
        class_names=known.class_names,
        superclasses=superclasses,
        superclass_names=superclass_names,
        order=order,
    )


# --- the noisy labels that come with it


def _with_noisy_labels(dataset, known, columns, label_file, labels):
    """Return the data set with the labels of a file or of TFDS, if there are any."""
    sets = known.label_sets if known else ()
    if labels is None and len(sets) == 1:
        (labels,) = sets
    if label_file is None and not sets:
        return dataset
    found = [columns[key] for key in LABEL_SETS.get(labels, ()) if key in columns]
    if label_file is None and found:
        noisy = NoisyLabels(found[0], dataset.y_train, dataset.num_classes)
    else:
        if label_file is None:
            file = known.label_file
            label_file = keras.utils.get_file(file, origin=_LABEL_FILES + file)
        noisy = read_label_file(label_file, dataset, key=labels)
    return dataclasses.replace(dataset, noisy_labels=noisy)
