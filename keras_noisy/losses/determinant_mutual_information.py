"""Determinant-based mutual information (DMI)."""

from __future__ import annotations

import keras
from keras import ops

from keras_noisy import _keras
from keras_noisy._step import replicas
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss, _tensors

# Singular values of a matrix of float32 probabilities below it are rounding errors.
SMALLEST_SINGULAR_VALUE = 1e-6


def determinant_mutual_information(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    sample_weight: TensorLike | None = None,
    from_logits: bool = False,
) -> Tensor:
    """Negative logarithm of the determinant of the joint of labels and predictions.

    With `Y` the labels, one-hot `(N, num_classes)`, and `P` the predictions of a
    batch of `N` examples

        loss = -log |det(Y' P / N)|

    **The loss of the whole batch, not of an example.** Class-conditional noise with
    an invertible `T` multiplies the determinant by a constant, so that the minimiser
    is that of clean data, whatever `T`. The loss cannot tell classes apart by name:
    start from a network that was trained with cross-entropy.

    A class without an example makes the determinant zero. Its row is replaced by
    that of a perfect prediction, which leaves the determinant of the classes that
    are there. Directions in which the predictions do not differ at all (singular
    values below 1e-6) count as 1e-6 and have no gradient: loss and gradient are
    finite for every prediction.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`. All leading dimensions are one batch.
        sample_weight: Weights of the examples, to be broadcast to
            `y_pred.shape[:-1]`, or None. An example of weight two counts as two.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        A scalar. Under a TensorFlow strategy that of the global batch, the same on
        every replica; on JAX that of the global array.

    Raises:
        ValueError: If shapes do not fit, `y_true` holds ids out of range or rows that
            are no distributions (inside compiled code: NaN), or `y_pred` holds negative
            probabilities.
        RuntimeError: If `torch.distributed` has divided the batch among processes.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.determinant_mutual_information(
        ...     [0, 1], [[0.75, 0.25], [0.25, 0.75]]
        ... )
        >>> round(float(loss), 4)
        2.0794

    Note:
        Published code computes `log(|det| + 0.001)`, which is flat with the `1 / N` of
        the paper: the determinant of ten balanced classes is at most 1e-10.

    Reference:
        Xu et al., "L_DMI: A Novel Information-theoretic Loss Function for Training
        Deep Nets Robust to Label Noise", NeurIPS 2019.
    """
    owner = "determinant_mutual_information"
    if sample_weight is not None:
        sample_weight = _tensors.as_tensor(sample_weight, owner, "sample_weight")
    labels, p = _formula.read(owner, y_true, y_pred, from_logits)
    joint = _joint(owner, labels.q, p.probabilities, sample_weight)
    # NaN where an id is out of range, as for every loss.
    valid = ops.sum(_formula.finish(labels, p.log_total))
    return _negative_log_determinant(joint) + 0 * ops.stop_gradient(valid)


def _joint(owner, q, p, sample_weight):
    """Return `Y' P / N`, `(num_classes, num_classes)`, of the global batch."""
    num_classes = p.shape[-1]
    q = ops.reshape(q, (-1, num_classes))
    p = ops.reshape(p, (-1, num_classes))
    if sample_weight is not None:
        ones = ops.ones_like(q[:, 0])
        sample_weight = ops.cast(sample_weight, q.dtype)
        q = q * (ones * ops.reshape(sample_weight, (-1,)))[:, None]
    # Not `ops.matmul`, which computes float64 in float32 on torch.
    joint = ops.transpose(q) @ p
    joint = replicas.sum_over_replicas(owner, joint)
    total = ops.stop_gradient(ops.sum(joint))
    return joint / ops.where(total > 0, total, ops.ones_like(total))


def _negative_log_determinant(joint):
    """Return `-log |det|` of the classes that are there, by their conditionals.

    `joint = diag(prior) conditional`, the rows of the latter being mean predictions:
    the determinant of the former underflows, the sum of logarithms does not.
    """
    prior = ops.stop_gradient(ops.sum(joint, axis=-1))
    is_there = prior > 0
    prior = ops.where(is_there, prior, ops.ones_like(prior))
    perfect = ops.eye(joint.shape[-1], dtype=joint.dtype)
    conditional = ops.where(is_there[:, None], joint / prior[:, None], perfect)
    return -ops.sum(ops.log(prior)) - _log_determinant(conditional)


@ops.custom_gradient
def _log_determinant(matrix):
    """`log |det|` with singular values cut off where they are rounding errors.

    The gradient is the transposed inverse. Through the singular values it needs no
    factorisation that fails for a singular matrix, as `slogdet` does.
    """
    left, values, right = ops.svd(matrix, full_matrices=False)
    floor = ops.convert_to_tensor(SMALLEST_SINGULAR_VALUE, dtype=values.dtype)
    is_above = values > floor
    safe = ops.where(is_above, values, floor)

    def gradient(*args, upstream=None):
        upstream = args[0] if upstream is None else upstream
        inverse = ops.where(is_above, 1 / safe, ops.zeros_like(safe))
        return upstream * ((left * inverse) @ right)

    return ops.sum(ops.log(safe)), gradient


@keras.saving.register_keras_serializable(package="keras_noisy")
class DeterminantMutualInformation(_loss.NoisyLabelLoss):
    """Negative logarithm of the determinant of the joint of labels and predictions.

    See `keras_noisy.losses.determinant_mutual_information` for the formula and the
    label forms. The loss is that of the whole batch; sample weights and Keras's masks
    weigh the examples in it, and every reduction returns the same scalar.
    """

    function = staticmethod(determinant_mutual_information)

    def __call__(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike | None = None,
    ) -> Tensor:
        """Return the loss of the batch."""
        y_pred = _tensors.as_tensor(y_pred)
        y_true, is_kept = self._split_ignored(y_true, y_pred)
        mask = _keras.mask_of(y_pred)
        if is_kept is not None:
            mask = is_kept if mask is None else ops.logical_and(mask, is_kept)
        if mask is not None:
            mask = ops.cast(mask, self.dtype)
            # Weights may lack the last dimensions of the mask.
            weight = 1.0 if sample_weight is None else sample_weight
            sample_weight = mask * _with_rank(weight, mask)
        elif sample_weight is not None:
            is_vector = len(y_pred.shape) == 1
            shape = ops.shape(y_pred)
            leading = ops.ones(shape if is_vector else shape[:-1], dtype=self.dtype)
            sample_weight = leading * _with_rank(sample_weight, leading)
        loss = determinant_mutual_information(
            y_true,
            _keras.cast_with_logits(y_pred, self.dtype),
            sample_weight=sample_weight,
            from_logits=self.from_logits,
        )
        # Keras adds the replicas' losses up, as it does those of means.
        return loss / replicas.num_replicas()


def _with_rank(weight, like):
    """Return weights with trailing dimensions added or dropped, as `like` has."""
    weight = ops.cast(_tensors.as_tensor(weight), like.dtype)
    shape = tuple(weight.shape)
    rank = len(like.shape)
    if len(shape) == rank + 1 and shape[-1] == 1:
        return ops.squeeze(weight, axis=-1)
    return ops.reshape(weight, (*ops.shape(weight), *[1] * (rank - len(shape))))
