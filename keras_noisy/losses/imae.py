"""IMAE."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import keras

from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss
from keras_noisy.losses.derivative_manipulation import (
    LARGE_WEIGHT,
    derivative_manipulation_formula,
)


@_loss.arguments(
    temperature=LARGE_WEIGHT,
)
def imae(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    temperature: float = 8.0,
    from_logits: bool = False,
) -> Tensor:
    """Derivative manipulation that counts uncertain examples most (IMAE).

    The L1 norm of the derivative in the logits is set to

        w = exp(temperature p_y (1 - p_y))

    and divided by its mean over the batch. The derivative keeps the direction of that
    of cross-entropy, `(p - q) / ||p - q||_1`; of a loss function only the derivative
    matters, and so the value is cross-entropy with a constant factor per example:

        loss = w / (mean(w) ||p - q||_1) H(q, p)    the factor a constant

    **The loss of an example depends on its batch**, through the mean over all entries
    of `y_pred`, masked ones included. With several replicas of TensorFlow it is taken
    over all of them.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        temperature: How much the weights differ, in [0, 50].
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `temperature` is outside [0, 50], `torch.distributed` runs
            several processes, shapes do not fit, `y_true` holds ids out of range or
            rows that are no distributions (inside compiled code: NaN for that example),
            or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.imae([1, 0], [[0.25, 0.75], [0.25, 0.75]], temperature=0.0)
        >>> [round(float(value), 4) for value in loss]
        [0.5754, 0.9242]

    Note:
        It is `derivative_manipulation` with `lambda_=1`.

    Reference:
        Wang et al., "IMAE for Noise-Robust Learning: Mean Absolute Error Does Not Treat
        Examples Equally and Gradient Magnitude's Variance Matters", 2019.
    """
    owner = "imae"
    formula = derivative_manipulation_formula(owner, temperature, 1.0)
    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)


@keras.saving.register_keras_serializable(package="keras_noisy")
class IMAE(_loss.LossInBatch):
    """Derivative manipulation that counts uncertain examples most (IMAE).

    See `keras_noisy.losses.imae` for the formula and the label forms.
    """

    function = staticmethod(imae)
    temperature: float = 8.0
    presets = MappingProxyType(
        {
            "cifar100, clean": {"temperature": 6.0},
            "cifar100, symmetric 0.2": {"temperature": 8.0},
            "cifar100, symmetric 0.4": {"temperature": 8.0},
            "cifar100, symmetric 0.6": {"temperature": 2.0},
        }
    )

    def _formula(self, is_kept: Tensor | None) -> Callable[..., Tensor]:
        owner, beta = type(self).__name__, self.temperature
        return derivative_manipulation_formula(owner, beta, 1.0, is_kept)
