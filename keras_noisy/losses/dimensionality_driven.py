"""The loss of dimensionality-driven learning (D2L)."""

from __future__ import annotations

from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _loss, _targets

ALPHA = Interval(0, 1, mend="`keras_noisy.callbacks.DimensionalitySchedule` sets it.")


@_loss.arguments(
    alpha=_loss.unless_tensor(ALPHA),
)
def dimensionality_driven(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    alpha: float | Tensor,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy to labels that move to the predicted class (D2L).

    The target is `alpha q + (1 - alpha) onehot(argmax p)`, as in hard bootstrapping
    with `epsilon = 1 - alpha`, the argmax a constant:

        loss = alpha H(q, p) - (1 - alpha) log max_k p_k

    What makes the method is how `alpha` falls in the course of training: see
    `keras_noisy.callbacks.DimensionalitySchedule`.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        alpha: Weight of the label, in [0, 1]; a number or a scalar tensor.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `alpha` is a number outside [0, 1], shapes do not fit, `y_true`
            holds ids out of range or rows that are no distributions (inside compiled
            code: NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.dimensionality_driven([0], [[0.25, 0.75]], alpha=0.8)
        >>> round(float(loss[0]), 4)
        1.1666

    Reference:
        Ma et al., "Dimensionality-Driven Learning with Noisy Labels", ICML 2018, Eq. 5
        and 6.
    """
    owner = "dimensionality_driven"

    def target(q, p):
        weight = alpha
        if ops.is_tensor(weight):
            weight = ops.cast(weight, q.labels.dtype)
        return weight * q + (1 - weight) * p.argmax()

    return _targets.per_example(owner, y_true, y_pred, from_logits, target)


@keras.saving.register_keras_serializable(package="keras_noisy")
class DimensionalityDriven(_loss.ScheduledLoss):
    """Cross-entropy to labels that move to the predicted class (D2L).

    See `keras_noisy.losses.dimensionality_driven` for the formula and the label forms.
    """

    function = staticmethod(dimensionality_driven)
    companion = "keras_noisy.callbacks.DimensionalitySchedule"
    checks = MappingProxyType({"alpha": ALPHA})
