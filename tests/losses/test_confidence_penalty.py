"""Confidence penalty: `(1 - e) q - e p`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def target(q, epsilon):
    return (1 - epsilon) * q - epsilon * ref.softmax(ref.LOGITS)


def test_values_by_hand():
    # .8 (-log .75) - .2 H([.25, .75]), with H = 0.5623351.
    loss = losses.confidence_penalty([1], [[0.25, 0.75]], epsilon=0.2)
    np.testing.assert_allclose(loss, [0.8 * 0.2876821 - 0.2 * 0.5623351], rtol=1e-5)
    # Uniform over four classes: (.8 - .2) log 4.
    loss = losses.confidence_penalty([2], [[0.25] * 4], epsilon=0.2)
    np.testing.assert_allclose(loss, [0.6 * np.log(4)], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_oracle(q, epsilon, dtype):
    z = ref.tensor(ref.LOGITS, dtype)
    loss = losses.confidence_penalty(q, z, epsilon=epsilon, from_logits=True)
    expected = ref.cross_entropy(target(q, epsilon), ref.LOGITS)
    ref.assert_close(loss, expected, dtype)


def test_probabilities():
    p = ref.softmax(ref.LOGITS).astype("float32")
    loss = losses.confidence_penalty(ref.IDS, p, epsilon=0.2)
    expected = ref.cross_entropy(target(ref.ONE_HOT, 0.2), ref.LOGITS)
    ref.assert_close(loss, expected)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_gradient(q, dtype):
    actual = ref.gradient(
        lambda z: losses.confidence_penalty(q, z, epsilon=0.3, from_logits=True),
        ref.LOGITS.astype(dtype),
    )
    expected = 0.7 * (ref.softmax(ref.LOGITS) - q)
    expected -= 0.3 * ref.entropy_gradient(ref.LOGITS)
    ref.assert_close(actual, expected, dtype)


def test_no_weight_is_cross_entropy_and_all_weight_is_negative_entropy():
    z = ref.tensor(ref.LOGITS)
    loss = losses.confidence_penalty(ref.IDS, z, epsilon=0, from_logits=True)
    ref.assert_close(loss, ref.cross_entropy(ref.ONE_HOT, ref.LOGITS))
    loss = losses.confidence_penalty(ref.IDS, z, epsilon=1, from_logits=True)
    ref.assert_close(loss, -ref.entropy(ref.LOGITS))
    assert np.all(ref.to_numpy(loss) < 0)


def test_extreme_logits():
    z = np.array([[100.0, -100.0, 0.0], [-100.0, 100.0, 100.0]], "float32")
    loss = losses.confidence_penalty([1, 0], z, epsilon=0.3, from_logits=True)
    # H is 0 for the first and log 2 for the second.
    ref.assert_close(loss, [0.7 * 200, 0.7 * (200 + np.log(2)) - 0.3 * np.log(2)])
