"""What says which class an example looks like: distributions `(n, num_classes)`."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_predictions, check_rows, pieces
from keras_noisy._checks.errors import message
from keras_noisy.analysis import _core, _head, _units
from keras_noisy.analysis.neighbor_votes import find_neighbors

_NUM_FOLDS = 5


@dataclasses.dataclass
class Sources:
    """Labels, and what several sources say of each example.

    Attributes:
        labels: int64 `(n,)`, -1 where there is none.
        num_classes: Number of classes.
        held_out: Distributions by what has not seen the example's label, by name.
        in_sample: Distributions by what has.
        views: Those of `held_out`, or what takes their place where the noise rate is
            read: by what has not seen a label of the example's fold.
        fold_of: Fold of each example, None where a view does not know it.
        has_few_values: Whether most rows of the first features have an equal one.
    """

    labels: np.ndarray
    num_classes: int
    held_out: dict[str, np.ndarray]
    in_sample: dict[str, np.ndarray]
    views: dict[str, np.ndarray]
    fold_of: np.ndarray | None = None
    has_few_values: bool = False

    def core(self):
        """Return the `Core` of what has not seen the labels, None if nothing has."""
        return self.core_of([*self.views.values()]) if self.views else None

    def core_of(self, views):
        """Return the `Core` of distributions."""
        labels, fold_of = self.labels, self.fold_of
        known = labels >= 0
        if not known.all():
            labels, views = labels[known], [view[known] for view in views]
            fold_of = None if fold_of is None else fold_of[known]
        return _core.adaptive_core(views, labels, fold_of)

    def mean(self):
        """Return the mean of all distributions, float32."""
        return mean([*self.held_out.values(), *self.in_sample.values()])


def mean(distributions):
    """Return the mean of arrays of one shape, float32, without one more copy of all."""
    distributions = [*distributions]
    total = np.array(distributions[0], "float32")
    for values in distributions[1:]:
        total += values
    total /= len(distributions)
    return total


def read(
    owner,
    labels,
    *,
    features=None,
    soft_labels=None,
    predictions=None,
    held_out=None,
    groups=None,
    seed=0,
    metric="cosine",
    verbose=False,
    fold_of=None,
    neighbors=None,
):
    """Return `Sources`, or raise.

    Args:
        owner: Name of the public function.
        labels: Class ids `(n,)`, -1 where there is none.
        features: None, an array, or a list of arrays `(n, d)`. Neighbours in each of
            them vote; the regression is on the first.
        soft_labels: None or `(n, num_classes)`.
        predictions: None or `(n, num_classes)`.
        held_out: None or `(n, num_classes)`.
        groups: None or ids `(n,)`.
        seed: Of the folds.
        metric: As for `neighbor_votes`.
        verbose: Whether to show progress.
        fold_of: Folds `(n,)` of whole groups, if predictions have them; by default
            `seed` makes some.
        neighbors: `Neighbors` in the features, if they are known.
    """
    has_not_seen, in_sample = {}, {}
    size = num_classes = None
    for name, values, kept in (
        ("soft_labels", soft_labels, in_sample),
        ("predictions", predictions, has_not_seen),
        ("held_out", held_out, has_not_seen),
    ):
        if values is None:
            continue
        values = _distributions(owner, name, values)
        if num_classes is not None and values.shape != (size, num_classes):
            before = [*in_sample, *has_not_seen][-1]
            expected = f"of shape ({size}, {num_classes}), as `{before}`"
            received = errors.describe_array(values)
            raise ValueError(message(owner, name, expected, received))
        size, num_classes = values.shape
        kept[name] = values
    labels, num_classes = _units.check_labels_and_classes(
        owner, labels, num_classes, size
    )
    groups = _units.check_groups(owner, groups, len(labels))
    sources = Sources(
        labels, num_classes, has_not_seen, in_sample, {**has_not_seen}, fold_of
    )
    arguments = {"metric": metric, "verbose": verbose}
    first, *others = _listed(features) or [None]
    if first is not None:
        first = _units.check_features(owner, "features", first, len(labels))
        if neighbors is None:
            units = _units.find_units(first, groups)
            neighbors = find_neighbors(
                owner, first, labels, num_classes, units, **arguments
            )
        _add_features(sources, first, neighbors, seed, verbose)
    for index, array in enumerate(others, 2):
        array = _units.check_features(owner, "features", array, len(labels))
        units = _units.find_units(array, groups)
        found = find_neighbors(owner, array, labels, num_classes, units, **arguments)
        # Later features are learnt, and their layer has seen the labels.
        in_sample[f"neighbors {index}"] = found.votes()
    return sources


def _add_features(sources, features, neighbors, seed, verbose):
    """Add votes of neighbours and a regression on the other folds to sources."""
    units = neighbors.units
    if sources.fold_of is None:
        group = units.group[units.of_row]
        order = np.random.default_rng(seed).permutation(group.max(initial=0) + 1)
        sources.fold_of = order[group] % _NUM_FOLDS
    regression = _head.out_of_fold(
        features,
        sources.labels,
        sources.num_classes,
        sources.fold_of,
        seed,
        verbose=verbose,
    )
    sources.held_out |= {"neighbors": neighbors.votes(), "regression": regression}
    votes = neighbors.votes_of_other_folds(sources.fold_of)
    sources.views |= {"neighbors": votes, "regression": regression}
    sources.has_few_values = units.has_few_values


def _distributions(owner, name, values):
    """Return distributions as float32, or raise unless rows are some."""
    values = as_predictions(owner, name, values, least=1)
    for rows in pieces(values):
        check_rows(owner, name, np.asarray(values[rows]))
    return np.asarray(values, "float32")


def _listed(features):
    """Return a list of arrays, of one, several or none."""
    if features is None:
        return []
    is_several = (
        isinstance(features, (list, tuple))
        and len(features)
        and np.ndim(features[0]) == 2
    )
    return [*features] if is_several else [features]
