"""Compare runs seed by seed that differ in one setting, such as the precision.

    python -m benchmarks.compare runs/digits runs/digits_bf16 \
        --out benchmarks/results/mixed_precision.md

Two runs are a pair if method, noise, labels and seed are the same. What else is not
the same for all pairs is printed, so that nobody takes another comparison for this one.
"""

import argparse
import collections
import itertools
import math
import pathlib
import statistics

from benchmarks import _records, recipes, tables


def main(arguments=None):
    """Print or write the comparison of two files."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__.splitlines()[0]
    )
    parser.add_argument("first", type=pathlib.Path, help="runs, or their folder")
    parser.add_argument("second", type=pathlib.Path, help="runs to compare with them")
    parser.add_argument("--out", type=pathlib.Path, help="file; printed without it")
    args = parser.parse_args(arguments)
    pairs = pairs_of(tables.read(args.first), tables.read(args.second))
    if not pairs:
        raise SystemExit("error: no run of one file has its like in the other.")
    tables.write(render(pairs), args.out)


def pairs_of(first, second):
    """Return the pairs of records of the same method, noise, labels and seed."""
    others = {_key_of(record): record for record in second}
    known = {_key_of(record): record for record in first}
    return [(known[key], others[key]) for key in known if key in others]


def _key_of(record):
    noise = record["noise"]
    method = _records.digest(record["settings"]["method"])
    return record["recipe"], method, noise["digest"], noise["rate"], record["seed"]


def _cell_of(record):
    return record["noise"]["name"], record["noise"]["rate"], record["method"]


def render(pairs):
    """Return the comparison as Markdown."""
    first, second = pairs[0]
    recipe = recipes.load(first["recipe"])
    names = _differences(pairs)
    cells = collections.defaultdict(list)
    for one, other in pairs:
        cells[_cell_of(one)].append(100 * (other["last"] - one["last"]))
    every = [value for values in cells.values() for value in values]
    lines = [
        f"# {recipe.title}: {' and '.join(names)}",
        "",
        "Accuracy in percent on clean test data after the last epoch: the mean of the "
        "second kind of run minus the first, seed by seed, ± its standard error.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        "| first | " + " | ".join(_setting(first, name) for name in names) + " |",
        "| second | " + " | ".join(_setting(second, name) for name in names) + " |",
        "",
        f"**All {len(every)} pairs: {_mean(every)}.** {_noise(pairs)}",
        "",
        *_table(cells, recipe),
        "",
        "```bash",
        *dict.fromkeys(record["command"] for pair in pairs for record in pair),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _differences(pairs):
    """Return the names of the settings that are not the same in all pairs."""
    names = {
        name
        for one, other in pairs
        for name in {*one["settings"], *other["settings"]}
        if one["settings"].get(name) != other["settings"].get(name)
    }
    return sorted(names) or ["nothing"]


def _setting(record, name):
    return str(record["settings"].get(name, "")).replace("'", "")


def _mean(values):
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:+.2f}"
    return f"{mean:+.2f} ± {statistics.stdev(values) / math.sqrt(len(values)):.2f}"


def _noise(pairs):
    """Return how far pairs are apart, beside two seeds of the first kind of run."""
    between = [abs(100 * (other["last"] - one["last"])) for one, other in pairs]
    by_cell = collections.defaultdict(list)
    for one, _ in pairs:
        by_cell[_cell_of(one)].append(100 * one["last"])
    seeds = [
        abs(one - other)
        for values in by_cell.values()
        for one, other in itertools.combinations(values, 2)
    ]
    text = f"The two of a pair are {statistics.median(between):.2f} apart (median)"
    if seeds:
        text += f", two seeds of the first kind {statistics.median(seeds):.2f}"
    return f"{text}."


def _table(cells, recipe):
    columns = sorted({key[:2] for key in cells}, key=str)
    heads = [
        name.replace("_", " ") + ("" if rate is None else f" {rate:.0%}")
        for name, rate in columns
    ]
    lines = ["| method | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    methods = {key[2] for key in cells}
    for method in [name for name in recipe.methods if name in methods]:
        row = [cells.get((*column, method)) for column in columns]
        shown = " | ".join("" if values is None else _mean(values) for values in row)
        lines.append(f"| {method} | {shown} |")
    return lines


if __name__ == "__main__":
    main()
