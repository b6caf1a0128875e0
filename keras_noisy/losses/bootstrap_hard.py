"""Hard bootstrapping."""

from __future__ import annotations

from types import MappingProxyType

import keras

from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _loss, _targets


@_loss.arguments(
    epsilon=_loss.WEIGHT,
)
def bootstrap_hard(
    y_true: TensorLike, y_pred: TensorLike, *, epsilon: float, from_logits: bool = False
) -> Tensor:
    """Cross-entropy to labels mixed with the predicted class.

    The target is `(1 - epsilon) q + epsilon onehot(argmax p)`. The argmax is a
    constant and ties go to the lowest class:

        loss = (1 - epsilon) H(q, p) - epsilon log max_k p_k

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        epsilon: Weight of the predicted class, in [0, 1].
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `epsilon` is outside [0, 1], shapes do not fit, `y_true` holds
            ids out of range or rows that are no distributions (inside compiled code:
            NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.bootstrap_hard([1], [[0.25, 0.75]], epsilon=0.2)
        >>> round(float(loss[0]), 4)
        0.2877

    Note:
        `epsilon` is the weight of the prediction. Reed et al. give the weight of
        the label, `beta = 1 - epsilon`; their hard variant uses 0.8.

    Reference:
        Reed et al., "Training Deep Neural Networks on Noisy Labels with
        Bootstrapping", 2015.
    """
    owner = "bootstrap_hard"
    return _targets.per_example(owner, y_true, y_pred, from_logits, _target(epsilon))


def _target(epsilon):
    return lambda q, p: (1 - epsilon) * q + epsilon * p.argmax()


@keras.saving.register_keras_serializable(package="keras_noisy")
class BootstrapHard(_targets.WithTarget, _loss.EpsilonLoss):
    """Cross-entropy to labels mixed with the predicted class.

    See `keras_noisy.losses.bootstrap_hard` for the formula and the label forms.
    """

    function = staticmethod(bootstrap_hard)
    presets = MappingProxyType({"paper": {"epsilon": 0.2}})

    def _target(self):
        return _target(self.epsilon)
