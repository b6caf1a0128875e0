"""Rules that choose among the runs of `benchmarks/choice.py`, and how good they are."""

import json

import numpy as np

from benchmarks.early_stopping import chosen
from benchmarks.suspects import BUILT_ON, HELD_OUT, row
from keras_noisy.choice import _rule

WINDOW = 5
CANDIDATES = (
    "cross-entropy",
    "label smoothing",
    "GCE",
    "SCE",
    "Equal Loss",
    "ProSelfLC",
    "bootstrap",
    "forward",
    "soft labels",
    "clean, then train",
    "ELR",
    "ELR, mixup",
    "forward ELR, mixup",
)
# Those that hindsight chooses from: methods that are published as such.
HINDSIGHT = CANDIDATES[:-1]
# What a run predicts with: its weights, or averages of them.
WEIGHTS = ("smoothed", "averaged")


def stops(validation, averaged, changes):
    """Return the epochs that rules of stopping take, counted from 0, by their names.

    Args:
        validation: Accuracy on held-out labels in each epoch.
        averaged: The same with averaged weights.
        changes: Share of predictions that changed in each epoch.
    """
    epochs = len(validation)
    return {
        "last": epochs - 1,
        "raw": int(np.argmax(validation)),
        "smoothed": int(chosen(-validation, WINDOW, epochs)),
        "averaged": int(chosen(-averaged, WINDOW, epochs)),
        "wave": int(chosen(changes, 3, 10)),
    }


def path_of(folder, name, seed, candidate):
    """Return the file of the predictions of a candidate's runs."""
    plain = candidate.replace(" ", "_").replace(",", "")
    return folder / "predictions" / f"{name}-{seed}-{plain}.npz"


def save(folder, condition, candidate, kept):
    """Keep predictions where smoothed accuracy stops, for all kinds of noise."""
    path = path_of(folder, condition.name, condition.seed, candidate)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{number}_{key}": value
        for number, entry in enumerate(kept)
        for key, value in entry.items()
    }
    _, held_out, test = condition.rows
    arrays["noisy"] = condition.labels[:, held_out]
    arrays["clean_validation"] = condition.y[held_out]
    arrays["clean"] = condition.y[test]
    arrays["noises"] = np.array(condition.noises)
    np.savez(path, **arrays)


