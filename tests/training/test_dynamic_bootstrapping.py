"""Dynamic bootstrapping: against a network that is trained by hand."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import analysis, losses
from keras_noisy.training import DynamicBootstrapping, dynamic_bootstrapping
from tests.helpers import assert_serves_its_network, continued, linear_network, softmax

N, FEATURES, CLASSES, BATCH, EPOCHS = 40, 6, 4, 8, 4
LEARNING_RATE, WARMUP = 0.5, 1

# Trainings here are short, or go on in another one.
pytestmark = pytest.mark.filterwarnings("ignore:.*leaves nothing of:UserWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]
KERNEL = rng.normal(size=(FEATURES, CLASSES)).astype("float32")
PRIOR = np.array([0.4, 0.3, 0.2, 0.1])


def build_network(activation=None, **kwargs):
    return linear_network(KERNEL, activation, **kwargs)


def cross_entropy(from_logits=True):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def build(network=None, loss=None, compile_arguments=None, **kwargs):
    """Return a compiled model; SGD without momentum, to be done by hand."""
    kwargs = {"warmup_epochs": WARMUP, "prior": PRIOR, "seed": 3, **kwargs}
    model = DynamicBootstrapping(network or build_network(), **kwargs)
    settings = {"metrics": ["accuracy"], **(compile_arguments or {})}
    loss = loss or cross_entropy()
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss, **settings)
    return model


def fit(model, y=Y, x=X, epochs=EPOCHS, **kwargs):
    settings = {"epochs": epochs, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    return model.fit(x, y, **{**settings, **kwargs})


class Pairs:
    """The pairs and shares that a model will draw, from a generator as it has."""

    def __init__(self, alpha=32):
        self.generator = keras.random.SeedGenerator(0)
        self.alpha = alpha

    def set_epoch(self, epoch):
        words = np.random.SeedSequence([3, epoch]).generate_state(2).astype("int64")
        self.generator.state.assign(ops.cast(words, self.generator.state.dtype))

    def __call__(self, size):
        draws = keras.random.uniform((size,), seed=self.generator)
        numbers = keras.random.uniform((2 * self.alpha - 1,), seed=self.generator)
        share = np.sort(ops.convert_to_numpy(numbers))[self.alpha - 1]
        return ops.convert_to_numpy(draws).argsort(), float(share)


def train_by_hand(
    bootstrap="hard", mixup="static", delay=0, annealing=90, prior_weight=1.0,
    epochs=EPOCHS, alpha=32, iterations=10,
):  # fmt: skip
    """Train the softmax regression in float64 NumPy, with the derived gradient.

    Returns:
        Weights, and the weight of the mixture's second part in each epoch.
    """
    kernel, pairs, shares = KERNEL.astype("float64"), Pairs(alpha), []
    mixture = None
    for epoch in range(epochs):
        since = epoch - WARMUP
        pairs.set_epoch(epoch)
        if since >= 0:
            p = softmax(X @ kernel)
            mixture = analysis.beta_mixture(
                -np.log(p[np.arange(N), Y]), iterations=iterations
            )
        shares.append(mixture.weights[1] if mixture else np.nan)
        moves = since >= delay
        temperature = 1 + (1e-3 - 1) * min(max(since - delay, 0) / annealing, 1)
        for start in range(0, N, BATCH):
            x, q = X[start : start + BATCH], ONE_HOT[start : start + BATCH]
            z = x @ kernel
            wrong = np.zeros(BATCH)
            if mixture:
                loss = -np.log((softmax(z) * q).sum(axis=1))
                wrong = np.clip(mixture.wrong_label_probability(loss), 1e-4, 1 - 1e-4)
            predicted = np.eye(CLASSES)[z.argmax(axis=1)]
            if bootstrap != "hard":
                scale = temperature if bootstrap == "soft_to_hard" else 1
                predicted = softmax(z / scale)
            weight = (moves * wrong)[:, None]
            targets = (1 - weight) * q + weight * predicted
            partner, share = pairs(BATCH)
            own = target_share = np.full((BATCH, 1), share)
            if mixup == "dynamic" and since >= 0:
                right = 1 - wrong
                own = (right / (right + right[partner]))[:, None]
                target_share = np.full((BATCH, 1), 0.5)
            if mixup != "none":
                x = own * x + (1 - own) * x[partner]
                targets = target_share * targets + (1 - target_share) * targets[partner]
            p = softmax(x @ kernel)
            slope = p * targets.sum(axis=1, keepdims=True) - targets
            pull = PRIOR / p.mean(axis=0)
            of_prior = p * (pull - (p * pull).sum(axis=1, keepdims=True))
            slope -= moves * prior_weight * of_prior
            kernel = kernel - LEARNING_RATE * x.T @ slope / BATCH
    return kernel, shares


def assert_as_by_hand(model, history=None, **arguments):
    kernel, shares = train_by_hand(**arguments)
    actual = model.network.get_weights()[0]
    np.testing.assert_allclose(actual, kernel, rtol=2e-3, atol=5e-4)
    if history is not None:
        logged = history.history["wrong_label_share"]
        np.testing.assert_allclose(logged, shares, rtol=1e-3)


WAYS = {
    "M-DYR-H": {},
    "M-DYR-S": {"bootstrap": "soft"},
    "MD-DYR-SH": {
        "bootstrap": "soft_to_hard",
        "mixup": "dynamic",
        "bootstrap_delay": 1,
        "annealing_epochs": 3,
    },
    "DY-H": {"mixup": "none", "prior_weight": 0.0},
    "DY-S": {"mixup": "none", "prior_weight": 0.0, "bootstrap": "soft"},
    "converged": {"iterations": None},
    "few mixed, no prior": {"mixup_alpha": 1, "prior_weight": 0.0},
}
BY_HAND = {
    "bootstrap_delay": "delay",
    "annealing_epochs": "annealing",
    "mixup_alpha": "alpha",
}


def by_hand(way):
    return {BY_HAND.get(name, name): value for name, value in WAYS[way].items()}


# --- what it computes


@pytest.mark.every_backend
@pytest.mark.parametrize("way", WAYS)
def test_training_by_hand(way):
    model = build(**WAYS[way])
    history = fit(model)
    assert_as_by_hand(model, history, **by_hand(way))


def test_the_ways_differ():
    """Otherwise agreement with the loop by hand would say nothing."""
    kernels = [train_by_hand(**by_hand(way))[0] for way in WAYS]
    kernels.append(train_by_hand(mixup="dynamic")[0])
    for number, kernel in enumerate(kernels):
        for other in kernels[:number]:
            assert np.abs(kernel - other).max() > 0.02


@pytest.mark.parametrize("alpha", [1, 4, 32])
def test_shares_have_the_beta_distribution(alpha):
    model = build(mixup_alpha=alpha)
    wrong = ops.zeros((2,))
    shares = [
        float(ops.convert_to_numpy(model._pairs(wrong)[1])[0]) for _ in range(500)
    ]
    # beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(0.25 / (2 * alpha + 1), rel=0.25)


def test_the_probability_in_a_step_is_the_mixtures():
    losses_ = np.append(rng.gamma(1.0, 0.3, 300), rng.gamma(9.0, 0.4, 100))
    for alphas, betas in (([1, 6], [5, 2]), ([2, 5], [2, 3]), ([5, 3], [9, 2])):
        mixture = analysis.beta_mixture(losses_)
        mixture = analysis.BetaMixture(
            np.array(alphas, float), np.array(betas, float), mixture.weights, 0.2, 4.0
        )
        model = build()
        model.set_mixture(mixture)
        values = ops.convert_to_tensor(losses_.astype("float32"))
        actual = ops.convert_to_numpy(model._wrong_label_probability(values))
        expected = np.clip(mixture.wrong_label_probability(losses_), 1e-4, 1 - 1e-4)
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5)
    model.set_mixture(None)
    actual = ops.convert_to_numpy(model._wrong_label_probability(values))
    np.testing.assert_allclose(actual, dynamic_bootstrapping.LEAST_PROBABILITY)


def test_it_gives_wrong_labels_up():
    """On separable classes with a third of the labels wrong."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(1)
    clean = generator.integers(0, CLASSES, 1200)
    x = 5 * np.eye(CLASSES, FEATURES)[clean] + generator.normal(size=(1200, FEATURES))
    is_wrong = generator.uniform(size=1200) < 0.33
    noisy = np.where(is_wrong, (clean + 1) % CLASSES, clean)
    model = build(prior=None)
    model.compile(keras.optimizers.Adam(0.05), cross_entropy())
    logs = fit(model, noisy, x.astype("float32"), epochs=8, batch_size=100).history
    # Ten steps of expectation maximisation stop short of a third.
    assert 0.15 < logs["wrong_label_share"][-1] < 0.4
    p = softmax(model.predict(x, verbose=0).astype("float64"))
    losses_ = -np.log(p[np.arange(1200), noisy])
    found = model.mixture.wrong_label_probability(losses_) > 0.5
    assert np.mean(found == is_wrong) > 0.94
    assert np.mean(p.argmax(axis=1) == clean) > 0.97


