"""What models around networks share."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._data import arrays, outputs, predictions
from keras_noisy._step import replicas
from keras_noisy._typing import FloatArray, Self, Tensor
from keras_noisy.losses import NoisyLabelLoss, _formula

_CROSS_ENTROPIES = (
    keras.losses.CategoricalCrossentropy,
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.categorical_crossentropy,
    keras.losses.sparse_categorical_crossentropy,
)
_BINARY = (keras.losses.BinaryCrossentropy, keras.losses.binary_crossentropy)


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

    def _scheduled(self, name: str, initializer: str) -> Any:
        """Return a new number of the model that changes from epoch to epoch."""
        return self.add_weight(
            shape=(),
            initializer=initializer,
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )

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


def check_apart(owner: str, network: keras.Model, peer: keras.Model) -> None:
    """Raise if two networks share variables."""
    own = {id(variable) for variable in network.variables}
    is_shared = any(id(variable) in own for variable in peer.variables)
    # Without variables yet, a model shares them with itself.
    if is_shared or network is peer:
        raise ValueError(
            f"{owner}: `network` and `peer` must not share variables, because "
            "each is to filter the other's errors. Build two networks."
        )


def check_different(owner: str, network: keras.Model, peer: keras.Model) -> None:
    """Raise if two networks have the same weights: they would stay the same."""
    own, others = network.trainable_variables, peer.trainable_variables
    are_same = len(own) == len(others) > 0 and all(
        a.shape == b.shape and bool(ops.all(ops.equal(a.value, b.value)))
        for a, b in zip(own, others, strict=True)
    )
    if are_same:
        raise ValueError(
            f"{owner}: `network` and `peer` must have different weights; otherwise "
            "they choose the same examples for ever. Build each with a seed of its own."
        )


def cross_entropy_takes_logits(owner: str, loss: Any, *, binary: bool = False) -> bool:
    """Return whether a cross-entropy takes logits, or raise unless it is one.

    Args:
        owner: Name of the model, for errors.
        loss: The compiled loss.
        binary: Whether that of one sigmoid output is one too.
    """
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    known = _CROSS_ENTROPIES + _BINARY * binary
    is_known = type(loss) in known or loss in known
    is_object = is_known and isinstance(loss, keras.losses.Loss)
    config = loss.get_config() if is_object else {}
    is_plain = not config.get("label_smoothing") and config.get("ignore_class") is None
    if not is_known or not is_plain:
        kinds = "categorical or binary" if binary else "categorical"
        expected = f"Keras's {kinds} cross-entropy, as it is"
        mend = "The method moves labels by itself."
        raise ValueError(errors.message(owner, "loss", expected, loss, mend))
    return bool(outputs.takes_logits(loss))


def check_loss_of_outputs(owner: str, loss: Any, is_binary: bool) -> None:
    """Raise if a cross-entropy of Keras is not that of a network's outputs.

    Args:
        owner: Name of the model, for errors.
        loss: The compiled loss.
        is_binary: Whether outputs are one sigmoid.
    """
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    others = _CROSS_ENTROPIES if is_binary else _BINARY
    if type(loss) in others or loss in others:
        kind, count = (
            ("binary", "one output") if is_binary else ("categorical", "several")
        )
        expected = f"{kind} cross-entropy, as the network has {count}"
        raise ValueError(errors.message(owner, "loss", expected, loss))


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


def cross_entropies(
    owner: str, model: keras.Model, x: Any, y: Any, from_logits: bool
) -> FloatArray:
    """Return the cross-entropy of each example, float64 `(n,)`, or raise.

    Args:
        owner: Name of the model, for errors.
        model: What predicts.
        x: Inputs, arrays.
        y: Labels, ids or distributions.
        from_logits: Whether outputs are logits.
    """
    parts, start = [], 0
    for found in predictions.in_pieces(owner, model, x):
        labels = y[start : start + len(found)]
        parts.append(loss_of_outputs(owner, labels, found, from_logits))
        start += len(found)
    losses = np.concatenate(parts)
    if np.isnan(losses).any():
        received = errors.Described("NaN")
        mend = "The training has diverged; lower the learning rate."
        raise ValueError(errors.message(owner, "losses", "numbers", received, mend))
    # Infinite where a probability is zero.
    largest = losses[np.isfinite(losses)].max(initial=0)
    return np.minimum(losses, largest)


def loss_of_outputs(
    owner: str, labels: Any, found: Any, from_logits: bool
) -> FloatArray:
    """Return the cross-entropy of outputs as a float64 array."""
    labels = np.asarray(labels)
    labels = labels.astype("float32") if labels.ndim == 2 else labels
    found = np.asarray(found, "float32")
    values = _formula.cross_entropy(owner, labels, found, from_logits)
    return np.array(ops.convert_to_numpy(values), "float64")


def check_augmentation(owner: str, layer: Any) -> keras.Layer | None:
    """Return a layer or None, or raise."""
    if layer is not None and not isinstance(layer, keras.Layer):
        expected = "a Keras layer or None"
        mend = "Put several into a keras.layers.Pipeline or keras.Sequential."
        raise TypeError(errors.message(owner, "augmentation", expected, layer, mend))
    return layer


def check_shapes(owner: str, layer: keras.Layer | None, inputs: Any) -> None:
    """Raise if a layer changes shapes of inputs: views of examples are mixed."""
    if layer is None:
        return
    inputs = keras.tree.map_structure(ops.convert_to_tensor, arrays.of_backend(inputs))
    before, after = (
        [tuple(leaf.shape) for leaf in keras.tree.flatten(values)]
        for values in (inputs, layer(inputs, training=True))
    )
    if before != after:
        expected = f"a layer that keeps shapes, here {before}"
        received = errors.Described(f"one that makes them {after}")
        raise ValueError(errors.message(owner, "augmentation", expected, received))


def serialized(layer: keras.Layer | None) -> Any:
    """Return the configuration of a layer, or None."""
    return None if layer is None else keras.saving.serialize_keras_object(layer)


def deserialized(config: Any, custom_objects: Any = None) -> Any:
    """Return what `serialized` got."""
    if config is None:
        return None
    return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)
