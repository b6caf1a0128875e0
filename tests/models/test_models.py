import math

import keras
import numpy as np
import pytest
from keras import ops
from numpy.lib.stride_tricks import sliding_window_view

from keras_noisy import models
from keras_noisy.models import (
    eight_layer_cnn,
    mnist_cnn,
    preact_resnet18,
    resnet,
    resnet18,
    resnet44,
    resnet50,
    resnet101,
    wide_resnet,
    wide_resnet_28_10,
)

IS_JAX = keras.backend.backend() == "jax"
RNG = np.random.default_rng(0)
# Small networks of every kind, with the shape of their images.
SMALL = {
    "mnist_cnn": (mnist_cnn, (28, 28, 1)),
    "eight_layer_cnn": (eight_layer_cnn, (8, 8, 3)),
    "resnet": (lambda n, **kwargs: resnet(8, n, **kwargs), (8, 8, 3)),
    "resnet18": (resnet18, (8, 8, 3)),
    "preact_resnet18": (preact_resnet18, (8, 8, 3)),
    "wide_resnet": (
        lambda n, **kwargs: wide_resnet(10, 1, n, dropout=0.3, **kwargs),
        (8, 8, 3),
    ),
}
every_kind = pytest.mark.parametrize("kind", SMALL)


def small(kind, num_classes=10, **kwargs):
    build, shape = SMALL[kind]
    return build(num_classes, input_shape=shape, **kwargs)


def outputs(model, x):
    # JAX compiles operations one by one where it is not told to take all at once.
    return model.predict_on_batch(x) if IS_JAX else ops.convert_to_numpy(model(x))


def images_for(model, count=4):
    return RNG.uniform(size=(count, *model.input_shape[1:])).astype("float32")


def sketch(build, *args, **kwargs):
    """Return a network whose weights have shapes but no values, which is faster."""
    with keras.StatelessScope(initialize_variables=False):
        return build(*args, **kwargs)


def count(build, *args, is_trainable=True, **kwargs):
    """Return the number of parameters of a network."""
    model = sketch(build, *args, **kwargs)
    weights = model.trainable_weights if is_trainable else model.weights
    return sum(math.prod(weight.shape) for weight in weights)


def randomize(model):
    """Give all weights, statistics included, values that matter."""
    for weight in model.weights:
        weight.assign(RNG.uniform(0.1, 0.9, weight.shape) - 0.4 * weight.trainable)


# --- parameter counts


def test_mnist_cnn_has_the_parameters_of_the_appendix():
    # 25*20 + 20, 25*20*50 + 50, 4*4*50*500 + 500, 500*10 + 10.
    expected = 520 + 25_050 + 400_500 + 5_010
    assert count(mnist_cnn, 10) == expected == 431_080


def test_eight_layer_cnn_has_the_parameters_of_its_layers():
    # 3*3*in*out + out: 3, 64, 64, 128, 128, 196, 196 channels.
    convolutions = 1_792 + 36_928 + 73_856 + 147_584 + 225_988 + 345_940
    dense = (4 * 4 * 196 * 256 + 256) + (256 * 10 + 10)
    normalization = 2 * (2 * 64 + 2 * 128 + 2 * 196 + 256)
    expected = convolutions + dense + normalization
    assert count(eight_layer_cnn, 10) == expected == 1_639_794
    model = sketch(small, "eight_layer_cnn")
    assert len([x for x in model.layers if isinstance(x, keras.layers.Conv2D)]) == 6
    assert len([x for x in model.layers if isinstance(x, keras.layers.Dense)]) == 2


# Table 6 of He et al.: 0.27, 0.46, 0.66 and 0.85 million. By hand, n = (depth - 2)/6:
# 9*(3*16 + 2n*16*16 + 16*32 + (2n-1)*32*32 + 32*64 + (2n-1)*64*64) in convolutions,
# 2*(16*(2n+1) + 32*2n + 64*2n) in normalisation, 64*10 + 10 in the output.
@pytest.mark.parametrize(
    ("depth", "expected"), [(20, 269_722), (32, 464_154), (56, 853_018)]
)
def test_resnet_has_the_parameters_of_the_paper(depth, expected):
    assert count(resnet, depth, 10) == expected


