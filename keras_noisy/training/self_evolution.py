"""SEAL's rounds: train, average the predictions, train again on the averages."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_noisy import _keras, analysis
from keras_noisy._checks.distributions import as_numbers
from keras_noisy._checks.errors import (
    check_bool,
    check_choice,
    check_count,
    check_path,
    check_seed,
    message,
)
from keras_noisy._checks.labels import check_labels, labels_of
from keras_noisy._checks.numbers import Interval, optional
from keras_noisy._data import (
    arrays,
    files,
    mean_predictions,
    outputs,
    predictions,
    raw_inputs,
)
from keras_noisy._typing import (
    ArrayLike,
    BuildModel,
    Callbacks,
    Collect,
    Data,
    FilePath,
    FloatArray,
    Self,
    WarmStart,
)
from keras_noisy.callbacks import _numbered
from keras_noisy.callbacks import seal as seal_callbacks
from keras_noisy.training import _callbacks, _checkpoint, _random

_OWNER = "SelfEvolution"
_FORMAT = "keras_noisy.self_evolution/1"
# The files of a run, beside folders of averages.
_STATE_FILE = r"run\.json"
_FILES = r"(checkpoint|best)-\d+-\d+\.npz|soft_labels-\d+\.npy"
# What `run.json` holds of a run, besides what identifies it.
_STATE = (
    "round",
    "epoch",
    "stopped",
    "logs",
    "lengths",
    "histories",
    "reports",
    "models",
    "best",
)
_COLLECT = ("pass", "on_the_fly")
_WARM_STARTS = (False, "last", "best")
_REFUSED = {
    "initial_epoch": "A run continues by itself where its storage is.",
    "steps_per_epoch": "Every round needs a prediction on every example.",
    "validation_split": "Split the data first and pass `validation_data`.",
    "class_weight": "Soft labels have no class; pass `sample_weight`.",
}


class SelfEvolution:
    """Self-evolution average labels: rounds of training, each on better labels.

    The first round trains on the given labels, every later one on the mean of the
    predictions that the network of the round before made on each example over its
    epochs. A network learns what examples have in common before it memorises single
    wrong labels, so the means are nearer to the truth than the labels were.

    With `storage`, a run that is killed at any moment continues when the same program
    is started again, from the last whole epoch, and ends with the same soft labels
    (bit for bit where the backend computes the same numbers each time). For that,
    the order of examples and the state of random numbers follow from (seed, round,
    epoch), and initial weights from (seed, round): `keras.utils.set_random_seed` is
    called for each.

    Args:
        build_model: Function without arguments that returns a fresh, compiled model
            with one output `(batch, num_classes)` and a loss for distributions, for
            instance `keras.losses.CategoricalCrossentropy`.
        rounds: Number of trainings, the first one on the given labels included.
            (The paper's Algorithm 2 counts it too, its authors' instructions for the
            published code do not.)
        storage: Folder of the run. By default all is in memory, and a killed run
            begins again.
        first_build_model: As `build_model`, for the first round only, to train it
            with another loss: "SEAL on top of" that loss. It gets one-hot labels.
        collect: `"pass"` predicts all examples at the end of each epoch, as the
            paper does; `"on_the_fly"` records the predictions that training makes
            (see `callbacks.SEALOnTheFly` for how they differ).
        warm_start: False begins each round with a fresh network; `"last"` with the
            weights that the round before ended with, and `"best"` with those of its
            best epoch by `monitor`, as the paper does on Clothing1M. The optimizer
            begins anew in each case.
        monitor: Quantity in the logs that says which epoch is best: the highest, or
            the lowest where its name holds "loss".
        temperature: Soft labels are raised to the power `1 / temperature` and
            normalised before a round trains on them: below 1 they become harder. 1
            is the paper.
        seed: Integer that initial weights and the order of examples follow from.
        from_logits: Whether outputs are logits. By default the model's loss says so.
        recompute_statistics: Whether a pass predicts with statistics of batch
            normalisation that are computed on the data, as in `callbacks.SEAL`.

    Attributes:
        model: Network of the last round.
        soft_labels: Mean predictions of the last round, float32 `(n, num_classes)`.
        histories: For each round the logs of its epochs, a dict of lists.
        reports: For each round a dict: `changed_labels`, how many labels differ by
            their largest class from those that the round trained on, and
            `changed_from_given`, from the given ones; with `clean_labels` also
            `label_accuracy`, the share of soft labels whose largest class is right,
            and `label_distance`, the mean distance of Eq. 9 over the wrong labels.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value, if the data does not fit, or if
            `storage` holds another run.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import training
        >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
        >>> def build_model():
        ...     model = keras.Sequential([keras.layers.Dense(2, activation="softmax")])
        ...     model.compile("sgd", "categorical_crossentropy")
        ...     return model
        >>> evolution = training.SelfEvolution(build_model, rounds=2)
        >>> evolution = evolution.fit(x, y, epochs=3, verbose=0)
        >>> evolution.soft_labels.shape, len(evolution.histories)
        ((4, 2), 2)

    Reference:
        Algorithm 2 of Chen et al., "Beyond Class-Conditional Assumption: A Primary
        Attempt to Combat Instance-Dependent Label Noise", AAAI 2021.
    """

    def __init__(
        self,
        build_model: BuildModel,
        *,
        rounds: int = 3,
        storage: FilePath | None = None,
        first_build_model: BuildModel | None = None,
        collect: Collect = "pass",
        warm_start: WarmStart = False,
        monitor: str = "val_accuracy",
        temperature: float = 1.0,
        seed: int = 0,
        from_logits: bool | None = None,
        recompute_statistics: bool = False,
    ) -> None:
        _check_callable("build_model", build_model)
        if first_build_model is not None:
            _check_callable("first_build_model", first_build_model)
        check_choice(_OWNER, "collect", collect, _COLLECT)
        check_choice(_OWNER, "warm_start", warm_start, _WARM_STARTS)
        self.build_model = build_model
        self.first_build_model = first_build_model
        self.rounds = check_count(_OWNER, "rounds", rounds)
        self.storage = optional(check_path)(_OWNER, "storage", storage)
        self.collect = collect
        self.warm_start = warm_start
        self.monitor = monitor
        self.temperature = Interval(1e-3, 1e3)(_OWNER, "temperature", temperature)
        self.seed = check_seed(_OWNER, seed, bits=63)
        self.from_logits = outputs.check_from_logits(_OWNER, from_logits)
        self.recompute_statistics = check_bool(
            _OWNER, "recompute_statistics", recompute_statistics
        )
        if recompute_statistics and collect == "on_the_fly":
            expected = "False with collect='on_the_fly', which predicts by batches"
            raise ValueError(message(_OWNER, "recompute_statistics", expected, True))
        self.model: keras.Model = None
        # None before `fit`, which nobody who reads them has to think of.
        self.soft_labels: FloatArray = None  # type: ignore[assignment]
        self.histories: list[dict[str, list[float]]] = []
        self.reports: list[dict[str, Any]] = []

    def fit(
        self,
        x: Data,
        y: ArrayLike,
        *,
        epochs: int,
        batch_size: int = 32,
        sample_weight: ArrayLike | None = None,
        shuffle: bool = True,
        clean_labels: ArrayLike | None = None,
        callbacks: Callbacks | Callable[[int], Callbacks] = None,
        predict_batch_size: int | None = None,
        resume: bool = True,
        verbose: int = 1,
        **fit_arguments: Any,
    ) -> Self:
        """Run all rounds, or those that are left.

        Args:
            x: Inputs, an array or a tuple or dict of arrays (memory maps too).
            y: Given labels, class ids `(n,)` or distributions `(n, num_classes)`.
            epochs: Epochs of each round.
            batch_size: Batch size of the training.
            sample_weight: Weights `(n,)`, or None.
            shuffle: Whether to shuffle.
            clean_labels: True class ids `(n,)`, for the reports only.
            callbacks: A list of callbacks that serves all rounds, or a function from
                the number of the round, from 0 on, to such a list. A callback that
                keeps a state of its own begins anew in a run that is continued.
            predict_batch_size: Batch size of the pass over all examples, 256 by
                default.
            resume: Whether to continue the run in `storage`; otherwise it is
                deleted, and a new one begins.
            verbose: As in `model.fit`; 0 says nothing of the rounds either.
            **fit_arguments: Passed to `model.fit`, for instance `validation_data`.

        Returns:
            This object.
        """
        for name in fit_arguments:
            if name in _REFUSED:
                raise TypeError(
                    f"{_OWNER}: `{name}` cannot be passed to `fit`. {_REFUSED[name]}"
                )
        data = _Data(x, y, sample_weight, clean_labels)
        settings = {
            "epochs": check_count(_OWNER, "epochs", epochs),
            "batch_size": check_count(_OWNER, "batch_size", batch_size),
            "shuffle": check_bool(_OWNER, "shuffle", shuffle),
        }
        optional(check_count)(_OWNER, "predict_batch_size", predict_batch_size)
        run = _Run(self, data, settings, check_bool(_OWNER, "resume", resume))
        self.histories, self.reports = run.histories, run.reports
        while run.round < self.rounds:
            if verbose:
                print(f"Round {run.round + 1}/{self.rounds}", flush=True)
            self._train(run, data, settings, callbacks, predict_batch_size, {
                **fit_arguments, "verbose": verbose
            })  # fmt: skip
            if verbose:
                print(_sentence(self.reports[-1], data.num_examples), flush=True)
        if run.model is None:
            run.restore_finished()
        self.model, self.soft_labels = run.model, run.soft_labels
        return self

    def _train(self, run, data, settings, callbacks, predict_batch_size, arguments):
        """Train one round, from where it stands to its end."""
        keras.utils.set_random_seed(_random.derive_seed(self.seed, run.round))
        model = run.begin_round()
        seal = self._make_seal(run, data, predict_batch_size)
        seal._open(data.num_examples, run.num_classes)
        batches = arrays.Batches(
            data.x,
            run.targets(),
            data.sample_weight,
            batch_size=settings["batch_size"],
            shuffle=settings["shuffle"],
            seed=[self.seed, run.round],
            with_ids=self.collect == "on_the_fly",
        )
        if self.collect == "on_the_fly":
            seal.pipeline(model, batches)
        if callable(callbacks):
            own = list(callbacks(run.round) or [])
        else:
            own = list(callbacks or [])
        if run.epoch < settings["epochs"] and not run.stopped:
            # SEAL before the checkpoint: a run killed between the two repeats the
            # epoch, and SEAL goes one back; the other way round it could not.
            order = _callbacks.Order(batches, [self.seed, run.round])
            watch = [order, *own, seal, _EpochEnd(run)]
            model.fit(
                batches,
                epochs=settings["epochs"],
                initial_epoch=run.epoch,
                shuffle=False,
                callbacks=watch,
                **arguments,
            )
        run.end_round(seal)

    def _make_seal(self, run, data, predict_batch_size):
        common = {"storage": run.path(f"round-{run.round}"), "from_logits": None}
        common["from_logits"] = self.from_logits
        if self.collect == "on_the_fly":
            seal = seal_callbacks.SEALOnTheFly(data.num_examples, **common)
        else:
            seal = seal_callbacks.SEAL(
                data.x,
                batch_size=predict_batch_size,
                recompute_statistics=self.recompute_statistics,
                **common,
            )
        # The run has checked that the data is its own.
        seal._data = None
        return seal


class _Data:
    """The arguments of `fit` that hold an entry per example, checked."""

    def __init__(self, x, y, sample_weight, clean_labels):
        self.x = arrays.as_arrays(_OWNER, "x", x)
        self.num_examples = arrays.length(_OWNER, "x", self.x)
        self.y = labels_of(y)
        if self.y.ndim == 2:
            self.y = self._check("y", self.y)
        else:
            self.y = check_labels(_OWNER, "y", self.y, size=self.num_examples)
        self.sample_weight = self.clean_labels = None
        if sample_weight is not None:
            self.sample_weight = self._check("sample_weight", sample_weight)
        if clean_labels is not None:
            self.clean_labels = check_labels(
                _OWNER, "clean_labels", clean_labels, size=self.num_examples
            )

    def _check(self, argument, values):
        values = as_numbers(_OWNER, argument, labels_of(values))
        size = len(np.atleast_1d(values))
        if size != self.num_examples:
            expected = f"{self.num_examples}, the number of examples in `x`"
            raise ValueError(message(_OWNER, f"len({argument})", expected, size))
        return values

    def given(self):
        """Return the class of each given label."""
        return self.y if self.y.ndim == 1 else self.y.argmax(axis=1)


class _Run:
    """What a run has done so far, in memory or in its storage folder.

    Attributes:
        round: Number of the round to train, from 0.
        epoch: Its next epoch.
        stopped: Whether a callback has ended the round.
        logs: Logs of its epochs so far.
        lengths: Number of epochs of the rounds before.
        histories: Of the rounds before.
        reports: Of the rounds before.
        soft_labels: Of the round before, None in the first.
    """

    def __init__(self, evolution, data, settings, resume):
        self.evolution, self.data, self.settings = evolution, data, settings
        self.storage = evolution.storage
        self.round, self.epoch, self.stopped = 0, 0, False
        self.logs, self.lengths, self.histories, self.reports = {}, [], [], []
        self.models, self.best = {}, None
        self.soft_labels = self.model = self.num_classes = None
        # Weights to start the next round from.
        self._start_weights = self._best_weights = None
        if self.storage is not None:
            self._open(resume)

    def path(self, name):
        """Return the path of a file of the run, or None in memory."""
        return None if self.storage is None else os.path.join(self.storage, name)

    def _identity(self):
        evolution, data = self.evolution, self.data
        weight = data.sample_weight
        return {
            "format": _FORMAT,
            "backend": keras.backend.backend(),
            "collect": evolution.collect,
            "warm_start": evolution.warm_start,
            "monitor": evolution.monitor if evolution.warm_start == "best" else None,
            "temperature": evolution.temperature,
            "seed": evolution.seed,
            "from_logits": evolution.from_logits,
            # None as in folders of versions that did not have it.
            "recompute_statistics": evolution.recompute_statistics or None,
            "x": arrays.digest(data.x),
            "y": arrays.digest(data.y),
            "sample_weight": None if weight is None else arrays.digest(weight),
            **self.settings,
        }

    def _open(self, resume):
        state = files.read_json(self.path("run.json"))
        self._check_folder(state)
        if state is not None and not resume:
            delete(self.storage)
            state = None
        os.makedirs(self.storage, exist_ok=True)
        files.remove_leftovers(self.storage, f"{_STATE_FILE}|{_FILES}")
        self.identity = self._identity()
        if state is None:
            return self._write()
        for key, expected in self.identity.items():
            self._check_same(key, files.identity_in(state).get(key), expected)
        for name in _STATE:
            setattr(self, name, state[name])
        if self.round > self.evolution.rounds:
            mend = f"The storage {self.storage!r} holds that many."
            raise ValueError(
                message(
                    _OWNER,
                    "rounds",
                    f"at least {self.round}",
                    self.evolution.rounds,
                    mend,
                )
            )
        _remove_averages(self.storage, range(self.round))
        if self.round:
            self.soft_labels = np.load(self._labels_path(), mmap_mode="r")

    def _check_folder(self, state):
        if state is None:
            is_strange = os.path.isdir(self.storage) and any(
                not name.endswith(".tmp") for name in os.listdir(self.storage)
            )
        else:
            name = str(files.identity_in(state).get("format"))
            is_strange = name.split("/")[0] != _FORMAT.split("/")[0]
        if is_strange:
            expected = "empty or of a run of SelfEvolution"
            mend = "Choose another folder."
            raise ValueError(message(_OWNER, "storage", expected, self.storage, mend))

    def _check_same(self, key, found, expected):
        if found != expected:
            mend = (
                f"Its {key} is {found!r}, and that of this run {expected!r}. Choose "
                "another folder, or pass resume=False to delete that run."
            )
            raise ValueError(
                message(_OWNER, "storage", "a folder of this run", self.storage, mend)
            )

    def _write(self):
        if self.storage is not None:
            state = {name: getattr(self, name) for name in ("identity", *_STATE)}
            files.write_json(self.path("run.json"), state)

    def _labels_path(self):
        return self.path(f"soft_labels-{self.round - 1}.npy")

    def _checkpoint_path(self, kind, round_index, epoch):
        return self.path(f"{kind}-{round_index}-{epoch}.npz")

    def begin_round(self):
        """Return the model of this round, as it is after `epoch` epochs."""
        self.model = self._build()
        if self.epoch:
            path = self._checkpoint_path("checkpoint", self.round, self.epoch)
            _checkpoint.restore(self.model, _checkpoint.load(path))
        elif self.round and self.evolution.warm_start:
            _checkpoint.restore_weights(self.model, self._weights_to_start_from())
        return self.model

    def _build(self):
        """Return a fresh model with all its variables."""
        is_first = self.round == 0
        build, name = self.evolution.build_model, "build_model"
        if is_first and self.evolution.first_build_model is not None:
            build, name = self.evolution.first_build_model, "first_build_model"
        model = build()
        if not isinstance(model, keras.Model) or not model.compiled:
            mend = "Call `model.compile` in it."
            expected = "a function that returns a compiled keras.Model"
            raise TypeError(message(_OWNER, name, expected, model, mend))
        _check_loss(name, model)
        raw_inputs.accept_batches(model)
        # Weights exist only after the model has seen an input, in some models.
        one = arrays.batch_of(self.data.x, slice(0, 1))
        outputs = predictions.on_batch(_OWNER, model, one)
        strategy = _keras.strategy_of(model)
        with strategy.scope() if strategy is not None else contextlib.nullcontext():
            model.optimizer.build(model.trainable_variables)
        self.num_classes = _numbered.output_width(_OWNER, model)
        if self.num_classes is None:
            self.num_classes = int(np.shape(outputs)[-1])
        _check_classes(self.data, self.num_classes)
        if self.storage is not None:
            description = _checkpoint.describe(model)
            known = self.models.setdefault(name, description)
            self._check_same(f"model of `{name}`", known, description)
        return model

    def _weights_to_start_from(self):
        if self._start_weights is not None:
            return self._start_weights
        if self.evolution.warm_start == "best":
            path = self._checkpoint_path("best", *self.best)
        else:
            path = self._last_checkpoint()
        return _checkpoint.load(path)

    def _last_checkpoint(self):
        """Return the path of the last checkpoint of the round before."""
        return self._checkpoint_path("checkpoint", self.round - 1, self.lengths[-1])

    def targets(self):
        """Return the function from rows to the targets of this round."""
        num_classes, temperature = self.num_classes, self.evolution.temperature
        if self.round == 0:
            given = self.data.y
            if given.ndim == 2:
                return lambda rows: given[rows].astype(np.float32)
            identity = np.eye(num_classes, dtype=np.float32)
            return lambda rows: identity[given[rows]]
        soft_labels = self.soft_labels
        if self.storage is not None:
            soft_labels = mean_predictions.RowsOfFile(self._labels_path())
        return lambda rows: _sharpened(soft_labels[rows], temperature)

    def end_epoch(self, epoch, logs, stopped):
        """Take note of an epoch, and save all that is needed to go on from there."""
        for name, value in (logs or {}).items():
            self.logs.setdefault(name, []).append(np.asarray(value, float).tolist())
        is_best = self._is_best(epoch)
        self.epoch, self.stopped = epoch + 1, stopped
        if self.storage is None:
            if is_best:
                self._best_weights = _checkpoint.state_of(self.model)
            return
        path = self._checkpoint_path("checkpoint", self.round, epoch + 1)
        _checkpoint.save(path, self.model)
        if epoch:
            old = [self._checkpoint_path("checkpoint", self.round, epoch)]
        else:
            old = [self._last_checkpoint()] if self.round else []
        if is_best:
            best = [self.round, epoch + 1]
            _checkpoint.save(self._checkpoint_path("best", *best), self.model)
            if self.best:
                old.append(self._checkpoint_path("best", *self.best))
            self.best = best
        self._write()
        for path in old:
            files.remove(path)

    def _is_best(self, epoch):
        """Whether the last epoch in the logs is the best one so far."""
        evolution = self.evolution
        if evolution.warm_start != "best":
            return False
        values = self.logs.get(evolution.monitor)
        if not values:
            expected = f"one of the logs, {sorted(self.logs)}"
            mend = "Pass `validation_data` to `fit`, or use warm_start='last'."
            raise ValueError(
                message(_OWNER, "monitor", expected, evolution.monitor, mend)
            )
        sign = -1 if "loss" in evolution.monitor else 1
        return all(sign * values[-1] > sign * value for value in values[:-1])

    def end_round(self, seal):
        """Keep the soft labels of the round, report on them, and go to the next."""
        previous = self.soft_labels
        labels = self._keep_labels(seal)
        self.reports.append(self._report(labels, previous))
        self.histories.append(self.logs)
        self.lengths.append(self.epoch)
        if self.storage is None:
            best = self._best_weights if self.evolution.warm_start == "best" else None
            if self.evolution.warm_start:
                self._start_weights = best or _checkpoint.state_of(self.model)
        self.soft_labels, self._best_weights = labels, None
        self.round, self.epoch, self.stopped, self.logs = self.round + 1, 0, False, {}
        self._write()
        if self.storage is not None:
            # Their means are kept.
            _remove_averages(self.storage, range(self.round))

    def _remove_averages(self, rounds):
        for name in os.listdir(self.storage):
            number = re.fullmatch(r"round-(0|[1-9]\d*)", name)
            if number and int(number[1]) in rounds:
                mean_predictions.delete(self.path(name))

    def _keep_labels(self, seal):
        if self.storage is None:
            return seal.soft_labels
        path = self.path(f"soft_labels-{self.round}.npy")
        shape = (self.data.num_examples, self.num_classes)
        if np.any(seal.counts == 0):
            return seal.soft_labels  # Raises an error that says what is missing.
        mean_predictions.write_rows(path, shape, seal._means.chunks())
        return np.load(path, mmap_mode="r")

    def _report(self, labels, previous):
        """Return how many labels the round has changed, and how well."""
        given = self.data.given()
        classes = _largest(labels)
        before = given if previous is None else _largest(previous)
        report = {
            "changed_labels": int(np.count_nonzero(classes != before)),
            "changed_from_given": int(np.count_nonzero(classes != given)),
        }
        clean = self.data.clean_labels
        if clean is not None:
            distances = [
                analysis.label_distance(part, given[rows], clean[rows])
                for rows, part in mean_predictions.parts_of(labels)
            ]
            distance = np.concatenate(distances)[given != clean]
            report["label_accuracy"] = float(np.mean(classes == clean))
            report["label_distance"] = (
                float(distance.mean()) if distance.size else float("nan")
            )
        return report

    def restore_finished(self):
        """Load the model of the last round of a run that has ended."""
        self.round -= 1
        self.model = self._build()
        self.round += 1
        _checkpoint.restore(self.model, _checkpoint.load(self._last_checkpoint()))


def delete(folder):
    """Delete the run in a folder; killed halfway, it is one to delete still."""
    path = os.path.join(folder, "run.json")
    rounds = (files.read_json(path) or {}).get("round", 0)
    # But none to continue: that would average fewer epochs without a word.
    files.write_json(path, {"identity": {"format": _FORMAT}, "round": rounds})
    _remove_averages(folder, range(rounds + 1))
    files.remove_run(folder, _FILES)
    files.remove_run(folder, _STATE_FILE)


def _remove_averages(folder, rounds):
    """Delete the averages of some rounds."""
    for name in os.listdir(folder):
        number = re.fullmatch(r"round-(0|[1-9]\d*)", name)
        if number and int(number[1]) in rounds:
            mean_predictions.delete(os.path.join(folder, name))


class _EpochEnd(keras.callbacks.Callback):
    """Tells the run that an epoch is over."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def on_epoch_end(self, epoch, logs=None):
        self.run.end_epoch(epoch, logs, bool(self.model.stop_training))


