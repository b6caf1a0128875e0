"""What every formula shares: labels and log-probabilities.

A loss of this package is a formula in a label distribution `q` and a
`Prediction` `p`. `per_example` turns what users pass (class ids or
distributions, probabilities or logits, any leading dimensions) into these two.
"""

from __future__ import annotations

import math
import warnings

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers

HALF_PRECISION = ("float16", "bfloat16")

# Stands for the logarithm of zero: finite, so that a weight of zero times it is zero.
LOG_ZERO = -1e30
# A larger loss has `LOG_ZERO` in it, as no logits are that far apart: it is infinite.
LARGEST_LOSS = 1e15
# How far soft labels may sum from one: half precision rounds them by 0.4 %.
LABEL_TOLERANCE = 0.01


class Prediction:
    """The softmax of `logits`, kept as the row sums that losses are made of.

    `exp(shifted)` is computed once; cross-entropy and entropy are sums over it,
    which XLA fuses into a single pass over the classes. Subtracting the largest
    logit first keeps every sum finite, and both terms of the entropy are
    non-negative, so nothing cancels.

    A logit of minus infinity, of a class that is masked, counts as `LOG_ZERO`: where
    its weight is zero so is the product, as `0 log 0` has it, and sums are the limit
    for a logit that falls. `per_example` turns them into infinity where there is none.

    Args:
        logits: Tensor of shape `(..., num_classes)`.
    """

    def __init__(self, logits):
        largest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
        # As `shifted`, but minus infinity where the logit is.
        self.raw = logits - largest
        self.shifted = at_least(LOG_ZERO, self.raw)
        self.exp = ops.exp(self.shifted)
        self.total = ops.sum(self.exp, axis=-1)
        self.log_total = ops.log(self.total)
        self.num_classes = logits.shape[-1]

    @property
    def probabilities(self):
        """`p`, shape `(..., num_classes)`."""
        return self.exp / self.total[..., None]

    @property
    def log_probabilities(self):
        """`log p`, shape `(..., num_classes)`."""
        return self.shifted - self.log_total[..., None]

    def cross_entropy(self, q):
        """`H(q, p) = -sum_k q_k log p_k`, shape `(...,)`."""
        return self.log_total * ops.sum(q, axis=-1) - ops.sum(q * self.shifted, axis=-1)

    def entropy(self):
        """`H(p, p)` with its gradient through both `p`, shape `(...,)`."""
        return self.log_total - ops.sum(self.exp * self.shifted, axis=-1) / self.total

    def uniform_cross_entropy(self):
        """`H(u, p)` with `u` uniform, shape `(...,)`."""
        # Not `ops.mean`, which computes float64 in float32 on torch.
        total = ops.sum(self.shifted, axis=-1)
        return self.log_total - total / self.num_classes

    def argmax_cross_entropy(self):
        """`H(onehot(argmax p), p)` with the argmax a constant, shape `(...,)`."""
        return self.log_total - ops.sum(self.argmax_one_hot() * self.shifted, axis=-1)

    def argmax_one_hot(self):
        """One-hot rows of the predicted class, a constant, `(..., num_classes)`.

        The argmax is found by comparing with the maximum, which is known to be
        zero here: an argmax reduction costs XLA almost another cross-entropy.
        Ties go to the lowest class, as in `argmax`.
        """
        classes = ops.arange(self.num_classes, dtype="int32")
        is_largest = ops.stop_gradient(self.shifted) >= 0
        first = ops.min(
            ops.where(is_largest, classes, self.num_classes), axis=-1, keepdims=True
        )
        return ops.cast(ops.equal(classes, first), self.shifted.dtype)

    def local_trust(self):
        """`1 - H(p) / H(u)` in [0, 1], shape `(...,)`."""
        trust = 1.0 - self.entropy() / float(np.log(self.num_classes))
        # Rounding alone can leave the interval.
        return ops.clip(trust, 0.0, 1.0)