def test_resnet18_has_the_parameters_of_the_network_for_cifar():
    assert count(resnet18, 10) == 11_173_962
    assert count(resnet18, 100) == 11_173_962 + 90 * 513


def test_preact_resnet18_has_the_parameters_of_its_layers():
    # Kernels as in resnet18: of the first convolution, and of the groups with their
    # shortcuts. Normalisation of 256, 448, 896, 1792 and 512 channels.
    kernels = 1_728 + 147_456 + 524_288 + 2_097_152 + 8_388_608
    assert count(preact_resnet18, 10) == kernels + 2 * 3_904 + 5_130


def test_preact_resnet18_computes_what_the_paper_says():
    """A block of stride 2, with the weights of the network, in NumPy's order."""
    model = preact_resnet18(3, input_shape=(8, 8, 3))
    x = images_for(model)
    layers = [each for each in model.layers if each.weights]
    kinds = [type(each).__name__[:2] for each in layers]
    # Convolution; two blocks; a block with a shortcut before its first convolution.
    assert kinds[:9] == ["Co", "Ba", "Co", "Ba", "Co", "Ba", "Co", "Ba", "Co"]
    assert kinds.count("Co") == 1 + 16 + 3 and kinds.count("Ba") == 17
    assert kinds[-2:] == ["Ba", "De"]
    features = keras.Model(model.input, layers[-1].input)
    assert outputs(features, x).min() >= 0
    # Nothing behind a sum: what the next block begins with has both signs.
    before = keras.Model(model.input, layers[5].input)
    found = outputs(before, x)
    assert found.min() < 0 < found.max()


def test_resnet44_has_the_parameters_of_the_paper():
    assert count(resnet44, 10) == 658_586
    # 90 outputs more, of 64 inputs and a bias.
    assert count(resnet44, 100) == 658_586 + 90 * 65


def test_wide_resnet_28_10_has_the_parameters_of_the_paper():
    # 36.5 million in Table 4 of the paper. By hand: 432 in the first convolution;
    # 1,640,672, 6,968,000 and 27,862,400 in the groups, 1x1 shortcuts of 16*160,
    # 160*320 and 320*640 included; 1,280 in the last normalisation, 6,410 at the end.
    expected = 432 + 1_640_672 + 6_968_000 + 27_862_400 + 1_280 + 6_410
    assert count(wide_resnet_28_10, 10) == expected == 36_479_194


def test_wide_resnet_of_width_one_has_the_parameters_of_its_layers():
    # Groups of 2 * 2*(32 + 2304); 32 + 4608 + 64 + 9216 + 512 + 2*(64 + 9216);
    # 64 + 18432 + 128 + 36864 + 2048 + 2*(128 + 36864); as above around them.
    expected = 432 + 9_344 + 32_992 + 131_520 + 128 + 650
    assert count(wide_resnet, 16, 1, 10) == expected


# What keras.io lists for ResNet50 and ResNet101, with 1000 classes.
@pytest.mark.parametrize(
    ("build", "expected"), [(resnet50, 25_636_712), (resnet101, 44_707_176)]
)
def test_imagenet_networks_have_the_parameters_of_keras(build, expected):
    shape = (32, 32, 3)
    assert count(build, 1000, input_shape=shape, is_trainable=False) == expected


# --- what they compute


def convolve(x, kernel, strides):
    """Return a convolution, by its definition, with the same border on all sides."""
    border = kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    windows = sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows[:, ::strides, ::strides], kernel)


