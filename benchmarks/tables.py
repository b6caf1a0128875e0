"""Make Markdown tables of finished runs.

    python -m benchmarks.tables runs/benchmarks --out benchmarks/results/mnist_idn.md

Runs of the same recipe, noise and settings make one table; runs that differ in
anything but method, rate and seed never share one.
"""

import argparse
import collections
import json
import math
import pathlib
import statistics

from benchmarks import _records, recipes
from keras_noisy._data import files

EXPLANATION = (
    "Accuracy in percent on clean test data after the last epoch, mean ± standard "
    "deviation over seeds, and in brackets the best epoch *on the test data*, which "
    "nobody can pick without clean labels."
)
ROUNDS = (
    "The trainings of SEAL one by one: test accuracy as above, and for the soft labels "
    "after each training the percentage whose largest class is right and the mean "
    "distance of Eq. 9 from the truth over the wrong labels."
)
# What runs of one table may differ in.
_OF_ROW = ("method", "noise", "seed")


def main(arguments=None):
    """Print or write the tables of some files."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tables", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "runs", nargs="+", type=pathlib.Path, help="files of runs, or their folders"
    )
    parser.add_argument("--out", type=pathlib.Path, help="file; printed without it")
    parser.add_argument("--recipe", help="only the runs of this recipe")
    args = parser.parse_args(arguments)
    records = [record for path in args.runs for record in read(path)]
    if args.recipe:
        records = [r for r in records if r["recipe"] == args.recipe]
    if not records:
        raise SystemExit("error: there are no finished runs in these files.")
    write(render(records), args.out)


def write(text, path):
    """Write a page, or print it where there is no path."""
    if path is None:
        print(text, end="")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_writer(path) as file:
        file.write(text.encode())


def read(path):
    """Return the records of a file, or of the folder that it is in."""
    if path.is_dir():
        path = path / "runs.jsonl"
    if not path.is_file():
        raise SystemExit(f"error: there is no file {path}.")
    return _records.read(path)


def render(records):
    """Return the tables of some records as Markdown, one after the other."""
    groups = collections.defaultdict(list)
    for record in _unique(records):
        groups[_group_of(record)].append(record)
    sections = [_section(group) for group in groups.values()]
    return "\n".join([*sections, *_means(groups.values())])


def _means(groups):
    """Yield the means over noises and rates, of recipes whose papers have them."""
    together = collections.defaultdict(list)
    for group in groups:
        settings = {k: v for k, v in group[0]["settings"].items() if k not in _OF_ROW}
        together[json.dumps(settings, sort_keys=True)] += group
    for records in together.values():
        recipe = _recipe_of(records[0]["recipe"])
        if recipe and recipe.mean:
            yield from _mean_section(recipe, records)


def _mean_section(recipe, records):
    """Yield the column "Mean", if any method has all of its cells."""
    columns = [
        (noise, rate)
        for noise, entry in recipe.noise.items()
        for rate in entry.get("rates", [None])
    ]
    cells = collections.defaultdict(lambda: collections.defaultdict(list))
    for record in records:
        cell = (record["noise"]["name"], record["noise"]["rate"])
        cells[_row_of(record)[0]][cell].append(100 * record["last"])
    if not any(set(columns) <= set(found) for found in cells.values()):
        return
    lines = ["| method | mean | paper | difference |", "|---|---|---|---|"]
    for method in (name for name in recipe.methods if name in cells):
        found = [cells[method][column] for column in columns if cells[method][column]]
        paper = recipe.mean["figures"].get(method)
        row = ["", "" if paper is None else f"{paper:.2f}", ""]
        if len(found) == len(columns):
            ours = statistics.mean(map(statistics.mean, found))
            row[0] = f"{ours:.2f}"
            row[2] = "" if paper is None else f"{ours - paper:+.2f}"
        else:
            row[0] = f"({len(found)} of {len(columns)} cells)"
        lines.append(f"| {method} | {' | '.join(row)} |")
    yield "\n\n".join(
        [
            f"# {recipe.title}: mean over noises and rates",
            f"Means of the last epochs above. The paper's figures: "
            f"{recipe.mean['source']}.",
            "\n".join(lines) + "\n",
        ]
    )


def _unique(records):
    """Return the records without those that two processes or files both have."""
    return {record["settings_digest"]: record for record in records}.values()


def _group_of(record):
    """Return what the runs of one table have in common."""
    settings = {
        key: value for key, value in record["settings"].items() if key not in _OF_ROW
    }
    noise = record["noise"]
    source = _source_of(noise)
    return json.dumps([settings, noise["name"], noise["kind"], source], sort_keys=True)


def _source_of(noise):
    """Return where labels are from; each rate may have a file of its own."""
    return noise["source"] if noise["source"].startswith(("drawn", "made")) else "file"


def _section(records):
    first = records[0]
    recipe = _recipe_of(first["recipe"])
    cells = collections.defaultdict(list)
    for record in records:
        cells[_row_of(record), record["noise"]["rate"]].append(record)
    rates = sorted({rate for _, rate in cells}, key=lambda rate: rate or 0)
    rows = _ordered({row for row, _ in cells}, recipe)
    title = recipe.title if recipe else first["recipe"]
    parts = [
        f"# {title}: {first['noise']['name'].replace('_', ' ')}",
        f"{EXPLANATION}{_paper_sentence(recipe, first)}",
        _table(rows, rates, cells, recipe),
        *_rounds(rows, rates, cells),
        "\n".join(_notes(records)),
        "\n".join(["```bash", *_values(records, "command"), "```"]),
    ]
    return "\n\n".join(parts) + "\n"


def _recipe_of(name):
    try:
        return recipes.load(name)
    except ValueError:
        return None  # Of a file of one's own, or renamed since.


def _row_of(record):
    """Return `(method, what it was given)`: changed arguments are another row."""
    method = record["settings"]["method"]
    return record["method"], json.dumps(method, sort_keys=True)


def _ordered(rows, recipe):
    """Return rows in the recipe's order."""
    order = list(recipe.methods) if recipe else []
    return sorted(
        rows, key=lambda row: (order.index(row[0]) if row[0] in order else 99, row)
    )


