"""Names for the types of arguments and results, in one place.

Keras and its backends ship no types, so that to a type checker what is theirs is
`Any`; the names tell a reader what it is.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

import keras
import numpy as np
import numpy.typing as npt

if sys.version_info >= (3, 11):
    from typing import Self, Unpack
else:
    from typing_extensions import Self, Unpack

__all__ = ["Self", "Unpack"]

# NumPy's name: an array, nested sequences of numbers, or what `numpy.asarray` takes.
ArrayLike: TypeAlias = npt.ArrayLike
# The same, and the tensors of Keras's backend.
TensorLike: TypeAlias = npt.ArrayLike
# A tensor of Keras's backend.
Tensor: TypeAlias = Any
Shape: TypeAlias = tuple[int | None, ...]

BoolArray: TypeAlias = npt.NDArray[np.bool_]
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]

# Inputs of examples: an array, a tuple or dict of arrays, or where a docstring says so
# a data set of batches (tf.data, torch, PyDataset).
Data: TypeAlias = Any
# A `tf.data.Dataset`.
Dataset: TypeAlias = Any

FilePath: TypeAlias = str | os.PathLike[str]
# What Keras passes to the methods of a callback.
Logs: TypeAlias = dict[str, Any] | None
BuildModel: TypeAlias = Callable[[], keras.Model]
Callbacks: TypeAlias = Sequence[keras.callbacks.Callback] | None
# One history of `fit`, its dict, those of several rounds, or a dict of named ones.
Histories: TypeAlias = keras.callbacks.History | Mapping[str, Any] | Sequence[Any]
Images: TypeAlias = npt.NDArray[Any] | Sequence[ArrayLike]
SoftLabels: TypeAlias = ArrayLike | Sequence[ArrayLike]

Collect: TypeAlias = Literal["pass", "on_the_fly"]
LossThreshold: TypeAlias = Literal["deviation", "beta_mixture"]
NeighborMetric: TypeAlias = Literal["cosine", "euclidean"]
NoiseVerdict: TypeAlias = Literal["class-conditional", "cannot tell", "checked"]
RankBy: TypeAlias = Literal["margin", "correction", "self_confidence"]
# What the weight of the prediction is made of, or the weight itself.
SelfTrust: TypeAlias = Literal["both", "global", "local"] | float
WarmStart: TypeAlias = Literal[False, "last", "best"]
DType: TypeAlias = str | type | dict[str, Any] | keras.DTypePolicy | None


class LossArguments(TypedDict, total=False):
    """The arguments that every loss class has besides its own."""

    from_logits: bool
    reduction: str | None
    name: str | None
    dtype: DType
