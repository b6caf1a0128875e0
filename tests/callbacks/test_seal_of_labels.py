"""SEAL's averages of a network with a sigmoid for each of many labels."""

import keras
import numpy as np
import pytest

from keras_noisy import analysis, callbacks, losses

rng = np.random.default_rng(0)
N, LABELS = 12, 3
X = rng.normal(size=(N, 4)).astype("float32")
KERNEL = rng.normal(size=(4, LABELS)).astype("float32")
P = 1 / (1 + np.exp(-X.astype("float64") @ KERNEL))
Y = np.where(rng.random((N, LABELS)) < 0.8, P > 0.5, -1)


def network(loss, activation=None):
    dense = keras.layers.Dense(LABELS, activation, use_bias=False)
    model = keras.Sequential([keras.Input((4,)), dense])
    model.set_weights([KERNEL])
    model.compile(keras.optimizers.SGD(0.0), loss)
    return model


LOSSES = {
    "logits": lambda: losses.MultiLabel(
        losses.GeneralizedCrossEntropy(), from_logits=True
    ),
    "probabilities": lambda: losses.MultiLabel(losses.GeneralizedCrossEntropy()),
    "built-in": lambda: "binary_crossentropy",
}


@pytest.mark.parametrize("on_the_fly", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
def test_averages(kind, on_the_fly):
    is_logit = kind == "logits"
    model = network(LOSSES[kind](), None if is_logit else "sigmoid")
    labels = np.maximum(Y, 0) if kind == "built-in" else Y
    if on_the_fly:
        seal = callbacks.SEALOnTheFly(N, from_logits=is_logit)
        data = {"x": seal.pipeline(model, X, labels, batch_size=4)}
    else:
        seal = callbacks.SEAL(X, from_logits=is_logit)
        data = {"x": X, "y": labels}
    model.fit(**data, epochs=2, callbacks=[seal], verbose=0, shuffle=False)
    np.testing.assert_allclose(seal.soft_labels, P, atol=1e-6)
    parts = analysis.find_suspect_parts(Y, seal.soft_labels, missing_label=-1)
    assert not parts.is_suspect.any()


def test_statistics_of_batch_normalisation_are_compared():
    layers = [
        keras.Input((4,)),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(LABELS),
    ]
    model = keras.Sequential(layers)
    model.compile("sgd", LOSSES["logits"]())
    seal = callbacks.SEAL(X, from_logits=True, recompute_statistics=True)
    model.fit(X, Y, epochs=1, callbacks=[seal], verbose=0)
    assert seal.soft_labels.shape == (N, LABELS)


def test_what_is_for_one_label_refuses():
    for callback in (
        callbacks.LabelWave(X, patience=1, window=1),
        callbacks.LearningDynamics(X, np.zeros(N, int), from_logits=True),
    ):
        model = network(LOSSES["logits"]())
        with pytest.raises(ValueError, match="a sigmoid for each of many labels"):
            model.fit(X, Y, epochs=3, callbacks=[callback], verbose=0)


def test_logits_that_are_said_to_be_probabilities():
    seal = callbacks.SEAL(X, from_logits=False)
    with pytest.raises(ValueError, match=r"be distributions: .*Pass from_logits=True"):
        network(LOSSES["logits"]()).fit(X, Y, callbacks=[seal], verbose=0)
