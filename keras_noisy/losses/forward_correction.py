"""Forward correction."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_noisy._checks.matrices import check_transition_matrix
from keras_noisy._typing import ArrayLike, Tensor, TensorLike
from keras_noisy.losses import _formula, _loss, _tensors
from keras_noisy.losses._prediction import LOG_ZERO


def _matrix(owner, argument, value):
    return check_transition_matrix(owner, value)


@_loss.arguments(
    transition_matrix=_matrix,
)
def forward_correction(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    transition_matrix: ArrayLike,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy of the prediction as the noise would turn it.

        loss = -sum_k q_k log (T' p)_k

    with `T[i, j] = P(noisy = j | clean = i)`. The network learns the clean label, and
    `T` turns it into the noisy one that it is compared with. The identity is
    cross-entropy. With the true `T` the minimiser is that of clean data.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        transition_matrix: `T`, array `(num_classes, num_classes)` whose rows sum to
            one. `keras_noisy.noise` makes and estimates them.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `transition_matrix` is no transition matrix of `num_classes`
            classes, shapes do not fit, `y_true` holds ids out of range or rows that are
            no distributions (inside compiled code: NaN for that example), or `y_pred`
            holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.forward_correction(
        ...     [1], [[0.25, 0.75]], transition_matrix=[[0.8, 0.2], [0.4, 0.6]]
        ... )
        >>> round(float(loss[0]), 4)
        0.6931

    Note:
        Compiled code on CPUs treats a batch of one-hot labels as class ids, which is
        faster. As with class ids, such labels have no gradient then.

        Distributions with a matrix of many zeros are exact where logits are at most
        200 apart. Of a class whose sources are all farther below the largest logit,
        the loss is at least what it is at 200 below, and may have no gradient.

    Reference:
        Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss
        Correction Approach", CVPR 2017.
    """
    owner = "forward_correction"
    labels, p = _formula.read(owner, y_true, y_pred, from_logits)
    check_transition_matrix(owner, transition_matrix, p.num_classes)
    if not labels.are_ids and _is_cheap(transition_matrix):
        loss = _of_distributions(labels.q, p, transition_matrix)
    else:
        loss = labels.by_class(
            lambda ids: _of_class_ids(ids, p, transition_matrix),
            lambda: _of_distributions(labels.q, p, transition_matrix),
        )
    return _formula.finish(labels, loss)


# With smaller entries `T' p` can underflow, and the products are added by logarithm.
SMALLEST_ENTRY = 1e-30
# Stands for the logarithm of zero of a class that nothing turns into: its loss is large
# and finite, as that of every class is as long as logits are finite.
LOG_NEVER = -1e9


def _of_class_ids(ids, p, matrix):
    """`-log (T' p)_y`, exact for every `T`."""
    columns = ops.convert_to_tensor(_log(matrix).T, dtype=p.shifted.dtype)
    return p.log_total - _tensors.log_sum_exp(
        p.shifted + ops.take(columns, ids, axis=0)
    )


def _of_distributions(q, p, matrix):
    log_noisy = _log_noisy(p, matrix)
    return p.log_total * ops.sum(q, axis=-1) - ops.sum(q * log_noisy, axis=-1)


def _log_noisy(p, matrix):
    """Return `log T' p`, plus `p.log_total`, shape `(..., num_classes)`."""
    if matrix.min() <= SMALLEST_ENTRY:
        if _takes_products(matrix):
            return _log_noisy_by_products(p.shifted, matrix)
        return _log_noisy_by_logarithms(p.shifted, matrix)
    if _others_alike(matrix):
        return ops.log(_product_with_others_alike(p, matrix))
    # Not `ops.matmul`, which computes float64 in float32 on torch.
    return ops.log(p.exp @ ops.convert_to_tensor(matrix, dtype=p.exp.dtype))


def _is_cheap(matrix):
    """Whether all of `log T' p` costs little more than one class of it."""
    return _most_sources(matrix) == 1 or (
        matrix.min() > SMALLEST_ENTRY and _others_alike(matrix)
    )


def _others_alike(matrix):
    """Whether the other classes turn into class `k` at one rate, at most its own.

    A class that is left alone less often than others turn into it would cancel.
    """
    diagonal, others = _diagonal_and_others(matrix)
    alike = np.where(np.eye(len(matrix), dtype=bool), diagonal, others)
    return np.array_equal(matrix, alike) and bool(np.all(diagonal >= others))


def _diagonal_and_others(matrix):
    classes = np.arange(len(matrix))
    return np.diag(matrix), matrix[classes - 1, classes]


def _product_with_others_alike(p, matrix):
    """As `p.exp @ matrix`, a sum of two terms as under symmetric noise."""
    diagonal, others = _diagonal_and_others(matrix)
    rest = ops.convert_to_tensor(diagonal - others, dtype=p.exp.dtype)
    others = ops.convert_to_tensor(others, dtype=p.exp.dtype)
    return rest * p.exp + others * p.total[..., None]


