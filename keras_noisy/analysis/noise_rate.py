"""How many labels are wrong, and how sure that is."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_predictions, check_rows
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import UNVERIFIED, check_labels
from keras_noisy._typing import ArrayLike, FloatArray, IntArray, NoiseVerdict
from keras_noisy.analysis import _core, _head, _units
from keras_noisy.analysis.neighbor_votes import votes


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseRate:
    """How many labels are wrong.

    Attributes:
        estimate: Share of the labels that are wrong; None where it cannot be known.
        low: Lower end of the 90 % interval.
        high: Its upper end.
        per_class: Share of the labels of each given class that are wrong, float64
            `(num_classes,)`, or None.
        by_source: The estimate by each source alone.
        verdict: `"class-conditional"`, `"cannot tell"` or `"checked"`.
        transition_matrix: `T[i, j] = P(noisy = j | clean = i)`, or None.
        explanation: The verdict in a sentence.
    """

    estimate: float | None
    low: float
    high: float
    per_class: FloatArray | None
    by_source: dict[str, float]
    verdict: NoiseVerdict
    transition_matrix: FloatArray | None
    explanation: str


def noise_rate(
    labels: ArrayLike,
    *,
    features: ArrayLike | None = None,
    soft_labels: ArrayLike | None = None,
    predictions: ArrayLike | None = None,
    checked: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> NoiseRate:
    """Estimate how many labels are wrong.

    Args:
        labels: Given labels, class ids `(n,)`; -1 where there is none.
        features: `(n, d)`: neighbours and a regression on them, out of fold, say what
            each example looks like.
        soft_labels: `(n, num_classes)`, SEAL's averages.
        predictions: `(n, num_classes)`, probabilities of networks that did not train on
            the example.
        checked: True classes `(n,)` of labels that somebody verified, -1 elsewhere.
        groups: Ids `(n,)` of examples that belong together, as for `neighbor_votes`.
        seed: Of folds and intervals.

    Returns:
        `NoiseRate`.
    """
    owner = "noise_rate"
    seed = errors.check_seed(owner, seed)
    sources = _sources(owner, labels, features, soft_labels, predictions, groups, seed)
    labels, num_classes, shares, group = sources
    if checked is not None:
        checked = check_labels(
            owner, "checked", checked, size=len(labels),
            num_classes=num_classes, unverified=True,
        )  # fmt: skip
        return _of_checked(labels, checked, shares, seed)
    mean = np.mean([*shares.values()], axis=0)
    known = labels != UNVERIFIED
    core = _core.adaptive_core(mean[known], labels[known])
    by_source = {
        name: _core.adaptive_core(values[known], labels[known]).rate
        for name, values in shares.items()
    }
    return _of_core(core, by_source)


def propose_checks(
    labels: ArrayLike,
    *,
    count: int = 200,
    features: ArrayLike | None = None,
    soft_labels: ArrayLike | None = None,
    predictions: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> IntArray:
    """Return the positions of labels to verify by hand, for `noise_rate(checked=)`."""
    owner = "propose_checks"
    count = errors.check_count(owner, "count", count)
    seed = errors.check_seed(owner, seed)
    sources = _sources(owner, labels, features, soft_labels, predictions, groups, seed)
    labels, _, shares, _ = sources
    stratum = _strata(labels, shares)
    generator = np.random.default_rng(seed)
    chosen = []
    strata = np.unique(stratum[stratum >= 0])
    for part in strata:
        rows = generator.permutation(np.flatnonzero(stratum == part))
        chosen.append(rows[: -(-count // len(strata))])
    return np.sort(np.concatenate(chosen)[:count])


def core_of_features(owner, labels, features, groups, seed):
    """Return the `Core` that features and labels have."""
    labels, _, shares, _ = _sources(owner, labels, features, None, None, groups, seed)
    known = labels != UNVERIFIED
    mean = np.mean([*shares.values()], axis=0)
    return _core.adaptive_core(mean[known], labels[known])


def _sources(owner, labels, features, soft_labels, predictions, groups, seed):
    """Return labels, number of classes, distributions by source, and groups."""
    given = {"soft_labels": soft_labels, "predictions": predictions}
    shares = {}
    num_classes = None
    for name, values in given.items():
        if values is None:
            continue
        values = as_predictions(owner, name, values, least=1)
        check_rows(owner, name, values)
        if num_classes not in (None, values.shape[1]):
            expected = f"of {num_classes} classes, as the other source"
            received = errors.describe_array(values)
            raise ValueError(message(owner, name, expected, received))
        num_classes = values.shape[1]
        shares[name] = np.asarray(values, "float32")
    size = None if not shares else len(next(iter(shares.values())))
    labels, num_classes = _units.check_labels_and_classes(
        owner, labels, num_classes, size
    )
    groups = _units.check_groups(owner, groups, len(labels))
    group = np.arange(len(labels)) if groups is None else groups
    if features is not None:
        features = _units.check_features(owner, "features", features, len(labels))
        units = _units.find_units(features, groups)
        group = units.group[units.of_row]
        shares["neighbors"] = votes(
            owner, features, labels, num_classes, units, None, "cosine"
        )
        shares["regression"] = _head.out_of_fold(
            features, labels, num_classes, group, seed
        )
    if not shares:
        expected = "at least one of `features`, `soft_labels` and `predictions`"
        raise ValueError(f"{owner}: {expected} must be given. Received: none.")
    return labels, num_classes, shares, group


def _of_core(core, by_source):
    if core.is_flat:
        text = f"About {core.rate:.1%} of the labels are wrong."
        return NoiseRate(
            core.rate, core.low, core.high, core.per_class, by_source,
            "class-conditional", core.matrix, text,
        )  # fmt: skip
    text = (
        "Classes overlap, or wrong labels depend on the example: the labels alone "
        f"cannot tell which. Between {core.low:.1%} and {core.high:.1%} are wrong. "
        "Check some by hand (`propose_checks`) and pass `checked`."
    )
    return NoiseRate(
        None, core.low, core.high, None, by_source, "cannot tell", None, text
    )


def _strata(labels, shares):
    """Return which part of the data each example is of, -1 without a label."""
    mean = np.mean([*shares.values()], axis=0)
    known = labels != UNVERIFIED
    given = mean[np.arange(len(labels)), np.maximum(labels, 0)]
    suspicion = (mean.max(axis=1) - given).astype("float64")
    stratum = np.full(len(labels), -1)
    edges = np.quantile(suspicion[known], [0.2, 0.4, 0.6, 0.8])
    stratum[known] = np.searchsorted(edges, suspicion[known])
    return stratum


def _of_checked(labels, checked, shares, seed):
    stratum = _strata(labels, shares)
    is_checked = (checked != UNVERIFIED) & (stratum >= 0)
    generator = np.random.default_rng(seed)
    draws = np.zeros(4000)
    estimate = 0.0
    total = (stratum >= 0).sum()
    for part in np.unique(stratum[stratum >= 0]):
        rows = np.flatnonzero((stratum == part) & is_checked)
        wrong = int((labels[rows] != checked[rows]).sum())
        weight = (stratum == part).sum() / total
        estimate += weight * (wrong + 0.1) / (len(rows) + 0.2)
        draws += weight * generator.beta(wrong + 0.1, len(rows) - wrong + 0.1, 4000)
    low, high = np.quantile(draws, [0.05, 0.95])
    text = (
        f"Of {is_checked.sum()} labels that were checked, weighted as they were drawn, "
        f"about {estimate:.1%} are wrong (90 % interval {low:.1%} to {high:.1%})."
    )
    return NoiseRate(
        float(estimate), float(low), float(high), None, {}, "checked", None, text
    )
