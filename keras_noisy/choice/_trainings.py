"""The trainings of the candidates, each stopped on smoothed held-out accuracy."""

import contextlib
import warnings

import keras
import numpy as np

from keras_noisy import _keras, callbacks
from keras_noisy._checks.distributions import by_class, is_one_output
from keras_noisy._checks.errors import Described, message
from keras_noisy._data import arrays, outputs, predictions
from keras_noisy.choice._candidates import CANDIDATES
from keras_noisy.training import _checkpoint, _random

# Epochs that accuracies are averaged over.
WINDOW = 5
NO_EPOCH = -1
_ROWS = 64


class Diverged(Exception):
    """A network predicts NaN or infinity."""


class Validation(keras.callbacks.Callback):
    """Logs the accuracy on held-out labels.

    Raises:
        Diverged: If a prediction is not finite.
    """

    def __init__(self, owner, x, labels, from_logits):
        super().__init__()
        self._owner, self._x, self._labels = owner, x, labels
        self._from_logits = from_logits

    def on_epoch_end(self, epoch, logs=None):
        """Predict in inference mode."""
        found = _raw(self._owner, self.model, self._x)
        found = by_class(found, self._from_logits)
        if not np.isfinite(found).all():
            raise Diverged
        right = found.argmax(axis=-1) == self._labels
        logs["val_accuracy"] = float(right.mean())


class Trainings:
    """Trainings on the labels that are not held out.

    Args:
        owner: Name of the public class, for errors.
        x: Inputs, a structure of arrays.
        labels: Class ids `(n,)`.
        trained: Rows that are trained on.
        held: Rows that validate.
        num_classes: Number of classes.
        build_model: Function that returns a model.
        epochs: Epochs of each training.
        batch_size: Batch size.
        seed: Integer.
        verbose: Of `fit`; "auto" and 0 are silent here.
    """

    def __init__(
        self, owner, *, x, labels, trained, held, num_classes, build_model, epochs,
        batch_size, seed, verbose,
    ):  # fmt: skip
        self._owner, self._build = owner, build_model
        self.trained, self.held = trained, held
        self.x, self.labels = x, labels
        self.num_classes, self.epochs, self.batch_size = num_classes, epochs, batch_size
        self._seed, self._verbose = seed, verbose
        self.from_logits = self._check()

    def _check(self):
        """Return whether the outputs are logits, or raise if the model is no use."""
        model = self.fresh(0)
        if self._build() is model:
            expected = "a function that returns a new model whenever it is called"
            received = Described("one that returned the same model twice")
            raise ValueError(message(self._owner, "build_model", expected, received))
        told = outputs.takes_logits(getattr(model, "loss", None))
        found = self._outputs(model, np.sort(self.trained[:_ROWS]))
        self._has_one_output = is_one_output(found.shape)
        # Those of a sigmoid are distributions then.
        found = by_class(found, False)
        # A softmax gives distributions, and logits of so many rows are none.
        is_distribution = bool(
            (found >= 0).all() and np.allclose(found.sum(axis=-1), 1, atol=1e-3)
        )
        return not is_distribution if told is None else told

    def description(self):
        """Return a digest of the model that is trained."""
        model = self.fresh(0)
        self._outputs(model, self.trained[:1])
        return _checkpoint.describe(compiled(model, self._loss("cross_entropy")))

    def _loss(self, name, matrix=None):
        """Return the loss of a candidate; Keras has another one for one output."""
        if name == "cross_entropy" and self._has_one_output:
            return keras.losses.BinaryCrossentropy(self.from_logits)
        return CANDIDATES[name].loss(self.from_logits, matrix)

    def _outputs(self, model, rows):
        inputs = arrays.batch_of(self.x, rows)
        shape = "no single output"
        with contextlib.suppress(ValueError):
            found = predictions.on_batch(self._owner, model, inputs)
            shape = tuple(found.shape)
        shapes = [(len(rows), self.num_classes)]
        if self.num_classes == 2:
            shapes += [(len(rows), 1), (len(rows),)]
        if shape not in shapes:
            expected = (
                f"a function whose model has {self.num_classes} outputs, one a class"
            )
            received = Described(f"a model with outputs of shape {shape}")
            raise ValueError(message(self._owner, "build_model", expected, received))
        return np.asarray(found, "float32")

    def fresh(self, number):
        """Return an untrained model, the same whenever it is built for a number."""
        keras.utils.set_random_seed(_random.derive_seed(self._seed, number))
        model = self._build()
        if not isinstance(model, keras.Model):
            expected = "a function that returns a keras.Model"
            raise TypeError(message(self._owner, "build_model", expected, model))
        optimizer = getattr(model, "optimizer", None)
        steps = 0
        if optimizer is not None:
            steps = int(keras.ops.convert_to_numpy(optimizer.iterations))
        if steps:
            expected = "a function that returns an untrained model"
            received = Described(f"a model that was trained for {steps} steps")
            mend = "Build and compile the model in the function."
            raise ValueError(
                message(self._owner, "build_model", expected, received, mend)
            )
        return model

    def with_weights(self, weights):
        """Return a new model with the weights of a training."""
        model = self.fresh(0)
        self._outputs(model, self.held[:1])
        model.set_weights(weights)
        if getattr(model, "optimizer", None) is not None:
            # Without variables it could be saved, but not loaded again.
            model.optimizer.build(model.trainable_variables)
        return model

    def run(self, name, number, matrix):
        """Train a candidate, and return a dict of arrays.

        `curve`, its accuracy on held-out labels in each epoch; `epoch`, the one whose
        weights it ended with, -1 where it diverged; `held`, predictions on held-out
        examples; `averages`, those of early-learning regularisation on the others,
        none of another candidate; and its weights.
        """
        candidate = CANDIDATES[name]
        model = self.fresh(number)
        self._outputs(model, self.held[:1])
        # Callbacks give the model more of them.
        weights = [*model.weights]
        compiled(model, self._loss(name, matrix))
        size = len(self.trained)
        companion = candidate.callback(size) if candidate.callback else None
        held = arrays.take(self.x, self.held)
        stopping = callbacks.SmoothedEarlyStopping(
            window=min(WINDOW, self.epochs), patience=self.epochs, mode="max"
        )
        watch = [
            Validation(self._owner, held, self.labels[self.held], self.from_logits),
            *([] if companion is None else [companion]),
            stopping,
        ]
        try:
            history = self._fit(model, companion, watch, number)
        except Diverged:
            return _nothing(len(self.held), self.num_classes)
        averages = getattr(companion, "targets", np.zeros((0, self.num_classes)))
        return {
            "curve": np.array(history["val_accuracy"], "float64"),
            "epoch": np.array(stopping.best_epoch),
            "held": predict(self._owner, model, held, self.from_logits),
            "averages": np.array(averages, "float32"),
            **_as_arrays(weights),
        }

    def _fit(self, model, companion, watch, number):
        """Train on the labels that are not held out, and return the logs."""
        x, y = arrays.take(self.x, self.trained), self.labels[self.trained]
        settings = {"batch_size": self.batch_size}
        data = {"x": x, "y": y, **settings}
        if hasattr(companion, "pipeline"):
            # The loss needs sample ids.
            seed = _random.derive_seed(self._seed, number, 1)
            batches = companion.pipeline(model, x, y, seed=seed, **settings)
            data = {"x": batches, "shuffle": False}
        with warnings.catch_warnings():
            # All epochs are trained: that is the plan.
            warnings.filterwarnings("ignore", ".*training will not be stopped")
            return model.fit(
                **data,
                epochs=self.epochs,
                verbose=0 if self._verbose == "auto" else self._verbose,
                callbacks=watch,
            ).history


