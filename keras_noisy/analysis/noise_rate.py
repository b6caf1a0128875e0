"""How many labels are wrong, and how sure that is."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.errors import Described, message
from keras_noisy._checks.labels import UNVERIFIED, check_labels
from keras_noisy._typing import ArrayLike, FloatArray, IntArray, NoiseVerdict
from keras_noisy.analysis import _sources

_STRATA = 10
_DRAWS = 4000
# Fewer parts where each would have fewer checks.
_LEAST_CHECKS = 8
# Wrong and right labels that are added to those found in each part.
_PSEUDO_COUNT = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseRate:
    """How many labels are wrong.

    Attributes:
        estimate: Share of the labels that are wrong; None where it cannot be known.
        low: Lower end of the 90 % interval; 0 where the rate cannot be known.
        high: Its upper end; 1 where the rate cannot be known.
        per_class: Share of the labels of each given class that are wrong, float64
            `(num_classes,)`, NaN for a class that no label has; or None.
        by_source: What the estimate would be by each source alone.
        verdict: `"class-conditional"`: whether a label is wrong depends on its class
            alone, and the estimate holds; `"cannot tell"`: classes overlap, or wrong
            labels depend on the example; `"checked"`: by labels verified by hand.
        transition_matrix: `T[i, j] = P(noisy = j | clean = i)`, or None.
        explanation: The verdict in words.
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
    verbose: bool = False,
) -> NoiseRate:
    """Estimate how many labels are wrong, with a 90 % interval, or say that none can.

    Every example gets distributions over classes by what has not seen its label: votes
    of its neighbours and of a regression, both on the other folds (`features`), and
    `predictions`. The examples of each predicted class are ranked, within their fold,
    by how typical of it the least convinced of these finds them. If labels are wrong
    whatever the example looks like, those at the top disagree with the prediction as
    often as the rest, and by the noise rate: it is read where a curve through the
    profile of disagreement starts.

    Examples at the top that are not what they look like disagree too, so that the
    rate read there can only be too high. The interval reaches down by the share of
    classes that exist by the labels and that no example looks like, and by a fifth of
    the rise of the profile; the estimate is lower by half of that.

    If the profile rises too much, labels near the boundaries of classes are wrong more
    often, or the classes overlap. Nothing in labels and features can tell these apart:
    `estimate` is None. Verify some labels by hand, those of `propose_checks`, and pass
    them as `checked`.

    Args:
        labels: Given labels, class ids `(n,)`; -1 where there is none. Such examples
            do not count.
        features: `(n, d)`, for instance those of a pre-trained network. Exact
            duplicates count as one where they vouch for others.
        soft_labels: `(n, num_classes)`, SEAL's averages. The networks have learnt a
            part of the wrong labels: alone they give no rate, beside other sources
            they count where labels are ranked for checks.
        predictions: `(n, num_classes)`, probabilities of networks that did not train on
            the example.
        checked: True classes `(n,)` of labels that somebody verified, -1 elsewhere.
        groups: Ids `(n,)` of examples that do not vouch for each other, as for
            `neighbor_votes`.
        seed: Of folds and intervals.
        verbose: Whether to show progress.

    Returns:
        `NoiseRate`.

    Raises:
        TypeError: If labels are no integers, or another argument no numbers.
        ValueError: If no source is given, shapes or lengths do not fit, labels have one
            class, or predictions are not distributions.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import analysis, noise
        >>> generator = np.random.default_rng(0)
        >>> classes = generator.integers(0, 3, 900)
        >>> features = np.eye(3)[classes] + generator.normal(0, 0.1, (900, 3))
        >>> given = noise.corrupt_labels(classes, noise.symmetric(3, 0.2), seed=0).noisy
        >>> rate = analysis.noise_rate(given, features=features)
        >>> rate.verdict, rate.low < 0.2 < rate.high
        ('class-conditional', True)

    Reference:
        Patrini et al., "Making Deep Neural Networks Robust to Label Noise", CVPR 2017,
        read a transition matrix from one anchor of each class, where this reads it from
        a core; Zhu et al., "Clusterability as an Alternative to Anchor Points When
        Learning with Noisy Labels", ICML 2021, from neighbours.
    """
    owner = "noise_rate"
    seed = errors.check_seed(owner, seed)
    errors.check_bool(owner, "verbose", verbose)
    sources = _read(
        owner,
        labels,
        seed,
        features=features,
        soft_labels=soft_labels,
        predictions=predictions,
        groups=groups,
        verbose=verbose,
    )
    if checked is not None:
        checked = check_labels(
            owner,
            "checked",
            checked,
            size=len(sources.labels),
            num_classes=sources.num_classes,
            unverified=True,
        )
        if not ((checked != UNVERIFIED) & (sources.labels != UNVERIFIED)).any():
            received = Described("-1 wherever there is a label")
            expected = "the true class of at least one labelled example"
            raise ValueError(message(owner, "checked", expected, received))
        return _of_checked(sources, checked, seed)
    return rate_of(sources)


