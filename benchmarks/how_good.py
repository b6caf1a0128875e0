"""How good is it? One page from the committed results; nothing is trained.

    python -m benchmarks.how_good --out benchmarks/results/how_good.md

reads the files and tables in `benchmarks/results/`: regrets of `benchmarks.choice`,
suspects of `benchmarks/suspects.py`, and the pages that `benchmarks.tables` wrote. A
cell without a committed result says "not measured".
"""

import argparse
import collections
import dataclasses
import json
import pathlib
import re
import textwrap

import numpy as np

from benchmarks import _choice_rules, suspects, tables
from benchmarks.suspects import interval, row

RESULTS = pathlib.Path(__file__).parent / "results"
MISSING = "not measured"
PLAIN, STOPPED = "cross-entropy, last epoch", "always cross-entropy"
# What the rules of the study are called here.
RULES = {f"always {name}": name for name in _choice_rules.CANDIDATES}
# Data sets of each kind of data, and the kinds of noise that a row has.
EVERY = ("none", "clean", "symmetric", "pair_flip", "pair flip", "instance", "real")
SCENARIOS = {
    "tables (8 data sets)": (suspects.TABLES, EVERY),
    "texts (embeddings of news)": (("news",), EVERY),
    "image features (CIFAR-10)": (("cifar10",), EVERY),
    "small images (digits)": (("digits",), EVERY),
    "MNIST": (("mnist",), EVERY),
    "human noise (crowd labels of news)": (("news",), ("real",)),
}
NOISES = {
    "labels right": ("none",),
    "symmetric": ("symmetric",),
    "pair flip": ("pair flip",),
    "instance-dependent": ("instance",),
    "published labels": ("real",),
}
# They were given what nobody knows in practice: a rate, a matrix, who is confused.
TOLD = re.compile(r"true T|kept|Masking|\(rate\)|Co-teaching")
LAST, BEST = "Last epoch", "Best epoch"
# Title, pages of the same network, training and labels, and section and column there.
# The page of losses on MNIST has a table for the last epoch and one for the best.
DIGITS, PUBLISHED = ("digits_losses", "divide_mix"), ("mnist_idn", "seal_mnist")
ACCURACIES = [
    ("digits, symmetric 20%", DIGITS, "symmetric", "20%"),
    ("digits, symmetric 40%", DIGITS, "symmetric", "40%"),
    ("digits, symmetric 60%", DIGITS, "symmetric", "60%"),
    ("digits, pair flip 40%", DIGITS, "pair flip", "40%"),
    ("digits, instance-dependent 40%", DIGITS, "instance dependent", "40%"),
    ("MNIST, symmetric 20%", ("robust_losses_mnist",), LAST, "symmetric 20%"),
    ("MNIST, symmetric 40%", ("robust_losses_mnist",), LAST, "symmetric 40%"),
    ("MNIST, symmetric 80%", ("robust_losses_mnist",), LAST, "symmetric 80%"),
    ("MNIST, asymmetric 40%", ("robust_losses_mnist",), LAST, "asymmetric 40%"),
    ("MNIST, published labels 20%", PUBLISHED, "instance.dependent", "20%"),
    ("MNIST, published labels 40%", PUBLISHED, "instance.dependent", "40%"),
]
NUMBER = r"([\d.]+)(?: ± ([\d.]+))?"
SHORTENED = {
    "cifar10": "Equal Loss's recipe on CIFAR-10",
    "cifar100": "ProSelfLC's recipe on CIFAR-100",
}


