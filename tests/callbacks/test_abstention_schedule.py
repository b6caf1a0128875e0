"""AbstentionSchedule: warm-up, first price, linear rise."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks, losses

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 3)).astype("float32")
Y = rng.integers(0, 2, 12)
KERNEL = rng.normal(size=(3, 3)).astype("float32")


def make_model(rate=0.0, **compile_args):
    """With a learning rate of zero, the loss shows the price and nothing else."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False)])
    model.set_weights([KERNEL])
    loss = losses.DeepAbstention(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss, **compile_args)
    return model


def fit(model, epochs=6, warmup=2, **kwargs):
    schedule = callbacks.AbstentionSchedule(warmup, initial_factor=4.0, final_alpha=2.0)
    return model.fit(
        X, Y, batch_size=6, epochs=epochs, verbose=0, callbacks=[schedule], **kwargs
    ).history


MODES = [{"run_eagerly": True}, {"jit_compile": False}]
if keras.backend.backend() != "torch":  # torch.compile needs a C++ toolchain.
    MODES.append({"jit_compile": True})


@pytest.mark.parametrize("mode", MODES)
def test_price_of_every_epoch(mode):
    history = fit(make_model(**mode))
    z = X @ KERNEL
    warm = -np.log(np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True))[range(12), Y]
    start = warm.mean() / 4
    expected = [start + (2 - start) * done for done in (0, 0.25, 0.5, 0.75)]
    assert np.all(np.isnan(history["abstention_alpha"][:2]))
    np.testing.assert_allclose(history["abstention_alpha"][2:], expected, rtol=1e-5)
    np.testing.assert_allclose(history["loss"][:2], warm.mean(), rtol=1e-5)
    for loss, alpha in zip(history["loss"][2:], expected, strict=True):
        value = losses.deep_abstention(Y, z, alpha=float(alpha), from_logits=True)
        assert loss == pytest.approx(ops.convert_to_numpy(value).mean(), rel=1e-4)


def test_validation_uses_the_price_and_does_not_move_it():
    history = fit(make_model(), validation_data=(X, Y))
    np.testing.assert_allclose(history["val_loss"], history["loss"], rtol=1e-5)


def test_a_second_fit_warms_up_again():
    model = make_model()
    first, second = fit(model), fit(model)
    np.testing.assert_allclose(second["loss"], first["loss"], rtol=1e-6)


def test_resumed_training_goes_on(tmp_path):
    whole = fit(make_model())
    model = make_model()
    fit(model, epochs=3)
    model.save(tmp_path / "model.keras")
    resumed = fit(model, initial_epoch=3)
    np.testing.assert_allclose(resumed["loss"], whole["loss"][3:], rtol=1e-5)


def test_learns_to_abstain_from_wrong_labels():
    x = np.repeat(np.eye(3, dtype="float32"), 40, axis=0)
    y = np.repeat([0, 1, 0], 40)
    y[80:] = np.arange(40) % 2  # Labels of the third kind say nothing.
    layer = keras.layers.Dense(3, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((3,)), layer])
    loss = losses.DeepAbstention(alpha=0.3, from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss)
    model.fit(x, y, epochs=60, batch_size=120, verbose=0)
    abstained = losses.abstains(model.predict(x, verbose=0))
    np.testing.assert_array_equal(abstained, np.repeat([False, False, True], 40))


def test_errors():
    for bad in (0, -1, 2.0, True, None):
        with pytest.raises(ValueError, match=r"`warmup_epochs` must be a positive"):
            callbacks.AbstentionSchedule(bad)
    for argument in ("initial_factor", "final_alpha"):
        with pytest.raises(ValueError, match=f"`{argument}` must be a number"):
            callbacks.AbstentionSchedule(2, **{argument: -1})
    model = make_model()
    with pytest.raises(ValueError, match="training must begin with the warm-up"):
        fit(model, initial_epoch=3)
    model.compile("sgd", losses.MeanAbsoluteError(from_logits=True))
    with pytest.raises(ValueError, match=r"`model.loss` must hold a"):
        fit(model)


@pytest.mark.parametrize("killed_at", [1, 2, 4])
def test_a_fit_that_is_continued_is_the_same(tmp_path, killed_at):
    """In the warm-up, right after it, and later; with Keras's own backup."""

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == killed_at:
                raise KeyboardInterrupt

    def train(*watch):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
        model.compile("sgd", losses.DeepAbstention(from_logits=True))
        x, y = np.eye(3, dtype="float32"), np.arange(3)
        watch = [*watch, callbacks.AbstentionSchedule(warmup_epochs=2)]
        backup = keras.callbacks.BackupAndRestore(tmp_path)
        return model.fit(x, y, epochs=6, verbose=0, callbacks=[*watch, backup])

    whole = train().history
    with pytest.raises(KeyboardInterrupt):
        train(Kill())
    rest = train().history
    for name, values in whole.items():
        np.testing.assert_allclose(rest[name], values[killed_at:], rtol=1e-5)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_a_saved_price_is_loaded(tmp_path, name):
    model, path = make_model(), tmp_path / name
    whole = fit(make_model())
    fit(model, epochs=3)
    (model.save if name == "model.keras" else model.save_weights)(path)
    again = make_model()
    if name == "model.keras":
        again = keras.saving.load_model(path)
    schedule = callbacks.AbstentionSchedule(2)
    with pytest.raises(ValueError, match="call `set_model"):
        again.fit(X, Y, epochs=6, initial_epoch=4, verbose=0, callbacks=[schedule])
    schedule.set_model(again)
    again.load_weights(path)
    start = float(ops.convert_to_numpy(schedule._price.start))
    assert start == pytest.approx(whole["loss"][1] / 4.0)


def test_a_warm_up_that_is_longer_than_the_training():
    with pytest.warns(UserWarning, match=r"warmup_epochs=2 leaves nothing of 2 epochs"):
        fit(make_model(), epochs=2)
