"""The convolutional network of the SEAL paper for MNIST."""

from __future__ import annotations

import keras

from keras_noisy.models import _build
from keras_noisy.models._build import Normalize


def mnist_cnn(
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return SEAL's network for MNIST: two convolutions, two dense layers.

    5 x 5 convolutions of 20 and 50 filters without padding, each followed by a
    rectifier and a maximum over 2 x 2; a dense layer of 500 units; logits. The paper
    trains it for 50 epochs in batches of 64 with SGD, learning rate 0.01, momentum 0.5,
    no weight decay. It does not state the initialisation; this is Keras's.

    Args:
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)`, at least 16 x 16.
        normalize: How the network first scales pixels, see `models.resnet`. The paper
            does not state it: `"scale"` divides by 255.
        weight_decay: See `models.resnet`.

    Returns:
        An uncompiled `keras.Model` from images `(batch, *input_shape)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> from keras_noisy import models
        >>> models.mnist_cnn(10).count_params()
        431080

    Reference:
        Appendix A of Chen et al., "Beyond Class-Conditional Assumption: A Primary
        Attempt to Combat Instance-Dependent Label Noise", AAAI 2021.
    """
    owner = "mnist_cnn"
    inputs, x = _build.begin(
        owner, num_classes, input_shape, normalize, weight_decay, smallest=16
    )
    for filters in (20, 50):
        x = keras.layers.Conv2D(
            filters, 5, activation="relu", data_format="channels_last"
        )(x)
        x = _build.max_pool(x)
    x = keras.layers.Flatten(data_format="channels_last")(x)
    x = keras.layers.Dense(500, activation="relu")(x)
    return _build.finish(owner, inputs, x, num_classes, weight_decay)
