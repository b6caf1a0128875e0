"""Folders of image files: one folder per class, and Clothing1M's lists."""

import os
import pathlib

import numpy as np

from keras_noisy._checks.errors import message
from keras_noisy.datasets import _class_names
from keras_noisy.datasets.streamed_dataset import StreamedDataset
from keras_noisy.noise.noisy_labels import NoisyLabels

_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".gif")
_TEST_FOLDERS = ("test", "val", "validation")
_SPLITS = {"train", "training", "testing", "valid", "dev", "eval", *_TEST_FOLDERS}
_CLOTHING1M_SPLITS = {
    "train": ("noisy_train_key_list.txt", "noisy_label_kv.txt"),
    "clean_train": ("clean_train_key_list.txt", "clean_label_kv.txt"),
    "validation": ("clean_val_key_list.txt", "clean_label_kv.txt"),
    "test": ("clean_test_key_list.txt", "clean_label_kv.txt"),
}


class FileSplit:
    """A split that is streamed from image files.

    Args:
        folder: The folder that `paths` are relative to.
        paths: The files, in the order of their ids.
        labels: Their class ids, int64 `(n,)`.
    """

    def __init__(self, folder, paths, labels):
        # As objects: NumPy's own strings take four bytes a character, here 300 MB.
        self.paths = np.array([os.path.join(folder, path) for path in paths], object)
        self.labels = np.asarray(labels, np.int64)
        self.size = len(self.paths)

    def stream(self, tf, shuffle, seed, skip=0):
        """Return a data set of `(id, image, label)`, but for the first `skip`."""
        paths, labels = tf.constant(self.paths), tf.constant(self.labels)
        dataset = tf.data.Dataset.range(self.size)
        if shuffle:
            dataset = dataset.shuffle(self.size, seed=seed)
        # Before anything is read.
        dataset = dataset.skip(skip)

        def read(sample_id):
            image = tf.io.decode_image(
                tf.io.read_file(paths[sample_id]), channels=3, expand_animations=False
            )
            image.set_shape((None, None, 3))
            return sample_id, image, labels[sample_id]

        return dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def has_splits(folder):
    """Whether there is a folder `train`, and it is not one of a class `train`."""
    train = folder / "train"
    return train.is_dir() and (bool(_subfolders(train)) or not _images(train))


def load_flat(owner, name, folder):
    """Return the data set of `folder/CLASS/*`, all of it as the split "train"."""
    names = _subfolders(folder)
    empty = [name for name in names if not _images(folder / name)]
    are_splits = _SPLITS.issuperset(name.lower() for name in names)
    if len(names) < 2 or empty or are_splits:
        expected = (
            "a folder with CLASS/IMAGE files for two classes or more, one with "
            "train/CLASS/IMAGE and val/CLASS/IMAGE files, or one that TFDS prepared"
        )
        mend = f"There are no images in {empty[0]}." if empty else ""
        raise ValueError(message(owner, "source", expected, str(folder), mend))
    sources = {"train": _scan(owner, folder, names)}
    return StreamedDataset(name, sources, tuple(names))


def load_splits(owner, name, folder):
    """Return the data set of `folder/train/CLASS/*` and `folder/val/CLASS/*`."""
    train_folder = folder / "train"
    names = _subfolders(train_folder)
    test_folders = [folder / name for name in _TEST_FOLDERS if (folder / name).is_dir()]
    if not names or not test_folders:
        expected = (
            "a folder with train/CLASS/IMAGE files and the same under one of "
            f"{', '.join(_TEST_FOLDERS)}"
        )
        raise ValueError(message(owner, "source", expected, str(folder)))
    if _subfolders(test_folders[0]) != names:
        expected = f"a folder with the same classes in {test_folders[0].name} as train"
        mend = (
            "Put each image in a folder that is named after its class, also those of "
            "ImageNet's validation set, which comes without such folders."
        )
        raise ValueError(message(owner, "source", expected, str(folder), mend))
    sources = {
        "train": _scan(owner, train_folder, names),
        "test": _scan(owner, test_folders[0], names),
    }
    return StreamedDataset(name, sources, tuple(names))


