"""Many sigmoid outputs, each a distribution over two classes."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy import _keras
from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers
from keras_noisy._checks.matrices import check_transition_matrix
from keras_noisy._typing import ArrayLike, Tensor, TensorLike
from keras_noisy.losses import _loss, _prediction, _tensors, _timed

_OWNER = "multi_label"


def _check_loss(owner, argument, loss):
    """Return a loss that is one of an example, or raise."""
    base = _loss.NoisyLabelLoss
    is_known = isinstance(loss, base) and not isinstance(loss, MultiLabel)
    is_own = is_known and (loss.companion is None or isinstance(loss, _timed.TimedLoss))
    if is_own and type(loss).__call__ is base.__call__ and type(loss).call is base.call:
        return loss
    expected = "a loss object of keras_noisy.losses that is one of an example"
    mend = "Pass for example losses.GeneralizedCrossEntropy()."
    raise TypeError(errors.message(owner, argument, expected, loss, mend))


def _check_missing(owner, argument, value):
    """Return a number outside of [0, 1], NaN or None, or raise."""
    if value is None:
        return None
    is_number = isinstance(value, (int, float, np.number))
    if isinstance(value, bool) or not is_number:
        expected = "a number outside of [0, 1], or None if all labels are known"
        raise TypeError(errors.message(owner, argument, expected, value))
    if 0 <= value <= 1 or math.isinf(value):
        expected = "a finite number outside of [0, 1], NaN, or None"
        raise ValueError(errors.message(owner, argument, expected, value))
    return value if value != value else float(value)


def _check_weights(owner, argument, weights):
    """Return weights of labels as an array, or raise."""
    if weights is None:
        return None
    array = as_numbers(owner, argument, weights).astype("float64")
    expected = "an array (num_labels,) of finite numbers that are not negative"
    if array.ndim != 1 or not len(array):
        received = errors.describe_array(array)
        raise ValueError(errors.message(owner, argument, expected, received))
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(errors.message(owner, argument, expected, array.tolist()))
    return array


def _check_matrices(owner, argument, matrices):
    """Return transition matrices of labels as an array `(num_labels, 2, 2)`."""
    if matrices is None:
        return None
    array = as_numbers(owner, argument, matrices)
    if array.ndim != 3 or array.shape[1:] != (2, 2) or not len(array):
        expected = "an array (num_labels, 2, 2), a matrix for each label"
        received = errors.describe_array(array)
        raise ValueError(errors.message(owner, argument, expected, received))
    return np.stack([check_transition_matrix(owner, matrix) for matrix in array])


@_loss.arguments(
    loss=_check_loss,
    missing_label=_check_missing,
    label_weights=_check_weights,
    transition_matrix=_check_matrices,
)
def multi_label(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    loss: _loss.NoisyLabelLoss,
    missing_label: float | None = -1,
    label_weights: ArrayLike | None = None,
    transition_matrix: ArrayLike | None = None,
    from_logits: bool = False,
) -> Tensor:
    """Mean over an example's labels of a loss of two classes each.

    Each sigmoid output `p_l` is the distribution `[1 - p_l, p_l]`, and its label 0 or
    1, or a number between them. With `K` the labels of an example that are known,

        loss = 1 / |K| sum_{l in K} w_l loss([1 - y_l, y_l], [1 - p_l, p_l])

    A label that is missing changes nothing: the loss is that of a model without this
    output. An example without any label has loss 0 and no gradient.

    Args:
        y_true: Labels in [0, 1] or `missing_label`, of the shape of `y_pred`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_labels)`.
        loss: A loss of this package for each output, such as
            `GeneralizedCrossEntropy()`. Its own `from_logits`, `ignore_class`,
            `reduction` and `dtype` do not count.
        missing_label: What stands in `y_true` for a label that is not known: a number
            outside of [0, 1], or NaN. None if all are known.
        label_weights: `w`, array `(num_labels,)`, none negative. Ones by default.
        transition_matrix: `T`, array `(num_labels, 2, 2)`: how the noise changes each
            label, `T[l, i, j] = P(noisy = j | clean = i)`. The loss then compares
            labels with `T[l]' [1 - p_l, p_l]`, as `forward_correction` does.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        TypeError: If `loss` is no loss of this package, or one of a whole batch, or
            needs a callback other than `GlobalTrust`.
        ValueError: If another argument has a wrong value, shapes do not fit, `y_true`
            holds other labels (inside compiled code: NaN for that example), or
            `y_pred` holds no probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.multi_label(
        ...     [[1, 0, -1]], [[0.75, 0.5, 0.1]], loss=losses.MeanAbsoluteError()
        ... )
        >>> round(float(loss[0]), 4)
        0.75

    Note:
        Division by the number of known labels keeps the loss of an example on its
        scale, however many it has (`g(p) = 1 / p` in the reference).

    Reference:
        Durand et al., "Learning a Deep ConvNet for Multi-label Classification with
        Partial Labels", CVPR 2019: the partial binary cross-entropy.
    """
    matrices, weights = transition_matrix, label_weights
    values, is_known = _of_labels(
        _OWNER, y_true, y_pred, loss, missing_label, weights, matrices, from_logits
    )
    return _mean(values, is_known)


def _of_labels(
    owner, y_true, y_pred, loss, missing_label, weights, matrices, from_logits
):
    """Return the loss of each label `(..., num_labels)`, and which are known or None.

    Those that are not known are zero.
    """
    y_pred = _tensors.as_tensor(y_pred, owner)
    shape = _tensors.shape_of(owner, "y_pred", y_pred)
    if len(shape) < 2 or not shape[-1] or 0 in shape:
        expected = (
            "of shape (batch, ..., num_labels), of one example and label at least"
        )
        raise ValueError(errors.message(owner, "y_pred.shape", expected, shape))
    errors.check_bool(owner, "from_logits", from_logits)
    for argument, given in (
        ("label_weights", weights),
        ("transition_matrix", matrices),
    ):
        if given is not None and len(given) != shape[-1]:
            expected = f"{shape[-1]}, the number of labels in y_pred"
            raise ValueError(
                errors.message(owner, f"len({argument})", expected, len(given))
            )
    logits = _prediction.log_odds(owner, y_pred, from_logits)
    y_true = _read_labels(owner, y_true, shape, missing_label, logits.dtype)
    is_known = _is_known(y_true, missing_label)
    if is_known is not None:
        y_true = ops.where(is_known, y_true, ops.zeros_like(y_true))
    if matrices is not None:
        logits = _through(logits, matrices)
    values = loss.of_kept(y_true, logits[..., None], is_known, from_logits=True)
    if is_known is not None:
        values = ops.where(is_known, values, ops.zeros_like(values))
    if weights is not None:
        values = values * ops.convert_to_tensor(weights, dtype=values.dtype)
    return values, is_known


def _mean(values, is_known):
    """Return the mean over the labels that are known, zero where none is."""
    if is_known is None:
        return ops.sum(values, axis=-1) / values.shape[-1]
    count = ops.sum(ops.cast(is_known, values.dtype), axis=-1)
    count = ops.where(count > 0, count, ops.ones_like(count))
    return ops.sum(values, axis=-1) / count


def _read_labels(owner, y_true, pred_shape, missing_label, dtype):
    """Return labels as a float tensor, or raise."""
    if not hasattr(y_true, "shape"):
        y_true = errors.as_array(y_true)
    shape = _tensors.shape_of(owner, "y_true", y_true)
    if not _tensors.agree(shape, pred_shape):
        mend = "One of several classes is for a softmax, and the loss itself."
        expected = f"{pred_shape}, that of y_pred: a label for each output"
        raise ValueError(errors.message(owner, "y_true.shape", expected, shape, mend))
    values = _tensors.visible(y_true)
    if values is not None:
        _check_labels(owner, values, missing_label)
    return ops.cast(_tensors.as_tensor(y_true), dtype)


def _check_labels(owner, values, missing_label):
    """Raise unless labels are in [0, 1] or missing."""
    values = values.astype("uint8") if values.dtype == bool else values
    numbers = as_numbers(owner, "y_true", values)
    is_label = (numbers >= 0) & (numbers <= 1)
    if missing_label is not None:
        is_nan = missing_label != missing_label
        is_label |= np.isnan(numbers) if is_nan else numbers == missing_label
    if not is_label.all():
        expected = "labels 0 and 1, or numbers between them"
        if missing_label is not None:
            expected += f", or {missing_label:g} where there is none"
        received = errors.Described(f"a label of {numbers[~is_label][0]:.4g}")
        mend = "`missing_label` says what stands for labels that are not known."
        raise ValueError(errors.message(owner, "y_true", expected, received, mend))


def _is_known(y_true, missing_label):
    if missing_label is None:
        return None
    if missing_label != missing_label:
        return ops.equal(y_true, y_true)
    return ops.not_equal(y_true, missing_label)


def _through(logits, matrices):
    """Return the logits of noisy labels, given those of clean ones."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(matrices), _prediction.LOG_ZERO)
    logs = ops.convert_to_tensor(logs, dtype=logits.dtype)
    first, second = -ops.softplus(logits), -ops.softplus(-logits)
    no, yes = (
        ops.logaddexp(first + logs[:, 0, label], second + logs[:, 1, label])
        for label in (0, 1)
    )
    return yes - no


