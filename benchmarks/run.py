"""Run a cell, a row or a table of a recipe.

    python -m benchmarks.run --list
    python -m benchmarks.run digits/losses --method "CE" "GCE(0.7)" --seeds 3
    python -m benchmarks.run mnist/idn --rate 0.4 --source mnist.npz \
        --labels idn_labels.npz:mnist_idn_40

Every finished run is a line of `runs.jsonl` in the folder `--out`, which
`python -m benchmarks.tables` makes tables of. The same command continues where it was
killed, from the last whole epoch, and does not repeat what is finished; runs of other
settings are other runs, in the same file. Several processes may share the folder: each
run is trained by one of them.
"""

import argparse
import collections
import contextlib
import dataclasses
import datetime
import os
import pathlib
import platform
import shlex
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import keras_noisy
from benchmarks import _data, _devices, _records, _training, recipes
from keras_noisy.noise import NoisyLabels

RUNS = "runs.jsonl"


def parse_arguments(arguments=None, module="run", description=__doc__):
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=description.splitlines()[0],
        epilog="Without --noise, --rate and --method: the whole table.",
    )
    add = parser.add_argument
    add("recipe", nargs="?", help="name of a recipe, or the path of your own .toml")
    add("--list", action="store_true", help="list recipes, or what a recipe has")
    add("--dry-run", action="store_true", help="say what would run, and load no data")
    add("--noise", nargs="+", help="noises of the recipe")
    add("--rate", nargs="+", type=float, help="noise rates of the recipe")
    add("--method", nargs="+", help="methods of the recipe")
    add("--seeds", type=_positive, help="number of seeds (the recipe's, mostly 3)")
    add("--first-seed", type=int, default=0, help="the first of them (0)")
    add("--source", help="where the data set is; by default it is downloaded")
    add("--labels", nargs="+", default=[], metavar="FILE[:KEY]", help="noisy labels")
    add(
        "--label-order",
        default="keras.datasets",
        help="order of the rows of label files without clean labels (keras.datasets)",
    )
    add("--budget", type=_share, default=1.0, help="share of the recipe's epochs (1)")
    add("--devices", type=_positive, default=1, help="devices that share a batch (1)")
    add(
        "--on-device",
        action="store_true",
        help="keep the data on the device, an epoch is one call of it; JAX",
    )
    add(
        "--together",
        type=_positive,
        default=1,
        help="runs that are one program; more than one is --on-device too (1)",
    )
    add("--threads", type=int, default=0, help="threads of TensorFlow's operations")
    add(
        "--precision",
        default="float32",
        choices=["float32", "mixed_bfloat16", "mixed_float16"],
        help="Keras's policy (float32)",
    )
    add("--out", type=pathlib.Path, default="runs/benchmarks", help="folder")
    add("--verbose", action="store_true", help="print a line per epoch")
    settings = parser.parse_args(arguments)
    if settings.recipe is None and not settings.list:
        parser.error("name a recipe, or pass --list")
    return settings


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _share(text):
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be in (0, 1], not {value:g}")
    return value


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run: a method under one noise, with one seed."""

    method: recipes.Method
    noise: str
    rate: float | None
    seed: int

    def __str__(self):
        rate = "" if self.rate is None else f" {self.rate:.0%}"
        return f"{self.method.name}, {self.noise}{rate}, seed {self.seed}"


def select(recipe, args):
    """Return the cells that the command line names, seed by seed.

    Raises:
        UnknownNameError: If the recipe has no such noise, rate or method.
    """
    methods = _named("method", args.method, recipe.methods)
    cells = []
    seeds = args.seeds or recipe.seeds
    for seed in range(args.first_seed, args.first_seed + seeds):
        for noise in _named("noise", args.noise, recipe.noise):
            entry = recipe.noise[noise]
            for rate in _rates(recipe, args, entry):
                cells += [
                    Cell(recipe.methods[name], noise, rate, seed)
                    for name in methods
                    if _has_matrix(recipe.methods[name], entry)
                ]
    if not cells:
        raise ValueError("No method of the recipe is defined under this noise.")
    return cells


def _named(what, wanted, known):
    for name in wanted or []:
        if name not in known:
            raise recipes.UnknownNameError(what, name, known)
    return wanted or list(known)


def _rates(recipe, args, entry):
    """Return the rates of one noise that are asked for."""
    known = entry.get("rates", [None])
    if args.rate is None:
        return known
    chosen = args.noise or recipe.noise
    everywhere = {r for name in chosen for r in recipe.noise[name].get("rates", [])}
    for rate in args.rate:
        if rate not in everywhere:
            raise recipes.UnknownNameError("rate", rate, sorted(everywhere))
    return [rate for rate in args.rate if rate in known]


def _has_matrix(method, entry):
    has_one = entry["kind"] not in ("instance_dependent", "as_given")
    return has_one or not method.needs_true_matrix()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run of a cell needs: labels, their source in words, where it is kept."""

    cell: Cell
    source: str
    labels: NoisyLabels
    settings: dict
    digest: str
    folder: pathlib.Path


