"""Forward correction: `-log (T' p)_y`."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import losses, noise

from . import reference as ref

MATRICES = {
    "identity": np.eye(5),
    "symmetric": noise.symmetric(5, 0.4),
    "pair flip": noise.pair_flip(5, 0.3),
    "one way": noise.asymmetric(5, {1: 0, 2: 0, 3: 0}, 0.4),
    "mostly wrong": noise.symmetric(5, 0.9),
    "to each class at a rate of its own": (
        0.6 * np.eye(5) + 0.4 * np.tile([0.1, 0.2, 0.3, 0.15, 0.25], (5, 1))
    ),
    "dense": 0.7 * np.eye(5) + 0.3 * np.random.default_rng(5).dirichlet(np.ones(5), 5),
}


def oracle(matrix):
    matrix = np.asarray(matrix, "longdouble")
    return lambda q, z: -(q * np.log(ref.softmax(z) @ matrix)).sum(axis=-1)


def test_values_by_hand():
    # (.25 * .2 + .75 * .6) = .5
    loss = losses.forward_correction(
        [1], [[0.25, 0.75]], transition_matrix=[[0.8, 0.2], [0.4, 0.6]]
    )
    np.testing.assert_allclose(loss, [np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("matrix", [*MATRICES])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, matrix, dtype):
    ref.check(
        lambda y, z: losses.forward_correction(
            y, z, transition_matrix=MATRICES[matrix], from_logits=True
        ),
        oracle(MATRICES[matrix]),
        labels,
        dtype,
    )


@pytest.mark.parametrize("labels", [ref.IDS, ref.SOFT], ids=["hard", "soft"])
def test_identity_is_cross_entropy(labels):
    far = np.concatenate(
        [ref.LOGITS[:14], [[100, -100, 0, 0, 0], [-100, 100, 0, 0, 0]]]
    )
    far = far.astype("float32")
    loss = losses.forward_correction(
        labels, far, transition_matrix=np.eye(5), from_logits=True
    )
    q = ref.ONE_HOT if labels is ref.IDS else ref.SOFT
    ref.assert_close(loss, ref.cross_entropy(q, far))
    actual = ref.gradient(
        lambda z: losses.forward_correction(
            labels, z, transition_matrix=np.eye(5), from_logits=True
        ),
        far,
    )
    ref.assert_close(actual, ref.softmax(far) - q)


@pytest.mark.parametrize("labels", [ref.IDS, ref.SOFT], ids=["hard", "soft"])
def test_probabilities_that_underflow(labels):
    """`T' p` itself would be zero for classes that nothing likely turns into."""
    z = np.tile(np.array([[200, 0, -200, 0, 0]], "float32"), (16, 1))
    loss = losses.forward_correction(
        labels, z, transition_matrix=MATRICES["pair flip"], from_logits=True
    )
    q = ref.ONE_HOT if labels is ref.IDS else ref.SOFT
    ref.assert_close(loss, oracle(MATRICES["pair flip"])(q, z))


def test_a_class_that_no_label_can_come_from_is_finite():
    matrix = [[1.0, 0.0], [1.0, 0.0]]
    z = np.array([[1.0, 2.0]], "float32")
    for labels in ([1], np.array([[0.5, 0.5]])):
        function = lambda z, labels=labels: losses.forward_correction(  # noqa: E731
            labels, z, transition_matrix=matrix, from_logits=True
        )
        assert np.all(np.isfinite(ref.to_numpy(function(z))))
        assert np.all(np.isfinite(ref.gradient(function, z)))


def test_leads_to_the_clean_minimiser():
    """The expected loss under the noise is least at the clean distribution."""
    matrix, clean = MATRICES["pair flip"], ref.SOFT
    noisy = clean @ matrix
    gradient = ref.gradient(
        lambda z: losses.forward_correction(
            noisy, z, transition_matrix=matrix, from_logits=True
        ),
        np.log(clean).astype("float32"),
    )
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


# --- one-hot labels, for which compiled code on CPUs looks rows up as for class ids

CLASSES = 16
rng = np.random.default_rng(11)
LOGITS = np.concatenate(
    [2 * rng.normal(size=(6, CLASSES)), 12 * rng.normal(size=(6, CLASSES))]
).astype("float32")
IDS = rng.integers(0, CLASSES, len(LOGITS))
ONE_HOT = np.eye(CLASSES, dtype="float32")[IDS]
SOFT = rng.dirichlet(np.ones(CLASSES), len(LOGITS)).astype("float32")
MIXED = np.where(np.arange(len(LOGITS))[:, None] % 2, ONE_HOT, SOFT)
NEXT = np.roll(ONE_HOT, 1, axis=-1)
ALMOST = {
    "less than one": 0.995 * ONE_HOT,
    "more than one": 1.005 * ONE_HOT,
    "two classes": (ONE_HOT + NEXT) / 2,
    "two classes, one hardly": 0.999 * ONE_HOT + 0.001 * NEXT,
}
# One for each way to compute `T' p`.
WAYS = {
    "dense": 0.6 * np.eye(CLASSES)
    + 0.4 * rng.dirichlet(np.ones(CLASSES), size=CLASSES),
    "symmetric": noise.symmetric(CLASSES, 0.4),
    "identity": np.eye(CLASSES),
    "permutation": np.eye(CLASSES)[rng.permutation(CLASSES)],
    "pair flip": noise.pair_flip(CLASSES, 0.4),
    "mostly flipped": noise.pair_flip(CLASSES, 0.7),
    "some classes": noise.asymmetric(CLASSES, {1: 0, 2: 0, 3: 7}, 0.4),
    "some zeros": 0.5 * np.eye(CLASSES)
    + 0.5 * np.kron(np.eye(2), np.full((8, 8), 1 / 8)),
    "one zero": noise.symmetric(CLASSES, 0.4),
}
WAYS["one zero"][2, 2:4] = WAYS["one zero"][2, 2:4].sum(), 0
every_way = pytest.mark.parametrize("way", WAYS)
# On torch both are the same.
modes = [False] if ref.BACKEND == "torch" else [False, True]
compiled_or_not = pytest.mark.parametrize("compiled", modes)


def function_of(way):
    """Return the loss by this matrix as a function of labels and logits."""
    matrix = matrix_of(way)

    def function(y, z):
        return losses.forward_correction(
            y, z, transition_matrix=matrix, from_logits=True
        )

    return function


def matrix_of(way):
    return COUNTED if way == "counted" else WAYS[way]


@functools.cache
def with_gradient(way, compiled):
    """As `function_of` with the gradient; one program for all data of a shape."""
    return ref.with_gradient(function_of(way), compile=compiled)


def exact_gradient(matrix, q, z):
    """Return the gradient, where differences of the oracle would lose its digits."""
    # The part of class `j` in `(T' p)_k` is `shares[j, k]`.
    with np.errstate(divide="ignore"):
        logs = ref.log_softmax(z)[..., None] + np.log(matrix.astype("longdouble"))
    logs = logs - logs.max(axis=-2, keepdims=True)
    shares = np.exp(logs) / np.exp(logs).sum(axis=-2, keepdims=True)
    # The soft labels are float32, whose sum is not one to the last digit of float64.
    total = q.astype("longdouble").sum(axis=-1, keepdims=True)
    return ref.softmax(z) * total - (shares * q[:, None, :]).sum(axis=-1)


def check(way, compiled, labels, q, dtype="float32"):
    labels = ref.tensor(labels, None if labels is IDS else dtype)
    loss, actual = with_gradient(way, compiled)(labels, ref.tensor(LOGITS, dtype))
    ref.assert_close(loss, oracle(WAYS[way])(q, LOGITS), dtype)
    expected = ref.numerical_gradient(lambda z: oracle(WAYS[way])(q, z), LOGITS)
    ref.assert_close(actual, expected, dtype)


# Compiled in float64 once: what a float changes, it changes in both.
FLOATS_AND_MODES = [(dtype, False) for dtype in ref.FLOATS] + [
    ("float32", mode) for mode in modes[1:]
]


@pytest.mark.parametrize(
    ("way", "dtype", "compiled"),
    [(way, *each) for way in WAYS for each in FLOATS_AND_MODES]
    + [("dense", ref.FLOATS[-1], modes[-1])],
)
def test_one_hot_labels_are_class_ids(way, dtype, compiled):
    check(way, compiled, IDS, ONE_HOT, dtype)
    check(way, compiled, ONE_HOT, ONE_HOT, dtype)


@compiled_or_not
@pytest.mark.parametrize("labels", [SOFT, MIXED], ids=["soft", "mixed"])
@every_way
def test_distributions_stay_distributions(way, labels, compiled):
    check(way, compiled, labels, labels)


@pytest.mark.parametrize("way", ["dense", "pair flip", "one zero"])
@pytest.mark.parametrize("labels", ALMOST)
def test_weights_that_are_not_one_hot(labels, way):
    check(way, modes[-1], ALMOST[labels], ALMOST[labels])


def test_labels_of_nan_are_not_one_hot():
    labels = np.where(np.arange(len(LOGITS))[:, None] == 3, np.nan, ONE_HOT)
    labels = ref.tensor(labels, "float32")
    loss = ref.compiled(function_of("dense"))(labels, ref.tensor(LOGITS))
    np.testing.assert_array_equal(
        np.isnan(ref.to_numpy(loss)), np.arange(len(LOGITS)) == 3
    )


@pytest.mark.parametrize("way", ["dense", "pair flip", "one zero"])
def test_one_hot_labels_with_more_dimensions(way):
    loss = ref.compiled(function_of(way))(
        ref.tensor(ONE_HOT.reshape(3, 2, 2, CLASSES)),
        ref.tensor(LOGITS.reshape(3, 2, 2, CLASSES)),
    )
    expected = oracle(WAYS[way])(ONE_HOT, LOGITS).reshape(3, 2, 2)
    ref.assert_close(loss, expected)


@compiled_or_not
@pytest.mark.parametrize("labels", [IDS, ONE_HOT, SOFT], ids=["ids", "1-hot", "soft"])
@every_way
def test_far_logits(way, labels, compiled):
    """At `+-100`, and where `T' p` itself is zero in float32 and float64."""
    far = np.tile(
        np.array([100, -100, 0, -900], "float32"), (len(LOGITS), CLASSES // 4)
    )
    far = far + LOGITS / 8
    q = ONE_HOT if labels is IDS else labels
    labels, z = ref.tensor(labels), ref.tensor(far)
    loss, gradient = with_gradient(way, compiled)(labels, z)
    ref.assert_close(loss, oracle(WAYS[way])(q, far))
    ref.assert_close(gradient, exact_gradient(WAYS[way], q, far))


def check_masked(way, compiled, labels, q, logits):
    """Infinite where a label has no source that is not masked."""
    matrix = matrix_of(way)
    rng = np.random.default_rng(0)
    is_masked = rng.random(logits.shape) < 0.7
    is_masked[np.arange(len(logits)), rng.integers(0, logits.shape[1], len(q))] = False
    far = np.where(is_masked, -1e4, logits)
    expected = np.asarray(oracle(matrix)(q, far), "float64")
    is_finite = np.all((~is_masked @ matrix > 0) | (q == 0), axis=1)
    z = np.where(is_masked, -np.inf, logits).astype("float32")
    loss, actual = with_gradient(way, compiled)(ref.tensor(labels), ref.tensor(z))
    ref.assert_close(loss, np.where(is_finite, expected, np.inf))
    expected = exact_gradient(matrix, q, far)
    ref.assert_close(actual, np.where(is_finite[:, None], expected, 0))


@compiled_or_not
@pytest.mark.parametrize("labels", [IDS, ONE_HOT, SOFT], ids=["ids", "1-hot", "soft"])
@every_way
def test_masked_classes(way, labels, compiled):
    q = ONE_HOT if labels is IDS else labels
    check_masked(way, compiled, labels, q, LOGITS)


@pytest.mark.skipif(ref.BACKEND != "jax", reason="JAX's own transformation")
@pytest.mark.parametrize("labels", [ONE_HOT, SOFT, MIXED], ids=["1-hot", "soft", "mix"])
@every_way
def test_vmap(way, labels):
    """There both branches run on every label, also the one that is not taken."""
    import jax

    def example(q, z):
        return function_of(way)(q[None], z[None])[0]

    value_and_gradient = jax.vmap(jax.value_and_grad(example, argnums=1))
    for function in (value_and_gradient, jax.jit(value_and_gradient)):
        loss, gradient = function(ref.tensor(labels), ref.tensor(LOGITS))
        ref.assert_close(loss, oracle(WAYS[way])(labels, LOGITS))
        expected = ref.numerical_gradient(
            lambda z: oracle(WAYS[way])(labels, z), LOGITS
        )
        ref.assert_close(gradient, expected)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("way", ["dense", "pair flip", "one zero"])
def test_each_of_two_replicas_sees_its_own_labels(way, strategy):
    """The first has one-hot labels alone, the second has others too."""
    import tensorflow as tf

    labels = np.concatenate([ONE_HOT[:6], MIXED[6:]])
    halves = iter([(labels[:6], LOGITS[:6]), (labels[6:], LOGITS[6:])])
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tuple(map(tf.constant, next(halves)))
    )

    def loss_and_gradient(value):
        q, z = value
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = function_of(way)(q, z)
        return loss, tape.gradient(loss, z)

    run = tf.function(lambda values: strategy.run(loss_and_gradient, args=(values,)))
    loss, gradient = map(strategy.experimental_local_results, run(values))
    ref.assert_close(np.concatenate(loss), oracle(WAYS[way])(labels, LOGITS))
    expected = ref.numerical_gradient(lambda z: oracle(WAYS[way])(labels, z), LOGITS)
    ref.assert_close(np.concatenate(gradient), expected)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("way", ["dense", "pair flip", "one zero"])
def test_fit_with_one_hot_labels(way, policy):
    """As with class ids, step by step."""
    weights = []
    for labels in (IDS, ONE_HOT):
        keras.utils.set_random_seed(0)
        layers = [keras.Input((CLASSES,)), keras.layers.Dense(CLASSES, dtype=policy)]
        model = keras.Sequential(layers)
        loss = losses.ForwardCorrection(
            transition_matrix=WAYS[way], from_logits=True, dtype=policy
        )
        model.compile(keras.optimizers.SGD(0.1), loss=loss)
        model.fit(LOGITS / 8, labels, batch_size=4, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights()[0])
    tolerance = 1e-5 if policy == "float32" else 1e-2
    np.testing.assert_allclose(weights[1], weights[0], atol=tolerance)


@pytest.mark.parametrize("way", WAYS)
def test_second_derivatives(way):
    """Against the difference of the first ones, outside of compiled code."""
    labels, slope = ref.tensor(SOFT), ref.tensor(np.arange(CLASSES, dtype="float32"))
    function, step = function_of(way), 1e-2

    def first(z):
        return ref.gradient(lambda z: function(labels, z), z)

    if ref.BACKEND == "tensorflow":
        import tensorflow as tf

        z = tf.constant(LOGITS)
        with tf.GradientTape() as outer:
            outer.watch(z)
            with tf.GradientTape() as inner:
                inner.watch(z)
                value = ops.sum(function(labels, z))
            along = ops.sum(inner.gradient(value, z) * slope)
        second = outer.gradient(along, z)
    elif ref.BACKEND == "jax":
        import jax

        def along(z):
            grad = jax.grad(lambda z: ops.sum(function(labels, z)))(z)
            return ops.sum(grad * slope)

        second = jax.grad(along)(ref.tensor(LOGITS))
    else:
        import torch

        z = ref.tensor(LOGITS).requires_grad_(True)
        (grad,) = torch.autograd.grad(
            ops.sum(function(labels, z)), z, create_graph=True
        )
        (second,) = torch.autograd.grad(ops.sum(grad * slope), z)
    shift = step * ref.to_numpy(slope)
    expected = (first(LOGITS + shift) - first(LOGITS - shift)) / (2 * step)
    np.testing.assert_allclose(ref.to_numpy(second), expected, atol=2e-2)


# --- a matrix that was counted: every class turns into some of the others

MANY = 40
COUNTED = 0.6 * np.eye(MANY) + 0.08 * sum(
    np.roll(np.eye(MANY), step, axis=1) for step in (1, 3, 4, 9, 20)
)
MANY_IDS = rng.integers(0, MANY, 12)
MANY_ONE_HOT = np.eye(MANY, dtype="float32")[MANY_IDS]
MANY_SOFT = rng.dirichlet(np.ones(MANY), 12).astype("float32")
MANY_LABELS = {
    "one-hot": MANY_ONE_HOT,
    "soft": MANY_SOFT,
    "mixed": np.where(np.arange(12)[:, None] % 2, MANY_ONE_HOT, MANY_SOFT),
}
# From the largest logit down to 200 below it; three groups of logits far apart.
MANY_LOGITS = {
    "near": 3 * rng.normal(size=(12, MANY)),
    "even": 5.0 * rng.permuted(np.tile(-np.arange(MANY), (12, 1)), axis=1),
    "far": rng.choice([100.0, -100.0, -900.0], (12, MANY))
    + rng.normal(size=(12, MANY)),
}


@pytest.mark.parametrize(("dtype", "compiled"), FLOATS_AND_MODES)
@pytest.mark.parametrize("logits", MANY_LOGITS)
@pytest.mark.parametrize("labels", ["ids", *MANY_LABELS])
def test_counted_matrix(labels, logits, dtype, compiled):
    given = MANY_LABELS.get(labels, MANY_IDS)
    q = MANY_LABELS.get(labels, MANY_ONE_HOT)
    logits = MANY_LOGITS[logits].astype("float32")
    y = ref.tensor(given, None if labels == "ids" else dtype)
    loss, actual = with_gradient("counted", compiled)(y, ref.tensor(logits, dtype))
    ref.assert_close(loss, oracle(COUNTED)(q, logits), dtype)
    ref.assert_close(actual, exact_gradient(COUNTED, q, logits), dtype)


@compiled_or_not
@pytest.mark.parametrize("labels", ["ids", "one-hot", "soft"])
def test_masked_classes_of_a_counted_matrix(labels, compiled):
    q = MANY_LABELS.get(labels, MANY_ONE_HOT)
    given = MANY_IDS if labels == "ids" else q
    logits = MANY_LOGITS["near"].astype("float32")
    check_masked("counted", compiled, given, q, logits)


@compiled_or_not
def test_sums_out_of_reach_are_bounded(compiled):
    """They count as the largest that they can be, and pull at no logit."""
    logits = np.tile(-100 * np.arange(MANY, dtype="float32"), (12, 1))
    labels = np.zeros((12, MANY), "float32")
    # The sources of the last class are far below those that the anchors reach.
    labels[:, [0, -1]] = 0.5
    y, z = ref.tensor(labels), ref.tensor(logits)
    loss, gradient = map(ref.to_numpy, with_gradient("counted", compiled)(y, z))
    assert np.all(loss > 0.5 * 200)
    assert np.all(loss <= oracle(COUNTED)(labels, logits) * (1 + 1e-6))
    assert np.all(np.isfinite(gradient))


def test_errors():
    transposed = MATRICES["one way"].T
    with pytest.raises(ValueError, match=r"looks transposed, pass its `\.T`"):
        losses.ForwardCorrection(transition_matrix=transposed)
    with pytest.raises(ValueError, match=r"must be of shape \(5, 5\)"):
        losses.forward_correction(
            ref.IDS, ref.LOGITS, transition_matrix=np.eye(4), from_logits=True
        )
