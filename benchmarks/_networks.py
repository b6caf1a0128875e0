"""Compiled networks from a recipe."""

import math

import keras
from keras import ops

from benchmarks import _devices, recipes
from keras_noisy import models

# Steps that TensorFlow runs before it returns to Python.
STEPS_PER_EXECUTION = 32
CUTS = ("random", "middle")


def make_optimizer(training, total_steps, learning_rate=None, schedule=None):
    """Return the optimizer of a recipe for a training of `total_steps`.

    Args:
        training: `recipes.Training`.
        total_steps: Steps of the training.
        learning_rate: Instead of the recipe's.
        schedule: Instead of the recipe's.
    """
    arguments = dict(training.optimizer)
    name = arguments.pop("name")
    rate = learning_rate or arguments.pop("learning_rate")
    schedule = schedule or training.schedule
    arguments["learning_rate"] = _schedule(schedule, training.length, total_steps, rate)
    return getattr(keras.optimizers, name)(**arguments)


def _schedule(schedule, length, total_steps, rate):
    """Return the learning rate; its shape is that of the full length."""
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
        shares = [at / length for at in schedule["at"]]
        # Keras uses a value up to and including its boundary.
        boundaries = [round(share * total_steps) - 1 for share in shares]
        values = [rate * schedule["factor"] ** n for n in range(len(shares) + 1)]
        return schedules.PiecewiseConstantDecay(boundaries, values)
    known = ("steps", "cosine", "polynomial")
    raise recipes.UnknownNameError("schedule", schedule["kind"], known)


def augmentation(recipe):
    """Return the layer that augments images of a recipe, None without one."""
    spec = recipe.training.augmentation
    if spec == "crop_flip":
        return models.RandomCropFlip()
    return None if spec is None else CutFlip(spec["cut"], spec["train"])


def build(recipe, shape, num_outputs, more=None, *, is_augmented=True):
    """Return an uncompiled model from uint8 images to logits.

    Augmentation is a part of it: it runs on the device, does nothing in inference,
    and its random state is saved with the weights.

    Args:
        recipe: `recipes.Recipe`.
        shape: Shape of an image.
        num_outputs: Number of logits.
        more: Arguments of the network besides the recipe's.
        is_augmented: Whether augmentation is a part of it. Otherwise images may be
            mixed, and are floats.
    """
    spec = {**recipe.network, **(more or {})}
    layers = [keras.Input(shape, dtype="uint8" if is_augmented else "float32")]
    layer = augmentation(recipe) if is_augmented else None
    if layer is not None:
        layers.append(layer)
    if isinstance(layer, CutFlip):
        shape = (layer.size, layer.size, shape[-1])
    return keras.Sequential([*layers, _network(spec, shape, num_outputs)])


class CutFlip(keras.layers.Layer):
    """Cuts a square out of each image: as on ImageNet and Clothing1M.

    In training with "random" at a place of its own, and flips it left to right with
    probability one half; otherwise the middle.

    Args:
        size: Side of the square.
        train: "random" or "middle", what to do in training.
    """

    def __init__(self, size, train="random", **kwargs):
        super().__init__(**kwargs)
        if train not in CUTS:
            raise recipes.UnknownNameError("cut", train, CUTS)
        self.size, self.train = size, train
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, images, training=False):
        """Return images `(batch, size, size, channels)`."""
        _, height, width, _ = images.shape
        if not (training and self.train == "random"):
            top, left = (height - self.size) // 2, (width - self.size) // 2
            return images[:, top : top + self.size, left : left + self.size]
        count = ops.shape(images)[0]
        columns = ops.arange(self.size)
        is_flipped = self._integers(count, 2) == 1
        columns = ops.where(is_flipped, self.size - 1 - columns, columns)
        columns = columns + self._integers(count, width - self.size + 1)
        rows = ops.arange(self.size) + self._integers(count, height - self.size + 1)
        start = ops.arange(count)[:, None] * height
        pixels = (start + rows)[:, :, None] * width + columns[:, None, :]
        flat = ops.reshape(images, (-1, images.shape[-1]))
        return ops.take(flat, pixels, axis=0)

    def _integers(self, count, stop):
        """Return an integer in [0, `stop`) for each image, `(count, 1)`."""
        return keras.random.randint((count, 1), 0, stop, seed=self.seed_generator)


def _network(spec, shape, num_outputs):
    arguments = dict(spec)
    name = arguments.pop("name")
    # TOML has lists only.
    if isinstance(arguments.get("normalize"), list):
        arguments["normalize"] = tuple(map(tuple, arguments["normalize"]))
    if name == "dense":
        return _dense(shape, num_outputs, **arguments)
    if name not in models.__all__:
        raise recipes.UnknownNameError("network", name, ["dense", *models.__all__])
    arguments |= {"num_classes": num_outputs, "input_shape": shape}
    return getattr(models, name)(**arguments)


def _dense(shape, num_outputs, units, dropout=0.0, translation=0):
    """Return a network of dense layers; pixels are brought to [0, 1].

    With `translation`, images are moved by up to so many pixels in training.
    """
    layers = [keras.Input(shape), keras.layers.Rescaling(1 / 255)]
    if translation:
        shares = [translation / size for size in shape[:2]]
        layers += [keras.layers.RandomTranslation(*shares, fill_mode="constant")]
    layers += [keras.layers.Flatten()]
    for count in units:
        layers += [keras.layers.Dense(count, activation="relu")]
        if dropout:
            layers += [keras.layers.Dropout(dropout)]
    return keras.Sequential([*layers, keras.layers.Dense(num_outputs, dtype="float32")])


def compile_model(model, optimizer, loss, steps, num_devices, metrics=("accuracy",)):
    """Compile `model` so that this machine runs it fast.

    Args:
        model: The model.
        optimizer: Its optimizer.
        loss: Its loss.
        steps: Numbers of steps after which Python has to be asked: those of an epoch,
            and of a last one that is shorter.
        num_devices: Number of devices.
        metrics: Of Keras.
    """
    is_tensorflow = _devices.BACKEND == "tensorflow"
    # On a CPU XLA makes convolutions of TensorFlow two to four times slower, and
    # small dense networks take longer to compile than to train.
    is_jitted = _devices.BACKEND == "jax" or (
        is_tensorflow and _devices.has_accelerator()
    )
    at_once = 1
    if is_tensorflow and num_devices == 1:
        # A `MirroredStrategy` fails on the condition of Keras's loop over steps.
        at_once = min(STEPS_PER_EXECUTION, steps[0])
        while any(number % at_once for number in steps[1:]):
            at_once -= 1
    model.compile(
        optimizer,
        loss,
        metrics=list(metrics),
        jit_compile=is_jitted,
        steps_per_execution=at_once,
    )
    return model


def num_steps(num_examples, batch_size):
    """Return the steps of an epoch; the last batch may be smaller."""
    return math.ceil(num_examples / batch_size)


def total_steps(training, budget):
    """Return the steps of a recipe that is stated in iterations, or None.

    Args:
        training: `recipes.Training`.
        budget: Share of the iterations to train.
    """
    if training.iterations is None:
        return None
    return max(1, round(training.iterations * budget))
