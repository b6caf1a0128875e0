"""Masked classes, whose logits are minus infinity, and labels that are none.

For every function of the table in tests/test_contract.py the value at a logit of minus
infinity is that of the formula, in NumPy, for a logit that falls without end.
"""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import losses
from keras_noisy.losses import _tensors

from .. import test_contract as contract
from . import reference as ref

every_function = pytest.mark.parametrize("name", contract.FUNCTIONS)

INF, NAN = math.inf, math.nan
# So far down that what has a limit has reached it.
FAR = 1e13
# A formula that is larger there grows without end.
INFINITE = 1e9


# --- the formulas, from labels `q`, `p` and `log p`


def cross_entropy(q, log_p):
    return -(q * log_p).sum(-1)


def entropy(p, log_p):
    return -(p * log_p).sum(-1)


def argmax_cross_entropy(log_p):
    return -log_p.max(-1)


def weighted(q, terms):
    return (q * terms).sum(-1)


def normalized(q, terms):
    return (q * terms).sum(-1) / terms.sum(-1)


def negative(q, log_p, smallest):
    return 1 - normalized(q, np.maximum(log_p - math.log(smallest), 0))


def focal(q, p, log_p, gamma):
    return normalized(q, -((1 - p) ** gamma) * log_p)


def reverse(q, p, log_zero):
    return -(p * np.log(np.maximum(q, math.exp(log_zero)))).sum(-1)


def absolute(q, p):
    return np.abs(q - p).sum(-1)


def trust(p, log_p):
    return 1 - entropy(p, log_p) / math.log(p.shape[-1])


def manipulated(q, p, log_p, beta, lambda_):
    p_y = (q * p).sum(-1)
    weight = np.exp(beta * p_y**lambda_ * (1 - p_y))
    norm = absolute(q, p)
    factor = np.where(norm > 1e-30, weight / weight.mean() / np.maximum(norm, 1e-30), 0)
    return np.where(factor > 0, factor * cross_entropy(q, log_p), 0)


def of_prior(p):
    """Divergence of the batch's mean prediction from the uniform distribution."""
    log_mean = np.log(p.reshape(-1, p.shape[-1]).mean(0))
    return -math.log(p.shape[-1]) - log_mean.mean()


def tempered_log(x, t):
    return (x ** (1 - t) - 1) / (1 - t)


def bi_tempered(q, log_p, t1, t2):
    # The activations are determined up to a constant; `c` by bisection.
    z = log_p - log_p.max(-1, keepdims=True)
    low, high = np.zeros_like(z[..., :1]), np.full_like(z[..., :1], 1e4)

    def tempered(c):
        return (1 + (t2 - 1) * (c - z)) ** (-1 / (t2 - 1))

    for _ in range(120):
        c = (low + high) / 2
        is_low = tempered(c).sum(-1, keepdims=True) > 1
        low, high = np.where(is_low, c, low), np.where(is_low, high, c)
    p = tempered(c)
    divergence = q * (tempered_log(q, t1) - tempered_log(p, t1))
    return (divergence - (q ** (2 - t1) - p ** (2 - t1)) / (2 - t1)).sum(-1)


def abstaining(q, log_p, alpha):
    # `widened` repeats the first logit.
    widened = ref.log_softmax(np.concatenate([log_p, log_p[..., :1]], -1))
    p_0 = np.exp(widened[..., -1])
    return (1 - p_0) * cross_entropy(q, log_p) - alpha * np.log1p(-p_0)


def pushed(q, p, log_p, m, alpha, beta):
    chosen = ref.one_hot_argmax(log_p)
    # The logarithm of a probability that underflows is known all the same.
    others = log_p - math.log1p(m)
    log_pushed = np.where(chosen > 0, np.log((p + m) / (m + 1)), others)
    return alpha * cross_entropy(q, log_pushed) + beta * absolute(q, p)


def distilled(q, p, log_p, epsilon, temperature):
    softened = ref.log_softmax(log_p / temperature)
    of_teacher = entropy(np.exp(softened), softened)
    mixed = (1 - epsilon) * cross_entropy(q, log_p)
    return mixed + epsilon * temperature**2 * of_teacher


T = np.array(contract.MATRIX, "longdouble")
INVERSE = np.linalg.inv(np.array(contract.MATRIX))

