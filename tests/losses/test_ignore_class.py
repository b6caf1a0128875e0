"""`ignore_class`: labels that do not count, with Keras's meaning and division."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import losses, training

from . import reference as ref

P_OF_LABEL = np.array([0.5, 0.2, 0.3, 0.25, 0.23793, 0.9], "float32")
Y_PRED = np.stack([1 - P_OF_LABEL, P_OF_LABEL], axis=-1)
IDS = np.array([1, 1, 1, 1, 1, 255])


def cross_entropy(**kwargs):
    return losses.LabelSmoothing(epsilon=0.0, **kwargs)


def test_division_is_that_of_keras():
    weights = (IDS != 255).astype("float32")
    theirs = keras.losses.SparseCategoricalCrossentropy
    ignored = float(theirs(ignore_class=255)(IDS, Y_PRED))
    weighed = float(theirs()(np.where(IDS == 255, 0, IDS), Y_PRED, weights))
    assert (round(ignored, 4), round(weighed, 4)) == (1.2657, 1.0548)
    ours = float(cross_entropy(ignore_class=255)(IDS, Y_PRED))
    assert ours == pytest.approx(ignored, rel=1e-6)
    ours = float(cross_entropy()(np.where(IDS == 255, 0, IDS), Y_PRED, weights))
    assert ours == pytest.approx(weighed, rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (2, 3, 1)])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", None])
def test_sequences_and_maps(shape, reduction):
    rng = np.random.default_rng(0)
    ids = rng.choice([0, 1, 2, 255], shape)
    logits = rng.normal(size=(*shape, 3)).astype("float32")
    weights = rng.random(shape).astype("float32")
    settings = {"ignore_class": 255, "from_logits": True, "reduction": reduction}
    theirs = keras.losses.SparseCategoricalCrossentropy(**settings)
    for given in ((), (weights,)):
        expected = ref.to_numpy(theirs(ids, logits, *given))
        actual = ref.to_numpy(cross_entropy(**settings)(ids, logits, *given))
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_with_a_mask():
    logits = ops.convert_to_tensor(np.zeros((1, 4, 3), "float32"))
    logits = keras.layers.Masking(mask_value=-1.0)(logits + 0)
    loss = cross_entropy(ignore_class=2, from_logits=True)
    assert float(loss([[0, 1, 2, 2]], logits)) == pytest.approx(np.log(3))


def test_nothing_of_an_ignored_example_counts():
    logits = np.array([[0.0, 1.0], [np.nan, -np.inf]], "float32")
    loss = losses.MeanAbsoluteError(ignore_class=-1, from_logits=True)
    assert float(loss([1, -1], logits)) == pytest.approx(2 / (1 + np.e), rel=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "float32"])
def test_label_dtypes(dtype):
    ids = np.array([0, 1, 100]).astype(dtype)
    p = np.full((3, 2), 0.5, "float32")
    loss = losses.MeanAbsoluteError(ignore_class=100, reduction=None)
    np.testing.assert_allclose(ref.to_numpy(loss(ids, p)), [1, 1, 0])
    values = loss.call(ids, p)
    np.testing.assert_allclose(ref.to_numpy(values), [1, 1, 0])


def test_one_output():
    loss = losses.MeanAbsoluteError(ignore_class=255)
    p = np.array([[0.25], [0.5], [0.75]], "float32")
    assert float(loss([0, 255, 0], p)) == pytest.approx((0.5 + 1.5) / 2)
    assert float(loss([[0], [255], [0]], p[:, 0])) == pytest.approx(1.0)


@pytest.mark.parametrize("ignored", [255, 1])
def test_of_a_whole_batch(ignored):
    p = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]], "float32")
    loss = losses.DeterminantMutualInformation(ignore_class=ignored)
    expected = losses.determinant_mutual_information([0, 2], p[[0, 2]])
    ref.assert_close(loss([0, ignored, 2], p), ref.to_numpy(expected))
    assert float(loss([ignored] * 3, p)) == 0


def test_fit_agrees_with_leaving_pixels_out():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 2, 2, 3)).astype("float32")
    ids = rng.choice([0, 1, 255], (8, 2, 2))
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Dense(2)])
    kernel, bias = model.get_weights()
    loss = losses.GeneralizedCrossEntropy(ignore_class=255, from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, jit_compile=False)
    model.fit(x, ids, batch_size=8, verbose=0)
    kept = ids != 255
    p = ref.softmax(x[kept] @ kernel + bias).astype("float64")
    one_hot = np.eye(2)[ids[kept]]
    p_y = (p * one_hot).sum(axis=-1, keepdims=True)
    slope = p_y**0.7 * (p - one_hot) / kept.sum()
    expected = kernel - 0.5 * x[kept].T @ slope
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-5)


def test_distributions_have_no_class_to_ignore():
    loss = losses.MeanAbsoluteError(ignore_class=255)
    with pytest.raises(ValueError, match="because `ignore_class` names one of them"):
        loss([[0.0, 1.0]], [[0.5, 0.5]])


def test_other_ids_are_looked_at():
    loss = losses.MeanAbsoluteError(ignore_class=255)
    with pytest.raises(ValueError, match=r"class ids in \[0, 2\)"):
        loss([0, 254], [[0.5, 0.5]] * 2)


def test_networks_that_choose_examples_refuse_it():
    networks = [
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
        for _ in range(2)
    ]
    model = training.CoTeaching(*networks, forget_rate=0.2)
    model.compile("sgd", losses.MeanAbsoluteError(ignore_class=255), run_eagerly=True)
    with pytest.raises(ValueError, match="`loss` must be one whose `ignore_class` is"):
        model.fit(np.zeros((4, 3)), np.zeros(4), verbose=0)