def test_equal_losses_say_nothing():
    network = build_network()
    network.set_weights([0 * KERNEL])
    model = build(network, warmup_epochs=1)
    model.compile(keras.optimizers.SGD(0.0), cross_entropy())
    logs = fit(model, epochs=2).history
    assert model.mixture is None and np.isnan(logs["wrong_label_share"]).all()


# --- it is a model of Keras


def test_predictions_metrics_and_validation_are_the_networks():
    model = build()
    logs = fit(model, validation_data=(X, Y)).history
    expected = assert_serves_its_network(model, logs, X, Y)
    model.compile(keras.optimizers.SGD(0.0), cross_entropy(), metrics=["accuracy"])
    assert fit(model, epochs=1).history["accuracy"][0] == pytest.approx(expected[1])


def test_batch_statistics_are_those_of_mixed_examples():
    network = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.BatchNormalization(momentum=0.0),
            keras.layers.Dense(CLASSES),
        ]
    )
    model = build(network)
    fit(model, x=X + 7, epochs=1)
    mean = ops.convert_to_numpy(network.layers[0].moving_mean)
    np.testing.assert_allclose(mean, (X[-BATCH:] + 7).mean(axis=0), atol=0.7)


@pytest.mark.parametrize(
    "settings",
    [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 3}],
    ids=["jit", "eager", "several steps"],
)
def test_modes(settings, backend):
    if backend == "torch" and "run_eagerly" not in settings:
        pytest.skip("torch has neither, as far as this package's tests go")
    model = build(compile_arguments=settings)
    fit(model)
    if backend == "tensorflow" and "jit_compile" in settings:
        # XLA draws other random numbers there, the same ones each time.
        other = build(compile_arguments=settings)
        fit(other)
        weights = other.network.get_weights()[0]
        np.testing.assert_array_equal(model.network.get_weights()[0], weights)
        assert np.abs(weights - KERNEL).max() > 0.1
        return
    assert_as_by_hand(model)


