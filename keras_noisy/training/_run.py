"""How far a run of SEAL's rounds is, in memory or in its storage folder."""

import contextlib
import os
import re
import uuid

import keras
import numpy as np

from keras_noisy import _keras
from keras_noisy._checks.errors import message
from keras_noisy._data import (
    arrays,
    mean_predictions,
    outputs,
    predictions,
    raw_inputs,
)
from keras_noisy._data.run_folder import RunFolder
from keras_noisy.training import _checkpoint, _soft_labels

_OWNER = "SelfEvolution"
# The files of a run, beside folders of averages.
_FILES = r"(checkpoint|best)-\d+-\d+\.npz|soft_labels-\d+\.npy"
# What the state of a run holds, besides what identifies it.
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
_BEGIN_AGAIN = "pass resume=False to delete that run"


class Run:
    """What a run has done so far.

    Attributes:
        round: Number of the round to train, from 0.
        epoch: Its next epoch.
        stopped: Whether a callback has ended the round.
        logs: Logs of its epochs so far.
        lengths: Number of epochs of the rounds before.
        histories: Of the rounds before.
        reports: Of the rounds before.
        models: Digests of the models that the functions build, by their names.
        best: Round and epoch of the best weights.
        soft_labels: Of the round before, None in the first.
        model: Of the round that was built last.
    """

    def __init__(self, evolution, data, settings):
        self.evolution, self.data, self.settings = evolution, data, settings
        self.round, self.epoch, self.stopped = 0, 0, False
        self.logs, self.lengths, self.histories, self.reports = {}, [], [], []
        self.models, self.best = {}, None
        self.soft_labels = self.model = self.num_classes = None
        # Averages and this run know each other by it.
        self._token = uuid.uuid4().hex
        # Weights by the names of their files, where there are no files.
        self._weights = {}
        storage = evolution.storage
        self._folder = None if storage is None else _folder(storage)

    # --- the folder

    @contextlib.contextmanager
    def opened(self, resume):
        """Continue the run in the folder, or begin one, and keep others out of it."""
        if self._folder is None:
            yield
            return
        try:
            self._open(resume)
            yield
        finally:
            self._folder.release()

    def _open(self, resume):
        state = self._folder.open(_STATE, check=resume, **self._identity())
        if state is not None and not resume:
            _clear(self._folder, state)
        if state is None or not resume:
            return self._write()
        for name in _STATE:
            setattr(self, name, state[name])
        # Version 0.1 had none.
        self._token = state.get("token", self._token)
        if self.round > self.evolution.rounds:
            expected = f"at least {self.round}"
            mend = f"The storage {self._folder.path!r} holds that many."
            raise ValueError(
                message(_OWNER, "rounds", expected, self.evolution.rounds, mend)
            )
        _remove_averages(self._folder, range(self.round))
        if self.round:
            with self._folder.reading(_labels(self.round - 1)) as path:
                self.soft_labels = np.load(path, mmap_mode="r")

    def _identity(self):
        evolution, data = self.evolution, self.data
        weight = data.sample_weight
        return {
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

    def _write(self):
        if self._folder is not None:
            state = {name: getattr(self, name) for name in _STATE}
            self._folder.write(token=self._token, **state)

    # --- weights

    def _save(self, name):
        if self._folder is None:
            self._weights[name] = _checkpoint.state_of(self.model)
        else:
            with self._folder.writer(name) as file:
                _checkpoint.save(file, self.model)

    def _restore(self, name, restore):
        if self._folder is None:
            restore(self.model, self._weights[name])
        else:
            with self._folder.reading(name) as path:
                restore(self.model, _checkpoint.load(path))

    def _remove(self, name):
        if self._folder is None:
            self._weights.pop(name, None)
        else:
            self._folder.remove(name)

    def _last_checkpoint(self):
        """Return the name of the last checkpoint of the round before."""
        return _name("checkpoint", self.round - 1, self.lengths[-1])

    # --- rounds

    def begin_round(self):
        """Return the model of this round, as it is after `epoch` epochs."""
        self.model = self._build()
        warm_start = self.evolution.warm_start
        if self.epoch:
            name = _name("checkpoint", self.round, self.epoch)
            self._restore(name, _checkpoint.restore)
        elif self.round and warm_start:
            best = _name("best", *self.best) if warm_start == "best" else None
            name = best or self._last_checkpoint()
            self._restore(name, _checkpoint.restore_weights)
        return self.model

    def _build(self):
        """Return a fresh model with all its variables."""
        build, name = self.evolution.build_model, "build_model"
        if self.round == 0 and self.evolution.first_build_model is not None:
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
        found = predictions.on_batch(_OWNER, model, one)
        strategy = _keras.strategy_of(model)
        with strategy.scope() if strategy is not None else contextlib.nullcontext():
            model.optimizer.build(model.trainable_variables)
        self.num_outputs = found.shape[-1] if found.ndim > 1 else 1
        self.num_classes = outputs.num_classes(_OWNER, found.shape)
        self.data.check_classes(self.num_classes)
        if self._folder is not None:
            description = _checkpoint.describe(model)
            known = self.models.setdefault(name, description)
            self._folder.check_same(f"model of `{name}`", known, description)
        return model

    def averages(self):
        """Return the averages of this round, those of its epochs so far."""
        storage = data = None
        if self._folder is not None:
            storage = self._folder.file(f"round-{self.round}")
            data = {"run": self._token, "round": self.round}
        shape = (self.data.num_examples, self.num_classes)
        means = mean_predictions.MeanPredictions(
            _OWNER, *shape, storage, data, begin_again=_BEGIN_AGAIN
        )
        # A run that is killed between the two has recorded an epoch more.
        known = means.next_epoch or 0
        if self._folder is not None and known not in (self.epoch, self.epoch + 1):
            means.close()
            what = f"holds averages of {known} epochs, and the run is at {self.epoch}"
            raise self._folder.damaged(f"round-{self.round}", what)
        return means

    def targets(self):
        """Return the function from rows to the targets of this round."""
        distributions, width = self._distributions(), self.num_outputs
        return lambda rows: outputs.of_form(distributions(rows), width)

    def _distributions(self):
        """Return the function from rows to the label distributions of this round."""
        if self.round == 0:
            given = self.data.y
            if given.ndim == 2:
                return lambda rows: given[rows].astype(np.float32)
            identity = np.eye(self.num_classes, dtype=np.float32)
            return lambda rows: identity[given[rows]]
        soft_labels, temperature = self.soft_labels, self.evolution.temperature
        if self._folder is not None:
            soft_labels = mean_predictions.RowsOfFile.of_map(soft_labels)
        return lambda rows: _soft_labels.sharpened(soft_labels[rows], temperature)

    def end_epoch(self, epoch, logs, stopped):
        """Take note of an epoch, and save all that is needed to go on from there."""
        for name, value in (logs or {}).items():
            self.logs.setdefault(name, []).append(np.asarray(value, float).tolist())
        self.epoch, self.stopped = epoch + 1, stopped
        old = []
        if self._folder is not None:
            if epoch:
                old.append(_name("checkpoint", self.round, epoch))
            elif self.round:
                old.append(self._last_checkpoint())
            self._save(_name("checkpoint", self.round, epoch + 1))
        if self._is_best():
            if self.best:
                old.append(_name("best", *self.best))
            self.best = [self.round, epoch + 1]
            self._save(_name("best", *self.best))
        self._write()
        for name in old:
            self._remove(name)

    def _is_best(self):
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

    def end_round(self, means):
        """Keep the soft labels of the round, report on them, and go to the next."""
        labels, data = self._keep_labels(means), self.data
        self.reports.append(
            _soft_labels.report(
                labels, self.soft_labels, data.given(), data.clean_labels
            )
        )
        self.histories.append(self.logs)
        self.lengths.append(self.epoch)
        self.soft_labels = labels
        self.round, self.epoch, self.stopped, self.logs = self.round + 1, 0, False, {}
        if self._folder is None and self.evolution.warm_start == "last":
            self._weights.clear()
            self._save(self._last_checkpoint())
        self._write()
        if self._folder is not None:
            # Their means are kept.
            _remove_averages(self._folder, range(self.round))

    def _keep_labels(self, means):
        if self._folder is None:
            return means.soft_labels()
        name = _labels(self.round)
        path = self._folder.file(name)
        shape = (self.data.num_examples, self.num_classes)
        with self._folder.explained():
            mean_predictions.write_rows(path, shape, means.chunks())
        self._folder.note(name)
        return np.load(path, mmap_mode="r")

    def restore_finished(self):
        """Load the model of the last round of a run that has ended."""
        self.round -= 1
        self.model = self._build()
        self.round += 1
        self._restore(self._last_checkpoint(), _checkpoint.restore)


def delete(path):
    """Delete the run in a folder; killed halfway, it is one to delete still."""
    folder = _folder(path)
    state = folder.read() or {}
    folder.acquire()
    _clear(folder, state)
    folder.delete()


def _folder(path):
    form = "keras_noisy.self_evolution/1"
    return RunFolder(_OWNER, path, form, "run.json", _FILES, begin_again=_BEGIN_AGAIN)


def _clear(folder, state):
    rounds = state.get("round", 0)
    # None to continue any more: that would average fewer epochs without a word.
    folder.write(round=rounds)
    _remove_averages(folder, range(rounds + 1))
    folder.clear()


def _remove_averages(folder, rounds):
    """Delete the averages of some rounds."""
    for name in os.listdir(folder.path):
        number = re.fullmatch(r"round-(0|[1-9]\d*)", name)
        if number and int(number[1]) in rounds:
            mean_predictions.delete(folder.file(name))


def _name(kind, round_index, epoch):
    return f"{kind}-{round_index}-{epoch}.npz"


def _labels(round_index):
    return f"soft_labels-{round_index}.npy"


def _check_loss(name, model):
    loss = model.loss
    text = loss if isinstance(loss, str) else type(loss).__name__
    if text.lower().startswith("sparse"):
        expected = "a function whose model has a loss for distributions"
        mend = "Labels are soft; use keras.losses.CategoricalCrossentropy."
        raise ValueError(message(_OWNER, name, expected, text, mend))
