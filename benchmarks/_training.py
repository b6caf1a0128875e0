"""One run of a recipe, which continues where it was killed."""

import contextlib
import math
import os
import time
import types

import keras
import numpy as np

from benchmarks import _data, _methods, _networks
from keras_noisy import analysis, callbacks, noise, training
from keras_noisy._data import arrays
from keras_noisy._data.predictions import in_pieces
from keras_noisy._data.run_folder import InUseError, RunFolder
from keras_noisy.callbacks import _numbered
from keras_noisy.training import _callbacks, _checkpoint, _random, _run

PREDICT_BATCH_SIZE = 500
TEST_ACCURACY = "test_accuracy"
VALIDATION_ACCURACY = "validation_accuracy"
# In the folder of a run: its files, those of `_on_device.Group` too, and a folder.
_STATE_FILES = r"state-\d+\.npz|checkpoint-\d+-\d+\.npz|soft_labels\.npy"
SOFT_LABELS = "soft_labels.npy"
ROUNDS = "rounds"


class Run:
    """A method, trained on the labels of one noise with one seed.

    The order of examples and random numbers follow from (seed, stage, epoch) and
    initial weights from (seed, stage), so that a run that was killed ends with the
    numbers that it would have had. They are those of `training.SelfEvolution`: its
    first round and plain cross-entropy with the same seed are the same training.

    Args:
        recipe: `recipes.Recipe`.
        method: `recipes.Method`.
        noise_name: Name of the noise in the recipe.
        rate: Its rate.
        seed: Seed of the training, and of labels that are drawn.
        budget: Share of the recipe's epochs to train.
        data: `_data.Data`.
        labels: `noise.NoisyLabels` of the training set.
        folder: What is needed to continue.
        devices: `_devices.Devices`.
        verbose: Whether to print a line per epoch.
    """

    def __init__(
        self,
        recipe,
        method,
        noise_name,
        rate,
        seed,
        *,
        budget,
        data,
        labels,
        folder,
        devices,
        verbose=False,
    ):
        self.recipe, self.method = recipe, method
        self.noise_name, self.rate, self.seed = noise_name, rate, seed
        self.budget, self.data, self.labels = budget, data, labels
        self.folder, self.devices, self.verbose = folder, devices, verbose
        self.epochs = epochs_of(recipe.training, len(data.y_train), budget)
        self.steps = _networks.total_steps(recipe.training, budget)
        self.steps_per_epoch = _networks.num_steps(
            len(data.y_train), recipe.training.batch_size
        )
        if self.steps and method.self_evolution:
            raise ValueError(f"{recipe.name}: {method.name} needs a recipe in epochs.")
        self.stages = _methods.stages_of(method, self.epochs, budget, self.steps)
        self.state = _State(folder)

    def train(self):
        """Train what is left of the run, and return its curves and costs."""
        self._began = time.perf_counter()
        last = len(self.stages) - 1
        for index in range(self.state.stage, len(self.stages)):
            if index == last and self.method.self_evolution:
                return self._result(self._evolve(index))
            self._train_stage(index)
        return self._result({})

    def _result(self, more):
        self.state.note_time(self._elapsed())
        curves = self.state.curves
        if "rounds" in more:
            curves = [*curves, *more.pop("rounds")]
        return {
            "curve": curves[-1],
            "stages": curves[:-1],
            "seconds": round(self.state.seconds, 2),
            **more,
        }

    def _elapsed(self):
        """Return the seconds since this was asked for the last time."""
        now = time.perf_counter()
        elapsed, self._began = now - self._began, now
        return elapsed

    def _train_stage(self, index):
        stage = self.stages[index]
        words = [self.seed, index]
        keras.utils.set_random_seed(_random.derive_seed(*words))
        model = self.build(index)
        watch = self.watch(stage)
        numbered = [each for each in watch if isinstance(each, _numbered.Numbered)]
        batches = arrays.Batches(
            self.data.x_train,
            self._targets(index),
            batch_size=self.recipe.training.batch_size,
            seed=words,
            with_ids=bool(numbered),
        )
        for callback in numbered:
            callback.pipeline(model, batches)
        for callback in watch:
            # Some keep their state in variables of the model, which have to be
            # there before it can be restored.
            callback.set_model(model)
        self._restore(model, index)
        if self.state.epoch < stage.epochs:
            order = _callbacks.Order(batches, words)
            end = _EpochEnd(self.state, self._elapsed, self.verbose)
            watch += [_StopAfter(stage.epochs, self._rest(stage))]
            model.fit(
                batches,
                epochs=stage.epochs,
                initial_epoch=self.state.epoch,
                shuffle=False,
                callbacks=[order, *watch, end],
                verbose=0,
            )
        if stage.estimates:
            self.state.matrix = self._estimate(model).tolist()
        if stage.relabels:
            (labels,) = numbered
            with self.state.folder.writer(SOFT_LABELS) as file:
                np.save(file, labels.soft_labels)
        self.state.end_stage()

    def _rest(self, stage):
        """Return the steps of the last epoch of a stage."""
        full = self.steps_per_epoch
        return full if stage.steps is None else (stage.steps - 1) % full + 1

    def _targets(self, index):
        """Return the labels that a stage trains on."""
        if index and self.stages[index - 1].relabels:
            with self.state.folder.reading(SOFT_LABELS) as path:
                return np.load(path)
        if self.stages[index].is_own and self.method.smoothing:
            return _smoothed(
                self.labels.noisy, self.data.num_classes, self.method.smoothing
            )
        return self.labels.noisy

    def build(self, index, loss=None, metrics=("accuracy",)):
        """Return a fresh compiled model for a stage.

        Args:
            index: Number of the stage.
            loss: Instead of the stage's: that of SEAL's first round, or of several
                runs side by side.
            metrics: Of Keras, computed in training.
        """
        stage = self.stages[index]
        # `first_loss` has the rate for itself.
        has_own_rate = loss is not None or not self.method.first_loss
        if loss is None:
            own = stage.is_own
            loss = self.own_loss() if own else _methods.loss_by_name(stage.loss)
        steps = self.steps_per_epoch
        own = (stage.learning_rate, stage.schedule) if has_own_rate else ()
        with self.devices.scope():
            optimizer = _networks.make_optimizer(
                self.recipe.training, stage.steps or steps * stage.epochs, *own
            )
            shape = self.data.x_train.shape[1:]
            outputs = self.data.num_classes + self.method.extra_outputs

            def network():
                more = self.method.network
                is_augmented = not (stage.is_own and self.method.augments_itself)
                return _networks.build(
                    self.recipe, shape, outputs, more, is_augmented=is_augmented
                )

            model = network()
            if stage.is_own:
                words = {
                    **self._words(),
                    "network": network,
                    "augmentation": lambda: _networks.augmentation(self.recipe),
                }
                model = _methods.make_model(self.method, model, words, self.budget)
            _networks.compile_model(
                model,
                optimizer,
                loss,
                [steps, self._rest(stage)],
                self.devices.count,
                metrics,
            )
            optimizer.build(model.trainable_variables)
        return model

    def own_loss(self):
        """Return the loss of the method."""
        return _methods.make_loss(self.method, self.noise_name, self._words())

    def _words(self):
        """Return what the words of a recipe stand for in this run."""
        estimated, true = self.state.matrix, self._true_matrix()
        return {
            "rate": self.rate,
            "true": true,
            "true transitions": None if true is None else true > 0,
            "estimated": None if estimated is None else np.array(estimated),
            "examples": len(self.data.y_train),
            "iterations": self.steps,
            "inputs": self.data.x_train,
        }

    def _true_matrix(self):
        return _data.transition_matrix(
            self.recipe.noise[self.noise_name], self.rate, self.data, self.seed
        )

    def watch(self, stage):
        """Return the callbacks of a stage, without those that keep its state."""
        watch = [_TestAccuracy(self.data)]
        if stage.is_own:
            watch += _methods.make_callbacks(
                self.method, self._words(), stage.epochs, self.budget
            )
        if stage.relabels:
            watch.append(_LabelAccuracy(watch[-1], self.labels.clean))
        return [*watch, *self._dynamics(stage)]

    def _dynamics(self, stage):
        """Return what records the dynamics that the recipe asks for."""
        wanted = dict(self.recipe.dynamics or {})
        # Of wrappers around the network and outputs that are no class there are none.
        method = self.method
        if not (wanted and stage.is_own) or method.model or method.extra_outputs:
            return []
        ratio = wanted.pop("critical_sample_ratio", None)
        dynamics = callbacks.LearningDynamics(
            self.data.x_train,
            self.labels.noisy,
            self.labels.clean,
            batch_size=PREDICT_BATCH_SIZE,
            from_logits=True,
            **wanted,
        )
        if ratio is None:
            return [dynamics]
        return [dynamics, _CriticalSampleRatio(self.data.x_test, dynamics.every, ratio)]

    def _restore(self, model, index):
        """Bring a fresh model to where the run stands."""
        if self.state.epoch:
            values = self.state.load(index)
            _checkpoint.restore(_with_state_of_callbacks(model), values)
        elif self.stages[index].continues:
            before = self.stages[index - 1].epochs
            values = self.state.load(index - 1, before)
            # A model around the network has more weights than the stage before.
            _checkpoint.restore_weights(getattr(model, "network", model), values)

    def _estimate(self, model):
        """Return the transition matrix that the model's predictions suggest."""
        parts = in_pieces(
            "run", model, self.data.x_train, batch_size=PREDICT_BATCH_SIZE
        )
        logits = np.concatenate(list(parts)).astype("float64")
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        predictions = exponentials / exponentials.sum(axis=1, keepdims=True)
        quantile = self.method.estimate.get("quantile")
        if quantile is None:
            found = noise.estimate_from_confusion(self.labels.noisy, predictions)
        else:
            found = noise.estimate_from_anchors(predictions, quantile=quantile)
        if self.method.estimate.get("keep_structure"):
            return noise.keep_structure(found, self._true_matrix() > 0)
        return found

    def _evolve(self, index):
        """Train SEAL's rounds, which keep their own state."""
        evolution = training.SelfEvolution(
            lambda: self.build(index),
            first_build_model=self._first_model(index),
            storage=os.path.join(self.folder, ROUNDS),
            monitor=VALIDATION_ACCURACY,
            seed=self.seed,
            from_logits=True,
            **self.method.self_evolution,
        )
        end = _RoundEpochEnd(self.state, self._elapsed, self.verbose)
        evolution.fit(
            self.data.x_train,
            self.labels.noisy,
            epochs=self.stages[index].epochs,
            batch_size=self.recipe.training.batch_size,
            clean_labels=self.labels.clean,
            callbacks=[_TestAccuracy(self.data), end],
            predict_batch_size=PREDICT_BATCH_SIZE,
            verbose=0,
        )
        rounds = [
            {name: [plain(value) for value in values] for name, values in logs.items()}
            for logs in evolution.histories
        ]
        return {"rounds": rounds, "reports": evolution.reports}

    def _first_model(self, index):
        """Return the function that builds the model of the first round, or None."""
        if self.method.first_loss is None:
            return None

        def build():
            model = self.build(index, _methods.loss_by_name(self.method.first_loss))
            if self.stages[index].continues:
                before = self.stages[index - 1].epochs
                values = self.state.load(index - 1, before)
                _checkpoint.restore_weights(model, values)
            return model

        return build