class Condition:
    """The runs of one data set, kind of noise and seed.

    Args:
        lines: Their lines of `runs.jsonl`, one for each candidate.
        verdict: Their line of `verdicts.jsonl`.
        folder: Where the predictions are.

    Attributes:
        stops: Epochs that rules of stopping take, by candidate.
        noisy: Held-out labels.
        clean: Classes of the test data.
    """

    def __init__(self, lines, verdict, folder):
        self.verdict = verdict["verdict"]
        first = lines[0]
        self.data, self.noise, self.seed = (
            first[key] for key in ("data", "noise", "seed")
        )
        self.size = first["labelled"]
        by_name = {line["candidate"]: line for line in lines}
        self.stops = {name: line["stops"] for name, line in by_name.items()}
        # Accuracy on held-out labels `(2, epochs)`, and on both halves of the test data
        # `(2, 2, epochs)`, with weights as they are and averaged.
        self._validation = {n: line["validation"] for n, line in by_name.items()}
        self._test = {n: 100 * np.array(x["test"]) for n, x in by_name.items()}
        self._kept = {name: self._read(folder, name) for name in by_name}

    def _read(self, folder, name):
        with np.load(path_of(folder, self.data, self.seed, name)) as file:
            number = file["noises"].tolist().index(self.noise)
            self.noisy, self.clean = file["noisy"][number], file["clean"]
            return {
                key: file[f"{number}_{key}"].astype("float32")
                for key in ("test", "validation")
            }

    @property
    def kind(self):
        """The kind of noise: none, symmetric, pair flip, instance or real."""
        return self.noise.rpartition(" ")[0]

    def score(self, name, weights="smoothed"):
        """Return the accuracy on held-out labels that a candidate was stopped at."""
        curve = self._validation[name][WEIGHTS.index(weights)]
        return _rule.smoothed(curve, self.stops[name][weights], WINDOW)

    def best_raw(self, names):
        """Return the candidate with the best held-out accuracy in any epoch."""
        return max(names, key=lambda name: max(self._validation[name][0]))

    def ranked(self, names):
        """Return candidates, the best on smoothed held-out accuracy first."""
        return sorted(names, key=self.score, reverse=True)

    def predictions(self, name, weights="smoothed", key="test"):
        """Return predictions of a candidate that was stopped, on test or held-out."""
        return self._kept[name][key][WEIGHTS.index(weights)]

    def tried(self, name, weights="averaged"):
        """Return a candidate as the package's rule takes it."""
        held = self.predictions(name, weights, "validation")
        epoch = self.stops[name][weights] + 1
        return _rule.Tried(NAMES[name], self.score(name, weights), held, epoch)

    def accuracy(self, predictions):
        """Return accuracy in percent on both halves of the test data."""
        right = 100.0 * (predictions.argmax(axis=-1) == self.clean)
        return np.array([right[half::2].mean() for half in (0, 1)])

    def accuracy_of(self, name, stop="smoothed"):
        """Return the accuracy of a candidate that was stopped, on both halves."""
        return self._test[name][int(stop == "averaged")][:, self.stops[name][stop]]

    def regret(self, accuracy, is_stopped=False, is_averaged=False):
        """Return how far an accuracy is behind the best in hindsight, in points.

        The best candidate and epoch on one half of the test data, on the other half.

        Args:
            accuracy: Accuracies on both halves, in percent.
            is_stopped: Whether hindsight may choose the candidate alone, each at its
                last epoch or where smoothed held-out accuracy stops it.
            is_averaged: Whether its candidates have averaged weights too.
        """
        curves = []
        for name in (each for each in self._test if each in HINDSIGHT):
            stop = self.stops[name]
            at = [stop["last"], stop["smoothed"]] if is_stopped else slice(None)
            curves.append(self._test[name][0][:, at])
            if is_averaged:
                curves.append(self._test[name][1])
        curves = np.concatenate(curves, axis=1)
        best = [curves[1 - half, curves[half].argmax()] for half in (0, 1)]
        return float(np.mean(best - np.asarray(accuracy)[::-1]))


def verdicts(folder):
    """Return the lines of what is said of the noise of each condition."""
    path = folder / "verdicts.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def read(folder):
    """Return all conditions whose runs are complete."""
    lines = (folder / "runs.jsonl").read_text().splitlines()
    found = {(v["data"], v["noise"], v["seed"]): v for v in verdicts(folder)}
    groups = {}
    for line in map(json.loads, lines):
        key = line["data"], line["noise"], line["seed"]
        groups.setdefault(key, {})[line["candidate"]] = line
    return [
        Condition([*group.values()], found[key], folder)
        for key, group in groups.items()
        if len(group) == len(CANDIDATES) and key in found
    ]


# --- rules: accuracy on both halves of the test data, of a condition

# Candidates by the names that `keras_noisy.RobustClassifier` has for them.
NAMES = {
    "forward": "forward_correction",
    "SCE": "symmetric_cross_entropy",
    "forward ELR, mixup": "forward_early_learning_mixup",
    "ELR, mixup": "early_learning_regularization_mixup",
    "cross-entropy": "cross_entropy",
    "GCE": "generalized_cross_entropy",
    "ELR": "early_learning_regularization",
}
# Its own, the default last, in the order in which a budget takes the others.
AUTO = ("forward", "SCE", "forward ELR, mixup", "ELR, mixup", "ELR")
DEFAULT = "ELR"


def robust_classifier(condition, names=AUTO, combine=True, weights="averaged"):
    """Return how good the rule of `RobustClassifier` is, with some candidates."""
    tried = [condition.tried(name, weights) for name in names]
    taken = _rule.take(tried, condition.noisy, condition.verdict, combine)
    total = sum(
        taken[NAMES[name]] * condition.predictions(name, weights)
        for name in names
        if NAMES[name] in taken
    )
    return condition.accuracy(total)


def budget(number):
    """Return the candidates that a budget takes."""
    return (*AUTO[: number - 1], DEFAULT)


def default_and_best(condition):
    """Return how good the mean of the default and the best of three others is."""
    best = condition.ranked(["forward", "SCE", "cross-entropy"])[0]
    both = [condition.predictions(name) for name in (DEFAULT, best)]
    return condition.accuracy(np.mean(both, axis=0))


