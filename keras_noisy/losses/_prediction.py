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
    """

    def __init__(self, logits):
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
    return Prediction(to_logits(owner, y_pred, from_logits))


def check_shape(owner, y_pred):
    """Raise unless `y_pred` holds examples of at least two classes."""
    shape = _tensors.shape_of(owner, "y_pred", y_pred)
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


def to_logits(owner, y_pred, from_logits, argument="y_pred"):
    """Return log-probabilities up to a constant per example, at least float32.

    Probabilities that come from a softmax whose input can still be reached are
    replaced by that input, so that saturated outputs lose nothing; else their
    logarithm is taken, clipped at the smallest normal number. Negative ones are an
    error where they can be seen.
    """
    errors.check_bool(owner, "from_logits", from_logits)
    hidden = _keras.softmax_input(y_pred)
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
    _keras.miss_logits()
    check_probabilities(owner, argument, y_pred)
    dtype = keras.backend.standardize_dtype(y_pred.dtype)
    tiny = ops.convert_to_tensor(float(np.finfo(dtype).tiny), dtype=dtype)
    # Not `ops.maximum`, which computes float64 in float32 on torch, where tiny is 0.
    return ops.log(ops.where(y_pred < tiny, tiny, y_pred))


def _at_least_float32(x):
    dtype = keras.backend.standardize_dtype(x.dtype)
    is_low = dtype in _tensors.HALF_PRECISION or not dtype.startswith("float")
    return ops.cast(x, "float32") if is_low else x


def check_probabilities(owner, argument, y_pred):
    """Raise on negative probabilities, where their values can be seen."""
    values = _tensors.visible(y_pred)
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
