"""Joint optimisation: `KL(q || p) + alpha KL(prior || mean p) + beta H(p)`."""

import keras
import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref

ALPHA, BETA = 1.2, 0.8
PRIOR = np.array([0.3, 0.05, 0.25, 0.4, 0.0])


def joint(q, z, **arguments):
    arguments = {"alpha": ALPHA, "beta": BETA, "prior": PRIOR, **arguments}
    return losses.joint_optimization(q, z, from_logits=True, **arguments)


def divergence(a, b):
    """`KL(a || b)` of rows, in long double."""
    a, b = np.asarray(a, "longdouble"), np.asarray(b, "longdouble")
    ratio = np.where(a > 0, a, 1) / np.where(a > 0, b, 1)
    return (a * np.log(ratio)).sum(axis=-1)


def oracle(q, logits, prior=PRIOR):
    p = ref.softmax(logits)
    of_batch = divergence(prior, p.mean(axis=0))
    return divergence(q, p) + ALPHA * of_batch + BETA * ref.entropy(logits)


def oracle_gradient(q, logits, prior=PRIOR):
    """Derivative of the mean over the batch in the logits, times its size."""
    p = ref.softmax(logits)
    pull = prior / p.mean(axis=0)
    of_batch = -p * (pull - (p * pull).sum(axis=1, keepdims=True))
    return p - q + ALPHA * of_batch + BETA * ref.entropy_gradient(logits)


def test_values_by_hand():
    # -log .75 + .5 H(.75, .25); the mean is uniform.
    loss = losses.joint_optimization(
        [0, 1], [[0.75, 0.25], [0.25, 0.75]], alpha=1.2, beta=0.5
    )
    np.testing.assert_allclose(loss, 2 * [0.2876821 + 0.5 * 0.5623351], rtol=1e-6)
    # The mean is (.75, .25): 1.2 (log .5 - (log .75 + log .25) / 2).
    loss = losses.joint_optimization([0], [[0.75, 0.25]], alpha=1.2, beta=0)
    np.testing.assert_allclose(loss, [0.2876821 + 1.2 * 0.1438410], rtol=1e-6)


@pytest.mark.parametrize("labels", ["ids", "one hot", "soft"])
@pytest.mark.parametrize("dtype", ref.FLOATS)
def test_oracle(labels, dtype):
    y = {"ids": ref.IDS, "one hot": ref.ONE_HOT, "soft": ref.SOFT}[labels]
    q = ref.SOFT if labels == "soft" else ref.ONE_HOT
    if labels != "ids":
        y = ref.tensor(y, dtype)
    logits = ref.LOGITS.astype(dtype)
    ref.assert_close(joint(y, logits), oracle(q, logits), dtype)
    actual = ref.gradient(lambda z: joint(y, z), logits)
    expected = np.asarray(oracle_gradient(q, logits), "float64")
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-5)


def test_the_prior_is_uniform_by_default():
    uniform = np.full(ref.NUM_CLASSES, 1 / ref.NUM_CLASSES)
    actual = joint(ref.IDS, ref.LOGITS, prior=None)
    ref.assert_close(actual, oracle(ref.ONE_HOT, ref.LOGITS, uniform))


def test_alone_it_is_cross_entropy():
    actual = joint(ref.IDS, ref.LOGITS, alpha=0, beta=0)
    ref.assert_close(actual, ref.cross_entropy(ref.ONE_HOT, ref.LOGITS))


def test_a_class_that_nothing_is_predicted_as_has_a_gradient():
    # Its mean probability is exp(-100), and 0 in float32.
    z = np.array([[0, -100.0, 0, 0, 0]] * 3, "float32")
    y = [0, 0, 0]
    uniform = np.full(5, 0.2)
    ref.assert_close(joint(y, z, prior=None), oracle(np.eye(5)[y], z, uniform))
    actual = ref.gradient(lambda z: joint(y, z, prior=None, beta=0), z)
    assert np.isfinite(actual).all()
    # KL falls by alpha prior for each unit of the class's logits, which all rise.
    assert actual[:, 1].sum() == pytest.approx(-3 * ALPHA * 0.2, rel=1e-4)


def test_more_dimensions_are_one_batch():
    z = ref.LOGITS.reshape(4, 4, -1)
    actual = joint(ref.IDS.reshape(4, 4), z)
    ref.assert_close(ref.to_numpy(actual).reshape(-1), oracle(ref.ONE_HOT, ref.LOGITS))


@pytest.mark.tensorflow_only
def test_two_replicas_have_the_mean_of_the_global_batch(strategy):
    import tensorflow as tf

    # What a replica sees differs much.
    order = np.argsort(ref.LOGITS[:, 0])
    labels, logits = ref.IDS[order], ref.LOGITS[order]
    halves = iter([(labels[:8], logits[:8]), (labels[8:], logits[8:])])
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tuple(map(tf.constant, next(halves)))
    )

    def loss_and_gradient(value):
        y, z = value
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = joint(y, z)
            # Keras's share of a replica: the mean over its examples, halved.
            share = tf.reduce_mean(loss) / 2
        return loss, tape.gradient(share, z)

    run = tf.function(lambda values: strategy.run(loss_and_gradient, args=(values,)))
    loss, gradient = map(strategy.experimental_local_results, run(values))
    q = ref.ONE_HOT[order]
    ref.assert_close(np.concatenate(loss), oracle(q, logits))
    expected = np.asarray(oracle_gradient(q, logits) / len(q), "float64")
    actual = np.concatenate(gradient)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(ref.BACKEND != "torch", reason="torch.distributed")
def test_several_processes_are_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match=r"^joint_optimization is defined on the"):
        joint(ref.IDS, ref.LOGITS)


def test_configuration_and_presets():
    loss = losses.JointOptimization(alpha=0.5, beta=0.1, prior=PRIOR)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (again.alpha, again.beta, again.prior.tolist()) == (0.5, 0.1, PRIOR.tolist())
    preset = losses.JointOptimization.from_preset("cifar10, asymmetric")
    assert (preset.alpha, preset.beta, preset.prior) == (0.8, 0.4, None)


def test_errors():
    with pytest.raises(ValueError, match=r"`prior` must be of length 5, the number"):
        joint(ref.IDS, ref.LOGITS, prior=[0.5, 0.5])
    expected = r"`prior` must be a distribution .*: divide counts by their sum"
    with pytest.raises(ValueError, match=expected):
        joint(ref.IDS, ref.LOGITS, prior=[10, 20, 30, 20, 20])
