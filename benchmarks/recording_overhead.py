"""Cost of what keeps something for each example, against plain cross-entropy.

All are fed from the same NumPy arrays. One process trains a model for each way, epoch
by epoch in turn; a ratio is that of an epoch to the plain one of the same turn, median
over the turns (quartiles). A dense network of two hidden layers of 512 units, so that
a step is short: the longer a step lasts, the smaller the cost.

Run from the root of the repository:

    python benchmarks/recording_overhead.py
"""

import argparse
import functools
import os
import pathlib
import platform
import shlex
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_noisy import losses
from keras_noisy.callbacks import (
    SEAL,
    EarlyLearningTargets,
    JointOptimizationLabels,
    SEALOnTheFly,
)

NUM_EXAMPLES, NUM_FEATURES, NUM_CLASSES = 4096, 64, 10
BATCH = 64
PLAIN = "cross-entropy"
# Epochs that compile and fill caches.
WARM_UP = 2
# Examples that a pass of SEAL predicts at once where they are small.
PIECE = 1024


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


class Way:
    """A way to train, one epoch at a time."""

    def __init__(self, x, y, loss=None, recorder=None, make_pass=None):
        keras.utils.set_random_seed(0)
        self.model = network()
        own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(keras.optimizers.SGD(0.01), loss or own)
        # As `fit` does by default; arrays of `pipeline` are shuffled already.
        self.data = {"x": x, "y": y, "batch_size": BATCH, "shuffle": True}
        self.callbacks = []
        if recorder is not None:
            callback = recorder(NUM_EXAMPLES)
            batches = callback.pipeline(self.model, x, y, batch_size=BATCH)
            self.data = {"x": batches, "shuffle": False}
            self.callbacks = [callback]
        if make_pass is not None:
            self.callbacks = [make_pass(x)]
        self.epoch = 0

    def train_epoch(self):
        """Train an epoch and return its seconds, of the clock and of the CPU.

        Without what `fit` does before and after its epochs.
        """
        timer = Timer()
        self.model.fit(
            **self.data,
            initial_epoch=self.epoch,
            epochs=self.epoch + 1,
            verbose=0,
            callbacks=[timer.begin, *self.callbacks, timer.end],
        )
        self.epoch += 1
        return timer.seconds


class BarePass(keras.callbacks.Callback):
    """The least that a pass can cost: the outputs of all examples, and nothing else."""

    def __init__(self, x):
        super().__init__()
        self._x = x

    def on_epoch_end(self, epoch, logs=None):
        """Predict in pieces of the size that a pass takes."""
        for start in range(0, len(self._x), PIECE):
            self.model.predict_on_batch(self._x[start : start + PIECE])


class Timer:
    """Two callbacks, the first and the last of a list, that measure an epoch."""

    def __init__(self):
        self.begin = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin)
        self.end = keras.callbacks.LambdaCallback(on_epoch_end=self._end)
        self.seconds = None

    def _begin(self, epoch, logs=None):
        self._start = _clocks()

    def _end(self, epoch, logs=None):
        self.seconds = _clocks() - self._start


def _clocks():
    """Return the time of the clock, and that of all cores for this process."""
    return np.array([time.perf_counter(), time.process_time()])


def ways(x, y):
    """Return the ways to train by name."""
    return {
        PLAIN: Way(x, y),
        "cross-entropy again": Way(x, y),
        "ELR": Way(
            x,
            y,
            losses.EarlyLearningRegularization(from_logits=True),
            EarlyLearningTargets,
        ),
        "joint optimisation": Way(
            x,
            y,
            losses.JointOptimization(from_logits=True),
            functools.partial(JointOptimizationLabels, warmup_epochs=1),
        ),
        "SEALOnTheFly": Way(x, y, recorder=SEALOnTheFly),
        "SEAL, a pass": Way(x, y, make_pass=SEAL),
        "a bare forward pass": Way(x, y, make_pass=BarePass),
    }


def main():
    """Measure and print a Markdown report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=41)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(NUM_EXAMPLES, NUM_FEATURES)).astype("float32")
    y = rng.integers(0, NUM_CLASSES, NUM_EXAMPLES)
    candidates = ways(x, y)
    for way in candidates.values():
        for _ in range(WARM_UP):
            way.train_epoch()
    times = {name: [] for name in candidates}
    names = list(candidates)
    for turn in range(args.turns):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(candidates[name].train_epoch())
    base = np.array(times[PLAIN])  # (turns, 2)
    lines = [
        f"## {keras.backend.backend()}",
        "",
        "| an epoch of | ms, clock | ratio | ms, CPU | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in times.items():
        cells = []
        for one, of_plain in zip(np.transpose(seconds), base.T, strict=True):
            low, middle, high = np.percentile(one / of_plain, (25, 50, 75))
            cells += [
                f"{np.median(one) * 1e3:.0f}",
                f"{middle:.3f} ({low:.3f} to {high:.3f})",
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        f"{NUM_EXAMPLES:,} examples of {NUM_FEATURES} numbers, batch {BATCH}, "
        f"{NUM_CLASSES} classes, {args.turns} turns. {os.cpu_count()}-core "
        f"{platform.machine()} CPU, no GPU; Python {platform.python_version()}, "
        f"Keras {keras.__version__}.",
        "",
        f"Command: `KERAS_BACKEND={keras.backend.backend()} "
        f"python {shlex.join(sys.argv)}`",
    ]
    report = "\n".join(lines)
    print(report)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("a", encoding="utf-8") as file:
            file.write(report + "\n\n")


if __name__ == "__main__":
    main()
