"""Normalized focal loss: `FL_y / sum_k FL_k`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref

NEAR = 3 * np.random.default_rng(11).normal(size=(16, 5)).astype("float32")


def oracle(gamma):
    def loss(q, logits):
        log_p = ref.log_softmax(logits)
        focal = -((-np.expm1(log_p)) ** gamma) * log_p
        return (q * focal).sum(axis=-1) / focal.sum(axis=-1)

    return loss


def test_values_by_hand():
    # sqrt(.25) * -log .75 = .1438410 and sqrt(.75) * -log .25 = 1.2005662
    loss = losses.normalized_focal([1], [[0.25, 0.75]])
    np.testing.assert_allclose(loss, [0.1438410 / 1.3444072], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("gamma", [0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, gamma, dtype):
    ref.check(
        lambda q, z: losses.normalized_focal(q, z, gamma=gamma, from_logits=True),
        oracle(gamma),
        labels,
        dtype,
        logits=NEAR,
    )


def test_confident_predictions():
    """In float32 the complement of a probability near one has few digits."""
    loss = losses.normalized_focal(ref.IDS, ref.LOGITS, from_logits=True)
    expected = oracle(0.5)(ref.ONE_HOT, ref.LOGITS)
    np.testing.assert_allclose(
        ref.to_numpy(loss), expected.astype("float64"), rtol=1e-3, atol=1e-6
    )


def test_no_focus_is_normalized_cross_entropy():
    loss = losses.normalized_focal(ref.SOFT, ref.LOGITS, gamma=0, from_logits=True)
    expected = losses.normalized_cross_entropy(ref.SOFT, ref.LOGITS, from_logits=True)
    ref.assert_close(loss, ref.to_numpy(expected))


def test_symmetric_condition():
    total = sum(
        ref.to_numpy(
            losses.normalized_focal(np.full(16, k), ref.LOGITS, from_logits=True)
        )
        for k in range(ref.NUM_CLASSES)
    )
    np.testing.assert_allclose(total, 1, rtol=1e-6)
