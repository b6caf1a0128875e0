"""SSR: against a network that is trained by hand, in float64."""

import json
import warnings

import keras
import numpy as np
import pytest

from keras_noisy import losses, models
from keras_noisy.training import SSR, ssr
from tests.helpers import assert_serves_its_network, continued, linear_network, softmax

N, FEATURES, CLASSES, BATCH, EPOCHS = 40, 6, 4, 8, 4
LEARNING_RATE, WARMUP, NEIGHBORS = 0.5, 1, 5

rng = np.random.default_rng(0)
CLEAN = np.arange(N) % CLASSES
X = (np.eye(CLASSES, FEATURES)[CLEAN] + 0.4 * rng.normal(size=(N, FEATURES))).astype(
    "float32"
)
Y = np.where(rng.uniform(size=N) < 0.3, (CLEAN + 1) % CLASSES, CLEAN)
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]
KERNEL = rng.normal(size=(FEATURES, CLASSES)).astype("float32")

# Trainings here are short.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*leaves nothing of:UserWarning"),
    pytest.mark.filterwarnings("ignore:SSR. the selection of:UserWarning"),
]


def cross_entropy(from_logits=True):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def build(network=None, loss=None, compile_arguments=None, **kwargs):
    """Return a compiled model; SGD without momentum, to be done by hand."""
    own = {"relabel_threshold": 0.6, "num_neighbors": NEIGHBORS, "seed": 3}
    network = network or linear_network(KERNEL)
    model = SSR(network, **{"warmup_epochs": WARMUP, **own, **kwargs})
    settings = {"metrics": ["accuracy"], **(compile_arguments or {})}
    loss = loss or cross_entropy()
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss, **settings)
    return model


def fit(model, y=Y, x=X, epochs=EPOCHS, **kwargs):
    settings = {"epochs": epochs, "batch_size": BATCH, "verbose": 0}
    return model.fit(x, y, **{**settings, **kwargs})


