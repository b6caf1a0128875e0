"""What all losses share: labels, predictions, masks, weights, reductions, dtypes.

`LabelSmoothing` stands for all of them where one will do; the tests of the table in
tests/test_contract.py run over every loss.
"""

import inspect
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks, losses
from keras_noisy.losses import _labels, _tensors

from . import reference as ref

EPSILON = 0.3
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
P = ref.softmax(ref.LOGITS).astype("float32")
EXPECTED = ref.cross_entropy(
    (1 - EPSILON) * ref.ONE_HOT + EPSILON / ref.NUM_CLASSES, ref.LOGITS
).astype("float64")
TINY = float(-np.log(np.finfo("float32").tiny))


def smooth(y_true, y_pred=ref.LOGITS, from_logits=True):
    return losses.label_smoothing(
        y_true, y_pred, epsilon=EPSILON, from_logits=from_logits
    )


def make_loss(from_logits=True, **kwargs):
    return losses.LabelSmoothing(epsilon=EPSILON, from_logits=from_logits, **kwargs)


# --- label forms

FORMS = {
    "ids": ref.IDS,
    "column": ref.IDS[:, None],
    "list": ref.IDS.tolist(),
    "column list": ref.IDS[:, None].tolist(),
    "one-hot": ref.ONE_HOT,
    "one-hot integers": ref.ONE_HOT.astype("int32"),
    "one-hot booleans": ref.ONE_HOT.astype(bool),
    "one-hot list": ref.ONE_HOT.tolist(),
    "half": ref.ONE_HOT.astype("float16"),
    "float ids": ref.IDS.astype("float32"),
    "half float ids": ref.IDS.astype("float16"),
    **{dtype: ref.IDS.astype(dtype) for dtype in INTEGERS},
}


@pytest.mark.parametrize("form", FORMS)
def test_label_forms(form):
    labels = FORMS[form]
    if form == "uint64" and ref.BACKEND == "torch":
        pytest.skip("Keras cannot make a torch tensor of uint64")
    ref.assert_close(smooth(labels), EXPECTED)
    ref.assert_close(smooth(ops.convert_to_tensor(labels)), EXPECTED)
    ref.assert_close(make_loss(reduction=None)(labels, ref.LOGITS), EXPECTED)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_labels_in_half_precision(dtype):
    ids = ops.cast(ops.convert_to_tensor(ref.IDS), dtype)
    ref.assert_close(smooth(ids), EXPECTED)


def test_boolean_ids():
    z = np.array([[1.0, 2.0], [3.0, 5.0]], "float32")
    ids = np.array([True, False])
    a = smooth(ids, z)
    np.testing.assert_array_equal(ref.to_numpy(a), ref.to_numpy(smooth([1, 0], z)))


@pytest.mark.parametrize("form", ["ids", "column", "uint8", "int64", "one-hot"])
def test_label_forms_compiled(form):
    # int8 and the like are as they are; JAX makes int32 of int64 by itself.
    loss = ref.compiled(smooth)(ref.tensor(FORMS[form]), ref.tensor(ref.LOGITS))
    ref.assert_close(loss, EXPECTED)


# --- many classes in half precision

MANY, RARE = 30011, 30001


def many_logits():
    logits = np.zeros((2, MANY), "float32")
    # The neighbours that float16 and bfloat16 would round class 30001 to.
    logits[:, [29952, 30000, 30008]] = -8
    logits[:, RARE] = 4
    return logits


def expected_many(weight=1.0):
    logits = many_logits().astype("float64")[0]
    log_p = logits - np.log(np.exp(logits).sum())
    return -(1 - EPSILON) * log_p[RARE] - EPSILON * log_p.mean()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("ids", ["int32", "int64", "uint16", "int16"])
