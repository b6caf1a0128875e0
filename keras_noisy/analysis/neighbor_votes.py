"""What the labels of an example's nearest neighbours say."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._checks.numbers import optional
from keras_noisy._typing import ArrayLike, FloatArray, NeighborMetric
from keras_noisy.analysis import _units

# Numbers of neighbours that are tried.
CANDIDATES = (5, 10, 20, 50, 100)
_METRICS = ("cosine", "euclidean")
_QUERIES = 512
_POINTS = 1 << 16


def neighbor_votes(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_neighbors: int | None = None,
    metric: NeighborMetric = "cosine",
    num_classes: int | None = None,
    groups: ArrayLike | None = None,
) -> FloatArray:
    """Return the shares of labels among the nearest neighbours of each example.

    An example never votes for itself, and neither do examples of its group. Exact
    duplicates are one group, and cast one vote together, divided among their labels:
    copies of a picture that were made after it was labelled would vouch for each other.

    Args:
        features: `(n, d)`, for instance `analysis.features(model, x)`; a memory map is
            read in parts.
        labels: Given labels, class ids `(n,)`; -1 where there is none. Such examples
            receive votes and cast none.
        num_neighbors: How many neighbours vote. By default that of 5, 10, 20, 50 and
            100 whose majority agrees most often with the given label of the example,
            which is not among the voters; of equal ones the largest.
        metric: `"cosine"`, of the angle between rows, or `"euclidean"`, where columns
            are comparable: standardise them first.
        num_classes: Number of classes; by default the largest label plus one.
        groups: Ids `(n,)`, integers or strings: frames of one video, pictures of one
            patient. Groups that share a duplicate are one.

    Returns:
        float32 `(n, num_classes)`; rows sum to one.

    Raises:
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
    errors.check_choice(owner, "metric", metric, _METRICS)
    groups = _units.check_groups(owner, groups, size)
    units = _units.find_units(features, groups)
    return votes(owner, features, labels, num_classes, units, num_neighbors, metric)


def votes(owner, features, labels, num_classes, units, num_neighbors, metric):
    """Return what `neighbor_votes` does, of arguments that are checked."""
    shares, has_label = units.mean_labels(labels, num_classes)
    # The largest group leaves the fewest voters.
    in_group = np.bincount(units.group[has_label], minlength=units.group.max() + 1)
    available = int(has_label.sum() - in_group[units.group].max())
    if available < (num_neighbors or 1):
        received = errors.Described(f"{available} outside of the example's own group")
        expected = f"at least {num_neighbors or 1} distinct labelled examples"
        mend = "Pass a smaller `num_neighbors`, or more examples."
        raise ValueError(message(owner, "features", expected, received, mend))
    counts = [num_neighbors or min(k, available) for k in CANDIDATES]
    index = nearest(features, units, has_label, max(counts), metric)
    found = None
    for count in sorted({*counts}):
        found = _better(found, _mean(shares, index[:, :count]), shares, has_label)
    return found[1][units.of_row]


def _mean(shares, index):
    total = np.zeros((len(index), shares.shape[1]), "float32")
    for column in index.T:
        total += shares[column]
    return total / index.shape[1]


def _better(found, mean, shares, has_label):
    """Return `(agreement, votes)` of those that agree more with the given labels."""
    winner = mean[has_label].argmax(axis=1)
    agreement = np.take_along_axis(shares[has_label], winner[:, None], 1).mean()
    return (agreement, mean) if found is None or agreement >= found[0] else found


def nearest(features, units, is_voter, count, metric) -> Any:
    """Return the voters nearest to each unit, none of its group, `(units, count)`."""
    voters = np.flatnonzero(is_voter)
    best = np.full((len(units), count), -np.inf, "float32")
    index = np.zeros((len(units), count), "int32")
    for start in range(0, len(voters), _POINTS):
        members = voters[start : start + _POINTS]
        points, offset = _points(features, units.first[members], metric)
        points = ops.transpose(ops.convert_to_tensor(points))
        of_points = ops.convert_to_tensor(units.group[members].astype("int32"))
        kept = min(count, len(members))
        for begin in range(0, len(units), _QUERIES):
            rows = slice(begin, begin + _QUERIES)
            queries, _ = _points(features, units.first[rows], metric)
            closeness = ops.matmul(ops.convert_to_tensor(queries), points) - offset
            group = ops.convert_to_tensor(units.group[rows].astype("int32"))
            is_own = ops.expand_dims(group, 1) == of_points
            values, places = ops.top_k(ops.where(is_own, -np.inf, closeness), kept)
            values = np.hstack([best[rows], ops.convert_to_numpy(values)])
            places = members[ops.convert_to_numpy(places)].astype("int32")
            places = np.hstack([index[rows], places])
            order = np.argsort(-values, axis=1, kind="stable")[:, :count]
            best[rows] = np.take_along_axis(values, order, 1)
            index[rows] = np.take_along_axis(places, order, 1)
    return index


def _points(features, rows, metric):
    """Return points whose product, less the offset, is larger where they are nearer."""
    points = np.asarray(features[rows], "float32")
    if metric == "euclidean":
        return points, (points * points).sum(axis=1) / 2
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.where(norms > 0, norms, 1), np.float32(0)
