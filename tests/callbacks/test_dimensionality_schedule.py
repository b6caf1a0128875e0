"""D2L's schedule: dimensions, turning point and alpha, against a training by hand."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks, losses
from keras_noisy.analysis import local_intrinsic_dimensionality

N, FEATURES, CLASSES = 60, 5, 3

rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
SETTINGS = {
    "warmup_epochs": 1,
    "window": 2,
    "num_neighbors": 4,
    "batch_size": 20,
    "num_batches": 2,
}


def build(loss=None):
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(8, "tanh", name="hidden"),
            keras.layers.Dense(CLASSES),
        ]
    )
    loss = loss or losses.DimensionalityDriven(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def fit(model, *watch, epochs=7, **kwargs):
    settings = {"batch_size": 12, "shuffle": False, "verbose": 0}
    settings |= {"epochs": epochs, "callbacks": list(watch), **kwargs}
    return model.fit(X, Y, **settings)


def schedule(**kwargs):
    return callbacks.DimensionalitySchedule(X, **{**SETTINGS, **kwargs})


class Script(callbacks.DimensionalitySchedule):
    """A schedule that is told the dimensions."""

    def __init__(self, lids, **kwargs):
        super().__init__(X, **{**SETTINGS, **kwargs})
        self.lids = lids

    def _estimate(self, epoch):
        return self.lids[epoch]


# The fifth is far above the two before.
LIDS = [9.0, 8.0, 7.0, 6.9, 8.5, 7.5, 10.0]


def weights_of(model):
    return [np.array(ops.convert_to_numpy(w)) for w in model.weights]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_alpha_falls_after_the_turning_point():
    watch = Script(LIDS)
    assert watch.turning_epoch is None
    logs = fit(build(), watch).history
    assert watch.turning_epoch == 3
    np.testing.assert_allclose(logs["dimensionality"], LIDS)
    expected = [1.0] * 4 + [
        math.exp(-epoch / 7 * lid / 6.9)
        for epoch, lid in zip((4, 5, 6), LIDS[4:], strict=True)
    ]
    np.testing.assert_allclose(logs["dimensionality_alpha"], expected, rtol=1e-6)


@pytest.mark.every_backend
@pytest.mark.parametrize("roll_back", [True, False])
def test_training_by_hand(roll_back):
    """The weights go back by an epoch, and labels are mixed from then on."""
    model = build()
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    fit(model, Script(LIDS, roll_back=roll_back))
    before = None
    for epoch in range(7):
        alpha = 1.0
        if epoch == 4 and roll_back:
            other.set_weights(before)
        if epoch >= 4:
            alpha = math.exp(-epoch / 7 * LIDS[epoch] / 6.9)
        before = weights_of(other)
        loss = losses.BootstrapHard(epsilon=1 - alpha, from_logits=True)
        other.compile(keras.optimizers.SGD(0.1), loss)
        fit(other, epochs=1)
    assert_same(weights_of(model), weights_of(other))


@pytest.mark.parametrize(
    ("lids", "turning"),
    [
        # Two standard deviations of 7 and 6 above their mean is 7.5.
        ([9, 7, 6, 7.4, 8, 8], None),
        ([9, 7, 6, 7.6, 8, 8], 2),
        # Not before the warm-up and a whole window.
        ([9, 7, 20, 6, 6.5, 6.6], None),
        # NaN, of a network that tells nothing, is neither high nor low.
        ([9, 7, 6, math.nan, 8, 8], None),
    ],
)
def test_turning_point(lids, turning):
    watch = Script([float(lid) for lid in lids])
    logs = fit(build(), watch, epochs=6).history
    assert watch.turning_epoch == turning
    assert np.isfinite(logs["dimensionality_alpha"]).all()


@pytest.mark.every_backend
def test_dimension_by_hand():
    """That of the inputs of the last layer, before each epoch."""
    seen = []

    class Note(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            hidden = self.model.get_layer("hidden")
            seen.append(ops.convert_to_numpy(hidden(ops.convert_to_tensor(X))))

    logs = fit(build(), Note(), schedule(seed=5), epochs=4).history
    for epoch, values in enumerate(logs["dimensionality"]):
        rows = np.random.default_rng([5, epoch]).choice(N, 40, replace=False)
        found = [
            local_intrinsic_dimensionality(seen[epoch][some], k=4).mean()
            for some in (rows[:20], rows[20:])
        ]
        assert values == pytest.approx(np.mean(found), rel=1e-4)


def test_layers_by_name_and_in_models_in_models():
    inner = keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(4, name="inner")]
    )
    head = keras.layers.Dense(CLASSES)
    model = keras.Sequential([keras.Input((FEATURES,)), inner, head])
    model.compile("sgd", losses.DimensionalityDriven(from_logits=True))
    found = {}
    for layer in (None, head, "inner", inner.layers[0]):
        logs = fit(model, schedule(layer=layer)).history
        found[str(layer)] = logs["dimensionality"][0]
    # The inputs of the inner layer are the data.
    rows = np.random.default_rng([0, 0]).choice(N, 40, replace=False)
    expected = np.mean(
        [local_intrinsic_dimensionality(X[r], k=4) for r in (rows[:20], rows[20:])]
    )
    assert found["inner"] == pytest.approx(expected, rel=1e-4)
    assert found[str(inner.layers[0])] == pytest.approx(expected, rel=1e-4)
    # Its call is its own again.
    assert "call" not in vars(inner.layers[0]) and "call" not in vars(head)


@pytest.mark.every_backend
def test_half_precision():
    policy = keras.DTypePolicy("mixed_bfloat16")
    layers = [keras.layers.Dense(8, dtype=policy), keras.layers.Dense(3, dtype=policy)]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    model.compile("sgd", losses.DimensionalityDriven(from_logits=True))
    logs = fit(model, schedule()).history
    assert 1 < logs["dimensionality"][0] < 20


def test_several_inputs():
    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((3,), name="b")}
    joined = keras.layers.Concatenate()([inputs["a"], inputs["b"]])
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(joined))
    model.compile("sgd", losses.DimensionalityDriven(from_logits=True))
    x = {"a": X[:, :2], "b": X[:, 2:]}
    watch = callbacks.DimensionalitySchedule(x, **SETTINGS)
    logs = model.fit(x, Y, epochs=4, verbose=0, callbacks=[watch]).history
    assert 1 < logs["dimensionality"][0] < 20


def test_a_search_that_begins_after_the_training():
    expected = r"warmup_epochs=1 \+ window=2 leaves nothing of 3 epochs, so the labels"
    with pytest.warns(UserWarning, match=expected):
        fit(build(), schedule(), epochs=3)


def test_a_fit_that_is_continued_is_the_same(tmp_path):
    """Killed right before the turning point, with Keras's own backup."""

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 4:
                raise KeyboardInterrupt

    model, other = build(), build()
    other.set_weights(model.get_weights())
    fit(model, Script(LIDS))
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(other, Kill(), Script(LIDS), backup)
    again, watch = build(), Script(LIDS)
    fit(again, watch, keras.callbacks.BackupAndRestore(tmp_path))
    assert watch.turning_epoch == 3
    assert_same(weights_of(model), weights_of(again))


