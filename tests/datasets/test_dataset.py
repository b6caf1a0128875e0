import numpy as np
import pytest

from keras_noisy import noise
from keras_noisy.callbacks import SEALOnTheFly
from keras_noisy.datasets import Dataset
from keras_noisy.noise import NoisyLabels


def make(**changes):
    arguments = {
        "name": "custom",
        "x_train": np.arange(24, dtype="uint8").reshape(6, 2, 2, 1),
        "y_train": np.array([0, 1, 2, 0, 1, 2], "uint8"),
        "x_test": np.zeros((2, 2, 2, 1), "uint8"),
        "y_test": np.array([2, 1]),
    }
    return Dataset(**{**arguments, **changes})


def test_defaults():
    data = make()
    assert data.y_train.dtype == np.int64
    np.testing.assert_array_equal(data.train_ids, np.arange(6))
    assert data.num_classes == 3 and data.order == "file"
    assert data.splits == ("train", "test")
    assert repr(data) == (
        "Dataset('custom', train=(6, 2, 2, 1), test=(2, 2, 2, 1), num_classes=3, "
        "order='file')"
    )


def test_repr_tells_the_noise():
    labels = NoisyLabels([1, 1, 2, 0, 1, 0], [0, 1, 2, 0, 1, 2], 3)
    assert "noise_rate=0.3333" in repr(make(noisy_labels=labels))


def test_refuses():
    def refuse(text, **changes):
        with pytest.raises((TypeError, ValueError), match=text):
            make(**changes)

    refuse("`y_train` must be of length 6", y_train=[0, 1])
    refuse("`y_test` must be of length 2", y_test=[0])
    refuse("`y_train` must be class ids of an integer dtype", y_train=np.ones(6))
    refuse("`y_train` must be non-negative class ids", y_train=[0, 1, 2, 0, 1, -1])
    refuse(r"`y_train` must be class ids in \[0, 2\)", class_names=("a", "b"))
    refuse("`train_ids` must be unique", train_ids=[0, 1, 2, 3, 4, 4])
    refuse(r"`train_ids` must be of shape \(6,\)", train_ids=[0, 1])
    refuse("`train_ids` must be non-negative", train_ids=[0, 1, 2, 3, 4, -1])
    refuse("`train_ids` must be non-negative integers", train_ids=np.ones(6))
    refuse("`order` must be one of 'keras.datasets', 'tfds'", order="torch")
    labels = NoisyLabels([0] * 6, [0, 1, 2, 0, 1, 1], 3)
    refuse(r"`noisy_labels` must be a noise.NoisyLabels", noisy_labels=[0] * 6)
    refuse("`noisy_labels` must be labels whose `clean` is", noisy_labels=labels)


def test_subset_keeps_ids_and_labels():
    clean = np.array([0, 1, 2, 0, 1, 2])
    data = make(noisy_labels=NoisyLabels((clean + 1) % 3, clean, 3), order="tfds")
    for rows in ([4, 1], np.array([False, True, False, False, True, False])):
        part = data.subset(rows)
        assert set(part.train_ids) == {1, 4} and part.order == "tfds"
        np.testing.assert_array_equal(part.x_train, data.x_train[part.train_ids])
        np.testing.assert_array_equal(part.y_train, clean[part.train_ids])
        np.testing.assert_array_equal(part.noisy_labels.noisy, (part.y_train + 1) % 3)
        assert len(part.x_test) == 2
    again = data.subset([5, 4, 0]).subset([1])
    assert again.train_ids.tolist() == [4]


@pytest.mark.tf_data
def test_pipeline():
    data = make(train_ids=[50, 40, 30, 20, 10, 0])
    rows = list(data.pipeline().as_numpy_iterator())
    assert [int(i) for i, _, _ in rows] == data.train_ids.tolist()
    for (_, image, label), x, y in zip(rows, data.x_train, data.y_train, strict=True):
        np.testing.assert_array_equal(image, x)
        assert label == y and label.dtype == np.int64
    tests = list(data.pipeline("test").as_numpy_iterator())
    assert [(int(i), int(y)) for i, _, y in tests] == [(0, 2), (1, 1)]


@pytest.mark.tf_data
def test_pipeline_with_other_labels():
    data = make()
    other = [2, 2, 2, 1, 1, 1]
    for labels in (
        other,
        np.array(other, "uint8"),
        NoisyLabels(other, data.y_train, 3),
    ):
        rows = data.pipeline(labels=labels).as_numpy_iterator()
        assert [int(y) for _, _, y in rows] == other
    with pytest.raises(ValueError, match=r"`labels` must be class ids of shape \(6,\)"):
        data.pipeline(labels=other[1:])
    with pytest.raises(TypeError, match="`labels` must be class ids of an integer"):
        data.pipeline(labels=np.ones(6))
    with pytest.raises(ValueError, match="`split` must be one of 'train', 'test'"):
        data.pipeline("validation")


@pytest.mark.tf_data
def test_label_noise_follows_the_ids():
    data = make(y_train=np.zeros(6, int), train_ids=[5, 4, 3, 2, 1, 0])
    matrix = noise.symmetric(3, 0.5)
    layer = noise.LabelNoise(matrix, seed=1)
    expected = noise.corrupt_labels(data.y_train, matrix, seed=1, exact=False).noisy
    assert set(expected) != {0}
    batches = data.pipeline().shuffle(6, seed=0).batch(4)
    batches = batches.map(lambda i, x, y: (i, layer(i, y)))
    noisy = {}
    for ids, labels in batches.as_numpy_iterator():
        noisy.update(zip(ids.tolist(), labels.tolist(), strict=True))
    assert [noisy[i] for i in range(6)] == expected.tolist()


@pytest.mark.tf_data
def test_pipeline_feeds_seal():
    import keras

    data = make()
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = data.pipeline().shuffle(6, seed=0).batch(4)
    batches = batches.map(lambda i, x, y: ({"x": x, "sample_id": i}, y))
    seal = SEALOnTheFly(len(data.y_train), from_logits=True)
    fit_data = seal.pipeline(model, batches)
    model.fit(fit_data, epochs=2, shuffle=False, verbose=0, callbacks=[seal])
    assert seal.soft_labels.shape == (6, 3) and seal.epochs_seen == 2


def test_pipeline_needs_tensorflow(monkeypatch):
    import importlib

    def import_module(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(ModuleNotFoundError, match=r"Dataset.pipeline: .*'tensorflow'"):
        make().pipeline()
