"""Callbacks that can be copied and pickled, whatever model they were attached to."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import keras

from keras_noisy._typing import Self


class Attached(keras.callbacks.Callback):
    """Base of callbacks that leave their model behind when they are copied.

    A model is no part of a callback, and what a model has of this package cannot be
    made anew without it.

    Attributes:
        _of_model: Names of attributes that hold what belongs to the model.
        _shared: Names of attributes that a copy shares, such as data.
    """

    _of_model: ClassVar[tuple[str, ...]] = ()
    _shared: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None, **dict.fromkeys(self._of_model)}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        for name in self._shared:
            shared = getattr(self, name)
            memo[id(shared)] = shared
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        return copied
