"""A data set and a recipe that train in a moment."""

import contextlib
import pathlib

import numpy as np
import pytest

from keras_noisy._data import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Everything else must be the same in a run that was continued.
VOLATILE = ("seconds", "finished", "command", "peak_memory_mb")


def stable(record):
    """Return what a record of a run that was continued shares with a whole run's."""
    return {key: value for key, value in record.items() if key not in VOLATILE}


def write_recipe(folder, recipe, *, counts, shape, classes):
    """Write a recipe and images of so many classes; return the paths of both."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in zip(("train", "test"), counts, strict=True):
        y = np.arange(count) % classes
        x = rng.integers(0, 120, (count, *shape)) + 45 * y[:, None, None, None]
        arrays[f"x_{split}"], arrays[f"y_{split}"] = x.astype("uint8"), y
    np.savez(folder / "data.npz", **arrays)
    (folder / "recipe.toml").write_text(recipe)
    return str(folder / "recipe.toml"), str(folder / "data.npz")


RECIPE = """
title = "Tiny"

[data]
name = "custom"

[network]
name = "dense"
units = [16]

[training]
epochs = 4
batch_size = 16
optimizer = { name = "SGD", learning_rate = 0.1, momentum = 0.5 }
schedule = { kind = "steps", at = [2], factor = 0.5 }

[noise.symmetric]
kind = "symmetric"
rates = [0.2, 0.4]

[noise.instance_dependent]
kind = "instance_dependent"
rates = [0.25]

[methods.CE]
loss = "SparseCategoricalCrossentropy"

[methods.ProSelfLC]
loss = "ProSelfLC"
arguments = { exp_base = 8.0 }
by_noise."symmetric 0.4" = { exp_base = 16.0 }

[methods."Forward(true)"]
loss = "ForwardCorrection"
arguments = { transition_matrix = "true" }

[methods.Forward]
loss = "ForwardCorrection"
arguments = { transition_matrix = "estimated" }
estimate = { epochs = 2, quantile = 0.9 }

[methods.DMI]
loss = "DeterminantMutualInformation"
start = { loss = "SparseCategoricalCrossentropy", epochs = 2 }
learning_rate = 0.01

[methods.ELR]
loss = "EarlyLearningRegularization"
preset = "cifar10"
callback = { num_examples = "examples" }

[methods.DAC]
loss = "DeepAbstention"
extra_outputs = 1
callback = { warmup_epochs = 2 }

[methods.M-DYR-H]
loss = "SparseCategoricalCrossentropy"
model = { name = "DynamicBootstrapping", warmup_epochs = 2 }

[methods.S-adaptation]
loss = "SparseCategoricalCrossentropy"
model.name = "NoiseAdaptation"
model.transition_matrix = "estimated"
model.from_logits = true
estimate = { epochs = 2, keep_weights = true }

[methods.Masking]
loss = "SparseCategoricalCrossentropy"
model.name = "Masking"
model.transition_matrix = "estimated"
model.structure = "true transitions"
model.from_logits = true
estimate = { epochs = 2, keep_weights = true, keep_structure = true }

[methods.Joint]
loss = "JointOptimization"
epochs = 3
second = { epochs = 4, learning_rate = 0.05 }
callback.num_examples = "examples"
callback.warmup_epochs = 2
callback.window = 2

[methods.Co-teaching]
loss = "SparseCategoricalCrossentropy"
model = { name = "CoTeaching", peer = "network", forget_rate = "rate", num_gradual = 2 }

[methods.SEAL]
loss = "CategoricalCrossentropy"
self_evolution = { rounds = 2 }

[methods."SEAL (DMI)"]
loss = "CategoricalCrossentropy"
start = { loss = "SparseCategoricalCrossentropy", epochs = 2 }
first_loss = "DeterminantMutualInformation"
learning_rate = 0.01
self_evolution = { rounds = 2, warm_start = "last" }

[[expected]]
source = "Table 0"
noise = "symmetric"
rates = [0.4]
epoch = "last"
figures.CE = [50.0]
spreads.CE = [0.5]
"""


class Killed(BaseException):
    """Stands for SIGKILL, which costs a process and that process its start."""


@pytest.fixture
def die_at(monkeypatch):
    """Return a context, in which the run dies before it writes its state the nth time.

    A checkpoint is written before the state that names it, so it is there by then.
    """

    @contextlib.contextmanager
    def context(when):
        write, count = files.write_json, 0

        def write_or_die(path, content):
            nonlocal count
            count += path.endswith(("state.json", "run.json"))
            if count == when:
                raise Killed
            write(path, content)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(files, "write_json", write_or_die)
            yield

    return context


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Return `(recipe, data)`, the paths of a recipe and of its data set."""
    folder = tmp_path_factory.mktemp("tiny")
    return write_recipe(folder, RECIPE, counts=(96, 48), shape=(6, 6, 1), classes=4)
