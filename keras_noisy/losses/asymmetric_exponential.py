"""Asymmetric exponential loss."""

from __future__ import annotations

import math
from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss


@_loss.arguments(
    a=Interval(1e-6, math.inf, mend="The paper uses a=2.5 on CIFAR-10."),
)
def asymmetric_exponential(
    y_true: TensorLike, y_pred: TensorLike, *, a: float, from_logits: bool = False
) -> Tensor:
    """Exponential of the labelled probability (AEL).

    For a class id `y`

        loss = exp(-p_y / a)

    and for a distribution the sum over the classes weighted by it. It is asymmetric,
    see `asymmetric_generalized_cross_entropy`. Its least value is `exp(-1 / a)`, not 0.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        a: Scale, at least 1e-6 and finite.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `a` is below 1e-6 or not finite, shapes do not fit, `y_true`
            holds ids out of range or rows that are no distributions (inside compiled
            code: NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.asymmetric_exponential([1], [[0.25, 0.75]], a=2.5)
        >>> round(float(loss[0]), 4)
        0.7408

    Reference:
        Zhou et al., "Asymmetric Loss Functions for Learning with Noisy Labels", ICML
        2021.
    """

    def formula(q, p):
        return ops.sum(q * ops.exp(-p.probabilities / a), axis=-1)

    return _formula.per_example(
        "asymmetric_exponential", y_true, y_pred, from_logits, formula
    )


@keras.saving.register_keras_serializable(package="keras_noisy")
class AsymmetricExponential(_loss.NoisyLabelLoss):
    """Exponential of the labelled probability (AEL).

    See `keras_noisy.losses.asymmetric_exponential` for the formula and the label forms.
    """

    function = staticmethod(asymmetric_exponential)
    a: float
    presets = MappingProxyType(
        {
            "mnist": {"a": 3.5},
            "cifar10": {"a": 2.5},
            "cifar100": {"a": 2.5},
            "nce+ael, cifar10": {"a": 5.0},
            "nce+ael, cifar100": {"a": 1.5},
        }
    )
