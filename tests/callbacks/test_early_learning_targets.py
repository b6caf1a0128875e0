"""Early-learning regularisation in `fit`, against a loop written by hand."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_noisy import losses
from keras_noisy.callbacks import (
    EarlyLearningTargets,
    GlobalTrust,
    SEALOnTheFly,
    with_sample_ids,
)
from keras_noisy.losses import EarlyLearningRegularization
from tests.helpers import Crash, ids_of_epochs, softmax

BACKEND = keras.backend.backend()
ROOT = pathlib.Path(__file__).resolve().parents[2]
N, FEATURES, CLASSES, BATCH, EPOCHS = 22, 6, 4, 8, 3
LEARNING_RATE, WEIGHT, MOMENTUM = 0.5, 2.0, 0.6

rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
KERNEL = rng.normal(size=(FEATURES, CLASSES)).astype("float32")


def make_model(activation=None, *, loss=None, learning_rate=LEARNING_RATE, **arguments):
    inputs = keras.Input((FEATURES,))
    layer = keras.layers.Dense(CLASSES, activation, use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    loss = loss or EarlyLearningRegularization(
        weight=WEIGHT, momentum=MOMENTUM, from_logits=activation is None
    )
    if BACKEND == "tensorflow":
        # XLA takes seconds.
        arguments = {"jit_compile": False, **arguments}
    model.compile(keras.optimizers.SGD(learning_rate), loss, **arguments)
    model.set_weights([KERNEL])
    return model


def fit(model, early=None, epochs=EPOCHS, data=None, callbacks=(), **kwargs):
    early = early or EarlyLearningTargets(N)
    if data is None:
        data = early.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    model.fit(
        data, epochs=epochs, callbacks=[early, *callbacks], verbose=0, shuffle=False,
        **kwargs,
    )  # fmt: skip
    return early


def train_by_hand(orders, batch=BATCH):
    """Train the softmax regression in float64 NumPy, with the derived gradient.

    `N` leaves a last batch of 6, which two replicas share evenly: Keras averages over
    replicas and not over examples.

    Yields:
        Weights and averages after every step.
    """
    kernel, targets = KERNEL.astype("float64"), np.zeros((N, CLASSES))
    for order in orders:
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            p = softmax(X[rows] @ kernel)
            t = targets[rows] = MOMENTUM * targets[rows] + (1 - MOMENTUM) * p
            agreement = (t * p).sum(axis=1, keepdims=True)
            slope = p - np.eye(CLASSES)[Y[rows]]
            slope -= WEIGHT * p * (t - agreement) / (1 - agreement)
            kernel = kernel - LEARNING_RATE * X[rows].T @ slope / len(rows)
            yield kernel, targets.copy()


def last(steps):
    *_, result = steps
    return result


IN_ORDER = [np.arange(N)] * EPOCHS


def assert_as_by_hand(model, early, orders=IN_ORDER):
    kernel, targets = last(train_by_hand(orders))
    np.testing.assert_allclose(early.targets, targets, atol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)
    assert early.targets.dtype == "float32"
    assert early.targets.shape == (N, CLASSES)


class EachStep(keras.callbacks.Callback):
    """Compares weights and averages with the loop after every step."""

    def __init__(self, early):
        super().__init__()
        self.early, self.steps = early, train_by_hand(IN_ORDER)
        self.count = 0

    def on_train_batch_end(self, batch, logs=None):
        kernel, targets = next(self.steps)
        np.testing.assert_allclose(self.early.targets, targets, atol=1e-5)
        actual = keras.ops.convert_to_numpy(self.model.trainable_variables[0])
        np.testing.assert_allclose(actual, kernel, rtol=1e-4, atol=1e-5)
        self.count += 1


# On JAX the variables of the model change at the end of an epoch only.
@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND == "jax", reason="JAX shows no state between steps")
def test_every_step_is_as_by_hand():
    early = EarlyLearningTargets(N)
    each = EachStep(early)
    fit(make_model(), early, callbacks=[each])
    assert each.count == EPOCHS * 3


def test_the_loss_is_that_of_the_two_functions():
    early = EarlyLearningTargets(N)
    model = make_model()
    data = early.pipeline(model, X, Y, batch_size=N, shuffle=False)
    targets = np.zeros((N, CLASSES), "float32")
    for _ in range(3):
        z = model.predict(X, verbose=0)
        targets = losses.updated_target(targets, z, momentum=MOMENTUM, from_logits=True)
        expected = losses.early_learning_regularization(
            Y, z, target=targets, weight=WEIGHT, from_logits=True
        )
        history = model.fit(data, shuffle=False, verbose=0, callbacks=[early]).history[
            "loss"
        ]
        expected = keras.ops.convert_to_numpy(expected).mean()
        assert history[0] == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(
            early.targets, keras.ops.convert_to_numpy(targets), atol=1e-6
        )


MODES = {
    "default": {"jit_compile": "auto"},
    "no jit": {"jit_compile": False},
    "eager": {"run_eagerly": True},
    "jit": {"jit_compile": True},
    "executions of 3": {"steps_per_execution": 3},
    "metrics": {"metrics": ["accuracy"]},
}
if BACKEND == "torch":
    MODES = {k: v for k, v in MODES.items() if "exec" not in k and k != "jit"}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_fit(mode):
    model = make_model(**MODES[mode])
    assert_as_by_hand(model, fit(model))


def test_probabilities():
    model = make_model("softmax")
    assert_as_by_hand(model, fit(model))


def test_shuffled():
    model, early = make_model(), EarlyLearningTargets(N)
    data = early.pipeline(model, X, Y, batch_size=BATCH, seed=3)
    orders = ids_of_epochs(early, data, EPOCHS)
    assert not np.array_equal(orders[0], orders[1])
    fit(model, early, data=data)
    assert_as_by_hand(model, early, orders)


def test_one_hot_labels():
    model, early = make_model(), EarlyLearningTargets(N)
    one_hot = np.eye(CLASSES, dtype="float32")[Y]
    data = early.pipeline(model, X, one_hot, batch_size=BATCH, shuffle=False)
    fit(model, early, data=data)
    assert_as_by_hand(model, early)


class Foreign:
    """A tensor of a framework that the backend does not know."""

    def __init__(self, values):
        self.values = values

    def numpy(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


class ForeignBatches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        x = {"x": Foreign(X), "sample_id": Foreign(np.arange(N))}
        return x, Foreign(Y)


def test_batches_of_another_framework_prepare_a_model():
    model, early = make_model(), EarlyLearningTargets(N)
    data = ForeignBatches()
    assert early.pipeline(model, data) is data
    assert early.targets.shape == (N, CLASSES)


@pytest.mark.tf_data
def test_tf_data():
    import tensorflow as tf

    dataset = with_sample_ids(tf.data.Dataset.from_tensor_slices((X, Y)))
    model, early = make_model(), EarlyLearningTargets(N)
    fit(model, early, data=early.pipeline(model, dataset.batch(BATCH)))
    assert_as_by_hand(model, early)


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    with strategy.scope():
        model = make_model()
    early = fit(model)
    assert_as_by_hand(model, early)
    copies = strategy.experimental_local_results(early._rows.averages.value)
    np.testing.assert_array_equal(copies[0], copies[1])


class Stream(keras.utils.PyDataset):
    """Batches with the ids given."""

    def __init__(self, batches, dtype="int64"):
        super().__init__()
        self.batches = [np.asarray(ids) for ids in batches]
        self.dtype = dtype

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        ids = self.batches[index]
        rows = ids.astype(int) % N
        return {"x": X[rows], "sample_id": ids.astype(self.dtype)}, Y[rows]


def test_several_of_one_example_in_a_batch_count_as_one():
    early = EarlyLearningTargets(N)
    model = make_model(learning_rate=0.0)
    fit(model, early, 1, early.pipeline(model, Stream([[*range(N), 3, 3, 5]])))
    expected = (1 - MOMENTUM) * softmax(X @ KERNEL)
    np.testing.assert_allclose(early.targets, expected, atol=1e-6)


@pytest.mark.tensorflow_only
def test_several_of_one_example_on_two_replicas_count_as_one(strategy):
    early = EarlyLearningTargets(N)
    with strategy.scope():
        model = make_model(learning_rate=0.0)
    fit(model, early, 1, early.pipeline(model, Stream([[*range(N), *range(N)]])))
    expected = (1 - MOMENTUM) * softmax(X @ KERNEL)
    np.testing.assert_allclose(early.targets, expected, atol=1e-6)


TWO_STRATEGIES = """
import keras, numpy as np, tensorflow as tf
from keras_noisy import callbacks, losses