def test_probabilities():
    model = build(build_network("softmax"), cross_entropy(from_logits=False))
    fit(model)
    assert_as_by_hand(model)
    named = build(build_network("softmax"), "sparse_categorical_crossentropy")
    fit(named)
    assert_as_by_hand(named)


@pytest.mark.parametrize("y", [Y[:, None], Y.astype("uint8")], ids=["column", "uint8"])
def test_class_ids(y):
    model = build()
    fit(model, y)
    assert_as_by_hand(model)


def test_one_hot_labels():
    model = build(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    fit(model, ONE_HOT)
    assert_as_by_hand(model)


class Stream(keras.utils.PyDataset):
    def __len__(self):
        return N // BATCH

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return X[rows], Y[rows]


def test_data_sets():
    model = build()
    model.fit(Stream(), epochs=EPOCHS, shuffle=False, verbose=0)
    assert_as_by_hand(model)


def test_examples_for_validation_are_not_looked_at():
    kept = N * 3 // 4
    split, given = build(), build()
    logs = fit(split, validation_split=0.25).history
    held_out = (X[kept:], Y[kept:])
    expected = fit(given, Y[:kept], X[:kept], validation_data=held_out).history
    for name, values in expected.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-5)
    np.testing.assert_allclose(split.mixture.weights, given.mixture.weights)


