"""Many sigmoid outputs, with labels that can be missing."""

import contextlib
import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks, losses

from . import reference as ref

rng = np.random.default_rng(0)
LOGITS = (2 * rng.normal(size=(6, 5))).astype("float32")
LABELS = rng.integers(0, 2, (6, 5))
IS_KNOWN = rng.random((6, 5)) < 0.7
IS_KNOWN[2] = False
MISSING = np.where(IS_KNOWN, LABELS, -1)
P = 1 / (1 + np.exp(-LOGITS.astype("float64")))
GCE = losses.GeneralizedCrossEntropy(q=0.7)
# `(1 - p_y^q) / q` of each label, in float64.
VALUES = (1 - np.where(LABELS == 1, P, 1 - P) ** 0.7) / 0.7


def make(loss=GCE, **kwargs):
    return losses.MultiLabel(loss, from_logits=True, **kwargs)


def rows(values, is_known=IS_KNOWN):
    """Return the mean over the known labels of each example."""
    return np.array(
        [v[k].mean() if k.any() else 0 for v, k in zip(values, is_known, strict=True)]
    )


@pytest.mark.parametrize("dtype", ["int32", "float32", "int8"])
@pytest.mark.parametrize("missing", [-1, 2, -100])
def test_values(dtype, missing):
    labels = np.where(IS_KNOWN, LABELS, missing).astype(dtype)
    loss = make(missing_label=missing, reduction=None)
    ref.assert_close(loss(labels, LOGITS), rows(VALUES))
    p = losses.multi_label(labels, P.astype("float32"), loss=GCE, missing_label=missing)
    ref.assert_close(p, rows(VALUES))


def test_nan_is_a_missing_label():
    labels = np.where(IS_KNOWN, LABELS, np.nan)
    loss = make(missing_label=np.nan, reduction=None)
    ref.assert_close(loss(labels, LOGITS), rows(VALUES))


def test_reductions():
    known = IS_KNOWN.any(axis=1)
    expected = rows(VALUES)
    # An example without labels does not count.
    assert float(make()(MISSING, LOGITS)) == pytest.approx(expected[known].mean(), 1e-5)
    total = make(reduction="sum")(MISSING, LOGITS)
    assert float(total) == pytest.approx(expected.sum(), rel=1e-5)
    weights = np.arange(6.0)
    weighed = make()(MISSING, LOGITS, sample_weight=weights)
    expected = (weights * expected)[known].mean()
    assert float(weighed) == pytest.approx(expected, rel=1e-5)
    assert float(make(missing_label=None)(LABELS, LOGITS)) == pytest.approx(
        VALUES.mean(), rel=1e-5
    )


def test_a_missing_label_is_an_output_that_is_not_there():
    without = make()(LABELS[:, 1:], LOGITS[:, 1:])
    labels = LABELS.copy()
    labels[:, 0] = -1
    assert float(make()(labels, LOGITS)) == pytest.approx(float(without), rel=1e-6)
    slope = ref.gradient(lambda z: make()(labels, z), LOGITS)
    expected = ref.gradient(lambda z: make()(LABELS[:, 1:], z), LOGITS[:, 1:])
    assert not slope[:, 0].any()
    np.testing.assert_allclose(slope[:, 1:], expected, rtol=1e-5, atol=1e-8)


def test_all_labels_missing():
    labels = np.full((6, 5), -1)
    assert float(make()(labels, LOGITS)) == 0
    slope = ref.gradient(lambda z: make()(labels, z), LOGITS)
    np.testing.assert_array_equal(slope, np.zeros_like(LOGITS))
    extreme = np.where(IS_KNOWN, LOGITS, np.nan).astype("float32")
    loss = make(missing_label=-1)
    assert float(loss(MISSING, extreme)) == pytest.approx(
        float(loss(MISSING, LOGITS)), rel=1e-6
    )


def test_loss_of_each_label():
    each = make().of_labels(MISSING, LOGITS)
    ref.assert_close(each, np.where(IS_KNOWN, VALUES, 0))


def test_label_weights():
    weights = np.array([0, 1, 2, 0.5, 1])
    loss = make(label_weights=weights, reduction=None)
    ref.assert_close(loss(MISSING, LOGITS), rows(weights * VALUES))


def test_soft_labels_and_cross_entropy_are_those_of_keras():
    labels = rng.random((6, 5)).astype("float32")
    loss = make(losses.LabelSmoothing(epsilon=0.0))
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(labels, LOGITS)
    assert float(loss(labels, LOGITS)) == pytest.approx(float(expected), rel=1e-6)