class Oracle:
    """Layers in NumPy float64, with the weights of a model in the order of use."""

    def __init__(self, model):
        self.weights = {
            kind: [
                [np.asarray(weight, np.float64) for weight in layer.get_weights()]
                for layer in sorted(
                    (x for x in model.layers if type(x) is kind), key=self.number
                )
            ]
            for kind in (
                keras.layers.Conv2D,
                keras.layers.BatchNormalization,
                keras.layers.Dense,
            )
        }

    @staticmethod
    def number(layer):
        """Return how many of its kind were made before a layer."""
        last = layer.name.rsplit("_", 1)[-1]
        return int(last) if last.isdigit() else 0

    def take(self, kind):
        return self.weights[kind].pop(0)

    def conv(self, x, strides=1):
        (kernel,) = self.take(keras.layers.Conv2D)
        return convolve(x, kernel, strides)

    def norm(self, x):
        gamma, beta, mean, variance = self.take(keras.layers.BatchNormalization)
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    def logits(self, x):
        kernel, bias = self.take(keras.layers.Dense)
        return x.mean(axis=(1, 2)) @ kernel + bias


def relu(x):
    return np.maximum(x, 0)


def oracle_resnet(model, x, blocks):
    layers = Oracle(model)
    x = relu(layers.norm(layers.conv(x)))
    for group in range(3):
        for block in range(blocks):
            strides = 2 if group and not block else 1
            y = relu(layers.norm(layers.conv(x, strides)))
            y = layers.norm(layers.conv(y))
            if strides == 2:
                x = x[:, ::2, ::2]
                zeros = np.zeros((*x.shape[:3], x.shape[3] // 2))
                x = np.concatenate([zeros, x, zeros], axis=-1)
            x = relu(x + y)
    return layers.logits(x)


def oracle_wide_resnet(model, x):
    layers = Oracle(model)
    x = layers.conv(x)
    for group in range(3):
        y = relu(layers.norm(x))
        # Made before the convolutions of the block.
        shortcut = layers.conv(y, 2 if group else 1)
        y = relu(layers.norm(layers.conv(y, 2 if group else 1)))
        x = shortcut + layers.conv(y)
    return layers.logits(relu(layers.norm(x)))


@pytest.mark.parametrize(("size", "depth"), [(8, 14), (7, 8)])
def test_resnet_computes_what_the_paper_says(size, depth):
    model = resnet(depth, 3, input_shape=(size, size, 3))
    randomize(model)
    x = images_for(model)
    expected = oracle_resnet(model, x.astype("float64"), blocks=depth // 6)
    found = outputs(model, x)
    np.testing.assert_allclose(
        found / abs(expected).max(), expected / abs(expected).max(), atol=1e-5
    )


def test_wide_resnet_computes_what_the_paper_says():
    model = wide_resnet(10, 2, 3, input_shape=(8, 8, 3))
    randomize(model)
    x = images_for(model)
    expected = oracle_wide_resnet(model, x.astype("float64"))
    found = outputs(model, x)
    scale = abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


def test_mnist_cnn_is_the_network_of_the_appendix():
    kinds = [type(layer).__name__ for layer in sketch(mnist_cnn, 10).layers]
    assert kinds == [
        "InputLayer",
        *("Conv2D", "MaxPooling2D") * 2,
        "Flatten",
        *("Dense",) * 2,
    ]


def test_dropout_stands_between_the_convolutions_of_each_block():
    def layers(dropout):
        model = sketch(wide_resnet, 10, 1, 2, dropout=dropout)
        return [x for x in model.layers if isinstance(x, keras.layers.Dropout)]

    assert [layer.rate for layer in layers(0.3)] == [0.3] * 3
    assert layers(0.0) == []


# --- training, precision, saving


@every_kind
def test_networks_train_and_give_logits(kind):
    model = small(kind, num_classes=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=IS_JAX)
    x, y = images_for(model), np.array([0, 1, 2, 1])
    logits = outputs(model, x)
    assert logits.shape == (4, 3)
    assert not np.allclose(logits.sum(axis=1), 1)
    before = model.get_weights()
    assert np.isfinite(model.train_on_batch(x, y))
    after = model.get_weights()
    assert all(np.isfinite(weight).all() for weight in after)
    # Gradients reach every layer; some biases of dead rectifiers may stay.
    changed = [(a != b).any() for a, b in zip(before, after, strict=True)]
    assert np.mean(changed) > 0.9


def test_networks_can_be_compiled():
    model = small("resnet")
    x = images_for(model)
    expected = outputs(model, x)
    # XLA takes its time for a training step: JAX does that one above.
    model.compile(jit_compile=keras.backend.backend() != "torch")
    np.testing.assert_allclose(
        model.predict_on_batch(x), expected, rtol=1e-4, atol=1e-5
    )


@every_kind
def test_logits_are_float32_in_mixed_precision(kind):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = sketch(small, kind, normalize="scale")
    finally:
        keras.config.set_dtype_policy(policy)
    assert keras.backend.standardize_dtype(model.output.dtype) == "float32"
    assert any(layer.compute_dtype == "bfloat16" for layer in model.layers)


@every_kind
def test_networks_survive_saving(kind, tmp_path):
    model = small(kind, normalize="scale", weight_decay=0.01)
    randomize(model)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    x = 255 * images_for(model)
    np.testing.assert_allclose(outputs(loaded, x), outputs(model, x), rtol=1e-5)
    # Weight decay is half the sum of squares, of the loaded network too.
    squares = sum(
        np.sum(ops.convert_to_numpy(weight).astype("float64") ** 2)
        for weight in model.trainable_weights
    )
    assert penalty(model) == pytest.approx(0.005 * squares, rel=1e-4)
    assert penalty(loaded) == pytest.approx(penalty(model))


# --- weight decay


def penalty(model):
    return float(sum(ops.convert_to_numpy(x) for x in model.losses))


def test_there_is_no_penalty_without_weight_decay():
    assert not sketch(resnet44, 10).losses


def test_weight_decay_goes_through_momentum():
    # The papers' SGD: v <- m v + g + d w, w <- w - r v, here with g = 0.
    decay, rate, momentum = 0.1, 0.5, 0.9
    model = small("mnist_cnn", weight_decay=decay)
    optimizer = keras.optimizers.SGD(rate, momentum=momentum)
    model.compile(optimizer, lambda y_true, y_pred: 0 * y_pred, jit_compile=IS_JAX)
    randomize(model)
    w = [ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    v = [0 * weight for weight in w]
    x, y = images_for(model), np.zeros((4, 10))
    for _ in range(3):
        model.train_on_batch(x, y)
        v = [momentum * a + decay * b for a, b in zip(v, w, strict=True)]
        w = [b - rate * a for a, b in zip(v, w, strict=True)]
    for expected, weight in zip(w, model.trainable_weights, strict=True):
        found = ops.convert_to_numpy(weight)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# --- normalisation


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("scale", lambda x: x / 255),
        (
            "cifar10",
            lambda x: (x / 255 - [0.4914, 0.4822, 0.4465]) / [0.2023, 0.1994, 0.201],
        ),
        (
            "imagenet",
            lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        ),
        (
            ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)),
            lambda x: (x / 255 - [0.5, 0.4, 0.3]) / [0.1, 0.2, 0.3],
        ),
        ("caffe", lambda x: x[..., ::-1] - [103.939, 116.779, 123.68]),
    ],
)
def test_normalization_of_uint8_images(normalize, expected, tmp_path):
    images = RNG.integers(0, 256, (2, 4, 4, 3), "uint8")
    normalizer(normalize, (4, 4, 3)).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    found = outputs(model, images)
    wanted = expected(images.astype("float64"))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


