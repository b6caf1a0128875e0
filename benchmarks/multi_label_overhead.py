"""Cost of `MultiLabel`, as ratios to Keras's binary cross-entropy at 80 labels.

Two measurements, on the TensorFlow backend with XLA: loss and gradient alone at batch
256, and a training step of two networks, a ResNet-8 on 32 x 32 x 3 images at batch 64
and a multi-layer perceptron on 100 features at batch 256. Labels are multi-hot, 5 % of
them ones; for `missing` a quarter of them are missing. Candidates take turns within one
process; each ratio is the median over the rounds of a candidate's time over that of
binary cross-entropy in the same round.

    python benchmarks/multi_label_overhead.py --out FILE
"""

import argparse
import os
import pathlib
import platform
import shlex
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from loss_overhead import small_resnet, take_turns

from keras_noisy import losses

LABELS = 80
BUILT_IN = "BinaryCrossentropy"


def of(loss, **kwargs):
    """Return a loss of 80 labels."""
    return losses.MultiLabel(loss, from_logits=True, **kwargs)


MATRICES = np.tile([[0.95, 0.05], [0.2, 0.8]], (LABELS, 1, 1))
LOSSES = {
    BUILT_IN: lambda: keras.losses.BinaryCrossentropy(from_logits=True),
    # The noise floor: the same loss once more.
    "BinaryCrossentropy (again)": lambda: keras.losses.BinaryCrossentropy(
        from_logits=True
    ),
    "LabelSmoothing": lambda: of(losses.LabelSmoothing(epsilon=0.1)),
    "GeneralizedCrossEntropy": lambda: of(losses.GeneralizedCrossEntropy()),
    "GeneralizedCrossEntropy, missing": lambda: of(losses.GeneralizedCrossEntropy()),
    "GeneralizedCrossEntropy, none can be missing": lambda: of(
        losses.GeneralizedCrossEntropy(), missing_label=None
    ),
    "SymmetricCrossEntropy": lambda: of(
        losses.SymmetricCrossEntropy(alpha=0.1, beta=1.0)
    ),
    "MeanAbsoluteError": lambda: of(losses.MeanAbsoluteError()),
    "LabelSmoothing, a matrix per label": lambda: of(
        losses.LabelSmoothing(epsilon=0.0), transition_matrix=MATRICES
    ),
}


def labels_for(name, size):
    """Return multi-hot labels, with missing ones where the name says so."""
    rng = np.random.default_rng(0)
    y = (rng.random((size, LABELS)) < 0.05).astype("float32")
    if name.endswith(", missing"):
        y[rng.random(y.shape) < 0.25] = -1
    return y


def loss_and_gradient(rounds, repeats):
    """Return the times of loss and gradient alone."""
    z = tf.constant(np.random.default_rng(0).normal(size=(256, LABELS)), "float32")

    def candidate(name):
        loss, y_true = LOSSES[name](), tf.constant(labels_for(name, 256))

        @tf.function(jit_compile=True)
        def step(y_true, z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = loss(y_true, z)
            return value, tape.gradient(value, z)

        def run():
            for _ in range(repeats):
                _, gradient = step(y_true, z)
            gradient.numpy()

        run()
        return run

    return take_turns({name: candidate(name) for name in LOSSES}, rounds)


def perceptron():
    """Return a network of two hidden layers on 100 features."""
    hidden = [keras.layers.Dense(256, "relu") for _ in range(2)]
    return keras.Sequential([keras.Input((100,)), *hidden, keras.layers.Dense(LABELS)])


def resnet():
    """Return a ResNet-8 with as many logits as there are labels."""
    body = small_resnet()
    features = body.layers[-2].output
    return keras.Model(body.input, keras.layers.Dense(LABELS)(features))


def training_step(build, shape, size, rounds):
    """Return the times of training steps of a network."""
    x = np.random.default_rng(0).normal(size=(size, *shape)).astype("float32")

    def candidate(name):
        model, y = build(), labels_for(name, size)
        model.compile(keras.optimizers.SGD(0.01), LOSSES[name](), jit_compile=True)
        model.train_on_batch(x, y)
        return lambda: model.train_on_batch(x, y)

    return take_turns({name: candidate(name) for name in LOSSES}, rounds)


def main():
    """Measure and print a Markdown report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--step-rounds", type=int, default=100)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    measured = {
        "loss and gradient": loss_and_gradient(args.rounds, 20),
        "step of the perceptron": training_step(
            perceptron, (100,), 256, args.step_rounds
        ),
        "step of the ResNet-8": training_step(
            resnet, (32, 32, 3), 64, args.step_rounds
        ),
    }
    columns = {}
    for title, times in measured.items():
        base = np.array(times[BUILT_IN])
        milliseconds = np.median(base) * 1e3 / (20 if title.startswith("loss") else 1)
        columns[f"{title} ({milliseconds:.2g} ms)"] = {
            name: np.median(np.array(each) / base) for name, each in times.items()
        }
    lines = [
        "# Cost of MultiLabel",
        "",
        f"Ratios to `keras.losses.BinaryCrossentropy(from_logits=True)` at {LABELS} "
        "labels, with XLA. In brackets the time with the built-in loss.",
        "",
        "| loss | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for name in LOSSES:
        cells = [f"{ratios[name]:.3f}" for ratios in columns.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"{args.rounds} interleaved rounds of 20 calls, {args.step_rounds} rounds of "
        f"one training step, median of the ratios. {os.cpu_count()}-core "
        f"{platform.machine()} CPU, no GPU; Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}.",
        "",
        f"Command: `python {shlex.join(sys.argv)}`",
    ]
    report = "\n".join(lines)
    print(report)
    if args.out:
        args.out.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
