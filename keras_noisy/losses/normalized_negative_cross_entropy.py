"""Normalized negative cross-entropy."""

from __future__ import annotations

import math

import keras
from keras import ops

from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss

MIN_PROBABILITY = Interval(0, 1, "neither", "The paper uses 1e-7.")


@_loss.arguments(
    min_probability=MIN_PROBABILITY,
)
def normalized_negative_cross_entropy(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    min_probability: float = 1e-07,
    from_logits: bool = False,
) -> Tensor:
    """Share of the other classes in the log-probabilities counted from a floor.

    With `m_k = max(log p_k - log min_probability, 0)`

        loss = 1 - sum_k q_k m_k / sum_k m_k

    which is symmetric, lies in [0, 1] and is the passive half of `active_negative`:
    unlike mean absolute error it learns from examples that are nearly learnt already.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        min_probability: Where the log-probabilities are cut off, in (0, 1).
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `min_probability` is outside (0, 1), shapes do not fit, `y_true`
            holds ids out of range or rows that are no distributions (inside compiled
            code: NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.normalized_negative_cross_entropy([1], [[0.25, 0.75]])
        >>> round(float(loss[0]), 4)
        0.482

    Note:
        For probabilities that sum to one, some class always has `p_k >= 1 / C`. With
        `min_probability` above that the denominator can be zero and the loss is NaN:
        the value must stay below `1 / C`.

    Reference:
        Ye et al., "Active Negative Loss Functions for Learning with Noisy Labels",
        NeurIPS 2023.
    """
    formula = normalized_negative_cross_entropy_formula(min_probability)
    return _formula.per_example(
        "normalized_negative_cross_entropy", y_true, y_pred, from_logits, formula
    )


def normalized_negative_cross_entropy_formula(min_probability):
    """Return the loss as a function of labels and `Prediction`."""

    def formula(q, p):
        above = ops.relu(p.log_probabilities - math.log(min_probability))
        share = ops.sum(q * above, axis=-1) / ops.sum(above, axis=-1)
        return ops.sum(q, axis=-1) - share

    return formula


@keras.saving.register_keras_serializable(package="keras_noisy")
class NormalizedNegativeCrossEntropy(_loss.NoisyLabelLoss):
    """Share of the other classes in the log-probabilities counted from a floor.

    See `keras_noisy.losses.normalized_negative_cross_entropy` for the formula and the
    label forms.
    """

    function = staticmethod(normalized_negative_cross_entropy)
    min_probability: float = 1e-07
