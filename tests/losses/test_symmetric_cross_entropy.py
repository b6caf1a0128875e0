"""Symmetric cross-entropy: `alpha CE + beta RCE`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref
from .test_reverse_cross_entropy import oracle as reverse


def oracle(alpha, beta, log_zero):
    return lambda q, z: alpha * ref.cross_entropy(q, z) + beta * reverse(log_zero)(q, z)


def test_values_by_hand():
    # .1 * -log .75 + 4 * .25
    loss = losses.symmetric_cross_entropy([1], [[0.25, 0.75]], alpha=0.1, beta=1)
    np.testing.assert_allclose(loss, [0.02876821 + 1], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 1.0), (6.0, 0.1), (0.0, 2.0)])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, alpha, beta, dtype):
    ref.check(
        lambda q, z: losses.symmetric_cross_entropy(
            q, z, alpha=alpha, beta=beta, log_zero=-5, from_logits=True
        ),
        oracle(alpha, beta, -5),
        labels,
        dtype,
    )


def test_without_the_reverse_it_is_cross_entropy():
    loss = losses.symmetric_cross_entropy(
        ref.SOFT, ref.LOGITS, alpha=1, beta=0, from_logits=True
    )
    ref.assert_close(loss, ref.cross_entropy(ref.SOFT, ref.LOGITS))
