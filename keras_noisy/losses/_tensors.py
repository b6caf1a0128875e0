"""Shapes, dtypes and sums that labels and predictions have in common."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_noisy import _keras
from keras_noisy._checks.distributions import as_numbers

HALF_PRECISION = ("float16", "bfloat16")


def as_tensor(x, owner="", argument="y_pred"):
    """Return `x` unchanged if it is a tensor (attributes survive), else convert.

    With an owner, raise its error where `x` holds no numbers.
    """
    if ops.is_tensor(x):
        return x
    # Variables of Keras have a dtype; through NumPy they would lose their gradient.
    if owner and (isinstance(x, np.ndarray) or not hasattr(x, "dtype")):
        # Looked at only: Keras gives lists its own float type, NumPy float64.
        as_numbers(owner, argument, x)
    return ops.convert_to_tensor(x)


def at_least(floor, x):
    """As `ops.maximum`, which computes float64 in float32 on torch. NaN stays."""
    floor = ops.convert_to_tensor(floor, dtype=x.dtype)
    if keras.backend.backend() == "torch":
        return ops.where(x < floor, floor, x)
    # XLA takes much longer for `where`.
    return ops.maximum(x, floor)


def log_sum_exp(x, axis=-1):
    """As `ops.logsumexp`, which computes float64 in float32 on torch."""
    largest = ops.stop_gradient(ops.max(x, axis=axis, keepdims=True))
    total = ops.sum(ops.exp(x - largest), axis=axis)
    return ops.log(total) + ops.squeeze(largest, axis=axis)


def shape_of(owner, argument, x):
    """Return the shape of `x`, or raise unless its rank is known."""
    try:
        return tuple(x.shape)
    except ValueError:  # A TensorFlow tensor of unknown rank.
        raise ValueError(
            f"{owner}: `{argument}` must have a known rank. Received a tensor of "
            "unknown shape. Set it in the pipeline with `tf.ensure_shape`."
        ) from None


def check_shape_is(owner, argument, x, expected):
    """Raise if `x` is known to have another shape than `expected`, which y_pred has."""
    shape = shape_of(owner, argument, x)
    if not agree(shape, expected):
        raise ValueError(
            f"{owner}: `{argument}` must have the shape of y_pred, {expected}. "
            f"Received: {argument}.shape={shape}."
        )


def agree(shape, other):
    """Whether two shapes can be the same, as far as they are known."""
    return len(shape) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(shape, other, strict=True)
    )


def visible(x):
    """Return `x` as a NumPy array, or None inside compiled code.

    A torch tensor on an accelerator counts as not visible too: looking at it
    would make every step wait for the device.
    """
    backend = keras.backend.backend()
    if not ops.is_tensor(x):
        return x if isinstance(x, np.ndarray) else None
    if backend == "jax":
        import jax

        return None if isinstance(x, jax.core.Tracer) else np.asarray(x)
    if backend == "torch":
        import torch

        if torch.compiler.is_compiling() or x.device.type != "cpu":
            return None
        if _keras.is_made_up():
            return None
        x = x.detach()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    return x.numpy() if hasattr(x, "numpy") else None
