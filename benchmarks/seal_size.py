"""SEAL at the size of ImageNet: memory and time with averages in files.

Run from the root of the repository; it needs 16 GB of disk in `--storage`:

    python benchmarks/seal_size.py

Two rounds on 1,281,167 synthetic examples of 1000 classes, and what they take. The
network is a single layer, so that what is measured is SEAL.
"""

import argparse
import os
import platform
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_noisy import training
from keras_noisy.training import _run

FEATURES = 8


def resident_megabytes():
    """Return the resident memory of this process (Linux), mapped files included."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(row.split()[1]) for row in file if "VmRSS" in row) / 1024


class Watch(threading.Thread):
    """Samples the resident memory ten times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak = 0
        self.start()

    def run(self):
        """Sample for ever."""
        while True:
            self.peak = max(self.peak, resident_megabytes())
            time.sleep(0.1)


class Stopwatch(keras.callbacks.Callback):
    """Prints how long the parts of an epoch take."""

    def on_epoch_begin(self, epoch, logs=None):
        """Note the time."""
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Wait for the step: JAX would queue hundreds, each with its targets."""
        float(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        """Print the time of the training alone: SEAL's callback comes later."""
        print(
            f"  training: {time.perf_counter() - self.start:.0f} s, resident "
            f"{resident_megabytes():.0f} MB",
            flush=True,
        )


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--storage", default="runs/seal_size")
    arguments = parser.parse_args()

    generator = np.random.default_rng(0)
    x = generator.normal(size=(arguments.examples, FEATURES)).astype("float32")
    y = generator.integers(0, arguments.classes, arguments.examples)

    def build_model():
        layer = keras.layers.Dense(arguments.classes)
        model = keras.Sequential([keras.Input((FEATURES,)), layer])
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, jit_compile=False)
        return model

    backend = keras.backend.backend()
    print(
        f"{os.cpu_count()}-core {platform.machine()} CPU, Python "
        f"{platform.python_version()}, Keras {keras.__version__}, {backend} "
        f"{__import__(backend).__version__}"
    )
    print(f"resident before the run: {resident_megabytes():.0f} MB")
    watch = Watch()
    start = time.perf_counter()
    evolution = training.SelfEvolution(
        build_model, rounds=2, storage=arguments.storage, from_logits=True
    )
    evolution.fit(
        x,
        y,
        epochs=arguments.epochs,
        batch_size=1024,
        predict_batch_size=1024,
        clean_labels=y,
        callbacks=[Stopwatch()],
        verbose=2,
    )
    size = sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(arguments.storage)
        for name in names
    )
    print(
        f"soft labels: {evolution.soft_labels.shape} {evolution.soft_labels.dtype}\n"
        f"whole run: {time.perf_counter() - start:.0f} s\n"
        f"peak resident memory: {watch.peak:.0f} MB\n"
        f"files at the end: {size / 1e9:.1f} GB"
    )
    _run.delete(arguments.storage)


if __name__ == "__main__":
    main()
