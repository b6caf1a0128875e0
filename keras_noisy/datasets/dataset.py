"""A data set in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_labels, check_sample_ids
from keras_noisy.datasets import _shared
from keras_noisy.noise.noisy_labels import NoisyLabels


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels in memory, with the ids that label files are joined by.

    `load` makes it. Arrays are not copied, except labels, which become int64.

    Args:
        name: Name of the data set.
        x_train: Training images, `(n, h, w, c)` uint8; other inputs have the examples
            along the first axis too.
        y_train: Their labels, class ids `(n,)`: the clean ones where the set has both.
        x_test: Test images.
        y_test: Their labels.
        class_names: Names of the `C` classes in the order of their ids, or None.
        superclasses: The superclass of each class, `(C,)`, or None.
        superclass_names: Names of the superclasses, or None.
        order: What `train_ids` count: positions in "keras.datasets" (torchvision has
            the same order), in "tfds", in the "scikit-learn" split of `load`, or in
            the "file".
        train_ids: Id of each training example, `(n,)`, unique; `0 ... n - 1` if None.
        noisy_labels: The `noise.NoisyLabels` that come with the set, such as those of
            CIFAR-10N, or None.

    Raises:
        TypeError: If labels or ids are not integers.
        ValueError: If lengths differ, labels are out of range, or ids repeat.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...] | None = None
    superclasses: np.ndarray | None = None
    superclass_names: tuple[str, ...] | None = None
    order: str = _shared.FILE
    # None in the constructor only.
    train_ids: np.ndarray = None  # type: ignore[assignment]
    noisy_labels: NoisyLabels | None = None

    def __post_init__(self) -> None:
        num_classes = len(self.class_names) if self.class_names is not None else None
        for split in ("train", "test"):
            name = f"y_{split}"
            labels = check_labels(
                "Dataset", name, getattr(self, name), num_classes=num_classes
            )
            object.__setattr__(self, name, labels.astype(np.int64))
            self._check_length(name, labels, f"x_{split}", getattr(self, f"x_{split}"))
        errors.check_choice("Dataset", "order", self.order, _shared.ORDERS)
        self._check_ids()
        if self.superclasses is not None:
            groups = check_labels("Dataset", "superclasses", self.superclasses)
            object.__setattr__(self, "superclasses", groups)
        self._check_noisy_labels()

    def _check_length(self, argument, array, other_name, other):
        if not getattr(other, "shape", ()):
            expected = "an array with an entry for each example"
            raise TypeError(message("Dataset", other_name, expected, other))
        if len(array) != len(other):
            expected = f"of length {len(other)}, that of `{other_name}`"
            received = errors.describe_array(array)
            raise ValueError(message("Dataset", argument, expected, received))

    def _check_ids(self):
        ids = self.train_ids
        if ids is None:
            ids = np.arange(len(self.y_train))
        size = len(self.y_train)
        ids = check_sample_ids("Dataset", "train_ids", errors.as_array(ids), (size,))
        ids = ids.astype(np.int64)
        if len(np.unique(ids)) != len(ids):
            expected = "unique"
            raise ValueError(
                message("Dataset", "train_ids", expected, errors.describe_array(ids))
            )
        object.__setattr__(self, "train_ids", ids)

    def _check_noisy_labels(self):
        if self.noisy_labels is None:
            return
        expected = "a noise.NoisyLabels or None"
        if not isinstance(self.noisy_labels, NoisyLabels):
            received = type(self.noisy_labels)
            raise TypeError(message("Dataset", "noisy_labels", expected, received))
        if not np.array_equal(self.noisy_labels.clean, self.y_train):
            expected = "labels whose `clean` is `y_train`"
            raise ValueError(
                message("Dataset", "noisy_labels", expected, self.noisy_labels)
            )

    @property
    def num_classes(self) -> int:
        """Number of classes: of names, or one more than the greatest label."""
        if self.class_names is not None:
            return len(self.class_names)
        greatest = max(int(y.max(initial=0)) for y in (self.y_train, self.y_test))
        return max(2, greatest + 1)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, for `pipeline`."""
        return ("train", "test")

    def subset(self, rows: Any) -> Dataset:
        """Return the data set with some of its training examples.

        They keep their ids, so label files and `noise.LabelNoise` give them the same
        labels as in the whole set.

        Args:
            rows: Positions or a mask, as NumPy indexes the first axis.
        """
        ids = self.train_ids[rows]
        noisy = self.noisy_labels
        if noisy is not None:
            noisy = NoisyLabels(noisy.noisy[rows], noisy.clean[rows], noisy.num_classes)
        return dataclasses.replace(
            self,
            x_train=self.x_train[rows],
            y_train=self.y_train[rows],
            train_ids=ids,
            noisy_labels=noisy,
        )

    def pipeline(
        self, split: str = "train", *, labels: npt.ArrayLike | NoisyLabels | None = None
    ) -> Any:
        """Return a `tf.data.Dataset` of `(sample_id, image, label)`, in order.

        The ids stay with the examples through shuffling and batching, so label noise
        and SEAL are right after both:

        ```python
        dataset = data.pipeline().shuffle(50_000).batch(128)
        noisy = dataset.map(lambda i, x, y: (x, layer(i, y)))  # A LabelNoise.
        seal = dataset.map(lambda i, x, y: ({"x": x, "sample_id": i}, y))
        ```

        Args:
            split: "train" or "test".
            labels: Class ids `(n,)` or `noise.NoisyLabels`, row by row in place of
                `y_train` or `y_test`.

        Returns:
            A data set of single examples: id int64 `()` (`train_ids`, for the test
            split positions), image as in the arrays, label int64 `()`.

        Raises:
            ValueError: If there is no such split, or `labels` has another length.
            ModuleNotFoundError: If TensorFlow is not installed.
        """
        owner = "Dataset.pipeline"
        errors.check_choice(owner, "split", split, self.splits)
        tf = _shared.require(owner, "tensorflow", "a tf.data pipeline")
        x, y, ids = self.x_train, self.y_train, self.train_ids
        if split == "test":
            x, y, ids = self.x_test, self.y_test, np.arange(len(self.y_test))
        if labels is not None:
            y = _shared.labels_for(owner, labels, len(y))
        return tf.data.Dataset.from_tensor_slices((ids, x, y))

    def __repr__(self) -> str:
        parts = [
            f"{self.name!r}",
            f"train={self.x_train.shape}",
            f"test={self.x_test.shape}",
            f"num_classes={self.num_classes}",
            f"order={self.order!r}",
        ]
        if self.noisy_labels is not None:
            parts.append(f"noise_rate={self.noisy_labels.rate:.4g}")
        return f"Dataset({', '.join(parts)})"


def check_images(owner, name, data, shape):
    """Return the arrays of a known data set with a channel axis, or raise.

    Args:
        owner: Name of the public function that was called.
        name: Name of the data set.
        data: `x_train, y_train, x_test, y_test`, by name.
        shape: `(h, w, c)`.
    """
    checked = dict(data)
    for key in ("x_train", "x_test"):
        images = np.asarray(data[key])
        if images.ndim == 3 and shape[-1] == 1:
            images = images[..., None]
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            h, w, c = shape
            expected = f"{name}, with {key} of shape (n, {h}, {w}, {c}) and dtype uint8"
            received = errors.Described(
                f"{key} of shape {images.shape}, {images.dtype}"
            )
            mend = "Load changed or other images under the name 'custom'."
            raise ValueError(message(owner, "source", expected, received, mend))
        checked[key] = images
    return checked
