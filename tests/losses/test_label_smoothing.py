"""Label smoothing: `(1 - e) q + e u`."""

import numpy as np
import pytest
from keras import ops

from keras_noisy import losses

from . import reference as ref


def target(q, epsilon):
    return (1 - epsilon) * q + epsilon / ref.NUM_CLASSES


def test_values_by_hand():
    # Target [.1, .9]: -.1 log .25 - .9 log .75.
    loss = losses.label_smoothing([1], [[0.25, 0.75]], epsilon=0.2)
    np.testing.assert_allclose(loss, [0.3975433], rtol=1e-6)
    # p = [1/4, 1/4, 1/2], target [.1, .8, .1].
    loss = losses.label_smoothing(
        [1], [[0.0, 0.0, np.log(2)]], epsilon=0.3, from_logits=True
    )
    expected = 0.9 * np.log(4) + 0.1 * np.log(2)
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_oracle(q, epsilon, dtype):
    z = ref.tensor(ref.LOGITS, dtype)
    loss = losses.label_smoothing(q, z, epsilon=epsilon, from_logits=True)
    expected = ref.cross_entropy(target(q, epsilon), ref.LOGITS)
    ref.assert_close(loss, expected, dtype)


def test_probabilities():
    p = ref.softmax(ref.LOGITS).astype("float32")
    loss = losses.label_smoothing(ref.IDS, p, epsilon=0.2)
    expected = ref.cross_entropy(target(ref.ONE_HOT, 0.2), ref.LOGITS)
    ref.assert_close(loss, expected)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_gradient(q, dtype):
    actual = ref.gradient(
        lambda z: losses.label_smoothing(q, z, epsilon=0.3, from_logits=True),
        ref.LOGITS.astype(dtype),
    )
    ref.assert_close(actual, ref.softmax(ref.LOGITS) - target(q, 0.3), dtype)


def test_no_weight_is_cross_entropy_and_all_weight_ignores_the_label():
    z = ref.tensor(ref.LOGITS)
    loss = losses.label_smoothing(ref.IDS, z, epsilon=0, from_logits=True)
    ref.assert_close(loss, ref.cross_entropy(ref.ONE_HOT, ref.LOGITS))
    a = losses.label_smoothing(ref.IDS, z, epsilon=1, from_logits=True)
    b = losses.label_smoothing(0 * ref.IDS, z, epsilon=1, from_logits=True)
    np.testing.assert_array_equal(ref.to_numpy(a), ref.to_numpy(b))


def test_agrees_with_keras():
    import keras

    keras_loss = keras.losses.categorical_crossentropy(
        ref.tensor(ref.ONE_HOT, "float32"),
        ref.tensor(ref.LOGITS),
        from_logits=True,
        label_smoothing=0.3,
    )
    loss = losses.label_smoothing(
        ref.IDS, ref.tensor(ref.LOGITS), epsilon=0.3, from_logits=True
    )
    ref.assert_close(loss, ref.to_numpy(keras_loss))


def test_extreme_logits():
    z = np.array([[100.0, -100.0, 0.0], [-100.0, 100.0, 100.0]], "float32")
    loss = losses.label_smoothing([1, 0], z, epsilon=0.3, from_logits=True)
    q = np.eye(3)[[1, 0]]
    ref.assert_close(loss, ref.cross_entropy(0.7 * q + 0.1, z))
    assert ops.all(ops.isfinite(loss))
