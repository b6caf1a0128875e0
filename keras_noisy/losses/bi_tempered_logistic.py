"""Bi-tempered logistic loss."""

from __future__ import annotations

import math
from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss, _prediction, _tensors

_MEND = "Start from t1=0.8, t2=1.2."


@_loss.arguments(
    t1=Interval(0, 1, mend=_MEND),
    t2=Interval(1, 10, mend=_MEND),
)
def bi_tempered_logistic(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    t1: float,
    t2: float,
    from_logits: bool = False,
) -> Tensor:
    """Logistic loss with a bounded logarithm and a heavy-tailed softmax.

    With the tempered logarithm `log_t(x) = (x^(1 - t) - 1) / (1 - t)`, its inverse
    `exp_t`, and the tempered softmax `p_k = exp_t2(z_k - c)`, `c` such that `p` sums
    to one,

        loss = sum_k q_k (log_t1 q_k - log_t1 p_k)
               - sum_k (q_k^(2 - t1) - p_k^(2 - t1)) / (2 - t1)

    `t1 < 1` bounds the loss of an implausible label, `t2 > 1` keeps the gradient of
    labels near the decision boundary from vanishing. `t1 = t2 = 1` is cross-entropy
    (for soft labels less their entropy).

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        t1: Temperature of the logarithm, in [0, 1].
        t2: Temperature of the softmax, in [1, 10].
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `t1` is outside [0, 1], `t2` outside [1, 10], shapes do not fit,
            `y_true` holds ids out of range or rows that are no distributions (inside
            compiled code: NaN for that example), or `y_pred` holds negative
            probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.bi_tempered_logistic([1], [[0.25, 0.75]], t1=0.5, t2=1.0)
        >>> round(float(loss[0]), 4)
        0.1176

    Note:
        The authors' code takes five fixed-point steps to normalise; for wide logits its
        probabilities sum to 1.19. Here the equation is solved to the last digits. With
        `from_logits=False` the logarithms of the probabilities are the activations.

    Reference:
        Amid et al., "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences",
        NeurIPS 2019.
    """
    return _formula.per_example(
        "bi_tempered_logistic", y_true, y_pred, from_logits, _tempered(t1, t2)
    )


# A softmax nearer to the usual one than this differs from it by rounding only.
SMALLEST_TAIL = 1e-8


def _tempered(t1, t2):
    """Return the loss of a `Prediction`, with its gradient in closed form.

    With `v_k = (p_k - q_k) p_k^(t2 - t1)` and the escort distribution
    `e_k = p_k^t2 / sum_j p_j^t2`, the gradient in the logits is
    `v_k - e_k sum_j v_j`: nothing has to be differentiated through the solver.
    """
    tail = t2 - 1

    @ops.custom_gradient
    def from_shifted(q, shifted):
        log_p, p, inverse_base = _tempered_softmax(shifted, tail)
        floored = _tensors.at_least(_prediction.LOG_ZERO, log_p)
        power, tempered = _tempered_log(floored, t1)
        tiny = ops.convert_to_tensor(1e-37, dtype=q.dtype)
        label_power, label_tempered = _tempered_log(
            ops.log(ops.where(q < tiny, tiny, q)), t1
        )
        divergence = q * (label_tempered - tempered)
        masses = q * label_power - p * power
        loss = ops.sum(divergence - masses / (2 - t1), axis=-1)

        def gradient(*args, upstream=None):
            upstream = (args[0] if upstream is None else upstream)[..., None]
            v = (p - q) * power * inverse_base
            escort = p * inverse_base
            escort = escort / ops.sum(escort, axis=-1, keepdims=True)
            in_logits = v - escort * ops.sum(v, axis=-1, keepdims=True)
            return upstream * (label_tempered - tempered), upstream * in_logits

        return loss, gradient

    # Raw, because a heavy tail makes a probability of any finite logit.
    return lambda q, prediction: from_shifted(q, prediction.raw)


def _tempered_log(log_x, t):
    """Return `x^(1 - t)` and `log_t(x)` of `log x`, exact near `t = 1`."""
    if t == 1:
        return ops.ones_like(log_x), log_x
    tempered = ops.expm1((1 - t) * log_x) / (1 - t)
    return 1 + (1 - t) * tempered, tempered


