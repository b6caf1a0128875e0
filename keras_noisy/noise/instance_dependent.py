"""Label noise that depends on the example: the hardest ones are mislabelled."""

from __future__ import annotations

import math
import warnings

import numpy as np

from keras_noisy import analysis
from keras_noisy._checks.distributions import as_predictions, check_rows, pieces
from keras_noisy._checks.labels import check_class_ids, check_labels
from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import ArrayLike
from keras_noisy.noise.noisy_labels import NoisyLabels

_OWNER = "instance_dependent"


def instance_dependent(
    mean_predictions: ArrayLike, labels: ArrayLike, rate: float
) -> NoisyLabels:
    """Mislabel the examples that a network confuses most, as what it takes them for.

    With `S` the mean prediction over the epochs of a training on clean labels,
    `N_i = max_{k != y_i} S_ik` says how far example `i` is taken for another class,
    and its argmax which. The `floor(rate n + 1/2)` examples of highest `N` get that
    class as their label. Nothing is drawn at random.

    Ties: of examples with equal `N` those of lower index flip first, and of classes
    with equal `S` the lowest is taken. So the flips of a lower rate are among those of
    a higher one, and rate 0 flips nothing. A warning says where another rate does not
    either, for want of examples.

    Args:
        mean_predictions: `S`, distributions `(n, num_classes)`, such as `soft_labels`
            of `callbacks.SEAL`. A memory map is read in parts.
        labels: Clean class ids `(n,)`, of an integer dtype.
        rate: Share of labels to flip, in [0, 1].

    Returns:
        `NoisyLabels`.

    Raises:
        ValueError: If the predictions are not distributions, if lengths differ, or
            if `rate` is outside [0, 1].

    Example:
    >>> mean_predictions = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]]
    >>> instance_dependent(mean_predictions, [0, 0, 1, 1], 0.5).noisy
    array([0, 1, 1, 0])

    Reference:
        Algorithm 1 and Eq. 3 of Chen et al., "Beyond Class-Conditional Assumption: A
        Primary Attempt to Combat Instance-Dependent Label Noise", AAAI 2021.
    """
    rate = Interval(0, 1)(_OWNER, "rate", rate)
    mean_predictions = as_predictions(_OWNER, "mean_predictions", mean_predictions)
    num_classes = mean_predictions.shape[1]
    labels = check_labels(_OWNER, "labels", labels, like=mean_predictions)
    check_class_ids(_OWNER, "labels", labels, num_classes)
    for rows in pieces(mean_predictions):
        check_rows(_OWNER, "mean_predictions", mean_predictions[rows])
    score, other = analysis.correction_candidates(mean_predictions, labels)
    count = math.floor(rate * len(labels) + 0.5)
    if rate and len(labels) and not count:
        warnings.warn(
            f"{_OWNER}: rate={rate:g} rounds {rate * len(labels):.3g} of {len(labels)} "
            "examples to none: no label flips. Pass a higher `rate`.",
            stacklevel=2,
        )
    flipped = np.argsort(-score, kind="stable")[:count]
    noisy = labels.copy()
    noisy[flipped] = other[flipped]
    return NoisyLabels(noisy, labels, num_classes)
