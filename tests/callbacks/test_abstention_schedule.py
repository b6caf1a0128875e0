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


def cross_entropy(z, y):
    """Mean over the examples, over all outputs, in float64."""
    z = np.asarray(z, "float64")
    return float(np.mean(np.log(np.exp(z).sum(axis=-1)) - z[range(len(y)), y]))


class Evaluate(keras.callbacks.Callback):
    """Evaluates other labels in the middle of an epoch, and at its end."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.evaluate(X, 1 - Y, verbose=0)

    def on_epoch_end(self, epoch, logs=None):
        self.model.evaluate(X, 1 - Y, verbose=0)


@keras.saving.register_keras_serializable(package="tests")
class Penalty(keras.layers.Layer):
    """Adds a loss of its own."""

    def call(self, inputs):
        self.add_loss(0 * ops.sum(inputs) + 0.7)
        return inputs


def first_price(model, data, targets, *more, warmup=2, **kwargs):
    """Return the first price of a training, times its factor."""
    schedule = callbacks.AbstentionSchedule(warmup, initial_factor=4.0)
    history = model.fit(
        data, targets, epochs=warmup + 1, shuffle=False, verbose=0,
        callbacks=[*more, schedule], **{"batch_size": 5, **kwargs},
    ).history  # fmt: skip
    return 4 * history["abstention_alpha"][-1], history


@pytest.mark.parametrize("mode", MODES)
def test_regularisation_is_no_part_of_the_first_price(mode):
    """Batches of 5, 5 and 2; weights that do not move, so that each step has them."""
    layer = keras.layers.Dense(
        3, use_bias=False, kernel_regularizer="l2", activity_regularizer="l1"
    )
    model = keras.Sequential([keras.Input((3,)), layer, Penalty()])
    model.set_weights([KERNEL])
    loss = losses.DeepAbstention(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, **mode)
    price, history = first_price(
        model, X, Y, *([Evaluate()] if "run_eagerly" in mode else []),
        validation_data=(X, 1 - Y), batch_size=5,
    )  # fmt: skip
    expected = cross_entropy(X @ KERNEL, Y)
    assert price == pytest.approx(expected, rel=1e-5)
    assert min(history["loss"][:2]) > expected + 0.7


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
def test_the_first_price_is_a_mean_over_examples(reduction):
    model = make_model()
    loss = losses.DeepAbstention(from_logits=True, reduction=reduction)
    model.compile(keras.optimizers.SGD(0.0), loss)
    price, _ = first_price(model, X, Y)
    assert price == pytest.approx(cross_entropy(X @ KERNEL, Y), rel=1e-5)


def test_the_first_price_of_sequences_with_a_mask():
    """A step that is masked is no example; a batch counts by its length."""
    x = rng.normal(size=(4, 2, 3)).astype("float32")
    y = rng.integers(0, 2, (4, 2))
    x[:, 1] = 0
    layer = keras.layers.Dense(3, use_bias=False, kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((2, 3)), keras.layers.Masking(), layer])
    model.set_weights([KERNEL])
    loss = losses.DeepAbstention(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    price, _ = first_price(model, x, y)
    assert price == pytest.approx(cross_entropy(x[:, 0] @ KERNEL, y[:, 0]), rel=1e-5)


def test_first_price_of_several_outputs():
    """Those with an abstention count alike, whatever their weights; others do not."""
    inputs = keras.Input((3,))
    layers = [keras.layers.Dense(3, use_bias=False, name=name) for name in "abc"]
    model = keras.Model(inputs, {layer.name: layer(inputs) for layer in layers})
    model.set_weights([KERNEL, 2 * KERNEL, KERNEL])
    model.compile(
        keras.optimizers.SGD(0.0),
        {
            "a": losses.DeepAbstention(from_logits=True),
            "b": losses.DeepAbstention(from_logits=True),
            "c": "mse",
        },
        loss_weights={"a": 0.3, "b": 2.0, "c": 1.0},
    )
    price, _ = first_price(model, X, {"a": Y, "b": 1 - Y, "c": np.ones((12, 3))})
    parts = cross_entropy(X @ KERNEL, Y), cross_entropy(X @ KERNEL * 2, 1 - Y)
    assert price == pytest.approx(np.mean(parts), rel=1e-5)


def test_the_first_price_is_that_of_the_last_warm_up_epoch():
    """A network that learns: the losses of the steps, each before its update."""
    kernel, expected = KERNEL.astype("float64"), []
    for _ in range(3):
        expected.append(0.0)
        for rows in (slice(0, 6), slice(6, 12)):
            x, y = X[rows].astype("float64"), Y[rows]
            expected[-1] += cross_entropy(x @ kernel, y) / 2
            p = np.exp(x @ kernel)
            p /= p.sum(axis=-1, keepdims=True)
            gradient = x.T @ (p - np.eye(3)[y]) / 6
            kernel -= 0.5 * (gradient + 2 * 0.01 * kernel)
    layer = keras.layers.Dense(3, use_bias=False, kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((3,)), layer])
    model.set_weights([KERNEL])
    loss = losses.DeepAbstention(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    price, _ = first_price(model, X, Y, warmup=3, batch_size=6)
    assert price == pytest.approx(expected[-1], rel=1e-4)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's strategies"
)
@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size"])
def test_first_price_on_two_replicas(reduction):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        layer = keras.layers.Dense(3, use_bias=False, kernel_regularizer="l2")
        model = keras.Sequential([keras.Input((3,)), layer])
        model.set_weights([KERNEL])
        loss = losses.DeepAbstention(from_logits=True, reduction=reduction)
        model.compile(keras.optimizers.SGD(0.0), loss)
    price, _ = first_price(model, X, Y, batch_size=4)
    assert price == pytest.approx(cross_entropy(X @ KERNEL, Y), rel=1e-5)


def test_a_warm_up_that_diverges_is_said():
    with pytest.raises(ValueError, match="the loss of the warm-up must be finite"):
        first_price(make_model(), np.full_like(X, np.nan), Y)


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
