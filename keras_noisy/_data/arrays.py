"""Nested arrays of examples: their length, their digest, and batches of them."""

import hashlib

import keras
import numpy as np

from keras_noisy._checks.errors import Described, as_array, message
from keras_noisy._checks.labels import labels_of

SAMPLE_ID = "sample_id"
INPUTS = "x"

_DIGEST_BYTES = 1 << 28
_DIGEST_ROWS = 4096


def standard(data):
    """Return data as it is, but what `take` cannot take from as arrays.

    Lists have no `shape`, brackets of a data frame look at its index, tensors of
    TensorFlow take no lists of rows, and of sparse arrays only some formats have rows.
    """
    if isinstance(data, list) and not any(
        # Of NumPy, numbers and strings have the shape ().
        getattr(leaf, "shape", ())
        for leaf in keras.tree.flatten(data[:1])
    ):
        return as_array(data)

    is_tensorflow = keras.backend.backend() == "tensorflow"

    def convert(leaf):
        if hasattr(leaf, "to_numpy"):
            leaf = leaf.to_numpy()
        elif is_tensorflow and keras.ops.is_tensor(leaf) and hasattr(leaf, "__array__"):
            leaf = np.asarray(leaf)
        return leaf.tocsr() if hasattr(leaf, "tocsr") else leaf

    return keras.tree.map_structure(convert, data)


def as_arrays(owner, argument, data):
    """Return `data` in standard form, or raise unless it is arrays."""
    data = standard(data)
    for leaf in keras.tree.flatten(data) or [data]:
        if not hasattr(leaf, "shape") or not hasattr(leaf, "__getitem__"):
            expected = "an array, or a tuple or dict of arrays"
            raise TypeError(message(owner, argument, expected, type(leaf)))
    return data


def classes_of(labels):
    """Return the class of each label, `(n,)`, or None where they are of another form.

    Args:
        labels: Class ids `(n,)` or `(n, 1)`, or distributions `(n, num_classes)`.
    """
    if not hasattr(labels, "shape") or len(labels.shape) not in (1, 2):
        return None
    labels = labels_of(to_numpy(labels))
    return labels.argmax(axis=1) if labels.ndim == 2 else labels


def is_arrays(data):
    """Whether `data` is an array or a structure of them, not a data set."""
    leaves = keras.tree.flatten(data)
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def length(owner, argument, data):
    """Return the number of examples in a structure of arrays."""
    shapes = [tuple(leaf.shape) for leaf in keras.tree.flatten(data)]
    if () in shapes:
        expected = "an array, or a tuple or dict of arrays, with an entry per example"
        received = Described(f"a {type(data).__name__} with entries of shape ()")
        raise ValueError(message(owner, argument, expected, received))
    lengths = {int(shape[0]) for shape in shapes}
    if len(lengths) != 1:
        expected = "arrays of one length"
        raise ValueError(message(owner, argument, expected, sorted(lengths)))
    return lengths.pop()


def entries(owner, argument, data, size, expected):
    """Return arrays in standard form with `size` entries, or raise that it must be so.

    Args:
        owner: Name of the public class or function that was called.
        argument: Name of the argument.
        data: What came.
        size: How many entries there must be.
        expected: What their number must be, in words.
    """
    arrays = as_arrays(owner, argument, data)
    found = length(owner, argument, arrays)
    if found != size:
        raise ValueError(message(owner, f"len({argument})", expected, found))
    return arrays


def weights(owner, data, size, expected):
    """Return weights of examples, None if there are none, or raise; as `entries`."""
    if data is None:
        return None
    data = entries(owner, "sample_weight", data, size, expected)
    dtype = str(getattr(data, "dtype", None))
    if not any(kind in dtype for kind in ("float", "int", "bool")):
        raise TypeError(message(owner, "sample_weight", "an array of numbers", dtype))
    return data


def take(data, rows):
    """Return some examples of a structure of arrays, strings as TensorFlow's tensors.

    Keras takes strings as arrays of objects from `fit` alone, and of one dimension.
    """

    def of_leaf(leaf):
        part = leaf[rows]
        is_text = isinstance(part, np.ndarray) and part.dtype.kind in "OSU"
        if is_text and keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.constant(part, tf.string)
        return part

    return keras.tree.map_structure(of_leaf, data)


def batch_of(data, rows):
    """Return some examples as a model's step takes them.

    Sparse arrays are dense, and float64 is Keras's `floatx`, as `model.fit` does.
    """

    def convert(array):
        array = dense(array)
        if str(array.dtype) == "float64":
            return to_numpy(array).astype(keras.config.floatx())
        return array

    return keras.tree.map_structure(convert, take(data, rows))