def rate_of(sources):
    """Return the `NoiseRate` that `Sources` show."""
    every = {**sources.views, **sources.in_sample}
    core = sources.core()
    by_source = {
        name: sources.core_of([values]).rate if len(every) > 1 or core is None else None
        for name, values in every.items()
    }
    if core is None:
        return _unknown(
            by_source,
            "Networks that trained on all labels have learnt wrong ones, so their "
            "predictions alone cannot tell how many are wrong. Pass `features`, or "
            "`predictions` of a cross-validation.",
        )
    by_source = {
        name: core.rate if rate is None else rate for name, rate in by_source.items()
    }
    if sources.has_few_values:
        return _unknown(
            by_source,
            "Most rows of `features` have an equal one, so that the features alone do "
            "not tell the examples apart: equal rows with different labels may all be "
            "right. Verify the labels that `propose_checks` names, and pass them as "
            "`checked`.",
        )
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
    """Propose which labels to verify by hand, so that `noise_rate` can use them.

    Examples are divided into ten parts of equal size, from the least to the most
    suspicious labels, and equally many are drawn from each: most of the uncertainty is
    in a few parts. Pass what is found, with the same sources, to
    `noise_rate(checked=)`, which weights the parts by their size. Labels may also be
    verified by another rule, as long as it does not depend on whether they look wrong
    within a part.

    Args:
        labels: Given labels, class ids `(n,)`, -1 where there is none.
        count: How many to propose.
        features: As for `noise_rate`.
        soft_labels: As for `noise_rate`.
        predictions: As for `noise_rate`.
        groups: As for `noise_rate`.
        seed: Which examples of each part.

    Returns:
        Positions of examples in the data, int64 `(min(count, n),)`, in order.

    Raises:
        TypeError: If labels are no integers, or another argument no numbers.
        ValueError: As for `noise_rate`.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import analysis
        >>> predictions = np.random.default_rng(0).dirichlet([1, 1], 1000)
        >>> labels = np.arange(1000) % 2
        >>> analysis.propose_checks(labels, predictions=predictions).shape
        (200,)
    """
    owner = "propose_checks"
    count = errors.check_count(owner, "count", count)
    seed = errors.check_seed(owner, seed)
    sources = _read(
        owner,
        labels,
        seed,
        features=features,
        soft_labels=soft_labels,
        predictions=predictions,
        groups=groups,
    )
    stratum = _strata(sources)
    generator = np.random.default_rng(seed)
    # One example of each part in turn, until there are enough.
    turn = np.full(len(stratum), np.inf)
    for part in range(_STRATA):
        rows = np.flatnonzero(stratum == part)
        turn[rows] = generator.permutation(len(rows)) + generator.random()
    order = np.argsort(turn, kind="stable")[: min(count, int((stratum >= 0).sum()))]
    return np.sort(order)


def core_of_features(owner, labels, features, groups, seed):
    """Return the `Core` that features and labels have, for another function."""
    return _read(owner, labels, seed, features=features, groups=groups).core()


def _read(owner, labels, seed, **given):
    """Return `Sources`, or raise unless there is one, and labels of two classes."""
    names = ("features", "soft_labels", "predictions")
    if all(given.get(name) is None for name in names):
        expected = "at least one of `features`, `soft_labels` and `predictions`"
        raise ValueError(f"{owner}: {expected} must be given. Received: none.")
    sources = _sources.read(owner, labels, seed=seed, **given)
    found = np.unique(sources.labels[sources.labels != UNVERIFIED])
    if len(found) < 2:
        received = Described(f"labels of the classes {found.tolist()}")
        raise ValueError(message(owner, "labels", "of at least two classes", received))
    return sources