def test_class_30001_survives_half_precision(ids, dtype):
    labels = np.full(2, RARE, ids)
    z = ops.cast(ops.convert_to_tensor(many_logits()), dtype)
    ref.assert_close(smooth(labels, z), [expected_many()] * 2)
    for policy in (dtype, f"mixed_{dtype}", keras.DTypePolicy(f"mixed_{dtype}"), None):
        loss = make_loss(dtype=policy)
        assert float(loss(labels, z)) == pytest.approx(expected_many(), rel=1e-5)
        assert float(loss(labels[:, None], z)) == pytest.approx(
            expected_many(), rel=1e-5
        )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_class_30001_survives_half_precision_as_floatx(dtype):
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        loss = make_loss()(np.full(2, RARE), many_logits())
    finally:
        keras.config.set_floatx(before)
    assert float(loss) == pytest.approx(expected_many(), rel=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_class_30001_survives_a_model_in_mixed_precision(policy):
    bias = keras.initializers.Constant(many_logits()[0])
    dense = keras.layers.Dense(
        MANY, kernel_initializer="zeros", bias_initializer=bias, dtype=policy
    )
    model = keras.Sequential([keras.Input((2,)), dense])
    model.compile("sgd", make_loss())
    x, y = np.ones((2, 2), "float32"), np.full(2, RARE)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected_many(), rel=1e-4)


# --- leading dimensions, half precision, float64


