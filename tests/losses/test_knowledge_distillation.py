"""Knowledge distillation: `(1 - e) q + e p_teacher`, softened by the temperature."""

import math

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def distil(q, z, teacher=ref.TEACHER, **kwargs):
    return losses.knowledge_distillation(
        q, z, teacher_pred=teacher, from_logits=True, **kwargs
    )


def oracle(q, epsilon, temperature):
    teacher = ref.softmax(ref.TEACHER / np.longdouble(temperature))
    student = ref.LOGITS / np.longdouble(temperature)
    return (1 - epsilon) * ref.cross_entropy(
        q, ref.LOGITS
    ) + epsilon * temperature**2 * ref.cross_entropy(teacher, student)


def test_values_by_hand():
    # Target [.1, .9]: -.1 log .25 - .9 log .75.
    loss = losses.knowledge_distillation(
        [1], [[0.25, 0.75]], teacher_pred=[[0.5, 0.5]], epsilon=0.2
    )
    np.testing.assert_allclose(loss, [0.3975433], rtol=1e-6)
    # s = 2 takes square roots: student [1, sqrt 3] / (1 + sqrt 3), teacher
    # [4/5, 1/5] -> [2/3, 1/3].
    loss = losses.knowledge_distillation(
        [1],
        [[0.25, 0.75]],
        teacher_pred=[[0.8, 0.2]],
        epsilon=1,
        temperature=2.0,
    )
    total = 1 + math.sqrt(3)
    expected = 4 * (math.log(total) - math.log(math.sqrt(3)) / 3)
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_oracle(q, epsilon, temperature, dtype):
    loss = distil(
        q,
        ref.tensor(ref.LOGITS, dtype),
        teacher=ref.tensor(ref.TEACHER, dtype),
        epsilon=epsilon,
        temperature=temperature,
    )
    ref.assert_close(loss, oracle(q, epsilon, temperature), dtype)


def test_temperature_one_is_cross_entropy_to_the_mixed_target():
    loss = distil(ref.IDS, ref.LOGITS, epsilon=0.3)
    target = 0.7 * ref.ONE_HOT + 0.3 * ref.softmax(ref.TEACHER)
    ref.assert_close(loss, ref.cross_entropy(target, ref.LOGITS))


def test_probabilities():
    loss = losses.knowledge_distillation(
        ref.IDS,
        ref.softmax(ref.LOGITS).astype("float32"),
        teacher_pred=ref.softmax(ref.TEACHER).astype("float32"),
        epsilon=0.3,
        temperature=3.0,
    )
    ref.assert_close(loss, oracle(ref.ONE_HOT, 0.3, 3.0))


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradient(temperature, dtype):
    actual = ref.gradient(
        lambda z: distil(
            ref.IDS,
            z,
            teacher=ref.TEACHER.astype(dtype),
            epsilon=0.3,
            temperature=temperature,
        ),
        ref.LOGITS.astype(dtype),
    )
    soft = ref.softmax(ref.LOGITS / np.longdouble(temperature))
    teacher = ref.softmax(ref.TEACHER / np.longdouble(temperature))
    expected = 0.7 * (ref.softmax(ref.LOGITS) - ref.ONE_HOT)
    expected += 0.3 * temperature * (soft - teacher)
    ref.assert_close(actual, expected, dtype)


def test_teacher_is_a_constant():
    # Adding the teacher times zero connects the graph where it is cut, or else
    # backends without a path complain instead of answering zero.
    actual = ref.gradient(
        lambda teacher: (
            distil(ref.IDS, ref.LOGITS, teacher=teacher, epsilon=0.3)
            + 0 * teacher[:, 0]
        ),
        ref.TEACHER,
    )
    np.testing.assert_array_equal(actual, np.zeros_like(ref.TEACHER))


def test_extreme_logits():
    z = np.array([[100.0, -100.0, 0.0]], "float32")
    loss = distil([1], z, teacher=-z, epsilon=0.25, temperature=2.0)
    ref.assert_close(loss, [0.75 * 200 + 0.25 * 4 * 100])
    actual = ref.gradient(
        lambda z: distil([1], z, teacher=-z, epsilon=0.25, temperature=2.0), z
    )
    ref.assert_close(actual, [[0.75 + 0.5, -0.75 - 0.5, 0]])


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, 1e-30, 1e30])
def test_bad_temperature(value):
    with pytest.raises(
        ValueError, match="knowledge_distillation: `temperature` must be"
    ):
        distil(ref.IDS, ref.LOGITS, epsilon=0.3, temperature=value)


def test_bad_epsilon():
    with pytest.raises(ValueError, match="knowledge_distillation: `epsilon` must be"):
        distil(ref.IDS, ref.LOGITS, epsilon=1.3)


@pytest.mark.parametrize("shape", [(1, 5), (16, 4), (16,), (16, 1, 5)])
def test_teacher_of_another_shape(shape):
    with pytest.raises(ValueError, match="`teacher_pred` must have the shape of"):
        distil(ref.IDS, ref.LOGITS, teacher=np.ones(shape, "float32"), epsilon=0.3)


@pytest.mark.tensorflow_only
def test_unknown_batch_dimension():
    import tensorflow as tf

    spec = tf.TensorSpec((None, 5), tf.float32)
    loss = tf.function(
        lambda z: distil(ref.IDS, z, epsilon=0.3, temperature=2.0),
        input_signature=[spec],
    )
    ref.assert_close(loss(ref.LOGITS), oracle(ref.ONE_HOT, 0.3, 2.0))