def digest(data):
    """Return 16 hexadecimal digits that identify a structure of arrays.

    Of arrays above 256 MB only 4096 rows are read, evenly spaced.
    """
    state = hashlib.blake2b(digest_size=8)
    for leaf in keras.tree.flatten(data):
        # Of NumPy: "torch.float32" is no other data than "float32".
        dtype = to_numpy(leaf[:0]).dtype
        state.update(f"{tuple(leaf.shape)} {dtype}".encode())
        rows = int(leaf.shape[0])
        size = int(np.prod(leaf.shape)) * dtype.itemsize
        step = 1 if size <= _DIGEST_BYTES else max(1, rows // _DIGEST_ROWS)
        block = max(1, (1 << 24) * rows // max(size, 1)) * step
        for start in range(0, rows, block):
            part = leaf[start : start + block : step]
            state.update(_bytes(to_numpy(part)))
    return state.hexdigest()


def _bytes(array):
    """Return what an array holds; of objects, such as strings, it holds addresses."""
    if array.dtype == object:
        return "\0".join(map(str, array.ravel())).encode()
    return np.ascontiguousarray(array).tobytes()


def to_numpy(array):
    """Return `array` in host memory, and dense."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    return np.asarray(dense(array))


def dense(array):
    """Return a sparse array of SciPy as dense; `np.asarray` makes nonsense of it."""
    return array.toarray() if hasattr(array, "toarray") else array


def of_backend(batch):
    """Return a batch of a data set with other frameworks' tensors as NumPy arrays.

    `fit`, `evaluate` and `predict` of Keras take batches of tf.data and of torch on any
    backend; `test_on_batch` and `predict_on_batch` do not.
    """

    def convert(leaf):
        is_foreign = hasattr(leaf, "numpy") and not keras.ops.is_tensor(leaf)
        return to_numpy(leaf) if is_foreign else leaf

    return keras.tree.map_structure(convert, batch)


def split_ids(x):
    """Return `(x, sample_id)`, with None where there are no ids."""
    if isinstance(x, dict) and set(x) == {INPUTS, SAMPLE_ID}:
        return x[INPUTS], x[SAMPLE_ID]
    return x, None


def num_devices():
    """Return among how many devices JAX divides a batch, which must divide."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]


def part_of_process(rows):
    """Return the rows of a batch that this process feeds, which is all of them in one.

    Processes that `keras.distribution.initialize` has joined feed a part each.
    """
    if keras.backend.backend() != "jax" or keras.distribution.distribution() is None:
        return rows
    import jax

    return rows.reshape(jax.process_count(), -1)[jax.process_index()]


def epoch_order(num_examples, seed, epoch):
    """Return the rows of one epoch in the order that (seed, epoch) says."""
    generator = np.random.Generator(np.random.PCG64([*_words(seed), epoch]))
    return generator.permutation(num_examples)


class Batches(keras.utils.PyDataset):
    """Batches of arrays, whose order follows from (seed, epoch) and nothing else.

    Keras's own shuffling continues a global random state, so that an interrupted run
    cannot continue with the order that it would have had.

    Args:
        x: Inputs, a structure of arrays of `n` examples.
        y: Targets, an array, or a function from rows to targets.
        sample_weight: None, or an array `(n,)`.
        batch_size: Examples per batch; the last one may be smaller.
        shuffle: Whether to shuffle; the order is that of the arrays otherwise.
        seed: Integers that say which order.
        with_ids: Whether inputs are `{"x": x, "sample_id": ids}`.

    Attributes:
        prepare: Function from the parts of a batch to the batch, or None.
        order: Rows of the current epoch in their order.
    """

    def __init__(
        self,
        x,
        y,
        sample_weight=None,
        *,
        batch_size,
        shuffle=True,
        seed=0,
        with_ids=False,
    ):
        super().__init__()
        self.x, self.y, self.sample_weight = x, y, sample_weight
        self.num_examples = int(keras.tree.flatten(x)[0].shape[0])
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.with_ids = with_ids
        self.prepare = None
        self.set_epoch(0)

    def set_epoch(self, epoch):
        """Take the order of `epoch`."""
        size = self.num_examples
        order = np.arange(size)
        if self.shuffle:
            order = epoch_order(size, self.seed, epoch)
        # The first examples again, where the last batch would not divide.
        self.order = np.resize(order, size + -size % num_devices())

    def __len__(self):
        return -(-self.num_examples // self.batch_size)

    def __getitem__(self, index):
        batch = self._raw(index)
        return batch if self.prepare is None else of_backend(self.prepare(*batch))

    def _raw(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        if self.with_ids:
            rows = part_of_process(rows)
        x = batch_of(self.x, rows)
        if self.with_ids:
            x = {INPUTS: x, SAMPLE_ID: rows.astype(np.int32)}
        if self.y is None:
            return (x,)
        y = self.y(rows) if callable(self.y) else take(self.y, rows)
        if self.sample_weight is None:
            return x, y
        return x, y, self.sample_weight[rows]


def _words(seed):
    return seed if isinstance(seed, (list, tuple)) else (seed,)
