"""Masking: against both networks trained by hand, and what its structure is worth."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import noise
from keras_noisy.training import Masking, NoiseAdaptation, masking
from tests.helpers import assert_serves_its_network, continued, linear_network, softmax

N, FEATURES, CLASSES, UNITS, BATCH, EPOCHS, SEED = 40, 6, 4, 7, 8, 3, 5
LEARNING_RATE, THRESHOLD, TEMPERATURE, WEIGHT = 0.5, 0.1, 0.05, 0.7

rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]
KERNEL = rng.normal(size=(FEATURES, CLASSES)).astype("float32")
MATRIX = rng.dirichlet(2 * np.ones(CLASSES), CLASSES)
STRUCTURE = np.eye(CLASSES) + np.eye(CLASSES, k=1) > 0
# Spread enough for matrices that differ.
GENERATOR = [
    rng.normal(size=(CLASSES, UNITS)),
    rng.normal(size=UNITS),
    rng.normal(size=(UNITS, UNITS)) / 2,
    rng.normal(size=UNITS),
    rng.normal(size=(UNITS, CLASSES**2)) / 4,
    np.log(MATRIX).ravel(),
]


def build_network(activation=None, **kwargs):
    return linear_network(KERNEL, activation, **kwargs)


def make(network=None, from_logits=True, **kwargs):
    settings = {
        "structure": STRUCTURE,
        "transition_matrix": MATRIX,
        "structure_weight": WEIGHT,
        "threshold": THRESHOLD,
        "temperature": TEMPERATURE,
        "units": UNITS,
        "seed": SEED,
    }
    network = network or build_network(None if from_logits else "softmax")
    return Masking(network, from_logits=from_logits, **{**settings, **kwargs})


def cross_entropy(from_logits=True):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def compiled(model, loss=None, **kwargs):
    """Compile with SGD without momentum, to be done by hand."""
    loss = loss or cross_entropy(model.from_logits)
    # TensorFlow draws other numbers under XLA.
    kwargs = {"metrics": ["accuracy"], "jit_compile": False, **kwargs}
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss, **kwargs)
    return model


def build(network=None, from_logits=True, loss=None, **kwargs):
    """Return a compiled model whose generator has the weights above."""
    model = compiled(make(network, from_logits), loss, **kwargs)
    model.generator.set_weights(GENERATOR)
    return model


def fit(model, y=Y, x=X, epochs=EPOCHS, **kwargs):
    settings = {"epochs": epochs, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    return model.fit(x, y, **{**settings, **kwargs})


def through_softmax(p, slope):
    return p * (slope - (p * slope).sum(axis=-1, keepdims=True))


def generate(weights, z):
    """Return the hidden layers and the matrices of a generator."""
    a, a0, b, b0, c, c0 = weights
    first = np.maximum(z @ a + a0, 0)
    second = np.maximum(first @ b + b0, 0)
    logits = (second @ c + c0).reshape(-1, CLASSES, CLASSES)
    return first, second, softmax(logits)


def generator_gradients(weights, z, first, second, slope):
    _, _, b, _, c, _ = weights
    slope = slope.reshape(len(z), -1)
    slope_2 = (slope @ c.T) * (second > 0)
    slope_1 = (slope_2 @ b.T) * (first > 0)
    slopes = [(z, slope_1), (first, slope_2), (second, slope)]
    return [g for x, s in slopes for g in (x.T @ s, s.sum(axis=0))]


def drawn(epochs):
    """Yield the latents of every step: those of Keras's generator."""
    random = keras.random.SeedGenerator(0)
    for epoch in range(epochs):
        words = np.random.SeedSequence([SEED, epoch]).generate_state(2)
        random.state.assign(ops.cast(words.astype("int64"), random.state.dtype))
        for _ in range(0, N, BATCH):
            z = keras.random.normal((BATCH, CLASSES), dtype="float32", seed=random)
            yield ops.convert_to_numpy(z).astype("float64")


