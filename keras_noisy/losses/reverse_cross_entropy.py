"""Reverse cross-entropy."""

from __future__ import annotations

import math

import keras
from keras import ops

from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss

LOG_ZERO = Interval(-80, 0, "left", "The paper uses -4.")


@_loss.arguments(
    log_zero=LOG_ZERO,
)
def reverse_cross_entropy(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    log_zero: float = -4.0,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy with label and prediction exchanged.

        loss = -sum_k p_k max(log q_k, log_zero)

    where the logarithm of a label of zero is defined as `log_zero`, a negative
    number. For a class id `y` that is `-log_zero (1 - p_y)`: `-log_zero / 2` times the
    mean absolute error.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        log_zero: What stands for `log 0`, negative. The paper names it `A` and uses -4.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `log_zero` is not negative and finite, shapes do not fit,
            `y_true` holds ids out of range or rows that are no distributions (inside
            compiled code: NaN for that example), or `y_pred` holds negative
            probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.reverse_cross_entropy([1], [[0.25, 0.75]])
        >>> round(float(loss[0]), 4)
        1.0

    Note:
        The logarithm of small but positive labels is bounded by `log_zero` too, which
        the paper leaves open: otherwise the loss would jump where a soft label reaches
        zero. Published code clips labels at 1e-4, which is `log_zero=-9.21`.

    Reference:
        Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels",
        ICCV 2019.
    """
    owner = "reverse_cross_entropy"
    formula = reverse_cross_entropy_formula(log_zero)
    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)


def reverse_cross_entropy_formula(log_zero):
    """Return the loss as a function of labels and `Prediction`."""
    smallest = math.exp(log_zero)

    def formula(q, p):
        # `where` and not `maximum`, which computes float64 in float32 on torch.
        floor = ops.convert_to_tensor(smallest, dtype=q.dtype)
        log_q = ops.log(ops.where(q < floor, floor, q))
        return -ops.sum(p.exp * log_q, axis=-1) / p.total

    return formula


@keras.saving.register_keras_serializable(package="keras_noisy")
class ReverseCrossEntropy(_loss.NoisyLabelLoss):
    """Cross-entropy with label and prediction exchanged.

    See `keras_noisy.losses.reverse_cross_entropy` for the formula and the label forms.
    """

    function = staticmethod(reverse_cross_entropy)
    log_zero: float = -4.0
