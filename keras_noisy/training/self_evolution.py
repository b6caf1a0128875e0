"""SEAL's rounds: train, average the predictions, train again on the averages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_noisy._checks.errors import (
    check_bool,
    check_choice,
    check_count,
    check_path,
    check_seed,
    message,
)
from keras_noisy._checks.numbers import Interval, optional
from keras_noisy._data import arrays, outputs
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
from keras_noisy.callbacks import seal as seal_callbacks
from keras_noisy.training import _callbacks, _given, _random, _run, _soft_labels

_OWNER = "SelfEvolution"
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
            (The paper does not count that one.)
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
            `storage` holds another run, is damaged, or is in use by another process.

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
            predict_batch_size: Batch size of the pass over all examples; by default
                as in `callbacks.SEAL`.
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
        data = _given.Given(x, y, sample_weight, clean_labels)
        settings = {
            "epochs": check_count(_OWNER, "epochs", epochs),
            "batch_size": check_count(_OWNER, "batch_size", batch_size),
            "shuffle": check_bool(_OWNER, "shuffle", shuffle),
        }
        optional(check_count)(_OWNER, "predict_batch_size", predict_batch_size)
        run = _run.Run(self, data, settings)
        with run.opened(check_bool(_OWNER, "resume", resume)):
            self.histories, self.reports = run.histories, run.reports
            while run.round < self.rounds:
                if verbose:
                    print(f"Round {run.round + 1}/{self.rounds}", flush=True)
                self._train(run, callbacks, predict_batch_size, {
                    **fit_arguments, "verbose": verbose
                })  # fmt: skip
                if verbose:
                    text = _soft_labels.sentence(self.reports[-1], data.num_examples)
                    print(text, flush=True)
            if run.model is None:
                run.restore_finished()
        self.model, self.soft_labels = run.model, run.soft_labels
        return self

    def _train(self, run, callbacks, predict_batch_size, arguments):
        """Train one round, from where it stands to its end."""
        words = [self.seed, run.round]
        keras.utils.set_random_seed(_random.derive_seed(*words))
        model = run.begin_round()
        means = run.averages()
        batches = arrays.Batches(
            run.data.x,
            run.targets(),
            run.data.sample_weight,
            batch_size=run.settings["batch_size"],
            shuffle=run.settings["shuffle"],
            seed=words,
            with_ids=self.collect == "on_the_fly",
        )
        seal = self._make_seal(run, model, batches, predict_batch_size)
        seal_callbacks.record_into(seal, means)
        own = callbacks(run.round) if callable(callbacks) else callbacks
        epochs = run.settings["epochs"]
        if run.epoch < epochs and not run.stopped:
            # SEAL before the checkpoint: a run killed between the two repeats the
            # epoch, and SEAL goes one back; the other way round it could not.
            order = _callbacks.Order(batches, words)
            model.fit(
                batches,
                epochs=epochs,
                initial_epoch=run.epoch,
                shuffle=False,
                callbacks=[order, *(own or []), seal, _EpochEnd(run)],
                **arguments,
            )
        run.end_round(means)

    def _make_seal(self, run, model, batches, predict_batch_size):
        if self.collect == "on_the_fly":
            seal = seal_callbacks.SEALOnTheFly(
                run.data.num_examples, from_logits=self.from_logits
            )
            seal.pipeline(model, batches)
            return seal
        return seal_callbacks.SEAL(
            run.data.x,
            batch_size=predict_batch_size,
            from_logits=self.from_logits,
            recompute_statistics=self.recompute_statistics,
        )


class _EpochEnd(keras.callbacks.Callback):
    """Tells the run that an epoch is over."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def on_epoch_end(self, epoch, logs=None):
        self.run.end_epoch(epoch, logs, bool(self.model.stop_training))


def _check_callable(argument, value):
    if not callable(value) or isinstance(value, keras.Model):
        expected = "a function that returns a compiled model"
        mend = "A model itself cannot be trained from scratch again."
        raise TypeError(message(_OWNER, argument, expected, value, mend))
