"""Average predictions of a fit on its training examples (SEAL)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_noisy._checks.errors import (
    check_bool,
    check_count,
    check_path,
    check_seed,
    message,
)
from keras_noisy._checks.numbers import optional
from keras_noisy._data import (
    arrays,
    batch_statistics,
    mean_predictions,
    outputs,
    positions,
)
from keras_noisy._data.predictions import (
    SameOrder,
    check_data_set,
    count_examples,
    in_pieces,
)
from keras_noisy._typing import (
    Data,
    Dataset,
    FilePath,
    FloatArray,
    IntArray,
    Logs,
)
from keras_noisy.callbacks import _attached, _numbered, _recorder

# Examples at once in a pass: many where they are small, for what a batch costs that has
# nothing to compute; fewer where their activations fill the device.
_PASS_BATCH, _LARGE_PASS_BATCH, _LARGE = 1024, 256, 4096
_CURE = (
    "Pass `recompute_statistics=True`, average on the fly, or give the layers a lower "
    "momentum."
)


class _Averaging(_attached.Attached):
    """What both ways to collect predictions share."""

    def __init__(self, storage: FilePath | None, from_logits: bool | None) -> None:
        super().__init__()
        self.storage = optional(check_path)(self.owner, "storage", storage)
        self.from_logits = outputs.check_from_logits(self.owner, from_logits)
        self._means: Any = None
        self._is_first_epoch = True
        self._data = None
        # Called with `(rows, probabilities)` for all that is recorded.
        self.listeners: list[Callable[[slice, FloatArray], None]] = []

    @property
    def owner(self) -> str:
        """Name of the class, for errors."""
        return type(self).__name__

    @property
    def soft_labels(self) -> FloatArray:
        """Mean prediction on each example, float32 `(n, num_classes)`, read-only.

        A memory map of `soft_labels.npy` in the storage folder where there is one.
        """
        return self._recorded().soft_labels()

    @property
    def counts(self) -> IntArray:
        """How many predictions each mean is made of, int64 `(n,)`."""
        return self._recorded().counts

    @property
    def epochs_seen(self) -> int:
        """Number of epochs recorded."""
        if self._means is None or self._means.next_epoch is None:
            return 0
        return self._means.next_epoch - self._means.first_epoch

    def _recorded(self):
        if self._means is None:
            raise ValueError(
                f"{self.owner}: nothing is recorded yet. Pass the callback to `fit` "
                "and train at least one epoch."
            )
        return self._means

    def _open(self, num_examples, num_classes):
        self._means = mean_predictions.MeanPredictions(
            self.owner, num_examples, num_classes, self.storage, self._data
        )
        return self._means

    def _start(self, epoch):
        if self._is_first_epoch:
            # Here and not earlier: BackupAndRestore moves the first epoch.
            if self._means is not None:
                self._means.start(epoch)
            self._is_first_epoch = False

    def on_train_end(self, logs: Logs = None) -> None:
        """Let other processes use the folder."""
        self._means.close()

    def on_train_begin(self, logs: Logs = None) -> None:
        """Find out whether the model's output is logits."""
        self._is_first_epoch = True
        self._resolve_logits()

    def _resolve_logits(self):
        if self.from_logits is None:
            self.from_logits = outputs.are_logits(self.owner, self.model)

    @property
    def _are_labels(self):
        return outputs.are_labels(self.model)

    def _check(self, rows, predictions, epoch):
        """Check the predictions on some examples, and tell those who listen."""
        form = self.from_logits, self._are_labels
        outputs.check_probabilities(self.owner, predictions, epoch, *form)
        for listener in self.listeners:
            listener(rows, predictions)


def record_into(callback, means):
    """Let a callback add to averages that somebody else keeps."""
    callback._means = means


