"""Make the figures of the papers from runs of a recipe.

    python -m benchmarks.run digits/trust --noise pair_flip
    python -m benchmarks.figures proselflc_2 digits/trust --noise pair_flip \
        --method "ProSelfLC(10)" "global trust" "local trust" "fixed 0.5"
    python -m benchmarks.figures seal_5 seal/table1 --method SEAL --rate 0.4 \
        --source mnist.npz --labels idn_labels.npz:mnist_idn_40

Figures 2, 3 and 5 of ProSelfLC and 4 of SEAL are drawn from finished runs, lines of
`runs.jsonl` in the folder `--out`, of a recipe that records its dynamics. Figures 3, 5
and 6 of SEAL share one run of SEAL, and Figure 1 of Equal Loss has one training; both
are kept below `--out` and continue where they were killed. Options are those of
`python -m benchmarks.run`, and those below.
"""

import argparse
import collections
import dataclasses
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from matplotlib.figure import Figure

from benchmarks import _records, _training, recipes, run
from keras_noisy import analysis, callbacks, losses, noise, training
from keras_noisy._data import arrays
from keras_noisy._data.predictions import in_pieces
from keras_noisy.training import _callbacks

# What is drawn from finished runs: the quantities, and what a curve is.
OF_RUNS = {
    "proselflc_2": (
        "trust_clean",
        "trust_corrupted",
        "wrong_label_fit",
        "semantic_correction",
        "target_correction",
        "test_accuracy",
    ),
    "proselflc_3": (
        "accuracy",
        "wrong_label_fit",
        "semantic_correction",
        "entropy_clean",
        "entropy_corrupted",
        "test_accuracy",
    ),
    "proselflc_5": (
        "entropy_clean",
        "entropy_corrupted",
        "trust_clean",
        "trust_corrupted",
    ),
    "seal_4": ("accuracy", "test_accuracy", "critical_sample_ratio"),
}
NUM_TRAJECTORIES = 6


def parse_arguments(arguments):
    """Return the name of the figure, its own options, and those of a run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures",
        description=__doc__.splitlines()[0],
        epilog="Further options are those of python -m benchmarks.run.",
    )
    names = [*OF_RUNS, *TRAINED]
    parser.add_argument("figure", choices=names)
    parser.add_argument("--picture", type=pathlib.Path, help="file (FIGURE.png)")
    parser.add_argument("--examples", type=int, help="train on so many, a random part")
    parser.add_argument("--epoch", type=int, default=30, help="of equal_loss_1 (30)")
    own, others = parser.parse_known_args(arguments)
    own.picture = own.picture or pathlib.Path(f"{own.figure}.png")
    return own, run.parse_arguments(others, "figures", __doc__)


# --- from finished runs


def of_runs(own, args, recipe):
    """Return the curves of finished runs, means over their seeds."""
    methods, noises = args.method or recipe.methods, args.noise or recipe.noise
    found = collections.defaultdict(list)
    for record in _records.read(args.out / run.RUNS):
        cell = record["noise"]
        is_asked_for = (
            record["recipe"] == recipe.name
            and record["budget"] == args.budget
            and record["method"] in methods
            and cell["name"] in noises
            and (args.rate is None or cell["rate"] in args.rate)
        )
        if is_asked_for:
            key = (record["method"], cell["name"], cell["rate"])
            found[key].append(record["curve"])
    if not found:
        raise ValueError(f"There are no finished runs of this in {args.out}.")
    quantities = OF_RUNS[own.figure]
    curves = {
        _title(key, found): {
            name: _mean(runs, name) for name in quantities if name in runs[0]
        }
        for key, runs in found.items()
    }
    return analysis.plot_learning_dynamics(curves, quantities=quantities)


def _title(key, keys):
    """Return the parts of a key that the keys differ in."""
    method, name, rate = key
    words = [method, name.replace("_", "-"), "" if rate is None else f"{rate:.0%}"]
    differ = [len({other[i] for other in keys}) > 1 for i in range(3)]
    parts = [word for word, differs in zip(words, differ, strict=True) if differs]
    return ", ".join(parts) or method


def _mean(runs, name):
    """Return the mean over seeds; what was not measured is NaN."""
    values = np.array([curve[name] for curve in runs], dtype="float64")
    return values.mean(axis=0).tolist()


# --- from a training of its own


class Part:
    """One cell of a recipe with what a training of it needs.

    Args:
        own: Options of this command.
        args: Options of a run.
        recipe: `recipes.Recipe`.
    """

    def __init__(self, own, args, recipe):
        session = run.Session(recipe, args, "")
        cell = run.select(recipe, args)[0]
        plan = session.plan(cell)
        data, labels = session.data, plan.labels
        rows = np.arange(len(data.y_train))
        if own.examples is not None:
            rows = np.sort(np.random.default_rng(0).permutation(rows)[: own.examples])
        self.x = data.x_train[rows] if own.examples else data.x_train
        noisy, clean = labels.noisy[rows], labels.clean[rows]
        self.labels = noise.NoisyLabels(noisy, clean, labels.num_classes)
        session.data = dataclasses.replace(
            data, x_train=self.x, y_train=data.y_train[rows]
        )
        self.cell, self.num_examples = cell, len(rows)
        name = f"{cell.method.name}-{plan.digest}-{len(rows)}"
        plain = "".join(c if c.isalnum() or c in "-." else "_" for c in name)
        self.folder = args.out / "figures" / plain
        self.run = session.make_run(dataclasses.replace(plan, labels=self.labels))
        self.batch_size = recipe.training.batch_size


class _Trajectories(keras.callbacks.Callback):
    """Logs all probabilities of a few examples, which the rounds' state keeps."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def on_epoch_end(self, epoch, logs=None):
        logits = keras.ops.convert_to_numpy(self.model(self.x, training=False))
        for i, row in enumerate(keras.ops.convert_to_numpy(keras.ops.softmax(logits))):
            logs.update({f"p_{i}_{k}": float(p) for k, p in enumerate(row)})


