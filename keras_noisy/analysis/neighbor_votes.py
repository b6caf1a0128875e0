"""What the labels of an example's nearest neighbours say."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import pieces
from keras_noisy._checks.errors import message
from keras_noisy._checks.numbers import optional
from keras_noisy._typing import ArrayLike, FloatArray, NeighborMetric
from keras_noisy.analysis import _approximate_neighbors, _exact_neighbors, _units

# Numbers of neighbours that are tried, and votes shared as all labels are that each of
# them is drawn to.
CANDIDATES = (5, 10, 20, 50, 100, 200)
_PSEUDO_VOTES = 4
APPROXIMATE_CANDIDATES = (5, 10, 20, 50)
METRICS = ("cosine", "euclidean")
# Of more voters exact neighbours take longer than approximate ones by far: the time
# grows with the square of their number, to hours without an accelerator.
_MOST_EXACT = 20_000
# On so many examples numbers of neighbours are compared.
_MOST_COMPARED = 100_000


def neighbor_votes(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_neighbors: int | None = None,
    metric: NeighborMetric = "cosine",
    num_classes: int | None = None,
    groups: ArrayLike | None = None,
    approximate: bool | None = None,
    verbose: bool = False,
) -> FloatArray:
    """Return the shares of labels among the nearest neighbours of each example.

    An example never votes for itself, and neither do examples of its group. Exact
    duplicates are one group, and cast one vote together, divided among their labels:
    copies of a picture that were made after it was labelled would vouch for each other.
    Where less than half of the rows are distinct, as in a table of a few categories,
    equal rows are different examples, and vote.

    Args:
        features: `(n, d)`, for instance `analysis.features(model, x)`; a memory map is
            read in parts.
        labels: Given labels, class ids `(n,)`; -1 where there is none. Such examples
            receive votes and cast none.
        num_neighbors: How many neighbours vote. By default the largest of 5, 10, 20,
            50, 100 and 200 whose votes, with four more that are shared as all labels
            are, make the given labels as likely as those of the best number do, up to
            a standard error.
        metric: `"cosine"`, of the angle between rows, or `"euclidean"`, where columns
            are comparable: standardise them first.
        num_classes: Number of classes; by default the largest label plus one.
        groups: Ids `(n,)`, integers or strings: frames of one video, pictures of one
            patient. Groups that share a duplicate are one.
        approximate: Whether neighbours may be missed to save time, with usearch (the
            extra `neighbors`); at most 50 vote by default. None: above 20,000 voters,
            if it is installed. All others are found exactly, on the device that Keras
            has.
        verbose: Whether to show progress.

    Returns:
        float32 `(n, num_classes)`; rows sum to one.

    Raises:
        ImportError: If usearch is needed and missing.
        TypeError: If labels are no integers, or features no numbers.
        ValueError: If shapes or lengths do not fit, features are not finite, or there
            are too few distinct labelled examples outside of a group for its votes.

    Example:
        >>> from keras_noisy import analysis
        >>> features = [[0.0], [0.1], [0.3], [5.0], [5.1], [5.3]]
        >>> labels = [0, 0, 1, 1, 1, -1]
        >>> analysis.neighbor_votes(
        ...     features, labels, num_neighbors=2, metric="euclidean"
        ... )
        array([[0.5, 0.5],
               [0.5, 0.5],
               [1. , 0. ],
               [0. , 1. ],
               [0. , 1. ],
               [0. , 1. ]], dtype=float32)
    """
    owner = "neighbor_votes"
    features = _units.check_features(owner, "features", features)
    size = len(features)
    labels, num_classes = _units.check_labels_and_classes(
        owner, labels, num_classes, size
    )
    num_neighbors = optional(errors.check_count)(owner, "num_neighbors", num_neighbors)
    errors.check_choice(owner, "metric", metric, METRICS)
    if approximate is not None:
        errors.check_bool(owner, "approximate", approximate)
    errors.check_bool(owner, "verbose", verbose)
    groups = _units.check_groups(owner, groups, size)
    units = _units.find_units(features, groups)
    neighbors = find_neighbors(
        owner,
        features,
        labels,
        num_classes,
        units,
        num_neighbors=num_neighbors,
        metric=metric,
        approximate=approximate,
        verbose=verbose,
    )
    return neighbors.votes()


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """Nearest neighbours of each unit that have a label, and what they vote.

    Attributes:
        units: `Units` of the features.
        index: Units, nearest first, `(units, most)`.
        count: How many of them vote.
        shares: Labels of each unit as shares `(units, num_classes)`.
    """

    units: _units.Units
    index: np.ndarray
    count: int
    shares: np.ndarray

    def of_labels(self, labels):
        """Return the same neighbours with other labels of the same examples."""
        shares, _ = self.units.mean_labels(labels, self.shares.shape[1])
        return dataclasses.replace(self, shares=shares)

    def votes(self):
        """Return the mean vote of the neighbours of each row, float32."""
        return self._mean(lambda units, column: np.ones(len(units), bool))

    def votes_of_other_folds(self, fold_of):
        """Return the mean vote of as many neighbours that are not in the row's fold.

        Where fewer of them are known they are the mean, and without any, all labels.

        Args:
            fold_of: Fold of each row, the same for all of a group.
        """
        fold = fold_of[self.units.first]
        return self._mean(lambda units, column: fold[column] != fold[units])

    def _mean(self, may_vote):
        """Return the mean of the first `count` that may vote, a part at a time."""
        found = np.empty((len(self.units.of_row), self.shares.shape[1]), "float32")
        for rows in pieces(found):
            units = self.units.of_row[rows]
            total, counts = np.zeros_like(found[rows]), np.zeros(len(units), int)
            for column in self.index[units].T:
                votes = (counts < self.count) & may_vote(units, column)
                total[votes] += self.shares[column[votes]]
                counts += votes
                if counts.min() == self.count:
                    break
            total[counts == 0] = self.shares.mean(axis=0)
            found[rows] = total / np.maximum(counts, 1)[:, None]
        return found


def find_neighbors(
    owner,
    features,
    labels,
    num_classes,
    units,
    *,
    num_neighbors=None,
    metric="cosine",
    approximate=None,
    verbose=False,
    index=None,
):
    """Return the `Neighbors` that vote, of arguments that are checked.

    `index` is that of `Neighbors` found before, among the same voters.
    """
    shares, has_label = units.mean_labels(labels, num_classes)
    # The largest group leaves the fewest voters.
    in_group = np.bincount(units.group[has_label], minlength=units.group.max() + 1)
    available = int(has_label.sum() - in_group.max())
    if available < (num_neighbors or 1):
        received = errors.Described(f"{available} outside of the largest group")
        expected = f"at least {num_neighbors or 1} distinct labelled examples"
        mend = "Pass a smaller `num_neighbors`, or more examples."
        raise ValueError(message(owner, "features", expected, received, mend))
    is_approximate = _is_approximate(owner, approximate, int(has_label.sum()))
    library = _approximate_neighbors if is_approximate else _exact_neighbors
    candidates = APPROXIMATE_CANDIDATES if is_approximate else CANDIDATES
    counts = sorted({num_neighbors or min(k, available) for k in candidates})
    if index is None:
        index = library.nearest(
            features, units, has_label, counts[-1], metric, verbose=verbose
        )
    count = _largest_as_good(index, counts, shares, has_label)
    return Neighbors(units, index, count, shares)


def _is_approximate(owner, approximate, size):
    """Whether to look for neighbours with the library, or raise if it is missing."""
    if approximate is None:
        return size > _MOST_EXACT and _approximate_neighbors.is_installed()
    if approximate and not _approximate_neighbors.is_installed():
        raise ImportError(
            f"{owner}: `approximate=True` needs usearch. Install it with "
            "`pip install keras-noisy[neighbors]`."
        )
    return approximate


def _largest_as_good(index, counts, shares, has_label):
    """Return the largest number of neighbours that finds given labels likely enough."""
    if len(counts) == 1:
        return counts[0]
    prior = shares[has_label].mean(axis=0)
    # Of more examples some, at equal distances, are enough to choose by.
    rows = np.flatnonzero(has_label)
    rows = rows[:: -(-len(rows) // _MOST_COMPARED)]
    given, index = shares[rows], index[rows]
    total = np.zeros_like(given)
    likelihoods = []
    for column, count in enumerate(range(1, counts[-1] + 1)):
        total += shares[index[:, column]]
        if count in counts:
            smooth = np.einsum("ij,ij->i", given, total) + _PSEUDO_VOTES * given @ prior
            likelihoods.append(np.log(smooth / (count + _PSEUDO_VOTES)))
    best = max(likelihoods, key=np.mean)
    behind = np.stack([best - likelihood for likelihood in likelihoods])
    error = behind.std(axis=1) / np.sqrt(behind.shape[1])
    return counts[int(np.flatnonzero(behind.mean(axis=1) <= error)[-1])]
