"""What the papers state about their methods, held against this package."""

import keras
import numpy as np
import pytest

from keras_noisy import callbacks, losses

NUM_CLASSES = 5
EPSILON = 0.3


def distributions(count, seed=0):
    """Return distributions from nearly uniform to nearly certain, float64."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, NUM_CLASSES)) * np.linspace(0.1, 6, count)[:, None]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def kl(p, q):
    """Return `KL(p || q)`, with `0 log 0 = 0`."""
    return np.sum(p * np.log(np.where(p > 0, p / q, 1)), axis=-1)


P = distributions(40)
LABELS = np.arange(len(P)) % NUM_CLASSES
Q = np.eye(NUM_CLASSES)[LABELS]
UNIFORM = np.full(NUM_CLASSES, 1 / NUM_CLASSES)
CONSTANT = EPSILON * np.log(NUM_CLASSES)


def values(function, p=P, labels=LABELS, **arguments):
    return keras.ops.convert_to_numpy(
        function(labels, p.astype("float32"), **arguments)
    ).astype("float64")


# --- ProSelfLC, first arXiv version, Eq. 6 to 9


def test_target_modification_in_terms_of_kl_divergence():
    label = kl(Q, P)
    towards, away = kl(UNIFORM, P), kl(P, UNIFORM)
    cross_entropy = values(losses.label_smoothing, epsilon=0.0)
    np.testing.assert_allclose(cross_entropy, label, rtol=1e-4, atol=1e-5)
    for function, expected in (
        (losses.label_smoothing, EPSILON * towards + CONSTANT),
        (losses.confidence_penalty, EPSILON * away - CONSTANT),
        (losses.bootstrap_soft, -EPSILON * away + CONSTANT),
    ):
        found = values(function, epsilon=EPSILON)
        expected = (1 - EPSILON) * label + expected
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "sign"),
    [
        (losses.label_smoothing, 1),
        (losses.confidence_penalty, 1),
        (losses.bootstrap_soft, -1),
    ],
)
def test_proposition_3_who_penalises_low_entropy(function, sign):
    # Along a path of ever more certain predictions, the difference to the share
    # (1 - epsilon) of cross-entropy rises or falls.
    path = np.exp(np.linspace(0.05, 8, 30)[:, None] * np.array([1.0, 0.4, 0, -0.2, -1]))
    path /= path.sum(axis=1, keepdims=True)
    labels = np.zeros(len(path), int)
    difference = values(function, path, labels, epsilon=EPSILON) - (1 - EPSILON) * kl(
        np.eye(NUM_CLASSES)[labels], path
    )
    assert np.all(sign * np.diff(difference) > 0)


# --- ProSelfLC, conference version, Table 2 and "Design reason"


def with_local_trust(trust, argmax):
    """Return the distribution of this confidence, equal over the other classes."""
    low, high = UNIFORM[0], 1 - 1e-9
    for _ in range(60):
        middle = (low + high) / 2
        p = np.full(NUM_CLASSES, (1 - middle) / (NUM_CLASSES - 1))
        p[argmax] = middle
        entropy = -np.sum(p * np.log(p))
        low, high = (
            (middle, high)
            if 1 - entropy / np.log(NUM_CLASSES) < trust
            else (low, middle)
        )
    return p


def trust_of(p, global_trust):
    """Return `epsilon` of ProSelfLC, solved from the value of the loss, for label 0."""
    loss = values(losses.proselflc, p[None], [0], global_trust=global_trust)[0]
    of_label, of_prediction = -np.log(p[0]), -np.sum(p * np.log(p))
    return (loss - of_label) / (of_prediction - of_label)


@pytest.mark.parametrize("global_trust", [0.1, 0.9])
@pytest.mark.parametrize(("local_trust", "argmax"), [(0.1, 0), (0.9, 0), (0.9, 1)])
def test_table_2_of_proselflc(global_trust, local_trust, argmax):
    p = with_local_trust(local_trust, argmax)
    found = float(losses.local_trust(p[None].astype("float32"))[0])
    assert found == pytest.approx(local_trust, abs=1e-5)
    epsilon = trust_of(p, global_trust)
    assert epsilon == pytest.approx(global_trust * local_trust, abs=1e-4)
    # The semantic class changes in the bold case only: late, confident, inconsistent.
    target = (1 - epsilon) * np.eye(NUM_CLASSES)[0] + epsilon * p
    is_bold = global_trust == 0.9 and local_trust == 0.9 and argmax == 1
    assert (target.argmax() != 0) == is_bold


@pytest.mark.parametrize("exp_base", [8.0, 16.0])
def test_labels_dominate_in_the_first_half(exp_base):
    trust = losses.ProSelfLC(exp_base=exp_base).global_trust
    early = [float(trust(share)) for share in np.linspace(0, 0.49, 20)]
    assert max(early) < 0.5 and float(trust(0.5)) == pytest.approx(0.5)
    # So that no prediction takes over the semantic class.
    for p in P[np.argsort(LABELS)][:20]:
        target = (1 - early[-1]) * np.eye(NUM_CLASSES)[0] + early[-1] * p
        assert target.argmax() == 0


def test_g_of_the_first_version_needs_a_sharpness_of_about_14():
    # Its table has g of 0.1 and 0.9; with B = 1 trust stays between 0.38 and 0.62.
    ends = [float(losses.global_trust(share, exp_base=1.0)) for share in (0, 1)]
    assert ends == pytest.approx([0.3775, 0.6225], abs=1e-4)
    assert float(losses.global_trust(0.0, exp_base=14.0)) < 0.1


# --- Equal Loss, Eq. 8 to 13

ETA = np.array([0.5, 0.2, 0.15, 0.1, 0.05])


def minimizer(eta, epsilon):
    """Return Eq. 12 and the number `Z` of classes that are not zero."""
    order = np.argsort(-eta)
    for number in range(len(eta), 0, -1):
        first = order[:number]
        p = np.zeros(len(eta))
        p[first] = (1 + number * epsilon) * eta[first] / eta[first].sum() - epsilon
        if np.all(p[first] > 0):
            return p, number
    raise AssertionError("the largest class alone always fits")


def risks(predictions, epsilon, eta=ETA):
    """Return the expected loss of each prediction over labels drawn with `eta`."""
    rows = np.repeat(predictions, len(eta), axis=0)
    labels = np.tile(np.arange(len(eta)), len(predictions))
    each = values(losses.equal_loss, rows, labels, epsilon=epsilon)
    return each.reshape(len(predictions), len(eta)) @ eta


@pytest.mark.parametrize("epsilon", [0.05, 0.2, 0.5, 2.0])
def test_minimizer_of_the_risk_of_equal_loss(epsilon):
    p, number = minimizer(ETA, epsilon)
    assert p.sum() == pytest.approx(1)
    # Eq. 11, and Eq. 10 with multipliers that are nowhere negative.
    multiplier = np.sort(ETA)[::-1][:number].sum() / (1 + number * epsilon)
    of_zeros = (multiplier * (p + epsilon) - ETA) / epsilon
    np.testing.assert_allclose(of_zeros[p > 0], 0, atol=1e-12)
    assert np.all(of_zeros[p == 0] >= 0)
    # No other prediction has a smaller risk by the loss itself.
    others = np.random.default_rng(0).dirichlet(np.ones(len(ETA)), 200)
    nearby = 0.98 * p + 0.02 * others
    least, *found = risks(np.stack([p, *others, *nearby]), epsilon)
    assert min(found) > least - 1e-6
    # Eq. 13: the right class gets more than its share of the labels, which is what
    # cross-entropy gives it.
    assert p[0] > ETA[0]


def test_cross_entropy_is_the_limit():
    p, number = minimizer(ETA, 1e-9)
    assert number == len(ETA)
    np.testing.assert_allclose(p, ETA, atol=1e-8)


# --- SEAL, Eq. 5, 7 and 8

EPOCHS, EXAMPLES = 12, 3000


class Approximation(keras.callbacks.Callback):
    """Lets a model predict Eq. 5: mixtures of label and draws around the truth."""

    def __init__(self, truth, given, seed):
        super().__init__()
        self.truth, self.given = truth, given
        self.rng = np.random.default_rng(seed)
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        draws = np.stack([self.rng.dirichlet(4 * row + 1e-3) for row in self.truth])
        share = self.rng.uniform(size=(len(draws), 1))
        self.seen.append(share * draws + (1 - share) * self.given)
        self.model.get_layer("table").set_weights([self.seen[-1]])


def round_of_seal(truth, given, seed):
    """Return the predictions of every epoch, and SEAL's averages."""
    table = keras.layers.Embedding(EXAMPLES, NUM_CLASSES, name="table", trainable=False)
    inputs = keras.Input((), dtype="int32")
    outputs = keras.layers.Dense(NUM_CLASSES, use_bias=False)(table(inputs))
    model = keras.Model(inputs, outputs)
    model.layers[-1].set_weights([np.eye(NUM_CLASSES)])
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 0.0
    ids = np.arange(EXAMPLES)
    source = Approximation(truth, given, seed)
    seal = callbacks.SEAL(ids, batch_size=EXAMPLES, from_logits=False)
    model.fit(
        ids,
        given,
        epochs=EPOCHS,
        batch_size=EXAMPLES,
        verbose=0,
        callbacks=[source, seal],
    )
    return np.stack(source.seen), seal.soft_labels


def test_averages_are_nearer_to_the_truth_with_less_variance():
    rng = np.random.default_rng(1)
    truth = np.tile(rng.dirichlet(np.ones(NUM_CLASSES)), (EXAMPLES, 1))
    given = np.tile(np.eye(NUM_CLASSES)[truth[0].argmin()], (EXAMPLES, 1))
    seen, averages = round_of_seal(truth, given, 2)
    np.testing.assert_allclose(averages, seen.mean(axis=0), atol=1e-6)
    # All examples are draws of one: their mean is the expectation.
    far = np.linalg.norm(given[0] - truth[0])
    distance = np.linalg.norm(averages.mean(axis=0) - truth[0])
    assert distance < 0.6 * far
    # Independent epochs: a twelfth of the variance.
    ratio = averages.var(axis=0) / seen.reshape(-1, NUM_CLASSES).var(axis=0)
    np.testing.assert_allclose(ratio, 1 / EPOCHS, rtol=0.15)
    # Eq. 8: a second round starts nearer and ends nearer.
    _, again = round_of_seal(truth, averages, 3)
    assert np.linalg.norm(again.mean(axis=0) - truth[0]) < 0.6 * distance
