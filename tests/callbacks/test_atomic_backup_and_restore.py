"""AtomicBackupAndRestore: the same numbers as without a break, after any kill."""

import os
import pathlib
import signal
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from keras_noisy import losses
from keras_noisy.callbacks import SEAL, AtomicBackupAndRestore, GlobalTrust
from tests.helpers import Crash

ROOT = pathlib.Path(__file__).resolve().parents[2]
rng = np.random.default_rng(0)
X = rng.normal(size=(24, 4)).astype("float32")
Y = rng.integers(0, 3, 24)
KERNEL = rng.normal(size=(4, 3)).astype("float32")
EPOCHS = 5


def make_model(loss=None, **compile_args):
    keras.utils.set_random_seed(1)
    layer = keras.layers.Dense(3, use_bias=False)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.set_weights([KERNEL])
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **compile_args)
    return model


def fit(model, *callbacks, epochs=EPOCHS):
    return model.fit(
        X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks
    ).history


def backup_in(folder, **kwargs):
    return AtomicBackupAndRestore(folder, **kwargs)


def epoch_of(path):
    with h5py.File(path) as file:
        return int(file.attrs["keras_noisy_epoch"])


@pytest.mark.parametrize("killed_after", [0, 2, 3])
def test_continues_as_if_nothing_had_happened(tmp_path, killed_after):
    whole = make_model(losses.ProSelfLC(from_logits=True))
    expected = fit(whole, GlobalTrust())
    model = make_model(losses.ProSelfLC(from_logits=True))
    with pytest.raises(RuntimeError, match="crash"):
        # The crash comes before the backup of its epoch.
        fit(model, GlobalTrust(), Crash(killed_after), backup_in(tmp_path / "b"))
    model = make_model(losses.ProSelfLC(from_logits=True))
    rest = fit(model, GlobalTrust(), backup_in(tmp_path / "b"))
    for name, values in expected.items():
        np.testing.assert_allclose(rest[name], values[killed_after:], rtol=1e-6)
    np.testing.assert_allclose(
        model.get_weights()[0], whole.get_weights()[0], rtol=1e-6
    )
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "steps_per_execution", [1] if keras.backend.backend() == "torch" else [1, 2]
)
def test_a_backup_every_few_batches(tmp_path, steps_per_execution):
    """The epoch is repeated with the weights of the last backup, as Keras does."""

    class Watch(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.weights = []

        def on_train_batch_end(self, batch, logs=None):
            self.weights.append((batch, np.array(self.model.get_weights()[0])))

    watch = Watch()
    model = make_model(steps_per_execution=steps_per_execution)
    with pytest.raises(RuntimeError, match="crash"):
        fit(model, watch, backup_in(tmp_path, save_freq=2), Crash(1))
    # Six batches: the last backup is after the third of epoch 1.
    assert epoch_of(tmp_path / "latest.weights.h5") == 1
    model = make_model(steps_per_execution=steps_per_execution)
    started = []

    class First(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            started.append((epoch, np.array(self.model.get_weights()[0])))

    fit(model, backup_in(tmp_path, save_freq=2), First())
    assert [epoch for epoch, _ in started] == [1, 2, 3, 4]
    np.testing.assert_array_equal(started[0][1], watch.weights[-1][1])


def test_a_second_break_in_the_same_epoch(tmp_path):
    """Keras's callback forgets which epoch it restored, and would begin at 0."""
    for at in (2, 2):
        with pytest.raises(RuntimeError, match="crash"):
            fit(make_model(), backup_in(tmp_path, save_freq=1), Crash(at))
    assert (
        len(fit(make_model(), backup_in(tmp_path, save_freq=1))["loss"]) == EPOCHS - 2
    )


def test_seal_continues_with_it(tmp_path):
    def train(*callbacks):
        seal = SEAL(X, storage=tmp_path / "averages", from_logits=True)
        fit(make_model(), seal, *callbacks, backup_in(tmp_path / "backup"))
        return seal

    memory = SEAL(X, from_logits=True)
    fit(make_model(), memory)
    with pytest.raises(RuntimeError, match="crash"):
        train(Crash(2))
    seal = train()
    assert seal.counts.tolist() == [EPOCHS] * len(X)
    np.testing.assert_allclose(seal.soft_labels, memory.soft_labels, atol=1e-6)


def test_files_of_the_user_stay(tmp_path):
    names = ["notes.tmp", "mine.weights.h5", "latest.weights.h5.bak", "run/notes.txt"]
    names += [f"mine.weights.h5.{'0a' * 16}.tmp.weights.h5"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    unfinished = tmp_path / f"latest.weights.h5.{'0a' * 16}.tmp.weights.h5"
    unfinished.write_text("half of it")
    fit(make_model(), backup_in(tmp_path))
    found = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(found) == sorted(tmp_path / name for name in names)
    assert all((tmp_path / name).read_text() == name for name in names)


def test_the_backup_can_be_kept(tmp_path):
    kept = {"delete_checkpoint": False, "double_checkpoint": True}
    first = make_model()
    fit(first, backup_in(tmp_path, **kept))
    assert sorted(os.listdir(tmp_path)) == ["latest.weights.h5", "previous.weights.h5"]
    again = make_model()
    assert fit(again, backup_in(tmp_path, **kept)) == {}
    np.testing.assert_array_equal(again.get_weights()[0], first.get_weights()[0])


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_the_backup_before_serves_if_the_latest_is_lost(tmp_path, damage):
    kept = {"delete_checkpoint": False, "double_checkpoint": True}
    whole = make_model()
    expected = fit(whole)
    fit(make_model(), backup_in(tmp_path, **kept), epochs=3)
    latest = tmp_path / "latest.weights.h5"
    if damage == "cut":
        latest.write_bytes(latest.read_bytes()[:500])
    else:
        latest.unlink()
    rest = fit(make_model(), backup_in(tmp_path, **kept))
    np.testing.assert_allclose(rest["loss"], expected["loss"][2:], rtol=1e-6)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "latest.weights.h5").write_bytes(b"no HDF5")
    with pytest.raises(OSError, match="file signature not found"):
        fit(make_model(), backup_in(tmp_path))


def test_a_full_disk_keeps_the_last_backup(tmp_path, monkeypatch):
    class Full(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                monkeypatch.setattr(os, "fsync", self.fail)

        def fail(self, descriptor):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fit(make_model(), Full(), backup_in(tmp_path))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["latest.weights.h5"]
    assert len(fit(make_model(), backup_in(tmp_path))["loss"]) == EPOCHS - 2


def test_errors(tmp_path):
    for bad, error in (("", ValueError), ("gs://bucket/b", ValueError), (3, TypeError)):
        with pytest.raises(error, match=r"AtomicBackupAndRestore: `backup_dir` must"):
            AtomicBackupAndRestore(bad)
    for bad in (0, -1, 1.5, "batch", True, False):
        with pytest.raises(ValueError, match=r"`save_freq` must be a positive integer"):
            AtomicBackupAndRestore(tmp_path, save_freq=bad)
    for argument in ("double_checkpoint", "delete_checkpoint"):
        with pytest.raises(TypeError, match=f"`{argument}` must be a bool"):
            AtomicBackupAndRestore(tmp_path, **{argument: "no"})
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    # Not by `fit`: on JAX and torch it builds the model before callbacks begin.
    backup = backup_in(tmp_path)
    backup.set_model(model)
    with pytest.raises(ValueError, match="the model must be built before `fit`"):
        backup.on_train_begin()
    make_model().save_weights(tmp_path / "latest.weights.h5")
    with pytest.raises(ValueError, match="Another callback wrote its 'latest"):
        fit(make_model(), backup_in(tmp_path))


# Trains until it is killed, with a backup after every batch; says when the first one
# is there. The number of epochs is more than it will reach.
TRAINING = """
import sys, keras, numpy as np
from keras_noisy.callbacks import AtomicBackupAndRestore

class Ready(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print(epoch, flush=True)

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(2048)])
model.compile("adam", "mse", run_eagerly=True)
model.fit(
    np.zeros((2, 64)), np.zeros((2, 2048)), batch_size=1, epochs=10**6, verbose=0,
    callbacks=[AtomicBackupAndRestore(sys.argv[1], save_freq=1), Ready()],
)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_every_kill_leaves_a_backup(tmp_path):
    moments = np.random.default_rng(0)
    folder = tmp_path / "backup"
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(2048)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    before = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        assert int(process.stdout.readline()) >= before
        # Meanwhile it writes all the time.
        for _ in range(moments.integers(1, 20)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        epoch = epoch_of(folder / "latest.weights.h5")
        assert epoch >= before
        before = epoch
        model.load_weights(folder / "latest.weights.h5")
        # An epoch has two steps, and one that was begun again some more.
        steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
        assert steps > 2 * epoch
        # The latest, and one that was being written.
        assert len(os.listdir(folder)) <= 2


def test_a_kill_between_any_two_steps_of_a_write(tmp_path, monkeypatch):
    """What is in the folder at each call of the system is what a kill there leaves."""
    seen = []
    replace, fsync = os.replace, os.fsync

    def look():
        latest = tmp_path / "latest.weights.h5"
        paths = [latest, tmp_path / "previous.weights.h5"]
        paths = [path for path in paths if path.exists()]
        if paths:
            seen.append(epoch_of(paths[0]))

    def watched(function):
        def call(*args):
            look()
            function(*args)
            look()

        return call

    monkeypatch.setattr(os, "replace", watched(replace))
    monkeypatch.setattr(os, "fsync", watched(fsync))
    fit(make_model(), backup_in(tmp_path, double_checkpoint=True))
    assert seen == sorted(seen)
    assert set(seen) == {1, 2, 3, 4, 5}
