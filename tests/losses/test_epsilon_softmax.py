"""Epsilon-softmax: `alpha H(q, (p + m onehot(argmax p)) / (m + 1)) + beta MAE`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def oracle(m, alpha, beta):
    m = np.longdouble(m)

    def loss(q, logits):
        p = ref.softmax(logits)
        pushed = (p + m * ref.one_hot_argmax(p)) / (m + 1)
        absolute = np.abs(q - p).sum(axis=-1)
        return -alpha * (q * np.log(pushed)).sum(axis=-1) + beta * absolute

    return loss


def test_values_by_hand():
    # m = 1: p' = (.125, .875); -log .875 + .5 and -log .125 + 1.5
    loss = losses.epsilon_softmax([1, 0], [[0.25, 0.75]] * 2, m=1, alpha=1, beta=1)
    np.testing.assert_allclose(loss, [0.6335314, 3.5794415], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("case", [(0.0, 1.0, 0.0), (10.0, 0.5, 2.0), (1e5, 0.01, 5.0)])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, case, dtype):
    ref.check(
        lambda y, z: losses.epsilon_softmax(
            y, z, m=case[0], alpha=case[1], beta=case[2], from_logits=True
        ),
        oracle(*case),
        labels,
        dtype,
    )


def test_without_a_push_it_is_cross_entropy():
    loss = losses.epsilon_softmax(
        ref.IDS, ref.LOGITS, m=0, alpha=1, beta=0, from_logits=True
    )
    ref.assert_close(loss, ref.cross_entropy(ref.ONE_HOT, ref.LOGITS))


def test_large_push_keeps_its_digits():
    """The right class then has `(1 - p_c) / (m + 1)`, far below one."""
    z = np.array([[1.0, 0.0, 0.0]], "float32")
    loss = losses.epsilon_softmax([0], z, m=1e8, alpha=1, beta=0, from_logits=True)
    expected = (1 - ref.softmax(z)[0, 0]) / 1e8
    np.testing.assert_allclose(ref.to_numpy(loss), [float(expected)], rtol=1e-5)
