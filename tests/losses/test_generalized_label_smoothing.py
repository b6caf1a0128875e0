"""Generalized label smoothing: `(1 - r) H(q, p) + r H(u, p)`."""

import numpy as np
import pytest

from keras_noisy import losses, noise

from . import reference as ref


def oracle(rate):
    return lambda q, z: ref.cross_entropy((1 - rate) * q + rate / ref.NUM_CLASSES, z)


def test_values_by_hand():
    # 1.5 * -log .75 - .5 * (-log .75 - log .25) / 2
    loss = losses.generalized_label_smoothing([1], [[0.25, 0.75]], smooth_rate=-0.5)
    np.testing.assert_allclose(loss, [0.4315231 - 0.4184941], rtol=1e-4)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("rate", [-2.0, -0.3, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, rate, dtype):
    ref.check(
        lambda y, z: losses.generalized_label_smoothing(
            y, z, smooth_rate=rate, from_logits=True
        ),
        oracle(rate),
        labels,
        dtype,
    )


def test_positive_rates_are_label_smoothing():
    loss = losses.generalized_label_smoothing(
        ref.IDS, ref.LOGITS, smooth_rate=0.3, from_logits=True
    )
    expected = losses.label_smoothing(
        ref.IDS, ref.LOGITS, epsilon=0.3, from_logits=True
    )
    ref.assert_close(loss, ref.to_numpy(expected))


def test_a_negative_rate_is_backward_correction_of_symmetric_noise():
    rate = -0.4 * 5 / (4 - 0.4 * 5)
    loss = losses.generalized_label_smoothing(
        ref.IDS, ref.LOGITS, smooth_rate=rate, from_logits=True
    )
    expected = losses.backward_correction(
        ref.IDS, ref.LOGITS, transition_matrix=noise.symmetric(5, 0.4), from_logits=True
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-4)