FORMULAS = {
    "active_negative": lambda q, p, log_p: (
        2 * normalized(q, -log_p) + 0.5 * negative(q, log_p, 1e-4)
    ),
    "active_passive": lambda q, p, log_p: (
        2 * focal(q, p, log_p, 0.3) + 0.5 * reverse(q, p, -2)
    ),
    "asymmetric_exponential": lambda q, p, log_p: weighted(q, np.exp(-p / 1.5)),
    "asymmetric_generalized_cross_entropy": lambda q, p, log_p: weighted(
        q, (1.5**0.5 - (0.5 + p) ** 0.5) / 0.5
    ),
    "asymmetric_unhinged": lambda q, p, log_p: weighted(
        q, ((1.5 - p) ** 0.5 - 0.5**0.5) / 0.5
    ),
    "backward_correction": lambda q, p, log_p: cross_entropy(q @ INVERSE, log_p),
    "bi_tempered_logistic": lambda q, p, log_p: bi_tempered(q, log_p, 0.4, 2.4),
    "bootstrap_hard": lambda q, p, log_p: (
        0.7 * cross_entropy(q, log_p) + 0.3 * argmax_cross_entropy(log_p)
    ),
    "bootstrap_soft": lambda q, p, log_p: (
        0.7 * cross_entropy(q, log_p) + 0.3 * entropy(p, log_p)
    ),
    "confidence_penalty": lambda q, p, log_p: (
        0.7 * cross_entropy(q, log_p) - 0.3 * entropy(p, log_p)
    ),
    "deep_abstention": lambda q, p, log_p: abstaining(q, log_p, 0.3),
    "derivative_manipulation": lambda q, p, log_p: manipulated(q, p, log_p, 4, 0.5),
    "dimensionality_driven": lambda q, p, log_p: (
        0.7 * cross_entropy(q, log_p) + 0.3 * argmax_cross_entropy(log_p)
    ),
    "early_learning_regularization": lambda q, p, log_p: (
        cross_entropy(q, log_p) + 3 * np.log(1 - 0.125 * p.sum(-1))
    ),
    "epsilon_softmax": lambda q, p, log_p: pushed(q, p, log_p, 100, 0.5, 2),
    "equal_loss": lambda q, p, log_p: weighted(q, -1.3 * np.log((p + 0.3) / 1.3)),
    "forward_correction": lambda q, p, log_p: -weighted(q, np.log(p @ T)),
    "generalized_cross_entropy": lambda q, p, log_p: weighted(q, (1 - p**0.4) / 0.4),
    "generalized_label_smoothing": lambda q, p, log_p: cross_entropy(
        1.8 * q - 0.8 / 5, log_p
    ),
    "imae": lambda q, p, log_p: manipulated(q, p, log_p, 4, 1),
    "joint_optimization": lambda q, p, log_p: (
        cross_entropy(q, log_p)
        + (q * np.log(np.where(q > 0, q, 1))).sum(-1)
        + 0.7 * of_prior(p)
        + 0.3 * entropy(p, log_p)
    ),
    "knowledge_distillation": lambda q, p, log_p: distilled(q, p, log_p, 0.3, 2),
    "label_smoothing": lambda q, p, log_p: cross_entropy(0.7 * q + 0.3 / 5, log_p),
    "mean_absolute_error": lambda q, p, log_p: absolute(q, p),
    "normalized_cross_entropy": lambda q, p, log_p: normalized(q, -log_p),
    "normalized_focal": lambda q, p, log_p: focal(q, p, log_p, 0.5),
    "normalized_generalized_cross_entropy": lambda q, p, log_p: normalized(
        q, 1 - p**0.4
    ),
    "normalized_negative_cross_entropy": lambda q, p, log_p: negative(q, log_p, 1e-4),
    "proselflc": lambda q, p, log_p: (
        (1 - 0.7 * trust(p, log_p)) * cross_entropy(q, log_p)
        + 0.7 * trust(p, log_p) * entropy(p, log_p)
    ),
    "reverse_cross_entropy": lambda q, p, log_p: reverse(q, p, -4),
    "symmetric_cross_entropy": lambda q, p, log_p: (
        0.4 * cross_entropy(q, log_p) + 1.5 * reverse(q, p, -4)
    ),
    "target_modification": lambda q, p, log_p: (
        0.25 * cross_entropy(q, log_p)
        + 0.75
        * (
            (0.9 - 0.3 * trust(p, log_p)) * cross_entropy(q, log_p)
            + 0.3 * trust(p, log_p) * entropy(p, log_p)
            + 0.06 * cross_entropy(np.full_like(q, 0.2), log_p)
            + 0.04 * argmax_cross_entropy(log_p)
        )
    ),
}


