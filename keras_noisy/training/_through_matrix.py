"""What models share that train a network through a transition matrix."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.matrices import check_transition_matrix
from keras_noisy._data import outputs
from keras_noisy._typing import ArrayLike, FloatArray, Tensor
from keras_noisy.losses import _prediction
from keras_noisy.training import _around

# What a rate of zero becomes: its logarithm has to be learnt.
SMALLEST_RATE = 1e-6
# Rates that training has driven below it count as it, and have no gradient.
SMALLEST_PROBABILITY = 1e-30


class ThroughMatrix(_around.AroundNetworks):
    """Base of models whose outputs in training are those of noisy labels.

    Args:
        network: A model with one output, class probabilities or logits.
        transition_matrix: The matrix to begin with.
        from_logits: Whether the outputs of `network` are logits.
        **kwargs: `name`, `trainable` and `dtype`, as in `keras.Model`.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        transition_matrix: ArrayLike,
        from_logits: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, **kwargs)
        owner = type(self).__name__
        self.from_logits = errors.check_bool(owner, "from_logits", from_logits)
        matrix = check_transition_matrix(owner, transition_matrix)
        self._initial_matrix = matrix.tolist()

    def _initial_logits(self) -> FloatArray:
        """Return what `softmax` turns into the matrix to begin with."""
        return np.log(np.maximum(self._initial_matrix, SMALLEST_RATE))

    def _matrices_of_step(self, output: Tensor) -> Tensor:
        """Return the matrix of a training step, or one for each example.

        Args:
            output: Outputs of the network, `(batch, ..., num_classes)`, or those of
                one sigmoid.

        Returns:
            Float tensor `(num_classes, num_classes)`, or `(batch, num_classes,
            num_classes)`.
        """
        raise NotImplementedError

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        """Return the output of `network`; in training what the noise makes of it."""
        output = self.network(inputs, training=bool(training))
        return self._noisy(output) if training else output

    def _noisy(self, output):
        owner, num_classes = type(self).__name__, len(self._initial_matrix)
        p = _prediction.read(owner, output, self.from_logits)
        if p.num_classes != num_classes:
            expected = f"of shape ({p.num_classes}, {p.num_classes}), as the outputs"
            received = errors.describe_array(np.asarray(self._initial_matrix))
            raise ValueError(
                errors.message(owner, "transition_matrix", expected, received)
            )
        matrices = ops.cast(self._matrices_of_step(output), p.exp.dtype)
        # One class has `exp` 1, so that the sum is at least one of its rates.
        if len(matrices.shape) == 2:
            noisy = p.exp @ matrices
        else:
            size = ops.shape(p.exp)[0]
            rows = ops.reshape(p.exp, (size, -1, num_classes))
            noisy = ops.reshape(rows @ matrices, ops.shape(p.exp))
        least = ops.convert_to_tensor(SMALLEST_PROBABILITY, dtype=noisy.dtype)
        log_noisy = ops.log(ops.where(noisy < least, least, noisy))
        log_noisy = log_noisy - p.log_total[..., None]
        if not p.is_binary:
            return log_noisy if self.from_logits else ops.exp(log_noisy)
        first, second = ops.unstack(log_noisy, 2, axis=-1)
        noisy = second - first if self.from_logits else ops.exp(second)
        return ops.reshape(noisy, ops.shape(output))

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the compiled loss, if it takes outputs for what they are."""
        told = outputs.takes_logits(self.loss)
        if told is not None and told != self.from_logits:
            raise ValueError(
                f"{type(self).__name__}: the loss must be told the same as the model. "
                f"Received: from_logits={told} there and "
                f"from_logits={self.from_logits} here. "
                "Change the one that does not say what the outputs of `network` are."
            )
        return super().compute_loss(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, the matrix as nested lists."""
        return {
            **super().get_config(),
            "transition_matrix": self._initial_matrix,
            "from_logits": self.from_logits,
        }
