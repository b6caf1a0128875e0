"""Batches of arrays as TensorFlow's data sets."""

import keras
import numpy as np
import pytest

from keras_noisy._data import arrays, tf_batches

N, BATCH = 11, 4
X = np.random.default_rng(0).normal(size=(N, 3))
Y = np.arange(N) % 3
WEIGHT = np.linspace(0, 1, N, dtype="float32")


def batches_of(x=X, y=Y, weight=None, **kwargs):
    return arrays.Batches(x, y, weight, batch_size=BATCH, with_ids=True, **kwargs)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("size", [11, 12, 3])
def test_they_are_the_same_in_every_epoch(size, shuffle):
    x = {"a": np.resize(X, (size, 3)), "b": np.arange(size, dtype="uint8")}
    y, weight = np.eye(3)[np.resize(Y, size)], np.resize(WEIGHT, size)
    batches = batches_of(x, y, weight, seed=5, shuffle=shuffle)
    dataset = tf_batches.fastest(batches)
    assert len(dataset) == len(batches)
    for epoch in 0, 1, 7:
        batches.set_epoch(epoch)
        expected = [batches[k] for k in range(len(batches))]
        for found, wanted in zip(dataset, expected, strict=True):
            assert found[0]["x"]["a"].dtype == keras.config.floatx()
            assert found[0]["sample_id"].dtype == "int32"
            for one, other in zip(
                keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True
            ):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)


@pytest.mark.tensorflow_only
def test_labels_alone_are_enough():
    found = list(tf_batches.fastest(batches_of(shuffle=False)))
    assert [len(batch) for batch in found] == [2, 2, 2]
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), Y)


def test_what_keras_does_not_take_as_it_is_stays(tmp_path):
    """Texts, and maps, which are larger than memory."""
    np.save(tmp_path / "x.npy", X)
    texts = np.array(["a"] * N, dtype=object)
    for x in np.load(tmp_path / "x.npy", mmap_mode="r"), texts, X.astype("U"):
        batches = batches_of(x)
        assert tf_batches.fastest(batches) is batches


def test_other_backends_take_them_as_they_are(backend):
    batches = batches_of()
    assert (tf_batches.fastest(batches) is batches) == (backend != "tensorflow")
