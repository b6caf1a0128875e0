"""Test of the assumption that label noise depends on the class only."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any, cast

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers, check_distribution
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_labels
from keras_noisy._checks.matrices import MOST_CLASSES, check_transition_matrix
from keras_noisy._checks.numbers import Interval
from keras_noisy._data import arrays, outputs
from keras_noisy._data.predictions import in_pieces
from keras_noisy._typing import ArrayLike, BuildModel, Data
from keras_noisy.analysis import _rows

# Published matrices have three digits.
_ROW_SUM_TOLERANCE = 1e-3
# A random sample of verified examples causes a warning more rarely.
_WARNING_LEVEL = 1e-3


@dataclasses.dataclass(frozen=True)
class ClassConditionalTest:
    """Outcome of `class_conditional_test`; as a string, a verdict in words.

    Attributes:
        epsilon: How far the error lies below `least_error`. Positive values speak
            against class-conditional noise.
        log10_bound: log10 of a bound on the probability of such an error under
            class-conditional noise, `exp(-2 m epsilon^2)` for a known matrix; 0 where
            `epsilon` is not positive.
        least_error: The smallest expected error that any classifier can have on
            labels with class-conditional noise, `1 - sum_p w_p max_q T_pq`.
        error: Share of held-out noisy labels that the classifier got wrong.
        num_validation: Number `m` of held-out examples.
        num_verified: Number of examples that the matrix was estimated on, None if it
            is known.
    """

    epsilon: float
    log10_bound: float
    least_error: float
    error: float
    num_validation: int
    num_verified: int | None = None

    def rejects(self, significance: float = 0.05) -> bool:
        """Whether class-conditional noise is rejected at a level in (0, 1)."""
        owner = "ClassConditionalTest"
        significance = Interval(1e-300, 1)(owner, "significance", significance)
        return self.log10_bound < math.log10(significance)

    def __str__(self) -> str:
        numbers = (
            f"error {self.error:.4f} on {self.num_validation} held-out noisy labels; "
            f"class-conditional noise allows {self.least_error:.4f} at best, epsilon = "
            f"{self.epsilon:.4f}"
        )
        if self.num_verified is not None:
            numbers += f", by {self.num_verified} verified examples"
        if self.epsilon <= 0:
            return f"No evidence against class-conditional noise: {numbers}."
        chance = f"probability at most 10^{self.log10_bound:.4g}"
        if self.rejects():
            return f"Class-conditional noise is rejected: {numbers}, {chance}."
        return f"Class-conditional noise is not rejected: {numbers}, {chance}."


def class_conditional_test(
    transition_matrix: ArrayLike,
    class_weights: ArrayLike,
    *,
    error: float,
    num_validation: int,
    num_verified: int | ArrayLike | None = None,
) -> ClassConditionalTest:
    """Test whether label noise can be class-conditional (Theorem 1 of SEAL).

    Under class-conditional noise with transition matrix `T`, no classifier can
    predict noisy labels with an expected error below `1 - sum_p w_p max_q T_pq`. If a
    network does better on `m` held-out examples, by `epsilon`, the probability of
    that is for known `T` and `w` at most

        exp(-2 m epsilon^2)

    Where they are estimated, `num_verified` must be given, or their sampling error
    counts as evidence. Of `n` random verified examples let `X` have the label that is
    most frequent in their class, and let `K` of the held-out labels be predicted.
    Row maxima of an estimate are too large rather than too small: `X` is at least a
    binomial number of `n` and `K` at most one of `m`, both with the probability
    `sum_p w_p max_q T_pq`. So the probability is at most that of Fisher's exact test,

        P(H >= K),  H hypergeometric: K + X hits of m + n, of which m are held out,
        which is at most  P(H = K) / (1 - (m - K) X / ((K + 1) (n - X + 1)))

    and for `n_p` verified examples of each class `p` and known `w`, by Hoeffding's
    inequality, at most

        exp(-2 epsilon^2 / (1 / m + sum_p w_p^2 / n_p))

    All hold if the held-out examples are a random part of the data, without the
    verified ones, and the network was neither trained nor selected on them.

    Args:
        transition_matrix: `T (C, C)`, rows sum to one; `T[p, q]` is the probability
            that an example of class `p` is labelled `q`.
        class_weights: `w (C,)`, the share of each true class; sums to one.
        error: Share of the held-out noisy labels that the network got wrong.
        num_validation: Number `m` of held-out examples.
        num_verified: Number `n` of verified examples, a random sample, on which matrix
            and weights were estimated; or, if the weights are known, `n_p (C,)`, on how
            many examples of each class its row was. By default None: both are known.

    Returns:
        A `ClassConditionalTest`.

    Raises:
        ValueError: If the matrix is not square with rows that sum to one, weights or
            numbers do not fit, `error` is not in [0, 1], or a number of examples is
            not positive.

    Example:
        >>> from keras_noisy import analysis
        >>> test = analysis.class_conditional_test(
        ...     [[0.8, 0.2], [0.3, 0.7]], [0.5, 0.5], error=0.15, num_validation=1000
        ... )
        >>> round(test.epsilon, 3), round(test.log10_bound, 2)
        (0.1, -8.69)

    Reference:
        Theorem 1 of Chen et al., "Beyond Class-Conditional Assumption: A Primary
        Attempt to Combat Instance-Dependent Label Noise", AAAI 2021. That the matrix
        can be estimated is ours.
    """
    owner = "class_conditional_test"
    matrix = check_transition_matrix(
        owner, transition_matrix, tolerance=_ROW_SUM_TOLERANCE
    )
    weights = _check_weights(owner, class_weights, len(matrix))
    error = Interval(0, 1)(owner, "error", error)
    num_validation = errors.check_count(
        owner, "num_validation", num_validation, high=math.inf
    )
    verified = _check_verified(owner, num_verified, weights)
    accuracy = float(weights @ matrix.max(axis=1))
    epsilon = 1 - accuracy - error
    bound = 0.0
    if epsilon > 0 and isinstance(verified, int):
        bound = _log_fisher(accuracy, verified, 1 - error, num_validation)
    elif epsilon > 0:
        spread = 0.0 if verified is None else _spread(weights, verified)
        bound = -2 * num_validation / (1 + num_validation * spread) * epsilon**2
    return ClassConditionalTest(
        epsilon=epsilon,
        log10_bound=bound / math.log(10),
        least_error=1 - accuracy,
        error=error,
        num_validation=num_validation,
        num_verified=None if verified is None else int(np.sum(verified)),
    )


def hold_out_class_conditional_test(
    build_model: BuildModel,
    x: Data,
    noisy_labels: ArrayLike,
    clean_labels: ArrayLike | None = None,
    *,
    transition_matrix: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    hold_out: float = 0.5,
    seed: int = 0,
    **fit_arguments: Any,
) -> ClassConditionalTest:
    """Hold out part of noisy data, train on the rest, and test.

    The verified examples must be a random sample of the data. If they were chosen by
    their true class instead, such as 50 of each, pass `class_weights`. No choice by the
    given labels, or by what looks suspicious, gives a right matrix.

    Matrix and held-out error must come from different examples: of a random sample the
    verified examples are held out only where there are not enough others, and with
    `class_weights` those that are held out do not count.

    Args:
        build_model: Function that returns a compiled model with one output
            `(batch, num_classes)` and a loss for class ids.
        x: Inputs, an array or a structure of arrays of `n` examples.
        noisy_labels: Given labels, class ids `(n,)`.
        clean_labels: True labels `(n,)` of verified examples, from which the matrix is
            estimated, -1 where they are not known. None if the matrix is known.
        transition_matrix: `T (C, C)`, if it is known.
        class_weights: `w (C,)`, the share of each true class. Needed with
            `transition_matrix`; with `clean_labels` where these were chosen by class,
            at least one of each.
        hold_out: Share of the examples to hold out, in (0, 1).
        seed: Seed of the random choice of held-out examples.
        **fit_arguments: What `model.fit` takes, such as `epochs`. Do not select the
            model on the held-out examples: `validation_data` is not available here.

    Returns:
        A `ClassConditionalTest`; print it for a verdict in words. A warning says that
        the verified examples are no random sample of the given labels.

    Raises:
        TypeError: If labels are no integers, or predictions no numbers.
        ValueError: If lengths differ, no example is verified or, with `class_weights`,
            none of a class, `hold_out` is not in (0, 1), or the network has diverged or
            several outputs.

    Example:
        >>> from keras_noisy import analysis
        >>> test = analysis.hold_out_class_conditional_test  # (build_model, x, ...)

    Reference:
        Section 2 of Chen et al., "Beyond Class-Conditional Assumption", AAAI 2021.
    """
    owner = "hold_out_class_conditional_test"
    if not callable(build_model):
        expected = "a function that returns a compiled model"
        raise TypeError(message(owner, "build_model", expected, build_model))
    x = arrays.as_arrays(owner, "x", x)
    size = arrays.length(owner, "x", x)
    fit = {"size": size, "num_classes": MOST_CLASSES}
    noisy = check_labels(owner, "noisy_labels", noisy_labels, **fit)
    seed = errors.check_seed(owner, seed, bits=63)
    if (transition_matrix is None) == (clean_labels is None) or (
        class_weights is None and clean_labels is None
    ):
        raise ValueError(
            f"{owner}: either `clean_labels`, or both `transition_matrix` and "
            "`class_weights` must be given. Received another combination."
        )
    known = np.zeros(size, bool)
    if clean_labels is not None:
        clean = check_labels(
            owner, "clean_labels", clean_labels, unverified=True, **fit
        )
        known = clean >= 0
    is_random = class_weights is None
    if class_weights is not None:
        class_weights = as_numbers(owner, "class_weights", class_weights)
    held_out, rest = _split(owner, known & is_random, hold_out, seed)
    num_verified: int | np.ndarray | None = None
    if clean_labels is not None:
        rows = rest[known[rest]]
        transition_matrix, class_weights, num_verified = _estimate(
            owner, clean[rows], noisy[rows], int(noisy.max()) + 1, class_weights
        )
        _warn_of_selection(owner, transition_matrix, class_weights, num_verified, noisy)
    model = build_model()
    model.fit(arrays.take(x, rest), noisy[rest], **fit_arguments)
    pieces = in_pieces(owner, model, arrays.take(x, held_out))
    found = np.concatenate(list(pieces))
    from_logits = bool(outputs.takes_logits(getattr(model, "loss", None)))
    wrong = _classes(owner, found, from_logits) != noisy[held_out]
    return class_conditional_test(
        cast(ArrayLike, transition_matrix),
        cast(ArrayLike, class_weights),
        error=float(wrong.mean()),
        num_validation=len(held_out),
        num_verified=num_verified,
    )


def _classes(owner, predictions, from_logits):
    """Return the classes predicted, or raise if there are none."""
    predictions = outputs.scores(owner, predictions, from_logits)
    _rows.check_largest(owner, "predictions", predictions)
    return predictions.argmax(axis=1)


def _split(owner, is_last, hold_out, seed):
    """Return the rows to hold out, of `is_last` only where needed, and the others."""
    hold_out = Interval(0, 1)(owner, "hold_out", hold_out)
    size = len(is_last)
    count = round(size * hold_out)
    if not 0 < count < size:
        expected = f"a share that leaves examples on both sides of {size}"
        raise ValueError(message(owner, "hold_out", expected, hold_out))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(size)
    order = order[np.argsort(is_last[order], kind="stable")]
    return np.sort(order[:count]), np.sort(order[count:])


def _estimate(owner, clean, noisy, num_classes, weights):
    """Return matrix, weights and number of examples, or of each class."""
    num_classes = max(num_classes, int(clean.max(initial=0)) + 1, np.size(weights))
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (clean, noisy), 1)
    sizes = counts.sum(axis=1)
    if not len(clean):
        raise ValueError(
            f"{owner}: `clean_labels` must hold verified examples, in the part that is "
            "not held out. Received none. Verify some, or hold out fewer."
        )
    # A class without an example has no weight: its row does not matter.
    matrix = np.where(sizes[:, None] > 0, counts, np.eye(num_classes))
    matrix = matrix / matrix.sum(axis=1, keepdims=True)
    if weights is None:
        return matrix, sizes / len(clean), len(clean)
    weights = _check_weights(owner, weights, num_classes)
    if not sizes[weights > 0].all():
        raise ValueError(
            f"{owner}: `clean_labels` must hold an example of every class, in the part "
            f"that is not held out. Received none of class "
            f"{int(np.argmax((weights > 0) & (sizes == 0)))}. Verify more of its "
            "examples, or hold out fewer."
        )
    return matrix, weights, sizes.astype(int)


def _warn_of_selection(owner, matrix, weights, num_verified, noisy):
    """Warn where verified examples have other given labels than all examples."""
    if isinstance(num_verified, int):
        spread = 1 / num_verified
    else:
        spread = _spread(weights, num_verified)
    shares = np.bincount(noisy, minlength=len(matrix)) / len(noisy)
    # Chernoff's bound for a binomial share.
    there, everywhere = (
        np.clip(values, 1e-12, 1 - 1e-12) for values in (weights @ matrix, shares)
    )
    divergence = there * np.log(there / everywhere)
    divergence += (1 - there) * np.log((1 - there) / (1 - everywhere))
    worst = int(np.argmax(divergence))
    if divergence[worst] > spread * math.log(2 * len(matrix) / _WARNING_LEVEL):
        warnings.warn(
            f"{owner}: the verified examples are no random sample: by them "
            f"{there[worst]:.1%} of the given labels would be class {worst}, and "
            f"{everywhere[worst]:.1%} are. The test is wrong for them. Verify examples "
            "that are drawn at random; if they were chosen by their true class, pass "
            "its right share as `class_weights`.",
            stacklevel=3,
        )


def _check_verified(owner, num_verified, weights):
    """Return None, a count, or an array of counts."""
    if num_verified is None or np.ndim(num_verified) == 0:
        if num_verified is None:
            return None
        return errors.check_count(owner, "num_verified", num_verified, high=math.inf)
    counts = as_numbers(owner, "num_verified", num_verified)
    is_right = counts.shape == weights.shape and counts.dtype.kind in "iu"
    if not (is_right and np.all(counts >= 0) and counts[weights > 0].all()):
        expected = f"a number, or {len(weights)} of them, positive where weights are"
        raise ValueError(message(owner, "num_verified", expected, num_verified))
    return counts


def _spread(weights, verified):
    """Return the sum of `w_p^2 / n_p` over the classes that there are."""
    there = weights > 0
    return float((weights[there] ** 2 / verified[there]).sum())


def _log_fisher(verified_share, num_verified, held_out_share, num_validation):
    """Return the logarithm of a bound on Fisher's exact test."""
    # Larger numbers lose digits below; fewer examples are less evidence.
    n, m = (min(number, 10**9) for number in (num_verified, num_validation))
    # Of estimates these are whole numbers; of others the cautious side counts.
    verified_hits = min(math.ceil(verified_share * n - 1e-6), n)
    hits = math.floor(held_out_share * m + 1e-6)
    log_first = _log_choose(m, hits) + _log_choose(n, verified_hits)
    log_first -= _log_choose(m + n, hits + verified_hits)
    # The quotient of terms falls along the tail: a geometric series is larger.
    ratio = (m - hits) * verified_hits / ((hits + 1) * (n - verified_hits + 1))
    return min(log_first - math.log1p(-ratio), 0.0) if ratio < 1 else 0.0


def _log_choose(n, k):
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _check_weights(owner, weights, num_classes):
    return check_distribution(
        owner, "class_weights", weights, num_classes, tolerance=_ROW_SUM_TOLERANCE
    )
