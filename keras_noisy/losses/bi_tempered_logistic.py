"""Bi-tempered logistic loss."""

from __future__ import annotations

from types import MappingProxyType

import keras
from keras import ops

from keras_noisy import _errors
from keras_noisy._typing import LossArguments, Tensor, TensorLike, Unpack
from keras_noisy.losses import _base


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
            or a class id is out of range (inside compiled code: NaN for that example).

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
    t1, t2 = _check("bi_tempered_logistic", t1, t2)
    return _base.per_example(
        "bi_tempered_logistic", y_true, y_pred, from_logits, _formula(t1, t2)
    )


# A softmax nearer to the usual one than this differs from it by rounding only.
SMALLEST_TAIL = 1e-8


def _formula(t1, t2):
    """Return the loss of a `Prediction`, with its gradient in closed form.

    With `v_k = (p_k - q_k) p_k^(t2 - t1)` and the escort distribution
    `e_k = p_k^t2 / sum_j p_j^t2`, the gradient in the logits is
    `v_k - e_k sum_j v_j`: nothing has to be differentiated through the solver.
    """
    tail = t2 - 1

    @ops.custom_gradient
    def from_shifted(q, shifted):
        log_p, base = _tempered_log_softmax(shifted, tail)
        p = ops.exp(log_p)
        power, tempered = _tempered_log(log_p, t1)
        tiny = ops.convert_to_tensor(1e-37, dtype=q.dtype)
        label_power, label_tempered = _tempered_log(
            ops.log(ops.where(q < tiny, tiny, q)), t1
        )
        divergence = q * (label_tempered - tempered)
        masses = q * label_power - p * power
        loss = ops.sum(divergence - masses / (2 - t1), axis=-1)

        def gradient(*args, upstream=None):
            upstream = (args[0] if upstream is None else upstream)[..., None]
            v = (p - q) * power / base
            escort = p / base
            escort = escort / ops.sum(escort, axis=-1, keepdims=True)
            in_logits = v - escort * ops.sum(v, axis=-1, keepdims=True)
            return upstream * (label_tempered - tempered), upstream * in_logits

        return loss, gradient

    return lambda q, prediction: from_shifted(q, prediction.shifted)


def _tempered_log(log_x, t):
    """Return `x^(1 - t)` and `log_t(x)` of `log x`, exact near `t = 1`."""
    if t == 1:
        return ops.ones_like(log_x), log_x
    tempered = ops.expm1((1 - t) * log_x) / (1 - t)
    return 1 + (1 - t) * tempered, tempered


def _tempered_log_softmax(shifted, tail):
    """Return `log p` of the tempered softmax, and `1 + tail (c - z)`.

    The power mean of order `-1 / tail` of the second is one where `p` sums to one.
    As a function of `c` it is concave and nearly linear: Newton's method climbs to
    the solution without overshooting. After this many steps it has the digits of
    float64, for a thousand classes and logits of any width (as the tests show).
    """
    if tail < SMALLEST_TAIL:
        total = ops.sum(ops.exp(shifted), axis=-1, keepdims=True)
        return shifted - ops.log(total), ops.ones_like(shifted)
    c = ops.zeros_like(shifted[..., :1])
    for _ in range(4 if tail <= 0.2 else 7 if tail <= 1 else 9):
        stretched = tail * (c - shifted)
        p = ops.exp(-ops.log1p(stretched) / tail)
        total = ops.sum(p, axis=-1, keepdims=True)
        slope = ops.sum(p / (1 + stretched), axis=-1, keepdims=True)
        c = c + total / slope * ops.expm1(tail * ops.log(total)) / tail
    stretched = tail * (c - shifted)
    return -ops.log1p(stretched) / tail, 1 + stretched


def _check(owner: str, t1: float, t2: float) -> tuple[float, float]:
    mend = "Start from t1=0.8, t2=1.2."
    return (
        _errors.check_number(owner, "t1", t1, low=0, high=1, mend=mend),
        _errors.check_number(owner, "t2", t2, low=1, high=10, mend=mend),
    )


@keras.saving.register_keras_serializable(package="keras_noisy")
class BiTemperedLogistic(_base.NoisyLabelLoss):
    """Logistic loss with a bounded logarithm and a heavy-tailed softmax.

    See `keras_noisy.losses.bi_tempered_logistic` for the formula and the label forms.

    Args:
        t1: Temperature of the logarithm, in [0, 1].
        t2: Temperature of the softmax, in [1, 10].
        **kwargs: `from_logits`, `reduction`, `name` and `dtype`, as in
            `keras_noisy.losses.NoisyLabelLoss`.
    """

    function = staticmethod(bi_tempered_logistic)
    hyperparameters = (
        "t1",
        "t2",
    )
    presets = MappingProxyType(
        {
            "cifar100, symmetric 0.4": {"t1": 0.8, "t2": 1.2},
        }
    )

    def __init__(
        self, *, t1: float, t2: float, **kwargs: Unpack[LossArguments]
    ) -> None:
        super().__init__(**kwargs)
        self.t1, self.t2 = _check(type(self).__name__, t1, t2)
