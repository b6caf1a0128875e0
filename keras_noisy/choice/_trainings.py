"""The trainings of the candidates, each stopped on smoothed held-out accuracy."""

import contextlib
import math

import keras
import numpy as np

from keras_noisy import _keras
from keras_noisy._checks.distributions import by_class
from keras_noisy._checks.errors import Described, message
from keras_noisy._data import arrays, outputs, predictions
from keras_noisy.choice import _rule
from keras_noisy.choice._candidates import CANDIDATES
from keras_noisy.choice._side_by_side import SideBySide
from keras_noisy.training import _checkpoint, _random

# Epochs that accuracies are averaged over.
WINDOW = 5
NO_EPOCH = -1
_ROWS = 64
_AT_ONCE = 256
_ORDER = 1000
# A network of more weights is trained alone: there compilation and the start of a step
# are nothing beside the step, and a kill costs one training.
_SMALL = 1_000_000


class Watch(keras.callbacks.Callback):
    """Keeps of each network the weights where held-out labels are predicted best.

    Networks predict with moving averages of their weights, and are compared by the mean
    of their accuracies in the last epochs.

    Args:
        owner: Name of the public class, for errors.
        names: The candidates.
        x: Held-out inputs.
        labels: Held-out class ids `(m,)`.
        window: Number of epochs in a mean.

    Attributes:
        curves: Of each candidate the accuracies.
        kept: Of each one dicts of `epoch`, `held` and `weights` of the best mean; None
            where it diverged.
    """

    def __init__(self, owner, names, x, labels, window):
        super().__init__()
        self._owner, self._names, self._x = owner, names, x
        self._labels, self._window = labels, window
        self.curves = {name: [] for name in names}
        self.kept = {name: {"score": -1.0} for name in names}

    def on_epoch_end(self, epoch, logs=None):
        """Predict in inference mode, with averaged weights."""
        model = self.model
        now = [_as_arrays(network) for network in model.networks]
        model.optimizer.finalize_variable_values(model.trainable_variables)
        means = [_as_arrays(network) for network in model.networks]
        # On JAX they are the optimizer's own buffers, which predictions give away.
        _set(model.networks, means)
        # Infinite logits of one that diverges are looked for below.
        with np.errstate(invalid="ignore", over="ignore"):
            found = predict(self._owner, model, self._x, model.from_logits)
        _set(model.networks, now)
        for number, name in enumerate(self._names):
            self._look(name, epoch, found[:, number], means[number])
            logs[f"val_accuracy of {name}"] = self.curves[name][-1]
        if not any(self.kept.values()):
            self.model.stop_training = True

    def _look(self, name, epoch, held, weights):
        """Take note of a candidate's predictions, and of its weights if it is ahead."""
        curve = self.curves[name]
        curve.append(float((held.argmax(axis=-1) == self._labels).mean()))
        if not np.isfinite(held).all():
            self.kept[name] = None
        if self.kept[name] is None or len(curve) < self._window:
            return
        score = _rule.smoothed(curve, epoch, self._window)
        if score > self.kept[name]["score"]:
            self.kept[name] = {
                "score": score, "epoch": epoch, "held": held, "weights": weights
            }  # fmt: skip


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
        self._model = self.fresh(0)
        self.from_logits = self._check()

    def _check(self):
        """Return whether the outputs are logits, or raise if the model is no use."""
        if self._build() is self._model:
            expected = "a function that returns a new model whenever it is called"
            received = Described("one that returned the same model twice")
            raise ValueError(message(self._owner, "build_model", expected, received))
        told = outputs.takes_logits(getattr(self._model, "loss", None))
        found = self._outputs(self._model, np.sort(self.trained[:_ROWS]))
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
        self._see(model)
        model.compile(_optimizer_of(model), "mse")
        return _checkpoint.describe(model)

    def groups(self, names):
        """Return the candidates that are trained as one program, lists of names.

        All of them, where networks are small and the optimizer looks at one variable at
        a time; otherwise each alone.
        """
        optimizer = getattr(self._model, "optimizer", None)
        is_joint = getattr(optimizer, "global_clipnorm", None) is not None
        is_joint |= isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if is_joint or self._model.count_params() > _SMALL:
            return [[name] for name in names]
        return [names]

    def _outputs(self, model, rows):
        inputs = arrays.of_backend(arrays.batch_of(self.x, rows))
        shape = "no single output"
        with contextlib.suppress(ValueError):
            found = outputs.check_single(self._owner, model(inputs, training=False))
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
        return np.asarray(keras.ops.convert_to_numpy(found), "float32")

    def _see(self, model):
        """Build a model that is not, by an example."""
        if not model.built:
            self._outputs(model, self.held[:1])

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
        self._see(model)
        model.set_weights(weights)
        if getattr(model, "optimizer", None) is not None:
            # Without variables it could be saved, but not loaded again.
            model.optimizer.build(model.trainable_variables)
        return model

    def run(self, names, matrix):
        """Train candidates as one program, and return arrays for `of_candidate`.

        Args:
            names: The candidates.
            matrix: The transition matrix, or None where none of them takes one.
        """
        # The seed of a candidate is its own, whatever is trained beside it.
        places = [_place(name) for name in names]
        networks = [self.fresh(place) for place in places]
        for network in networks:
            self._see(network)
        size = len(self.trained)
        batch_size = min(self.batch_size, size)
        steps = -(-size // batch_size)
        model = SideBySide(
            self._owner,
            networks,
            [CANDIDATES[name] for name in names],
            matrix,
            from_logits=self.from_logits,
            num_examples=size,
            num_classes=self.num_classes,
            num_steps=self.epochs * steps,
            # Keras holds seeds in 32 bits, on torch with a sign.
            seeds=[
                _random.derive_seed(self._seed, place, 1) % 2**31 for place in places
            ],
        )
        model.compile(_averaging(_optimizer_of(networks[0]), steps))
        held = arrays.take(self.x, self.held)
        watch = Watch(
            self._owner,
            names,
            held,
            self.labels[self.held],
            min(WINDOW, self.epochs),
        )
        # All candidates see the examples in one order.
        order = _random.derive_seed(self._seed, _ORDER)
        keras.utils.set_random_seed(order)
        # Some examples twice, where the last batch would be smaller: another shape is
        # another program.
        ids = np.random.default_rng(order).permutation(size)
        ids = np.resize(ids, size + -size % batch_size)
        rows = self.trained[ids]
        model.fit(
            arrays.take(self.x, rows),
            np.stack([self.labels[rows], ids], axis=1).astype("int32"),
            batch_size=batch_size,
            epochs=self.epochs,
            verbose=0 if self._verbose == "auto" else self._verbose,
            callbacks=[watch],
        )
        return {
            f"{_place(name)}_{key}": value
            for name, table in zip(names, model.averages, strict=True)
            for key, value in self._kept(watch, name, table).items()
        }

    def _kept(self, watch, name, table):
        """Return what a candidate's training has left."""
        best = watch.kept[name]
        if best is None:
            return {
                "curve": np.zeros(0),
                "epoch": np.array(NO_EPOCH),
                "held": np.full((len(self.held), self.num_classes), np.nan, "float32"),
                "averages": np.zeros((0, self.num_classes), "float32"),
            }
        averages = np.zeros((0, self.num_classes), "float32")
        if table is not None:
            averages = table.read(table.averages)[:-1]
        weights = {
            f"weight_{number:05d}": value
            for number, value in enumerate(best["weights"])
        }
        return {
            "curve": np.array(watch.curves[name], "float64"),
            "epoch": np.array(best["epoch"]),
            "held": best["held"],
            "averages": averages,
            **weights,
        }


def file_of(names):
    """Return the name of the file of candidates that are one program."""
    return "_".join(["candidates", *(str(_place(name)) for name in names)])


def of_candidate(found, name):
    """Return what `Trainings.run` has left of a candidate, a dict of arrays.

    `curve`, its accuracy on held-out labels in each epoch; `epoch`, the one whose
    weights it ended with, -1 where it diverged; `held`, predictions on held-out
    examples; `averages`, those of early-learning regularisation on the others, none of
    another candidate; and its weights.
    """
    start = f"{_place(name)}_"
    return {
        key.removeprefix(start): value
        for key, value in found.items()
        if key.startswith(start)
    }


def _place(name):
    return [*CANDIDATES].index(name)


def _optimizer_of(model):
    """Return a new optimizer like that of a model, Adam by default."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return keras.optimizers.Adam(1e-3)
    return type(optimizer).from_config(optimizer.get_config())


def _averaging(optimizer, steps):
    """Return an optimizer that keeps moving averages of the weights, over an epoch."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for each in getattr(inner, "optimizers", [inner]):
        each.use_ema, each.ema_overwrite_frequency = True, None
        each.ema_momentum = math.exp(-1 / steps)
    return optimizer


def _as_arrays(network):
    """Return the weights of a network as arrays that are the caller's own."""
    values = [np.array(keras.ops.convert_to_numpy(each)) for each in network.weights]
    # NumPy's files do not know bfloat16, and float32 holds all of it.
    return [
        value.astype("float32")
        if value.dtype.kind == "V" or value.dtype.name == "bfloat16"
        else value
        for value in values
    ]


def _set(networks, weights):
    for network, values in zip(networks, weights, strict=True):
        network.set_weights(values)


def weights_of(kept):
    """Return the weights among the arrays that a training left."""
    names = sorted(name for name in kept if name.startswith("weight_"))
    return [kept[name] for name in names]


def predict(owner, model, x, from_logits=False):
    """Return predictions of a model, float32 `(n, num_classes)`.

    All batches have one size, so that one program is compiled.
    """
    size = int(keras.tree.flatten(x)[0].shape[0])
    at_once = -(-size // -(-size // _AT_ONCE))
    whole = size - size % at_once
    parts = [slice(0, whole)]
    if whole < size:
        # The last batch begins with examples of the one before.
        parts.append(slice(size - at_once, size))
    with _keras.fresh_models():
        first, *last = (
            np.concatenate([*_pieces(owner, model, x, part, at_once)]) for part in parts
        )
    found = np.concatenate([first, *(each[whole - size :] for each in last)])
    return outputs.probabilities(np.array(found, "float32"), from_logits)


def _pieces(owner, model, x, part, at_once):
    x = arrays.take(x, part)
    return predictions.in_pieces(owner, model, x, batch_size=at_once)
