"""A data set that does not fit in memory."""

from __future__ import annotations

import dataclasses
import os
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._typing import FilePath, IntArray
from keras_noisy.datasets import _decoding, _shared
from keras_noisy.noise.noisy_labels import NoisyLabels

_OWNER = "StreamedDataset.pipeline"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StreamedDataset:
    """A data set of image files or TFDS shards that are read while training.

    `load` makes it. Labels and ids are in memory unless reading them requires reading
    the images.

    Args:
        name: Name of the data set.
        sources: The place of each split's images, by the name of the split.
        class_names: Names of the `C` classes in the order of their ids.
        order: What ids count: positions in "tfds", or in the sorted file list, "file".
        noisy_labels: For Clothing1M the `noise.NoisyLabels` of the images that have
            both labels, in the order of `clean_label_kv.txt`; otherwise None.
    """

    name: str
    sources: Mapping[str, Any]
    class_names: tuple[str, ...]
    order: str = _shared.FILE
    noisy_labels: NoisyLabels | None = None

    # No set that is streamed has superclasses.
    superclasses = None

    def __post_init__(self) -> None:
        if "train" not in self.sources:
            expected = "a dict with 'train'"
            raise ValueError(
                message("StreamedDataset", "sources", expected, list(self.sources))
            )
        sources = types.MappingProxyType(dict(self.sources))
        object.__setattr__(self, "sources", sources)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, for `pipeline`."""
        return tuple(self.sources)

    @property
    def y_train(self) -> np.ndarray | None:
        """Labels of the training split, int64 `(n,)`, or None where it is TFDS's.

        For Clothing1M they are the noisy ones: most images have no others.
        """
        return self.sources["train"].labels

    @property
    def y_test(self) -> np.ndarray | None:
        """Labels of the test split, int64 `(n,)`; None from TFDS or without one."""
        return self.sources["test"].labels if "test" in self.sources else None

    @property
    def train_ids(self) -> np.ndarray:
        """Ids of the training examples, int64 `(n,)`: `0 ... n - 1`."""
        return np.arange(self.num_examples("train"))

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def num_examples(self, split: str = "train") -> int:
        """Return the number of examples of a split."""
        owner = "StreamedDataset.num_examples"
        errors.check_choice(owner, "split", split, self.splits)
        return self.sources[split].size

    def paths(self, split: str = "train") -> np.ndarray | None:
        """Return the files of a split by id, strings, or None where it is TFDS's."""
        owner = "StreamedDataset.paths"
        errors.check_choice(owner, "split", split, self.splits)
        return self.sources[split].paths

    def pipeline(
        self,
        split: str = "train",
        *,
        labels: npt.ArrayLike | NoisyLabels | None = None,
        image_size: int | tuple[int, int] | None = None,
        shuffle: bool = False,
        seed: int = 0,
    ) -> Any:
        """Return a `tf.data.Dataset` of `(sample_id, image, label)`.

        An example has the same id in every order.

        Args:
            split: One of `splits`.
            labels: Class ids `(n,)` or `noise.NoisyLabels`, by id, in place of the
                split's own.
            image_size: `(h, w)` or one number for both: cut the middle of each image
                to this ratio and resize it (bilinear, with antialiasing). With None
                images keep their sizes, and cannot be batched.
            shuffle: Whether each epoch has another order. Files come in a random
                permutation of all; from TFDS only the shards are shuffled, so shuffle
                the result too.
            seed: Seed of the order.

        Returns:
            A data set of single examples: id int64 `()`, image uint8 `(h, w, 3)`,
            label int64 `()`. `Dataset.pipeline` shows what to map over it.

        Raises:
            ValueError: If an argument is out of range.
            ModuleNotFoundError: If TensorFlow is not installed.
        """
        errors.check_choice(_OWNER, "split", split, self.splits)
        size = None if image_size is None else _check_size(_OWNER, image_size)
        if labels is not None:
            labels = _shared.labels_for(_OWNER, labels, self.num_examples(split))
        shuffle = errors.check_bool(_OWNER, "shuffle", shuffle)
        seed = errors.check_seed(_OWNER, seed, bits=63)
        return self._stream(split, size, labels, shuffle, seed)

    def to_arrays(
        self,
        folder: FilePath,
        *,
        image_size: int | tuple[int, int],
        splits: Sequence[str] | None = None,
    ) -> dict[str, tuple[npt.NDArray[np.uint8], IntArray]]:
        """Decode the images once, into files that are read as arrays.

        You can then read them in any order, with `training.SelfEvolution` and
        everything else that takes arrays, on every backend. A killed call continues; a
        finished one only reads the files.

        Args:
            folder: Where they are kept, `n h w 3` bytes for a split.
            image_size: `(h, w)` or one number for both, as in `pipeline`.
            splits: Names of the splits to decode, by default all.

        Returns:
            For each split `(images, labels)`, memory maps in the order of the ids:
            uint8 `(n, h, w, 3)`, and int64 `(n,)`.

        Raises:
            ValueError: If an argument is out of range, the folder holds other images
                or is damaged, another process decodes into it, or a file is no image;
                the message names the file.
            ModuleNotFoundError: If TensorFlow is not installed.
            OSError: If the disk is too small, before anything is decoded.
        """
        owner = "StreamedDataset.to_arrays"
        size = _check_size(owner, image_size)
        folder = errors.check_path(owner, "folder", folder)
        splits = self.splits if splits is None else tuple(splits)
        for split in splits:
            errors.check_choice(owner, "split", split, self.splits)
        return {
            split: _decoding.decode(
                owner,
                self,
                split,
                size,
                os.path.join(folder, split),
                lambda skip, split=split: self._stream(split, size, skip=skip),
            )
            for split in splits
        }

    def _stream(self, split, size, labels=None, shuffle=False, seed=0, skip=0):
        """Return a data set of `(id, image, label)`, but for the first `skip`."""
        tf = _shared.require(_OWNER, "tensorflow", "a tf.data pipeline")
        if labels is not None:
            labels = tf.constant(labels)
        dataset = self.sources[split].stream(tf, shuffle, seed, skip)

        def finish(sample_id, image, label):
            if labels is not None:
                label = labels[sample_id]
            if size is not None:
                image = _crop_and_resize(tf, image, size)
            return sample_id, image, label

        dataset = dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE)
        return dataset.prefetch(tf.data.AUTOTUNE)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{k}={source.size}" for k, source in self.sources.items())
        return (
            f"StreamedDataset({self.name!r}, {sizes}, num_classes={self.num_classes}, "
            f"order={self.order!r})"
        )


def _check_size(owner, image_size):
    """Return `(h, w)`, or raise."""
    sides = image_size if isinstance(image_size, (tuple, list)) else (image_size,) * 2
    if len(sides) != 2:
        expected = "a positive integer, or a pair of them"
        raise ValueError(message(owner, "image_size", expected, image_size))
    return tuple(
        errors.check_count(owner, "image_size", side, high=10**5) for side in sides
    )


def _crop_and_resize(tf, image, size):
    """Return the middle of an image, of the ratio of `size`, in this size."""
    have, want = tf.shape(image), tf.constant(size)
    # The largest window of the ratio, in whole numbers: rounding cannot exceed a side.
    height = tf.minimum(have[0], have[1] * want[0] // want[1])
    width = tf.minimum(have[1], have[0] * want[1] // want[0])
    height, width = tf.maximum(height, 1), tf.maximum(width, 1)
    top, left = (have[0] - height) // 2, (have[1] - width) // 2
    image = tf.image.crop_to_bounding_box(image, top, left, height, width)
    image = tf.image.resize(image, size, antialias=True)
    return tf.cast(tf.round(image), tf.uint8)
