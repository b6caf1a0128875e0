"""Early stopping on a moving average, which the luck of an epoch moves less."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors, numbers
from keras_noisy._step import state
from keras_noisy._typing import Logs
from keras_noisy.callbacks import _attached

_NONE = -1


class Watch(state.State):
    """What early stopping remembers, saved with the model.

    Attributes:
        recent: The last values, the newest last; NaN before there are as many.
        best: The best mean of them.
        wait: Epochs since then.
        best_epoch: The epoch of the best mean; -1 before there is one.
        next_epoch: The epoch that follows.
        kept: The model's weights of the best epoch.
    """

    def __init__(self, model, window, keeps_weights, name):
        super().__init__(name=name)
        self.recent = self.add("recent", math.nan, shape=(window,))
        self.best = self.add("best", math.nan)
        self.wait = self.add("wait", dtype="int32")
        self.best_epoch = self.add("best_epoch", _NONE, dtype="int32")
        self.next_epoch = self.add("next_epoch", dtype="int32")
        weights = model.weights if keeps_weights else []
        self.kept = [
            self.add(f"kept_{number}", shape=weight.shape, dtype=weight.dtype)
            for number, weight in enumerate(weights)
        ]

    def begin(self):
        """Forget everything."""
        self.recent.assign(np.full(self.recent.shape, math.nan, "float32"))
        self.best.assign(math.nan)
        self.wait.assign(0)
        self.best_epoch.assign(_NONE)

    def push(self, value):
        """Take a value, and return the mean of the last ones."""
        recent = np.append(ops.convert_to_numpy(self.recent)[1:], value)
        self.recent.assign(recent.astype("float32"))
        return float(recent.astype("float32").mean())


class SmoothedEarlyStopping(_attached.Attached, keras.callbacks.EarlyStopping):
    """Stops training on the moving average of a metric over the last epochs.

    `keras.callbacks.EarlyStopping` takes the best epoch. Where validation labels are
    noisy, or few, the best epoch is to a good part the luckiest one. This callback
    compares means of the last `window` epochs instead,

        mean_t = (v_t + v_{t - 1} + ... + v_{t - window + 1}) / window,

    stops when none was better for `patience` epochs, and gives the model the weights
    back that it had at the end of the window with the best mean. It begins to compare
    when there are `window` values.

    All that is remembered is state of the model, so that a fit with `BackupAndRestore`
    or `AtomicBackupAndRestore` behind this callback continues to the same result after
    a kill. A fit that begins with epoch 0 begins anew.

    Args:
        monitor: Name of the metric in the logs. Labels of validation data may be
            noisy.
        window: Number of epochs in a mean, at least 1, which is no smoothing.
        min_delta: By how much a mean must be better to count, at least 0.
        patience: Epochs without a better mean after which training stops.
        verbose: 1 for messages, 0 for none.
        mode: `"min"`, `"max"` or `"auto"`, as in Keras.
        baseline: A value that means must beat, or None.
        restore_best_weights: Whether the model ends with the weights of the best mean.
            True by default, unlike in Keras. They are kept on the device and in
            memory.
        start_from_epoch: Epochs before means are compared.

    Attributes:
        best: The best mean, None before there is one.
        best_epoch: The epoch at its end, counted from 0.
        stopped_epoch: The epoch that training stopped at, 0 if it did not.

    Raises:
        TypeError: If a flag is no bool.
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import callbacks
        >>> stopping = callbacks.SmoothedEarlyStopping("val_accuracy", patience=10)
        >>> # model.fit(x, y, validation_split=0.1, callbacks=[stopping])

    Note:
        The optimizer's state is not taken back.

    Reference:
        Prechelt, "Early Stopping - But When?", 1998, on noisy validation errors. Noisy
        validation labels choose well where noise depends on the class alone: Chen et
        al., "Robustness of Accuracy Metric and its Inspirations in Learning with Noisy
        Labels", AAAI 2021.
    """

    _of_model = ("_watch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_accuracy",
        *,
        window: int = 5,
        min_delta: float = 0.0,
        patience: int = 10,
        verbose: int = 0,
        mode: Literal["auto", "min", "max"] = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
    ) -> None:
        owner = type(self).__name__
        number = numbers.Interval(-math.inf, math.inf)
        super().__init__(
            monitor=monitor,
            min_delta=numbers.at_least_zero()(owner, "min_delta", min_delta),
            patience=errors.check_count(owner, "patience", patience),
            verbose=verbose,
            mode=errors.check_choice(owner, "mode", mode, ("auto", "min", "max")),
            baseline=numbers.optional(number)(owner, "baseline", baseline),
            restore_best_weights=errors.check_bool(
                owner, "restore_best_weights", restore_best_weights
            ),
            start_from_epoch=errors.check_count(
                owner, "start_from_epoch", start_from_epoch, low=0
            ),
        )
        self.window = errors.check_count(owner, "window", window)
        self._watch: Any = None
        self._is_first_epoch = True

    def set_model(self, model: keras.Model) -> None:
        """Give the model what is remembered, before a backup is read."""
        super().set_model(model)
        self._watch = state.of(model, self._attribute(), lambda: self._make(model))

    def _attribute(self):
        """Return a name that no callback with another state has."""
        kind = "weights" if self.restore_best_weights else "none"
        return f"_keras_noisy_{type(self).__name__}_{self.monitor}_{self.window}_{kind}"

    def _make(self, model):
        name = type(self).__name__.lower()
        return Watch(model, self.window, self.restore_best_weights, name)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Forget the last fit; warn if this one is too short to be stopped."""
        super().on_train_begin(logs)
        self._is_first_epoch = True
        errors.warn_of_warmup(
            type(self).__name__,
            self.params["epochs"],
            "training will not be stopped",
            patience=self.patience,
            window=self.window,
            start_from_epoch=self.start_from_epoch,
        )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Continue, or begin anew, at the first epoch of a fit."""
        if self._is_first_epoch:
            # Here and not earlier: BackupAndRestore moves the first epoch.
            self._is_first_epoch = False
            if epoch and _number(self._watch.next_epoch) == epoch:
                self._continue()
            else:
                self._watch.begin()

    def _continue(self):
        watch = self._watch
        best_epoch = int(_number(watch.best_epoch))
        if best_epoch != _NONE:
            self.best, self.best_epoch = _number(watch.best), best_epoch
            self.wait = int(_number(watch.wait))
            if self.restore_best_weights:
                self.best_weights = [ops.convert_to_numpy(w) for w in watch.kept]

    def get_monitor_value(self, logs: Logs) -> float | None:
        """Return the mean of the last values, None before there is one."""
        value = super().get_monitor_value(logs)
        if value is None:
            return None
        mean = self._watch.push(value)
        # Keras would never find anything better than a first value of NaN.
        return None if math.isnan(mean) and self.best is None else mean

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Compare the mean, and stop where none was better for long."""
        super().on_epoch_end(epoch, logs)
        watch = self._watch
        watch.next_epoch.assign(epoch + 1)
        if self.best is None:
            return
        watch.wait.assign(self.wait)
        if self.best_epoch == epoch:
            watch.best.assign(self.best)
            watch.best_epoch.assign(epoch)
            weights = self.best_weights if self.restore_best_weights else []
            for kept, weight in zip(watch.kept, weights, strict=True):
                kept.assign(weight)


def _number(variable):
    return float(ops.convert_to_numpy(variable))
