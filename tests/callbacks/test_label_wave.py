"""Label Wave: changes of predictions counted by hand, and where training stops."""

import copy
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks

N, FEATURES, CLASSES, BATCH = 30, 5, 3, 10
rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)


def build(rate=0.3):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss)
    return model


def weights_of(model):
    return [np.array(ops.convert_to_numpy(w)) for w in model.weights]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def classes_of(model):
    return ops.convert_to_numpy(model(X)).argmax(axis=1)


class Note(keras.callbacks.Callback):
    """Notes classes and weights after each epoch."""

    def __init__(self):
        super().__init__()
        self.classes, self.weights = {}, {}

    def on_epoch_end(self, epoch, logs=None):
        self.classes[epoch] = classes_of(self.model)
        self.weights[epoch] = weights_of(self.model)

    def changes(self):
        return [
            np.mean(self.classes[epoch] != self.classes[epoch - 1])
            for epoch in range(1, max(self.classes) + 1)
        ]


def fit(model, *those, epochs=12, x=X, **kwargs):
    settings = {"shuffle": False, "verbose": 0, **kwargs}
    # Data sets bring labels and batches of their own.
    if x is X or isinstance(x, dict):
        settings = {"y": Y, "batch_size": BATCH, **settings}
    return model.fit(x, epochs=epochs, callbacks=list(those), **settings)


def stop_of(changes, window, patience):
    """Return best and last epoch, from the changes of epoch 1 on."""
    best, best_epoch = np.inf, None
    for epoch in range(window, len(changes) + 1):
        mean = np.mean(changes[epoch - window : epoch])
        if mean < best - 1e-7:
            best, best_epoch = mean, epoch
        elif epoch - best_epoch >= patience:
            return best_epoch, epoch
    return best_epoch, len(changes)


@pytest.mark.every_backend
@pytest.mark.parametrize(("window", "patience"), [(1, 1), (2, 2), (3, 5)])
def test_a_training_by_hand(window, patience):
    note, model = Note(), build()
    wave = callbacks.LabelWave(X, window=window, patience=patience)
    history = fit(model, note, wave).history
    changes = note.changes()
    best_epoch, last = stop_of(changes, window, patience)
    assert np.isnan(history["prediction_changes"][0])
    np.testing.assert_allclose(history["prediction_changes"][1:], changes, rtol=1e-6)
    assert wave.best_epoch == best_epoch
    assert len(history["loss"]) == last + 1
    assert_same(weights_of(model), note.weights[best_epoch])


class Script(callbacks.LabelWave):
    """A Label Wave that is told the classes."""

    def __init__(self, classes, **kwargs):
        super().__init__(np.zeros((4, FEATURES), "float32"), **kwargs)
        self.classes = classes

    def _predict(self):
        epoch = self._told = getattr(self, "_told", -1) + 1
        self._listen(slice(0, 4), np.eye(CLASSES)[self.classes[epoch]])


@pytest.mark.every_backend
def test_changes_by_hand():
    # They change by 2, 1, 0, 1, 3, 4 and 0 of four.
    classes = [
        [0, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 2, 0],
        [1, 1, 2, 0],
        [1, 1, 2, 1],
        [0, 0, 0, 1],
        [1, 1, 1, 0],
        [1, 1, 1, 0],
    ]
    wave = Script(classes, window=2, patience=3)
    history = fit(build(), wave, epochs=8).history["prediction_changes"]
    np.testing.assert_array_equal(
        history, [np.nan, 0.5, 0.25, 0, 0.25, 0.75, 1][: len(history)]
    )
    # Means of two: .375, .125, .125, .5, .875; the first minimum is that of epoch 3.
    assert (wave.best_epoch, wave.stopped_epoch, wave.best) == (3, 6, 0.125)


