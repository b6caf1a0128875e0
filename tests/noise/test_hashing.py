import numpy as np
import pytest

from keras_noisy.noise import _hashing
from keras_noisy.noise._alias_tables import build_alias_table, draw_numpy

GOLDEN_KEYS = (12035550249420947055, 12935080325729570654)
GOLDEN_WORDS = ["0xa98e66a328db0cc0", "0xfe0805c34d16abd3", "0x85aa9c35cfaa2b73"]


def chi_square_of_uniform(values, bins):
    counts = np.bincount(values.astype(np.int64), minlength=bins)
    expected = len(values) / bins
    return ((counts - expected) ** 2 / expected).sum()


def bits_of(words):
    return (words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)


def test_golden_values():
    """These never change: published noisy labels depend on them."""
    assert _hashing.derive_keys(0, 0) == GOLDEN_KEYS
    words = _hashing.hash_numpy(np.array([0, 1, 2**40]), GOLDEN_KEYS)
    assert [hex(word) for word in words] == GOLDEN_WORDS


def test_against_python_integers():
    keys = _hashing.derive_keys(2**63 - 1, 3)
    counters = [0, 1, 77, 2**31, 2**63 - 1, 2**64 - 1]
    mask = 2**64 - 1
    expected = [
        _hashing._mix(_hashing._mix((counter + keys[0]) & mask) ^ keys[1])
        for counter in counters
    ]
    actual = _hashing.hash_numpy(np.array(counters, dtype=np.uint64), keys)
    assert [int(word) for word in actual] == expected


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint32", "int64"])
def test_dtype_and_shape_do_not_matter(dtype):
    keys = _hashing.derive_keys(5, 0)
    counters = np.arange(120).reshape(2, 60)
    words = _hashing.hash_numpy(counters.astype(dtype), keys)
    np.testing.assert_array_equal(
        words.reshape(-1),
        [_hashing.hash_numpy(np.array(counter), keys) for counter in range(120)],
    )
    assert words.shape == (2, 60)


def test_counters_are_not_changed():
    counters = np.arange(10, dtype=np.uint64)
    _hashing.hash_numpy(counters, (1, 2))
    np.testing.assert_array_equal(counters, np.arange(10))


def test_no_collisions():
    words = _hashing.hash_numpy(np.arange(1_000_000), _hashing.derive_keys(0, 0))
    assert len(np.unique(words)) == len(words)


@pytest.mark.parametrize("shift", range(0, 64, 8))
def test_every_byte_is_uniform(shift):
    words = _hashing.hash_numpy(np.arange(200_000), _hashing.derive_keys(1, 0))
    byte = (words >> np.uint64(shift)) & np.uint64(255)
    assert chi_square_of_uniform(byte, 256) < 342  # 255 degrees, p = 0.0002.


@pytest.mark.parametrize("step", [1, 2, 128, 1000])
def test_neighbouring_ids_are_independent(step):
    words = _hashing.hash_numpy(np.arange(100_000), _hashing.derive_keys(2, 0))
    top = (words >> np.uint64(60)).astype(np.int64)
    pairs = top[:-step] * 16 + top[step:]
    assert chi_square_of_uniform(pairs, 256) < 342


def test_neighbouring_seeds_and_streams_are_independent():
    ids = np.arange(100_000)
    reference = _hashing.hash_numpy(ids, _hashing.derive_keys(7, 0))
    for seed, stream in ((8, 0), (6, 0), (7, 1), (7, 2), (7 + 2**62, 0)):
        other = _hashing.hash_numpy(ids, _hashing.derive_keys(seed, stream))
        pairs = (reference >> np.uint64(60) << np.uint64(4)) | (other >> np.uint64(60))
        assert chi_square_of_uniform(pairs, 256) < 342


def test_one_id_under_many_seeds_is_uniform():
    words = np.array(
        [
            _hashing.hash_numpy(3, _hashing.derive_keys(seed, 0))
            for seed in range(20_000)
        ]
    )
    assert chi_square_of_uniform(words >> np.uint64(60), 16) < 44  # p = 0.0001.