def limit(name, q, logits):
    """Value of a formula as the logits of minus infinity fall, in long double."""
    log_p = ref.log_softmax(np.where(np.isneginf(logits), -FAR, logits))
    value = FORMULAS[name](np.asarray(q, "longdouble"), np.exp(log_p), log_p)
    return np.where(np.abs(value) > INFINITE, np.copysign(INF, value), value).astype(
        float
    )


# --- the batches


def masked(logits, masks):
    return np.where(masks, -INF, logits).astype("float32")


def make_batches():
    """Pairs of labels and logits: one class masked, several, all but one."""
    z, ids = ref.LOGITS[:8], ref.IDS[:8]
    is_label = np.eye(5, dtype=bool)[ids]
    following = np.roll(is_label, 1, axis=1)
    several = following | np.roll(is_label, 3, axis=1)
    masks = [following, several, ~is_label, is_label, ~following, is_label | several]
    zeros = np.where(following, 0, ref.SOFT[:8])
    zeros = zeros / zeros.sum(axis=1, keepdims=True)
    no_zeros = [zeros, zeros, ref.SOFT[:8], ref.SOFT[:8]]
    return {
        "ids": (np.tile(ids, 6), masked(np.tile(z, (6, 1)), np.concatenate(masks))),
        "soft": (
            np.concatenate(no_zeros).astype("float32"),
            masked(
                np.tile(z, (4, 1)),
                np.concatenate([following, several, following, ~following]),
            ),
        ),
    }


BATCHES = make_batches()
every_batch = pytest.mark.parametrize("batch", BATCHES)


def distributions(labels):
    return np.eye(5)[labels] if labels.ndim == 1 else labels


def assert_limit(actual, expected):
    np.testing.assert_allclose(ref.to_numpy(actual), expected, rtol=2e-5, atol=2e-5)


def test_every_function_has_a_formula():
    assert set(FORMULAS) == set(contract.FUNCTIONS)