@pytest.mark.tf_data
def test_tf_data_without_end():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH).repeat()
    model = build()
    model.fit(data, epochs=EPOCHS, steps_per_epoch=N // BATCH, shuffle=False, verbose=0)
    assert_as_by_hand(model)


def test_images_of_integers_are_mixed():
    x = rng.integers(0, 255, (N, 2, 3)).astype("uint8")
    layers = [keras.Input((2, 3)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    partner = ops.convert_to_tensor([1, 0])
    mixed = dynamic_bootstrapping._mix(
        x[:2], partner, ops.convert_to_tensor([0.25] * 2)
    )
    expected = 0.25 * x[:2].astype("float64") + 0.75 * x[[1, 0]]
    np.testing.assert_allclose(ops.convert_to_numpy(mixed), expected, rtol=1e-6)
    layers.insert(1, keras.layers.Rescaling(1 / 255))
    logs = fit(build(keras.Sequential(layers)), x=x).history
    assert np.isfinite(logs["loss"]).all()


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_ids_of_words_are_not_mixed(dtype):
    def network():
        layers = [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(50, 8),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(CLASSES),
        ]
        return keras.Sequential(layers)

    x = rng.integers(0, 50, (N, 3)).astype(dtype)
    with pytest.raises(
        ValueError, match=r"DynamicBootstrapping: `x\.dtype` must be fl"
    ):
        fit(build(network()), x=x)
    logs = fit(build(network(), mixup="none"), x=x, epochs=20).history
    assert logs["loss"][-1] < logs["loss"][0]
    assert 0 < logs["wrong_label_share"][-1] < 1


def test_sample_weights():
    """An example of weight two counts twice, and one of weight zero not at all."""
    model, other = build(), build()
    fit(model, sample_weight=np.full(N, 2.0, "float32"), epochs=1)
    other.compile(keras.optimizers.SGD(2 * LEARNING_RATE), cross_entropy())
    fit(other, epochs=1)
    ours, theirs = model.network.get_weights()[0], other.network.get_weights()[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    model = build()
    fit(model, sample_weight=np.zeros(N, "float32"), epochs=1)
    np.testing.assert_array_equal(model.network.get_weights()[0], KERNEL)


def test_penalties_on_weights_are_added():
    decay = {"kernel_regularizer": keras.regularizers.L2(0.1)}
    model = build(build_network(**decay))
    fit(model, sample_weight=np.zeros(N, "float32"), epochs=1)
    expected = KERNEL * (1 - 2 * 0.1 * LEARNING_RATE) ** (N // BATCH)
    np.testing.assert_allclose(model.network.get_weights()[0], expected, rtol=1e-4)


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    """Pairs are those of a replica, so only that it trains and agrees with itself."""
    with strategy.scope():
        model = build()
    logs = fit(model).history
    assert np.isfinite(logs["loss"]).all() and logs["wrong_label_share"][-1] > 0
    values = strategy.experimental_local_results(model.network.weights[0].value)
    np.testing.assert_array_equal(values[0], values[1])


@pytest.mark.every_backend
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    model = build(build_network(dtype=policy))
    fit(model)
    kernel, _ = train_by_hand()
    np.testing.assert_allclose(model.network.get_weights()[0], kernel, atol=0.3)


def test_continued(tmp_path):
    whole = build()
    fit(whole)
    model = build()
    fit(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    fit(loaded, initial_epoch=2)
    np.testing.assert_allclose(
        loaded.network.get_weights()[0], whole.network.get_weights()[0], atol=1e-5
    )


def test_backup_and_restore(tmp_path):
    model = continued(build, fit, tmp_path / "backup", 2)
    assert_as_by_hand(model)


def test_config_round_trip():
    arguments = WAYS["MD-DYR-SH"]
    model = build(**arguments, mixup_alpha=5, prior_weight=0.5, iterations=25)
    assert build().iterations == 10
    config = json.loads(json.dumps(model.get_config()))
    other = DynamicBootstrapping.from_config(config)
    names = "mixup_alpha", "prior_weight", "iterations", "warmup_epochs", "seed", "name"
    for name in (*arguments, *names):
        assert getattr(other, name) == getattr(model, name)
    assert other.prior.tolist() == PRIOR.tolist()


# --- used wrongly


def test_a_warm_up_that_is_longer_than_the_training():
    model = build(warmup_epochs=2, bootstrap_delay=1)
    with pytest.warns(UserWarning, match=r"bootstrap_delay=1 leaves nothing of 3"):
        fit(model, epochs=3)


def test_arguments_out_of_range():
    for name, values in {
        "warmup_epochs": [0, 1.5, None],
        "mixup_alpha": [0, 0.2, None],
        "bootstrap_delay": [-1, 0.5, None],
        "annealing_epochs": [0, None],
        "prior_weight": [-1, float("nan"), float("inf"), "1", None],
        "iterations": [0, 1.5, "ten"],
        "bootstrap": ["Hard", None, 1],
        "mixup": ["off", None],
        "seed": [-1, 0.5],
        "prior": [[0.5, 0.6], [1.0], "uniform"],
    }.items():
        for value in values:
            expected = f"^DynamicBootstrapping: `{name}`"
            with pytest.raises((ValueError, TypeError), match=expected):
                DynamicBootstrapping(build_network(), **{name: value})
    with pytest.raises(TypeError, match=r"`network` must be a keras\.Model"):
        DynamicBootstrapping(build_network)
    with pytest.raises(ValueError, match="DynamicBootstrapping: `epoch`"):
        build().set_epoch(-1)


@pytest.mark.parametrize(
    "loss",
    [
        losses.EqualLoss(epsilon=0.3, from_logits=True),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
        "mean_squared_error",
    ],
    ids=["another", "smoothed", "ignoring", "name"],
)
def test_another_loss(loss):
    is_sparse = isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
    y = Y if is_sparse else ONE_HOT
    text = "`loss` must be Keras's categorical or binary cross-entropy"
    with pytest.raises(ValueError, match=text):
        fit(build(loss=loss), y)


def test_outputs_and_priors_that_do_not_fit():
    network = keras.Sequential(
        [keras.Input((3, FEATURES)), keras.layers.Dense(CLASSES)]
    )
    x, y = np.stack([X] * 3, axis=1), np.stack([Y] * 3, axis=1)
    with pytest.raises(ValueError, match=r"one output of shape \(batch, num_classes\)"):
        fit(build(network), y, x, epochs=1)
    with pytest.raises(ValueError, match=r"`prior` must be of length 4, the number of"):
        fit(build(prior=[0.5, 0.5]), epochs=2)


def test_a_generator():
    batches = ((X[:8], Y[:8]) for _ in range(100))
    with pytest.raises(ValueError, match=r"`x` must be arrays, or a data set that can"):
        build().fit(batches, steps_per_epoch=5, epochs=2, verbose=0)


def test_class_ids_out_of_range_show_and_spare_the_weights(backend):
    y = np.where(np.arange(N) == 3, CLASSES + 2, Y)
    model = build()
    if backend == "torch":
        # Torch runs step by step, where a bad id is an error.
        with pytest.raises(ValueError, match=r"class ids in \[0, 4\)"):
            fit(model, y, epochs=1)
        return
    logs = fit(model, y, epochs=1).history
    assert np.isnan(logs["loss"][0])
    assert np.isfinite(model.network.get_weights()[0]).all()
