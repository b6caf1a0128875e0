"""Compare plain cross-entropy with losses made for noisy labels.

Trains the same small network with each loss on data whose training labels are
partly wrong, prints a table and draws the learning curves:

    python examples/quickstart.py

By default the data are scikit-learn's handwritten digits, which need no download,
with 40 % symmetric noise. Finished runs are kept in the output folder; the same
command continues where it was stopped.
"""

import argparse
import hashlib
import json
import os
import pathlib
import platform
import shlex
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib
import numpy as np

from keras_noisy import __version__, callbacks, datasets, losses, noise

matplotlib.use("Agg")
import matplotlib.pyplot as plt

METHODS = {
    "cross_entropy": lambda rate: keras.losses.SparseCategoricalCrossentropy(
        from_logits=True
    ),
    "label_smoothing": lambda rate: losses.LabelSmoothing(
        epsilon=0.1, from_logits=True
    ),
    "bootstrap_soft": lambda rate: losses.BootstrapSoft(epsilon=0.3, from_logits=True),
    "proselflc": lambda rate: losses.ProSelfLC(exp_base=10.0, from_logits=True),
    # The paper sets epsilon to the noise rate.
    "equal_loss": lambda rate: losses.EqualLoss(epsilon=rate, from_logits=True),
}
TITLES = {
    "cross_entropy": "cross-entropy",
    "label_smoothing": "label smoothing",
    "bootstrap_soft": "soft bootstrapping",
    "proselflc": "ProSelfLC",
    "equal_loss": "Equal Loss",
}
NOISES = {
    "symmetric": "symmetric noise, original class excluded",
    "symmetric_included": "symmetric noise, original class included",
    "pair_flip": "pair flip, each class to the next",
    "asymmetric": "CIFAR-10 class pairs, two-way",
}
QUANTITIES = {
    "final": "final test accuracy",
    "best": "best test accuracy",
    "wrong_label_fit": "wrong-label fit",
    "semantic_correction": "semantic correction",
}
# Okabe and Ito's colours, told apart by colour-blind readers.
COLOURS = ["#000000", "#E69F00", "#009E73", "#D55E00", "#0072B2"]


def parse_arguments(arguments=None):
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data",
        default="digits",
        choices=["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"],
        help="digits is embedded in scikit-learn, the others are downloaded",
    )
    parser.add_argument(
        "--source",
        default="keras",
        choices=["keras", "tfds"],
        help="where to download from: keras.datasets or TensorFlow Datasets",
    )
    parser.add_argument(
        "--npz", metavar="FILE", help="own data: x_train, y_train, x_test, y_test"
    )
    parser.add_argument(
        "--noise",
        default="symmetric",
        choices=list(NOISES),
        help="symmetric_included may draw the true class again; asymmetric is "
        "CIFAR-10's two-way class pairs",
    )
    parser.add_argument("--rate", type=float, default=0.4, help="noise rate")
    parser.add_argument(
        "--noisy-labels",
        metavar="FILE[:KEY]",
        help="published noisy labels of the training set (.npz or .npy) instead",
    )
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), choices=list(METHODS)
    )
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train-size", type=int, help="use so many examples only")
    parser.add_argument("--out", type=pathlib.Path, default="runs/quickstart")
    parser.add_argument("--verbose", type=int, default=1, choices=[0, 1, 2])
    return parser.parse_args(arguments)


def load_data(args):
    """Return `(x_train, y_train), (x_test, y_test), given`, images in [0, 1].

    `given` are the noisy training labels of `--noisy-labels`, or None.
    """
    if args.npz:
        dataset = datasets.load("custom", source=args.npz)
    else:
        is_tfds = args.source == "tfds" and args.data != "digits"
        dataset = datasets.load(args.data, source="tfds" if is_tfds else None)
    given = None
    if args.noisy_labels:
        file = datasets.read_label_file(args.noisy_labels, dataset, order="same")
        given = file.noisy
    chosen = slice(None)
    if args.train_size:
        # The first examples are not a random part of every data set.
        order = np.random.default_rng(0).permutation(len(dataset.y_train))
        chosen = order[: args.train_size]
    train = as_images(dataset.x_train[chosen]), dataset.y_train[chosen]
    test = as_images(dataset.x_test), dataset.y_test
    return train, test, None if given is None else given[chosen]


