"""Derivative manipulation."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import Interval, at_least_zero
from keras_noisy._step import replicas
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss

# Above 50 the weights of a batch do not fit into float32.
LARGE_WEIGHT = Interval(0, 50, mend="Try 8.")


@_loss.arguments(
    beta=LARGE_WEIGHT,
    lambda_=at_least_zero("Try 0.5."),
)
def derivative_manipulation(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    beta: float,
    lambda_: float,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy with the size of every example's derivative set directly (DM).

    The L1 norm of the derivative in the logits is set to

        w = exp(beta p_y^lambda_ (1 - p_y))

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
        beta: How much the weights differ, in [0, 50]; 0 makes all alike.
        lambda_: Which examples count most, at least 0 and finite: those with `p_y =
            lambda_ / (lambda_ + 1)`.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `beta` is outside [0, 50], `lambda_` is negative or not finite,
            `torch.distributed` runs several processes, shapes do not fit, `y_true`
            holds ids out of range or rows that are no distributions (inside compiled
            code: NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.derivative_manipulation(
        ...     [1, 0], [[0.25, 0.75], [0.25, 0.75]], beta=0.0, lambda_=1.0
        ... )
        >>> [round(float(value), 4) for value in loss]
        [0.5754, 0.9242]

    Reference:
        Wang et al., "Derivative Manipulation for General Example Weighting", 2019.
    """
    owner = "derivative_manipulation"
    formula = derivative_manipulation_formula(owner, beta, lambda_)
    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)


# Where an example is fitted to all digits of float32 there is no direction left.
SMALLEST_NORM = 1e-30


def derivative_manipulation_formula(owner, beta, lambda_, is_kept=None):
    """Return the loss as a function of labels and `Prediction`.

    Args:
        owner: Name of the loss, for errors.
        beta: Shape of the emphasis.
        lambda_: Its place.
        is_kept: None, or which examples count.
    """

    def formula(q, p):
        probabilities = ops.stop_gradient(p.probabilities)
        p_y = ops.sum(q * probabilities, axis=-1)
        weight = ops.exp(beta * p_y**lambda_ * (1 - p_y))
        norm = ops.sum(ops.abs(q - probabilities), axis=-1)
        has_direction = norm > SMALLEST_NORM
        safe = ops.where(has_direction, norm, ops.ones_like(norm))
        factor = weight / (_global_mean(owner, weight, is_kept) * safe)
        factor = ops.where(has_direction, factor, ops.zeros_like(factor))
        return ops.stop_gradient(factor) * p.cross_entropy(q)

    return formula


def _global_mean(owner, weight, is_kept):
    ones = ops.ones_like(weight)
    if is_kept is not None:
        ones = ops.cast(is_kept, weight.dtype)
        weight = ops.where(is_kept, weight, ops.zeros_like(weight))
    sums = ops.stack([ops.sum(weight), ops.sum(ones)])
    total, count = ops.unstack(replicas.sum_over_replicas(owner, sums), 2)
    if is_kept is not None:
        # One where nothing counts.
        total = ops.where(count > 0, total, ops.ones_like(total))
        count = ops.where(count > 0, count, ops.ones_like(count))
    return total / count


@keras.saving.register_keras_serializable(package="keras_noisy")
class DerivativeManipulation(_loss.LossInBatch):
    """Cross-entropy with the size of every example's derivative set directly (DM).

    See `keras_noisy.losses.derivative_manipulation` for the formula and the label
    forms.
    """

    function = staticmethod(derivative_manipulation)
    beta: float
    lambda_: float
    presets = MappingProxyType(
        {
            "cifar100, clean": {"beta": 6.0, "lambda_": 0.5},
            "cifar100, symmetric 0.2": {"beta": 6.0, "lambda_": 0.5},
            "cifar100, symmetric 0.4": {"beta": 8.0, "lambda_": 0.5},
            "cifar100, symmetric 0.6": {"beta": 8.0, "lambda_": 0.5},
        }
    )

    def _formula(self, is_kept: Tensor | None) -> Callable[..., Tensor]:
        name = type(self).__name__
        return derivative_manipulation_formula(name, self.beta, self.lambda_, is_kept)