def _most_sources(matrix):
    """Return how many classes turn into the one that most turn into."""
    return int((matrix > 0).sum(axis=0).max())


def _has_many_sources(matrix):
    """Whether a gather for each class that turns into one costs more than all terms."""
    return 8 * _most_sources(matrix) > len(matrix)


# A sum of products this large has lost no digit to terms that underflow.
LEAST_SUM = 1e-28
# The entries of a matrix that was counted are larger.
LEAST_RATE = 1e-10
# With fewer classes all terms at once are cheaper than products.
FEWEST_CLASSES = 32
# How far below the largest logit products find every sum: logits of +-100.
REACH = 200.0
# Farther below the last anchor, a term counts as this far: more than nothing, and too
# little to make a sum that is found.
FAINT = -85.0


def _takes_products(matrix):
    """Whether a matrix with zeros is for `_log_noisy_by_products`."""
    return (
        len(matrix) >= FEWEST_CLASSES
        and _has_many_sources(matrix)
        and matrix[matrix > 0].min() >= LEAST_RATE
    )


def _log_noisy_by_products(shifted, matrix):
    """As `_log_noisy` for a matrix with zeros, in memory for one row of each example.

    A product with `exp(shifted - anchor)` gives the sums that do not underflow beside
    the anchor. Those that do have nothing within `gap` of it, and the next anchor is
    the largest logit below that. A sum smaller than all anchors reach counts as the
    largest that it can be, without a gradient, and one of masked classes alone as zero.
    """
    gap = float(np.log(matrix[matrix > 0].min() / LEAST_SUM))
    # Makes the least sum as far below one as the largest is above it, so that squares
    # of their inverses, in second derivatives, stay finite.
    middle = float(np.log(LEAST_SUM)) / 2
    least = float(np.exp(middle))
    has_sources = ops.convert_to_tensor(matrix.any(axis=0))
    matrix = ops.convert_to_tensor(matrix, dtype=shifted.dtype)
    values = ops.stop_gradient(shifted)
    anchor, at = ops.zeros_like(values[..., :1]), ops.zeros_like(values)
    # Not `ops.matmul`, which computes float64 in float32 on torch.
    sums = ops.exp(shifted - middle) @ matrix
    last = int(np.ceil(REACH / gap)) - 1
    for number in range(1, last + 1):
        below = ops.where(values < anchor - gap, values, LOG_ZERO)
        following = ops.max(below, axis=-1, keepdims=True)
        anchor = ops.where(following > LOG_ZERO, following, anchor)
        distance = ops.where(values <= anchor, shifted - anchor, LOG_ZERO)
        if number == last:
            faint = ops.where(values > LOG_ZERO, ops.full_like(at, FAINT), LOG_ZERO)
            distance = ops.where(distance > faint, distance, faint)
        is_found = sums >= least
        sums = ops.where(is_found, sums, ops.exp(distance - middle) @ matrix)
        at = ops.where(is_found, at, anchor)
    log_sums = at + middle + ops.log(ops.where(sums >= least, sums, least))
    is_masked = ops.logical_and(ops.equal(sums, 0), has_sources)
    return ops.where(is_masked, LOG_ZERO, log_sums)


def _log_noisy_by_logarithms(shifted, matrix):
    """As `_log_noisy`, the logarithm of a sum over the classes with `T_jk > 0`."""
    count = _most_sources(matrix)
    if _has_many_sources(matrix):
        logs = ops.convert_to_tensor(_log(matrix), dtype=shifted.dtype)
        return _tensors.log_sum_exp(shifted[..., None] + logs, axis=-2)
    # The classes that turn into class `k` stand first in column `k`, itself foremost.
    order = -matrix - 2 * np.eye(len(matrix)) * (matrix > 0)
    sources = np.argsort(order, axis=0, kind="stable")[:count]
    logs = np.take_along_axis(_log(matrix), sources, axis=0)
    logs = ops.convert_to_tensor(logs, dtype=shifted.dtype)
    # One term of every class at a time, shape `(..., count, num_classes)`.
    terms = ops.stack([_classes(shifted, row) for row in sources], axis=-2) + logs
    if count == 1:
        return ops.squeeze(terms, axis=-2)
    return _tensors.log_sum_exp(terms, axis=-2)


def _classes(x, ids):
    """Return `x[..., ids]`, without a gather where these are all classes in turn."""
    in_turn = np.array_equal(ids, np.arange(len(ids)))
    return x if in_turn else ops.take(x, ids, axis=-1)


def _log(matrix):
    """Return the logarithms of rates, finite for zero."""
    zero = np.where(matrix.any(axis=0), LOG_ZERO, LOG_NEVER)
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(matrix), zero)


@keras.saving.register_keras_serializable(package="keras_noisy")
class ForwardCorrection(_loss.NoisyLabelLoss):
    """Cross-entropy of the prediction as the noise would turn it.

    See `keras_noisy.losses.forward_correction` for the formula and the label forms.
    """

    function = staticmethod(forward_correction)
    transition_matrix: ArrayLike
