"""Deep abstaining classifier."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._step import replicas, seam
from keras_noisy._typing import BoolArray, Tensor, TensorLike
from keras_noisy.losses import _formula, _loss, _prediction, _tensors

ALPHA = at_least_zero("`keras_noisy.callbacks.AbstentionSchedule` sets it.")


@_loss.arguments(
    alpha=_loss.unless_tensor(ALPHA),
)
def deep_abstention(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    alpha: float | Tensor,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy of a network that may decline to answer, at a price.

    `y_pred` has one output more than there are classes; the last one, `p_0`, is
    abstention. With `H_c` the cross-entropy over the classes alone, normalised,

        loss = (1 - p_0) H_c + alpha log(1 / (1 - p_0))

    A small `alpha` makes it cheap to abstain from examples that are hard to fit,
    mislabelled ones above all; a large one forces an answer. See
    `keras_noisy.callbacks.AbstentionSchedule` for how the paper moves it.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes + 1)`.
        alpha: Price of abstention: a number, at least 0 and finite, or a scalar
            tensor. Where the tensor is negative the loss is plain cross-entropy over
            all outputs, with which the paper warms up.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `alpha` is negative or not finite, `y_pred` has no output for
            abstention, shapes do not fit, `y_true` holds ids out of range or rows that
            are no distributions (inside compiled code: NaN for that example), or
            `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.deep_abstention([1], [[0.2, 0.6, 0.2]], alpha=1.0)
        >>> round(float(loss[0]), 4)
        0.4533

    Reference:
        Thulasidasan et al., "Combating Label Noise in Deep Learning Using
        Abstention", ICML 2019.
    """
    owner = "deep_abstention"
    is_tensor = ops.is_tensor(alpha)
    y_pred = _tensors.as_tensor(y_pred, owner)
    _prediction.check_shape(owner, y_pred)
    _check_outputs(owner, y_true, y_pred)
    every = _prediction.read(owner, y_pred, from_logits)
    classes = every.shifted[..., :-1]
    labels, p = _formula.read(owner, y_true, classes, True)
    # log(1 - p_0), without the cancellation of computing p_0 first.
    log_kept = _tensors.log_sum_exp(classes) - every.log_total
    answered = p.cross_entropy(labels.q)
    price = ops.cast(alpha, log_kept.dtype) if is_tensor else alpha
    loss = ops.exp(log_kept) * answered - price * log_kept
    if is_tensor:
        plain = answered - log_kept * ops.sum(labels.q, axis=-1)
        loss = ops.where(price < 0, plain, loss)
    return _formula.finish(labels, loss)


def abstains(y_pred: TensorLike) -> BoolArray:
    """Whether a network with an abstention output abstains.

    Args:
        y_pred: Probabilities or logits of shape `(..., num_classes + 1)`.

    Returns:
        Booleans of shape `y_pred.shape[:-1]`: whether the last output is the
        largest.

    Raises:
        ValueError: If `y_pred` has fewer than three outputs.

    Example:
        >>> from keras_noisy import losses
        >>> losses.abstains([[0.2, 0.6, 0.2], [0.2, 0.1, 0.7]]).tolist()
        [False, True]

    Reference:
        Thulasidasan et al., "Combating Label Noise in Deep Learning Using
        Abstention", ICML 2019.
    """
    y_pred = ops.convert_to_numpy(_tensors.as_tensor(y_pred, "abstains"))
    if y_pred.ndim == 0 or y_pred.shape[-1] < 3:
        raise ValueError(_missing_output("abstains", tuple(y_pred.shape)))
    return y_pred[..., -1] > y_pred[..., :-1].max(axis=-1)


def _check_outputs(owner, y_true, y_pred):
    if _prediction.is_binary(y_pred.shape):
        raise ValueError(_missing_output(owner, tuple(y_pred.shape), _ONE_OUTPUT))
    width = y_pred.shape[-1]
    shape = tuple(y_true.shape if hasattr(y_true, "shape") else np.shape(y_true))
    is_as_wide = len(shape) == len(y_pred.shape) and shape[-1] == width
    if width is not None and (width < 3 or is_as_wide):
        raise ValueError(_missing_output(owner, tuple(y_pred.shape)))


_ONE_OUTPUT = (
    "One sigmoid output leaves none to abstain with: give a binary classifier three "
    "outputs and a softmax."
)


def _missing_output(owner, shape, mend=""):
    mend = mend or "Add a unit to the last layer, and none to the labels."
    return (
        f"{owner}: `y_pred` must have one output more than there are classes, the "
        f"last one to abstain. Received: y_pred.shape={shape}. {mend}"
    )


@keras.saving.register_keras_serializable(package="keras_noisy")
class DeepAbstention(_loss.ScheduledLoss):
    """Cross-entropy of a network that may decline to answer, at a price.

    See `keras_noisy.losses.deep_abstention` for the formula and the label forms. The
    last layer needs `num_classes + 1` units. Accuracy counts an abstention as an
    error.
    """

    function = staticmethod(deep_abstention)
    companion = "keras_noisy.callbacks.AbstentionSchedule"
    checks = MappingProxyType({"alpha": ALPHA})
    _find_watch: Any = None

    def __call__(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike | None = None,
    ) -> Tensor:
        """Return the reduced loss, as `keras.losses.Loss` does."""
        loss = super().__call__(y_true, y_pred, sample_weight)
        watch = self._find_watch and self._find_watch()
        if watch is not None and seam.is_training():
            # Only here is it alone: regularisation and other outputs are added later.
            watch.add_loss(*self._total(loss, _tensors.as_tensor(y_pred)))
        return loss

    def _total(self, loss, y_pred):
        """Return the sum of the losses of a batch, and their number."""
        count = ops.cast(ops.size(y_pred) / y_pred.shape[-1], loss.dtype)
        if self.reduction in (None, "none", "sum"):
            return ops.sum(loss), count
        # Keras adds up what the replicas return.
        return loss * count * replicas.num_replicas(), count

    def tell(self, find_watch: Callable[[], Any]) -> None:
        """Tell what `find_watch()` returns the loss of every training step."""
        self._find_watch = find_watch
