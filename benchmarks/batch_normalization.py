"""SEAL's averages of networks whose batch normalisation has had few steps.

One network per seed is trained on labels with symmetric noise, and its predictions are
averaged in four ways at once:

- as is: Algorithm 2, the mean over all epochs of predictions with moving statistics,
- recomputed: the same with statistics of the data (`recompute_statistics=True`),
- left out: as is, without the epochs in which moving statistics lost more than a tenth
  of the right predictions,
- on the fly: the predictions of the training steps (`SEALOnTheFly`).

    python benchmarks/batch_normalization.py

The data come with scikit-learn, and features are taken as they are unless a name ends
in "standardised". Printed are the suspects of each average: how many labels they are,
their precision and recall, and the average precision of their order.
"""

import argparse
import os
import platform
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import sklearn.datasets

from keras_noisy import analysis, callbacks, noise

DATA = {
    "breast cancer": sklearn.datasets.load_breast_cancer,
    "wine": sklearn.datasets.load_wine,
    "digits": sklearn.datasets.load_digits,
}
# Data, batch size, epochs, noise rate, momentum, dropout.
SETTINGS = [
    ("breast cancer", 32, 5, 0.128, 0.99, 0.0),
    ("breast cancer", 32, 20, 0.128, 0.99, 0.0),
    ("breast cancer", 32, 5, 0.128, 0.9, 0.0),
    ("breast cancer, standardised", 32, 5, 0.128, 0.99, 0.0),
    ("wine", 16, 10, 0.2, 0.99, 0.0),
    ("wine", 16, 30, 0.2, 0.9, 0.0),
    ("digits", 128, 10, 0.2, 0.99, 0.0),
    ("digits", 64, 10, 0.2, 0.99, 0.0),
    ("digits", 32, 20, 0.4, 0.99, 0.0),
    ("digits", 32, 10, 0.4, 0.9, 0.5),
]
WAYS = ("as is", "recomputed", "left out", "on the fly")


def load(name):
    """Return inputs and clean labels."""
    name, _, is_standardised = name.partition(", ")
    x, labels = DATA[name](return_X_y=True)
    if is_standardised:
        x = (x - x.mean(axis=0)) / x.std(axis=0)
    return x.astype("float32"), labels


def build_model(num_features, num_classes, momentum, dropout):
    """Return a network with two normalised layers."""
    layers = [keras.Input((num_features,))]
    for _ in range(2):
        layers += [
            keras.layers.Dense(64),
            keras.layers.BatchNormalization(momentum=momentum),
            keras.layers.Activation("relu"),
            keras.layers.Dropout(dropout),
        ]
    layers.append(keras.layers.Dense(num_classes, activation="softmax"))
    model = keras.Sequential(layers)
    optimizer = keras.optimizers.Adam(3e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


class LeaveOut(keras.callbacks.Callback):
    """The mean of SEAL's predictions over the epochs that have settled."""

    def __init__(self, seal):
        super().__init__()
        self.seal, self.sum, self.epochs = seal, 0.0, 0
        self._latest = []
        seal.listeners.append(lambda rows, p: self._latest.append(p))

    def on_epoch_end(self, epoch, logs=None):
        """Add what SEAL has predicted, if it may count."""
        if self.seal._statistics._losses[-1] <= 0.1:
            self.sum = self.sum + np.concatenate(self._latest)
            self.epochs += 1
        self._latest.clear()


def run(name, batch_size, epochs, rate, momentum, dropout, seed):
    """Train, and return the average of each way and what moving statistics lost."""
    x, clean = load(name)
    num_classes = int(clean.max()) + 1
    matrix = noise.symmetric(num_classes, rate)
    noisy = noise.corrupt_labels(clean, matrix, seed=seed).noisy
    keras.utils.set_random_seed(seed)
    model = build_model(x.shape[1], num_classes, momentum, dropout)
    as_is = callbacks.SEAL(x)
    recomputed = callbacks.SEAL(x, recompute_statistics=True)
    left_out = LeaveOut(as_is)
    on_the_fly = callbacks.SEALOnTheFly(len(x))
    data = on_the_fly.pipeline(model, x, noisy, batch_size=batch_size, seed=seed)
    watch = [as_is, recomputed, left_out, on_the_fly]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=watch)
    averages = {
        "as is": as_is.soft_labels,
        "recomputed": recomputed.soft_labels,
        "left out": left_out.sum / left_out.epochs if left_out.epochs else None,
        "on the fly": on_the_fly.soft_labels,
    }
    results = {
        way: None if p is None else judge(noisy, clean, p)
        for way, p in averages.items()
    }
    warned = any("batch normalisation" in str(warning.message) for warning in found)
    return results, warned


def judge(noisy, clean, soft_labels):
    """Return share, precision, recall and average precision of the suspects."""
    suspects = analysis.find_suspects(noisy, soft_labels)
    found = suspects.precision_and_recall(noisy != clean)
    names = ("precision", "recall", "average_precision")
    return [suspects.is_suspect.mean(), *(found[name] for name in names)]


def main():
    """Run all settings and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--settings", type=int, nargs="+", default=range(len(SETTINGS)), help="from 0"
    )
    args = parser.parse_args()
    heads = ["average", "suspects", "precision", "recall", "average precision"]
    for number in args.settings:
        name, batch_size, epochs, rate, momentum, dropout = SETTINGS[number]
        runs = [
            run(name, batch_size, epochs, rate, momentum, dropout, seed)
            for seed in args.seeds
        ]
        steps = -(-len(load(name)[0]) // batch_size)
        print(
            f"\n## {name}: {steps} steps an epoch, {epochs} epochs, "
            f"{rate:.1%} wrong labels, momentum {momentum}, dropout {dropout}\n"
        )
        print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
        for way in WAYS:
            rows = [results[way] for results, _ in runs if results[way] is not None]
            if len(rows) == len(runs):
                pairs = zip(np.mean(rows, axis=0), np.std(rows, axis=0), strict=True)
                cells = [f"{mean:.3f} ± {std:.3f}" for mean, std in pairs]
            else:
                cells = [f"no epoch left in {len(runs) - len(rows)} runs", "", "", ""]
            print(f"| {way} | " + " | ".join(cells) + " |")
        warned = sum(warned for _, warned in runs)
        print(f"\nSEAL warned in {warned} of {len(runs)} runs.", flush=True)
    print(
        f"\nSeeds {args.seeds}. {os.cpu_count()}-core {platform.machine()} CPU, "
        f"Keras {keras.__version__} ({keras.backend.backend()})."
    )


if __name__ == "__main__":
    main()
