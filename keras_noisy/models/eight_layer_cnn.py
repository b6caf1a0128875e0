"""The eight-layer convolutional network of the robust-loss papers for CIFAR-10."""

from __future__ import annotations

import keras

from keras_noisy.models import _build
from keras_noisy.models._build import Normalize


def eight_layer_cnn(
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return the network of Equal Loss for CIFAR-10: six convolutions, two dense.

    Pairs of 3 x 3 convolutions of 64, 128 and 196 filters, a maximum over 2 x 2 after
    each pair; a dense layer of 256 units; logits. Batch normalisation and a rectifier
    follow every layer but the last.

    Note:
        The Equal Loss paper says "an 8-layer CNN with 6 convolutional layers" and no
        more. Filters, the dense layer and batch normalisation are those of the
        published code of symmetric cross-entropy and of the active-passive losses,
        which use a network of that name in the same experiments. The former also has an
        L2 penalty of 0.01 on the first dense layer; here `weight_decay` is the same for
        all weights. The paper trains with Nesterov SGD: momentum 0.9, weight decay
        5e-3, learning rate 0.1 along a cosine, random crops and flips; it does not
        state batch size and number of epochs.

    Args:
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)`, at least 8 x 8.
        normalize: How the network first scales pixels, see `models.resnet`.
        weight_decay: See `models.resnet`.

    Returns:
        An uncompiled `keras.Model` from images `(batch, *input_shape)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> from keras_noisy import models
        >>> models.eight_layer_cnn(10).count_params()
        1641858

    Reference:
        Section 3.1 of Cui et al., "Equal Loss: A Simple Loss Function for Noise Robust
        Learning", and Wang et al., "Symmetric Cross Entropy for Robust Learning with
        Noisy Labels", ICCV 2019.
    """
    owner = "eight_layer_cnn"
    inputs, x = _build.begin(
        owner, num_classes, input_shape, normalize, weight_decay, smallest=8
    )
    for filters in (64, 128, 196):
        for _ in range(2):
            x = _build.relu(_build.batch_norm(_build.conv(x, filters, use_bias=True)))
        x = _build.max_pool(x)
    x = keras.layers.Flatten(data_format="channels_last")(x)
    x = keras.layers.Dense(256, kernel_initializer="he_normal")(x)
    x = _build.relu(_build.batch_norm(x))
    return _build.finish(owner, inputs, x, num_classes, weight_decay)
