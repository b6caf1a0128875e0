"""One sigmoid output for each example, read as a distribution over two classes."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import losses

from . import reference as ref

P = np.array([0.0, 1e-6, 0.2, 0.5, 0.9, 1.0])
Y = np.array([0, 1, 1, 0, 1, 1])
MATRIX = np.array([[0.8, 0.2], [0.4, 0.6]])
OF_LABEL = np.where(Y == 1, P, 1 - P)

# Losses of the label's probability, from the papers' formulas in float64.
BY_HAND = {
    "mean_absolute_error": ({}, 2 * (1 - OF_LABEL)),
    "generalized_cross_entropy": ({"q": 0.7}, (1 - OF_LABEL**0.7) / 0.7),
    "reverse_cross_entropy": ({"log_zero": -4.0}, 4 * (1 - OF_LABEL)),
    "forward_correction": (
        {"transition_matrix": MATRIX},
        -np.log((1 - P) * MATRIX[0][Y] + P * MATRIX[1][Y]),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_values_by_hand(name, shape):
    arguments, expected = BY_HAND[name]
    function = getattr(losses, name)
    for y_true in (Y, Y.astype("float32"), Y.astype(bool), Y[:, None]):
        y_pred = P.astype("float32").reshape(shape)
        ref.assert_close(function(y_true, y_pred, **arguments), expected)


def test_cross_entropy_is_that_of_keras():
    z = np.linspace(-20, 20, 41).astype("float32")
    y = np.linspace(0, 1, 41).astype("float32")
    loss = losses.LabelSmoothing(epsilon=0.0, from_logits=True)
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True)
    for shape in ((41,), (41, 1)):
        expected = float(keras_loss(y.reshape(41, 1), z.reshape(41, 1)))
        assert float(loss(y, z.reshape(shape))) == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_moves_towards_one_half():
    loss = losses.label_smoothing([1.0], [0.25], epsilon=0.2)
    expected = -0.9 * np.log(0.25) - 0.1 * np.log(0.75)
    ref.assert_close(loss, [expected])


def test_leading_dimensions_and_distributions():
    p = np.linspace(0.1, 0.9, 12).astype("float32").reshape(3, 4, 1)
    y = np.arange(12).reshape(3, 4) % 2
    expected = 2 * (1 - np.where(y == 1, p[..., 0], 1 - p[..., 0]))
    for y_true in (y, y[..., None], np.eye(2)[y]):
        ref.assert_close(losses.mean_absolute_error(y_true, p), expected)


def test_saturated_sigmoid_has_the_loss_of_its_input():
    z = np.array([[-200.0], [200.0], [30.0]], "float32")
    p = keras.activations.sigmoid(ops.convert_to_tensor(z))
    loss = ref.to_numpy(losses.label_smoothing([1, 0, 0], p, epsilon=0.0))
    if ref.BACKEND == "jax":
        # JAX's arrays keep no input: the smallest float bounds the loss.
        assert (loss[:2] > 80).all()
        return
    np.testing.assert_allclose(loss, [200, 200, 30], rtol=1e-6)


def test_clipped_as_a_softmax_is():
    p = np.array([0.0, 1.0], "float32")
    two = np.stack([1 - p, p], axis=-1)
    one = losses.label_smoothing([1, 0], p, epsilon=0.0)
    ref.assert_close(
        one, ref.to_numpy(losses.label_smoothing([1, 0], two, epsilon=0.0))
    )


def test_from_logits_of_a_sigmoid_is_found_out():
    z = ops.convert_to_tensor(np.array([[0.3], [-2.0]], "float32"))
    with pytest.warns(UserWarning, match="`y_pred` comes from a sigmoid"):
        actual = losses.mean_absolute_error(
            [0, 1], keras.activations.sigmoid(z), from_logits=True
        )
    ref.assert_close(actual, 2 / (1 + np.exp([-0.3, -2.0])))


@pytest.mark.filterwarnings("ignore:You are using a softmax:UserWarning")
def test_softmax_of_one_output_is_refused():
    z = ops.convert_to_tensor(np.array([[0.3], [-2.0]], "float32"))
    with pytest.raises(ValueError, match="a softmax of one output, which is always 1"):
        losses.mean_absolute_error([0, 1], keras.activations.softmax(z))


@pytest.mark.skipif(ref.BACKEND != "tensorflow", reason="TensorFlow's graphs")
@pytest.mark.filterwarnings("ignore:You are using a softmax:UserWarning")
def test_softmax_of_one_output_is_refused_in_a_graph():
    layers = [keras.Input((3,)), keras.layers.Dense(1, "softmax")]
    model = keras.Sequential(layers)
    model.compile("sgd", losses.MeanAbsoluteError(), jit_compile=False)
    with pytest.raises(ValueError, match="a softmax of one output, which is always 1"):
        model.fit(np.zeros((4, 3)), np.zeros(4), verbose=0)


def test_labels_of_one_output_are_shares():
    with pytest.raises(ValueError, match=r"from -1 to 1\. Labels of -1 and 1 become"):
        losses.mean_absolute_error([-1, 1], [0.5, 0.5])
    with pytest.raises(ValueError, match="`y_true` must hold labels of shape"):
        losses.mean_absolute_error([[0, 1, 0]], [[0.5]])
    with pytest.raises(ValueError, match="sum to 1, none negative"):
        losses.mean_absolute_error([[1, 1]], [[0.5]])


def test_bad_label_in_compiled_code_is_nan():
    def loss(y, z):
        return losses.mean_absolute_error(y, z, from_logits=True)

    labels = ref.tensor([0.0, 2.0, 1.0], "float32")
    found = ref.compiled(loss)(labels, ref.tensor(np.zeros(3), "float32"))
    np.testing.assert_array_equal(ref.to_numpy(found), [1, np.nan, 1])


def test_logits_without_the_flag():
    with pytest.raises(ValueError, match=r"values up to 3.*Pass from_logits=True"):
        losses.mean_absolute_error([0, 1], [0.5, 3.0])
    with pytest.raises(ValueError, match=r"values from -3 on.*Pass from_logits=True"):
        losses.mean_absolute_error([0, 1], [-3.0, 0.5])


def test_targets_are_distributions():
    loss = losses.BootstrapSoft(epsilon=0.4)
    targets = loss.modified_targets([1, 0], [[0.25], [0.75]])
    ref.assert_close(targets, [[0.3, 0.7], [0.7, 0.3]])


def test_determinant_of_one_output():
    # Two classes, one output: `det = P(1, 1) P(0, 0) - P(1, 0) P(0, 1)`.
    p, y = np.array([0.2, 0.9, 0.6]), np.array([0, 1, 1])
    joint = np.stack([1 - y, y]) @ np.stack([1 - p, p], axis=-1) / 3
    expected = -np.log(abs(np.linalg.det(joint)))
    for shape in ((3,), (3, 1)):
        y_pred = p.astype("float32").reshape(shape)
        loss = losses.determinant_mutual_information(y, y_pred)
        ref.assert_close(loss, expected)
        loss = losses.DeterminantMutualInformation()(y, y_pred, np.ones(3))
        ref.assert_close(loss, expected)


# --- through Keras

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
LABELS = (X[:, 0] > 0).astype("int32")


def make_model(width, reshape=False, activation=None, **compile_args):
    layers = [keras.Input((3,)), keras.layers.Dense(width, use_bias=False)]
    if activation:
        layers.append(keras.layers.Activation(activation, dtype="float32"))
    if reshape:
        layers.append(keras.layers.Reshape(()))
    model = keras.Sequential(layers)
    kernel = np.array([[0.3], [-0.2], [0.1]])
    zeros = np.zeros((3, width - 1))
    model.set_weights([np.concatenate([zeros, kernel], axis=1)])
    loss = losses.GeneralizedCrossEntropy(from_logits=activation is None)
    model.compile(
        keras.optimizers.SGD(0.5), loss, **{"run_eagerly": True, **compile_args}
    )
    return model


def by_hand(labels, weight):
    """Return the kernel after two steps of one output, in float64."""
    kernel, x, q = np.array([0.3, -0.2, 0.1]), X.astype("float64"), 0.7
    for rows in (slice(0, 6), slice(6, 12)):
        p = 1 / (1 + np.exp(-x[rows] @ kernel))
        p_y = np.where(labels[rows] == 1, p, 1 - p)
        slope = weight[rows] * p_y**q * (p - labels[rows])
        kernel = kernel - 0.5 * x[rows].T @ slope / 6
    return kernel


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("reshape", [False, True])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_fit(column, reshape, activation):
    model = make_model(1, reshape, activation)
    y = LABELS[:, None] if column else LABELS
    model.fit(X, y, batch_size=6, shuffle=False, verbose=0)
    expected = by_hand(LABELS, np.ones(12))
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, atol=1e-5)
    p = 1 / (1 + np.exp(-X @ expected))
    value = (1 - np.where(LABELS == 1, p, 1 - p) ** 0.7) / 0.7
    assert model.evaluate(X, y, verbose=0) == pytest.approx(value.mean(), rel=1e-4)


@pytest.mark.parametrize("given", ["sample", "column", "class"])
def test_weights_in_fit(given):
    weight = np.where(LABELS == 1, 2.0, 0.5)
    arguments = {"sample_weight": weight if given == "sample" else weight[:, None]}
    if given == "class":
        arguments = {"class_weight": {0: 0.5, 1: 2.0}}
    model = make_model(1)
    model.fit(X, LABELS, batch_size=6, shuffle=False, verbose=0, **arguments)
    expected = by_hand(LABELS, weight)
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, atol=1e-5)


@pytest.mark.skipif(ref.BACKEND == "torch", reason="needs a C++ toolchain")
def test_xla():
    model = make_model(1, run_eagerly=False, jit_compile=True)
    model.fit(X, LABELS, batch_size=6, shuffle=False, verbose=0)
    expected = by_hand(LABELS, np.ones(12))
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, atol=1e-5)


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    with strategy.scope():
        model = make_model(1, run_eagerly=False, jit_compile=False)
        model.fit(X, LABELS, batch_size=6, shuffle=False, verbose=0)
    expected = by_hand(LABELS, np.ones(12))
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, atol=1e-5)


def test_half_precision():
    z = np.array([[-12.0], [0.5], [30.0]], "float32")
    for dtype in ("float16", "bfloat16"):
        half = ops.cast(ops.convert_to_tensor(z), dtype)
        loss = losses.MeanAbsoluteError(from_logits=True, dtype="mixed_" + dtype)
        expected = 2 / (1 + np.exp([-12.0, 0.5, 30.0]))
        assert float(loss([0, 1, 1], half)) == pytest.approx(
            (2 - expected[0] + expected[1:].sum()) / 3, rel=1e-3
        )


def test_masked_steps_do_not_count():
    inputs = np.array([[[1.0], [2.0], [0.0]], [[3.0], [0.0], [0.0]]], "float32")
    layers = [
        keras.Input((3, 1)),
        keras.layers.Masking(),
        keras.layers.Dense(1, use_bias=False),
    ]
    model = keras.Sequential(layers)
    model.set_weights([np.ones((1, 1))])
    model.compile("sgd", losses.MeanAbsoluteError(from_logits=True), run_eagerly=True)
    labels = np.array([[1, 0, 1], [1, 1, 1]])
    z, y = np.array([1.0, 2.0, 3.0]), np.array([1, 0, 1])
    p = 1 / (1 + np.exp(-z))
    expected = 2 * np.abs(y - p).mean()
    assert model.evaluate(inputs, labels, verbose=0) == pytest.approx(expected, 1e-5)
