"""Test of the assumption that label noise depends on the class only."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import numpy as np

from keras_noisy import _arrays, _errors, _predictions, _sample_ids
from keras_noisy._errors import message
from keras_noisy._matrices import check_transition_matrix
from keras_noisy._typing import ArrayLike, BuildModel, Data
from keras_noisy.analysis import _rows

# Published matrices have three digits.
_ROW_SUM_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class ClassConditionalTest:
    """Outcome of `class_conditional_test`; as a string, a verdict in words.

    Attributes:
        epsilon: How far the error lies below `least_error`. Positive values speak
            against class-conditional noise.
        log10_bound: log10 of the bound `exp(-2 m epsilon^2)` on the probability of
            such an error under class-conditional noise; 0 where `epsilon` is not
            positive.
        least_error: The smallest expected error that any classifier can have on
            labels with class-conditional noise, `1 - sum_p w_p max_q T_pq`.
        error: Share of held-out noisy labels that the classifier got wrong.
        num_validation: Number `m` of held-out examples.
    """

    epsilon: float
    log10_bound: float
    least_error: float
    error: float
    num_validation: int

    def rejects(self, significance: float = 0.05) -> bool:
        """Whether class-conditional noise is rejected at a level in (0, 1)."""
        significance = _errors.check_number(
            "ClassConditionalTest", "significance", significance, low=1e-300, high=1
        )
        return self.log10_bound < math.log10(significance)

    def __str__(self) -> str:
        numbers = (
            f"error {self.error:.4f} on {self.num_validation} held-out noisy labels; "
            f"class-conditional noise allows {self.least_error:.4f} at best, epsilon = "
            f"{self.epsilon:.4f}"
        )
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
) -> ClassConditionalTest:
    """Test whether label noise can be class-conditional (Theorem 1 of SEAL).

    Under class-conditional noise with transition matrix `T`, no classifier can
    predict noisy labels with an expected error below `1 - sum_p w_p max_q T_pq`. If a
    network does better on `m` held-out examples, by `epsilon`, the probability of
    that is at most

        exp(-2 m epsilon^2)

    The bound holds if the held-out examples are a random part of the data and the
    network was neither trained nor selected on them, and for the true `T` and `w`:
    estimate them on verified examples. A matrix that is estimated on few examples
    has row maxima that are too large, which makes the test more cautious.

    Args:
        transition_matrix: `T (C, C)`, rows sum to one; `T[p, q]` is the probability
            that an example of class `p` is labelled `q`.
        class_weights: `w (C,)`, the share of each true class; sums to one.
        error: Share of the held-out noisy labels that the network got wrong.
        num_validation: Number `m` of held-out examples.

    Returns:
        A `ClassConditionalTest`.

    Raises:
        ValueError: If the matrix is not square with rows that sum to one, weights do
            not fit, `error` is not in [0, 1] or `num_validation` not positive.

    Example:
        >>> from keras_noisy import analysis
        >>> test = analysis.class_conditional_test(
        ...     [[0.8, 0.2], [0.3, 0.7]], [0.5, 0.5], error=0.15, num_validation=1000
        ... )
        >>> round(test.epsilon, 3), round(test.log10_bound, 2)
        (0.1, -8.69)

    Reference:
        Theorem 1 of Chen et al., "Beyond Class-Conditional Assumption: A Primary
        Attempt to Combat Instance-Dependent Label Noise", AAAI 2021.
    """
    owner = "class_conditional_test"
    matrix = check_transition_matrix(
        owner, transition_matrix, tolerance=_ROW_SUM_TOLERANCE
    )
    weights = _check_weights(owner, class_weights, len(matrix))
    error = _errors.check_number(owner, "error", error, low=0, high=1)
    num_validation = _errors.check_count(owner, "num_validation", num_validation)
    least_error = float(1 - weights @ matrix.max(axis=1))
    epsilon = least_error - error
    bound = -2 * num_validation * max(epsilon, 0.0) ** 2 / math.log(10)
    return ClassConditionalTest(
        epsilon=epsilon,
        # From zero, because a negative zero would print its sign.
        log10_bound=0.0 + bound,
        least_error=least_error,
        error=error,
        num_validation=num_validation,
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

    Args:
        build_model: Function that returns a compiled model with one output
            `(batch, num_classes)` and a loss for class ids.
        x: Inputs, an array or a structure of arrays of `n` examples.
        noisy_labels: Given labels, class ids `(n,)`.
        clean_labels: True labels `(n,)`, from which matrix and weights are
            estimated, -1 where they are not known; at least one example of each
            class must be. None if `transition_matrix` and `class_weights` are given.
        transition_matrix: `T (C, C)`, if it is known.
        class_weights: `w (C,)`, if they are known.
        hold_out: Share of the examples to hold out, in (0, 1).
        seed: Seed of the random choice of held-out examples.
        **fit_arguments: What `model.fit` takes, such as `epochs`. Do not select the
            model on the held-out examples: `validation_data` is not available here.

    Returns:
        A `ClassConditionalTest`; print it for a verdict in words.

    Raises:
        ValueError: If lengths differ, a class has no verified example, `hold_out` is
            not in (0, 1), or the network has diverged or several outputs.

    Example:
        >>> from keras_noisy import analysis
        >>> test = analysis.hold_out_class_conditional_test  # (build_model, x, ...)

    Reference:
        Section 2 of Chen et al., "Beyond Class-Conditional Assumption", AAAI 2021.
    """
    owner = "hold_out_class_conditional_test"
    x = _arrays.as_arrays(owner, "x", x)
    noisy = _arrays.labels_of(noisy_labels)
    size = _arrays.length(owner, "x", x)
    if noisy.shape != (size,) or noisy.dtype.kind not in "iu":
        expected = f"class ids of an integer dtype and shape ({size},), as x has"
        raise ValueError(message(owner, "noisy_labels", expected, _kind(noisy)))
    if (transition_matrix is None) != (class_weights is None) or (
        (transition_matrix is None) == (clean_labels is None)
    ):
        raise ValueError(
            f"{owner}: either `clean_labels`, or both `transition_matrix` and "
            "`class_weights` must be given. Received another combination."
        )
    if transition_matrix is None:
        transition_matrix, class_weights = _estimate(owner, noisy, clean_labels)
    held_out, rest = _split(owner, size, hold_out, seed)
    model = build_model()
    model.fit(_arrays.take(x, rest), noisy[rest], **fit_arguments)
    pieces = _predictions.in_pieces(owner, model, _arrays.take(x, held_out))
    wrong = _classes(owner, np.concatenate(list(pieces))) != noisy[held_out]
    return class_conditional_test(
        transition_matrix,
        cast(ArrayLike, class_weights),
        error=float(wrong.mean()),
        num_validation=len(held_out),
    )


