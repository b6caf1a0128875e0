"""Mean absolute error."""

from __future__ import annotations

import keras
from keras import ops

from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss


def mean_absolute_error(
    y_true: TensorLike, y_pred: TensorLike, *, from_logits: bool = False
) -> Tensor:
    """L1 distance of label and prediction.

        loss = sum_k |q_k - p_k|

    which for a class id `y` is `2 (1 - p_y)`. It is symmetric: summed over all labels
    it is `2 (C - 1)` whatever the prediction, and therefore robust to symmetric noise
    below a rate of `(C - 1) / C`. The gradient in the logits is `2 p_y` times that of
    cross-entropy, so that a network which starts without confidence learns slowly,
    and with many classes hardly at all.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If shapes do not fit, `y_true` holds ids out of range or rows that
            are no distributions (inside compiled code: NaN for that example), or
            `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.mean_absolute_error([1], [[0.25, 0.75]])
        >>> round(float(loss[0]), 4)
        0.5

    Note:
        Much published code divides by two (`1 - p_y`) or by the number of classes.
        Weights taken from there change accordingly.

    Reference:
        Ghosh et al., "Robust Loss Functions under Label Noise for Deep Neural
        Networks", AAAI 2017.
    """
    owner = "mean_absolute_error"

    def formula(q, p):
        return ops.sum(ops.abs(q - p.probabilities), axis=-1)

    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)


@keras.saving.register_keras_serializable(package="keras_noisy")
class MeanAbsoluteError(_loss.NoisyLabelLoss):
    """L1 distance of label and prediction.

    See `keras_noisy.losses.mean_absolute_error` for the formula and the label forms.
    """

    function = staticmethod(mean_absolute_error)