def as_images(x):
    """Return `uint8` images as float32 in [0, 1] with a channel axis."""
    x = np.asarray(x, dtype="float32") / 255
    return x[..., None] if x.ndim == 3 else x


def make_noisy(args, labels, given, seed):
    """Return the training labels with noise, as `noise.NoisyLabels`."""
    num_classes = int(labels.max()) + 1
    if given is not None:
        return noise.NoisyLabels(given, labels, num_classes)
    if args.noise == "asymmetric":
        if num_classes != 10:
            raise ValueError("--noise asymmetric is defined for CIFAR-10's classes")
        matrix = noise.asymmetric(10, noise.CIFAR10_FLIPS_TWO_WAY, args.rate)
    elif args.noise == "pair_flip":
        matrix = noise.pair_flip(num_classes, args.rate)
    else:
        included = args.noise == "symmetric_included"
        matrix = noise.symmetric(num_classes, args.rate, include_original=included)
    return noise.corrupt_labels(labels, matrix, seed=seed)


def make_model(shape, num_classes):
    """Return a small convolutional network with logits as outputs."""
    layers = keras.layers
    pool = [layers.MaxPooling2D()] if shape[0] > 16 else []
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            *pool,
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(num_classes),
        ]
    )


def train(method, seed, args, data, labels):
    """Train once and return the run's record, ready for JSON."""
    (x_train, _), (x_test, y_test), _ = data
    keras.utils.set_random_seed(seed)
    model = make_model(x_train.shape[1:], int(labels.clean.max()) + 1)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=METHODS[method](labels.rate if args.noisy_labels else args.rate),
        metrics=["accuracy"],
    )
    watch = [
        callbacks.LearningDynamics(
            x_train, labels.noisy, labels.clean, batch_size=512, from_logits=True
        )
    ]
    if method == "proselflc":
        watch.append(callbacks.GlobalTrust())
    start = time.perf_counter()
    history = model.fit(
        x_train,
        labels.noisy,
        batch_size=args.batch_size,
        epochs=args.epochs,
        validation_data=(x_test, y_test),
        validation_batch_size=512,
        callbacks=watch,
        verbose=args.verbose,
    ).history
    return {
        "method": method,
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 1),
        "noise_rate": labels.rate,
        "noise_digest": labels.digest,
        "final": history["val_accuracy"][-1],
        "best": max(history["val_accuracy"]),
        "wrong_label_fit": history["wrong_label_fit"][-1],
        "semantic_correction": history["semantic_correction"][-1],
        "history": {key: [float(v) for v in values] for key, values in history.items()},
    }


def settings_of(args, data):
    """Return what a run depends on, besides method and seed."""
    train, test, given = data
    kind = {"noise": args.noise, "rate": args.rate}
    if given is not None:
        name = pathlib.Path(args.noisy_labels).name
        kind = {"noise": name, "noise_digest": digest_of(given)}
    return {
        "data": pathlib.Path(args.npz).name if args.npz else args.data,
        "data_digest": digest_of(*train, *test),
        **kind,
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "train_size": args.train_size,
        "versions": {
            "keras_noisy": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "python": platform.python_version(),
        },
    }


