"""Share of a ResNet-44 training step that is spent waiting for its input.

Each round runs `fit` for an epoch of some steps on every source of data in turn, in an
order that rotates, and compares its time with that of the same round on one cached
batch, for which nothing has to be gathered or augmented. Images are random uint8 of
CIFAR's shape; the network standardises them on the device. Works on every backend:

    KERAS_BACKEND=tensorflow python benchmarks/input_pipeline.py \
        --out benchmarks/results/input_pipeline.md

On a GPU take more steps per round, for instance `--steps 200 --rounds 20`, and perhaps
`--policy mixed_bfloat16`.
"""

import argparse
import importlib.metadata
import os
import pathlib
import platform
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_noisy import models
from keras_noisy.datasets.pipeline import training_pipeline

BACKEND = keras.backend.backend()
CACHED = "one cached batch"
IN_MODEL = "one cached batch, `RandomCropFlip` in the model"


class CachedBatch(keras.utils.PyDataset):
    """The same batch at every step."""

    def __init__(self, batch, steps):
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return self.batch


class SecondEpoch(keras.callbacks.Callback):
    """Times the second epoch of a fit; the first one sets up and compiles."""

    def on_epoch_begin(self, epoch, logs=None):
        """Take the time."""
        self.start = now()

    def on_epoch_end(self, epoch, logs=None):
        """Take the time; Keras has read the loss, so all steps are done."""
        self.seconds = now() - self.start


def now():
    """Return the seconds of the clock, and those that this process has computed."""
    return np.array([time.perf_counter(), time.process_time()])


def parse_arguments():
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=44)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--steps", type=int, default=3, help="per epoch, one epoch per round"
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--policy", default="float32", help="dtype policy")
    parser.add_argument("--note", help="sentence to add to the report")
    parser.add_argument("--out", type=pathlib.Path, help="report to append to")
    return parser.parse_args()


def device():
    """Return the name of the accelerator, or None."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu) for gpu in found]
        return details[0].get("device_name", "GPU") if details else None
    if BACKEND == "jax":
        import jax

        return None if jax.default_backend() == "cpu" else jax.devices()[0].device_kind
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def make_model(arguments, augments):
    """Return a compiled ResNet for 100 classes, with augmentation in it or not."""
    shape = (32, 32, 3)
    model = models.resnet(arguments.depth, 100, normalize="cifar10")
    if augments:
        layers = [keras.Input(shape, dtype="uint8"), models.RandomCropFlip(seed=0)]
        model = keras.Sequential([*layers, model])
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # On a CPU, XLA makes convolutions of TensorFlow two to four times slower.
        jit_compile=BACKEND == "jax" or (BACKEND == "tensorflow" and bool(device())),
    )
    return model


def cached(arguments, batch):
    """Return a data set that costs nothing: one batch again and again."""
    if BACKEND != "tensorflow":
        return CachedBatch(batch, arguments.steps)
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(batch).repeat(arguments.steps)


def make_sources(arguments):
    """Return functions that train for some steps, by name of their input."""
    rng = np.random.default_rng(0)
    examples = arguments.steps * arguments.batch_size
    x = rng.integers(0, 256, (examples, 32, 32, 3), "uint8")
    y = rng.integers(0, 100, examples)

    def pipeline(**kwargs):
        return training_pipeline(x, y, batch_size=arguments.batch_size, **kwargs)

    one_batch = cached(arguments, pipeline()[0])
    plain, augmenting = make_model(arguments, False), make_model(arguments, True)
    sources = {
        CACHED: (plain, one_batch),
        # The noise floor: the same once more.
        "one cached batch (again)": (plain, one_batch),
        "`training_pipeline`, crop_flip": (plain, pipeline(augment="crop_flip")),
        IN_MODEL: (augmenting, one_batch),
    }
    batch_time = time_of_batches(pipeline(augment="crop_flip"))
    return {
        name: trainer(arguments, *pair) for name, pair in sources.items()
    }, batch_time


def trainer(arguments, model, data):
    """Return a function that trains for some steps and returns seconds per step."""

    def train():
        clock = SecondEpoch()
        model.fit(
            data,
            epochs=2,
            shuffle=False,
            verbose=0,
            callbacks=[clock],
        )
        return clock.seconds / arguments.steps

    return train


def time_of_batches(data, count=50):
    """Return the median seconds that a batch takes on the host."""
    times = []
    for index in range(count):
        start = time.perf_counter()
        data[index % len(data)]
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(arguments, sources):
    """Return the seconds per step of each round, by source."""
    names = list(sources)
    times = {name: [] for name in names}
    for train in sources.values():
        train()  # Compiles.
    for round_ in range(arguments.rounds):
        shift = round_ % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(sources[name]())
    return times


def cell(ratios):
    """Return the median of some ratios and, in brackets, their quartiles."""
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def report(arguments, times, batch_time, load):
    """Return a section of the Markdown report."""
    where = device() or f"{os.cpu_count()}-core {platform.machine()} CPU, no GPU"
    lines = [
        f"## {BACKEND}, {where}",
        "",
        "| input | ms per step | ratio to one cached batch | CPU seconds, ratio |",
        "|---|---|---|---|",
    ]
    base = np.array(times[CACHED])
    for name, values in times.items():
        cells = [cell(ratios) for ratios in (np.array(values) / base).T]
        milliseconds = 1e3 * np.median(values, axis=0)[0]
        lines.append(f"| {name} | {milliseconds:.1f} | {' | '.join(cells)} |")
    versions = f"{BACKEND} {importlib.metadata.version(BACKEND)}"
    options = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(arguments).items()
        if name not in ("note", "out")
    ]
    lines += [
        "",
        f"ResNet-{arguments.depth}, batch {arguments.batch_size}, {arguments.policy}; "
        f"{arguments.rounds} rounds of an epoch of {arguments.steps} steps; "
        "median of the rounds, quartiles in brackets. A batch of `training_pipeline` "
        f"with crop_flip takes {1e3 * batch_time:.2f} ms on the host. Load of the "
        f"machine before: {load:.1f}. Python {platform.python_version()}, {versions}, "
        f"Keras {keras.__version__}, NumPy {np.__version__}."
        + (f" {arguments.note}" if arguments.note else ""),
        "",
        f"Command: `KERAS_BACKEND={BACKEND} python benchmarks/input_pipeline.py "
        + " ".join(options)
        + "`",
        "",
    ]
    return "\n".join(lines)


HEAD = """# Waiting for input

The table compares the time of a training step on `datasets.training_pipeline` with that
of the same step on one cached batch. The difference is the cost of input. Sources take
turns; the row "again" shows the noise. The last column is the computing time of all
threads of the process; on a CPU other programs disturb it least.

"""


def main():
    """Measure, and print or append a section of the report."""
    arguments = parse_arguments()
    load = os.getloadavg()[0]
    keras.config.set_dtype_policy(arguments.policy)
    sources, batch_time = make_sources(arguments)
    text = report(arguments, measure(arguments, sources), batch_time, load)
    print(text)
    if arguments.out:
        before = arguments.out.read_text("utf-8") if arguments.out.exists() else HEAD
        arguments.out.write_text(f"{before.rstrip()}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
