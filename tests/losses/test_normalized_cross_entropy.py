"""Normalized cross-entropy: `log p_y / sum_k log p_k`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def normalized(q, z):
    return losses.normalized_cross_entropy(q, z, from_logits=True)


def oracle(q, logits):
    log_p = ref.log_softmax(logits)
    return (q * log_p).sum(axis=-1) / log_p.sum(axis=-1)


def test_values_by_hand():
    # log .75 / (log .25 + log .75)
    loss = losses.normalized_cross_entropy([1], [[0.25, 0.75]])
    np.testing.assert_allclose(loss, [0.2876821 / 1.6739764], rtol=1e-6)
    loss = losses.normalized_cross_entropy([2], [[0.25, 0.25, 0.25, 0.25]])
    np.testing.assert_allclose(loss, [0.25], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, dtype):
    ref.check(normalized, oracle, labels, dtype)


def test_symmetric_condition():
    total = sum(
        ref.to_numpy(normalized(np.full(16, k), ref.LOGITS))
        for k in range(ref.NUM_CLASSES)
    )
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_far_logits():
    z = np.array([[1e4, -1e4, 0.0]], "float32")
    ref.assert_close(normalized([1], z), [2 / 3])
    ref.assert_close(normalized([0], z), [0])