def train_by_hand(epochs=EPOCHS):
    """Train both in float64 NumPy, with the derived gradients."""
    kernel = KERNEL.astype("float64")
    generator = [np.asarray(w, "float64") for w in GENERATOR]
    history = []
    for number, z in enumerate(drawn(epochs)):
        start = number * BATCH % N
        x, q = X[start : start + BATCH], ONE_HOT[start : start + BATCH]
        p = softmax(x @ kernel)
        first, second, matrices = generate(generator, z)
        noisy = np.einsum("bi,bij->bj", p, matrices)
        # Of -sum_j q_j log (p S)_j in (p S), then in p and in S.
        outer = -q / noisy / BATCH
        slope_p = np.einsum("bj,bij->bi", outer, matrices)
        slope_s = p[:, :, None] * outer[:, None, :]
        found = 1 / (1 + np.exp(-(matrices - THRESHOLD) / TEMPERATURE))
        distance = np.abs(found - STRUCTURE).sum(axis=(1, 2)) / CLASSES
        sign = np.where(STRUCTURE, -1.0, 1.0) * WEIGHT / BATCH / CLASSES
        slope_s = slope_s + sign * found * (1 - found) / TEMPERATURE
        kernel = kernel - LEARNING_RATE * x.T @ through_softmax(p, slope_p)
        slope = through_softmax(matrices, slope_s)
        gradients = generator_gradients(generator, z, first, second, slope)
        pairs = zip(generator, gradients, strict=True)
        generator = [w - LEARNING_RATE * g for w, g in pairs]
        history.append(-np.sum(q * np.log(noisy)) / BATCH + WEIGHT * distance.mean())
    return kernel, generator, np.reshape(history, (epochs, -1)).mean(axis=1)


def assert_as_by_hand(model, logs=None):
    kernel, generator, losses = train_by_hand()
    expected = [*generator, kernel]
    actual = [*model.generator.get_weights(), *model.network.get_weights()]
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    if logs is not None:
        np.testing.assert_allclose(logs.history["loss"], losses, rtol=1e-4)


# --- what it computes


@pytest.mark.every_backend
def test_training_by_hand():
    model = build()
    assert_as_by_hand(model, fit(model))


def test_probabilities():
    model = build(from_logits=False)
    assert_as_by_hand(model, fit(model))
    sums = ops.sum(model(X, training=True), axis=-1)
    np.testing.assert_allclose(ops.convert_to_numpy(sums), 1, rtol=1e-5)


def test_it_begins_at_the_given_matrix():
    model = compiled(make(units=50))
    np.testing.assert_allclose(model.transition_matrix, MATRIX, atol=0.01)
    # Nearly the same for every example at first.
    latents = rng.normal(size=(200, CLASSES)).astype("float32")
    drawn_matrices = softmax(model.generator.predict(latents, verbose=0))
    assert 0 < np.abs(drawn_matrices.std(axis=0)).max() < 0.05


def test_the_mean_matrix_is_taken_in_pieces(monkeypatch):
    model = build()
    z = np.random.default_rng(0).normal(size=(masking.NUM_DRAWS, CLASSES))
    *_, matrices = generate(GENERATOR, z)
    np.testing.assert_allclose(
        model.transition_matrix, matrices.mean(axis=0), atol=1e-5
    )
    whole = model.transition_matrix
    monkeypatch.setattr(masking, "ENTRIES_AT_ONCE", 3 * CLASSES**2)
    np.testing.assert_allclose(model.transition_matrix, whole, atol=1e-6)


def test_rates_are_held_on_their_side_of_the_threshold():
    """Labels that say nothing move a matrix to its structure."""
    start = np.full((CLASSES, CLASSES), 0.07) + 0.72 * np.eye(CLASSES)
    weak = {"structure_weight": 0.0}
    for kwargs, holds in (({}, True), (weak, False)):
        model = make(transition_matrix=start, threshold=0.07, **kwargs)
        compiled(model)
        model.network.set_weights([0 * KERNEL])
        model.network.trainable = False
        fit(model, epochs=30)
        found = model.transition_matrix > 0.07
        assert np.array_equal(found, STRUCTURE) == holds