class Plans(keras.callbacks.Callback):
    """Notes the random choices of each epoch: rows, partners and shares."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append((self.batches.rows.copy(), dict(self.batches.plan)))


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


def selection_by_hand(labels, threshold):
    """Return whose neighbours agree, an example at a time."""
    x = X.astype("float64")
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    sizes = [max(np.sum(labels == c), 1) for c in range(CLASSES)]
    found = []
    for number in range(N):
        likeness = unit @ unit[number]
        likeness[number] = -2
        neighbors = np.argsort(-likeness)[:NEIGHBORS]
        votes = [np.sum(labels[neighbors] == c) / sizes[c] for c in range(CLASSES)]
        found.append(votes[labels[number]] >= threshold * max(votes) - 1e-9)
    return np.array(found)


def train_by_hand(epochs, relabel=0.6, select=1.0, alpha=4.0):
    """Train the softmax regression in float64 NumPy, with the derived gradient.

    Args:
        epochs: The random choices of each epoch; all else is computed here.

    Returns:
        Weights, and the mean loss and shares of each epoch.
    """
    kernel = KERNEL.astype("float64")
    logs = {"loss": [], "selected_share": [], "relabeled_share": []}
    for epoch, (rows_of_steps, plan) in enumerate(epochs):
        labels, shares = Y, (np.nan, np.nan)
        if epoch >= WARMUP:
            p = softmax(X @ kernel)
            labels = np.array(
                [
                    row.argmax() if row.max() > relabel else y
                    for row, y in zip(p, Y, strict=True)
                ]
            )
            selected = selection_by_hand(labels, select)
            shares = selected.mean(), np.mean(labels != Y)
            assert selected[rows_of_steps].all()
            counts = np.bincount(labels[rows_of_steps].ravel())
            assert counts[counts > 0].max() - counts[counts > 0].min() <= 1
        total = []
        for step, rows in enumerate(rows_of_steps):
            x, q = X[rows].astype("float64"), np.eye(CLASSES)[labels[rows]]
            if alpha:
                partner = plan["partner"][step]
                share = plan["share"][step][:, None].astype("float64")
                assert epoch < WARMUP or (
                    share.min() >= 0.5 and len(set(partner)) == BATCH
                )
                x = share * x + (1 - share) * x[partner]
                q = share * q + (1 - share) * q[partner]
            p = softmax(x @ kernel)
            total.append(-(q * np.log(p)).sum(axis=1).mean())
            kernel = kernel - LEARNING_RATE * x.T @ (p - q) / len(rows)
        logs["loss"].append(np.mean(total))
        logs["selected_share"].append(shares[0])
        logs["relabeled_share"].append(shares[1])
    return kernel, logs


def assert_as_by_hand(model, epochs, logs=None, **arguments):
    kernel, expected = train_by_hand(epochs, **arguments)
    actual = model.network.get_weights()[0]
    np.testing.assert_allclose(actual, kernel, rtol=1e-3, atol=2e-4)
    if logs is not None:
        for name, values in expected.items():
            np.testing.assert_allclose(logs[name], values, rtol=1e-3, err_msg=name)


# --- what it computes


@pytest.mark.every_backend
def test_training_by_hand():
    """Labels, selection, mixed labels, loss and gradient, on every backend."""
    model = build()
    epochs, logs = fit_with_plans(model)
    assert_as_by_hand(model, epochs, logs)
    # Some labels were replaced and some examples left out, or this would say little.
    assert logs["relabeled_share"][-1] > 0.05
    assert 0.3 < logs["selected_share"][-1] < 1


WAYS = {
    "none replaced": {"relabel_threshold": 1.0},
    "most selected": {"selection_threshold": 0.3},
    "not mixed": {"mixup_alpha": 0.0},
}
BY_HAND = {
    "relabel_threshold": "relabel",
    "selection_threshold": "select",
    "mixup_alpha": "alpha",
}


@pytest.mark.every_backend
@pytest.mark.parametrize("way", WAYS)
def test_ways_by_hand(way):
    model = build(**WAYS[way])
    epochs, logs = fit_with_plans(model)
    arguments = {BY_HAND[name]: value for name, value in WAYS[way].items()}
    assert_as_by_hand(model, epochs, logs, **arguments)


def test_relabelling():
    p = np.array([[0.95, 0.05], [0.9, 0.1], [0.2, 0.8], [0.05, 0.95]])
    given = np.array([1, 1, 0, 0])
    assert ssr.relabeled(p, given, 0.9).tolist() == [0, 1, 0, 1]
    assert ssr.relabeled(p, given, 1.0).tolist() == given.tolist()


def test_votes_count_against_how_frequent_a_class_is():
    """Nine of class 0 and three of class 1: a vote for it is worth three."""
    labels = np.array([0] * 9 + [1] * 3)
    votes = np.tile([0.7, 0.3], (12, 1)).astype("float32")
    assert ssr.agrees(votes, labels, 1.0).tolist() == [False] * 9 + [True] * 3
    # (0.7 / 0.75) / (0.3 / 0.25) is 0.778.
    assert ssr.agrees(votes, labels, 0.77).all()
    assert not ssr.agrees(votes, labels, 0.79)[:9].any()
    tied = np.tile([0.75, 0.25], (12, 1)).astype("float32")
    assert ssr.agrees(tied, labels, 1.0).all()


def test_it_finds_wrong_labels():
    """On separable classes with a third of the labels wrong."""
    generator = np.random.default_rng(1)
    clean = generator.integers(0, CLASSES, 1200)
    x = 4 * np.eye(CLASSES, FEATURES)[clean] + generator.normal(size=(1200, FEATURES))
    is_wrong = generator.uniform(size=1200) < 0.33
    noisy = np.where(is_wrong, (clean + 1) % CLASSES, clean)
    # A linear network from small weights, so that it is not sure from the start.
    network = linear_network(0.01 * KERNEL)
    model = build(network, num_neighbors=50, warmup_epochs=2, relabel_threshold=0.8)
    model.compile(keras.optimizers.Adam(0.02), cross_entropy())
    fit(model, noisy, x.astype("float32"), epochs=6, batch_size=100)
    assert np.mean(model.labels[model.selected] == clean[model.selected]) > 0.98
    assert model.selected.mean() > 0.6
    assert np.mean(model.predict(x, verbose=0).argmax(axis=1) == clean) > 0.97


# --- it is a model of Keras


def test_predictions_and_validation_are_the_networks():
    model = build()
    logs = fit(model, validation_data=(X, Y)).history
    assert_serves_its_network(model, logs, X, Y)


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


def test_one_hot_labels():
    model = build(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    epochs, logs = fit_with_plans(model, y=ONE_HOT, epochs=3)
    assert_as_by_hand(model, epochs, logs)


def test_probabilities():
    network = linear_network(KERNEL, "softmax")
    model = build(network, "sparse_categorical_crossentropy")
    epochs, _ = fit_with_plans(model, epochs=3)
    assert_as_by_hand(model, epochs)


def with_randomness():
    """A network with dropout and an augmentation of Keras, which draw as they go."""
    keras.utils.set_random_seed(5)
    layers = [
        keras.Input((FEATURES,)),
        keras.layers.Dense(8, "tanh"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(CLASSES),
    ]
    network = keras.Sequential(layers)
    return build(network, augmentation=keras.layers.GaussianNoise(0.2), seed=None)


@pytest.mark.parametrize("epoch", [0, 2], ids=["warm-up", "selected"])
def test_backup_and_restore(tmp_path, epoch):
    whole = with_randomness()
    fit(whole)
    model = continued(with_randomness, fit, tmp_path / "backup", epoch)
    for ours, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_save_and_load(tmp_path):
    model = build(augmentation=keras.layers.GaussianNoise(0.2))
    fit(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    fit(model, initial_epoch=2)
    fit(loaded, initial_epoch=2)
    ours, theirs = loaded.network.get_weights()[0], model.network.get_weights()[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_config_round_trip():
    arguments = {
        "warmup_epochs": 2, "relabel_threshold": 0.8, "selection_threshold": 0.9,
        "num_neighbors": 7, "mixup_alpha": 0.5, "layer": -1, "seed": 4, "name": "one",
    }  # fmt: skip
    layer = models.RandomCropFlip(2, seed=1)
    model = SSR(linear_network(KERNEL), augmentation=layer, **arguments)
    other = SSR.from_config(json.loads(json.dumps(model.get_config())))
    for name, value in arguments.items():
        assert getattr(other, name) == value
    assert other.augmentation.padding == 2


@pytest.mark.every_backend
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    model = build(linear_network(KERNEL, dtype=policy), layer=-1)
    logs = fit(model).history
    assert np.isfinite(logs["loss"]).all() and logs["loss"][-1] < logs["loss"][0]


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    """Partners are those of the global batch."""
    model = build()
    one = fit(model).history
    with strategy.scope():
        other = build()
    two = fit(other).history
    ours, theirs = other.network.get_weights()[0], model.network.get_weights()[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-5)


def test_ids_of_words_are_not_mixed():
    layers = [
        keras.Input((3,), dtype="int32"),
        keras.layers.Embedding(50, 8),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(CLASSES),
    ]
    x = rng.integers(0, 50, (N, 3)).astype("int32")
    with pytest.warns(
        UserWarning, match="SSR: `x` holds integers.*which are not mixed"
    ):
        logs = fit(build(keras.Sequential(layers)), x=x, epochs=3).history
    assert np.isfinite(logs["loss"]).all()


# --- used wrongly


def schedule_of(model, y=Y):
    schedule = model._schedule({"x": X, "y": y})
    schedule.set_model(model)
    return schedule


def test_a_selection_of_nothing():
    """Labels that no neighbour has: all examples are taken, and it is said."""
    model = build(num_neighbors=1)
    schedule = schedule_of(model)
    # Of each pair of nearest points one is of another class, so that nobody agrees.
    angles = np.repeat(np.linspace(0, 5, N // 2), 2) + np.tile([0, 1e-3], N // 2)
    schedule.examples.x = np.zeros_like(X)
    schedule.examples.x[:, 0], schedule.examples.x[:, 1] = (
        np.cos(angles),
        np.sin(angles),
    )
    with pytest.warns(
        UserWarning, match="no label has the votes of its neighbours in "
    ):
        assert schedule._selection(np.arange(N) % 2, 3).all()


@pytest.mark.filterwarnings("default:SSR. the selection of:UserWarning")
def test_a_rare_class_is_not_lost_in_silence():
    """One that is relabelled away, and one whose examples are not selected."""
    schedule = schedule_of(build())
    labels = np.where(CLEAN == 3, 2, CLEAN)
    with pytest.warns(UserWarning, match="class 3 was relabelled away"):
        schedule._selection(labels, 3)
    schedule = schedule_of(build())
    labels = CLEAN.copy()
    labels[[0, 4, 8]], labels[CLEAN == 3] = 3, 2
    with pytest.warns(
        UserWarning, match="keeps few examples of some classes, or none: 0 of"
    ):
        schedule._selection(labels, 3)
    schedule = schedule_of(build(), CLEAN)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        schedule._selection(CLEAN, 3)


def test_a_warm_up_as_long_as_the_training():
    with pytest.warns(UserWarning, match=r"warmup_epochs=2 leaves nothing of 2 epochs"):
        fit(build(warmup_epochs=2), epochs=2)


def test_weights_are_refused():
    with pytest.raises(
        ValueError, match=r"SSR: `sample_weight` must be None.*are chosen"
    ):
        fit(build(), sample_weight=np.ones(N))


def test_another_loss():
    with pytest.raises(
        ValueError, match=r"`loss` must be Keras's categorical or binary cross-ent"
    ):
        fit(build(loss=losses.EqualLoss(epsilon=0.3, from_logits=True)))


def test_an_augmentation_that_changes_shapes():
    with pytest.raises(
        ValueError, match="`augmentation` must be a layer that keeps sh"
    ):
        fit(build(augmentation=keras.layers.Dense(3)))


def test_data_and_batches_that_do_not_fit():
    with pytest.raises(ValueError, match=r"SSR: `y` must be class ids in \[0, 4\)"):
        fit(build(), np.where(np.arange(N) == 3, CLASSES, Y))
    with pytest.raises(
        ValueError, match="SSR: `batch_size` must be an integer of at le"
    ):
        fit(build(), batch_size=1)
    with pytest.raises(TypeError, match="SSR: `x` must be arrays, with labels as `y`"):
        build().fit(iter([(X, Y)]), epochs=1, verbose=0)


def test_arguments_out_of_range():
    for name, values in {
        "warmup_epochs": [0, 1.5, None],
        "relabel_threshold": [-0.1, 1.1, None],
        "selection_threshold": [0, 1.1, None],
        "num_neighbors": [0, 1.5, None],
        "mixup_alpha": [-1, float("nan"), None],
        "augmentation": ["flip"],
        "seed": [-1, 0.5],
    }.items():
        for value in values:
            with pytest.raises((ValueError, TypeError), match=f"^SSR: `{name}`"):
                SSR(linear_network(KERNEL), **{name: value})
    with pytest.raises(ValueError, match="SSR: `epoch`"):
        build().set_epoch(-1)


def test_a_training_that_diverges():
    model = build()
    model.compile(keras.optimizers.SGD(float("nan")), cross_entropy())
    with pytest.raises(ValueError, match="SSR: `predictions` must be numbers"):
        fit(model, epochs=2)
