"""Images of files, decoded once into an array on disk."""

import hashlib
import os

import numpy as np

from keras_noisy._checks.errors import message
from keras_noisy._data import files
from keras_noisy._data.run_folder import RunFolder
from keras_noisy.datasets import _shared

_CHUNK = 256
# Written between two notes of how far it is.
_BYTES = 1 << 28
_FORM = "keras_noisy.arrays/1"
_PROGRESS, _IMAGES, _LABELS = "progress.json", "images.npy", "labels.npy"
_FILES = r"(images|labels)\.npy"


def decode(owner, dataset, split, size, folder, stream):
    """Return `(images, labels)` of a split as arrays in `folder`, memory maps.

    What a killed process has decoded is not decoded again. `stream(skip)` returns a
    data set of `(id, image, label)`, but for the first `skip`.
    """
    count, paths = dataset.num_examples(split), dataset.paths(split)
    identity = {
        "name": dataset.name,
        "split": split,
        "image_size": list(size),
        "num_examples": count,
        "files": _digest(paths, dataset.sources[split].labels),
    }
    run = RunFolder(owner, folder, _FORM, _PROGRESS, _FILES, argument="folder")
    state = run.open(("done",), lock=False, **identity)
    # Several processes may read what is finished.
    if state is None or state["done"] < count:
        with run.held():
            _finish(run, split, paths, stream, identity)
    return _mapped(run, _IMAGES, "r"), _mapped(run, _LABELS, "r")


def _finish(run, split, paths, stream, identity):
    """Decode what is not decoded yet."""
    count, size = identity["num_examples"], identity["image_size"]
    state = run.open(("done",), **identity)
    if state is None:
        run.write(done=0)
    start = 0 if state is None else state["done"]
    if not start:
        with run.explained():
            _allocate(run.file(_IMAGES), np.uint8, (count, *size, 3))
            _allocate(run.file(_LABELS), np.int64, (count,))
    arrays = [_mapped(run, name, "r+") for name in (_IMAGES, _LABELS)]
    for done in _decode_rest(run.owner, split, paths, stream, start, arrays):
        if done == count:
            run.note(_LABELS)
        run.write(done=done)


def _mapped(run, name, mode):
    """Return a file as an array, or raise if it is damaged.

    Images have no digest: it would take as long as to read all of them.
    """
    with run.reading(name) as path:
        array = np.load(path, mmap_mode=mode)
        if os.path.getsize(path) != array.offset + array.nbytes:
            raise ValueError("its size is another")
        return array


def _decode_rest(owner, split, paths, stream, done, arrays):
    """Fill the arrays, and yield how many examples are in the files."""
    images, labels = arrays
    often = max(1, _BYTES // (_CHUNK * int(np.prod(images.shape[1:])))) * _CHUNK
    tf = _shared.require(owner, "tensorflow", "decoding")
    batches = stream(done).batch(_CHUNK)
    try:
        for ids, batch, classes in batches.as_numpy_iterator():
            images[ids], labels[ids] = batch, classes
            done += len(ids)
            if done % often == 0 or done == len(labels):
                images.flush()
                labels.flush()
                yield done
    except tf.errors.OpError as error:
        path = _broken(tf, paths, done)
        if path is None:
            raise
        expected = "a data set of images"
        mend = (
            f"{path} is damaged, or is no image: mend it, or put another in its place."
        )
        raise ValueError(message(owner, "split", expected, split, mend)) from error


def _broken(tf, paths, first):
    """Return the first file that is no image among the next ones, or None."""
    for path in [] if paths is None else paths[first : first + 2 * _CHUNK]:
        try:
            tf.io.decode_image(
                tf.io.read_file(path), channels=3, expand_animations=False
            )
        except tf.errors.OpError:
            return path
    return None


def _digest(paths, labels):
    """Return what identifies files with labels, wherever their folder lies, or None."""
    if paths is None:
        return None
    start = len(os.path.commonpath(list(paths)))
    state = hashlib.blake2b(digest_size=8)
    for path, label in zip(paths, labels, strict=True):
        state.update(f"{path[start:]} {label}\n".encode())
    return state.hexdigest()


def _allocate(path, dtype, shape):
    """Make the file of an array."""
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with open(path, "r+b") as file:
        files.claim_room(file, os.path.getsize(path))
