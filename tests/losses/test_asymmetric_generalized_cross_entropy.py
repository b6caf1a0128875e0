"""Asymmetric GCE: `((a + 1)^q - (a + p_y)^q) / q`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def oracle(a, q):
    a, q = np.longdouble(a), np.longdouble(q)
    return lambda labels, z: (
        labels * ((a + 1) ** q - (a + ref.softmax(z)) ** q) / q
    ).sum(axis=-1)


def test_values_by_hand():
    # (2^2 - 1.75^2) / 2
    loss = losses.asymmetric_generalized_cross_entropy([1], [[0.25, 0.75]], a=1, q=2)
    np.testing.assert_allclose(loss, [0.46875], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize(
    "case", [(0.6, 0.6), (4.0, 0.2), (6.0, 1.5), (1.8, 3.0), (1e-5, 0.5)]
)
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, case, dtype):
    ref.check(
        lambda y, z: losses.asymmetric_generalized_cross_entropy(
            y, z, a=case[0], q=case[1], from_logits=True
        ),
        oracle(*case),
        labels,
        dtype,
    )


def test_small_lift_tends_to_generalized_cross_entropy():
    loss = losses.asymmetric_generalized_cross_entropy(
        ref.IDS, ref.LOGITS, a=1e-30, q=0.7, from_logits=True
    )
    expected = losses.generalized_cross_entropy(ref.IDS, ref.LOGITS, from_logits=True)
    ref.assert_close(loss, ref.to_numpy(expected))


def test_large_lift_keeps_its_digits():
    """There it is `1 - p_y` times a constant."""
    loss = losses.asymmetric_generalized_cross_entropy(
        ref.IDS, ref.LOGITS, a=1e6, q=2, from_logits=True
    )
    p_y = ref.softmax(ref.LOGITS)[np.arange(16), ref.IDS]
    expected = 1e6 * (1 - p_y)
    np.testing.assert_allclose(
        ref.to_numpy(loss), expected.astype("float64"), rtol=1e-5, atol=0.2
    )
