"""What callbacks share that must know which example a prediction belongs to."""

from __future__ import annotations

from typing import Any

import keras

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._data import arrays, outputs, raw_inputs
from keras_noisy._step import sample_ids
from keras_noisy._typing import ArrayLike, Data, Logs


class Numbered(keras.callbacks.Callback):
    """Base of callbacks that record the predictions of training steps.

    Args:
        num_examples: Number of examples `n`; sample ids are in [0, n).
        **kwargs: Arguments of the next class.
    """

    def __init__(self, num_examples: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_examples = errors.check_count(self.owner, "num_examples", num_examples)
        if self.num_examples >= 2**31 - 1:
            # Ids are int32 on the device, and one more stands for all out of range.
            expected = "less than 2**31 - 1"
            raise ValueError(
                message(self.owner, "num_examples", expected, num_examples)
            )
        self._pipeline: Any = None
        self._recorder: Any = None

    @property
    def owner(self) -> str:
        """Name of the class, for errors."""
        return type(self).__name__

    @property
    def _expected(self):
        """What the length of arrays must be, in words."""
        return f"of length {self.num_examples}, `num_examples`"

    def _attach(self, model, num_classes):
        """Return the recorder of `model`, giving it one if it has none."""
        raise NotImplementedError

    def pipeline(
        self,
        model: keras.Model,
        x: Data,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
    ) -> Data:
        """Get `model` ready for recording, and return the data to pass to `fit`.

        Call it after `compile`. Pass `shuffle=False` to `fit` where a run must be
        repeatable: by default `fit` shuffles the batches of a data set, in an order
        of its own.

        Args:
            model: The compiled model that will be trained.
            x: Inputs, an array or a tuple or dict of arrays of `n` examples; or a
                data set of batches that carry ids, `({"x": x, "sample_id": ids}, y)`
                or with sample weights (see `with_sample_ids`).
            y: Targets where `x` is arrays.
            sample_weight: Weights `(n,)` where `x` is arrays, or None.
            batch_size: Batch size where `x` is arrays.
            shuffle: Whether to shuffle arrays, differently in each epoch.
            seed: Seed of the order; that of an epoch follows from it and from the
                number of the epoch.

        Returns:
            A `keras.utils.PyDataset` of arrays; data sets as they came.

        Raises:
            ValueError: If the model is not compiled or has no output of shape
                `(batch, num_classes)`, if lengths differ from `num_examples`, or if
                a data set carries no ids.
        """
        errors.check_bool(self.owner, "shuffle", shuffle)
        if not getattr(model, "compiled", False):
            expected = "a compiled model"
            mend = "Call `model.compile` before `pipeline`."
            raise ValueError(message(self.owner, "model", expected, model, mend))
        x = arrays.standard(x)
        raw_inputs.accept_batches(model)
        if arrays.is_arrays(x):
            x = self._pipeline = arrays.Batches(
                self._entries("x", x),
                self._entries("y", y),
                arrays.weights(
                    self.owner, sample_weight, self.num_examples, self._expected
                ),
                batch_size=errors.check_count(self.owner, "batch_size", batch_size),
                shuffle=shuffle,
                seed=errors.check_seed(self.owner, seed, bits=63),
                with_ids=True,
            )
            first = x[0]
        else:
            if y is not None or sample_weight is not None:
                expected = "None where `x` is a data set"
                raise ValueError(message(self.owner, "y", expected, type(y)))
            self._pipeline = None
            first = next(iter(x))
        self._prepare(model, first)
        return x

    def _entries(self, argument, data):
        """Return arrays with an entry per example, or raise."""
        if data is None:
            expected = "an array where `x` is one"
            raise ValueError(message(self.owner, argument, expected, data))
        size = self.num_examples
        return arrays.entries(self.owner, argument, data, size, self._expected)

    def _prepare(self, model, batch):
        """Wrap the model's steps, and build all that Keras builds from data."""
        batch = arrays.of_backend(tuple(batch))
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        x, ids = arrays.split_ids(x)
        sample_ids.check_ids(self.owner, ids)
        # Keras builds models, losses and metrics from the first batch of a fit,
        # before any step runs; it must not see the ids.
        model.test_on_batch(x, y, sample_weight=sample_weight)
        model.reset_metrics()
        num_classes = output_width(self.owner, model)
        if num_classes is None:
            found = model.predict_on_batch(x)
            num_classes = int(outputs.check_single(self.owner, found, rank=2).shape[1])
        self._recorder = self._attach(model, num_classes)

    def _check_prepared(self, recorder):
        if self._recorder is None or recorder is not self._recorder:
            raise ValueError(
                f"{self.owner}: the model must be prepared for recording before "
                "`fit`. Received a model that is not. Pass what "
                f"`pipeline(model, ...)` of the {self.owner} returns to `fit` as its "
                "data."
            )

    def _take_order(self, epoch):
        """Give the arrays of `pipeline` the order of `epoch`."""
        if self._pipeline is not None:
            self._pipeline.set_epoch(epoch)


class ForLoss(Numbered):
    """Base of callbacks that keep rows for a loss, which reads them by the ids.

    Attributes:
        _loss_class: The loss that the model must have been compiled with.
        _attribute: Where the model keeps the recorder.
        _followed: Names of attributes of the loss that the recorder has too.
    """

    _loss_class: type[keras.losses.Loss]
    _attribute: str
    _followed: tuple[str, ...] = ("from_logits",)

    def _make_recorder(self, num_classes):
        """Return a new recorder."""
        raise NotImplementedError

    def _attach(self, model, num_classes):
        loss = self._find_loss(model)
        recorder = sample_ids.attach(
            model,
            self._attribute,
            self.num_examples,
            lambda: self._make_recorder(num_classes),
        )
        self._follow(model, recorder, loss)
        return recorder

    def set_model(self, model: keras.Model) -> None:
        """Check that `pipeline` was called with this model."""
        super().set_model(model)
        self._check_prepared(getattr(model, self._attribute, None))
        self._follow(model, self._recorder, self._find_loss(model))
        sample_ids.renew(model)

    def _find_loss(self, model):
        """Return the one loss of the model, or raise if it is another one."""
        found = keras.tree.flatten(model.loss)
        if len(found) != 1 or not isinstance(found[0], self._loss_class):
            expected = f"a `keras_noisy.losses.{self._loss_class.__name__}`"
            mend = "Compile the model with it, or remove the callback."
            raise ValueError(
                message(self.owner, "model.loss", expected, model.loss, mend)
            )
        return found[0]

    def _follow(self, model, recorder, loss):
        """Let the recorder do as the loss says."""
        for name in self._followed:
            if getattr(recorder, name) != getattr(loss, name):
                setattr(recorder, name, getattr(loss, name))
                # An older trace would hold the old value.
                model.train_function = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Take the order of the epoch."""
        self._take_order(epoch)

    def _check_ids(self, last_row, epoch):
        """Raise if there were ids out of range, which the last row of a table takes."""
        if last_row.any():
            raise ValueError(
                f"{self.owner}: `sample_id` must be in [0, {self.num_examples}), "
                f"`num_examples`. Received ids outside in epoch {epoch}."
            )


def output_width(owner, model):
    """Return the number of classes, or None before the model is built."""
    try:
        shape = model.output_shape
    except (AttributeError, ValueError):
        return None
    is_single = isinstance(shape, tuple) and len(shape) == 2
    if not is_single or not isinstance(shape[1], int) or shape[1] < 2:
        expected = (
            "a classifier with one output of shape (batch, num_classes) and at least "
            "two classes"
        )
        raise ValueError(message(owner, "model", expected, shape))
    return shape[1]
