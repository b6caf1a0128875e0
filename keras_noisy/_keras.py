"""What this package uses of Keras that Keras does not document.

Each name has one function here, which says what happens should it go; no other module
may use them (`tests/test_rooms.py`). What would be lost in silence is looked for, once
in a process, and missed with a warning.

| name | used for | if it goes |
|---|---|---|
| `_keras_logits` | exact losses of a saturated output | a warning; they are clipped |
| `_keras_mask`, `keras.src` `get_keras_mask` | masks of layers | a warning; no masks |
| `keras.src` `set_keras_mask` | what a loss ignores | an `ImportError` |
| `keras.src` `in_stateless_scope` | made-up tensors on torch | a warning; no checks |
| `Model._tracker` | new state of a model that is built | Keras's error |
| `Model._flatten_layers` | layers inside of layers | an `AttributeError` |
| `Model._initial_epoch` | `fit` that goes on after a backup | an error |
| `Model.distribute_strategy` | replicas of TensorFlow | TensorFlow's error |
"""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_noisy._typing import Tensor

LOGITS = "_keras_logits"
MASK = "_keras_mask"


def activation_input(y_pred: Tensor, activation: str) -> Tensor | None:
    """Return the input of the activation that made `y_pred`, or None.

    Keras leaves that of a softmax and of a sigmoid as an attribute on TensorFlow and
    torch tensors. In a TensorFlow graph it can also be found by walking back from
    `y_pred`; mixed precision puts a cast in between. JAX has neither.

    Args:
        y_pred: Predictions.
        activation: "Softmax" or "Sigmoid", as TensorFlow names its operations.
    """
    logits = getattr(y_pred, LOGITS, None)
    op = getattr(y_pred, "op", None)
    while logits is None and op is not None and op.type in ("Cast", "Identity"):
        logits = getattr(op.inputs[0], LOGITS, None)
        op = op.inputs[0].op
    if logits is None and op is not None and op.type == activation:
        return op.inputs[0]
    return logits


def is_softmax(y_pred: Tensor) -> bool:
    """Whether `y_pred` is seen to come from a softmax.

    In TensorFlow's graphs, and on torch where a gradient is to be taken. Elsewhere
    nothing is seen.
    """
    op = getattr(y_pred, "op", None)
    while op is not None and op.type in ("Cast", "Identity"):
        op = op.inputs[0].op
    made_by = getattr(y_pred, "grad_fn", None)
    return getattr(op, "type", "") == "Softmax" or "Softmax" in type(made_by).__name__


def mask_of(y_pred: Tensor) -> Tensor | None:
    """Return the mask that a layer has left on `y_pred`, or None."""
    mask = _find_mask(y_pred)
    if mask is None:
        miss_masks()
    return mask


def _find_mask(x):
    try:
        # Of traced JAX arrays, which take no attributes, Keras has a table.
        from keras.src.backend.common.masking import get_keras_mask
    except ImportError:
        return getattr(x, MASK, None)
    return get_keras_mask(x)


def with_mask(values: Tensor, mask: Tensor) -> Tensor:
    """Return the values of a loss, and tell Keras which of them count.

    Keras's reductions then divide by how many these are.
    """
    from keras.src.backend.common.masking import set_keras_mask

    set_keras_mask(values, mask)
    return values


def cast_with_logits(y_pred: Tensor, dtype: Any) -> Tensor:
    """Return `y_pred` in another dtype, with what Keras has left on it."""
    logits = getattr(y_pred, LOGITS, None)
    is_cast = keras.backend.standardize_dtype(y_pred.dtype) == dtype
    # Without logits, as always on JAX, Keras casts; it reads the mask before.
    if logits is None or is_cast:
        return y_pred
    cast = ops.cast(y_pred, dtype)
    setattr(cast, LOGITS, logits)
    mask = mask_of(y_pred)
    if mask is not None:
        setattr(cast, MASK, mask)
    return cast


@functools.cache
def miss_logits() -> None:
    """Warn if a softmax does not leave its input where `activation_input` looks."""
    if keras.backend.backend() == "jax":
        return
    if not hasattr(keras.activations.softmax(ops.ones((1, 2))), LOGITS):
        _warn("the input of a softmax", "Use logits and `from_logits=True`.")


@functools.cache
def miss_masks() -> None:
    """Warn if layers do not leave their masks where `mask_of` looks."""
    if _find_mask(keras.layers.Masking()(keras.KerasTensor((1, 1, 1)))) is None:
        _warn("masks of layers", "Pass `sample_weight` for what is masked.")


def _warn(lost, mend):
    warnings.warn(
        f"keras_noisy: Keras {keras.__version__} does not leave {lost} where it is "
        f"looked for, and losses do without. {mend}",
        stacklevel=4,
    )


def is_made_up() -> bool:
    """Whether Keras runs a step on made-up torch tensors, to learn its shapes."""
    try:
        from keras.src.backend.common.stateless_scope import in_stateless_scope
    except ImportError:
        _warn("which tensors are made up", "Bad labels show as NaN, not as an error.")
        return True
    return bool(in_stateless_scope())


@contextlib.contextmanager
def unlocked(model: keras.Model) -> Iterator[None]:
    """Let a built model take new state by assignment inside a `with`."""
    tracker = getattr(model, "_tracker", None)
    if not getattr(tracker, "locked", False):
        yield
        return
    tracker.unlock()  # type: ignore[union-attr]
    try:
        yield
    finally:
        tracker.lock()  # type: ignore[union-attr]


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return a model's layers, those inside of layers too."""
    return list(model._flatten_layers())


def begin_at(model: keras.Model, epoch: int) -> None:
    """Let the `fit` that has just begun start at an epoch.

    It looks there after the callbacks have had their turn.
    """
    if not hasattr(model, "_initial_epoch"):
        raise RuntimeError(
            f"keras_noisy: Keras {keras.__version__} cannot be told at which epoch to "
            f"begin. Pass `initial_epoch={epoch}` to `fit`."
        )
    model._initial_epoch = epoch


def strategy_of(model: keras.Model) -> Any:
    """Return TensorFlow's strategy that a model was built under, or None."""
    return getattr(model, "distribute_strategy", None)


@contextlib.contextmanager
def fresh_models() -> Iterator[None]:
    """Train and call one new model after the other without TensorFlow's warning.

    It counts how often functions of all models are traced, and takes many new models
    for one function that is traced in vain.
    """
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_no_retracing)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_retracing)


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()
