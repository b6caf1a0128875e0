"""Early stopping without validation data: Label Wave."""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.numbers import optional
from keras_noisy._data import arrays, batch_statistics, outputs, predictions
from keras_noisy._typing import Data, Logs
from keras_noisy.callbacks import seal, smoothed_early_stopping

_OWNER = "LabelWave"
_UNKNOWN = -1
_CURE = (
    "Give the layers a lower momentum, or pass a `callbacks.SEAL` with "
    "`recompute_statistics=True`, or a `callbacks.SEALOnTheFly`, as `x`."
)


class Watch(smoothed_early_stopping.Watch):
    """What Label Wave remembers, saved with the model.

    Attributes:
        previous: The class that each example was last predicted as; -1 before.
    """

    def __init__(self, model, window, keeps_weights, num_examples, name):
        super().__init__(model, window, keeps_weights, name)
        self.previous = self.add(
            "previous", _UNKNOWN, shape=(num_examples,), dtype="int32"
        )

    def begin(self):
        """Forget everything."""
        super().begin()
        self.previous.assign(np.full(self.previous.shape, _UNKNOWN, "int32"))


class LabelWave(smoothed_early_stopping.SmoothedEarlyStopping):
    """Stops training where predictions on the training data change least.

    While a network learns what examples have in common, its predictions on them settle.
    When it begins to fit single wrong labels they change again. At the end of each
    epoch the model predicts `x`, and the share of the examples whose class is not the
    one of the epoch before,

        c_t = |{i : argmax p_t(x_i) != argmax p_{t - 1}(x_i)}| / n,

    is averaged over the last `window` epochs. Training stops at the first minimum of
    the mean that lasts for `patience` epochs, and the model gets the weights of that
    epoch. No label is looked at and no validation data is needed.

    The logs show `prediction_changes`, the share of each epoch, NaN in the first one.
    The cost is one pass over `x` in each epoch; none where `x` is a `SEAL` or
    `SEALOnTheFly` of the same fit.

    All that is remembered is state of the model, as in `SmoothedEarlyStopping`.

    Args:
        x: The training inputs: an array or a tuple or dict of arrays, or a finite data
            set of batches of inputs (or of what `fit` takes) that always comes in the
            same order; or the `callbacks.SEAL` or `callbacks.SEALOnTheFly` that stands
            before this callback in the same `fit`, whose predictions are used then.
        window: Number of epochs in a mean, at least 1.
        patience: Epochs without a smaller mean after which training stops.
        batch_size: Batch size of the pass over arrays, 256 by default.
        restore_best_weights: Whether the model ends with the weights of the minimum.
            They are kept on the device and in memory.

    Attributes:
        best: The smallest mean, None before there is one.
        best_epoch: The epoch at its end, counted from 0.
        stopped_epoch: The epoch that training stopped at, 0 if it did not.

    Raises:
        TypeError: If `x` is no data, or a flag no bool.
        ValueError: If an argument is out of range; in `fit`, if the model is no
            classifier with one output.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import callbacks
        >>> x = np.zeros((8, 3))
        >>> wave = callbacks.LabelWave(x)  # model.fit(x, y, callbacks=[wave])

    Note:
        Predictions are those of inference mode. The authors' code takes those of the
        training steps, each from before its step: `SEALOnTheFly` as `x` does that. A
        network that has diverged counts as one without a smaller mean.

    Reference:
        Yuan, Feng, and Liu, "Early Stopping Against Label Noise Without Validation
        Data", ICLR 2024.
    """

    _shared: tuple[str, ...] = ("x",)

    def __init__(
        self,
        x: Data,
        *,
        window: int = 3,
        patience: int = 10,
        batch_size: int | None = None,
        restore_best_weights: bool = True,
    ) -> None:
        super().__init__(
            "prediction_changes",
            window=window,
            patience=patience,
            mode="min",
            restore_best_weights=restore_best_weights,
        )
        self.x = arrays.standard(x)
        self.batch_size = optional(errors.check_count)(_OWNER, "batch_size", batch_size)
        self._is_listening = isinstance(x, (seal.SEAL, seal.SEALOnTheFly))
        self._classes: np.ndarray | None = None
        self._num_examples: int | None = None
        if self._is_listening:
            self._shared = ()
            x.listeners.append(self._listen)
        elif arrays.is_arrays(self.x):
            self._num_examples = arrays.length(_OWNER, "x", self.x)
            predictions.check_not_empty(_OWNER, self._num_examples)
        elif isinstance(self.x, (tuple, dict, str)):
            # A data set is none of them; this raises.
            arrays.as_arrays(_OWNER, "x", self.x)
        else:
            predictions.check_data_set(_OWNER, self.x)
        self._order = predictions.SameOrder(_OWNER)
        self._statistics = batch_statistics.Statistics(_OWNER)

    def _attribute(self):
        return f"{super()._attribute()}_{self._count()}"

    def _make(self, model):
        keeps, count = self.restore_best_weights, self._count()
        return Watch(model, self.window, keeps, count, _OWNER.lower())

    def _count(self):
        """Return the number of examples, for which a data set is read once."""
        if self._num_examples is None:
            data = self.x
            if self._is_listening:
                self._num_examples, data = self.x.num_examples, getattr(data, "x", None)
            if self._num_examples is None:
                self._num_examples = predictions.count_examples(_OWNER, data)
        return self._num_examples

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Continue, or begin anew, at the first epoch of a fit."""
        super().on_epoch_begin(epoch, logs)
        outputs.check_not_labels(_OWNER, self.model)
        self._statistics.begin(self.model)
        self._classes = np.full(self._count(), _UNKNOWN, "int32")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Count the predictions that changed, and stop where they did so least."""
        if not self._is_listening:
            self._predict()
        logs = {} if logs is None else logs
        logs["prediction_changes"] = self._changes()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Logs = None) -> None:
        """Give the weights back; warn if batch normalisation has not settled."""
        super().on_train_end(logs)
        self._statistics.warn(self.params.get("steps"), _CURE)

    def _predict(self):
        is_logits = bool(outputs.takes_logits(self.model.loss))
        start = 0
        for found in predictions.in_pieces(
            _OWNER, self.model, self._order.read(self.x), batch_size=self.batch_size
        ):
            found = outputs.scores(_OWNER, found, is_logits)
            stop = start + len(found)
            if stop > self._count():
                break
            self._listen(slice(start, stop), found)
            start = stop
        if start != self._count():
            expected = f"data of {self._count()} examples, as before"
            raise ValueError(errors.message(_OWNER, "x", expected, self.x))
        self._statistics.compare(self.model, self.x, self._count(), is_logits)

    def _listen(self, rows, found):
        """Take the outputs for some examples."""
        found = np.asarray(found)
        is_finite = np.isfinite(found).all(axis=-1)
        self._classes[rows] = np.where(is_finite, found.argmax(axis=-1), _UNKNOWN)

    def _changes(self):
        """Return the share of predictions that changed, NaN if none is known twice."""
        classes, previous = self._classes, ops.convert_to_numpy(self._watch.previous)
        if self._is_listening and (classes == _UNKNOWN).all():
            raise ValueError(
                f"{_OWNER}: `x` must stand before this callback in `fit`, because it "
                f"is a {type(self.x).__name__}. Received no predictions."
            )
        # Of an example that was not seen the last prediction stays.
        self._watch.previous.assign(np.where(classes == _UNKNOWN, previous, classes))
        known = (classes != _UNKNOWN) & (previous != _UNKNOWN)
        if not known.any() or (not self._is_listening and (classes == _UNKNOWN).any()):
            return math.nan
        return float((classes != previous)[known].mean())
