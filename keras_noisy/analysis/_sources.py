"""What says which class an example looks like: distributions `(n, num_classes)`."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_predictions, check_rows, pieces
from keras_noisy._checks.errors import message
from keras_noisy.analysis import _core, _head, _units
from keras_noisy.analysis.neighbor_votes import votes


@dataclasses.dataclass
class Sources:
    """Labels, and what several sources say of each example.

    Attributes:
        labels: int64 `(n,)`, -1 where there is none.
        num_classes: Number of classes.
        held_out: Distributions by what has not seen the example's label, by name.
        in_sample: Distributions by what has.
        has_few_values: Whether most rows of the first features have an equal one.
    """

    labels: np.ndarray
    num_classes: int
    held_out: dict[str, np.ndarray]
    in_sample: dict[str, np.ndarray]
    has_few_values: bool = False

    def core(self):
        """Return the `Core` of what has not seen the labels, None if nothing has."""
        if not self.held_out:
            return None
        return self.core_of(mean(self.held_out.values()))

    def core_of(self, scores):
        """Return the `Core` of distributions."""
        known = self.labels >= 0
        if not known.all():
            return _core.adaptive_core(scores[known], self.labels[known])
        return _core.adaptive_core(scores, self.labels)

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
    owner, labels, *, features, soft_labels, predictions, groups, seed, metric="cosine"
):
    """Return `Sources`, or raise.

    Args:
        owner: Name of the public function.
        labels: Class ids `(n,)`, -1 where there is none.
        features: None, an array, or a list of arrays `(n, d)`. Neighbours in each of
            them vote; the regression is on the first.
        soft_labels: None or `(n, num_classes)`.
        predictions: None or `(n, num_classes)`.
        groups: None or ids `(n,)`.
        seed: Of the folds.
        metric: As for `neighbor_votes`.
    """
    held_out, in_sample = {}, {}
    size = num_classes = None
    has_few_values = False
    for name, values, kept in (
        ("soft_labels", soft_labels, in_sample),
        ("predictions", predictions, held_out),
    ):
        if values is None:
            continue
        values = _distributions(owner, name, values)
        if num_classes is not None and values.shape != (size, num_classes):
            expected = f"of shape ({size}, {num_classes}), as `soft_labels`"
            received = errors.describe_array(values)
            raise ValueError(message(owner, name, expected, received))
        size, num_classes = values.shape
        kept[name] = values
    labels, num_classes = _units.check_labels_and_classes(
        owner, labels, num_classes, size
    )
    groups = _units.check_groups(owner, groups, len(labels))
    for index, array in enumerate(_listed(features)):
        array = _units.check_features(owner, "features", array, len(labels))
        units = _units.find_units(array, groups)
        found = votes(owner, array, labels, num_classes, units, None, metric)
        # Later features are learnt, and their layer has seen the labels.
        kept = held_out if index == 0 else in_sample
        kept["neighbors" if index == 0 else f"neighbors {index + 1}"] = found
        if index == 0:
            has_few_values = units.has_few_values
            group = units.group[units.of_row]
            held_out["regression"] = _head.out_of_fold(
                array, labels, num_classes, group, seed
            )
    return Sources(labels, num_classes, held_out, in_sample, has_few_values)


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
