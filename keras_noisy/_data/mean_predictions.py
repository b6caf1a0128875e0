"""The average of predictions, per example, in memory or in files.

Means are float32. An update is computed in float64 and rounds each of them once, which
is within 1e-6 of float64 after 1000 epochs; float64 would be 10 GB for ImageNet.

There are two slots. An update reads one and writes the other, and a small file says
afterwards which is which: a process that is killed leaves the slot before it whole.
"""

import contextlib
import os
import warnings

import numpy as np

from keras_noisy._data import files
from keras_noisy._data.run_folder import RunFolder

_CHUNK_BYTES = 1 << 23
_FORM = "keras_noisy.mean_predictions/2"
_STATE = "state.json"
# The other files that are ever written, those of version 0.1 with them.
_FILES = r"means-[01]\.[fu]32|counts-[01]\.i64|soft_labels\.npy"


class MeanPredictions:
    """Means and counts of the predictions on `num_examples` examples.

    Attributes:
        num_examples: `n`.
        num_classes: `C`.
        storage: Folder, or None for memory.
        first_epoch: The first epoch recorded, None before it.
        next_epoch: The epoch after the last one recorded, None before the first.
    """

    def __init__(
        self, owner, num_examples, num_classes, storage=None, data=None, **folder
    ):
        """Open or create.

        Args:
            owner: Public name, for errors.
            num_examples: Number of examples.
            num_classes: Number of classes.
            storage: Folder, or None.
            data: What identifies the data of this run, ready for JSON.
            **folder: Arguments of `RunFolder`.
        """
        self.owner = owner
        self.num_examples, self.num_classes = int(num_examples), int(num_classes)
        self.chunk = max(1, _CHUNK_BYTES // (8 * self.num_classes))
        # The first and the next epoch of what each slot holds, None where nothing.
        self._slots = [None, None]
        self._current = 0
        self._soft_labels = None
        self._counts = [np.zeros(self.num_examples, np.int64) for _ in range(2)]
        shape = (self.num_examples, self.num_classes)
        self._folder = None if storage is None else _folder(owner, storage, **folder)
        if self._folder is None:
            self._means = [np.empty(shape, np.float32) for _ in range(2)]
        else:
            paths = [self._folder.file(_means(slot)) for slot in range(2)]
            self._means = [RowsOfFile(path, shape) for path in paths]
            self._open(data)

    def _open(self, data):
        folder = self._folder
        state = folder.open(
            ("slots", "current"),
            num_examples=self.num_examples,
            num_classes=self.num_classes,
            data=data,
        )
        if state is None:
            return
        self._slots, self._current = state["slots"], state["current"]
        for slot in range(2):
            if self._slots[slot] is not None:
                with folder.reading(_means(slot)):
                    pass
                with folder.reading(_counts(slot)) as path:
                    self._counts[slot] = np.fromfile(path, np.int64)

    def close(self):
        """Let other processes use the folder."""
        if self._folder is not None:
            self._folder.release()

    @property
    def first_epoch(self):
        """The first epoch recorded, or None."""
        slot = self._slots[self._current]
        return None if slot is None else slot[0]

    @property
    def next_epoch(self):
        """The epoch after the last one recorded, or None."""
        slot = self._slots[self._current]
        return None if slot is None else slot[1]

    @property
    def counts(self):
        """Number of predictions averaged, per example."""
        if self._slots[self._current] is None:
            return np.zeros(self.num_examples, np.int64)
        return self._counts[self._current].copy()

    def clear(self):
        """Forget everything."""
        self._slots = [None, None]
        self._write_state()

    def start(self, epoch):
        """Get ready for `epoch`, the first one of a `fit`.

        Continues where `epoch` comes next, goes one epoch back where it was the last
        one recorded (a run that was killed after recording it and before its own
        checkpoint), and starts again in memory.
        """
        folder = self._folder
        if folder is not None:
            folder.acquire()
            if self.next_epoch is None and epoch > 0:
                warnings.warn(
                    f"{self.owner}: {folder.path!r} holds nothing of the epochs before "
                    f"{epoch}, so the means will not either.",
                    stacklevel=3,
                )
        if self.next_epoch in (None, epoch):
            return
        other = 1 - self._current
        slot = self._slots[other]
        if slot is not None and slot[1] == epoch:
            self._slots[self._current] = None
            self._current = other
            self._write_state()
        elif epoch == self.first_epoch and (
            folder is None or self.next_epoch == epoch + 1
        ):
            self.clear()
        else:
            raise ValueError(
                f"{self.owner}: `fit` must start at epoch {self.next_epoch}, because "
                f"epochs {self.first_epoch} to {self.next_epoch - 1} are recorded "
                f"already{'' if folder is None else ' in ' + folder.path}. "
                f"Received: epoch={epoch}. Restore the model with "
                "`callbacks.AtomicBackupAndRestore` to continue, or use a new "
                "callback with a new folder to begin again."
            )

    def update(self, epoch, chunks):
        """Add the predictions of an epoch.

        Args:
            epoch: Its number.
            chunks: Iterable of `(start, sums, counts)`: for the examples from `start`
                on the sum of their predictions `(k, C)` and how many there were,
                `(k,)`. Together they cover all examples in order.
        """
        target = 1 - self._current
        source = self._current if self._slots[self._current] is not None else None
        first = epoch if source is None else self.first_epoch
        # What is there must not count as a whole slot while it is overwritten.
        self._slots[target] = None
        self._write_state()
        with self._explained_errors():
            digest = self._update_means(source, target, chunks)
            if self._folder is not None:
                self._means[target].sync()
                self._folder.note(_means(target), digest)
                with self._folder.writer(_counts(target)) as file:
                    file.write(self._counts[target].tobytes())
        self._slots[target] = [int(first), int(epoch) + 1]
        self._current = target
        self._soft_labels = None
        self._write_state()

    def _update_means(self, source, target, chunks):
        """Merge the predictions of all examples; return a digest of the new means."""
        digest = files.new_digest()
        if self._folder is not None:
            self._means[target].allocate()
        done = 0
        for start, sums, added in chunks:
            if start != done:
                raise RuntimeError(f"{self.owner}: chunks are not in order.")
            done += len(sums)
            if done > self.num_examples:
                break
            for begin in range(0, len(sums), self.chunk):
                part = slice(begin, begin + self.chunk)
                piece = (start + begin, sums[part], added[part])
                new = self._merged(source, target, *piece)
                if self._folder is not None:
                    digest.update(new)
        if done != self.num_examples:
            raise ValueError(
                f"{self.owner}: predictions must cover {self.num_examples} "
                f"examples. Received: {done}. The data must have the same length "
                "at every epoch."
            )
        return digest.hexdigest()

    def _merged(self, source, target, start, sums, added):
        """Write the means and counts of some examples, and return the means."""
        rows = slice(start, start + len(sums))
        new, total = np.asarray(sums, np.float64), np.asarray(added, np.int64)
        if source is not None:
            before = self._counts[source][rows]
            new = self._means[source][rows].astype(np.float64) * before[:, None] + new
            total = before + total
        new = (new / np.maximum(total, 1)[:, None]).astype(np.float32)
        self._means[target][rows] = new
        self._counts[target][rows] = total
        return new

    def _explained_errors(self):
        """Say what a full disk means for this run."""
        if self._folder is None:
            return contextlib.nullcontext()
        return self._folder.explained(8 * self.num_examples * self.num_classes)

    def _write_state(self):
        if self._folder is not None:
            self._folder.write(slots=self._slots, current=self._current)

    def chunks(self):
        """Yield `(start, means)`, float32 and in order, in pieces of a few MB.

        Raises:
            ValueError: If an example was never seen; its mean does not exist.
        """
        unseen = np.flatnonzero(self.counts == 0)
        if unseen.size:
            raise ValueError(
                f"{self.owner}: `soft_labels` need a prediction on every example. "
                f"{unseen.size} of {self.num_examples} have none, the first ids are "
                f"{unseen[:5].tolist()}. Train at least one whole epoch over all "
                "examples; see `counts`."
            )
        for start in range(0, self.num_examples, self.chunk):
            yield start, self._means[self._current][start : start + self.chunk]

    def soft_labels(self):
        """Return all means, float32 `(n, C)`, as a memory map where there is storage.

        Raises:
            ValueError: If an example was never seen.
        """
        if self._soft_labels is None:
            self._soft_labels = self._collect()
        return self._soft_labels

    def _collect(self):
        if self._folder is None:
            result = np.concatenate([means for _, means in self.chunks()])
            result.flags.writeable = False
            return result
        with self._folder.held(), self._explained_errors():
            path = self._folder.file("soft_labels.npy")
            write_rows(path, (self.num_examples, self.num_classes), self.chunks())
        return np.load(path, mmap_mode="r")


def parts_of(soft_labels):
    """Yield slices of rows and those rows, in pieces of a few MB.

    Reads the file of a memory map: pages that a map has touched stay resident.
    """
    num_examples, num_classes = soft_labels.shape
    if isinstance(soft_labels, np.memmap):
        soft_labels = RowsOfFile.of_map(soft_labels)
    step = max(1, _CHUNK_BYTES // (8 * num_classes))
    for start in range(0, num_examples, step):
        rows = slice(start, min(start + step, num_examples))
        yield rows, soft_labels[rows]


class RowsOfFile:
    """The rows of a float32 array in a file, read and written when asked for.

    Not mapped: a page that was touched counts as resident memory until it is unmapped.
    """

    def __init__(self, path, shape, offset=0):
        self.path, self.shape, self.offset = path, shape, offset

    @classmethod
    def of_map(cls, array):
        """Return the rows of a memory map of an `.npy` file."""
        return cls(array.filename, array.shape, array.offset)

    def allocate(self):
        """Make the file, of its whole size."""
        with open(self.path, "ab") as file:
            size = 4 * self.shape[0] * self.shape[1]
            files.claim_room(file, size)
            file.truncate(size)

    def sync(self):
        """Make what was written durable."""
        with open(self.path, "r+b") as file:
            os.fsync(file.fileno())

    def _seek(self, file, row):
        file.seek(self.offset + 4 * row * self.shape[1])

    def __getitem__(self, rows):
        """Return the rows of a slice, or of an array of indices."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self.shape[0])
            result = np.empty((stop - start, self.shape[1]), np.float32)
            pieces = [(start, result)]
        else:
            result = np.empty((len(rows), self.shape[1]), np.float32)
            pieces = zip(rows.tolist(), result, strict=True)
        with open(self.path, "rb", buffering=0) as file:
            for row, target in pieces:
                self._seek(file, row)
                file.readinto(target)
        return result

    def __setitem__(self, rows, values):
        """Write the rows of a slice."""
        with open(self.path, "r+b") as file:
            self._seek(file, rows.start)
            file.write(values)


def write_rows(path, shape, chunks):
    """Write a float32 `.npy` file of `shape` from `(start, rows)` pieces in order."""
    header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
    with files.atomic_writer(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _, rows in chunks:
            file.write(np.ascontiguousarray(rows, "<f4").tobytes())


def delete(folder):
    """Delete the averages in a folder, and the folder if that leaves it empty."""
    _folder("", folder).delete()


def _folder(owner, path, **more):
    return RunFolder(owner, path, _FORM, _STATE, _FILES, **more)


def _means(slot):
    return f"means-{slot}.f32"


def _counts(slot):
    return f"counts-{slot}.i64"


def softmax(logits):
    """Softmax over the last axis, in place on a float array."""
    logits -= logits.max(axis=-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-1, keepdims=True)
    return logits
