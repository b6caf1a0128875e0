"""Cost of an epoch of DivideMix and SSR, beside cross-entropy and a bare loop.

A bare loop is TensorFlow's `GradientTape` with the passes of the method alone: what it
predicts and what it trains on, with random rows in the place of the chosen ones, no
division, no mixing and no Keras around it. One process trains an epoch of each way in
turn; a ratio is that of the CPU's time for epochs of one turn, median over the turns
(quartiles).
Two dense networks of two hidden layers of 512 units.

Run from the root of the repository, on TensorFlow:

    python benchmarks/divided_epochs.py
"""

import argparse
import os
import pathlib
import platform
import shlex
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from keras_noisy import training

NUM_EXAMPLES, NUM_FEATURES, NUM_CLASSES = 4096, 64, 10
BATCH = 128
PREDICT_BATCH = 256
STEPS = NUM_EXAMPLES // BATCH
PLAIN = "cross-entropy"
# Epochs that compile and fill caches; the first is the method's warm-up.
WARM_UP = 3


def network():
    """Return a dense network with logits."""
    dense = keras.layers.Dense
    return keras.Sequential(
        [
            keras.Input((NUM_FEATURES,)),
            dense(512, activation="relu"),
            dense(512, activation="relu"),
            dense(NUM_CLASSES),
        ]
    )