def test_structure_finds_the_matrix_of_the_noise():
    """From a network that was trained with cross-entropy, and its confusion."""
    num_classes, features = 6, 8
    generator = np.random.default_rng(1)
    clean = generator.integers(0, num_classes, 3000)
    centres = 2 * np.eye(num_classes, features)
    x = (centres[clean] + generator.normal(size=(3000, features))).astype("float32")
    true = noise.pair_flip(num_classes, 0.4)
    noisy = noise.corrupt_labels(clean, true, seed=0).noisy
    structure = true > 0

    def train(model, weights=None, epochs=8):
        if weights is not None:
            model.network.set_weights(weights)
        model.compile(keras.optimizers.Adam(0.01), cross_entropy())
        model.fit(x, noisy, batch_size=100, epochs=epochs, verbose=0)
        return model

    def network():
        layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(num_classes)]
        return keras.Sequential([keras.Input((features,)), *layers])

    keras.utils.set_random_seed(0)
    first = train(network(), epochs=2)
    predictions = softmax(first.predict(x, verbose=0).astype("float64"))
    start = noise.estimate_from_confusion(noisy, predictions)
    settings = {"structure": structure, "from_logits": True, "seed": 0}
    kept = noise.keep_structure(start, structure)
    models = {
        "without": NoiseAdaptation(
            network(), transition_matrix=start, from_logits=True
        ),
        "given": Masking(network(), transition_matrix=start, **settings),
        "kept": Masking(network(), transition_matrix=kept, **settings),
    }
    errors = {
        name: np.abs(train(model, first.get_weights()).transition_matrix - true)
        .sum(axis=1)
        .mean()
        for name, model in models.items()
    }
    assert np.abs(start - true).sum(axis=1).mean() > 0.7
    assert errors["kept"] < 0.08 < errors["given"] < errors["without"] < 0.3


# --- it is a model of Keras


def test_predictions_and_validation_are_the_networks():
    model = build()
    logs = fit(model, validation_data=(X, Y)).history
    assert_serves_its_network(model, logs, X, Y)


