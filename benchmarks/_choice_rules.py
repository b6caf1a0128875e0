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
)


def stops(validation, changes):
    """Return the epochs that rules of stopping take, counted from 0, by their names."""
    epochs = len(validation)
    return {
        "last": epochs - 1,
        "raw": int(np.argmax(validation)),
        "smoothed": int(chosen(-validation, WINDOW, epochs)),
        "wave": int(chosen(changes, 3, 10)),
    }


def path_of(folder, name, seed, candidate):
    """Return the file of the predictions of a candidate's runs."""
    plain = candidate.replace(" ", "_").replace(",", "")
    return folder / "predictions" / f"{name}-{seed}-{plain}.npz"


def save(folder, condition, candidate, kept):
    """Keep predictions at the epochs of `stops`, for all kinds of noise."""
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
        validation: Accuracy on held-out labels in each epoch, by candidate.
        right: Which held-out labels a candidate that was stopped predicts.
        stops: Epochs that rules of stopping take, by candidate.
        clean: Classes of the test data.
    """

    def __init__(self, lines, verdict, folder):
        self.verdict = verdict["verdict"]
        first = lines[0]
        self.data, self.noise, self.seed = (
            first[key] for key in ("data", "noise", "seed")
        )
        self.size = first["labelled"]
        self.validation = {line["candidate"]: line["validation"] for line in lines}
        self.stops = {line["candidate"]: line["stops"] for line in lines}
        self._test = np.array([line["test"] for line in lines])
        self._predictions, self.right = {}, {}
        for line in lines:
            name = line["candidate"]
            with np.load(path_of(folder, self.data, self.seed, name)) as file:
                number = file["noises"].tolist().index(self.noise)
                at = file[f"{number}_at"].tolist()
                found = file[f"{number}_test"].astype("float32")
                held = file[f"{number}_validation"][at.index(line["stops"]["smoothed"])]
                self.right[name] = held.argmax(axis=-1) == file["noisy"][number]
                self._predictions[name] = dict(zip(at, found, strict=True))
                self.clean = file["clean"]

    @property
    def kind(self):
        """The kind of noise: none, symmetric, pair flip, instance or real."""
        return self.noise.rpartition(" ")[0]

    def score(self, name):
        """Return the accuracy on held-out labels that a candidate was stopped at."""
        end = self.stops[name]["smoothed"] + 1
        return float(np.mean(self.validation[name][end - WINDOW : end]))

    def ranked(self, names):
        """Return candidates, the best on smoothed held-out accuracy first."""
        return sorted(names, key=self.score, reverse=True)

    def predictions(self, name, stop="smoothed"):
        """Return predictions on the test data of a candidate that was stopped."""
        return self._predictions[name][self.stops[name][stop]]

    def accuracy(self, predictions):
        """Return accuracy in percent on both halves of the test data."""
        right = 100.0 * (predictions.argmax(axis=-1) == self.clean)
        return np.array([right[half::2].mean() for half in (0, 1)])

    def regret(self, predictions, is_stopped=False):
        """Return how far predictions are behind the best in hindsight, in points.

        The best candidate and epoch on one half of the test data, on the other half.

        Args:
            predictions: `(m, num_classes)`.
            is_stopped: Whether hindsight may choose the candidate alone, each at its
                last epoch or where smoothed held-out accuracy stops it.
        """
        curves = self._test.swapaxes(0, 1)
        if is_stopped:
            at = [
                curves[:, number, [stops["last"], stops["smoothed"]]]
                for number, stops in enumerate(self.stops.values())
            ]
            curves = np.stack(at, axis=1)
        curves = 100 * curves.reshape(2, -1)
        best = [curves[1 - half, curves[half].argmax()] for half in (0, 1)]
        return float(np.mean(best - self.accuracy(predictions)[::-1]))


def mean_of(condition, names):
    """Return the mean of candidates' predictions, each stopped on smoothed accuracy."""
    return np.mean([condition.predictions(name) for name in names], axis=0)


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


