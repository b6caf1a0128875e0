"""Whatever changes a training step gives the same weights on two devices of JAX."""

import os
import pathlib
import subprocess
import sys

import keras
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
    "S-adaptation": lambda: around(training.NoiseAdaptation(
        build_network(), transition_matrix=noise.symmetric(4, 0.3), from_logits=True)),
    "Masking": lambda: around(training.Masking(
        build_network(), structure=np.eye(4) + np.eye(4, k=1),
        transition_matrix=noise.symmetric(4, 0.3), from_logits=True, seed=1)),
    "MD-DYR-SH": lambda: around(training.DynamicBootstrapping(
        build_network(), warmup_epochs=1, mixup="dynamic", bootstrap="soft_to_hard",
        annealing_epochs=3, seed=1)),
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


@pytest.mark.skipif(BACKEND != "jax", reason="DataParallel is for the JAX backend")
def test_one_device_and_two():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[2]),
    }
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