class SEAL(_Averaging):
    """Averages a network's predictions on its training examples over the epochs.

    At the end of each epoch the model predicts `x` in inference mode, as in the
    paper; `soft_labels` is the mean over the epochs of the fit. Retraining on it is
    a round of SEAL (see `keras_noisy.training.SelfEvolution`). Only `x` is needed:
    how the fit gets its data, in what order and how often, makes no difference. The
    cost is one pass over `x` per epoch; `SEALOnTheFly` has almost none.

    A second `fit` from epoch 0 starts again; one with `initial_epoch` where the last
    one ended continues.

    With `keras.layers.BatchNormalization` and few steps, predictions in inference
    mode can be worse than guesses for many epochs, because the moving statistics have
    not settled. After each epoch up to 512 examples are predicted with the moving
    statistics and with those of the examples; `fit` ends with a warning if by the
    network's own probabilities the former are right more than 5 % less often.

    Args:
        x: The `n` training inputs in the order of the labels: an array or a tuple
            or dict of arrays, or a finite data set of batches of inputs (or of what
            `fit` takes) that always comes in the same order.
        batch_size: Batch size of the pass over arrays. By default 1024, or 256 where
            an example has more than 4096 numbers. Larger is faster where memory allows.
        storage: Folder for the averages, made if it is missing. By default they are
            in memory, `8 n num_classes` bytes. A folder of another run is refused,
            and one that another process uses.
            With `AtomicBackupAndRestore`, a fit that was killed continues.
        from_logits: Whether outputs are logits. By default the model's loss says so.
        recompute_statistics: Whether to predict with the statistics of up to 2048 of
            the examples instead of the moving ones, which the model has back
            afterwards. Without layers of batch normalisation it changes nothing. The
            paper has no such step.

    Attributes:
        soft_labels: Mean predictions, float32 `(n, num_classes)`, `(n, 2)` of one
            sigmoid output. Of many labels (`losses.MultiLabel`) their probabilities,
            `(n, num_labels)`.
        counts: Number of predictions in each mean, `(n,)`.
        epochs_seen: Number of epochs recorded.

    Raises:
        ValueError: In `fit`, if outputs are not distributions over at least two
            classes, if there are several outputs, if the length of `x` or the order
            of its labels changes, or if `storage` is of another run, damaged, or in use
            by another process.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import callbacks
        >>> x, y = np.eye(3), np.array([0, 1, 1])
        >>> model = keras.Sequential([keras.layers.Dense(2, activation="softmax")])
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> seal = callbacks.SEAL(x)
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[seal])
        >>> seal.soft_labels.shape, seal.epochs_seen
        ((3, 2), 2)

    Reference:
        Algorithm 2 of Chen et al., "Beyond Class-Conditional Assumption: A Primary
        Attempt to Combat Instance-Dependent Label Noise", AAAI 2021.
    """

    _shared = ("x",)

    def __init__(
        self,
        x: Data,
        *,
        batch_size: int | None = None,
        storage: FilePath | None = None,
        from_logits: bool | None = None,
        recompute_statistics: bool = False,
    ) -> None:
        super().__init__(storage, from_logits)
        x = self.x = arrays.standard(x)
        count = optional(check_count)
        self.batch_size = count("SEAL", "batch_size", batch_size)
        self.recompute_statistics = check_bool(
            "SEAL", "recompute_statistics", recompute_statistics
        )
        if arrays.is_arrays(x):
            self.num_examples = arrays.length("SEAL", "x", x)
            self.batch_size = self.batch_size or _pass_batch(x)
            self._data = arrays.digest(x) if storage is not None else None
        elif isinstance(x, (tuple, dict, str)):
            # A data set is none of them; this raises.
            arrays.as_arrays("SEAL", "x", x)
        else:
            check_data_set(self.owner, x)
            self.num_examples = None
        self._order = SameOrder(self.owner)
        # What predictions rest on is worth more of them than a warning.
        self._statistics = batch_statistics.Statistics(
            self.owner, 2048 if recompute_statistics else 512
        )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Continue, or start again, at the first epoch of a fit."""
        self._statistics.begin(self.model)
        if self._means is None and self.num_examples is not None:
            num_classes = _numbered.output_width(self.owner, self.model)
            if num_classes is not None:
                self._open(self.num_examples, num_classes)
        self._start(epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Predict all examples and add the predictions to the averages."""
        if self.num_examples is None:
            # Read in the same order as the first pass will, which compares.
            self.num_examples = count_examples(self.owner, self._order.read(self.x))
            self._data = self._order.labels
        network = (self.model, self.x, self.num_examples, self.from_logits)
        if self.recompute_statistics:
            with self._statistics.of_data(*network):
                self._record(epoch)
        else:
            self._record(epoch)
            self._statistics.compare(*network)

    def on_train_end(self, logs: Logs = None) -> None:
        """Warn if batch normalisation has made predictions those of another network."""
        super().on_train_end(logs)
        if not self.recompute_statistics:
            self._statistics.warn(self.params.get("steps"), _CURE)

    def _record(self, epoch):
        chunks = self._predict(epoch)
        if self._means is None:
            chunks = _Peeked(chunks)
            self._open(self.num_examples, chunks.first[1].shape[1]).start(epoch)
        self._means.update(epoch, chunks)

    def _predict(self, epoch):
        """Yield `(start, probabilities, counts)` over all examples."""
        start = 0
        for found in in_pieces(
            self.owner,
            self.model,
            self._order.read(self.x),
            batch_size=self.batch_size,
        ):
            form = self.from_logits, self._are_labels
            predictions = outputs.probabilities(found, *form)
            stop = start + len(predictions)
            self._check(slice(start, stop), predictions, epoch)
            yield start, predictions, np.ones(len(predictions), np.int64)
            start = stop