def _sharpened(soft_labels, temperature):
    soft_labels = np.asarray(soft_labels)
    if temperature == 1:
        return soft_labels
    with np.errstate(divide="ignore"):
        logits = np.log(soft_labels) / np.float32(temperature)
    return mean_predictions.softmax(logits)


def _largest(soft_labels):
    """Return the largest class of each row."""
    parts = mean_predictions.parts_of(soft_labels)
    return np.concatenate([part.argmax(axis=1) for _, part in parts])


def _sentence(report, num_examples):
    text = f"{report['changed_labels']} of {num_examples} labels changed"
    if "label_accuracy" in report:
        text += (
            f"; {report['label_accuracy']:.4f} of them are right, distance of wrong "
            f"ones to the truth {report['label_distance']:.4f}"
        )
    return text


def _check_callable(argument, value):
    if not callable(value) or isinstance(value, keras.Model):
        expected = "a function that returns a compiled model"
        mend = "A model itself cannot be trained from scratch again."
        raise TypeError(message(_OWNER, argument, expected, value, mend))


def _check_classes(data, num_classes):
    """Raise unless the labels fit the outputs of the model."""
    for argument, labels in (("y", data.y), ("clean_labels", data.clean_labels)):
        if labels is None:
            continue
        if labels.ndim == 2:
            fits, shown = labels.shape[1] == num_classes, f"shape {labels.shape}"
        else:
            low, high = int(labels.min()), int(labels.max())
            fits, shown = low >= 0 and high < num_classes, f"values {low} to {high}"
        if not fits:
            expected = f"labels of the {num_classes} classes of the model"
            raise ValueError(message(_OWNER, argument, expected, shown))


def _check_loss(name, model):
    loss = model.loss
    text = loss if isinstance(loss, str) else type(loss).__name__
    if text.lower().startswith("sparse"):
        expected = "a function whose model has a loss for distributions"
        mend = "Labels are soft; use keras.losses.CategoricalCrossentropy."
        raise ValueError(message(_OWNER, name, expected, text, mend))
