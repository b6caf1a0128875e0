"""Transition matrix and noise rate from the most typical examples of each class.

Where labels are flipped whatever the example looks like, those that are most typical
of a class disagree with it as often as all others do, and their labels are a row of the
transition matrix. Where classes overlap, or the hard examples are mislabelled, the
disagreement grows from the most typical examples to the rest.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_noisy._checks.distributions import pieces

# Shares of each predicted class, the most typical ones first.
_SHARES = np.array(
    [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1]
)
# A ring that disagrees by more than so many standard errors than what it surrounds is
# not part of the core.
_MOST_ERRORS = 1.0
# Examples of the pooled diagonal that each row of the matrix is drawn to.
_PRIOR_SIZE = 5.0
_POWERS = (1, 1.5, 2, 3, 4, 6, 10)
# What follows is calibrated on half of the data sets of benchmarks/results/suspects.md.
_QUANTILE = 1.645
_WIDER_BY_OVERLAP = 6.0
_OF_GAP = 0.1
# A rate is given if its interval is at most so wide on each side, and not wider than
# the rate unless it is small, ...
_MOST_HALF_WIDTH = 0.1
# ... the rise beyond the core is no more than so many times the rate, or small, ...
_MOST_RISE = 3.0
_SMALL = 0.03
# ... and classes overlap and labels disagree less than in data that say nothing.
_MOST_OVERLAP = 0.45
_MOST_DISAGREEMENT = 0.75


@dataclasses.dataclass(frozen=True)
class Core:
    """What the most typical examples of each class say.

    Attributes:
        rate: Share of wrong labels, if noise is class-conditional.
        half_width: Of its 90 % interval.
        matrix: Transition matrix `(num_classes, num_classes)`.
        prior: Shares of the true classes `(num_classes,)`.
        per_class: Share of the labels of each given class that are wrong, NaN for a
            class that no label has.
        is_class_conditional: Whether the disagreement is flat.
        disagreement: Share of all labels that are not the class predicted.
        share: Which share of each class the core is.
    """

    rate: float
    half_width: float
    matrix: np.ndarray
    prior: np.ndarray
    per_class: np.ndarray
    is_class_conditional: bool
    disagreement: float
    share: float


def adaptive_core(scores, labels):
    """Return the `Core` of scores and labels of the same examples.

    Args:
        scores: `P(noisy | x)` of what has not seen the example's own label,
            `(n, num_classes)`.
        labels: Given labels `(n,)`.
    """
    num_classes = scores.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    classes = scores.argmax(axis=1)
    inner, *_ = _core_of(scores, classes, labels)
    matrix = _transition(classes[inner], labels[inner], num_classes)
    # Once more with the classes that are likeliest behind the labels.
    classes, _ = _classes_behind(scores, smoothed(matrix, counts))
    inner, share, wrong, sizes = _core_of(scores, classes, labels)
    matrix = _transition(classes[inner], labels[inner], num_classes)
    level = (classes[inner] != labels[inner]).mean()
    start = _start(wrong, sizes)
    rate = float(level + start) / 2
    _, prior = _classes_behind(scores, smoothed(matrix, counts))
    matrix = _scaled(matrix, prior, rate)
    given = np.where(counts > 0, np.maximum(prior @ matrix, 1e-12), np.nan)
    disagreement = float((classes != labels).mean())
    gap = max(0.0, disagreement - rate)
    chance = 1 - ((counts / counts.sum()) ** 2).sum()
    overlap = gap / max(0.05, chance - rate)
    spread = max(rate * (1 - rate), 0.002) / inner.sum()
    error = np.hypot(np.sqrt(spread), (level - start) / 2)
    half = _QUANTILE * error * (1 + _WIDER_BY_OVERLAP * overlap) + _OF_GAP * gap
    return Core(
        rate=rate,
        half_width=float(half),
        matrix=matrix,
        prior=prior,
        per_class=np.clip(1 - prior * np.diag(matrix) / given, 0, 1),
        is_class_conditional=bool(
            half <= _MOST_HALF_WIDTH
            and half <= max(_SMALL, rate)
            and gap <= max(_SMALL, _MOST_RISE * rate)
            and overlap <= _MOST_OVERLAP
            and rate <= _MOST_DISAGREEMENT * _by_chance(classes, counts)
        ),
        disagreement=disagreement,
        share=float(share),
    )


def _by_chance(classes, counts):
    """Return how many labels would disagree if features said nothing of them.

    Then nearly all examples look like the most frequent class, which agrees with many.
    """
    predicted = np.bincount(classes, minlength=len(counts)) / len(classes)
    return 1 - float(predicted @ counts) / counts.sum()


def true_classes(scores, matrix, *, steps=5):
    """Return distributions over true classes whose noisy labels are like the scores.

    Some steps of expectation maximisation for each row `s`, from itself:

        q_j <- q_j sum_k T_jk s_k / sum_i q_i T_ik
    """
    found = scores
    for _ in range(steps):
        found = found * (scores / np.maximum(found @ matrix, 1e-9) @ matrix.T)
        found = found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12)
    return found


def wrong_label_probability(scores, labels, matrix):
    """Return the probability that each label is wrong, given matrix and scores `(n,)`.

    `1 - q_y T_yy / sum_j q_j T_jy` for the given label `y` and `true_classes` q.
    """
    found = np.empty(len(labels))
    for rows in pieces(scores):
        given = labels[rows]
        joint = true_classes(scores[rows], matrix) * matrix[:, given].T
        right = joint[np.arange(len(given)), given]
        found[rows] = 1 - right / np.maximum(joint.sum(axis=1), 1e-12)
    return found


def _classes_behind(scores, matrix):
    """Return the likeliest true class of each example, and the share of each class."""
    classes = np.empty(len(scores), np.int64)
    total = np.zeros(scores.shape[1])
    for rows in pieces(scores):
        found = true_classes(scores[rows], matrix)
        classes[rows] = found.argmax(axis=1)
        total += found.sum(axis=0)
    return classes, total / total.sum()


def smoothed(matrix, counts):
    """Return a matrix that takes no label for impossible."""
    return 0.98 * matrix + 0.02 * counts / counts.sum()


def _core_of(scores, classes, labels):
    """Return a mask of the core, its share, and what is wrong in how large rings."""
    place = _places(classes, scores[np.arange(len(labels)), classes])
    ring = np.searchsorted(_SHARES, place)
    sizes = np.bincount(ring, minlength=len(_SHARES)).astype(float)
    wrong = np.bincount(ring, classes != labels, len(_SHARES))
    last = 0
    while last + 1 < len(_SHARES) and _is_flat(wrong, sizes, last + 1):
        last += 1
    # Of few examples the first rings can be empty.
    while not sizes[: last + 1].any():
        last += 1
    return ring <= last, _SHARES[last], wrong, sizes


def _places(classes, scores):
    """Return the place of each example in its class, in (0, 1], high scores first."""
    order = np.lexsort((-scores, classes))
    counts = np.bincount(classes)
    ranks = np.arange(1, len(classes) + 1) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    place = np.empty(len(classes))
    place[order] = ranks / np.repeat(counts, counts)
    return place


def _is_flat(wrong, sizes, last):
    """Whether no part of the rings up to `last` disagrees more than what is inside."""
    inside, outside = np.cumsum(wrong)[:last], np.cumsum(sizes)[:last]
    rest, of_rest = wrong[: last + 1].sum() - inside, sizes[: last + 1].sum() - outside
    counted = (outside > 0) & (of_rest > 0)
    inside, outside, rest, of_rest = (
        values[counted] for values in (inside, outside, rest, of_rest)
    )
    pooled = (inside + rest + 1) / (outside + of_rest + 2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / outside + 1 / of_rest))
    return bool((rest / of_rest - inside / outside <= _MOST_ERRORS * error).all())


def _start(wrong, sizes):
    """Return `a` of the curve `a + b t^c` that fits the rings best, weighted."""
    known = sizes > 0
    middle = ((np.append(0, _SHARES[:-1]) + _SHARES) / 2)[known]
    level = wrong[known] / sizes[known]
    weight = sizes[known] / np.maximum(level * (1 - level), 0.01)
    best, start = np.inf, 0.0
    for power in _POWERS:
        rise = middle**power
        rise_mean, level_mean = (np.average(v, weights=weight) for v in (rise, level))
        spread = (weight * (rise - rise_mean) ** 2).sum()
        slope = (weight * (rise - rise_mean) * level).sum() / max(spread, 1e-12)
        slope = max(slope, 0.0)
        constant = level_mean - slope * rise_mean
        error = (weight * (level - constant - slope * rise) ** 2).sum()
        if error < best:
            best, start = error, max(constant, 0.0)
    return start


def _transition(classes, labels, num_classes):
    """Return the labels of each class as shares, drawn to what all classes share."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (classes, labels), 1)
    right = np.trace(counts) / counts.sum()
    counts += _PRIOR_SIZE * (1 - right) / (num_classes - 1)
    np.fill_diagonal(
        counts,
        np.diag(counts) + _PRIOR_SIZE * (right - (1 - right) / (num_classes - 1)),
    )
    return counts / counts.sum(axis=1, keepdims=True)


def _scaled(matrix, prior, rate):
    """Return a matrix with the same kinds of mistakes, but at this rate."""
    wrong = 1 - prior @ np.diag(matrix)
    factor = rate / wrong if wrong > 0 else 1.0
    factor = min(factor, 1 / max(1 - np.diag(matrix).min(), 1e-12))
    return factor * matrix + (1 - factor) * np.eye(len(matrix))
