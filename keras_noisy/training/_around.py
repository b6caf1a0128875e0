"""What models around networks share."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._step import replicas
from keras_noisy._typing import Self, Tensor
from keras_noisy.losses import NoisyLabelLoss


class AroundNetworks(keras.Model):
    """Base of models that train networks and are saved with them.

    Args:
        *networks: The networks, in the order of `_networks`.
        **kwargs: `name`, `trainable` and `dtype`, as in `keras.Model`.

    Attributes:
        _networks: Names of the networks, as arguments and as attributes.
        network: The one that serves predictions.
    """

    _networks: ClassVar[tuple[str, ...]] = ("network",)
    network: keras.Model

    def __init__(self, *networks: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, network in zip(self._networks, networks, strict=True):
            if not isinstance(network, keras.Model):
                owner, expected = type(self).__name__, "a keras.Model"
                raise TypeError(errors.message(owner, name, expected, network))
            setattr(self, name, network)
        # There is nothing else to build, which `BackupAndRestore` asks for.
        self.built = all(network.built for network in networks)

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Export `network`, which makes the predictions, as `keras.Model.export` does.

        Keras cannot export this model: it was not built by inputs of its own.
        """
        self.network.export(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the networks, as constructor arguments."""
        networks = {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in self._networks
        }
        return {**super().get_config(), **networks}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Return a model from the constructor arguments."""
        networks = {
            name: keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
            for name in cls._networks
        }
        return cls(**{**config, **networks})


def loss_per_example(owner: str, loss: Any, y: Any, output: Any) -> Tensor:
    """Return a compiled loss without its reduction, shape `(batch, ...)`.

    Args:
        owner: Name of the model, for errors.
        loss: What `compile` was given.
        y: Labels.
        output: Output of a network, `(batch, ..., num_classes)`, or one sigmoid,
            `(batch, ..., 1)` or `(batch,)`.
    """
    loss = keras.losses.get(loss)
    if loss is None:
        raise ValueError(
            f"{owner}: the model must be compiled with a `loss`. Received: loss=None."
        )
    if getattr(loss, "ignore_class", None) is not None:
        expected = "one whose `ignore_class` is None"
        mend = "Which examples count is for this model to say."
        raise ValueError(errors.message(owner, "loss", expected, loss, mend))
    if isinstance(loss, NoisyLabelLoss):
        values = loss.call(y, output)
    else:
        # As `Loss.__call__` does, which also reduces.
        dtype = keras.config.floatx()
        call = loss.call if isinstance(loss, keras.losses.Loss) else loss
        y, output = ops.cast(y, dtype), ops.cast(output, dtype)
        if len(output.shape) == 1:
            # Keras's losses take the mean over the last dimension.
            y, output = (ops.reshape(tensor, (-1, 1)) for tensor in (y, output))
        values = call(y, output)
    leading = tuple(output.shape[:-1] if len(output.shape) > 1 else output.shape)
    if len(values.shape) != len(leading):
        raise ValueError(
            f"{owner}: the loss must have one value for each example, of shape "
            f"{leading}. Received: {loss!r}, which has shape "
            f"{tuple(values.shape)}."
        )
    return values


def weights_per_example(sample_weight: Any, values: Tensor) -> Tensor:
    """Return weights of the shape of `values`, ones where there are none."""
    if sample_weight is None:
        return ops.ones_like(values)
    weights = ops.cast(ops.convert_to_tensor(sample_weight), values.dtype)
    return ops.reshape(weights, ops.shape(values))


def penalties(model: keras.Model, dtype: str) -> Any:
    """Return this replica's part of what layers add to the loss."""
    # Keras adds up what the replicas return.
    total = sum(ops.sum(ops.cast(other, dtype)) for other in model.losses)
    return total / replicas.num_replicas()
