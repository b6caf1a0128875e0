"""Instance-dependent noise next to uniform noise of the same rate.

Generates instance-dependent noise with Algorithm 1 of the SEAL paper, trains the same
network on it and on uniform noise, and prints what Section 3.2 of the paper looks at:
how fast wrong labels are fitted, and how good the test accuracy is at its peak.

Run from the root of the repository, on scikit-learn's digits, or on MNIST with the
file of `keras.datasets`:

    python benchmarks/instance_dependent_noise.py
    python benchmarks/instance_dependent_noise.py --npz mnist.npz --seeds 0

With `--published` it says how far its labels are those that the authors published:

    python benchmarks/instance_dependent_noise.py --npz mnist.npz --seeds 0 1
        --published idn_labels.npz:mnist_idn_20 idn_labels.npz:mnist_idn_40

A run that was interrupted continues when the same command is given again.
"""

import argparse
import json
import os
import pathlib
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_noisy import analysis, models, noise, training
from keras_noisy._data import files

OUT = "benchmarks/results/instance_dependent_noise"


def build_digits_model():
    """Return a network for 8x8 images."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    return compile_model(model, keras.optimizers.SGD(0.05, momentum=0.9))


def build_mnist_model():
    """Return the CNN of the SEAL paper's Appendix A."""
    model = models.mnist_cnn(10)
    return compile_model(model, keras.optimizers.SGD(0.01, momentum=0.5))