def main(arguments=None):
    """Print or write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.how_good", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=pathlib.Path, help="file; printed without it")
    tables.write(page(), parser.parse_args(arguments).out)


def page():
    """Return the page as Markdown."""
    parts = {
        "summary": [
            textwrap.fill(each, 110, subsequent_indent="  ") for each in summary()
        ],
        "training": training(),
        "noises": by_noise(),
        "accuracies": accuracies(),
        "finding": finding(),
        "rates": suspects.rates_in_short(runs("suspects/rates")),
        "cost": cost(),
        "short": shortened(),
    }
    texts = {name: "\n".join(lines) for name, lines in parts.items()}
    return PAGE.format(missing=MISSING, **texts)


def runs(name):
    """Return the lines of a file of results; of lines of the same run the last."""
    text = (RESULTS / f"{name}.jsonl").read_text(encoding="utf-8")
    found = map(json.loads, text.splitlines())
    return [*{suspects.key_of(line): line for line in found}.values()]


def regrets():
    """Return the lines of the study of `RobustClassifier`."""
    text = (RESULTS / "choice" / "regrets.jsonl").read_text(encoding="utf-8")
    return [*map(json.loads, text.splitlines())]


def gains(lines, rule):
    """Return by how many points a rule is ahead of plain training, in each line."""
    return _choice_rules.regrets(lines, PLAIN) - _choice_rules.regrets(lines, rule)


def by_unit(lines, values):
    """Return means of what is averaged over: data sets, or lines of a single one."""
    groups = collections.defaultdict(list)
    for line, value in zip(lines, values, strict=True):
        groups[line["data"]].append(value)
    if len(groups) == 1:
        return np.asarray(values)
    return np.array([np.mean(group) for group in groups.values()])


def spread(lines, values, digits=1):
    """Return mean and half width of the 95 % interval as text."""
    mean, half = np.mean(values), interval(by_unit(lines, values))[1]
    text = f"{mean:+.{digits}f}"
    return text if np.isinf(half) else f"{text} ± {half:.{digits}f}"


def extremes(values):
    """Return the mean, and the smallest and largest of several values, as text."""
    text = f"{np.mean(values):+.1f}"
    if len(values) > 1:
        text += f" ({min(values):+.1f} to {max(values):+.1f})"
    return text


def size_of(lines):
    """Return the number of runs and their seeds as text."""
    seeds = sorted({line["seed"] for line in lines})
    return f"{len(lines)} (seeds {', '.join(map(str, seeds))})"


def summary():
    """Yield the sentences that the tables support."""
    lines = regrets()
    noisy = [line for line in lines if _choice_rules.kind_of(line) != "none"]
    clean = [line for line in lines if _choice_rules.kind_of(line) == "none"]
    ours = _choice_rules.OURS
    ahead = (gains(noisy, ours) > 0).mean()
    yield (
        f"* **Train.** With noisy labels `RobustClassifier()` is "
        f"{gains(noisy, ours).mean():.1f} points ahead of plain training to the last "
        f"epoch in the mean of {len(noisy)} runs, and ahead in {100 * ahead:.0f} % of "
        f"them. Plain training with early stopping on held-out noisy labels is "
        f"{gains(noisy, STOPPED).mean():.1f} points ahead. With right labels "
        f"`RobustClassifier()` costs {-gains(clean, ours).mean():.1f} points."
    )
    found = [line for line in runs("suspects/runs") if "sources" in line]
    default, rival = precisions(found)
    yield (
        f"* **Find.** Over {len(found)} runs the average precision of our suspects is "
        f"{default.mean():.3f}, that of the best of three ways to use cleanlab, chosen "
        f"in hindsight for each run, {rival.mean():.3f}. Ours is higher in "
        f"{100 * (default > rival).mean():.0f} % of the runs."
    )


def training():
    """Yield the table of what training gains in each scenario."""
    ours = _choice_rules.OURS
    yield row(
        "data", "plain, stopped", "**`RobustClassifier()`**", "best single method",
        "best epoch of the best method", "runs",
    )  # fmt: skip
    yield "|---|---|---|---|---|---|"
    for title, (names, kinds) in SCENARIOS.items():
        lines = [line for line in chosen(regrets(), names, kinds) if is_noisy(line)]
        best = max(RULES, key=lambda rule: gains(lines, rule).mean())
        # The best epoch of the best method is what a regret is counted from.
        bound = _choice_rules.regrets(lines, PLAIN)
        yield row(
            title,
            spread(lines, gains(lines, STOPPED)),
            spread(lines, gains(lines, ours)),
            f"{RULES[best]}: {spread(lines, gains(lines, best))}",
            spread(lines, bound),
            size_of(lines),
        )


def chosen(lines, names, kinds):
    """Return the lines of some data sets and kinds of noise."""
    return [
        line
        for line in lines
        if line["data"] in names
        and (line["noise"].rpartition(" ")[0] or line["noise"]) in kinds
    ]


def is_noisy(line):
    """Return whether a line of the study has wrong labels."""
    return _choice_rules.kind_of(line) != "none"


def by_noise():
    """Yield the table of what `RobustClassifier` gains under each noise."""
    yield row("data", *NOISES)
    yield "|---|" + "---|" * len(NOISES)
    for title, (names, kinds) in [*SCENARIOS.items()][:-1]:
        cells = []
        for noises in NOISES.values():
            lines = chosen(regrets(), names, set(noises) & set(kinds))
            values = gains(lines, _choice_rules.OURS) if lines else None
            cells.append(MISSING if values is None else extremes(values))
        yield row(title, *cells)


def precisions(lines):
    """Return our average precision and that of the best way to use cleanlab."""
    every = [
        {
            name: each["average_precision"]
            for name, each in line["sources"].items()
            if each
        }
        for line in lines
    ]
    default = np.array([each["default"] for each in every])
    rival = [max(v for k, v in each.items() if "cleanlab" in k) for each in every]
    return default, np.array(rival)


def known(lines, source, key):
    """Return a figure of a source in the lines that have it."""
    found = (line["sources"].get(source) for line in lines)
    return [each[key] for each in found if each and each[key] is not None]


def finding():
    """Yield the table of suspects beside those of cleanlab."""
    yield row(
        "data", "ours", "best of cleanlab's three ways", "difference",
        "ours: suspects that are wrong", "wrong labels that are suspects",
        "cleanlab, network: suspects that are wrong", "wrong labels that are suspects",
        "runs",
    )  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|---|"
    found = [line for line in runs("suspects/runs") if "sources" in line]
    for title, (names, kinds) in SCENARIOS.items():
        lines = [x for x in found if x["data"] in names and x["noise"] in kinds]
        default, rival = precisions(lines)
        shares = [
            f"{np.mean(known(lines, source, key)):.0%}"
            for source in ("default", "cleanlab, network")
            for key in ("precision", "recall")
        ]
        yield row(
            title,
            f"{default.mean():.3f}",
            f"{rival.mean():.3f}",
            spread(lines, default - rival, 3),
            *shares,
            size_of(lines),
        )


def accuracies():
    """Yield the table of accuracies: plain, ours, and the best method."""
    yield row(
        "data and noise", "plain, last epoch", "plain, best epoch",
        "`RobustClassifier()`", "best method", "its last epoch", "seeds",
    )  # fmt: skip
    yield "|---|---|---|---|---|---|---|"
    for title, names, section, column in ACCURACIES:
        cells = {}
        for name in names:
            cells |= cells_of(name, section, column)
        known = [
            m for m, cell in cells.items() if cell.seeds > 1 and not TOLD.search(m)
        ]
        best = max(known, key=lambda method: cells[method].last)
        plain = cells["CE"]
        yield row(
            title,
            str(plain),
            f"{plain.best:.1f}",
            MISSING,
            best,
            str(cells[best]),
            str(plain.seeds)
            if plain.seeds == cells[best].seeds
            else f"{plain.seeds} and {cells[best].seeds}",
        )


@dataclasses.dataclass
class Cell:
    """Test accuracy of a method in percent."""

    last: float
    deviation: float
    best: float
    seeds: int

    def __str__(self):
        """Return the last epoch, and the half width of its 95 % interval."""
        from scipy import stats

        quantile = stats.t.ppf(0.975, self.seeds - 1)
        return f"{self.last:.1f} ± {quantile * self.deviation / self.seeds**0.5:.1f}"


def cells_of(name, section, column):
    """Return the cells of a column of a page that `benchmarks.tables` wrote."""
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    found = {}
    for method, cell in column_of(text, section, column).items():
        last, deviation, best = re.match(rf"{NUMBER}(?: \(([\d.]+)\))?", cell).groups()
        if best is None:
            best = column_of(text, BEST, column)[method].partition(" ")[0]
        seeds = seeds_of(section_of(text, section), method, column) or seeds_of(text)
        found[method] = Cell(float(last), float(deviation or 0), float(best), seeds)
    return found


def section_of(text, heading):
    """Return the text under the first heading that has a pattern in it."""
    pattern = rf"^#+ .*{heading}.*\n((?:(?!#+ ).*\n)*)"
    return re.search(pattern, text, re.MULTILINE)[1]


def column_of(text, section, column):
    """Return the cells of a column in the first table of a section, by their rows."""
    shown = section_of(text, section).partition("|\n\n")[0] + "|"
    lines = re.findall(r"^\|.*\|$", shown, re.MULTILINE)
    head, _, *rest = ([cell.strip() for cell in x.strip("|").split("|")] for x in lines)
    rows = [cells for cells in rest if len(cells) == len(head)]
    place = head.index(column)
    return {cells[0]: cells[place] for cells in rows if cells[place]}


def seeds_of(text, method="", rate=""):
    """Return the number of seeds of a cell from the notes under its table, or None."""
    notes = re.search(
        r"^\* Seeds: (?P<all>[\d, ]+)(?:; fewer for (?P<fewer>.*))?\.$"
        r"|over the seeds \[(?P<given>.*?)\]",
        text,
        re.MULTILINE,
    )
    if notes is None:
        return None
    fewer = re.escape(f"{method} {rate}") + r" \((\d+)\)"
    found = re.search(rf"(?:^|, ){fewer}", notes["fewer"] or "")
    return int(found[1]) if found else len((notes["all"] or notes["given"]).split(","))


def cost():
    """Yield the table of costs, in multiples of plain training."""
    yield row("what", "multiple of plain training", "measured in")
    yield "|---|---|---|"
    text = (RESULTS / "loss_overhead.md").read_text(encoding="utf-8")
    column = column_of(text, "Cost of the losses", "ResNet step, XLA (39 ms)")
    ratios = [float(ratio) for ratio in column.values() if ratio]
    yield row(
        "a loss of this package, a step of a small ResNet",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        link("loss_overhead"),
    )
    text = (RESULTS / "divide_mix.md").read_text(encoding="utf-8")
    column = column_of(text, "Cost of an epoch", "of cross-entropy's")
    for method, ratio in [*column.items()][1:]:
        yield row(f"{method}, an epoch", ratio, link("divide_mix"))
    text = (RESULTS / "choice_cost.md").read_text(encoding="utf-8")
    column = "clock time, multiple of plain"
    found = [column_of(text, name, column) for name in ("TensorFlow", "JAX")]
    for call in [*found[0]][1:]:
        times = "; ".join(
            f"{name} {each[call]}"
            for name, each in zip(("TensorFlow", "JAX"), found, strict=True)
        )
        yield row(f"{call}, whole call", times, link("choice_cost"))
    yield row("`find_wrong_labels()` alone", MISSING, "")


def link(name):
    """Return a link to a page of results."""
    return f"[{name}.md]({name}.md)"


def shortened():
    """Yield the table of recipes that were cut short."""
    yield row("recipe", "trained", "seeds", "page")
    yield "|---|---|---|---|"
    for name, title in SHORTENED.items():
        text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
        length = re.search(r"\*\*(\d+ epochs, shortened to .*?)\*\*", text)[1]
        yield row(title, length, str(seeds_of(text, "", "")), link(name))


PAGE = """# How good is it?