def per_example(owner, y_true, y_pred, from_logits, formula):
    """Apply `formula(q, prediction)` to what a user passed to a loss.

    Args:
        owner: Name of the loss, for errors.
        y_true: Class ids of shape `y_pred.shape[:-1]` or that with a last
            dimension of one, or distributions of the shape of `y_pred`.
        y_pred: Probabilities or logits, shape `(..., num_classes)`.
        from_logits: Whether `y_pred` holds logits.
        formula: Function of the label distribution and the `Prediction` that
            returns a tensor of shape `(...,)`.

    Returns:
        Tensor of shape `y_pred.shape[:-1]`, of the dtype of `y_pred` but at
        least float32. NaN where a class id is not in `[0, num_classes)` or a row of
        labels does not sum to one, which only compiled code can meet: outside of it
        such labels are an error, and negative ones too. Infinite where the formula is.
    """
    y_pred = as_tensor(y_pred, owner)
    p = prediction(owner, y_pred, from_logits)
    q, is_valid = _label_distribution(owner, y_true, y_pred.shape, p.shifted.dtype)
    loss = _with_infinity(formula(q, p))
    if is_valid is None:
        return loss
    # `where` and not a product: the bad row shows as NaN in the loss, while
    # its gradient is zero and the weights survive.
    return ops.where(is_valid, loss, ops.cast(float("nan"), loss.dtype))


def _with_infinity(loss):
    """Return infinity, without a gradient, for losses that `LOG_ZERO` made large."""
    infinity = ops.convert_to_tensor(math.inf, dtype=loss.dtype)
    loss = ops.where(loss > LARGEST_LOSS, infinity, loss)
    return ops.where(loss < -LARGEST_LOSS, -infinity, loss)


def check_arguments(owner, y_true, y_pred, from_logits):
    """Raise where `per_example` would, without computing a loss."""
    errors.check_bool(owner, "from_logits", from_logits)
    y_pred = as_tensor(y_pred, owner)
    check_prediction_shape(owner, y_pred)
    if not from_logits:
        _check_concrete_probabilities(owner, "y_pred", y_pred)
    _label_distribution(owner, y_true, y_pred.shape, "float32")


def prediction(owner, y_pred, from_logits):
    """Return the `Prediction` for what a user passed as `y_pred`."""
    y_pred = as_tensor(y_pred, owner)
    check_prediction_shape(owner, y_pred)
    return Prediction(to_logits(owner, y_pred, from_logits))


def at_least(floor, x):
    """As `ops.maximum`, which computes float64 in float32 on torch. NaN stays."""
    floor = ops.convert_to_tensor(floor, dtype=x.dtype)
    if keras.backend.backend() == "torch":
        return ops.where(x < floor, floor, x)
    # XLA takes much longer for `where`.
    return ops.maximum(x, floor)


def log_sum_exp(x, axis=-1):
    """As `ops.logsumexp`, which computes float64 in float32 on torch."""
    largest = ops.stop_gradient(ops.max(x, axis=axis, keepdims=True))
    total = ops.sum(ops.exp(x - largest), axis=axis)
    return ops.log(total) + ops.squeeze(largest, axis=axis)


def as_tensor(x, owner="", argument="y_pred"):
    """Return `x` unchanged if it is a tensor (attributes survive), else convert.

    With an owner, raise its error where `x` holds no numbers.
    """
    if ops.is_tensor(x):
        return x
    # Variables of Keras have a dtype; through NumPy they would lose their gradient.
    if owner and (isinstance(x, np.ndarray) or not hasattr(x, "dtype")):
        x = as_numbers(owner, argument, x)
    return ops.convert_to_tensor(x)