def test_another_fit_begins_anew():
    model, watch = build(), Script(LIDS)
    fit(model, watch)
    logs = fit(model, watch, epochs=4).history
    assert logs["dimensionality_alpha"] == [1.0] * 4
    assert watch.turning_epoch is None


def test_a_network_that_tells_nothing():
    model = build()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    logs = fit(model, schedule()).history
    assert math.isnan(logs["dimensionality"][0])
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    logs = fit(model, schedule()).history
    assert math.isnan(logs["dimensionality"][0])


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    model = build()
    weights = model.get_weights()
    one = fit(model, schedule(warmup_epochs=0)).history
    with strategy.scope():
        other = build()
        other.set_weights(weights)
    two = fit(other, schedule(warmup_epochs=0)).history
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4)
    assert_same(weights_of(model), weights_of(other))


# --- used wrongly


def test_arguments_out_of_range():
    for name, values in {
        "warmup_epochs": [-1, 1.5, None],
        "window": [1, None],
        "num_neighbors": [1, None],
        "batch_size": [4, None],
        "num_batches": [0, None],
        "seed": [-1, None],
        "x": [X[:19], X[:0]],
    }.items():
        for value in values:
            text = f"DimensionalitySchedule: `{name}`"
            with pytest.raises((TypeError, ValueError), match=text):
                callbacks.DimensionalitySchedule(**{"x": X, **SETTINGS, name: value})
    with pytest.raises(TypeError, match="`roll_back` must be a bool"):
        schedule(roll_back="yes")


def test_another_loss():
    model = build(losses.BootstrapHard(epsilon=0.2, from_logits=True))
    with pytest.raises(ValueError, match=r"must hold a `keras_noisy\.losses\.Dimens"):
        fit(model, schedule())


def test_a_model_with_the_state_of_other_settings():
    model = build()
    fit(model, schedule(), epochs=4)
    for other in ({"window": 3}, {"roll_back": False}):
        with pytest.raises(ValueError, match="a schedule with other settings"):
            fit(model, schedule(**other), epochs=1)


def test_no_such_layer():
    for layer in ("missing", keras.layers.Dense(2)):
        with pytest.raises(ValueError, match="`layer` must be a layer of the model"):
            fit(build(), schedule(layer=layer))


def test_an_epoch_in_the_middle():
    with pytest.raises(ValueError, match="training must begin with epoch 0"):
        fit(build(), schedule(), initial_epoch=3)
