"""Normalized focal loss."""

from __future__ import annotations

from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss


@_loss.arguments(
    gamma=at_least_zero("The paper uses 0.5."),
)
def normalized_focal(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    gamma: float = 0.5,
    from_logits: bool = False,
) -> Tensor:
    """Focal loss as a share of the focal losses to all classes.

    With the focal loss `FL_k = -(1 - p_k)^gamma log p_k`

        loss = sum_k q_k FL_k / sum_k FL_k

    which for a class id `y` is `FL_y / sum_k FL_k`. `gamma = 0` is normalized
    cross-entropy. An active loss for `active_passive`.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        gamma: Focus on examples that are not yet learnt, at least 0 and finite. The
            paper uses 0.5.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `gamma` is negative or not finite, shapes do not fit, `y_true`
            holds ids out of range or rows that are no distributions (inside compiled
            code: NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.normalized_focal([1], [[0.25, 0.75]])
        >>> round(float(loss[0]), 4)
        0.107

    Note:
        Published code stops the gradient of the factor `(1 - p_k)^gamma`. Here the loss
        is differentiated whole.

    Reference:
        Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML
        2020; focal loss from Lin et al., ICCV 2017.
    """

    def formula(q, p):
        log_p = p.log_probabilities
        focal = -_power_of_complement(log_p, gamma) * log_p
        return ops.sum(q * focal, axis=-1) / ops.sum(focal, axis=-1)

    return _formula.per_example(
        "normalized_focal", y_true, y_pred, from_logits, formula
    )


def _power_of_complement(log_p, gamma):
    """Return `(1 - p) ** gamma`, with a gradient of zero where `p` rounds to one.

    There the slope of the power can be infinite, while that of the focal loss,
    which multiplies it by `log p`, vanishes.
    """
    complement = -ops.expm1(log_p)
    is_positive = complement > 0
    safe = ops.where(is_positive, complement, ops.ones_like(complement))
    # The paper's exponent, for which the root is cheaper than a power.
    power = ops.sqrt(safe) if gamma == 0.5 else ops.exp(gamma * ops.log(safe))
    return ops.where(is_positive, power, ops.zeros_like(power)) if gamma else power


@keras.saving.register_keras_serializable(package="keras_noisy")
class NormalizedFocal(_loss.NoisyLabelLoss):
    """Focal loss as a share of the focal losses to all classes.

    See `keras_noisy.losses.normalized_focal` for the formula and the label forms.
    """

    function = staticmethod(normalized_focal)
    gamma: float = 0.5
    presets = MappingProxyType({"paper": {"gamma": 0.5}})
