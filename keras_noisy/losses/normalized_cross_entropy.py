"""Normalized cross-entropy."""

from __future__ import annotations

import keras

from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss


def normalized_cross_entropy(
    y_true: TensorLike, y_pred: TensorLike, *, from_logits: bool = False
) -> Tensor:
    """Cross-entropy as a share of the cross-entropies to all classes.

        loss = H(q, p) / sum_k H(e_k, p)

    with `e_k` one-hot: for a class id `y`, `log p_y / sum_k log p_k`. It lies in
    [0, 1], and summed over all labels it is 1 whatever the prediction, which makes it
    robust to symmetric noise. It learns too little on its own; see `active_passive`.

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
        >>> loss = losses.normalized_cross_entropy([1], [[0.25, 0.75]])
        >>> round(float(loss[0]), 4)
        0.1719

    Reference:
        Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML
        2020.
    """

    def formula(q, p):
        return p.cross_entropy(q) / (p.num_classes * p.uniform_cross_entropy())

    return _formula.per_example(
        "normalized_cross_entropy", y_true, y_pred, from_logits, formula
    )


@keras.saving.register_keras_serializable(package="keras_noisy")
class NormalizedCrossEntropy(_loss.NoisyLabelLoss):
    """Cross-entropy as a share of the cross-entropies to all classes.

    See `keras_noisy.losses.normalized_cross_entropy` for the formula and the label
    forms.
    """

    function = staticmethod(normalized_cross_entropy)
