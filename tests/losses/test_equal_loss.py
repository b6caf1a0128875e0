"""Equal Loss: `-(1 + e) log((p_y + e) / (1 + e))`."""

import math

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref

EPSILONS = [1e-30, 1e-8, 0.01, 0.4, 1.0, 1.5, 40.0]


def oracle(q, logits, epsilon):
    epsilon = np.longdouble(epsilon)
    p = ref.softmax(logits)
    return -(q * (1 + epsilon) * np.log((p + epsilon) / (1 + epsilon))).sum(axis=-1)


def test_values_by_hand():
    # -1.4 log(1.15 / 1.4).
    loss = losses.equal_loss([1], [[0.25, 0.75]], epsilon=0.4)
    np.testing.assert_allclose(loss, [0.2753939], rtol=1e-5)
    # -2 log(1.25 / 2).
    loss = losses.equal_loss([0], [[0.25, 0.75]], epsilon=1)
    np.testing.assert_allclose(loss, [-2 * np.log(0.625)], rtol=1e-6)
    # -3 log(2.25 / 3) and -3 log(2.75 / 3), weighted.
    loss = losses.equal_loss([[0.3, 0.7]], [[0.25, 0.75]], epsilon=2)
    expected = -0.9 * np.log(0.75) - 2.1 * np.log(2.75 / 3)
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_oracle(q, epsilon, dtype):
    z = ref.tensor(ref.LOGITS, dtype)
    loss = losses.equal_loss(q, z, epsilon=epsilon, from_logits=True)
    ref.assert_close(loss, oracle(q, ref.LOGITS, epsilon), dtype)


def test_probabilities():
    p = ref.softmax(ref.LOGITS).astype("float32")
    loss = losses.equal_loss(ref.IDS, p, epsilon=0.2)
    ref.assert_close(loss, oracle(ref.ONE_HOT, ref.LOGITS, 0.2))


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("epsilon", [0.0, *EPSILONS, 1e6, 1e30])
def test_gradient_is_cross_entropy_times_the_factor_of_equation_5(epsilon, dtype):
    actual = ref.gradient(
        lambda z: losses.equal_loss(ref.IDS, z, epsilon=epsilon, from_logits=True),
        ref.LOGITS.astype(dtype),
    )
    p = ref.softmax(ref.LOGITS)
    p_y = (p * ref.ONE_HOT).sum(axis=-1, keepdims=True)
    factor = (1 + np.longdouble(epsilon)) * p_y / (p_y + np.longdouble(epsilon))
    ref.assert_close(actual, factor * (p - ref.ONE_HOT), dtype)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("epsilon", [0.0, 0.4, 40.0])
def test_gradient_of_soft_labels(epsilon, dtype):
    actual = ref.gradient(
        lambda z: losses.equal_loss(ref.SOFT, z, epsilon=epsilon, from_logits=True),
        ref.LOGITS.astype(dtype),
    )
    p = ref.softmax(ref.LOGITS)
    factors = ref.SOFT * (1 + epsilon) * p / (p + epsilon)
    expected = sum(
        factors[:, [k]] * (p - np.eye(ref.NUM_CLASSES)[k])
        for k in range(ref.NUM_CLASSES)
    )
    ref.assert_close(actual, expected, dtype)


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 40.0])
def test_gradient_in_the_labels(epsilon):
    actual = ref.gradient(
        lambda q: losses.equal_loss(
            q, ref.tensor(ref.LOGITS), epsilon=epsilon, from_logits=True
        ),
        ref.SOFT.astype("float32"),
    )
    # A class at a time: the loss is linear in the labels.
    expected = [
        oracle(np.eye(ref.NUM_CLASSES)[[k]], ref.LOGITS, epsilon)
        for k in range(ref.NUM_CLASSES)
    ]
    ref.assert_close(actual, np.stack(expected, axis=-1))


def test_weighted_gradient():
    """The closed form multiplies by what comes from above."""
    weights = np.arange(len(ref.IDS), dtype="float32")

    def loss(z):
        per_example = losses.equal_loss(ref.IDS, z, epsilon=0.4, from_logits=True)
        return ref.tensor(weights) * per_example**2

    actual = ref.gradient(loss, ref.LOGITS)
    plain = ref.gradient(
        lambda z: losses.equal_loss(ref.IDS, z, epsilon=0.4, from_logits=True),
        ref.LOGITS,
    )
    value = oracle(ref.ONE_HOT, ref.LOGITS, 0.4)
    ref.assert_close(actual, (2 * weights * value)[:, None] * plain)


def test_no_relaxation_is_cross_entropy():
    z = ref.tensor(ref.LOGITS)
    loss = losses.equal_loss(ref.IDS, z, epsilon=0, from_logits=True)
    ref.assert_close(loss, ref.cross_entropy(ref.ONE_HOT, ref.LOGITS))
    far = np.array([[-100.0, 100.0]], "float32")
    ref.assert_close(losses.equal_loss([0], far, epsilon=0, from_logits=True), [200.0])


@pytest.mark.parametrize("epsilon", [1e6, 1e20, 1e37, 1e38, 1e39, 1e300])
def test_large_epsilon_tends_to_the_mean_absolute_error_and_keeps_its_digits(epsilon):
    logits = np.concatenate([ref.LOGITS, 20 * np.eye(5, dtype="float32")])
    ids = np.concatenate([ref.IDS, np.arange(5)])
    loss = losses.equal_loss(ids, ref.tensor(logits), epsilon=epsilon, from_logits=True)
    p = ref.softmax(logits)
    expected = 1 - p[np.arange(len(ids)), ids]
    # In float32 p itself is only known to 6e-8 near one.
    np.testing.assert_allclose(
        ref.to_numpy(loss), expected.astype("float64"), rtol=2e-6, atol=1.2e-7
    )
    actual = ref.gradient(
        lambda z: losses.equal_loss(ids, z, epsilon=epsilon, from_logits=True), logits
    )
    in_logits = p[np.arange(len(ids)), ids][:, None] * (p - np.eye(5)[ids])
    ref.assert_close(actual, in_logits)


@pytest.mark.parametrize("epsilon", [1e-36, 1e-6, 0.4, 3.0])
def test_probability_that_underflows(epsilon):
    z = np.array([[-100.0, 100.0, 0.0]], "float32")
    loss = losses.equal_loss([0], z, epsilon=epsilon, from_logits=True)
    expected = -(1 + epsilon) * (math.log(epsilon) - math.log1p(epsilon))
    ref.assert_close(loss, [expected])
    actual = ref.gradient(
        lambda z: losses.equal_loss([0], z, epsilon=epsilon, from_logits=True), z
    )
    ref.assert_close(actual, np.zeros((1, 3)))


@pytest.mark.parametrize("epsilon", [-0.1, math.inf, -math.inf, math.nan])
def test_bad_epsilon(epsilon):
    with pytest.raises(ValueError, match=r"equal_loss: `epsilon` must be .*Received"):
        losses.equal_loss([1], [[0.25, 0.75]], epsilon=epsilon)
    with pytest.raises(ValueError, match=r"EqualLoss: `epsilon` must be .*Received"):
        losses.EqualLoss(epsilon=epsilon)
