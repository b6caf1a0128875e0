"""The callback that keeps the averages of early-learning regularisation."""

from __future__ import annotations

from keras_noisy._typing import FloatArray
from keras_noisy.callbacks import _numbered
from keras_noisy.losses.early_learning_regularization import (
    EarlyLearningRegularization,
    Targets,
)


class EarlyLearningTargets(_numbered.ForLoss):
    """Keeps a moving average of the predictions on each training example.

    That is what `keras_noisy.losses.EarlyLearningRegularization` compares with. Each
    training step moves the averages of its examples by the predictions that it makes
    anyway, so the data must carry sample ids; `pipeline` sees to that.

    The averages are part of the model's state: `steps_per_execution`, compiled steps,
    `BackupAndRestore` and `save_weights` take them along, and a second `fit` continues
    with them. Of a file of the whole model, `model.load_weights(path)` after `pipeline`
    restores them.

    They take `4 (n + 1) num_classes` bytes on the device, and as much in each file: 20
    MB for CIFAR-100. Under `MirroredStrategy` every replica holds all of them; JAX's
    `DataParallel` divides them among the devices.

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
        >>> settings = dict(shuffle=False, verbose=0, callbacks=[early])
        >>> _ = model.fit(data, epochs=2, **settings)
        >>> early.targets.shape
        (3, 2)

    Reference:
        Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy
        Labels", NeurIPS 2020.
    """

    _loss_class = EarlyLearningRegularization
    _attribute = "_keras_noisy_targets"
    _followed = ("from_logits", "momentum")

    def __init__(self, num_examples: int) -> None:
        super().__init__(num_examples)

    @property
    def targets(self) -> FloatArray:
        """The averages, float32 `(n, num_classes)`."""
        averages = self._results().get("averages")
        if averages is None:
            raise ValueError(
                f"{self.owner}: there are no averages before `pipeline`. Call "
                "`pipeline(model, ...)` first."
            )
        return averages[:-1]

    def _make_rows(self, num_classes):
        return Targets(self.owner, self.num_examples, num_classes)
