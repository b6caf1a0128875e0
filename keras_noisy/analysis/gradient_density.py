"""Where the gradient of a loss comes from: density over the labelled class."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_noisy._checks.distributions import as_predictions, pieces
from keras_noisy._checks.errors import check_bool, check_count, message
from keras_noisy._checks.labels import check_labels
from keras_noisy._data import outputs
from keras_noisy._typing import ArrayLike
from keras_noisy.analysis import _gradients, _rows
from keras_noisy.analysis.calibration import MOST_BINS


@dataclasses.dataclass(frozen=True, eq=False)
class GradientDensity:
    """A curve over `p_y`, the probability of the labelled class.

    Attributes:
        probability: Centres of the bins, `(bins,)`.
        density: Probability density of `p_y`; integrates to one.
        gradient_norm: Mean L1 norm of the gradient in the logits, NaN in empty bins.
        gradient_density: Their product: how much of the gradient comes from there.
    """

    probability: np.ndarray
    density: np.ndarray
    gradient_norm: np.ndarray
    gradient_density: np.ndarray


def gradient_density(
    loss: keras.losses.Loss,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    from_logits: bool = False,
    bins: int = 50,
) -> GradientDensity:
    """Density of `p_y` times the gradient that examples there have.

    Args:
        loss: A `keras.losses.Loss` that is defined per example, of this package or
            of Keras; it is given probabilities or logits as its own `from_logits`
            says.
        y_true: Class ids `(n,)`.
        y_pred: Probabilities, or logits with `from_logits=True`, `(n, num_classes)`.
        from_logits: Whether `y_pred` holds logits.
        bins: Number of bins of equal width in [0, 1].

    Returns:
        A `GradientDensity`.

    Raises:
        TypeError: If labels are no integers, or predictions no numbers.
        ValueError: If shapes do not fit, there is no example, or the loss is defined
            on a batch.

    Example:
        >>> from keras_noisy import analysis, losses
        >>> p, y = [[0.1, 0.9], [0.9, 0.1], [0.6, 0.4]], [0, 0, 1]
        >>> loss = losses.EqualLoss(epsilon=0.4)
        >>> curve = analysis.gradient_density(loss, y, p, bins=2)
        >>> curve.density.round(2).tolist()
        [1.33, 0.67]

    Reference:
        Fig. 1 of Cui et al., "Equal Loss: A Simple Loss Function for Noise Robust
        Learning".
    """
    owner = "gradient_density"
    if not callable(getattr(loss, "call", None)):
        raise TypeError(message(owner, "loss", "a `keras.losses.Loss`", loss))
    check_bool(owner, "from_logits", from_logits)
    labels, y_pred = _check(owner, y_true, y_pred, from_logits)
    bins = check_count(owner, "bins", bins, high=MOST_BINS)
    p_y = np.empty(len(labels))
    norm = np.empty(len(labels))
    for rows in pieces(y_pred):
        _rows.check_largest(owner, "y_pred", y_pred[rows])
        logits = outputs.logits(y_pred[rows], from_logits)
        p_y[rows], norm[rows] = gradient_norms(owner, loss, labels[rows], logits)
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.searchsorted(edges, p_y, side="right") - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    sums = np.bincount(which, weights=norm, minlength=bins)
    density = counts * bins / len(labels)
    mean = np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)
    return GradientDensity(
        probability=(edges[:-1] + edges[1:]) / 2,
        density=density,
        gradient_norm=mean,
        gradient_density=sums * bins / len(labels),
    )


def gradient_norms(owner, loss, labels, logits):
    """Return `p_y` and the L1 norm of the gradient in the logits, per example."""
    is_logits = outputs.takes_logits(loss)

    def values(z):
        y_pred = z if is_logits else ops.softmax(z)
        each = loss.call(*inputs_of(loss, labels, y_pred))
        if len(each.shape) != 1:
            expected = "defined per example"
            raise ValueError(message(owner, "loss", expected, type(loss).__name__))
        return each, ops.softmax(z)

    p, slope = _gradients.compiled_gradient(values)(ops.convert_to_tensor(logits))
    p, slope = ops.convert_to_numpy(p), ops.convert_to_numpy(slope)
    return p[np.arange(len(labels)), labels], np.abs(slope).sum(axis=1)


def inputs_of(loss, labels, y_pred):
    """Return class ids and predictions in the form that a loss takes.

    Labels are ids or one-hot rows; a loss of one output takes a column of each.

    Args:
        loss: A loss of Keras or of this package, or a function.
        labels: Class ids `(n,)`.
        y_pred: Tensor `(n, num_classes)`, logits if the loss takes these.
    """
    from keras_noisy.losses import NoisyLabelLoss

    name = getattr(loss, "__name__", type(loss).__name__).lower()
    if isinstance(loss, NoisyLabelLoss) or name.startswith("sparse"):
        return labels, y_pred
    if not name.startswith("binary") or y_pred.shape[-1] != 2:
        return np.eye(y_pred.shape[-1], dtype="float32")[labels], y_pred
    second = y_pred[:, 1:]
    if outputs.takes_logits(loss):
        second = second - y_pred[:, :1]
    return labels[:, None].astype("float32"), second


def _check(owner, y_true, y_pred, from_logits):
    """Return labels and predictions that fit, or raise."""
    y_pred = as_predictions(owner, "y_pred", y_pred, least=1, from_logits=from_logits)
    return check_labels(owner, "y_true", y_true, like=y_pred), y_pred