class Session:
    """Runs cells of one recipe with one set of options."""

    def __init__(self, recipe, args, command):
        self.recipe, self.args, self.command = recipe, args, command
        self.on_device = args.on_device or args.together > 1
        if self.on_device and (_devices.BACKEND != "jax" or args.devices > 1):
            raise ValueError(
                "--on-device and --together are for one device on JAX. Received: "
                f"KERAS_BACKEND={_devices.BACKEND}, --devices {args.devices}."
            )
        self.devices = _devices.Devices(args.devices, args.threads)
        self.data = _data.load(recipe.data, args.source, args.out / "data")
        # What noisy labels are made for; a search trains on a part of it.
        self.whole = self.data
        check_batches(self.data, recipe.training.batch_size, args.devices)
        self.files = _data.LabelFiles(args.labels, self.data, args.label_order)
        self.path = args.out / RUNS
        args.out.mkdir(parents=True, exist_ok=True)
        self._labels = {}

    def groups(self, cells):
        """Return which cells are trained together, as lists of their numbers."""
        by_fit, by_epochs = [], collections.defaultdict(list)
        for index, cell in enumerate(cells):
            reason = self._why_by_fit(cell)
            if reason is None:
                by_epochs[cell.method.epochs].append(index)
                continue
            by_fit.append([index])
            if self.on_device:
                print(f"{cell}: trained by Keras's fit, because {reason}")
        size = self.args.together
        on_device = [
            some[start : start + size]
            for some in by_epochs.values()
            for start in range(0, len(some), size)
        ]
        return sorted([*on_device, *by_fit])

    def _why_by_fit(self, cell):
        """Return why `fit` trains a cell; None where an epoch is one call."""
        if not self.on_device:
            return "nothing else was asked for"
        if self.recipe.training.iterations:
            return "its last epoch is shorter"
        if self.recipe.dynamics:
            return "the dynamics of its training are recorded"
        # JAX only, which is not there on other backends.
        from benchmarks import _on_device

        return _on_device.why_not(cell.method, self.data)

    def run_all(self, cells):
        """Train all of some cells that are not done, and say what became of each."""
        headings = [f"[{n}/{len(cells)}] {cell}" for n, cell in enumerate(cells, 1)]
        for some in self.groups(cells):
            self.run([cells[i] for i in some], [headings[i] for i in some])

    def run(self, cells, headings):
        """Train those of some cells that are not done, as one program if several.

        Args:
            cells: One of `groups`.
            headings: What is printed before what became of each.
        """
        plans = [self.plan(cell) for cell in cells]
        with contextlib.ExitStack() as claims:
            free = [
                claims.enter_context(_training.claim(plan.folder)) for plan in plans
            ]
            # After that: another process may have finished one meanwhile.
            done = {r["settings_digest"] for r in _records.read(self.path)}
            left = []
            for plan, heading, is_free in zip(plans, headings, free, strict=True):
                if plan.digest in done:
                    print(f"{heading}: done before")
                    if is_free:
                        _training.remove(plan.folder)
                elif not is_free:
                    print(f"{heading}: another process trains it")
                else:
                    left.append((plan, heading))
            if left:
                self._train(*zip(*left, strict=True))
        # Models and traces of the past only cost memory.
        keras.backend.clear_session()

    def plan(self, cell):
        """Return what a run of a cell needs."""
        source, labels = self.find_labels(cell)
        settings = self.settings_of(cell, labels)
        digest = _records.digest(settings)
        folder = self._folder(cell, digest)
        return Plan(cell, source, labels, settings, digest, folder)

    def _train(self, plans, headings):
        """Train runs, write a line for each, and remove what they continue from."""
        # Here, because `clear_session` after the runs before has reset it.
        keras.config.set_dtype_policy(self.args.precision)
        _devices.reset_peak_memory()
        runs = [self.make_run(plan) for plan in plans]
        folders = [plan.folder for plan in plans]
        if self._why_by_fit(plans[0].cell):
            results = [run.train() for run in runs]
        else:
            from benchmarks import _on_device

            name = "together-" + _records.digest([plan.digest for plan in plans])
            folders.append(self.args.out / "state" / self.recipe.name / name)
            results = _on_device.Group(runs, folders[-1], self.args.verbose).train()
        records = [
            self._record(*trained) for trained in zip(plans, runs, results, strict=True)
        ]
        _records.append(self.path, *records)
        for heading, record in zip(headings, records, strict=True):
            print(f"{heading}: {_sentence(record)}", flush=True)
        for folder in folders:
            _training.remove(folder)

    def make_run(self, plan):
        """Return the training of a plan."""
        return _training.Run(
            self.recipe,
            plan.cell.method,
            plan.cell.noise,
            plan.cell.rate,
            plan.cell.seed,
            budget=self.args.budget,
            data=self.data,
            labels=plan.labels,
            folder=plan.folder,
            devices=self.devices,
            verbose=self.args.verbose,
        )

    def _record(self, plan, run, result):
        cell, labels = plan.cell, plan.labels
        accuracies = result["curve"][_training.TEST_ACCURACY]
        best = max(range(len(accuracies)), key=accuracies.__getitem__)
        return {
            "recipe": self.recipe.name,
            "method": cell.method.name,
            "noise": {
                "name": cell.noise,
                "kind": self.recipe.noise[cell.noise]["kind"],
                "rate": cell.rate,
                "realised_rate": labels.rate,
                "digest": labels.digest,
                "source": plan.source,
            },
            "seed": cell.seed,
            "budget": self.args.budget,
            "epochs": run.epochs,
            "iterations": run.steps,
            "data_source": self.data.source,
            "last": accuracies[-1],
            "best": accuracies[best],
            "best_epoch": best + 1,
            "selected": _selected(result["curve"]),
            **result,
            "settings": plan.settings,
            "settings_digest": plan.digest,
            "python": platform.python_version(),
            "machine": _devices.describe_machine(),
            "peak_memory_mb": _devices.peak_memory(),
            "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(
                timespec="seconds"
            ),
            "command": self.command,
        }

    def find_labels(self, cell):
        """Return where the noisy labels are from, in words, and the labels."""
        entry = self.recipe.noise[cell.noise]
        is_made_once = entry["kind"] == "instance_dependent"
        key = (cell.noise, cell.rate, None if is_made_once else cell.seed)
        if key not in self._labels:
            self._labels = {key: self._make_labels(cell, entry)}
        return self._labels[key]

    def _make_labels(self, cell, entry):
        if entry["kind"] != "instance_dependent":
            labels = _data.corrupt(entry, cell.rate, self.whole, cell.seed)
            return "drawn with the run's seed", labels
        found = self.files.find(cell.rate)
        if found is not None:
            return found
        name = f"{self.recipe.name}-{self.whole.digest}".replace("/", "-")
        labels = _training.instance_dependent_labels(
            self.recipe,
            cell.rate,
            self.whole,
            self.args.out / "noise" / name,
            self.devices,
        )
        return f"made by Algorithm 1, seed {_data.GENERATION_SEED}", labels

    def settings_of(self, cell, labels):
        """Return all that the numbers of a run depend on."""
        method = dataclasses.asdict(cell.method)
        # Of recipes without it nothing has changed.
        dynamics = {"dynamics": self.recipe.dynamics} if self.recipe.dynamics else {}
        return {
            **dynamics,
            "recipe": self.recipe.name,
            "data": {**self.recipe.data, "digest": self.data.digest},
            "network": self.recipe.network,
            "training": dataclasses.asdict(self.recipe.training),
            "method": {key: value for key, value in method.items() if value},
            "noise": {
                "name": cell.noise,
                **self.recipe.noise[cell.noise],
                "rates": cell.rate,
                "digest": labels.digest,
            },
            "seed": cell.seed,
            "budget": self.args.budget,
            "devices": self.args.devices,
            "precision": self.args.precision,
            "versions": {
                "keras_noisy": keras_noisy.__version__,
                "keras": keras.__version__,
                _devices.BACKEND: _backend_version(),
            },
        }

    def _folder(self, cell, digest):
        name = f"{cell.method.name}-{cell.noise}-{cell.rate}-{cell.seed}"
        plain = "".join(c if c.isalnum() or c in "-." else "_" for c in name)
        return self.args.out / "state" / self.recipe.name / f"{plain}-{digest}"


