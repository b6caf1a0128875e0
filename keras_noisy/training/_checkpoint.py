"""Everything that a training needs to go on: variables of model and optimizer."""

import hashlib
import json
import re

import keras
import numpy as np

from keras_noisy._data import npz


def state_of(model):
    """Return the values of all variables, as a list of arrays."""
    return [
        np.array(keras.ops.convert_to_numpy(variable)) for variable in _variables(model)
    ]


def restore(model, values):
    """Set all variables to what `state_of` returned."""
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)


def restore_weights(model, values):
    """Set the variables of the model, and not those of its optimizer."""
    for variable, value in zip(model.variables, values, strict=False):
        variable.assign(value)


def _variables(model):
    return [*model.variables, *model.optimizer.variables]


def save(file, model):
    """Write the state of `model` to an open file."""
    arrays = {}
    for index, value in enumerate(state_of(model)):
        if value.dtype.kind == "V" or value.dtype.name == "bfloat16":
            # NumPy's files do not know bfloat16, and float32 holds all of it.
            value = value.astype("float32")
        arrays[f"{index:06d}"] = value
    np.savez(file, **arrays)


def load(path):
    """Return what `save` wrote."""
    with open(path, "rb") as file:
        archive = npz.Npz(file)
        return [archive[name] for name in sorted(archive.names)]


def describe(model):
    """Return a digest of a compiled model: layers, shapes, optimizer and loss."""
    try:
        layers = model.get_config()
    except Exception:
        # Subclassed models need not have a configuration.
        layers = type(model).__name__
    loss, optimizer = model.loss, model.optimizer
    content = {
        "layers": layers,
        "variables": [[list(v.shape), str(v.dtype)] for v in model.variables],
        "optimizer": [type(optimizer).__name__, optimizer.get_config()],
        "loss": [
            getattr(loss, "name", None) or str(loss),
            loss.get_config() if hasattr(loss, "get_config") else None,
        ],
    }
    text = json.dumps(_without_names(content), sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _without_names(content):
    """Leave out the names that Keras numbers, `dense_3`, and what refers to them.

    And the time of a loss that several models share, which no program sets.
    """
    if isinstance(content, dict):
        skipped = (
            "name",
            "inbound_nodes",
            "input_layers",
            "output_layers",
            "saved_time",
        )
        return {
            str(key): _without_names(value)
            for key, value in content.items()
            if key not in skipped
        }
    if isinstance(content, (list, tuple)):
        return [_without_names(item) for item in content]
    return content


def _plain(value):
    """Return what identifies a value that JSON has no form for."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "get_config"):
        return [type(value).__name__, _without_names(value.get_config())]
    # An address in memory differs from run to run.
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
