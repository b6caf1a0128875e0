"""What the outputs of a model are: the one reading of its loss, and of its numbers."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks.distributions import check_rows
from keras_noisy._checks.errors import Described, message
from keras_noisy._data import mean_predictions


def takes_logits(loss: Any) -> bool | None:
    """Return whether a compiled loss takes logits, None where it does not say.

    Args:
        loss: A loss of Keras or of this package, a function, a name, or None.
    """
    told = getattr(loss, "from_logits", None)
    if told is None and isinstance(loss, keras.losses.Loss):
        # After the attribute: a configuration may hold what no traced step can read.
        told = loss.get_config().get("from_logits")
    return None if told is None else bool(told)


def are_logits(owner, model):
    """Return whether a model's outputs are logits: its loss says so."""
    if not takes_logits(getattr(model, "loss", None)):
        return False
    warnings.warn(
        f"{owner}: the model's loss takes logits, so a softmax is applied to its "
        "outputs. Pass from_logits=True to say so.",
        stacklevel=3,
    )
    return True


def check_from_logits(owner, from_logits):
    """Return `from_logits`, or raise unless it is None or a bool."""
    if from_logits is not None and not isinstance(from_logits, bool):
        expected = "True, False or None"
        raise TypeError(message(owner, "from_logits", expected, from_logits))
    return from_logits


def probabilities(outputs, from_logits):
    """Return float32 probabilities of outputs, an array or a tensor as they are."""
    if isinstance(outputs, np.ndarray):
        outputs = np.asarray(outputs, "float32")
        return mean_predictions.softmax(outputs.copy()) if from_logits else outputs
    outputs = ops.cast(outputs, "float32")
    return ops.softmax(outputs) if from_logits else outputs


def logits(outputs, from_logits):
    """Return float32 logits of outputs, an array; those of probability 0 are finite."""
    outputs = np.asarray(outputs, "float32")
    tiny = np.finfo("float32").tiny
    return outputs if from_logits else np.log(np.maximum(outputs, tiny))


def check_probabilities(owner, predictions, epoch, from_logits):
    """Raise unless what a model predicts in an epoch are distributions."""
    check_classes(owner, predictions)
    argument = f"predictions at epoch {epoch}"
    if not np.isfinite(predictions).all():
        received = Described("NaN or infinity")
        mend = "The training has diverged; lower the learning rate."
        raise ValueError(message(owner, argument, "finite numbers", received, mend))
    mend = "" if from_logits else "Pass from_logits=True if they are logits."
    check_rows(owner, argument, predictions, mend)


def check_single(owner, outputs, *, rank=None):
    """Return outputs, or raise if they are several, or of another rank."""
    shape = getattr(outputs, "shape", None)
    if shape is None or (rank is not None and len(shape) != rank):
        raise ValueError(shape_message(owner, outputs))
    return outputs


def check_classes(owner, outputs):
    """Return outputs, or raise unless they are a row of classes for each example."""
    num_classes = check_single(owner, outputs, rank=2).shape[1]
    if num_classes is None or num_classes < 2:
        raise ValueError(shape_message(owner, outputs))
    return outputs


def shape_message(owner, outputs):
    """Return the error for outputs that are not one row for each example."""
    received = getattr(outputs, "shape", None)
    if received is None:
        received = keras.tree.map_structure(lambda leaf: tuple(leaf.shape), outputs)
    expected = "a classifier with one output of shape (batch, num_classes)"
    mend = (
        "Received are the shapes of its output. Give a binary classifier two outputs "
        "with a softmax."
    )
    return message(owner, "model", expected, received, mend)
