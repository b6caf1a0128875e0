"""Which labels are wrong: a table of suspects, from several sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers, pieces
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_labels
from keras_noisy._checks.numbers import optional
from keras_noisy._typing import ArrayLike, LossThreshold, RankBy
from keras_noisy.analysis import _units
from keras_noisy.analysis.beta_mixture import beta_mixture
from keras_noisy.analysis.label_correction import candidates
from keras_noisy.analysis.neighbor_votes import votes
from keras_noisy.analysis.suspects_table import Suspects


def find_suspects(
    labels: ArrayLike,
    soft_labels: ArrayLike | None = None,
    *,
    features: ArrayLike | Sequence[ArrayLike] | None = None,
    predictions: ArrayLike | None = None,
    mean_losses: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    rank_by: RankBy = "margin",
    threshold: LossThreshold = "deviation",
    iterations: int | None = None,
) -> Suspects:
    """Order examples by how suspicious their labels are.

    At least one source must be given. Of several, the distributions over classes that
    each of them makes are averaged:

    - `features`, one array `(n, d)` or a list of them: the votes of the nearest
      neighbours in each (`neighbor_votes`).
    - `soft_labels`, SEAL's averaged predictions `S`: a label is suspect where the
      mean probability of another class is larger than that of the given one. Networks
      of one training suffice.
    - `predictions`, probabilities of networks that did not train on the example
      (cross-validation), judged by cleanlab's confident learning. Needs the extra
      `cleanlab`.
    - `mean_losses`, the average over training of each example's loss. It proposes no
      label: the given one stays. `threshold` says which losses are suspect.

    Args:
        labels: Given labels, class ids `(n,)`.
        soft_labels: `(n, num_classes)`; a memory map is read in parts.
        predictions: `(n, num_classes)`.
        features: `(n, d)`, or a list of such arrays.
        mean_losses: `(n,)`.
        groups: Ids `(n,)` of examples that do not vouch for each other, as for
            `neighbor_votes`.
        rank_by: The order by `soft_labels`. `"margin"`: by how far the best other
            class lies above the given one, `(1 + max_{k != y} S_k - S_y) / 2`;
            `"correction"`: by `max_{k != y} S_k`, as Eq. 10 of the paper has it;
            `"self_confidence"`: by `1 - S_y`. They hold the same labels for suspect.
            The margin is the default because it was at least as good as Eq. 10 on
            every noise that we measured (`benchmarks/results/suspects.md`).
        threshold: Of `mean_losses`. `"deviation"`: above the mean plus one standard
            deviation of the finite ones; `"beta_mixture"`: more probably of the second
            distribution of `beta_mixture`, that of wrong labels.
        iterations: Of `beta_mixture`; by default None, to convergence.

    Returns:
        `Suspects`, the most suspicious first; equal ones in the order of the data.

    Raises:
        ImportError: If cleanlab is needed and missing.
        TypeError: If labels are no integers, or predictions no numbers.
        ValueError: If not exactly one source is given, `rank_by` is unknown, lengths
            differ, ids are out of range, or values are NaN or negative probabilities.

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
        "mean_losses": mean_losses,
    }
    given = {name: value for name, value in sources.items() if value is not None}
    if not given:
        expected = "at least one of `soft_labels`, `features`, `predictions` and"
        expected += " `mean_losses`"
        raise ValueError(f"{owner}: {expected} must be given. Received: none.")
    labels = check_labels(owner, "labels", labels)
    errors.check_choice(owner, "rank_by", rank_by, tuple(_RANKS))
    errors.check_choice(owner, "threshold", threshold, tuple(_THRESHOLDS))
    iterations = optional(errors.check_count)(owner, "iterations", iterations)
    if [*given] == ["mean_losses"]:
        judged = _by_losses(owner, labels, mean_losses, threshold, iterations)
    elif [*given] == ["predictions"]:
        judged = _by_cleanlab(owner, labels, predictions)
    elif [*given] == ["soft_labels"]:
        judged = _by_soft_labels(owner, labels, soft_labels, rank_by)
    else:
        mean = _mean_of_sources(owner, labels, given, groups)
        judged = _by_soft_labels(owner, labels, mean, rank_by)
    proposed, confidence, is_suspect = judged
    # Stable, so that equal ones keep the order of the data on every machine.
    order = np.argsort(-confidence, kind="stable")
    return Suspects(
        sample_id=order,
        given_label=labels[order],
        proposed_label=proposed[order].astype(labels.dtype),
        confidence=confidence[order],
        is_suspect=is_suspect[order],
        source=" + ".join(given),
    )


def _mean_of_sources(owner, labels, given, groups):
    """Return the mean of the distributions `(n, num_classes)` that sources make."""
    found = []
    for name in ("soft_labels", "predictions"):
        if name in given:
            values = as_numbers(owner, name, given[name])
            candidates(owner, name, values, labels)
            _check_probabilities(owner, name, values)
            found.append(np.asarray(values, "float32"))
    num_classes = found[0].shape[1] if found else None
    if len({values.shape for values in found}) > 1:
        received = errors.describe_array(found[1])
        expected = f"of shape {found[0].shape}, as `soft_labels`"
        raise ValueError(message(owner, "predictions", expected, received))
    several = given.get("features", ())
    is_one = getattr(several, "ndim", 0) == 2 or np.ndim(several[:1]) == 2
    for features in [several] if len(several) and is_one else several:
        features = _units.check_features(owner, "features", features, len(labels))
        labels, num_classes = _units.check_labels_and_classes(
            owner, labels, num_classes, len(labels)
        )
        groups = _units.check_groups(owner, groups, len(labels))
        units = _units.find_units(features, groups)
        found.append(votes(owner, features, labels, num_classes, units, None, "cosine"))
    mean = np.mean(found, axis=0)
    if "mean_losses" in given:
        mean = _with_losses(owner, labels, mean, given["mean_losses"], len(found))
    return mean


def _with_losses(owner, labels, mean, mean_losses, count):
    """Return the mean with one more source, the probability that losses say."""
    losses = _check_losses(owner, labels, mean_losses)
    at = (np.arange(len(labels)), labels.astype(int))
    before = mean[at]
    after = (count * before + np.exp(-losses)) / (count + 1)
    rest = np.maximum(1 - before, 1e-12)
    mean = mean * ((1 - after) / rest)[:, None]
    mean[at] = after
    return mean


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
    soft_labels = as_numbers(owner, "soft_labels", soft_labels)
    of_other, proposed = candidates(owner, "soft_labels", soft_labels, labels)
    _check_probabilities(owner, "soft_labels", soft_labels)
    of_given = np.empty(len(labels))  # Half precision would tie what is not tied.
    for rows in pieces(soft_labels):
        at = labels[rows, None].astype(int)
        of_given[rows] = np.take_along_axis(soft_labels[rows], at, 1)[:, 0]
    confidence = _RANKS[rank_by](of_other.astype("float64"), of_given)
    return proposed, confidence, of_other > of_given


def _by_cleanlab(owner, labels, predictions):
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise ImportError(
            f"{owner}: `predictions` needs cleanlab. Install it with "
            "`pip install keras-noisy[cleanlab]`."
        ) from error
    predictions = as_numbers(owner, "predictions", predictions)
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