def mean_of_all(condition):
    """Return how good the mean of all candidates of `RobustClassifier` is."""
    every = [condition.predictions(name, "averaged") for name in AUTO]
    return condition.accuracy(np.mean(every, axis=0))


RULES = {
    "**`RobustClassifier`**": robust_classifier,
    "`RobustClassifier(combine=False)`": lambda c: robust_classifier(c, combine=False),
    "`RobustClassifier(budget=3)`": lambda c: robust_classifier(c, budget(3)),
    "`RobustClassifier(budget=2)`": lambda c: robust_classifier(c, budget(2)),
    "the same rule, weights not averaged": lambda c: robust_classifier(
        c, weights="smoothed"
    ),
    "the same rule, with cross-entropy and GCE": lambda c: robust_classifier(
        c, ("cross-entropy", "GCE", *AUTO)
    ),
    "the mean of all its candidates": mean_of_all,
    "mean of ELR and the best of three others": default_and_best,
    "best by noisy validation, smoothed": lambda c: c.accuracy_of(
        c.ranked(HINDSIGHT)[0]
    ),
    "best by noisy validation, raw epoch": lambda c: c.accuracy_of(
        c.best_raw(HINDSIGHT), "raw"
    ),
    "the page of advice: ELR, last epoch": lambda c: c.accuracy_of(DEFAULT, "last"),
    "cross-entropy, last epoch": lambda c: c.accuracy_of("cross-entropy", "last"),
    "cross-entropy, Label Wave": lambda c: c.accuracy_of("cross-entropy", "wave"),
}
ALWAYS = {
    f"always {name}": lambda c, name=name: c.accuracy_of(name) for name in CANDIDATES
}
ALWAYS["always ELR, averaged"] = lambda c: c.accuracy_of(DEFAULT, "averaged")
OURS, DEFAULT_RULE = "**`RobustClassifier`**", f"always {DEFAULT}"


def scored(condition):
    """Return a line of what each rule costs in a condition."""
    found = {name: rule(condition) for name, rule in {**RULES, **ALWAYS}.items()}
    ours = found[OURS]
    return {
        "data": condition.data,
        "noise": condition.noise,
        "seed": condition.seed,
        "labelled": condition.size,
        "verdict": condition.verdict,
        "regret": {
            name: round(condition.regret(accuracy), 3)
            for name, accuracy in found.items()
        },
        "regret of a stopped candidate": round(
            condition.regret(ours, is_stopped=True), 3
        ),
        "regret of averaged weights": round(
            condition.regret(ours, is_averaged=True), 3
        ),
    }


# --- tables of such lines

LARGE = 5000
KINDS = ("none", "symmetric", "pair flip", "instance", "real")


def tables(lines):
    """Yield the lines of the tables in Markdown."""
    built = [line for line in lines if line["data"] in BUILT_ON]
    held = [line for line in lines if line["data"] in HELD_OUT]
    for title, part in (("held out", held), ("that the rule was made on", built)):
        yield f"### Data sets {title}: {len(part)} conditions\n"
        yield from _by_noise(part, [*RULES, *ALWAYS])
        yield ""
    yield "### Reached or not, on the data sets held out\n"
    yield from _reaches(held)
    yield "\n### By data set, mean regret\n"
    yield from _by_data(lines)


def regrets(lines, rule):
    """Return the regret of a rule in each of some conditions."""
    return np.array([line["regret"][rule] for line in lines])


def kind_of(line):
    """Return the kind of noise of a line."""
    return line["noise"].rpartition(" ")[0]


def _cell(lines, rule):
    if not lines:
        return ""
    values = regrets(lines, rule)
    return f"{values.mean():.1f} / {np.quantile(values, 0.95):.1f}"


def _by_noise(lines, rules):
    parts = {"all": lines}
    for kind in KINDS:
        parts[kind] = [line for line in lines if kind_of(line) == kind]
    parts[f"above {LARGE:,} labels"] = [x for x in lines if x["labelled"] > LARGE]
    parts["below"] = [x for x in lines if x["labelled"] <= LARGE]
    yield row("rule", *(f"{title} ({len(part)})" for title, part in parts.items()))
    yield "|---|" + "---|" * len(parts)
    for rule in rules:
        yield row(rule, *(_cell(part, rule) for part in parts.values()))