@every_batch
@every_function
def test_formulas_are_those_of_the_package(name, batch):
    labels, _ = BATCHES[batch]
    logits = np.tile(ref.LOGITS[:8], (len(labels) // 8, 1))
    expected = limit(name, distributions(labels), logits)
    assert np.all(np.isfinite(expected))
    assert_limit(contract.call(name, labels, logits), expected)


@every_batch
@every_function
def test_masked_classes(name, batch):
    labels, logits = BATCHES[batch]
    expected = limit(name, distributions(labels), logits)
    assert np.isfinite(expected).sum() >= 8 or name in UNBOUNDED
    actual = contract.call(name, labels, logits)
    assert_limit(actual, expected)


@pytest.mark.dealt
@every_batch
@every_function
def test_masked_classes_in_compiled_code(name, batch):
    labels, logits = BATCHES[batch]
    function = ref.compiled(lambda y_true, y_pred: contract.call(name, y_true, y_pred))
    actual = function(ref.tensor(labels), ref.tensor(logits))
    assert_limit(actual, limit(name, distributions(labels), logits))


# Every class has a weight, so that a masked one is infinite for every label.
UNBOUNDED = {
    "backward_correction",
    "generalized_label_smoothing",
    "label_smoothing",
    "target_modification",
}


@every_batch
@every_function
def test_gradient_of_masked_classes(name, batch):
    """It is that of a logit far down, and zero where the loss is infinite."""
    labels, logits = BATCHES[batch]
    is_finite = np.isfinite(limit(name, distributions(labels), logits))
    actual = ref.gradient(lambda z: contract.call(name, labels, z), logits)
    # Not so far that float32 loses the digits of what is there.
    far = np.where(np.isneginf(logits), -1e7, logits).astype("float32")

    def finite(z):
        # A batch's sums have no gradient either of examples that are infinite.
        return ops.where(is_finite, contract.call(name, labels, z), 0.0)

    expected = ref.gradient(finite, far)
    np.testing.assert_allclose(
        actual, np.where(np.isneginf(logits), 0, expected), rtol=1e-4, atol=2e-5
    )


@every_function
def test_masked_classes_in_half_precision(name):
    labels, logits = BATCHES["ids"]
    z = ops.cast(ref.tensor(logits), "float16")
    expected = limit(name, distributions(labels), ref.to_numpy(ops.cast(z, "float32")))
    assert_limit(contract.call(name, labels, z), expected)


@every_batch
@every_function
def test_probabilities_of_zero(name, batch):
    """They count as the smallest normal number: every loss is finite."""
    labels, logits = BATCHES[batch]
    p = ref.softmax(logits).astype("float32")
    assert np.any(p == 0)
    clipped = np.log(np.maximum(p, np.finfo("float32").tiny))
    expected = limit(name, distributions(labels), clipped)
    assert np.all(np.isfinite(expected))
    actual = contract.call(name, labels, p, from_logits=False)
    np.testing.assert_allclose(ref.to_numpy(actual), expected, rtol=1e-4, atol=1e-4)
    gradient = ref.gradient(
        lambda p: contract.call(name, labels, p, from_logits=False), p
    )
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("value", [-INF, INF, NAN], ids=["no class", "inf", "nan"])
@every_function
def test_logits_without_a_prediction(name, value):
    """Overflow and NaN show, as with Keras; so do examples without any class."""
    logits = ref.LOGITS.copy()
    logits[3] = value if value == -INF else logits[3]
    logits[3, 1] = value
    loss = ref.to_numpy(contract.call(name, ref.IDS, logits))
    of_batch = name in {*contract.JUMPS, "joint_optimization"}
    is_nan = np.full(16, True) if of_batch else np.arange(16) == 3
    np.testing.assert_array_equal(np.isnan(loss), is_nan)


# --- labels that are no distributions

LABELS = ref.SOFT.astype("float32")


def with_row(row):
    labels = LABELS.copy()
    labels[3] = row
    return labels


BAD_ROWS = {
    "sums to 3": 3 * LABELS[3],
    "sums to 0.9": 0.9 * LABELS[3],
    "multi-hot": [0, 1, 0, 1, 1],
    "counts": [0, 12, 3, 0, 1],
    "zeros": [0, 0, 0, 0, 0],
    "negative": [1.5, -0.5, 0, 0, 0],
    "negative alone": [-1, 0, 0, 0, 0],
    "nan": [NAN, 1, 0, 0, 0],
    "inf": [INF, 0, 0, 0, 0],
}


@pytest.mark.parametrize("row", BAD_ROWS)
@every_function
def test_bad_distributions(name, row):
    expected = (
        rf"^{name}: `y_true` must be class ids, or distributions: rows that sum to 1.*"
        r"Received: y_true=a row \[.*\] that sums to .*`sample_weight`"
    )
    with pytest.raises(ValueError, match=expected):
        contract.call(name, with_row(BAD_ROWS[row]), ref.LOGITS)


# Compiled code sees their sum, and no more.
SEEN_COMPILED = [row for name, row in BAD_ROWS.items() if name != "negative"]


@pytest.mark.dealt
@every_function
def test_bad_distributions_in_compiled_code(name, monkeypatch):
    """The loss of those rows is NaN, their gradient zero, and the others are right."""
    # Gradients are taken without compiling: what matters is that labels are unseen.
    monkeypatch.setattr(_tensors, "visible", lambda x: None)
    labels = LABELS.copy()
    labels[: len(SEEN_COMPILED)] = SEEN_COMPILED
    is_bad = np.arange(16) < len(SEEN_COMPILED)

    def loss(y_true, y_pred):
        return contract.call(name, y_true, y_pred)

    actual = ref.to_numpy(
        ref.compiled(loss)(ref.tensor(labels), ref.tensor(ref.LOGITS))
    )
    if name in {*contract.JUMPS, "joint_optimization"}:
        # Of a batch, to which all examples belong.
        assert np.all(np.isnan(actual[is_bad]))
        return
    np.testing.assert_array_equal(np.isnan(actual), is_bad)
    expected = ref.to_numpy(loss(LABELS, ref.LOGITS))
    np.testing.assert_allclose(actual[~is_bad], expected[~is_bad], rtol=1e-5, atol=1e-5)
    gradient = ref.gradient(lambda z: loss(labels, z), ref.LOGITS)
    expected = ref.gradient(lambda z: loss(LABELS, z), ref.LOGITS)
    is_number = np.isfinite(labels).all(axis=1)
    np.testing.assert_array_equal(gradient[is_bad & is_number], 0)
    np.testing.assert_allclose(
        gradient[~is_bad], expected[~is_bad], rtol=1e-5, atol=1e-6
    )


def test_bad_distributions_of_a_determinant(monkeypatch):
    loss = losses.determinant_mutual_information
    with pytest.raises(ValueError, match=r"^determinant_mutual_information: `y_true`"):
        loss(with_row([1, 1, 0, 0, 0]), ref.LOGITS, from_logits=True)
    monkeypatch.setattr(_tensors, "visible", lambda x: None)
    value = loss(with_row([1, 1, 0, 0, 0]), ref.LOGITS, from_logits=True)
    assert math.isnan(float(value))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_rounded_distributions_of_many_classes(dtype, compiled):
    """Such as half precision, smoothing and rounding to two digits leave."""
    if dtype == "float64" and ref.BACKEND == "jax":
        pytest.skip("JAX has no float64 by default")
    rng = np.random.default_rng(1)
    soft = rng.dirichlet(np.full(1000, 0.3), 6)
    soft[0] = 0.9 * (np.arange(1000) == 5) + 0.1 / 1000
    soft[1] = 1 / 1000
    soft[2] = np.eye(1000)[2]
    soft[3] = 0.995 * soft[3]
    labels = ops.cast(ref.tensor(soft.astype("float32")), dtype)
    z = (3 * rng.normal(size=soft.shape)).astype("float32")

    def loss(y_true, y_pred):
        return losses.label_smoothing(y_true, y_pred, epsilon=0, from_logits=True)

    actual = (ref.compiled(loss) if compiled else loss)(labels, ref.tensor(z))
    expected = ref.cross_entropy(ref.to_numpy(ops.cast(labels, "float32")), z)
    np.testing.assert_allclose(
        ref.to_numpy(actual), expected.astype("float64"), rtol=2e-5
    )


@pytest.mark.skipif(ref.BACKEND == "torch", reason="torch steps are eager on a CPU")
def test_bad_distributions_in_a_compiled_fit():
    dense = keras.layers.Dense(5, "linear", False, "identity")
    model = keras.Sequential([keras.Input((5,)), dense])
    loss = losses.LabelSmoothing(epsilon=0.3, from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=True)
    labels = with_row([1, 1, 0, 0, 0])
    history = model.fit(ref.LOGITS, labels, batch_size=16, verbose=0).history
    assert math.isnan(history["loss"][0])
    in_logits = (ref.softmax(ref.LOGITS) - 0.7 * LABELS - 0.3 / 5) / 16
    in_logits[3] = 0
    kernel = np.eye(5) - 0.1 * (ref.LOGITS.T @ in_logits).astype("float64")
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)


def test_bad_distributions_in_an_eager_fit():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    loss = losses.LabelSmoothing(epsilon=0.3, from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    with pytest.raises(ValueError, match="must be class ids, or distributions"):
        model.fit(ref.LOGITS, 2 * LABELS, verbose=0)


def test_distributions_of_strings():
    with pytest.raises(TypeError, match=r"`y_true` must hold numbers"):
        losses.mean_absolute_error([["a", "b"]], [[0.25, 0.75]])


# --- predictions that are no probabilities


def test_negative_probabilities():
    z = ref.LOGITS
    expected = (
        r": `{}` must be probabilities. Received: {}=values from -\d.*from_logits"
    )

    def match(owner, argument="y_pred"):
        return "^" + owner + expected.format(argument, argument)

    for name in contract.FUNCTIONS:
        arguments = {"from_logits": False}
        if name == "knowledge_distillation":
            arguments["teacher_pred"] = LABELS
        with pytest.raises(ValueError, match=match(name)):
            contract.call(name, ref.IDS, z, **arguments)
    with pytest.raises(ValueError, match=match("local_trust")):
        losses.local_trust(z)
    with pytest.raises(ValueError, match=match("updated_target")):
        losses.updated_target(LABELS, z)
    with pytest.raises(ValueError, match=match("determinant_mutual_information")):
        losses.determinant_mutual_information(ref.IDS, z)
    with pytest.raises(
        ValueError, match=match("knowledge_distillation", "teacher_pred")
    ):
        losses.knowledge_distillation(ref.IDS, LABELS, teacher_pred=z, epsilon=0.3)


# --- what is not in the table


def test_trust_and_targets_of_masked_classes():
    _, logits = BATCHES["ids"]
    p = ref.softmax(np.where(np.isneginf(logits), -FAR, logits)).astype("float32")
    expected = trust(p, np.log(np.maximum(p, 1e-30)))
    assert_limit(losses.local_trust(logits, from_logits=True), expected)
    target = losses.updated_target(0.2 + 0 * p, logits, momentum=0.7, from_logits=True)
    assert_limit(target, 0.14 + 0.3 * p)
    gradient = ref.gradient(lambda z: losses.local_trust(z, from_logits=True), logits)
    assert np.all(np.isfinite(gradient))


def test_determinant_with_masked_classes():
    """A class that some examples exclude is only less probable."""
    logits = ref.LOGITS.copy()
    logits[:4, 0] = np.where(ref.IDS[:4] == 0, logits[:4, 0], -INF)
    assert np.isneginf(logits).any()
    joint = ref.ONE_HOT.T @ ref.softmax(logits).astype("float64") / 16
    expected = -np.linalg.slogdet(joint)[1]
    loss = losses.determinant_mutual_information
    assert float(loss(ref.IDS, logits, from_logits=True)) == pytest.approx(
        expected, rel=1e-4
    )
    gradient = ref.gradient(lambda z: loss(ref.IDS, z, from_logits=True), logits)
    assert np.all(np.isfinite(gradient))


def test_a_class_that_no_example_may_be_contradicts_the_prior():
    logits = ref.LOGITS.copy()
    logits[:, 2] = -INF
    ids = np.where(ref.IDS == 2, 0, ref.IDS)
    arguments = {"alpha": 0.7, "beta": 0.3, "from_logits": True}
    loss = losses.joint_optimization(ids, logits, **arguments)
    assert np.all(np.isposinf(ref.to_numpy(loss)))
    prior = [0.3, 0.2, 0.0, 0.3, 0.2]
    loss = losses.joint_optimization(ids, logits, prior=prior, **arguments)
    p = ref.softmax(logits).astype("float64")
    log_p = np.log(np.maximum(p, 1e-300))
    kept = np.array(prior) > 0
    of_batch = np.sum(
        np.array(prior)[kept] * np.log(np.array(prior)[kept] / p.mean(0)[kept])
    )
    expected = cross_entropy(np.eye(5)[ids], log_p) + 0.7 * of_batch
    assert_limit(loss, expected + 0.3 * entropy(p, log_p))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("label_smoothing", {"epsilon": 0}),
        ("generalized_label_smoothing", {"smooth_rate": 0}),
        ("bootstrap_hard", {"epsilon": 1}),
        ("bootstrap_soft", {"epsilon": 1}),
        ("confidence_penalty", {"epsilon": 1}),
        ("dimensionality_driven", {"alpha": 0}),
        ("symmetric_cross_entropy", {"alpha": 0, "beta": 1}),
        ("epsilon_softmax", {"m": 2.0, "alpha": 0, "beta": 1}),
        ("active_negative", {"alpha": 0, "beta": 1}),
        ("bi_tempered_logistic", {"t1": 1.0, "t2": 1.0}),
        ("equal_loss", {"epsilon": 0}),
        ("proselflc", {"global_trust": 1.0}),
    ],
)
def test_a_term_of_weight_zero_is_zero(name, arguments):
    """Of losses with a term that is infinite, at the end of their parameters."""
    z = np.array([[1.0, -INF, 2.0], [-INF, 0.0, -INF]], "float32")
    # The label of the second is certain; that of the first is not masked.
    ids = np.array([0, 1])
    loss = getattr(losses, name)
    value = ref.to_numpy(loss(ids, z, from_logits=True, **arguments))
    far = np.where(np.isneginf(z), -1e7, z)
    expected = loss(ids, far, from_logits=True, **arguments)
    np.testing.assert_allclose(value, ref.to_numpy(expected), rtol=1e-4, atol=1e-5)
    actual = ref.gradient(lambda z: loss(ids, z, from_logits=True, **arguments), z)
    assert np.all(np.isfinite(actual))


@pytest.mark.parametrize("t1", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("t2", [1.0, 1.5, 10.0])
def test_heavy_tails_do_not_reach_masked_classes(t1, t2):
    """The loss is that of the other classes alone."""
    arguments = {"t1": t1, "t2": t2, "from_logits": True}
    loss = losses.bi_tempered_logistic
    z = np.array([[1.0, -INF, 2.0, -INF], [-0.5, -INF, 0.0, -INF]], "float32")
    expected = ref.to_numpy(loss([0, 1], z[:, ::2], **arguments))
    assert_limit(loss([0, 2], z, **arguments), expected)
    q = np.array([[0.3, 0, 0.7, 0], [0.8, 0, 0.2, 0]], "float32")
    actual = ref.gradient(lambda z: loss(q, z, **arguments), z)
    kept = ref.gradient(lambda z: loss(q[:, ::2], z, **arguments), z[:, ::2])
    np.testing.assert_allclose(actual[:, ::2], kept, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(actual[:, 1::2], np.zeros((2, 2)))