def _of_core(core, by_source):
    if not core.is_class_conditional:
        return _unknown(
            by_source,
            f"{core.disagreement:.1%} of the labels are not what their examples look "
            "like, and more so near the boundaries of classes: either classes overlap, "
            "or labels of hard examples are wrong more often. Labels and features "
            "cannot tell which. Verify the labels that `propose_checks` names, and "
            "pass them as `checked`.",
        )
    return NoiseRate(
        core.rate,
        core.low,
        core.high,
        core.per_class,
        by_source,
        "class-conditional",
        core.matrix,
        f"About {core.rate:.1%} of the labels are wrong (90 % interval {core.low:.1%} "
        f"to {core.high:.1%}), as often for typical examples of a class as for others.",
    )


def _unknown(by_source, text):
    return NoiseRate(None, 0.0, 1.0, None, by_source, "cannot tell", None, text)


def _strata(sources):
    """Return the part of each example, by how suspicious its label is; -1 without."""
    scores, labels = sources.mean(), sources.labels
    rows = np.flatnonzero(labels != UNVERIFIED)
    given = scores[rows, labels[rows]]
    suspicion = scores[rows].max(axis=1) - given
    order = np.lexsort((-given, suspicion))
    stratum = np.full(len(labels), -1)
    stratum[rows[order]] = np.arange(len(rows)) * _STRATA // len(rows)
    return stratum


def _num_parts(counts):
    """Return into how many parts of equal size the checks divide, those of `_strata`.

    Args:
        counts: Number of checks in each stratum.
    """
    for parts in (_STRATA, 5, 2):
        if counts.reshape(parts, -1).sum(axis=1).min() >= _LEAST_CHECKS:
            return parts
    total, lower = counts.sum(), counts[: _STRATA // 2].sum()
    # Who has looked at suspicious labels alone has no sample of all of them.
    is_even = abs(2 * lower - total) <= 2.6 * np.sqrt(total)
    return 1 if is_even else _STRATA


def _quiet_as_one(sizes, counts, wrong):
    """Return sizes, checks and wrong ones of parts, those without a wrong one joined.

    Neighbouring parts where nothing is wrong tell together how little that can be. Each
    counts as the one with the fewest checks.
    """
    is_quiet = (wrong == 0) & (counts > 0)
    goes_on = is_quiet[1:] & is_quiet[:-1]
    starts = np.flatnonzero(np.append(True, ~goes_on))
    lengths = np.diff(np.append(starts, len(sizes)))
    return (
        np.add.reduceat(sizes, starts),
        np.minimum.reduceat(counts, starts) * lengths,
        np.add.reduceat(wrong, starts),
    )


def _of_checked(sources, checked, seed):
    """Return the rate by parts of the data, each with the labels checked in it."""
    stratum = _strata(sources)
    is_checked = (checked != UNVERIFIED) & (stratum >= 0)
    is_wrong = is_checked & (checked != sources.labels)
    sizes, counts, wrong = (
        np.bincount(stratum[rows], minlength=_STRATA)
        for rows in (stratum >= 0, is_checked, is_wrong)
    )
    num_checked, num_wrong = int(counts.sum()), int(wrong.sum())
    parts = _num_parts(counts)
    sizes, counts, wrong = _quiet_as_one(
        *(each.reshape(parts, -1).sum(axis=1) for each in (sizes, counts, wrong))
    )
    weights = sizes / sizes.sum()
    # Of a part where nothing was checked nothing is known.
    pseudo = np.where(counts > 0, _PSEUDO_COUNT, 1.0)
    generator = np.random.default_rng(seed)
    draws = generator.beta(
        wrong + pseudo, counts - wrong + pseudo, (_DRAWS, len(sizes))
    )
    low, high = np.quantile(draws @ weights, [0.05, 0.95])
    estimate = float(weights @ ((wrong + pseudo) / (counts + 2 * pseudo)))
    if not num_wrong:
        low = 0.0
    return NoiseRate(
        estimate,
        float(low),
        float(high),
        None,
        {},
        "checked",
        None,
        f"By {num_checked} labels that were verified, of which "
        f"{num_wrong} are wrong, about {estimate:.1%} of all are wrong "
        f"(90 % interval {low:.1%} to {high:.1%}).",
    )