@pytest.mark.parametrize("leading", [(2, 8), (2, 2, 4), (16, 1), (1, 16), (2, 1, 8)])
def test_leading_dimensions(leading):
    z = ref.LOGITS.reshape(*leading, -1)
    ids = ref.IDS.reshape(leading)
    expected = EXPECTED.reshape(leading)
    for labels in (ids, ids[..., None], ref.ONE_HOT.reshape(z.shape)):
        ref.assert_close(smooth(labels, z), expected)
        assert float(make_loss()(labels, z)) == pytest.approx(EXPECTED.mean(), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    z = ops.cast(ops.convert_to_tensor(ref.LOGITS), dtype)
    rounded = ref.to_numpy(ops.cast(z, "float32"))
    expected = smooth(ref.IDS, rounded)
    loss = smooth(ref.IDS, z)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    np.testing.assert_array_equal(ref.to_numpy(loss), ref.to_numpy(expected))
    reduced = make_loss(dtype=dtype)(ref.IDS, z)
    assert keras.backend.standardize_dtype(reduced.dtype) == "float32"


def test_half_precision_gradient_reaches_the_input():
    actual = ref.gradient(
        lambda z: smooth(ref.IDS, ops.cast(z, "bfloat16")), ref.LOGITS
    )
    target = 0.7 * ref.ONE_HOT + 0.3 / ref.NUM_CLASSES
    expected = (ref.softmax(ref.LOGITS) - target).astype("float64")
    np.testing.assert_allclose(actual, expected, atol=0.06)


@pytest.mark.parametrize("dtype", ref.FLOATS)
def test_loss_of_float64(dtype):
    loss = make_loss(dtype=dtype, reduction=None)(
        ref.IDS, ops.convert_to_tensor(ref.LOGITS, dtype=dtype)
    )
    ref.assert_close(loss, EXPECTED, dtype)


def test_integer_predictions():
    loss = smooth([1], np.array([[0, 2]]))
    ref.assert_close(loss, smooth([1], np.array([[0.0, 2.0]], "float32")))


# --- probabilities


def test_probabilities_and_logits_agree():
    ref.assert_close(smooth(ref.IDS, P, from_logits=False), EXPECTED)
    loss = make_loss(from_logits=False, reduction=None)
    ref.assert_close(loss(ref.IDS, P), EXPECTED)


def test_probabilities_need_not_sum_to_one():
    """As in Keras they are divided by their sum."""
    ref.assert_close(smooth(ref.IDS, 3 * P, from_logits=False), EXPECTED)


@pytest.mark.parametrize("dtype", ref.FLOATS)
def test_probability_zero_is_clipped_at_the_smallest_normal_number(dtype):
    p = ops.convert_to_tensor(np.array([[0.0, 1.0], [0.0, 1.0]]), dtype=dtype)
    loss = losses.label_smoothing([0, 1], p, epsilon=0)
    ref.assert_close(loss, [-np.log(np.finfo(dtype).tiny), 0], dtype)
    actual = ref.gradient(
        lambda p: losses.label_smoothing([0, 1], p, epsilon=0),
        np.array([[0.0, 1.0], [0.0, 1.0]], dtype),
    )
    assert np.all(np.isfinite(actual))


def softmax_model(**kwargs):
    """A model whose softmax saturates: the logits are the inputs."""
    layer = keras.layers.Dense(
        2,
        kernel_initializer="identity",
        use_bias=False,
        activation="softmax",
        **kwargs,
    )
    return keras.Sequential([keras.Input((2,)), layer])


FAR = np.array([[300.0, -300.0], [-200.0, 200.0], [1.0, 0.0]], "float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("mode", ["graph", "eager", "jit"])
def test_saturated_softmax_layer(mode, policy):
    if ref.BACKEND == "torch" and mode == "jit":
        pytest.skip("torch.compile needs a C++ toolchain")
    labels = np.array([1, 0, 1])
    lost = losses.LabelSmoothing(epsilon=0)
    model = softmax_model(dtype=policy)
    model.compile(
        keras.optimizers.SGD(0.001),
        lost,
        run_eagerly=mode == "eager",
        jit_compile=mode == "jit",
    )
    before = model.evaluate(FAR, labels, verbose=0, batch_size=3)
    history = model.fit(FAR, labels, verbose=0, batch_size=3, shuffle=False)
    exact = (600 + 400 + math.log1p(math.e)) / 3
    tolerance = 1e-5 if policy == "float32" else 1e-2
    if ref.BACKEND == "jax":
        # A traced array does not show the logits: finite, and documented.
        clipped = (2 * TINY + math.log1p(math.e)) / 3
        expected = clipped if mode == "jit" else exact
        assert before == pytest.approx(expected, rel=tolerance)
        assert np.all(np.isfinite(model.get_weights()[0]))
        return
    assert before == pytest.approx(exact, rel=tolerance)
    assert history.history["loss"][0] == pytest.approx(exact, rel=tolerance)
    # The gradient of the saturated rows is whole: dW = x^T (p - q) / 3.
    third = 1 / (1 + math.e)
    in_logits = np.array([[1, -1], [-1, 1], [1 - third, third - 1]])
    kernel = np.eye(2) - 0.001 * FAR.T @ in_logits / 3
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=tolerance)


@pytest.mark.skipif(ref.BACKEND == "jax", reason="JAX does not keep the logits")
def test_saturated_softmax_layer_and_from_logits():
    y_pred = keras.layers.Softmax()(ops.convert_to_tensor(FAR))
    expected = smooth([1, 0, 1], FAR)
    ref.assert_close(smooth([1, 0, 1], y_pred, from_logits=False), expected)
    loss = make_loss(from_logits=True, reduction=None)
    with pytest.warns(UserWarning, match="comes from a softmax"):
        ref.assert_close(loss([1, 0, 1], y_pred), expected)


# --- masks, weights, reductions


def masked_model(policy="float32"):
    """One that predicts `logits[token]`, with token 0 masked."""
    embedding = keras.layers.Embedding(
        6, ref.NUM_CLASSES, mask_zero=True, dtype=policy,
        embeddings_initializer=keras.initializers.Constant(ref.LOGITS[:6]),
    )  # fmt: skip
    return keras.Sequential([keras.Input((4,), dtype="int32"), embedding])


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("eager", [False, True])
def test_keras_masks(policy, eager):
    model = masked_model(policy)
    model.compile("sgd", make_loss(), run_eagerly=eager)
    tokens = np.array([[1, 2, 0, 0], [3, 4, 5, 0]])
    ids = np.array([[0, 1, 2, 3], [4, 3, 2, 1]])
    expected = ref.to_numpy(smooth(ids, ref.LOGITS[tokens]))[tokens > 0].mean()
    tolerance = 1e-5 if policy == "float32" else 1e-2
    loss = model.evaluate(tokens, ids, verbose=0)
    assert loss == pytest.approx(expected, rel=tolerance)
    one_hot = np.eye(ref.NUM_CLASSES, dtype="float32")[ids]
    loss = model.evaluate(tokens, one_hot, verbose=0)
    assert loss == pytest.approx(expected, rel=tolerance)
    history = model.fit(tokens, ids, verbose=0)
    assert history.history["loss"][0] == pytest.approx(expected, rel=tolerance)


REDUCTIONS = [
    "sum_over_batch_size",
    "mean",
    "sum",
    "mean_with_sample_weight",
    "none",
    None,
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(16,), (4, 4)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_and_weights_as_in_keras(reduction, shape, weighted):
    one_hot = ref.ONE_HOT.reshape(*shape, -1).astype("float32")
    z = ref.LOGITS.reshape(*shape, -1)
    weights = None
    if weighted:
        weights = np.arange(16, dtype="float32").reshape(shape) % 5
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, reduction=reduction)
    expected = ref.to_numpy(theirs(one_hot, z, sample_weight=weights))
    ours = losses.LabelSmoothing(epsilon=0, from_logits=True, reduction=reduction)
    for labels in (one_hot, ref.IDS.reshape(shape)):
        actual = ref.to_numpy(ours(labels, z, sample_weight=weights))
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_unknown_reduction():
    with pytest.raises(ValueError, match="reduction"):
        make_loss(reduction="average")


@pytest.mark.parametrize("weighting", ["sample_weight", "class_weight"])
@pytest.mark.parametrize("form", ["ids", "column", "one-hot"])
def test_weights_through_fit(weighting, form):
    by_class = {0: 1.0, 1: 0.0, 2: 3.0, 3: 0.5, 4: 2.0}
    weights = np.array([by_class[k] for k in ref.IDS])
    if weighting == "class_weight":
        arguments = dict(class_weight=by_class)
    else:
        arguments = dict(sample_weight=weights)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(5, "linear", False, "identity")]
    )
    model.compile(keras.optimizers.SGD(0.1), make_loss())
    labels = FORMS[form].astype("float32" if form == "one-hot" else "int64")
    history = model.fit(ref.LOGITS, labels, batch_size=16, verbose=0, **arguments)
    assert history.history["loss"][0] == pytest.approx(
        (weights * EXPECTED).mean(), rel=1e-5
    )
    target = 0.7 * ref.ONE_HOT + 0.3 / ref.NUM_CLASSES
    in_logits = weights[:, None] * (ref.softmax(ref.LOGITS) - target) / 16
    kernel = np.eye(5) - 0.1 * (ref.LOGITS.T @ in_logits).astype("float64")
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)


