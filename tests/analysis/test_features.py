import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import analysis

X = np.random.default_rng(0).normal(size=(70, 6)).astype("float32")
Dense = keras.layers.Dense


def sequential():
    layers = [keras.Input((6,)), Dense(3, "relu", name="hidden"), Dense(4)]
    return keras.Sequential([*layers, keras.layers.Softmax()])


def expected(model, x=X):
    return ops.convert_to_numpy(model.layers[0](x))


def test_the_input_of_the_last_layer_with_weights():
    model = sequential()
    found = analysis.features(model, X)
    np.testing.assert_allclose(found, expected(model), atol=1e-5)


@pytest.mark.parametrize("layer", ["hidden", 0, -3])
def test_the_output_of_a_layer(layer):
    model = sequential()
    found = analysis.features(model, X, layer=layer, batch_size=9)
    np.testing.assert_allclose(found, expected(model), atol=1e-5)
    found = analysis.features(model, X, layer=model.layers[0])
    np.testing.assert_allclose(found, expected(model), atol=1e-5)


def test_file(tmp_path):
    model = sequential()
    path = tmp_path / "features.npy"
    found = analysis.features(model, X, batch_size=16, file=path)
    assert isinstance(found, np.memmap)
    np.testing.assert_allclose(np.load(path), expected(model), atol=1e-5)
    assert [entry.name for entry in tmp_path.iterdir()] == ["features.npy"]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = Dense(5, activation="relu")
        self.second = keras.Sequential([Dense(3)])

    def call(self, x, training=None):
        x = self.first(x)
        return self.second(x + 100 if training else x)


def test_models_with_a_call_of_their_own_and_models_inside():
    model = Subclassed()
    found = analysis.features(model, X)
    np.testing.assert_allclose(found, ops.convert_to_numpy(model.first(X)), atol=1e-5)
    inner = model.second.layers[0]
    assert analysis.features(model, X, layer=inner).shape == (70, 3)
    # The layer is as it was.
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(X)), model.predict(X, verbose=0), atol=1e-4
    )


def test_more_dimensions_are_flattened():
    layers = [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()]
    model = keras.Sequential([*layers, Dense(2)])
    x = np.zeros((5, 4, 4, 1), "float32")
    assert analysis.features(model, x, layer=0).shape == (5, 8)


def test_several_inputs_and_a_data_set():
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    hidden = Dense(3, name="hidden")(a + b)
    model = keras.Model({"a": a, "b": b}, Dense(2)(hidden))
    found = analysis.features(model, {"a": X, "b": X})
    assert found.shape == (70, 3)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 7

        def __getitem__(self, index):
            rows = X[index * 10 : index * 10 + 10]
            return {"a": rows, "b": rows}, np.zeros(10)

    np.testing.assert_allclose(analysis.features(model, Batches()), found, atol=1e-5)


def test_half_precision():
    policy = keras.DTypePolicy("mixed_bfloat16")
    layers = [Dense(3, dtype=policy), Dense(2, dtype=policy)]
    found = analysis.features(keras.Sequential([keras.Input((6,)), *layers]), X)
    assert found.dtype == np.float32


def twice():
    layer, inputs = Dense(6, name="twice"), keras.Input((6,))
    return keras.Model(inputs, Dense(2)(layer(layer(inputs))))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"model": "model"}, "`model` must be a Keras model"),
        ({"layer": "other"}, r"`layer` must be a layer, the name of one.*'hidden'"),
        ({"layer": 3}, "`layer` must be a layer, the name"),
        ({"layer": True}, "`layer` must be a layer, the name"),
        ({"layer": Dense(2)}, "`layer` must be a layer that runs once"),
        ({"model": twice(), "layer": "twice"}, "which ran 2 times"),
        (
            {"model": keras.Sequential([keras.Input((6,)), keras.layers.ReLU()])},
            "`model` must be a model with a layer that has weights",
        ),
        ({"file": 3}, "`file` must be a path"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"x": iter([X])}, "`x` must be arrays, or a data set"),
        ({"x": X[:0]}, "`x` must be data of at least one example"),
    ],
)
def test_errors(arguments, text):
    with pytest.raises((TypeError, ValueError), match="^features: .*" + text):
        analysis.features(**{"model": sequential(), "x": X, **arguments})
