"""Targets of modified cross-entropy, as sums of few terms.

A target such as `(1 - e) q + e p` is linear in the labels and the prediction, and so
is the cross-entropy to it: `(1 - e) H(q, p) + e H(p, p)`. Kept as weights and terms, it
costs a sum over the classes for each term; as a tensor, it would be written, read and
differentiated whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from keras import ops

from keras_noisy._typing import Tensor
from keras_noisy.losses import _formula
from keras_noisy.losses._prediction import Prediction

# A weight, and a function that returns a cross-entropy.
Term: TypeAlias = tuple[Any, Callable[[], Tensor]]


class Target:
    """A weighted sum of distributions, each with its cross-entropy.

    Args:
        terms: List of pairs of a weight (a number, or a tensor of shape `(...)`) and
            a function that returns the cross-entropy of the term, shape `(...)`.
    """

    # NumPy scalars leave the multiplication to this class.
    __array_ufunc__ = None

    def __init__(self, terms: Sequence[Term]) -> None:
        self._terms = terms

    def __add__(self, other: Target) -> Target:
        """Return the sum of two targets."""
        if not isinstance(other, Target):
            return NotImplemented
        return Target([*self._terms, *other._terms])

    def __sub__(self, other: Target) -> Target:
        """Return the difference of two targets."""
        return self + -1 * other

    def __mul__(self, weight: float | Tensor) -> Target:
        """Return the target times a number, or a tensor with one for each example."""
        if isinstance(weight, Target):
            raise TypeError(
                "A target is a weighted sum: targets cannot be multiplied with each "
                "other. Build the product of `q.labels` and `p.probabilities` as a "
                "tensor and return that."
            )
        return Target([(weight * own, term) for own, term in self._terms])

    __rmul__ = __mul__

    def __neg__(self) -> Target:
        """Return the target times -1."""
        return -1 * self

    def __truediv__(self, divisor: float | Tensor) -> Target:
        """Return the target divided by a number or a tensor."""
        return self * (1 / divisor)

    def cross_entropy(self) -> Tensor:
        """Return `-sum_k target_k log p_k`, shape `(...)`."""
        total = 0
        for weight, term in self._terms:
            total = total + weight * term()
        return total


class LabelTarget(Target):
    """The labels `q` as a target.

    Attributes:
        labels: `q` as a tensor `(..., num_classes)`.
    """

    def __init__(self, labels: Tensor, prediction: Prediction) -> None:
        super().__init__([(1, lambda: prediction.cross_entropy(labels))])
        self.labels = labels


class PredictionTarget(Target):
    """The prediction `p` as a target, and what can be said about it.

    As a target it carries gradient; what its methods return does not.

    Attributes:
        num_classes: Number of classes.
    """

    def __init__(self, prediction: Prediction) -> None:
        super().__init__([(1, prediction.entropy)])
        self._prediction = prediction
        self.num_classes = prediction.num_classes

    @property
    def probabilities(self) -> Tensor:
        """`p` as a tensor `(..., num_classes)`, with its gradient."""
        return self._prediction.probabilities

    def constant(self) -> Target:
        """Return the prediction as a target without a gradient of its own."""
        return self.of(ops.stop_gradient(self.probabilities))

    def argmax(self) -> Target:
        """Return the predicted class, one-hot, as a target."""
        return Target([(1, self._prediction.argmax_cross_entropy)])

    def uniform(self) -> Target:
        """Return the uniform distribution as a target."""
        return Target([(1, self._prediction.uniform_cross_entropy)])

    def of(self, distribution: Tensor) -> Target:
        """Return a tensor `(..., num_classes)` as a target."""
        return Target([(1, lambda: self._prediction.cross_entropy(distribution))])

    def local_trust(self) -> Tensor:
        """Return `1 - H(p) / H(u)` in [0, 1], shape `(...)`, a constant."""
        return ops.stop_gradient(self._prediction.local_trust())

    def entropy(self) -> Tensor:
        """Return `H(p)`, shape `(...)`, a constant."""
        return ops.stop_gradient(self._prediction.entropy())


TargetFunction: TypeAlias = Callable[[LabelTarget, PredictionTarget], Any]


def per_example(owner, y_true, y_pred, from_logits, target):
    """Return the cross-entropy to `target(q, p)`, as `_formula.per_example`."""

    def formula(q, prediction):
        p = PredictionTarget(prediction)
        result = target(LabelTarget(q, prediction), p)
        if not isinstance(result, Target):
            result = p.of(ops.cast(result, q.dtype))
        return result.cross_entropy()

    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)
