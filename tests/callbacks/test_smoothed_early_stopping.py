"""Stopping on a moving average: epochs worked out on paper, kills, Keras's own."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks

N, FEATURES, CLASSES = 24, 5, 3
rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
NAN = float("nan")
# Means of two: .35, .5, .55, .45, .4, .5, .3. The best single epoch is the third.
VALUES = [0.2, 0.5, 0.6, 0.4, 0.5, 0.3, 0.7, 0.1, 0.2, 0.1, 0.1, 0.1]


def build():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


class Told(keras.callbacks.Callback):
    """Puts values into the logs, and notes the weights after each epoch."""

    def __init__(self, values, name="score"):
        super().__init__()
        self.values, self.name, self.weights = values, name, {}

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]
        self.weights[epoch] = weights_of(self.model)


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Killed


def weights_of(model):
    return [np.array(ops.convert_to_numpy(w)) for w in model.weights]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def fit(model, *those, epochs=12, **kwargs):
    settings = {"batch_size": 12, "shuffle": False, "verbose": 0}
    return model.fit(
        X, Y, epochs=epochs, callbacks=list(those), **{**settings, **kwargs}
    )


def stopping(window=2, patience=3, mode="max", **kwargs):
    return callbacks.SmoothedEarlyStopping(
        "score", window=window, patience=patience, mode=mode, **kwargs
    )


@pytest.mark.every_backend
def test_by_hand():
    told, stop, model = Told(VALUES), stopping(), build()
    history = fit(model, told, stop)
    # Means begin with the second epoch; .55 after the third, then three no better.
    assert stop.best == pytest.approx(0.55)
    assert (stop.best_epoch, stop.stopped_epoch) == (2, 5)
    assert len(history.epoch) == 6
    assert_same(weights_of(model), told.weights[2])


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("start", [0, 4])
def test_keras_on_the_means(window, mode, start):
    values = np.random.default_rng(window).normal(size=12)
    means = np.convolve(values, np.ones(window) / window, "valid")
    padding = window - 1
    told, ours = Told(values), stopping(window, 3, mode, start_from_epoch=start)
    model = build()
    history = fit(model, told, ours)
    # Of Keras, on means that were there from the beginning.
    theirs = keras.callbacks.EarlyStopping(
        "score",
        patience=3,
        mode=mode,
        restore_best_weights=True,
        start_from_epoch=max(start, padding),
    )
    means = Told(np.append(np.zeros(padding), means))
    other = build()
    other_history = fit(other, means, theirs)
    assert history.epoch == other_history.epoch
    assert ours.best_epoch == theirs.best_epoch
    assert ours.stopped_epoch == theirs.stopped_epoch
    assert float(ours.best) == pytest.approx(float(theirs.best), rel=1e-6)
    assert_same(weights_of(model), told.weights[ours.best_epoch])


def test_the_last_weights_where_best_ones_are_not_wanted():
    told, stop, model = Told(VALUES), stopping(restore_best_weights=False), build()
    fit(model, told, stop)
    assert_same(weights_of(model), told.weights[5])


def test_values_that_are_no_numbers():
    values = [NAN, 0.5, 0.6, 0.4, NAN, NAN, NAN, NAN, 0.9, 0.9, 0.9, 0.9]
    told, stop, model = Told(values), stopping(patience=4), build()
    fit(model, told, stop)
    assert (stop.best_epoch, stop.stopped_epoch) == (2, 6)
    assert_same(weights_of(model), told.weights[2])


@pytest.mark.parametrize("killed", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "backup",
    [keras.callbacks.BackupAndRestore, callbacks.AtomicBackupAndRestore],
    ids=["Keras's", "ours"],
)
def test_a_fit_that_was_killed_continues(tmp_path, backup, killed):
    def run(model, *more, values=VALUES):
        told, stop = Told(values), stopping()
        fit(model, told, stop, backup(str(tmp_path)), *more)
        return stop, told

    with pytest.raises(Killed):
        run(build(), Kill(killed))
    model = build()
    stop, told = run(model)
    assert (stop.best_epoch, stop.stopped_epoch) == (2, 5)
    assert min(told.weights) == killed
    other = build()
    fit(other, Told(VALUES), stopping())
    assert_same(weights_of(model), weights_of(other))


def test_another_fit_begins_anew():
    model, stop = build(), stopping()
    fit(model, Told(VALUES), stop)
    fit(model, Told([0.9, *VALUES[:-1]]), stop)
    assert (stop.best_epoch, stop.best) == (1, pytest.approx(0.55))
    # One that begins elsewhere, too: it is not known what was before.
    fit(model, Told(VALUES), stop, initial_epoch=3)
    assert stop.best_epoch == 6


def test_a_fit_that_goes_on_remembers():
    model, stop = build(), stopping()
    with pytest.warns(UserWarning, match="leaves nothing of 4 epochs"):
        fit(model, Told(VALUES), stop, epochs=4)
    assert stop.best_epoch == 2
    fit(model, Told(VALUES), stop, initial_epoch=4)
    assert (stop.best_epoch, stop.stopped_epoch) == (2, 5)


def test_metrics_of_keras():
    model = build()
    stop = callbacks.SmoothedEarlyStopping(window=2, patience=2)
    history = fit(model, stop, validation_data=(X, Y)).history
    means = np.convolve(history["val_accuracy"], [0.5, 0.5], "valid")
    assert stop.best == pytest.approx(means.max(), rel=1e-6)
    with pytest.warns(UserWarning, match="not available"):
        fit(build(), callbacks.SmoothedEarlyStopping("no_such", mode="min"), epochs=20)


def test_a_training_that_is_too_short():
    with pytest.warns(UserWarning, match=r"patience=3 \+ window=2 leaves nothing of 5"):
        fit(build(), Told(VALUES), stopping(), epochs=5)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"window": 0}, "`window` must be a positive integer"),
        ({"patience": 0}, "`patience` must be a positive integer"),
        ({"min_delta": -1}, r"`min_delta` must be a number in \[0, inf\)"),
        ({"mode": "up"}, "`mode` must be one of 'auto', 'min', 'max'"),
        ({"baseline": "a"}, r"`baseline` must be a number in \(-inf, inf\)"),
        ({"restore_best_weights": 1}, "`restore_best_weights` must be a bool"),
        ({"start_from_epoch": -1}, "`start_from_epoch` must be an integer of at least"),
    ],
)
def test_bad_arguments(arguments, error):
    with pytest.raises(
        (TypeError, ValueError), match=f"^SmoothedEarlyStopping: {error}"
    ):
        callbacks.SmoothedEarlyStopping(**arguments)


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    with strategy.scope():
        model = build()
    told, stop = Told(VALUES), stopping()
    fit(model, told, stop)
    assert (stop.best_epoch, stop.stopped_epoch) == (2, 5)
    assert_same(weights_of(model), told.weights[2])