class _State:
    """How far a run has come, in its folder.

    Attributes:
        stage: Number of the stage to train, from 0.
        epoch: Its next epoch.
        curves: For each stage that has begun the logs of its epochs.
        matrix: The estimated transition matrix as lists, or None.
        seconds: Time spent so far.
    """

    _KEPT = ("stage", "epoch", "curves", "matrix", "seconds")

    def __init__(self, path):
        self.folder = folder_of(path)
        self.stage, self.epoch, self.seconds = 0, 0, 0.0
        self.curves, self.matrix = [], None
        state = open_run(self.folder, self._KEPT)
        if state is None:
            return self._write()
        for name in self._KEPT:
            setattr(self, name, state[name])

    def _write(self):
        self.folder.write(**{name: getattr(self, name) for name in self._KEPT})

    def load(self, stage, epoch=None):
        """Return the weights of a stage, by default the newest."""
        name = _checkpoint_name(stage, self.epoch if epoch is None else epoch)
        with self.folder.reading(name) as path:
            return _checkpoint.load(path)

    def note_time(self, seconds):
        """Add to the time spent."""
        self.seconds += seconds
        self._write()

    def end_epoch(self, model, logs, seconds):
        """Keep the model; the state that names its file is written after it."""
        before = _checkpoint_name(self.stage, self.epoch)
        if self.epoch == 0:
            self.curves.append({})
        for name, value in logs.items():
            self.curves[-1].setdefault(name, []).append(value)
        self.epoch += 1
        self.seconds += seconds
        with self.folder.writer(_checkpoint_name(self.stage, self.epoch)) as file:
            _checkpoint.save(file, _with_state_of_callbacks(model))
        self._write()
        self.folder.remove(before)

    def end_stage(self):
        """Go on to the next stage."""
        self.stage, self.epoch = self.stage + 1, 0
        self._write()


