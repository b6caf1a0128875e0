"""Derivative manipulation: `||d loss / d z||_1` is set directly."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref

NEAR = ref.LOGITS[:8]
IDS = ref.IDS[:8]


def weights(beta, lambda_, logits=NEAR, ids=IDS):
    p_y = ref.softmax(logits)[np.arange(len(ids)), ids]
    weight = np.exp(beta * p_y**lambda_ * (1 - p_y))
    return weight / weight.mean()


@pytest.mark.parametrize(("beta", "lambda_"), [(0, 1), (4, 0), (8, 0.5), (12, 2)])
def test_derivative(beta, lambda_):
    """Its L1 norm is the weight, its direction that of cross-entropy."""
    actual = ref.gradient(
        lambda z: losses.derivative_manipulation(
            IDS, z, beta=beta, lambda_=lambda_, from_logits=True
        ),
        NEAR,
    )
    plain = ref.softmax(NEAR) - np.eye(5)[IDS]
    direction = plain / np.abs(plain).sum(axis=-1, keepdims=True)
    ref.assert_close(actual, weights(beta, lambda_)[:, None] * direction)


def test_values_by_hand():
    # p_y = .75 and .25, no emphasis: -log .75 / .5 and -log .25 / 1.5
    loss = losses.derivative_manipulation([1, 0], [[0.25, 0.75]] * 2, beta=0, lambda_=1)
    np.testing.assert_allclose(loss, [0.5753641, 0.9241963], rtol=1e-6)


def test_depends_on_the_batch():
    def loss(part):
        value = losses.derivative_manipulation(
            IDS[part], NEAR[part], beta=8, lambda_=1, from_logits=True
        )
        return ref.to_numpy(value)

    assert not np.allclose(loss(slice(8))[:4], loss(slice(4)))


def test_emphasis_is_largest_where_documented():
    p = np.linspace(0.01, 0.99, 981)
    for lambda_ in (0.5, 1, 2):
        weight = np.exp(4 * p**lambda_ * (1 - p))
        assert p[np.argmax(weight)] == pytest.approx(lambda_ / (lambda_ + 1), abs=2e-3)


def test_an_example_that_is_fitted_exactly_has_no_direction():
    z = np.array([[200.0, 0.0], [0.0, 0.0]], "float32")
    actual = ref.gradient(
        lambda z: losses.derivative_manipulation(
            [0, 0], z, beta=4, lambda_=1, from_logits=True
        ),
        z,
    )
    np.testing.assert_array_equal(actual[0], [0, 0])
    assert np.abs(actual[1]).sum() > 0.5


@pytest.mark.tensorflow_only
def test_two_replicas_use_the_mean_of_both(strategy):
    import tensorflow as tf

    halves = iter([(IDS[:4], NEAR[:4]), (IDS[4:], NEAR[4:])])
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tuple(map(tf.constant, next(halves)))
    )

    @tf.function
    def run(values):
        return strategy.run(
            lambda value: losses.derivative_manipulation(
                *value, beta=8, lambda_=1, from_logits=True
            ),
            args=(values,),
        )

    parts = strategy.experimental_local_results(run(values))
    expected = losses.derivative_manipulation(
        IDS, NEAR, beta=8, lambda_=1, from_logits=True
    )
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-5)


@pytest.mark.skipif(ref.BACKEND != "torch", reason="torch.distributed")
def test_several_processes_are_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match=r"^derivative_manipulation is defined on"):
        losses.derivative_manipulation(IDS, NEAR, beta=8, lambda_=1, from_logits=True)
