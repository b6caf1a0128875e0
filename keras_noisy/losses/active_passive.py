"""Active-passive pairs of losses."""

from __future__ import annotations

import math
from types import MappingProxyType

import keras

from keras_noisy._checks import errors
from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss, _timed
from keras_noisy.losses.asymmetric_exponential import AsymmetricExponential
from keras_noisy.losses.asymmetric_generalized_cross_entropy import (
    AsymmetricGeneralizedCrossEntropy,
)
from keras_noisy.losses.asymmetric_unhinged import AsymmetricUnhinged
from keras_noisy.losses.mean_absolute_error import MeanAbsoluteError
from keras_noisy.losses.normalized_cross_entropy import NormalizedCrossEntropy
from keras_noisy.losses.normalized_focal import NormalizedFocal
from keras_noisy.losses.reverse_cross_entropy import ReverseCrossEntropy

_MEND = "The paper uses 1, 1 on CIFAR-10."


def _plain_loss(owner, argument, loss):
    """Return a loss that needs no callback, or raise."""
    base = _loss.NoisyLabelLoss
    if isinstance(loss, base) and type(loss).call is base.call:
        is_timed = isinstance(loss, _timed.TimedLoss)
        if not (loss.depends_on_time() if is_timed else loss.companion):
            return loss
    expected = "a loss object of keras_noisy.losses that needs no callback"
    mend = "Pass for example losses.NormalizedCrossEntropy()."
    raise TypeError(errors.message(owner, argument, expected, loss, mend))


@_loss.arguments(
    active=_plain_loss,
    passive=_plain_loss,
    alpha=at_least_zero(_MEND),
    beta=at_least_zero(_MEND),
)
def active_passive(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    active: _loss.NoisyLabelLoss,
    passive: _loss.NoisyLabelLoss,
    alpha: float,
    beta: float,
    from_logits: bool = False,
) -> Tensor:
    """Weighted sum of a loss that learns and a loss that resists.

        loss = alpha active + beta passive

    An active loss (normalized cross-entropy, focal or generalized cross-entropy) only
    raises the probability of the label; a passive one (mean absolute error, reverse
    cross-entropy) also lowers the others. Each alone is robust but learns too little.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        active: A loss of this package, for example `NormalizedCrossEntropy()`. Its own
            `from_logits`, `reduction` and `dtype` do not count.
        passive: A loss of this package, for example `MeanAbsoluteError()`.
        alpha: Weight of the active loss, at least 0 and finite.
        beta: Weight of the passive loss, at least 0 and finite.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        TypeError: If `active` or `passive` is not a loss of this package.
        ValueError: If `alpha` or `beta` is negative or not finite, shapes do not fit,
            `y_true` holds ids out of range or rows that are no distributions (inside
            compiled code: NaN for that example), or `y_pred` holds negative
            probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.active_passive(
        ...     [1],
        ...     [[0.25, 0.75]],
        ...     active=losses.NormalizedCrossEntropy(),
        ...     passive=losses.MeanAbsoluteError(),
        ...     alpha=1.0,
        ...     beta=0.5,
        ... )
        >>> round(float(loss[0]), 4)
        0.4219

    Reference:
        Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML
        2020; the pairs with asymmetric losses from Zhou et al., "Asymmetric Loss
        Functions for Learning with Noisy Labels", ICML 2021.
    """
    # Here, so that an error names this loss and not one of the two.
    _formula.check_arguments("active_passive", y_true, y_pred, from_logits)
    terms = [
        weight * loss.without_reduction(y_true, y_pred, from_logits=from_logits)
        for weight, loss in ((alpha, active), (beta, passive))
        # Not a product with zero, because the loss can be infinite.
        if weight or alpha == beta
    ]
    return sum(terms)


def _pair(active, passive, alpha, beta):
    return {"active": active, "passive": passive, "alpha": alpha, "beta": beta}


# The authors clip labels at 1e-4 in reverse cross-entropy, and their mean absolute
# error is half of ours: its weights are halved here.
_NCE = NormalizedCrossEntropy()
_NFL = NormalizedFocal(gamma=0.5)
_RCE = ReverseCrossEntropy(log_zero=math.log(1e-4))
_MAE = MeanAbsoluteError()
_AGCE = AsymmetricGeneralizedCrossEntropy.from_preset
_AUL = AsymmetricUnhinged.from_preset
_AEL = AsymmetricExponential.from_preset


@keras.saving.register_keras_serializable(package="keras_noisy")
class ActivePassive(_loss.NoisyLabelLoss):
    """Weighted sum of a loss that learns and a loss that resists.

    See `keras_noisy.losses.active_passive` for the formula and the label forms.
    """

    function = staticmethod(active_passive)
    active: _loss.NoisyLabelLoss
    passive: _loss.NoisyLabelLoss
    alpha: float
    beta: float
    presets = MappingProxyType(
        {
            "nce+mae, mnist": _pair(_NCE, _MAE, 1.0, 5.0),
            "nce+mae, cifar10": _pair(_NCE, _MAE, 1.0, 0.5),
            "nce+mae, cifar100": _pair(_NCE, _MAE, 10.0, 0.5),
            "nce+rce, mnist": _pair(_NCE, _RCE, 1.0, 10.0),
            "nce+rce, cifar10": _pair(_NCE, _RCE, 1.0, 1.0),
            "nce+rce, cifar100": _pair(_NCE, _RCE, 10.0, 0.1),
            "nce+rce, webvision": _pair(_NCE, _RCE, 50.0, 0.1),
            "nfl+mae, mnist": _pair(_NFL, _MAE, 1.0, 5.0),
            "nfl+mae, cifar10": _pair(_NFL, _MAE, 1.0, 0.5),
            "nfl+mae, cifar100": _pair(_NFL, _MAE, 10.0, 0.5),
            "nfl+rce, mnist": _pair(_NFL, _RCE, 1.0, 10.0),
            "nfl+rce, cifar10": _pair(_NFL, _RCE, 1.0, 1.0),
            "nfl+rce, cifar100": _pair(_NFL, _RCE, 10.0, 0.1),
            **{
                name: _pair(_NCE, asymmetric(name), alpha, beta)
                for name, asymmetric, alpha, beta in (
                    ("nce+agce, cifar10", _AGCE, 1.0, 4.0),
                    ("nce+agce, cifar100", _AGCE, 10.0, 0.1),
                    ("nce+agce, webvision", _AGCE, 50.0, 0.1),
                    ("nce+aul, cifar10", _AUL, 1.0, 4.0),
                    ("nce+aul, cifar100", _AUL, 10.0, 0.015),
                    ("nce+ael, cifar10", _AEL, 1.0, 4.0),
                    ("nce+ael, cifar100", _AEL, 10.0, 0.1),
                )
            },
        }
    )
