"""When to stop without clean labels: Label Wave, and noisy validation accuracy.

A network of two hidden layers is trained on scikit-learn's digits, once on all noisy
training labels, for Label Wave, and once on 90 % of them, with the rest to validate.
What the callbacks look at is logged in every epoch, with the accuracy on clean test
data; then each rule chooses its epoch, as the callbacks would (`chosen`).

    python benchmarks/early_stopping.py
"""

import argparse
import os
import platform
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import sklearn.datasets

from keras_noisy import callbacks, noise

CLASSES, NUM_TEST = 10, 360
NOISES = {
    "symmetric 40 %": noise.symmetric(CLASSES, 0.4),
    "pair flips 40 %": noise.pair_flip(CLASSES, 0.4),
    "no noise": None,
}


class Accuracy(keras.callbacks.Callback):
    """Logs the accuracy on some data after every epoch, in percent."""

    def __init__(self, name, x, y):
        super().__init__()
        self.name, self.x, self.y = name, x, y

    def on_epoch_end(self, epoch, logs=None):
        """Predict in inference mode."""
        p = keras.ops.convert_to_numpy(self.model(self.x, training=False))
        logs[self.name] = 100 * np.mean(p.argmax(axis=1) == self.y)


def build_model(num_features):
    """Return a network with a softmax."""
    layers = [keras.layers.Dense(128, activation="relu") for _ in range(2)]
    output = keras.layers.Dense(CLASSES, activation="softmax")
    model = keras.Sequential([keras.Input((num_features,)), *layers, output])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(1e-3), loss, steps_per_execution=8)
    return model


def train(matrix, epochs, seed):
    """Return what is logged of the training on all labels, and of that on 90 %."""
    x, clean = sklearn.datasets.load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    order = np.random.default_rng(seed).permutation(len(x))
    test, rows = order[:NUM_TEST], order[NUM_TEST:]
    labels = clean[rows]
    if matrix is not None:
        labels = noise.corrupt_labels(labels, matrix, seed=seed).noisy
    x_train, held_out = x[rows], len(rows) // 10
    result = {}
    for name, part in (("all", slice(0, None)), ("90 %", slice(held_out, None))):
        keras.utils.set_random_seed(seed)
        watch = [
            Accuracy("test", x[test], clean[test]),
            Accuracy("val_accuracy", x_train[:held_out], labels[:held_out]),
            callbacks.LabelWave(
                x_train, patience=epochs, batch_size=2048, restore_best_weights=False
            ),
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*will not be stopped")
            history = build_model(x.shape[1]).fit(
                x_train[part],
                labels[part],
                batch_size=64,
                epochs=epochs,
                verbose=0,
                callbacks=watch if name == "all" else watch[:2],
            )
        result[name] = history.history
    return result


def chosen(values, window, patience):
    """Return the epoch whose weights are restored: the least trailing mean."""
    best, best_epoch = np.inf, None
    for epoch in range(window - 1, len(values)):
        mean = np.mean(values[epoch - window + 1 : epoch + 1])
        if mean < best:
            best, best_epoch = mean, epoch
        elif best_epoch is not None and epoch - best_epoch >= patience:
            break
    return best_epoch


def choose(runs, epochs):
    """Yield a rule's name, its training and the epoch that it takes."""
    for part in ("all", "90 %"):
        yield (
            f"best epoch in hindsight, {part}",
            part,
            int(np.argmax(runs[part]["test"])),
        )
    for part in ("all", "90 %"):
        yield f"last epoch, {part}", part, epochs - 1
    changes = np.array(runs["all"]["prediction_changes"])
    for window in (1, 3, 5):
        name = f"`LabelWave(window={window}, patience=5)`"
        yield name, "all", chosen(changes, window, 5)
    yield "`LabelWave(patience=10)`", "all", chosen(changes, 3, 10)
    errors = -np.array(runs["90 %"]["val_accuracy"])
    for window in (1, 5):
        for patience in (10, epochs):
            until = "no stop" if patience == epochs else f"patience={patience}"
            name = f"`SmoothedEarlyStopping(window={window})`, {until}"
            yield name, "90 %", chosen(errors, window, patience)


def main():
    """Train, choose and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    for name, matrix in NOISES.items():
        start = time.perf_counter()
        found: dict[str, list] = {}
        for seed in args.seeds:
            runs = train(matrix, args.epochs, seed)
            for rule, part, epoch in choose(runs, args.epochs):
                test = runs[part]["test"]
                row = (test[epoch], max(runs["all"]["test"]) - test[epoch], epoch + 1)
                found.setdefault(rule, []).append(row)
        print(
            f"\n## {name}\n\n| rule | accuracy | regret | epochs |\n|---|---|---|---|"
        )
        for rule, rows in found.items():
            accuracy, regret, epoch = np.transpose(rows)
            numbers = ", ".join(f"{number:.0f}" for number in epoch)
            print(
                f"| {rule} | {accuracy.mean():.1f} ± {accuracy.std():.1f} "
                f"| {regret.mean():.1f} | {numbers} |",
                flush=True,
            )
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(
        f"\n{args.epochs} epochs, seeds {args.seeds}. {os.cpu_count()}-core "
        f"{platform.machine()} CPU, Keras {keras.__version__} "
        f"({keras.backend.backend()})."
    )


if __name__ == "__main__":
    main()