Made from the committed results by one command, which trains nothing:

```bash
python -m benchmarks.how_good --out benchmarks/results/how_good.md
```

## In short

{summary}

Most settings have one or two seeds. Read the intervals, and the pages that the sections
link to.

## Train on noisy labels, without knowing the noise

Points of accuracy on clean test data **ahead of plain training**, which is
cross-entropy to the last epoch. Mean over all noisy conditions of [the
study](choice.md), ± half of the 95 % interval of that mean.

{training}

* **Plain, stopped**: cross-entropy at the epoch with the best accuracy on held-out
  labels, which are as noisy as the others.
* **Best single method**: the best of twelve in the mean of the row, stopped in the same
  way. **Best epoch of the best method**: the best of twelve in each condition at its
  best epoch. Both are chosen in hindsight with clean labels, which nobody has.
* The interval of the tables is over eight data sets, those of the other rows over
  conditions of one data set, which share examples. They say nothing about other data.
* Human noise: AG News with the labels of NoisyAG-News, 20 % of them wrong. The row
  "texts" has it too.
* Training on what cleanlab keeps: {missing}. "Clean, then train" is the same with our
  suspects.

### By kind of noise

Points of accuracy by which `RobustClassifier()` is ahead of plain training to the last
epoch: mean (smallest to largest) over the runs.

