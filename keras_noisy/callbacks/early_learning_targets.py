"""The callback that keeps the averages of early-learning regularisation."""

from __future__ import annotations

import keras
from keras import ops

from keras_noisy import _sample_ids
from keras_noisy._errors import message
from keras_noisy._typing import FloatArray, Logs
from keras_noisy.callbacks import _numbered
from keras_noisy.losses.early_learning_regularization import (
    EarlyLearningRegularization,
    Targets,
)

ATTRIBUTE = "_keras_noisy_targets"


class EarlyLearningTargets(_numbered.Numbered):
    """Keeps a moving average of the predictions on each training example.

    That is what `keras_noisy.losses.EarlyLearningRegularization` compares with. Each
    training step moves the averages of its examples by the predictions that it makes
    anyway, so the data must carry sample ids; `pipeline` sees to that.

    The averages are part of the model's state: `steps_per_execution`, compiled steps,
    `BackupAndRestore` and `save_weights` take them along, and a second `fit` continues
    with them. Of a file of the whole model, `model.load_weights(path)` after `pipeline`
    restores them.

    They take `4 (n + 1) num_classes` bytes on the device, and as much in each file: 20
    MB for CIFAR-100. Under `MirroredStrategy` every replica holds all of them.

    Args:
        num_examples: Number of examples `n`; sample ids are in [0, n).

    Attributes:
        targets: The averages, float32 `(n, num_classes)`; zeros where an example was
            never seen.

    Raises:
        ValueError: If `num_examples` is not a positive integer; in `pipeline` and `fit`
            if the model has no loss `EarlyLearningRegularization`, if outputs are not
            of shape `(batch, num_classes)`, or if the data carries no ids or ids
            outside [0, n).

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import callbacks, losses
        >>> x, y = np.eye(3), np.array([0, 1, 1])
        >>> model = keras.Sequential([keras.layers.Dense(2)])
        >>> loss = losses.EarlyLearningRegularization(weight=3.0, from_logits=True)
        >>> model.compile("sgd", loss)
        >>> early = callbacks.EarlyLearningTargets(num_examples=3)
        >>> data = early.pipeline(model, x, y, batch_size=2)
        >>> _ = model.fit(data, epochs=2, verbose=0, callbacks=[early])
        >>> early.targets.shape
        (3, 2)

    Reference:
        Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy
        Labels", NeurIPS 2020.
    """

    def __init__(self, num_examples: int) -> None:
        super().__init__(num_examples)

    @property
    def targets(self) -> FloatArray:
        """The averages, float32 `(n, num_classes)`."""
        if self._recorder is None:
            raise ValueError(
                f"{self.owner}: there are no averages before `pipeline`. Call "
                "`pipeline(model, ...)` first."
            )
        return ops.convert_to_numpy(self._recorder.averages)[:-1]

    def _attach(self, model, num_classes):
        loss = _find_loss(self.owner, model)
        targets = _sample_ids.attach(
            model,
            ATTRIBUTE,
            self.num_examples,
            lambda: Targets(self.owner, self.num_examples, num_classes),
        )
        _follow(model, targets, loss)
        return targets

    def set_model(self, model: keras.Model) -> None:
        """Check that `pipeline` was called with this model."""
        super().set_model(model)
        self._check_prepared(getattr(model, ATTRIBUTE, None))
        _follow(model, self._recorder, _find_loss(self.owner, model))
        _sample_ids.renew(model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Take the order of the epoch."""
        self._take_order(epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Raise if there were ids out of range."""
        if ops.convert_to_numpy(self._recorder.averages[-1]).any():
            raise ValueError(
                f"{self.owner}: `sample_id` must be in [0, {self.num_examples}), "
                f"`num_examples`. Received ids outside in epoch {epoch}."
            )


def _find_loss(owner, model):
    """Return the one loss of the model, or raise if it is another one."""
    found = keras.tree.flatten(model.loss)
    if len(found) != 1 or not isinstance(found[0], EarlyLearningRegularization):
        raise ValueError(
            message(
                owner,
                "model.loss",
                "a `keras_noisy.losses.EarlyLearningRegularization`",
                model.loss,
                "Compile the model with it, or remove the callback.",
            )
        )
    return found[0]


def _follow(model, targets, loss):
    """Let the averages move as the loss says."""
    if (targets.momentum, targets.from_logits) != (loss.momentum, loss.from_logits):
        targets.momentum, targets.from_logits = loss.momentum, loss.from_logits
        # An older trace would hold the old values.
        model.train_function = None
