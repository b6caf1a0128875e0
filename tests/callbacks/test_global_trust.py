"""The clock: final weights against a loop written by hand, in every mode of `fit`.

The model is a softmax regression, whose gradient is written out in float64. A step
that used another iteration than its own ends with other weights, which
`test_weights_depend_on_every_iteration` makes sure of.
"""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import losses
from keras_noisy.callbacks import GlobalTrust

BATCH, STEPS, EPOCHS, CLASSES, FEATURES = 8, 5, 3, 4, 6
LEARNING_RATE, EXP_BASE, RATIO = 0.5, 8.0, 0.4
TOTAL = STEPS * EPOCHS
BACKEND = keras.backend.backend()

rng = np.random.default_rng(0)
X = rng.normal(size=(BATCH * STEPS, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, BATCH * STEPS)
KERNEL = rng.normal(size=(FEATURES, CLASSES)).astype("float32")


def gradient_by_hand(kernel, x, y, trust):
    """Mean gradient of ProSelfLC in the kernel, in float64 NumPy."""
    z = x @ kernel
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    log_p = np.log(p)
    entropy = -(p * log_p).sum(axis=1, keepdims=True)
    e = trust * (1 - entropy / np.log(CLASSES))
    in_logits = (1 - e) * (p - np.eye(CLASSES)[y]) - e * p * (log_p + entropy)
    return x.T @ in_logits / len(x)


def train_by_hand(
    times=None, total=TOTAL, kernel=KERNEL, batches=None, accumulate=1, batch=BATCH
):
    """Run SGD with step `k` at iteration `times[k]` and return the kernel."""
    times = range(TOTAL) if times is None else times
    steps = len(X) // batch
    batches = [k % steps for k in range(len(times))] if batches is None else batches
    kernel, held = kernel.astype("float64"), 0.0
    for k, (t, b) in enumerate(zip(times, batches, strict=True)):
        rows = slice(b * batch, (b + 1) * batch)
        trust = 1 / (1 + np.exp(-EXP_BASE * (t / total - RATIO)))
        held = held + gradient_by_hand(
            kernel, X[rows].astype("float64"), Y[rows], trust
        )
        if (k + 1) % accumulate == 0:
            kernel = kernel - LEARNING_RATE * held / accumulate
            held = 0.0
    return kernel


def make_loss(**kwargs):
    return losses.ProSelfLC(
        exp_base=EXP_BASE, transit_time_ratio=RATIO, from_logits=True, **kwargs
    )


def make_model(cls=keras.Model, optimizer=None, loss=None, **compile_args):
    inputs = keras.Input((FEATURES,))
    outputs = keras.layers.Dense(CLASSES, use_bias=False, name="out")(inputs)
    model = cls(inputs, outputs)
    model.compile(
        optimizer or keras.optimizers.SGD(LEARNING_RATE),
        loss=loss or make_loss(),
        **compile_args,
    )
    model.set_weights([KERNEL])
    return model


def fit(model, callbacks=(), **kwargs):
    settings = dict(batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    callbacks = [GlobalTrust(), *callbacks]
    return model.fit(X, Y, callbacks=callbacks, **{**settings, **kwargs})


def assert_trained(model, expected):
    np.testing.assert_allclose(model.get_weights()[0], expected, rtol=0, atol=2e-5)


def test_weights_depend_on_every_iteration():
    right = train_by_hand()
    for k in range(TOTAL):
        times = list(range(TOTAL))
        times[k] += 1
        assert np.abs(train_by_hand(times) - right).max() > 1e-4


@keras.saving.register_keras_serializable(package="tests")
class Times(keras.losses.Loss):
    """A loss of a user that contains ours."""

    def __init__(self, factor, inner):
        super().__init__(name="times")
        self.factor = factor
        self.inner = inner

    def call(self, y_true, y_pred):
        return self.factor * self.inner.call(y_true, y_pred)


MODES = {
    "graph": {},
    "eager": {"run_eagerly": True},
    "jit": {"jit_compile": True},
    "no jit": {"jit_compile": False},
    "executions of 5": {"steps_per_execution": 5},
    "executions of 2, which does not divide 5": {"steps_per_execution": 2},
    "eager executions": {"steps_per_execution": 2, "run_eagerly": True},
    "metrics": {"metrics": ["accuracy"]},
}
if BACKEND == "torch":
    # Keras refuses several steps per execution there, and torch.compile needs a
    # C++ compiler at run time.
    MODES = {k: v for k, v in MODES.items() if "exec" not in k and k != "jit"}


@pytest.mark.parametrize("mode", MODES)
def test_compile_modes(mode):
    model = make_model(**MODES[mode])
    fit(model)
    assert_trained(model, train_by_hand())


def test_validation_takes_no_time():
    model = make_model()
    fit(model, validation_data=(X, Y), validation_batch_size=3)
    assert_trained(model, train_by_hand())


def test_logs_show_trust_in_training_and_not_in_evaluation():
    model = make_model(metrics=["accuracy"])
    history = fit(model, validation_data=(X, Y)).history
    progress = np.arange(1, EPOCHS + 1) / EPOCHS
    expected = 1 / (1 + np.exp(-EXP_BASE * (progress - RATIO)))
    np.testing.assert_allclose(history["global_trust"], expected, rtol=1e-5)
    assert set(history) == {
        "accuracy", "global_trust", "loss", "val_accuracy", "val_loss"
    }  # fmt: skip
    assert len(model.evaluate(X, Y, verbose=0)) == 2


def test_batch_logs_show_the_trust_that_the_step_used():
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(float(logs["global_trust"]))
    )
    fit(make_model(), [note], epochs=1)
    used = 1 / (1 + np.exp(-EXP_BASE * (np.arange(STEPS) / STEPS - RATIO)))
    np.testing.assert_allclose(seen, used, rtol=1e-5)


def test_initial_epoch():
    model = make_model()
    fit(model, initial_epoch=1)
    assert_trained(model, train_by_hand(range(STEPS, TOTAL)))


def test_second_fit_starts_again():
    model = make_model()
    fit(model, epochs=2)
    fit(model, epochs=1)
    first = train_by_hand(range(2 * STEPS), total=2 * STEPS)
    assert_trained(model, train_by_hand(range(STEPS), STEPS, kernel=first))


def test_second_fit_continues_with_initial_epoch():
    model = make_model()
    fit(model, epochs=EPOCHS, callbacks=[StopAfterEpoch(0)])
    fit(model, initial_epoch=1)
    assert_trained(model, train_by_hand())


def test_second_fit_with_another_batch_size():
    model = make_model()
    fit(model, epochs=1)
    fit(model, epochs=2, initial_epoch=1, batch_size=2 * BATCH)
    # Three steps an epoch, the last one of half the size.
    kernel = train_by_hand(range(STEPS), STEPS)
    kernel = train_by_hand([3, 4], 6, kernel, batches=[0, 1], batch=2 * BATCH)
    assert_trained(model, train_by_hand([5], 6, kernel, batches=[4]))


def test_fit_without_the_callback_goes_on_counting():
    model = make_model()
    fit(model, epochs=1)
    model.fit(X, Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    assert_trained(model, train_by_hand(range(2 * STEPS), STEPS))


def test_evaluate_before_fit_leaves_no_old_trace():
    model = make_model()
    before = model.evaluate(X, Y, verbose=0)
    fit(model)
    assert_trained(model, train_by_hand())
    after = model.evaluate(X, Y, verbose=0)
    expected = losses.proselflc(
        Y,
        X @ model.get_weights()[0],
        global_trust=losses.global_trust(
            1.0, exp_base=EXP_BASE, transit_time_ratio=RATIO
        ),
        from_logits=True,
    )
    assert after != before
    assert after == pytest.approx(float(ops.mean(expected)), rel=1e-5)


class StopAfterEpoch(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.stop_training = True


class Crash(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.at = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise RuntimeError("crash")


@pytest.mark.every_backend
@pytest.mark.parametrize("save_freq", ["epoch", 3])
def test_backup_and_restore(tmp_path, save_freq):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "b", save_freq=save_freq)

    with pytest.raises(RuntimeError, match="crash"):
        fit(make_model(), [backup(), Crash(1, 3)])
    model = make_model()
    fit(model, [backup()])
    # Keras repeats the epoch from its start. With save_freq=3 it does so with the
    # weights of the ninth and last saved step, which belongs to epoch 1.
    times = list(range(STEPS)) + list(range(STEPS, TOTAL))
    if save_freq == 3:
        times = [*range(9), *range(STEPS, TOTAL)]
    batches = [t % STEPS for t in times]
    assert_trained(model, train_by_hand(times, batches=batches))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_generator_with_total_iterations_resumes(tmp_path):
    def batches():
        for k in range(STEPS):
            rows = slice(k * BATCH, (k + 1) * BATCH)
            yield X[rows], Y[rows]

    class Data(keras.utils.PyDataset):
        """Batches in order, of a number that Keras is not told."""

        num_batches = None

        def __getitem__(self, index):
            rows = slice(index % STEPS * BATCH, (index % STEPS + 1) * BATCH)
            return X[rows], Y[rows]

    model = make_model()
    model.fit(
        Data(), steps_per_epoch=STEPS, epochs=EPOCHS, verbose=0, shuffle=False,
        callbacks=[GlobalTrust()],
    )  # fmt: skip
    assert_trained(model, train_by_hand())

    model = make_model()
    with pytest.raises(ValueError, match=r"`total_iterations` must be given"):
        model.fit(
            batches(), epochs=1, verbose=0, shuffle=False, callbacks=[GlobalTrust()]
        )
    model = make_model()
    model.fit(
        batches(), epochs=1, verbose=0, shuffle=False, callbacks=[GlobalTrust(TOTAL)]
    )
    assert_trained(model, train_by_hand(range(STEPS), TOTAL))
    with pytest.raises(ValueError, match=r"`steps_per_epoch` must be passed"):
        make_model().fit(
            batches(), epochs=2, initial_epoch=1, verbose=0, shuffle=False,
            callbacks=[GlobalTrust(TOTAL)],
        )  # fmt: skip


@pytest.mark.every_backend
def test_save_and_load(tmp_path):
    model = make_model()
    fit(model, callbacks=[StopAfterEpoch(1)])
    value = model.evaluate(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(X, Y, verbose=0) == pytest.approx(value, rel=1e-6)
    fit(loaded, initial_epoch=2)
    assert_trained(loaded, train_by_hand())


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_loaded_twice_keeps_the_time(tmp_path, suffix):
    model = make_model()
    fit(model, callbacks=[StopAfterEpoch(1)])
    value = model.evaluate(X, Y, verbose=0)
    for name in (f"first.{suffix}", f"second.{suffix}"):
        model.save(tmp_path / name)
        model = keras.saving.load_model(tmp_path / name)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_weights_files_are_interchangeable(tmp_path, suffix):
    if suffix == ".h5":
        suffix = ".legacy.weights.h5"
    timed, plain = make_model(), make_model(loss="sparse_categorical_crossentropy")
    fit(timed)
    timed.save_weights(tmp_path / f"timed{suffix}")
    plain.load_weights(tmp_path / f"timed{suffix}")
    np.testing.assert_array_equal(plain.get_weights()[0], timed.get_weights()[0])

    plain.set_weights([KERNEL])
    plain.save_weights(tmp_path / f"plain{suffix}")
    fit(timed, epochs=1)
    timed.load_weights(tmp_path / f"plain{suffix}")
    np.testing.assert_array_equal(timed.get_weights()[0], KERNEL)
    fit(timed)
    assert_trained(timed, train_by_hand())


def test_checkpoint_keeps_the_optimizer(tmp_path):
    optimizer = keras.optimizers.SGD(LEARNING_RATE, momentum=0.9)
    model = make_model(optimizer=optimizer)
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for saved, original in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(saved), ops.convert_to_numpy(original)
        )


def test_gradient_accumulation():
    optimizer = keras.optimizers.SGD(LEARNING_RATE, gradient_accumulation_steps=3)
    model = make_model(optimizer=optimizer)
    fit(model)
    assert_trained(model, train_by_hand(accumulate=3))


def test_loss_scaling():
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(LEARNING_RATE), initial_scale=8.0
    )
    model = make_model(optimizer=optimizer)
    fit(model)
    assert_trained(model, train_by_hand())


def test_skipped_steps_of_loss_scaling_take_time():
    # The first scales overflow, their updates are skipped, and time goes on.
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(LEARNING_RATE / 8), initial_scale=1e38
    )
    model = make_model(optimizer=optimizer, loss=Times(8, make_loss()))
    fit(model)
    # Which of the first steps overflow depends on their gradients.
    done = [
        [k for k in range(TOTAL) if k >= 8 or not skipped >> k & 1]
        for skipped in range(1, 2**8)
    ]
    errors = [
        np.abs(
            train_by_hand(times, batches=[t % STEPS for t in times])
            - model.get_weights()[0]
        ).max()
        for times in done
    ]
    assert min(errors) < 2e-5


def test_two_outputs_with_a_loss_each_and_with_one_loss():
    for shared in (False, True):
        inputs = keras.Input((FEATURES,))
        heads = [
            keras.layers.Dense(CLASSES, use_bias=False, name=name)(inputs)
            for name in "ab"
        ]
        model = keras.Model(inputs, heads)
        first = make_loss()
        model.compile(
            keras.optimizers.SGD(LEARNING_RATE),
            loss=[first, first if shared else make_loss()],
        )
        model.set_weights([KERNEL, KERNEL])
        model.fit(
            X, [Y, Y], batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0,
            callbacks=[GlobalTrust()],
        )  # fmt: skip
        for weights in model.get_weights():
            np.testing.assert_allclose(weights, train_by_hand(), rtol=0, atol=2e-5)


def test_losses_that_differ_log_one_value_each():
    inputs = keras.Input((FEATURES,))
    heads = [keras.layers.Dense(CLASSES, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, heads)
    model.compile(
        "sgd",
        loss=[losses.ProSelfLC(exp_base=b, from_logits=True) for b in (8, 12)],
    )
    history = model.fit(
        X, [Y, Y], epochs=1, verbose=0, callbacks=[GlobalTrust()]
    ).history
    assert {"global_trust_8_0.5", "global_trust_12_0.5"} <= set(history)


def test_loss_inside_another_loss():
    optimizer = keras.optimizers.SGD(2 * LEARNING_RATE)
    model = make_model(optimizer=optimizer, loss=Times(0.5, make_loss()))
    fit(model)
    assert_trained(model, train_by_hand())


def test_one_loss_in_two_models():
    loss = make_loss()
    first, second = make_model(loss=loss), make_model(loss=loss)
    fit(first, epochs=1)
    fit(second)
    assert_trained(second, train_by_hand())
    fit(first, epochs=1)
    kernel = train_by_hand(range(STEPS), STEPS)
    assert_trained(first, train_by_hand(range(STEPS), STEPS, kernel=kernel))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(CLASSES, use_bias=False)

    def call(self, x):
        return self.dense(x)


def test_built_subclassed_model():
    model = Subclassed()
    model(X[:1])
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss=make_loss())
    model.set_weights([KERNEL])
    fit(model)
    assert_trained(model, train_by_hand())


class OwnStep(keras.Model):
    """A model of a user with a `train_step` of its own."""

    def train_step(self, *args, **kwargs):
        return super().train_step(*args, **kwargs)


def test_custom_train_step():
    model = make_model(cls=OwnStep)
    fit(model)
    assert_trained(model, train_by_hand())


class OwnLoss(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return super().compute_loss(x, y, y_pred, sample_weight)


def test_compute_loss_without_the_training_argument():
    model = make_model(cls=OwnLoss)
    fit(model)
    assert_trained(model, train_by_hand())


@pytest.mark.every_backend
def test_recompiled_model():
    model = make_model()
    fit(model, epochs=1)
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss=make_loss())
    model.set_weights([KERNEL])
    fit(model)
    assert_trained(model, train_by_hand())


def test_without_the_callback_training_warns_and_evaluation_does_not():
    model = make_model()
    model.evaluate(X, Y, verbose=0)
    with pytest.warns(UserWarning, match=r"callbacks=\[keras_noisy.callbacks.Glob"):
        model.fit(X, Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    assert_trained(model, train_by_hand([0] * STEPS))


def test_callback_without_the_loss_warns():
    model = make_model(loss="sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match="no loss of this model reads the clock"):
        fit(model, epochs=1)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "10"])
def test_total_iterations_is_checked(value):
    with pytest.raises(ValueError, match=r"GlobalTrust: `total_iterations` must be"):
        GlobalTrust(value)


def test_clock_that_is_passed_by_raises():
    class Replace(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            del self.model.train_step
            self.model.make_train_function(force=True)

    with (
        pytest.warns(UserWarning, match="trained without its clock"),
        pytest.raises(RuntimeError, match="the clock did not move"),
    ):
        fit(make_model(), [Replace()])


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    with strategy.scope():
        model = make_model(metrics=["accuracy"])
    history = fit(model, validation_data=(X, Y)).history
    assert_trained(model, train_by_hand())
    assert history["accuracy"][0] == pytest.approx(
        fit(make_model(metrics=["accuracy"])).history["accuracy"][0]
    )


@pytest.mark.tensorflow_only
def test_two_replicas_resume(tmp_path, strategy):
    def run(*callbacks):
        with strategy.scope():
            model = make_model()
        fit(model, [keras.callbacks.BackupAndRestore(tmp_path / "b"), *callbacks])
        return model

    with pytest.raises(RuntimeError, match="crash"):
        run(Crash(1, 3))
    assert_trained(run(), train_by_hand())


@pytest.mark.tensorflow_only
def test_endless_data_in_executions_that_do_not_divide_the_epoch():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH).repeat()
    model = make_model(steps_per_execution=3)
    model.fit(
        data,
        steps_per_epoch=4,
        epochs=2,
        verbose=0,
        shuffle=False,
        callbacks=[GlobalTrust(12)],
    )
    # Keras runs two executions of three steps an epoch.
    assert_trained(model, train_by_hand(range(12), 12))
    fit_again = make_model(steps_per_execution=3)
    fit_again.fit(
        data,
        steps_per_epoch=4,
        epochs=2,
        verbose=0,
        shuffle=False,
        callbacks=[GlobalTrust()],
    )
    # Nobody knows before the first epoch is over that there will be 12 steps.
    kernel = train_by_hand(range(6), 8)
    batches = [k % STEPS for k in range(6, 12)]
    expected = train_by_hand(range(6, 12), 12, kernel=kernel, batches=batches)
    assert_trained(fit_again, expected)


DATA_PARALLEL = """
import keras, numpy as np
from keras_noisy import callbacks, losses

x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
y = np.arange(64) % 3
weights = []
for devices in (None, keras.distribution.list_devices()):
    if devices:
        assert len(devices) == 2
        parallel = keras.distribution.DataParallel(devices=devices)
        keras.distribution.set_distribution(parallel)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.5), losses.ProSelfLC(from_logits=True))
    model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0,
              callbacks=[callbacks.GlobalTrust()])
    weights.append(model.get_weights()[0])
np.testing.assert_allclose(*weights, atol=1e-6)
"""


@pytest.mark.skipif(BACKEND != "jax", reason="DataParallel is for the JAX backend")
def test_jax_data_parallel():
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")
        + " --xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[2]),
    }
    subprocess.run([sys.executable, "-c", DATA_PARALLEL], env=environment, check=True)