cpu = tf.config.list_physical_devices("CPU")[0]
one = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [one, one])
tf.config.threading.set_inter_op_parallelism_threads(8)
x, y = np.eye(18, dtype="float32"), np.arange(18) % 3
for batch_size in (4, 6):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = keras.Sequential([keras.Input((18,)), keras.layers.Dense(3)])
        model.compile("sgd", losses.EarlyLearningRegularization(from_logits=True))
    early = callbacks.EarlyLearningTargets(18)
    data = early.pipeline(model, x, y, batch_size=batch_size)
    model.fit(data, verbose=0, shuffle=False, callbacks=[early])
    assert early.targets.all()
"""


@pytest.mark.tensorflow_only
def test_a_second_strategy_in_one_process():
    """As in a notebook; TensorFlow's `all_gather` fails there."""
    subprocess.run([sys.executable, "-c", TWO_STRATEGIES], check=True, cwd=ROOT)


def test_what_was_never_seen_is_zero():
    early = EarlyLearningTargets(N)
    model = make_model()
    fit(model, early, 1, early.pipeline(model, Stream([np.arange(1, N)])))
    assert not early.targets[0].any()
    assert early.targets[1:].all()


@pytest.mark.parametrize("bad", [[-1], [N + 5, N]])
def test_ids_out_of_range_are_refused(bad):
    early, model = EarlyLearningTargets(N), make_model()
    data = early.pipeline(model, Stream([np.arange(N), bad]))
    expected = r"`sample_id` must be in \[0, 22\).*ids outside in epoch 0"
    with pytest.raises(ValueError, match=expected):
        fit(model, early, 1, data)


