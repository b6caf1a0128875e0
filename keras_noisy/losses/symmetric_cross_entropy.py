"""Symmetric cross-entropy."""

from __future__ import annotations

from types import MappingProxyType

import keras

from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss
from keras_noisy.losses.reverse_cross_entropy import (
    LOG_ZERO,
    reverse_cross_entropy_formula,
)

_MEND = "The paper uses alpha=0.1, beta=1 on CIFAR-10 and 6, 0.1 on CIFAR-100."


@_loss.arguments(
    alpha=at_least_zero(_MEND),
    beta=at_least_zero(_MEND),
    log_zero=LOG_ZERO,
)
def symmetric_cross_entropy(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    alpha: float,
    beta: float,
    log_zero: float = -4.0,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy and reverse cross-entropy together.

        loss = alpha H(q, p) + beta RCE

    with `RCE = -sum_k p_k max(log q_k, log_zero)`, see `reverse_cross_entropy`. The
    first term learns, the second one tolerates wrong labels. `beta = 0` is
    cross-entropy.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        alpha: Weight of cross-entropy, at least 0 and finite.
        beta: Weight of reverse cross-entropy, at least 0 and finite.
        log_zero: What stands for `log 0`, negative. The paper names it `A`.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `alpha` or `beta` is negative or not finite, `log_zero` is not
            negative and finite, shapes do not fit, `y_true` holds ids out of range or
            rows that are no distributions (inside compiled code: NaN for that example),
            or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.symmetric_cross_entropy(
        ...     [1], [[0.25, 0.75]], alpha=0.1, beta=1.0
        ... )
        >>> round(float(loss[0]), 4)
        1.0288

    Reference:
        Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels",
        ICCV 2019.
    """
    reverse = reverse_cross_entropy_formula(log_zero)
    owner = "symmetric_cross_entropy"

    def formula(q, p):
        return alpha * p.cross_entropy(q) + beta * reverse(q, p)

    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)


@keras.saving.register_keras_serializable(package="keras_noisy")
class SymmetricCrossEntropy(_loss.NoisyLabelLoss):
    """Cross-entropy and reverse cross-entropy together.

    See `keras_noisy.losses.symmetric_cross_entropy` for the formula and the label
    forms.
    """

    function = staticmethod(symmetric_cross_entropy)
    alpha: float
    beta: float
    log_zero: float = -4.0
    presets = MappingProxyType(
        {
            "mnist": {"alpha": 0.01, "beta": 1.0},
            "cifar10": {"alpha": 0.1, "beta": 1.0},
            "cifar100": {"alpha": 6.0, "beta": 0.1},
        }
    )
