"""Co-teaching: against two networks trained by hand on each other's choice."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks, losses
from keras_noisy.training import CoTeaching, co_teaching
from tests.helpers import assert_serves_its_network, continued

N, FEATURES, CLASSES, BATCH = 40, 6, 4, 8

rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES, dtype="int64")[Y]


def build_network(units=5, **kwargs):
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(units, "tanh", **kwargs),
            keras.layers.Dense(CLASSES),
        ]
    )


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build(networks=None, loss=None, forget_rate=0.5, num_gradual=2, **kwargs):
    """Return a compiled model; SGD without momentum, to be done by hand."""
    networks = networks or [build_network(), build_network()]
    model = CoTeaching(*networks, forget_rate=forget_rate, num_gradual=num_gradual)
    kwargs = {"metrics": ["accuracy"], **kwargs}
    model.compile(keras.optimizers.SGD(0.3), loss or cross_entropy(), **kwargs)
    return model


def fit(model, y=Y, x=X, epochs=4, **kwargs):
    settings = {"epochs": epochs, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    return model.fit(x, y, **{**settings, **kwargs})


def values_of(*models):
    return [ops.convert_to_numpy(v) for model in models for v in model.variables]


def assert_same(ours, theirs, tolerance=1e-5):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def copy_of(network):
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    copy.compile(keras.optimizers.SGD(0.3), cross_entropy())
    return copy


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def losses_by_hand(network, rows):
    logits = ops.convert_to_numpy(network(X[rows])).astype("float64")
    return -log_softmax(logits)[np.arange(len(rows)), Y[rows]]


# --- what it computes


@pytest.mark.every_backend
def test_training_by_hand():
    """Each network takes a step on the examples that the other one finds easiest."""
    model = build()
    pair = [copy_of(model.network), copy_of(model.peer)]
    fit(model, epochs=4)
    for kept in (8, 6, 4, 4):  # Of batches of 8; half are left out after two epochs.
        for start in range(0, N, BATCH):
            rows = np.arange(start, start + BATCH)
            chosen = [rows[losses_by_hand(net, rows).argsort()[:kept]] for net in pair]
            pair[0].train_on_batch(X[chosen[1]], Y[chosen[1]])
            pair[1].train_on_batch(X[chosen[0]], Y[chosen[0]])
    assert_same(values_of(model.network, model.peer), values_of(*pair))


def test_without_forgetting_both_are_trained_as_alone():
    model = build(forget_rate=0.0)
    pair = [copy_of(model.network), copy_of(model.peer)]
    together = fit(model).history["loss"]
    alone = [fit(network).history["loss"] for network in pair]
    assert_same(values_of(model.network, model.peer), values_of(*pair))
    np.testing.assert_allclose(together, np.sum(alone, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    "keep_rate, weight, expected",
    [
        (1.0, [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        (0.6, [1, 1, 1, 1, 1], [0, 1, 0, 1, 1]),
        (0.59, [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]),
        (0.0, [1, 1, 1, 1, 1], [0, 1, 0, 0, 0]),
        # An example of weight 0 is not there: two of four, not three of five.
        (0.5, [1, 0, 1, 1, 2], [0, 0, 0, 1, 1]),
    ],
)
def test_smallest(keep_rate, weight, expected):
    loss = ops.convert_to_tensor([5.0, 1.0, 4.0, 2.0, 3.0])
    weight = ops.convert_to_tensor(weight, "float32")
    chosen = co_teaching._smallest(loss, weight, keep_rate)
    assert ops.convert_to_numpy(chosen).tolist() == expected


def test_a_whole_number_of_examples_is_not_lost_to_rounding():
    for count in (5, 10, 128, 1000, 5000):
        for percent in range(1, 101):
            rate = ops.convert_to_tensor(1 - (100 - percent) / 100, "float32")
            loss = ops.arange(count, dtype="float32")
            chosen = co_teaching._smallest(loss, ops.ones_like(loss), rate)
            expected = max(count * percent // 100, 1)
            assert int(ops.sum(chosen)) == expected, (count, percent)


def test_examples_as_easy_as_the_last_one_are_chosen_too():
    loss = ops.convert_to_tensor([2.0, 1.0, 2.0, 3.0])
    chosen = co_teaching._smallest(loss, ops.ones_like(loss), 0.5)
    assert ops.convert_to_numpy(chosen).tolist() == [1, 1, 1, 0]


def test_gradients_are_means_over_the_examples_that_count():
    """A weight scales an example's gradient, and its loss is not divided by it."""
    weight = np.where(np.arange(N) % 4 == 0, 0.0, 1.0 + np.arange(N) % 2)
    model = build(forget_rate=0.0)
    network = copy_of(model.network)
    fit(model, sample_weight=weight.astype("float32"))
    there = weight > 0
    for start in range(0, N, BATCH):
        rows = np.arange(start, start + BATCH)
        rows = rows[there[rows]]
        assert len(rows) == 6
    for _ in range(4):
        for start in range(0, N, BATCH):
            rows = np.arange(start, start + BATCH)
            rows = rows[there[rows]]
            network.train_on_batch(X[rows], Y[rows], sample_weight=weight[rows])
    # Keras divides by the number of examples of the batch, which is 6 in both.
    assert_same(values_of(model.network), values_of(network))