def digest_of(*arrays):
    """Return 16 hexadecimal digits that identify arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def read_runs(path, settings):
    """Return the finished runs in `path` that were made with `settings`."""
    if not path.exists():
        return {}
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{path}: left out a line that was cut off")
    return {
        (record["method"], record["seed"]): record
        for record in records
        if record["settings"] == settings
    }


def append_run(path, record):
    """Add a line to `path`, on a line of its own even after one that was cut off."""
    is_cut_off = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * is_cut_off + json.dumps(record) + "\n")


def run_all(args, data):
    """Train what is not yet in the output folder, and return all runs."""
    settings = settings_of(args, data)
    path = args.out / "runs.jsonl"
    args.out.mkdir(parents=True, exist_ok=True)
    done = read_runs(path, settings)
    (_, y_train), _, given = data
    wanted = [(method, seed) for seed in args.seeds for method in args.methods]
    for number, (method, seed) in enumerate(wanted, start=1):
        heading = f"[{number}/{len(wanted)}] {TITLES[method]}, seed {seed}"
        if (method, seed) in done:
            print(f"{heading}: done before, in {path}")
            continue
        labels = make_noisy(args, y_train, given, seed)
        print(f"{heading}: {labels.rate:.1%} of {len(y_train)} labels are wrong")
        record = {**train(method, seed, args, data, labels), "settings": settings}
        done[method, seed] = record
        append_run(path, record)
    return [done[key] for key in wanted]


def make_table(runs, methods):
    """Return a Markdown table, mean and standard deviation over the seeds."""
    lines = [
        "| method | " + " | ".join(QUANTITIES.values()) + " |",
        "|---|" + "---|" * len(QUANTITIES),
    ]
    for method in methods:
        cells = [TITLES[method]]
        for quantity in QUANTITIES:
            values = [run[quantity] for run in runs if run["method"] == method]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(runs, methods, title, path):
    """Draw the learning curves, mean over the seeds with their range."""
    panels = {
        "val_accuracy": "accuracy on clean test data",
        "wrong_label_fit": "share of wrong labels fitted",
        "semantic_correction": "share of wrong labels corrected",
    }
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    for axis, (key, label) in zip(axes, panels.items(), strict=True):
        for method in methods:
            colour = COLOURS[list(METHODS).index(method)]
            curves = np.array(
                [run["history"][key] for run in runs if run["method"] == method]
            )
            epochs = np.arange(1, curves.shape[1] + 1)
            axis.plot(epochs, curves.mean(axis=0), color=colour, label=TITLES[method])
            axis.fill_between(
                epochs,
                curves.min(axis=0),
                curves.max(axis=0),
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        axis.set(xlabel="epoch", ylabel=label, ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(methods),
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def describe(args, runs):
    """Return the title of table and picture."""
    name = pathlib.Path(args.npz).stem if args.npz else args.data
    labels = args.noisy_labels and pathlib.Path(args.noisy_labels).name
    rate = np.mean([run["noise_rate"] for run in runs])
    return (
        f"{name}, {labels or NOISES[args.noise]}, {rate:.0%} wrong labels, "
        f"{args.epochs} epochs, seeds {', '.join(map(str, args.seeds))}"
    )


def make_report(args, arguments, title, table, runs):
    """Return the table with all that is needed to make it again."""
    versions = ", ".join(f"{k} {v}" for k, v in runs[0]["settings"]["versions"].items())
    digests = {str(run["seed"]): run["noise_digest"] for run in runs}
    lines = [
        f"# {title}",
        "",
        table,
        "",
        "Mean and standard deviation over the seeds, after the last epoch (final) and "
        "at the best one; clean test data. The other columns are shares of the wrong "
        "training labels that the network predicts, or whose true class it predicts, "
        "after the last epoch.",
        "",
        f"Same network, Adam with learning rate 0.001, batch {args.batch_size} for "
        "every method. SHA-256 of the noisy labels: "
        + ", ".join(f"{digest[:16]} (seed {seed})" for seed, digest in digests.items())
        + ".",
        "",
        f"{versions}; {os.cpu_count()}-core {platform.machine()}, "
        f"{sum(run['seconds'] for run in runs):.0f} s of training.",
        "",
        f"    {shlex.join(['python', 'examples/quickstart.py', *arguments])}",
    ]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    """Run the comparison."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = parse_arguments(arguments)
    try:
        runs = run_all(args, load_data(args))
    except (ValueError, OSError) as error:
        # The command line's or a file's fault: the message says what to mend.
        raise SystemExit(f"error: {error}") from None
    title = describe(args, runs)
    table = make_table(runs, args.methods)
    picture = args.out / "learning_curves.png"
    draw(runs, args.methods, title, picture)
    report = make_report(args, arguments, title, table, runs)
    (args.out / "report.md").write_text(report, encoding="utf-8")
    print(f"\n{title}\n\n{table}\n\nLearning curves: {picture}")


if __name__ == "__main__":
    main()
