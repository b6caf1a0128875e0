"""A row of numbers for each training example, which compiled steps read and move."""

import keras
from keras import ops

from keras_noisy._step import replicas


def create(shape, name):
    """Return a variable of zeros, for a `_sample_ids.Recorder` to hold.

    Each replica adds the changes of all of them to a copy of its own. Not the metric's
    `add_variable`, whose variables TensorFlow cannot scatter into there.
    """
    return keras.Variable(
        "zeros",
        shape=shape,
        dtype="float32",
        trainable=False,
        aggregation="none",
        name=name,
    )


def take(table, rows):
    """Return some rows of a table."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Reads these rows only, where `ops.take` would read the variable.
        return tf.gather(table.value, rows)
    return ops.take(table, rows, axis=0)


def add(table, rows, change):
    """Add to rows of a table what all replicas add to them.

    A row that is named several times gets all of it.
    """
    rows, change = replicas.gathered([rows, change])
    _add(table, rows, change)


def move(table, rows, new):
    """Set rows of a table, on all replicas.

    A row that is named several times becomes the mean of what it is to become. Values
    that are not finite change nothing: a step that overflows must not spoil the table
    for ever.
    """
    old = take(table, rows)
    change = ops.where(ops.isfinite(new), ops.cast(new, old.dtype) - old, 0)
    rows, change = replicas.gathered([rows, change])
    is_same = ops.cast(ops.equal(rows[:, None], rows), change.dtype)
    _add(table, rows, change / ops.sum(is_same, axis=1, keepdims=True))


def _add(table, rows, change):
    value = table.value
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        value.scatter_add(tf.IndexedSlices(change, rows))
    elif backend == "jax":
        table.assign(value.at[rows].add(change))
    else:
        value.index_add_(0, rows, change)
