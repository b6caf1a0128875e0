"""Wide residual networks."""

from __future__ import annotations

import keras

from keras_noisy._checks.errors import as_integer, check_count, message
from keras_noisy._checks.numbers import Interval
from keras_noisy.models import _build
from keras_noisy.models._build import Normalize


def wide_resnet(
    depth: int,
    width: int,
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    dropout: float = 0.0,
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return the wide residual network of `6 n + 4` layers, `width` times as wide.

    A 3 x 3 convolution of 16 filters, then three groups of `n` blocks of two 3 x 3
    convolutions with 16, 32 and 64 times `width` filters; the second and third group
    begin with a stride of two. Normalisation and rectifier come before each
    convolution; shortcuts are the identity, and 1 x 1 convolutions where the shape
    changes.

    Args:
        depth: 6 n + 4: 16, 22, 28 and 40 in the paper.
        width: Factor of the number of filters, 1 to 12 in the paper.
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)` of any size.
        dropout: Share of values dropped between the convolutions of each block, in
            [0, 1). The paper tries 0.3 on CIFAR; SEAL mentions none.
        normalize: See `models.resnet`.
        weight_decay: See `models.resnet`.

    Returns:
        An uncompiled `keras.Model` from images `(batch, *input_shape)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import math
        >>> from keras_noisy import models
        >>> model = models.wide_resnet(16, 1, 10)
        >>> sum(math.prod(weight.shape) for weight in model.trainable_weights)
        175066

    Reference:
        Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.
    """
    return _wide_resnet(
        "wide_resnet",
        depth,
        width,
        num_classes,
        input_shape,
        dropout,
        normalize,
        weight_decay,
    )


def wide_resnet_28_10(
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    dropout: float = 0.0,
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return the wide residual network of 28 layers, SEAL's choice for CIFAR-10.

    SEAL trains it for 150 epochs in batches of 128 with SGD: learning rate 0.1,
    divided by 5 after epochs 60 and 120, momentum 0.9, weight decay 5e-4, crops, flips
    and `normalize="cifar10"`.

    Args:
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)`.
        dropout: See `models.wide_resnet`.
        normalize: See `models.resnet`.
        weight_decay: See `models.resnet`.

    Returns:
        `models.wide_resnet(28, 10, num_classes, ...)`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value.
    """
    return _wide_resnet(
        "wide_resnet_28_10",
        28,
        10,
        num_classes,
        input_shape,
        dropout,
        normalize,
        weight_decay,
    )


def _wide_resnet(
    owner, depth, width, num_classes, input_shape, dropout, normalize, weight_decay
):
    number = as_integer(depth)
    if number is None or not 10 <= number <= _build.MOST_LAYERS or number % 6 != 4:
        mend = "The paper's are 16, 22, 28 and 40."
        raise ValueError(message(owner, "depth", "6 n + 4 for n >= 1", depth, mend))
    width = check_count(owner, "width", width, high=1000)
    dropout = Interval(0, 1, "left")(owner, "dropout", dropout)
    inputs, x = _build.begin(owner, num_classes, input_shape, normalize, weight_decay)
    x = _build.conv(x, 16)
    for filters in (16 * width, 32 * width, 64 * width):
        for block in range((depth - 4) // 6):
            strides = 2 if block == 0 and filters > 16 * width else 1
            x = _block(x, filters, strides, dropout)
    x = _build.global_average(_build.relu(_build.batch_norm(x)))
    name = f"wide_resnet_{depth}_{width}"
    return _build.finish(name, inputs, x, num_classes, weight_decay)


def _block(x, filters, strides, dropout):
    y = _build.relu(_build.batch_norm(x))
    if strides > 1 or x.shape[-1] != filters:
        # Of the normalised input, as in the authors' code.
        x = _build.conv(y, filters, 1, strides)
    y = _build.relu(_build.batch_norm(_build.conv(y, filters, strides=strides)))
    if dropout:
        y = keras.layers.Dropout(dropout)(y)
    return x + _build.conv(y, filters)
