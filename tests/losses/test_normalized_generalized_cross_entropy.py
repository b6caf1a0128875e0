"""Normalized generalized cross-entropy: `(1 - p_y^q) / (C - sum_k p_k^q)`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def oracle(q):
    q = np.longdouble(q)

    def loss(labels, logits):
        terms = 1 - ref.softmax(logits) ** q
        return (labels * terms).sum(axis=-1) / terms.sum(axis=-1)

    return loss


def test_values_by_hand():
    # q = 1: (1 - .75) / (2 - 1)
    loss = losses.normalized_generalized_cross_entropy([1], [[0.25, 0.75]], q=1)
    np.testing.assert_allclose(loss, [0.25], rtol=1e-6)
    # q = 1/2: (1 - .5) / (2 - .5 - sqrt(.75))
    loss = losses.normalized_generalized_cross_entropy([0], [[0.25, 0.75]], q=0.5)
    np.testing.assert_allclose(loss, [0.5 / 0.6339746], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, q, dtype):
    ref.check(
        lambda y, z: losses.normalized_generalized_cross_entropy(
            y, z, q=q, from_logits=True
        ),
        oracle(q),
        labels,
        dtype,
    )


def test_small_q_tends_to_normalized_cross_entropy():
    loss = losses.normalized_generalized_cross_entropy(
        ref.IDS, ref.LOGITS, q=1e-9, from_logits=True
    )
    expected = losses.normalized_cross_entropy(ref.IDS, ref.LOGITS, from_logits=True)
    ref.assert_close(loss, ref.to_numpy(expected))


def test_symmetric_condition():
    total = sum(
        ref.to_numpy(
            losses.normalized_generalized_cross_entropy(
                np.full(16, k), ref.LOGITS, from_logits=True
            )
        )
        for k in range(ref.NUM_CLASSES)
    )
    np.testing.assert_allclose(total, 1, rtol=1e-6)
