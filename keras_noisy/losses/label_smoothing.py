"""Label smoothing."""

from __future__ import annotations

import keras

from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _loss, _targets


@_loss.arguments(
    epsilon=_loss.WEIGHT,
)
def label_smoothing(
    y_true: TensorLike, y_pred: TensorLike, *, epsilon: float, from_logits: bool = False
) -> Tensor:
    """Cross-entropy to labels mixed with the uniform distribution.

    The target is `(1 - epsilon) q + epsilon u`, with `u` uniform:

        loss = (1 - epsilon) H(q, p) + epsilon H(u, p)

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        epsilon: Weight of the uniform distribution, in [0, 1].
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `epsilon` is outside [0, 1], shapes do not fit, `y_true` holds
            ids out of range or rows that are no distributions (inside compiled code:
            NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.label_smoothing([1], [[0.25, 0.75]], epsilon=0.2)
        >>> round(float(loss[0]), 4)
        0.3975

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer
        Vision", CVPR 2016; as in Eq. 3 of
        Wang et al., "ProSelfLC", CVPR 2021.
    """
    owner = "label_smoothing"
    return _targets.per_example(owner, y_true, y_pred, from_logits, _target(epsilon))


def _target(epsilon):
    return lambda q, p: (1 - epsilon) * q + epsilon * p.uniform()


@keras.saving.register_keras_serializable(package="keras_noisy")
class LabelSmoothing(_targets.WithTarget, _loss.EpsilonLoss):
    """Cross-entropy to labels mixed with the uniform distribution.

    See `keras_noisy.losses.label_smoothing` for the formula and the label forms.
    """

    function = staticmethod(label_smoothing)

    def _target(self):
        return _target(self.epsilon)