def normalizer(normalize, shape):
    """Return what networks do before their first layer, as a model."""
    return keras.Model(*models._build.begin("resnet", 10, shape, normalize, 0.0))


def test_one_channel_can_be_normalized():
    images = RNG.integers(0, 256, (2, 28, 28, 1), "uint8")
    found = normalizer((0.1307, 0.3081), (28, 28, 1))(images)
    standardized = (images / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(ops.convert_to_numpy(found), standardized, atol=1e-5)


def test_networks_normalize_first():
    images = RNG.integers(0, 256, (2, 8, 8, 3), "uint8")
    plain = small("resnet")
    model = small("resnet", normalize="cifar10")
    model.set_weights(plain.get_weights())
    normalized = normalizer("cifar10", (8, 8, 3))(images)
    np.testing.assert_allclose(
        outputs(model, images),
        outputs(plain, normalized),
        rtol=1e-4,
        atol=1e-5,
    )


def test_caffe_is_what_keras_applications_do():
    images = RNG.uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    expected = keras.applications.resnet.preprocess_input(images.copy())
    found = ops.convert_to_numpy(normalizer("caffe", (8, 8, 3))(images))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


# --- pre-trained weights


def test_weights_of_a_file_are_loaded_behind_the_normalization(tmp_path):
    source = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    path = tmp_path / "resnet50_notop.weights.h5"
    source.save_weights(path)
    model = resnet50(
        3,
        input_shape=(32, 32, 3),
        weights=str(path),
        normalize="caffe",
        weight_decay=0.1,
    )
    for found, expected in zip(model.get_weights(), source.get_weights(), strict=False):
        np.testing.assert_array_equal(found, expected)
    assert len(model.losses) == len(model.trainable_weights)


# --- errors


BAD = [
    (lambda: resnet(44, 0), "resnet: `num_classes` must be a positive integer"),
    (lambda: resnet(18, 10), r"resnet: `depth` must be 6 n \+ 2.*Received: depth=18"),
    (lambda: resnet(2, 10), "resnet: `depth` must be"),
    (lambda: resnet("44", 10), "resnet: `depth` must be"),
    (lambda: resnet44(10, weight_decay=-1), "resnet44: `weight_decay` must be"),
    (lambda: resnet44(10, weight_decay=math.nan), "resnet44: `weight_decay` must be"),
    (
        lambda: resnet44(10, normalize="cifar"),
        "resnet44: `normalize` must be None, one",
    ),
    (lambda: resnet44(10, normalize=3), "resnet44: `normalize` must be"),
    (lambda: resnet44(10, normalize=(0.5, 0.0)), "resnet44: `normalize` .* positive"),
    (
        lambda: resnet44(10, normalize=((0.5, 0.5), (1, 1))),
        "resnet44: `normalize` must be for images of 3 channels",
    ),
    (
        lambda: mnist_cnn(10, normalize="cifar10"),
        "mnist_cnn: `normalize` must be for images of 1 channels",
    ),
    (
        lambda: mnist_cnn(10, input_shape=(28, 28)),
        "mnist_cnn: `input_shape` .* channel",
    ),
    (lambda: mnist_cnn(10, input_shape=(12, 28, 1)), "at least 16 x 16"),
    (lambda: eight_layer_cnn(10, input_shape=(4, 4, 3)), "at least 8 x 8"),
    (lambda: eight_layer_cnn(10, input_shape=32), "eight_layer_cnn: `input_shape`"),
    (lambda: eight_layer_cnn(1.5), "eight_layer_cnn: `num_classes`"),
    (lambda: wide_resnet(27, 10, 10), r"wide_resnet: `depth` must be 6 n \+ 4"),
    (lambda: wide_resnet(28, 0, 10), "wide_resnet: `width` must be"),
    (lambda: wide_resnet(28, 2, 10, dropout=1.0), "wide_resnet: `dropout` must be"),
    (lambda: wide_resnet_28_10(10, dropout=-1), "wide_resnet_28_10: `dropout`"),
    (lambda: resnet50(10, input_shape=(16, 16, 3)), "at least 32 x 32"),
    (
        lambda: resnet101(10, weights="imagenet", normalize="imagenet"),
        'resnet101: `normalize` must be "caffe"',
    ),
]


@pytest.mark.parametrize(("build", "text"), BAD)
def test_errors(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_types_are_checked():
    with pytest.raises(TypeError, match="resnet44: `weight_decay` must be a number"):
        resnet44(10, weight_decay="5e-4")
