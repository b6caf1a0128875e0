"""What `RobustClassifier` costs, in trainings with cross-entropy by Keras's own `fit`.

    python benchmarks/choice_cost.py --rows 4000

fits a network of one hidden layer to made data, once as anybody would do, and then by
`RobustClassifier` with its defaults and with smaller budgets, each in a process of its
own, and prints times as multiples of the first, and peak memory. On a machine that is
busy with other work the time of the processor says more than that of the clock.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

COLUMNS, CLASSES, EPOCHS = 64, 10, 40
KINDS = {
    "plain `fit`": None,
    "`RobustClassifier()`": {},
    "`RobustClassifier(budget=3)`": {"budget": 3},
    "`RobustClassifier(budget=2)`": {"budget": 2},
    "`RobustClassifier(budget=1)`": {"budget": 1},
}


def made_data(rows):
    """Return features and labels, of which 30 % are wrong."""
    import numpy as np

    generator = np.random.default_rng(0)
    y = generator.integers(0, CLASSES, rows)
    x = 3 * np.eye(CLASSES, COLUMNS)[y] + generator.normal(size=(rows, COLUMNS))
    wrong = generator.random(rows) < 0.3
    y = np.where(wrong, generator.integers(0, CLASSES, rows), y)
    return x.astype("float32"), y


def build_model():
    """Return a network that is not compiled."""
    import keras

    layers = [keras.layers.Dense(256, "relu"), keras.layers.Dense(CLASSES, "softmax")]
    return keras.Sequential([keras.Input((COLUMNS,)), *layers])


def measure(kind, rows, epochs):
    """Return seconds and megabytes of one kind of call, in this process."""
    import keras
    import numpy as np

    import keras_noisy

    x, y = made_data(rows)
    batch_size = int(np.clip(2 ** np.round(np.log2(rows / 80)), 16, 512))
    # What starts with the first program of a process is no part of either.
    warm = build_model()
    warm.compile("adam", "sparse_categorical_crossentropy")
    warm.fit(x[:64], y[:64], verbose=0)
    start, begin = time.perf_counter(), time.process_time()
    if KINDS[kind] is None:
        model = build_model()
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0)
    else:
        classifier = keras_noisy.RobustClassifier(
            build_model,
            epochs=epochs,
            batch_size=batch_size,
            verbose=0,
            **KINDS[kind],
        )
        classifier.fit(x, y)
    seconds, cpu = time.perf_counter() - start, time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "seconds": seconds,
                "memory": memory,
                "cpu": cpu,
                "backend": keras.backend.backend(),
                "keras": keras.__version__,
            }
        )
    )


def _range(values):
    return f"{values[len(values) // 2]:.1f} ({values[0]:.1f} to {values[-1]:.1f})"


def main():
    """Measure each kind of call in turn, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kind", choices=KINDS, help="measure this one, here")
    args = parser.parse_args()
    if args.kind:
        measure(args.kind, args.rows, args.epochs)
        return
    found = {kind: [] for kind in KINDS}
    for _ in range(args.repeats):
        for kind in KINDS:
            size = ["--rows", str(args.rows), "--epochs", str(args.epochs)]
            command = [sys.executable, __file__, *size, "--kind", kind]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            found[kind].append(json.loads(result.stdout.splitlines()[-1]))
    first = found["plain `fit`"]
    heads = ("call", "processor time, multiple of plain", "processor seconds")
    heads = (*heads, "clock time, multiple of plain", "peak memory, MB")
    print(f"| {' | '.join(heads)} |\n|---|---|---|---|---|")
    for kind, runs in found.items():
        # Each beside the plain one of its round: the machine may be busy in between.
        ratios = {
            key: sorted(
                run[key] / plain[key] for run, plain in zip(runs, first, strict=True)
            )
            for key in ("cpu", "seconds")
        }
        seconds = sorted(run["cpu"] for run in runs)[len(runs) // 2]
        memory = max(run["memory"] for run in runs)
        print(
            f"| {kind} | {_range(ratios['cpu'])} | {seconds:.1f} "
            f"| {_range(ratios['seconds'])} | {memory:.0f} |"
        )
    print(
        f"\n{args.rows} rows, {args.epochs} epochs, {args.repeats} repeats. "
        f"{os.cpu_count()}-core {platform.machine()} CPU, Keras {first[0]['keras']} "
        f"({first[0]['backend']})."
    )


if __name__ == "__main__":
    main()