def _pass_batch(x):
    """Return how many examples of arrays are predicted at once."""
    numbers = sum(np.prod(leaf.shape[1:]) for leaf in keras.tree.flatten(x))
    return _PASS_BATCH if numbers <= _LARGE else _LARGE_PASS_BATCH


class _Peeked:
    """An iterator whose first element can be seen beforehand."""

    def __init__(self, iterator):
        self._iterator = iter(iterator)
        self.first = next(self._iterator)

    def __iter__(self):
        yield self.first
        yield from self._iterator


class SEALOnTheFly(_numbered.Numbered, _Averaging):
    """Averages the predictions that training makes anyway, at almost no cost.

    Each training step adds its predictions to the examples that they belong to, so
    the data must carry sample ids; `pipeline` sees to that.

    Differences from `SEAL`, which predicts all examples at the end of each epoch:
    the predictions are those of the training mode, with dropout, batch statistics
    and whatever augmentation the data has; each was made before the step that it
    belongs to, so on average half an epoch earlier; and an example is averaged over
    the times that it was seen, be it never (an error), once or twice per epoch.

    The device holds `4 (n + 1) (num_classes + 1)` bytes. Under `MirroredStrategy`
    every replica does, and adds all of it at each step.

    Args:
        num_examples: Number of examples `n`; sample ids are in [0, n).
        storage: Folder for the averages, as in `SEAL`.
        from_logits: Whether outputs are logits. By default the model's loss says so.

    Attributes:
        soft_labels: Mean predictions, float32 `(n, num_classes)`, `(n, 2)` of one
            sigmoid output. Of many labels (`losses.MultiLabel`) their probabilities,
            `(n, num_labels)`.
        counts: How often each example was seen, `(n,)`.
        epochs_seen: Number of epochs recorded.

    Raises:
        ValueError: In `fit`, if the data carries no ids or ids outside [0, n), if
            outputs are not distributions over at least two classes, or if `storage`
            is of another run, damaged, or in use by another process; of `soft_labels`,
            if an example was never seen.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import callbacks
        >>> x, y = np.eye(3), np.array([0, 1, 1])
        >>> model = keras.Sequential([keras.layers.Dense(2, activation="softmax")])
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> seal = callbacks.SEALOnTheFly(num_examples=3)
        >>> data = seal.pipeline(model, x, y, batch_size=2)
        >>> settings = dict(shuffle=False, verbose=0, callbacks=[seal])
        >>> _ = model.fit(data, epochs=2, **settings)
        >>> seal.soft_labels.shape, seal.counts
        ((3, 2), array([2, 2, 2]))

    Reference:
        Algorithm 2 of Chen et al., "Beyond Class-Conditional Assumption: A Primary
        Attempt to Combat Instance-Dependent Label Noise", AAAI 2021.
    """

    def __init__(
        self,
        num_examples: int,
        *,
        storage: FilePath | None = None,
        from_logits: bool | None = None,
    ) -> None:
        super().__init__(num_examples, storage=storage, from_logits=from_logits)

    _attribute = "_keras_noisy_recorder"

    def _make_rows(self, num_classes):
        return _recorder.Sums(self.owner, self.num_examples, num_classes)

    def _settings(self, model):
        are_labels = outputs.are_labels(model)
        return {"from_logits": bool(self.from_logits), "are_labels": are_labels}

    def set_model(self, model: keras.Model) -> None:
        """Check that `pipeline` was called with this model."""
        if self.from_logits is None:
            self.from_logits = outputs.are_logits(self.owner, model)
        super().set_model(model)
        if self._means is None:
            self._open(self.num_examples, self._rows.num_classes)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Take the order of the epoch; continue or start again at the first one."""
        if self._is_first_epoch:
            self._rows.drain()
        self._start(epoch)
        super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Add what the steps of the epoch recorded to the averages."""
        super().on_epoch_end(epoch, logs)
        sums = self._rows.drain()[:-1]
        sums, counts = sums[:, :-1], np.rint(sums[:, -1]).astype(np.int64)
        seen = np.flatnonzero(counts)
        self._check(seen, sums[seen] / counts[seen, None].astype("float32"), epoch)
        self._means.update(epoch, [(0, sums, counts)])

    def on_train_end(self, logs: Logs = None) -> None:
        """Warn of examples that were never seen."""
        super().on_train_end(logs)
        unseen = int(np.count_nonzero(self._means.counts == 0))
        if unseen:
            warnings.warn(
                f"{self.owner}: {unseen} of {self.num_examples} examples were never "
                "seen, so they have no average and `soft_labels` is an error. Train "
                "over all of them, or use `SEAL`.",
                stacklevel=2,
            )


