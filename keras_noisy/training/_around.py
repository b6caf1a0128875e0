"""What models around networks share."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from keras_noisy._checks import errors
from keras_noisy._typing import Self


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
