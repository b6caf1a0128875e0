"""Algorithm 1 whole: one training, any rate."""

import keras
import numpy as np
import pytest

from keras_noisy import noise
from keras_noisy.training import SelfEvolution, generate_instance_dependent_noise

N, FEATURES, CLASSES, EPOCHS = 60, 6, 3, 4
rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
# Three examples that lie with the next class: what the network must find hard.
Y = (X @ rng.normal(size=(FEATURES, CLASSES))).argmax(axis=1)
ODD = np.array([4, 17, 40])
LABELS = Y.copy()
LABELS[ODD] = (Y[ODD] + 1) % CLASSES


def build_model():
    model = keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(CLASSES, "softmax")]
    )
    model.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy")
    return model


def generate(rate, **kwargs):
    settings = {"epochs": EPOCHS, "batch_size": 8, "verbose": 0, "seed": 1}
    return generate_instance_dependent_noise(
        build_model, X, LABELS, rate=rate, **{**settings, **kwargs}
    )


def test_is_the_last_step_applied_to_the_average():
    result, average = generate(0.2, return_mean_predictions=True)
    assert average.shape == (N, CLASSES)
    expected = noise.instance_dependent(average, LABELS, 0.2)
    assert result.digest == expected.digest
    assert result.is_corrupted.sum() == 12
    evolution = SelfEvolution(build_model, rounds=1, seed=1)
    evolution.fit(X, LABELS, epochs=EPOCHS, batch_size=8, verbose=0)
    np.testing.assert_array_equal(evolution.soft_labels, average)


def test_finds_the_examples_that_lie_with_another_class():
    result = generate(0.1, epochs=20)
    assert result.is_corrupted[ODD].all()
    np.testing.assert_array_equal(result.noisy[ODD], Y[ODD])


def test_rate_zero_flips_nothing():
    result = generate(0)
    assert not result.is_corrupted.any()
    np.testing.assert_array_equal(result.clean, LABELS)


@pytest.mark.parametrize("collect", ["pass", "on_the_fly"])
def test_rates_are_nested_and_storage_serves_all(tmp_path, collect):
    low = generate(0.1, storage=tmp_path, collect=collect)
    # Finished: the same command trains no more.
    high = generate(0.4, storage=tmp_path, collect=collect)
    assert high.is_corrupted[low.is_corrupted].all()
    assert low.is_corrupted.sum() == 6 and high.is_corrupted.sum() == 24
    average = np.load(tmp_path / "soft_labels-0.npy", mmap_mode="r")
    assert noise.instance_dependent(average, LABELS, 0.4).digest == high.digest
    assert generate(0.4, collect=collect).digest == high.digest


def test_bad_input():
    with pytest.raises(ValueError, match=r"^generate_instance_dependent_noise: `rate`"):
        generate(1.5)
    with pytest.raises(TypeError, match=r"^generate_instance_dependent_noise: `rate`"):
        generate(None)
    pattern = r"^generate_instance_dependent_noise: `labels` must be .*\(60,\)"
    with pytest.raises(ValueError, match=pattern):
        generate_instance_dependent_noise(
            build_model, X, LABELS[1:], rate=0.1, epochs=1
        )
