"""Cost of the losses, as ratios to Keras's categorical cross-entropy.

Two measurements, on the TensorFlow backend: loss and gradient alone at batch 256,
with and without XLA, and a training step of a small ResNet on 32 x 32 x 3 images,
batch 64, with one-hot labels. `--labels one-hot ids` measures loss and gradient with
class ids too, as ratios to the sparse categorical cross-entropy. Early-learning
regularisation, whose state only `fit` keeps, is measured in the training step alone.
Candidates take turns within one process; each ratio is the median over the rounds of a
candidate's time over the built-in loss's time of the same round. `--losses` measures
some of them.

    python benchmarks/loss_overhead.py --out benchmarks/results/loss_overhead.md
"""

import argparse
import itertools
import os
import pathlib
import platform
import shlex
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from keras_noisy import losses, noise
from keras_noisy._step import seam
from keras_noisy._step.clock import Clock
from keras_noisy.callbacks import (
    EarlyLearningTargets,
    GlobalTrust,
    JointOptimizationLabels,
)

LABELS = ("one-hot", "ids")
BUILT_IN = "CategoricalCrossentropy"
LOSSES = {
    BUILT_IN: lambda: BuiltIn(),
    # The noise floor: the same loss once more.
    "CategoricalCrossentropy (again)": lambda: BuiltIn(),
    "LabelSmoothing": lambda: losses.LabelSmoothing(epsilon=0.1, from_logits=True),
    "ConfidencePenalty": lambda: losses.ConfidencePenalty(
        epsilon=0.1, from_logits=True
    ),
    "BootstrapSoft": lambda: losses.BootstrapSoft(epsilon=0.3, from_logits=True),
    "BootstrapHard": lambda: losses.BootstrapHard(epsilon=0.3, from_logits=True),
    "proselflc(global_trust=g)": lambda: proselflc_at(tf.constant(0.3)),
    "ProSelfLC": lambda: losses.ProSelfLC(from_logits=True),
    "EqualLoss(epsilon=0.4)": lambda: losses.EqualLoss(epsilon=0.4, from_logits=True),
    "EqualLoss(epsilon=2.0)": lambda: losses.EqualLoss(epsilon=2.0, from_logits=True),
    "TargetModification": lambda: losses.TargetModification(
        target=lambda q, p: 0.7 * q + 0.2 * p + 0.1 * p.uniform(), from_logits=True
    ),
    "MeanAbsoluteError": lambda: losses.MeanAbsoluteError(from_logits=True),
    "GeneralizedCrossEntropy": lambda: losses.GeneralizedCrossEntropy(from_logits=True),
    "GeneralizedCrossEntropy, truncated": lambda: losses.GeneralizedCrossEntropy(
        truncation=0.5, from_logits=True
    ),
    "ReverseCrossEntropy": lambda: losses.ReverseCrossEntropy(from_logits=True),
    "SymmetricCrossEntropy": lambda: losses.SymmetricCrossEntropy(
        alpha=0.1, beta=1.0, from_logits=True
    ),
    "NormalizedCrossEntropy": lambda: losses.NormalizedCrossEntropy(from_logits=True),
    "NormalizedFocal": lambda: losses.NormalizedFocal(from_logits=True),
    "NormalizedGeneralizedCrossEntropy": lambda: (
        losses.NormalizedGeneralizedCrossEntropy(from_logits=True)
    ),
    "ActivePassive, NCE+RCE": lambda: losses.ActivePassive.from_preset(
        "nce+rce, cifar10", from_logits=True
    ),
    "AsymmetricGeneralizedCrossEntropy": lambda: (
        losses.AsymmetricGeneralizedCrossEntropy(a=0.6, q=0.6, from_logits=True)
    ),
    "AsymmetricUnhinged": lambda: losses.AsymmetricUnhinged(
        a=5.5, q=3.0, from_logits=True
    ),
    "AsymmetricExponential": lambda: losses.AsymmetricExponential(
        a=2.5, from_logits=True
    ),
    "NormalizedNegativeCrossEntropy": lambda: losses.NormalizedNegativeCrossEntropy(
        from_logits=True
    ),
    "ActiveNegative": lambda: losses.ActiveNegative(
        alpha=5.0, beta=5.0, from_logits=True
    ),
    "EpsilonSoftmax": lambda: losses.EpsilonSoftmax(
        m=1e5, alpha=0.01, beta=5.0, from_logits=True
    ),
    "GeneralizedLabelSmoothing": lambda: losses.GeneralizedLabelSmoothing(
        smooth_rate=-0.5, from_logits=True
    ),
    "DerivativeManipulation": lambda: losses.DerivativeManipulation(
        beta=8.0, lambda_=0.5, from_logits=True
    ),
    "IMAE": lambda: losses.IMAE(from_logits=True),
    "BiTemperedLogistic(0.8, 1.2)": lambda: losses.BiTemperedLogistic(
        t1=0.8, t2=1.2, from_logits=True
    ),
    "BiTemperedLogistic(0.5, 2)": lambda: losses.BiTemperedLogistic(
        t1=0.5, t2=2.0, from_logits=True
    ),
    "ForwardCorrection, symmetric T": lambda: ClassesOf(
        losses.ForwardCorrection, symmetric
    ),
    "ForwardCorrection, pair flips": lambda: ClassesOf(
        losses.ForwardCorrection, pair_flip
    ),
    "ForwardCorrection, dense T": lambda: ClassesOf(losses.ForwardCorrection, dense),
    "ForwardCorrection, T with zeros": lambda: ClassesOf(
        losses.ForwardCorrection, counted
    ),
    # What a dense `T` cannot do without.
    "two products with a C x C matrix": lambda: ClassesOf(Products, dense),
    "BackwardCorrection": lambda: ClassesOf(losses.BackwardCorrection, symmetric),
    "DeepAbstention": lambda: abstaining(losses.DeepAbstention(from_logits=True)),
    "EarlyLearningRegularization": lambda: losses.EarlyLearningRegularization(
        from_logits=True
    ),
    "JointOptimization": lambda: losses.JointOptimization(from_logits=True),
}
# The loss with a state that only `fit` keeps.
NEEDS_FIT = "EarlyLearningRegularization"
# What keeps a row for each example, for a loss that reads it.
ROWS_OF = {
    losses.EarlyLearningRegularization: EarlyLearningTargets,
    losses.JointOptimization: JointOptimizationLabels,
}
CLASSES = (10, 100, 1000)
NOTE = """ProSelfLC reads its clock from variables. In a compiled call without other
variables, the first variable alone costs about 15 µs; a training step has variables
anyway. The function with `g` as a tensor shows the cost of the loss itself."""


