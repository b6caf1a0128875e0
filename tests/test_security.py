"""Files from elsewhere: what they hold is never run."""

import io
import json
import pathlib
import pickle
import re
import zipfile

import keras
import numpy as np
import pytest

import keras_noisy
from keras_noisy import callbacks, losses, noise, training

from .test_contract import CLASSES

PACKAGE = pathlib.Path(keras_noisy.__file__).parent
X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
LABELS = np.arange(12) % 3


class Payload:
    """Pickled, it runs `touch` when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.fixture
def touched(tmp_path):
    return tmp_path / "touched"


@pytest.fixture
def payload(touched):
    """An array that touches a file when it is unpickled."""
    array = np.array([Payload(touched)], dtype=object)
    assert pickle.loads(pickle.dumps(array)) is not None
    touched.unlink()  # The payload works.
    return array


def build_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def run(storage, epochs=1, rounds=2, stop=None):
    """Run SEAL's rounds in a folder, the last of them up to the epoch `stop`."""

    def stopped(number):
        return [Stop(stop)] if number == rounds - 1 and stop else []

    evolution = training.SelfEvolution(
        build_model, rounds=rounds, storage=storage, from_logits=True
    )
    return evolution.fit(X, LABELS, epochs=epochs, verbose=0, callbacks=stopped)


class Stop(keras.callbacks.Callback):
    """Ends the program after some epochs, as a user would."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epochs:
            raise KeyboardInterrupt


def test_label_files(payload, touched, tmp_path):
    np.savez(tmp_path / "labels.npz", format=payload, noisy=payload, clean=payload)
    with pytest.raises(ValueError, match="undamaged file"):
        noise.NoisyLabels.load(tmp_path / "labels.npz")
    (tmp_path / "labels.npz").write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match="undamaged file"):
        noise.NoisyLabels.load(tmp_path / "labels.npz")
    assert not touched.exists()


def forget_digests(storage):
    """Take the digests out of a run's state, as somebody would who knows of them."""
    state = json.loads((storage / "run.json").read_text())
    del state["digest"], state["digests"]
    (storage / "run.json").write_text(json.dumps(state))


@pytest.mark.parametrize("content", ["array", "pickle"])
def test_soft_labels_of_a_run(payload, touched, tmp_path, content):
    storage = tmp_path / "run"
    run(storage)
    path = storage / "soft_labels-1.npy"
    if content == "array":
        np.save(path, payload)
    else:
        path.write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match="is damaged, or another run's"):
        run(storage)
    forget_digests(storage)
    with pytest.raises(ValueError, match=r"(?i)pickle|object"):
        run(storage)
    assert not touched.exists()


def test_checkpoint_of_a_run(payload, touched, tmp_path):
    storage = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(storage, epochs=2, rounds=1, stop=1)
    (path,) = storage.glob("checkpoint-*.npz")
    np.savez(path, **{"000000": payload})
    with pytest.raises(ValueError, match="is damaged, or another run's"):
        run(storage, epochs=2, rounds=1)
    forget_digests(storage)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        run(storage, epochs=2, rounds=1)
    assert not touched.exists()
    # One that claims 10 GB is not believed.
    header = io.BytesIO()
    description = {"descr": "<f8", "fortran_order": False, "shape": (10**10 // 8,)}
    np.lib.format.write_array_header_1_0(header, description)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("000000.npy", header.getvalue())
    with pytest.raises(ValueError, match="claims more than the 0 bytes"):
        run(storage, epochs=2, rounds=1)


@pytest.mark.parametrize("name", ["state.json", "means-0.f32", "counts-0.i64"])
def test_averages(payload, touched, tmp_path, name):
    """Raw numbers and JSON: whatever the bytes, nothing is loaded but numbers."""
    storage = tmp_path / "averages"

    def average():
        seal = callbacks.SEAL(X, storage=storage, from_logits=True)
        seal.set_model(build_model())
        one_hot = np.eye(3, dtype="float32")[LABELS]
        seal.model.fit(X, one_hot, epochs=2, verbose=0, callbacks=[seal])
        return seal.soft_labels

    average()
    (storage / name).write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError):
        average()
    assert not touched.exists()


def test_resume_false_deletes_nothing_of_others(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="empty or of a run"):
        training.SelfEvolution(
            build_model, storage=tmp_path, from_logits=True
        ).fit(X, LABELS, epochs=1, verbose=0, resume=False)  # fmt: skip
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    storage = tmp_path / "run"
    run(storage, rounds=1)
    (storage / "notes.txt").write_text("mine")
    evolution = training.SelfEvolution(
        build_model, rounds=1, storage=storage, from_logits=True
    )
    evolution.fit(X, LABELS, epochs=1, verbose=0, resume=False)
    assert (storage / "notes.txt").read_text() == "mine"


def test_a_model_file_brings_no_function_along(tmp_path):
    """The configuration of a target holds a name, and names must be registered."""
    loss = losses.TargetModification(target=registered_target)
    config = json.loads(json.dumps(loss.get_config()))
    text = json.dumps(config)
    assert "registered_target" in text
    for name in ("os>system", "system"):
        config["target"] = {
            **config["target"],
            "registered_name": name,
            "config": name.rpartition(">")[2],
            "module": "os",
        }
        with pytest.raises((TypeError, ValueError)):
            losses.TargetModification.from_config(config)


@keras.saving.register_keras_serializable(package="tests")
def registered_target(q, p):
    """Keep the labels."""
    return q


@pytest.mark.parametrize("name", CLASSES)
def test_configurations_are_plain(name):
    """Numbers, strings, lists: nothing that a file could hide code in."""
    config = CLASSES[name].make(getattr(losses, name)).get_config()
    text = json.dumps(config)
    assert json.loads(text) == config
    assert "__lambda__" not in text


def test_nothing_unpickles_or_evaluates():
    forbidden = re.compile(
        r"^\s*(?:import|from) (?:pickle|marshal|shelve|subprocess|dill|joblib)\b"
        r"|(?<![\w.])(?:eval|exec|compile|__import__)\("
        r"|allow_pickle=True|os\.system|safe_mode=False|enable_unsafe",
        re.MULTILINE,
    )
    for path in PACKAGE.rglob("*.py"):
        found = set(forbidden.findall(path.read_text(encoding="utf-8")))
        assert not found, path
