"""Which labels are wrong: a table of suspects, from several sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers, as_predictions, pieces
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_labels
from keras_noisy._checks.numbers import optional
from keras_noisy._typing import ArrayLike, LossThreshold, NeighborMetric, RankBy
from keras_noisy.analysis import _core, _sources
from keras_noisy.analysis.beta_mixture import beta_mixture
from keras_noisy.analysis.label_correction import candidates
from keras_noisy.analysis.neighbor_votes import METRICS
from keras_noisy.analysis.suspects_table import Suspects

# Of what the labels of a class count, the most that those before a suspect hold.
_MOST_OF_CLASS = 1 / 3


def find_suspects(
    labels: ArrayLike,
    soft_labels: ArrayLike | None = None,
    *,
    features: ArrayLike | Sequence[ArrayLike] | None = None,
    predictions: ArrayLike | None = None,
    held_out: ArrayLike | None = None,
    mean_losses: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    metric: NeighborMetric = "cosine",
    rank_by: RankBy = "margin",
    threshold: LossThreshold = "deviation",
    iterations: int | None = None,
    seed: int = 0,
    verbose: bool = False,
) -> Suspects:
    """Order examples by how suspicious their labels are.

    One source or several must be given:

    - `soft_labels`, SEAL's averaged predictions: networks of one training suffice.
    - `features`, for instance of a pre-trained network: votes of the nearest neighbours
      (`neighbor_votes`), and a logistic regression on the other folds. A second array
      can be the hidden layer of a network that was trained on the labels.
    - `predictions`, probabilities of networks that did not train on the example
      (cross-validation). Alone they are judged by cleanlab's confident learning, which
      needs the extra `cleanlab`.
    - `held_out`, any other distributions that have not seen the example's label, such
      as `Diagnosis.soft_labels`; or predictions that cleanlab is not to judge.
    - `mean_losses`, the average over training of each example's loss. Alone they
      propose no label, the given one stays; `threshold` says which losses are suspect.

    The mean `S` of the distributions over classes that the sources make is compared
    with the given label `y`, by the margin `(1 + max_{k != y} S_k - S_y) / 2`. Where
    sources that have not seen the labels show noise that looks class-conditional
    (`noise_rate`, which gives a rate more seldom), its matrix `T` tells more: with `q`
    the true classes whose noisy labels are like `S`,

        confidence = (margin + 1 - q_y T_yy / sum_j q_j T_jy) / 2

    A label is suspect if the confidence is above one half, and it is not needed to
    leave most of its class: the more suspicious labels of the class hold at most a
    third of the sum of `S_y` over all of them, and a third of that of
    `q_y T_yy / sum_j q_j T_jy`. Of a rare class another one is always more probable;
    so right labels of it remain, unless all labels of it look as wrong.

    Args:
        labels: Given labels, class ids `(n,)`.
        soft_labels: `(n, num_classes)`; a memory map is read in parts.
        features: `(n, d)`, or a list of such arrays. The first should not have seen the
            labels.
        predictions: `(n, num_classes)`.
        held_out: `(n, num_classes)`.
        mean_losses: `(n,)`. Beside other sources `exp(-loss)` is the probability of the
            given label.
        groups: Ids `(n,)` of examples that do not vouch for each other, as for
            `neighbor_votes`.
        metric: Of `features`, as for `neighbor_votes`.
        rank_by: The order. `"margin"`: by the confidence above; `"correction"`: by
            `max_{k != y} S_k`, as Eq. 10 of the paper has it; `"self_confidence"`: by
            `1 - S_y`. They hold the same labels for suspect.
        threshold: Of `mean_losses` alone. `"deviation"`: above the mean plus one
            standard deviation of the finite ones; `"beta_mixture"`: more probably of
            the second distribution of `beta_mixture`, that of wrong labels.
        iterations: Of `beta_mixture`; by default None, to convergence.
        seed: Of the folds of the regression.
        verbose: Whether to show the progress of what takes long with `features`.

    Returns:
        `Suspects`, the most suspicious first; equal ones in the order of the data.

    Raises:
        ImportError: If cleanlab is needed and missing.
        TypeError: If labels are no integers, or predictions no numbers.
        ValueError: If no source is given, `rank_by` is unknown, lengths differ, ids are
            out of range, or values are NaN or negative probabilities.

    Example:
        >>> from keras_noisy import analysis
        >>> soft = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
        >>> suspects = analysis.find_suspects([0, 0, 0], soft)
        >>> suspects
        Suspects(1 of 3 labels, 33.3%, source='soft_labels')
        >>> suspects.top(1).proposed_label, suspects.cleaned_labels()
        (array([1]), array([0, 1, 0]))

    Reference:
        Eq. 10 of Chen et al., "Beyond Class-Conditional Assumption", AAAI 2021;
        Northcutt et al., "Confident Learning", JAIR 2021.
    """
    owner = "find_suspects"
    sources = {
        "soft_labels": soft_labels,
        "features": features,
        "predictions": predictions,
        "held_out": held_out,
        "mean_losses": mean_losses,
    }
    given = {name: value for name, value in sources.items() if value is not None}
    if not given:
        expected = "at least one of `soft_labels`, `features`, `predictions`,"
        expected += " `held_out` and `mean_losses`"
        raise ValueError(f"{owner}: {expected} must be given. Received: none.")
    labels = check_labels(owner, "labels", labels)
    errors.check_choice(owner, "rank_by", rank_by, tuple(_RANKS))
    errors.check_choice(owner, "threshold", threshold, tuple(_THRESHOLDS))
    errors.check_choice(owner, "metric", metric, METRICS)
    iterations = optional(errors.check_count)(owner, "iterations", iterations)
    seed = errors.check_seed(owner, seed)
    errors.check_bool(owner, "verbose", verbose)
    if [*given] == ["mean_losses"]:
        judged = _by_losses(owner, labels, mean_losses, threshold, iterations)
    elif [*given] == ["predictions"]:
        judged = _by_cleanlab(owner, labels, predictions)
    elif [*given] == ["soft_labels"]:
        judged = _by_soft_labels(owner, labels, soft_labels, rank_by)
    else:
        losses = given.pop("mean_losses", None)
        read = _sources.read(
            owner,
            labels,
            features=features,
            soft_labels=soft_labels,
            predictions=predictions,
            held_out=held_out,
            groups=groups,
            seed=seed,
            metric=metric,
            verbose=verbose,
        )
        judged = _by_sources(owner, read, losses, rank_by)
    proposed, confidence, is_suspect = judged
    # Stable, so that equal ones keep the order of the data on every machine.
    order = np.argsort(-confidence, kind="stable")
    return Suspects(
        sample_id=order,
        given_label=labels[order],
        proposed_label=proposed[order].astype(labels.dtype),
        confidence=confidence[order],
        is_suspect=is_suspect[order],
        source=" + ".join(name for name, value in sources.items() if value is not None),
    )


def _by_sources(owner, sources, mean_losses, rank_by):
    """Judge labels by the mean of distributions, and by a matrix where it holds."""
    scores, labels = sources.mean(), sources.labels
    if mean_losses is not None:
        count = len(sources.held_out) + len(sources.in_sample)
        scores = _with_losses(owner, labels, scores, mean_losses, count)
    proposed, of_other, of_given = _compared(owner, "labels", scores, labels)
    confidence = (1 + of_other - of_given) / 2
    counts = np.bincount(labels, minlength=sources.num_classes)
    keeps_most = _leaves_most(labels, confidence, of_given)
    core = sources.core() if np.count_nonzero(counts) > 1 else None
    if core is not None:
        matrix = _core.smoothed(core.matrix, counts)
        wrong = _core.wrong_label_probability(scores, labels, matrix)
        # Even where the matrix does not hold for all examples, it tells the right
        # labels of a rare class, which are improbable, from those that leak into it.
        keeps_most &= _leaves_most(labels, wrong, 1 - wrong)
        if core.tells_more:
            confidence = (confidence + wrong) / 2
    is_suspect = (confidence > 0.5) & keeps_most
    if rank_by != "margin":
        confidence = _RANKS[rank_by](of_other, of_given)
    return proposed, confidence, is_suspect


def _leaves_most(labels, suspicion, right):
    """Whether most right labels of its class are less suspicious than each label.

    A label counts by how probably it is `right`, `(n,)`. Those that are more suspicious
    hold at most a third of what all labels of the class count: by chance that is
    seldom half. The first of a class always is within.
    """
    is_within = np.zeros(len(labels), bool)
    order = np.lexsort((-suspicion, labels))
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    for rows in np.split(order, starts):
        mass = np.cumsum(right[rows])
        is_within[rows] = mass - right[rows] <= _MOST_OF_CLASS * mass[-1:]
    return is_within


def _with_losses(owner, labels, scores, mean_losses, count):
    """Return the mean with one more source, the probability that losses say."""
    losses = _check_losses(owner, labels, mean_losses)
    at = (np.arange(len(labels)), labels)
    before = scores[at]
    after = (count * before + np.exp(-np.maximum(losses, 0))) / (count + 1)
    # The other classes share the rest as they did.
    scores = scores * ((1 - after) / np.maximum(1 - before, 1e-6))[:, None]
    scores[at] = after
    return scores


def _check_probabilities(owner, source, values):
    low = min((values[rows].min() for rows in pieces(values)), default=0)
    if low < 0:
        mend = "Pass probabilities: the softmax of logits."
        received = errors.Described(f"values from {low:.4g} on")
        raise ValueError(message(owner, source, "probabilities", received, mend))


# From the mean probability of the best other class and that of the given one.
_RANKS = {
    "margin": lambda other, given: (1 + other - given) / 2,
    "correction": lambda other, given: other,
    "self_confidence": lambda other, given: 1 - given,
}


def _by_soft_labels(owner, labels, soft_labels, rank_by):
    soft_labels = as_predictions(owner, "soft_labels", soft_labels)
    proposed, of_other, of_given = _compared(owner, "soft_labels", soft_labels, labels)
    _check_probabilities(owner, "soft_labels", soft_labels)
    confidence = _RANKS[rank_by](of_other, of_given)
    suspicion = _RANKS["margin"](of_other, of_given)
    is_suspect = (of_other > of_given) & _leaves_most(labels, suspicion, of_given)
    return proposed, confidence, is_suspect


def _compared(owner, argument, scores, labels):
    """Return the best other class, and the scores of it and of the given label."""
    of_other, proposed = candidates(owner, argument, scores, labels)
    of_given = np.empty(len(labels))  # Half precision would tie what is not tied.
    for rows in pieces(scores):
        at = labels[rows, None].astype(int)
        of_given[rows] = np.take_along_axis(scores[rows], at, 1)[:, 0]
    return proposed, of_other.astype("float64"), of_given


def _by_cleanlab(owner, labels, predictions):
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise ImportError(
            f"{owner}: `predictions` needs cleanlab. Install it with "
            "`pip install keras-noisy[cleanlab]`."
        ) from error
    predictions = as_predictions(owner, "predictions", predictions)
    _, proposed = candidates(owner, "predictions", predictions, labels)
    _check_probabilities(owner, "predictions", predictions)
    quality = get_label_quality_scores(labels.astype(int), predictions)
    # More jobs fork this process, whose backend has threads: that can deadlock.
    is_suspect = find_label_issues(labels.astype(int), predictions, n_jobs=1)
    return proposed, 1 - np.asarray(quality), np.asarray(is_suspect, bool)


def _by_losses(owner, labels, mean_losses, threshold, iterations):
    losses = _check_losses(owner, labels, mean_losses)
    return labels, losses, _THRESHOLDS[threshold](losses, iterations)


def _check_losses(owner, labels, mean_losses):
    losses = as_numbers(owner, "mean_losses", mean_losses).astype("float64")
    if losses.shape != labels.shape:
        expected = f"of shape {labels.shape}, as `labels`"
        received = errors.describe_array(losses)
        raise ValueError(message(owner, "mean_losses", expected, received))
    # Minus infinity is no loss; infinity is that of a label of probability zero.
    if not (losses > -np.inf).all():
        received = errors.Described("NaN or minus infinity")
        raise ValueError(message(owner, "mean_losses", "numbers", received))
    if len(losses) and np.isinf(losses).all():
        received = errors.Described("infinity alone")
        raise ValueError(message(owner, "mean_losses", "finite for some", received))
    return losses


def _far_above_the_mean(losses, iterations):
    """Whether each is above the mean plus a standard deviation of the finite ones."""
    finite = losses[np.isfinite(losses)]
    # A power of two changes no digit; squares of large losses would be infinite.
    _, exponent = np.frexp(np.abs(finite).max(initial=0.0))
    losses, finite = (np.ldexp(values, -exponent) for values in (losses, finite))
    return losses > finite.mean() + finite.std() if len(losses) else losses > 0


def _of_the_second_component(losses, iterations):
    mixture = beta_mixture(losses, iterations=iterations)
    return mixture.wrong_label_probability(losses) > 0.5


_THRESHOLDS = {
    "deviation": _far_above_the_mean,
    "beta_mixture": _of_the_second_component,
}