class BuiltIn:
    """Keras's cross-entropy for the labels that come, sparse for class ids."""

    one_hot = keras.losses.CategoricalCrossentropy(from_logits=True)
    ids = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def __call__(self, y_true, y_pred):
        """Return the mean loss."""
        return (self.ids if is_ids(y_true) else self.one_hot)(y_true, y_pred)


class ClassesOf:
    """A loss with a matrix, made when the number of classes is known."""

    def __init__(self, cls, matrix):
        self.cls, self.matrix, self.loss = cls, matrix, None

    def __call__(self, y_true, y_pred):
        """Return the mean loss."""
        if self.loss is None:
            matrix = self.matrix(y_pred.shape[-1])
            self.loss = self.cls(transition_matrix=matrix, from_logits=True)
        return self.loss(y_true, y_pred)


class Products:
    """Cross-entropy of `T' p`, a product in the value and one in the gradient."""

    def __init__(self, transition_matrix, from_logits):
        self.matrix = transition_matrix.astype("float32")

    def __call__(self, y_true, y_pred):
        """Return the mean loss."""
        noisy = tf.nn.softmax(y_pred) @ self.matrix
        if is_ids(y_true):
            labelled = tf.gather(noisy, y_true, axis=-1, batch_dims=1)
            return -tf.reduce_mean(tf.math.log(labelled))
        return -tf.reduce_mean(tf.reduce_sum(y_true * tf.math.log(noisy), axis=-1))


def is_ids(y_true):
    """Whether labels are class ids, one for each example."""
    return y_true.shape.rank == 1


def symmetric(num_classes):
    """Return symmetric noise of 40 %."""
    return noise.symmetric(num_classes, 0.4)


def pair_flip(num_classes):
    """Return noise of 40 % that goes to the next class."""
    return noise.pair_flip(num_classes, 0.4)


def dense(num_classes):
    """Return noise of 40 % at random rates, as an estimated matrix has them."""
    rows = np.random.default_rng(0).dirichlet(np.ones(num_classes), num_classes)
    return 0.6 * np.eye(num_classes) + 0.4 * rows


