"""Trainings that decide before each epoch which examples its batches have.

A `Plan` says for every step of an epoch which rows of the data it trains on, and what
else it needs to know of them. All random choices are made there, with NumPy, from
(seed, epoch): a training that goes on after a kill makes the same ones, and so do all
backends, and one device and several.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import keras
import numpy as np

from keras_noisy import _keras
from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers, check_rows
from keras_noisy._checks.labels import check_labels, check_range, labels_of
from keras_noisy._data import arrays, batch_statistics
from keras_noisy._typing import BoolArray, Data, IntArray, Logs
from keras_noisy.training import _mixup

_INPUTS, _PLAN = "inputs", "keras_noisy_plan"
_BATCH_SIZE = 32
# A class that keeps less than this share of its part is told of.
LEAST_SHARE = 0.1


@dataclasses.dataclass
class Examples:
    """What `fit` was given.

    Attributes:
        x: Inputs of `n` examples, arrays.
        y: Labels as they came, ids `(n,)` or distributions `(n, num_classes)`; for one
            sigmoid output those of the second class, `(n, 1)`.
        classes: Their class ids.
        batch_size: Examples of a step.
        steps: Steps of an epoch.
        shuffle: Whether to shuffle.
    """

    x: Data
    y: np.ndarray
    classes: IntArray
    batch_size: int
    steps: int
    shuffle: bool

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def are_mixable(self) -> bool:
        """Whether inputs are quantities, not ids of words."""
        return _mixup.are_mixable(self.x)


def take_examples(
    owner: str, arguments: dict[str, Any], refused: dict[str, str], least_batch: int
) -> Examples:
    """Take the data out of the arguments of `fit`, or raise.

    Args:
        owner: Name of the model, for errors.
        arguments: Of `keras.Model.fit`. What the examples hold is removed.
        refused: Reasons by the names of arguments that cannot be given.
        least_batch: The smallest batch size.
    """
    for name, reason in refused.items():
        if arguments.get(name) is not None:
            received = errors.Described("one")
            raise ValueError(errors.message(owner, name, "None", received, reason))
    x, y = arguments.pop("x", None), arguments.pop("y", None)
    batch_size, shuffle = arguments.pop("batch_size", None), True
    if isinstance(x, arrays.Batches):
        batch_size, shuffle = x.batch_size, x.shuffle
        x, y = x.x, x.y
    shuffle = arguments.pop("shuffle", shuffle) and shuffle
    x, y = _checked(owner, x, y)
    share = arguments.pop("validation_split", None)
    if share and arguments.get("validation_data") is None:
        # As Keras does: the last examples are held out.
        kept = math.floor(len(y) * (1 - share))
        held_out = arrays.take(x, slice(kept, None)), y[kept:]
        arguments["validation_data"] = held_out
        x, y = arrays.take(x, slice(0, kept)), y[:kept]
    batch_size = errors.check_count(
        owner, "batch_size", batch_size or _BATCH_SIZE, low=least_batch
    )
    steps = arguments.pop("steps_per_epoch", None) or math.ceil(len(y) / batch_size)
    classes = y if y.ndim == 1 else y.argmax(axis=1)
    return Examples(x, y, classes, batch_size, steps, bool(shuffle))


def _checked(owner, x, y):
    """Return inputs and labels as arrays, or raise."""
    x = arrays.standard(x)
    if x is None or y is None or callable(y) or not arrays.is_arrays(x):
        expected = "arrays, with labels as `y`"
        mend = "Which examples a step has follows from the losses of all of them."
        raise TypeError(errors.message(owner, "x", expected, type(x), mend))
    x = arrays.as_arrays(owner, "x", x)
    size = arrays.length(owner, "x", x)
    y = labels_of(arrays.standard(y))
    if y.ndim != 2:
        return x, check_labels(owner, "y", y, size=size)
    if len(y) != size:
        expected = f"{size}, the number of examples in `x`"
        raise ValueError(errors.message(owner, "len(y)", expected, len(y)))
    check_rows(owner, "y", as_numbers(owner, "y", y))
    return x, y.astype("float32")


def check_outputs(owner: str, examples: Examples, num_classes: int) -> None:
    """Raise unless the labels are those of a network's outputs."""
    if examples.y.ndim == 1:
        check_range(owner, "y", examples.y, num_classes)
    elif examples.y.shape[1] != num_classes:
        expected = f"(n, {num_classes}), as the outputs have so many classes"
        raise ValueError(
            errors.message(owner, "y.shape", expected, tuple(examples.y.shape))
        )


def of_one_output(examples: Examples) -> Examples:
    """Return examples whose labels are those of one sigmoid output."""
    y = examples.y
    column = y[:, None] if y.ndim == 1 else y[:, 1:]
    return dataclasses.replace(examples, y=column)


def in_form(classes: IntArray, like: np.ndarray) -> np.ndarray:
    """Return class ids in the form of other labels: ids, distributions or a column."""
    if like.ndim == 1:
        return classes
    if like.shape[1] == 1:
        return classes[:, None].astype(like.dtype)
    return np.eye(like.shape[1], dtype="float32")[classes]


def check_replicas(owner: str, model: keras.Model, rows: int) -> None:
    """Raise unless so many rows divide among the devices of a model."""
    strategy = _keras.strategy_of(model)
    count = getattr(strategy, "num_replicas_in_sync", 1) * arrays.num_devices()
    if rows % count:
        expected = f"such that {rows} divides among {count} devices"
        raise ValueError(errors.message(owner, "batch_size", expected, rows))


