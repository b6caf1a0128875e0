"""Robust losses of sigmoid outputs on small tables, beside binary cross-entropy.

One output on scikit-learn's breast-cancer table, and ten outputs on a made table of
scikit-learn's `make_multilabel_classification`. Labels of the training part flip with
20 and 40 %: of one output both classes alike, of ten each label by itself, ones to
zeros and zeros to ones alike. A network of one hidden layer is trained on them and
tested on the clean labels of the others after the last epoch. Hyperparameters are the
classes' defaults or their papers' values for other data; nothing was searched.

    python benchmarks/sigmoid_outputs.py --out benchmarks/results/sigmoid_outputs.md
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
import sklearn
from sklearn.datasets import load_breast_cancer, make_multilabel_classification

from keras_noisy import losses, noise

RATES = (0.2, 0.4)
SEEDS = (0, 1, 2)
MULTI = 10
LOSSES = {
    "binary cross-entropy": None,
    "GeneralizedCrossEntropy": lambda rate, **kw: losses.GeneralizedCrossEntropy(
        q=0.7, **kw
    ),
    "SymmetricCrossEntropy": lambda rate, **kw: losses.SymmetricCrossEntropy(
        alpha=0.1, beta=1.0, **kw
    ),
    "ForwardCorrection, true matrix": lambda rate, **kw: losses.ForwardCorrection(
        transition_matrix=noise.symmetric(2, rate), **kw
    ),
}


def breast_cancer(seed):
    """Return standardised features and labels `(n,)`, shuffled."""
    data = load_breast_cancer()
    order = np.random.default_rng(seed).permutation(len(data.target))
    return _standardised(data.data[order]), data.target[order].astype("int32")


def made(seed):
    """Return standardised features and multi-hot labels `(n, 10)`."""
    x, y = make_multilabel_classification(
        n_samples=1000,
        n_features=50,
        n_classes=MULTI,
        n_labels=3,
        random_state=seed,
    )
    return _standardised(x), y.astype("int32")


def _standardised(x):
    return ((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)).astype("float32")


TABLES = {
    "breast cancer, one output": breast_cancer,
    "made, ten outputs": made,
}


def build(make, rate, width, outputs):
    """Return a compiled network."""
    network = keras.Sequential(
        [
            keras.Input((width,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(outputs),
        ]
    )
    if make is None:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    elif outputs == 1:
        loss = make(rate, from_logits=True)
    else:
        loss = losses.MultiLabel(make(rate), from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")
    network.compile(keras.optimizers.Adam(3e-3), loss, metrics=[accuracy])
    return network


def run(table, make, rate, seed, epochs):
    """Return the accuracy on clean test labels after the last epoch."""
    x, clean = TABLES[table](seed)
    cut = int(0.7 * len(x))
    matrix = noise.symmetric(2, rate)
    if clean.ndim == 2:
        matrix = noise.independent_flips(MULTI, one_to_zero=rate, zero_to_one=rate)
    noisy = noise.corrupt_labels(clean[:cut], matrix, seed=seed).noisy
    keras.utils.set_random_seed(seed)
    network = build(make, rate, x.shape[1], 1 if clean.ndim == 1 else MULTI)
    network.fit(x[:cut], noisy, epochs=epochs, batch_size=128, verbose=0)
    return network.evaluate(x[cut:], clean[cut:], batch_size=1024, verbose=0)[1]


def main():
    """Train, and print a Markdown report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    lines = [
        "# Robust losses of sigmoid outputs",
        "",
        "Accuracy on clean test labels in %, of ten outputs the mean over labels: mean "
        "and standard deviation over the seeds, after the last epoch.",
    ]
    for table in TABLES:
        heads = " | ".join(f"{rate:.0%} noise" for rate in RATES)
        lines += ["", f"## {table}", "", f"| loss | {heads} |", "|---|---|---|"]
        for name, make in LOSSES.items():
            cells = []
            for rate in RATES:
                found = 100 * np.array(
                    [run(table, make, rate, seed, args.epochs) for seed in args.seeds]
                )
                cell = f"{found.mean():.1f} ± {found.std(ddof=1):.1f}"
                cells.append(cell)
                print(table, name, rate, cell, flush=True)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Seeds {', '.join(map(str, args.seeds))}: of the split, the noise and the "
        f"weights. {args.epochs} epochs, Adam at 0.003, batches of 128, one hidden "
        f"layer of 128. {platform.machine()} CPU; Python {platform.python_version()}, "
        f"Keras {keras.__version__} on {keras.backend.backend()}, scikit-learn "
        f"{sklearn.__version__}.",
        "",
        f"Command: `python {shlex.join(sys.argv)}`",
    ]
    report = "\n".join(lines)
    print(report)
    if args.out:
        args.out.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