def _classes(owner, predictions):
    """Return the classes predicted, or raise if there are none."""
    if predictions.ndim != 2 or predictions.shape[1] < 2:
        raise ValueError(_sample_ids.output_message(owner, predictions))
    _rows.check_largest(owner, "predictions", predictions)
    return predictions.argmax(axis=1)


def _split(owner, size, hold_out, seed):
    """Return the rows to hold out and the others."""
    hold_out = _errors.check_number(owner, "hold_out", hold_out, low=0, high=1)
    count = round(size * hold_out)
    if not 0 < count < size:
        expected = f"a share that leaves examples on both sides of {size}"
        raise ValueError(message(owner, "hold_out", expected, hold_out))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(size)
    return np.sort(order[:count]), np.sort(order[count:])


def _estimate(owner, noisy, clean_labels):
    """Return transition matrix and class weights from examples with both labels."""
    clean = _arrays.labels_of(clean_labels)
    if clean.shape != noisy.shape or clean.dtype.kind not in "iu":
        expected = f"class ids of an integer dtype and shape {noisy.shape}"
        raise ValueError(message(owner, "clean_labels", expected, _kind(clean)))
    known = clean >= 0
    num_classes = int(max(noisy.max(initial=0), clean.max(initial=0))) + 1
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (clean[known], noisy[known]), 1)
    sizes = counts.sum(axis=1)
    if not sizes.all():
        raise ValueError(
            f"{owner}: `clean_labels` must hold an example of every class. Received "
            f"none of class {int(np.argmin(sizes))}. Verify some of them by hand."
        )
    return counts / sizes[:, None], sizes / sizes.sum()


def _check_weights(owner, weights, num_classes):
    weights = np.asarray(weights, dtype="float64")
    is_right = weights.shape == (num_classes,) and np.all(weights >= 0)
    if not (is_right and abs(weights.sum() - 1) < 1e-3):
        expected = f"{num_classes} shares that sum to one"
        raise ValueError(message(owner, "class_weights", expected, weights.tolist()))
    return weights


def _kind(array):
    return f"{array.dtype}{list(array.shape)}"