def test_class_weight():
    model, other = build(), None
    other = build([copy_of(model.network), copy_of(model.peer)])
    class_weight = {0: 2.0, 1: 0.5, 2: 1.0, 3: 0.0}
    fit(model, class_weight=class_weight)
    fit(other, sample_weight=np.array([class_weight[label] for label in Y]))
    assert_same(values_of(model), values_of(other))


def test_penalties_on_weights_are_added():
    decay = {"kernel_regularizer": keras.regularizers.L2(0.1)}
    model = build([build_network(**decay), build_network(**decay)], forget_rate=0.0)
    pair = [copy_of(model.network), copy_of(model.peer)]
    fit(model)
    for network in pair:
        fit(network)
    assert_same(values_of(model.network, model.peer), values_of(*pair))


# --- the schedule


def test_keep_rate_falls_by_epochs():
    model = build(forget_rate=0.4, num_gradual=4)
    logged = fit(model, epochs=6).history["keep_rate"]
    np.testing.assert_allclose(logged, [1, 0.9, 0.8, 0.7, 0.6, 0.6], rtol=1e-6)


@pytest.mark.parametrize(
    "exponent, expected", [(2.0, [1, 0.95, 0.8, 0.6]), (0.5, [1, 0.95, 0.929, 0.913])]
)
def test_exponent(exponent, expected):
    model = CoTeaching(
        build_network(),
        build_network(),
        forget_rate=0.4,
        num_gradual=8,
        exponent=exponent,
    )
    rates = []
    for epoch in range(4):
        model.set_epoch(epoch)
        rates.append(float(ops.convert_to_numpy(model.keep_rate)))
    np.testing.assert_allclose(rates, expected, atol=1e-3)


def test_a_second_fit_continues_where_it_is_told_to():
    model = build()
    networks = [copy_of(model.network), copy_of(model.peer)]
    fit(model, epochs=4)
    parts = build(networks)
    fit(parts, epochs=1)
    logged = fit(parts, epochs=4, initial_epoch=1).history["keep_rate"]
    assert logged == [0.75, 0.5, 0.5]
    assert_same(values_of(model), values_of(parts))


def test_callbacks_of_ones_own():
    """A single one, a list, or a `CallbackList`; they see the share."""
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(logs["keep_rate"])
    )
    model = build()
    fit(model, callbacks=note, epochs=1)
    fit(model, callbacks=[note], epochs=2)
    model.fit(X, Y, BATCH, 1, 0, [note])
    several = keras.callbacks.CallbackList(
        [note], add_history=True, model=model, epochs=1, verbose=0
    )
    history = fit(model, callbacks=several, epochs=1)
    assert history.history["keep_rate"] == [1.0]
    assert len(seen) == 5


