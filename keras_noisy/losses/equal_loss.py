"""Equal Loss."""

from __future__ import annotations

import math
from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss

SMALLEST_EPSILON = 1e-37
# The loss at this relaxation differs from its limit by less than float64 can hold,
# and `(1 - p) / epsilon` is still far above the numbers that float32 flushes to 0.
LARGEST_EPSILON = 1e20


EPSILON = at_least_zero(
    "Start from the noise rate, for example epsilon=0.4. The limit of a large one is "
    "`mean_absolute_error` divided by two."
)


@_loss.arguments(
    epsilon=EPSILON,
)
def equal_loss(
    y_true: TensorLike, y_pred: TensorLike, *, epsilon: float, from_logits: bool = False
) -> Tensor:
    """Cross-entropy on a relaxed probability, with balanced gradients.

    For a class id `y`

        loss = -(1 + epsilon) log((p_y + epsilon) / (1 + epsilon))

    and for a distribution the sum over the classes weighted by it (which is also
    label smoothing with Equal Loss). `epsilon = 0` is cross-entropy, and for
    `epsilon -> inf` the loss tends to `1 - p_y`, half the mean absolute error.
    The gradient in the logits is that of cross-entropy times
    `(1 + epsilon) p_y / (p_y + epsilon)`: examples that the network finds
    implausible, which are the mislabelled ones, weigh less.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        epsilon: Relaxation, at least 0 and finite. The paper takes the noise
            rate, and 0.1 on ImageNet.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `epsilon` is negative or not finite, shapes do not fit, `y_true`
            holds ids out of range or rows that are no distributions (inside compiled
            code: NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.equal_loss([1], [[0.25, 0.75]], epsilon=0.4)
        >>> round(float(loss[0]), 4)
        0.2754

    Reference:
        "Equal Loss: A Simple Loss Function for Noise Robust Learning", Eq. 1, 2
        and 5.
    """
    if epsilon < SMALLEST_EPSILON:
        # The relaxed form cannot reach probabilities below float32's range, and
        # cross-entropy can.
        return _formula.per_example(
            "equal_loss", y_true, y_pred, from_logits, lambda q, p: p.cross_entropy(q)
        )
    owner = "equal_loss"
    formula = _relaxed_cross_entropy(min(epsilon, LARGEST_EPSILON))
    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)


def _relaxed_cross_entropy(epsilon):
    """Return the formula for a positive `epsilon`, with its gradient in closed form.

    Differentiating the logarithms costs XLA a fifth of a cross-entropy more than
    the product that the paper derives.
    """

    def relaxed_log(p):
        """`log((p + epsilon) / (1 + epsilon))` plus `constant`, and `constant`.

        The constant stands outside because a term inside each logarithm costs XLA
        a second pass over the classes.
        """
        if epsilon <= 1:
            return ops.log(p + epsilon), math.log1p(epsilon)
        # `p + epsilon` would lose the digits of `p`.
        return ops.log1p((p - 1) / (1 + epsilon)), 0.0

    @ops.custom_gradient
    def from_shifted(q, shifted):
        exp = ops.exp(shifted)
        p = exp / ops.sum(exp, axis=-1, keepdims=True)
        log, constant = relaxed_log(p)
        total = ops.sum(q, axis=-1)
        loss = (1 + epsilon) * (constant * total - ops.sum(q * log, axis=-1))

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            weight = (1 + epsilon) * q * p / (p + epsilon)
            in_logits = p * ops.sum(weight, axis=-1, keepdims=True) - weight
            in_labels = (1 + epsilon) * (constant - log)
            return upstream[..., None] * in_labels, upstream[..., None] * in_logits

        return loss, gradient

    # Raw, because nothing here is a product with a logit.
    return lambda q, prediction: from_shifted(q, prediction.raw)


@keras.saving.register_keras_serializable(package="keras_noisy")
class EqualLoss(_loss.NoisyLabelLoss):
    """Cross-entropy on a relaxed probability, with balanced gradients.

    See `keras_noisy.losses.equal_loss` for the formula and the label forms.
    """

    function = staticmethod(equal_loss)
    epsilon: float
    presets = MappingProxyType({"imagenet": {"epsilon": 0.1}})
