"""What callbacks share that must know which example a prediction belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import labels_of
from keras_noisy._data import arrays, outputs, raw_inputs, tf_batches
from keras_noisy._step import sample_ids, seam, state
from keras_noisy._typing import ArrayLike, Data, IntArray, Logs
from keras_noisy.callbacks import _attached


class Numbered(_attached.Attached):
    """Base of callbacks that record the predictions of training steps.

    Args:
        num_examples: Number of examples `n`; sample ids are in [0, n).
        **kwargs: Arguments of the next class.

    Attributes:
        _attribute: Where the model keeps the rows.
    """

    _of_model = ("_rows", "_pipeline")
    _attribute: str

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
        self._rows: Any = None

    @property
    def owner(self) -> str:
        """Name of the class, for errors."""
        return type(self).__name__

    @property
    def _expected(self):
        """What the length of arrays must be, in words."""
        return f"of length {self.num_examples}, `num_examples`"

    def _make_rows(self, num_classes):
        """Return new rows."""
        raise NotImplementedError

    def _attach(self, model, num_classes):
        """Return the rows of `model`, giving it some if it has none."""
        old = getattr(model, self._attribute, None)
        if old is not None and old.num_examples != self.num_examples:
            expected = f"{old.num_examples}, as when this model was recorded before"
            mend = "Make a fresh model for another data set."
            raise ValueError(
                message(self.owner, "num_examples", expected, self.num_examples, mend)
            )
        return state.of(model, self._attribute, lambda: self._make_rows(num_classes))

    def _settings(self, model):
        """Return attributes that the rows must have with this model."""
        raise NotImplementedError

    def _set(self, model, **settings):
        """Set attributes of the rows; older traces would hold the old values."""
        for name, value in settings.items():
            if getattr(self._rows, name) != value:
                setattr(self._rows, name, value)
                model.train_function = None

    def set_model(self, model: keras.Model) -> None:
        """Check that `pipeline` was called with this model."""
        super().set_model(model)
        rows: Any = getattr(model, self._attribute, None)
        if rows is None or rows is not self._rows:
            raise ValueError(
                f"{self.owner}: the model must be prepared for recording before "
                "`fit`. Received a model that is not. Pass what "
                f"`pipeline(model, ...)` of the {self.owner} returns to `fit` as its "
                "data."
            )
        self._set(model, **self._settings(model))
        seam.install(model)
        if model.train_function is None:
            rows.expect_ids()

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

        Call it after `compile`. Pass `shuffle=False` to `fit`: arrays are shuffled
        here. By default `fit` shuffles the batches of a `PyDataset` in an order of its
        own, and warns that it cannot shuffle a `tf.data.Dataset`.

        Args:
            model: The compiled model that will be trained.
            x: Inputs, an array or a tuple or dict of arrays of `n` examples; or a
                data set of batches that carry ids, `({"x": x, "sample_id": ids}, y)`
                or with sample weights (see `with_sample_ids`).
            y: Targets, where `x` is arrays. Where it is a data set, the labels that
                should come with ids 0 to n - 1, or None.
            sample_weight: Weights `(n,)` where `x` is arrays, or None.
            batch_size: Batch size where `x` is arrays.
            shuffle: Whether to shuffle arrays, differently in each epoch.
            seed: Seed of the order; that of an epoch follows from it and from the
                number of the epoch.

        Returns:
            Batches of arrays: on TensorFlow a `tf.data.Dataset` of those of NumPy that
            are in memory, otherwise a `keras.utils.PyDataset`. Data sets as they came.

        Raises:
            ValueError: If the model is not compiled or has no output of shape
                `(batch, num_classes)`, or of one sigmoid, if lengths differ from
                `num_examples`, or if a data set carries no ids.
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
            self._prepare(model, x[0])
            self._set(model, compares_labels=False)
            return x if raw_inputs.are_taken_by(model) else tf_batches.fastest(x)
        if sample_weight is not None:
            expected = "None where `x` is a data set"
            raise ValueError(
                message(self.owner, "sample_weight", expected, type(sample_weight))
            )
        if y is not None:
            y = self._entries("y", labels_of(y))
        self._pipeline = None
        self._prepare(model, next(iter(x)))
        # The ids of batches of arrays are right.
        self._set(model, compares_labels=not isinstance(x, arrays.Batches))
        self._rows.expect_labels(y)
        return x

    def labels_seen(self) -> IntArray | None:
        """Return the class of each example's label, -1 where none came.

        None where labels are not compared, because arrays were passed to `pipeline`.
        """
        if self._rows is None or not self._rows.compares_labels:
            return None
        return self._rows.labels_seen()

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
            found = outputs.check_single(self.owner, model.predict_on_batch(x))
            num_classes = outputs.num_classes(self.owner, tuple(found.shape))
        settings = self._settings(model)
        self._rows = self._attach(model, num_classes)
        self._set(model, **settings)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Give the arrays of `pipeline` the order of the epoch."""
        if self._pipeline is not None:
            self._pipeline.set_epoch(epoch)
        self._rows.begin_epoch()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Raise if nothing was recorded, or labels came that belong to other ids."""
        self._rows.check_epoch(epoch)


class ForLoss(Numbered):
    """Base of callbacks that keep rows for a loss, which reads them by the ids.

    Attributes:
        _loss_class: The loss that the model must have been compiled with.
        _followed: Names of attributes of the loss that the rows have too.
    """

    _loss_class: type[keras.losses.Loss]
    _followed: tuple[str, ...] = ("from_logits",)
    _kept: Mapping[str, Any] = MappingProxyType({})

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

    def _settings(self, model):
        loss = self._find_loss(model)
        return {name: getattr(loss, name) for name in self._followed}

    def __getstate__(self) -> dict[str, Any]:
        # The results of a copy are those that the model had.
        return {**super().__getstate__(), "_kept": self._results()}

    def _results(self):
        """Return what the model keeps by name, nothing before `pipeline`."""
        return dict(self._kept) if self._rows is None else self._rows.results()


def output_width(owner, model):
    """Return the number of classes, or None before the model is built."""
    try:
        shape = model.output_shape
    except (AttributeError, ValueError):
        return None
    return outputs.num_classes(owner, shape)
