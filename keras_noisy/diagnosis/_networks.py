"""A small network for each kind of data, where the user has none.

None has batch normalisation: its statistics do not settle in few steps.
"""

import keras
import numpy as np
from keras import layers

from keras_noisy.diagnosis import _inputs

_HIDDEN = 256
_EMBEDDED = 64
# Steps of one training; those on images are dear.
_STEPS, _STEPS_ON_IMAGES = 1500, 600
_FEWEST, _MOST = 6, 60
# The first layer takes every second pixel of larger images.
_LARGE = 40


def default_batch_size(size):
    """Return how many of `size` examples a step takes."""
    return int(np.clip(2 ** np.round(np.log2(max(size, 2) / 80)), 16, 512))


def default_epochs(size, batch_size, kind):
    """Return for how many epochs `size` examples are trained on."""
    steps = _STEPS_ON_IMAGES if kind == "images" else _STEPS
    return int(np.clip(-(-steps // -(-size // batch_size)), _FEWEST, _MOST))


def builder(examples):
    """Return a function that builds and compiles a network for examples."""
    make = {
        "features": _dense, "table": _dense, "images": _convolutional, "texts": _pooled
    }[examples.kind](examples)  # fmt: skip
    num_classes = len(examples.class_names)

    def build_model():
        *inner, hidden = make()
        output = layers.Dense(num_classes, activation="softmax", dtype="float32")
        model = keras.Sequential([*inner, hidden, output])
        model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
        return model

    return build_model


def _dense(examples):
    mean, deviation = _inputs.moments(examples.x)
    # Columns of one scale stay so: dividing pixels that are nearly always black by
    # their tiny deviation would make them the largest.
    scale = np.maximum(deviation, np.median(deviation) / 5)
    variance = np.where(scale > 0, scale, 1) ** 2
    return lambda: [
        keras.Input((examples.x.shape[1],)),
        layers.Normalization(mean=mean.tolist(), variance=variance.tolist()),
        layers.Dense(_HIDDEN, activation="relu"),
    ]


def _convolutional(examples):
    images = examples.x
    shape = images.shape[1:]
    channels = shape[2] if len(shape) == 3 else 1
    sample = np.asarray(images[:: max(1, len(images) // 1000)], "float32")
    mean, deviation = float(sample.mean()), float(sample.std()) or 1.0

    def make():
        found = [
            keras.Input(shape),
            layers.Rescaling(1 / deviation, -mean / deviation),
            layers.Reshape((*shape[:2], channels)),
        ]
        side = min(shape[:2])
        for filters in (32, 64, 64):
            stride = 2 if side > _LARGE else 1
            found.append(_conv(filters, stride))
            side //= stride
            if side >= 8:
                found.append(layers.MaxPooling2D(2, data_format="channels_last"))
                side //= 2
        return [*found, layers.Flatten(), layers.Dense(_HIDDEN // 2, activation="relu")]

    return make


def _conv(filters, stride):
    return layers.Conv2D(
        filters,
        3,
        stride,
        padding="same",
        activation="relu",
        data_format="channels_last",
    )


def _pooled(examples):
    return lambda: [
        keras.Input((examples.x.shape[1],), dtype="int32"),
        layers.Embedding(examples.num_words, _EMBEDDED, mask_zero=True),
        layers.GlobalAveragePooling1D(),
        layers.Dense(_EMBEDDED, activation="relu"),
    ]