{noises}

## The best method, if you know it

Accuracy in percent on clean test data, mean ± half of the 95 % interval over the seeds.
"Best epoch" is the best one on the test data, which nobody can pick without clean
labels. The best method has the highest mean at the last epoch, and at least two seeds.
Methods that were told the noise rate or the transition matrix are left out.

{accuracies}

From [digits](digits_losses.md), [DivideMix and SSR](divide_mix.md),
[MNIST](robust_losses_mnist.md) and [MNIST with the SEAL authors' labels](mnist_idn.md),
with [SEAL](seal_mnist.md). The [quickstart](quickstart_digits.md) trains another
network for longer: its figures differ from those of the first rows.

## Find wrong labels

Average precision of the order of suspicion, from 0 to 1. cleanlab's Datalab gets the
features, or five-fold predictions of a logistic regression or of the same network as
ours; the best of the three is chosen for each run in hindsight. Difference: mean ± half
of the 95 % interval, over data sets or runs as above.

{finding}

[All sources and settings](suspects.md), also those where we are behind. With both tools
as their documentation calls them, on digits: [coming from
cleanlab](../../docs/guides/coming_from_cleanlab.md).

### How many labels are wrong

`analysis.noise_rate` gives a rate with a 90 % interval, or none where nothing can tell.
It never gave one under instance-dependent or human noise here.

{rates}

## What it costs

Medians or ranges as on the linked pages, on CPUs.

{cost}

`RobustClassifier(budget=1)` is one training, the noise rate and the suspects.

## Appendix: recipes that were cut short

CIFAR runs of the papers' recipes with a small part of their epochs. They show that the
recipes run, and what a run costs. They are too short to say how good a method is.

{short}
"""


if __name__ == "__main__":
    main()
