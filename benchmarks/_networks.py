"""Compiled networks from a recipe."""

import math

import keras
import numpy as np

from benchmarks import _devices, recipes

# Steps that TensorFlow runs before it returns to Python.
STEPS_PER_EXECUTION = 32


class DecayedSGD(keras.optimizers.SGD):
    """SGD whose weight decay is part of the gradient, as in the papers' code.

    The gradient of `l2 / 2 * ||w||^2` is added to that of the loss for every weight,
    so the momentum carries it too. Keras's `weight_decay` shrinks weights beside the
    momentum instead: with momentum 0.9 that is ten times weaker for the same number.

    Args:
        l2: Factor of the decay.
        **kwargs: As `keras.optimizers.SGD`.
    """

    def __init__(self, l2=0.0, **kwargs):
        super().__init__(**kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        """Update one weight."""
        decayed = gradient + keras.ops.cast(self.l2 * variable, gradient.dtype)
        return super().update_step(decayed, variable, learning_rate)

    def get_config(self):
        """Return the constructor's arguments."""
        return {**super().get_config(), "l2": self.l2}


def make_optimizer(training, total_steps, learning_rate=None):
    """Return the optimizer of a recipe for a training of `total_steps`."""
    arguments = dict(training.optimizer)
    name = arguments.pop("name")
    l2 = arguments.pop("l2", None)
    rate = learning_rate or arguments.pop("learning_rate")
    arguments["learning_rate"] = _schedule(training, total_steps, rate)
    if l2 is None:
        return getattr(keras.optimizers, name)(**arguments)
    if name != "SGD":
        raise ValueError(f"`l2` is for SGD. Received: optimizer {name!r}.")
    return DecayedSGD(l2=l2, **arguments)


def _schedule(training, total_steps, rate):
    """Return the learning rate; its shape is that of the full length."""
    schedule = training.schedule
    if schedule is None:
        return rate
    schedules = keras.optimizers.schedules
    if schedule["kind"] == "cosine":
        return schedules.CosineDecay(rate, total_steps)
    if schedule["kind"] == "polynomial":
        return schedules.PolynomialDecay(
            rate, total_steps, end_learning_rate=0.0, power=schedule["power"]
        )
    if schedule["kind"] == "steps":
        shares = [at / training.length for at in schedule["at"]]
        # Keras uses a value up to and including its boundary.
        boundaries = [round(share * total_steps) - 1 for share in shares]
        values = [rate * schedule["factor"] ** n for n in range(len(shares) + 1)]
        return schedules.PiecewiseConstantDecay(boundaries, values)
    known = ("steps", "cosine", "polynomial")
    raise recipes.UnknownNameError("schedule", schedule["kind"], known)


def build(recipe, shape, num_outputs):
    """Return an uncompiled model from uint8 images to logits."""
    layers = [keras.Input(shape, dtype="uint8"), _scaling(recipe.data)]
    layers.append(_network(dict(recipe.network), shape, num_outputs))
    return keras.Sequential(layers)


def _scaling(data):
    """Return the layer that brings uint8 images to the recipe's range."""
    mean, std = np.array(data.get("mean", 0.0)), np.array(data.get("std", 1.0))
    scale, offset = (1 / (255 * std)).tolist(), (-mean / std).tolist()
    return keras.layers.Rescaling(scale, offset, dtype="float32")


def _network(arguments, shape, num_outputs):
    name = arguments.pop("name")
    if name == "dense":
        return _dense(shape, num_outputs, **arguments)
    if name == "mnist_cnn":
        return _mnist_cnn(shape, num_outputs)
    raise recipes.UnknownNameError("network", name, ("dense", "mnist_cnn"))


def _dense(shape, num_outputs, units):
    layers = [keras.Input(shape), keras.layers.Flatten()]
    layers += [keras.layers.Dense(count, activation="relu") for count in units]
    return keras.Sequential([*layers, keras.layers.Dense(num_outputs, dtype="float32")])


def _mnist_cnn(shape, num_outputs):
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Conv2D(20, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(50, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(500, activation="relu"),
            keras.layers.Dense(num_outputs),
        ]
    )


def compile_model(model, optimizer, loss, steps_per_epoch):
    """Compile `model` so that this machine runs it fast."""
    is_tensorflow = _devices.BACKEND == "tensorflow"
    # On a CPU XLA makes convolutions of TensorFlow two to four times slower, and
    # small dense networks take longer to compile than to train.
    is_jitted = _devices.BACKEND == "jax" or (
        is_tensorflow and _devices.has_accelerator()
    )
    at_once = min(STEPS_PER_EXECUTION, steps_per_epoch) if is_tensorflow else 1
    model.compile(
        optimizer,
        loss,
        metrics=["accuracy"],
        jit_compile=is_jitted,
        steps_per_execution=at_once,
    )
    return model


def num_steps(num_examples, batch_size):
    """Return the steps of an epoch; the last batch may be smaller."""
    return math.ceil(num_examples / batch_size)
