"""Images: those of a folder with a sub folder for each class, and their pixels."""

import os
import warnings

import numpy as np

from keras_noisy._checks.errors import Described, message
from keras_noisy._data import pictures

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_SIDE = 64
_PIXELS = 32
_PIECE = 1024
_SHOWN = 5
_PARTS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev")


def read_folder(owner, folder, skip_broken):
    """Return the images of `folder/CLASS/...`, their classes, paths and notes.

    Args:
        owner: Name of the public function, for errors.
        folder: The folder, an `os.PathLike`.
        skip_broken: Whether files that are no images are left out.

    Returns:
        Images, uint8 `(n, 64, 64, 3)`; the name of the class of each; the path of each
        file, which begins with `folder`; and sentences on what was left out.
    """
    paths, labels, notes = _scan(owner, os.fspath(folder))
    image_module = _pillow(owner)
    images = np.empty((len(paths), _SIDE, _SIDE, 3), np.uint8)
    broken = []
    for row, path in enumerate(paths):
        try:
            with warnings.catch_warnings():
                # Of large or odd images; they are made small here.
                warnings.simplefilter("ignore")
                with image_module.open(path) as image:
                    small = pictures.as_rgb(image).resize((_SIDE, _SIDE))
        # Pillow raises half a dozen types on damaged bytes.
        except Exception:
            broken.append(row)
        else:
            images[row] = np.asarray(small)
    if not broken:
        return images, labels, paths, notes
    found = _names([paths[row] for row in broken])
    if not skip_broken:
        expected = "a folder of images that can be read"
        received = Described(f"{len(broken)} of {len(paths)} broken: {found}")
        mend = "Mend or remove them, or leave them out with `skip_broken`."
        raise ValueError(message(owner, "x", expected, received, mend))
    whole = np.setdiff1d(np.arange(len(paths)), broken)
    are = (
        "file that is no image was"
        if len(broken) == 1
        else "files that are no images were"
    )
    note = f"{len(broken)} {are} left out: {found}."
    labels, paths = ([column[row] for row in whole] for column in (labels, paths))
    return images[whole], labels, paths, [*notes, note]


def _scan(owner, folder):
    """Return paths of all image files below the folders of classes, classes, notes."""
    if not os.path.isdir(folder):
        expected = "an existing folder with a sub folder for each class"
        raise FileNotFoundError(message(owner, "x", expected, folder))
    with os.scandir(folder) as entries:
        entries = sorted((e.name, e.is_dir()) for e in entries if e.name[0] != ".")
    names = [name for name, is_dir in entries if is_dir]
    outside = [name for name, is_dir in entries if not is_dir and _is_image(name)]
    paths, labels, empty = [], [], []
    for name in names:
        before = len(paths)
        for inside, folders, found in os.walk(os.path.join(folder, name)):
            folders[:] = sorted(name for name in folders if name[0] != ".")
            files = [f for f in sorted(found) if _is_image(f) and f[0] != "."]
            paths += [os.path.join(inside, f) for f in files]
        labels += [name] * (len(paths) - before)
        empty += [name] if len(paths) == before else []
    if len(names) - len(empty) < 2:
        expected = "a folder with CLASS/IMAGE files for two classes or more"
        mend = f"There are no images ({', '.join(_SUFFIXES)}) in {_names(empty)}."
        mend = mend if empty else "It has no sub folders with images."
        raise ValueError(message(owner, "x", expected, folder, mend))
    _check_parts(owner, folder, paths, labels)
    notes = []
    if outside:
        what = "Images that are in no folder of a class were left out"
        notes.append(f"{what}: {_names(outside)}.")
    if empty:
        notes.append(f"Folders without an image were left out: {_names(empty)}.")
    return paths, labels, notes


def _is_image(name):
    return name.lower().endswith(_SUFFIXES)


def _check_parts(owner, folder, paths, labels):
    """Raise if the folders are parts of a data set, with the classes inside."""
    parts = list(dict.fromkeys(labels))
    if not all(part.lower() in _PARTS for part in parts):
        return
    inside = [os.path.relpath(path, folder).split(os.sep)[1:-1] for path in paths]
    classes = sorted({folders[0] for folders in inside if folders})
    if classes:
        expected = "a folder with a sub folder for each class"
        received = Described(f"parts {_names(parts)} with folders {_names(classes)}")
        mend = f"Pass one part, for instance {os.path.join(folder, parts[0])!r}."
        raise ValueError(message(owner, "x", expected, received, mend))


def _names(names):
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _pillow(owner):
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"{owner}: a folder of images needs Pillow. Install it with `pip install "
            "pillow`."
        ) from error
    return Image


def are_images(x):
    """Whether `x` is an array `(n, height, width)` or with 1, 3 or 4 channels."""
    shape = getattr(x, "shape", ())
    is_grey = len(shape) == 3 and min(shape[1:]) > 4
    return is_grey or (len(shape) == 4 and shape[3] in (1, 3, 4))


def pixels(images):
    """Return images as rows of at most 32 x 32 pixels, float32 `(n, d)`."""
    images = images[..., None] if images.ndim == 3 else images
    factor = -(-max(images.shape[1:3]) // _PIXELS)
    high, wide = (max(1, side // factor) for side in images.shape[1:3])
    channels = images.shape[3]
    rows = np.empty((len(images), high * wide * channels), "float32")
    for start in range(0, len(images), _PIECE):
        part = np.asarray(images[start : start + _PIECE], "float32")
        part = part[:, : high * factor, : wide * factor]
        shape = (len(part), high, part.shape[1] // high, wide, -1, channels)
        means = part.reshape(shape).mean(axis=(2, 4))
        rows[start : start + len(part)] = means.reshape(len(part), -1)
    return rows
