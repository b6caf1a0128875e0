"""Hard bootstrapping: `(1 - e) q + e onehot(argmax p)`, the argmax a constant."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def target(q, epsilon, logits=ref.LOGITS):
    return (1 - epsilon) * q + epsilon * ref.one_hot_argmax(logits)


def test_values_by_hand():
    # The label is the argmax: -log .75 whatever epsilon.
    for epsilon in (0.0, 0.2, 1.0):
        loss = losses.bootstrap_hard([1], [[0.25, 0.75]], epsilon=epsilon)
        np.testing.assert_allclose(loss, [0.2876821], rtol=1e-6)
    # It is not: -.8 log .25 - .2 log .75.
    loss = losses.bootstrap_hard([0], [[0.25, 0.75]], epsilon=0.2)
    np.testing.assert_allclose(loss, [0.8 * 1.3862944 + 0.2 * 0.2876821], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_oracle(q, epsilon, dtype):
    z = ref.tensor(ref.LOGITS, dtype)
    loss = losses.bootstrap_hard(q, z, epsilon=epsilon, from_logits=True)
    expected = ref.cross_entropy(target(q, epsilon), ref.LOGITS)
    ref.assert_close(loss, expected, dtype)


def test_probabilities():
    p = ref.softmax(ref.LOGITS).astype("float32")
    loss = losses.bootstrap_hard(ref.IDS, p, epsilon=0.2)
    expected = ref.cross_entropy(target(ref.ONE_HOT, 0.2), ref.LOGITS)
    ref.assert_close(loss, expected)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_gradient_with_the_argmax_constant(q, dtype):
    actual = ref.gradient(
        lambda z: losses.bootstrap_hard(q, z, epsilon=0.3, from_logits=True),
        ref.LOGITS.astype(dtype),
    )
    ref.assert_close(actual, ref.softmax(ref.LOGITS) - target(q, 0.3), dtype)


# With epsilon 1 the label does not count and the gradient shows the target.
@pytest.mark.parametrize(
    ("logits", "chosen"),
    [
        ([1.0, 3.0, 3.0, 0.0], 1),
        ([0.0, 0.0, 0.0, 0.0], 0),
        ([-2.0, -5.0, -9.0, -2.0], 0),
    ],
)
def test_ties_go_to_the_lowest_class(logits, chosen):
    logits = np.array([logits], "float32")
    actual = ref.gradient(
        lambda z: losses.bootstrap_hard([2], z, epsilon=1, from_logits=True), logits
    )
    ref.assert_close(actual, ref.softmax(logits) - np.eye(4)[[chosen]])
    p = ref.softmax(logits).astype("float32")
    loss = losses.bootstrap_hard([2], p, epsilon=1)
    ref.assert_close(loss, -np.log(p.max(axis=1)))


def test_ties_of_probabilities():
    p = np.array([[0.2, 0.4, 0.4]], "float32")
    actual = ref.gradient(lambda p: losses.bootstrap_hard([0], p, epsilon=1), p)
    # -1/p of the chosen class only, and the 1 that normalising adds.
    ref.assert_close(actual, [[1.0, 1 - 1 / 0.4, 1.0]])


def test_extreme_logits():
    z = np.array([[100.0, -100.0, 0.0], [-100.0, 100.0, 100.0]], "float32")
    loss = losses.bootstrap_hard([1, 0], z, epsilon=0.3, from_logits=True)
    ref.assert_close(loss, [0.7 * 200, 0.7 * 200 + np.log(2)])
