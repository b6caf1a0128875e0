"""The record of what an injector did to the labels."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np

from keras_noisy._checks.errors import (
    as_array,
    check_count,
    check_path,
    describe_array,
    message,
)
from keras_noisy._checks.labels import check_class_ids, check_labels
from keras_noisy._data import files, npz
from keras_noisy._typing import BoolArray, FilePath, FloatArray, IntArray, Self

_FORMAT = "keras_noisy.NoisyLabels/2"
# Its files have no digest of everything.
_OLD_FORMAT = "keras_noisy.NoisyLabels/1"
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class NoisyLabels:
    """Noisy labels beside the clean ones, and what a paper says about them.

    `corrupt_labels` makes it. The arrays are read-only copies, so that the digest
    stays true; `noisy.copy()` gives an array that can be changed.

    Args:
        noisy: Class ids after the noise, `(n,)`, any integer dtype. Or multi-hot labels
            `(n, L)` with two classes, or maps of class ids of three dimensions and
            more; each entry is a label then.
        clean: Class ids before it, of the same shape, any integer dtype.
        num_classes: Number of classes `C`.
    """

    noisy: np.ndarray
    clean: np.ndarray
    num_classes: int

    def __post_init__(self) -> None:
        num_classes = check_count("NoisyLabels", "num_classes", self.num_classes, low=2)
        object.__setattr__(self, "num_classes", num_classes)
        for name in ("noisy", "clean"):
            array = _as_labels(name, getattr(self, name), num_classes)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.noisy.shape != self.clean.shape:
            raise ValueError(
                message(
                    "NoisyLabels",
                    "clean",
                    f"of the shape {self.noisy.shape} of `noisy`",
                    describe_array(self.clean),
                )
            )

    @functools.cached_property
    def is_corrupted(self) -> BoolArray:
        """Mask of the shape of the labels: where noisy and clean ones differ."""
        mask = self.noisy != self.clean
        mask.flags.writeable = False
        return mask

    @functools.cached_property
    def rate(self) -> float:
        """Realised noise rate: the share of wrong labels. NaN without labels."""
        if self.noisy.size == 0:
            return float("nan")
        return int(np.count_nonzero(self.is_corrupted)) / self.noisy.size

    @functools.cached_property
    def transition_matrix(self) -> FloatArray:
        """Realised transition matrix, float64 `(C, C)`: counts divided by row sums.

        The row of a class that has no example is NaN: nothing is known about it.
        """
        num_classes = self.num_classes
        counts: IntArray = np.zeros(num_classes * num_classes, dtype=np.int64)
        for start in range(0, self.noisy.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            cells = self.clean.reshape(-1)[part].astype(np.int64) * num_classes
            cells += self.noisy.reshape(-1)[part].astype(np.int64)
            if counts.size <= _CHUNK:
                counts += np.bincount(cells, minlength=counts.size)
            else:
                np.add.at(counts, cells, 1)
        counts = counts.reshape(num_classes, num_classes)
        sizes = counts.sum(axis=1, keepdims=True)
        matrix = np.full(counts.shape, np.nan)
        np.divide(counts, sizes, out=matrix, where=sizes > 0)
        matrix.flags.writeable = False
        return matrix

    @functools.cached_property
    def transition_matrices(self) -> FloatArray:
        """Realised transition matrix of each label of multi-hot ones, `(L, 2, 2)`.

        Raises:
            ValueError: If labels are not multi-hot.
        """
        if self.noisy.ndim != 2:
            expected = "multi-hot labels (n, L)"
            received = describe_array(self.noisy)
            raise ValueError(message("NoisyLabels", "noisy", expected, received))
        pairs = zip(self.noisy.T, self.clean.T, strict=True)
        return np.stack(
            [NoisyLabels(noisy, clean, 2).transition_matrix for noisy, clean in pairs]
        )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the noisy labels, 64 hexadecimal digits, for a paper to quote.

        It does not depend on dtype or machine. Without this package:
        `hashlib.sha256(str(noisy.shape).encode() + noisy.astype("<i8").tobytes())`.
        """
        return _digest(self.noisy)

    def save(self, path: FilePath) -> None:
        """Write everything to `path`, a compressed `.npz` file without pickles.

        The file appears under its name only when it is complete: what was there
        before survives an interruption. Labels of more than 128 MiB are not compressed.
        """
        path = check_path("NoisyLabels.save", "path", path)
        # So that `load`, which unpacks no file without a limit, reads all of them.
        is_large = self.noisy.nbytes + self.clean.nbytes > npz.FREE_BYTES // 2
        write = np.savez if is_large else np.savez_compressed
        content: dict[str, Any] = {
            "format": np.array(_FORMAT),
            "noisy": self.noisy,
            "clean": self.clean,
            "num_classes": np.array(self.num_classes),
            **self._digests(),
        }
        with files.atomic_writer(path) as file:
            write(file, **content)

    def _digests(self):
        """Return the digests in a file by name, the last one of all that it holds."""
        digests = {"digest": self.digest, "clean_digest": _digest(self.clean)}
        parts = (_FORMAT, self.num_classes, self.noisy.dtype.str, self.clean.dtype.str)
        content = " ".join(map(str, (*parts, *digests.values())))
        digests["file_digest"] = hashlib.sha256(content.encode()).hexdigest()
        return digests

    @classmethod
    def load(cls, path: FilePath) -> Self:
        """Read what `save` wrote, and verify its digests, which cover all that is read.

        Files of version 0.1 are read too. Their digests cover the labels and not
        `num_classes`; save them again to have that covered.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or is something else.
        """
        path = check_path("NoisyLabels.load", "path", path)
        with open(path, "rb") as file:
            try:
                archive = npz.Npz(file)
                form = str(archive["format"])
                if form not in (_FORMAT, _OLD_FORMAT):
                    raise ValueError(f"its format is {form!r}")
                labels = archive["noisy"], archive["clean"]
                result = cls(*labels, archive["num_classes"][()])
                for name, digest in result._digests().items():
                    is_old = name == "file_digest" and form == _OLD_FORMAT
                    if not is_old and str(archive[name]) != digest:
                        raise ValueError(f"what it holds does not match its {name!r}")
            except MemoryError:
                raise
            # zipfile, zlib and NumPy raise half a dozen types on damaged bytes.
            except Exception as error:
                expected = "an undamaged file that `NoisyLabels.save` wrote"
                mend = (
                    f"({type(error).__name__}: {error}) Copy the file again, or make "
                    "the labels again from the same seed."
                )
                raise ValueError(
                    message("NoisyLabels.load", "path", expected, path, mend)
                ) from error
        return result

    def __repr__(self) -> str:
        return (
            f"NoisyLabels(n={self.noisy.size}, num_classes={self.num_classes}, "
            f"rate={self.rate:.6g}, digest='{self.digest}')"
        )


def _as_labels(name, labels, num_classes):
    """Return an array of class ids of any shape that is a copy, or raise."""
    array = as_array(labels)
    is_multi_hot = array.ndim == 2 and array.shape[1] > 1 and num_classes == 2
    shape = array.shape if is_multi_hot or array.ndim > 2 else None
    flat = array if shape is None else array.reshape(-1)
    flat = np.array(check_labels("NoisyLabels", name, flat))
    check_class_ids("NoisyLabels", name, flat, num_classes)
    return flat if shape is None else flat.reshape(shape)


def _digest(labels):
    state = hashlib.sha256(str(labels.shape).encode())
    for start in range(0, labels.size, _CHUNK):
        part = labels.reshape(-1)[start : start + _CHUNK]
        state.update(part.astype("<i8").tobytes())
    return state.hexdigest()


def of_fresh_arrays(noisy, clean, num_classes):
    """Wrap arrays that are checked and that nobody else holds, without copies."""
    result = object.__new__(NoisyLabels)
    fields = {"noisy": noisy, "clean": clean, "num_classes": num_classes}
    for name, value in fields.items():
        object.__setattr__(result, name, value)
    for array in (noisy, clean):
        array.flags.writeable = False
    return result