@keras.saving.register_keras_serializable(package="keras_noisy")
class MultiLabel(_loss.NoisyLabelLoss):
    """A loss for many sigmoid outputs, made of one for two classes.

    See `keras_noisy.losses.multi_label` for the formula and the labels. Labels that are
    missing take no part, and examples without a label do not count in a mean:

        loss = losses.MultiLabel(losses.GeneralizedCrossEntropy(), from_logits=True)
        model.compile("adam", loss=loss)

    With `ProSelfLC` as `loss`, pass `callbacks.GlobalTrust()` to `fit`.

    Args:
        loss: The loss of each output.
        missing_label: What stands for a label that is not known, None for nothing.
        label_weights: A weight for each label, or None.
        transition_matrix: A matrix for each label, `(num_labels, 2, 2)`, or None.
        **kwargs: Of every loss, but for `ignore_class`.
    """

    function = staticmethod(multi_label)
    is_multi_label = True
    loss: _loss.NoisyLabelLoss
    missing_label: float | None = -1
    label_weights: ArrayLike | None = None
    transition_matrix: ArrayLike | None = None

    def __init__(
        self,
        loss: _loss.NoisyLabelLoss,
        *,
        missing_label: float | None = -1,
        label_weights: ArrayLike | None = None,
        transition_matrix: ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("ignore_class") is not None:
            mend = "`missing_label` says which labels do not count."
            value = kwargs["ignore_class"]
            raise ValueError(
                errors.message("MultiLabel", "ignore_class", "None", value, mend)
            )
        super().__init__(
            loss=loss,
            missing_label=missing_label,
            label_weights=label_weights,
            transition_matrix=transition_matrix,
            **kwargs,
        )

    def call(self, y_true: TensorLike, y_pred: TensorLike) -> Tensor:
        """Return one loss per example."""
        values, is_known = self._of_labels(y_true, y_pred)
        loss = _mean(values, is_known)
        if is_known is None:
            return loss
        return _keras.with_mask(loss, ops.any(is_known, axis=-1))

    def of_labels(self, y_true: TensorLike, y_pred: TensorLike) -> Tensor:
        """Return the loss of each label, zero where it is missing.

        Args:
            y_true: Labels, as the loss takes them.
            y_pred: Predictions `(..., num_labels)`, as the loss takes them.

        Returns:
            Tensor of the shape of `y_pred`.
        """
        return self._of_labels(y_true, y_pred)[0]

    def _of_labels(self, y_true, y_pred):
        return _of_labels(
            type(self).__name__,
            y_true,
            y_pred,
            self.loss,
            self.missing_label,
            self.label_weights,
            self.transition_matrix,
            self.from_logits,
        )
