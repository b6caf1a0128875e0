"""Is the noise of Clothing1M class-conditional?

    python -m benchmarks.class_conditional_clothing1m FOLDER --out runs/clothing1m

FOLDER is what the authors of Clothing1M give out, or any folder with its lists. Half a
million noisy images are held out, a network trains on the noisy labels of the others,
and its error on the held-out *noisy* labels is compared with the least that
class-conditional noise allows (Section 2 of the SEAL paper). The transition matrix is
estimated from the images that have both labels, of which none is held out. Images are
decoded once, and a command that was killed continues with the next epoch.
"""

import argparse
import json
import os
import pathlib
import types

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from benchmarks import _devices, _networks
from keras_noisy import analysis, callbacks, datasets
from keras_noisy._data import arrays, files
from keras_noisy._data.predictions import in_pieces
from keras_noisy.training import _callbacks

PREDICT_BATCH_SIZE = 500
DONE = "held_out_error.json"


def parse_arguments(arguments=None):
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.class_conditional_clothing1m",
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add("folder", type=pathlib.Path, help="Clothing1M")
    add("--out", type=pathlib.Path, default="runs/clothing1m", help="folder")
    add("--held-out", type=int, default=500_000, help="noisy images (500,000)")
    add("--image-size", type=int, default=256, help="side of decoded images (256)")
    add("--cut", type=int, default=224, help="side of what is cut out of them (224)")
    add("--network", default="resnet50", help="a network of keras_noisy.models")
    add("--weights", default="imagenet", help='of the start; "none", or a file')
    add("--epochs", type=int, default=10, help="10, as in Appendix A")
    add("--batch", type=int, default=256)
    add("--learning-rate", type=float, default=1e-3, help="a tenth of it from half way")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=0, help="threads of TensorFlow's operations")
    return parser.parse_args(arguments)


class Rows:
    """Some rows of an array, which may be a memory map, as a structure of batches.

    Args:
        array: The whole array.
        rows: Which rows, int64 `(n,)`.
    """

    def __init__(self, array, rows):
        self.array, self.rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    def __getitem__(self, index):
        return self.array[self.rows[index]]

    def __len__(self):
        return len(self.rows)


def choose(dataset, count, seed):
    """Return the rows of the noisy images to hold out, and the others.

    An image that has a clean label too stays: the matrix comes from those.

    Raises:
        ValueError: If there are not enough others.
    """
    paths = dataset.paths("train")
    verified = {
        path
        for split in ("clean_train", "validation", "test")
        for path in dataset.paths(split)
    }
    is_verified = np.array([path in verified for path in paths])
    free = np.flatnonzero(~is_verified)
    if not 0 < count <= len(free) or count == len(paths):
        raise ValueError(
            f"--held-out must leave images to train on, of {len(paths)} noisy ones of "
            f"which {len(free)} have no clean label. Received: {count}."
        )
    chosen = np.random.Generator(np.random.PCG64(seed)).permutation(free)[:count]
    rest = np.ones(len(paths), bool)
    rest[chosen] = False
    return np.sort(chosen), np.flatnonzero(rest)


