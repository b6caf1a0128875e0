"""A noise adaptation layer: the transition matrix is learnt with the network."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._typing import ArrayLike, FloatArray, Tensor
from keras_noisy.training import _through_matrix


@keras.saving.register_keras_serializable(package="keras_noisy")
class NoiseAdaptation(_through_matrix.ThroughMatrix):
    """A network that is trained through a layer which learns the noise (S-adaptation).

    The network predicts the right class; a layer behind it turns that into the class
    that the label shows,

        P(label = j | x) = sum_i p_i T_ij      T_ij = exp(b_ij) / sum_k exp(b_ik)

    and both are trained with the loss on the noisy labels. It is forward correction
    with a matrix that is learnt too. Nothing but the start tells the network which part
    of the work is its own: `transition_matrix` is a part of the method, and so are
    weights of a network that was trained with cross-entropy for a while. The paper
    counts labels by what that network predicts, `noise.estimate_from_confusion`.

    It is compiled and trained as any model of Keras. In training the outputs, and so
    the loss and the metrics, are those behind the layer, to be compared with noisy
    labels; `predict`, `evaluate` and validation are the network's own, to be
    compared with right ones.

    Args:
        network: A model with one output, class probabilities or logits `(batch,
            num_classes)`, or with more dimensions in between.
        transition_matrix: `T` to begin with, array `(num_classes, num_classes)` whose
            rows sum to one. Rates below 1e-6 become 1e-6.
        from_logits: Whether the outputs of `network` are logits. Those behind the layer
            are of the same kind, so that the compiled loss is told the same.
        **kwargs: `name`, `trainable` and `dtype`, as in `keras.Model`.

    Attributes:
        network: The network.
        transition_matrix: `T` as learnt so far, float32 `(num_classes, num_classes)`.

    Raises:
        TypeError: If `network` is no model.
        ValueError: If `transition_matrix` is no transition matrix; in `fit`, if the
            loss is told another `from_logits` or the network has another number of
            classes.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import noise, training
        >>> layers = [keras.Input((4,)), keras.layers.Dense(2)]
        >>> model = training.NoiseAdaptation(
        ...     keras.Sequential(layers),
        ...     transition_matrix=noise.symmetric(2, 0.25),
        ...     from_logits=True,
        ... )
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
        >>> _ = model.fit(x, y, epochs=2, verbose=0)
        >>> model.transition_matrix.shape, model.predict(x, verbose=0).shape
        ((2, 2), (4, 2))

    Note:
        The paper has a second version, whose matrix depends on the input too; this is
        the one that comparisons call S-model or S-adaptation.

    Reference:
        Goldberger & Ben-Reuven, "Training Deep Neural-networks Using a Noise Adaptation
        Layer", ICLR 2017: the simple model.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        transition_matrix: ArrayLike,
        from_logits: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            network,
            transition_matrix=transition_matrix,
            from_logits=from_logits,
            **kwargs,
        )
        start = self._initial_logits()
        self._rates = self.add_weight(
            shape=start.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(start, dtype),
            dtype="float32",
            autocast=False,
            name="transition_logits",
        )

    @property
    def transition_matrix(self) -> FloatArray:
        """`T` as learnt so far, float32 `(num_classes, num_classes)`."""
        return np.asarray(ops.convert_to_numpy(self._matrices_of_step(None)))

    def _matrices_of_step(self, output: Tensor | None) -> Tensor:
        return ops.softmax(self._rates, axis=-1)
