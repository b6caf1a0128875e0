"""Joint optimisation of the network and the labels."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import keras
from keras import ops

from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._step import rows
from keras_noisy._typing import (
    ArrayLike,
    Tensor,
    TensorLike,
)
from keras_noisy.losses import _formula, _loss, _prediction, _prior


@_loss.arguments(
    alpha=at_least_zero("Try 1.2."),
    beta=at_least_zero("Try 0.8."),
    prior=_prior.check,
)
def joint_optimization(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    alpha: float,
    beta: float,
    prior: ArrayLike | None = None,
    from_logits: bool = False,
) -> Tensor:
    """Divergence from labels that are learnt too, with two terms that hold them.

    With `m` the mean of the predictions of the batch,

        loss = KL(q || p) + alpha KL(prior || m) + beta H(p, p)

    Where the labels `q` are replaced by the network's own predictions, the first term
    alone would be content with one class for everything: the second wants the classes
    as often as `prior` says, and the third makes predictions decide for one class,
    which otherwise would stay what they are. In `fit` the labels are replaced by
    `keras_noisy.callbacks.JointOptimizationLabels`.

    **The loss of an example depends on its batch**, through the mean over all entries
    of `y_pred`, masked ones included. With several replicas of TensorFlow it is taken
    over all of them.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        alpha: Weight of the divergence from the prior, at least 0 and finite.
        beta: Weight of the entropy, at least 0 and finite.
        prior: How often each class occurs, `(num_classes,)`, summing to one; by default
            all alike.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`. The second term is the same for
        all examples of a batch.

    Raises:
        ValueError: If `alpha` or `beta` is negative or not finite, `prior` is no
            distribution over the classes, shapes do not fit, `y_true` holds ids out of
            range or rows that are no distributions (inside compiled code: NaN for that
            example), or `y_pred` holds negative probabilities.
        RuntimeError: If `torch.distributed` has divided the batch among processes.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.joint_optimization(
        ...     [0, 1], [[0.75, 0.25], [0.25, 0.75]], alpha=1.2, beta=1.0
        ... )
        >>> [round(float(value), 4) for value in loss]
        [0.85, 0.85]

    Note:
        The authors' code has cross-entropies instead of the divergences, which differ
        by constants only.

    Reference:
        Tanaka et al., "Joint Optimization Framework for Learning with Noisy Labels",
        CVPR 2018.
    """
    owner = "joint_optimization"
    formula = _divergences(owner, alpha, beta, prior)
    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)


def _divergences(owner, alpha, beta, prior, replaced=None, is_kept=None):
    """Return the loss as a function of labels and `Prediction`.

    Args:
        owner: Name of the loss, for errors.
        alpha: Weight of the divergence from the prior.
        beta: Weight of the entropy.
        prior: `_prior.check`'s result.
        replaced: None, or labels `(batch, num_classes)` to take instead, where they are
            not zero.
        is_kept: None, or which examples are in the mean.
    """

    def formula(q, p):
        if replaced is not None:
            q = _replace(q, replaced)
        divergence = p.cross_entropy(q) - _entropy(q)
        of_batch = _prior.divergence_of_mean(owner, p, prior, is_kept)
        return divergence + alpha * of_batch + beta * p.entropy()

    return formula


def _replace(q, labels):
    labels = ops.cast(labels, q.dtype)
    is_there = ops.sum(labels, axis=-1, keepdims=True) > 0
    return ops.where(is_there, labels, q)


def _entropy(q):
    """Return `H(q, q)`, a constant, shape `(...)`."""
    q = ops.stop_gradient(q)
    safe = ops.where(q > 0, q, ops.ones_like(q))
    return -ops.sum(q * ops.log(safe), axis=-1)


class Labels(rows.Rows):
    """The labels of a model's training examples, and what they are made of.

    Attributes:
        predictions: The latest prediction on each example.
        labels: Its label, zero as long as it is the given one.
        history: The predictions of the latest epochs, with an axis `window` in front,
            the one of epoch `t` at `t mod window`.
        epochs: Number of epochs in it, or that have been.
    """

    def __init__(self, owner, num_examples, num_classes, window):
        super().__init__(owner, "joint_optimization_labels", num_examples, num_classes)
        self.predictions = self.add_table("predictions")
        self.labels = self.add_table("labels")
        self.history = self.add_table("history", leading=(window,))
        self.epochs = self.add("epochs", dtype="int32")

    def record(self, step, y_pred):
        """Keep the predictions of the step that is being run or traced."""
        p = _prediction.read(self.owner, y_pred, self.from_logits).probabilities
        p = ops.stop_gradient(p)
        self.move(self.predictions, self.rows_of(step.ids), p)

    def of(self, step):
        """Return the labels of a step's examples, zero where they are the given."""
        return self.take(self.labels, self.rows_of(step.ids))

    def num_epochs(self):
        """Return the number of epochs that have been."""
        return int(ops.convert_to_numpy(self.epochs))

    def take_note(self):
        """Add an epoch to the history, and return the means of its predictions."""
        history = self.read(self.history)
        history[self.num_epochs() % len(history)] = self.read(self.predictions)
        self.write(self.history, history)
        self.epochs.assign(self.num_epochs() + 1)
        return history[: self.num_epochs()].mean(axis=0)

    def results(self):
        """Return everything, as NumPy arrays by name."""
        return {**super().results(), "epochs": self.num_epochs()}

    def load_own_variables(self, store):
        """Load everything; a file written without it leaves it as it is."""
        super().load_own_variables(store)
        if "epochs" in store.keys():  # noqa: SIM118 - a store is no dict.
            self.epochs.assign(store["epochs"])


@keras.saving.register_keras_serializable(package="keras_noisy")
class JointOptimization(_loss.LossInBatch):
    """Divergence from labels that are learnt too, with two terms that hold them.

    See `keras_noisy.losses.joint_optimization` for the formula and the label forms.
    `keras_noisy.callbacks.JointOptimizationLabels` replaces the labels in the course of
    the training, and tells the loss which examples a step sees:

        model.compile(optimizer, loss=JointOptimization(alpha=1.2, beta=0.8))
        labels = JointOptimizationLabels(num_examples=len(x), warmup_epochs=70)
        data = labels.pipeline(model, x, noisy_labels, batch_size=128)
        model.fit(data, shuffle=False, callbacks=[labels])

    Without it, and in evaluation and validation, the labels are those of the data.
    """

    function = staticmethod(joint_optimization)
    companion = "keras_noisy.callbacks.JointOptimizationLabels"
    alpha: float = 1.2
    beta: float = 0.8
    prior: ArrayLike | None = None
    presets = MappingProxyType(
        {
            "cifar10, symmetric": {"alpha": 1.2, "beta": 0.8},
            "cifar10, asymmetric": {"alpha": 0.8, "beta": 0.4},
        }
    )

    def _formula(self, is_kept: Tensor | None) -> Callable[..., Tensor]:
        owner, settings = type(self).__name__, (self.alpha, self.beta, self.prior)
        labels, step = rows.current(Labels)
        replaced = None if labels is None else labels.of(step)
        return _divergences(owner, *settings, replaced, is_kept)
