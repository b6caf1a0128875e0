"""Early-learning regularisation (ELR)."""

import math

from keras import ops

from keras_noisy import _errors
from keras_noisy.losses import _base


def early_learning_regularization(y_true, y_pred, *, target, weight, from_logits=False):
    """Cross-entropy, and agreement with what the network predicted early on.

    With `t` the moving average of the network's own predictions on the example, a
    constant,

        loss = H(q, p) + weight log(1 - sum_k t_k p_k)

    Networks learn the right labels before they fit the wrong ones; the second term
    holds them to what they learnt first. `updated_target` moves the average, which
    the caller keeps for every example.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        target: `t`, probabilities of the shape of `y_pred`; zero where there is no
            average yet.
        weight: Weight of the second term, at least 0 and finite. The paper uses 3 on
            CIFAR-10 and 7 on CIFAR-100.
        from_logits: Whether `y_pred` holds logits. `target` holds probabilities.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `weight` is negative or not finite, shapes do not fit, or a
            class id is out of range (inside compiled code: NaN for that example).

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.early_learning_regularization(
        ...     [1], [[0.25, 0.75]], target=[[0.5, 0.5]], weight=3.0
        ... )
        >>> round(float(loss[0]), 4)
        -1.7918

    Note:
        The paper clips predictions to [1e-4, 1 - 1e-4], which bounds the second term.
        Here `1 - t p` is computed as `sum_k (1 - t_k) p_k`, which keeps its digits,
        and is bounded at 1e-4 only: a network that agrees with `t` as closely as that
        has no gradient left from the term.

    Reference:
        Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy
        Labels", NeurIPS 2020.
    """
    owner = "early_learning_regularization"
    weight = _errors.check_number(
        owner, "weight", weight, low=0, high=math.inf, without="high", mend="Try 3.0."
    )
    y_pred, target = _base.as_tensor(y_pred), _base.as_tensor(target)
    _base.check_same_shape(owner, "target", target, y_pred)

    def formula(q, p):
        rest = 1 - ops.stop_gradient(ops.cast(target, p.exp.dtype))
        disagreement = ops.sum(rest * p.exp, axis=-1) / p.total
        floor = ops.convert_to_tensor(SMALLEST_DISAGREEMENT, dtype=p.exp.dtype)
        bounded = ops.where(disagreement > floor, disagreement, floor)
        return p.cross_entropy(q) + weight * ops.log(bounded)

    return _base.per_example(owner, y_true, y_pred, from_logits, formula)


# Without a bound the loss would fall for ever as the network agrees with itself.
SMALLEST_DISAGREEMENT = 1e-4


def updated_target(target, y_pred, *, momentum=0.7, from_logits=False):
    """Return the moving average of predictions, one step on.

    `momentum target + (1 - momentum) p`, a constant.

    Args:
        target: The average so far, `(..., num_classes)`; zeros at the beginning.
        y_pred: Probabilities, or logits with `from_logits=True`, of the same shape.
        momentum: Weight of the past, in [0, 1]. The paper uses 0.7 on CIFAR-10 and 0.9
            on CIFAR-100.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        The new average, shape `(..., num_classes)`.

    Raises:
        ValueError: If `momentum` is outside [0, 1] or shapes do not fit.

    Example:
        >>> from keras_noisy import losses
        >>> target = losses.updated_target([[0.0, 0.0]], [[0.25, 0.75]])
        >>> [round(float(value), 4) for value in target[0]]
        [0.075, 0.225]

    Reference:
        Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy
        Labels", NeurIPS 2020.
    """
    owner = "updated_target"
    momentum = _errors.check_number(owner, "momentum", momentum, low=0, high=1)
    y_pred, target = _base.as_tensor(y_pred), _base.as_tensor(target)
    _base.check_same_shape(owner, "target", target, y_pred)
    p = _base.prediction(owner, y_pred, from_logits).probabilities
    target = ops.cast(target, p.dtype)
    return ops.stop_gradient(momentum * target + (1 - momentum) * p)
