"""Joint optimisation in `fit`, against a loop written by hand."""

import keras
import numpy as np
import pytest

from keras_noisy.callbacks import (
    EarlyLearningTargets,
    JointOptimizationLabels,
    with_sample_ids,
)
from keras_noisy.losses import JointOptimization
from tests.helpers import Crash, ids_of_epochs, softmax

BACKEND = keras.backend.backend()
N, FEATURES, CLASSES, BATCH, EPOCHS = 22, 6, 4, 8, 5
LEARNING_RATE, ALPHA, BETA = 0.5, 0.9, 0.6
WARMUP, WINDOW = 2, 2

# Trainings here are short, or go on in another one.
pytestmark = pytest.mark.filterwarnings("ignore:.*leaves nothing of:UserWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
KERNEL = rng.normal(size=(FEATURES, CLASSES)).astype("float32")
PRIOR = np.array([0.4, 0.3, 0.2, 0.1])


def make_model(activation=None, *, loss=None, learning_rate=LEARNING_RATE, **arguments):
    inputs = keras.Input((FEATURES,))
    layer = keras.layers.Dense(CLASSES, activation, use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    loss = loss or JointOptimization(
        alpha=ALPHA, beta=BETA, prior=PRIOR, from_logits=activation is None
    )
    if BACKEND == "tensorflow":
        # XLA takes seconds.
        arguments = {"jit_compile": False, **arguments}
    model.compile(keras.optimizers.SGD(learning_rate), loss, **arguments)
    model.set_weights([KERNEL])
    return model


def make_labels(num_examples=N, **arguments):
    arguments = {"warmup_epochs": WARMUP, "window": WINDOW, **arguments}
    return JointOptimizationLabels(num_examples, **arguments)


def fit(model, labels=None, epochs=EPOCHS, data=None, callbacks=(), **kwargs):
    labels = labels or make_labels()
    if data is None:
        data = labels.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    history = model.fit(
        data, epochs=epochs, callbacks=[labels, *callbacks], verbose=0, shuffle=False,
        **kwargs,
    )  # fmt: skip
    labels.logs = history.history
    return labels


def train_by_hand(orders, kind="soft", batch=BATCH):
    """Train the softmax regression in float64 NumPy, with the derived gradient.

    Returns:
        Weights, mean predictions, and the share of labels that each epoch changed.
    """
    kernel, labels = KERNEL.astype("float64"), np.eye(CLASSES)[Y]
    epochs, changes = [], []
    for order in orders:
        predictions = np.zeros((N, CLASSES))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            p = predictions[rows] = softmax(X[rows] @ kernel)
            entropy = -(p * np.log(p)).sum(axis=1, keepdims=True)
            pull = PRIOR / p.mean(axis=0)
            slope = p - labels[rows]
            slope -= ALPHA * p * (pull - (p * pull).sum(axis=1, keepdims=True))
            slope -= BETA * p * (np.log(p) + entropy)
            kernel = kernel - LEARNING_RATE * X[rows].T @ slope / len(rows)
        epochs.append(predictions)
        means = np.mean(epochs[-WINDOW:], axis=0)
        changes.append(np.nan)
        if len(epochs) >= WARMUP:
            if len(epochs) > WARMUP:
                changes[-1] = np.mean(labels.argmax(axis=1) != means.argmax(axis=1))
            hard = np.eye(CLASSES)[means.argmax(axis=1)]
            labels = means if kind == "soft" else hard
    return kernel, means, changes


IN_ORDER = [np.arange(N)] * EPOCHS


def assert_as_by_hand(model, labels, orders=IN_ORDER, **arguments):
    kernel, means, changes = train_by_hand(orders, **arguments)
    np.testing.assert_allclose(labels.soft_labels, means, atol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)
    assert labels.soft_labels.dtype == "float32"
    logged = labels.logs["changed_labels"]
    np.testing.assert_allclose(logged, changes[-len(logged) :])


def test_the_labels_matter():
    """What the loop by hand does is not what it would do with the given labels."""
    kernel, _, changes = train_by_hand(IN_ORDER)
    without, _, _ = train_by_hand(IN_ORDER[:WARMUP])
    assert np.abs(kernel - without).max() > 0.05
    hard, _, _ = train_by_hand(IN_ORDER, kind="hard")
    assert np.abs(kernel - hard).max() > 0.05
    assert np.nanmax(changes) > 0


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


def test_hard_labels():
    model = make_model()
    labels = fit(model, make_labels(kind="hard"))
    assert_as_by_hand(model, labels, kind="hard")


def test_probabilities():
    model = make_model("softmax")
    assert_as_by_hand(model, fit(model))


def test_shuffled():
    model, labels = make_model(), make_labels()
    data = labels.pipeline(model, X, Y, batch_size=BATCH, seed=3)
    orders = ids_of_epochs(labels, data, EPOCHS)
    assert not np.array_equal(orders[0], orders[1])
    fit(model, labels, data=data)
    assert_as_by_hand(model, labels, orders)


def test_one_hot_labels():
    model, labels = make_model(), make_labels()
    one_hot = np.eye(CLASSES, dtype="float32")[Y]
    data = labels.pipeline(model, X, one_hot, batch_size=BATCH, shuffle=False)
    fit(model, labels, data=data)
    assert_as_by_hand(model, labels)


@pytest.mark.tf_data
def test_tf_data():
    import tensorflow as tf

    dataset = with_sample_ids(tf.data.Dataset.from_tensor_slices((X, Y)))
    model, labels = make_model(), make_labels()
    fit(model, labels, data=labels.pipeline(model, dataset.batch(BATCH)))
    assert_as_by_hand(model, labels)


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    with strategy.scope():
        model = make_model()
    labels = fit(model)
    assert_as_by_hand(model, labels)
    for table in (labels._rows.labels, labels._rows.history):
        copies = strategy.experimental_local_results(table.value)
        np.testing.assert_array_equal(copies[0], copies[1])


class Stream(keras.utils.PyDataset):
    """One batch with the ids given."""

    def __init__(self, ids):
        super().__init__()
        self.ids = np.asarray(ids, "int64")

    def __len__(self):
        return 1

    def __getitem__(self, index):
        rows = self.ids % N
        return {"x": X[rows], "sample_id": self.ids}, Y[rows]


def test_what_was_never_seen_keeps_its_label_and_is_named():
    labels, model = make_labels(warmup_epochs=1), make_model(learning_rate=0.0)
    data = labels.pipeline(model, Stream(np.arange(1, N)))
    fit(model, labels, 1, data)
    table = keras.ops.convert_to_numpy(labels._rows.labels)
    assert not table[0].any()
    assert table[1:-1].all()
    with pytest.raises(ValueError, match=r"1 of 22 were not, such as 0\. Train over"):
        _ = labels.soft_labels


def test_an_example_that_an_epoch_leaves_out_keeps_its_prediction():
    labels, model = make_labels(window=1), make_model(learning_rate=0.0)
    for ids in (np.arange(N), np.arange(5)):
        fit(model, labels, 1, labels.pipeline(model, Stream(ids)))
    np.testing.assert_allclose(labels.soft_labels, softmax(X @ KERNEL), atol=1e-6)


@pytest.mark.parametrize("bad", [-1, N + 5])
def test_ids_out_of_range_are_refused(bad):
    labels, model = make_labels(), make_model()
    data = labels.pipeline(model, Stream([0, 1, bad]))
    expected = r"`sample_id` must be in \[0, 22\).*ids outside in epoch 0"
    with pytest.raises(ValueError, match=expected):
        fit(model, labels, 1, data)


# --- state


def test_second_fit_continues():
    model = make_model()
    labels = fit(model, epochs=1)
    data = labels.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    fit(model, labels, 3, data, initial_epoch=1)
    fit(model, labels, 2, data)
    assert_as_by_hand(model, labels)


def test_backup_and_restore(tmp_path):
    def train(*callbacks):
        model = make_model()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return model, fit(model, callbacks=[*callbacks, backup])

    with pytest.raises(RuntimeError, match="crash"):
        train(Crash(3))
    assert_as_by_hand(*train())


@pytest.mark.parametrize("whole", [True, False])
def test_save_and_continue(tmp_path, whole):
    model = make_model()
    fit(model, epochs=3)
    path = tmp_path / ("model.keras" if whole else "model.weights.h5")
    (model.save if whole else model.save_weights)(path)
    again = keras.saving.load_model(path) if whole else make_model()
    labels = make_labels()
    data = labels.pipeline(again, X, Y, batch_size=BATCH, shuffle=False)
    again.load_weights(path)
    fit(again, labels, EPOCHS, data, initial_epoch=3)
    assert_as_by_hand(again, labels)


def test_a_file_without_labels_leaves_them(tmp_path):
    make_model().save_weights(tmp_path / "plain.weights.h5")
    model = make_model()
    labels = fit(model)
    before = labels.soft_labels
    model.load_weights(tmp_path / "plain.weights.h5")
    np.testing.assert_array_equal(labels.soft_labels, before)


# --- beside other things


def test_evaluation_and_validation_take_the_labels_of_the_data():
    model = make_model()
    labels = make_labels()
    data = labels.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    history = model.fit(
        data, epochs=4, verbose=0, shuffle=False, callbacks=[labels],
        validation_data=(X, Y), validation_batch_size=N,
    ).history  # fmt: skip
    expected = float(model.loss(Y, keras.ops.convert_to_tensor(model.predict(X))))
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    before = labels.soft_labels
    assert model.evaluate(X, Y, batch_size=N, verbose=0) == pytest.approx(
        expected, rel=1e-5
    )
    np.testing.assert_array_equal(labels.soft_labels, before)


def test_without_the_callback_it_is_a_loss_as_others():
    model = make_model()
    model.fit(X, Y, batch_size=BATCH, epochs=WARMUP, shuffle=False, verbose=0)
    kernel, _, _ = train_by_hand(IN_ORDER[:WARMUP])
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)


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
    labels = fit(model)
    means = train_by_hand(IN_ORDER)[1]
    np.testing.assert_allclose(labels.soft_labels, means, atol=0.03)
    assert labels.soft_labels.dtype == "float32"


# --- what is refused


def test_a_warm_up_that_is_longer_than_the_training():
    labels, model = make_labels(warmup_epochs=4), make_model()
    with pytest.warns(UserWarning, match=r"warmup_epochs=4 leaves nothing of 3 epochs"):
        fit(model, labels, 3)
    # Those of the first training count.
    fit(model, labels, 2)


def test_no_labels_before_the_first_epoch():
    labels, model = make_labels(), make_model()
    with pytest.raises(ValueError, match=r"no labels before the end of the first ep"):
        _ = labels.soft_labels
    labels.pipeline(model, X, Y)
    with pytest.raises(ValueError, match=r"no labels before the end of the first ep"):
        _ = labels.soft_labels


def test_data_without_ids_is_refused():
    model, labels = make_model(), make_labels()
    labels.pipeline(model, X, Y)
    with pytest.raises(ValueError, match=r"data of `fit` must carry sample ids"):
        model.fit(X, Y, verbose=0, callbacks=[labels])


def test_model_that_is_not_prepared_is_refused():
    with pytest.raises(ValueError, match=r"must be prepared.*`pipeline\(model"):
        make_model().fit(X, Y, verbose=0, callbacks=[make_labels()])


def test_another_loss_is_refused():
    model = make_model(loss=keras.losses.SparseCategoricalCrossentropy())
    expected = r"JointOptimizationLabels: `model.loss` must be a `keras_noisy.losses.Jo"
    with pytest.raises(ValueError, match=expected):
        make_labels().pipeline(model, X, Y)
    with pytest.raises(ValueError, match=r"`model.loss` must be a `keras_noisy.losse"):
        EarlyLearningTargets(N).pipeline(make_model(), X, Y)


def test_another_window_of_the_same_model_is_refused():
    model = make_model()
    fit(model, epochs=1)
    with pytest.raises(ValueError, match=r"`window` must be 2, as when this model wa"):
        make_labels(window=3).pipeline(model, X, Y)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, None, "2"])
@pytest.mark.parametrize("argument", ["num_examples", "warmup_epochs", "window"])
def test_bad_counts(argument, value):
    expected = rf"^JointOptimizationLabels: `{argument}` must be a positive integer"
    with pytest.raises(ValueError, match=expected):
        JointOptimizationLabels(**{"num_examples": N, argument: value})


@pytest.mark.parametrize("value", [None, "Soft", 1])
def test_bad_kind(value):
    with pytest.raises(ValueError, match="`kind` must be one of 'soft', 'hard'"):
        JointOptimizationLabels(N, kind=value)