def _table(rows, rates, cells, recipe):
    titles = _titles(rows)
    names = [name for name, _ in rows]
    noise = next(iter(cells.values()))[0]["noise"]["name"]
    has_paper = recipe is not None and any(
        recipe.expected_figure(name, noise, rate) for name in names for rate in rates
    )
    # Without the paper's figures the first of three columns is left.
    used = slice(None) if has_paper else slice(1)
    heads = [head for rate in rates for head in _heads(rate)[used]]
    lines = [f"| method | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for row in rows:
        found = {rate: cells.get((row, rate), []) for rate in rates}
        for title, ended in _ends(
            titles[row], found, _iterations(recipe, row[0], noise)
        ):
            columns = [
                column
                for rate in rates
                for column in _columns(ended[rate], recipe, row[0])[used]
            ]
            lines.append(f"| {title} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _iterations(recipe, method, noise):
    """Return the paper's number of iterations of a method of SEAL, or None."""
    for table in recipe.expected if recipe else []:
        if table["noise"] == noise and method in table.get("iterations", {}):
            return table["iterations"][method]
    return None


def _ends(title, found, iterations):
    """Yield the rows of a method: one, or two where SEAL can be counted in two ways.

    Algorithm 2 counts the training on the given labels, the authors' instructions do
    not: both numbers of trainings have a row, as far as they were run.

    Args:
        title: Of the row.
        found: Records for each rate.
        iterations: The paper's number, or None for the end of the runs alone.
    """
    if iterations is None:
        yield title, found
        return
    for number in (iterations, iterations + 1):
        ended = {
            rate: [_after(r, number) for r in records if len(r["reports"]) >= number]
            for rate, records in found.items()
        }
        if any(ended.values()):
            yield f"{title}, {number} trainings", ended


def _after(record, number):
    """Return the record of the same run of SEAL as if it had ended earlier."""
    curve = [*record["stages"], record["curve"]][-len(record["reports"]) :][number - 1]
    accuracies, chosen = curve["test_accuracy"], curve.get("validation_accuracy")
    selected = None
    if chosen:
        selected = accuracies[max(range(len(chosen)), key=chosen.__getitem__)]
    more = {"last": accuracies[-1], "best": max(accuracies), "selected": selected}
    return {**record, **more}


def _titles(rows):
    """Return what stands in front of each row; equal names show their arguments."""
    counts = collections.Counter(name for name, _ in rows)
    return {
        (name, given): name
        if counts[name] == 1
        else f"{name} `{json.loads(given).get('arguments', {})}`"
        for name, given in rows
    }


def _rounds(rows, rates, cells):
    """Yield a table of the trainings of SEAL, if there are any."""
    titles, lines = _titles(rows), []
    for row in rows:
        for rate in rates:
            found = [r for r in cells.get((row, rate), []) if r.get("reports")]
            title = titles[row] if rate is None else f"{titles[row]}, {rate:.0%}"
            lines += [
                f"| {title} | {number} | {' | '.join(_round(found, number))} |"
                for number in range(1, 1 + len(found and found[0]["reports"]))
            ]
    if lines:
        head = "| method | training | test accuracy | labels right | distance |"
        yield "\n".join([ROUNDS, "", head, "|---|---|---|---|---|", *lines])


def _round(records, number):
    """Return test accuracy, right labels and their distance after a training."""
    curves = [[*r["stages"], r["curve"]][-len(r["reports"]) :] for r in records]
    tests = [curve[number - 1]["test_accuracy"] for curve in curves]
    last = [100 * test[-1] for test in tests]
    best = statistics.mean(100 * max(test) for test in tests)
    right = [100 * r["reports"][number - 1]["label_accuracy"] for r in records]
    far = [r["reports"][number - 1]["label_distance"] for r in records]
    return [
        f"{_mean_and_spread(last, 2)} ({best:.2f})",
        _mean_and_spread(right, 2),
        # NaN where no label is known to be wrong.
        "" if math.isnan(far[0]) else f"{statistics.mean(far):.3f}",
    ]


def _heads(rate):
    title = "ours" if rate is None else f"{rate:.0%}"
    return [title, "paper", "difference"]


def _columns(records, recipe, method):
    """Return ours, the paper's and the difference, for one method and rate."""
    if not records:
        return ["", "", ""]
    last = [100 * record["last"] for record in records]
    best = [100 * record["best"] for record in records]
    ours = f"{_mean_and_spread(last)} ({statistics.mean(best):.1f})"
    noise = records[0]["noise"]
    expected = recipe and recipe.expected_figure(method, noise["name"], noise["rate"])
    if not expected:
        return [ours, "", ""]
    figure, spread, epoch = expected
    paper = f"{figure:.1f}" if spread is None else f"{figure:.1f} ± {spread:.1f}"
    key = {"last": "last", "best": "best", "best validation": "selected"}[epoch]
    compared = statistics.mean(100 * (r[key] or r["last"]) for r in records)
    return [ours, paper, f"{compared - figure:+.1f}"]


def _mean_and_spread(values, digits=1):
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    spread = statistics.stdev(values)
    return f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"


def _paper_sentence(recipe, record):
    if recipe is None:
        return ""
    noise = record["noise"]["name"]
    tables = [table for table in recipe.expected if table["noise"] == noise]
    if not tables:
        return ""
    sources = "; ".join(f"{t['source']}, {t['epoch']} epoch" for t in tables)
    return f" The paper's figures: {sources}."


def _notes(records):
    """Yield what is needed to judge the table and to make it again."""
    first = records[0]
    settings, noise = first["settings"], first["noise"]
    seeds = sorted({record["seed"] for record in records})
    yield f"* Seeds: {', '.join(map(str, seeds))}{_missing(records, seeds)}."
    yield f"* Training: {_length(first)}; {_training_text(settings)}."
    definition = recipes.DEFINITIONS[noise["kind"]]
    yield f"* Noise: {definition}. Labels: {_labels_text(records)}."
    sources = ", ".join(_values(records, "data_source"))
    yield f"* Data: {settings['data']['name']}, {sources}."
    yield f"* Machine: {'; '.join(_values(records, 'machine'))}. {_cost(records)}"
    versions = ", ".join(f"{k} {v}" for k, v in settings["versions"].items())
    yield (
        f"* Versions: {versions}, Python {', '.join(_values(records, 'python'))}. "
        f"Precision: {settings['precision']}. Devices: {settings['devices']}."
    )


def _missing(records, seeds):
    """Say which cells have fewer seeds than the table."""
    counts = collections.Counter(
        (record["method"], record["noise"]["rate"]) for record in records
    )
    short = [
        f"{method} {'' if rate is None else f'{rate:.0%} '}({count})"
        for (method, rate), count in counts.items()
        if count < len(seeds)
    ]
    return f"; fewer for {', '.join(short)}" if short else ""


def _length(record):
    iterations = record.get("iterations")
    text = f"{iterations} iterations" if iterations else f"{record['epochs']} epochs"
    if record["budget"] == 1:
        return f"{text}, the whole recipe"
    training = record["settings"]["training"]
    if training["epochs"]:
        full = f"{training['epochs']} epochs"
    else:
        full = f"{training['iterations']} iterations"
    share = f"{100 * record['budget']:.3g}%"
    return f"**{text}, shortened to {share} of the recipe's {full}**"


def _training_text(settings):
    training = settings["training"]
    optimizer = dict(training["optimizer"])
    name = optimizer.pop("name")
    given = ", ".join(f"{key} {value:g}" for key, value in optimizer.items())
    network = dict(settings["network"])
    parts = [
        f"network {network.pop('name')}",
        *(f"{key} {value}" for key, value in network.items()),
        f"{name} ({given})",
        f"batch {training['batch_size']}",
        f"augmentation {_augmentation_text(training['augmentation'])}",
    ]
    if training["schedule"]:
        parts.append(_schedule_text(training["schedule"]))
    return ", ".join(parts)


def _schedule_text(schedule):
    if schedule["kind"] == "steps":
        places = ", ".join(map(str, schedule["at"]))
        return f"learning rate times {schedule['factor']:g} at {places}"
    if schedule["kind"] == "cosine":
        return "learning rate along a cosine"
    return f"learning rate along a polynomial of power {schedule['power']:g}"


def _augmentation_text(augmentation):
    if augmentation is None:
        return "none"
    if augmentation == "crop_flip":
        return "random crops (border of 4) and flips"
    kind = "random, flipped" if augmentation["train"] == "random" else "in the middle"
    return f"cuts of {augmentation['cut']} pixels, {kind}"


def _labels_text(records):
    known = {}
    for record in records:
        noise = record["noise"]
        drawn = noise["source"].startswith("drawn")
        key = (noise["source"], noise["rate"], record["seed"] if drawn else None)
        known[key] = noise
    parts = []
    for (source, rate, seed), noise in known.items():
        where = source if seed is None else f"seed {seed}"
        stated = "" if rate is None else f"{rate:.0%}, "
        parts.append(
            f"{where} ({stated}{noise['realised_rate']:.2%} wrong, SHA-256 "
            f"{noise['digest'][:12]})"
        )
    return "; ".join(parts)


def _cost(records):
    seconds = sum(record["seconds"] for record in records)
    text = f"{len(records)} runs, {seconds / 60:.1f} minutes of training"
    # Lines of older programs do not have it.
    memory = max(record.get("peak_memory_mb", 0) for record in records)
    if memory:
        text += f"; main memory of the process at most {memory} MB"
    return f"{text}."


def _values(records, key):
    """Return the different values of a key, in their order."""
    return list(dict.fromkeys(record[key] for record in records))


if __name__ == "__main__":
    main()