def cross_entropy():
    """Return the loss of all ways."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Fitted:
    """A model that `fit` trains, one epoch at a time."""

    def __init__(self, model, x, y):
        model.compile(keras.optimizers.SGD(0.01), cross_entropy())
        self.model, self.data, self.epoch = model, (x, y), 0

    def train_epoch(self):
        """Train an epoch and return its seconds of the CPU.

        With what the method's own callback does before it, without what `fit` does
        before and after its epochs.
        """
        timer = Timer()
        if hasattr(self.model, "warmup_epochs"):
            # The method's callback comes first, and so its time is begun in `fit`.
            self.model.set_epoch = timer.before(self.model)
        arguments = {"batch_size": BATCH, "verbose": 0, "callbacks": [timer]}
        span = {"initial_epoch": self.epoch, "epochs": self.epoch + 1}
        self.model.fit(*self.data, **arguments, **span)
        self.epoch += 1
        return timer.seconds


class Timer(keras.callbacks.Callback):
    """Measures an epoch."""

    def __init__(self):
        super().__init__()
        self.began = self.seconds = None

    def before(self, model):
        """Return a `set_epoch` that begins the time."""

        def set_epoch(epoch):
            self.began = time.process_time()
            type(model).set_epoch(model, epoch)

        return set_epoch

    def on_epoch_begin(self, epoch, logs=None):
        """Begin, unless the method has."""
        self.began = self.began or time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        """End."""
        self.seconds = time.process_time() - self.began


class Bare:
    """A loop with so many passes, in batches of the training, for each network.

    Args:
        x: Inputs.
        y: Class ids.
        networks: Number of networks.
        predicted: Rows that a step predicts without a gradient.
        trained: Rows that it trains on.
        passes: Predictions of all examples before an epoch.
    """

    def __init__(self, x, y, *, networks, predicted, trained, passes):
        self.x, self.y = x, y
        self.models = [network() for _ in range(networks)]
        self.optimizer = keras.optimizers.SGD(0.01)
        self.weights = [w for model in self.models for w in model.trainable_weights]
        self.optimizer.build(self.weights)
        self.predicted, self.trained, self.passes = predicted, trained, passes
        self.generator = np.random.default_rng(0)
        self.loss = cross_entropy()
        self.predict = [
            tf.function(lambda rows, model=model: model(rows)) for model in self.models
        ]
        self.step = tf.function(self._step, jit_compile=True)

    def _step(self, predicted, trained, labels):
        found = [model(predicted) for model in self.models] if self.predicted else []
        with tf.GradientTape() as tape:
            values = [self.loss(labels, model(trained)) for model in self.models]
            loss = tf.add_n(values)
        self.optimizer.apply(tape.gradient(loss, self.weights), self.weights)
        # So that nothing is left out.
        return loss, [tf.reduce_sum(each) for each in found]

    def train_epoch(self):
        """Train an epoch and return its seconds of the CPU."""
        began = time.process_time()
        for predict in self.predict:
            for _ in range(self.passes):
                for start in range(0, NUM_EXAMPLES, PREDICT_BATCH):
                    predict(self.x[start : start + PREDICT_BATCH]).numpy()
        for _ in range(STEPS):
            rows = self.generator.integers(0, NUM_EXAMPLES, self.trained)
            extra = rows if not self.predicted else np.resize(rows, self.predicted)
            self.step(self.x[extra], self.x[rows], self.y[rows])
        return time.process_time() - began


def ways(x, y):
    """Return the ways to train by name, and the bare loops by the same names."""

    def divide(**arguments):
        return training.DivideMix(network(), network(), warmup_epochs=1, **arguments)

    noise = keras.layers.GaussianNoise(0.01)
    fitted = {
        PLAIN: Fitted(network(), x, y),
        "DivideMix, one view": Fitted(divide(), x, y),
        "DivideMix, two views": Fitted(divide(augmentation=noise), x, y),
        "SSR": Fitted(training.SSR(network(), warmup_epochs=1), x, y),
    }
    of_divided = {"networks": 2, "passes": 1}
    bare = {
        PLAIN: Bare(x, y, networks=1, predicted=0, trained=BATCH, passes=0),
        "DivideMix, one view": Bare(
            x, y, predicted=BATCH * 3 // 2, trained=BATCH, **of_divided
        ),
        "DivideMix, two views": Bare(
            x, y, predicted=BATCH * 3, trained=2 * BATCH, **of_divided
        ),
        "SSR": Bare(x, y, networks=1, predicted=0, trained=BATCH, passes=2),
    }
    return fitted, bare


def cell(ratios):
    """Return median and quartiles."""
    low, middle, high = np.percentile(ratios, (25, 50, 75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main():
    """Measure and print a Markdown report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    # Labels are random here: divisions are one-sided at times.
    warnings.simplefilter("ignore")
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = rng.integers(0, NUM_CLASSES, NUM_EXAMPLES)
    x = rng.normal(size=(NUM_EXAMPLES, NUM_FEATURES)) + 2 * np.eye(NUM_FEATURES)[y]
    x = x.astype("float32")
    fitted, bare = ways(x, y)
    for way in (*fitted.values(), *bare.values()):
        for _ in range(WARM_UP):
            way.train_epoch()
    times = {name: [] for name in fitted}
    for _ in range(args.turns):
        for name in fitted:
            times[name].append((fitted[name].train_epoch(), bare[name].train_epoch()))
    times = {name: np.array(pairs) for name, pairs in times.items()}
    base = times[PLAIN][:, 0]
    lines = [
        "| an epoch of | ms | of cross-entropy's | bare loop, ms | of that |",
        "|---|---|---|---|---|",
    ]
    for name, pairs in times.items():
        own, loop = pairs.T
        lines.append(
            f"| {name} | {np.median(own) * 1e3:.0f} | {cell(own / base)} | "
            f"{np.median(loop) * 1e3:.0f} | {cell(own / loop)} |"
        )
    lines += [
        "",
        f"{NUM_EXAMPLES:,} examples of {NUM_FEATURES} numbers, batch {BATCH}, "
        f"{NUM_CLASSES} classes, {args.turns} turns. {os.cpu_count()}-core "
        f"{platform.machine()} CPU, no GPU; Python {platform.python_version()}, "
        f"Keras {keras.__version__}.",
        "",
        f"Command: `python {shlex.join(sys.argv)}`",
    ]
    report = "\n".join(lines)
    print(report)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(f"{report}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
