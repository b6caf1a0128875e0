"""Training data from memory: shuffled, batched, augmented, in an order that repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_noisy._checks.errors import as_integer, check_bool, check_count, message
from keras_noisy._data import arrays
from keras_noisy._typing import ArrayLike, Data

_OWNER = "training_pipeline"
_AUGMENTATIONS = ("crop_flip",)
# From a batch of inputs to one of as many inputs.
Augment: TypeAlias = Callable[[Any, np.random.Generator], Any]
# Keeps the random numbers of augmentation apart from those of the order.
_AUGMENTATION_STREAM = 1


def training_pipeline(
    x: Data,
    y: ArrayLike,
    *,
    batch_size: int,
    augment: str | Augment | None = None,
    sample_weight: ArrayLike | None = None,
    sample_ids: bool = False,
    shuffle: bool = True,
    drop_remainder: bool = False,
    seed: int | Sequence[int] = 0,
) -> TrainingPipeline:
    """Return batches of arrays in memory, for `fit` on every backend.

    Examples keep their dtype, uint8 for images, which takes a quarter of the bytes of
    float32. Whole batches are gathered and augmented, and the model casts them on the
    device (`models.resnet44(100, normalize="cifar10")`). On TensorFlow tf.data makes
    batches ahead of the steps. On JAX and torch they are made between steps, while an
    accelerator still computes the previous ones.

    Order and augmentation of epoch `k` depend only on `seed` and `k`, not on the
    backend or on earlier training. Pass `shuffle=False` to `fit`: by default it
    shuffles the batches of a data set again. A `fit` from epoch 0 takes the epochs in
    turn. If it starts later (`initial_epoch`, `keras.callbacks.BackupAndRestore`), set
    the epoch:

    ```python
    order = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: data.set_epoch(epoch)
    )
    model.fit(data, epochs=120, shuffle=False, callbacks=[order])
    ```

    Args:
        x: Inputs, an array or a tuple or dict of arrays of `n` examples; memory maps
            too.
        y: Targets, class ids `(n,)` or distributions `(n, num_classes)`.
        batch_size: Examples per batch.
        augment: None; `"crop_flip"`, the papers' augmentation for CIFAR (see
            `datasets.crop_flip`); or a function of a batch of inputs and a
            `numpy.random.Generator` that returns a batch of as many inputs.
        sample_weight: Weights `(n,)`, or None.
        sample_ids: Whether inputs are `{"x": x, "sample_id": ids}`, as
            `callbacks.SEALOnTheFly` needs it. Ids are positions in `x`.
        shuffle: Whether each epoch has its own order. Otherwise the order is that of
            `x`.
        drop_remainder: Whether to leave out the last batch of an epoch if it is
            smaller. Under `MirroredStrategy` TensorFlow can wait forever for a batch
            that does not divide among its replicas. Each epoch leaves out different
            examples.
        seed: Integer, or sequence of them, from 0 on.

    Returns:
        A `keras.utils.PyDataset` with `num_examples`, and `set_epoch(epoch)`. Leave its
        `workers` at one: Keras's own workers carry batches made before the first epoch
        over into it, and other examples are then missing there.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If lengths differ, if a batch is larger than the data and
            `drop_remainder` is true, or if an argument has a wrong value.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import datasets
        >>> x, y = np.zeros((10, 32, 32, 3), "uint8"), np.arange(10)
        >>> data = datasets.training_pipeline(x, y, batch_size=4, augment="crop_flip")
        >>> images, labels = data[0]
        >>> len(data), images.shape, str(images.dtype)
        (3, (4, 32, 32, 3), 'uint8')
    """
    x = arrays.as_arrays(_OWNER, "x", x)
    num_examples = arrays.length(_OWNER, "x", x)
    batch_size = check_count(_OWNER, "batch_size", batch_size)
    check_bool(_OWNER, "drop_remainder", drop_remainder)
    if num_examples < (batch_size if drop_remainder else 1):
        expected = "at least one batch"
        raise ValueError(message(_OWNER, "len(x)", expected, num_examples))

    expected = f"{num_examples}, the number of examples in `x`"
    return TrainingPipeline(
        x,
        arrays.entries(_OWNER, "y", y, num_examples, expected),
        arrays.weights(_OWNER, sample_weight, num_examples, expected),
        augment=_augmentation(augment, x),
        batch_size=batch_size,
        shuffle=check_bool(_OWNER, "shuffle", shuffle),
        drop_remainder=drop_remainder,
        seed=_seed_words(seed),
        with_ids=check_bool(_OWNER, "sample_ids", sample_ids),
    )


class TrainingPipeline(arrays.Batches):
    """What `training_pipeline` returns; see there.

    Args:
        x: Inputs, a structure of arrays.
        y: Targets.
        sample_weight: Weights, or None.
        augment: None, or a function of inputs and a `numpy.random.Generator`.
        drop_remainder: Whether to leave out a smaller last batch.
        **kwargs: Arguments of the batches, `batch_size` among them.
    """

    def __init__(
        self,
        x: Data,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        *,
        augment: Augment | None,
        drop_remainder: bool,
        **kwargs: Any,
    ) -> None:
        self.augment = augment
        self.drop_remainder = drop_remainder
        super().__init__(x, y, sample_weight, **kwargs)
        # `fit` ends an epoch before it begins the first one.
        self._passes = -1

    def set_epoch(self, epoch: int) -> None:
        """Take the order and the augmentation of `epoch`, from 0 on."""
        super().set_epoch(epoch)
        self._passes = self.epoch = int(epoch)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch."""
        self.set_epoch(self._passes + 1)

    def __len__(self) -> int:
        if self.drop_remainder:
            return self.num_examples // self.batch_size
        return super().__len__()

    def __getitem__(self, index: int) -> tuple:
        if not 0 <= index < len(self):
            # Ends a loop over the batches.
            raise IndexError(f"Batch {index} of {len(self)}.")
        inputs, *rest = super().__getitem__(index)
        if self.augment is not None:
            inputs = self._augmented(inputs, index)
        return inputs, *rest

    def _augmented(self, inputs, index):
        x, ids = arrays.split_ids(inputs)
        words = [*self.seed, self.epoch, index, _AUGMENTATION_STREAM]
        result = self.augment(x, np.random.Generator(np.random.PCG64(words)))
        before = len(keras.tree.flatten(x)[0])
        sizes = {np.shape(leaf)[:1] for leaf in keras.tree.flatten(result)}
        if sizes != {(before,)}:
            expected = f"a function that returns the {before} inputs that it is given"
            raise ValueError(message(_OWNER, "augment", expected, sizes))
        return result if ids is None else {arrays.INPUTS: result, arrays.SAMPLE_ID: ids}


