"""Predictions of a model on all examples, in pieces that fit in memory."""

import hashlib
import warnings

import keras
import numpy as np
from keras import ops

from keras_noisy import _keras
from keras_noisy._checks.errors import Described, message
from keras_noisy._data import arrays, outputs

_PIECE_BYTES = 1 << 25


def in_pieces(owner, model, x, *, batch_size=None):
    """Yield a model's outputs, in order, without holding all of them.

    Args:
        owner: Name of the public class or function, for errors.
        model: Keras model.
        x: An array or a structure of arrays, or a data set of batches of inputs or
            of tuples that begin with them.
        batch_size: Examples at once where `x` is arrays; 256 by default.

    Yields:
        Outputs as NumPy arrays, some batches at a time.

    Raises:
        ValueError: If the model has several outputs.
    """
    if not arrays.is_arrays(x):
        for batch in x:
            yield on_batch(owner, model, inputs_of(batch))
        return
    batch_size = _divisible(model, batch_size or 256)
    size = int(keras.tree.flatten(x)[0].shape[0])
    piece = _piece(model, batch_size)
    predict = _predict_batches if _num_replicas(model) == 1 else _predict_by_strategy
    for start in range(0, size, piece):
        rows = range(start, min(start + piece, size))
        yield predict(owner, model, x, rows, batch_size)


def _predict_batches(owner, model, x, rows, batch_size):
    """Return outputs on some rows; `predict` takes longer to begin than this lasts."""
    starts = range(rows.start, rows.stop, batch_size)
    parts = [slice(start, min(start + batch_size, rows.stop)) for start in starts]
    found = [on_batch(owner, model, arrays.batch_of(x, part)) for part in parts]
    return np.concatenate(found)


def _predict_by_strategy(owner, model, x, rows, batch_size):
    """Return outputs on some rows, each batch divided among the replicas."""

    def predict(inputs):
        return model.predict(inputs, batch_size=batch_size, verbose=0)

    return _one_output(owner, arrays.take(x, slice(rows.start, rows.stop)), predict)


def on_batch(owner, model, inputs):
    """Return a model's outputs on a batch of any length as a NumPy array."""
    return _one_output(owner, arrays.of_backend(inputs), model.predict_on_batch)


def _one_output(owner, inputs, predict):
    """Return what `predict` returns for some inputs, one NumPy array."""
    size = int(keras.tree.flatten(inputs)[0].shape[0])
    found = predict(_padded(inputs, -size % arrays.num_devices()))
    return ops.convert_to_numpy(outputs.check_single(owner, found))[:size]


def _padded(inputs, missing):
    """Return inputs with the last example `missing` times more.

    JAX takes no batch that does not divide among the devices of a distribution.
    """
    if not missing:
        return inputs

    def pad(leaf):
        leaf = arrays.to_numpy(leaf)
        return np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)])

    return keras.tree.map_structure(pad, inputs)


