"""Whatever changes a training step gives the same weights on two devices of JAX."""

import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()

PROGRAM = """
import keras, numpy as np
from keras_noisy import callbacks, losses, noise, training

x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
y = np.arange(64) % 4
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

def build_network():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])

def with_ids(loss, callback):
    model = build_network()
    model.compile(keras.optimizers.SGD(0.5), loss)
    data = callback.pipeline(model, x, y, batch_size=16, shuffle=False)
    return model, {"x": data, "callbacks": [callback]}

def around(model):
    model.compile(keras.optimizers.SGD(0.5), cross_entropy)
    return model, {"x": x, "y": y, "batch_size": 16}

WAYS = {
    "ELR": lambda: with_ids(
        losses.EarlyLearningRegularization(from_logits=True),
        callbacks.EarlyLearningTargets(64),
    ),
    "joint optimisation": lambda: with_ids(
        losses.JointOptimization(from_logits=True),
        callbacks.JointOptimizationLabels(64, warmup_epochs=1, window=2),
    ),
    "co-teaching": lambda: around(training.CoTeaching(
        build_network(), build_network(), forget_rate=0.4, num_gradual=2)),
    "distillation": lambda: around(training.Distillation(
        build_network(), build_network(), temperature=2.0, from_logits=True)),
    "S-adaptation": lambda: around(training.NoiseAdaptation(
        build_network(), transition_matrix=noise.symmetric(4, 0.3), from_logits=True)),
    "Masking": lambda: around(training.Masking(
        build_network(), structure=np.eye(4) + np.eye(4, k=1),
        transition_matrix=noise.symmetric(4, 0.3), from_logits=True, seed=1)),
    "MD-DYR-SH": lambda: around(training.DynamicBootstrapping(
        build_network(), warmup_epochs=1, mixup="dynamic", bootstrap="soft_to_hard",
        annealing_epochs=3, seed=1)),
    "SSR": lambda: around(training.SSR(
        build_network(), warmup_epochs=1, num_neighbors=5, seed=1)),
    "DivideMix": lambda: around(training.DivideMix(
        build_network(), build_network(), warmup_epochs=1, ramp_epochs=0, seed=1)),
}

def train(make, distribution):
    keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(0)
    model, arguments = make()
    start = model.get_weights()
    model.fit(**arguments, epochs=3, shuffle=False, verbose=0)
    assert max(np.abs(a - b).max() for a, b in zip(start, model.get_weights())) > 0.05
    return model.get_weights()

devices = keras.distribution.list_devices()
assert len(devices) == 2
for name, make in WAYS.items():
    one = train(make, None)
    two = train(make, keras.distribution.DataParallel(devices=devices))
    for a, b in zip(one, two):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=name)
"""

# What predicts all examples: 63 do not divide between two devices, nor do their
# batches of data sets. Networks are trained on 64.
PREDICTIONS = """
import keras, numpy as np
from keras_noisy import analysis, callbacks, training

x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
y = np.arange(64) % 4

class Parts(keras.utils.PyDataset):
    num_batches = 9

    def __getitem__(self, index):
        rows = slice(7 * index, 7 * index + 7)
        return x[:63][rows], y[:63][rows]

def build(loss="sparse_categorical_crossentropy", normalization=True):
    layers = [keras.layers.BatchNormalization(momentum=0.1)] if normalization else []
    output = keras.layers.Dense(4, activation="softmax")
    model = keras.Sequential([keras.Input((6,)), *layers, output])
    model.compile(keras.optimizers.SGD(0.5), loss)
    return model

def fit(*watch, model=None, n=64):
    model = model or build()
    return model.fit(x[:n], y[:n], batch_size=16, epochs=2, shuffle=False, verbose=0,
                     callbacks=[*watch])

def seal(data, **kwargs):
    watch = callbacks.SEAL(data, **kwargs)
    fit(watch)
    return watch.soft_labels

def dynamics(data):
    history = fit(callbacks.LearningDynamics(data, y[:63])).history
    return np.array([history["entropy"], history["label_agreement"]])

def rounds(collect):
    evolution = training.SelfEvolution(
        lambda: build("categorical_crossentropy"), rounds=2, collect=collect)
    evolution.fit(x[:63], y[:63], epochs=2, batch_size=16, verbose=0)
    return evolution.soft_labels

def noise():
    return training.generate_instance_dependent_noise(
        lambda: build("categorical_crossentropy"), x[:63], y[:63], rate=0.2,
        epochs=2, batch_size=16, verbose=0, return_mean_predictions=True)[1]

def bootstrapping():
    model = training.DynamicBootstrapping(
        build(normalization=False), warmup_epochs=1, bootstrap_delay=0, seed=1)
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    data = Parts()
    losses = training.dynamic_bootstrapping._losses(model, data, None, 9)
    return np.concatenate(list(losses))

def held_out():
    result = analysis.hold_out_class_conditional_test(
        lambda: build(normalization=False), x[:63], y[:63], transition_matrix=np.eye(4),
        class_weights=np.full(4, 0.25), hold_out=15 / 63, batch_size=16, verbose=0)
    return result.error

def ratio():
    model = build(normalization=False)
    return analysis.critical_sample_ratio(model, x[:63], radius=0.1, max_steps=5)

WAYS = {
    "SEAL": lambda: seal(x[:63]),
    "SEAL with statistics of the data": lambda: seal(
        x[:63], recompute_statistics=True),
    "SEAL of a data set": lambda: seal(Parts()),
    "dynamics": lambda: dynamics(x[:63]),
    "dynamics of a data set": lambda: dynamics(Parts()),
    "rounds": lambda: rounds("pass"),
    "rounds on the fly": lambda: rounds("on_the_fly"),
    "instance-dependent noise": noise,
    "dynamic bootstrapping": bootstrapping,
    "class-conditional test": held_out,
    "critical sample ratio": ratio,
}

devices = keras.distribution.list_devices()
assert len(devices) == 2
for name, make in WAYS.items():
    found = []
    for distribution in None, keras.distribution.DataParallel(devices=devices):
        keras.distribution.set_distribution(distribution)
        keras.utils.set_random_seed(0)
        found.append(np.asarray(make()))
    # Rounds train on one example twice, so that the last batch divides.
    atol = 0.05 if "rounds" in name or "noise" in name else 1e-5
    np.testing.assert_allclose(*found, atol=atol, err_msg=name)
"""