def test_a_matrix_for_each_label():
    matrices = np.array([[[1 - a, a], [b, 1 - b]] for a, b in rng.random((5, 2)) / 2])
    matrices[0] = [[1, 0], [0.3, 0.7]]
    noisy = (1 - P) * matrices[:, 0, 1] + P * matrices[:, 1, 1]
    expected = -np.log(np.where(LABELS == 1, noisy, 1 - noisy))
    loss = make(losses.LabelSmoothing(epsilon=0.0), transition_matrix=matrices)
    ref.assert_close(loss.of_labels(LABELS, LOGITS), expected)
    far = np.array([[-1e4] * 5, [1e4] * 5], "float32")
    slope = ref.gradient(lambda z: loss(np.eye(2, 5), z), far)
    assert np.isfinite(slope).all()
    # With one matrix for all it is forward correction.
    same = make(losses.LabelSmoothing(epsilon=0.0), transition_matrix=[matrices[1]] * 5)
    forward = make(losses.ForwardCorrection(transition_matrix=matrices[1]))
    ref.assert_close(
        same.of_labels(LABELS, LOGITS), ref.to_numpy(forward.of_labels(LABELS, LOGITS))
    )


def test_saturated_outputs():
    z = np.array([[-200.0, 200.0, 1e4]], "float32")
    p = keras.activations.sigmoid(ops.convert_to_tensor(z))
    loss = losses.MultiLabel(losses.LabelSmoothing(epsilon=0.0))
    values = ref.to_numpy(loss.of_labels([[1, 0, 1]], p))
    if ref.BACKEND == "jax":
        assert (values[0, :2] > 80).all()
    else:
        np.testing.assert_allclose(values, [[200, 200, 0]], rtol=1e-6)


def test_leading_dimensions():
    shape = (2, 3, 5)
    loss = make(reduction=None)
    actual = loss(MISSING.reshape(shape), LOGITS.reshape(shape))
    ref.assert_close(actual, rows(VALUES).reshape(2, 3))


def test_configuration():
    matrices = np.tile([[0.9, 0.1], [0.2, 0.8]], (5, 1, 1))
    loss = losses.MultiLabel(
        losses.BootstrapSoft(epsilon=0.3),
        missing_label=-5,
        label_weights=[1, 2, 3, 4, 5],
        transition_matrix=matrices,
        from_logits=True,
        reduction="sum",
    )
    config = json.loads(json.dumps(loss.get_config()))
    copy = losses.MultiLabel.from_config(config)
    assert copy.get_config() == loss.get_config()
    labels = np.where(MISSING == -1, -5, MISSING)
    assert float(copy(labels, LOGITS)) == pytest.approx(float(loss(labels, LOGITS)))


X = rng.normal(size=(6, 3)).astype("float32")
KERNEL = rng.normal(size=(3, 5)).astype("float32")


def network(loss, **compile_args):
    layers = [keras.Input((3,)), keras.layers.Dense(5, use_bias=False)]
    model = keras.Sequential(layers)
    model.set_weights([KERNEL])
    model.compile(keras.optimizers.SGD(0.5), loss, **compile_args)
    return model


def kernel_by_hand():
    """Return the kernel after a step of float64."""
    p = 1 / (1 + np.exp(-X.astype("float64") @ KERNEL))
    slope = np.where(LABELS == 1, p, 1 - p) ** 0.7 * (p - LABELS) * IS_KNOWN
    slope = slope / np.maximum(IS_KNOWN.sum(axis=1, keepdims=True), 1)
    return KERNEL - 0.5 * X.T @ slope / IS_KNOWN.any(axis=1).sum()


JIT = [False] if ref.BACKEND == "torch" else [False, True]


@pytest.mark.parametrize("jit_compile", JIT)
def test_fit_and_save(jit_compile, tmp_path):
    model = network(make(), jit_compile=jit_compile)
    model.fit(X, MISSING, batch_size=6, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], kernel_by_hand(), atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    value = model.evaluate(X, MISSING, verbose=0)
    assert loaded.evaluate(X, MISSING, verbose=0) == pytest.approx(value, rel=1e-6)


# Two replicas have three examples each. Keras takes the mean over those that count on
# each replica, and then over the replicas; the third example has no label.
BY_REPLICA = {
    "as many on each": np.where(np.arange(6)[:, None] == 5, -1, MISSING),
    "more on one": MISSING,
    "none on one": np.where(np.arange(6)[:, None] < 3, -1, MISSING),
}


def kernel_of_two_replicas(labels):
    """Return the kernel after a step of float64 on two halves of a batch."""
    p = 1 / (1 + np.exp(-X.astype("float64") @ KERNEL))
    is_known = labels >= 0
    slope = np.where(labels == 1, p, 1 - p) ** 0.7 * (p - labels) * is_known
    slope = slope / np.maximum(is_known.sum(axis=1, keepdims=True), 1)
    of_replica = []
    for half in (slice(0, 3), slice(3, 6)):
        count = max(is_known[half].any(axis=1).sum(), 1)
        of_replica.append(X[half].T @ slope[half] / count)
    return KERNEL - 0.5 * np.mean(of_replica, axis=0)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("which", BY_REPLICA)
def test_two_replicas(which, strategy):
    labels = BY_REPLICA[which]
    with strategy.scope():
        model = network(make(), jit_compile=False)
    model.fit(X, labels, batch_size=6, shuffle=False, verbose=0)
    expected = kernel_of_two_replicas(labels)
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-5)


