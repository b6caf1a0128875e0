"""Active negative loss: `alpha NCE + beta NNCE`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref
from .test_normalized_cross_entropy import oracle as normalized
from .test_normalized_negative_cross_entropy import oracle as negative


def oracle(alpha, beta):
    return lambda q, z: alpha * normalized(q, z) + beta * negative(1e-7)(q, z)


def test_values_by_hand():
    # log .75 / (log .25 + log .75) + 1 - log(.75e7) / (log(.75e7) + log(.25e7))
    loss = losses.active_negative([1], [[0.25, 0.75]], alpha=1, beta=1)
    expected = 0.2876821 / 1.6739764 + 1 - 15.8304136 / 30.5622150
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("case", [(1.0, 1.0), (10.0, 0.5)])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, case, dtype):
    ref.check(
        lambda y, z: losses.active_negative(
            y, z, alpha=case[0], beta=case[1], from_logits=True
        ),
        oracle(*case),
        labels,
        dtype,
    )
