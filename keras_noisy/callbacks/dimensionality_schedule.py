"""The schedule of dimensionality-driven learning (D2L)."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._data import arrays
from keras_noisy._step import state
from keras_noisy._typing import Data, Logs
from keras_noisy.analysis import local_intrinsic_dimensionality
from keras_noisy.callbacks import _attached
from keras_noisy.losses.dimensionality_driven import DimensionalityDriven

_OWNER = "DimensionalitySchedule"
ATTRIBUTE = "_keras_noisy_dimensionality"
NOT_YET = -1


class Course(state.State):
    """What a training knows of its dimensions.

    Attributes:
        settings: `window` and `roll_back` of the callback, which its size depends on.
        alpha: Weight of the label.
        recent: Dimensions of the last epochs, the newest last.
        lowest: The lowest one so far.
        count: In how many epochs it was estimated.
        turning_epoch: The epoch to which training went back; -1 before.
        kept: The model's weights before the last epoch, to go back to.
    """

    def __init__(self, model, window, keeps_weights, name="dimensionality"):
        super().__init__(name=name)
        self.settings = (window, keeps_weights)
        self.alpha = self.add("alpha", 1.0)
        self.recent = self.add("recent", shape=(window,))
        self.lowest = self.add("lowest", math.inf)
        self.count = self.add("count", dtype="int32")
        self.turning_epoch = self.add("turning_epoch", NOT_YET, dtype="int32")
        weights = model.weights if keeps_weights else []
        self.kept = [
            self.add(f"kept_{number}", shape=weight.shape, dtype=weight.dtype)
            for number, weight in enumerate(weights)
        ]

    def begin(self):
        """Forget everything."""
        self.alpha.assign(1.0)
        self.lowest.assign(math.inf)
        self.count.assign(0)
        self.turning_epoch.assign(NOT_YET)


class DimensionalitySchedule(_attached.Attached):
    """Moves labels to predictions when the dimension of representations rises (D2L).

    Before every epoch the local intrinsic dimensionality (LID) of the representations
    of some training examples is estimated: the mean over `num_batches` batches of
    `batch_size` random ones, with `num_neighbors` neighbours inside the batch. It falls
    while the network learns, and rises when it begins to fit wrong labels. The epoch is
    found by

        LID_i > mean + 2 standard deviations of the `window` LIDs before

    looked for after `warmup_epochs` and a whole window. Then the network gets the
    weights back that it had an epoch before, and from there on the loss weighs the
    label by

        alpha_i = exp(-(i / T) LID_i / min_{j <= i} LID_j)

    in epoch `i` of `T`, counted from 0. The logs show `dimensionality`, the LID before
    the epoch, and `dimensionality_alpha`.

    All that is remembered is state of the model: `BackupAndRestore` and `save_weights`
    take it along. A fit that begins with epoch 0 begins anew.

    Args:
        x: The training inputs, an array or a tuple or dict of arrays.
        warmup_epochs: Epochs before the search, at least 0. The authors' code has 5 on
            MNIST, 40 on CIFAR-10 and 60 on CIFAR-100, of 50, 120 and 200.
        window: Number of LIDs that one is compared with, at least 2; the paper uses 5.
        num_neighbors: `k` of the estimate, at least 2; the paper uses 20.
        batch_size: Examples that are compared with each other, more than
            `num_neighbors`; the paper uses 128.
        num_batches: Number of such batches; the paper uses 10.
        layer: The layer whose inputs are the representations, or its name. By default
            the last one that has weights: the second-to-last layer's output.
        roll_back: Whether to go back an epoch; it takes a copy of the weights on the
            device.
        seed: Seed of the choice of examples.

    Attributes:
        turning_epoch: The epoch that training went back to, None before it is found.

    Raises:
        ValueError: If an argument is out of range, or in `fit` if the model has no loss
            `DimensionalityDriven`, no such layer, or training does not begin with epoch
            0.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import callbacks
        >>> x = np.zeros((1280, 8))
        >>> schedule = callbacks.DimensionalitySchedule(x, warmup_epochs=40)

    Note:
        The optimizer's state is not taken back, as in the authors' code.

    Reference:
        Ma et al., "Dimensionality-Driven Learning with Noisy Labels", ICML 2018:
        Algorithm 1.
    """

    _of_model = ("_course", "_layer")
    _shared = ("x",)

    def __init__(
        self,
        x: Data,
        *,
        warmup_epochs: int = 40,
        window: int = 5,
        num_neighbors: int = 20,
        batch_size: int = 128,
        num_batches: int = 10,
        layer: keras.layers.Layer | str | None = None,
        roll_back: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()

        def count(name, value, low=1):
            return errors.check_count(_OWNER, name, value, low=low)

        self.x = arrays.as_arrays(_OWNER, "x", x)
        self.warmup_epochs = count("warmup_epochs", warmup_epochs, 0)
        self.window = count("window", window, 2)
        self.num_neighbors = count("num_neighbors", num_neighbors, 2)
        # Itself aside.
        self.batch_size = count("batch_size", batch_size, self.num_neighbors + 1)
        self.num_batches = count("num_batches", num_batches)
        self.layer = layer
        self.roll_back = errors.check_bool(_OWNER, "roll_back", roll_back)
        self.seed = errors.check_seed(_OWNER, seed, bits=63)
        self._num_examples = arrays.length(_OWNER, "x", self.x)
        if self._num_examples < self.batch_size:
            expected = f"at least {self.batch_size} examples, one batch"
            raise ValueError(errors.message(_OWNER, "x", expected, self._num_examples))
        self._course: Any = None
        self._layer: Any = None
        self._dimensionality = math.nan

    @property
    def turning_epoch(self) -> int | None:
        """The epoch that training went back to, None before it is found."""
        epoch = NOT_YET if self._course is None else _number(self._course.turning_epoch)
        return None if epoch == NOT_YET else int(epoch)

    def set_model(self, model: keras.Model) -> None:
        """Give the model its state and its losses the way to it."""
        super().set_model(model)
        self._course = state.of_losses(
            _OWNER,
            model,
            DimensionalityDriven,
            ATTRIBUTE,
            lambda: Course(model, self.window, self.roll_back),
        )
        if self._course.settings != (self.window, self.roll_back):
            raise ValueError(
                f"{_OWNER}: the model has the state of a schedule with other settings. "
                f"Received: (window, roll_back)={(self.window, self.roll_back)}, and "
                f"the model has {self._course.settings}. Build the model anew."
            )
        self._layer = _find_layer(model, self.layer)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Warn if the turning point will not be looked for."""
        errors.warn_of_warmup(
            _OWNER,
            self.params["epochs"],
            "the labels will stay as they are",
            warmup_epochs=self.warmup_epochs,
            window=self.window,
        )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Estimate the dimension, and set the weight of the label."""
        course = self._course
        if epoch == 0:
            course.begin()
        if _number(course.count) != epoch:
            raise ValueError(
                f"{_OWNER}: training must begin with epoch 0, because the dimensions "
                f"of all epochs count. Received: initial_epoch={epoch}, and the model "
                f"knows {int(_number(course.count))} epochs. Start at epoch 0, or "
                "call `set_model(model)` of the callback and then `model.load_weights` "
                "with a file that was written while it ran."
            )
        lid = self._estimate(epoch)
        recent = ops.convert_to_numpy(course.recent)
        self._dimensionality = lid
        if self.turning_epoch is None and self._is_turning(epoch, lid, recent):
            course.turning_epoch.assign(max(epoch - 1, 0))
            if self.roll_back:
                _copy(course.kept, self.model.weights)
        course.recent.assign(np.append(recent[1:], lid).astype("float32"))
        course.lowest.assign(np.fmin(lid, _number(course.lowest)))
        course.count.assign(epoch + 1)
        if self.turning_epoch is not None:
            done = epoch / self.params["epochs"]
            rise = 1.0 if math.isnan(lid) else lid / _number(course.lowest)
            course.alpha.assign(math.exp(-done * rise))
        elif self.roll_back:
            _copy(self.model.weights, course.kept)

    def _is_turning(self, epoch, lid, recent):
        if epoch < self.warmup_epochs + self.window:
            return False
        return lid > recent.mean() + 2 * recent.std()

    def _estimate(self, epoch):
        """Return the mean dimension around random examples, NaN if there is none."""
        size, count = self.batch_size, self.num_batches
        count = min(count, self._num_examples // size)
        generator = np.random.default_rng([self.seed, epoch])
        rows = generator.choice(self._num_examples, size * count, replace=False)
        found = []
        for some in rows.reshape(count, size):
            points = _inputs_of(self._layer, self.model, arrays.batch_of(self.x, some))
            points = points.reshape(size, -1)
            if not np.isfinite(points).all():
                # A network that has diverged has no dimension.
                return math.nan
            found.append(local_intrinsic_dimensionality(points, k=self.num_neighbors))
        found = np.concatenate(found)
        # Infinite where all neighbours are equally far away.
        found = found[np.isfinite(found)]
        return float(found.mean()) if found.size else math.nan

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the dimension and the weight of the label."""
        if logs is not None:
            logs["dimensionality"] = self._dimensionality
            logs["dimensionality_alpha"] = _number(self._course.alpha)