def compile_model(model, optimizer):
    """Compile for logits; on a CPU XLA makes convolutions slower."""
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def load_digits():
    """Return images, labels and test data: a random third of the digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = (data.data[order] / 16).astype("float32"), data.target[order]
    return x[:1200], y[:1200], (x[1200:], keras.utils.to_categorical(y[1200:], 10))


def load_mnist(path):
    """Return images, labels and test data."""
    with np.load(path) as archive:
        data = {name: archive[name] for name in archive.files}
    x, x_test = (
        data[f"x_{part}"][..., None].astype("float32") / 255
        for part in ("train", "test")
    )
    y_test = keras.utils.to_categorical(data["y_test"], 10)
    return x, data["y_train"].astype("int64"), (x_test, y_test)


class Dynamics(keras.callbacks.Callback):
    """Logs how far wrong labels are fitted, every few epochs."""

    def __init__(self, x, noisy, clean):
        super().__init__()
        # Wrong labels only: right ones do not enter.
        wrong = np.flatnonzero(noisy != clean)[:5000]
        self.x, self.noisy, self.clean = x[wrong], noisy[wrong], clean[wrong]

    def on_epoch_end(self, epoch, logs=None):
        """Predict the examples with wrong labels."""
        z = self.model.predict(self.x, batch_size=1000, verbose=0)
        logs["wrong_label_fit"] = analysis.wrong_label_fit(z, self.noisy, self.clean)


def train(arguments, build_model, data, noisy, seed, storage):
    """Train on noisy labels and return the logs of the epochs."""
    x, clean, test = data
    evolution = training.SelfEvolution(
        build_model, rounds=1, seed=seed, storage=storage, from_logits=True
    )
    evolution.fit(
        x,
        noisy,
        epochs=arguments.epochs,
        batch_size=arguments.batch,
        validation_data=test,
        validation_batch_size=1000,
        predict_batch_size=1000,
        callbacks=[Dynamics(x, noisy, clean)],
        verbose=2 if arguments.npz else 0,
    )
    return evolution.histories[0]


def run(arguments, seed):
    """Generate both kinds of noise, train on both, and write the result."""
    if arguments.npz:
        name, data = "mnist", load_mnist(arguments.npz)
        build_model = build_mnist_model
    else:
        name, data, build_model = "digits", load_digits(), build_digits_model
    name = f"{name}-{round(100 * arguments.rate)}-seed_{seed}"
    storage = os.path.join(arguments.storage, name)
    x, clean, _ = data
    dependent = training.generate_instance_dependent_noise(
        build_model,
        x,
        clean,
        rate=arguments.rate,
        epochs=arguments.epochs,
        batch_size=arguments.batch,
        storage=storage + "-clean",
        seed=100 + seed,  # Not the network that is trained on the noise.
        from_logits=True,
        predict_batch_size=1000,
        verbose=2 if arguments.npz else 0,
    )
    matrix = noise.symmetric(10, arguments.rate)
    uniform = noise.corrupt_labels(clean, matrix, seed=seed)
    result = {"name": name, "epochs": arguments.epochs, "rate": arguments.rate}
    for kind, labels in (("instance-dependent", dependent), ("uniform", uniform)):
        folder = f"{storage}-{kind}"
        history = train(arguments, build_model, data, labels.noisy, seed, folder)
        result[kind] = {
            "rate": labels.rate,
            "digest": labels.digest,
            **{
                key: [round(value, 4) for value in history[key]]
                for key in ("accuracy", "val_accuracy", "wrong_label_fit")
            },
        }
    result["machine"] = f"{os.cpu_count()}-core {platform.machine()} CPU"
    backend = keras.backend.backend()
    result["versions"] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "keras": keras.__version__,
        backend: __import__(backend).__version__,
    }
    folder = pathlib.Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / f"{name}.json", result)


def compare_with_published(arguments):
    """Print how far labels of Algorithm 1 overlap with published ones of their rates.

    Per published file and seed: the share of its wrong labels that are wrong here too,
    beside the rate, which is what chance gives; of those the share with the same class;
    and the same of two seeds of ours.
    """
    x, clean, _ = load_mnist(arguments.npz)
    published = {}
    for source in arguments.published:
        path, _, key = source.partition(":")
        with np.load(path) as archive:
            published[key] = archive[key].astype("int64")
    soft = {}
    for seed in arguments.seeds:
        _, soft[seed] = training.generate_instance_dependent_noise(
            build_mnist_model,
            x,
            clean,
            rate=0.0,
            epochs=arguments.epochs,
            batch_size=arguments.batch,
            storage=os.path.join(arguments.storage, f"published-{seed}"),
            seed=seed,
            from_logits=True,
            return_mean_predictions=True,
            predict_batch_size=1000,
            verbose=2,
        )
    print(
        "| labels | beside | wrong labels that are wrong there too | by chance | of "
        "these with the same class | all labels that agree |\n|---|---|---|---|---|---|"
    )
    for key, labels in published.items():
        rate = float(np.mean(labels != clean))
        ours = {
            f"ours, seed {seed}": noise.instance_dependent(mean, clean, rate).noisy
            for seed, mean in soft.items()
        }
        names = list(ours)
        pairs = [(f"`{key}`", labels, name, ours[name]) for name in names]
        pairs += [(names[0], ours[names[0]], name, ours[name]) for name in names[1:]]
        for first, a, second, b in pairs:
            both, same, agree = overlap(a, b, clean)
            print(
                f"| {first} ({rate:.0%}) | {second} | {both:.1%} | {rate:.0%} | "
                f"{same:.1%} | {agree:.1%} |"
            )
    machine = f"{os.cpu_count()}-core {platform.machine()} CPU"
    versions = f"Keras {keras.__version__} ({keras.backend.backend()})"
    print(
        f"\n{arguments.epochs} epochs, batch {arguments.batch}, {machine}, {versions}."
    )


def overlap(first, second, clean):
    """Return how far two sets of noisy labels of the same examples overlap.

    Returns:
        The share of the wrong labels of `first` that are wrong in `second` too, of
        these the share with the same class, and the share of all labels that agree.
    """
    wrong = first != clean
    both = wrong & (second != clean)
    same = float(np.mean(first[both] == second[both])) if both.any() else float("nan")
    return float(both.sum() / wrong.sum()), same, float(np.mean(first == second))


def print_table(folder):
    """Print the means over seeds."""
    groups = {}
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        result = json.loads(path.read_text())
        groups.setdefault(result["name"].rsplit("-", 1)[0], []).append(result)
    print(
        "| data, rate | seeds | epochs | noise | training accuracy after 1/4, 1/2, all "
        "epochs, % | wrong labels fitted, the same, % | test accuracy, peak, % | last "
        "epoch, % |\n|---|---|---|---|---|---|---|---|"
    )
    for name, results in groups.items():
        for kind in ("instance-dependent", "uniform"):
            logs = {
                key: 100 * np.mean([r[kind][key] for r in results], axis=0)
                for key in ("accuracy", "val_accuracy", "wrong_label_fit")
            }
            peak = 100 * np.mean([max(r[kind]["val_accuracy"]) for r in results])
            epochs = len(logs["accuracy"])
            at = [max(epochs // 4, 1) - 1, epochs // 2 - 1, epochs - 1]

            def show(values, at=at):
                return ", ".join(f"{values[index]:.1f}" for index in at)

            print(
                f"| {name} | {len(results)} | {epochs} | {kind} | "
                f"{show(logs['accuracy'])} | {show(logs['wrong_label_fit'])} | "
                f"{peak:.2f} | {logs['val_accuracy'][-1]:.2f} |"
            )


def main():
    """Train, or print what was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npz", help="MNIST; digits without it")
    parser.add_argument("--rate", type=float, default=0.4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="10 on MNIST, 100 on digits")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--storage", default="runs/instance_dependent_noise")
    parser.add_argument("--out", default=OUT)
    parser.add_argument("--published", nargs="+", metavar="FILE:KEY", default=[])
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print_table(arguments.out)
        return
    arguments.epochs = arguments.epochs or (10 if arguments.npz else 100)
    if arguments.threads and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    if arguments.published:
        if not arguments.npz:
            parser.error("--published needs --npz: the labels are of MNIST")
        compare_with_published(arguments)
        return
    for seed in arguments.seeds:
        run(arguments, seed)


if __name__ == "__main__":
    main()