# --- it is a model of Keras


def test_predictions_metrics_and_validation_are_the_networks():
    model = build()
    logs = fit(model, validation_data=(X, Y)).history
    assert_serves_its_network(model, logs, X, Y)


def test_networks_without_an_input_shape_are_built():
    networks = [keras.Sequential([keras.layers.Dense(CLASSES)]) for _ in range(2)]
    model = build(networks)
    fit(model, epochs=1)
    assert len(model.trainable_variables) == 4


@pytest.mark.every_backend
def test_save_and_load(tmp_path):
    model = build(forget_rate=0.4, num_gradual=3)
    fit(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(values_of(model), values_of(loaded), tolerance=0)
    assert loaded.forget_rate == 0.4 and loaded.num_gradual == 3
    fit(model, initial_epoch=2)
    fit(loaded, initial_epoch=2)
    assert_same(values_of(model), values_of(loaded), tolerance=1e-6)


@pytest.mark.every_backend
def test_backup_and_restore(tmp_path):
    whole = build()
    networks = [copy_of(whole.network), copy_of(whole.peer)]
    fit(whole)

    model = continued(
        lambda: build([copy_of(network) for network in networks]),
        fit,
        tmp_path / "backup",
        1,
    )
    assert_same(values_of(model), values_of(whole))


def test_config_round_trip():
    model = CoTeaching(
        build_network(),
        build_network(units=7),
        forget_rate=0.4,
        num_gradual=3,
        exponent=2.0,
        name="pair",
    )
    config = json.loads(json.dumps(model.get_config()))
    other = CoTeaching.from_config(config)
    for name in ("forget_rate", "num_gradual", "exponent", "name"):
        assert getattr(other, name) == getattr(model, name)
    shapes = [v.shape for v in model.variables]
    assert [v.shape for v in other.variables] == shapes


@pytest.mark.parametrize(
    "loss, y",
    [
        (losses.GeneralizedCrossEntropy(from_logits=True), Y),
        (losses.GeneralizedCrossEntropy(from_logits=True), Y[:, None].astype("uint8")),
        (losses.GeneralizedCrossEntropy(from_logits=True), ONE_HOT),
        (keras.losses.CategoricalCrossentropy(from_logits=True), ONE_HOT),
        (cross_entropy(), Y[:, None]),
        ("mean_squared_error", ONE_HOT),
    ],
    ids=["ids", "column", "one-hot", "keras one-hot", "keras column", "name"],
)
def test_losses_and_labels(loss, y):
    """With nothing forgotten the first network is trained as Keras trains it."""
    model = build(loss=loss, forget_rate=0.0)
    network = copy_of(model.network)
    network.compile(keras.optimizers.SGD(0.3), loss)
    fit(model, y)
    fit(network, y)
    assert_same(values_of(model.network), values_of(network))


def test_proselflc_has_its_clock():
    model = build(loss=losses.ProSelfLC(from_logits=True))
    logs = fit(model, callbacks=[callbacks.GlobalTrust()]).history
    assert logs["global_trust"][-1] > 0.99 and np.isfinite(logs["loss"]).all()


@pytest.mark.parametrize("settings", [{"jit_compile": True}, {"run_eagerly": True}])
def test_modes(settings, backend):
    if backend == "torch" and "jit_compile" in settings:
        pytest.skip("torch's compiler is not part of this package's tests")
    model = build()
    other = build([copy_of(model.network), copy_of(model.peer)], **settings)
    fit(model)
    fit(other)
    assert_same(values_of(model), values_of(other))


def test_several_steps_at_once(backend):
    if backend == "torch":
        pytest.skip("Keras has no `steps_per_execution` on torch")
    model = build()
    other = build([copy_of(model.network), copy_of(model.peer)], steps_per_execution=3)
    fit(model)
    fit(other)
    assert_same(values_of(model), values_of(other))


@pytest.mark.every_backend
def test_half_precision():
    policy = keras.DTypePolicy("mixed_bfloat16")
    networks = [
        keras.Sequential(
            [keras.Input((FEATURES,)), keras.layers.Dense(CLASSES, dtype=policy)]
        )
        for _ in range(2)
    ]
    logs = fit(build(networks)).history
    assert logs["loss"][-1] < logs["loss"][0]


def test_sequences():
    """All entries of a batch compete, and each has a weight of its own."""
    networks = [
        keras.Sequential([keras.Input((3, FEATURES)), keras.layers.Dense(CLASSES)])
        for _ in range(2)
    ]
    x, y = np.stack([X, X + 1, X - 1], axis=1), np.stack([Y, Y, Y], axis=1)
    model = build(networks, forget_rate=0.0)
    network = copy_of(model.network)
    weight = 1.0 + np.arange(3 * N).reshape(N, 3) % 2
    fit(model, y, x, sample_weight=weight)
    fit(network, y, x, sample_weight=weight)
    assert_same(values_of(model.network), values_of(network))


@pytest.mark.tensorflow_only
def test_two_replicas_choose_from_the_global_batch(strategy):
    decay = {"kernel_regularizer": keras.regularizers.L2(0.1)}
    model = build([build_network(**decay), build_network(**decay)])
    weights = [model.network.get_weights(), model.peer.get_weights()]
    one = fit(model).history
    with strategy.scope():
        other = build([build_network(**decay), build_network(**decay)])
        other.network.set_weights(weights[0])
        other.peer.set_weights(weights[1])
    two = fit(other).history
    assert_same(values_of(model), values_of(other))
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-5)


