"""Epsilon-softmax."""

from __future__ import annotations

import math
from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import Interval, at_least_zero
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss

_MEND = "The paper uses m=1e5, alpha=0.01, beta=5 on CIFAR-10."


@_loss.arguments(
    m=Interval(0, 1e10, mend=_MEND),
    alpha=at_least_zero(_MEND),
    beta=at_least_zero(_MEND),
)
def epsilon_softmax(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    m: float,
    alpha: float,
    beta: float,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy of predictions pushed towards one-hot, and mean absolute error.

    With `c` the predicted class, a constant, and `p' = (p + m onehot(c)) / (m + 1)`

        loss = alpha H(q, p') + beta sum_k |q_k - p_k|

    (`CE_eps + MAE` in the paper). `m = 0` is cross-entropy with mean absolute error.
    Examples whose label is the predicted class have almost no gradient from the first
    term; the others have that of cross-entropy.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        m: How far predictions are pushed, at least 0 and at most 1e10.
        alpha: Weight of the cross-entropy, at least 0 and finite.
        beta: Weight of the mean absolute error, at least 0 and finite.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `m` is outside [0, 1e10], `alpha` or `beta` is negative or not
            finite, shapes do not fit, `y_true` holds ids out of range or rows that are
            no distributions (inside compiled code: NaN for that example), or `y_pred`
            holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.epsilon_softmax(
        ...     [1], [[0.25, 0.75]], m=1.0, alpha=1.0, beta=1.0
        ... )
        >>> round(float(loss[0]), 4)
        0.6335

    Note:
        Published code clips the pushed probabilities at 1e-8, which stops the gradient
        of most mislabelled examples once `m` is large. Here nothing is clipped.

    Reference:
        Wang et al., "epsilon-Softmax: Approximating One-Hot Vectors for Mitigating
        Label Noise", NeurIPS 2024.
    """

    def formula(q, p):
        # Divided by the total once for each example, not for each class.
        absolute = ops.sum(ops.abs(q * p.total[..., None] - p.exp), axis=-1) / p.total
        return alpha * _pushed_cross_entropy(q, p, m) + beta * absolute

    return _formula.per_example("epsilon_softmax", y_true, y_pred, from_logits, formula)


def _pushed_cross_entropy(q, p, m):
    """Return `H(q, (p + m onehot(c)) / (m + 1))`.

    The other classes have their own log-probability less `log(m + 1)`. That of the
    predicted class is replaced by `log1p((p_c - 1) / (m + 1))`, which keeps its
    digits for large `m`.
    """
    chosen = p.argmax_one_hot()
    predicted = ops.sum(q * chosen, axis=-1)
    others = ops.sum(q, axis=-1) - predicted
    log_p_c = ops.sum(chosen * p.shifted, axis=-1) - p.log_total
    pushed = ops.log1p(ops.expm1(log_p_c) / (m + 1))
    unpushed = p.cross_entropy(q) + predicted * log_p_c
    return unpushed + others * math.log1p(m) - predicted * pushed


@keras.saving.register_keras_serializable(package="keras_noisy")
class EpsilonSoftmax(_loss.NoisyLabelLoss):
    """Cross-entropy of predictions pushed towards one-hot, and mean absolute error.

    See `keras_noisy.losses.epsilon_softmax` for the formula and the label forms.
    """

    function = staticmethod(epsilon_softmax)
    m: float
    alpha: float
    beta: float
    presets = MappingProxyType(
        {
            "cifar10, symmetric": {"m": 1e5, "alpha": 0.01, "beta": 5.0},
            "cifar10, asymmetric": {"m": 1e3, "alpha": 0.02, "beta": 5.0},
            "cifar10, instance-dependent": {"m": 1e5, "alpha": 0.045, "beta": 10.0},
            "cifar100, clean": {"m": 1e4, "alpha": 0.1, "beta": 1.0},
            "cifar100, symmetric 0.2": {"m": 1e4, "alpha": 0.05, "beta": 1.0},
            "cifar100, symmetric 0.4": {"m": 1e4, "alpha": 0.03, "beta": 1.0},
            "cifar100, symmetric 0.6": {"m": 1e4, "alpha": 0.00125, "beta": 1.0},
            "cifar100, symmetric 0.8": {"m": 1e4, "alpha": 0.0075, "beta": 1.0},
            "cifar100, asymmetric 0.1": {"m": 1e2, "alpha": 0.015, "beta": 1.0},
            "cifar100, asymmetric 0.2": {"m": 1e2, "alpha": 0.007, "beta": 1.0},
            "cifar100, asymmetric 0.3": {"m": 1e2, "alpha": 0.005, "beta": 1.0},
            "cifar100, asymmetric 0.4": {"m": 1e2, "alpha": 0.004, "beta": 1.0},
            "webvision": {"m": 1e3, "alpha": 0.015, "beta": 0.3},
            "clothing1m": {"m": 1e3, "alpha": 0.012, "beta": 0.1},
        }
    )