def to_logits(owner, y_pred, from_logits, argument="y_pred"):
    """Return log-probabilities up to a constant per example, at least float32.

    Probabilities that come from a softmax whose input can still be reached are
    replaced by that input, so that saturated outputs lose nothing; else their
    logarithm is taken, clipped at the smallest normal number. Negative ones are an
    error where they can be seen.
    """
    errors.check_bool(owner, "from_logits", from_logits)
    hidden = _softmax_input(y_pred)
    if hidden is not None:
        if from_logits:
            warnings.warn(
                f"{owner} received `from_logits=True`, but `y_pred` comes from a "
                "softmax. Its input is used. Remove the softmax or "
                "`from_logits=True`.",
                stacklevel=2,
            )
        return _at_least_float32(hidden)
    y_pred = _at_least_float32(y_pred)
    if from_logits:
        return y_pred
    _check_concrete_probabilities(owner, argument, y_pred)
    dtype = keras.backend.standardize_dtype(y_pred.dtype)
    tiny = ops.convert_to_tensor(float(np.finfo(dtype).tiny), dtype=dtype)
    # Not `ops.maximum`, which computes float64 in float32 on torch, where tiny is 0.
    return ops.log(ops.where(y_pred < tiny, tiny, y_pred))


def _softmax_input(y_pred):
    """Return the input of the softmax that made `y_pred`, or None.

    Keras leaves it as an attribute on TensorFlow and torch tensors. In a
    TensorFlow graph the softmax can also be found by walking back from
    `y_pred`; mixed precision puts a cast in between. JAX has neither.
    """
    logits = getattr(y_pred, "_keras_logits", None)
    if logits is not None:
        return logits
    op = getattr(y_pred, "op", None)
    while op is not None and op.type in ("Cast", "Identity"):
        logits = getattr(op.inputs[0], "_keras_logits", None)
        if logits is not None:
            return logits
        op = op.inputs[0].op
    return op.inputs[0] if op is not None and op.type == "Softmax" else None


def _at_least_float32(x):
    dtype = keras.backend.standardize_dtype(x.dtype)
    is_low = dtype in HALF_PRECISION or not dtype.startswith("float")
    return ops.cast(x, "float32") if is_low else x


def check_prediction_shape(owner, y_pred):
    """Raise unless `y_pred` holds examples of at least two classes."""
    shape = _static_shape(owner, "y_pred", y_pred)
    if len(shape) < 2 or shape[-1] is None or shape[-1] < 2:
        raise ValueError(
            f"{owner}: `y_pred` must have shape (batch, ..., num_classes) with at "
            f"least two classes. Received: y_pred.shape={shape}. A model with one "
            "sigmoid output needs a second output, one for each class."
        )
    if 0 in shape:
        raise ValueError(
            f"{owner}: `y_pred` must hold at least one example. Received: "
            f"y_pred.shape={shape}. Drop empty batches before the loss."
        )


def _static_shape(owner, argument, x):
    try:
        return tuple(x.shape)
    except ValueError:  # A TensorFlow tensor of unknown rank.
        raise ValueError(
            f"{owner}: `{argument}` must have a known rank. Received a tensor of "
            "unknown shape. Set it in the pipeline with `tf.ensure_shape`."
        ) from None


def _label_distribution(owner, y_true, pred_shape, dtype):
    """Return `(q, is_valid)`; `is_valid` is None where labels were seen to be right."""
    pred_shape = tuple(pred_shape)
    num_classes = pred_shape[-1]
    if not hasattr(y_true, "shape"):
        y_true = errors.as_array(y_true)
    shape = _static_shape(owner, "y_true", y_true)
    is_column = len(shape) == len(pred_shape) and shape[-1] == 1
    is_ids = len(shape) == len(pred_shape) - 1 or is_column
    leading = shape[:-1] if len(shape) == len(pred_shape) else shape
    is_distribution = not is_ids and (
        len(shape) == len(pred_shape) and shape[-1] in (None, num_classes)
    )
    if not (is_ids or is_distribution) or not _same(leading, pred_shape[:-1]):
        raise ValueError(
            f"{owner}: `y_true` must hold class ids of shape {pred_shape[:-1]} or "
            f"{pred_shape[:-1] + (1,)}, or distributions of shape {pred_shape}, to "
            f"go with y_pred.shape={pred_shape}. Received: y_true.shape={shape}."
        )
    if is_distribution:
        is_seen = _check_concrete_distributions(owner, y_true)
        q = ops.cast(as_tensor(y_true), dtype)
        if shape[-1] is None:
            # A column of ids would broadcast in silence; it cannot be reshaped.
            q = ops.reshape(q, (*ops.shape(q)[:-1], num_classes))
        if is_seen:
            return q, None
        # Only the sum, which most losses take anyway; to look for negative entries
        # would be another pass over the classes. NaN fails the comparison.
        return q, ops.abs(ops.sum(q, axis=-1) - 1) <= LABEL_TOLERANCE
    _check_concrete_ids(owner, y_true, num_classes)
    ids = as_tensor(y_true)
    if is_column:
        ids = ops.squeeze(ids, axis=-1)
    return _one_hot(ids, num_classes, dtype)