@pytest.mark.parametrize(
    "settings",
    [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 3}],
    ids=["jit", "eager", "several steps"],
)
def test_modes(settings, backend):
    if backend == "torch" and "run_eagerly" not in settings:
        pytest.skip("torch has neither, as far as this package's tests go")
    model = build(**settings)
    logs = fit(model)
    if backend == "tensorflow" and "jit_compile" in settings:
        # Other numbers; the same course.
        assert logs.history["loss"][-1] == pytest.approx(train_by_hand()[2][-1], 0.1)
    else:
        assert_as_by_hand(model, logs)


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    """Whatever is drawn: where the last kernel is zero, so are its effects."""
    generator = [*GENERATOR[:4], 0 * GENERATOR[4], GENERATOR[5]]

    def train():
        model = build()
        model.generator.set_weights(generator)
        logs = fit(model, X[:BATCH].argmax(axis=1) % CLASSES, X[:BATCH], epochs=1)
        return model, logs.history

    one, expected = train()
    with strategy.scope():
        two, logs = train()
    assert logs["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    for model in (one, two):
        assert np.abs(model.generator.get_weights()[5] - GENERATOR[5]).max() > 0.01
    for a, b in zip(
        [one.generator.get_weights()[5], *one.network.get_weights()],
        [two.generator.get_weights()[5], *two.network.get_weights()],
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.every_backend
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    model = build(build_network(dtype=policy))
    fit(model)
    *_, expected = generate(train_by_hand()[1], next(drawn(1)))
    *_, actual = generate(model.generator.get_weights(), next(drawn(1)))
    np.testing.assert_allclose(actual, expected, atol=0.05)
    assert {w.dtype for w in model.generator.weights} == {"float32"}


def test_a_network_without_an_input_shape_is_built():
    model = build(keras.Sequential([keras.layers.Dense(CLASSES)]))
    fit(model, epochs=1)
    assert len(model.trainable_variables) == 8


def test_sequences_have_a_matrix_each():
    model = build(build_network(steps=(3,)))
    x, y = np.stack([X] * 3, axis=1), np.stack([Y] * 3, axis=1)
    assert_as_by_hand(model, fit(model, y, x))


def test_seeds():
    def kernel(seed):
        return make(seed=seed).generator.get_weights()[0]

    np.testing.assert_array_equal(kernel(1), kernel(1))
    assert np.abs(kernel(1) - kernel(2)).max() > 0.01
    keras.utils.set_random_seed(7)
    first = kernel(None)
    assert np.abs(first - kernel(None)).max() > 0.01
    keras.utils.set_random_seed(7)
    np.testing.assert_array_equal(first, kernel(None))


def test_continued(tmp_path):
    model = continued(build, fit, tmp_path / "backup", 1)
    assert_as_by_hand(model)


def test_save_and_load(tmp_path):
    model = build()
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.transition_matrix, model.transition_matrix)
    assert_as_by_hand(loaded)
    np.testing.assert_array_equal(
        loaded.predict(X, verbose=0), model.predict(X, verbose=0)
    )


def test_config_round_trip():
    model = make(from_logits=False)
    config = json.loads(json.dumps(model.get_config()))
    other = Masking.from_config(config)
    for name, value in model.get_config().items():
        assert name == "network" or other.get_config()[name] == value
    np.testing.assert_array_equal(other.structure, STRUCTURE)
    np.testing.assert_allclose(other.transition_matrix, model.transition_matrix)


# --- used wrongly


@pytest.mark.parametrize(
    ("structure", "error", "message"),
    [
        (None, ValueError, r"must be an array \(4, 4\) of booleans.*Received: "),
        ("all", TypeError, r"must be an array \(4, 4\) of booleans.*'all'"),
        (STRUCTURE[:3], ValueError, r"must be an array \(4, 4\) of booleans"),
        (MATRIX, ValueError, r"array with 0\.\d+ at \[0, 0\]. Of a transition matrix"),
        (np.where(STRUCTURE, 1, np.nan), ValueError, r"array with nan at \[0, 2\]"),
        (
            ~STRUCTURE,
            ValueError,
            r"true on the diagonal.*that is false at \[0, 0",
        ),
    ],
)
def test_bad_structures(structure, error, message):
    with pytest.raises(error, match=f"^Masking: `structure` .*{message}"):
        make(structure=structure)
    message = f"^keep_structure: `structure` .*{message}"
    with pytest.raises(error, match=message):
        noise.keep_structure(MATRIX, structure)


def test_arguments_out_of_range():
    for name, values in {
        "structure_weight": [-1, float("inf"), None],
        "threshold": [0, 1, float("nan")],
        "temperature": [0, -1, float("inf")],
        "units": [0, 1.5],
        "seed": [-1, 0.5],
        "transition_matrix": [MATRIX.T, -MATRIX],
    }.items():
        for value in values:
            with pytest.raises((ValueError, TypeError), match=f"^Masking: `{name}"):
                make(**{name: value})
    with pytest.raises(TypeError, match=r"Masking: `network` must be a keras\.Model"):
        make(build_network)
    with pytest.raises(ValueError, match="Masking: `epoch`"):
        make().set_epoch(-1)


def test_another_number_of_classes():
    model = compiled(
        make(transition_matrix=noise.symmetric(5, 0.2), structure=np.ones((5, 5)))
    )
    with pytest.raises(ValueError, match=r"Masking: .* shape \(4, 4\), as the outputs"):
        fit(model, epochs=1)


def test_a_loss_that_is_told_something_else():
    model = compiled(make(), cross_entropy(from_logits=False))
    with pytest.raises(ValueError, match="Masking: the loss must be told the same"):
        fit(model, epochs=1)
