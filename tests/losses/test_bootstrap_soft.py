"""Soft bootstrapping: `(1 - e) q + e p`, with gradient through that `p`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def target(q, epsilon):
    return (1 - epsilon) * q + epsilon * ref.softmax(ref.LOGITS)


def test_values_by_hand():
    # .8 (-log .75) + .2 H([.25, .75]), with H = 0.5623351.
    loss = losses.bootstrap_soft([1], [[0.25, 0.75]], epsilon=0.2)
    np.testing.assert_allclose(loss, [0.8 * 0.2876821 + 0.2 * 0.5623351], rtol=1e-6)
    # The example of SPEC's target: q~ = [.76, .008, .232].
    p = np.array([[0.95, 0.01, 0.04]])
    loss = losses.bootstrap_soft([2], p, epsilon=0.8)
    expected = -np.array([0.76, 0.008, 0.232]) @ np.log(p[0])
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_oracle(q, epsilon, dtype):
    z = ref.tensor(ref.LOGITS, dtype)
    loss = losses.bootstrap_soft(q, z, epsilon=epsilon, from_logits=True)
    expected = ref.cross_entropy(target(q, epsilon), ref.LOGITS)
    ref.assert_close(loss, expected, dtype)


def test_probabilities():
    p = ref.softmax(ref.LOGITS).astype("float32")
    loss = losses.bootstrap_soft(ref.IDS, p, epsilon=0.2)
    expected = ref.cross_entropy(target(ref.ONE_HOT, 0.2), ref.LOGITS)
    ref.assert_close(loss, expected)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_gradient_goes_through_the_target(q, dtype):
    actual = ref.gradient(
        lambda z: losses.bootstrap_soft(q, z, epsilon=0.3, from_logits=True),
        ref.LOGITS.astype(dtype),
    )
    only_scaled = 0.7 * (ref.softmax(ref.LOGITS) - q)
    expected = only_scaled + 0.3 * ref.entropy_gradient(ref.LOGITS)
    ref.assert_close(actual, expected, dtype)
    assert np.abs(actual - only_scaled).max() > 0.01


def test_no_weight_is_cross_entropy_and_all_weight_is_entropy():
    z = ref.tensor(ref.LOGITS)
    loss = losses.bootstrap_soft(ref.IDS, z, epsilon=0, from_logits=True)
    ref.assert_close(loss, ref.cross_entropy(ref.ONE_HOT, ref.LOGITS))
    loss = losses.bootstrap_soft(ref.IDS, z, epsilon=1, from_logits=True)
    ref.assert_close(loss, ref.entropy(ref.LOGITS))


def test_extreme_logits():
    z = np.array([[100.0, -100.0, 0.0], [-100.0, 100.0, 100.0]], "float32")
    loss = losses.bootstrap_soft([1, 0], z, epsilon=0.3, from_logits=True)
    # H is 0 for the first and log 2 for the second.
    ref.assert_close(loss, [0.7 * 200, 0.7 * (200 + np.log(2)) + 0.3 * np.log(2)])