# --- used wrongly


def test_arguments_out_of_range():
    networks = [build_network(), build_network()]
    for name, values in {
        "forget_rate": [1, -0.1, float("nan"), "0.4", None, True],
        "num_gradual": [0, 1.5, None],
        "exponent": [0, -1, float("nan"), None],
    }.items():
        for value in values:
            with pytest.raises((ValueError, TypeError), match=f"CoTeaching: `{name}`"):
                CoTeaching(*networks, **{"forget_rate": 0.4, name: value})
    with pytest.raises(ValueError, match="CoTeaching: `epoch`"):
        build().set_epoch(-1)


def test_a_function_is_no_network():
    with pytest.raises(TypeError, match="CoTeaching: `peer` must be a"):
        CoTeaching(build_network(), build_network, forget_rate=0.4)


def test_shared_variables():
    network = build_network()
    unbuilt = keras.Sequential([keras.layers.Dense(CLASSES)])
    sharing = keras.Sequential([*network.layers, keras.layers.Dense(CLASSES)])
    for pair in ((network, network), (unbuilt, unbuilt), (network, sharing)):
        with pytest.raises(ValueError, match="must not share variables"):
            CoTeaching(*pair, forget_rate=0.4)


def test_the_same_weights():
    network = build_network()
    model = build([network, copy_of(network)])
    with pytest.raises(ValueError, match="must have different weights"):
        fit(model)


def test_a_loss_of_the_whole_batch():
    model = build(loss=losses.DeterminantMutualInformation(from_logits=True))
    with pytest.raises(ValueError, match="one value for each example"):
        fit(model, epochs=1)


def test_no_loss():
    model = CoTeaching(build_network(), build_network(), forget_rate=0.5)
    model.compile("sgd")
    with pytest.raises(ValueError, match="must be compiled with a `loss`"):
        fit(model, epochs=1)


def test_a_bad_class_id_is_not_left_out_silently(backend):
    y = np.where(np.arange(N) == 3, CLASSES, Y)
    model = build(loss=losses.EqualLoss(epsilon=0.3, from_logits=True))
    if backend == "torch":
        with pytest.raises(ValueError, match="must hold class ids"):
            fit(model, y)
        return
    assert np.isnan(fit(model, y, epochs=3).history["loss"]).all()
