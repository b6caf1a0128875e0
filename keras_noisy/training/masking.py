"""Masking: a transition matrix that keeps to what people say of the noise."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.matrices import check_structure
from keras_noisy._checks.numbers import Interval, at_least_zero, positive
from keras_noisy._typing import ArrayLike, FloatArray, Tensor
from keras_noisy.training import _callbacks, _random, _through_matrix

_OWNER = "Masking"
# Matrices that `transition_matrix` is the mean of, and entries to compute at once.
NUM_DRAWS = 1000
ENTRIES_AT_ONCE = 2**22
# Standard deviation of the weights that make matrices differ at first.
FIRST_SPREAD = 0.01


@keras.saving.register_keras_serializable(package="keras_noisy")
class Masking(_through_matrix.ThroughMatrix):
    """A network that is trained through matrices which keep to a structure.

    People often know which classes are taken for each other and which never are. Here
    they say it, and only how often is learnt. As in `NoiseAdaptation` a matrix turns
    the right class into the one that the label shows; a generator `G`, a network of
    two hidden layers, draws one for each example:

        S = softmax(G(z)), z ~ N(0, I)        P(label = j | x) = sum_i p_i S_ij

    Its structure, by a steep sigmoid, is compared with the one that was given, `M`:

        f(s) = 1 / (1 + exp(-(s - threshold) / temperature))
        loss = compiled loss
               + structure_weight * mean over examples of
                 (1 / num_classes) sum_ij |f(S_ij) - M_ij|

    Network and generator are trained together. Rates of transitions that exist are
    held above the threshold, others below it; rates far on the wrong side of it (by
    ten temperatures) are not moved, so that a `transition_matrix` to begin with that
    keeps to the structure is a part of the method.

    It is compiled and trained as any model of Keras. In training the outputs, and so
    the metrics, are those behind the matrices, to be compared with noisy labels;
    `predict`, `evaluate` and validation are the network's own, to be compared
    with right ones.

    Args:
        network: A model with one output, class probabilities or logits `(batch,
            num_classes)`, or with more dimensions in between; such an example has one
            matrix.
        structure: `M`, which class can show which label: array `(num_classes,
            num_classes)` of booleans, true on the diagonal.
        transition_matrix: The matrix that `G` begins with, array `(num_classes,
            num_classes)` whose rows sum to one. Rates below 1e-6 become 1e-6.
        from_logits: Whether the outputs of `network` are logits. Those behind the
            matrices are of the same kind, so that the compiled loss is told the same.
        structure_weight: Weight of the structure in the loss, at least 0.
        threshold: The rate from which a transition counts as there, in (0, 1).
        temperature: Width of the sigmoid, positive.
        units: Units of each of the two hidden layers of `G`.
        seed: Seed of the generator's first weights and of `z`, at least 0. None takes
            one that follows from `keras.utils.set_random_seed`.
        **kwargs: `name`, `trainable` and `dtype`, as in `keras.Model`.

    Attributes:
        network: The network.
        structure: `M`, zeros and ones `(num_classes, num_classes)`.
        generator: `G`, a model from `z` `(batch, num_classes)` to `(batch,
            num_classes**2)`.
        transition_matrix: The mean matrix as learnt so far, float32 `(num_classes,
            num_classes)`.

    Raises:
        TypeError: If `network` is no model.
        ValueError: If an argument is out of range, `structure` is no structure or
            `transition_matrix` no transition matrix; in `fit`, if the loss is told
            another `from_logits` or the network has another number of classes.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import training
        >>> structure = [[1, 1], [0, 1]]  # The second class is always seen as itself.
        >>> layers = [keras.Input((4,)), keras.layers.Dense(2)]
        >>> model = training.Masking(
        ...     keras.Sequential(layers),
        ...     structure=structure,
        ...     transition_matrix=[[0.7, 0.3], [0.0, 1.0]],
        ...     from_logits=True,
        ... )
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
        >>> _ = model.fit(x, y, epochs=2, verbose=0)
        >>> model.transition_matrix.shape, model.predict(x, verbose=0).shape
        ((2, 2), (4, 2))

    Note:
        The paper compares structures by a game with a third network, a discriminator.
        It serves to estimate the distance between the distribution of drawn structures
        and that of given ones. With one given structure that distance, the
        Wasserstein distance to a point, is the mean in the formula above, so it is
        computed and no game is played. The authors' code trains `G` on the matrix to
        begin with for 10,000 steps; here it begins at what they lead to.

    Reference:
        Han et al., "Masking: A New Perspective of Noisy Supervision", NeurIPS 2018.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        structure: ArrayLike,
        transition_matrix: ArrayLike,
        from_logits: bool = False,
        structure_weight: float = 1.0,
        threshold: float = 0.05,
        temperature: float = 0.005,
        units: int = 50,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            network,
            transition_matrix=transition_matrix,
            from_logits=from_logits,
            **kwargs,
        )
        num_classes = len(self._initial_matrix)
        self._structure = check_structure(_OWNER, structure, num_classes)

        self.structure_weight = at_least_zero()(
            _OWNER, "structure_weight", structure_weight
        )
        self.threshold = Interval(0, 1, "neither")(_OWNER, "threshold", threshold)
        self.temperature = positive()(_OWNER, "temperature", temperature)
        self.units = errors.check_count(_OWNER, "units", units)
        self.seed = _random.check_seed(_OWNER, seed)
        self._own_seed: int = _random.own_seed(self.seed)
        self._random = keras.random.SeedGenerator(self._own_seed)
        self.generator = self._build_generator()

    def _build_generator(self):
        """Return `G`, whose last biases are the matrix to begin with."""
        start = self._initial_logits().ravel()
        # Halved: Keras's seeds are of int32.
        seeds = np.random.SeedSequence(self._own_seed).generate_state(3) // 2
        first, second, last = (int(seed) for seed in seeds)
        num_classes = len(self._initial_matrix)

        def hidden(seed):
            initializer = keras.initializers.GlorotUniform(seed)
            return keras.layers.Dense(
                self.units, "relu", kernel_initializer=initializer, dtype="float32"
            )

        output = keras.layers.Dense(
            num_classes**2,
            kernel_initializer=keras.initializers.RandomNormal(
                stddev=FIRST_SPREAD, seed=last
            ),
            bias_initializer=lambda shape, dtype=None: ops.convert_to_tensor(
                start, dtype
            ),
            dtype="float32",
        )
        inputs = keras.Input((num_classes,), dtype="float32")
        layers = [inputs, hidden(first), hidden(second), output]
        return keras.Sequential(layers, name="generator")

    @property
    def structure(self) -> FloatArray:
        """`M`, zeros and ones `(num_classes, num_classes)`."""
        return self._structure.copy()

    @property
    def transition_matrix(self) -> FloatArray:
        """The mean matrix as learnt so far, float32 `(num_classes, num_classes)`."""
        num_classes = len(self._structure)
        latents = np.random.default_rng(0).normal(size=(NUM_DRAWS, num_classes))
        at_once = max(1, ENTRIES_AT_ONCE // num_classes**2)
        total = np.zeros((num_classes, num_classes))
        for start in range(0, NUM_DRAWS, at_once):
            some = latents[start : start + at_once].astype("float32")
            total += ops.convert_to_numpy(ops.sum(self._matrices_of(some), axis=0))
        return (total / NUM_DRAWS).astype("float32")

    def set_epoch(self, epoch: int) -> None:
        """Set what an epoch from 0 on draws; for a training loop of your own."""
        epoch = errors.check_count(_OWNER, "epoch", epoch, low=0)
        _random.begin_epoch(self._random, self._own_seed, epoch)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train both networks, with the arguments of `keras.Model.fit`."""
        own = _callbacks.SetEpoch()
        return super().fit(**_callbacks.arguments_with(self, own, args, kwargs))

    def _matrices_of(self, latents):
        num_classes = len(self._structure)
        logits = self.generator(latents)
        return ops.softmax(ops.reshape(logits, (-1, num_classes, num_classes)), axis=-1)

    def _matrices_of_step(self, output: Tensor) -> Tensor:
        """Draw a matrix for each example, and add to the loss what they break."""
        shape = (ops.shape(output)[0], len(self._structure))
        latents = keras.random.normal(shape, dtype="float32", seed=self._random)
        matrices = self._matrices_of(latents)
        self.add_loss(self.structure_weight * self._distance(matrices))
        return matrices

    def _distance(self, matrices):
        """Return how far drawn structures are from the given one, in the mean."""
        found = ops.sigmoid((matrices - self.threshold) / self.temperature)
        given = ops.convert_to_tensor(self._structure, dtype="float32")
        each = ops.sum(ops.abs(found - given), axis=(1, 2))
        return ops.mean(each) / len(self._structure)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, the structure as nested lists."""
        return {
            **super().get_config(),
            "structure": self._structure.astype(int).tolist(),
            "structure_weight": self.structure_weight,
            "threshold": self.threshold,
            "temperature": self.temperature,
            "units": self.units,
            "seed": self.seed,
        }