def _copy(sources, targets):
    """Give variables the values of others, in buffers of their own.

    JAX gives the buffers of both to a step, and it may not get one twice.
    """
    for source, target in zip(sources, targets, strict=True):
        target.assign(ops.copy(source))


def _number(variable):
    return float(ops.convert_to_numpy(variable))


def _find_layer(model, layer):
    """Return a layer of the model, or of the models in it, by its name or place."""
    layers = list(_layers_of(model))
    if layer is None:
        layers = [one for one in layers if one.weights]
    elif isinstance(layer, str):
        layers = [one for one in layers if one.name == layer]
    else:
        layers = [one for one in layers if one is layer]
    if not layers:
        expected = "a layer of the model, or the name of one"
        raise ValueError(errors.message(_OWNER, "layer", expected, layer))
    return layers[-1]


def _layers_of(model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers_of(layer)
        else:
            yield layer


def _inputs_of(layer, model, x):
    """Return what a layer is called with when the model predicts `x`, as an array."""
    seen = []
    call = layer.call

    def noting(inputs, *args, **kwargs):
        seen.append(inputs)
        return call(inputs, *args, **kwargs)

    with _replaced(layer, noting):
        model(keras.tree.map_structure(ops.convert_to_tensor, x), training=False)
    # Of Keras, which knows how torch gives bfloat16 away.
    return ops.convert_to_numpy(seen[-1])


@contextlib.contextmanager
def _replaced(layer, call):
    """Let a layer's `call` be another function for a while."""
    layer.call = call
    try:
        yield
    finally:
        del layer.call
