"""Find the wrong labels, train in spite of them, and measure the gain.

Wrong labels are put into handwritten digits. The script finds them, and trains a
network with five losses, on the cleaned labels, and by the automatic choice. It writes
a picture and a report. Finished runs are kept: the same command goes on.
"""

import argparse
import logging
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_noisy
from keras_noisy import analysis, callbacks, datasets, losses, noise

logging.getLogger("tensorflow").setLevel("ERROR")  # It warns of many small programs.
COLOURS = ["#000000", "#E69F00", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#56B4E9"]
NOTES = """Accuracy on clean test data, mean ± deviation over the seeds. Two layers of
256, Adam 0.002, batch 32; the automatic choice tries five methods with batch 64."""
PLAIN = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
METHODS = {  # Values of papers and guides; none is told the noise.
    "cross-entropy": PLAIN,
    "label smoothing": losses.LabelSmoothing(epsilon=0.1, from_logits=True),
    "soft bootstrapping": losses.BootstrapSoft(epsilon=0.3, from_logits=True),
    "ProSelfLC": losses.ProSelfLC(exp_base=10.0, from_logits=True),
    "Equal Loss": losses.EqualLoss(epsilon=0.3, from_logits=True),
    "cleaned labels": PLAIN,
    "automatic choice": PLAIN,
}


def train(method, x, given, x_test, y_test, seed, options):
    """Return test accuracies by epoch, and what is predicted for `x` at the end."""
    curve, is_automatic = [], method == "automatic choice"
    steps_per_call = 1 if is_automatic or keras.config.backend() == "torch" else 43

    def build_model():
        widths = [(256, "relu"), (256, "relu"), (int(given.max()) + 1,)]
        model = keras.Sequential([keras.layers.Dense(*width) for width in widths])
        adam = keras.optimizers.Adam(2e-3)
        model.compile(adam, METHODS[method], steps_per_execution=steps_per_call)
        return model

    def predict(x):
        return keras.ops.convert_to_numpy(model(x)).argmax(axis=1)

    def look(epoch, logs):
        curve.append(float((predict(x_test) == y_test).mean()))
        line = f"\r{method}, epoch {epoch + 1}: test accuracy {curve[-1]:.3f}"
        print(line, end="", flush=True)

    if is_automatic:
        model = keras_noisy.RobustClassifier(build_model, seed=seed, **options)
        return [model.fit(x, given).score(x_test, y_test)], model.predict(x)
    keras.utils.set_random_seed(seed)
    model = build_model()
    watch = [keras.callbacks.LambdaCallback(on_epoch_end=look)]
    watch += [callbacks.GlobalTrust()] * (method == "ProSelfLC")
    model.fit(x, given, callbacks=watch, **options | {"batch_size": 32})
    return curve, predict(x)


def run(args, data, seed):
    """Return the diagnosis of a seed, how right it is, and by method its results."""
    both = data.x_train, data.x_test
    x, x_test = (part.reshape(len(part), -1) / np.float32(255) for part in both)
    matrix = noise.symmetric(int(data.y_train.max()) + 1, args.rate)
    labels = noise.corrupt_labels(data.y_train, matrix, seed=seed)
    options = {"epochs": args.epochs, "batch_size": 64, "verbose": args.verbose}
    about = [labels.digest[:12], x.sum(), seed, args.epochs, keras.config.backend()]
    folder = args.out / "_".join(map(str, [*about, keras_noisy.__version__]))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "diagnosis.npz"
    if not path.exists():
        found = keras_noisy.find_wrong_labels(x, labels.noisy, seed=seed, **options)
        found.save(path)
    found, results = keras_noisy.Diagnosis.load(path), {}
    wrong, doubted = labels.is_corrupted, ~found.keep_mask()
    line = f"seed {seed}: {wrong.sum()} of {len(x)} labels are wrong; {doubted.sum()} "
    line += f"suspects, {(wrong & doubted).sum()} of which are wrong"
    print(line)
    for method in METHODS:
        path, part = folder / f"{method}.npy", folder / "unfinished.npy"
        if not path.exists():
            given = found.cleaned_labels() if "cleaned" in method else labels.noisy
            curve, guess = train(method, x, given, x_test, data.y_test, seed, options)
            fit = analysis.wrong_label_fit(guess, labels.noisy, labels.clean)
            np.save(part, [*curve, fit])
            part.replace(path)
        *curve, _ = results[method] = np.load(path)
        print(f"\rseed {seed}, {method}: last {curve[-1]:.3f}, best {max(curve):.3f}")
    return found, line, results


def report(args, data, runs, arguments):
    """Draw suspects of the first seed beside learning curves, and write a table."""
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    left, right = figure.subfigures(1, 2)
    left.suptitle("Labels found wrong: given → proposed")
    suspects = runs[0][0].suspects.top(12)
    for i, axis in enumerate(left.subplots(3, 4).flat):
        axis.imshow(data.x_train[suspects.sample_id[i]].squeeze(), cmap="gray_r")
        axis.set_title(f"{suspects.given_label[i]} → {suspects.proposed_label[i]}")
        axis.axis("off")
    axis = right.subplots(subplot_kw={"title": "Test accuracy by epoch"})
    lines = [f"# {data.name}, {args.rate:.0%} symmetric noise, {args.epochs} epochs"]
    lines += ["", runs[0][0].verdict, "", *(f"* {line}" for _, line, _ in runs), ""]
    lines += ["| | last epoch | best epoch | wrong labels fitted |", "|---" * 4 + "|"]
    for method, colour in zip(METHODS, COLOURS, strict=True):
        found = np.array([results[method] for *_, results in runs])
        curves, fit = found[:, :-1], found[:, -1]
        curve = np.resize(curves.mean(axis=0), args.epochs)
        axis.plot(range(1, args.epochs + 1), curve, color=colour, label=method)
        columns = curves[:, -1], curves.max(axis=1), fit
        cells = [f"{np.mean(c):.3f} ± {np.std(c):.3f}" for c in columns]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    right.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(args.out / "quickstart.png", dpi=150)
    about = f"keras_noisy {keras_noisy.__version__}, keras {keras.__version__}"
    lines += ["", NOTES, "", f"{about}, {time.process_time():.0f} s of CPU time:", ""]
    lines += [f"    python examples/quickstart.py {' '.join(arguments)}".rstrip()]
    (args.out / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")


def main(arguments):
    """Read the command line, and run all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npz", help="own images: x_train, y_train, x_test, y_test")
    parser.add_argument("--rate", type=float, default=0.4, help="share of wrong labels")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=pathlib.Path, default="runs/quickstart")
    parser.add_argument("--verbose", type=int, default=0, help="1 shows progress bars")
    args = parser.parse_args(arguments)
    data = datasets.load("custom" if args.npz else "digits", source=args.npz)
    runs = [run(args, data, seed) for seed in args.seeds]
    report(args, data, runs, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
