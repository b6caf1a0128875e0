"""ProSelfLC: progressive self label correction."""

from __future__ import annotations

import warnings
import weakref
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.numbers import Interval
from keras_noisy._step import clock as _step_clock
from keras_noisy._typing import Self, Tensor, TensorLike
from keras_noisy.losses import _loss, _prediction, _targets, _tensors

# What the arguments of global trust may be.
TRUST = MappingProxyType(
    {
        "exp_base": Interval(0, 1e6, "right", "The paper uses 8 to 16."),
        "transit_time_ratio": _loss.WEIGHT,
    }
)

# Of the configuration; `_checkpoint.describe` leaves it out.
_TIME = "saved_time"


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
    global_trust=_loss.unless_tensor(_loss.WEIGHT),
    stop_target_gradient=errors.check_bool,
)
def proselflc(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    global_trust: float | Tensor,
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
        global_trust: `g`, a scalar in [0, 1]: a number or a tensor.
        from_logits: Whether `y_pred` holds logits.
        stop_target_gradient: Whether the target as a whole is a constant. The
            paper's is not; one of the authors' two code bases stops it.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `global_trust` is a number outside [0, 1], shapes do not fit,
            `y_true` holds ids out of range or rows that are no distributions (inside
            compiled code: NaN for that example), or `y_pred` holds negative
            probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.proselflc([1], [[0.25, 0.75]], global_trust=0.5)
        >>> round(float(loss[0]), 4)
        0.3136

    Reference:
        Wang et al., "ProSelfLC: Progressive Self Label Correction for Training
        Robust Deep Neural Networks", CVPR 2021, Eq. 7.
    """
    is_tensor = ops.is_tensor(global_trust)
    if not is_tensor:
        global_trust = _loss.WEIGHT("proselflc", "global_trust", global_trust)

    def target(q, p):
        trust = p.local_trust()
        # A plain number keeps its digits; cast, it would pass through float32.
        g = ops.cast(global_trust, trust.dtype) if is_tensor else global_trust
        e = g * trust
        return (1 - e) * q + e * (p.constant() if stop_target_gradient else p)

    owner = "proselflc"
    return _targets.per_example(owner, y_true, y_pred, from_logits, target)


@keras.saving.register_keras_serializable(package="keras_noisy")
class ProSelfLC(_loss.NoisyLabelLoss):
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
        stop_target_gradient: Whether the target is a constant for the gradient.
    """

    function = staticmethod(proselflc)
    companion = "keras_noisy.callbacks.GlobalTrust"
    exp_base: float = 10.0
    transit_time_ratio: float = 0.5
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

    # The iterations done and planned when the loss was saved.
    _saved_time: tuple[int, ...] = (0, 0)
    # Weak, and thereby out of sight of Keras's saving, which would write the clock
    # under the loss instead of under the model that owns it.
    _clock = None
    _has_warned = False

    def call(self, y_true: TensorLike, y_pred: TensorLike) -> Tensor:
        """Return one loss per example."""
        clock = self._find_clock()
        loss = proselflc(
            y_true,
            y_pred,
            global_trust=self.global_trust(self._progress(clock)),
            from_logits=self.from_logits,
            stop_target_gradient=self.stop_target_gradient,
        )
        if clock is not None:
            return loss
        return _loss.when_differentiated(loss, self._warn_without_clock)

    def global_trust(self, progress: Tensor) -> Tensor:
        """Return `g` at `progress`, with the arguments of this loss."""
        return global_trust(
            progress,
            exp_base=self.exp_base,
            transit_time_ratio=self.transit_time_ratio,
        )

    def _find_clock(self):
        """Return the clock of the step that is running, else the last one seen."""
        running = _step_clock.current()
        if running is not None:
            self._clock = weakref.ref(running)
            running.register(self)
            return running
        return self._clock() if self._clock is not None else None

    def _progress(self, clock):
        if clock is not None:
            return clock.progress()
        done, planned = self._saved_time
        return done / planned if planned else 0.0

    def _warn_without_clock(self):
        if self._has_warned:
            return
        self._has_warned = True
        warnings.warn(
            "ProSelfLC is being trained without its clock: time stays at iteration "
            f"{self._saved_time[0]} and trust does not grow as training proceeds. Add "
            f"`callbacks=[{self.companion}()]` to `fit`, or in a "
            "loop of your own call `losses.proselflc(..., global_trust=...)`.",
            stacklevel=2,
        )

    def _time(self):
        """Return the iterations done and planned."""
        clock = self._clock() if self._clock is not None else None
        return self._saved_time if clock is None else clock.time()

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, and the time once there is one.

        Files of a whole model that end in `.h5` keep nothing else of a loss.
        """
        time = list(self._time())
        return {**super().get_config(), **({_TIME: time} if any(time) else {})}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a loss from what `get_config` returned."""
        arguments = {key: value for key, value in config.items() if key != _TIME}
        loss = cls(**arguments)
        done, planned = config.get(_TIME, (0, 0))
        loss._saved_time = tuple(
            errors.check_count(cls.__name__, _TIME, number, low=0)
            for number in (done, planned)
        )
        return loss

    def save_own_variables(self, store: Any) -> None:
        """Save the time, so that a loaded model evaluates to the same loss."""
        store["iterations"], store["total"] = self._time()

    def load_own_variables(self, store: Any) -> None:
        """Restore the time; a file that has none leaves it as it is."""
        if "iterations" in store.keys() and "total" in store.keys():  # noqa: SIM118
            self._saved_time = tuple(
                int(np.asarray(store[key])) for key in ("iterations", "total")
            )
