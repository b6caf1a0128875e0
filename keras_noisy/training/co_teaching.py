"""Co-teaching: two networks that choose examples for each other."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.numbers import Interval
from keras_noisy._step import replicas
from keras_noisy._typing import Logs, Tensor
from keras_noisy.training import _around, _callbacks

_OWNER = "CoTeaching"


@keras.saving.register_keras_serializable(package="keras_noisy")
class CoTeaching(_around.AroundNetworks):
    """Two networks, each trained on the examples that the other finds easy.

    A network fits right labels before wrong ones, so examples of small loss mostly
    have right labels. In every step each of two networks names the share `R` of the
    batch that has the smallest losses, and the *other* one is trained on them: the two
    differ, and filter different errors. With `l` and `l'` the losses of the two,

        loss = mean of l over the R n smallest of l'
             + mean of l' over the R n smallest of l

    The first epoch trains on everything, and then a share grows that is left out: in
    epoch `T`, counted from 0,

        R = 1 - forget_rate min(T^exponent / num_gradual, 1)

    It is compiled and trained as any model of Keras. `predict`, `evaluate`, metrics and
    validation are those of `network`; `peer` serves only to choose its examples. Both
    are models to use on their own afterwards. The logs show the sum of both losses as
    `loss`, and `keep_rate`.

    Args:
        network: A model with one output, class probabilities or logits `(batch,
            num_classes)`, or with more dimensions in between.
        peer: A second one, of other weights; usually of the same architecture.
        forget_rate: Share of the examples to leave out in the end, in [0, 1): the
            noise rate, or an estimate of it.
        num_gradual: Epochs until that share is left out (for an `exponent` of 1), at
            least 1.
        exponent: How its growth bends, positive; the paper tries 0.5, 1 and 2.
        **kwargs: `name`, `trainable` and `dtype`, as in `keras.Model`.

    Attributes:
        network: The first network.
        peer: The second one.
        keep_rate: `R` now, a variable. `fit` sets it at the begin of each epoch.

    Raises:
        TypeError: If `network` or `peer` is no model.
        ValueError: If an argument is out of range or the two networks share variables;
            in `fit`, if they have the same weights, if the loss is not one value per
            example, or if the shapes of their outputs differ.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import training
        >>> networks = [
        ...     keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        ...     for _ in range(2)
        ... ]
        >>> model = training.CoTeaching(*networks, forget_rate=0.25, num_gradual=2)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
        >>> history = model.fit(x, y, epochs=4, verbose=0)
        >>> history.history["keep_rate"]
        [1.0, 0.875, 0.75, 0.75]
        >>> model.predict(x, verbose=0).shape
        (4, 2)

    Note:
        Shares are of the batch of one step; under a TensorFlow strategy of the global
        one. `R n` is rounded down, to one example at least, and examples with the same
        loss as the last one are chosen too. An example with `sample_weight` 0 is not
        there. One optimizer serves both networks: for optimizers that treat every
        weight by itself, such as SGD and Adam, that is one for each. A compiled `loss`
        on the whole batch, such as DMI, is refused.

        The authors' code reaches `forget_rate` one epoch earlier, bends the growth in
        another way for an exponent other than 1, and moves Adam's `beta_1` in the
        course of training; this is the paper's formula.

    Reference:
        Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely
        Noisy Labels", NeurIPS 2018: Algorithm 1.
    """

    _networks = ("network", "peer")
    peer: keras.Model

    def __init__(
        self,
        network: keras.Model,
        peer: keras.Model,
        *,
        forget_rate: float,
        num_gradual: int = 10,
        exponent: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, peer, **kwargs)
        self.forget_rate = Interval(0, 1, "left")(_OWNER, "forget_rate", forget_rate)
        self.num_gradual = errors.check_count(_OWNER, "num_gradual", num_gradual)
        self.exponent = Interval(0, 100, "right")(_OWNER, "exponent", exponent)
        self.keep_rate = self._scheduled("keep_rate", "ones")
        _around.check_apart(_OWNER, network, peer)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the output of `network`; in training the outputs of both."""
        if training:
            return self.network(inputs, training=True), self.peer(inputs, training=True)
        if not self.peer.built:
            self.peer(inputs)
        return self.network(inputs, training=False)

    def set_epoch(self, epoch: int) -> None:
        """Set `keep_rate` for an epoch from 0 on; for a training loop of your own."""
        epoch = errors.check_count(_OWNER, "epoch", epoch, low=0)
        done = min(epoch**self.exponent / self.num_gradual, 1.0)
        self.keep_rate.assign(1 - self.forget_rate * done)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train both networks, with the arguments of `keras.Model.fit`."""
        arguments = _callbacks.arguments_with(self, _Schedule(), args, kwargs)
        return super().fit(**arguments)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the loss of both networks; in an evaluation that of `network`."""
        if not isinstance(y_pred, (tuple, list)):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        first, second = (
            _around.loss_per_example(_OWNER, self.loss, y, output) for output in y_pred
        )
        weight = _around.weights_per_example(sample_weight, first)
        first, second, weight = (ops.ravel(t) for t in (first, second, weight))
        loss = _mean_over(_smallest(second, weight, self.keep_rate), first * weight)
        loss += _mean_over(_smallest(first, weight, self.keep_rate), second * weight)
        return loss + _around.penalties(self, loss.dtype)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Return the metrics of `network`."""
        if isinstance(y_pred, (tuple, list)):
            y_pred = y_pred[0]
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "forget_rate": self.forget_rate,
            "num_gradual": self.num_gradual,
            "exponent": self.exponent,
        }


class _Schedule(_callbacks.SetEpoch):
    """Sets the share of each epoch, and logs it."""

    def on_train_begin(self, logs: Logs = None) -> None:
        _around.check_different(_OWNER, self.model.network, self.model.peer)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["keep_rate"] = float(ops.convert_to_numpy(self.model.keep_rate))


def _smallest(loss, weight, keep_rate):
    """Return 1 for the examples of smallest loss, 0 for the others.

    Args:
        loss: Vector.
        weight: Vector; where it is 0, the example is not there.
        keep_rate: Share of the examples, over all replicas.
    """
    is_there = ops.not_equal(weight, 0)
    loss = ops.where(is_there, loss, ops.full_like(loss, float("inf")))
    (everything,) = replicas.gathered([loss])
    count = ops.cast(ops.sum(ops.cast(everything < float("inf"), "int32")), "float32")
    # The product of float32 numbers may lie just below a whole number.
    kept = ops.cast(ops.floor(keep_rate * count + 1e-3), "int32")
    last = ops.take(ops.sort(everything), ops.maximum(kept, 1) - 1)
    # Not `loss <= last`: NaN, such as for a class id that is out of range, is chosen,
    # and so it shows.
    chosen = ops.logical_and(is_there, ops.logical_not(loss > last))
    return ops.stop_gradient(ops.cast(chosen, loss.dtype))


def _mean_over(chosen, values):
    """Return this replica's part of the mean of chosen values over all of them."""
    count = replicas.sum_over_replicas(_OWNER, ops.sum(chosen))
    return ops.sum(chosen * values) / ops.maximum(count, 1)
