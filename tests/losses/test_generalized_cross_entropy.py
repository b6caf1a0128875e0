"""Generalized cross-entropy: `(1 - p_y^q) / q`, constant where truncated."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def oracle(q, truncation=None):
    q = np.longdouble(q)

    def loss(labels, logits):
        p = ref.softmax(logits)
        if truncation is not None:
            p = np.maximum(p, truncation)
        return (labels * (1 - p**q) / q).sum(axis=-1)

    return loss


def test_values_by_hand():
    # (1 - sqrt(.25)) / .5 and (1 - .25)
    loss = losses.generalized_cross_entropy([0], [[0.25, 0.75]], q=0.5)
    np.testing.assert_allclose(loss, [1.0], rtol=1e-6)
    loss = losses.generalized_cross_entropy([0], [[0.25, 0.75]], q=1)
    np.testing.assert_allclose(loss, [0.75], rtol=1e-6)
    # The paper's q: (1 - .75^.7) / .7
    loss = losses.generalized_cross_entropy([1], [[0.25, 0.75]])
    np.testing.assert_allclose(loss, [0.2605660], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("q", [0.05, 0.7, 1.0])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, q, dtype):
    ref.check(
        lambda y, z: losses.generalized_cross_entropy(y, z, q=q, from_logits=True),
        oracle(q),
        labels,
        dtype,
    )


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("truncation", [0.01, 0.5])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_truncated(labels, truncation, dtype):
    ref.check(
        lambda y, z: losses.generalized_cross_entropy(
            y, z, truncation=truncation, from_logits=True
        ),
        oracle(0.7, truncation),
        labels,
        dtype,
    )


def test_truncated_by_hand():
    p = np.array([[0.4, 0.6], [0.6, 0.4], [0.9, 0.1]], "float32")
    loss = losses.generalized_cross_entropy([0, 0, 0], p, q=1, truncation=0.5)
    np.testing.assert_allclose(loss, [0.5, 0.4, 0.1], rtol=1e-6)
    gradient = ref.gradient(
        lambda p: losses.generalized_cross_entropy([0, 0, 0], p, q=1, truncation=0.5),
        p,
    )
    np.testing.assert_array_equal(gradient[0], [0, 0])
    assert np.all(gradient[1:, 0] < 0)


@pytest.mark.parametrize("q", [1e-30, 1e-12, 1e-6])
def test_small_q_tends_to_cross_entropy(q):
    loss = losses.generalized_cross_entropy(ref.IDS, ref.LOGITS, q=q, from_logits=True)
    expected = ref.cross_entropy(ref.ONE_HOT, ref.LOGITS)
    np.testing.assert_allclose(
        ref.to_numpy(loss), expected.astype("float64"), rtol=1e-4, atol=1e-6
    )
    actual = ref.gradient(
        lambda z: losses.generalized_cross_entropy(ref.IDS, z, q=q, from_logits=True),
        ref.LOGITS,
    )
    np.testing.assert_allclose(
        actual, (ref.softmax(ref.LOGITS) - ref.ONE_HOT).astype("float64"), atol=1e-4
    )


def test_q_of_one_is_half_of_the_mean_absolute_error():
    loss = losses.generalized_cross_entropy(ref.IDS, ref.LOGITS, q=1, from_logits=True)
    half = ref.to_numpy(
        losses.mean_absolute_error(ref.IDS, ref.LOGITS, from_logits=True)
    )
    ref.assert_close(loss, half / 2)


def test_finite_where_keras_is_not():
    """`p ** q` has an infinite slope at `p = 0`."""
    p = np.array([[0.0, 1.0]], "float32")
    actual = ref.gradient(lambda p: losses.generalized_cross_entropy([0], p), p)
    assert np.all(np.isfinite(actual))
    ref.assert_close(losses.generalized_cross_entropy([0], p), [1 / 0.7])