def test_a_step_that_overflows_leaves_the_averages():
    early, model = EarlyLearningTargets(N), make_model(learning_rate=0.0)
    data = early.pipeline(model, X, Y, batch_size=N, shuffle=False)
    fit(model, early, 1, data)
    before = early.targets
    model.set_weights([np.full_like(KERNEL, np.nan)])
    fit(model, early, 1, data)
    np.testing.assert_array_equal(early.targets, before)


# --- state


def test_second_fit_continues():
    model = make_model()
    early = fit(model, epochs=1)
    data = early.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    fit(model, early, 2, data, initial_epoch=1)
    fit(model, early, 1, data)
    assert_as_by_hand(model, early)


@pytest.mark.every_backend
def test_backup_and_restore(tmp_path):
    def train(*callbacks):
        model = make_model()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return model, fit(model, callbacks=[*callbacks, backup])

    with pytest.raises(RuntimeError, match="crash"):
        train(Crash(1))
    assert_as_by_hand(*train())


@pytest.mark.every_backend
@pytest.mark.parametrize("whole", [True, False])
def test_save_and_continue(tmp_path, whole):
    model = make_model()
    fit(model, epochs=1)
    path = tmp_path / ("model.keras" if whole else "model.weights.h5")
    (model.save if whole else model.save_weights)(path)
    again = keras.saving.load_model(path) if whole else make_model()
    early = EarlyLearningTargets(N)
    data = early.pipeline(again, X, Y, batch_size=BATCH, shuffle=False)
    again.load_weights(path)
    fit(again, early, EPOCHS, data, initial_epoch=1)
    assert_as_by_hand(again, early)


def test_a_file_without_averages_leaves_them(tmp_path):
    make_model().save_weights(tmp_path / "plain.weights.h5")
    model = make_model()
    early = fit(model, epochs=1)
    before = early.targets
    model.load_weights(tmp_path / "plain.weights.h5")
    np.testing.assert_array_equal(early.targets, before)
    np.testing.assert_array_equal(model.get_weights()[0], KERNEL)


# --- beside other things


def cross_entropy(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(Y, model.predict(X, verbose=0)))


def test_evaluation_and_validation_are_cross_entropy():
    model, early = make_model(), EarlyLearningTargets(N)
    data = early.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    history = model.fit(
        data, epochs=2, verbose=0, shuffle=False, callbacks=[early],
        validation_data=(X, Y),
    ).history  # fmt: skip
    assert history["val_loss"][-1] == pytest.approx(cross_entropy(model), rel=1e-5)
    before = early.targets
    assert model.evaluate(data, verbose=0) == pytest.approx(
        cross_entropy(model), rel=1e-5
    )
    np.testing.assert_array_equal(early.targets, before)


@pytest.mark.parametrize("seal_first", [False, True])
def test_together_with_seal(seal_first):
    plain, alone = make_model(), SEALOnTheFly(N, from_logits=True)
    early = fit(plain)
    model, seal, beside = make_model(), alone, EarlyLearningTargets(N)
    order = [seal, beside] if seal_first else [beside, seal]
    for callback in order:
        data = callback.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    model.fit(data, epochs=EPOCHS, verbose=0, shuffle=False, callbacks=order)
    np.testing.assert_allclose(model.get_weights()[0], plain.get_weights()[0])
    np.testing.assert_allclose(beside.targets, early.targets, atol=1e-6)
    assert seal.counts.tolist() == [EPOCHS] * N


