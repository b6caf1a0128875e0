"""What formulas take from predictions: log-probabilities, in one reading of them."""

from __future__ import annotations

import warnings

import keras
import numpy as np
from keras import ops

from keras_noisy import _keras
from keras_noisy._checks import errors
from keras_noisy.losses import _tensors

# Stands for the logarithm of zero: finite, so that a weight of zero times it is zero.
LOG_ZERO = -1e30


class Prediction:
    """The softmax of `logits`, kept as the row sums that losses are made of.

    `exp(shifted)` is computed once; cross-entropy and entropy are sums over it,
    which XLA fuses into a single pass over the classes. Subtracting the largest
    logit first keeps every sum finite, and both terms of the entropy are
    non-negative, so nothing cancels.

    A logit of minus infinity, of a class that is masked, counts as `LOG_ZERO`: where
    its weight is zero so is the product, as `0 log 0` has it, and sums are the limit
    for a logit that falls. `_formula.finish` turns them into infinity where there is
    none.

    Args:
        logits: Tensor of shape `(..., num_classes)`.
        is_binary: Whether the first of two classes had no output of its own.
    """

    def __init__(self, logits, is_binary=False):
        self.is_binary = is_binary
        largest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
        # As `shifted`, but minus infinity where the logit is.
        self.raw = logits - largest
        self.shifted = _tensors.at_least(LOG_ZERO, self.raw)
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


def read(owner, y_pred, from_logits):
    """Return the `Prediction` for what a user passed as `y_pred`."""
    y_pred = _tensors.as_tensor(y_pred, owner)
    check_shape(owner, y_pred)
    logits = to_logits(owner, y_pred, from_logits)
    return Prediction(logits, is_binary(y_pred.shape))


def is_binary(shape):
    """Whether predictions of a shape are one sigmoid output for each example."""
    return len(shape) == 1 or shape[-1] == 1


def distribution_shape(owner, y_pred):
    """Return the shape of the distributions that `y_pred` stands for, or raise.

    One sigmoid output `p`, with or without a dimension of its own, is `[1 - p, p]`.
    """
    check_shape(owner, y_pred)
    shape = tuple(y_pred.shape)
    if not is_binary(shape):
        return shape
    return (*(shape[:-1] if len(shape) > 1 else shape), 2)


def check_shape(owner, y_pred):
    """Raise unless `y_pred` holds examples of some classes, or one output for each."""
    shape = _tensors.shape_of(owner, "y_pred", y_pred)
    if not shape or (len(shape) > 1 and not shape[-1]):
        raise ValueError(
            f"{owner}: `y_pred` must have shape (batch, ..., num_classes), or "
            "(batch, ..., 1) or (batch,) for one sigmoid output. Received: "
            f"y_pred.shape={shape}."
        )
    if 0 in shape:
        raise ValueError(
            f"{owner}: `y_pred` must hold at least one example. Received: "
            f"y_pred.shape={shape}. Drop empty batches before the loss."
        )


def to_logits(owner, y_pred, from_logits, argument="y_pred"):
    """Return log-probabilities up to a constant per example, at least float32.

    Probabilities that come from a softmax or a sigmoid whose input can still be
    reached are replaced by that input, so that saturated outputs lose nothing; else
    their logarithm is taken, clipped at the smallest normal number. Negative ones are
    an error where they can be seen.

    One output of logit `z` becomes two of `[0, z]`.
    """
    errors.check_bool(owner, "from_logits", from_logits)
    if not is_binary(y_pred.shape):
        hidden = _hidden_logits(owner, y_pred, from_logits, "Softmax")
        if hidden is not None:
            return hidden
        check_probabilities(owner, argument, y_pred)
        return _log(_at_least_float32(y_pred))
    logit = log_odds(owner, y_pred, from_logits, argument)
    if len(logit.shape) > 1:
        logit = ops.squeeze(logit, axis=-1)
    return ops.stack([ops.zeros_like(logit), logit], axis=-1)


def log_odds(owner, y_pred, from_logits, argument="y_pred"):
    """Return the logits of sigmoid outputs, of their shape and at least float32."""
    logit = _hidden_logits(owner, y_pred, from_logits, "Sigmoid")
    if logit is not None:
        return logit
    check_probabilities(owner, argument, y_pred, at_most_one=True)
    p = _at_least_float32(y_pred)
    return _log(p) - _log(1 - p)


def _hidden_logits(owner, y_pred, from_logits, activation):
    """Return the logits of `y_pred`, or None where there are probabilities alone."""
    if activation == "Sigmoid":
        _check_no_softmax(owner, y_pred)
    hidden = _keras.activation_input(y_pred, activation)
    if hidden is not None:
        if from_logits:
            name = activation.lower()
            warnings.warn(
                f"{owner} received `from_logits=True`, but `y_pred` comes from a "
                f"{name}. Its input is used. Remove the {name} or "
                "`from_logits=True`.",
                stacklevel=2,
            )
        return _at_least_float32(hidden)
    if from_logits:
        return _at_least_float32(y_pred)
    _keras.miss_logits()
    return None


def _check_no_softmax(owner, y_pred):
    """Raise if outputs that stand for themselves are seen to come from a softmax."""
    is_one = is_binary(y_pred.shape)
    if _keras.is_softmax(y_pred) or (is_one and _is_always_one(y_pred)):
        received = "those of a softmax"
        if is_one:
            received = "a softmax of one output, which is always 1"
        raise ValueError(
            errors.message(
                owner,
                "y_pred",
                "outputs of a sigmoid, or of a softmax of at least two classes",
                errors.Described(received),
                "Use a sigmoid, or a softmax with an output for each class.",
            )
        )


def _is_always_one(y_pred):
    """Whether outputs are one though their input is seen to be of another opinion."""
    values, hidden = (
        _tensors.visible(x) for x in (y_pred, _keras.activation_input(y_pred, ""))
    )
    if values is None or hidden is None:
        return False
    # A sigmoid is one from 17 on, in half precision from 9.
    return bool(values.size and (values == 1).all() and hidden.min() < 7)


def _log(p):
    """Return `log p`, clipped at the smallest normal number."""
    dtype = keras.backend.standardize_dtype(p.dtype)
    tiny = ops.convert_to_tensor(float(np.finfo(dtype).tiny), dtype=dtype)
    # Not `ops.maximum`, which computes float64 in float32 on torch, where tiny is 0.
    return ops.log(ops.where(p < tiny, tiny, p))


def _at_least_float32(x):
    dtype = keras.backend.standardize_dtype(x.dtype)
    is_low = dtype in _tensors.HALF_PRECISION or not dtype.startswith("float")
    return ops.cast(x, "float32") if is_low else x


def check_probabilities(owner, argument, y_pred, *, at_most_one=False):
    """Raise on values that are no probabilities, where they can be seen.

    Of a distribution none may be negative; those of sigmoid outputs must be at most
    one too, as each says what its other class has.
    """
    values = _tensors.visible(y_pred)
    if values is None or not values.size:
        return
    low, high = values.min(), values.max()
    at_most_one = at_most_one or is_binary(values.shape)
    if low < 0 or (at_most_one and high > 1):
        received = f"values from {low:.4g} on"
        if low >= 0:
            received = f"values up to {high:.4g}"
        raise ValueError(
            errors.message(
                owner,
                argument,
                "probabilities",
                errors.Described(received),
                "Pass from_logits=True if they are logits.",
            )
        )
