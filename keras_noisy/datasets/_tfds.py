"""Reading TensorFlow Datasets: in memory, and as a stream with ids."""

import pathlib
import re

import numpy as np

from keras_noisy._checks.errors import Described, message
from keras_noisy.datasets import _shared
from keras_noisy.datasets.streamed_dataset import StreamedDataset

_BATCH = 1024
_CIFAR_ID = re.compile(r"train_(\d+)")


def is_builder(source):
    """Whether `source` is a builder of TensorFlow Datasets."""
    return hasattr(source, "as_dataset") and hasattr(source, "info")


def builder_for(owner, names, source):
    """Return the builder that `source` stands for.

    Args:
        owner: Name of the public function that was called.
        names: Names of the data set in TFDS, the preferred one first.
        source: A builder; "tfds", which prepares the last of `names` where TFDS keeps
            its data, downloading it; a `data_dir` of TFDS; or the folder of one
            prepared data set, with its `dataset_info.json`.

    Raises:
        ValueError: If there is nothing prepared in the folder, or it has no images
            and labels.
    """
    # First of all: whoever has another folder needs no TFDS.
    is_folder = not is_builder(source) and source != "tfds"
    prepared = _prepared(owner, names, source) if is_folder else None
    tfds = _shared.require(owner, "tensorflow_datasets", "this source")
    _shared.require(owner, "tensorflow", "this source")
    if is_builder(source):
        builder = source
    elif source == "tfds":
        builder = tfds.builder(names[-1])
        builder.download_and_prepare()
    else:
        builder = tfds.builder_from_directory(prepared)
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        expected = "a data set with the features 'image' and 'label'"
        received = Described(f"{builder.name} with {', '.join(sorted(features))}")
        raise ValueError(message(owner, "source", expected, received))
    return builder


def _prepared(owner, names, source):
    """Return the folder of a prepared data set in a folder, or raise."""
    folder = pathlib.Path(source)
    prepared = [folder] if is_prepared(folder) else []
    for name in names:
        prepared = prepared or prepared_versions(folder / name)
    if not prepared:
        expected = f"a folder with {' or '.join(names)} as TFDS prepares it"
        mend = f"Run tfds.builder({names[-1]!r}, data_dir=...).download_and_prepare()."
        raise ValueError(message(owner, "source", expected, str(folder), mend))
    return prepared[-1]


def is_prepared(folder):
    """Whether this is the folder of one version of a prepared data set."""
    return (folder / "dataset_info.json").is_file()


def prepared_versions(folder):
    """Return the prepared versions below a data set's folder, the newest last."""
    patterns = ("*/dataset_info.json", "*/*/dataset_info.json")
    found = [path.parent for pattern in patterns for path in folder.glob(pattern)]

    def version(path):
        numbers = [int(part) for part in re.findall(r"\d+", path.name)]
        return numbers, path.as_posix()

    return sorted(found, key=version)


def load_arrays(builder):
    """Return images, labels, and what else the splits "train" and "test" hold.

    Examples that have CIFAR's ids ("train_00042") are sorted by them: they count the
    positions in the files that CIFAR's authors published, whose order is the one of
    `keras.datasets` and torchvision.

    Returns:
        `(arrays, columns, order)`: `x_train` and so on by name; the other features of
        the training split by name; the order that the examples are in.
    """
    train, test = (_read(builder, split) for split in ("train", "test"))
    order = _shared.TFDS
    ranks = _ranks(train.get("id"))
    if ranks is not None:
        order = _shared.KERAS
        train = {key: column[np.argsort(ranks)] for key, column in train.items()}
    arrays = {
        f"{short}_{split}": columns[feature]
        for split, columns in (("train", train), ("test", test))
        for short, feature in (("x", "image"), ("y", "label"))
    }
    return arrays, train, order


def _read(builder, split):
    """Return the features of a split as arrays, in TFDS's order."""
    dataset = builder.as_dataset(split=split, shuffle_files=False)
    batches = list(dataset.batch(_BATCH).as_numpy_iterator())
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


def _ranks(ids):
    """Return the numbers in CIFAR's ids, or None unless they count the examples."""
    if ids is None:
        return None
    matches = [_CIFAR_ID.fullmatch(i.decode(errors="replace")) for i in ids]
    if not all(matches):
        return None
    ranks = np.array([int(match[1]) for match in matches])
    return ranks if np.array_equal(np.sort(ranks), np.arange(len(ranks))) else None


def class_names(builder):
    """Return the names of the classes, in the order of their ids."""
    return tuple(builder.info.features["label"].names)


def fits_in_memory(builder):
    """Whether images have one size, as those of the sets do that are small."""
    return None not in builder.info.features["image"].shape


def load_stream(name, builder):
    """Return a data set that is read while training."""
    splits = builder.info.splits
    test = next((s for s in ("test", "validation") if s in splits), None)
    # ImageNet's test set has no labels; papers test on its validation set.
    test = "validation" if name == "imagenet2012" else test
    sources = {"train": TFDSSplit(builder, "train")}
    if test is not None:
        sources["test"] = TFDSSplit(builder, test)
    return StreamedDataset(name, sources, class_names(builder), _shared.TFDS)


class TFDSSplit:
    """A split that is streamed from the files of TFDS."""

    labels = None
    paths = None

    def __init__(self, builder, split):
        self._builder, self._split = builder, split
        lengths = builder.info.splits[split].shard_lengths
        self._starts = np.cumsum([0, *lengths])
        self.size = int(self._starts[-1])

    def stream(self, tf, shuffle, seed, skip=0):
        """Return a data set of `(id, image, label)`, but for the first `skip`.

        TFDS reads shards side by side, and a position depends on how. An id is
        counted from the shard and the position in it, which do not.
        """
        import tensorflow_datasets as tfds

        config = tfds.ReadConfig(add_tfds_id=True, shuffle_seed=seed)
        dataset = self._builder.as_dataset(
            split=self._split, shuffle_files=shuffle, read_config=config
        )
        dataset = dataset.skip(skip)
        starts = tf.constant(self._starts)

        def number(example):
            # Such as "imagenet2012-train.tfrecord-00007-of-01024__42".
            file, position = tf.unstack(
                tf.strings.split(example["tfds_id"], "__")[-2:], num=2
            )
            shard = tf.strings.regex_replace(file, r"^.*-(\d+)-of-\d+$", r"\1")
            start = starts[tf.strings.to_number(shard, tf.int64)]
            sample_id = start + tf.strings.to_number(position, tf.int64)
            return sample_id, example["image"], tf.cast(example["label"], tf.int64)

        return dataset.map(number, num_parallel_calls=tf.data.AUTOTUNE)