def test_together_with_the_training_clock():
    model = make_model()
    with pytest.warns(UserWarning, match=r"no loss of this model reads the clock"):
        early = fit(model, callbacks=[GlobalTrust()])
    assert_as_by_hand(model, early)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    inputs = keras.Input((FEATURES,))
    layer = keras.layers.Dense(CLASSES, use_bias=False, dtype=policy)
    model = keras.Model(inputs, layer(inputs))
    optimizer = keras.optimizers.SGD(LEARNING_RATE)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
    model.compile(optimizer, make_model().loss)
    model.set_weights([KERNEL])
    early = fit(model)
    np.testing.assert_allclose(
        early.targets, last(train_by_hand(IN_ORDER))[1], atol=0.02
    )
    assert early.targets.dtype == "float32"


def test_momentum_of_another_compile_is_taken():
    model, early = make_model(), EarlyLearningTargets(N)
    data = early.pipeline(model, X, Y, batch_size=N, shuffle=False)
    fit(model, early, 1, data)
    loss = EarlyLearningRegularization(weight=1.0, momentum=0.0, from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    fit(model, early, 1, early.pipeline(model, X, Y, batch_size=N))
    np.testing.assert_allclose(
        early.targets, softmax(model.predict(X, verbose=0)), atol=1e-6
    )


def test_configuration_and_presets():
    loss = EarlyLearningRegularization(weight=2.5, momentum=0.4, from_logits=True)
    config = json.loads(json.dumps(keras.losses.serialize(loss)))
    again = keras.losses.deserialize(config)
    assert type(again) is EarlyLearningRegularization
    assert (again.weight, again.momentum, again.from_logits) == (2.5, 0.4, True)
    cifar = EarlyLearningRegularization.from_preset("cifar100")
    assert (cifar.weight, cifar.momentum) == (7.0, 0.9)
    registered = keras.saving.get_registered_name(EarlyLearningRegularization)
    assert registered == "keras_noisy>EarlyLearningRegularization"


# --- what is refused


def test_training_without_ids_is_refused():
    model = make_model()
    with pytest.raises(RuntimeError, match=r"must know which examples it sees"):
        model.fit(X, Y, verbose=0)
    model = make_model()
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(
        cross_entropy(model), rel=1e-5
    )


def test_data_without_ids_is_refused():
    model, early = make_model(), EarlyLearningTargets(N)
    early.pipeline(model, X, Y)
    with pytest.raises(ValueError, match=r"data of `fit` must carry sample ids"):
        model.fit(X, Y, verbose=0, callbacks=[early])


def test_model_that_is_not_prepared_is_refused():
    early = EarlyLearningTargets(N)
    with pytest.raises(ValueError, match=r"must be prepared.*`pipeline\(model"):
        make_model().fit(X, Y, verbose=0, callbacks=[early])
    with pytest.raises(ValueError, match=r"no averages before `pipeline`"):
        _ = early.targets
    with pytest.raises(ValueError, match=r"Call `model.compile` before `pipeline`"):
        early.pipeline(keras.Sequential([keras.layers.Dense(2)]), X, Y)


def test_another_loss_is_refused():
    model = make_model(loss=keras.losses.SparseCategoricalCrossentropy())
    expected = r"EarlyLearningTargets: `model.loss` must be a `keras_noisy.losses.Early"
    with pytest.raises(ValueError, match=expected):
        EarlyLearningTargets(N).pipeline(model, X, Y)


def test_another_number_of_examples_is_refused():
    model = make_model()
    fit(model, epochs=1)
    with pytest.raises(ValueError, match=r"Targets: `num_examples` must be 22, as"):
        EarlyLearningTargets(N - 1).pipeline(model, X[1:], Y[1:])
    with pytest.raises(ValueError, match=r"`len\(x\)` must be of length 22"):
        EarlyLearningTargets(N).pipeline(make_model(), X[1:], Y[1:])


@pytest.mark.parametrize("value", [0, -1, 2.5, True, None, "22"])
def test_bad_num_examples(value):
    with pytest.raises(ValueError, match=r"Targets: `num_examples` must be a positive"):
        EarlyLearningTargets(value)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "1", None, True])
@pytest.mark.parametrize("argument", ["weight", "momentum"])
def test_bad_arguments(argument, value):
    expected = rf"^EarlyLearningRegularization: `{argument}` must be a number.*Received"
    with pytest.raises((ValueError, TypeError), match=expected):
        EarlyLearningRegularization(**{argument: value})


def test_segmentation_is_refused():
    model = keras.Sequential([keras.Input((5, FEATURES)), keras.layers.Dense(CLASSES)])
    model.compile("sgd", EarlyLearningRegularization(from_logits=True))
    x, y = np.zeros((N, 5, FEATURES), "float32"), np.zeros((N, 5), int)
    with pytest.raises(ValueError, match=r"`model` must be a classifier with one outp"):
        EarlyLearningTargets(N).pipeline(model, x, y)