def _checkpoint_name(stage, epoch):
    return f"checkpoint-{stage}-{epoch}.npz"


def _with_state_of_callbacks(model):
    """Return what has all variables of a model for a checkpoint.

    Keras does not count metrics as variables of a model, and that is what this
    package's callbacks keep their state in. Keras's own begin anew in every epoch.
    """
    state = [
        variable
        for metric in model.metrics
        if type(metric).__module__.startswith("keras_noisy.")
        for variable in metric.variables
    ]
    return types.SimpleNamespace(
        variables=[*model.variables, *state], optimizer=model.optimizer
    )


class _TestAccuracy(keras.callbacks.Callback):
    """Logs the accuracy on clean test data, over the classes alone."""

    def __init__(self, data):
        super().__init__()
        self.data = data

    def on_epoch_end(self, epoch, logs=None):
        data = self.data
        if data.x_validation is not None:
            accuracy = self._accuracy(data.x_validation, data.y_validation)
            logs[VALIDATION_ACCURACY] = accuracy
        logs[TEST_ACCURACY] = self._accuracy(data.x_test, data.y_test)

    def _accuracy(self, x, y):
        parts = in_pieces("run", self.model, x, batch_size=PREDICT_BATCH_SIZE)
        # Without deep abstention's last output.
        logits = np.concatenate(list(parts))[:, : self.data.num_classes]
        return float(np.mean(logits.argmax(axis=1) == y))


