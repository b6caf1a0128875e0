"""Fine-tuning on wrong labels: all weights, LoRA, a probe, and probe, clean, fine-tune.

A small vision transformer of keras-hub is trained on the digits 0 to 4 of MNIST with
right labels, and fine-tuned on 1,000 images of the digits 5 to 9, whose labels are
wrong with 40 %, symmetric. Compared are

- all weights: head and backbone,
- LoRA: the head, and updates of rank 4 of the backbone's queries and values,
- probe: the head alone, on frozen features,
- probe, clean, all weights (TURN, 2023): the probe, with its predictions averaged over
  its epochs; then all weights, beginning with the probe's head, on the examples whose
  label the averages do not doubt. Its losses are those of the last part.

After the last epoch, on the clean test images of these digits: accuracy, and on the
training images: how many wrong labels the network has learnt by heart. Nothing was
searched.

    python benchmarks/fine_tuning.py --source mnist.npz \
        --out benchmarks/results/fine_tuning.md

Without `--source` Keras downloads MNIST.
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
import keras_hub
import numpy as np

from keras_noisy import analysis, callbacks, datasets, losses, noise

SEEDS = (0, 1, 2)
RATE, RANK, BATCH_SIZE = 0.4, 4, 32
NUM_BEFORE, NUM_TRAIN = 6000, 1000
LOSSES = {
    "cross-entropy": lambda: losses.LabelSmoothing(epsilon=0.0, from_logits=True),
    "GeneralizedCrossEntropy": lambda: losses.GeneralizedCrossEntropy(
        q=0.7, from_logits=True
    ),
}


def classifier():
    """Return a network of 60,000 weights, which computes logits."""
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(28, 28, 1),
        patch_size=7,
        num_layers=3,
        num_heads=3,
        hidden_dim=48,
        mlp_dim=96,
    )
    return keras_hub.models.ViTImageClassifier(
        backbone, num_classes=5, preprocessor=None
    )


def fit(model, loss, x, y, epochs, rate, **kwargs):
    """Train with Adam, and return the model that was trained.

    One of Keras's own on the same layers: the `fit` of keras-hub's classes makes a data
    set of arrays and does not shuffle it.
    """
    plain = keras.Model(model.inputs, model.outputs)
    optimizer = keras.optimizers.Adam(rate)
    plain.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
    plain.fit(x, y, epochs=epochs, batch_size=BATCH_SIZE, verbose=0, **kwargs)
    return plain


class Task:
    """The data of a seed, and the backbone trained on the other digits."""

    def __init__(self, data, seed, epochs_before):
        rng = np.random.default_rng(seed)
        x, y = data.x_train.astype("float32") / 255, data.y_train
        before = rng.permutation(np.flatnonzero(y < 5))[:NUM_BEFORE]
        now = rng.permutation(np.flatnonzero(y >= 5))[:NUM_TRAIN]
        test = data.y_test >= 5
        self.x, self.clean = x[now], y[now] - 5
        self.x_test = data.x_test[test].astype("float32") / 255
        self.y_test = data.y_test[test] - 5
        self.noisy = noise.corrupt_labels(
            self.clean, noise.symmetric(5, RATE), seed=seed
        ).noisy
        keras.utils.set_random_seed(seed)
        model = classifier()
        fit(model, LOSSES["cross-entropy"](), x[before], y[before], epochs_before, 1e-3)
        self.weights = model.backbone.get_weights()

    def model(self):
        """Return a classifier with the trained backbone and a new head."""
        model = classifier()
        model.backbone.set_weights(self.weights)
        return model

    def measures(self, model):
        """Return test accuracy, and the share of wrong labels learnt, in percent."""
        accuracy = model.evaluate(self.x_test, self.y_test, batch_size=512, verbose=0)
        predictions = model.predict(self.x, batch_size=512, verbose=0)
        fitted = analysis.wrong_label_fit(predictions, self.noisy, self.clean)
        return np.array([100 * accuracy[1], 100 * fitted])


def all_weights(task, loss, epochs):
    """Train head and backbone."""
    return fit(task.model(), loss, task.x, task.noisy, epochs, 1e-3)


def lora(task, loss, epochs):
    """Train the head, and low-rank updates of the backbone."""
    model = task.model()
    model.backbone.enable_lora(RANK)
    return fit(model, loss, task.x, task.noisy, epochs, 1e-3)


def probe(task, loss, epochs, **kwargs):
    """Train the head."""
    model = task.model()
    model.backbone.trainable = False
    return fit(model, loss, task.x, task.noisy, epochs, 1e-2, **kwargs)


def probe_clean_all_weights(task, loss, epochs):
    """Train the head, leave out what it doubts, and train all weights on the others."""
    seal = callbacks.SEAL(task.x, from_logits=True)
    first = LOSSES["GeneralizedCrossEntropy"]()
    head = probe(task, first, epochs, callbacks=[seal]).get_layer("predictions")
    suspects = analysis.find_suspects(task.noisy, seal.soft_labels)
    kept = suspects.keep_mask()
    model = task.model()
    model.get_layer("predictions").set_weights(head.get_weights())
    return fit(model, loss, task.x[kept], task.noisy[kept], epochs, 1e-3)


WAYS = {
    "all weights": all_weights,
    "LoRA": lora,
    "probe": probe,
    "probe, clean, all weights": probe_clean_all_weights,
}


def measured(data, seeds, epochs_before, epochs):
    """Return both measures of each way and loss, `(seeds, 2)`."""
    found = {(way, loss): [] for way in WAYS for loss in LOSSES}
    for seed in seeds:
        task = Task(data, seed, epochs_before)
        for way, loss in found:
            keras.utils.set_random_seed(seed)
            model = WAYS[way](task, LOSSES[loss](), epochs)
            found[way, loss].append(task.measures(model))
            print(seed, way, loss, found[way, loss][-1].round(1), flush=True)
    return {key: np.array(values) for key, values in found.items()}


def main():
    """Train, and print a Markdown report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", help="a file of MNIST, `.npz`")
    parser.add_argument("--epochs-before", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    data = datasets.load("mnist", source=args.source)
    found = measured(data, args.seeds, args.epochs_before, args.epochs)
    lines = [
        "# Fine-tuning on wrong labels: all weights, LoRA, a probe",
        "",
        "A small vision transformer, trained on the digits 0 to 4 of MNIST, is "
        f"fine-tuned on {NUM_TRAIN:,} images of the digits 5 to 9 with {RATE:.0%} "
        "symmetric noise. In %, mean and standard deviation over the seeds, after the "
        "last epoch: accuracy on clean test images, and the share of the wrong labels "
        "that the network has learnt by heart.",
        "",
        "| trained | loss | test accuracy | wrong labels learnt |",
        "|---|---|---|---|",
    ]
    for (way, loss), values in found.items():
        mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
        cells = [f"{m:.1f} ± {d:.1f}" for m, d in zip(mean, deviation, strict=True)]
        lines.append(f"| {way} | {loss} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        f"Seeds {', '.join(map(str, args.seeds))}: of the images, the noise and the "
        f"weights. {args.epochs_before} epochs on {NUM_BEFORE:,} images with right "
        f"labels before; then {args.epochs}, Adam at 0.001 (of the head alone 0.01), "
        f"batches of {BATCH_SIZE}. LoRA of rank {RANK}, of queries and values. "
        f"{platform.machine()} CPU; Python {platform.python_version()}, Keras "
        f"{keras.__version__} on {keras.backend.backend()}, keras-hub "
        f"{keras_hub.__version__}.",
        "",
        f"Command: `python {shlex.join(sys.argv)}`",
    ]
    report = "\n".join(lines)
    print(report)
    if args.out:
        args.out.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