def _reaches(lines):
    """Yield a table of what was to be reached, and whether it was."""
    above = [line for line in lines if line["labelled"] > LARGE]
    below = [line for line in lines if line["labelled"] <= LARGE]
    clean = [line for line in lines if kind_of(line) == "none"]
    found = []
    for title, part, mean, tail in (
        (f"above {LARGE:,} labels", above, 0.3, 2),
        ("below", below, 1.3, 5),
        ("labels right", clean, 0.5, None),
    ):
        if part:
            values = regrets(part, OURS)
            others = [
                np.array([line[f"regret of {other}"] for line in part])
                for other in ("a stopped candidate", "averaged weights")
            ]
            means = [each.mean() for each in others]
            found.append((f"{title}, mean", values.mean(), mean, means))
        if part and tail:
            first, *rest = (np.quantile(each, 0.95) for each in (values, *others))
            found.append((f"{title}, 95th percentile", first, tail, rest))
    for kind in KINDS:
        part = [line for line in lines if kind_of(line) == kind]
        if part:
            default = regrets(part, DEFAULT_RULE).mean()
            title = f"{kind}, mean, against always ELR"
            found.append((title, regrets(part, OURS).mean(), default, None))
    heads = ("against the best stopped candidate", "against averaged weights too")
    yield row("reach", "at most", "found", "", *heads)
    yield "|---|---|---|---|---|---|"
    for title, value, limit, others in found:
        cells = ["", ""] if others is None else [f"{other:.2f}" for other in others]
        yield row(title, f"{limit:.2f}", *_judged(value, limit), *cells)


def _judged(value, limit):
    return [f"{value:.2f}", "reached" if value <= limit else "**not reached**"]


def _by_data(lines):
    rules = [OURS, DEFAULT_RULE, "best by noisy validation, smoothed"]
    rules.append("cross-entropy, last epoch")
    yield row("data", "half", "labels", "conditions", "seeds", *rules)
    yield "|---|---|---|---|---|" + "---|" * len(rules)
    for name in dict.fromkeys(line["data"] for line in lines):
        part = [line for line in lines if line["data"] == name]
        half = "made on" if name in BUILT_ON else "held out"
        seeds = ", ".join(map(str, sorted({line["seed"] for line in part})))
        means = [f"{regrets(part, rule).mean():.1f}" for rule in rules]
        yield row(name, half, str(part[0]["labelled"]), str(len(part)), seeds, *means)


# What is known of the noise, what to take, the rule, and the kinds of noise it is for.
ADVICE = (
    ("nothing", "`RobustClassifier()`", OURS, KINDS),
    (
        "nothing, and one training must do",
        "`EarlyLearningRegularization(weight=3.0)`, stopped",
        DEFAULT_RULE,
        KINDS,
    ),
    (
        "nothing, and no sample ids",
        "`SymmetricCrossEntropy(alpha=0.1, beta=1.0)`, stopped",
        "always SCE",
        KINDS,
    ),
    (
        "no label is wrong, or few",
        '`"sparse_categorical_crossentropy"`, stopped',
        "always cross-entropy",
        ("none",),
    ),
    (
        "wrong labels are spread over the classes",
        "`SymmetricCrossEntropy(alpha=0.1, beta=1.0)`, stopped",
        "always SCE",
        ("symmetric",),
    ),
    (
        "pairs of classes are confused",
        "`ForwardCorrection` with `noise.estimate_from_neighbors`, stopped",
        "always forward",
        ("pair flip",),
    ),
    (
        "it depends on the example",
        "`EarlyLearningRegularization(weight=3.0)`, stopped",
        DEFAULT_RULE,
        ("instance", "real"),
    ),
)


def advice(lines):
    """Yield the table of `docs/guides/choose_a_method.md`."""
    plain = "cross-entropy, last epoch"
    yield row("you know of the noise", "take", "behind the best", plain)
    yield "|---|---|---|---|"
    for known, method, rule, kinds in ADVICE:
        part = [line for line in lines if kind_of(line) in kinds]
        yield row(known, method, _cell(part, rule), _cell(part, plain))