def check_batches(data, batch_size, num_devices):
    """Raise if a batch of training or prediction does not divide among devices."""
    predicted = _training.PREDICT_BATCH_SIZE
    sizes = [batch_size, len(data.y_train) % batch_size]
    sizes += [predicted, len(data.y_train) % predicted, len(data.y_test) % predicted]
    uneven = [size for size in sizes if size % num_devices]
    if uneven:
        raise ValueError(
            f"--devices must divide every batch. Received: --devices {num_devices}, "
            f"and this data set and recipe make a batch of {uneven[0]}."
        )


def _selected(curve):
    """Return the test accuracy of the epoch that validation data choose, or None."""
    chosen = curve.get(_training.VALIDATION_ACCURACY)
    if not chosen:
        return None
    best = max(range(len(chosen)), key=chosen.__getitem__)
    return curve[_training.TEST_ACCURACY][best]


def _backend_version():
    return __import__(_devices.BACKEND).__version__


def _sentence(record):
    return (
        f"last {record['last']:.2%}, best {record['best']:.2%} "
        f"(epoch {record['best_epoch']}), {record['seconds']:.1f} s"
    )


def print_list(name=None):
    """Print the recipes, or what one of them has."""
    if name is None:
        for other in recipes.names():
            print(f"{other:28} {recipes.load(other).title}")
        return
    recipe = recipes.load(name)
    print(recipe.title)
    for noise, entry in recipe.noise.items():
        rates = ", ".join(f"{rate:g}" for rate in entry.get("rates", []))
        rates = f"; rates {rates}" if rates else ""
        print(f"  noise {noise}: {recipes.DEFINITIONS[entry['kind']]}{rates}")
    print(f"  methods: {', '.join(recipe.methods)}")
    for table in recipe.expected:
        print(f"  figures: {table['source']}, {table['noise']}")


