"""The schedule of the deep abstaining classifier's price."""

from __future__ import annotations

import math
import weakref
from typing import Any

import keras
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.numbers import Interval
from keras_noisy._step import state
from keras_noisy._typing import Logs
from keras_noisy.callbacks import _attached
from keras_noisy.losses.deep_abstention import DeepAbstention

ATTRIBUTE = "_keras_noisy_abstention"


class Price(state.State):
    """The price of abstention, and the data loss of an epoch, which it starts from.

    Attributes:
        alpha: The price; negative while the network warms up.
        start: The price right after the warm-up; negative before it is known.
        total: Sum of the losses since `reset_loss`, and over the replicas.
        count: How many examples they belong to.
    """

    def __init__(self, name="abstention_alpha"):
        super().__init__(name=name)
        self.alpha = self.add("alpha", -1.0)
        self.start = self.add("start", -1.0)
        self.total, self.count = self.add_sum("total"), self.add_sum("count")

    def saved(self):
        """Return what a file keeps: of half an epoch, the loss is of no use."""
        return {"0": self.alpha, "1": self.start}

    def add_loss(self, total, count):
        """Take the sum of the losses of `count` examples."""
        self.total.assign_add(ops.cast(ops.stop_gradient(total), "float32"))
        self.count.assign_add(ops.cast(count, "float32"))

    def reset_loss(self):
        """Forget the losses."""
        self.total.assign(0.0)
        self.count.assign(0.0)

    def mean_loss(self):
        """Return the mean over the examples, NaN where there was none."""
        count = _number(self.count)
        return _number(self.total) / count if count else math.nan


class AbstentionSchedule(_attached.Attached):
    """Moves the price of abstention, as the deep abstaining classifier needs it.

    For `warmup_epochs` the loss is plain cross-entropy over all outputs. Then
    abstention is made cheap, `alpha = loss / initial_factor` with the mean of the
    `DeepAbstention` loss in the last warm-up epoch, and `alpha` rises linearly to
    `final_alpha`, which it would reach after the last epoch. Regularisation and the
    losses of other outputs are no part of that mean, though of the `loss` in the logs;
    several outputs with a `DeepAbstention` have one price. The logs show
    `abstention_alpha`, NaN during the warm-up.

    The price is state of the model: `BackupAndRestore` and `save_weights` take it
    along.

    Args:
        warmup_epochs: Epochs without abstention, at least 1; the paper uses 20.
        initial_factor: By how much the loss exceeds the first price, positive; the
            paper uses 64.
        final_alpha: Price at the end, at least 0; the paper uses 1.

    Raises:
        ValueError: If an argument is out of range, or in `fit` if the model has no
            loss `DeepAbstention` or training does not begin with the warm-up.

    Example:
        >>> from keras_noisy import callbacks
        >>> schedule = callbacks.AbstentionSchedule(warmup_epochs=20)

    Note:
        The paper divides a moving average over mini-batches of `(1 - p_0) H_c`.
        That differs from the mean loss of the epoch by little, because `p_0` goes
        to zero when no label is abstention.
    """

    _of_model = ("_price",)

    def __init__(
        self,
        warmup_epochs: int = 20,
        *,
        initial_factor: float = 64.0,
        final_alpha: float = 1.0,
    ) -> None:
        super().__init__()
        owner = "AbstentionSchedule"
        self.warmup_epochs = errors.check_count(owner, "warmup_epochs", warmup_epochs)
        self.initial_factor = Interval(0, 1e9, "right")(
            owner, "initial_factor", initial_factor
        )
        self.final_alpha = Interval(0, 1e9)(owner, "final_alpha", final_alpha)
        self._price: Any = None

    def set_model(self, model: keras.Model) -> None:
        """Give the model its price and its losses the way to it."""
        super().set_model(model)
        self._price = state.of_losses(
            type(self).__name__, model, DeepAbstention, ATTRIBUTE, Price
        )
        for loss in keras.tree.flatten(model.loss):
            if isinstance(loss, DeepAbstention):
                loss.tell(weakref.ref(self._price))

    def on_train_begin(self, logs: Logs = None) -> None:
        """Warn if no epoch will have a price."""
        epochs = self.params["epochs"]
        stays = "no example will be abstained from"
        errors.warn_of_warmup(
            "AbstentionSchedule", epochs, stays, warmup_epochs=self.warmup_epochs
        )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Set the price of the epoch."""
        if epoch < self.warmup_epochs:
            self._price.reset_loss()
            self._price.alpha.assign(-1.0)
            self._price.start.assign(-1.0)
            return
        start = _number(self._price.start)
        if start < 0:
            raise ValueError(
                "AbstentionSchedule: training must begin with the warm-up, because the "
                f"price is derived from its loss. Received: initial_epoch={epoch} with "
                f"warmup_epochs={self.warmup_epochs}. Start at epoch 0, or call "
                "`set_model(model)` of the callback and then `model.load_weights` with "
                "a file that was written while it ran."
            )
        done = (epoch - self.warmup_epochs) / (
            self.params["epochs"] - self.warmup_epochs
        )
        self._price.alpha.assign(start + (self.final_alpha - start) * done)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Derive the first price, and log the present one."""
        if epoch == self.warmup_epochs - 1:
            self._price.start.assign(self._first_price(epoch))
        alpha = _number(self._price.alpha)
        if logs is not None:
            logs["abstention_alpha"] = alpha if alpha >= 0 else float("nan")

    def _first_price(self, epoch):
        loss = self._price.mean_loss()
        if not math.isfinite(loss):
            raise ValueError(
                "AbstentionSchedule: the loss of the warm-up must be finite, because "
                f"the first price is derived from it. Received: {loss} in epoch "
                f"{epoch}. The training has diverged, or the model's `train_step` does "
                "not call its loss."
            )
        return loss / self.initial_factor


def _number(variable):
    return float(ops.convert_to_numpy(variable))
