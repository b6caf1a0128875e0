"""ProSelfLC: progressive self label correction."""

from __future__ import annotations

from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.numbers import Interval, optional
from keras_noisy._typing import SelfTrust, Tensor, TensorLike
from keras_noisy.losses import _loss, _prediction, _targets, _tensors, _timed

_KINDS = ("both", "global", "local")


def _self_trust(owner, argument, value):
    if isinstance(value, str) and value in _KINDS:
        return value
    range_ = _loss.WEIGHT
    try:
        return range_(owner, argument, value)
    except (TypeError, ValueError) as error:
        names = ", ".join(map(repr, _KINDS))
        expected = f"one of {names}, or a number in {range_}"
        text = errors.message(owner, argument, expected, value)
        raise type(error)(text) from None


# What the arguments of global trust may be.
TRUST = MappingProxyType(
    {
        "exp_base": Interval(0, 1e6, "right", "The paper uses 8 to 16."),
        "transit_time_ratio": _loss.WEIGHT,
    }
)


@_loss.arguments(**TRUST)
def global_trust(
    progress: Tensor, *, exp_base: float = 10.0, transit_time_ratio: float = 0.5
) -> Tensor:
    """Trust in a network that has done `progress` of its training.

        g = 1 / (1 + exp(-exp_base (progress - transit_time_ratio)))

    Args:
        progress: `t / Gamma`, iterations done over iterations planned: a number
            or a tensor of any shape.
        exp_base: Sharpness `B` of the transition, positive. The paper searches
            {8, 10, 12, 14, 16}; the first arXiv version does not state it.
        transit_time_ratio: The progress at which trust is one half, in [0, 1];
            0.5 in the paper.

    Returns:
        `g`, a float tensor in (0, 1) of the shape of `progress`.

    Raises:
        ValueError: If `exp_base` is not positive and finite or
            `transit_time_ratio` is outside [0, 1].

    Example:
        >>> from keras_noisy import losses
        >>> round(float(losses.global_trust(0.75)), 4)
        0.9241

    Reference:
        Eq. 7 of Wang et al., "ProSelfLC: Progressive Self Label Correction for
        Training Robust Deep Neural Networks", CVPR 2021.
    """
    progress = _tensors.as_tensor(progress, "global_trust", "progress")
    if not keras.backend.is_float_dtype(progress.dtype):
        progress = ops.cast(progress, keras.config.floatx())
    return ops.sigmoid(exp_base * (progress - transit_time_ratio))


def local_trust(y_pred: TensorLike, *, from_logits: bool = False) -> Tensor:
    """Trust in one prediction: its confidence `1 - H(p) / H(u)`.

    Args:
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        `l` in [0, 1], shape `y_pred.shape[:-1]`: 0 for a uniform prediction, 1
        for a certain one. It carries gradient; `proselflc` stops it.

    Raises:
        ValueError: If `y_pred` has fewer than two classes or no example.

    Example:
        >>> from keras_noisy import losses
        >>> round(float(losses.local_trust([[0.25, 0.75]])[0]), 4)
        0.1887

    Reference:
        Eq. 7 of Wang et al., "ProSelfLC", CVPR 2021.
    """
    return _prediction.read("local_trust", y_pred, from_logits).local_trust()


@_loss.arguments(
    global_trust=_loss.unless_tensor(optional(_loss.WEIGHT)),
    trust=_self_trust,
    stop_target_gradient=errors.check_bool,
)
def proselflc(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    global_trust: float | Tensor | None = None,
    trust: SelfTrust = "both",
    from_logits: bool = False,
    stop_target_gradient: bool = False,
) -> Tensor:
    """Cross-entropy to labels corrected as far as the network can be trusted.

    The target is `(1 - e) q + e p` with `e = g l(p)`, global trust times local
    trust (see `global_trust` and `local_trust`):

        loss = (1 - e) H(q, p) + e H(p, p)

    `e` is a constant for the gradient; the `p` in the target is not, so that a
    trusted prediction is rewarded for a low entropy.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        global_trust: `g`, a scalar in [0, 1]: a number or a tensor. None where
            `trust` does not use it.
        trust: What `e` is: `"both"` for `g l(p)`, `"global"` for `g`, `"local"` for
            `l(p)`, or a number in [0, 1], which is `bootstrap_soft` with that
            `epsilon`.
        from_logits: Whether `y_pred` holds logits.
        stop_target_gradient: Whether the target as a whole is a constant. The
            paper's is not; one of the authors' two code bases stops it.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `global_trust` is a number outside [0, 1], or missing where
            `trust` needs it, or given where it does not; if `trust` is none of these,
            shapes do not fit, `y_true` holds ids out of range or rows that are no
            distributions (inside compiled code: NaN for that example), or `y_pred`
            holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.proselflc([1], [[0.25, 0.75]], global_trust=0.5)
        >>> round(float(loss[0]), 4)
        0.3136
        >>> loss = losses.proselflc([1], [[0.25, 0.75]], trust="local")
        >>> round(float(loss[0]), 4)
        0.3395

    Reference:
        Wang et al., "ProSelfLC: Progressive Self Label Correction for Training
        Robust Deep Neural Networks", CVPR 2021, Eq. 7; Fig. 2 compares what `e` can
        be made of.
    """
    owner = "proselflc"
    global_trust = _check_global_trust(owner, global_trust, trust)
    target = _target(global_trust, trust, stop_target_gradient)
    return _targets.per_example(owner, y_true, y_pred, from_logits, target)


