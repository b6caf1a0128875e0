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
_MOST_ERRORS = 2.0
# Examples of the pooled diagonal that each row of the matrix is drawn to.
_PRIOR_SIZE = 5.0
# Curves `a + b t^c` through the rings; 0 is the flat one.
_POWERS = (0, 1, 1.5, 2, 3, 4, 6, 10, 16)
# Labels that a ring has besides its own, as wrong as all are, where errors are weighed.
_PSEUDO_LABELS = 2.0
_LEAST_VARIANCE = 0.002
_ROUNDS = 2
_QUANTILE = 1.645
# Of the rise beyond the core, what may be there in the core too.
_OF_GAP = 0.2
# A rate is given if its interval is at most so wide on each side, less where classes
# overlap, and not wider than the rate unless it is small,
_MOST_HALF_WIDTH = 0.1
_DOUBT_BY_OVERLAP = 6.0
# ... the rise beyond the core is no more than so many times its lower end, or small,
_MOST_RISE = 2.0
_SMALL = 0.03
# and classes overlap and labels disagree less than in data that say nothing.
_MOST_OVERLAP = 0.45
_MOST_DISAGREEMENT = 0.75


@dataclasses.dataclass(frozen=True)
class Core:
    """What the most typical examples of each class say.

    Attributes:
        rate: Share of wrong labels, if noise is class-conditional.
        low: Lower end of its 90 % interval.
        high: Its upper end.
        matrix: Transition matrix `(num_classes, num_classes)`.
        prior: Shares of the true classes `(num_classes,)`.
        per_class: Share of the labels of each given class that are wrong, NaN for a
            class that no label has.
        is_class_conditional: Whether the disagreement is flat, and read precisely.
        tells_more: Whether the matrix ranks labels better than their margins do: it is
            flat, if perhaps not precisely.
        disagreement: Share of all labels that are not the class predicted.
        share: Which share of each class the core is.
    """

    rate: float
    low: float
    high: float
    matrix: np.ndarray
    prior: np.ndarray
    per_class: np.ndarray
    is_class_conditional: bool
    tells_more: bool
    disagreement: float
    share: float


