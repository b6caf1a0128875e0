"""Losses and gradients in NumPy, from the definitions, and tools to compare with.

Nothing here shares a formula with the package: targets are built explicitly and
`-sum q~ log p` is taken of them, in the widest float that NumPy has.
"""

import keras
import numpy as np
from keras import ops

BACKEND = keras.backend.backend()
# JAX has no float64 by default.
FLOATS = ["float32"] if BACKEND == "jax" else ["float32", "float64"]
TOLERANCE = {
    "float32": dict(rtol=2e-5, atol=2e-6),
    "float64": dict(rtol=1e-12, atol=1e-12),
}
NUM_CLASSES = 5

rng = np.random.default_rng(7)
# The last rows are confident, right or wrong.
LOGITS = np.concatenate(
    [2 * rng.normal(size=(8, NUM_CLASSES)), 12 * rng.normal(size=(8, NUM_CLASSES))]
).astype("float32")
IDS = rng.integers(0, NUM_CLASSES, len(LOGITS))
ONE_HOT = np.eye(NUM_CLASSES)[IDS]
SOFT = rng.dirichlet(np.ones(NUM_CLASSES), len(LOGITS))
TEACHER = (3 * rng.normal(size=LOGITS.shape)).astype("float32")


def log_softmax(logits):
    """`log p` in long double."""
    logits = np.asarray(logits, "longdouble")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits):
    """`p` in long double."""
    return np.exp(log_softmax(logits))


def cross_entropy(target, logits):
    """`-sum_k target_k log p_k` per example."""
    return -(np.asarray(target, "longdouble") * log_softmax(logits)).sum(axis=-1)


def entropy(logits):
    """`H(p)` per example."""
    return cross_entropy(softmax(logits), logits)


def entropy_gradient(logits):
    """Derivative of `H(p)` in the logits: `-p (log p + H(p))`."""
    log_p = log_softmax(logits)
    return -np.exp(log_p) * (log_p + entropy(logits)[..., None])


def one_hot_argmax(logits):
    """One-hot rows of the predicted class, ties to the lowest."""
    return np.eye(logits.shape[-1])[np.argmax(logits, axis=-1)]


def to_numpy(x):
    """Return a tensor of any backend as a NumPy array."""
    return ops.convert_to_numpy(x)


def tensor(x, dtype=None):
    """Return a tensor of the backend."""
    return ops.convert_to_tensor(np.asarray(x), dtype=dtype)


def gradient(function, x):
    """Gradient of `sum(function(x))` in the array `x`, on whichever backend runs."""
    x = tensor(x)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = ops.sum(function(x))
        result = tape.gradient(value, x)
    elif BACKEND == "jax":
        import jax

        result = jax.grad(lambda x: ops.sum(function(x)))(x)
    else:
        x = x.detach().requires_grad_(True)
        ops.sum(function(x)).backward()
        result = x.grad
    return to_numpy(result)


def with_gradient(function, compile=False):
    """Return a function of labels and logits: the losses, and their sum's gradient.

    Args:
        function: The loss, of labels and logits.
        compile: Whether by XLA, both in one program; never on torch.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def both(labels, logits):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                loss = function(labels, logits)
                total = ops.sum(loss)
            return loss, tape.gradient(total, logits)

        return compiled(both) if compile else both
    if BACKEND == "jax":
        import jax

        def total(logits, labels):
            loss = function(labels, logits)
            return ops.sum(loss), loss

        def both(labels, logits):
            gradient, loss = jax.grad(total, has_aux=True)(logits, labels)
            return loss, gradient

        return compiled(both) if compile else both

    def both(labels, logits):
        logits = logits.detach().requires_grad_(True)
        loss = function(labels, logits)
        ops.sum(loss).backward()
        return loss.detach(), logits.grad

    return both


def compiled(function):
    """Return `function` compiled by XLA; by its tracer only with torch."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import torch

    # After some traces of the same code torch would run it eagerly, without a word.
    torch.compiler.reset()
    # Without Inductor, which needs a C++ toolchain and minutes.
    return torch.compile(function, backend="eager")


def assert_close(actual, expected, dtype="float32"):
    """Compare with the tolerance of `dtype`."""
    actual = to_numpy(actual)
    assert actual.dtype == dtype
    expected = np.asarray(expected, "float64")
    np.testing.assert_allclose(actual, expected, **TOLERANCE[dtype])


def numerical_gradient(function, logits, step=1e-3):
    """Derivative of each example's loss in its logits, in long double.

    Central differences of sixth order: what they leave out is of the size of
    `step ** 6`.
    """
    logits = np.asarray(logits, "longdouble")
    columns = []
    for k in range(logits.shape[-1]):
        shift = step * np.eye(logits.shape[-1], dtype="longdouble")[k]
        column = 0
        for distance, weight in ((1, 45), (2, -9), (3, 1)):
            ahead = function(logits + distance * shift)
            behind = function(logits - distance * shift)
            column = column + weight * (ahead - behind)
        columns.append(column / (60 * np.longdouble(step)))
    return np.stack(columns, axis=-1)


def check(function, oracle, labels, dtype, logits=LOGITS):
    """Compare a loss and its gradient with `oracle(q, logits)`.

    Args:
        function: Function of labels and logits that returns the loss.
        oracle: The same in NumPy, for distributions.
        labels: "hard" or "soft".
        dtype: The float to compute in.
        logits: Array `(16, classes)`, by default `LOGITS`.
    """
    q = {"hard": ONE_HOT, "soft": SOFT}[labels]
    given = IDS if labels == "hard" else tensor(q, dtype)
    loss = function(given, tensor(logits, dtype))
    assert_close(loss, oracle(q, np.asarray(logits, "longdouble")), dtype)
    actual = gradient(lambda z: function(given, z), logits.astype(dtype))
    expected = numerical_gradient(lambda z: oracle(q, z), logits)
    assert_close(actual, expected, dtype)