def _divisible(model, batch_size):
    """Return `batch_size`, rounded up to a multiple of the number of devices.

    TensorFlow's `MirroredStrategy` can wait for ever for a batch size that does not
    divide among its replicas, and JAX takes none.
    """
    divisor = _num_replicas(model) * arrays.num_devices()
    return -(-batch_size // divisor) * divisor


def _num_replicas(model):
    """Return the number of replicas of TensorFlow's strategy that a model has."""
    return getattr(_keras.strategy_of(model), "num_replicas_in_sync", 1)


def check_data_set(owner, data):
    """Raise unless data are batches that end and can be read again."""
    if not hasattr(data, "__iter__") or hasattr(data, "__next__"):
        expected = "arrays, or a data set of batches that can be read in every epoch"
        mend = "A generator is used up by the first one: wrap it in a PyDataset."
        raise TypeError(message(owner, "x", expected, data, mend))
    check_finite(owner, data)


def count_examples(owner, data):
    """Return the number of examples of a data set of batches."""
    count = sum(int(keras.tree.flatten(inputs_of(batch))[0].shape[0]) for batch in data)
    check_not_empty(owner, count)
    return count


def check_not_empty(owner, count):
    """Raise if `count` examples are none."""
    if not count:
        expected = "data of at least one example"
        raise ValueError(message(owner, "x", expected, Described("none")))


def check_finite(owner, data):
    """Raise if data say that they have no end."""
    if _is_endless(data):
        expected = "a finite data set"
        mend = "Leave out `repeat`; give a PyDataset a `__len__`."
        raise ValueError(message(owner, "x", expected, data, mend))


def _is_endless(data):
    if isinstance(data, keras.utils.PyDataset):
        try:
            return data.num_batches is None
        except NotImplementedError:
            return True
    cardinality = getattr(data, "cardinality", None)
    # -1 is TensorFlow's constant for it.
    return cardinality is not None and int(cardinality()) == -1


class SameOrder:
    """Sees that a data set comes in the same order whenever it is read.

    Labels tell, which augmentation does not change; where there are none the first
    inputs do, and what differs may be order or augmentation.

    Args:
        owner: Name of the class that reads it, for errors.
        **given: Class ids `(n,)` by the names of arguments. Labels of the data must be
            one of them.

    Attributes:
        labels: What identifies the labels in their order, None where there are none.
    """

    def __init__(self, owner, **given):
        self.owner, self._given = owner, given
        self._first = self.labels = None

    def read(self, data):
        """Return `data`; a data set raises at its end if it came in another order."""
        return data if arrays.is_arrays(data) else self._read(data)

    def _read(self, data):
        state = hashlib.blake2b(digest_size=8)
        has_labels = False
        classes = []
        for number, batch in enumerate(data):
            yield batch
            has_labels = isinstance(batch, (tuple, list)) and len(batch) > 1
            if has_labels or not number:
                part = batch[1] if has_labels else inputs_of(batch)
                part = arrays.of_backend(part)
                state.update(arrays.digest(part).encode())
                if has_labels and self._given:
                    classes.append(arrays.classes_of(part))
        if classes and all(part is not None for part in classes):
            check_given(self.owner, np.concatenate(classes), self._given)
        seen = state.hexdigest()
        self._first = self._first or seen
        self.labels = self._first if has_labels else None
        if seen == self._first:
            return
        expected = "a data set that comes in the same order whenever it is read"
        mend = "Shuffle with `reshuffle_each_iteration=False`, or not at all."
        if has_labels:
            received = Described("data whose labels come in another order")
            raise ValueError(message(self.owner, "x", expected, received, mend))
        warnings.warn(
            f"{self.owner}: the first inputs of `x` are not what they were, by "
            f"augmentation or by another order. `x` must be {expected}.",
            stacklevel=2,
        )


def check_given(owner, classes, given):
    """Raise unless the labels of a data set are one of those that were given.

    Args:
        owner: Name of the class that compares them.
        classes: Class ids in the order of the data, -1 where there was none.
        given: Class ids by the names of arguments; -1 fits all.
    """
    numbers = []
    for labels in given.values():
        if len(labels) != len(classes):
            # There is an error for it.
            return
        is_known = (classes != -1) & (labels != -1)
        numbers.append(int(np.count_nonzero(is_known & (classes != labels))))
    if numbers and min(numbers):
        names = " or ".join(f"`{name}`" for name in given)
        expected = f"a data set in the order of {names}"
        received = Described(
            f"data of whose {len(classes)} labels {min(numbers)} are not the given ones"
        )
        mend = (
            "Read it without shuffling; number its examples, if it carries ids, where "
            "their order is fixed. Take labels of another meaning out of it."
        )
        raise ValueError(message(owner, "x", expected, received, mend))


def inputs_of(batch):
    """Return the inputs of a batch of a data set, without sample ids."""
    if isinstance(batch, (tuple, list)):
        batch = batch[0]
    return arrays.split_ids(batch)[0]


def _piece(model, batch_size):
    """Return how many examples to predict at once, whole batches."""
    shape = getattr(model, "output_shape", None)
    is_known = isinstance(shape, tuple) and isinstance(shape[-1], int)
    row_bytes = 4 * (shape[-1] if is_known else 1000)
    return max(1, _PIECE_BYTES // (row_bytes * batch_size)) * batch_size
