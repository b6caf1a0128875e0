r"""Which source finds wrong labels best, on noise whose truth is known.

One network per fold of a cross-validation, trained on the noisy labels of the other
folds, with its predictions averaged over the epochs; and one trained on all of them.
Compared, with precision and recall of the suspects and the average precision of the
order:

- SEAL: averages over the epochs of the network trained on all labels, in the order of
  the margin (the default), of Eq. 10, and of self-confidence,
- averaged out of sample: the same, of the folds' networks on their held-out part,
- cleanlab: confident learning on the folds' predictions after the last epoch,
- cleanlab, averaged: the same on their averages,
- last epoch: in-sample predictions after the last epoch, margin,
- cleanlab, in sample: confident learning on these,
- loss: mean cross-entropy of the given label over the epochs, in sample,
- loss, mixture: the same, with a mixture of two beta distributions for the verdict.

    python benchmarks/suspects_of_networks.py
    python benchmarks/suspects_of_networks.py --npz mnist.npz \
        --labels idn_labels.npz:mnist_idn_40

The second command takes CIFAR-10 and `cifar10_idn_40` as well.

Finished networks are kept in `--runs`; the same command continues there.
"""

import argparse
import hashlib
import os
import pathlib
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_noisy import analysis, noise
from keras_noisy._data import files


class Collect(keras.callbacks.Callback):
    """Sums predictions and losses of some examples over the epochs."""

    def __init__(self, x, labels):
        super().__init__()
        self.x, self.labels = x, labels
        self.mean, self.loss, self.epochs = 0.0, 0.0, 0

    def on_epoch_end(self, epoch, logs=None):
        """Predict in inference mode."""
        self.last = self.model.predict(self.x, batch_size=512, verbose=0)
        given = self.last[np.arange(len(self.labels)), self.labels]
        self.mean = self.mean + self.last
        self.loss = self.loss - np.log(np.maximum(given, 1e-37))
        self.epochs += 1

    def result(self):
        """Return arrays to keep."""
        return {
            "mean": (self.mean / self.epochs).astype("float32"),
            "last": self.last,
            "loss": self.loss / self.epochs,
        }


def load(args):
    """Return images, clean and noisy labels."""
    if args.npz:
        with np.load(args.npz) as data:
            x, clean = data["x_train"] / np.float32(255), data["y_train"].astype(int)
    else:
        import sklearn.datasets

        x, clean = sklearn.datasets.load_digits(return_X_y=True)
        x = x.reshape(-1, 8, 8).astype("float32") / 16
    x = x[..., None] if x.ndim == 3 else x
    if not args.labels:
        matrix = noise.symmetric(10, args.rate)
        if args.noise == "pair_flip":
            matrix = noise.pair_flip(10, args.rate)
        return x, clean, noise.corrupt_labels(clean, matrix, seed=0).noisy
    path, _, key = args.labels.partition(":")
    with np.load(path) as content:
        return x, clean, content[key].astype(int)


def build_model(shape):
    """Return a small convolutional network with a softmax."""
    layers = keras.layers
    pool = [layers.MaxPooling2D()] if shape[0] > 16 else []
    model = keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            *pool,
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    loss = "sparse_categorical_crossentropy"
    # On a CPU XLA is slower for convolutions, and faster only for tiny ones.
    jit = "auto" if shape[0] <= 16 else False
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=jit)
    return model


def train(x, noisy, rows, watched, seed, epochs):
    """Train on `rows` and return what was collected on `watched`."""
    keras.utils.set_random_seed(seed)
    collect = Collect(x[watched], noisy[watched])
    build_model(x.shape[1:]).fit(
        x[rows],
        noisy[rows],
        batch_size=64,
        epochs=epochs,
        verbose=2,
        callbacks=[collect],
    )
    return collect.result()


def kept(path, make):
    """Return the arrays in `path`, making them if it is not there."""
    if not path.exists():
        result = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_writer(path) as file:
            np.savez(file, **result)
    with np.load(path) as content:
        return dict(content)


def collect_all(args, x, noisy, seed):
    """Return what the network on all labels and those of the folds collected."""
    digest = hashlib.sha256(x.tobytes() + noisy.astype("<i8").tobytes()).hexdigest()
    folder = args.runs / f"{digest[:12]}-{args.epochs}-{args.folds}-{seed}"
    everything = np.arange(len(noisy))
    inside = kept(
        folder / "all.npz",
        lambda: train(x, noisy, everything, everything, seed, args.epochs),
    )
    outside = {name: np.empty_like(values) for name, values in inside.items()}
    fold_of = np.random.default_rng(seed).permutation(len(noisy)) % args.folds
    for fold in range(args.folds):
        rows, watched = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        result = kept(
            folder / f"fold-{fold}.npz",
            lambda rows=rows, watched=watched: train(
                x, noisy, rows, watched, seed, args.epochs
            ),
        )
        for name, values in result.items():
            outside[name][watched] = values
    return inside, outside


def judge(noisy, clean, inside, outside):
    """Return precision, recall and average precision of every source."""
    sources = {
        "SEAL": {"soft_labels": inside["mean"]},
        "SEAL, Eq. 10": {"soft_labels": inside["mean"], "rank_by": "correction"},
        "SEAL, self-confidence": {
            "soft_labels": inside["mean"],
            "rank_by": "self_confidence",
        },
        "averaged out of sample": {"soft_labels": outside["mean"]},
        "cleanlab": {"predictions": outside["last"]},
        "cleanlab, averaged": {"predictions": outside["mean"]},
        "last epoch": {"soft_labels": inside["last"]},
        "cleanlab, in sample": {"predictions": inside["last"]},
        "loss": {"mean_losses": inside["loss"]},
        "loss, mixture": {
            "mean_losses": inside["loss"],
            "threshold": "beta_mixture",
            "iterations": 10,
        },
    }
    return {
        name: analysis.find_suspects(noisy, **source).precision_and_recall(
            noisy != clean
        )
        for name, source in sources.items()
    }


def main():
    """Train, judge and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npz", help="images; scikit-learn's digits by default")
    parser.add_argument("--labels", metavar="FILE:KEY", help="noisy labels")
    parser.add_argument(
        "--noise", default="symmetric", choices=["symmetric", "pair_flip"]
    )
    parser.add_argument("--rate", type=float, default=0.4)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--runs", type=pathlib.Path, default="runs/suspects_of_networks"
    )
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    args = parser.parse_args()
    if args.threads and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    x, clean, noisy = load(args)
    results = [judge(noisy, clean, *collect_all(args, x, noisy, s)) for s in args.seeds]
    kind = args.labels and f"`{args.labels.rpartition(':')[2]}`"
    kind = kind or f"{args.noise} (original class excluded) {args.rate:g}, seed 0"
    print(f"\n## {pathlib.Path(args.npz).stem if args.npz else 'digits'}, {kind}\n")
    print("| source | average precision | precision | recall |\n|---|---|---|---|")
    for name in results[0]:
        cells = []
        for quantity in ("average_precision", "precision", "recall"):
            values = [result[name][quantity] for result in results]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(
        f"\n{np.mean(noisy != clean):.1%} of {len(noisy)} labels are wrong; "
        f"{args.epochs} epochs, {args.folds} folds, seeds {args.seeds}. "
        f"{os.cpu_count()}-core {platform.machine()} CPU, Keras {keras.__version__} "
        f"({keras.backend.backend()})."
    )


if __name__ == "__main__":
    main()