class _CriticalSampleRatio(keras.callbacks.Callback):
    """Logs the critical sample ratio of test images, NaN where it is not measured.

    Args:
        x: Images, of which the first `num_examples` count.
        every: Measured in every so many epochs, and in the last one.
        arguments: `num_examples`, `radius` as a share of the range of a pixel, and
            others of `analysis.critical_sample_ratio`.
    """

    def __init__(self, x, every, arguments):
        super().__init__()
        arguments = dict(arguments)
        self.x = x[: arguments.pop("num_examples", None)].astype("float32")
        self.every = every
        radius = 255 * arguments.pop("radius")
        self.arguments = {"bounds": (0.0, 255.0), "radius": radius, **arguments}

    def on_epoch_end(self, epoch, logs=None):
        logs["critical_sample_ratio"] = float("nan")
        if epoch % self.every == 0 or epoch + 1 == self.params["epochs"]:
            # Without the input layer, which takes whole numbers only.
            network = self.model.layers[-1]
            logs["critical_sample_ratio"] = analysis.critical_sample_ratio(
                lambda x: network(x, training=False), self.x, **self.arguments
            )


class _StopAfter(keras.callbacks.Callback):
    """Ends the last epoch after some of its steps."""

    def __init__(self, epochs, steps):
        super().__init__()
        self.last, self.steps, self.is_last = epochs - 1, steps, False

    def on_epoch_begin(self, epoch, logs=None):
        self.is_last = epoch == self.last

    def on_train_batch_end(self, batch, logs=None):
        if self.is_last and batch + 1 >= self.steps:
            self.model.stop_training = True


