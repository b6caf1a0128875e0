"""What models around networks share: they are exported after `fit`."""

import keras
import numpy as np
import pytest

from keras_noisy import noise
from keras_noisy.training import (
    SSR,
    CoTeaching,
    Distillation,
    DivideMix,
    DynamicBootstrapping,
    Masking,
    NoiseAdaptation,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3
MATRIX = noise.symmetric(3, 0.3)

# Of twelve examples with random labels few are chosen.
pytestmark = [
    pytest.mark.filterwarnings("ignore:DivideMix. the division for:UserWarning"),
    pytest.mark.filterwarnings("ignore:SSR. the selection of:UserWarning"),
    pytest.mark.filterwarnings("ignore:SSR. no label has the votes:UserWarning"),
]


class Subclassed(keras.Model):
    """A network that is no graph of layers."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(3)

    def call(self, x):
        return self.layer(x)


def sequential():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def without_shape():
    return keras.Sequential([keras.layers.Dense(3)])


AROUND = {
    "CoTeaching": lambda build: CoTeaching(build(), build(), forget_rate=0.2),
    "Distillation": lambda build: Distillation(build(), build(), from_logits=True),
    "DivideMix": lambda build: DivideMix(build(), build(), warmup_epochs=1, seed=0),
    "DynamicBootstrapping": lambda build: DynamicBootstrapping(
        build(), warmup_epochs=1, seed=0
    ),
    "Masking": lambda build: Masking(
        build(), structure=MATRIX > 0, transition_matrix=MATRIX, from_logits=True
    ),
    "SSR": lambda build: SSR(build(), warmup_epochs=1, num_neighbors=3, seed=0),
    "NoiseAdaptation": lambda build: NoiseAdaptation(
        build(), transition_matrix=MATRIX, from_logits=True
    ),
}


def trained(name, build):
    keras.utils.set_random_seed(0)
    model = AROUND[name](build)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    model.fit(X, Y, epochs=2, verbose=0)
    return model


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="exports without other packages"
)
@pytest.mark.parametrize("build", [sequential, Subclassed, without_shape])
@pytest.mark.parametrize("name", sorted(AROUND))
def test_export_after_fit(tmp_path, name, build):
    import tensorflow as tf

    model = trained(name, build)
    model.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    expected = model.predict(X, verbose=0)
    np.testing.assert_allclose(served.serve(X), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(AROUND))
def test_export_is_that_of_the_network(monkeypatch, name):
    """On every backend, and with all arguments of the version of Keras."""
    model, calls = trained(name, sequential), []
    monkeypatch.setattr(
        getattr(model, "ensemble", model.network),
        "export",
        lambda *args, **kwargs: calls.append((args, kwargs)),
    )
    model.export("file", format="onnx", opset_version=18)
    assert calls == [(("file",), {"format": "onnx", "opset_version": 18})]
