"""Which method, and which rule that chooses one without clean labels.

    KERAS_BACKEND=jax python -m benchmarks.choice --data DATA

trains every candidate on every data set and kind of noise, seed after seed, and adds a
line to `runs.jsonl` for each run: the same command continues there. `--score` writes
what each rule costs in each condition to `results/choice/regrets.jsonl`, and `--table`
prints the tables of `results/choice.md` from that file. Data sets, and their halves, of
which rules are made on one and reported on the other, are those of
`benchmarks/suspects.py`; see there what `DATA` has and which packages are needed.
"""

import argparse
import json
import os
import pathlib
import time
import warnings

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

from benchmarks import _choice, _choice_rules, suspects
from keras_noisy import analysis, noise

REGRETS = pathlib.Path(__file__).parent / "results" / "choice" / "regrets.jsonl"
# Examples with a label, of which a tenth validates; the rest, within limits, tests.
MOST = 4000
LARGE = {"mnist": 8000, "cifar10": 8000, "nursery": 8000}
TEST_SHARE, MOST_TEST = 0.3, 4000
EPOCHS = 40
# In turn one of each half, so that what is there at any time is of both.
SETS = [
    name
    for pair in zip(suspects.BUILT_ON, suspects.HELD_OUT, strict=True)
    for name in pair
]
# Columns beyond these are replaced by their first principal components.
MOST_COLUMNS, COMPONENTS = 128, 64
NOISES = (
    ("none", 0.0),
    ("symmetric", 0.2),
    ("symmetric", 0.4),
    ("symmetric", 0.6),
    ("pair_flip", 0.2),
    ("pair_flip", 0.4),
    ("instance", 0.2),
    ("instance", 0.4),
    ("real", 0.4),
)


def split(name, seed, data):
    """Return training, validation and test rows of a data set, and what it holds."""
    x, y, real = suspects.load(name, data)
    order = np.random.default_rng([seed, 1]).permutation(len(y))
    labelled = min(LARGE.get(name, MOST), len(y) - round(TEST_SHARE * len(y)))
    test = order[labelled:][:MOST_TEST]
    held_out, train = np.split(order[:labelled], [round(labelled / 10)])
    if x.shape[1] > MOST_COLUMNS:
        rows = order[:labelled]
        centred = x - x[rows].mean(axis=0)
        axes = np.linalg.svd(centred[rows], full_matrices=False)[2]
        x = centred @ axes[:COMPONENTS].T
    return x.astype("float32"), y, real, (train, held_out, test)


def noisy_labels(x, y, real, rows, seed):
    """Yield each kind of noise and the labels of all `y` that it gives.

    Labels of test rows, which are not among `rows`, stay right.
    """
    num_classes = int(y.max()) + 1
    for kind, rate in NOISES:
        labels = y.copy()
        if kind == "real":
            if real is None:
                continue
            labels[rows] = real[rows]
        elif kind == "instance":
            averages, _, _ = suspects.network(
                x[rows], y[rows], num_classes, seed + 1000
            )
            averages /= averages.sum(axis=1, keepdims=True)
            labels[rows] = noise.instance_dependent(averages, y[rows], rate).noisy
        elif kind != "none":
            matrix = getattr(noise, kind)(num_classes, rate)
            corrupted = noise.corrupt_labels(y[rows], matrix, seed=seed)
            labels[rows] = corrupted.noisy
        yield f"{kind.replace('_', ' ')} {rate:.0%}", labels


def batches(size, seed):
    """Return the rows of each step, and the weights that inputs are mixed with."""
    batch = int(np.clip(2 ** np.round(np.log2(size / 80)), 16, 512))
    generator = np.random.default_rng([seed, 2])
    orders = [generator.permutation(size) for _ in range(EPOCHS)]
    steps = size // batch
    orders = [order[: steps * batch].reshape(steps, batch) for order in orders]
    mixing = generator.beta(1, 1, (EPOCHS, steps)).astype("float32")
    return np.array(orders, "int32"), mixing


def scaling(x):
    """Return what is subtracted and what is divided by, as `find_wrong_labels` does."""
    deviation = x.std(axis=0)
    scale = np.maximum(deviation, np.median(deviation) / 5)
    return x.mean(axis=0), np.where(scale > 0, scale, 1).astype("float32")