INNER = [
    GCE,
    losses.ProSelfLC(),
    losses.DerivativeManipulation(beta=2.0, lambda_=0.5),
]


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("inner", INNER, ids=lambda loss: loss.name)
def test_two_replicas_train_as_one(inner, strategy):
    """Also with a clock, and a loss of a whole batch."""
    labels = BY_REPLICA["as many on each"]
    arguments = {"batch_size": 6, "shuffle": False, "epochs": 2, "verbose": 0}
    kernels = []
    for scope in (contextlib.nullcontext(), strategy.scope()):
        with scope:
            model = network(make(inner), jit_compile=False)
        clock = [callbacks.GlobalTrust()] * isinstance(inner, losses.ProSelfLC)
        model.fit(X, labels, callbacks=clock, **arguments)
        kernels.append(model.get_weights()[0])
    np.testing.assert_allclose(kernels[1], kernels[0], rtol=1e-4, atol=1e-5)
    assert np.abs(kernels[0] - KERNEL).max() > 1e-3


def test_the_clock_is_found():
    model = network(make(losses.ProSelfLC()), run_eagerly=True)
    clock = callbacks.GlobalTrust()
    logs = model.fit(X, MISSING, epochs=2, verbose=0, callbacks=[clock]).history
    assert logs["global_trust"][1] > logs["global_trust"][0]


def test_mixed_precision():
    half = ops.cast(ops.convert_to_tensor(LOGITS), "float16")
    loss = losses.MultiLabel(GCE, from_logits=True, dtype="mixed_float16")
    value = loss(MISSING, half)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value) == pytest.approx(float(make()(MISSING, LOGITS)), rel=1e-2)


# --- bad input


def test_other_labels():
    with pytest.raises(ValueError, match=r"or -1 where there is none.*a label of 2"):
        make()(np.full((6, 5), 2), LOGITS)
    with pytest.raises(ValueError, match=r"numbers between them\. Received.*of -1"):
        make(missing_label=None)(MISSING, LOGITS)
    with pytest.raises(TypeError, match="`y_true` must be an array of numbers"):
        make().call(np.full((6, 5), "cat"), LOGITS)
    with pytest.raises(ValueError, match=r"that of y_pred: a label for each output"):
        make()(LABELS[:, 0], LOGITS)
    function = ref.compiled(lambda y, z: make(reduction=None)(y, z))
    labels = LABELS.astype("float32")
    labels[1, 1] = 7
    found = function(ref.tensor(labels), ref.tensor(LOGITS))
    np.testing.assert_array_equal(np.isnan(ref.to_numpy(found)), np.arange(6) == 1)


def test_outputs_that_are_none():
    with pytest.raises(ValueError, match=r"values up to 3.*Pass from_logits=True"):
        losses.MultiLabel(GCE)([[0, 1]], [[0.5, 3.0]])
    with pytest.raises(ValueError, match="of shape"):
        make()([0, 1], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"`len\(label_weights\)` must be 5"):
        make(label_weights=[1, 1])(LABELS, LOGITS)
    with pytest.raises(ValueError, match=r"`len\(transition_matrix\)` must be 5"):
        make(transition_matrix=[np.eye(2)])(LABELS, LOGITS)


@pytest.mark.skipif(ref.BACKEND != "tensorflow", reason="TensorFlow's graphs")
def test_softmax_outputs_are_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, "softmax")])
    model.compile("sgd", losses.MultiLabel(GCE), jit_compile=False)
    with pytest.raises(ValueError, match="`y_pred` must be outputs of a sigmoid"):
        model.fit(X, LABELS, verbose=0)


def test_a_softmax_loss_on_multi_hot_labels():
    with pytest.raises(ValueError, match=r"need sigmoid outputs and `losses\.MultiL"):
        losses.MeanAbsoluteError()([[1, 0, 1]], [[0.5, 0.25, 0.25]])


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("loss", None),
        ("loss", "mse"),
        ("loss", keras.losses.MeanAbsoluteError()),
        ("loss", losses.DeterminantMutualInformation()),
        ("loss", losses.JointOptimization()),
        ("loss", losses.EarlyLearningRegularization()),
        ("loss", losses.DeepAbstention(alpha=1.0)),
        ("loss", losses.MultiLabel(GCE)),
        ("missing_label", 1),
        ("missing_label", 0.5),
        ("missing_label", "none"),
        ("missing_label", True),
        ("missing_label", np.inf),
        ("label_weights", [-1.0]),
        ("label_weights", [[1.0]]),
        ("label_weights", [np.nan]),
        ("label_weights", "balanced"),
        ("transition_matrix", np.eye(2)),
        ("transition_matrix", [[[0.5, 0.6], [0.1, 0.9]]]),
        ("ignore_class", 255),
    ],
)
def test_bad_arguments(argument, value):
    with pytest.raises((ValueError, TypeError), match=f"MultiLabel: `{argument}` must"):
        losses.MultiLabel(**{"loss": GCE, argument: value})
