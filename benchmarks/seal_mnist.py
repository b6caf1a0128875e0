"""SEAL on MNIST with instance-dependent noise: the paper's Appendix A protocol.

Run from the root of the repository, with MNIST as `x_train, y_train, x_test, y_test`
in one `.npz` file (that of `keras.datasets`) and noisy training labels in another:

    python benchmarks/seal_mnist.py --npz mnist.npz \
        --labels idn_labels.npz:mnist_idn_40 --seeds 0 1 2

A run that was interrupted continues when the same command is given again. Each run
leaves a file in `--out`; `--table` prints a table of those that are there.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_noisy import _files, noise, training

OUT = "benchmarks/results/seal_mnist"


def parse_arguments():
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npz", help="MNIST")
    parser.add_argument("--labels", help="noisy training labels, FILE:KEY")
    parser.add_argument(
        "--uniform", type=float, help="uniform noise of this rate instead of --labels"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--collect", choices=["pass", "on_the_fly"], default="pass")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--warm-start", action="store_true")
    parser.add_argument("--input", choices=["scaled", "standardized"], default="scaled")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--storage", default="runs/seal_mnist")
    parser.add_argument("--out", default=OUT)
    parser.add_argument("--table", action="store_true")
    return parser.parse_args()


def build_model():
    """Return the CNN of Appendix A; its softmax is in the loss."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(20, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(50, 5, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(500, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.5),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # On this CPU XLA is two to four times slower.
    )
    return model


def load(arguments):
    """Return images, clean labels, noisy labels and test data."""
    with np.load(arguments.npz) as archive:
        data = {name: archive[name] for name in archive.files}
    images = [data["x_train"], data["x_test"]]
    images = [values[..., None].astype("float32") / 255 for values in images]
    if arguments.input == "standardized":
        images = [(values - 0.1307) / 0.3081 for values in images]
    clean = data["y_train"].astype("int64")
    test = keras.utils.to_categorical(data["y_test"], 10)
    if arguments.uniform is not None:
        matrix = noise.symmetric(10, arguments.uniform)
        noisy = noise.corrupt_labels(clean, matrix, seed=0).noisy
    else:
        path, key = arguments.labels.rsplit(":", 1)
        with np.load(path) as archive:
            noisy = archive[key].astype("int64")
    return images[0], clean, noisy, (images[1], test)


def name_of(arguments):
    """Return a name that tells runs of different settings apart."""
    if arguments.uniform is not None:
        labels = f"uniform_{round(100 * arguments.uniform)}"
    else:
        labels = arguments.labels.rsplit(":", 1)[1]
    # Without the number of rounds: a run with more of them continues this one.
    parts = [labels, f"{arguments.epochs}_epochs", arguments.collect]
    if arguments.temperature != 1:
        parts.append(f"temperature_{arguments.temperature:g}")
    if arguments.warm_start:
        parts.append("warm_start")
    if arguments.input != "scaled":
        parts.append(arguments.input)
    return "-".join(parts)


def run(arguments, seed, data):
    """Train all rounds of one seed and write its results."""
    name = f"{name_of(arguments)}-seed_{seed}"
    x, clean, noisy, test = data
    evolution = training.SelfEvolution(
        build_model,
        rounds=arguments.rounds,
        storage=os.path.join(arguments.storage, name),
        collect=arguments.collect,
        temperature=arguments.temperature,
        warm_start="last" if arguments.warm_start else False,
        seed=seed,
        from_logits=True,
    )
    start = time.perf_counter()
    evolution.fit(
        x,
        noisy,
        epochs=arguments.epochs,
        batch_size=64,
        clean_labels=clean,
        validation_data=test,
        validation_batch_size=1000,
        predict_batch_size=1000,
        verbose=2,
    )
    result = {
        "name": name,
        "settings": {
            key: value
            for key, value in vars(arguments).items()
            if key not in ("npz", "storage", "out", "table", "seeds", "labels")
        },
        "labels": os.path.basename(arguments.labels or "") or None,
        "seed": seed,
        "noise_rate": float(np.mean(noisy != clean)),
        "test_accuracy": [
            [round(value, 4) for value in history["val_accuracy"]]
            for history in evolution.histories
        ],
        "train_accuracy": [
            [round(value, 4) for value in history["accuracy"]]
            for history in evolution.histories
        ],
        "reports": evolution.reports,
        "seconds": round(time.perf_counter() - start),
        "machine": f"{os.cpu_count()}-core {platform.machine()} CPU",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "keras": keras.__version__,
            keras.backend.backend(): backend_version(),
        },
    }
    path = pathlib.Path(arguments.out)
    path.mkdir(parents=True, exist_ok=True)
    _files.write_json(path / f"{name}.json", result)


def backend_version():
    """Return the version of Keras's backend."""
    return __import__(keras.backend.backend()).__version__


def print_table(folder):
    """Print the test accuracy at the last epoch of each round."""
    groups = {}
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        result = json.loads(path.read_text())
        groups.setdefault(result["name"].rsplit("-", 1)[0], []).append(result)
    for name, results in groups.items():
        print(f"\n### {name}, seeds {', '.join(str(r['seed']) for r in results)}\n")
        print(
            "| round | test accuracy, last epoch, % | per seed | best epoch, % | "
            "labels right, % | distance to truth |\n|---|---|---|---|---|---|"
        )
        for index in range(max(len(r["reports"]) for r in results)):
            done = [r for r in results if len(r["reports"]) > index]
            last = [100 * r["test_accuracy"][index][-1] for r in done]
            best = [100 * max(r["test_accuracy"][index]) for r in done]
            reports = [r["reports"][index] for r in done]
            right = statistics.mean(100 * r["label_accuracy"] for r in reports)
            distance = statistics.mean(r["label_distance"] for r in reports)
            spread = f" ± {statistics.stdev(last):.2f}" if len(last) > 1 else ""
            print(
                f"| {index + 1} | {statistics.mean(last):.2f}{spread} | "
                f"{', '.join(f'{value:.2f}' for value in last)} | "
                f"{statistics.mean(best):.2f} | {right:.2f} | {distance:.3f} |"
            )


def main():
    """Train, or print what was trained."""
    arguments = parse_arguments()
    if arguments.table:
        print_table(arguments.out)
        return
    if arguments.threads and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    data = load(arguments)
    for seed in arguments.seeds:
        run(arguments, seed, data)


if __name__ == "__main__":
    main()
