"""DivideMix: against two networks that are trained by hand, in float64."""

import json
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import losses, models
from keras_noisy.training import DivideMix, _gaussian_mixture, _planned
from tests.helpers import continued, linear_network, softmax

N, FEATURES, CLASSES, BATCH, EPOCHS = 40, 6, 4, 8, 4
LEARNING_RATE, WARMUP = 0.5, 1
STEPS, GROUPS = N // BATCH, BATCH // 2

rng = np.random.default_rng(0)
CLEAN = np.arange(N) % CLASSES
X = (np.eye(CLASSES, FEATURES)[CLEAN] + 0.5 * rng.normal(size=(N, FEATURES))).astype(
    "float32"
)
Y = np.where(rng.uniform(size=N) < 0.3, (CLEAN + 1) % CLASSES, CLEAN)
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]
KERNELS = rng.normal(size=(2, FEATURES, CLASSES)).astype("float32")
PRIOR = np.array([0.4, 0.3, 0.2, 0.1])

# Trainings here are short, and forty examples divide as they may.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*leaves nothing of:UserWarning"),
    pytest.mark.filterwarnings("ignore:DivideMix. the division for:UserWarning"),
]


def networks(activation=None, **kwargs):
    return [linear_network(kernel, activation, **kwargs) for kernel in KERNELS]


def cross_entropy(from_logits=True):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def build(pair=None, loss=None, compile_arguments=None, **kwargs):
    """Return a compiled model; SGD without momentum, to be done by hand."""
    kwargs = {"warmup_epochs": WARMUP, "ramp_epochs": 2, "seed": 3, **kwargs}
    model = DivideMix(*(pair or networks()), **kwargs)
    settings = {"metrics": ["accuracy"], **(compile_arguments or {})}
    loss = loss or cross_entropy()
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss, **settings)
    return model


def fit(model, y=Y, x=X, epochs=EPOCHS, **kwargs):
    settings = {"epochs": epochs, "batch_size": BATCH, "verbose": 0}
    return model.fit(x, y, **{**settings, **kwargs})


def kernels_of(model):
    return [network.get_weights()[0] for network in (model.network, model.peer)]