def class_ids(y_true, y_pred):
    """Return class ids in range as int32, or None where labels are distributions.

    For a formula that looks rows up. An id that is out of range, of which
    `per_example` takes care, becomes the nearest one that is not.
    """
    y_true = as_tensor(y_true)
    is_column = len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1
    if len(y_true.shape) == len(y_pred.shape) and not is_column:
        return None
    ids = ops.squeeze(y_true, axis=-1) if is_column else y_true
    return ops.clip(ops.cast(ids, "int32"), 0, y_pred.shape[-1] - 1)


def of_ids_if_one_hot(q, of_ids, of_distributions):
    """Return `of_ids(ids)` if all rows of `q` are one-hot, else `of_distributions()`.

    For a formula that is much cheaper for class ids. Both must give the same then, up
    to rounding. Which it is shows when the labels are there, so only compiled code on
    CPUs asks: an accelerator would have to wait for the answer.

    Args:
        q: Distributions, shape `(..., num_classes)`.
        of_ids: Function of class ids, int32 in range, shape `(...,)`.
        of_distributions: Function without arguments.
    """
    if not _branches_are_free(q):
        return of_distributions()
    num_classes = q.shape[-1]
    total = ops.sum(q, axis=-1)
    # Sums, which XLA fuses; to reduce booleans takes it as long as a cross-entropy.
    fractions = ops.sum(ops.abs(q * (1 - q)), axis=-1)
    is_one_hot = ops.logical_and(ops.equal(total, 1), ops.equal(fractions, 0))

    def by_ids():
        ids = ops.sum(q * ops.arange(num_classes, dtype=q.dtype), axis=-1)
        # Under JAX's `vmap` both branches run, this one on any distribution.
        return of_ids(ops.clip(ops.cast(ids, "int32"), 0, num_classes - 1))

    return ops.cond(ops.all(is_one_hot), by_ids, of_distributions)


def _branches_are_free(x):
    """Whether a branch on the value of `x` costs no more than looking at it.

    An accelerator waits for the answer, torch breaks its graph, and eager JAX would
    compile both branches at every call.
    """
    if keras.backend.backend() == "torch":
        return False
    on_cpu = keras.distribution.list_devices()[0].startswith("cpu")
    return on_cpu and _concrete(x) is None


def check_same_shape(owner, argument, x, y_pred):
    """Raise if `x` is known to have another shape than `y_pred`."""
    shape = _static_shape(owner, argument, x)
    pred_shape = _static_shape(owner, "y_pred", y_pred)
    if not _same(shape, pred_shape):
        raise ValueError(
            f"{owner}: `{argument}` must have the shape of y_pred, {pred_shape}. "
            f"Received: {argument}.shape={shape}."
        )


def _same(shape, other):
    return len(shape) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(shape, other, strict=True)
    )


def _one_hot(ids, num_classes, dtype):
    """Return one-hot rows, and which ids are whole numbers in range.

    A comparison, not `ops.one_hot`: XLA fuses it into the sums that use it, and
    an id that is out of range leaves a row of zeros on every backend instead of
    an exception, a NaN or a neighbour's class.
    """
    ids_dtype = keras.backend.standardize_dtype(ids.dtype)
    if ids_dtype.startswith("uint"):
        # JAX has no 64-bit integers by default; a wrapped id turns negative.
        is_jax = keras.backend.backend() == "jax"
        ids = ops.cast(ids, "int32" if is_jax else "int64")
        ids_dtype = keras.backend.standardize_dtype(ids.dtype)
    elif ids_dtype in ("int8", "int16", "bool", *HALF_PRECISION):
        ids_dtype = "float32" if ids_dtype in HALF_PRECISION else "int32"
        ids = ops.cast(ids, ids_dtype)
    is_valid = ops.logical_and(ids >= 0, ids < num_classes)
    if "float" in ids_dtype:
        is_valid = ops.logical_and(is_valid, ops.equal(ids, ops.floor(ids)))
    classes = ops.arange(num_classes, dtype=ids_dtype)
    return ops.cast(ops.equal(classes, ids[..., None]), dtype), is_valid


