"""Normalized generalized cross-entropy."""

from __future__ import annotations

from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss
from keras_noisy.losses.generalized_cross_entropy import EXPONENT


@_loss.arguments(
    q=EXPONENT,
)
def normalized_generalized_cross_entropy(
    y_true: TensorLike, y_pred: TensorLike, *, q: float = 0.7, from_logits: bool = False
) -> Tensor:
    """Generalized cross-entropy as a share of those to all classes.

    For a class id `y`

        loss = (1 - p_y^q) / (C - sum_k p_k^q)

    and for a distribution the sum over the classes weighted by it. `q -> 0` is
    normalized cross-entropy. An active loss for `active_passive`.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        q: Exponent, in (0, 1].
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `q` is outside (0, 1], shapes do not fit, `y_true` holds ids out
            of range or rows that are no distributions (inside compiled code: NaN for
            that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.normalized_generalized_cross_entropy([1], [[0.25, 0.75]])
        >>> round(float(loss[0]), 4)
        0.227

    Reference:
        Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML
        2020.
    """
    # At smaller ones numerator and denominator cannot be told from zero.
    q = max(q, 1e-20)

    def formula(labels, p):
        # Not `1 - p ** q`, whose slope at p = 0 is infinite.
        terms = -ops.expm1(q * p.log_probabilities)
        return ops.sum(labels * terms, axis=-1) / ops.sum(terms, axis=-1)

    return _formula.per_example(
        "normalized_generalized_cross_entropy", y_true, y_pred, from_logits, formula
    )


@keras.saving.register_keras_serializable(package="keras_noisy")
class NormalizedGeneralizedCrossEntropy(_loss.NoisyLabelLoss):
    """Generalized cross-entropy as a share of those to all classes.

    See `keras_noisy.losses.normalized_generalized_cross_entropy` for the formula and
    the label forms.
    """

    function = staticmethod(normalized_generalized_cross_entropy)
    q: float = 0.7
    presets = MappingProxyType(
        {"mnist": {"q": 0.1}, "cifar10": {"q": 0.1}, "cifar100": {"q": 0.7}}
    )
    renamed_presets = MappingProxyType({"paper": "cifar100"})
