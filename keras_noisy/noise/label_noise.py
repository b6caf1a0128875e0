"""Label noise in a stream: a layer for tf.data and other data pipelines."""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.errors import Described, as_array, check_bool, message
from keras_noisy._checks.labels import check_class_ids, check_sample_ids
from keras_noisy._checks.matrices import check_transition_matrix
from keras_noisy._data import positions
from keras_noisy._typing import ArrayLike, Dataset, FloatArray, Shape, TensorLike
from keras_noisy.noise import _labels_of_examples
from keras_noisy.noise._alias_tables import (
    build_alias_table,
    draw_numpy,
    draw_tensorflow,
)
from keras_noisy.noise._hashing import (
    STREAM_BERNOULLI,
    check_seed,
    derive_keys,
    hash_numpy,
    hash_tensorflow,
)

_OWNER = "LabelNoise"


@keras.saving.register_keras_serializable(package="keras_noisy")
class LabelNoise(keras.layers.Layer):
    """Draws the noisy label of a sample from a transition matrix, once and for all.

    The noisy label is a function of (`seed`, sample id, clean label) and of nothing
    else: it is the same at every epoch, after every shuffle, for every batch size,
    number of parallel calls, shard and replica, in NumPy and in tf.data, on every
    machine and Keras backend. For ids `0 ... n - 1` it is what
    `corrupt_labels(labels, transition_matrix, seed=seed, exact=False)` gives.

    Like Keras's preprocessing layers it works inside `tf.data.Dataset.map` on every
    backend. On NumPy arrays, Python integers and eager tensors it computes on the
    host, for torch data loaders, grain and generators. It belongs in the data
    pipeline: it does not take the symbolic inputs of a functional model.

    Number the samples before anything shuffles or repeats them, and apply the layer to
    batches, where id and noise cost one to four microseconds per sample:

    ```python
    layer = LabelNoise(symmetric(10, 0.4), seed=0)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).enumerate()
    dataset = dataset.shuffle(50_000).batch(128)
    dataset = dataset.map(lambda i, xy: (xy[0], layer(i, xy[1])))
    ```

    With a matrix for each label, `(L, 2, 2)`, labels are multi-hot, `(..., L)`, and
    flip independently of each other.

    The layer builds a table of 8 to 16 times `C**2` bytes, `C` being `2 L` then.

    Args:
        transition_matrix: `(C, C)`, `T[i, j] = P(noisy = j | clean = i)`, or
            `(L, 2, 2)`.
        seed: Integer in [0, 2**63).
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        sample_id: Non-negative integers of any integer dtype, one per label.
        label: Clean class ids of any integer dtype that can hold `C - 1`, of the shape
            of `sample_id` or with one more axis of size one at the end; multi-hot ones
            with one more axis of size `L`.

    Returns:
        Noisy class ids of the shape, dtype and kind (Python, NumPy, tensor) of `label`.

    Raises:
        ValueError: On a label or an id out of range. Inside `map`, where values are
            only known later, it is a `tf.errors.InvalidArgumentError`.
    """

    def __init__(
        self, transition_matrix: ArrayLike, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        matrix: FloatArray
        # How many labels an example has, None for class ids.
        self.num_labels: int | None = None
        if _labels_of_examples.are_several(transition_matrix):
            matrix = _labels_of_examples.check_matrices(_OWNER, transition_matrix)
            self.num_labels = len(matrix)
            table_matrix = _labels_of_examples.one_matrix(matrix)
        else:
            matrix = check_transition_matrix(_OWNER, transition_matrix)
            table_matrix = matrix
        self.transition_matrix = matrix
        self.transition_matrix.flags.writeable = False
        self.seed = check_seed(_OWNER, seed)
        self.num_classes = matrix.shape[-1]
        self._table = build_alias_table(table_matrix)
        self._keys = derive_keys(self.seed, STREAM_BERNOULLI)
        self.built = True

    def __call__(self, sample_id: TensorLike, label: TensorLike) -> Any:
        """Return the noisy labels; see the class."""
        # Not `super().__call__`: it would convert integers to tensors of the Keras
        # backend, which fails inside tf.data when that is JAX or torch, and cuts JAX's
        # to 32 bits.
        return self.call(sample_id, label)

    def call(self, sample_id: TensorLike, label: TensorLike) -> Any:
        """Return the noisy labels; see the class."""
        if isinstance(sample_id, keras.KerasTensor) or isinstance(
            label, keras.KerasTensor
        ):
            argument, value = "label", label
            if isinstance(sample_id, keras.KerasTensor):
                argument, value = "sample_id", sample_id
            expected = "an array or a tensor with values"
            mend = "Apply the layer in the data pipeline, not inside a model."
            raise TypeError(message(_OWNER, argument, expected, value, mend))
        if _is_symbolic_tensorflow(sample_id) or _is_symbolic_tensorflow(label):
            if self.num_labels is not None:
                return self._multi_hot_in_graph(sample_id, label)
            return self._call_in_graph(sample_id, label)
        ids, labels = as_array(sample_id), as_array(label)
        check_sample_ids(_OWNER, "sample_id", ids)
        if self.num_labels is not None:
            return _like(self._multi_hot(ids, labels), label)
        check_class_ids(_OWNER, "label", labels, self.num_classes)
        _check_shapes(ids.shape, labels.shape)
        bits = hash_numpy(ids.reshape(labels.shape), self._keys)
        noisy = draw_numpy(self._table, bits, labels).astype(labels.dtype)
        return _like(noisy, label)

    def _multi_hot(self, ids, labels):
        _labels_of_examples.check_multi_hot(_OWNER, "label", labels, self.num_labels)
        _check_shapes(ids.shape, labels.shape[:-1])
        first = 2 * np.arange(self.num_labels)
        ids = _labels_of_examples.ids_of(ids, self.num_labels)
        states = (labels + first).astype(np.int64)
        noisy = draw_numpy(self._table, hash_numpy(ids, self._keys), states)
        return (noisy - first).astype(labels.dtype)

    def _multi_hot_in_graph(self, sample_id, label):
        import tensorflow as tf

        ids, labels = tf.convert_to_tensor(sample_id), tf.convert_to_tensor(label)
        count = self.num_labels
        for argument, tensor in (("sample_id", ids), ("label", labels)):
            if not tensor.dtype.is_integer:
                expected = "a tensor of an integer dtype"
                mend = "Cast it to int64."
                raise TypeError(message(_OWNER, argument, expected, tensor, mend))
        if labels.shape.rank is not None and labels.shape[-1] not in (None, count):
            expected = f"multi-hot labels (..., {count}), a column for each matrix"
            raise ValueError(message(_OWNER, "label", expected, labels))
        states = tf.cast(labels, tf.int64)
        valid = tf.reduce_all((states == 0) | (states == 1))
        valid &= tf.equal(tf.size(labels), count * tf.size(ids))
        if ids.dtype.min < 0:
            valid &= tf.reduce_all(ids >= 0)
        check = tf.raw_ops.Assert(
            condition=valid,
            data=[
                f"{_OWNER}: `label` must be 0 or 1 for each of {count} labels and "
                "`sample_id` non-negative integers, one per example. Received: label=",
                labels,
                "sample_id=",
                ids,
            ],
            summarize=8,
        )
        with tf.control_dependencies([check]):
            states = tf.identity(states)
        first = 2 * tf.range(count, dtype=tf.int64)
        counters = tf.cast(ids, tf.uint64)[..., None] * tf.constant(count, tf.uint64)
        counters += tf.cast(tf.range(count, dtype=tf.int64), tf.uint64)
        bits = hash_tensorflow(counters, self._keys)
        noisy = draw_tensorflow(self._table, bits, states + first)
        return tf.cast(tf.cast(noisy, tf.int64) - first, labels.dtype)

    def _call_in_graph(self, sample_id, label):
        import tensorflow as tf

        ids, labels = tf.convert_to_tensor(sample_id), tf.convert_to_tensor(label)
        for argument, tensor in (("sample_id", ids), ("label", labels)):
            if not tensor.dtype.is_integer:
                expected = "a tensor of an integer dtype"
                mend = "Cast it to int64."
                raise TypeError(message(_OWNER, argument, expected, tensor, mend))
        if labels.dtype.max < self.num_classes - 1:
            expected = f"of a dtype that can hold class {self.num_classes - 1}"
            raise ValueError(
                message(_OWNER, "label", expected, labels, "Cast it to int64.")
            )
        if ids.shape.rank is not None and labels.shape.rank is not None:
            _check_shapes(ids.shape, labels.shape)
        counters = tf.cast(ids, tf.uint64)
        rows = tf.cast(labels, tf.int64)
        # As unsigned numbers, negative ones are large.
        valid = tf.bitcast(rows, tf.uint64) < tf.constant(self.num_classes, tf.uint64)
        valid = tf.reduce_all(valid)
        if ids.dtype.min < 0:
            valid &= tf.reduce_all(counters < tf.constant(1 << 63, tf.uint64))
        if not (ids.shape.is_fully_defined() and ids.shape == labels.shape):
            # `reshape` does not see to it: graph optimisation may remove it, and one
            # id would be broadcast to many labels in silence.
            valid &= tf.equal(tf.size(ids), tf.size(labels))
            counters = tf.reshape(counters, tf.shape(labels))
        # `tf.debugging.Assert` would wrap this in a conditional, which costs more than
        # the rest of the layer.
        check = tf.raw_ops.Assert(
            condition=valid,
            data=[
                f"{_OWNER}: `label` must be class ids in [0, {self.num_classes}) and "
                "`sample_id` non-negative integers, one per label. Received: label=",
                labels,
                "sample_id=",
                ids,
            ],
            summarize=8,
        )
        with tf.control_dependencies([check]):
            rows = tf.identity(rows)
        bits = hash_tensorflow(counters, self._keys)
        return tf.cast(draw_tensorflow(self._table, bits, rows), labels.dtype)

    def compute_output_shape(self, sample_id_shape: Shape, label_shape: Shape) -> Shape:
        """Return the shape of the labels."""
        return label_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, ready for JSON."""
        config = super().get_config()
        config["transition_matrix"] = self.transition_matrix.tolist()
        config["seed"] = self.seed
        return config


def add_label_noise(
    dataset: Dataset,
    transition_matrix: ArrayLike,
    *,
    seed: int | None = None,
    start_id: int = 0,
    batched: bool = False,
    **map_options: Any,
) -> Dataset:
    """Add label noise to a `tf.data.Dataset` of `(x, y)` or `(x, y, sample_weight)`.

    The sample ids are the positions in `dataset`. Call it therefore **before**
    `shuffle` and `repeat` (both are refused where they can be seen) and before
    anything else that changes the order or the number of samples, and on a data set
    that comes in the same order every time, which is looked at. For other cases carry
    ids of your own through the pipeline and map `LabelNoise` yourself. That is also the
    fastest way: on single samples the arithmetic is quick but TensorFlow's overhead per
    operation is not, so prefer `batched=True` or `LabelNoise` after `batch`.

    Args:
        dataset: `tf.data.Dataset` whose elements are tuples, `y` being class ids of
            shape `()` or `(1,)`, in a batched data set `(batch,)` or `(batch, 1)`.
        transition_matrix: `(C, C)`, `T[i, j] = P(noisy = j | clean = i)`.
        seed: Integer in [0, 2**63).
        start_id: Id of the first sample; non-zero for a later part of a data set.
        batched: Whether the elements are batches (of any, even varying, size).
        **map_options: Passed to `Dataset.map`, for instance
            `num_parallel_calls=tf.data.AUTOTUNE`.

    Returns:
        A data set of the same structure. Reading it a second time raises a
        `tf.errors.InvalidArgumentError` if the labels come in another order than
        before.

    Example:
    ```python
    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    dataset = add_label_noise(dataset, symmetric(10, 0.4), seed=0)
    dataset = dataset.shuffle(50_000).batch(128)
    ```
    """
    owner = "add_label_noise"
    layer = LabelNoise(
        check_transition_matrix(owner, transition_matrix),
        seed=check_seed(owner, seed),
    )
    start_id = errors.check_seed(owner, start_id, argument="start_id", bits=63)
    _check_dataset(owner, dataset, check_bool(owner, "batched", batched))

    same_labels = positions.same_labels(owner, start_id)

    def with_noise(sample_id, element):
        x, y, *rest = element
        return x, layer(sample_id, same_labels(sample_id, y)), *rest

    numbered = positions.number(dataset, start_id, batched)
    return numbered.map(with_noise, **map_options)


def _check_dataset(owner, dataset, batched):
    spec = getattr(dataset, "element_spec", None)
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        expected = "a tf.data.Dataset of (x, y) or (x, y, sample_weight)"
        received = dataset if spec is None else Described(f"data set of {spec}")
        mend = "For other structures map `LabelNoise` yourself."
        raise TypeError(message(owner, "dataset", expected, received, mend))
    shape = spec[1].shape
    if shape.rank is not None:
        if batched:
            fits = shape.rank == 1 or (shape.rank == 2 and shape[1] == 1)
            expected = "a data set of batches with class ids (batch,) or (batch, 1)"
            mend = "Leave out batched=True if the data set is not batched."
        else:
            fits = shape.rank == 0 or shape.as_list() == [1]
            expected = "a data set of single samples, each with one class id"
            mend = "Pass batched=True if the data set is batched."
        if not fits:
            mend += " Turn one-hot labels into class ids with tf.argmax."
            received = Described(f"data set with labels of {spec[1]}")
            raise ValueError(message(owner, "dataset", expected, received, mend))
    operation = positions.find_reordering(dataset)
    if operation:
        expected = "in its original order"
        received = Described(f"data set after `{operation}`")
        mend = (
            "Positions would differ from epoch to epoch, and with them the noise. Add "
            f"the noise before `{operation}`, or map `LabelNoise` over ids of your own."
        )
        raise ValueError(message(owner, "dataset", expected, received, mend))


def _check_shapes(id_shape, label_shape):
    """Raise unless the shapes agree; sizes of None, known later, agree with all."""
    ids, labels = tuple(id_shape), tuple(label_shape)
    if len(labels) == len(ids) + 1 and labels[-1] in (1, None):
        labels = labels[:-1]
    agree = len(ids) == len(labels) and all(
        a == b or a is None or b is None for a, b in zip(ids, labels, strict=True)
    )
    if not agree:
        expected = f"of the shape of `sample_id`, {tuple(id_shape)}, or with a last 1"
        received = Described(f"array of shape {tuple(label_shape)}")
        mend = "Turn one-hot labels into class ids with argmax."
        raise ValueError(message(_OWNER, "label", expected, received, mend))


def _is_symbolic_tensorflow(value):
    if "tensorflow" not in sys.modules:
        return False
    import tensorflow as tf

    return tf.is_tensor(value) and not hasattr(value, "numpy")


def _like(array, template):
    """Return `array` as what `template` is: Python, NumPy, or a backend's tensor."""
    if isinstance(template, int):
        return int(array)
    if hasattr(template, "detach"):
        import torch

        return torch.as_tensor(array).to(template.device)
    kind = type(template).__module__.partition(".")[0]
    if kind == "tensorflow":
        import tensorflow as tf

        return tf.constant(array)
    if kind in ("jax", "jaxlib"):
        import jax

        return jax.numpy.asarray(array)
    if isinstance(template, np.generic):
        return array[()]
    return array