class Condition:
    """The runs of one data set and seed, which differ in the noise of the labels."""

    def __init__(self, name, seed, data):
        self.name, self.seed = name, seed
        x, self.y, real, self.rows = split(name, seed, data)
        train, held_out, test = self.rows
        labelled = np.concatenate([train, held_out])
        found = dict(noisy_labels(x, self.y, real, labelled, seed))
        self.noises, self.labels = [*found], np.array([*found.values()])
        self.num_classes = int(self.y.max()) + 1
        self.x = x[train]
        self.noisy = self.labels[:, train]
        orders, mixing = batches(len(train), seed)
        watched = x[np.concatenate([held_out, test])]
        self.data = _choice.Data(x[train], watched, orders, mixing, *scaling(x[train]))
        self.averages = None

    def train(self, candidate):
        """Return what `_choice.train` logs, for all kinds of noise."""
        runs, size = self.noisy.shape
        labels = np.eye(self.num_classes, dtype="float32")[self.noisy]
        weights = np.ones((runs, size), "float32")
        matrices = np.tile(np.eye(self.num_classes, dtype="float32"), (runs, 1, 1))
        if candidate in _choice.EXTRA and self.averages is None:
            self.train("cross-entropy")
        if candidate == "soft labels":
            labels = self.averages
        elif candidate == "clean, then train":
            weights = np.array([self._kept(run) for run in range(runs)], "float32")
        elif candidate.startswith("forward"):
            matrices = np.array([self._matrix(run) for run in range(runs)], "float32")
        seed = [self.seed, _choice.SEEDS[candidate]]
        initial = _choice.initial_weights(self.x.shape[1], self.num_classes, seed)
        logs = _choice.train(candidate, self.data, initial, labels, weights, matrices)
        logs = {key: np.asarray(value) for key, value in logs.items()}
        if candidate == "cross-entropy":
            self.averages = logs["averages"]
        return logs

    def _kept(self, run):
        metric = "euclidean" if self.name in suspects.TABLES else "cosine"
        labels, averages = self.noisy[run], self.averages[run].astype("float64")
        averages /= averages.sum(axis=1, keepdims=True)
        found = analysis.find_suspects(
            labels, averages, features=self.x, metric=metric, seed=self.seed
        )
        kept = found.keep_mask()
        # A class that would disappear stays.
        gone = np.setdiff1d(labels, labels[kept])
        return kept | np.isin(labels, gone)

    def _matrix(self, run):
        found = noise.estimate_from_neighbors(self.noisy[run], self.x, seed=self.seed)
        matrix = np.eye(self.num_classes)
        matrix[: len(found), : len(found)] = found
        return matrix

    def verdicts(self):
        """Yield what `analysis.noise_rate` says of the training labels."""
        for title, noisy in zip(self.noises, self.noisy, strict=True):
            found = analysis.noise_rate(noisy, features=self.x, seed=self.seed)
            yield {
                "data": self.name,
                "noise": title,
                "seed": self.seed,
                "verdict": found.verdict,
                "high": found.high,
            }

    def lines(self, candidate, logs, seconds):
        """Yield what is kept of a candidate's runs, and their predictions."""
        _, held_out, test = self.rows
        clean = self.y[test]
        for run, title in enumerate(self.noises):
            watched = logs["watched"][run]
            validation, tested = np.split(watched, [len(held_out)], axis=2)
            right = validation.argmax(axis=-1) == self.labels[run][held_out]
            # With weights as they are, and with averages of them.
            right = right.mean(axis=-1).T
            good = (tested.argmax(axis=-1) == clean).swapaxes(0, 1)
            changes = logs["changes"][run].astype(float)
            changes[0] = np.nan
            stops = _choice_rules.stops(*right, changes)
            line = {
                "data": self.name,
                "noise": title,
                "seed": self.seed,
                "candidate": candidate,
                "labelled": int(self.noisy.shape[1] + len(held_out)),
                "classes": self.num_classes,
                "wrong": float((self.noisy[run] != self.y[self.rows[0]]).mean()),
                "seconds": round(seconds / len(self.noises), 3),
                "stops": stops,
                "validation": [_rounded(values) for values in right],
                "changes": _rounded(changes[1:]),
                "loss": _rounded(logs["loss"][run]),
                "test": [
                    [_rounded(each[:, half::2].mean(axis=1)) for half in (0, 1)]
                    for each in good
                ],
            }
            at = [stops["smoothed"], stops["averaged"]]
            kept = {"test": tested, "validation": validation}
            yield line, {key: value[at, [0, 1]] for key, value in kept.items()}


def _rounded(values):
    return [round(float(value), 4) for value in values]


def main():
    """Train what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default="data")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=pathlib.Path, default="runs/choice")
    parser.add_argument("--score", action="store_true")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.score:
        found = map(_choice_rules.scored, _choice_rules.read(args.runs))
        REGRETS.parent.mkdir(exist_ok=True)
        REGRETS.write_text("".join(json.dumps(line) + "\n" for line in found))
    if args.table:
        lines = [*map(json.loads, REGRETS.read_text().splitlines())]
        print("\n".join([*_choice_rules.tables(lines), ""]))
        print("\n".join(_choice_rules.advice(lines)))
    if args.score or args.table:
        return
    args.runs.mkdir(parents=True, exist_ok=True)
    path = args.runs / "runs.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = {
        tuple(json.loads(line)[key] for key in ("data", "seed", "candidate"))
        for line in lines
    }
    judged = {(v["data"], v["seed"]) for v in _choice_rules.verdicts(args.runs)}
    for seed in args.seeds:
        for name in args.sets:
            every = _choice_rules.CANDIDATES
            missing = [each for each in every if (name, seed, each) not in done]
            if missing or (name, seed) not in judged:
                condition = Condition(name, seed, args.data)
                if (name, seed) not in judged:
                    judge_set(condition, args.runs)
                train_set(condition, missing, args.runs)


def judge_set(condition, folder):
    """Keep what is said of the noise of each kind of labels."""
    text = "".join(json.dumps(line) + "\n" for line in condition.verdicts())
    with open(folder / "verdicts.jsonl", "a") as file:
        file.write(text)


def train_set(condition, candidates, folder):
    """Train candidates, and keep predictions and then the lines of each."""
    for candidate in candidates:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logs = condition.train(candidate)
        seconds = time.perf_counter() - start
        found = [*condition.lines(candidate, logs, seconds)]
        _choice_rules.save(folder, condition, candidate, [kept for _, kept in found])
        with open(folder / "runs.jsonl", "a") as file:
            file.write("".join(json.dumps(line) + "\n" for line, _ in found))
        print(condition.name, condition.seed, candidate, f"{seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
