"""What losses share that read the training clock."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._step import clock as _step_clock
from keras_noisy._typing import Self, Tensor, TensorLike
from keras_noisy.losses import _loss

# Of the configuration; `_checkpoint.describe` leaves it out.
_TIME = "saved_time"


class TimedLoss(_loss.NoisyLabelLoss):
    """Base of the losses that depend on the training time.

    A subclass says whether it does with the arguments that it has, and computes itself
    from the progress of the training.
    """

    companion = "keras_noisy.callbacks.GlobalTrust"

    # The iterations done and planned when the loss was saved.
    _saved_time: tuple[int, ...] = (0, 0)
    # Weak, and thereby out of sight of Keras's saving, which would write the clock
    # under the loss instead of under the model that owns it.
    _clock = None
    _has_warned = False

    def without_reduction(
        self, y_true: TensorLike, y_pred: TensorLike, *, from_logits: bool
    ) -> Tensor:
        """Return one loss per example of predictions of either kind."""
        clock = self._find_clock()
        loss = self._at(self._progress(clock), y_true, y_pred, from_logits)
        if clock is not None or not self.depends_on_time():
            return loss
        return _loss.when_differentiated(loss, self._warn_without_clock)

    def depends_on_time(self) -> bool:
        """Whether this loss changes as the training proceeds."""
        raise NotImplementedError

    def _at(
        self,
        progress: Tensor,
        y_true: TensorLike,
        y_pred: TensorLike,
        from_logits: bool,
    ) -> Tensor:
        """Return one loss per example at `progress`, `t / Gamma`."""
        raise NotImplementedError

    def _logged_trust(self) -> tuple:
        """Return what the clock shows for it: a key and a function of progress."""
        return ()

    def progress(self) -> Tensor:
        """Return `t / Gamma` of the next training step, 0 before any."""
        return self._progress(self._find_clock())

    def _find_clock(self):
        """Return the clock of the step that is running, else the last one seen."""
        running = _step_clock.current()
        if running is not None:
            self._clock = weakref.ref(running)
            running.register(*self._logged_trust())
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
        name = type(self).__name__
        warnings.warn(
            f"{name} is being trained without its clock: time stays at iteration "
            f"{self._saved_time[0]} and the target does not follow the training. Add "
            f"`callbacks=[{self.companion}()]` to `fit`, or in a loop of your own call "
            f"`losses.{type(self).function.__name__}` with what it is to be at each "
            "step.",
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
        loss = super().from_config(arguments)
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
