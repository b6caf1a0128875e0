"""Asymmetric generalized cross-entropy."""

from __future__ import annotations

from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import positive
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss

_MEND = "The paper uses a=0.6, q=0.6 on CIFAR-10."


@_loss.arguments(
    a=positive(_MEND),
    q=positive(_MEND),
)
def asymmetric_generalized_cross_entropy(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    a: float,
    q: float,
    from_logits: bool = False,
) -> Tensor:
    """Generalized cross-entropy on a probability that is lifted by a constant (AGCE).

    For a class id `y`

        loss = ((a + 1)^q - (a + p_y)^q) / q

    and for a distribution the sum over the classes weighted by it. `a -> 0` is
    generalized cross-entropy. The loss is asymmetric: as long as the right label is
    more frequent than any other, its minimiser is that of clean data.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        a: Lift, positive and finite.
        q: Exponent, positive and finite.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `a` or `q` is not positive and finite, shapes do not fit,
            `y_true` holds ids out of range or rows that are no distributions (inside
            compiled code: NaN for that example), or `y_pred` holds negative
            probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.asymmetric_generalized_cross_entropy(
        ...     [1], [[0.25, 0.75]], a=1.0, q=2.0
        ... )
        >>> round(float(loss[0]), 3)
        0.469

    Reference:
        Zhou et al., "Asymmetric Loss Functions for Learning with Noisy Labels", ICML
        2021.
    """

    def formula(labels, p):
        return ops.sum(labels * _terms(p.probabilities, a, q), axis=-1)

    return _formula.per_example(
        "asymmetric_generalized_cross_entropy", y_true, y_pred, from_logits, formula
    )


def _terms(p, a, q):
    if a < 1:
        return ((a + 1) ** q - ops.exp(q * ops.log(a + p))) / q
    # The difference of two large powers would lose the digits of `p`.
    return -((a + 1) ** q) / q * ops.expm1(q * ops.log1p((p - 1) / (a + 1)))


@keras.saving.register_keras_serializable(package="keras_noisy")
class AsymmetricGeneralizedCrossEntropy(_loss.NoisyLabelLoss):
    """Generalized cross-entropy on a probability that is lifted by a constant (AGCE).

    See `keras_noisy.losses.asymmetric_generalized_cross_entropy` for the formula and
    the label forms.
    """

    function = staticmethod(asymmetric_generalized_cross_entropy)
    a: float
    q: float
    presets = MappingProxyType(
        {
            "mnist": {"a": 4.0, "q": 0.2},
            "cifar10": {"a": 0.6, "q": 0.6},
            "cifar100": {"a": 0.6, "q": 0.6},
            "webvision": {"a": 1e-5, "q": 0.5},
            "nce+agce, cifar10": {"a": 6.0, "q": 1.5},
            "nce+agce, cifar100": {"a": 1.8, "q": 3.0},
            "nce+agce, webvision": {"a": 2.5, "q": 3.0},
        }
    )
