"""The callback that runs the clock of ProSelfLC, and of targets that move in time."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from keras_noisy._checks import errors
from keras_noisy._step import clock
from keras_noisy._typing import Logs
from keras_noisy.callbacks import _attached


class GlobalTrust(_attached.Attached):
    """Tells `keras_noisy.losses.ProSelfLC` which training iteration it is in.

    And `keras_noisy.losses.TargetModification`, if its target has an argument
    `progress`. Add it to `fit` and nothing else. The first step of a run uses `t = 0`
    and step `k` uses `t = k`, whatever Keras does around it: compiled steps,
    `steps_per_execution`, validation (which takes no time), `initial_epoch`,
    `BackupAndRestore`, gradient accumulation, several replicas. A second `fit`
    starts again at `initial_epoch`. With `ProSelfLC` progress bar and `History` show
    `global_trust`: in the bar that of the step just done, at the end of an epoch
    the one that the next step will use.

    Args:
        total_iterations: Training steps planned, `Gamma`. By default `epochs`
            times the steps of an epoch; needed where Keras does not know the
            latter, as with a generator.

    Raises:
        ValueError: If `total_iterations` is not a positive integer, or in `fit`
            if it is needed and missing.

    Example:
        >>> from keras_noisy import callbacks
        >>> clock = callbacks.GlobalTrust()  # model.fit(..., callbacks=[clock])
    """

    _of_model = ("_time",)

    def __init__(self, total_iterations: int | None = None) -> None:
        super().__init__()
        if total_iterations is not None:
            total_iterations = errors.check_count(
                "GlobalTrust",
                "total_iterations",
                total_iterations,
                mend="It is epochs times steps per epoch.",
            )
        self.total_iterations = total_iterations
        self._time: Any = None
        self._is_first_epoch = True
        self._was_fitting = False
        self._epoch_start = 0

    def set_model(self, model: keras.Model) -> None:
        """Attach the clock, before Keras makes the training function."""
        super().set_model(model)
        _check_backend_mode()
        self._time = clock.attach(model)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Set the number of planned steps."""
        self._is_first_epoch = True
        self._time.is_fitting = True
        self._time.total.assign(self._planned(self.params.get("steps")))

    def on_train_end(self, logs: Logs = None) -> None:
        """Take global trust out of the logs again."""
        self._time.is_fitting = False

    def on_test_begin(self, logs: Logs = None) -> None:
        """Keep global trust out of the logs of a validation."""
        self._was_fitting, self._time.is_fitting = self._time.is_fitting, False

    def on_test_end(self, logs: Logs = None) -> None:
        """Show global trust again."""
        self._time.is_fitting = self._was_fitting

    def _planned(self, steps):
        if self.total_iterations is not None:
            return self.total_iterations
        if not steps:
            raise ValueError(
                "GlobalTrust: `total_iterations` must be given, because Keras does "
                "not know how many steps an epoch of this data set has. Received: "
                "total_iterations=None. Pass epochs times steps per epoch, or "
                "`steps_per_epoch` to `fit`."
            )
        return self.params["epochs"] * steps

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Set the clock at the first epoch that this `fit` runs."""
        if self._is_first_epoch:
            # Here and not earlier: BackupAndRestore moves the first epoch.
            self._time.iterations.assign(epoch * self._steps_per_epoch(epoch))
            self._is_first_epoch = False
        self._epoch_start, _ = self._time.time()

    def _steps_per_epoch(self, epoch):
        """Return the steps that an epoch before this one has taken."""
        steps = self.params.get("steps")
        seen = int(keras.ops.convert_to_numpy(self._time.epoch_length))
        if steps and seen != self._rounded_up(steps):
            return steps
        if not seen and epoch:
            raise ValueError(
                "GlobalTrust: `steps_per_epoch` must be passed to `fit`, because "
                f"training starts at epoch {epoch} and it is not known how many "
                "steps the epochs before it have taken. Received: "
                "steps_per_epoch=None."
            )
        return seen

    def _rounded_up(self, steps):
        """Return `steps` as Keras runs them on endless data, in whole executions."""
        execution = self.model.steps_per_execution
        return -(-steps // execution) * execution

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Check that the clock moved, and learn the true length of an epoch."""
        length = self._time.time()[0] - self._epoch_start
        if length == 0:
            raise RuntimeError(
                "GlobalTrust: the clock did not move during an epoch, because the "
                "model's `train_step` does not call `compute_loss`, was replaced after "
                "`fit` began, or is not called by the training function. Use Keras's "
                "`fit` with the `train_step` method of the model, and let one of your "
                "own call `self.compute_loss`."
            )
        if not self._time.is_read:
            warnings.warn(
                "GlobalTrust: no loss of this model reads the clock. Compile the "
                "model with `keras_noisy.losses.ProSelfLC`, or with a "
                "`TargetModification`, or remove the callback.",
                stacklevel=2,
            )
        if not self.model.stop_training:
            self._learn_length(length)

    def _learn_length(self, length):
        self._time.epoch_length.assign(length)
        steps = self.params.get("steps")
        if steps and length > steps and self.total_iterations is None:
            # Endless data with `steps_per_execution` that does not divide the
            # steps of an epoch: nobody can tell before the first epoch is over.
            self._time.total.assign(self.params["epochs"] * length)


def _check_backend_mode():
    is_nnx_enabled = getattr(keras.config, "is_nnx_enabled", lambda: False)
    if is_nnx_enabled():
        raise RuntimeError(
            "GlobalTrust does not work with KERAS_NNX_ENABLED: Keras then calls "
            "`train_step` of the class and passes by the clock. Unset it."
        )
