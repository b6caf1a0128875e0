"""D2L: `alpha q + (1 - alpha) onehot(argmax p)`, the argmax a constant."""

import numpy as np
import pytest
from keras import ops

from keras_noisy import losses

from . import reference as ref


def target(q, alpha):
    return alpha * q + (1 - alpha) * ref.one_hot_argmax(ref.LOGITS)


def test_values_by_hand():
    # The label is the argmax: -log .75 whatever alpha.
    for alpha in (0.0, 0.8, 1.0):
        loss = losses.dimensionality_driven([1], [[0.25, 0.75]], alpha=alpha)
        np.testing.assert_allclose(loss, [0.2876821], rtol=1e-6)
    # It is not: -.8 log .25 - .2 log .75.
    loss = losses.dimensionality_driven([0], [[0.25, 0.75]], alpha=0.8)
    np.testing.assert_allclose(loss, [0.8 * 1.3862944 + 0.2 * 0.2876821], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_oracle(q, alpha, dtype):
    z = ref.tensor(ref.LOGITS, dtype)
    loss = losses.dimensionality_driven(q, z, alpha=alpha, from_logits=True)
    ref.assert_close(loss, ref.cross_entropy(target(q, alpha), ref.LOGITS), dtype)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_gradient_with_the_argmax_constant(q, dtype):
    actual = ref.gradient(
        lambda z: losses.dimensionality_driven(q, z, alpha=0.7, from_logits=True),
        ref.LOGITS.astype(dtype),
    )
    ref.assert_close(actual, ref.softmax(ref.LOGITS) - target(q, 0.7), dtype)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_is_hard_bootstrapping(alpha):
    arguments = (ref.IDS, ref.LOGITS.astype("float32"))
    loss = losses.dimensionality_driven(*arguments, alpha=alpha, from_logits=True)
    other = losses.bootstrap_hard(*arguments, epsilon=1 - alpha, from_logits=True)
    ref.assert_close(loss, other)


def test_alpha_may_be_a_tensor():
    z = ref.LOGITS.astype("float32")
    alpha = ops.convert_to_tensor(0.3, "float32")
    loss = losses.dimensionality_driven(ref.IDS, z, alpha=alpha, from_logits=True)
    ref.assert_close(loss, ref.cross_entropy(target(ref.ONE_HOT, 0.3), ref.LOGITS))
