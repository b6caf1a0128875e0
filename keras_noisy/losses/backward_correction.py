"""Backward correction."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_noisy._checks.errors import Described, message
from keras_noisy._checks.matrices import check_transition_matrix
from keras_noisy._typing import (
    ArrayLike,
    Tensor,
    TensorLike,
)
from keras_noisy.losses import _formula, _loss

LARGEST_CONDITION = 1e6


def _invertible(owner, argument, value):
    """Return a transition matrix whose inverse can be computed, or raise."""
    matrix = check_transition_matrix(owner, value)
    condition = np.linalg.cond(matrix)
    if condition < LARGEST_CONDITION:
        return matrix
    received = Described(f"array with condition number {condition:.3g}")
    mend = (
        "Its rows must differ: a singular matrix mixes classes beyond recovery. "
        "`ForwardCorrection` takes it."
    )
    raise ValueError(message(owner, argument, "invertible", received, mend))


@_loss.arguments(
    transition_matrix=_invertible,
)
def backward_correction(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    transition_matrix: ArrayLike,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropies to all classes, weighted so that the noise averages out.

        loss = sum_k q_k (T^-1 l)_k,    l_k = -log p_k

    with `T[i, j] = P(noisy = j | clean = i)`. Its expectation over the noise is the
    cross-entropy to the clean label. It is cross-entropy to the target `q T^-1`, which
    has negative entries: the loss is not bounded below.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        transition_matrix: `T`, invertible array `(num_classes, num_classes)` whose rows
            sum to one.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `transition_matrix` is singular or no transition matrix of
            `num_classes` classes, shapes do not fit, `y_true` holds ids out of range or
            rows that are no distributions (inside compiled code: NaN for that example),
            or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.backward_correction(
        ...     [1], [[0.25, 0.75]], transition_matrix=[[0.8, 0.2], [0.4, 0.6]]
        ... )
        >>> round(float(loss[0]), 4)
        -0.8109

    Note:
        Compiled code on CPUs treats a batch of one-hot labels as class ids, which is
        faster. As with class ids, such labels have no gradient then.

    Reference:
        Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss
        Correction Approach", CVPR 2017.
    """
    owner = "backward_correction"
    labels, p = _formula.read(owner, y_true, y_pred, from_logits)
    check_transition_matrix(owner, transition_matrix, p.num_classes)
    inverse = ops.convert_to_tensor(_inverse(transition_matrix), dtype=p.exp.dtype)
    weights = labels.by_class(
        # Cheaper than the product with one-hot rows, which is the same.
        lambda ids: ops.take(inverse, ids, axis=0),
        # Not `ops.matmul`, which computes float64 in float32 on torch.
        lambda: labels.q @ inverse,
    )
    return _formula.finish(labels, p.cross_entropy(weights))


def _inverse(matrix):
    """Return `T^-1` with zeros where it has zeros, not what rounding leaves there."""
    inverse = np.linalg.inv(matrix)
    return np.where(np.abs(inverse) < SMALLEST_ENTRY, 0, inverse)


# What rounding leaves of a zero in the inverse of a matrix of `LARGEST_CONDITION`.
SMALLEST_ENTRY = 1e-10
# float32 has seven digits; of an inverse any worse, nothing would be left.


@keras.saving.register_keras_serializable(package="keras_noisy")
class BackwardCorrection(_loss.NoisyLabelLoss):
    """Cross-entropies to all classes, weighted so that the noise averages out.

    See `keras_noisy.losses.backward_correction` for the formula and the label forms.
    """

    function = staticmethod(backward_correction)
    transition_matrix: ArrayLike
