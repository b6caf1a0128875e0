"""Batches of arrays as TensorFlow reads them fastest."""

import keras
import numpy as np

from keras_noisy._data import arrays


def fastest(batches):
    """Return `arrays.Batches` with sample ids as `fit` reads them fastest.

    Keras calls Python for each batch of a `PyDataset`, which takes longer than the
    step of a small network. As Keras does for arrays, TensorFlow takes batches of those
    in memory itself, while the step before them runs.

    Args:
        batches: `arrays.Batches` of arrays, with ids.

    Returns:
        A `tf.data.Dataset` with the same batches in the order that `batches` has when
        an epoch begins; `batches` themselves on other backends, and for what Keras does
        not take as it is, such as strings, or takes into memory, such as a map.
    """
    data = (batches.x, batches.y)
    if batches.sample_weight is not None:
        data = (*data, batches.sample_weight)
    is_tensorflow = keras.backend.backend() == "tensorflow"
    if is_tensorflow and all(map(_is_plain, keras.tree.flatten(data))):
        return _dataset(batches, data)
    return batches


def _is_plain(leaf):
    """Whether a leaf is an array of numbers in memory."""
    return type(leaf) is np.ndarray and leaf.dtype.kind in "biuf"


def _dataset(batches, data):
    import tensorflow as tf

    # All of them, cast as a batch is.
    tensors = keras.tree.map_structure(tf.convert_to_tensor, _as_steps_take(data))
    size, batch_size = batches.num_examples, batches.batch_size

    def order(_):
        # Ids are int32 on the device.
        rows = tf.numpy_function(lambda: batches.order.astype(np.int32), [], tf.int32)
        return tf.ensure_shape(rows, (size,))

    def slices(rows):
        whole = size // batch_size * batch_size
        parts = tf.reshape(rows[:whole], (-1, batch_size))
        dataset = tf.data.Dataset.from_tensor_slices(parts)
        if whole == size:
            return dataset
        return dataset.concatenate(tf.data.Dataset.from_tensors(rows[whole:]))

    def batch(rows):
        x, *others = keras.tree.map_structure(
            lambda leaf: tf.gather(leaf, rows), tensors
        )
        return {arrays.INPUTS: x, arrays.SAMPLE_ID: rows}, *others

    dataset = tf.data.Dataset.range(1).map(order).flat_map(slices)
    dataset = dataset.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))
    options = tf.data.Options()
    # They take as long as ten steps at the beginning of each epoch.
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def _as_steps_take(data):
    x, *others = data
    return arrays.batch_of(x, slice(None)), *others