def _check_global_trust(owner, global_trust, trust):
    """Return global trust, or raise unless it is there if and only if it is used."""
    is_used = trust in ("both", "global")
    if is_used != (global_trust is not None):
        expected = "a number in [0, 1]" if is_used else "None"
        mend = f"With trust={trust!r} it is {'needed' if is_used else 'not used'}."
        raise ValueError(
            errors.message(owner, "global_trust", expected, global_trust, mend)
        )
    if global_trust is None or ops.is_tensor(global_trust):
        return global_trust
    return _loss.WEIGHT(owner, "global_trust", global_trust)


def _target(global_trust, trust, stop_target_gradient):
    """Return the target of the loss as a function of labels and prediction."""

    def target(q, p):
        e = _epsilon(global_trust, trust, p)
        return (1 - e) * q + e * (p.constant() if stop_target_gradient else p)

    return target


def _epsilon(global_trust, trust, p):
    """Return the weight of the prediction, a scalar or a tensor `(...)`."""
    if not isinstance(trust, str):
        return trust
    local = p.local_trust()
    if trust == "local":
        return local
    # A plain number keeps its digits; cast, it would pass through float32.
    if ops.is_tensor(global_trust):
        global_trust = ops.cast(global_trust, local.dtype)
    return global_trust if trust == "global" else global_trust * local


@keras.saving.register_keras_serializable(package="keras_noisy")
class ProSelfLC(_targets.WithTarget, _timed.TimedLoss):
    """Cross-entropy to labels corrected as far as the network can be trusted.

    See `keras_noisy.losses.proselflc` for the formula and the label forms. Global
    trust follows the training time, which `keras_noisy.callbacks.GlobalTrust`
    counts:

        model.compile(optimizer, loss=ProSelfLC(exp_base=10.0))
        model.fit(x, noisy_labels, callbacks=[GlobalTrust()])

    Trained without that callback, the loss warns and stays at the time it knows:
    that of the file it was loaded from, else the beginning. In a training loop of
    your own, call the function with `global_trust` instead.

    Args:
        exp_base: Sharpness `B` of the transition from labels to predictions,
            positive. The paper searches {8, 10, 12, 14, 16}.
        transit_time_ratio: Share of the training at which global trust is one
            half, in [0, 1].
        trust: What the weight of the prediction is: `"both"`, global times local
            trust, the method; `"global"` or `"local"`, one of the two alone; or a
            number in [0, 1], which is `BootstrapSoft` with that `epsilon`. The last
            two need no callback.
        stop_target_gradient: Whether the target is a constant for the gradient.
    """

    function = staticmethod(proselflc)
    exp_base: float = 10.0
    transit_time_ratio: float = 0.5
    trust: SelfTrust = "both"
    stop_target_gradient: bool = False
    checks = TRUST
    presets = MappingProxyType(
        {
            "cifar100, clean": {"exp_base": 10.0},
            "cifar100, asymmetric 0.2": {"exp_base": 14.0},
            "cifar100, asymmetric 0.3": {"exp_base": 10.0},
            "cifar100, asymmetric 0.4": {"exp_base": 8.0},
            "cifar100, symmetric 0.2": {"exp_base": 14.0},
            "cifar100, symmetric 0.4": {"exp_base": 12.0},
            "cifar100, symmetric 0.6": {"exp_base": 8.0},
        }
    )

    def global_trust(self, progress: Tensor) -> Tensor:
        """Return `g` at `progress`, with the arguments of this loss."""
        return global_trust(
            progress,
            exp_base=self.exp_base,
            transit_time_ratio=self.transit_time_ratio,
        )

    def self_trust(self, y_pred: TensorLike) -> Tensor:
        """Return `e`, the weight of each prediction in the target, at this time.

        Args:
            y_pred: Predictions `(..., num_classes)`, as the loss takes them.

        Returns:
            `e` in [0, 1], shape `y_pred.shape[:-1]`.
        """
        prediction = _prediction.read(type(self).__name__, y_pred, self.from_logits)
        p = _targets.PredictionTarget(prediction)
        e = _epsilon(self._global_trust_at(self.progress()), self.trust, p)
        return e * ops.ones_like(p.local_trust())

    def _target(self):
        g = self._global_trust_at(self.progress())
        return _target(g, self.trust, stop_target_gradient=True)

    def _at(self, progress, y_true, y_pred, from_logits):
        return proselflc(
            y_true,
            y_pred,
            global_trust=self._global_trust_at(progress),
            trust=self.trust,
            from_logits=from_logits,
            stop_target_gradient=self.stop_target_gradient,
        )

    def _global_trust_at(self, progress):
        return self.global_trust(progress) if self.depends_on_time() else None

    def depends_on_time(self) -> bool:
        """Whether this loss changes as the training proceeds."""
        return self.trust in ("both", "global")

    def _logged_trust(self):
        if not self.depends_on_time():
            return ()
        return (self.exp_base, self.transit_time_ratio), self.global_trust
