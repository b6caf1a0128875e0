import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy.models import RandomCropFlip

# Every pixel has a value of its own, none of them zero, the border's.
IMAGE = 1 + np.arange(6 * 5 * 3).reshape(6, 5, 3)


def candidates(image, padding):
    """Return every image that augmentation can make, by (top, left, is_flipped)."""
    height, width, _ = image.shape
    border = (padding, padding)
    padded = np.pad(image, (border, border, (0, 0)))
    made = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            cut = padded[top : top + height, left : left + width]
            made[top, left, False], made[top, left, True] = cut, cut[:, ::-1]
    return made


def choices(images, padding):
    """Return which (top, left, is_flipped) each image was made with."""
    known = {x.tobytes(): key for key, x in candidates(IMAGE, padding).items()}
    return [known[image.astype(IMAGE.dtype).tobytes()] for image in images]


def augment(layer, count, dtype="int32"):
    images = np.repeat(IMAGE[None], count, axis=0).astype(dtype)
    result = layer(images, training=True)
    assert keras.backend.standardize_dtype(result.dtype) == dtype
    return ops.convert_to_numpy(result)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_each_image_is_cut_and_flipped_by_itself(dtype):
    made = choices(augment(RandomCropFlip(2, seed=0), 60, dtype), 2)
    assert len(set(made)) > 20


def test_all_places_are_equally_likely():
    layer = RandomCropFlip(1, seed=0)
    made = choices(augment(layer, 900), 1) + choices(augment(layer, 900), 1)
    counts = np.array([made.count(key) for key in candidates(IMAGE, 1)])
    assert len(counts) == 18
    # 100 expected; five standard deviations of a binomial.
    assert abs(counts - 100).max() < 5 * np.sqrt(100 * 17 / 18)


def test_without_padding_images_are_only_flipped():
    made = choices(augment(RandomCropFlip(0, seed=0), 30), 0)
    assert set(made) == {(0, 0, False), (0, 0, True)}


def test_inference_leaves_images_alone():
    layer = RandomCropFlip(seed=0)
    images = np.repeat(IMAGE[None], 3, axis=0).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(images)), images)


def test_the_seed_decides_and_calls_differ():
    first, again, other = (RandomCropFlip(2, seed=seed) for seed in (7, 7, 8))
    one = augment(first, 20)
    np.testing.assert_array_equal(one, augment(again, 20))
    assert (one != augment(other, 20)).any()
    assert (one != augment(first, 20)).any()


def make_model(jit_compile):
    network = [keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([RandomCropFlip(1, seed=0), *network])
    model.compile("sgd", "mse", jit_compile=jit_compile)
    return model


def test_in_a_compiled_model(tmp_path):
    model = make_model(jit_compile=keras.backend.backend() != "torch")
    x = np.repeat(IMAGE[None], 6, axis=0).astype("uint8")
    y = np.zeros((6, 2))
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    layer, saved = loaded.layers[0], model.layers[0]
    assert (layer.padding, layer.seed) == (1, 0)
    # A run that is continued goes on with the next random numbers.
    np.testing.assert_array_equal(augment(layer, 20), augment(saved, 20))
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5
    )


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    with strategy.scope():
        # TensorFlow cannot compile random states of logical CPUs, dropout's neither.
        model = make_model(jit_compile=False)
    x = np.repeat(IMAGE[None], 8, axis=0).astype("uint8")
    history = model.fit(x, np.zeros((8, 2)), batch_size=4, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_errors():
    with pytest.raises(
        ValueError, match="RandomCropFlip: `padding` must be an integer of at least 0"
    ):
        RandomCropFlip(-1)
    with pytest.raises(ValueError, match="RandomCropFlip: `images` must be of shape"):
        RandomCropFlip()(np.zeros((4, 28, 28)), training=True)