def with_sample_ids(
    dataset: Dataset, *, start_id: int = 0, batched: bool = False
) -> Dataset:
    """Give the examples of a `tf.data.Dataset` ids: their positions.

    Elements `(x, y)` or `(x, y, sample_weight)` become
    `({"x": x, "sample_id": i}, y)`, with the weight where there is one. Call it
    before `shuffle`, `repeat`, and all else that changes the order or the number of
    examples, on a data set that comes in the same order every time: otherwise labels
    come with other ids in each epoch, which the callbacks that need ids refuse.
    Functions mapped after it find the inputs under `"x"`.

    Args:
        dataset: `tf.data.Dataset` of single examples, or of batches.
        start_id: Id of the first example.
        batched: Whether elements are batches.

    Returns:
        A data set whose inputs carry ids, for `SEALOnTheFly.pipeline`.

    Raises:
        TypeError: If `dataset` is not a data set of such elements.
        ValueError: If it is shuffled or repeated already, or of batches without
            `batched`.

    Example:
    ```python
    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    dataset = with_sample_ids(dataset).shuffle(50_000).batch(128)
    model.fit(seal.pipeline(model, dataset), callbacks=[seal])
    ```
    """
    owner = "with_sample_ids"
    check_bool(owner, "batched", batched)
    start_id = check_seed(owner, start_id, argument="start_id", bits=63)
    spec = getattr(dataset, "element_spec", None)
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        expected = "a tf.data.Dataset of (x, y) or (x, y, sample_weight)"
        raise TypeError(message(owner, "dataset", expected, spec or dataset))
    shape: Any = getattr(spec[1], "shape", None)
    if not batched and getattr(shape, "rank", None) and shape[0] is None:
        expected = "a data set of single examples"
        mend = "Pass batched=True for one of batches."
        raise ValueError(message(owner, "dataset", expected, spec, mend))
    operation = positions.find_reordering(dataset)
    if operation:
        expected = f"in its original order, without `{operation}`"
        mend = f"Number the examples before `{operation}`."
        raise ValueError(message(owner, "dataset", expected, spec, mend))

    def merge(ids, element):
        x, *rest = element
        return {arrays.INPUTS: x, arrays.SAMPLE_ID: ids}, *rest

    return positions.number(dataset, start_id, batched).map(merge)