# --- compiled, and unknown dimensions


def test_compiled_agrees_with_eager():
    z = ref.tensor(ref.LOGITS)
    for labels in (ref.tensor(ref.IDS), ref.tensor(ref.SOFT, "float32")):
        a, b = smooth(labels, z), ref.compiled(smooth)(labels, z)
        np.testing.assert_allclose(
            ref.to_numpy(a), ref.to_numpy(b), rtol=1e-6, atol=1e-6
        )


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("form", ["ids", "column", "one-hot"])
def test_unknown_batch_dimension(form, jit):
    import tensorflow as tf

    labels = np.asarray(FORMS[form])
    signature = [
        tf.TensorSpec([None, *labels.shape[1:]], labels.dtype),
        tf.TensorSpec([None, 5], "float32"),
    ]
    loss = tf.function(smooth, input_signature=signature, jit_compile=jit)
    ref.assert_close(loss(labels, ref.LOGITS), EXPECTED)
    ref.assert_close(loss(labels[:3], ref.LOGITS[:3]), EXPECTED[:3])


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("jit", [False, True])
def test_unknown_sequence_length(jit):
    import tensorflow as tf

    signature = [
        tf.TensorSpec([None, None], "int64"),
        tf.TensorSpec([None, None, 5], "float32"),
    ]
    loss = tf.function(smooth, input_signature=signature, jit_compile=jit)
    actual = loss(ref.IDS.reshape(2, 8), ref.LOGITS.reshape(2, 8, 5))
    ref.assert_close(actual, EXPECTED.reshape(2, 8))


