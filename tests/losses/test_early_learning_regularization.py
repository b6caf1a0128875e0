"""Early-learning regularisation: `H(q, p) + weight log(1 - sum_k t_k p_k)`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref

TARGET = 0.9 * ref.softmax(ref.TEACHER)


def elr(q, z, target=TARGET, weight=3.0):
    target = ref.tensor(target.astype("float64"), "float32")
    return losses.early_learning_regularization(
        q, z, target=target, weight=weight, from_logits=True
    )


def oracle(q, logits):
    agreement = (TARGET * ref.softmax(logits)).sum(axis=-1)
    return ref.cross_entropy(q, logits) + 3 * np.log(1 - agreement)


def test_values_by_hand():
    # -log .75 + 3 log .5
    loss = losses.early_learning_regularization(
        [1], [[0.25, 0.75]], target=[[0.5, 0.5]], weight=3
    )
    np.testing.assert_allclose(loss, [0.2876821 - 3 * 0.6931472], rtol=1e-6)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels):
    ref.check(elr, oracle, labels, "float32")


def test_without_a_target_or_a_weight_it_is_cross_entropy():
    expected = ref.cross_entropy(ref.ONE_HOT, ref.LOGITS)
    ref.assert_close(elr(ref.IDS, ref.LOGITS, target=0 * TARGET), expected)
    ref.assert_close(elr(ref.IDS, ref.LOGITS, weight=0), expected)


def test_complete_agreement_is_bounded_and_without_gradient():
    z = np.array([[50.0, 0.0]], "float32")
    target = np.array([[1.0, 0.0]])
    loss = elr([0], z, target=target)
    ref.assert_close(loss, [3 * np.log(1e-4)])
    actual = ref.gradient(lambda z: elr([0], z, target=target), z)
    ref.assert_close(actual, [[0, 0]])


def test_the_target_is_a_constant():
    actual = ref.gradient(
        lambda t: (
            losses.early_learning_regularization(
                ref.IDS, ref.LOGITS, target=t, weight=3, from_logits=True
            )
            + 0 * t[:, 0]
        ),
        TARGET.astype("float32"),
    )
    np.testing.assert_array_equal(actual, 0)


def test_updated_target():
    new = losses.updated_target(TARGET.astype("float32"), ref.LOGITS, from_logits=True)
    ref.assert_close(new, 0.7 * TARGET + 0.3 * ref.softmax(ref.LOGITS))
    new = losses.updated_target([[0.0, 0.0]], [[0.25, 0.75]], momentum=0.9)
    ref.assert_close(new, [[0.025, 0.075]])
    with pytest.raises(ValueError, match=r"^updated_target: `momentum` must be"):
        losses.updated_target([[0.0, 0.0]], [[0.25, 0.75]], momentum=1.1)


def test_errors():
    with pytest.raises(ValueError, match=r"`weight` must be a number in \[0, inf\)"):
        elr(ref.IDS, ref.LOGITS, weight=-1)
    with pytest.raises(ValueError, match=r"`target` must have the shape of y_pred"):
        elr(ref.IDS, ref.LOGITS, target=TARGET[:, :4])