class Plans(keras.callbacks.Callback):
    """Notes the random choices of each epoch: rows, partners and shares."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        batches = self.batches
        self.epochs.append((batches.rows.copy(), dict(batches.plan)))


def fit_with_plans(model, **kwargs):
    """Train, and return what the epochs drew."""
    plans = Plans()
    schedule = model._schedule

    def noted(arguments):
        made = schedule(arguments)
        plans.batches = made.batches
        return made

    model._schedule = noted
    history = fit(model, callbacks=[plans], **kwargs)
    return plans.epochs, history.history


def mixture_by_hand(loss):
    """Return the probability of the smaller component, an example at a time."""
    x = (loss - loss.min()) / (loss.max() - loss.min())
    limit = 0.5
    for _ in range(100):
        limit = (x[x <= limit].mean() + x[x > limit].mean()) / 2
    share = np.array([x <= limit, x > limit], float)
    for step in range(11):
        mean = np.array([np.average(x, weights=s) for s in share])
        spread = np.array(
            [
                np.average((x - m) ** 2, weights=s)
                for m, s in zip(mean, share, strict=True)
            ]
        )
        spread += 5e-4
        weight = share.mean(axis=1)
        density = np.array(
            [
                w / np.sqrt(2 * np.pi * v) * np.exp(-((x - m) ** 2) / (2 * v))
                for m, v, w in zip(mean, spread, weight, strict=True)
            ]
        )
        if step < 10:
            share = density / density.sum(axis=0)
    small = mean.argmin()
    found = density[small] / density.sum(axis=0)

    def at_most(number):
        """Of all losses below and from the smaller mean on, the least probability."""
        below = max(x[number], mean[small])
        d = [
            w / np.sqrt(v) * np.exp(-((below - m) ** 2) / (2 * v))
            for m, v, w in zip(mean, spread, weight, strict=True)
        ]
        between = found[(x >= mean[small]) & (x <= below)]
        return min([d[small] / sum(d), *between])

    return np.array([at_most(number) for number in range(len(x))])


def slope_of_mixed(kernel, x, t, labeled, weight, prior_weight, prior):
    """Return the gradient of the loss of mixed examples, derived on paper."""
    p = softmax(x @ kernel)
    pull = np.zeros_like(p)
    number = labeled.sum()
    pull += labeled[:, None] * (p - t) / max(number, 1)
    error = 2 * (p - t) / CLASSES
    through = p * (error - (p * error).sum(axis=1, keepdims=True))
    pull += weight * (1 - labeled)[:, None] * through / max(len(x) - number, 1)
    ratio = prior / p.mean(axis=0)
    of_prior = -p * (ratio - (p * ratio).sum(axis=1, keepdims=True)) / len(x)
    return x.T @ (pull + prior_weight * of_prior)


def loss_of_mixed(kernel, x, t, labeled, weight, prior_weight, prior):
    p = softmax(x @ kernel)
    labeled = labeled.astype(bool)
    loss = -(t * np.log(p)).sum(axis=1)[labeled].mean()
    if not labeled.all():
        loss += weight * ((t - p) ** 2).mean(axis=1)[~labeled].mean()
    return loss + prior_weight * (prior * np.log(prior / p.mean(axis=0))).sum()


def targets_by_hand(kernels, number, rows, clean, labeled, temperature):
    """Return the targets of the examples of a network, one after the other."""
    found = np.empty((len(rows), CLASSES))
    for place, row in enumerate(rows):
        own = softmax(X[row].astype("float64") @ kernels[number])
        other = softmax(X[row].astype("float64") @ kernels[1 - number])
        if labeled[place]:
            target = clean[place] * ONE_HOT[row] + (1 - clean[place]) * own
        else:
            target = (own + other) / 2
        found[place] = target ** (1 / temperature) / sum(target ** (1 / temperature))
    return found


def train_by_hand(
    epochs, temperature=0.5, threshold=0.5, unlabeled=25.0, prior_weight=1.0,
    prior=None, penalty=0.0, ramp=2, alpha=4.0,
):  # fmt: skip
    """Train two softmax regressions in float64 NumPy, with the derived gradients.

    Args:
        epochs: The random choices of each epoch; all else is computed here.

    Returns:
        Weights, and the mean loss and shares of right labels of each epoch.
    """
    prior = np.full(CLASSES, 1 / CLASSES) if prior is None else prior
    kernels = [kernel.astype("float64") for kernel in KERNELS]
    logs = {"loss": [], "clean_share": [], "peer_clean_share": []}
    for epoch, (rows_of_steps, plan) in enumerate(epochs):
        total = []
        if epoch < WARMUP:
            for rows in rows_of_steps:
                loss, slopes = 0.0, []
                for kernel in kernels:
                    p = softmax(X[rows] @ kernel)
                    entropy = -(p * np.log(p)).sum(axis=1)
                    loss -= np.log(p[range(len(rows)), Y[rows]]).mean()
                    loss -= penalty * entropy.mean()
                    pull = p - ONE_HOT[rows]
                    pull += penalty * p * (np.log(p) + entropy[:, None])
                    slopes.append(X[rows].T @ pull / len(rows))
                kernels = [
                    k - LEARNING_RATE * s for k, s in zip(kernels, slopes, strict=True)
                ]
                total.append(loss)
            shares = np.nan, np.nan
        else:
            clean = [
                mixture_by_hand(-np.log(softmax(X @ k)[np.arange(N), Y]))
                for k in kernels
            ]
            shares = [np.mean(c >= threshold) for c in clean]
            weight = unlabeled * min((epoch - WARMUP) / ramp, 1)
            for step, rows in enumerate(rows_of_steps):
                rows = rows.reshape(GROUPS, 4)
                loss, slopes = 0.0, []
                for number, kernel in enumerate(kernels):
                    kinds = slice(2 * number, 2 * number + 2)
                    own = rows[:, kinds].ravel()
                    probability = clean[1 - number][own]
                    labeled = (probability >= threshold).astype(float)
                    t = targets_by_hand(
                        kernels, number, own, probability, labeled, temperature
                    )
                    partner, share = (
                        plan[name][step].reshape(GROUPS, 4, -1)[:, kinds].ravel()
                        for name in ("partner", "share")
                    )
                    assert len(set(share)) == 1 and share[0] >= 0.5
                    assert sorted(partner) == list(range(len(own)))
                    x = X[own].astype("float64")
                    if alpha:
                        s = share.astype("float64")[:, None]
                        x, t = (
                            s * x + (1 - s) * x[partner],
                            s * t + (1 - s) * t[partner],
                        )
                    settings = kernel, x, t, labeled, weight, prior_weight, prior
                    loss += loss_of_mixed(*settings)
                    slopes.append(slope_of_mixed(*settings))
                kernels = [
                    k - LEARNING_RATE * s for k, s in zip(kernels, slopes, strict=True)
                ]
                total.append(loss)
        logs["loss"].append(np.mean(total))
        logs["clean_share"].append(shares[0])
        logs["peer_clean_share"].append(shares[1])
    return kernels, logs


def assert_as_by_hand(model, epochs, logs=None, **arguments):
    kernels, expected = train_by_hand(epochs, **arguments)
    for actual, kernel in zip(kernels_of(model), kernels, strict=True):
        np.testing.assert_allclose(actual, kernel, rtol=1e-3, atol=2e-4)
    if logs is not None:
        for name, values in expected.items():
            np.testing.assert_allclose(logs[name], values, rtol=1e-3, err_msg=name)


WAYS = {
    "as it is": {},
    "no ramp, harder": {"temperature": 0.25, "unlabeled_weight": 3.0, "ramp_epochs": 1},
    "asymmetric": {"confidence_penalty": 1.0, "unlabeled_weight": 0.0},
    "few are clean": {"clean_threshold": 0.9, "prior_weight": 0.5, "prior": PRIOR},
    "not mixed": {"mixup_alpha": 0.0, "prior_weight": 0.0},
}
BY_HAND = {
    "unlabeled_weight": "unlabeled",
    "ramp_epochs": "ramp",
    "confidence_penalty": "penalty",
    "clean_threshold": "threshold",
    "mixup_alpha": "alpha",
}


def by_hand(way):
    return {BY_HAND.get(name, name): value for name, value in WAYS[way].items()}


# --- what it computes


@pytest.mark.every_backend
def test_training_by_hand():
    """Division, targets, mixed targets, loss and gradient, on every backend."""
    model = build()
    epochs, logs = fit_with_plans(model)
    assert_as_by_hand(model, epochs, logs)
    # Both sides were there, or agreement would say little.
    assert 0.1 < logs["clean_share"][-1] < 0.95


@pytest.mark.every_backend
@pytest.mark.parametrize("way", [way for way in WAYS if WAYS[way]])
def test_ways_by_hand(way):
    model = build(**WAYS[way])
    epochs, logs = fit_with_plans(model)
    assert_as_by_hand(model, epochs, logs, **by_hand(way))
    if way != "not mixed":
        other, _ = train_by_hand(epochs)
        assert np.abs(other[0] - kernels_of(model)[0]).max() > 0.01


def test_views_are_averaged():
    """Two views of an example are two rows, and one target: a layer that shifts."""

    class Shift(keras.layers.Layer):
        def call(self, x, training=False):
            self.number = 1 - getattr(self, "number", 1)
            return x + 0.5 * self.number if training else x

    model = build(augmentation=Shift())
    rows = X[: 4 * GROUPS]
    made = model._guesses(ops.convert_to_tensor(rows))
    views = ops.convert_to_numpy(made["views"])
    expected = np.stack([rows, rows + 0.5], axis=1).reshape(GROUPS, 4, 2, FEATURES)
    np.testing.assert_allclose(views, expected, rtol=1e-6)
    of_network, of_peer = map(ops.convert_to_numpy, made["outputs"])
    np.testing.assert_allclose(
        of_network, expected[:, [0, 1, 3]] @ KERNELS[0], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        of_peer, expected[:, [2, 3, 1]] @ KERNELS[1], rtol=1e-4, atol=1e-5
    )


def test_each_side_is_half_and_comes_in_turn():
    """Of few unlabelled examples all come before one comes again."""
    model = build(unlabeled_weight=1.0)
    epochs, _ = fit_with_plans(model, epochs=2)
    rows = epochs[1][0].reshape(-1, 4)
    labeled = epochs[1][1]["labeled"].reshape(-1, 4)
    for number in range(2):
        is_labeled = model.clean_probabilities[1 - number] >= 0.5
        for kind, side in enumerate((is_labeled, ~is_labeled)):
            drawn = rows[:, 2 * number + kind]
            assert side[drawn].all()
            counts = np.bincount(drawn, minlength=N)[side]
            assert counts.max() - counts.min() <= 1
            assert (labeled[:, 2 * number + kind] == 1 - kind).all()


@pytest.mark.parametrize("alpha", [0.5, 4.0])
def test_shares_have_the_beta_distribution(alpha):
    order, share = _planned.partners(np.random.default_rng(0), 4000, 3, alpha)
    assert (np.sort(order, axis=1) == np.arange(3)).all()
    drawn = np.random.default_rng(1).beta(alpha, alpha, 4000)
    expected = np.maximum(drawn, 1 - drawn)
    assert share.mean() == pytest.approx(expected.mean(), abs=0.01)
    assert share.std() == pytest.approx(expected.std(), abs=0.01)


def test_the_mixture_against_scikit_learn():
    """Ten steps of expectation maximisation, and where it has converged."""
    mixture = pytest.importorskip("sklearn.mixture").GaussianMixture
    generator = np.random.default_rng(0)
    for share in (0.2, 0.5, 0.8):
        size = int(2000 * share)
        loss = np.append(
            generator.gamma(2, 0.1, 2000 - size), generator.normal(2.5, 0.5, size)
        )
        x = ((loss - loss.min()) / np.ptp(loss))[:, None]
        fit_ = mixture(2, max_iter=500, tol=1e-9, reg_covar=5e-4, random_state=0).fit(x)
        expected = fit_.predict_proba(x)[:, fit_.means_.argmin()]
        found = _gaussian_mixture.small_probability(loss)
        assert np.mean((found > 0.5) == (expected > 0.5)) > 0.99
        assert abs(np.mean(found <= 0.5) - share) < 0.02
        # Never rises with the loss.
        assert (np.diff(found[np.argsort(loss)]) <= 0).all()


@pytest.mark.every_backend
def test_the_mixture_by_hand():
    loss = np.append(rng.gamma(2, 0.1, 60), rng.normal(2.0, 0.6, 40))
    found = _gaussian_mixture.small_probability(loss)
    np.testing.assert_allclose(found, mixture_by_hand(loss), rtol=1e-6, atol=1e-12)


def test_equal_losses_say_nothing():
    assert _gaussian_mixture.small_probability(np.full(5, 0.7)).tolist() == [1.0] * 5


def test_it_finds_wrong_labels():
    """On separable classes with a third of the labels wrong."""
    generator = np.random.default_rng(1)
    clean = generator.integers(0, CLASSES, 1200)
    x = 4 * np.eye(CLASSES, FEATURES)[clean] + generator.normal(size=(1200, FEATURES))
    is_wrong = generator.uniform(size=1200) < 0.33
    noisy = np.where(is_wrong, (clean + 1) % CLASSES, clean)
    model = build(warmup_epochs=3)
    model.compile(keras.optimizers.Adam(0.05), cross_entropy())
    logs = fit(model, noisy, x.astype("float32"), epochs=8, batch_size=100).history
    assert logs["clean_share"][-1] == pytest.approx(0.67, abs=0.05)
    for probability in model.clean_probabilities:
        assert np.mean((probability < 0.5) == is_wrong) > 0.97
    assert np.mean(model.predict(x, verbose=0).argmax(axis=1) == clean) > 0.97


# --- it is a model of Keras


@pytest.mark.parametrize("from_logits", [True, False])
def test_predictions_are_the_mean_of_both(from_logits):
    activation = None if from_logits else "softmax"
    model = build(networks(activation), cross_entropy(from_logits))
    logs = fit(model, epochs=2, validation_data=(X, Y)).history
    p = np.mean([softmax(X @ kernel) for kernel in kernels_of(model)], axis=0)
    expected = np.log(p) if from_logits else p
    found = model.predict(X, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    loss = -np.log(p[np.arange(N), Y]).mean()
    assert logs["val_loss"][-1] == pytest.approx(loss, rel=1e-4)
    assert model.evaluate(X, Y, verbose=0)[0] == pytest.approx(loss, rel=1e-4)
    assert logs["val_accuracy"][-1] == pytest.approx(np.mean(p.argmax(axis=1) == Y))


@pytest.mark.parametrize(
    "settings",
    [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 5}],
    ids=["jit", "eager", "several steps"],
)
def test_modes(settings, backend):
    if backend == "torch" and "run_eagerly" not in settings:
        pytest.skip("torch has neither, as far as this package's tests go")
    model = build(compile_arguments=settings)
    epochs, _ = fit_with_plans(model, epochs=3)
    assert_as_by_hand(model, epochs)


@pytest.mark.parametrize(
    "loss, y",
    [
        (keras.losses.CategoricalCrossentropy(from_logits=True), ONE_HOT),
        (cross_entropy(), Y[:, None]),
        (losses.GeneralizedCrossEntropy(q=1e-6, from_logits=True), Y.astype("uint8")),
    ],
    ids=["one-hot", "column", "a loss of this package"],
)
def test_losses_and_labels(loss, y):
    model = build(loss=loss)
    epochs, _ = fit_with_plans(model, y=y, epochs=3)
    assert_as_by_hand(model, epochs)


def test_a_second_fit_begins_with_the_warm_up():
    model = build()
    fit(model, epochs=2)
    logs = fit(model, epochs=2).history
    assert np.isnan(logs["clean_share"][0]) and logs["clean_share"][1] > 0
    other = build(networks())
    fit(other, epochs=2)
    fit(other, epochs=1)
    fit(other, epochs=2, initial_epoch=1)
    np.testing.assert_allclose(kernels_of(model), kernels_of(other), atol=1e-5)


def with_randomness():
    """Networks with dropout and an augmentation of Keras, which draw as they go."""
    keras.utils.set_random_seed(5)
    pair = [
        keras.Sequential(
            [
                keras.Input((FEATURES,)),
                keras.layers.Dense(8, "relu"),
                keras.layers.Dropout(0.3),
                keras.layers.Dense(CLASSES),
            ]
        )
        for _ in range(2)
    ]
    return build(pair, augmentation=keras.layers.GaussianNoise(0.2), seed=None)


@pytest.mark.every_backend
@pytest.mark.parametrize("epoch", [0, 2], ids=["warm-up", "divided"])
def test_backup_and_restore(tmp_path, epoch):
    """Killed in the warm-up or after it, it ends with the same weights."""
    whole = with_randomness()
    fit(whole)
    model = continued(with_randomness, fit, tmp_path / "backup", epoch)
    for ours, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.every_backend
def test_save_and_load(tmp_path):
    model = build(augmentation=keras.layers.GaussianNoise(0.2))
    fit(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.predict(X, verbose=0)
    np.testing.assert_allclose(loaded.predict(X, verbose=0), expected, rtol=1e-6)
    fit(model, initial_epoch=2)
    fit(loaded, initial_epoch=2)
    np.testing.assert_allclose(kernels_of(loaded), kernels_of(model), atol=1e-6)


def test_config_round_trip():
    arguments = {
        "warmup_epochs": 2, "num_augmentations": 3, "temperature": 0.4,
        "mixup_alpha": 0.5, "clean_threshold": 0.6, "unlabeled_weight": 2.0,
        "ramp_epochs": 5, "prior_weight": 0.5, "confidence_penalty": 0.1, "seed": 4,
        "name": "both",
    }  # fmt: skip
    layer = models.RandomCropFlip(2, seed=1)
    model = DivideMix(*networks(), augmentation=layer, prior=PRIOR, **arguments)
    config = json.loads(json.dumps(model.get_config()))
    other = DivideMix.from_config(config)
    for name, value in arguments.items():
        assert getattr(other, name) == value
    assert other.prior.tolist() == PRIOR.tolist() and other.augmentation.padding == 2


@pytest.mark.every_backend
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    model = build(networks(dtype=policy), unlabeled_weight=1.0)
    epochs, _ = fit_with_plans(model, epochs=3)
    kernels, _ = train_by_hand(epochs, unlabeled=1.0)
    np.testing.assert_allclose(kernels_of(model), kernels, atol=0.1)


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    """Partners are those of the global batch."""
    model = build()
    one = fit(model).history
    with strategy.scope():
        other = build()
    two = fit(other).history
    np.testing.assert_allclose(kernels_of(other), kernels_of(model), atol=1e-4)
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-4)


def test_images_with_augmentation():
    x = rng.integers(0, 255, (N, 4, 4, 1)).astype("uint8")

    def network():
        return keras.Sequential(
            [
                keras.Input((4, 4, 1)),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Flatten(),
                keras.layers.Dense(CLASSES),
            ]
        )

    layer = models.RandomCropFlip(1, seed=0)
    logs = fit(build([network(), network()], augmentation=layer), x=x).history
    assert np.isfinite(logs["loss"]).all()


def test_several_inputs():
    def network():
        left, right = keras.Input((3,)), keras.Input((3,))
        both = keras.layers.Concatenate()([left, right])
        return keras.Model([left, right], keras.layers.Dense(CLASSES)(both))

    logs = fit(build([network(), network()]), x=(X[:, :3], X[:, 3:])).history
    assert np.isfinite(logs["loss"]).all() and np.isfinite(logs["clean_share"][-1])


def word_network():
    layers = [
        keras.Input((3,), dtype="int32"),
        keras.layers.Embedding(50, 8),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(CLASSES),
    ]
    return keras.Sequential(layers)


def test_ids_of_words_are_not_mixed():
    x = rng.integers(0, 50, (N, 3)).astype("int32")
    model = build([word_network(), word_network()])
    with pytest.warns(UserWarning, match="ids of words or others, which are not mixed"):
        logs = fit(model, x=x, epochs=6).history
    assert np.isfinite(logs["loss"]).all() and 0 < logs["clean_share"][-1] <= 1
    silent = build([word_network(), word_network()], mixup_alpha=0)
    fit(silent, x=x, epochs=2)


def test_what_is_off_is_said(capsys):
    fit(build(), epochs=1, verbose=2)
    assert "no `augmentation`, so mixing alone" in capsys.readouterr().out
    fit(build(), epochs=1)
    assert "augmentation" not in capsys.readouterr().out


def test_validation_split_and_batches_of_arrays():
    """Examples that are held out are not looked at."""
    split, given = build(), build()
    kept = N * 3 // 4
    held_out = (X[kept:], Y[kept:])
    fit(split, validation_split=0.25)
    fit(given, Y[:kept], X[:kept], validation_data=held_out)
    np.testing.assert_allclose(kernels_of(split), kernels_of(given), atol=1e-6)
    assert split.clean_probabilities.shape == (2, kept)


def test_presets():
    model = DivideMix.from_preset("cifar10, symmetric 90 %", *networks(), seed=1)
    assert (model.unlabeled_weight, model.clean_threshold) == (50.0, 0.6)
    assert model.warmup_epochs == 10 and model.mixup_alpha == 4.0
    model = DivideMix.from_preset("cifar10, asymmetric 40 %", *networks())
    assert (model.unlabeled_weight, model.confidence_penalty) == (0.0, 1.0)
    model = DivideMix.from_preset("cifar100, symmetric 50 %", *networks())
    assert (model.unlabeled_weight, model.warmup_epochs) == (150.0, 30)
    with pytest.raises(ValueError, match="DivideMix: `preset` must be one of"):
        DivideMix.from_preset("mnist", *networks())


# --- used wrongly


@pytest.mark.filterwarnings("default:DivideMix. the division for:UserWarning")
@pytest.mark.parametrize("threshold, side", [(-1.0, "right"), (2.0, "wrong")])
def test_a_division_with_one_side(threshold, side):
    """All examples are labelled ones then, and it is said, once for each network."""
    model = build()
    model.clean_threshold = threshold
    with pytest.warns(UserWarning, match=f"takes every label for {side}") as told:
        epochs, logs = fit_with_plans(model, epochs=3)
    assert sum("takes every label" in str(each.message) for each in told) == 2
    assert (epochs[1][1]["labeled"] == 1).all()
    assert np.isfinite(logs["loss"]).all()


@pytest.mark.filterwarnings("default:DivideMix. the division for:UserWarning")
def test_a_rare_class_is_not_lost_in_silence():
    """Twenty to one: of the rare class one label of twenty is kept, then nineteen."""
    y = np.where(np.arange(420) % 21 == 0, 1, 0)
    model = build()
    schedule = model._schedule({"x": np.tile(X, (11, 1))[:420], "y": y})
    schedule.set_model(model)
    rare = np.flatnonzero(y)
    probability = np.where(np.arange(420) % 2, 0.9, 0.6)
    probability[rare[1:]] = 0.2
    with pytest.warns(
        UserWarning, match="few labels of some classes, or none, in epoch 7: 1 of 20"
    ):
        is_labeled = schedule.division(probability, "peer", 7)
    assert is_labeled.sum() == 401
    probability[rare[1:]], probability[2] = 0.9, 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert schedule.division(probability, "peer", 8).sum() == 419


def test_a_warm_up_as_long_as_the_training():
    with pytest.warns(UserWarning, match=r"warmup_epochs=2 leaves nothing of 2 epochs"):
        fit(build(warmup_epochs=2), epochs=2)


@pytest.mark.parametrize("name", ["sample_weight", "class_weight"])
def test_weights_are_refused(name):
    value = np.ones(N) if name == "sample_weight" else {0: 2.0}
    expected = f"DivideMix: `{name}` must be None.*have no meaning there"
    with pytest.raises(ValueError, match=expected):
        fit(build(), **{name: value})


def test_batches_of_one_example():
    with pytest.raises(
        ValueError, match="DivideMix: `batch_size` must be an integer of"
    ):
        fit(build(), batch_size=1)
    # Two of each kind is the least.
    logs = fit(build(), batch_size=2, epochs=2).history
    assert np.isfinite(logs["loss"]).all()


def test_networks_that_disagree():
    other = linear_network(rng.normal(size=(FEATURES, 3)).astype("float32"))
    with pytest.raises(
        ValueError, match=r"DivideMix: `peer` must be a model with outputs of shape .*4"
    ):
        fit(build([networks()[0], other]))


def test_an_augmentation_that_changes_shapes():
    with pytest.raises(
        ValueError, match="`augmentation` must be a layer that keeps sh"
    ):
        fit(build(augmentation=keras.layers.Dense(3)))
    with pytest.raises(TypeError, match="`augmentation` must be a Keras layer or None"):
        build(augmentation=lambda x: x)


def test_the_same_networks_and_the_same_weights():
    network = networks()[0]
    with pytest.raises(ValueError, match="must not share variables"):
        build([network, network])
    with pytest.raises(ValueError, match="must have different weights"):
        fit(build([networks()[0], networks()[0]]))


def test_data_that_are_no_arrays():
    class Stream(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return X, Y

    with pytest.raises(
        TypeError, match="DivideMix: `x` must be arrays, with labels as"
    ):
        build().fit(Stream(), epochs=2, verbose=0)
    with pytest.raises(
        ValueError, match=r"DivideMix: `y` must be class ids in \[0, 4\)"
    ):
        fit(build(), np.where(np.arange(N) == 3, CLASSES, Y))
    with pytest.raises(ValueError, match="DivideMix: `y` must be distributions"):
        fit(build(), 2 * ONE_HOT)
    with pytest.raises(ValueError, match=r"DivideMix: `y\.shape` must be \(n, 4\)"):
        fit(build(), np.eye(5)[Y])
    with pytest.raises(ValueError, match=r"DivideMix: `len\(y\)` must be 40"):
        fit(build(), ONE_HOT[1:])


def test_arguments_out_of_range():
    for name, values in {
        "warmup_epochs": [0, 1.5, None],
        "num_augmentations": [0, 1.5],
        "temperature": [0, 1.1, None],
        "mixup_alpha": [-1, float("nan"), None],
        "clean_threshold": [0, 1, None],
        "unlabeled_weight": [-1, float("inf"), "1", None],
        "ramp_epochs": [-1, 0.5],
        "prior_weight": [-1, float("nan"), None],
        "confidence_penalty": [-1, None],
        "prior": [[0.5, 0.6], [1.0], "uniform"],
        "seed": [-1, 0.5],
    }.items():
        for value in values:
            expected = f"^DivideMix: `{name}`"
            with pytest.raises((ValueError, TypeError), match=expected):
                DivideMix(*networks(), **{name: value})
    with pytest.raises(ValueError, match="DivideMix: `epoch`"):
        build().set_epoch(-1)
    with pytest.raises(TypeError, match=r"`peer` must be a keras\.Model"):
        DivideMix(networks()[0], networks)
    with pytest.raises(ValueError, match="`prior` must be of length 4"):
        fit(build(prior=[0.5, 0.5]), epochs=2)


def test_a_training_that_diverges():
    model = build()
    model.compile(keras.optimizers.SGD(float("nan")), cross_entropy())
    with pytest.raises(ValueError, match="DivideMix: `losses` must be numbers"):
        fit(model, epochs=2)
