"""Random crops and flips as a layer of the model."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_noisy._checks.errors import check_count, check_seed, message
from keras_noisy._typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_noisy")
class RandomCropFlip(keras.layers.Layer):
    """Shifts and flips images at random in training, as the papers do on CIFAR.

    Each image gets a border of `padding` black pixels. It is then cropped to its size
    at its own random place, all equally likely, and flipped left to right with
    probability one half. The layer runs on the device, compiled with the training step,
    and does nothing in inference. `keras.layers.RandomCrop` instead crops all images of
    a batch at the same place.

    As a part of the model it works with everything that takes arrays, such as
    `training.SelfEvolution`. Its random state is saved with the weights.
    `datasets.training_pipeline` does the same on the host.

    ```python
    network = models.resnet44(100, normalize="cifar10")
    model = keras.Sequential([models.RandomCropFlip(seed=0), network])
    ```

    Args:
        padding: Width of the border, 0 or more; 4 in the papers.
        seed: Integer, or None for one from Keras's global random state.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        images: `(batch, height, width, channels)`, of any dtype, not yet shifted in
            mean: the border is zeros.
        training: Whether to augment.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: If `padding` is no such integer, or if `images` has no batch or
            channel axis or varying height or width.

    Reference:
        Section 4.2 of He et al., "Deep Residual Learning for Image Recognition", CVPR
        2016.
    """

    def __init__(
        self, padding: int = 4, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.padding = check_count(
            "RandomCropFlip", "padding", padding, low=0, high=10**4
        )
        self.seed = None if seed is None else check_seed("RandomCropFlip", seed)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Return the images, augmented in training."""
        shape = tuple(images.shape)
        if len(shape) != 4 or None in shape[1:]:
            expected = "of shape (batch, height, width, channels), the last three known"
            raise ValueError(message("RandomCropFlip", "images", expected, shape))
        return self._augmented(images, shape[1:]) if training else images

    def _augmented(self, images, shape):
        height, width, channels = shape
        count, border = ops.shape(images)[0], (self.padding, self.padding)
        top, left = (self._integers(count, 2 * self.padding + 1) for _ in "hw")
        rows = top + ops.arange(height)
        columns = ops.arange(width)
        is_flipped = self._integers(count, 2) == 1
        columns = left + ops.where(is_flipped, width - 1 - columns, columns)
        padded = ops.pad(images, ((0, 0), border, border, (0, 0)))
        _, high, wide, _ = padded.shape
        # One gather of pixels; gathers along two axes in turn would copy twice.
        start = ops.arange(count)[:, None] * high
        pixels = (start + rows)[:, :, None] * wide + columns[:, None, :]
        return ops.take(ops.reshape(padded, (-1, channels)), pixels, axis=0)

    def _integers(self, count, stop):
        """Return an integer in [0, `stop`) for each image, `(count, 1)`."""
        return keras.random.randint((count, 1), 0, stop, seed=self.seed_generator)

    def save_own_variables(self, store: Any) -> None:
        """Save the random state; Keras saves that of no layer."""
        store["random_state"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Any) -> None:
        """Load the random state, so that a run goes on as it would have."""
        self.seed_generator.state.assign(store["random_state"])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the images."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, ready for JSON."""
        return {**super().get_config(), "padding": self.padding, "seed": self.seed}
