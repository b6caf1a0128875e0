"""What a hidden layer of a model makes of examples."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.errors import Described, message
from keras_noisy._checks.numbers import optional
from keras_noisy._data import arrays, files, predictions
from keras_noisy._typing import Data, FilePath, FloatArray


def features(
    model: keras.Model,
    x: Data,
    *,
    layer: keras.Layer | str | int | None = None,
    batch_size: int | None = None,
    file: FilePath | None = None,
) -> FloatArray:
    """Return what a hidden layer of a model computes for each example.

    Args:
        model: Any Keras model, functional or with a `call` of its own.
        x: Inputs of `n` examples: an array, a tuple or dict of arrays, or a data set of
            batches of inputs, or of tuples that begin with them, in a fixed order.
        layer: The layer whose output is returned: a layer, its name, or its position in
            `model.layers`. By default the input of the last layer that has weights,
            which in a classifier computes the classes.
        batch_size: Examples at once where `x` is arrays; 256 by default.
        file: Where to write the features, a `.npy` file that `numpy.load` reads: for
            those that do not fit in memory. It is there when all is written.

    Returns:
        Features `(n, d)` of the layer's dtype, those of bfloat16 as float32; outputs of
        more dimensions are flattened. With `file` a memory map of it.

    Raises:
        TypeError: If `model` is no Keras model, or `file` no path.
        ValueError: If there are no examples, or no such layer, it does not run when the
            model predicts, or its output is no array with a row for each example.

    Example:
        >>> import keras, numpy as np
        >>> from keras_noisy import analysis
        >>> hidden = keras.layers.Dense(3, activation="relu", name="hidden")
        >>> model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(4)])
        >>> analysis.features(model, np.zeros((5, 2), "float32")).shape
        (5, 3)
        >>> analysis.features(model, np.zeros((5, 2), "float32"), layer=-1).shape
        (5, 4)
    """
    owner = "features"
    if not isinstance(model, keras.Model):
        raise TypeError(message(owner, "model", "a Keras model", type(model)))
    batch_size = optional(errors.check_count)(owner, "batch_size", batch_size)
    if file is not None:
        file = errors.check_path(owner, "file", file)
    x = x if arrays.is_arrays(x) else arrays.standard(x)
    if arrays.is_arrays(x):
        x = arrays.as_arrays(owner, "x", x)
        predictions.check_not_empty(owner, arrays.length(owner, "x", x))
        first = arrays.batch_of(x, slice(0, 1))
    else:
        predictions.check_data_set(owner, x)
        first = next(iter(x), None)
        predictions.check_not_empty(owner, first is not None)
        first = arrays.of_backend(predictions.inputs_of(first))
    if not model.built:
        model.predict_on_batch(first)
    hidden = hidden_model(owner, model, layer)
    _check_outputs(owner, hidden, first)
    pieces = rows_in_pieces(owner, hidden, x, batch_size)
    if file is None:
        return np.concatenate([*pieces])
    with files.atomic_writer(file) as target:
        _write(target, pieces)
    return np.load(file, mmap_mode="r")


def hidden_model(owner, model, layer):
    """Return a model whose outputs are those of a layer of a model that is built."""
    return _Hidden(model, *_find_layer(owner, model, layer))


def rows_in_pieces(owner, hidden, x, batch_size=None):
    """Yield what a `hidden_model` computes of arrays or a data set, `(rows, d)`."""
    found = predictions.in_pieces(owner, hidden, x, batch_size=batch_size)
    return (_as_rows(piece) for piece in found)


class _Hidden(keras.Model):
    """A model whose outputs are those of a layer of another, or its inputs."""

    def __init__(self, model, layer, is_input):
        super().__init__(name="hidden")
        self.model, self.layer = model, layer
        self.is_input = is_input
        self.compile(jit_compile=model.jit_compile)

    def call(self, x):
        """Run the model and return what the layer computed."""
        return self.seen(x)[-1]

    def seen(self, x):
        """Run the model and return a list of what the layer computed."""
        seen = []
        compute = self.layer.call

        def watched(*args, **kwargs):
            outputs = compute(*args, **kwargs)
            inputs = args[0] if args else next(iter(kwargs.values()))
            seen.append(inputs if self.is_input else outputs)
            return outputs

        self.layer.call = watched
        try:
            self.model(x, training=False)
        finally:
            self.layer.call = compute
        return seen


def _check_outputs(owner, hidden, inputs):
    """Raise unless the layer computes one array in a pass through the model."""
    seen = hidden.seen(keras.tree.map_structure(ops.convert_to_tensor, inputs))
    if len(seen) != 1 or not getattr(seen[0], "shape", ()):
        expected = "a layer that runs once in the model and has one array of outputs"
        received = Described(f"{hidden.layer.name!r}, which ran {len(seen)} times")
        raise ValueError(message(owner, "layer", expected, received))


def _find_layer(owner, model, layer):
    """Return a layer, and whether its inputs are wanted, or raise."""
    if layer is None:
        return _last_with_weights(owner, model), True
    names = [inner.name for inner in model.layers]
    mend = f"The model has {names}."
    if isinstance(layer, keras.Layer):
        return layer, False
    position = errors.as_integer(layer)
    if position is not None and -len(names) <= position < len(names):
        return model.layers[position], False
    if isinstance(layer, str) and layer in names:
        return model.layers[names.index(layer)], False
    expected = "a layer, the name of one, or its position in `model.layers`"
    raise ValueError(message(owner, "layer", expected, layer, mend))


def _last_with_weights(owner, model):
    layer = model
    while getattr(layer, "layers", None):
        inner = [inner for inner in layer.layers if inner.weights]
        if not inner:
            break
        layer = inner[-1]
    if layer is model:
        expected = "a model with a layer that has weights"
        raise ValueError(message(owner, "model", expected, model, "Pass `layer`."))
    return layer


def _as_rows(piece):
    """Return outputs as an array `(n, d)` of a dtype of NumPy."""
    if piece.dtype.name == "bfloat16":
        piece = piece.astype("float32")
    return piece.reshape(len(piece), -1)


def _write(target, pieces):
    """Write an array of pieces in the form of `.npy`."""
    size = 0
    for piece in pieces:
        if not size:
            _write_header(target, size, piece)
        target.write(np.ascontiguousarray(piece).tobytes())
        size += len(piece)
    # NumPy leaves room in the header for an array that grows.
    target.seek(0)
    _write_header(target, size, piece)


def _write_header(target, size, piece):
    np.lib.format.write_array_header_1_0(
        target,
        {
            "descr": np.lib.format.dtype_to_descr(piece.dtype),
            "fortran_order": False,
            "shape": (size, piece.shape[1]),
        },
    )
