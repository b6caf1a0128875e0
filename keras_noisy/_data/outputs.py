"""What the outputs of a model are: the one reading of its loss, and of its numbers."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks.distributions import by_class, check_rows, is_one_output
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


def are_labels(model):
    """Whether a model's outputs are one probability for each of many labels.

    Its loss says so; of Keras's it is binary cross-entropy. One output is always that
    of two classes.
    """
    loss = getattr(model, "loss", None)
    shape = getattr(model, "output_shape", None)
    if not isinstance(shape, tuple) or is_one_output(shape):
        return False
    name = getattr(loss, "__name__", loss if isinstance(loss, str) else "")
    is_binary = isinstance(loss, keras.losses.BinaryCrossentropy)
    is_binary |= name == "binary_crossentropy"
    return is_binary or getattr(loss, "is_multi_label", False)


def check_not_labels(owner, model):
    """Raise if a model's outputs are those of many labels, as `MultiLabel` says.

    Binary cross-entropy can also be that of a softmax to one-hot labels.
    """
    if getattr(getattr(model, "loss", None), "is_multi_label", False):
        expected = "a classifier of one label for each example"
        received = Described("one with a sigmoid for each of many labels")
        raise ValueError(message(owner, "model", expected, received))


def probabilities(outputs, from_logits, are_labels=False):
    """Return float32 probabilities of outputs, an array or a tensor as they are.

    Those of one output for each example are those of two classes, as everywhere below.

    Args:
        outputs: Outputs of a batch.
        from_logits: Whether they are logits.
        are_labels: Whether each is that of a label of its own.
    """
    if are_labels:
        return _sigmoid(outputs) if from_logits else _as_float32(outputs)
    if isinstance(outputs, np.ndarray):
        outputs = by_class(np.asarray(outputs, "float32"), from_logits)
        return mean_predictions.softmax(outputs.copy()) if from_logits else outputs
    outputs = by_class(ops.cast(outputs, "float32"), from_logits, ops)
    return ops.softmax(outputs) if from_logits else outputs


def _as_float32(outputs):
    is_array = isinstance(outputs, np.ndarray)
    return outputs.astype("float32") if is_array else ops.cast(outputs, "float32")


def _sigmoid(outputs):
    outputs = _as_float32(outputs)
    if not isinstance(outputs, np.ndarray):
        return ops.sigmoid(outputs)
    # Of the negative absolute value, which does not overflow.
    small = np.exp(-np.abs(outputs))
    return np.where(outputs > 0, 1, small) / (1 + small)


def logits(outputs, from_logits):
    """Return float32 logits of outputs, an array; those of probability 0 are finite."""
    outputs = by_class(np.asarray(outputs, "float32"), from_logits)
    tiny = np.finfo("float32").tiny
    return outputs if from_logits else np.log(np.maximum(outputs, tiny))


def check_probabilities(owner, predictions, epoch, from_logits, are_labels=False):
    """Raise unless what a model predicts in an epoch are distributions.

    Args:
        owner: Name of the public class, for errors.
        predictions: Array `(n, num_classes)`, or `(n, num_labels)`.
        epoch: The epoch.
        from_logits: Whether they were made of logits.
        are_labels: Whether each is the probability of a label of its own.
    """
    check_single(owner, predictions, rank=2)
    argument = f"predictions at epoch {epoch}"
    if not np.isfinite(predictions).all():
        received = Described("NaN or infinity")
        mend = "The training has diverged; lower the learning rate."
        raise ValueError(message(owner, argument, "finite numbers", received, mend))
    mend = "" if from_logits else "Pass from_logits=True if they are logits."
    if are_labels:
        predictions = by_class(predictions.reshape(-1), False)
    check_rows(owner, argument, predictions, mend)


def check_single(owner, outputs, *, rank=None):
    """Return outputs, or raise if they are several, or of another rank."""
    shape = getattr(outputs, "shape", None)
    if shape is None or (rank is not None and len(shape) != rank):
        raise ValueError(shape_message(owner, outputs))
    return outputs


def num_classes(owner, shape):
    """Return the number of classes of outputs of a shape, or raise if it has none.

    Args:
        owner: Name of the public class or function, for errors.
        shape: That of outputs of a batch, or what came in place of one.
    """
    is_shape = isinstance(shape, tuple) and len(shape) in (1, 2)
    if not is_shape or not (len(shape) == 1 or isinstance(shape[1], int)):
        raise ValueError(shape_message(owner, shape))
    return 2 if is_one_output(shape) else shape[1]


def scores(owner, outputs, from_logits):
    """Return outputs as rows, the class predicted the largest of each, or raise.

    An array or a tensor, as they are. Where there is a column for each class, it makes
    no difference whether they are logits.
    """
    num_classes(owner, tuple(getattr(outputs, "shape", ())))
    numeric = np if isinstance(outputs, np.ndarray) else ops
    return by_class(outputs, from_logits, numeric)


def of_form(distributions, width):
    """Return two-class distributions as a network of one output takes labels.

    Args:
        distributions: Array `(n, num_classes)`.
        width: Number of outputs of the network.
    """
    return distributions[..., 1:] if width == 1 else distributions


def shape_message(owner, outputs):
    """Return the error for outputs, or shapes, that are not those of a classifier."""

    def shape(leaf):
        return tuple(leaf.shape) if hasattr(leaf, "shape") else leaf

    expected = (
        "a classifier with one output of shape (batch, num_classes), or (batch, 1) or "
        "(batch,) for one sigmoid"
    )
    received = Described(str(keras.tree.map_structure(shape, outputs)))
    mend = "Received are the shapes of its output."
    return message(owner, "model", expected, received, mend)
