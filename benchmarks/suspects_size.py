"""Time and memory of finding wrong labels among many features in a memory map.

    python benchmarks/suspects_size.py --rows 10000 100000 --functions noise_rate

Writes a memory map of made-up features in half precision, classes around centres, a
fifth of the labels wrong, and prints what each function takes, each in a process of its
own: seconds, seconds of CPU, and the largest anonymous resident set beyond the start.
Pages of the file that the system keeps in memory are not counted: they can be dropped.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

FUNCTIONS = ("neighbor_votes", "noise_rate", "find_suspects", "find_wrong_labels")
WRONG = 0.2


def make_labels(num_rows, num_classes):
    """Return true classes and labels, of which a fifth is wrong."""
    generator = np.random.default_rng(0)
    classes = generator.integers(0, num_classes, num_rows)
    shift = generator.integers(1, num_classes, num_rows)
    is_wrong = generator.random(num_rows) < WRONG
    return classes, np.where(is_wrong, (classes + shift) % num_classes, classes)


def write_map(path, classes, num_columns):
    """Write features, a part at a time: two centres to a class, noise of few ranks."""
    generator = np.random.default_rng(1)
    features = np.memmap(path, "float16", "w+", shape=(len(classes), num_columns))
    centres = generator.normal(size=(2, classes.max() + 1, num_columns))
    directions = generator.normal(size=(30, num_columns)) * 0.7
    for start in range(0, len(classes), 10_000):
        part = classes[start : start + 10_000]
        rows = centres[generator.integers(0, 2, len(part)), part]
        rows += generator.normal(size=(len(part), len(directions))) @ directions
        features[start : start + len(part)] = rows + generator.normal(size=rows.shape)
    features.flush()


def measure(name, path, classes, labels, num_columns):
    """Call one function, and print a line of the table and what it found."""
    from keras_noisy import analysis, find_wrong_labels

    features = np.memmap(path, "float16", "r", shape=(len(labels), num_columns))
    calls = {
        "neighbor_votes": lambda: analysis.neighbor_votes(
            features, labels, verbose=True
        ),
        "noise_rate": lambda: analysis.noise_rate(
            labels, features=features, verbose=True
        ),
        "find_suspects": lambda: analysis.find_suspects(
            labels, features=features, verbose=True
        ),
        "find_wrong_labels": lambda: find_wrong_labels(features, labels, verbose=1),
    }
    peak, is_done = [0, anonymous()], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, is_done))
    watcher.start()
    start, of_cpu = time.perf_counter(), time.process_time()
    found = calls[name]()
    seconds, of_cpu = time.perf_counter() - start, time.process_time() - of_cpu
    is_done.set()
    watcher.join()
    size = f"{len(labels):,} x {num_columns}, {classes.max() + 1} classes"
    beyond = (peak[0] - peak[1]) / 1024
    cells = (size, name, f"{seconds:.0f}", f"{of_cpu:.0f}", f"{beyond:.1f}")
    print(f"| {' | '.join(cells)} | {described(name, found, classes, labels)} |")


def described(name, found, classes, labels):
    """Return in words what was found, to see that it is right."""
    if name == "neighbor_votes":
        return f"{(found.argmax(axis=1) == classes).mean():.3f} vote for the true class"
    if name == "noise_rate":
        return f"{found.low:.3f} to {found.high:.3f} for {WRONG}"
    suspects = found.suspects if name == "find_wrong_labels" else found
    average = suspects.precision_and_recall(classes != labels)["average_precision"]
    return f"average precision {average:.3f}"


def anonymous():
    """Return the anonymous resident set, in megabytes."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (row for row in status.splitlines() if row.startswith("RssAnon:"))
    return int(line.split()[1]) // 1024


def watch(peak, is_done):
    """Keep the largest anonymous resident set in `peak[0]`."""
    while not is_done.wait(0.02):
        peak[0] = max(peak[0], anonymous())


def main():
    """Write maps, and start a process for each function."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--columns", type=int, default=768)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--functions", nargs="+", default=FUNCTIONS, choices=FUNCTIONS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        classes, labels = make_labels(args.rows[0], args.classes)
        measure(args.functions[0], args.child, classes, labels, args.columns)
        return
    print("| rows | function | seconds | CPU seconds | GB beyond the start | found |")
    print("|---|---|---|---|---|---|", flush=True)
    for num_rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "features.f16")
            classes, _ = make_labels(num_rows, args.classes)
            write_map(path, classes, args.columns)
            for name in args.functions:
                command = [sys.executable, __file__, "--child", str(path)]
                command += ["--rows", str(num_rows), "--columns", str(args.columns)]
                command += ["--classes", str(args.classes), "--functions", name]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