@pytest.mark.tensorflow_only
def test_unknown_last_dimension_of_labels():
    """Of rank two they can be distributions only, and a column is an error."""
    import tensorflow as tf

    signature = [
        tf.TensorSpec([None, None], "float32"),
        tf.TensorSpec([None, 5], "float32"),
    ]
    loss = tf.function(smooth, input_signature=signature)
    ref.assert_close(loss(ref.ONE_HOT.astype("float32"), ref.LOGITS), EXPECTED)
    with pytest.raises(tf.errors.InvalidArgumentError):
        loss(ref.IDS[:, None].astype("float32"), ref.LOGITS)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("unknown", [0, 1])
def test_unknown_rank(unknown):
    import tensorflow as tf

    shapes = [[None], [None, 5]]
    shapes[unknown] = None
    signature = [tf.TensorSpec(shapes[0], "int64"), tf.TensorSpec(shapes[1], "float32")]
    argument = ("y_true", "y_pred")[unknown]
    with pytest.raises(ValueError, match=f"`{argument}` must have a known rank"):
        tf.function(smooth, input_signature=signature)(ref.IDS, ref.LOGITS)


# --- bad labels


@pytest.mark.parametrize("bad", [-1, 5, 255])
@pytest.mark.parametrize("kind", ["list", "array", "column", "tensor", "floats"])
def test_ids_out_of_range(kind, bad):
    ids = ref.IDS.copy()
    ids[3] = bad
    labels = {
        "list": ids.tolist(),
        "array": ids,
        "column": ids[:, None],
        "tensor": ops.convert_to_tensor(ids),
        "floats": ids.astype("float32"),
    }[kind]
    expected = (
        rf"label_smoothing: `y_true` must hold class ids in \[0, 5\).*ids from "
        rf"{min(ids)}(\.0)? to {max(ids)}(\.0)?\. .*sample_weight=0"
    )
    with pytest.raises(ValueError, match=expected):
        smooth(labels)
    with pytest.raises(ValueError, match="must hold class ids"):
        make_loss()(labels, ref.LOGITS)


def test_ids_out_of_range_in_an_eager_fit():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.compile("sgd", make_loss(), run_eagerly=True)
    with pytest.raises(ValueError, match="must hold class ids"):
        model.fit(ref.LOGITS, ref.IDS + 1, verbose=0)


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf])
def test_ids_that_are_not_whole_numbers(value):
    ids = ref.IDS.astype("float32")
    ids[3] = value
    with pytest.raises(ValueError, match=r"label_smoothing: `y_true` must hold"):
        smooth(ids)


@pytest.mark.dealt
@pytest.mark.parametrize("bad", [-1, 5, 300, 0.5, math.nan, math.inf])
@pytest.mark.parametrize("column", [False, True])
def test_bad_ids_in_compiled_code(bad, column, monkeypatch):
    """The loss shows NaN; gradients of that row are zero, and the others right."""
    # Gradients are taken without compiling: what matters is that ids are unseen.
    monkeypatch.setattr(_tensors, "visible", lambda x: None)
    dtype = "int32" if isinstance(bad, int) else "float32"
    ids = ref.IDS.astype(dtype)
    ids[3] = bad
    labels = ref.tensor(ids[:, None] if column else ids)
    loss = ref.to_numpy(ref.compiled(smooth)(labels, ref.tensor(ref.LOGITS)))
    rows = np.arange(16) == 3
    np.testing.assert_array_equal(np.isnan(loss), rows)
    np.testing.assert_allclose(loss[~rows], EXPECTED[~rows], rtol=2e-5)
    for loss in (smooth, make_loss(reduction="sum")):
        actual = ref.gradient(lambda z, loss=loss: loss(labels, z), ref.LOGITS)
        target = 0.7 * ref.ONE_HOT + 0.3 / ref.NUM_CLASSES
        expected = (ref.softmax(ref.LOGITS) - target) * ~rows[:, None]
        ref.assert_close(actual, expected)