def evolve(part):
    """Train SEAL, or continue; return it and the rows of its trajectories."""
    wrong = np.flatnonzero(part.labels.is_corrupted)
    if not len(wrong):
        raise ValueError("No label of this noise is wrong: there is nothing to show.")
    rows = np.random.default_rng(1).permutation(wrong)[:NUM_TRAJECTORIES]
    evolution = training.SelfEvolution(
        lambda: part.run.build(len(part.run.stages) - 1),
        storage=part.folder,
        seed=part.cell.seed,
        from_logits=True,
        **(part.cell.method.self_evolution or {}),
    )
    evolution.fit(
        part.x,
        part.labels.noisy,
        epochs=part.run.epochs,
        batch_size=part.batch_size,
        clean_labels=part.labels.clean,
        callbacks=[_Trajectories(part.x[rows])],
        predict_batch_size=_training.PREDICT_BATCH_SIZE,
        verbose=0,
    )
    return evolution, rows


def seal_3(part, own):
    """Probabilities of the given and the true class in the first training."""
    evolution, rows = evolve(part)
    logs, classes = evolution.histories[0], range(part.labels.num_classes)
    values = [
        [[logs[f"p_{i}_{k}"][epoch] for k in classes] for i in range(len(rows))]
        for epoch in range(len(logs["p_0_0"]))
    ]
    noisy, clean = part.labels.noisy[rows], part.labels.clean[rows]
    return analysis.plot_softmax_trajectories(values, noisy, clean)


def seal_5(part, own):
    """Histograms of the distance of soft labels to the truth, per training."""
    evolution, _ = evolve(part)
    # Those of the first three, as in the paper.
    count = min(len(evolution.histories), 3)
    rounds = [np.load(part.folder / f"soft_labels-{k}.npy") for k in range(count)]
    return analysis.plot_label_distance(rounds, part.labels.noisy, part.labels.clean)


def seal_6(part, own):
    """The example of each given class that is corrected with most confidence."""
    evolution, _ = evolve(part)
    noisy = part.labels.noisy
    confidence, corrected = analysis.correction_candidates(evolution.soft_labels, noisy)
    columns = part.labels.num_classes
    figure = Figure(figsize=(1.1 * columns, 1.5), layout="constrained")
    for k, axis in enumerate(np.ravel(figure.subplots(1, columns))):
        axis.axis("off")
        rows = np.flatnonzero(noisy == k)
        if len(rows):
            row = rows[np.argmax(confidence[rows])]
            axis.imshow(np.squeeze(part.x[row]), cmap="gray")
            right = part.labels.clean[row]
            axis.set_title(f"{k} ({corrected[row]}), true {right}", fontsize=7)
    return figure


def equal_loss_1(part, own):
    """Density of `p_y`, and of gradients of two losses, in the middle of a training."""
    stages = part.run.stages
    if len(stages) > 1 or part.cell.method.self_evolution:
        raise ValueError(f"{part.cell.method.name} is more than one training.")
    keras.utils.set_random_seed(part.cell.seed)
    model = part.run.build(0)
    words = [part.cell.seed]
    batches = arrays.Batches(
        part.x, part.labels.noisy, batch_size=part.batch_size, seed=words
    )
    model.fit(
        batches,
        epochs=min(own.epoch, part.run.epochs),
        shuffle=False,
        callbacks=[
            _callbacks.Order(batches, words),
            *part.run.watch(stages[0]),
            callbacks.AtomicBackupAndRestore(part.folder / "backup"),
        ],
        verbose=0,
    )
    pieces = in_pieces("run", model, part.x, batch_size=_training.PREDICT_BATCH_SIZE)
    rate = part.cell.rate or 0.1
    return analysis.plot_gradient_density(
        {
            "CE": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            f"EL({rate:g})": losses.EqualLoss(epsilon=rate, from_logits=True),
        },
        part.labels.noisy,
        np.concatenate(list(pieces)),
        clean=part.labels.clean,
        from_logits=True,
    )


TRAINED = {
    "seal_3": seal_3,
    "seal_5": seal_5,
    "seal_6": seal_6,
    "equal_loss_1": equal_loss_1,
}


def main(arguments=None):
    """Draw the figure that the command line names."""
    own, args = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        recipe = recipes.load(args.recipe)
        if own.figure in OF_RUNS:
            figure = of_runs(own, args, recipe)
        else:
            part = Part(own, args, recipe)
            figure = TRAINED[own.figure](part, own)
            print(f"{part.cell}: {part.num_examples} training examples")
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    own.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(own.picture, dpi=100)
    print(own.picture)


if __name__ == "__main__":
    main()
