"""Targets of modified cross-entropy, as sums of few terms.

A target such as `(1 - e) q + e p` is linear in the labels and the prediction, and so
is the cross-entropy to it: `(1 - e) H(q, p) + e H(p, p)`. Kept as weights and terms, it
costs a sum over the classes for each term; as a tensor, it would be written, read and
differentiated whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from keras import ops

from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula
from keras_noisy.losses._prediction import Prediction

# A weight, and functions that return a cross-entropy and its distribution.
Term: TypeAlias = tuple[Any, Callable[[], Tensor], Callable[[], Tensor]]


class Target:
    """A weighted sum of distributions, each with its cross-entropy.

    Args:
        terms: List of a weight (a number, or a tensor of shape `(...)`), a function
            that returns the cross-entropy of the term, shape `(...)`, and one that
            returns the term itself, `(..., num_classes)`.
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
        return Target([(weight * own, *term) for own, *term in self._terms])

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
        for weight, cross_entropy, _ in self._terms:
            total = total + weight * cross_entropy()
        return total

    def distribution(self) -> Tensor:
        """Return the target as a tensor `(..., num_classes)`."""
        total = 0
        for weight, _, distribution in self._terms:
            is_scalar = not getattr(weight, "shape", ())
            weight = weight if is_scalar else weight[..., None]
            total = total + weight * distribution()
        return total


class LabelTarget(Target):
    """The labels `q` as a target.

    Attributes:
        labels: `q` as a tensor `(..., num_classes)`.
    """

    def __init__(self, labels: Tensor, prediction: Prediction) -> None:
        super().__init__(
            [(1, lambda: prediction.cross_entropy(labels), lambda: labels)]
        )
        self.labels = labels


class PredictionTarget(Target):
    """The prediction `p` as a target, and what can be said about it.

    As a target it carries gradient; what its methods return does not.

    Attributes:
        num_classes: Number of classes.
    """

    def __init__(self, prediction: Prediction) -> None:
        super().__init__([(1, prediction.entropy, lambda: prediction.probabilities)])
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
        p = self._prediction
        return Target([(1, p.argmax_cross_entropy, p.argmax_one_hot)])

    def uniform(self) -> Target:
        """Return the uniform distribution as a target."""
        p = self._prediction

        def distribution():
            return ops.ones_like(p.exp) / self.num_classes

        return Target([(1, p.uniform_cross_entropy, distribution)])

    def of(self, distribution: Tensor) -> Target:
        """Return a tensor `(..., num_classes)` as a target."""
        p = self._prediction
        return Target(
            [(1, lambda: p.cross_entropy(distribution), lambda: distribution)]
        )

    def local_trust(self) -> Tensor:
        """Return `1 - H(p) / H(u)` in [0, 1], shape `(...)`, a constant."""
        return ops.stop_gradient(self._prediction.local_trust())

    def entropy(self) -> Tensor:
        """Return `H(p)`, shape `(...)`, a constant."""
        return ops.stop_gradient(self._prediction.entropy())


class TimedTargetFunction(Protocol):
    """A function of labels, predictions and the progress of the training."""

    def __call__(self, q: LabelTarget, p: PredictionTarget, /, progress: Tensor) -> Any:
        """Return the target."""


TargetFunction: TypeAlias = (
    Callable[[LabelTarget, PredictionTarget], Any] | TimedTargetFunction
)


class WithTarget:
    """Base of the losses that are the cross-entropy to a modified target."""

    from_logits: bool

    def _target(self) -> Callable[[LabelTarget, PredictionTarget], Any]:
        """Return the target that the loss has now, a function of `q` and `p`."""
        raise NotImplementedError

    def modified_targets(self, y_true: TensorLike, y_pred: TensorLike) -> Tensor:
        """Return the targets `q~` that the loss has now.

        The class of the largest entry is the target's semantic class (Definition 1 of
        the ProSelfLC paper).

        Args:
            y_true: Labels, as the loss takes them.
            y_pred: Predictions `(..., num_classes)`, as the loss takes them.

        Returns:
            Tensor `(..., num_classes)`, a constant.
        """
        owner = type(self).__name__
        return distributions(owner, y_true, y_pred, self.from_logits, self._target())


def per_example(owner, y_true, y_pred, from_logits, target):
    """Return the cross-entropy to `target(q, p)`, as `_formula.per_example`."""

    def formula(q, prediction):
        return _applied(target, q, prediction).cross_entropy()

    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)


def distributions(owner, y_true, y_pred, from_logits, target):
    """Return `target(q, p)` as a tensor `(..., num_classes)`, a constant.

    Arguments are those of `per_example`.
    """
    labels, prediction = _formula.read(owner, y_true, y_pred, from_logits)
    return ops.stop_gradient(_applied(target, labels.q, prediction).distribution())


def _applied(target, q, prediction):
    p = PredictionTarget(prediction)
    result = target(LabelTarget(q, prediction), p)
    return result if isinstance(result, Target) else p.of(ops.cast(result, q.dtype))
