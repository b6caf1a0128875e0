"""What the networks share: inputs, layers with the field's settings, the output.

The layers take `channels_last` explicitly, so that a changed global image format
cannot make batch normalisation work on the wrong axis.
"""

from __future__ import annotations

from typing import TypeAlias

import keras
import numpy as np
from keras import ops

from keras_noisy._checks.errors import as_integer, check_count, message
from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._typing import ArrayLike

# A name of `NORMALIZATIONS`, mean and standard deviation, or nothing.
Normalize: TypeAlias = str | tuple[ArrayLike, ArrayLike] | None

# Mean and standard deviation of the channels, of pixels in [0, 1]. CIFAR-10's and
# ImageNet's stand in Appendix A of the SEAL paper.
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
# The means that the ImageNet weights of `keras.applications` were trained with, of
# pixels in [0, 255], in their order of channels: blue, green, red.
CAFFE_MEANS = (103.939, 116.779, 123.68)
# Beyond these no network of the kind has been trained, nor can one be held.
MOST_LAYERS, _MOST_UNITS, _MOST_PIXELS = 10_000, 10**7, 10**5
NORMALIZATIONS = ("scale", *STATISTICS, "caffe")


def begin(owner, num_classes, input_shape, normalize, weight_decay, smallest=1):
    """Check what all networks take; return the inputs, and what the first layer gets.

    Args:
        owner: Name of the public function, for errors.
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)`.
        normalize: See `keras_noisy.models.resnet`.
        weight_decay: Decay of the weights.
        smallest: Least height and width that the network can take.
    """
    check_count(owner, "num_classes", num_classes, high=_MOST_UNITS)
    at_least_zero()(owner, "weight_decay", weight_decay)
    inputs = keras.Input(check_input_shape(owner, input_shape, smallest))
    return inputs, _normalized(owner, inputs, normalize)


def finish(name, inputs, features, num_classes, weight_decay):
    """Return the model that computes logits from features `(batch, units)`."""
    # In float32 under every policy: differences of half-precision logits are coarse
    # exactly where losses for noisy labels look at them.
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")(features)
    model = keras.Model(inputs, logits, name=name)
    if weight_decay:
        _add_weight_decay(model, weight_decay)
    return model


def conv(x, filters, kernel_size=3, strides=1, *, use_bias=False):
    """Return a convolution of `x`, with the initialisation for rectifiers.

    With strides the border is the same on all sides, as in the papers' frameworks, so
    that outputs lie over the pixels that shortcuts take; Keras's "same" would put all
    of it below and to the right.
    """
    padding = "same"
    if strides > 1:
        padding, border = "valid", kernel_size // 2
        x = keras.layers.ZeroPadding2D(border, data_format="channels_last")(x)
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer="he_normal",
        data_format="channels_last",
    )(x)


def batch_norm(x):
    """Return `x` normalised over the batch.

    Momentum and epsilon are those of the papers' frameworks. With Keras's 0.99 the
    moving averages of a short epoch lag behind the weights.
    """
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def relu(x):
    """Return the positive part of `x`."""
    return keras.layers.ReLU()(x)


def max_pool(x):
    """Return the maxima over squares of two by two."""
    return keras.layers.MaxPooling2D(data_format="channels_last")(x)


def global_average(x):
    """Return the mean of each channel, `(batch, channels)`."""
    return keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)


def check_input_shape(owner, input_shape, smallest):
    """Return `input_shape` as a tuple, or raise unless images of it fit."""
    expected = f"(height, width, channels), images of at least {smallest} x {smallest}"
    mend = "Give images without a channel axis one: `x[..., None]`."
    is_sequence = isinstance(input_shape, (tuple, list))
    sizes = tuple(input_shape) if is_sequence else ()
    are_counts = all(0 < (as_integer(size) or 0) <= _MOST_PIXELS for size in sizes)
    if len(sizes) != 3 or not are_counts:
        raise ValueError(message(owner, "input_shape", expected, input_shape, mend))
    if min(sizes[:2]) < smallest:
        raise ValueError(message(owner, "input_shape", expected, input_shape))
    return sizes


def _normalized(owner, images, normalize):
    if normalize is None:
        return images
    if isinstance(normalize, str) and normalize == "scale":
        return keras.layers.Rescaling(1 / 255)(images)
    if isinstance(normalize, str) and normalize == "caffe":
        _check_channels(owner, normalize, images, 3)
        offsets = [-mean for mean in CAFFE_MEANS]
        reversed_channels = ops.flip(images, axis=-1)
        return keras.layers.Rescaling(1.0, offsets)(reversed_channels)
    mean, std = _statistics(owner, normalize)
    _check_channels(owner, normalize, images, len(mean))
    scale = (1 / (255 * std)).tolist()
    return keras.layers.Rescaling(scale, (-mean / std).tolist())(images)


def _statistics(owner, normalize):
    """Return mean and standard deviation of the channels, each `(channels,)`."""
    expected = f"None, one of {NORMALIZATIONS}, or (mean, std) of the channels"
    pair = STATISTICS.get(normalize) if isinstance(normalize, str) else normalize
    try:
        mean, std = (np.atleast_1d(np.asarray(part, np.float64)) for part in pair)
    except (TypeError, ValueError):
        raise ValueError(message(owner, "normalize", expected, normalize)) from None
    is_finite = np.isfinite(mean).all() and np.isfinite(std).all()
    if mean.ndim != 1 or mean.shape != std.shape or not is_finite or std.min() <= 0:
        mend = "Both are of pixels in [0, 1]; a standard deviation is positive."
        raise ValueError(message(owner, "normalize", expected, normalize, mend))
    return mean, std


def _check_channels(owner, normalize, images, channels):
    if images.shape[-1] != channels:
        expected = f"for images of {images.shape[-1]} channels"
        raise ValueError(message(owner, "normalize", expected, normalize))


def _add_weight_decay(model, weight_decay):
    """Give every trainable weight the penalty whose gradient is the decay.

    On the finished model, so that the networks of `keras.applications`, whose layers
    take no regularisers, are treated as our own. Layers save the attribute, variables
    compute the penalty.
    """
    regularizer = keras.regularizers.L2(weight_decay / 2)
    for layer in model.layers:
        for name in ("kernel", "bias", "gamma", "beta"):
            weight = getattr(layer, name, None)
            if weight is not None:
                setattr(layer, f"{name}_regularizer", regularizer)
                weight.regularizer = regularizer
