"""Cross-entropy to a target that the user derives from labels and predictions."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import keras

from keras_noisy._checks import errors
from keras_noisy._checks.numbers import at_least_zero, optional
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _loss, _targets, _timed


def _function(owner, argument, value):
    if callable(value):
        return value
    expected = "a function of labels and predictions"
    mend = "For example lambda q, p: 0.9 * q + 0.1 * p."
    raise TypeError(errors.message(owner, argument, expected, value, mend))


def _takes_progress(target):
    """Whether a function of a user has an argument `progress`."""
    try:
        return "progress" in inspect.signature(target).parameters
    except (TypeError, ValueError):
        return False  # Some of C have no signature.


def _bound(owner, target, progress):
    """Return `target` as a function of `q` and `p` alone, or raise."""
    takes = _takes_progress(target)
    if takes != (progress is not None):
        expected = "a number or a tensor, `t / Gamma`" if takes else "None"
        mend = f"`target` has {'an' if takes else 'no'} argument `progress`."
        raise ValueError(errors.message(owner, "progress", expected, progress, mend))
    return functools.partial(target, progress=progress) if takes else target


@_loss.arguments(
    target=_function,
    progress=_loss.unless_tensor(optional(at_least_zero())),
)
def target_modification(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    target: _targets.TargetFunction,
    progress: float | Tensor | None = None,
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
        target: Function of `q` and `p` that returns the target. If it has an argument
            `progress` too, it gets that by name.
        progress: Share of the training that is done, 0 or more, a number or a scalar
            tensor, for such a function; else None.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        TypeError: If `target` is not callable.
        ValueError: If `progress` is negative, missing where `target` takes it or
            given where it does not; if shapes do not fit, `y_true` holds ids out of
            range or rows that are no distributions (inside compiled code: NaN for that
            example), or `y_pred` holds negative probabilities.

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
    target = _bound(owner, target, progress)
    return _targets.per_example(owner, y_true, y_pred, from_logits, target)


@keras.saving.register_keras_serializable(package="keras_noisy")
class TargetModification(_targets.WithTarget, _timed.TimedLoss):
    """Cross-entropy to a target made from labels and predictions.

    See `keras_noisy.losses.target_modification` for what `target` may do. To save a
    model with the loss, register the function:

        @keras.saving.register_keras_serializable(package="mine")
        def smoothed(q, p):
            return 0.9 * q + 0.1 * p.uniform()

        loss = TargetModification(target=smoothed, from_logits=True)

    A function with an argument `progress` follows the training time, `t / Gamma` in
    [0, 1], which `keras_noisy.callbacks.GlobalTrust` counts for it in `fit`, as for
    `ProSelfLC`:

        def corrected(q, p, progress):
            e = global_trust(progress, exp_base=12.0) * p.local_trust()
            return (1 - e) * q + e * p

    Args:
        target: Function of `q` and `p`, and optionally of `progress`.
    """

    function = staticmethod(target_modification)
    target: _targets.TargetFunction

    def _target(self):
        progress = self._used(self.progress())
        return _bound(type(self).__name__, self.target, progress)

    def _at(self, progress, y_true, y_pred, from_logits):
        return target_modification(
            y_true,
            y_pred,
            target=self.target,
            progress=self._used(progress),
            from_logits=from_logits,
        )

    def _used(self, progress):
        return progress if self.depends_on_time() else None

    def depends_on_time(self) -> bool:
        """Whether this loss changes as the training proceeds."""
        return _takes_progress(self.target)

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
