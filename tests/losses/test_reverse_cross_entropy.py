"""Reverse cross-entropy: `-sum_k p_k max(log q_k, A)`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def oracle(log_zero):
    def loss(q, logits):
        with np.errstate(divide="ignore"):
            log_q = np.maximum(np.log(np.asarray(q, "longdouble")), log_zero)
        return -(ref.softmax(logits) * log_q).sum(axis=-1)

    return loss


def test_values_by_hand():
    # 4 (1 - .75), and -.4 log .3 - .1 log .7 + 4 * .5
    loss = losses.reverse_cross_entropy([1], [[0.25, 0.75]])
    np.testing.assert_allclose(loss, [1.0], rtol=1e-6)
    loss = losses.reverse_cross_entropy([[0.3, 0.7, 0.0]], [[0.4, 0.1, 0.5]])
    np.testing.assert_allclose(loss, [0.4815891 + 0.0356675 + 2], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("log_zero", [-4.0, -1.0, -9.21])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, log_zero, dtype):
    ref.check(
        lambda q, z: losses.reverse_cross_entropy(
            q, z, log_zero=log_zero, from_logits=True
        ),
        oracle(log_zero),
        labels,
        dtype,
    )


def test_is_proportional_to_the_mean_absolute_error():
    loss = losses.reverse_cross_entropy(
        ref.IDS, ref.LOGITS, log_zero=-6, from_logits=True
    )
    mae = losses.mean_absolute_error(ref.IDS, ref.LOGITS, from_logits=True)
    ref.assert_close(loss, 3 * ref.to_numpy(mae))


def test_symmetric_condition():
    total = sum(
        ref.to_numpy(
            losses.reverse_cross_entropy(np.full(16, k), ref.LOGITS, from_logits=True)
        )
        for k in range(ref.NUM_CLASSES)
    )
    np.testing.assert_allclose(total, 4 * (ref.NUM_CLASSES - 1), rtol=1e-5)


def test_labels_near_zero_do_not_jump():
    p = np.array([[0.25, 0.75]], "float32")
    exact = losses.reverse_cross_entropy([[0.0, 1.0]], p)
    near = losses.reverse_cross_entropy([[1e-30, 1.0]], p)
    ref.assert_close(near, ref.to_numpy(exact))


def test_gradient_in_the_labels_is_finite():
    actual = ref.gradient(
        lambda q: losses.reverse_cross_entropy(q, ref.LOGITS, from_logits=True),
        ref.ONE_HOT.astype("float32"),
    )
    assert np.all(np.isfinite(actual))
