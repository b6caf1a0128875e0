"""Bi-tempered logistic loss, against a solver that bisects."""

import importlib

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref

module = importlib.import_module("keras_noisy.losses.bi_tempered_logistic")


def tempered_exp(x, t):
    if t == 1:
        return np.exp(x)
    return np.maximum(1 + (1 - t) * x, 0) ** (1 / (1 - t))


def tempered_log(x, t):
    return np.log(x) if t == 1 else (x ** (1 - t) - 1) / (1 - t)


def tempered_softmax(logits, t):
    """By bisection, in long double."""
    logits = np.asarray(logits, "longdouble")
    logits = logits - logits.max(axis=-1, keepdims=True)
    t = np.longdouble(t)
    low = np.zeros_like(logits[..., :1])
    high = low + max(np.log(logits.shape[-1]), -tempered_log(1 / logits.shape[-1], t))
    for _ in range(80):
        middle = (low + high) / 2
        is_low = tempered_exp(logits - middle, t).sum(axis=-1, keepdims=True) > 1
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return tempered_exp(logits - low, t)


def oracle(t1, t2):
    t1, t2 = np.longdouble(t1), np.longdouble(t2)

    def loss(q, logits):
        q, p = np.asarray(q, "longdouble"), tempered_softmax(logits, t2)
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.where(q > 0, q * tempered_log(q, t1), 0)
        terms = own - q * tempered_log(p, t1)
        terms -= (q ** (2 - t1) - p ** (2 - t1)) / (2 - t1)
        return terms.sum(axis=-1)

    return loss


def test_values_by_hand():
    # t1 = 1/2, p = (.25, .75): 2 (1 - sqrt(.75)) - (1 - .75^1.5 - .25^1.5) / 1.5
    loss = losses.bi_tempered_logistic([1], [[0.25, 0.75]], t1=0.5, t2=1)
    expected = 2 * (1 - 0.8660254) - (1 - 0.6495191 - 0.125) / 1.5
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)
    # t2 = 2: 1 / (1 + c) + 1 / (3 + c) = 1 with logits 0 and -2, so c = sqrt(2) - 1,
    # p = (1 / sqrt(2), 1 - 1 / sqrt(2)); t1 = 0: 1 - p_y - (1 - p_0^2 - p_1^2) / 2
    loss = losses.bi_tempered_logistic([0], [[0.0, -2.0]], t1=0, t2=2, from_logits=True)
    p = 1 / np.sqrt(2)
    expected = 1 - p - (1 - p**2 - (1 - p) ** 2) / 2
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize(
    "case", [(0.8, 1.2), (0.2, 1.0), (1.0, 1.5), (0.0, 2.0), (0.5, 4.0), (0.9, 1.01)]
)
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, case, dtype):
    t1, t2 = case
    logits = ref.LOGITS / 4 if t2 < 1.1 else ref.LOGITS
    q = {"hard": ref.ONE_HOT, "soft": ref.SOFT}[labels]

    def loss(z):
        return losses.bi_tempered_logistic(q, z, t1=t1, t2=t2, from_logits=True)

    tolerance = 2e-5 if dtype == "float32" else 1e-9
    actual = loss(ref.tensor(logits, dtype))
    np.testing.assert_allclose(
        ref.to_numpy(actual),
        oracle(t1, t2)(q, logits).astype("float64"),
        rtol=tolerance,
        atol=tolerance,
    )
    expected = ref.numerical_gradient(lambda z: oracle(t1, t2)(q, z), logits)
    np.testing.assert_allclose(
        ref.gradient(loss, logits.astype(dtype)),
        expected.astype("float64"),
        rtol=10 * tolerance,
        atol=tolerance,
    )


def test_temperatures_of_one_are_cross_entropy():
    loss = losses.bi_tempered_logistic(
        ref.IDS, ref.LOGITS, t1=1, t2=1, from_logits=True
    )
    ref.assert_close(loss, ref.cross_entropy(ref.ONE_HOT, ref.LOGITS))
    loss = losses.bi_tempered_logistic(
        ref.SOFT, ref.LOGITS, t1=1, t2=1, from_logits=True
    )
    label_entropy = -(ref.SOFT * np.log(ref.SOFT)).sum(axis=-1)
    ref.assert_close(loss, ref.cross_entropy(ref.SOFT, ref.LOGITS) - label_entropy)


@pytest.mark.parametrize("t1", [0.0, 0.3, 0.8])
def test_is_bounded(t1):
    """By `-log_t1(0)` and a bounded rest."""
    z = np.array([[-1e4, 1e4, 0.0]], "float32")
    loss = losses.bi_tempered_logistic([0], z, t1=t1, t2=1.5, from_logits=True)
    assert float(loss[0]) <= 1 / (1 - t1) + 1


def shapes_of_logits(num_classes, rng):
    """Logits narrow and wide, on two levels at every distance, and fanned out."""
    ramp = np.linspace(0, 1, num_classes)
    for scale in (0.01, 0.1, 0.5, 1, 2, 3, 5, 10, 30, 100, 1000):
        yield from rng.normal(scale=scale, size=(10, num_classes))
        yield from (-scale * ramp**3, -scale * ramp**0.3)
    for distance in np.geomspace(0.01, 1e5, 22):
        for at_the_top in {1, 2, 3, num_classes // 10, num_classes - 1}:
            yield np.where(np.arange(num_classes) < max(1, at_the_top), 0, -distance)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize(
    "t2", [1 + 1e-6, 1.001, 1.1, 1.2, 1.21, 1.5, 1.7, 1.8, 2, 2.5, 3, 4, 5, 10]
)
def test_probabilities_sum_to_one(t2, dtype):
    """Also for wide logits, where five fixed-point steps give 1.19."""
    rng = np.random.default_rng(0)
    for num_classes in (2, 3, 10, 100, 1000):
        logits = np.stack([*shapes_of_logits(num_classes, rng)])
        shifted = ref.tensor(logits - logits.max(axis=-1, keepdims=True), dtype)
        log_p, p, _ = module._tempered_softmax(shifted, t2 - 1)
        tolerance = 5e-6 if dtype == "float32" else 1e-12
        for probabilities in (np.exp(ref.to_numpy(log_p)), ref.to_numpy(p)):
            total = probabilities.sum(axis=-1)
            np.testing.assert_allclose(total, 1, rtol=tolerance)


@pytest.mark.parametrize("t2", [1.2, 2.0])
def test_float32_has_the_digits_of_bisection(t2):
    rng = np.random.default_rng(1)
    logits = np.stack([*shapes_of_logits(10, rng)]).astype("float32")
    logits -= logits.max(axis=-1, keepdims=True)
    _, p, _ = module._tempered_softmax(ref.tensor(logits), t2 - 1)
    expected = tempered_softmax(logits, t2).astype("float64")
    np.testing.assert_allclose(ref.to_numpy(p), expected, rtol=5e-6, atol=1e-9)


def test_gradient_in_the_labels():
    actual = ref.gradient(
        lambda q: losses.bi_tempered_logistic(
            q, ref.tensor(ref.LOGITS), t1=0.5, t2=1.5, from_logits=True
        ),
        ref.SOFT.astype("float32"),
    )
    p = tempered_softmax(ref.LOGITS, 1.5)
    expected = tempered_log(np.asarray(ref.SOFT, "longdouble"), 0.5)
    np.testing.assert_allclose(
        actual,
        (expected - tempered_log(p, 0.5)).astype("float64"),
        rtol=1e-4,
        atol=1e-5,
    )
