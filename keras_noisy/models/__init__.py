"""The papers' networks, as functions that return uncompiled models with logits."""

from keras_noisy.models.eight_layer_cnn import eight_layer_cnn
from keras_noisy.models.imagenet_resnet import resnet50, resnet101
from keras_noisy.models.mnist_cnn import mnist_cnn
from keras_noisy.models.random_crop_flip import RandomCropFlip
from keras_noisy.models.resnet import (
    preact_resnet18,
    resnet,
    resnet18,
    resnet44,
)
from keras_noisy.models.wide_resnet import wide_resnet, wide_resnet_28_10

__all__ = [
    "RandomCropFlip",
    "eight_layer_cnn",
    "mnist_cnn",
    "preact_resnet18",
    "resnet",
    "resnet18",
    "resnet44",
    "resnet50",
    "resnet101",
    "wide_resnet",
    "wide_resnet_28_10",
]