class _LabelAccuracy(keras.callbacks.Callback):
    """Logs the share of examples whose learnt label has the right largest class."""

    def __init__(self, labels, clean):
        super().__init__()
        self.labels, self.clean = labels, clean

    def on_epoch_end(self, epoch, logs=None):
        classes = self.labels.soft_labels.argmax(axis=1)
        logs["label_accuracy"] = float(np.mean(classes == self.clean))


class _EpochEnd(keras.callbacks.Callback):
    """Keeps what is needed to continue after an epoch."""

    def __init__(self, state, elapsed, verbose):
        super().__init__()
        self.state, self.elapsed, self.verbose = state, elapsed, verbose

    def on_epoch_end(self, epoch, logs=None):
        seconds = self.elapsed()
        if self.verbose:
            _print_epoch(epoch, self.params["epochs"], logs, seconds)
        self.keep({name: plain(value) for name, value in logs.items()}, seconds)

    def keep(self, logs, seconds):
        self.state.end_epoch(self.model, logs, seconds)


class _RoundEpochEnd(_EpochEnd):
    """Keeps the time only: the rounds keep the rest."""

    def keep(self, logs, seconds):
        self.state.note_time(seconds)


def _smoothed(labels, num_classes, weight):
    """Return the function from rows to smoothed labels, which are not all kept."""
    rows = np.full((num_classes, num_classes), weight / num_classes, "float32")
    np.fill_diagonal(rows, 1 - weight + weight / num_classes)
    return lambda examples: rows[labels[examples]]


def _print_epoch(epoch, epochs, logs, seconds):
    values = ", ".join(f"{name} {float(value):.4f}" for name, value in logs.items())
    print(f"  epoch {epoch + 1}/{epochs}: {values} ({seconds:.1f} s)", flush=True)


def plain(value):
    """Return a number that JSON has: None for NaN, such as a price before its time."""
    return float(value) if np.isfinite(value) else None


def epochs_of(recipe_training, num_examples, budget):
    """Return the epochs of a recipe, shortened to a share of them.

    The last one may be partial where the recipe is stated in iterations.
    """
    if recipe_training.epochs is not None:
        return _methods.shortened(recipe_training.epochs, budget)
    steps = _networks.num_steps(num_examples, recipe_training.batch_size)
    return math.ceil(_networks.total_steps(recipe_training, budget) / steps)


def instance_dependent_labels(recipe, rate, data, storage, devices):
    """Return labels that Algorithm 1 makes with a recipe's network and training.

    The training is that of the whole recipe, whatever the budget of the runs: another
    one would be another noise.
    """
    training_ = recipe.training
    epochs = epochs_of(training_, len(data.y_train), 1.0)
    steps = _networks.num_steps(len(data.y_train), training_.batch_size)

    def build():
        with devices.scope():
            shape = data.x_train.shape[1:]
            return _networks.compile_model(
                _networks.build(recipe, shape, data.num_classes),
                _networks.make_optimizer(training_, steps * epochs),
                _methods.loss_by_name("CategoricalCrossentropy"),
                [steps],
                devices.count,
            )

    return training.generate_instance_dependent_noise(
        build,
        data.x_train,
        data.y_train,
        rate=rate,
        epochs=epochs,
        batch_size=training_.batch_size,
        storage=storage,
        seed=_data.GENERATION_SEED,
        from_logits=True,
        predict_batch_size=PREDICT_BATCH_SIZE,
        verbose=0,
    )


def folder_of(path):
    """Return the folder of a run, or of several that are one program."""
    form = "keras_noisy.benchmarks/1"
    words = {"argument": "folder"}
    return RunFolder("benchmarks.run", path, form, "state.json", _STATE_FILES, **words)


def open_run(folder, keys):
    """Return the state of a run, which its folder is named after; None of a new one."""
    return folder.open(keys, run=os.path.basename(folder.path))


@contextlib.contextmanager
def claim(path):
    """Yield whether no other process works in a folder, and keep others out."""
    folder = folder_of(path)
    try:
        folder.acquire()
    except InUseError:
        yield False
        return
    try:
        yield True
    finally:
        folder.release()


def remove(path):
    """Delete the state of a finished run, and no other file in its folder."""
    rounds = os.path.join(path, ROUNDS)
    if os.path.isdir(rounds):
        _run.delete(rounds)
    folder_of(path).delete()
