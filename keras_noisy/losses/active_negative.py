"""Active negative loss."""

from __future__ import annotations

from types import MappingProxyType

import keras

from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss
from keras_noisy.losses.normalized_negative_cross_entropy import (
    MIN_PROBABILITY,
    normalized_negative_cross_entropy_formula,
)

_MEND = "The paper uses alpha=5, beta=5 on CIFAR-10."


@_loss.arguments(
    alpha=at_least_zero(_MEND),
    beta=at_least_zero(_MEND),
    min_probability=MIN_PROBABILITY,
)
def active_negative(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    alpha: float,
    beta: float,
    min_probability: float = 1e-07,
    from_logits: bool = False,
) -> Tensor:
    """Normalized cross-entropy and normalized negative cross-entropy together (ANL-CE).

        loss = alpha NCE + beta NNCE

    see `normalized_cross_entropy` and `normalized_negative_cross_entropy`. The paper
    trains with an L1 penalty on all weights of the network besides, instead of weight
    decay; see the note.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        alpha: Weight of normalized cross-entropy, at least 0 and finite.
        beta: Weight of normalized negative cross-entropy, at least 0 and finite.
        min_probability: Where the log-probabilities are cut off, in (0, 1).
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `alpha` or `beta` is negative or not finite, `min_probability` is
            outside (0, 1), shapes do not fit, `y_true` holds ids out of range or rows
            that are no distributions (inside compiled code: NaN for that example), or
            `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.active_negative([1], [[0.25, 0.75]], alpha=1.0, beta=1.0)
        >>> round(float(loss[0]), 4)
        0.6539

    Note:
        A loss does not see the weights. The penalty `delta sum |w|` of the paper is
        `kernel_regularizer=keras.regularizers.L1(delta)` in every layer, with `delta`
        1e-6 on MNIST, 5e-5 on CIFAR-10 and 5e-7 on CIFAR-100; the paper's code also
        penalises biases and normalisation.

    Reference:
        Ye et al., "Active Negative Loss Functions for Learning with Noisy Labels",
        NeurIPS 2023.
    """
    negative = normalized_negative_cross_entropy_formula(min_probability)

    def formula(q, p):
        normalized = p.cross_entropy(q) / (p.num_classes * p.uniform_cross_entropy())
        return alpha * normalized + beta * negative(q, p)

    return _formula.per_example("active_negative", y_true, y_pred, from_logits, formula)


@keras.saving.register_keras_serializable(package="keras_noisy")
class ActiveNegative(_loss.NoisyLabelLoss):
    """Normalized cross-entropy and normalized negative cross-entropy together (ANL-CE).

    See `keras_noisy.losses.active_negative` for the formula and the label forms.
    """

    function = staticmethod(active_negative)
    alpha: float
    beta: float
    min_probability: float = 1e-07
    presets = MappingProxyType(
        {
            "mnist": {"alpha": 1.0, "beta": 1.0},
            "cifar10": {"alpha": 5.0, "beta": 5.0},
            "cifar100": {"alpha": 10.0, "beta": 1.0},
            "webvision": {"alpha": 20.0, "beta": 1.0},
        }
    )
