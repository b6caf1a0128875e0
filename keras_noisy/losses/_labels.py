"""What formulas take from labels: class ids, and distributions over the classes."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy.losses import _tensors

# How far soft labels may sum from one: half precision rounds them by 0.4 %.
TOLERANCE = 0.01


class Labels:
    """The labels of a batch.

    Attributes:
        q: Distributions over the classes, shape `(..., num_classes)`.
    """

    def __init__(self, q, is_valid, ids=None):
        self.q, self._is_valid, self._ids = q, is_valid, ids

    @property
    def are_ids(self):
        """Whether labels came as class ids."""
        return self._ids is not None

    @property
    def ids(self):
        """Class ids, int32 `(...)`, or None where labels came as distributions.

        One that is out of range becomes the nearest one that is not.
        """
        return _in_range(self._ids, self.q.shape[-1]) if self.are_ids else None

    def nan_where_bad(self, loss):
        """Return `loss` with NaN where a label is bad, as only compiled code meets it.

        That is an id out of range, or a row that does not sum to one.
        """
        if self._is_valid is None:
            return loss
        # `where` and not a product: the bad row shows as NaN in the loss, while
        # its gradient is zero and the weights survive.
        return ops.where(self._is_valid, loss, ops.cast(float("nan"), loss.dtype))

    def by_class(self, of_ids, of_distributions):
        """Return `of_ids(ids)` if all labels are classes, else `of_distributions()`.

        For a formula that is much cheaper for class ids. Both must give the same then,
        up to rounding. Whether rows are one-hot shows when the labels are there, so
        only compiled code on CPUs asks: an accelerator would have to wait for the
        answer.

        Args:
            of_ids: Function of class ids, int32 in range, shape `(...,)`.
            of_distributions: Function without arguments.
        """
        if self.are_ids:
            return of_ids(self.ids)
        q = self.q
        if not _branches_are_free(q):
            return of_distributions()
        num_classes = q.shape[-1]
        total = ops.sum(q, axis=-1)
        # Sums, which XLA fuses; to reduce booleans takes it as long as a cross-entropy.
        fractions = ops.sum(ops.abs(q * (1 - q)), axis=-1)
        is_one_hot = ops.logical_and(ops.equal(total, 1), ops.equal(fractions, 0))

        def of_one_hot():
            ids = ops.sum(q * ops.arange(num_classes, dtype=q.dtype), axis=-1)
            # Under JAX's `vmap` both branches run, this one on any distribution.
            return of_ids(_in_range(ids, num_classes))

        return ops.cond(ops.all(is_one_hot), of_one_hot, of_distributions)


def read(owner, y_true, pred_shape, dtype, *, is_binary=False):
    """Return the `Labels` of what a user passed as `y_true`, or raise.

    Args:
        owner: Name of the loss, for errors.
        y_true: Class ids or distributions, as in `_formula.per_example`.
        pred_shape: Shape of the distributions that they go with.
        dtype: Of the distributions.
        is_binary: Whether predictions are one output for each example. A label is then
            the share of the second of two classes, any number in [0, 1].
    """
    pred_shape = tuple(pred_shape)
    num_classes = pred_shape[-1]
    if not hasattr(y_true, "shape"):
        y_true = errors.as_array(y_true)
    shape = _tensors.shape_of(owner, "y_true", y_true)
    has_classes = len(shape) == len(pred_shape)
    is_column = has_classes and shape[-1] == 1
    is_ids = len(shape) == len(pred_shape) - 1 or is_column
    is_distribution = has_classes and not is_ids and shape[-1] in (None, num_classes)
    leading = shape[:-1] if has_classes else shape
    if not (is_ids or is_distribution) or not _tensors.agree(leading, pred_shape[:-1]):
        kind, given = "class ids", f"y_pred.shape={pred_shape}"
        if is_binary:
            kind, given = "labels", "one output for each example"
        raise ValueError(
            f"{owner}: `y_true` must hold {kind} of shape {pred_shape[:-1]} or "
            f"{pred_shape[:-1] + (1,)}, or distributions of shape {pred_shape}, to "
            f"go with {given}. Received: y_true.shape={shape}."
        )
    if is_distribution:
        return _of_distributions(owner, y_true, num_classes, dtype)
    check = _check_shares if is_binary else _check_ids
    check(owner, y_true, num_classes)
    ids = _tensors.as_tensor(y_true)
    if is_column:
        ids = ops.squeeze(ids, axis=-1)
    if is_binary and "float" in keras.backend.standardize_dtype(ids.dtype):
        return _of_shares(ids, dtype)
    return Labels(*_one_hot(ids, num_classes, dtype), ids)


def without_class(owner, y_true, pred_shape, ignore_class):
    """Return class ids with another in the place of an ignored one, and which count.

    Args:
        owner: Name of the loss, for errors.
        y_true: Class ids, as in `_formula.per_example`.
        pred_shape: Shape of the distributions that they go with.
        ignore_class: The id that does not count.

    Returns:
        Ids, and booleans, both of shape `pred_shape[:-1]`.
    """
    if not hasattr(y_true, "shape"):
        y_true = errors.as_array(y_true)
    shape, leading = _tensors.shape_of(owner, "y_true", y_true), pred_shape[:-1]
    is_column = len(shape) == len(leading) + 1 and shape[-1] == 1
    if not _tensors.agree(shape[:-1] if is_column else shape, leading):
        raise ValueError(
            f"{owner}: `y_true` must hold class ids of shape {leading} or "
            f"{leading + (1,)}, because `ignore_class` names one of them. Received: "
            f"y_true.shape={shape}. Where labels are distributions, weigh examples by "
            "`sample_weight`."
        )
    values = _tensors.visible(y_true)
    if values is not None:
        _check_dtype(owner, values)
    ids = _comparable(_tensors.as_tensor(y_true))
    if is_column:
        ids = ops.squeeze(ids, axis=-1)
    is_kept = ops.not_equal(ids, ops.cast(ignore_class, ids.dtype))
    return ops.where(is_kept, ids, ops.zeros_like(ids)), is_kept


def _of_shares(second, dtype):
    """Return the labels of two classes, given the share of the second."""
    second = ops.cast(second, dtype)
    is_valid = ops.logical_and(second >= 0, second <= 1)
    return Labels(ops.stack([1 - second, second], axis=-1), is_valid)


def _of_distributions(owner, y_true, num_classes, dtype):
    is_seen = _check_distributions(owner, y_true)
    q = ops.cast(_tensors.as_tensor(y_true), dtype)
    if q.shape[-1] is None:
        # A column of ids would broadcast in silence; it cannot be reshaped.
        q = ops.reshape(q, (*ops.shape(q)[:-1], num_classes))
    # Only the sum, which most losses take anyway; to look for negative entries would
    # be another pass over the classes. NaN fails the comparison.
    is_valid = None if is_seen else ops.abs(ops.sum(q, axis=-1) - 1) <= TOLERANCE
    return Labels(q, is_valid)


def _in_range(ids, num_classes):
    return ops.clip(ops.cast(ids, "int32"), 0, num_classes - 1)


def _branches_are_free(x):
    """Whether a branch on the value of `x` costs no more than looking at it.

    An accelerator waits for the answer, torch breaks its graph, and eager JAX would
    compile both branches at every call.
    """
    if keras.backend.backend() == "torch":
        return False
    on_cpu = keras.distribution.list_devices()[0].startswith("cpu")
    return on_cpu and _tensors.visible(x) is None


def _one_hot(ids, num_classes, dtype):
    """Return one-hot rows, and which ids are whole numbers in range.

    A comparison, not `ops.one_hot`: XLA fuses it into the sums that use it, and
    an id that is out of range leaves a row of zeros on every backend instead of
    an exception, a NaN or a neighbour's class.
    """
    ids = _comparable(ids)
    ids_dtype = keras.backend.standardize_dtype(ids.dtype)
    is_valid = ops.logical_and(ids >= 0, ids < num_classes)
    if "float" in ids_dtype:
        is_valid = ops.logical_and(is_valid, ops.equal(ids, ops.floor(ids)))
    classes = ops.arange(num_classes, dtype=ids_dtype)
    return ops.cast(ops.equal(classes, ids[..., None]), dtype), is_valid


def _comparable(ids):
    """Return ids in a dtype that holds the number of any class."""
    dtype = keras.backend.standardize_dtype(ids.dtype)
    if dtype.startswith("uint"):
        # JAX has no 64-bit integers by default; a wrapped id turns negative.
        is_jax = keras.backend.backend() == "jax"
        return ops.cast(ids, "int32" if is_jax else "int64")
    if dtype in ("int8", "int16", "bool"):
        return ops.cast(ids, "int32")
    return ops.cast(ids, "float32") if dtype in _tensors.HALF_PRECISION else ids


def _check_distributions(owner, y_true):
    """Return whether label rows can be seen; raise if one is no distribution."""
    labels = _tensors.visible(y_true)
    if labels is None:
        return False
    _check_dtype(owner, labels)
    total = labels.sum(axis=-1, dtype="float64")
    # NaN fails both comparisons.
    is_valid = (abs(total - 1) <= TOLERANCE) & (labels.min(axis=-1) >= 0)
    if not is_valid.all():
        row = labels[~is_valid][0]
        shown = np.array2string(row.astype("float64"), precision=3, threshold=10)
        raise ValueError(
            errors.message(
                owner,
                "y_true",
                "class ids, or distributions: rows that sum to 1, none negative",
                errors.Described(f"a row {shown} that sums to {row.sum():.4g}"),
                "Divide counts and votes by their sum. Weights of examples go into "
                "`sample_weight`, 0 for those without a label. Examples of several "
                "classes at once need sigmoid outputs and `losses.MultiLabel`.",
            )
        )
    return True


def _check_dtype(owner, labels):
    if labels.dtype.kind in "OSUc":
        raise TypeError(
            f"{owner}: `y_true` must hold numbers. Received: y_true.dtype="
            f"{labels.dtype}. `keras.layers.StringLookup` makes class ids of strings."
        )


def _check_shares(owner, y_true, num_classes):
    """Raise on labels outside [0, 1], where their values can be seen."""
    labels = _tensors.visible(y_true)
    if labels is None or labels.size == 0:
        return
    _check_dtype(owner, labels)
    low, high = labels.min(), labels.max()
    # NaN fails the comparison.
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{owner}: `y_true` must hold labels 0 and 1, or numbers between them, "
            f"because y_pred is one output for each example. Received labels from "
            f"{low} to {high}. Labels of -1 and 1 become these by `(y + 1) / 2`; more "
            f"classes need an output each. Mark examples without a label by "
            "`sample_weight=0` and any valid label."
        )


def _check_ids(owner, y_true, num_classes):
    """Raise on ids that are out of range, where their values can be seen."""
    ids = _tensors.visible(y_true)
    if ids is None or ids.size == 0:
        return
    _check_dtype(owner, ids)
    # The extremes first, because they cost nothing; NaN fails the comparison.
    low, high = ids.min(), ids.max()
    if not (low >= 0 and high < num_classes):
        raise ValueError(
            f"{owner}: `y_true` must hold class ids in [0, {num_classes}), because "
            f"y_pred has {num_classes} classes. Received ids from {low} to {high}. "
            "Mark examples without a label by `sample_weight=0` and any valid id."
        )
    if ids.dtype.kind == "f" and not np.array_equal(ids, np.floor(ids)):
        raise ValueError(
            f"{owner}: `y_true` must hold whole numbers where its shape says class "
            f"ids. Received: y_true.shape={ids.shape} with fractions. Distributions "
            f"have a last dimension of {num_classes}."
        )
