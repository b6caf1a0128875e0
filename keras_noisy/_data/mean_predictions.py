"""The average of predictions, per example, in memory or in files.

Each mean is an unsigned 32-bit integer, a fixed-point number in [0, 1]. An update
is computed in float64 and rounds each mean once, by at most 2**-33; the roundings
of 1000 epochs add up to less than 1e-7. A float32 sum has 300 times that error, and
float64 would double the size: 10 GB for ImageNet.

There are two slots. An update reads one and writes the other, and a small file says
afterwards which is which: a process that is killed leaves the slot before it whole.
"""

import contextlib
import errno
import os

import numpy as np

from keras_noisy._checks.errors import message
from keras_noisy._data import files

_ONE = 2**32 - 1
_CHUNK_BYTES = 1 << 23
_FORMAT = "keras_noisy.mean_predictions/1"
# All files that are ever written.
_FILES = r"state\.json|means-[01]\.u32|counts-[01]\.i64|soft_labels\.npy"


class MeanPredictions:
    """Means and counts of the predictions on `num_examples` examples.

    Attributes:
        num_examples: `n`.
        num_classes: `C`.
        storage: Folder, or None for memory.
        first_epoch: The first epoch recorded, None before it.
        next_epoch: The epoch after the last one recorded, None before the first.
    """

    def __init__(self, owner, num_examples, num_classes, storage=None, data=None):
        """Open or create.

        Args:
            owner: Public name, for errors.
            num_examples: Number of examples.
            num_classes: Number of classes.
            storage: Folder, or None.
            data: What identifies the data of this run, ready for JSON.
        """
        self.owner = owner
        self.num_examples, self.num_classes = int(num_examples), int(num_classes)
        self.storage = None if storage is None else os.fspath(storage)
        self.chunk = max(1, _CHUNK_BYTES // (8 * self.num_classes))
        self._identity = {
            "format": _FORMAT,
            "num_examples": self.num_examples,
            "num_classes": self.num_classes,
            "data": data,
        }
        # The first and the next epoch of what each slot holds, None where nothing.
        self._slots = [None, None]
        self._current = 0
        self._soft_labels = None
        self._open()

    def _open(self):
        if self.storage is None:
            self._means = [_MemoryTable() for _ in range(2)]
            self._counts = [np.zeros(self.num_examples, np.int64) for _ in range(2)]
            return
        os.makedirs(self.storage, exist_ok=True)
        state = files.read_json(self._path("state.json"))
        self._check_folder(state)
        files.remove_leftovers(self.storage, _FILES)
        if state is not None:
            self._slots, self._current = state["slots"], state["current"]
        shape = (self.num_examples, self.num_classes)
        self._means = [_FileTable(self._path(f"means-{k}.u32"), shape) for k in (0, 1)]
        self._counts = [self._load_counts(k) for k in (0, 1)]

    def _check_folder(self, state):
        if state is None:
            strangers = [n for n in os.listdir(self.storage) if not _may_stay(n)]
            if strangers:
                mend = f"It holds {strangers[0]!r}. Choose another folder."
                raise ValueError(self._storage_message("empty or of this run", mend))
            return
        identity = files.identity_in(state)
        for key, expected in self._identity.items():
            if identity.get(key) != expected:
                mend = (
                    f"Its {key} is {identity.get(key)!r}, and that of this "
                    f"run {expected!r}. Choose another folder, or delete this one."
                )
                raise ValueError(self._storage_message("a folder of this run", mend))

    def _storage_message(self, expected, mend):
        return message(self.owner, "storage", expected, self.storage, mend)

    def _path(self, name):
        return os.path.join(self.storage, name)

    def _load_counts(self, slot):
        if self._slots[slot] is None:
            return np.zeros(self.num_examples, np.int64)
        return np.fromfile(self._path(f"counts-{slot}.i64"), np.int64)

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
        if self.next_epoch in (None, epoch):
            return
        other = 1 - self._current
        slot = self._slots[other]
        if slot is not None and slot[1] == epoch:
            self._slots[self._current] = None
            self._current = other
            self._write_state()
        elif epoch == self.first_epoch and (
            self.storage is None or self.next_epoch == epoch + 1
        ):
            self.clear()
        else:
            raise ValueError(
                f"{self.owner}: `fit` must start at epoch {self.next_epoch}, because "
                f"epochs {self.first_epoch} to {self.next_epoch - 1} are recorded "
                f"already{'' if self.storage is None else ' in ' + self.storage}. "
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
        counts = self._counts[target]
        with self._explained_errors():
            self._means[target].allocate((self.num_examples, self.num_classes))
            done = 0
            for start, sums, added in chunks:
                if start != done:
                    raise RuntimeError(f"{self.owner}: chunks are not in order.")
                done = self._update_chunk(source, target, start, sums, added)
            if done != self.num_examples:
                raise ValueError(
                    f"{self.owner}: predictions must cover {self.num_examples} "
                    f"examples. Received: {done}. The data must have the same length "
                    "at every epoch."
                )
            self._means[target].sync()
            if self.storage is not None:
                with files.atomic_writer(self._path(f"counts-{target}.i64")) as file:
                    file.write(counts.tobytes())
        self._slots[target] = [int(first), int(epoch) + 1]
        self._current = target
        self._soft_labels = None
        self._write_state()

    def _update_chunk(self, source, target, start, sums, added):
        """Merge the sums of some examples, and return where they end."""
        sums = np.asarray(sums)
        added = np.asarray(added, np.int64)
        for begin in range(0, len(sums), self.chunk):
            part = slice(begin, begin + self.chunk)
            rows = slice(start + begin, start + begin + len(added[part]))
            if rows.stop > self.num_examples:
                return rows.stop
            before = np.zeros(len(added[part]), np.int64)
            new = sums[part].astype(np.float64)
            new *= _ONE
            if source is not None:
                before = self._counts[source][rows]
                old = self._means[source].read(rows).astype(np.float64)
                old *= before[:, None]
                new += old
            total = before + added[part]
            new /= np.maximum(total, 1)[:, None]
            np.rint(new, out=new)
            np.clip(new, 0, _ONE, out=new)
            self._means[target].write(rows, new.astype(np.uint32))
            self._counts[target][rows] = total
        return start + len(sums)

    @contextlib.contextmanager
    def _explained_errors(self):
        """Say what a full disk means for this run."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            size = 8 * self.num_examples * self.num_classes / 1e9
            mend = (
                f"({os.strerror(error.errno)}.) What was recorded before this epoch "
                "is kept: make room, or copy the folder to a larger disk, and start "
                "the same command again."
            )
            text = self._storage_message(f"on a disk with {size:.3g} GB free", mend)
            raise OSError(error.errno, text) from error

    def _write_state(self):
        if self.storage is None:
            return
        state = {
            "identity": self._identity,
            "slots": self._slots,
            "current": self._current,
        }
        files.write_json(self._path("state.json"), state)

    def chunks(self):
        """Yield `(start, means)`, float32 and in order, in pieces of a few MB."""
        for start in range(0, self.num_examples, self.chunk):
            rows = slice(start, min(start + self.chunk, self.num_examples))
            means = self._means[self._current].read(rows).astype(np.float64)
            yield start, (means / _ONE).astype(np.float32)

    def soft_labels(self):
        """Return all means, float32 `(n, C)`, as a memory map where there is storage.

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
        if self._soft_labels is None:
            self._soft_labels = self._collect()
        return self._soft_labels

    def _collect(self):
        if self.storage is None:
            result = np.empty((self.num_examples, self.num_classes), np.float32)
            for start, means in self.chunks():
                result[start : start + len(means)] = means
            result.flags.writeable = False
            return result
        path = self._path("soft_labels.npy")
        with self._explained_errors():
            write_rows(path, (self.num_examples, self.num_classes), self.chunks())
        return np.load(path, mmap_mode="r")


def parts_of(soft_labels):
    """Yield slices of rows and those rows, in pieces of a few MB.

    Reads the file of a memory map: pages that a map has touched stay resident.
    """
    num_examples, num_classes = soft_labels.shape
    step = max(1, _CHUNK_BYTES // (8 * num_classes))
    for start in range(0, num_examples, step):
        rows = slice(start, min(start + step, num_examples))
        if isinstance(soft_labels, np.memmap):
            part = np.fromfile(
                soft_labels.filename,
                soft_labels.dtype,
                count=(rows.stop - rows.start) * num_classes,
                offset=soft_labels.offset
                + start * num_classes * soft_labels.dtype.itemsize,
            )
            yield rows, part.reshape(-1, num_classes)
        else:
            yield rows, soft_labels[rows]


class RowsOfFile:
    """Rows of a `.npy` file of floats, read one by one.

    A memory map would do, but the system maps much more than what is asked for.
    """

    def __init__(self, path):
        array = np.load(path, mmap_mode="r")
        self.path, self.shape, self.dtype = path, array.shape, array.dtype
        self.offset = array.offset

    def __getitem__(self, rows):
        """Return the rows of an array of indices."""
        result = np.empty((len(rows), self.shape[1]), self.dtype)
        with open(self.path, "rb", buffering=0) as file:
            for row, target in zip(rows.tolist(), result, strict=True):
                file.seek(self.offset + row * target.nbytes)
                file.readinto(target)
        return result


def write_rows(path, shape, chunks):
    """Write a float32 `.npy` file of `shape` from `(start, rows)` pieces in order."""
    header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
    with files.atomic_writer(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _, rows in chunks:
            file.write(np.ascontiguousarray(rows, "<f4").tobytes())


def _may_stay(name):
    """Whether a folder without a run may hold a file of this name."""
    return name.startswith(".") or name.endswith(".tmp")


def delete(folder):
    """Delete the averages in a folder, and the folder if that leaves it empty."""
    files.remove_run(folder, _FILES)


class _MemoryTable:
    """A table of integers in memory."""

    def __init__(self):
        self.array = None

    def allocate(self, shape):
        if self.array is None:
            self.array = np.empty(shape, np.uint32)

    def read(self, rows):
        return self.array[rows]

    def write(self, rows, values):
        self.array[rows] = values

    def sync(self):
        pass


class _FileTable:
    """The same in a file.

    Rows are read and written, not mapped: a mapped page counts as resident memory
    until it is unmapped.
    """

    def __init__(self, path, shape):
        self.path = path
        self.shape = shape
        self.row_bytes = 4 * shape[1]

    def allocate(self, shape):
        mode = "r+b" if os.path.exists(self.path) else "w+b"
        with open(self.path, mode) as file:
            size = shape[0] * self.row_bytes
            files.claim_room(file, size)
            file.truncate(size)

    def read(self, rows):
        count = (rows.stop - rows.start) * self.shape[1]
        offset = rows.start * self.row_bytes
        values = np.fromfile(self.path, np.uint32, count=count, offset=offset)
        return values.reshape(-1, self.shape[1])

    def write(self, rows, values):
        with open(self.path, "r+b") as file:
            file.seek(rows.start * self.row_bytes)
            file.write(values.tobytes())

    def sync(self):
        with open(self.path, "r+b") as file:
            os.fsync(file.fileno())


def softmax(logits):
    """Softmax over the last axis, in place on a float array."""
    logits -= logits.max(axis=-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-1, keepdims=True)
    return logits
