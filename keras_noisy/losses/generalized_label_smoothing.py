"""Generalized label smoothing."""

from __future__ import annotations

import math

import keras

from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _loss, _targets


@_loss.arguments(
    smooth_rate=Interval(
        -math.inf, 1, mend="Try -1.0 under heavy noise and 0.1 under little."
    ),
)
def generalized_label_smoothing(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    smooth_rate: float,
    from_logits: bool = False,
) -> Tensor:
    """Label smoothing with a rate that may be negative (GLS).

        loss = (1 - smooth_rate) H(q, p) + smooth_rate H(u, p)

    with `u` uniform. A positive rate is label smoothing. A negative one, which the
    paper recommends for high noise rates, counts the label more than once and every
    class against itself; the loss then has no lower bound.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        smooth_rate: Weight of the uniform distribution, finite and at most 1.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `smooth_rate` is above 1 or not finite, shapes do not fit,
            `y_true` holds ids out of range or rows that are no distributions (inside
            compiled code: NaN for that example), or `y_pred` holds negative
            probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.generalized_label_smoothing(
        ...     [1], [[0.25, 0.75]], smooth_rate=-0.5
        ... )
        >>> round(float(loss[0]), 4)
        0.013

    Reference:
        Wei et al., "To Smooth or Not? When Label Smoothing Meets Noisy Labels", ICML
        2022.
    """
    owner = "generalized_label_smoothing"

    def target(q, p):
        return (1 - smooth_rate) * q + smooth_rate * p.uniform()

    return _targets.per_example(owner, y_true, y_pred, from_logits, target)


@keras.saving.register_keras_serializable(package="keras_noisy")
class GeneralizedLabelSmoothing(_loss.NoisyLabelLoss):
    """Label smoothing with a rate that may be negative (GLS).

    See `keras_noisy.losses.generalized_label_smoothing` for the formula and the label
    forms.
    """

    function = staticmethod(generalized_label_smoothing)
    smooth_rate: float