def test_avalanche():
    """Whichever bit of the id changes, every bit of the hash changes half the time."""
    keys = _hashing.derive_keys(0, 0)
    ids = np.arange(4000, dtype=np.uint64)
    words = _hashing.hash_numpy(ids, keys)
    for position in range(64):
        changed = _hashing.hash_numpy(ids ^ np.uint64(1 << position), keys)
        share = bits_of(words ^ changed).mean(axis=0)
        # 4000 trials have a standard deviation of 0.008.
        assert np.abs(share - 0.5).max() < 0.045


def test_avalanche_of_the_seed():
    ids = np.arange(2000)
    words = _hashing.hash_numpy(ids, _hashing.derive_keys(0, 0))
    for position in range(63):
        keys = _hashing.derive_keys(1 << position, 0)
        share = bits_of(words ^ _hashing.hash_numpy(ids, keys)).mean(axis=0)
        assert np.abs(share - 0.5).max() < 0.06


@pytest.mark.parametrize("num_classes", [2, 3, 10, 16, 17, 100])
def test_alias_table_holds_the_matrix(num_classes):
    """The area that each class owns is its probability, up to the resolution."""
    generator = np.random.default_rng(num_classes)
    matrix = generator.dirichlet(np.full(num_classes, 0.2), size=num_classes)
    matrix[generator.random(matrix.shape) < 0.3] = 0
    matrix[0] = 0
    matrix[0, 1] = 1
    matrix += (matrix.sum(axis=1, keepdims=True) == 0) * np.eye(num_classes)
    matrix /= matrix.sum(axis=1, keepdims=True)
    table = build_alias_table(matrix)
    num_columns = table.shape[1]
    thresholds = (table >> np.uint64(24)).astype(np.int64)
    aliases = (table & np.uint64(2**24 - 1)).astype(np.int64)
    area = np.zeros((num_classes, num_columns), dtype=np.int64)
    area += thresholds
    rows = np.arange(num_classes)[:, None]
    np.add.at(area, (rows, aliases), 2**40 - thresholds)
    assert (area[:, num_classes:] == 0).all()
    area = area[:, :num_classes]
    assert (area[matrix == 0] == 0).all()
    np.testing.assert_allclose(area / (num_columns * 2**40), matrix, atol=1e-10)


def test_a_class_of_probability_zero_is_never_drawn():
    """Not even by the extreme random bits."""
    matrix = np.array([[0.5, 0.5, 0], [0, 1, 0], [0.2, 0, 0.8]])
    table = build_alias_table(matrix)
    low = np.arange(4, dtype=np.uint64)
    heights = np.array([0, 1, 2**39, 2**40 - 1], dtype=np.uint64) << np.uint64(24)
    bits = np.concatenate(
        [
            (heights[:, None] | low).reshape(-1),
            (heights[:, None] | np.uint64(2**24 - 4) | low).reshape(-1),
        ]
    )
    for label in range(3):
        drawn = draw_numpy(table, bits, np.full(bits.shape, label)).astype(np.int64)
        assert (matrix[label, drawn] > 0).all()


@pytest.mark.tf_data
def test_tensorflow_gives_the_same_bits():
    tf = pytest.importorskip("tensorflow")
    keys = _hashing.derive_keys(11, 0)
    counters = np.concatenate(
        [
            np.arange(1000, dtype=np.uint64),
            np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64),
            np.array([2**63 - 1, 2**63, 2**64 - 1], dtype=np.uint64),
        ]
    )
    expected = _hashing.hash_numpy(counters, keys)
    eager = _hashing.hash_tensorflow(tf.constant(counters), keys)
    np.testing.assert_array_equal(eager.numpy(), expected)
    dataset = tf.data.Dataset.from_tensor_slices(counters).batch(100)
    dataset = dataset.map(lambda ids: _hashing.hash_tensorflow(ids, keys))
    np.testing.assert_array_equal(
        np.concatenate(list(dataset.as_numpy_iterator())), expected
    )
