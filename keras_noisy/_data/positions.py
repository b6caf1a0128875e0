"""Examples of a `tf.data.Dataset` that are known by their positions.

This module is for TensorFlow's data sets, on every backend of Keras.
"""

from keras_noisy._checks.errors import message

# Positions whose labels are remembered: a data set that comes in another order does so
# from the beginning.
_NUM_REMEMBERED = 4096


def number(dataset, start_id, batched):
    """Return a data set of `(ids, element)`, elements being single or batches."""
    import tensorflow as tf

    if not batched:
        return dataset.enumerate(start=start_id)

    def of_batch(first, element):
        size = tf.shape(tf.nest.flatten(element[1])[0], out_type=tf.int64)[0]
        return first + size, (tf.range(first, first + size), element)

    return dataset.scan(tf.constant(start_id, tf.int64), of_batch)


def find_reordering(dataset):
    """Return the name of an operation upstream that makes positions meaningless.

    tf.data has no public way to look upstream. Where this one ceases to work nothing
    is refused any more, and nothing else changes. What shuffles in a way of its own is
    found by `same_labels` only.
    """
    if dataset.cardinality() == -1:  # tf.data.INFINITE_CARDINALITY
        return "repeat"
    names = {
        "_ShuffleDataset": "shuffle",
        "_RepeatDataset": "repeat",
        "RepeatDataset": "repeat",
        "ShuffleDataset": "shuffle",
    }
    waiting = [dataset]
    while waiting:
        current = waiting.pop()
        if type(current).__name__ in names:
            return names[type(current).__name__]
        inputs = getattr(current, "_inputs", None)
        if callable(inputs):
            waiting.extend(inputs())
    return None


def same_labels(owner, start_id):
    """Return a function of ids and class ids, which returns the latter.

    Inside `map` it raises a `tf.errors.InvalidArgumentError` if one of the first ids
    comes with another label than before.
    """
    import tensorflow as tf

    # What follows of a map runs on the host. The last row is for all other ids.
    with tf.device("CPU:0"):
        remembered = tf.Variable(
            tf.zeros([_NUM_REMEMBERED + 1], tf.int64), trainable=False
        )
    mend = (
        "Its examples come in another order each time that it is read: a source that "
        "shuffles, a generator, `map` or `interleave` with `deterministic=False`, or "
        "`sample_from_datasets`. Call it where the order is fixed, and shuffle after "
        "it, or map `LabelNoise` over ids of your own."
    )
    expected = "in the same order whenever it is read"
    error = message(owner, "dataset", expected, "labels that differ", mend)

    def check(ids, labels):
        rows = tf.minimum(tf.reshape(ids, [-1]) - start_id, _NUM_REMEMBERED)
        classes = tf.reshape(tf.cast(labels, tf.int64), [-1]) + 1
        old = tf.gather(remembered, rows)
        is_same = (old == classes) | (old == 0) | (rows == _NUM_REMEMBERED)
        # Not `tf.debugging.Assert`, which is a conditional.
        condition = tf.reduce_all(is_same)
        assertion = tf.raw_ops.Assert(condition=condition, data=[error], summarize=1)
        with tf.control_dependencies([assertion]):
            update = remembered.scatter_update(tf.IndexedSlices(classes, rows))
        with tf.control_dependencies([update]):
            return tf.identity(labels)

    return check