class Planned(keras.utils.PyDataset):
    """Batches whose rows an epoch's plan says.

    Args:
        examples: The data.

    Attributes:
        rows: Rows of each step, `(steps, size)`.
        plan: Arrays `(steps, size, ...)` by name: what else a step knows of its rows.
        y: Labels, those given or others.
    """

    def __init__(self, examples: Examples) -> None:
        super().__init__()
        self.examples, self.y = examples, examples.y
        self.rows: IntArray = np.zeros((examples.steps, 0), "int64")
        self.plan: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self.examples.steps

    def __getitem__(self, index: int) -> tuple[dict[str, Any], np.ndarray]:
        rows = self.rows[index]
        plan = {name: values[index] for name, values in self.plan.items()}
        x = {_INPUTS: arrays.batch_of(self.examples.x, rows), _PLAN: plan}
        return x, self.y[rows]


class Schedule(keras.callbacks.Callback):
    """Makes the plan of each epoch.

    Args:
        owner: Name of the model, for messages.
        examples: The data.
        seed: Seed of what is drawn.

    Attributes:
        batches: What is trained on.
    """

    def __init__(self, owner: str, examples: Examples, seed: int) -> None:
        super().__init__()
        self.owner, self.examples, self.seed = owner, examples, seed
        self.batches = Planned(examples)
        self._statistics = batch_statistics.Statistics(owner)
        self._told: set[Any] = set()

    def plan_warmup(self, generator: np.random.Generator | None) -> None:
        """Make the plan of an epoch of the warm-up."""
        raise NotImplementedError

    def plan(self, generator: np.random.Generator, epoch: int) -> None:
        """Make the plan of an epoch after it."""
        raise NotImplementedError

    def on_train_begin(self, logs: Logs = None) -> None:
        """Say what the training will not do."""
        model = self.model
        errors.warn_of_warmup(
            self.owner,
            self.params["epochs"],
            "labels will stay as they are",
            warmup_epochs=model.warmup_epochs,
        )
        if model.mixup_alpha and not self.examples.are_mixable:
            self.tell(
                "mixing",
                "`x` holds integers with a sign or strings, ids of words or others, "
                "which are not mixed. Cast quantities to float32, or pass "
                "mixup_alpha=0 to say that nothing is to be mixed.",
            )
        if model.augmentation is None and self.params.get("verbose"):
            print(f"{self.owner}: no `augmentation`, so mixing alone varies examples.")

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Plan an epoch; its random numbers follow from the seed and its number."""
        model = self.model
        model.set_epoch(epoch)
        generator = np.random.default_rng([self.seed, epoch])
        if epoch < model.warmup_epochs:
            self.plan_warmup(generator)
        else:
            from_logits = model.takes_logits()
            size = len(self.examples)
            self._statistics.compare(model, self.examples.x, size, from_logits)
            self.plan(generator, epoch)
        self._statistics.begin(model)

    def on_train_end(self, logs: Logs = None) -> None:
        """Warn of statistics that had not settled."""
        cure = "Pass more `warmup_epochs`, or give the layers a lower momentum."
        self._statistics.warn(self.params.get("steps"), cure)

    def cycled(
        self, rows: IntArray, count: int, generator: np.random.Generator | None
    ) -> IntArray:
        """Return `count` of the rows, as `cycled`, in order where nothing shuffles."""
        return cycled(rows, count, generator if self.examples.shuffle else None)

    def all_rows(self, generator: np.random.Generator | None) -> IntArray:
        """Return rows `(steps, batch_size)`: all examples in one order."""
        steps, size = self.examples.steps, self.examples.batch_size
        rows = self.cycled(np.arange(len(self.examples)), steps * size, generator)
        return rows.reshape(steps, size)

    def lost_classes(
        self, classes: IntArray, is_kept: BoolArray
    ) -> tuple[list[int], str]:
        """Return classes that lose nearly all examples, and their numbers in words."""
        before = np.bincount(classes)
        kept = np.bincount(classes[is_kept], minlength=len(before))
        expected = before * is_kept.mean()
        few = (before > 0) & (kept < LEAST_SHARE * expected)
        lost = np.flatnonzero(few).tolist()
        return lost, ", ".join(f"{kept[c]} of {before[c]} of class {c}" for c in lost)

    def tell(self, what: Any, text: str) -> None:
        """Warn once of something in a training."""
        if what not in self._told:
            self._told.add(what)
            warnings.warn(f"{self.owner}: {text}", stacklevel=3)


def split(x: Any) -> tuple[Any, dict[str, Any] | None]:
    """Return the inputs of a batch and its plan, None where it has none."""
    if isinstance(x, dict) and set(x) == {_INPUTS, _PLAN}:
        return x[_INPUTS], x[_PLAN]
    return x, None


def cycled(
    rows: IntArray, count: int, generator: np.random.Generator | None
) -> IntArray:
    """Return `count` of the rows: all of them, and all again in another order.

    Args:
        rows: Rows to choose from, at least one.
        count: How many to return.
        generator: Says the orders; None leaves the rows as they are.
    """
    orders = [
        rows if generator is None else generator.permutation(rows)
        for _ in range(-(-count // len(rows)))
    ]
    return np.concatenate(orders)[:count]


def partners(
    generator: np.random.Generator, steps: int, size: int, alpha: float
) -> tuple[IntArray, np.ndarray]:
    """Return with which row of its step each is mixed, and its share.

    Args:
        generator: Random numbers.
        steps: Number of steps.
        size: Rows of each.
        alpha: Both parameters of the beta distribution of shares; 0 mixes nothing.

    Returns:
        int32 `(steps, size)` and float32 `(steps,)`. A share is one half at least: the
        mixed example is more its own than its partner's.
    """
    order = np.tile(np.arange(size, dtype="int32"), (steps, 1))
    order = generator.permuted(order, axis=1)
    share = generator.beta(alpha, alpha, steps) if alpha else np.ones(steps)
    return order, np.maximum(share, 1 - share).astype("float32")