# --- rules: predictions on the test data, of a condition

# As `keras_noisy.RobustClassifier` has them.
AUTO = ("forward", "SCE", "cross-entropy")
DEFAULT = "ELR"
SURE = 2.0


def robust_classifier(condition, others=AUTO, combine=True):
    """Return what the rule of `RobustClassifier` predicts."""
    best = condition.ranked(others)[0]
    error = _rule.standard_error(
        *(np.asarray(condition.right[name], bool) for name in (best, DEFAULT))
    )
    gain = condition.score(best) - condition.score(DEFAULT)
    if condition.verdict == "class-conditional" and gain > SURE * error:
        return condition.predictions(best)
    return mean_of(condition, [DEFAULT, best] if combine else [DEFAULT])


def best_raw(condition):
    """Return what the candidate and epoch with the best held-out accuracy predict."""
    best = max(CANDIDATES, key=lambda name: max(condition.validation[name]))
    return condition.predictions(best, "raw")


def mean_with_best(condition):
    """Return the mean of the default and the best of all others, as the prototype."""
    others = [name for name in CANDIDATES if name != DEFAULT]
    return mean_of(condition, [DEFAULT, condition.ranked(others)[0]])


def by_verdict(condition):
    """Return the default alone where noise may depend on the example."""
    if condition.verdict == "class-conditional":
        return robust_classifier(condition)
    return condition.predictions(DEFAULT)


RULES = {
    "**`RobustClassifier`**": robust_classifier,
    "`RobustClassifier(combine=False)`": lambda c: robust_classifier(c, combine=False),
    "`RobustClassifier(budget=2)`": lambda c: robust_classifier(c, AUTO[:1]),
    "the same, of all candidates": lambda c: robust_classifier(
        c, [name for name in CANDIDATES if name != DEFAULT]
    ),
    "mean of ELR and the best other": mean_with_best,
    "ELR alone where noise may depend on the example": by_verdict,
    "best by noisy validation, smoothed": lambda c: c.predictions(
        c.ranked(CANDIDATES)[0]
    ),
    "best by noisy validation, raw epoch": best_raw,
    "the page of advice: ELR, last epoch": lambda c: c.predictions(DEFAULT, "last"),
    "cross-entropy, last epoch": lambda c: c.predictions("cross-entropy", "last"),
    "cross-entropy, Label Wave": lambda c: c.predictions("cross-entropy", "wave"),
}
ALWAYS = {
    f"always {name}": lambda c, name=name: c.predictions(name) for name in CANDIDATES
}
OURS, DEFAULT_RULE = "**`RobustClassifier`**", f"always {DEFAULT}"


def scored(condition):
    """Return a line of what each rule costs in a condition."""
    rules = {**RULES, **ALWAYS}
    return {
        "data": condition.data,
        "noise": condition.noise,
        "seed": condition.seed,
        "labelled": condition.size,
        "verdict": condition.verdict,
        "regret": {
            name: round(condition.regret(rule(condition)), 3)
            for name, rule in rules.items()
        },
        "regret of a stopped candidate": round(
            condition.regret(robust_classifier(condition), is_stopped=True), 3
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
            stopped = np.array([line["regret of a stopped candidate"] for line in part])
            found.append((f"{title}, mean", values.mean(), mean, stopped.mean()))
        if part and tail:
            tails = [np.quantile(each, 0.95) for each in (values, stopped)]
            found.append((f"{title}, 95th percentile", tails[0], tail, tails[1]))
    for kind in KINDS:
        part = [line for line in lines if kind_of(line) == kind]
        if part:
            default = regrets(part, DEFAULT_RULE).mean()
            title = f"{kind}, mean, against always ELR"
            found.append((title, regrets(part, OURS).mean(), default, None))
    yield row("reach", "at most", "found", "", "against the best stopped candidate", "")
    yield "|---|---|---|---|---|---|"
    for title, value, limit, stopped in found:
        cells = ["", ""] if stopped is None else _judged(stopped, limit)
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
