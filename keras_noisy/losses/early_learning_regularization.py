"""Early-learning regularisation (ELR)."""

from __future__ import annotations

from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._step import rows
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss, _prediction, _tensors


@_loss.arguments(
    weight=at_least_zero("Try 3.0."),
)
def early_learning_regularization(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    target: TensorLike,
    weight: float,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy, and agreement with what the network predicted early on.

    With `t` the moving average of the network's own predictions on the example, a
    constant,

        loss = H(q, p) + weight log(1 - sum_k t_k p_k)

    Networks learn the right labels before they fit the wrong ones; the second term
    holds them to what they learnt first. `updated_target` moves the average, which
    the caller keeps for every example. In `fit` that is done by the class and
    `keras_noisy.callbacks.EarlyLearningTargets`.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        target: `t`, probabilities of the shape of `y_pred`; zero where there is no
            average yet.
        weight: Weight of the second term, at least 0 and finite. The authors use 3 on
            CIFAR-10 (1 with asymmetric noise) and 7 on CIFAR-100.
        from_logits: Whether `y_pred` holds logits. `target` holds probabilities.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `weight` is negative or not finite, shapes do not fit, `y_true`
            holds ids out of range or rows that are no distributions (inside compiled
            code: NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.early_learning_regularization(
        ...     [1], [[0.25, 0.75]], target=[[0.5, 0.5]], weight=3.0
        ... )
        >>> round(float(loss[0]), 4)
        -1.7918

    Note:
        The paper clips predictions to [1e-4, 1 - 1e-4], which bounds the second term.
        Here `1 - t p` is computed as `sum_k (1 - t_k) p_k`, which keeps its digits,
        and is bounded at 1e-4 only: a network that agrees with `t` as closely as that
        has no gradient left from the term.

    Reference:
        Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy
        Labels", NeurIPS 2020.
    """
    owner = "early_learning_regularization"
    y_pred = _tensors.as_tensor(y_pred, owner)
    target = _tensors.as_tensor(target, owner, "target")
    expected = _prediction.distribution_shape(owner, y_pred)
    _tensors.check_shape_is(owner, "target", target, expected)

    def formula(q, p):
        rest = 1 - ops.stop_gradient(ops.cast(target, p.exp.dtype))
        disagreement = ops.sum(rest * p.exp, axis=-1) / p.total
        floor = ops.convert_to_tensor(SMALLEST_DISAGREEMENT, dtype=p.exp.dtype)
        bounded = ops.where(disagreement > floor, disagreement, floor)
        return p.cross_entropy(q) + weight * ops.log(bounded)

    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)


# Without a bound the loss would fall for ever as the network agrees with itself.
SMALLEST_DISAGREEMENT = 1e-4


@_loss.arguments(
    momentum=_loss.WEIGHT,
)
def updated_target(
    target: TensorLike,
    y_pred: TensorLike,
    *,
    momentum: float = 0.7,
    from_logits: bool = False,
) -> Tensor:
    """Return the moving average of predictions, one step on.

    `momentum target + (1 - momentum) p`, a constant.

    Args:
        target: The average so far, `(..., num_classes)`; zeros at the beginning.
        y_pred: Probabilities, or logits with `from_logits=True`, of the same shape.
        momentum: Weight of the past, in [0, 1]. The authors use 0.7 on CIFAR-10 (0.9
            with asymmetric noise) and 0.9 on CIFAR-100.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        The new average, shape `(..., num_classes)`.

    Raises:
        ValueError: If `momentum` is outside [0, 1] or shapes do not fit.

    Example:
        >>> from keras_noisy import losses
        >>> target = losses.updated_target([[0.0, 0.0]], [[0.25, 0.75]])
        >>> [round(float(value), 4) for value in target[0]]
        [0.075, 0.225]

    Reference:
        Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy
        Labels", NeurIPS 2020.
    """
    owner = "updated_target"
    y_pred = _tensors.as_tensor(y_pred, owner)
    target = _tensors.as_tensor(target, owner, "target")
    expected = _prediction.distribution_shape(owner, y_pred)
    _tensors.check_shape_is(owner, "target", target, expected)
    p = _prediction.read(owner, y_pred, from_logits).probabilities
    target = ops.cast(target, p.dtype)
    return ops.stop_gradient(momentum * target + (1 - momentum) * p)


class Targets(rows.Rows):
    """The moving averages of one model's predictions on its training examples.

    Attributes:
        averages: The table; its last row stays zero while all ids are in range.
        momentum: Weight of the past.
    """

    def __init__(self, owner, num_examples, num_classes):
        super().__init__(owner, "early_learning_targets", num_examples, num_classes)
        self.momentum = None
        self.averages = self.add_table("averages")

    def updated(self, step, y_pred):
        """Return the averages of the step's examples as the predictions move them."""
        old = self.take(self.averages, self.rows_of(step.ids))
        step.notes[self.name] = new = updated_target(
            old, y_pred, momentum=self.momentum, from_logits=self.from_logits
        )
        return new

    def record(self, step, y_pred):
        """Move the averages of the examples of the step.

        An example that stands in the batch several times moves to the mean of what
        each of them would make of it.
        """
        new = step.notes.get(self.name)
        if new is None:
            new = self.updated(step, y_pred)
        self.move(self.averages, self.rows_of(step.ids), new)


@keras.saving.register_keras_serializable(package="keras_noisy")
class EarlyLearningRegularization(_loss.NoisyLabelLoss):
    """Cross-entropy, and agreement with what the network predicted early on.

    See `keras_noisy.losses.early_learning_regularization` for the formula and the label
    forms. `keras_noisy.callbacks.EarlyLearningTargets` keeps the moving averages, one
    row for each training example, and tells the loss which ones a step sees:

        model.compile(optimizer, loss=EarlyLearningRegularization(weight=3.0))
        targets = EarlyLearningTargets(num_examples=len(x))
        data = targets.pipeline(model, x, noisy_labels, batch_size=128)
        model.fit(data, shuffle=False, callbacks=[targets])

    A step first moves the averages of its examples by its own predictions
    (`updated_target`) and then compares with them. In evaluation and validation there
    are no averages, and the value is the cross-entropy. In a training loop of your
    own, call the two functions instead: a gradient through this class without the
    callback is an error.

    Args:
        weight: Weight of the second term, at least 0 and finite.
        momentum: Weight of the past in the averages, in [0, 1].
    """

    function = staticmethod(early_learning_regularization)
    companion = "keras_noisy.callbacks.EarlyLearningTargets"
    weight: float = 3.0
    momentum: float = 0.7
    checks = MappingProxyType({"momentum": _loss.WEIGHT})
    presets = MappingProxyType(
        {
            "cifar10": {"weight": 3.0, "momentum": 0.7},
            "cifar10, asymmetric": {"weight": 1.0, "momentum": 0.9},
            "cifar100": {"weight": 7.0, "momentum": 0.9},
        }
    )

    def without_reduction(
        self, y_true: TensorLike, y_pred: TensorLike, *, from_logits: bool
    ) -> Tensor:
        """Return one loss per example of predictions of either kind."""
        targets, step = rows.current(Targets)
        if targets is None:
            loss = _formula.cross_entropy(
                type(self).__name__, y_true, y_pred, from_logits
            )
            return _loss.when_differentiated(loss, self._refuse)
        target = targets.updated(step, y_pred)
        return early_learning_regularization(
            y_true,
            y_pred,
            target=target,
            weight=self.weight,
            from_logits=from_logits,
        )

    def _refuse(self):
        owner, callback = type(self).__name__, self.companion
        raise RuntimeError(
            f"{owner}: a training step must know which examples it sees. Received data "
            f"without their ids. Pass what `{callback}(...).pipeline(model, ...)` "
            "returns to `fit`, and the callback with it; in a training loop of your "
            "own, call `early_learning_regularization` with `updated_target`."
        )