def _nothing(num_held, num_classes):
    """Return what a training leaves that has diverged."""
    return {
        "curve": np.zeros(0),
        "epoch": np.array(NO_EPOCH),
        "held": np.full((num_held, num_classes), np.nan, "float32"),
        "averages": np.zeros((0, num_classes), "float32"),
    }


def _as_arrays(weights):
    """Return variables as arrays by their numbers."""
    found = {}
    for number, variable in enumerate(weights):
        value = np.array(keras.ops.convert_to_numpy(variable))
        # NumPy's files do not know bfloat16, and float32 holds all of it.
        is_known = value.dtype.kind != "V" and value.dtype.name != "bfloat16"
        value = value if is_known else value.astype("float32")
        found[f"weight_{number:05d}"] = value
    return found


def weights_of(kept):
    """Return the weights among the arrays that a training left."""
    names = sorted(name for name in kept if name.startswith("weight_"))
    return [kept[name] for name in names]


def predict(owner, model, x, from_logits=False):
    """Return predictions of a model, float32 `(n, num_classes)`."""
    return outputs.probabilities(_raw(owner, model, x), from_logits)


def _raw(owner, model, x):
    """Return outputs of a model, float32."""
    with _keras.fresh_models():
        found = np.concatenate([*predictions.in_pieces(owner, model, x)])
    return np.array(found, "float32")


def compiled(model, loss):
    """Return a model, compiled with a loss and a new optimizer like its own."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        optimizer = keras.optimizers.Adam(1e-3)
    else:
        optimizer = type(optimizer).from_config(optimizer.get_config())
    model.compile(optimizer, loss)
    return model
