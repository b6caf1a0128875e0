"""Batch normalisation that predicts with moving statistics which have not settled."""

import keras
import numpy as np
import pytest

from keras_noisy import callbacks, training
from keras_noisy._data import batch_statistics
from keras_noisy.callbacks import SEAL
from tests.helpers import softmax

N, FEATURES, CLASSES = 60, 4, 3
rng = np.random.default_rng(0)
# Far from the mean 0 and the variance 1 that moving statistics begin with.
X = (100 + 3 * rng.normal(size=(N, FEATURES))).astype("float32")
Y = X[:, :CLASSES].argmax(axis=1)
WARNING = "predictions in inference mode were worse .* had not settled"


def build_model(*layers, momentum=0.99, activation="softmax", loss=None):
    keras.utils.set_random_seed(0)
    normalization = keras.layers.BatchNormalization(momentum=momentum)
    layers = layers or (normalization, keras.layers.Dropout(0.5, seed=0))
    output = keras.layers.Dense(CLASSES, activation)
    model = keras.Sequential([keras.Input((FEATURES,)), *layers, output])
    loss = loss or "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.5), loss)
    return model


def fit(model, *watch, x=X, y=Y, epochs=2, **kwargs):
    keras.utils.set_random_seed(0)
    settings = {"epochs": epochs, "verbose": 0, "shuffle": False, **kwargs}
    return model.fit(x, y, callbacks=[*watch], **settings)


def normalized(model, x):
    """Predict by hand with the statistics of `x`, in float64."""
    gamma, beta = (np.asarray(w, "float64") for w in model.get_weights()[:2])
    kernel, bias = model.layers[-1].get_weights()
    z = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0, dtype="float64") + 1e-3)
    return softmax((gamma * z + beta) @ kernel + bias)


@pytest.mark.parametrize("activation", ["softmax", None])
def test_recomputed_statistics_are_those_of_the_data(activation):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    model = build_model(activation=activation, loss=loss)
    start = model.get_weights()
    seal = SEAL(X, from_logits=activation is None, recompute_statistics=True)
    fit(model, seal, epochs=1)
    expected = normalized(model, X.astype("float64"))
    np.testing.assert_allclose(seal.soft_labels, expected, atol=1e-4)
    moving = keras.ops.convert_to_numpy(model(X, training=False))
    assert np.abs(moving.argmax(axis=1) != expected.argmax(axis=1)).mean() > 0.2
    # The model ends with its own statistics, and with the same weights.
    plain = build_model(activation=activation, loss=loss)
    plain.set_weights(start)
    fit(plain, epochs=1)
    for with_seal, without in zip(
        model.get_weights(), plain.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(with_seal, without)


class Parts(keras.utils.PyDataset):
    """The data in batches of seven."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return -(-len(self.x) // 7)

    def __getitem__(self, index):
        rows = slice(7 * index, 7 * index + 7)
        return self.x[rows], self.y[rows]


@pytest.mark.parametrize("as_data_set", [False, True])
def test_examples_in_the_order_of_their_classes(as_data_set):
    """Batches of one class each would have other statistics than all examples."""
    y = np.repeat(np.arange(CLASSES), 300)
    x = (100 * np.eye(CLASSES, FEATURES)[y] + rng.normal(size=(900, FEATURES))).astype(
        "float32"
    )
    seal = SEAL(Parts(x, y) if as_data_set else x, recompute_statistics=True)
    model = build_model()
    fit(model, seal, x=x, y=y, epochs=1, shuffle=True)
    # Means of the variances of four batches of random examples.
    expected = normalized(model, x.astype("float64"))
    np.testing.assert_allclose(seal.soft_labels, expected, atol=0.02)
    assert (seal.soft_labels.argmax(axis=1) == y).all()


def test_a_layer_that_is_used_twice_has_the_mean_of_both():
    shared = keras.layers.BatchNormalization()
    inputs = keras.Input((2,))
    model = keras.Model(inputs, shared(2 * shared(inputs) + 3))
    x = np.array([[0.0, 1.0], [2.0, 5.0]], "float32")
    with batch_statistics._measuring(shared):
        model(x)
        mean = keras.ops.convert_to_numpy(shared.moving_mean)
    np.testing.assert_allclose(mean, (x.mean(axis=0) + 3) / 2, rtol=1e-6)


def test_warnings():
    text = f"^SEAL: {WARNING}.*momentum=0.99 .* has 2. Pass `recompute_statistics=True"
    with pytest.warns(UserWarning, match=text):
        fit(build_model(), SEAL(X), epochs=8)
    with pytest.warns(UserWarning, match=f"^LearningDynamics: {WARNING}"):
        fit(build_model(), callbacks.LearningDynamics(X, Y), epochs=8)
    with pytest.warns(UserWarning, match=f"^SEAL: {WARNING}"):
        fit(build_model(), SEAL(Parts(X, Y)), epochs=8)
    network = build_model()
    model = training.DynamicBootstrapping(network, warmup_epochs=1, bootstrap_delay=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match=f"^DynamicBootstrapping: {WARNING}"):
        fit(model, epochs=8)


class InInferenceMode(keras.layers.Layer):
    """Normalises in inference mode always, as fine-tuning does."""

    def __init__(self):
        super().__init__()
        self.normalization = keras.layers.BatchNormalization()

    def call(self, inputs):
        return self.normalization(inputs, training=False)


def frozen():
    layer = keras.layers.BatchNormalization()
    layer.trainable = False
    return layer


@pytest.mark.parametrize(
    "layers",
    [
        # A warning is an error in these tests.
        lambda: [keras.layers.Dropout(0.5, seed=0), keras.layers.GaussianNoise(0.5)],
        lambda: [keras.layers.BatchNormalization(momentum=0.1)],
        lambda: [keras.layers.Rescaling(0.01), frozen()],
        lambda: [keras.layers.Rescaling(0.01), InInferenceMode()],
        lambda: [
            keras.layers.BatchNormalization(momentum=0.1),
            keras.layers.Dropout(0.8),
        ],
    ],
    ids=["no normalisation", "settled", "frozen", "inference mode", "dropout"],
)
def test_no_warning(layers):
    seal = SEAL(X)
    fit(build_model(*layers()), seal, callbacks.LearningDynamics(X, Y), epochs=4)
    assert seal.epochs_seen == 4


def test_self_evolution(tmp_path):
    def build():
        return build_model(loss="categorical_crossentropy")

    def evolve(**kwargs):
        evolution = training.SelfEvolution(build, rounds=1, storage=tmp_path, **kwargs)
        return evolution.fit(X, Y, epochs=1, verbose=0)

    evolution = evolve(recompute_statistics=True)
    expected = normalized(evolution.model, X.astype("float64"))
    np.testing.assert_allclose(evolution.soft_labels, expected, atol=1e-4)
    with pytest.raises(ValueError, match="recompute_statistics is True, and that"):
        evolve()
    with pytest.raises(ValueError, match="`recompute_statistics` must be False with"):
        evolve(recompute_statistics=True, collect="on_the_fly")
    _, means = training.generate_instance_dependent_noise(
        build,
        X,
        Y,
        rate=0.1,
        epochs=1,
        verbose=0,
        recompute_statistics=True,
        return_mean_predictions=True,
    )
    np.testing.assert_allclose(means, evolution.soft_labels, atol=1e-5)


@pytest.mark.parametrize("make", [SEAL, training.SelfEvolution])
def test_recompute_statistics_must_be_a_bool(make):
    argument = X if make is SEAL else build_model
    with pytest.raises(TypeError, match="`recompute_statistics` must be a bool"):
        make(argument, recompute_statistics="yes")