def test_a_network_that_diverges_has_no_minimum():
    class Diverge(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 6:
                last = self.model.layers[-1].bias
                last.assign(np.full(last.shape, np.nan, "float32"))

    note, model = Note(), build()
    wave = callbacks.LabelWave(X, window=1, patience=4)
    history = fit(model, Diverge(), note, wave).history["prediction_changes"]
    assert np.isnan(history[6:]).all()
    assert wave.best_epoch < 6
    assert_same(weights_of(model), note.weights[wave.best_epoch])


@pytest.mark.parametrize("killed", [1, 4])
def test_a_fit_that_was_killed_continues(tmp_path, killed):
    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == killed:
                raise KeyboardInterrupt

    def wave():
        return callbacks.LabelWave(X, window=2, patience=4)

    model, whole = build(), wave()
    expected = fit(model, whole).history["prediction_changes"]
    backup = callbacks.AtomicBackupAndRestore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(build(), wave(), backup, Kill())
    again, continued = build(), wave()
    found = fit(again, continued, callbacks.AtomicBackupAndRestore(tmp_path)).history
    np.testing.assert_array_equal(found["prediction_changes"], expected[killed:])
    assert continued.best_epoch == whole.best_epoch
    assert_same(weights_of(again), weights_of(model))


def test_with_seal_there_is_no_other_pass():
    note, model = Note(), build()
    seal = callbacks.SEAL(X, from_logits=True)
    wave = callbacks.LabelWave(seal, window=2, patience=4)
    seal, wave = copy.deepcopy([seal, wave])
    history = fit(model, note, seal, wave).history["prediction_changes"]
    np.testing.assert_allclose(history[1:], note.changes(), rtol=1e-6)


def test_on_the_fly():
    model = build()
    seal = callbacks.SEALOnTheFly(N, from_logits=True)
    seen = []
    seal.listeners.append(lambda rows, p: seen.append((rows, p.argmax(axis=-1))))
    wave = callbacks.LabelWave(seal, window=2, patience=4)
    data = seal.pipeline(model, X, Y, batch_size=BATCH)
    history = fit(model, seal, wave, x=data).history["prediction_changes"]
    expected = [
        np.mean(after != before) for (_, before), (_, after) in itertools.pairwise(seen)
    ]
    np.testing.assert_allclose(history[1:], expected, rtol=1e-6)


def test_on_the_fly_an_example_that_was_not_seen_keeps_its_class():
    wave = callbacks.LabelWave(callbacks.SEALOnTheFly(4), window=1)
    wave.set_model(build())
    found = []
    for rows, classes in [([0, 1], [0, 1]), ([1, 2], [2, 2]), ([0, 2, 3], [1, 2, 0])]:
        wave._classes = np.full(4, -1)
        wave._listen(np.array(rows), np.eye(3)[classes])
        found.append(wave._changes())
    # One of one; then the first of examples 0 and 2, which were seen before.
    np.testing.assert_array_equal(found, [np.nan, 1, 0.5])


def test_behind_the_callback_that_it_listens_to():
    model, seal = build(), callbacks.SEAL(X, from_logits=True)
    with pytest.raises(ValueError, match="must stand before this callback in `fit`"):
        fit(model, callbacks.LabelWave(seal, patience=4), seal)


@pytest.mark.tf_data
def test_data_sets():
    import tensorflow as tf

    note, model = Note(), build()
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(7)
    wave = callbacks.LabelWave(data, window=2, patience=4)
    history = fit(model, note, wave).history["prediction_changes"]
    np.testing.assert_allclose(history[1:], note.changes(), rtol=1e-6)
    with pytest.raises(ValueError, match="must be a finite data set"):
        callbacks.LabelWave(data.repeat())
    shuffled = callbacks.LabelWave(data.shuffle(30), patience=4)
    with pytest.raises(ValueError, match="comes in the same order"):
        fit(build(), shuffled)


def test_several_inputs():
    parts = {"a": X[:, :2], "b": X[:, 2:]}
    inputs = {
        name: keras.Input((part.shape[1],), name=name) for name, part in parts.items()
    }
    joined = keras.layers.Concatenate()(list(inputs.values()))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(joined))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    wave = callbacks.LabelWave(parts, patience=4)
    fit(model, wave, x=parts)
    assert wave.best is not None


@pytest.mark.parametrize(
    ("x", "arguments", "error"),
    [
        (X, {"window": 0}, "`window` must be a positive integer"),
        (X, {"patience": 0.5}, "`patience` must be a positive integer"),
        (X, {"batch_size": 0}, "`batch_size` must be a positive integer"),
        (X, {"restore_best_weights": "no"}, "`restore_best_weights` must be a bool"),
        (3, {}, "`x` must be arrays, or a data set"),
        ("text", {}, "`x` must be"),
        (iter([X]), {}, "`x` must be arrays, or a data set"),
        (X[:0], {}, "`x` must be data of at least one example"),
    ],
)
def test_bad_arguments(x, arguments, error):
    with pytest.raises((TypeError, ValueError), match=f"^LabelWave: {error}"):
        callbacks.LabelWave(x, **arguments)


def test_a_model_that_is_no_classifier():
    layers = [keras.layers.Dense(1), keras.layers.Reshape((1, 1))]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"^LabelWave: `model` must be a classifier"):
        fit(model, callbacks.LabelWave(X, patience=4))
