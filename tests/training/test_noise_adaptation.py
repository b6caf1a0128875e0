"""Noise adaptation: against a network and a matrix that are trained by hand."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks, losses, noise
from keras_noisy.training import NoiseAdaptation, _through_matrix
from tests.helpers import assert_serves_its_network, continued, linear_network, softmax

N, FEATURES, CLASSES, BATCH, EPOCHS = 40, 6, 4, 8, 3
LEARNING_RATE = 0.5

rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]
KERNEL = rng.normal(size=(FEATURES, CLASSES)).astype("float32")
MATRIX = rng.dirichlet(2 * np.ones(CLASSES), CLASSES)


def build_network(activation=None, **kwargs):
    return linear_network(KERNEL, activation, **kwargs)


def cross_entropy(from_logits=True):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def build(network=None, loss=None, matrix=MATRIX, from_logits=True, **kwargs):
    """Return a compiled model; SGD without momentum, to be done by hand."""
    network = network or build_network(None if from_logits else "softmax")
    model = NoiseAdaptation(network, transition_matrix=matrix, from_logits=from_logits)
    kwargs = {"metrics": ["accuracy"], **kwargs}
    loss = loss or cross_entropy(from_logits)
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss, **kwargs)
    return model


def fit(model, y=Y, x=X, epochs=EPOCHS, **kwargs):
    settings = {"epochs": epochs, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    return model.fit(x, y, **{**settings, **kwargs})


def train_by_hand(epochs=EPOCHS):
    """Train both in float64 NumPy, with the derived gradients."""
    kernel, rates = KERNEL.astype("float64"), np.log(MATRIX)
    for _ in range(epochs):
        for start in range(0, N, BATCH):
            x, q = X[start : start + BATCH], ONE_HOT[start : start + BATCH]
            p, matrix = softmax(x @ kernel), softmax(rates)
            # Of -sum_j q_j log (p T)_j in (p T), then in p and in T.
            outer = -q / (p @ matrix) / len(x)
            slope_p, slope_t = outer @ matrix.T, p.T @ outer
            slope_z = p * (slope_p - (p * slope_p).sum(axis=1, keepdims=True))
            total = (matrix * slope_t).sum(axis=1, keepdims=True)
            kernel = kernel - LEARNING_RATE * x.T @ slope_z
            rates = rates - LEARNING_RATE * matrix * (slope_t - total)
    return kernel, softmax(rates)


def assert_as_by_hand(model, epochs=EPOCHS):
    kernel, matrix = train_by_hand(epochs)
    actual = model.network.get_weights()[0]
    np.testing.assert_allclose(actual, kernel, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.transition_matrix, matrix, atol=1e-5)


# --- what it computes


@pytest.mark.every_backend
def test_training_by_hand():
    model = build()
    np.testing.assert_allclose(model.transition_matrix, MATRIX, rtol=1e-5)
    fit(model)
    assert_as_by_hand(model)
    assert np.abs(model.transition_matrix - MATRIX).max() > 0.05


def test_probabilities():
    model = build(from_logits=False)
    fit(model)
    assert_as_by_hand(model)
    sums = ops.sum(model(X, training=True), axis=-1)
    np.testing.assert_allclose(ops.convert_to_numpy(sums), 1, rtol=1e-5)


def test_the_loss_is_forward_correction_with_the_matrix():
    model = build()
    forward = losses.ForwardCorrection(transition_matrix=MATRIX, from_logits=True)
    expected = forward(Y, model.network(X))
    actual = cross_entropy()(Y, model(X, training=True))
    expected, actual = (ops.convert_to_numpy(v) for v in (expected, actual))
    assert actual == pytest.approx(expected, rel=1e-5)
    # The network's own is another number.
    assert model.evaluate(X, Y, verbose=0)[0] != pytest.approx(expected, rel=1e-2)
    # The outputs behind the layer are normalised: log-probabilities.
    total = ops.convert_to_numpy(ops.logsumexp(model(X, training=True), axis=-1))
    np.testing.assert_allclose(total, 0, atol=1e-6)


def test_rates_of_zero_can_be_learnt():
    model = build(matrix=np.eye(CLASSES))
    start = model.transition_matrix
    np.testing.assert_allclose(start, np.eye(CLASSES), atol=4e-6)
    assert start.min() > 0.9e-6
    model.compile(keras.optimizers.Adam(0.5), cross_entropy())
    fit(model, epochs=20)
    assert model.transition_matrix.min() >= 0
    assert np.abs(model.transition_matrix - start).max() > 0.05


def test_losses_and_gradients_are_finite_for_large_logits():
    model = build(matrix=np.eye(CLASSES))
    model.network.set_weights([1e4 * KERNEL])
    assert np.isfinite(fit(model, epochs=1).history["loss"]).all()
    for weights in model.get_weights():
        assert np.isfinite(weights).all()


def test_it_finds_the_matrix_of_the_noise():
    """From a network that was trained with cross-entropy, and its confusion."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(1)
    clean = generator.integers(0, CLASSES, 4000)
    centres = 6 * np.eye(CLASSES, FEATURES)
    x = (centres[clean] + generator.normal(size=(4000, FEATURES))).astype("float32")
    true = noise.asymmetric(CLASSES, {0: 1, 2: 3}, 0.4)
    labels = noise.corrupt_labels(clean, true, seed=0)
    noisy, true = labels.noisy, labels.transition_matrix
    network = build_network()
    network.compile(keras.optimizers.Adam(0.05), cross_entropy())
    network.fit(x, noisy, batch_size=100, epochs=1, verbose=0)
    predictions = softmax(network.predict(x, verbose=0).astype("float64"))
    start = noise.estimate_from_confusion(noisy, predictions)
    model = build(network, matrix=start)
    model.compile(keras.optimizers.Adam(0.05), cross_entropy())
    model.fit(x, noisy, batch_size=100, epochs=10, verbose=0)
    before, after = (np.abs(m - true).max() for m in (start, model.transition_matrix))
    assert after < 0.07 and before > 0.12
    accuracy = np.mean(model.predict(x, verbose=0).argmax(axis=1) == clean)
    assert accuracy > 0.95


