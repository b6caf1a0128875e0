"""How a formula in labels and a prediction becomes a loss.

A loss of this package is a formula in a label distribution `q` and a `Prediction` `p`.
`per_example` turns what users pass (class ids or distributions, probabilities or
logits, any leading dimensions) into these two. A formula that wants more of the labels,
or is not one of an example, begins with `read` and ends with `finish`.
"""

from __future__ import annotations

import math

from keras import ops

from keras_noisy._checks import errors
from keras_noisy.losses import _labels, _prediction, _tensors

# A larger loss has `LOG_ZERO` in it, as no logits are that far apart: it is infinite.
LARGEST_LOSS = 1e15


def per_example(owner, y_true, y_pred, from_logits, formula):
    """Apply `formula(q, prediction)` to what a user passed to a loss.

    Args:
        owner: Name of the loss, for errors.
        y_true: Class ids of shape `y_pred.shape[:-1]` or that with a last
            dimension of one, or distributions of the shape of `y_pred`. Of one sigmoid
            output labels in [0, 1], or distributions over two classes.
        y_pred: Probabilities or logits, shape `(..., num_classes)`; or those of one
            sigmoid output, `(..., 1)` or `(batch,)`.
        from_logits: Whether `y_pred` holds logits.
        formula: Function of the label distribution and the `Prediction` that
            returns a tensor of shape `(...,)`.

    Returns:
        Tensor of shape `y_pred.shape[:-1]`, `(batch,)` for predictions of that shape,
        of the dtype of `y_pred` but at least float32. NaN where a class id is not in
        `[0, num_classes)` or a row of labels does not sum to one, which only compiled
        code can meet: outside of it such labels are an error, and negative ones too.
        Infinite where the formula is.
    """
    labels, p = read(owner, y_true, y_pred, from_logits)
    return finish(labels, formula(labels.q, p))


def cross_entropy(owner, y_true, y_pred, from_logits):
    """Return the cross-entropy of what a user passed to a loss, as `per_example`."""
    return per_example(
        owner, y_true, y_pred, from_logits, lambda q, p: p.cross_entropy(q)
    )


def read(owner, y_true, y_pred, from_logits):
    """Return `Labels` and `Prediction` of what a user passed to a loss.

    Arguments are those of `per_example`. What is made of the two must go through
    `finish`.
    """
    p = _prediction.read(owner, y_pred, from_logits)
    shape, dtype = p.shifted.shape, p.shifted.dtype
    return _labels.read(owner, y_true, shape, dtype, is_binary=p.is_binary), p


def finish(labels, loss):
    """Return a loss as users get it: infinite where it is, NaN for bad labels.

    Infinity has no gradient. It is what `LOG_ZERO` made large.
    """
    infinity = ops.convert_to_tensor(math.inf, dtype=loss.dtype)
    loss = ops.where(loss > LARGEST_LOSS, infinity, loss)
    loss = ops.where(loss < -LARGEST_LOSS, -infinity, loss)
    return labels.nan_where_bad(loss)


def check_arguments(owner, y_true, y_pred, from_logits):
    """Raise where `per_example` would, without computing a loss."""
    errors.check_bool(owner, "from_logits", from_logits)
    y_pred = _tensors.as_tensor(y_pred, owner)
    shape = _prediction.distribution_shape(owner, y_pred)
    if not from_logits:
        _prediction.check_probabilities(owner, "y_pred", y_pred)
    is_binary = _prediction.is_binary(y_pred.shape)
    _labels.read(owner, y_true, shape, "float32", is_binary=is_binary)
