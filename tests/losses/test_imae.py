"""IMAE: derivative manipulation with `exp(T p_y (1 - p_y))`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


@pytest.mark.parametrize("temperature", [0.0, 8.0])
def test_is_derivative_manipulation(temperature):
    loss = losses.imae(ref.IDS, ref.LOGITS, temperature=temperature, from_logits=True)
    expected = losses.derivative_manipulation(
        ref.IDS, ref.LOGITS, beta=temperature, lambda_=1, from_logits=True
    )
    ref.assert_close(loss, ref.to_numpy(expected))


def test_values_by_hand():
    # p_y (1 - p_y) = .1875 for both, so they weigh the same.
    loss = losses.imae([1, 0], [[0.25, 0.75]] * 2, temperature=8.0)
    np.testing.assert_allclose(loss, [0.5753641, 0.9241963], rtol=1e-6)