@pytest.mark.skipif(BACKEND != "jax", reason="DataParallel is for the JAX backend")
@pytest.mark.parametrize("program", [PROGRAM, PREDICTIONS], ids=["train", "predict"])
def test_one_device_and_two(program):
    environment = {
        **os.environ,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")
        + " --xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[2]),
    }
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


# Batches as `pipeline` makes them of arrays, and as a user divides them.
PROCESSES = """
import sys, keras, numpy as np

path, port, process = sys.argv[1], sys.argv[2], int(sys.argv[3])
if process >= 0:
    keras.distribution.initialize("127.0.0.1:" + port, 2, process)
    devices = keras.distribution.list_devices()
    assert len(devices) == 2
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False))

from keras_noisy import callbacks, losses

# With the row for ids out of range they do not divide.
N = 32
x = np.random.default_rng(0).normal(size=(N, 6)).astype("float32")
y = np.arange(N) % 4

class Parts(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        ids = np.arange(8 * index, 8 * index + 8)
        if process >= 0:
            ids = ids.reshape(2, 4)[process]
        return {"x": x[ids], "sample_id": ids}, y[ids]

def train(loss, callback, result, *data):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    model.compile(keras.optimizers.SGD(0.5), loss)
    data = callback.pipeline(model, *data, batch_size=8)
    model.fit(data, epochs=3, shuffle=False, verbose=0,
              callbacks=[callback, callbacks.GlobalTrust()])
    rows = callback._rows
    for table in rows._tables.values():
        size = table.value.sharding.shard_shape(table.shape)[-2]
        assert size == (table.shape[-2] / 2 if process >= 0 else N + 1)
    # A file is the same on every number of devices.
    file = f"{path}.{process}.weights.h5"
    kept = rows.results()
    model.save_weights(file)
    for table in rows._tables.values():
        rows.write(table, 0)
    model.load_weights(file)
    for name, value in rows.results().items():
        np.testing.assert_array_equal(value, kept[name])
    assert model._keras_noisy_clock.time() == (12, 12)
    return model.get_weights()[0], getattr(callback, result)

cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
ELR, joint = losses.EarlyLearningRegularization, losses.JointOptimization
labels = callbacks.JointOptimizationLabels(N, warmup_epochs=1, window=2)
ways = {
    "SEAL": (cross_entropy, callbacks.SEALOnTheFly(N), "soft_labels", Parts(), y),
    "ELR": (ELR(from_logits=True), callbacks.EarlyLearningTargets(N), "targets", x, y),
    "joint": (joint(from_logits=True), labels, "soft_labels", x, y),
}
found = {}
for name, way in ways.items():
    found[name + " weights"], found[name + " result"] = train(*way)
np.savez(path, **found)
"""


@pytest.mark.skipif(BACKEND != "jax", reason="processes are joined by the JAX backend")
@pytest.mark.filterwarnings("ignore")
def test_one_process_and_two(tmp_path):
    """What is kept for each example is in shards, and is what one process has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[2]),
        "PYTHONWARNINGS": "ignore",
    }
    paths = [tmp_path / f"{process}.npz" for process in (-1, 0, 1)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESSES, str(path), port, path.stem],
            env=environment,
        )
        for path in paths
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0, 0]
    one, *both = (np.load(path) for path in paths)
    for two in both:
        assert set(two) == set(one)
        for name in one:
            np.testing.assert_allclose(two[name], one[name], atol=1e-6, err_msg=name)
