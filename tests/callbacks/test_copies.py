"""Callbacks are copied and pickled; what they leave on a model is in nobody's way."""

import copy
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_noisy import callbacks, losses

N, FEATURES, CLASSES, BATCH = 24, 5, 3, 8
rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
KERNEL = rng.normal(size=(FEATURES, CLASSES)).astype("float32")


def make_model(loss=None, units=CLASSES):
    layers = [keras.layers.Dense(4), keras.layers.Dense(units)]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    default = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss or default)
    return model


# How each is made, and its model.
WAYS = {
    "GlobalTrust": (
        lambda: callbacks.GlobalTrust(),
        lambda: make_model(losses.ProSelfLC(from_logits=True)),
    ),
    "AbstentionSchedule": (
        lambda: callbacks.AbstentionSchedule(1),
        lambda: make_model(losses.DeepAbstention(from_logits=True), CLASSES + 1),
    ),
    "DimensionalitySchedule": (
        lambda: callbacks.DimensionalitySchedule(
            X, warmup_epochs=0, window=2, num_neighbors=3, batch_size=8
        ),
        lambda: make_model(losses.DimensionalityDriven(from_logits=True)),
    ),
    "LearningDynamics": (
        lambda: callbacks.LearningDynamics(X, Y, from_logits=True),
        make_model,
    ),
    "LabelWave": (lambda: callbacks.LabelWave(X, window=1, patience=1), make_model),
    "SmoothedEarlyStopping": (
        lambda: callbacks.SmoothedEarlyStopping("loss", window=1, patience=1),
        make_model,
    ),
    "SEAL": (lambda: callbacks.SEAL(X, from_logits=True), make_model),
    "SEALOnTheFly": (
        lambda: callbacks.SEALOnTheFly(N, from_logits=True),
        make_model,
    ),
    "EarlyLearningTargets": (
        lambda: callbacks.EarlyLearningTargets(N),
        lambda: make_model(losses.EarlyLearningRegularization(from_logits=True)),
    ),
    "JointOptimizationLabels": (
        lambda: callbacks.JointOptimizationLabels(N, warmup_epochs=1),
        lambda: make_model(losses.JointOptimization(from_logits=True)),
    ),
}
RESULTS = {
    "SEAL": "soft_labels",
    "SEALOnTheFly": "soft_labels",
    "EarlyLearningTargets": "targets",
    "JointOptimizationLabels": "soft_labels",
}
EVERY = pytest.mark.parametrize("name", list(WAYS))
COPY = pytest.mark.parametrize(
    "copy_of",
    [copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))],
    ids=["copied", "pickled"],
)


def fit(model, callback, epochs=3):
    """Train, with ids where the callback needs them."""
    if hasattr(callback, "pipeline"):
        data = callback.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
        arguments = {"x": data}
    else:
        arguments = {"x": X, "y": Y, "batch_size": BATCH}
    return model.fit(
        **arguments, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback]
    )


def trained_model(make, callback):
    keras.utils.set_random_seed(0)
    model = make()
    fit(model, callback)
    return model


@COPY
@EVERY
def test_copies_of_a_callback(name, copy_of):
    make, make_model = WAYS[name]
    fresh = make()
    before = copy_of(fresh)
    expected = trained_model(make_model, fresh)
    after = copy_of(fresh)
    if name in RESULTS:
        kept, own = (getattr(each, RESULTS[name]) for each in (after, fresh))
        np.testing.assert_array_equal(kept, own)
        # And a copy of the copy.
        again = getattr(copy_of(after), RESULTS[name])
        np.testing.assert_array_equal(again, own)
    assert fresh.model is expected
    assert after.model is None
    for each in (before, after):
        model = trained_model(make_model, each)
        for value, other in zip(
            model.get_weights(), expected.get_weights(), strict=True
        ):
            np.testing.assert_allclose(value, other, atol=1e-6)