def print_plan(recipe, cells, args):
    """Print what would run."""
    finished = [
        (r["method"], r["noise"]["name"], r["noise"]["rate"], r["seed"], r["budget"])
        for r in _records.read(args.out / RUNS)
        if r["recipe"] == recipe.name
    ]
    for cell in cells:
        key = (cell.method.name, cell.noise, cell.rate, cell.seed, args.budget)
        note = " (a run like it is finished)" if key in finished else ""
        print(f"{recipe.name}: {cell}{note}")
    unit = "epochs" if recipe.training.epochs else "iterations"
    length = f"{recipe.training.length} {unit}, budget {args.budget:g}"
    print(f"{len(cells)} runs of {length}; nothing was trained")


def command_of(arguments, module="run"):
    """Return what somebody else would type for the same runs."""
    command = shlex.join(["python", "-m", f"benchmarks.{module}", *arguments])
    is_default = _devices.BACKEND == "tensorflow"
    return command if is_default else f"KERAS_BACKEND={_devices.BACKEND} {command}"


def main(arguments=None):
    """Run what the command line says."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = parse_arguments(arguments)
    try:
        if args.list:
            return print_list(args.recipe)
        recipe = recipes.load(args.recipe)
        cells = select(recipe, args)
        if args.dry_run:
            return print_plan(recipe, cells, args)
        session = Session(recipe, args, command_of(arguments))
        session.run_all(cells)
    except (ValueError, OSError) as error:
        # The command line's or a file's fault: the message says what to mend.
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
