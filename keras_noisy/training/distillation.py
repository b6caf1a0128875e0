"""Knowledge distillation: a network that learns from a teacher and from labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_noisy import losses
from keras_noisy._checks import errors
from keras_noisy._checks.numbers import Interval
from keras_noisy._step import replicas
from keras_noisy._typing import Tensor
from keras_noisy.training import _around

_OWNER = "Distillation"


@keras.saving.register_keras_serializable(package="keras_noisy")
class Distillation(_around.AroundNetworks):
    """A network that learns from labels and from the predictions of a teacher.

    The teacher was trained before and stays as it is. With `l` the compiled loss, `s`
    the temperature and `p^s` the softmax of the logits divided by `s`,

        loss = (1 - epsilon) l(q, p) + epsilon s^2 H(p_teacher^s, p^s)

    which with cross-entropy at `s = 1` is cross-entropy to the labels
    `(1 - epsilon) q + epsilon p_teacher`: the teacher corrects the labels.

    It is compiled and trained as any model of Keras. `predict`, `evaluate`, metrics and
    validation are those of `network`, and so is the loss of an evaluation: the compiled
    one alone. Both get the same inputs; the teacher in inference mode.

    Args:
        network: The network to train: one output, class probabilities or logits,
            `(batch, ..., num_classes)`.
        teacher: The trained network, of outputs of the same shape and kind. Its weights
            are frozen: `teacher.trainable` becomes False.
        epsilon: Weight of the teacher, in [0, 1].
        temperature: `s`, in [1e-6, 1e6]. The factor `s^2` keeps the size of the
            teacher's gradient.
        from_logits: Whether the outputs of both are logits; the loss must be told the
            same.
        **kwargs: `name`, `trainable` and `dtype`, as in `keras.Model`.

    Attributes:
        network: The network.
        teacher: The teacher.

    Raises:
        TypeError: If `network` or `teacher` is no model.
        ValueError: If an argument is out of range or both are the same model; in `fit`,
            if the loss is not one value per example or was told another `from_logits`,
            or if the shapes of the outputs differ.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import training
        >>> teacher, student = [
        ...     keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        ...     for _ in range(2)
        ... ]
        >>> model = training.Distillation(
        ...     student, teacher, epsilon=0.5, temperature=2.0, from_logits=True
        ... )
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss, metrics=["accuracy"])
        >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
        >>> _ = model.fit(x, y, epochs=2, verbose=0)
        >>> model.predict(x, verbose=0).shape
        (4, 2)

    Reference:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; as in
        Eq. 6 and Proposition 2 of Wang et al., "ProSelfLC", CVPR 2021.
    """

    _networks = ("network", "teacher")
    teacher: keras.Model

    def __init__(
        self,
        network: keras.Model,
        teacher: keras.Model,
        *,
        epsilon: float = 0.5,
        temperature: float = 1.0,
        from_logits: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, teacher, **kwargs)
        self.epsilon = Interval(0, 1)(_OWNER, "epsilon", epsilon)
        self.temperature = Interval(1e-6, 1e6)(_OWNER, "temperature", temperature)
        self.from_logits = errors.check_bool(_OWNER, "from_logits", from_logits)
        if network is teacher:
            expected = "another model than `network`"
            mend = "Clone it, or build a second one."
            raise ValueError(errors.message(_OWNER, "teacher", expected, teacher, mend))
        self.teacher.trainable = False

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the output of `network`."""
        if not self.teacher.built:
            self.teacher(inputs)
        return self.network(inputs, training=bool(training))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the loss; in an evaluation the compiled one."""
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        told = getattr(self.loss, "from_logits", self.from_logits)
        if told != self.from_logits:
            expected = f"{told}, as the loss was told"
            raise ValueError(
                errors.message(_OWNER, "from_logits", expected, self.from_logits)
            )
        of_labels = _around.loss_per_example(_OWNER, self.loss, y, y_pred)
        of_teacher = losses.knowledge_distillation(
            # With all of the weight on the teacher, any label will do.
            ops.zeros_like(of_labels, dtype="int32"),
            y_pred,
            teacher_pred=self.teacher(x, training=False),
            epsilon=1.0,
            temperature=self.temperature,
            from_logits=self.from_logits,
        )
        values = (1 - self.epsilon) * of_labels + self.epsilon * of_teacher
        values = values * _around.weights_per_example(sample_weight, values)
        # Keras adds up what the replicas return.
        mean = ops.mean(values) / replicas.num_replicas()
        return mean + _around.penalties(self, mean.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "temperature": self.temperature,
            "from_logits": self.from_logits,
        }


def self_distillation(
    build_model: Callable[[], keras.Model],
    *args: Any,
    epsilon: float = 0.5,
    temperature: float = 20.0,
    from_logits: bool = False,
    **kwargs: Any,
) -> Distillation:
    """Train a network twice: the first one teaches the second one.

    Teacher-free distillation by self-training: a network is trained on the labels, and
    a fresh one of the same kind on the labels and the first one's predictions.

    Args:
        build_model: Function that returns a fresh compiled model with one output. Its
            loss, optimizer and metrics serve both trainings.
        *args: Of `fit`, for both trainings.
        epsilon: Weight of the teacher, in [0, 1].
        temperature: As in `Distillation`.
        from_logits: Whether outputs are logits; the loss must be told the same.
        **kwargs: Of `fit`, for both trainings. Callbacks that keep something, such as
            `EarlyStopping`, begin anew with the second one.

    Returns:
        The trained `Distillation`: `network` is the second network, `teacher` the first
        one.

    Raises:
        TypeError: If `build_model` is no function, or returns no model.
        ValueError: If it returns a model that is not compiled or the same one twice, or
            as `Distillation` does.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import training
        >>> def build_model():
        ...     layers = [keras.Input((4,)), keras.layers.Dense(2, "softmax")]
        ...     model = keras.Sequential(layers)
        ...     model.compile("sgd", "sparse_categorical_crossentropy")
        ...     return model
        >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
        >>> model = training.self_distillation(build_model, x, y, epochs=2, verbose=0)
        >>> model.predict(x, verbose=0).shape
        (4, 2)

    Reference:
        Tf-KD_self of Yuan et al., "Revisiting Knowledge Distillation via Label
        Smoothing Regularization", CVPR 2020, who have a temperature of 20.
    """
    owner = "self_distillation"
    if not callable(build_model):
        expected = "a function that returns a compiled model"
        raise TypeError(errors.message(owner, "build_model", expected, build_model))
    teacher, student = build_model(), build_model()
    for model in (teacher, student):
        if not isinstance(model, keras.Model):
            expected = "a function that returns a keras.Model"
            raise TypeError(errors.message(owner, "build_model", expected, model))
        if not model.compiled:
            expected = "a function that returns a compiled model"
            raise ValueError(errors.message(owner, "build_model", expected, model))
    # What is wrong shows before the first training.
    made = Distillation(
        student,
        teacher,
        epsilon=epsilon,
        temperature=temperature,
        from_logits=from_logits,
    )
    made.compile_from_config(student.get_compile_config())
    teacher.trainable = True
    teacher.fit(*args, **kwargs)
    teacher.trainable = False
    made.fit(*args, **kwargs)
    return made