def build(args, num_classes, num_steps):
    """Return a compiled network that starts from the weights that are asked for."""
    network = {"name": args.network, "normalize": "scale"}
    if args.weights != "none":
        network |= {"weights": args.weights, "normalize": "caffe"}
    cut = {"cut": args.cut, "train": "random"}
    recipe = types.SimpleNamespace(
        network=network, training=types.SimpleNamespace(augmentation=cut)
    )
    shape = (args.image_size, args.image_size, 3)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [num_steps * (args.epochs // 2) - 1],
        [args.learning_rate, args.learning_rate / 10],
    )
    return _networks.compile_model(
        _networks.build(recipe, shape, num_classes),
        keras.optimizers.SGD(schedule, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [num_steps],
        num_devices=1,
    )


def held_out_error(args, dataset, held_out, rest):
    """Train on the noisy labels of `rest`; return the error on those held out."""
    folder = args.out / "images"
    splits = dataset.to_arrays(folder, image_size=args.image_size, splits=["train"])
    images, labels = splits["train"]
    keras.utils.set_random_seed(args.seed)
    batches = arrays.Batches(
        Rows(images, rest), labels[rest], batch_size=args.batch, seed=[args.seed]
    )
    model = build(args, dataset.num_classes, len(batches))
    backup = callbacks.AtomicBackupAndRestore(args.out / "backup")
    model.fit(
        batches,
        epochs=args.epochs,
        shuffle=False,
        callbacks=[_callbacks.Order(batches, [args.seed]), backup],
        verbose=2,
    )
    right = 0
    for start in range(0, len(held_out), PREDICT_BATCH_SIZE):
        rows = held_out[start : start + PREDICT_BATCH_SIZE]
        parts = in_pieces("run", model, images[rows], batch_size=PREDICT_BATCH_SIZE)
        logits = np.concatenate(list(parts))
        right += int(np.sum(logits.argmax(axis=1) == labels[rows]))
    return 1 - right / len(held_out)


def tests(dataset, error, num_held_out):
    """Yield what the shares of the classes are from, and the test with them."""
    pairs, num_classes = dataset.noisy_labels, dataset.num_classes
    counts = np.bincount(pairs.clean, minlength=num_classes)
    confusion = np.zeros((num_classes, num_classes))
    np.add.at(confusion, (pairs.clean, pairs.noisy), 1)
    # A class without a pair has no weight.
    matrix = np.where(counts[:, None] > 0, confusion, np.eye(num_classes))
    matrix /= matrix.sum(axis=1, keepdims=True)
    arguments = {"error": error, "num_validation": num_held_out}
    yield (
        "the pairs, as a random sample",
        analysis.class_conditional_test(
            matrix, counts / counts.sum(), num_verified=len(pairs.clean), **arguments
        ),
    )
    labels = dataset.sources["validation"].labels
    of_validation = np.bincount(labels, minlength=num_classes)
    if np.all(counts[of_validation > 0]):
        weights = of_validation / of_validation.sum()
        yield (
            "the validation split, as in the paper",
            analysis.class_conditional_test(matrix, weights, **arguments),
        )


def main(arguments=None):
    """Decode, train, test and print a Markdown table."""
    args = parse_arguments(arguments)
    try:
        dataset = datasets.load("clothing1m", source=args.folder)
        held_out, rest = choose(dataset, args.held_out, args.seed)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    _devices.Devices(1, args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    pairs = len(dataset.noisy_labels.clean)
    settings = {
        key: str(value) for key, value in sorted(vars(args).items()) if key != "threads"
    }
    path = args.out / DONE
    found = json.loads(path.read_text()) if path.is_file() else {}
    if found.get("settings") != settings:
        error = held_out_error(args, dataset, held_out, rest)
        found = {"settings": settings, "error": error}
        files.write_json(path, found)
    print(
        f"{len(held_out)} noisy images held out, {len(rest)} trained on, {pairs} pairs "
        f"of labels. Error on the held-out noisy labels: {found['error']:.4f}.\n\n"
        "| shares of the classes | least error under class-conditional noise | epsilon "
        "| log10 of the bound | rejected |\n|---|---|---|---|---|"
    )
    for name, test in tests(dataset, found["error"], len(held_out)):
        print(
            f"| {name} | {test.least_error:.4f} | {test.epsilon:.4f} | "
            f"{test.log10_bound:.4g} | {test.rejects()} |"
        )
    print(
        "\nThe second row takes the matrix for exact, as the paper does. Paper: error "
        "0.1605, epsilon 0.2212, log10 of the bound below -21250."
    )
    print(f"\n{args.epochs} epochs, {_devices.describe_machine()}")


if __name__ == "__main__":
    main()