@pytest.mark.skipif(ref.BACKEND == "torch", reason="torch steps are eager on a CPU")
@pytest.mark.parametrize("jit", [False, True])
def test_bad_ids_in_a_compiled_fit(jit):
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(5, "linear", False, "identity")]
    )
    if ref.BACKEND == "jax" and not jit:
        pytest.skip("without jit_compile JAX is eager")
    model.compile(keras.optimizers.SGD(0.1), make_loss(), jit_compile=jit)
    ids = ref.IDS.copy()
    ids[3] = 77
    history = model.fit(ref.LOGITS, ids, batch_size=16, verbose=0).history
    assert math.isnan(history["loss"][0])
    target = 0.7 * ref.ONE_HOT + 0.3 / ref.NUM_CLASSES
    in_logits = (ref.softmax(ref.LOGITS) - target) / 16
    in_logits[3] = 0
    kernel = np.eye(5) - 0.1 * (ref.LOGITS.T @ in_logits).astype("float64")
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_large_unsigned_ids_do_not_wrap(dtype, monkeypatch):
    if dtype == "uint64" and ref.BACKEND != "tensorflow":
        pytest.skip("Keras makes no tensor of uint64 here, or a shorter one")
    monkeypatch.setattr(_tensors, "visible", lambda x: None)
    ids = np.array([np.iinfo(dtype).max, 1], dtype)
    loss = ref.to_numpy(smooth(ids, np.zeros((2, 5), "float32")))
    np.testing.assert_array_equal(np.isnan(loss), [True, False])


@pytest.mark.parametrize(
    "shape",
    [(), (15,), (16, 2), (16, 4), (16, 6), (16, 1, 1), (1, 16), (16, 5, 1), (5,)],
)
def test_labels_of_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"label_smoothing: `y_true` must hold class"):
        smooth(np.zeros(shape, "int32"))


def test_labels_that_are_strings():
    with pytest.raises(TypeError, match=r"`y_true` must hold numbers.*StringLookup"):
        smooth(["cat", "dog"], ref.LOGITS[:2])


# --- bad predictions


@pytest.mark.parametrize("shape", [(), (0, 5), (16, 0), (2, 0, 5), (0, 1), (0,)])
def test_predictions_of_a_wrong_shape(shape):
    labels = np.zeros(shape[:-1], "int32")
    with pytest.raises(ValueError, match=r"label_smoothing: `y_pred` must (have|hold)"):
        smooth(labels, np.zeros(shape, "float32"))


# --- arguments


@pytest.mark.parametrize("value", ["yes", 1, None, np.True_])
def test_from_logits_is_a_bool(value):
    with pytest.raises(TypeError, match="LabelSmoothing: `from_logits` must be a bool"):
        make_loss(from_logits=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, np.float32(2)])
def test_epsilon_outside_its_interval(value):
    expected = r": `epsilon` must be a number in \[0, 1\]. Received: epsilon="
    with pytest.raises(ValueError, match="label_smoothing" + expected):
        losses.label_smoothing(ref.IDS, ref.LOGITS, epsilon=value)
    with pytest.raises(ValueError, match="LabelSmoothing" + expected):
        losses.LabelSmoothing(epsilon=value)


@pytest.mark.parametrize("value", ["0.1", None, True, 1j, [0.1], np.array([0.1, 0.2])])
def test_epsilon_that_is_not_a_number(value):
    with pytest.raises(TypeError, match="LabelSmoothing: `epsilon` must be a number"):
        losses.LabelSmoothing(epsilon=value)


