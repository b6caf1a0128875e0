"""Generalized cross-entropy."""

from __future__ import annotations

import math
from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import Interval, optional
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss

EXPONENT = Interval(0, 1, "right", "Start from q=0.7.")


@_loss.arguments(
    q=EXPONENT,
    truncation=optional(
        Interval(0, 1, "neither", "The paper uses 0.5; None does not truncate.")
    ),
)
def generalized_cross_entropy(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    q: float = 0.7,
    truncation: float | None = None,
    from_logits: bool = False,
) -> Tensor:
    """Negative Box-Cox transform of the labelled class's probability.

    For a class id `y`

        loss = (1 - p_y^q) / q

    and for a distribution the sum over the classes weighted by it. `q -> 0` is
    cross-entropy, `q = 1` is `1 - p_y`, half the mean absolute error. The gradient in
    the logits is `p_y^q` times that of cross-entropy.

    With `truncation=k` the loss is the constant `(1 - k^q) / q` where `p_y <= k`: such
    examples have no gradient. A network that has not been trained yet puts almost
    every example there, so truncate one that has been trained without it first.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        q: Exponent, in (0, 1]. The paper uses 0.7 everywhere.
        truncation: Threshold `k` in (0, 1), or None. The paper uses 0.5, from epoch 40
            on.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `q` is outside (0, 1], `truncation` outside (0, 1), shapes do not
            fit, `y_true` holds ids out of range or rows that are no distributions
            (inside compiled code: NaN for that example), or `y_pred` holds negative
            probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.generalized_cross_entropy([1], [[0.25, 0.75]], q=0.5)
        >>> round(float(loss[0]), 4)
        0.2679

    Note:
        The paper truncates in rounds: the best model so far decides which examples are
        left out, and training goes on with the plain loss on the others. Here the
        current prediction decides at every step.

    Reference:
        Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural
        Networks with Noisy Labels", NeurIPS 2018.
    """
    q = max(q, SMALLEST_Q)

    def formula(labels, p):
        log_p = p.log_probabilities
        # Not `p ** q`, whose slope at p = 0 is infinite.
        terms = -ops.expm1(q * log_p) / q
        if truncation is not None:
            constant = ops.convert_to_tensor((1 - truncation**q) / q, dtype=terms.dtype)
            terms = ops.where(log_p > math.log(truncation), terms, constant)
        return ops.sum(labels * terms, axis=-1)

    return _formula.per_example(
        "generalized_cross_entropy", y_true, y_pred, from_logits, formula
    )


# Below it, `p^q - 1` is `q log p` to every digit; numbers far below cannot be told
# from zero.
SMALLEST_Q = 1e-20


@keras.saving.register_keras_serializable(package="keras_noisy")
class GeneralizedCrossEntropy(_loss.NoisyLabelLoss):
    """Negative Box-Cox transform of the labelled class's probability.

    See `keras_noisy.losses.generalized_cross_entropy` for the formula and the label
    forms.
    """

    function = staticmethod(generalized_cross_entropy)
    q: float = 0.7
    truncation: float | None = None
    presets = MappingProxyType(
        {
            "paper": {"q": 0.7},
            "paper, truncated": {"q": 0.7, "truncation": 0.5},
        }
    )