def counted(num_classes):
    """Return noise of 40 % to a fifth of the classes, as counts of examples give it."""
    rng = np.random.default_rng(0)
    matrix = 0.6 * np.eye(num_classes)
    count = max(1, num_classes // 5)
    for row in matrix:
        row[rng.choice(num_classes, count, replace=False)] += 0.4 / count
    return matrix


def abstaining(loss):
    """Return a loss of one output more than there are classes, for as many logits.

    The last class has no examples here and its output stands for abstention.
    """

    def of_other_classes(y_true, y_pred):
        if is_ids(y_true):
            return loss(tf.minimum(y_true, y_pred.shape[-1] - 2), y_pred)
        return loss(y_true[:, :-1], y_pred)

    return of_other_classes


def proselflc_at(g):
    """Return the mean of the pure function at global trust `g`."""

    def loss(y_true, y_pred):
        each = losses.proselflc(y_true, y_pred, global_trust=g, from_logits=True)
        return tf.reduce_mean(each)

    return loss


def ratios_of(times):
    """Return the median over the rounds of each candidate's ratio."""
    base = np.array(times[BUILT_IN])
    return {name: float(np.median(np.array(t) / base)) for name, t in times.items()}


def take_turns(candidates, rounds):
    """Time every candidate in every round, in an order that rotates."""
    times = {name: [] for name in candidates}
    names = list(candidates)
    for round_ in range(rounds):
        shift = round_ % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            candidates[name]()
            times[name].append(time.perf_counter() - start)
    return times


def loss_and_gradient(names, labels, num_classes, jit_compile, rounds, repeats):
    """Return the ratios of loss and gradient alone, and microseconds of the base."""
    rng = np.random.default_rng(0)
    z = tf.constant(rng.normal(scale=3, size=(256, num_classes)), "float32")
    y_true = tf.constant(rng.integers(0, num_classes, 256), "int32")
    if labels == "one-hot":
        y_true = tf.one_hot(y_true, num_classes)
    clock = Clock()  # What `GlobalTrust` gives ProSelfLC in `fit`.

    def candidate(loss):
        @tf.function(jit_compile=jit_compile)
        def step(y_true, z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = loss(y_true, z)
            return value, tape.gradient(value, z)

        with seam.running(seam.Step([clock], True, None)):
            step(y_true, z)

        def run():
            for _ in range(repeats):
                _, gradient = step(y_true, z)
            gradient.numpy()

        return run

    candidates = {
        name: candidate(LOSSES[name]()) for name in names if name != NEEDS_FIT
    }
    times = take_turns(candidates, rounds)
    return ratios_of(times), np.median(times[BUILT_IN]) / repeats * 1e6


def small_resnet():
    """Return a ResNet-8 with logits for ten classes."""
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same")(inputs)
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        y = layers.BatchNormalization()(y)
        x = layers.ReLU()(y + layers.Conv2D(filters, 1, strides)(x))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def training_step(names, rounds):
    """Return the ratios of a training step, and milliseconds of the base."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 32, 32, 3)).astype("float32")
    q = np.eye(10, dtype="float32")[rng.integers(0, 10, 64)]

    def candidate(make):
        model = small_resnet()
        model.compile(keras.optimizers.SGD(0.01), loss=make(), jit_compile=True)
        keeper = ROWS_OF.get(type(model.loss))
        if keeper is not None:
            # The rows of as many examples as CIFAR-10 has.
            targets = keeper(50_000)
            ids = np.arange(0, 50_000, 50_000 // 64)[:64]
            batch = ({"x": x, "sample_id": ids}, q)
            data = targets.pipeline(model, tf.data.Dataset.from_tensors(batch))
            model.fit(data, verbose=0, callbacks=[targets])
            return lambda: model.train_on_batch(*batch)
        callbacks = [GlobalTrust()] if isinstance(model.loss, losses.ProSelfLC) else []
        model.fit(x, q, batch_size=64, verbose=0, callbacks=callbacks)
        return lambda: model.train_on_batch(x, q)

    candidates = {name: candidate(LOSSES[name]) for name in names}
    times = take_turns(candidates, rounds)
    return ratios_of(times), np.median(times[BUILT_IN]) * 1e3


def main():
    """Measure and print a Markdown report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--step-rounds", type=int, default=100)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=LABELS[:1])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    names = [name for name in LOSSES if name in (BUILT_IN, *args.losses)]

    columns = {}
    settings = itertools.product(args.classes, (True, False), args.labels)
    for num_classes, jit_compile, labels in settings:
        ratios, base = loss_and_gradient(
            names, labels, num_classes, jit_compile, args.rounds, 20
        )
        mode = "XLA" if jit_compile else "graph"
        columns[f"C={num_classes}, {mode}, {labels} ({base:.0f} µs)"] = ratios
    ratios, base = training_step(names, args.step_rounds)
    columns[f"ResNet step, XLA ({base:.0f} ms)"] = ratios

    lines = [
        "# Cost of the losses",
        "",
        "Ratios to `keras.losses.CategoricalCrossentropy(from_logits=True)` with "
        "one-hot labels, with class ids to "
        "`keras.losses.SparseCategoricalCrossentropy(from_logits=True)`: loss and "
        "gradient alone at batch 256, and a training step of a ResNet-8 on 32 x 32 x "
        "3, batch 64, with one-hot labels. In brackets the time of the built-in loss.",
        "",
        "| loss | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for name in names:
        cells = [
            f"{ratios[name]:.3f}" if name in ratios else ""
            for ratios in columns.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        NOTE,
        "",
        f"{args.rounds} interleaved rounds of 20 calls ({args.step_rounds} rounds of "
        f"one training step), median of the ratios. {os.cpu_count()}-core "
        f"{platform.machine()} CPU, no GPU; Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}.",
        "",
        f"Command: `python {shlex.join(sys.argv)}`",
    ]
    report = "\n".join(lines)
    print(report)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
