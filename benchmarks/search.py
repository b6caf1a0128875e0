"""Search hyperparameters on held-out trusted labels, then train with the best on all.

    python -m benchmarks.search proselflc/table5 --noise symmetric --rate 0.4

The protocol of the ProSelfLC paper (Section 5), for a recipe with a table `search`:

    [search]
    validation = 0.2                      # Share of the training data held out.
    shared = { method = "CE", learning_rate = [0.1, 0.05], epochs = [60, 120] }
    methods.LS = { epsilon = [0.125, 0.25, 0.5] }

A share of the training data is held out, with its true labels; where the data set has
validation data of its own, those are taken and nothing is held out. First the settings
of the training are searched with one method, and then shared by all; then the arguments
of each method's loss. Candidates are trained on the noisy labels of the rest, and the
one with the best accuracy on what is held out, after the last epoch, is trained on all
data. Candidates are lines of `searches.jsonl`, the others of `runs.jsonl` in the folder
`--out`; the options are those of `python -m benchmarks.run`, and the same command
continues where it was killed.
"""

import dataclasses
import itertools
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks import _records, recipes, run
from keras_noisy.noise import NoisyLabels

SEARCHES = "searches.jsonl"
# What `shared` may search besides these are arguments of the optimizer.
LENGTHS = ("epochs", "iterations")


class Search(run.Session):
    """Runs on a part of the training data, tested on trusted labels of the others."""

    def __init__(self, recipe, args, command):
        super().__init__(recipe, args, command)
        self.path = args.out / SEARCHES
        self.share, self.seed = recipe.search.get("validation", 0.2), args.first_seed
        if not 0 < self.share < 1:
            raise ValueError(f"`validation` must be in (0, 1). Received: {self.share}.")
        whole = self.whole
        self.rows = np.arange(len(whole.y_train))
        if whole.x_validation is not None:
            held_out = whole.x_validation, whole.y_validation
        else:
            order = np.random.default_rng(self.seed).permutation(self.rows)
            count = max(1, round(self.share * len(order)))
            held_out, self.rows = np.sort(order[:count]), np.sort(order[count:])
            held_out = whole.x_train[held_out], whole.y_train[held_out]
        self.data = dataclasses.replace(
            whole,
            x_train=whole.x_train[self.rows],
            y_train=whole.y_train[self.rows],
            x_test=held_out[0],
            y_test=held_out[1],
            x_validation=None,
            y_validation=None,
        )
        run.check_batches(self.data, recipe.training.batch_size, args.devices)

    def find_labels(self, cell):
        """Return the noisy labels of the part, those that the whole data set has."""
        source, labels = super().find_labels(cell)
        rows = self.rows
        part = NoisyLabels(labels.noisy[rows], labels.clean[rows], labels.num_classes)
        return source, part

    def settings_of(self, cell, labels):
        """Return all that the numbers of a run depend on."""
        held_out = {"share": self.share, "seed": self.seed}
        return {**super().settings_of(cell, labels), "held_out": held_out}

    def scores(self, cells):
        """Train some cells, and return the accuracy of each on what is held out."""
        self.run_all(cells)
        found = {r["settings_digest"]: r["last"] for r in _records.read(self.path)}
        digests = [self.plan(cell).digest for cell in cells]
        if not found.keys() >= set(digests):
            raise ValueError(
                "Another process still trains candidates of this search. Give the same "
                "command again when it is done."
            )
        return [found[digest] for digest in digests]


