"""What averaging predictions costs: a plain fit, on-the-fly, a pass per epoch.

With `--kinds`, what `callbacks.LearningDynamics` costs as well: on all examples, on
10,000 of them, and on the predictions that SEAL has collected.

Run from the root of the repository:

    python benchmarks/seal_overhead.py

One process trains a plain model and models with each way to collect, epoch by epoch
in turn, so that what else runs on the machine disturbs all of them. Synthetic images,
50,000 examples of 100 classes.
"""

import argparse
import os
import platform
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_noisy import callbacks
from keras_noisy._data import arrays

# Plain twice: what two models of one process differ by is the noise of the ratios.
KINDS = ["plain", "plain again", "on the fly", "pass"]
DYNAMICS = ["dynamics", "dynamics of 10,000", "on the fly, with dynamics"]


def build_model(shape, num_classes, filters, jit):
    """Return a small convolutional network for images, or a single layer."""
    layers = [keras.Input(shape)]
    if len(shape) == 3:
        for factor in (1, 2, 4):
            options = {"padding": "same", "activation": "relu"}
            layers += [
                keras.layers.Conv2D(factor * filters, 3, strides=2, **options),
                keras.layers.Conv2D(factor * filters, 3, **options),
            ]
        layers.append(keras.layers.GlobalAveragePooling2D())
    model = keras.Sequential([*layers, keras.layers.Dense(num_classes)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=jit)
    return model


class Trainer:
    """A model that is trained one epoch at a time."""

    def __init__(self, kind, x, y, arguments):
        self.model = build_model(
            x.shape[1:], arguments.classes, arguments.filters, arguments.jit
        )
        self.epoch = 0
        self.callbacks = []
        # The same pipeline for all: that of Keras differs in speed.
        options = {"batch_size": arguments.batch, "seed": 0}
        self.data = arrays.Batches(x, y, **options)
        predict = {"batch_size": arguments.predict_batch, "from_logits": True}
        clean = (y + (np.arange(len(y)) % 5 < 2)) % arguments.classes
        watched = x
        if kind.startswith("on the fly"):
            seal = watched = callbacks.SEALOnTheFly(len(x), from_logits=True)
            self.data = seal.pipeline(self.model, x, y, **options)
            self.callbacks = [seal]
        elif kind == "pass":
            self.callbacks = [callbacks.SEAL(x, **predict)]
        if "dynamics" in kind:
            size = 10_000 if "10,000" in kind else None
            self.callbacks.append(
                callbacks.LearningDynamics(
                    watched, y, clean, num_examples=size, **predict
                )
            )

    def train(self):
        """Train an epoch and return the seconds it took, of the clock and of CPU."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.model.fit(
            self.data,
            epochs=self.epoch + 1,
            initial_epoch=self.epoch,
            shuffle=False,
            verbose=0,
            callbacks=self.callbacks,
        )
        self.epoch += 1
        return time.perf_counter() - wall, time.process_time() - cpu


def main():
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--predict-batch", type=int, default=256)
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument(
        "--features",
        type=int,
        help="vectors of this size and a single layer instead of images: a step costs "
        "next to nothing, so the differences are the cost of the callbacks in seconds",
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--kinds", nargs="+", choices=KINDS + DYNAMICS, default=KINDS)
    parser.add_argument("--jit", action="store_true")
    arguments = parser.parse_args()
    backend = keras.backend.backend()
    if arguments.threads and backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    generator = np.random.default_rng(0)
    shape = (arguments.features,) if arguments.features else (32, 32, 3)
    x = generator.standard_normal((arguments.examples, *shape), dtype="float32")
    y = generator.integers(0, arguments.classes, arguments.examples)
    kinds = ["plain", "plain again", *arguments.kinds]
    kinds = list(dict.fromkeys(kinds))  # Ratios are to the plain ones.
    trainers = [Trainer(kind, x, y, arguments) for kind in kinds]
    for trainer in trainers:  # Compile.
        trainer.train()
    seconds = []
    for repeat in range(arguments.repeats):
        order = np.roll(np.arange(len(kinds)), repeat)
        row = np.empty((len(kinds), 2))
        for index in order:
            row[index] = trainers[index].train()
        seconds.append(row)
    seconds = np.array(seconds)  # (repeat, kind, clock)
    medians = np.median(seconds, axis=0)
    # Against the mean of the two plain epochs of the same turn.
    ratios = seconds / seconds[:, :2].mean(axis=1, keepdims=True)
    low, ratios, high = np.quantile(ratios, [0.25, 0.5, 0.75], axis=0)
    print(
        f"{os.cpu_count()}-core {platform.machine()} CPU, load average "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}, Keras "
        f"{keras.__version__}, {backend} {__import__(backend).__version__}\n\n"
        "Ratio: median over the turns, and quartiles.\n\n"
        "| an epoch of | s, clock | ratio | s, CPU | ratio |\n|---|---|---|---|---|"
    )
    for index, kind in enumerate(kinds):
        cells = []
        for clock in range(2):
            here = index, clock
            cells.append(f"{medians[here]:.2f}")
            cells.append(f"{ratios[here]:.3f} ({low[here]:.3f} to {high[here]:.3f})")
        print(f"| {kind} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
