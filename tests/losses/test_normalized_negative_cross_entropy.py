"""Normalized negative cross-entropy: `1 - m_y / sum_k m_k`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref

NEAR = ref.LOGITS / 4


def oracle(min_probability):
    floor = np.log(np.longdouble(min_probability))

    def loss(q, logits):
        above = np.maximum(ref.log_softmax(logits) - floor, 0)
        return 1 - (q * above).sum(axis=-1) / above.sum(axis=-1)

    return loss


def test_values_by_hand():
    # log(.75 / .01) = 4.3174881 and log(.25 / .01) = 3.2188758
    loss = losses.normalized_negative_cross_entropy(
        [1], [[0.25, 0.75]], min_probability=0.01
    )
    np.testing.assert_allclose(loss, [1 - 4.3174881 / 7.5363639], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("floor", [1e-7, 1e-3])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, floor, dtype):
    ref.check(
        lambda y, z: losses.normalized_negative_cross_entropy(
            y, z, min_probability=floor, from_logits=True
        ),
        oracle(floor),
        labels,
        dtype,
    )


def test_symmetric_condition():
    total = sum(
        ref.to_numpy(
            losses.normalized_negative_cross_entropy(
                np.full(16, k), ref.LOGITS, from_logits=True
            )
        )
        for k in range(ref.NUM_CLASSES)
    )
    np.testing.assert_allclose(total, ref.NUM_CLASSES - 1, rtol=1e-6)


def test_below_the_floor_the_label_has_no_gradient():
    z = np.array([[0.0, 30.0, 0.0]], "float32")
    gradient = ref.gradient(
        lambda z: losses.normalized_negative_cross_entropy([0], z, from_logits=True), z
    )
    np.testing.assert_allclose(gradient[0, 0], 0, atol=1e-7)
