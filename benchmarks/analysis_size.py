"""Peak memory of the analysis of a million predictions on a thousand classes.

    python benchmarks/analysis_size.py

Writes a memory map of random soft labels (2 GB in half precision), and prints the peak
resident set and the seconds of each function, each in a process of its own. Pages of
the file that the system keeps in memory are not counted: they can be dropped.
"""

import argparse
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

FUNCTIONS = [
    "find_suspects",
    "correction_candidates",
    "label_distance",
    "wrong_label_fit",
    "normalized_entropy",
    "calibration",
    "gradient_density",
]


def write_table(path, shape):
    """Write soft labels, a part at a time."""
    table = np.memmap(path, "float16", "w+", shape=shape)
    generator = np.random.default_rng(0)
    for start in range(0, shape[0], 10_000):
        p = generator.exponential(size=(min(10_000, shape[0] - start), shape[1])) ** 4
        table[start : start + len(p)] = p / p.sum(axis=1, keepdims=True)
    table.flush()


def measure(name, path, shape):
    """Call one function and print its seconds and peak memory."""
    from keras_noisy import analysis, losses

    table = np.memmap(path, "float16", "r", shape=shape)
    generator = np.random.default_rng(1)
    noisy, clean = generator.integers(0, shape[1], (2, shape[0]))
    calls = {
        "find_suspects": lambda f: f(noisy, table),
        "correction_candidates": lambda f: f(table, noisy),
        "label_distance": lambda f: f(table, noisy, clean),
        "wrong_label_fit": lambda f: f(table, noisy, clean),
        "normalized_entropy": lambda f: f(table),
        "calibration": lambda f: f(table, clean),
        "gradient_density": lambda f: f(losses.EqualLoss(epsilon=0.4), noisy, table),
    }
    peak, is_done = [0], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, is_done))
    watcher.start()
    start = time.perf_counter()
    calls[name](getattr(analysis, name))
    seconds = time.perf_counter() - start
    is_done.set()
    watcher.join()
    print(f"| {name} | {seconds:.0f} | {peak[0]} |")


def watch(peak, is_done):
    """Keep the largest anonymous resident set in `peak[0]`, in megabytes."""
    while not is_done.wait(0.02):
        status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
        (line,) = (row for row in status.splitlines() if row.startswith("RssAnon:"))
        peak[0] = max(peak[0], int(line.split()[1]) // 1024)


def main():
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=2, default=[1_000_000, 1000])
    parser.add_argument("--folder", help="where the 2 GB file goes")
    parser.add_argument("--call", nargs=2, help="internal")
    args = parser.parse_args()
    if args.call:
        measure(*args.call, tuple(args.shape))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = os.path.join(folder, "soft_labels")
        write_table(path, tuple(args.shape))
        print(f"# Analysis of {args.shape[0]} x {args.shape[1]} predictions\n")
        print("| function | seconds | peak memory, MB |\n|---|---|---|", flush=True)
        shape = [str(size) for size in args.shape]
        for name in FUNCTIONS:
            command = [
                sys.executable,
                __file__,
                "--shape",
                *shape,
                "--call",
                name,
                path,
            ]
            subprocess.run(command, check=True)
    print(
        f"\n{os.cpu_count()}-core {platform.machine()} CPU, Python "
        f"{platform.python_version()}, NumPy {np.__version__}. Command: "
        "`python benchmarks/analysis_size.py`"
    )


if __name__ == "__main__":
    main()
