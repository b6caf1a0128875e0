"""Counter-based random numbers: 64 bits that depend on (seed, stream, counter) only.

Two rounds of a 64-bit finaliser (the multipliers are those of SplitMix64), each keyed
with a word that is derived from the seed. The same integers come out in NumPy and in
TensorFlow, on every machine; for a given key the map is a bijection, so two different
counters never collide. Changing anything here changes every noisy label that users
have published: the tests hold golden values.
"""

import numpy as np

from keras_noisy._checks import errors

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31

# Every use of a seed has a stream of its own, so that none is correlated with another.
STREAM_BERNOULLI = 0
STREAM_EXACT = 1
STREAM_TIES = 2
STREAM_GROUPS = 3
STREAM_BORDERS = 4

# A chunk of this many 64-bit words and one buffer stay in the second-level cache.
_CHUNK = 1 << 15


def _mix(word):
    """The finaliser, on a Python integer."""
    for shift, multiplier in _ROUNDS:
        word = ((word ^ (word >> shift)) * multiplier) & _MASK
    return word ^ (word >> _LAST_SHIFT)


def check_seed(owner, seed):
    """Return `seed` as an int in [0, 2**63), or raise."""
    mend = "Label noise must be reproducible; pass seed=0."
    return errors.check_seed(owner, seed, bits=63, mend=mend)


def derive_keys(seed, stream):
    """Return the two 64-bit words that key the hash for `seed` and `stream`."""
    base = _mix((seed + _GOLDEN) & _MASK)
    return tuple(
        _mix((base + (2 * stream + position) * _GOLDEN) & _MASK) for position in (1, 2)
    )


def _mix_numpy(words, buffer):
    for shift, multiplier in _ROUNDS:
        np.right_shift(words, np.uint64(shift), out=buffer)
        np.bitwise_xor(words, buffer, out=words)
        np.multiply(words, np.uint64(multiplier), out=words)
    np.right_shift(words, np.uint64(_LAST_SHIFT), out=buffer)
    np.bitwise_xor(words, buffer, out=words)


def hash_numpy(counters, keys):
    """Return 64 random bits per counter.

    Args:
        counters: Array of non-negative integers, of any shape and integer dtype.
        keys: What `derive_keys` returned.

    Returns:
        A new uint64 array of the shape of `counters`.
    """
    words = np.array(counters, dtype=np.uint64)
    flat = words.reshape(-1)
    buffer = np.empty(min(_CHUNK, flat.size), dtype=np.uint64)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        part = buffer[: chunk.size]
        np.add(chunk, np.uint64(keys[0]), out=chunk)
        _mix_numpy(chunk, part)
        np.bitwise_xor(chunk, np.uint64(keys[1]), out=chunk)
        _mix_numpy(chunk, part)
    return words


def hash_tensorflow(counters, keys):
    """Do what `hash_numpy` does, on a uint64 TensorFlow tensor."""
    import tensorflow as tf

    def constant(value):
        return tf.constant(value, dtype=tf.uint64)

    def mix(words):
        for shift, multiplier in _ROUNDS:
            shifted = tf.bitwise.right_shift(words, constant(shift))
            words = tf.bitwise.bitwise_xor(words, shifted) * constant(multiplier)
        shifted = tf.bitwise.right_shift(words, constant(_LAST_SHIFT))
        return tf.bitwise.bitwise_xor(words, shifted)

    words = mix(counters + constant(keys[0]))
    return mix(tf.bitwise.bitwise_xor(words, constant(keys[1])))
