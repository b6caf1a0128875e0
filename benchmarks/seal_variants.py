"""What SEAL's choices change: how predictions are collected, warm start, temperature.

Rounds of SEAL on scikit-learn's digits with instance-dependent noise (Algorithm 1),
once for each choice, all else equal. Dropout and augmentation are what makes on-the-fly
predictions differ from those of a pass, so both are tried with each.

    python benchmarks/seal_variants.py --out benchmarks/results/seal_variants.md

A run that was interrupted continues when the same command is given again.
"""

import argparse
import functools
import json
import os
import pathlib
import platform
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import instance_dependent_noise
import keras

from keras_noisy import _files, training

# Arguments of the network, of SelfEvolution, and a factor on the epochs of a round.
VARIANTS = {
    "pass (the paper)": ({}, {}, 1),
    "on the fly": ({}, {"collect": "on_the_fly"}, 1),
    "warm start": ({}, {"warm_start": "last"}, 1),
    "temperature 0.5": ({}, {"temperature": 0.5}, 1),
    "temperature 0.25": ({}, {"temperature": 0.25}, 1),
    "temperature 2": ({}, {"temperature": 2.0}, 1),
    "rounds half as long": ({}, {}, 0.5),
    "rounds five times as long": ({}, {}, 5),
    "dropout 0.5, pass": ({"dropout": 0.5}, {}, 1),
    "dropout 0.5, on the fly": ({"dropout": 0.5}, {"collect": "on_the_fly"}, 1),
    "augmentation, pass": ({"augment": True}, {}, 1),
    "augmentation, on the fly": ({"augment": True}, {"collect": "on_the_fly"}, 1),
}


def build_model(dropout=0.0, augment=False):
    """Return a network for 8x8 images, compiled."""
    layers = [keras.Input((64,))]
    if augment:  # By up to a pixel.
        layers += [
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.RandomTranslation(1 / 8, 1 / 8, fill_mode="constant"),
            keras.layers.Flatten(),
        ]
    for _ in range(2):
        layers.append(keras.layers.Dense(256, activation="relu"))
        if dropout:
            layers.append(keras.layers.Dropout(dropout))
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


@functools.cache
def make_noise(rate, seed):
    """Return instance-dependent labels of the training digits."""
    x, clean, _ = instance_dependent_noise.load_digits()
    return training.generate_instance_dependent_noise(
        instance_dependent_noise.build_digits_model,
        x,
        clean,
        rate=rate,
        epochs=100,
        batch_size=64,
        seed=100 + seed,  # Not the network that is trained on the noise.
        from_logits=True,
        verbose=0,
    )


def run(args, name, seed):
    """Train the rounds of one variant and return its result."""
    network, options, factor = VARIANTS[name]
    x, clean, test = instance_dependent_noise.load_digits()
    labels = make_noise(args.rate, seed)
    evolution = training.SelfEvolution(
        lambda: build_model(**network),
        rounds=args.rounds,
        seed=seed,
        from_logits=True,
        **options,
    )
    evolution.fit(
        x,
        labels.noisy,
        epochs=round(factor * args.epochs),
        batch_size=64,
        clean_labels=clean,
        validation_data=test,
        verbose=0,
    )
    return {
        "digest": labels.digest,
        "test_accuracy": [h["val_accuracy"] for h in evolution.histories],
        "label_accuracy": [r["label_accuracy"] for r in evolution.reports],
    }


def show(values):
    """Return mean and standard deviation in percent."""
    values = [100 * value for value in values]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {spread:.1f}"


def make_report(args, results):
    """Return a Markdown page."""
    rounds = range(args.rounds)
    lines = [
        "| variant | "
        + " | ".join(f"round {index + 1}" for index in rounds)
        + " | best epoch of the last round | labels right at the end |",
        "|---|" + "---|" * (args.rounds + 2),
    ]
    for name in VARIANTS:
        runs = [results[name, seed] for seed in args.seeds]
        cells = [show([r["test_accuracy"][i][-1] for r in runs]) for i in rounds]
        cells.append(show([max(r["test_accuracy"][-1]) for r in runs]))
        cells.append(show([r["label_accuracy"][-1] for r in runs]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    backend = keras.backend.backend()
    return (
        f"# What SEAL's choices change\n\n"
        f"Command: `python benchmarks/seal_variants.py --out {args.out}`\n\n"
        "Scikit-learn's digits, 1200 for training and 597 for the test at random, "
        f"{args.rate:.0%} instance-dependent noise\n(Algorithm 1, one noise per seed); "
        "network 64-256-256-10, SGD (0.05, momentum 0.9), batch 64, "
        f"{args.epochs} epochs a\nround. Test accuracy in percent at the last epoch of "
        f"a round, mean ± standard deviation over seeds {args.seeds}.\nRound 1 is "
        "cross-entropy on the given labels.\n\n"
        + "\n".join(lines)
        + f"\n\n{os.cpu_count()}-core {platform.machine()} CPU, Python "
        f"{platform.python_version()}, Keras {keras.__version__}, {backend} "
        f"{__import__(backend).__version__}.\n"
    )


def main():
    """Train what is missing, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=pathlib.Path, default="runs/seal_variants")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in VARIANTS:
        for seed in args.seeds:
            settings = f"{name}-{args.rate:g}-{args.rounds}-{args.epochs}-{seed}"
            path = args.runs / (settings.replace(" ", "_") + ".json")
            if not path.exists():
                _files.write_json(path, run(args, name, seed))
                print(settings, flush=True)
            results[name, seed] = json.loads(path.read_text())
    report = make_report(args, results)
    print("\n" + report)
    if args.out:
        with _files.atomic_writer(args.out) as file:
            file.write(report.encode())


if __name__ == "__main__":
    main()