def _check_concrete_distributions(owner, y_true):
    """Return whether label rows can be seen; raise if one is no distribution."""
    labels = _concrete(y_true)
    if labels is None:
        return False
    _check_dtype(owner, labels)
    total = labels.sum(axis=-1, dtype="float64")
    # NaN fails both comparisons.
    is_valid = (abs(total - 1) <= LABEL_TOLERANCE) & (labels.min(axis=-1) >= 0)
    if not is_valid.all():
        row = labels[~is_valid][0]
        shown = np.array2string(row.astype("float64"), precision=3, threshold=10)
        raise ValueError(
            errors.message(
                owner,
                "y_true",
                "class ids, or distributions: rows that sum to 1, none negative",
                errors.Described(f"a row {shown} that sums to {row.sum():.4g}"),
                "Divide counts and votes by their sum. Weights of examples go into "
                "`sample_weight`, 0 for those without a label. Examples of several "
                "classes at once need another kind of loss.",
            )
        )
    return True


def _check_concrete_probabilities(owner, argument, y_pred):
    """Raise on negative probabilities, where their values can be seen."""
    values = _concrete(y_pred)
    if values is not None and values.size and values.min() < 0:
        raise ValueError(
            errors.message(
                owner,
                argument,
                "probabilities",
                errors.Described(f"values from {values.min():.4g} on"),
                "Pass from_logits=True if they are logits.",
            )
        )


def _check_dtype(owner, labels):
    if labels.dtype.kind in "OSUc":
        raise TypeError(
            f"{owner}: `y_true` must hold numbers. Received: y_true.dtype="
            f"{labels.dtype}. `keras.layers.StringLookup` makes class ids of strings."
        )


def _check_concrete_ids(owner, y_true, num_classes):
    """Raise on ids that are out of range, where their values can be seen."""
    ids = _concrete(y_true)
    if ids is None or ids.size == 0:
        return
    _check_dtype(owner, ids)
    # The extremes first, because they cost nothing; NaN fails the comparison.
    low, high = ids.min(), ids.max()
    if not (low >= 0 and high < num_classes):
        raise ValueError(
            f"{owner}: `y_true` must hold class ids in [0, {num_classes}), because "
            f"y_pred has {num_classes} classes. Received ids from {low} to {high}. "
            "Mark examples without a label by `sample_weight=0` and any valid id."
        )
    if ids.dtype.kind == "f" and not np.array_equal(ids, np.floor(ids)):
        raise ValueError(
            f"{owner}: `y_true` must hold whole numbers where its shape says class "
            f"ids. Received: y_true.shape={ids.shape} with fractions. Distributions "
            f"have a last dimension of {num_classes}."
        )


def _concrete(x):
    """Return `x` as a NumPy array, or None inside compiled code.

    A torch tensor on an accelerator counts as not visible too: looking at it
    would make every step wait for the device.
    """
    backend = keras.backend.backend()
    if not ops.is_tensor(x):
        return x if isinstance(x, np.ndarray) else None
    if backend == "jax":
        import jax

        return None if isinstance(x, jax.core.Tracer) else np.asarray(x)
    if backend == "torch":
        import torch
        from keras.src.backend.common.stateless_scope import in_stateless_scope

        # Keras traces a step with made-up tensors, there alone in such a scope.
        if in_stateless_scope():
            return None
        if torch.compiler.is_compiling() or x.device.type != "cpu":
            return None
        x = x.detach()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    return x.numpy() if hasattr(x, "numpy") else None