def _subfolders(folder):
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and e.name[0] != ".")


def _images(folder):
    files = sorted(os.listdir(folder))
    return [f for f in files if f.lower().endswith(_SUFFIXES) and f[0] != "."]


def _scan(owner, folder, names):
    paths, labels = [], []
    for class_id, name in enumerate(names):
        nested = _subfolders(folder / name)
        if nested:
            expected = f"a folder with images, and no folders, in {folder.name}/{name}"
            mend = f"Move the images of {nested[0]} up, or it away."
            raise ValueError(message(owner, "source", expected, str(folder), mend))
        files = _images(folder / name)
        paths += [os.path.join(name, file) for file in files]
        labels += [class_id] * len(files)
    if not paths:
        expected = f"a folder with {', '.join(_SUFFIXES)} images below {folder.name}"
        raise ValueError(message(owner, "source", expected, str(folder)))
    return FileSplit(folder, paths, labels)


def load_clothing1m(owner, folder):
    """Return Clothing1M from the folder that its authors give out.

    The lists may also lie in a folder `annotations` of their own.
    """
    lists = folder / "annotations"
    if not (lists / "noisy_label_kv.txt").is_file():
        lists = folder
    labels = {
        file: _read_labels(owner, lists / file)
        for file in ("noisy_label_kv.txt", "clean_label_kv.txt")
    }
    sources = {
        split: _read_split(owner, folder, lists / keys, labels[file])
        for split, (keys, file) in _CLOTHING1M_SPLITS.items()
    }
    clean, noisy = labels["clean_label_kv.txt"], labels["noisy_label_kv.txt"]
    both = [key for key in clean if key in noisy]
    noisy_labels = NoisyLabels(
        np.array([noisy[key] for key in both], np.int64),
        np.array([clean[key] for key in both], np.int64),
        len(_class_names.CLOTHING1M),
    )
    names = _class_names.CLOTHING1M
    return StreamedDataset("clothing1m", sources, names, noisy_labels=noisy_labels)


def _read_lines(owner, path):
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        expected = f"the folder of Clothing1M, with {path.name}"
        text = message(owner, "source", expected, str(path.parent))
        raise FileNotFoundError(text) from error
    return [line.strip() for line in lines if line.strip()]


def _read_labels(owner, path):
    """Return the labels of a file of "image label" lines, by image."""
    labels, num_classes = {}, len(_class_names.CLOTHING1M)
    for number, line in enumerate(_read_lines(owner, path), start=1):
        key, _, label = line.rpartition(" ")
        if not key or not label.isdecimal() or int(label) >= num_classes:
            expected = (
                f"the folder of Clothing1M, whose {path.name} has lines of an image "
                f"and a class id in [0, {num_classes})"
            )
            mend = f"Line {number} is {line!r}."
            raise ValueError(message(owner, "source", expected, str(path), mend))
        labels[key] = int(label)
    return labels


def _read_split(owner, folder, path, labels):
    keys = _read_lines(owner, path)
    missing = [key for key in keys if key not in labels]
    if missing or not keys:
        expected = f"the folder of Clothing1M, with a label for each key of {path.name}"
        mend = f"{len(missing)} of {len(keys)} have none, the first {missing[:1]}."
        raise ValueError(message(owner, "source", expected, str(folder), mend))
    if not pathlib.Path(folder, keys[0]).is_file():
        expected = f"the folder of Clothing1M, with the images of {path.name}"
        mend = f"There is no {keys[0]}. Untar the images there."
        text = message(owner, "source", expected, str(folder), mend)
        raise FileNotFoundError(text)
    return FileSplit(folder, keys, [labels[key] for key in keys])