def _tempered_softmax(shifted, tail):
    """Return `log p`, `p` and `1 / w` of the tempered softmax.

    With `w_k = 1 + tail (c - z_k)` and `r = 1 / tail`, `p_k = w_k^-r` and
    `c` is such that `p` sums to one.
    """
    if tail < SMALLEST_TAIL:
        exp = ops.exp(shifted)
        total = ops.sum(exp, axis=-1, keepdims=True)
        return shifted - ops.log(total), exp / total, ops.ones_like(shifted)
    c = _normaliser(shifted, tail)
    log_p = -ops.log1p(tail * (c - shifted)) / tail
    return log_p, *_tempered_exp(c - shifted, tail)


def _tempered_exp(distance, tail):
    """Return `w^(-1 / tail)` and `1 / w` for `w = 1 + tail distance`."""
    inverse = 1 / (1 + tail * distance)
    order = round(1 / tail)
    if order in range(1, 11) and abs(order * tail - 1) < 1e-12:
        return _whole_power(inverse, order), inverse
    return ops.exp(-ops.log1p(tail * distance) / tail), inverse


def _whole_power(x, order):
    """Return `x^order` by squaring: cheaper than by logarithm and exponential."""
    result = None
    while order:
        if order % 2:
            result = x if result is None else result * x
        order //= 2
        x = x * x
    return result


def _normaliser(shifted, tail):
    """Return `c`, `(..., 1)`, to the last digits.

    The power mean `M(c)` of order `-1 / tail` of `w` is one at the solution; it is
    increasing and concave in `c`. Newton's method on it therefore comes out below the
    solution wherever it starts: a lower bound. A step of Halley's method, of third
    order, is taken where it stays below the upper bound, and the geometric mean of the
    bounds (as values of `w`) where it does not. How many steps the worst of many shapes
    of logits needs is tested.
    """
    high = math.expm1(tail * math.log(shifted.shape[-1])) / tail
    # Equal logits give the upper bound, their mean the lower one by convexity.
    low = high + ops.sum(shifted, axis=-1, keepdims=True) / shifted.shape[-1]
    low = ops.where(low > 0, low, ops.zeros_like(low))
    high = ops.full_like(low, high)
    c = low
    is_double = keras.backend.standardize_dtype(shifted.dtype) == "float64"
    for _ in range((4 if tail <= 0.5 else 5) + is_double):
        p, inverse = _tempered_exp(c - shifted, tail)
        # Relative to the least `w`: powers of `1 / w` alone would underflow.
        least = 1 + tail * c
        inverse = least * inverse
        total = ops.sum(p, axis=-1, keepdims=True)
        slope = ops.sum(p * inverse, axis=-1, keepdims=True)
        curve = ops.sum(p * inverse * inverse, axis=-1, keepdims=True)
        relative = total / slope * ops.expm1(tail * ops.log(total)) / tail
        newton = least * relative
        high = ops.where(ops.logical_and(total < 1, c < high), c, high)
        low = ops.where(c + newton > low, c + newton, low)
        # One less half of the step times the second over the first derivative.
        damping = 1 + (1 + tail) / 2 * (slope / total - curve / slope) * relative
        halley = c + newton / ops.where(damping > 0.1, damping, 0.1)
        is_too_far = ops.logical_or(damping <= 0.1, halley > high)
        halley = ops.where(halley > low, halley, low)
        c = ops.where(is_too_far, _between(low, high, tail), halley)
    return c


def _between(low, high, tail):
    """Return the geometric mean of two bounds, as values of `w`."""
    middle = (ops.log1p(tail * low) + ops.log1p(tail * high)) / 2
    return ops.expm1(middle) / tail


@keras.saving.register_keras_serializable(package="keras_noisy")
class BiTemperedLogistic(_loss.NoisyLabelLoss):
    """Logistic loss with a bounded logarithm and a heavy-tailed softmax.

    See `keras_noisy.losses.bi_tempered_logistic` for the formula and the label forms.
    """

    function = staticmethod(bi_tempered_logistic)
    t1: float
    t2: float
    presets = MappingProxyType(
        {
            "cifar100, symmetric 0.4": {"t1": 0.8, "t2": 1.2},
        }
    )