def crop_flip(
    images: np.ndarray, generator: np.random.Generator, *, padding: int = 4
) -> np.ndarray:
    """Shift and flip each image at random: the papers' augmentation for CIFAR.

    Each image gets a border of `padding` black pixels. It is then cropped to its size
    at its own random place, all equally likely, and flipped left to right with
    probability one half. For another border:
    `augment=functools.partial(crop_flip, padding=2)`.

    Args:
        images: `(batch, height, width, channels)`, of any dtype.
        generator: Source of random numbers.
        padding: Width of the border, 0 or more.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        ValueError: If `images` has another number of axes, or `padding` is negative.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import datasets
        >>> images = np.ones((2, 8, 8, 3), "uint8")
        >>> datasets.crop_flip(images, np.random.default_rng(0)).shape
        (2, 8, 8, 3)

    Reference:
        Section 4.2 of He et al., "Deep Residual Learning for Image Recognition", CVPR
        2016.
    """
    _check_crop_flip(images, generator, padding)
    count, height, width, channels = images.shape
    border = (padding, padding)
    padded = np.pad(images, ((0, 0), border, border, (0, 0)))
    _, high, wide, _ = padded.shape
    top, left = generator.integers(0, 2 * padding + 1, (2, count, 1))
    columns = np.arange(width)
    is_flipped = generator.integers(0, 2, (count, 1)) == 1
    columns = left + np.where(is_flipped, columns[::-1], columns)
    rows = np.arange(count)[:, None] * high + top + np.arange(height)
    # All pixels of the batch in one gather: no loop over images in Python.
    pixels = rows[:, :, None] * wide + columns[:, None, :]
    return np.take(padded.reshape(-1, channels), pixels, axis=0)


def _check_crop_flip(images, generator, padding):
    if not isinstance(generator, np.random.Generator):
        expected = "a `numpy.random.Generator`"
        raise TypeError(message("crop_flip", "generator", expected, generator))
    if np.ndim(images) != 4:
        expected = "of shape (batch, height, width, channels)"
        mend = "Give images without a channel axis one: `images[..., None]`."
        shape = np.shape(images)
        raise ValueError(message("crop_flip", "images.shape", expected, shape, mend))
    check_count("crop_flip", "padding", padding, low=0, high=10**4)


def _augmentation(augment, x):
    """Return the function that `augment` stands for, or None."""
    if augment is None or callable(augment):
        return augment
    expected = f"None, one of {_AUGMENTATIONS}, or a function of (inputs, generator)"
    if not isinstance(augment, str) or augment not in _AUGMENTATIONS:
        raise ValueError(message(_OWNER, "augment", expected, augment))
    shape = getattr(x, "shape", None)
    if shape is None or len(shape) != 4:
        expected = "one array (n, height, width, channels) with augment='crop_flip'"
        mend = "Pass a function as `augment` for other inputs."
        raise ValueError(message(_OWNER, "x", expected, shape or type(x), mend))
    return crop_flip


def _seed_words(seed):
    words = list(seed) if isinstance(seed, (list, tuple)) else [seed]
    numbers = [as_integer(word) for word in words]
    if not words or any(word is None or not 0 <= word < 2**63 for word in numbers):
        expected = "a non-negative integer below 2**63, or a sequence of them"
        raise ValueError(message(_OWNER, "seed", expected, seed))
    return numbers