def test_a_copy_shares_the_data():
    for name in ("SEAL", "LearningDynamics", "DimensionalitySchedule", "LabelWave"):
        callback = WAYS[name][0]()
        assert copy.deepcopy(callback).x is callback.x, name
    # But what listens to another callback goes with its copy.
    seal = callbacks.SEALOnTheFly(N, from_logits=True)
    both = [seal, callbacks.LearningDynamics(seal, Y)]
    seal, dynamics = copy.deepcopy(both)
    assert dynamics.x is seal
    model = make_model()
    data = seal.pipeline(model, X, Y)
    history = model.fit(data, verbose=0, callbacks=[seal, dynamics]).history
    assert 0 <= history["label_agreement"][0] <= 1


def trained_on_plain_data(model):
    """Train in every way that Keras has, and return the weights and a loss."""
    model.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
    loss = model.train_on_batch(X[:BATCH], Y[:BATCH])
    loss = model.evaluate(X, Y, verbose=0) + np.ravel(loss)[0]
    return [*model.get_weights(), np.ravel(model.test_on_batch(X, Y))[0], loss]


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize(
    "name", ["SEALOnTheFly", "LearningDynamics", "SEAL", "GlobalTrust"]
)
def test_plain_data_afterwards(name, epochs):
    make, make_model = WAYS[name]
    model, callback = make_model(), make()
    weights = model.get_weights()
    if epochs:
        fit(model, callback, epochs)
    elif hasattr(callback, "pipeline"):
        callback.pipeline(model, X, Y)
    if name == "GlobalTrust":
        # Without the callback its loss goes on; the built-in one is for comparison.
        make_model = WAYS["SEAL"][1]
        model.compile(keras.optimizers.SGD(0.1), make_model().loss)
    else:
        model.compile(keras.optimizers.SGD(0.1), model.loss)
    model.set_weights(weights)
    found = trained_on_plain_data(model)
    plain = make_model()
    plain.set_weights(weights)
    for value, expected in zip(found, trained_on_plain_data(plain), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    if name != "GlobalTrust":
        # And with the callback again.
        fit(model, callback, 1)


def test_plain_data_in_the_first_epoch_after_one_that_failed():
    seal = callbacks.SEALOnTheFly(N, from_logits=True)
    model = make_model()
    seal.pipeline(model, X, Y)
    model.fit(X, Y, verbose=0)
    # Nothing is traced any more that could look for ids.
    with pytest.raises(RuntimeError, match=r"carries no sample ids"):
        model.fit(X, Y, verbose=0, callbacks=[seal])
    fit(model, seal, 2)
    assert seal.counts.tolist() == [2] * N


@EVERY
def test_copies_of_a_model(name, tmp_path):
    make, make_model = WAYS[name]
    model = trained_model(make_model, make())
    path = str(tmp_path / "model.keras")
    model.save(path)
    copies = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        keras.saving.load_model(path),
        keras.models.clone_model(model),
    ]
    for each in copies[:3]:
        np.testing.assert_allclose(
            each.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6
        )
    for each in copies[:3]:
        fit(each, make())
    copies[3].compile(keras.optimizers.SGD(0.1), model.loss)
    fit(copies[3], make())


ALONE = """
import sys, keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
model.load_weights(sys.argv[2])
model.fit(np.zeros((8, 5)), np.zeros(8), verbose=0)
print(float(np.abs(model.get_weights()[0]).sum()))
assert "keras_noisy" not in sys.modules
"""


def test_files_need_no_package(tmp_path):
    model = make_model()
    seal = callbacks.SEALOnTheFly(N, from_logits=True)
    data = seal.pipeline(model, X, Y)
    # The callback of a loss that the model does not have.
    with pytest.warns(UserWarning, match="no loss of this model reads the clock"):
        model.fit(data, verbose=0, callbacks=[seal, callbacks.GlobalTrust()])
    files = [str(tmp_path / name) for name in ("model.keras", "model.weights.h5")]
    model.save(files[0])
    model.save_weights(files[1])
    folder = str(pathlib.Path(tmp_path))
    subprocess.run([sys.executable, "-c", ALONE, *files], check=True, cwd=folder)
