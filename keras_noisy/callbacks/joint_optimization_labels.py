"""The callback that replaces labels in joint optimisation."""

from __future__ import annotations

from typing import Literal

import numpy as np

from keras_noisy._checks.errors import (
    check_choice,
    check_count,
    message,
    warn_of_warmup,
)
from keras_noisy._typing import FloatArray, Logs
from keras_noisy.callbacks import _numbered
from keras_noisy.losses.joint_optimization import JointOptimization, Labels

_KINDS = ("soft", "hard")


class JointOptimizationLabels(_numbered.ForLoss):
    """Replaces the labels of a training by the network's own predictions.

    That is the second half of joint optimisation; the first one is the loss,
    `keras_noisy.losses.JointOptimization`. The first `warmup_epochs` epochs train on
    the given labels, with a learning rate so high that the network cannot memorise
    them. From then on, at the end of each epoch, the label of every example becomes
    the mean of the network's predictions on it in the last `window` epochs. They are
    the predictions that training makes anyway, so the data must carry sample ids;
    `pipeline` sees to that.

    When it is over, the method trains a fresh network on `soft_labels`, with an
    ordinary learning rate and cross-entropy.

    The labels are part of the model's state: `steps_per_execution`, compiled steps,
    `BackupAndRestore` and `save_weights` take them along, and a second `fit` continues
    with them. Of a file of the whole model, `model.load_weights(path)` after `pipeline`
    restores them.

    They take `4 (window + 2) (n + 1) num_classes` bytes on the device, and as much in
    each file: 24 MB for CIFAR-10, 240 MB for CIFAR-100. Under `MirroredStrategy` every
    replica holds all of them; JAX's `DataParallel` divides them among the devices.

    The logs show `changed_labels`, the share of labels whose largest class the epoch
    has changed; NaN before there are any.

    Args:
        num_examples: Number of examples `n`; sample ids are in [0, n).
        warmup_epochs: Epochs on the given labels, at least 1.
        window: Number of epochs whose predictions are averaged, at least 1.
        kind: `"soft"` takes the averages as labels, `"hard"` their largest class.

    Attributes:
        soft_labels: The averages, float32 `(n, num_classes)`, from the end of the first
            epoch on.

    Raises:
        ValueError: If an argument is out of range; in `pipeline` and `fit` if the model
            has no loss `JointOptimization`, if outputs are not of shape `(batch,
            num_classes)`, or if the data carries no ids or ids outside [0, n); of
            `soft_labels`, if an example was never seen.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import callbacks, losses
        >>> x, y = np.eye(3), np.array([0, 1, 1])
        >>> model = keras.Sequential([keras.layers.Dense(2)])
        >>> model.compile("sgd", losses.JointOptimization(from_logits=True))
        >>> labels = callbacks.JointOptimizationLabels(num_examples=3, warmup_epochs=1)
        >>> data = labels.pipeline(model, x, y, batch_size=2)
        >>> settings = dict(shuffle=False, verbose=0, callbacks=[labels])
        >>> _ = model.fit(data, epochs=3, **settings)
        >>> labels.soft_labels.shape
        (3, 2)

    Note:
        As in the authors' code a prediction is the one that the training step has
        made, with dropout, batch statistics and augmentation, and of an example that an
        epoch left out it is the one before. Their code divides by ten even where fewer
        epochs have been.

    Reference:
        Tanaka et al., "Joint Optimization Framework for Learning with Noisy Labels",
        CVPR 2018.
    """

    _loss_class = JointOptimization
    _attribute = "_keras_noisy_labels"

    def __init__(
        self,
        num_examples: int,
        *,
        warmup_epochs: int = 70,
        window: int = 10,
        kind: Literal["soft", "hard"] = "soft",
    ) -> None:
        super().__init__(num_examples)
        self.warmup_epochs = check_count(self.owner, "warmup_epochs", warmup_epochs)
        self.window = check_count(self.owner, "window", window)
        self.kind = check_choice(self.owner, "kind", kind, _KINDS)

    @property
    def soft_labels(self) -> FloatArray:
        """The averages, float32 `(n, num_classes)`."""
        results = self._results()
        if not results.get("epochs"):
            raise ValueError(
                f"{self.owner}: there are no labels before the end of the first epoch. "
                "Call `pipeline(model, ...)`, and `fit` with what it returns."
            )
        means = results["history"][: results["epochs"]].mean(axis=0)[:-1]
        unseen = np.flatnonzero(means.sum(axis=1) == 0)
        if unseen.size:
            raise ValueError(
                f"{self.owner}: every example must have been seen, with finite "
                f"predictions. {unseen.size} of {self.num_examples} were not, such as "
                f"{unseen[0]}. Train over all of them."
            )
        return means / means.sum(axis=1, keepdims=True)

    def _make_rows(self, num_classes):
        return Labels(self.owner, self.num_examples, num_classes, self.window)

    def _attach(self, model, num_classes):
        labels = super()._attach(model, num_classes)
        if labels.history.shape[0] != self.window:
            expected = f"{labels.history.shape[0]}, as when this model was prepared"
            mend = "Make a fresh model for another window."
            raise ValueError(message(self.owner, "window", expected, self.window, mend))
        return labels

    def on_train_begin(self, logs: Logs = None) -> None:
        """Warn if no label will be replaced."""
        epochs = self._rows.num_epochs() + self.params["epochs"]
        stays = "no step will see a label that has been replaced"
        warn_of_warmup(self.owner, epochs, stays, warmup_epochs=self.warmup_epochs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Take note of the predictions, and replace the labels after the warm-up."""
        super().on_epoch_end(epoch, logs)
        labels = self._rows
        means = labels.take_note()
        changed = float("nan")
        if labels.num_epochs() >= self.warmup_epochs:
            changed = self._replace(labels, means)
        if logs is not None:
            logs["changed_labels"] = changed

    def _replace(self, labels, new):
        """Give all examples new labels, and return the share whose class changes."""
        old = labels.read(labels.labels)
        before, after = (rows[:-1].argmax(axis=1) for rows in (old, new))
        if self.kind == "hard":
            is_seen = new.sum(axis=1, keepdims=True) > 0
            new = np.eye(new.shape[1], dtype="float32")[new.argmax(axis=1)] * is_seen
        labels.write(labels.labels, new)
        is_first = not old.any()
        return float("nan") if is_first else float(np.mean(before != after))
