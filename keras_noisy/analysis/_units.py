"""Rows that tell the same: exact duplicates, and what a caller says are one group."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from keras_noisy._checks.distributions import as_numbers, pieces
from keras_noisy._checks.errors import (
    Described,
    as_array,
    describe_array,
    message,
)
from keras_noisy._checks.labels import UNVERIFIED, check_labels
from keras_noisy._checks.matrices import MOST_CLASSES

# Below this share of distinct rows equal ones are examples that a few categories
# describe, and not copies of one example.
_LEAST_DISTINCT = 0.5


@dataclasses.dataclass(frozen=True)
class Units:
    """Distinct rows of features.

    Attributes:
        first: Row of each unit that stands for its duplicates, `(units,)`.
        of_row: Unit of each row, `(n,)`.
        group: Group of each unit, `(units,)`: units of one group say nothing about
            each other.
        num_distinct: Number of distinct rows.
    """

    first: np.ndarray
    of_row: np.ndarray
    group: np.ndarray
    num_distinct: int

    @property
    def has_few_values(self) -> bool:
        """Whether most rows have an equal one, which is another example."""
        return self.num_distinct < _LEAST_DISTINCT * len(self.of_row)

    def __len__(self) -> int:
        return len(self.first)

    def mean_labels(self, labels, num_classes):
        """Return labels of each unit as shares `(units, num_classes)`, and a mask.

        The mask `(units,)` says which units have a label; the others' shares are zero.
        """
        known = labels != UNVERIFIED
        counts = np.zeros((len(self), num_classes), "float32")
        np.add.at(counts, (self.of_row[known], labels[known].astype(int)), 1)
        totals = counts.sum(axis=1, keepdims=True)
        return counts / np.maximum(totals, 1), totals[:, 0] > 0


def find_units(features, groups=None):
    """Return the distinct rows of finite features `(n, d)`, as `Units`.

    Features that take few values, so that less than half of the rows are distinct, say
    nothing of copies: each row is a unit.

    Args:
        features: Array, or a memory map, which is read in parts.
        groups: Group ids `(n,)`, integers; by default each unit is a group of its own.
    """
    digests = np.empty(len(features), "uint64")
    for rows in pieces(features):
        # Zero has two signs, and equal numbers of two dtypes other bytes.
        block = np.asarray(features[rows], "float32") + np.float32(0)
        found = b"".join(
            hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in block
        )
        digests[rows] = np.frombuffer(found, "uint64")
    _, first, of_row = np.unique(digests, return_index=True, return_inverse=True)
    units = Units(first, of_row, np.arange(len(first)), len(first))
    if units.has_few_values:
        each = np.arange(len(features))
        return Units(each, each, each if groups is None else groups, len(first))
    if groups is None:
        return units
    return dataclasses.replace(units, group=_joined(of_row, groups))


def _joined(of_row, groups):
    """Return a group of each unit: groups that share a duplicate become one."""
    component = np.unique(groups, return_inverse=True)[1]
    while True:
        of_unit = np.full(of_row.max(initial=-1) + 1, len(component))
        np.minimum.at(of_unit, of_row, component)
        of_group = np.full(component.max(initial=-1) + 1, len(component))
        np.minimum.at(of_group, component, of_unit[of_row])
        joined = of_group[component]
        if (joined == component).all():
            return of_unit
        component = joined


def check_features(owner, argument, features, size=None):
    """Return features as an array `(n, d)` of finite numbers, or raise."""
    array = as_numbers(owner, argument, features)
    if array.ndim != 2 or not array.shape[1] or size not in (None, len(array)):
        expected = f"an array ({'n' if size is None else size}, d), a row per example"
        mend = "Flatten images, or pass `analysis.features(model, x)`."
        received = describe_array(array)
        raise ValueError(message(owner, argument, expected, received, mend))
    for rows in pieces(array):
        # Squares of larger ones overflow.
        is_finite = (np.abs(np.asarray(array[rows], "float32")) < 1e15).all(axis=1)
        if not is_finite.all():
            row = rows.start + int(np.argmin(is_finite))
            expected = "finite numbers below 1e15"
            mend = "Fill missing values, or leave such examples out."
            received = Described(f"NaN, infinity or more in row {row}")
            raise ValueError(message(owner, argument, expected, received, mend))
    return array


def check_groups(owner, groups, size):
    """Return groups as integers `(size,)`, or None, or raise."""
    if groups is None:
        return None
    array = as_array(groups)
    if array.shape != (size,) or array.dtype.kind not in "iuOUSTb":
        expected = f"an id for each example, integers or strings of shape ({size},)"
        raise ValueError(message(owner, "groups", expected, describe_array(array)))
    return np.unique(array.astype(str), return_inverse=True)[1]


def check_labels_and_classes(owner, labels, num_classes, size=None):
    """Return labels as int64 `(n,)`, -1 for none, and the number of classes."""
    labels = check_labels(
        owner, "labels", labels, size=size, num_classes=num_classes, unverified=True
    )
    labels = labels.astype("int64")
    found = int(labels.max(initial=-1)) + 1
    if found > MOST_CLASSES:
        expected = f"class ids below {MOST_CLASSES}"
        mend = "`classes, labels = np.unique(labels, return_inverse=True)` makes some."
        raise ValueError(message(owner, "labels", expected, found - 1, mend))
    return labels, max(2, found if num_classes is None else num_classes)