def adaptive_core(views, labels, fold_of=None):
    """Return the `Core` that distributions of several sources and labels have.

    How typical an example is must not depend on its own label, or those on top are not
    a fair sample. It is not enough that an example's distribution has not seen its
    label: a right one makes the examples around it more typical, and so its own place
    worse. With folds no distribution depends on a label of its fold, and examples are
    ranked within their fold.

    Args:
        views: Distributions `P(noisy | x)` of sources that have not seen the example's
            own label, arrays `(n, num_classes)`.
        labels: Given labels `(n,)`.
        fold_of: Fold of each example `(n,)`, if no view has seen a label of the
            example's fold.
    """
    num_classes = views[0].shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    fold_of = np.zeros(len(labels), int) if fold_of is None else fold_of
    classes, typical = _most_probable(views)
    rings = _Rings(classes, typical, labels, fold_of)
    matrix = _transition(classes, labels, rings.core, num_classes)
    for _ in range(_ROUNDS):
        # Once more with the classes that are likeliest behind the labels.
        behind = _classes_behind(views, smoothed(matrix, counts), counts)
        classes, typical, prior = behind
        rings = _Rings(classes, typical, labels, fold_of)
        matrix = _transition(classes, labels, rings.core, num_classes)
    start, error = rings.start()
    disagreement = float((classes != labels).mean())
    gap = max(0.0, disagreement - start)
    # Classes that exist, by the labels, and that few examples look like: they hide
    # among the typical examples of others, as if these were mislabelled.
    predicted = np.bincount(classes, minlength=num_classes) / len(classes)
    hidden = float(np.maximum(prior - predicted, 0).sum()) * (1 - start)
    # What is not noise can only raise the disagreement.
    excess = hidden + _OF_GAP * gap
    low = max(0.0, start - excess - _QUANTILE * error)
    high = min(1.0, start + _QUANTILE * error)
    rate = max(0.0, start - excess / 2)
    matrix = _scaled(matrix, prior, rate)
    given = np.where(counts > 0, np.maximum(prior @ matrix, 1e-12), np.nan)
    chance = 1 - ((counts / counts.sum()) ** 2).sum()
    overlap = gap / max(0.05, chance - start)
    half = (high - low) / 2
    # Where classes overlap, only a precise reading tells that the start is flat.
    doubt = _QUANTILE * error * (1 + _DOUBT_BY_OVERLAP * overlap) + _OF_GAP * gap / 2
    is_flat = gap <= max(_SMALL, _MOST_RISE * rate) and overlap <= _MOST_OVERLAP
    return Core(
        rate=rate,
        low=low,
        high=high,
        matrix=matrix,
        prior=prior,
        per_class=np.clip(1 - prior * np.diag(matrix) / given, 0, 1),
        is_class_conditional=bool(
            max(half, doubt) <= _MOST_HALF_WIDTH
            and half <= max(_SMALL, rate)
            and gap <= max(_SMALL, _MOST_RISE * low)
            and is_flat
            and disagreement <= _MOST_DISAGREEMENT * _by_chance(classes, counts)
        ),
        tells_more=bool(is_flat),
        disagreement=disagreement,
        share=float(_SHARES[rings.last]),
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


def _most_probable(views):
    """Return the most probable class by the mean of all, and how probable it is."""
    classes = np.empty(len(views[0]), np.int64)
    typical = np.empty(len(classes), "float32")
    for rows in pieces(views[0]):
        scores = _mean(views, rows)
        classes[rows] = scores.argmax(axis=1)
        typical[rows] = scores.max(axis=1)
    return classes, typical


def _classes_behind(views, matrix, counts):
    """Return the likeliest true class, how typical of it, and the share of each class.

    Typical is what each source finds so: the least of their probabilities.
    """
    classes = np.empty(len(views[0]), np.int64)
    typical = np.empty(len(classes), "float32")
    total = np.zeros(len(matrix))
    for rows in pieces(views[0]):
        found = true_classes(_mean(views, rows), matrix)
        total += found.sum(axis=0, dtype="float64")
        best = classes[rows] = found.argmax(axis=1)
        at = np.arange(len(best)), best
        of_each = [found[at]]
        if len(views) > 1:
            mixed = (smoothed(view[rows], counts) for view in views)
            of_each = [true_classes(scores, matrix)[at] for scores in mixed]
        typical[rows] = np.min(of_each, axis=0)
    return classes, typical, total / total.sum()


def _mean(views, rows):
    """Return the mean of some rows of all views."""
    total = np.array(views[0][rows], "float32")
    for view in views[1:]:
        total += view[rows]
    return total / len(views)


def smoothed(matrix, counts):
    """Return a matrix that takes no label for impossible."""
    return 0.98 * matrix + 0.02 * counts / counts.sum()


class _Rings:
    """Parts of the predicted classes, from the most typical examples outwards.

    Attributes:
        sizes: Number of examples in each ring.
        wrong: Number of those whose label is not the class.
        last: Last ring of the core.
        core: Mask of its examples.
    """

    def __init__(self, classes, typical, labels, fold_of):
        part = fold_of * (classes.max() + 1) + classes
        ring = np.searchsorted(_SHARES, _places(part, typical))
        self.sizes = np.bincount(ring, minlength=len(_SHARES)).astype(float)
        self.wrong = np.bincount(ring, classes != labels, len(_SHARES))
        self.last = 0
        while self.last + 1 < len(_SHARES) and self._is_flat(self.last + 1):
            self.last += 1
        # Of few examples the first rings can be empty.
        while not self.sizes[: self.last + 1].any():
            self.last += 1
        self.core = ring <= self.last

    def _is_flat(self, last):
        """Whether no part of the rings up to `last` disagrees more than its inside."""
        wrong, sizes = self.wrong[: last + 1], self.sizes[: last + 1]
        inside, outside = np.cumsum(wrong)[:last], np.cumsum(sizes)[:last]
        rest, of_rest = wrong.sum() - inside, sizes.sum() - outside
        counted = (outside > 0) & (of_rest > 0)
        inside, outside, rest, of_rest = (
            values[counted] for values in (inside, outside, rest, of_rest)
        )
        pooled = (inside + rest + 1) / (outside + of_rest + 2)
        error = np.sqrt(pooled * (1 - pooled) * (1 / outside + 1 / of_rest))
        return bool((rest / of_rest - inside / outside <= _MOST_ERRORS * error).all())

    def start(self):
        """Return the disagreement at the start of the profile, and its standard error.

        It is the mean of `a` of curves `a + b t^c` through the rings, `b` not below
        zero, each weighted by how well it fits, with the spread of these curves in the
        error; `b` counts as one parameter (Akaike's weights).
        """
        known = self.sizes > 0
        middle = ((np.append(0, _SHARES[:-1]) + _SHARES) / 2)[known]
        sizes, wrong = self.sizes[known], self.wrong[known]
        pseudo = _PSEUDO_LABELS * wrong.sum() / sizes.sum()
        level = (wrong + pseudo) / (sizes + _PSEUDO_LABELS)
        weight = sizes / np.maximum(level * (1 - level), _LEAST_VARIANCE)
        curves = [_curve(middle, wrong / sizes, weight, power) for power in _POWERS]
        starts, variances, losses = np.array([c for c in curves if c is not None]).T
        shares = np.exp((losses.min() - losses) / 2)
        shares /= shares.sum()
        start = float(shares @ starts)
        variance = shares @ (variances + (starts - start) ** 2)
        return max(start, 0.0), float(np.sqrt(variance))


def _curve(middle, level, weight, power):
    """Return `a` of a curve, its variance, and Akaike's criterion; None if it falls."""
    level_mean = np.average(level, weights=weight)
    if power == 0:
        misfit = (weight * (level - level_mean) ** 2).sum()
        return level_mean, 1 / weight.sum(), misfit
    rise = middle**power
    rise_mean = np.average(rise, weights=weight)
    spread = max((weight * (rise - rise_mean) ** 2).sum(), 1e-12)
    slope = (weight * (rise - rise_mean) * level).sum() / spread
    if slope < 0:
        return None
    start = level_mean - slope * rise_mean
    misfit = (weight * (level - start - slope * rise) ** 2).sum()
    return start, 1 / weight.sum() + rise_mean**2 / spread, misfit + 2


def _places(part, typical):
    """Return the place of each example in its part, in (0, 1), typical ones first."""
    order = np.lexsort((-typical, part))
    counts = np.bincount(part)
    ranks = np.arange(len(part)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.empty(len(part))
    place[order] = (ranks + 0.5) / np.repeat(counts, counts)
    return place


def _transition(classes, labels, core, num_classes):
    """Return the labels of each class as shares, drawn to what all classes share."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (classes[core], labels[core]), 1)
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
