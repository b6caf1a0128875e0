"""Asymmetric exponential loss: `exp(-p_y / a)`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def oracle(a):
    return lambda q, z: (q * np.exp(-ref.softmax(z) / np.longdouble(a))).sum(axis=-1)


def test_values_by_hand():
    # exp(-.75 / 2.5)
    loss = losses.asymmetric_exponential([1], [[0.25, 0.75]], a=2.5)
    np.testing.assert_allclose(loss, [0.7408182], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("a", [0.3, 1.5, 5.0])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, a, dtype):
    ref.check(
        lambda y, z: losses.asymmetric_exponential(y, z, a=a, from_logits=True),
        oracle(a),
        labels,
        dtype,
    )
