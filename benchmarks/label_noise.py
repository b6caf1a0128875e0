"""What label noise costs: in a tf.data pipeline, and on a large array.

Run from the root of the repository:

    python benchmarks/label_noise.py
"""

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_noisy.noise import LabelNoise, corrupt_labels, symmetric

NUM_IMAGES = 20_000
NUM_LABELS = 10_000_000
NUM_CLASSES = 1000
KINDS = {
    "keras": "shuffle, batch, scale, Keras layers flip and translate, prefetch",
    "tf.image": "shuffle, pad + crop + flip each image, batch, scale, prefetch",
    "plain": "shuffle, batch, scale, prefetch",
}


def augment(images, labels):
    """Pad by four pixels, crop at random, mirror at random: one CIFAR image."""
    import tensorflow as tf

    images = tf.pad(images, [[4, 4], [4, 4], [0, 0]])
    images = tf.image.random_crop(images, (32, 32, 3))
    return tf.image.random_flip_left_right(images), labels


def build_pipeline(x, y, layer, batch_size, kind):
    """Build one of `KINDS`.

    With a layer the pipeline has two things more: `enumerate` before `shuffle`, and
    the layer after `batch`, in the map that scales.
    """
    import keras
    import tensorflow as tf

    layers = [
        keras.layers.RandomFlip("horizontal", seed=0),
        keras.layers.RandomTranslation(0.125, 0.125, "constant", seed=0),
    ]

    def finish(images, labels):
        images = tf.cast(images, tf.float32) / 255.0
        if kind == "keras":
            for augmentation in layers:
                images = augmentation(images)
        return images, labels

    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    if layer is None:
        dataset = dataset.shuffle(10_000, seed=0)
        if kind == "tf.image":
            dataset = dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.batch(batch_size)
        dataset = dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    else:
        dataset = dataset.enumerate().shuffle(10_000, seed=0)
        if kind == "tf.image":
            dataset = dataset.map(
                lambda i, xy: (i, augment(*xy)), num_parallel_calls=tf.data.AUTOTUNE
            )
        dataset = dataset.batch(batch_size)
        dataset = dataset.map(
            lambda i, xy: finish(xy[0], layer(i, xy[1])),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    return dataset.prefetch(tf.data.AUTOTUNE)


def time_epoch(dataset):
    """Return the seconds, on the clock and of all cores, of one pass."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in dataset:
        pass
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_pipeline(kind, batch_size, num_classes, repeats):
    """Return per pipeline its median (wall, CPU) seconds, and the median ratios."""
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (NUM_IMAGES, 32, 32, 3), dtype=np.uint8)
    y = generator.integers(0, num_classes, NUM_IMAGES)
    layer = LabelNoise(symmetric(num_classes, 0.4), seed=0)
    plain = build_pipeline(x, y, None, batch_size, kind)
    noisy = build_pipeline(x, y, layer, batch_size, kind)
    for dataset in (plain, noisy):  # Warm up.
        time_epoch(dataset)
    pairs = []
    for index in range(repeats):
        # Interleaved, and each goes first every other time.
        if index % 2:
            second, first = time_epoch(noisy), time_epoch(plain)
        else:
            first, second = time_epoch(plain), time_epoch(noisy)
        pairs.append((first, second))
    passes = np.array(pairs)  # (repeats, pipeline, clock)
    ratios = np.median(passes[:, 1] / passes[:, 0], axis=0)
    return *np.median(passes, axis=0), ratios


def measure_array(exact, repeats):
    """Return the median seconds and the additional peak memory, in MB."""
    labels = np.random.default_rng(0).integers(0, NUM_CLASSES, NUM_LABELS)
    matrix = symmetric(NUM_CLASSES, 0.4)
    corrupt_labels(labels[:1000], matrix, seed=0, exact=exact)  # Warm up.
    before = peak_megabytes()
    times = []
    for seed in range(repeats):
        start = time.perf_counter()
        result = corrupt_labels(labels, matrix, seed=seed, exact=exact)
        times.append(time.perf_counter() - start)
        if seed == 0:
            memory = peak_megabytes() - before
            start = time.perf_counter()
            _ = result.rate, result.transition_matrix, result.digest
            report = time.perf_counter() - start
    return statistics.median(times), memory, report


def peak_megabytes():
    """Return the peak resident memory of this process so far (Linux).

    `getrusage` would not do: it starts from the peak of the parent process.
    """
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(row.split()[1]) for row in file if "VmHWM" in row) / 1024


def main():
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--array", choices=["exact", "bernoulli"], help="internal")
    arguments = parser.parse_args()
    if arguments.array:
        seconds, memory, report = measure_array(arguments.array == "exact", 7)
        print(
            f"| {arguments.array} | {seconds:.2f} | {memory:.0f} | {report:.2f} |",
            flush=True,
        )
        return

    import keras
    import tensorflow as tf

    print(
        f"Machine: {os.cpu_count()}-core {platform.machine()} CPU. "
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}.\n"
    )
    print(
        f"## Pipeline of {NUM_IMAGES} uint8 images 32x32x3, one pass, median of "
        f"{arguments.repeats}, interleaved\n\n"
        "| pipeline | batch | classes | without, s | with, s | ratio | "
        "CPU seconds without | with | ratio |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    settings = itertools.product(KINDS, ((128, 10), (256, 1000)))
    for kind, (batch_size, num_classes) in settings:
        plain, noisy, ratios = measure_pipeline(
            kind, batch_size, num_classes, arguments.repeats
        )
        print(
            f"| {KINDS[kind]} | {batch_size} | {num_classes} | "
            f"{plain[0]:.3f} | {noisy[0]:.3f} | {ratios[0]:.3f} | "
            f"{plain[1]:.3f} | {noisy[1]:.3f} | {ratios[1]:.3f} |",
            flush=True,
        )
    print(
        f"\n## corrupt_labels: {NUM_LABELS} labels, {NUM_CLASSES} classes, "
        "symmetric 0.4, median of 7\n\n"
        "| mode | seconds | additional peak memory, MB | rate, matrix and digest, s |\n"
        "|---|---|---|---|",
        flush=True,
    )
    for mode in ("exact", "bernoulli"):  # Each in a process with its own peak.
        command = [sys.executable, __file__, "--array", mode]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
