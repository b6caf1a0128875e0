"""Residual networks for ImageNet-sized images, those of `keras.applications`."""

from __future__ import annotations

import keras

from keras_noisy._checks.errors import check_path, message
from keras_noisy.models import _build
from keras_noisy.models._build import Normalize


def resnet50(
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    weights: str | None = None,
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return ResNet-50 with a new output layer that gives logits.

    The papers train it on ImageNet, and from ImageNet's weights on Clothing1M:
    ProSelfLC with SGD, learning rate 0.01, 10,000 steps; SEAL for 10 epochs in batches
    of 256, learning rate 1e-3 and from epoch 5 on 1e-4, momentum 0.9, weight decay
    1e-3.

    Note:
        The network is that of `keras.applications`: biases in convolutions, the stride
        of a block in its first convolution, batch normalisation with momentum 0.99. Its
        ImageNet weights expect `normalize="caffe"`; the papers' weights, of other
        frameworks, expect `"imagenet"`.

    Args:
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)`, at least 32 x 32.
        weights: None for random ones; `"imagenet"`, which Keras downloads; or the path
            of a file of weights without the output layer.
        normalize: See `models.resnet`; `"caffe"` with `weights="imagenet"`.
        weight_decay: See `models.resnet`.

    Returns:
        An uncompiled `keras.Model` from images `(batch, *input_shape)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value, for example a `normalize` that
            gives weights of ImageNet other pixels than in their training.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
    network = keras.applications.ResNet50
    return _headless(
        "resnet50", network, num_classes, input_shape, weights, normalize, weight_decay
    )


def resnet101(
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    weights: str | None = None,
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return ResNet-101 with a new output layer that gives logits.

    Equal Loss trains it on ImageNet in batches of 2048 with SGD: learning rate 0.8
    along a cosine, momentum 0.9, weight decay 1e-4.

    Args:
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)`, at least 32 x 32.
        weights: See `models.resnet50`.
        normalize: See `models.resnet`; `"caffe"` with `weights="imagenet"`.
        weight_decay: See `models.resnet`.

    Returns:
        An uncompiled `keras.Model` from images `(batch, *input_shape)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value; see `models.resnet50`.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
    network = keras.applications.ResNet101
    return _headless(
        "resnet101", network, num_classes, input_shape, weights, normalize, weight_decay
    )


def _headless(
    owner, network, num_classes, input_shape, weights, normalize, weight_decay
):
    if weights is not None:
        weights = check_path(owner, "weights", weights, '"imagenet", a path or None')
    is_text = normalize is None or isinstance(normalize, str)
    is_known = is_text and normalize in (None, "caffe")
    if weights == "imagenet" and not is_known:
        expected = '"caffe", or None where the data is normalised so already,'
        mend = "The weights of keras.applications were trained on such pixels."
        expected = f"{expected} with weights='imagenet'"
        raise ValueError(message(owner, "normalize", expected, normalize, mend))
    inputs, x = _build.begin(
        owner, num_classes, input_shape, normalize, weight_decay, smallest=32
    )
    base = network(include_top=False, weights=weights, input_tensor=x, pooling="avg")
    return _build.finish(owner, inputs, base.output, num_classes, weight_decay)
