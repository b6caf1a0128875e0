import functools

import keras
import numpy as np
import pytest

from keras_noisy import callbacks
from keras_noisy.datasets.pipeline import TrainingPipeline, crop_flip, training_pipeline

N, BATCH = 22, 4
X = np.random.default_rng(0).integers(1, 256, (N, 6, 5, 3), "uint8")
Y = np.arange(N)


def make(x=X, y=Y, **kwargs):
    return training_pipeline(x, y, **{"batch_size": BATCH, "seed": 3, **kwargs})


def epoch_of(data, epoch):
    """Return images and labels of an epoch, whole."""
    data.set_epoch(epoch)
    batches = [data[index] for index in range(len(data))]
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


# --- order


def test_each_epoch_has_every_example_once_in_an_order_of_its_own():
    data = make()
    orders = [epoch_of(data, epoch)[1].tolist() for epoch in range(3)]
    assert all(sorted(order) == Y.tolist() for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert Y.tolist() not in orders


def test_images_belong_to_their_labels_and_stay_uint8():
    x, y = epoch_of(make(), 0)
    assert x.dtype == np.uint8
    np.testing.assert_array_equal(x, X[y])


def test_the_seed_decides():
    first, again = epoch_of(make(), 2), epoch_of(make(), 2)
    np.testing.assert_array_equal(first[1], again[1])
    assert (epoch_of(make(seed=4), 2)[1] != first[1]).any()
    assert (epoch_of(make(seed=[3, 1]), 2)[1] != first[1]).any()


def test_without_shuffling_the_order_is_that_of_the_data():
    np.testing.assert_array_equal(epoch_of(make(shuffle=False), 5)[1], Y)


def test_what_is_left_over_is_kept_or_dropped():
    sizes = [len(batch[1]) for batch in make()]
    assert sizes == [4] * 5 + [2] and len(make()) == 6
    data = make(drop_remainder=True)
    assert [len(batch[1]) for batch in data] == [4] * 5 and len(data) == 5
    left_out = {
        frozenset(Y) - frozenset(epoch_of(data, epoch)[1]) for epoch in range(4)
    }
    assert len(left_out) > 1


def test_weights_ids_and_soft_labels():
    soft = np.random.default_rng(1).uniform(size=(N, 4))
    weights = np.linspace(0, 1, N)
    data = make(y=soft, sample_weight=weights, sample_ids=True, augment="crop_flip")
    inputs, y, sample_weight = data[2]
    assert set(inputs) == {"x", "sample_id"}
    np.testing.assert_array_equal(y, soft[inputs["sample_id"]])
    np.testing.assert_array_equal(sample_weight, weights[inputs["sample_id"]])
    assert inputs["x"].shape == (BATCH, 6, 5, 3)


def test_memory_maps(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = epoch_of(make(mapped, augment="crop_flip"), 1)
    np.testing.assert_array_equal(found[0], epoch_of(make(augment="crop_flip"), 1)[0])


# --- augmentation


def candidates(image, padding):
    """Return every image that augmentation can make, as bytes."""
    height, width, _ = image.shape
    border = (padding, padding)
    padded = np.pad(image, (border, border, (0, 0)))
    size = 2 * padding + 1
    cuts = [
        padded[top : top + height, left : left + width]
        for top in range(size)
        for left in range(size)
    ]
    return [x.tobytes() for cut in cuts for x in (cut, cut[:, ::-1])]


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_crop_flip_makes_all_cuts_equally_often(dtype):
    image = X[0].astype(dtype)
    images = np.repeat(image[None], 1800, axis=0)
    made = crop_flip(images, np.random.default_rng(0), padding=1)
    assert made.dtype == dtype and made.shape == images.shape
    known = candidates(image, 1)
    counts = np.bincount([known.index(x.tobytes()) for x in made], minlength=18)
    # 100 expected; five standard deviations of a binomial.
    assert abs(counts - 100).max() < 5 * np.sqrt(100 * 17 / 18)


def test_crop_flip_treats_each_image_by_itself():
    before = X.copy()
    made = crop_flip(X, np.random.default_rng(0))
    places = {
        candidates(image, 4).index(result.tobytes())
        for image, result in zip(X, made, strict=True)
    }
    assert len(places) > N // 2
    np.testing.assert_array_equal(X, before)


def test_augmentation_is_that_of_the_epoch_whatever_was_read_before():
    data, again = make(augment="crop_flip"), make(augment="crop_flip")
    last = epoch_of(data, 1)
    backwards = [again[index] for index in reversed(range(len(again)))]
    assert len(backwards) == len(again)
    np.testing.assert_array_equal(epoch_of(again, 1)[0], last[0])
    # The same example looks different in another epoch.
    earlier = epoch_of(data, 0)
    same = [
        np.array_equal(last[0][last[1] == y], earlier[0][earlier[1] == y]) for y in Y
    ]
    assert sum(same) < N // 2


def test_own_augmentation():
    def invert(images, generator):
        return 255 - images if generator.uniform() < 2 else images

    x, y = epoch_of(make(augment=invert), 0)
    np.testing.assert_array_equal(x, 255 - X[y])
    padding = functools.partial(crop_flip, padding=1)
    x, y = epoch_of(make(augment=padding), 0)
    assert all(a.tobytes() in candidates(X[i], 1) for a, i in zip(x, y, strict=True))


def test_own_augmentation_of_a_structure():
    data = make(
        {"a": X, "b": Y},
        augment=lambda x, generator: {"a": x["a"] // 2, "b": x["b"]},
        sample_ids=True,
    )
    inputs, y = data[0]
    np.testing.assert_array_equal(inputs["x"]["a"], X[y] // 2)
    np.testing.assert_array_equal(inputs["x"]["b"], inputs["sample_id"])


# --- in training


class Seen(keras.callbacks.Callback):
    """Keeps the first batch of each epoch."""

    def __init__(self, data):
        super().__init__()
        self.data, self.epochs = data, []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(self.data[0])


def make_model():
    model = keras.Sequential(
        [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(N),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, jit_compile=False)
    return model


@pytest.mark.parametrize("is_built", [True, False])
def test_fit_takes_the_epochs_in_turn(is_built):
    data = make(augment="crop_flip")
    model, seen = make_model(), Seen(data)
    if is_built:
        model.build((None, 6, 5, 3))
    model.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=[seen])
    for epoch, (x, y) in enumerate(seen.epochs):
        data.set_epoch(epoch)
        np.testing.assert_array_equal(data[0][1], y)
        np.testing.assert_array_equal(data[0][0], x)


def weights_after(data, epochs):
    keras.utils.set_random_seed(0)
    model = make_model()
    model.fit(data, epochs=epochs, shuffle=False, verbose=0)
    return model.get_weights()


def test_training_sees_the_batches_of_the_epochs():
    data = make(augment="crop_flip")
    found = weights_after(data, 3)
    keras.utils.set_random_seed(0)
    model = make_model()
    model.build((None, 6, 5, 3))
    for epoch in range(3):
        data.set_epoch(epoch)
        for x, y in data:
            model.train_on_batch(x, y)
    for one, other in zip(found, model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_fit_that_begins_later_is_told_the_epoch():
    data, seen = make(augment="crop_flip"), []
    order = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: data.set_epoch(epoch),
        on_epoch_end=lambda epoch, logs: seen.append(data.epoch),
    )
    model = make_model()
    model.fit(data, initial_epoch=5, epochs=7, verbose=0, callbacks=[order])
    # Keras ends the epoch of the data before it calls the callbacks.
    assert seen == [6, 7]


def test_seal_on_the_fly():
    data = make(augment="crop_flip", sample_ids=True)
    model = make_model()
    seal = callbacks.SEALOnTheFly(N, from_logits=True)
    prepared = seal.pipeline(model, data)
    model.fit(prepared, epochs=2, shuffle=False, verbose=0, callbacks=[seal])
    assert seal.counts.tolist() == [2] * N
    np.testing.assert_allclose(seal.soft_labels.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("sample_ids", [False, True])
def test_two_replicas(strategy, sample_ids):
    # Eleven batches of two: each divides among the replicas.
    data = make(augment="crop_flip", sample_ids=sample_ids, batch_size=2)
    expected = weights_after(make(augment="crop_flip", batch_size=2), 2)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = make_model()
    watch = []
    if sample_ids:
        seal = callbacks.SEALOnTheFly(N, from_logits=True)
        data = seal.pipeline(model, data)
        watch = [seal]
    model.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=watch)
    for a, b in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# --- errors


def test_errors():
    for kwargs, text in [
        (
            {"batch_size": 0},
            "training_pipeline: `batch_size` must be a positive integer",
        ),
        ({"batch_size": 2.0}, "`batch_size` must be"),
        ({"y": Y[:-1]}, r"`len\(y\)` must be 22, the number of examples"),
        ({"sample_weight": Y[:-1]}, r"`len\(sample_weight\)` must be 22"),
        ({"augment": "flip"}, "`augment` must be None, one of .*'flip'"),
        ({"augment": 4}, "`augment` must be"),
        ({"x": X[..., 0], "augment": "crop_flip"}, "`x` must be one array .n, height"),
        ({"x": {"a": X}, "augment": "crop_flip"}, "`x` must be one array"),
        ({"seed": -1}, "`seed` must be a non-negative integer"),
        ({"seed": None}, "`seed` must be"),
        ({"seed": []}, "`seed` must be"),
        ({"batch_size": 23, "drop_remainder": True}, "`len.x.` must be at least one"),
        ({"x": X[:0], "y": Y[:0]}, "`len.x.` must be at least one"),
    ]:
        with pytest.raises(ValueError, match=text):
            make(**kwargs)
    for kwargs, text in [
        ({"shuffle": "yes"}, "`shuffle` must be a bool"),
        ({"sample_ids": 1}, "`sample_ids` must be a bool"),
        ({"drop_remainder": None}, "`drop_remainder` must be a bool"),
        ({"x": "images"}, "`x` must be an array"),
        ({"y": None}, "`y` must be an array"),
    ]:
        with pytest.raises(TypeError, match=text):
            make(**kwargs)


def test_augmentation_that_loses_inputs_is_refused():
    data = make(augment=lambda x, generator: x[1:])
    with pytest.raises(ValueError, match="`augment` must be a function that returns"):
        data[0]


def test_crop_flip_errors():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"crop_flip: `images.shape` must be of shape"):
        crop_flip(X[0], generator)
    with pytest.raises(ValueError, match="crop_flip: `padding` must be an integer of"):
        crop_flip(X, generator, padding=-1)


def test_batches_end():
    data = make()
    assert isinstance(data, TrainingPipeline)
    with pytest.raises(IndexError):
        data[len(data)]