def points(grid):
    """Yield every combination of the values of a grid, as dicts."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def with_settings(training, point):
    """Return a `recipes.Training` with another length or arguments of its optimizer.

    Places of the schedule keep their share of the length.
    """
    changes = {key: value for key, value in point.items() if key in LENGTHS}
    others = {key: value for key, value in point.items() if key not in LENGTHS}
    schedule = training.schedule
    for unit, length in changes.items():
        if getattr(training, unit) is None:
            raise ValueError(f"This recipe is not stated in {unit}.")
        if schedule and "at" in schedule:
            at = [place * length / training.length for place in schedule["at"]]
            schedule = {**schedule, "at": at}
    optimizer = {**training.optimizer, **others}
    return dataclasses.replace(
        training, optimizer=optimizer, schedule=schedule, **changes
    )


def with_arguments(method, point, cell):
    """Return a method with other arguments of its loss, under one noise."""
    arguments = {**method.arguments_under(cell.noise, cell.rate), **point}
    return dataclasses.replace(method, arguments=arguments, by_noise={})


class Protocol:
    """The protocol for one recipe and one command line."""

    def __init__(self, recipe, args, command):
        self.recipe = recipe
        self.search = Search(recipe, args, command)
        self.final = run.Session(recipe, args, command)
        self.lines = []

    def run(self, cells):
        """Search for the cells of one noise and rate, and train with what was best.

        Args:
            cells: Of all methods and seeds, `run.Cell`s.
        """
        training = self._shared(cells[0])
        for session in (self.search, self.final):
            session.recipe = dataclasses.replace(self.recipe, training=training)
        grids = self.recipe.search.get("methods", {})
        for name in dict.fromkeys(cell.method.name for cell in cells):
            own = [cell for cell in cells if cell.method.name == name]
            method = self._best(own[0], grids.get(name, {}))
            own = [dataclasses.replace(cell, method=method) for cell in own]
            self.final.run_all(own)

    def _shared(self, cell):
        """Return the training that all methods share."""
        grid = dict(self.recipe.search.get("shared", {}))
        training = self.recipe.training
        if not grid:
            return training
        method = self.recipe.methods[grid.pop("method")]
        cell = dataclasses.replace(cell, method=method, seed=self.search.seed)
        tried, scores = list(points(grid)), []
        for point in tried:
            self.search.recipe = dataclasses.replace(
                self.recipe, training=with_settings(training, point)
            )
            scores += self.search.scores([cell])
        return with_settings(training, self._choose("shared", cell, tried, scores))

    def _best(self, cell, grid):
        """Return the method with the best arguments of a grid."""
        if not grid:
            return cell.method
        tried = list(points(grid))
        cells = [
            dataclasses.replace(
                cell,
                method=with_arguments(cell.method, point, cell),
                seed=self.search.seed,
            )
            for point in tried
        ]
        scores = self.search.scores(cells)
        point = self._choose(cell.method.name, cell, tried, scores)
        return with_arguments(cell.method, point, cell)

    def _choose(self, what, cell, tried, scores):
        """Return the best point, the first of equals, and keep a line of the table."""
        best = max(range(len(tried)), key=scores.__getitem__)
        noise = cell.noise if cell.rate is None else f"{cell.noise} {cell.rate:.0%}"
        shown = ", ".join(
            f"{_text(point)}: {100 * score:.1f}"
            for point, score in zip(tried, scores, strict=True)
        )
        self.lines.append(f"| {what} | {noise} | {shown} | {_text(tried[best])} |")
        return tried[best]


def _text(point):
    return " ".join(f"{key} {value}" for key, value in point.items())


def main(arguments=None):
    """Search and train what the command line says."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = run.parse_arguments(arguments, "search", __doc__)
    try:
        recipe = recipes.load(args.recipe)
        if args.list or args.dry_run or recipe.search is None:
            raise ValueError(
                "A search needs a recipe with a table `search`, and has no --list or "
                "--dry-run; python -m benchmarks.run has both."
            )
        protocol = Protocol(recipe, args, run.command_of(arguments, "search"))
        cells = run.select(recipe, args)
        for key in dict.fromkeys((cell.noise, cell.rate) for cell in cells):
            protocol.run([cell for cell in cells if (cell.noise, cell.rate) == key])
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    print("\n| search | noise | accuracy on trusted labels, % | chosen |")
    print("|---|---|---|---|")
    print("\n".join(protocol.lines))


if __name__ == "__main__":
    main()
