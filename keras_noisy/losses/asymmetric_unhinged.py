"""Asymmetric unhinged loss."""

from __future__ import annotations

import math
from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import Interval, positive
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss

_MEND = "The paper uses a=5.5, q=3.0 on CIFAR-10."


@_loss.arguments(
    a=Interval(1, math.inf, "neither", _MEND),
    q=positive(_MEND),
)
def asymmetric_unhinged(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    a: float,
    q: float,
    from_logits: bool = False,
) -> Tensor:
    """Power of the distance of the labelled probability from a constant (AUL).

    For a class id `y`

        loss = ((a - p_y)^q - (a - 1)^q) / q

    and for a distribution the sum over the classes weighted by it. `q = 1` is
    `1 - p_y`, the unhinged loss. It is asymmetric, see
    `asymmetric_generalized_cross_entropy`.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        a: The constant, above 1 and finite.
        q: Exponent, positive and finite; the paper names it `p`.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `a` is not above 1 and finite, `q` is not positive and finite,
            shapes do not fit, `y_true` holds ids out of range or rows that are no
            distributions (inside compiled code: NaN for that example), or `y_pred`
            holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.asymmetric_unhinged([1], [[0.25, 0.75]], a=2.0, q=2.0)
        >>> round(float(loss[0]), 3)
        0.281

    Reference:
        Zhou et al., "Asymmetric Loss Functions for Learning with Noisy Labels", ICML
        2021.
    """

    def formula(labels, p):
        return ops.sum(labels * _terms(p.probabilities, a, q), axis=-1)

    return _formula.per_example(
        "asymmetric_unhinged", y_true, y_pred, from_logits, formula
    )


# Whole exponents up to here are multiplied out, which is faster than a logarithm.
LARGEST_EXPANSION = 4


def _terms(p, a, q):
    rest = a - 1
    if q == int(q) and q <= LARGEST_EXPANSION:
        return _expansion(1 - p, rest, int(q)) / q
    if rest < 1:
        return (ops.exp(q * ops.log(rest + (1 - p))) - rest**q) / q
    # The difference of two large powers would lose the digits of `p`.
    return rest**q / q * ops.expm1(q * ops.log1p((1 - p) / rest))


def _expansion(x, rest, q):
    """`(rest + x)^q - rest^q`, of terms that are not negative, so nothing cancels."""
    return sum(math.comb(q, k) * rest ** (q - k) * x**k for k in range(1, q + 1))


@keras.saving.register_keras_serializable(package="keras_noisy")
class AsymmetricUnhinged(_loss.NoisyLabelLoss):
    """Power of the distance of the labelled probability from a constant (AUL).

    See `keras_noisy.losses.asymmetric_unhinged` for the formula and the label forms.
    """

    function = staticmethod(asymmetric_unhinged)
    a: float
    q: float
    presets = MappingProxyType(
        {
            "mnist": {"a": 3.0, "q": 0.1},
            "cifar10": {"a": 5.5, "q": 3.0},
            "cifar100": {"a": 5.5, "q": 3.0},
            "nce+aul, cifar10": {"a": 6.3, "q": 1.5},
            "nce+aul, cifar100": {"a": 6.0, "q": 3.0},
        }
    )
