"""Residual networks for images of the size of CIFAR's."""

from __future__ import annotations

import keras
from keras import ops

from keras_noisy._checks.errors import as_integer, message
from keras_noisy.models import _build
from keras_noisy.models._build import Normalize


def resnet(
    depth: int,
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return the residual network of `6 n + 2` layers for CIFAR.

    A 3 x 3 convolution, then three groups of `n` blocks of two 3 x 3 convolutions with
    16, 32 and 64 filters; the first block of the second and third group halves height
    and width. Shortcuts have no parameters: if the shape changes they take every other
    pixel and add channels of zeros. Batch normalisation follows each convolution. The
    mean over all pixels and one dense layer give the logits. Convolutions have no bias
    and use the initialisation for rectifiers.

    ProSelfLC trains depth 44 on CIFAR-100 with SGD: batch size 256, 30,000 steps,
    learning rate 0.1, divided by 10 at steps 15,000 and 22,000, momentum 0.9, weight
    decay 5e-4, crops and flips.

    Weight decay is an argument because `keras.optimizers.SGD(weight_decay=...)` is a
    different method. The papers' SGD adds `weight_decay * w` to the gradient of each
    weight `w`, so that momentum multiplies its effect, by 10 at 0.9; Keras's optimizers
    shrink the weights outside the momentum. Here every trainable weight (kernels,
    biases, scale and shift of batch normalisation, as in the papers' frameworks) has
    the penalty `weight_decay / 2 * w**2`, whose gradient is the papers' decay. The loss
    that `fit` shows includes the penalty; metrics exclude it. Do not pass
    `weight_decay` to the optimizer as well.

    Args:
        depth: 6 n + 2: 20, 32, 44, 56 and 110 in the paper.
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)` of any size.
        normalize: How the network first scales pixels. None leaves images unchanged.
            All others expect pixels in [0, 255], of any dtype (a pipeline may pass
            uint8), and compute on the device: `"scale"` divides by 255; `"cifar10"` and
            `"imagenet"` also subtract the channels' mean and divide by their standard
            deviation, with the SEAL paper's figures; `(mean, std)` does the same with
            yours, one per channel, of pixels in [0, 1]; `"caffe"` reverses the channels
            and subtracts means, as the ImageNet weights of `keras.applications` expect.
        weight_decay: Decay of the weights, 0 or more; see above.

    Returns:
        An uncompiled `keras.Model` from images `(batch, *input_shape)` to logits
        `(batch, num_classes)`, float32 under every dtype policy.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import math
        >>> from keras_noisy import models
        >>> model = models.resnet(20, 10, normalize="cifar10", weight_decay=1e-4)
        >>> sum(math.prod(weight.shape) for weight in model.trainable_weights)
        269722

    Reference:
        Section 4.2 of He et al., "Deep Residual Learning for Image Recognition", CVPR
        2016 (shortcuts of option A).
    """
    return _resnet("resnet", depth, num_classes, input_shape, normalize, weight_decay)


def resnet44(
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return the residual network of 44 layers, the papers' choice for CIFAR-100.

    Note:
        ProSelfLC and Equal Loss name ResNet-44 and cite He et al.; this is the network
        of that paper. Some published code for noisy labels gives this name to another
        network, with normalisation before the convolutions and convolutions in the
        shortcuts.

    Args:
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)`.
        normalize: See `models.resnet`.
        weight_decay: See `models.resnet`.

    Returns:
        `models.resnet(44, num_classes, ...)`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value.
    """
    return _resnet("resnet44", 44, num_classes, input_shape, normalize, weight_decay)


def resnet18(
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return ResNet-18 as it is used on CIFAR, seventeen times as wide as `resnet44`.

    A 3 x 3 convolution of stride 1 without pooling, then four groups of two blocks of
    two 3 x 3 convolutions with 64, 128, 256 and 512 filters; the first block of all but
    the first group halves height and width, and a 1 x 1 convolution its shortcut. Batch
    normalisation follows each convolution.

    Note:
        Equal Loss shows its Fig. 1 with a ResNet-18 and does not say which. This is the
        usual one for CIFAR: the network of He et al. for ImageNet begins with a stride
        of 4, which leaves little of an image of 32 x 32.

    Args:
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)`.
        normalize: See `models.resnet`.
        weight_decay: See `models.resnet`.

    Returns:
        An uncompiled `keras.Model` from images `(batch, *input_shape)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
    owner = "resnet18"
    inputs, x = _build.begin(owner, num_classes, input_shape, normalize, weight_decay)
    x = _build.relu(_build.batch_norm(_build.conv(x, 64)))
    x = _four_groups(x, _projected_block)
    x = _build.global_average(x)
    return _build.finish(owner, inputs, x, num_classes, weight_decay)


def preact_resnet18(
    num_classes: int,
    *,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    normalize: Normalize = None,
    weight_decay: float = 0.0,
) -> keras.Model:
    """Return ResNet-18 for CIFAR with normalisation before each convolution.

    The layers of `models.resnet18` in another order: in a block, batch normalisation
    and rectifier come before each of the two convolutions, and nothing after the sum;
    where the shape changes, the 1 x 1 convolution of the shortcut starts behind the
    first rectifier. Both come once more behind the last block. DivideMix and SSR train
    it on CIFAR with SGD: batch size 128, 300 epochs, learning rate 0.02, momentum 0.9,
    weight decay 5e-4.

    Note:
        Published code for noisy labels leaves out the last normalisation, or has one
        behind the first convolution; this is the network of He et al.

    Args:
        num_classes: Number of outputs.
        input_shape: `(height, width, channels)`.
        normalize: See `models.resnet`.
        weight_decay: See `models.resnet`.

    Returns:
        An uncompiled `keras.Model` from images `(batch, *input_shape)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has a wrong value.

    Reference:
        He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.
    """
    owner = "preact_resnet18"
    inputs, x = _build.begin(owner, num_classes, input_shape, normalize, weight_decay)
    x = _build.conv(x, 64)
    x = _four_groups(x, _preact_block)
    x = _build.global_average(_build.relu(_build.batch_norm(x)))
    return _build.finish(owner, inputs, x, num_classes, weight_decay)


def _preact_block(x, filters, strides):
    """Return a block that normalises before its convolutions."""
    y = _build.relu(_build.batch_norm(x))
    if strides > 1:
        x = _build.conv(y, filters, 1, strides)
    y = _build.relu(_build.batch_norm(_build.conv(y, filters, strides=strides)))
    return x + _build.conv(y, filters)


def _four_groups(x, block):
    """Return four groups of two blocks; all but the first halve height and width."""
    for filters in (64, 128, 256, 512):
        x = block(x, filters, 1 if filters == 64 else 2)
        x = block(x, filters, 1)
    return x


def _projected_block(x, filters, strides):
    """Return a block whose shortcut is a convolution where the shape changes."""
    y = _build.relu(_build.batch_norm(_build.conv(x, filters, strides=strides)))
    y = _build.batch_norm(_build.conv(y, filters))
    if strides > 1:
        x = _build.batch_norm(_build.conv(x, filters, 1, strides))
    return _build.relu(x + y)


def _resnet(owner, depth, num_classes, input_shape, normalize, weight_decay):
    number = as_integer(depth)
    if number is None or not 8 <= number <= _build.MOST_LAYERS or number % 6 != 2:
        mend = "The paper's are 20, 32, 44, 56 and 110."
        raise ValueError(message(owner, "depth", "6 n + 2 for n >= 1", depth, mend))
    inputs, x = _build.begin(owner, num_classes, input_shape, normalize, weight_decay)
    x = _build.relu(_build.batch_norm(_build.conv(x, 16)))
    for filters in (16, 32, 64):
        for block in range((depth - 2) // 6):
            strides = 2 if block == 0 and filters > 16 else 1
            x = _block(x, filters, strides)
    x = _build.global_average(x)
    name = f"resnet{depth}"
    return _build.finish(name, inputs, x, num_classes, weight_decay)


def _block(x, filters, strides):
    y = _build.relu(_build.batch_norm(_build.conv(x, filters, strides=strides)))
    y = _build.batch_norm(_build.conv(y, filters))
    if strides > 1:
        missing = filters - x.shape[-1]
        sides = (missing // 2, missing - missing // 2)
        x = ops.pad(x[:, ::strides, ::strides], ((0, 0), (0, 0), (0, 0), sides))
    return _build.relu(x + y)
