"""Cross-entropy to a target that the user derives from labels and predictions."""

from __future__ import annotations

from typing import Any

import keras

from keras_noisy._checks import errors
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _loss, _targets


def _function(owner, argument, value):
    if callable(value):
        return value
    expected = "a function of labels and predictions"
    mend = "For example lambda q, p: 0.9 * q + 0.1 * p."
    raise TypeError(errors.message(owner, argument, expected, value, mend))


@_loss.arguments(
    target=_function,
)
def target_modification(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    target: _targets.TargetFunction,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy to a target made from labels and predictions.

    `target(q, p)` returns the target, and the loss is `-sum_k target_k log p_k`. `q`
    and `p` can be added, subtracted and multiplied by numbers and by tensors with one
    number for each example; the target never becomes a tensor of its own then.

    *   `p.uniform()` and `p.argmax()` are targets too, and `p.constant()` is `p`
        without its gradient.
    *   `p.local_trust()`, `1 - H(p) / H(u)`, and `p.entropy()` are numbers, one for
        each example, without a gradient.
    *   `q.labels` and `p.probabilities` are tensors `(..., num_classes)`. Targets that
        are not linear are made of them and returned as a tensor, or turned into a
        part of a sum by `p.of(tensor)`.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        target: Function of `q` and `p` that returns the target.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        TypeError: If `target` is not callable.
        ValueError: If shapes do not fit, `y_true` holds ids out of range or rows that
            are no distributions (inside compiled code: NaN for that example), or
            `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> def half_corrected(q, p):
        ...     e = 0.5 * p.local_trust()
        ...     return (1 - e) * q + e * p
        >>> loss = losses.target_modification(
        ...     [1], [[0.25, 0.75]], target=half_corrected
        ... )
        >>> round(float(loss[0]), 4)
        0.3136

    Reference:
        The form of Eq. 3 to 7 of Wang et al., "ProSelfLC", CVPR 2021; `proselflc`
        itself is written so.
    """
    owner = "target_modification"
    return _targets.per_example(owner, y_true, y_pred, from_logits, target)


@keras.saving.register_keras_serializable(package="keras_noisy")
class TargetModification(_loss.NoisyLabelLoss):
    """Cross-entropy to a target made from labels and predictions.

    See `keras_noisy.losses.target_modification` for what `target` may do. To save a
    model with the loss, register the function:

        @keras.saving.register_keras_serializable(package="mine")
        def smoothed(q, p):
            return 0.9 * q + 0.1 * p.uniform()

        loss = TargetModification(target=smoothed, from_logits=True)
    """

    function = staticmethod(target_modification)
    target: _targets.TargetFunction

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, the function by its registered name."""
        if getattr(self.target, "__name__", None) == "<lambda>":
            raise ValueError(
                errors.message(
                    type(self).__name__,
                    "target",
                    "a registered function to be saved",
                    self.target,
                    "Define it with `def` under "
                    "`@keras.saving.register_keras_serializable`.",
                )
            )
        target = keras.saving.serialize_keras_object(self.target)
        return {**super().get_config(), "target": target}