# --- it is a model of Keras


def test_predictions_and_validation_are_the_networks():
    model = build()
    logs = fit(model, validation_data=(X, Y)).history
    assert_serves_its_network(model, logs, X, Y)


def test_accuracy_in_training_is_that_of_the_noisy_labels():
    model = build()
    outputs = ops.convert_to_numpy(model(X, training=True))
    logs = fit(model, epochs=1, batch_size=N).history
    assert logs["accuracy"][0] == pytest.approx(np.mean(outputs.argmax(axis=1) == Y))


def test_dropout_is_that_of_the_mode():
    network = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dropout(0.9),
            keras.layers.Dense(CLASSES),
        ]
    )
    model = build(network)
    first, second = (model(X, training=True) for _ in range(2))
    assert np.abs(ops.convert_to_numpy(first - second)).max() > 0
    first, second = (model(X) for _ in range(2))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(first), ops.convert_to_numpy(second)
    )


@pytest.mark.parametrize(
    "settings",
    [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 3}],
    ids=["jit", "eager", "several steps"],
)
def test_modes(settings, backend):
    if backend == "torch" and "run_eagerly" not in settings:
        pytest.skip("torch has neither, as far as this package's tests go")
    model = build(**settings)
    fit(model)
    assert_as_by_hand(model)


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    with strategy.scope():
        model = build()
    fit(model)
    assert_as_by_hand(model)


@pytest.mark.every_backend
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    model = build(build_network(dtype=policy))
    fit(model)
    _, matrix = train_by_hand()
    np.testing.assert_allclose(model.transition_matrix, matrix, atol=0.03)
    assert model._rates.dtype == "float32"


def test_a_network_without_an_input_shape_is_built():
    model = build(keras.Sequential([keras.layers.Dense(CLASSES)]))
    fit(model, epochs=1)
    assert len(model.trainable_variables) == 3


def test_sequences():
    model = build(build_network(steps=(3,)))
    x, y = np.stack([X] * 3, axis=1), np.stack([Y] * 3, axis=1)
    fit(model, y, x)
    assert_as_by_hand(model)


@pytest.mark.parametrize(
    "loss, y",
    [
        (keras.losses.CategoricalCrossentropy(from_logits=True), ONE_HOT),
        (losses.LabelSmoothing(epsilon=0.0, from_logits=True), Y),
        (losses.EqualLoss(epsilon=0.0, from_logits=True), ONE_HOT),
    ],
    ids=["keras one-hot", "ids", "one-hot"],
)
def test_losses_and_labels(loss, y):
    model = build(loss=loss)
    fit(model, y)
    assert_as_by_hand(model)


def test_proselflc_has_its_clock():
    model = build(loss=losses.ProSelfLC(from_logits=True))
    logs = fit(model, callbacks=[callbacks.GlobalTrust()]).history
    assert logs["global_trust"][-1] > 0.99 and np.isfinite(logs["loss"]).all()


def test_save_and_load(tmp_path):
    model = build()
    fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.transition_matrix, model.transition_matrix)
    fit(loaded, epochs=EPOCHS - 1)
    assert_as_by_hand(loaded)


def test_backup_and_restore(tmp_path):
    model = continued(build, fit, tmp_path / "backup", 1)
    assert_as_by_hand(model)


def test_config_round_trip():
    model = build(from_logits=False)
    fit(model)
    config = json.loads(json.dumps(model.get_config()))
    other = NoiseAdaptation.from_config(config)
    assert other.from_logits is False and other.name == model.name
    # A configuration is the start, not what was learnt.
    np.testing.assert_allclose(other.transition_matrix, MATRIX, rtol=1e-5)


# --- used wrongly


def test_a_function_is_no_network():
    with pytest.raises(TypeError, match=r"`network` must be a keras\.Model"):
        NoiseAdaptation(build_network, transition_matrix=MATRIX)


@pytest.mark.parametrize("matrix", [MATRIX.T, MATRIX[:2], -MATRIX, np.eye(1), None])
def test_bad_matrices(matrix):
    with pytest.raises((ValueError, TypeError), match=r"^NoiseAdaptation: `transition"):
        NoiseAdaptation(build_network(), transition_matrix=matrix)


def test_another_number_of_classes():
    model = build(matrix=noise.symmetric(5, 0.2))
    with pytest.raises(ValueError, match=r"must be of shape \(4, 4\), as the outputs"):
        fit(model, epochs=1)


@pytest.mark.parametrize("from_logits", [True, False])
def test_a_loss_that_is_told_something_else(from_logits):
    loss = losses.EqualLoss(epsilon=0.3, from_logits=not from_logits)
    with pytest.raises(ValueError, match="the loss must be told the same as the model"):
        fit(build(loss=loss, from_logits=from_logits), epochs=1)
    with pytest.raises(TypeError, match="`from_logits` must be a bool"):
        build(from_logits="yes")


def test_the_least_rate_is_below_the_least_probability_that_counts():
    assert _through_matrix.SMALLEST_PROBABILITY < _through_matrix.SMALLEST_RATE
