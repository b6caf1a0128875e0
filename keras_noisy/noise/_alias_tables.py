"""Drawing a class from a row of a transition matrix, in constant time.

Walker's alias method in integers. A row of C probabilities is spread over W columns, W
the power of two that is at least C, of the same height 2**40. At most two classes share
a column: its own one below a threshold, and another, its alias, above it. Of 64 random
bits, the low ones choose the column and the upper 40 a height in it. Only integers take
part in a draw, so NumPy and TensorFlow agree to the last bit; a class of probability
zero owns nothing and is never drawn.

The operations are few because TensorFlow takes longer to start one than to do it.
"""

import numpy as np

_ALIAS_BITS = 24
_ALIAS_MASK = (1 << _ALIAS_BITS) - 1
_HEIGHT = 1 << (64 - _ALIAS_BITS)


def build_alias_table(transition_matrix):
    """Return the table of every row, packed as `threshold << 24 | alias`.

    Args:
        transition_matrix: Checked float64 array `(C, C)`.

    Returns:
        uint64 array `(C, W)`. A column that belongs to one class alone has this class
        as its alias, so that thresholds stay below 2**40.
    """
    weights = _integer_weights(transition_matrix)
    num_rows, num_columns = weights.shape
    rows = np.arange(num_rows)
    columns = np.arange(num_columns)

    # Columns of less than the full height first, then the donors.
    is_donor = weights >= _HEIGHT
    order = np.argsort(is_donor, axis=1, kind="stable")
    num_small = num_columns - is_donor.sum(axis=1)
    thresholds = np.zeros(weights.shape, dtype=np.uint64)
    aliases = np.broadcast_to(columns, weights.shape).astype(np.uint64)

    # One step fills one column of every row. A donor that has given so much that it
    # fell below the full height is filled up by the next donor.
    next_small = np.zeros(num_rows, dtype=np.int64)
    position = num_small.copy()
    for _ in range(num_columns):
        donor = order[rows, position]
        spent = weights[rows, donor] < _HEIGHT
        active = spent | (next_small < num_small[rows])
        if not active.all():
            # Nothing left to fill: the remaining columns have exactly full height.
            rows, donor, spent = rows[active], donor[active], spent[active]
            next_small, position = next_small[active], position[active]
            if rows.size == 0:
                break
        position = position + spent
        giver = order[rows, position]
        small = np.where(spent, donor, order[rows, next_small % num_columns])
        filled = weights[rows, small]
        thresholds[rows, small] = filled
        aliases[rows, small] = giver
        weights[rows, giver] -= _HEIGHT - filled
        next_small = next_small + ~spent
    return thresholds << np.uint64(_ALIAS_BITS) | aliases


def _integer_weights(transition_matrix):
    """Return int64 weights `(C, W)` whose rows sum to exactly `W * 2**40`.

    Only element-wise float operations and integer sums: the same on every machine.
    """
    num_classes = transition_matrix.shape[1]
    num_columns = 1 << (num_classes - 1).bit_length()
    total = num_columns * _HEIGHT
    weights = np.rint(transition_matrix * float(total)).astype(np.int64)
    sums = weights.sum(axis=1, keepdims=True)
    weights = np.rint(weights / sums * float(total)).astype(np.int64)
    rows = np.arange(num_classes)
    weights[rows, weights.argmax(axis=1)] += total - weights.sum(axis=1)
    return np.pad(weights, ((0, 0), (0, num_columns - num_classes)))


def draw_numpy(table, bits, labels):
    """Return one class per element, drawn from row `labels` of the matrix.

    Args:
        table: What `build_alias_table` returned.
        bits: uint64 array of random bits.
        labels: Class ids in range, of the shape of `bits`.

    Returns:
        uint64 array of the shape of `bits`.
    """
    mask = np.uint64(_ALIAS_MASK)
    num_columns = table.shape[1]
    columns = bits & np.uint64(num_columns - 1)
    cells = labels.astype(np.uint64) * np.uint64(num_columns) + columns
    entries = table.reshape(-1)[cells]
    # With its low bits set, the height is below the entry only if it is below the
    # threshold.
    return np.where((bits | mask) < entries, columns, entries & mask)


def draw_tensorflow(table, bits, labels):
    """Do what `draw_numpy` does, on TensorFlow tensors (labels: int64)."""
    import tensorflow as tf

    mask = tf.constant(_ALIAS_MASK, tf.uint64)
    num_columns = table.shape[1]
    # Made outside the graph that calls us, so that the table is not copied into it.
    with tf.init_scope(), tf.device("cpu:0"):
        flat_table = tf.constant(table.reshape(-1))
    columns = tf.bitwise.bitwise_and(bits, tf.constant(num_columns - 1, tf.uint64))
    cells = labels * num_columns + tf.bitcast(columns, tf.int64)
    entries = tf.gather(flat_table, cells)
    below = tf.bitwise.bitwise_or(bits, mask) < entries
    return tf.where(below, columns, tf.bitwise.bitwise_and(entries, mask))
