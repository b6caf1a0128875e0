"""Mean absolute error: `sum_k |q_k - p_k|`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def mean_absolute_error(q, z):
    return losses.mean_absolute_error(q, z, from_logits=True)


def oracle(q, logits):
    return np.abs(q - ref.softmax(logits)).sum(axis=-1)


def test_values_by_hand():
    loss = losses.mean_absolute_error([1, 0], [[0.25, 0.75], [0.25, 0.75]])
    np.testing.assert_allclose(loss, [0.5, 1.5], rtol=1e-6)
    # |.3 - .2| + |.7 - .3| + |0 - .5|
    loss = losses.mean_absolute_error([[0.3, 0.7, 0.0]], [[0.2, 0.3, 0.5]])
    np.testing.assert_allclose(loss, [1.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, dtype):
    ref.check(mean_absolute_error, oracle, labels, dtype)


def test_is_twice_the_complement_of_the_labelled_probability():
    p_y = ref.softmax(ref.LOGITS)[np.arange(16), ref.IDS]
    ref.assert_close(mean_absolute_error(ref.IDS, ref.LOGITS), 2 * (1 - p_y))


def test_symmetric_condition():
    """Summed over the labels it does not depend on the prediction."""
    total = sum(
        ref.to_numpy(mean_absolute_error(np.full(16, k), ref.LOGITS))
        for k in range(ref.NUM_CLASSES)
    )
    np.testing.assert_allclose(total, 2 * (ref.NUM_CLASSES - 1), rtol=1e-6)


def test_gradient_of_a_certain_prediction():
    """Where `p_y` rounds to one the gradient is a zero, not a sign."""
    z = np.array([[40.0, 0.0, 0.0], [0.0, 40.0, 0.0]], "float32")
    actual = ref.gradient(lambda z: mean_absolute_error([0, 0], z), z)
    ref.assert_close(actual, np.zeros((2, 3)))