@pytest.mark.parametrize("value", [np.float32(0.25), np.array(0.25), 0.25])
def test_epsilon_is_kept_as_a_float(value):
    loss = losses.LabelSmoothing(epsilon=value)
    assert type(loss.epsilon) is float
    assert loss.epsilon == 0.25


@pytest.mark.parametrize(
    "dtype",
    [None, "float32", "mixed_bfloat16", keras.DTypePolicy("mixed_float16"), np.float32],
)
def test_dtype_in_the_config(dtype):
    import json

    config = json.loads(json.dumps(make_loss(dtype=dtype).get_config()))
    again = losses.LabelSmoothing.from_config(config)
    assert again.dtype == "float32"
    assert again.get_config() == config


# --- formulas that are cheaper for class ids


def which_branch(q):
    """Return 1 where the formula for ids is used, 0 where that for distributions is."""

    def of_ids(ids):
        return ops.ones_like(ids, dtype="float32")

    def of_distributions():
        return ops.zeros(ops.shape(q)[:-1], dtype="float32")

    return _labels.Labels(q, None).by_class(of_ids, of_distributions)


@pytest.mark.parametrize("labels", [ref.ONE_HOT, ref.SOFT], ids=["one-hot", "soft"])
def test_one_hot_labels_are_found_in_compiled_code(labels):
    found = ref.to_numpy(ref.compiled(which_branch)(ref.tensor(labels, "float32")))
    expected = labels is ref.ONE_HOT and ref.BACKEND != "torch"
    np.testing.assert_array_equal(found, np.full(len(labels), float(expected)))
    # Outside of it JAX would compile both branches at every call.
    found = ref.to_numpy(which_branch(ref.tensor(labels, "float32")))
    np.testing.assert_array_equal(found, np.zeros(len(labels)))


def test_ids_of_one_hot_labels():
    found = ref.compiled(
        lambda q: _labels.Labels(q, None).by_class(
            lambda ids: ids, lambda: ops.cast(ops.argmax(q, axis=-1), "int32")
        )
    )(ref.tensor(ref.ONE_HOT.reshape(4, 4, -1), "float32"))
    np.testing.assert_array_equal(ref.to_numpy(found), ref.IDS.reshape(4, 4))


def test_an_accelerator_does_not_wait_for_labels(monkeypatch):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    # A function of its own, which is not compiled yet.
    found = ref.compiled(lambda q: which_branch(q))(ref.tensor(ref.ONE_HOT, "float32"))
    np.testing.assert_array_equal(ref.to_numpy(found), np.zeros(len(ref.ONE_HOT)))


# --- companions

COMPANIONS = {
    name: cls.companion
    for name, cls in vars(losses).items()
    if getattr(cls, "companion", None) is not None
}


def test_losses_name_the_callbacks_that_they_work_with():
    assert set(COMPANIONS) == {
        "DeepAbstention",
        "DimensionalityDriven",
        "EarlyLearningRegularization",
        "JointOptimization",
        "ProSelfLC",
        "TargetModification",
    }
    for name, companion in COMPANIONS.items():
        module, _, callback = companion.rpartition(".")
        assert module == "keras_noisy.callbacks" and callback in callbacks.__all__
        assert name in inspect.getdoc(getattr(callbacks, callback))
        loss = getattr(losses, name)
        told = inspect.getdoc(loss) + inspect.getdoc(loss.function)
        assert companion in told


@pytest.mark.parametrize(
    ("loss", "raises"),
    [
        (losses.ProSelfLC, pytest.warns(UserWarning, match=COMPANIONS["ProSelfLC"])),
        (
            losses.EarlyLearningRegularization,
            pytest.raises(
                RuntimeError, match=COMPANIONS["EarlyLearningRegularization"]
            ),
        ),
    ],
)
def test_a_gradient_without_the_companion_names_it(loss, raises):
    with raises:
        ref.gradient(lambda z: loss(from_logits=True)(ref.IDS, z), ref.LOGITS)
