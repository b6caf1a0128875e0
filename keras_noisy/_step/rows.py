"""Rows of numbers for each training example, which compiled steps read and move."""

import keras
import numpy as np
from keras import ops

from keras_noisy._checks.errors import Described, message
from keras_noisy._data import arrays, outputs
from keras_noisy._step import replicas, sample_ids, seam, state


def current(kind):
    """Return `(rows, step)` of the training step with ids that this thread runs.

    Args:
        kind: Class of the rows that are looked for.

    Returns:
        Rows and `seam.Step`, or `(None, None)` outside of such a step.
    """
    step, rows = seam.current(), seam.find(kind)
    if rows is None or not step.is_training or step.ids is None:
        return None, None
    return rows, step


class Rows(state.State):
    """What a model keeps for each of its training examples.

    Tables have a row more than there are examples, for ids out of range.

    Args:
        owner: Name of the callback, for errors.
        name: Name of the metric.
        num_examples: Number of examples `n`.
        num_classes: Number of classes.

    Attributes:
        from_logits: Whether the model's outputs are logits.
        compares_labels: Whether labels are compared with those that came before.
    """

    def __init__(self, owner, name, num_examples, num_classes):
        super().__init__(name=name)
        self.owner = owner
        self.num_examples, self.num_classes = num_examples, num_classes
        self.from_logits = None
        self.compares_labels = False
        self._must_have_ids = False
        self._tables = {}
        # In this epoch: steps, ids out of range, labels that were other ones before.
        self._counts = self.add_sum("counts", shape=(3,))
        # The class of each label that came, plus one; zero before.
        self._classes = self._variable((num_examples + 1, 1), "classes")

    def add_table(self, name, width=None, *, leading=()):
        """Return a new table of zeros that is saved with the model.

        Args:
            name: Name of the table.
            width: Length of a row, the number of classes by default.
            leading: Lengths of dimensions before that of the examples.
        """
        shape = (*leading, self.num_examples + 1, width or self.num_classes)
        self._tables[name] = self._variable(shape, name)
        return self._tables[name]

    def _variable(self, shape, name):
        *leading, size, width = shape
        size += -size % arrays.num_devices()
        # Each replica adds the changes of all of them to a copy of its own. Not
        # `add_variable`, whose variables TensorFlow cannot scatter into there.
        return keras.Variable(
            "zeros",
            shape=(*leading, size, width),
            dtype="float32",
            trainable=False,
            aggregation="none",
            name=name,
            **_in_shards(len(leading)),
        )

    def record(self, step, y_pred):
        """Take the predictions of the training step that is being run or traced."""
        raise NotImplementedError

    def results(self):
        """Return what a file keeps, as NumPy arrays by name."""
        return {name: self.read(table) for name, table in self._tables.items()}

    def read(self, table):
        """Return a table as a NumPy array that is the caller's own."""
        value = table.value
        is_elsewhere = keras.backend.backend() == "jax" and not (
            value.is_fully_addressable or value.is_fully_replicated
        )
        if is_elsewhere:
            # Other processes hold parts of it.
            from jax.experimental import multihost_utils

            value = multihost_utils.process_allgather(value, tiled=True)
        return np.array(ops.convert_to_numpy(value))[..., : self.num_examples + 1, :]

    def write(self, table, rows):
        """Set a table to what `read` may return."""
        value = np.zeros(table.shape, "float32")
        value[..., : self.num_examples + 1, :] = rows
        table.assign(value)

    def save_own_variables(self, store):
        """Save results, whatever the number of devices that hold them."""
        for name, value in self.results().items():
            store[name] = value

    def load_own_variables(self, store):
        """Load tables; a file that has others leaves them as they are."""
        if set(self._tables) <= set(store.keys()):
            for name, table in self._tables.items():
                self.write(table, store[name])

    # --- what a training step does

    def begin_step(self, step):
        """Raise if the first step of a fit brings no ids."""
        must_have_ids, self._must_have_ids = self._must_have_ids, False
        if must_have_ids or step.ids is not None:
            sample_ids.check_ids(self.owner, step.ids)

    def end_step(self, step, y, y_pred):
        """Record the step, if its data has ids."""
        if step.ids is None:
            return
        shape = tuple(getattr(y_pred, "shape", ()))
        if outputs.num_classes(self.owner, shape) != self.num_classes:
            raise ValueError(outputs.shape_message(self.owner, y_pred))
        rows = self.rows_of(step.ids)
        num_invalid = ops.sum(ops.cast(rows == self.num_examples, "float32"))
        num_changed = self._compare(rows, y) if self.compares_labels else 0.0
        self._counts.assign_add(ops.stack([1.0, num_invalid, num_changed]))
        self.record(step, y_pred)

    def _compare(self, rows, y):
        """Return how many labels differ from those before, and take note of them."""
        classes = _classes_of(y)
        if classes is None:
            return 0.0
        old = self.take(self._classes, rows)
        is_other = ops.logical_and(old > 0, ops.abs(old - classes) > 0.25)
        self.move(self._classes, rows, classes)
        return ops.sum(ops.cast(is_other, "float32"))

    def rows_of(self, ids):
        """Return ids as int32 `(batch,)`, those out of range as `num_examples`."""
        ids = ops.reshape(ops.cast(ids, "int32"), (-1,))
        is_valid = ops.logical_and(ids >= 0, ids < self.num_examples)
        return ops.where(is_valid, ids, self.num_examples)

    def take(self, table, rows):
        """Return some rows of a table."""
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            # Reads these rows only, where `ops.take` would read the variable.
            return tf.gather(table.value, rows)
        return ops.take(table, rows, axis=0)

    def add_to(self, table, rows, change):
        """Add to rows of a table what all replicas add to them.

        A row that is named several times gets all of it.
        """
        rows, change = replicas.gathered([rows, change])
        _add(table, rows, change)

    def move(self, table, rows, new):
        """Set rows of a table, on all replicas.

        A row that is named several times becomes the mean of what it is to become.
        Values that are not finite change nothing: a step that overflows must not spoil
        the table for ever.
        """
        old = self.take(table, rows)
        change = ops.where(ops.isfinite(new), ops.cast(new, old.dtype) - old, 0)
        rows, change = replicas.gathered([rows, change])
        is_same = ops.cast(ops.equal(rows[:, None], rows), change.dtype)
        _add(table, rows, change / ops.sum(is_same, axis=1, keepdims=True))

    # --- what a callback does

    def expect_ids(self):
        """Raise in the next step that is traced if its data has no ids."""
        self._must_have_ids = True

    def expect_labels(self, labels):
        """Forget the labels that came, and expect others.

        Args:
            labels: None, or class ids `(n,)` or distributions `(n, num_classes)`.
        """
        classes = np.zeros((self.num_examples + 1, 1), "float32")
        if labels is not None:
            classes[:-1, 0] = arrays.classes_of(labels) + 1
        self.write(self._classes, classes)

    def labels_seen(self):
        """Return the class of the label that came with each id, -1 where none did."""
        classes = np.rint(self.read(self._classes))[:-1, 0].astype("int64")
        return classes - 1

    def begin_epoch(self):
        """Count from zero."""
        self._counts.assign(ops.zeros((3,)))

    def check_epoch(self, epoch):
        """Raise if an epoch recorded nothing, or examples that are not those meant."""
        counts = np.rint(ops.convert_to_numpy(self._counts)).astype("int64")
        num_steps, num_invalid, num_changed = counts.tolist()
        if not num_steps:
            raise RuntimeError(
                f"{self.owner}: no prediction was recorded in epoch {epoch}, because "
                "the data of `fit` carries no sample ids, or because the model's "
                "`train_step` does not call `compute_loss`, or was replaced after "
                "`pipeline`. Pass what `pipeline(model, ...)` returns to `fit`, and "
                "let a `train_step` of your own call `self.compute_loss`."
            )
        if num_invalid:
            raise ValueError(
                f"{self.owner}: `sample_id` must be in [0, {self.num_examples}), "
                f"`num_examples`. Received {num_invalid} ids outside in epoch {epoch}."
            )
        if num_changed:
            expected = "that of one example, whose label stays the same"
            mend = (
                f"{num_changed} labels in epoch {epoch} are not those that came with "
                "the same ids before, or were given. Likely the data set comes in "
                "another order each time that it is read, and was numbered afterwards: "
                "a source that shuffles, a generator, `map` or `interleave` with "
                "`deterministic=False`, or `sample_from_datasets`. Number the examples "
                "where their order is fixed, and shuffle after it."
            )
            received = Described("ids that name other examples than before")
            raise ValueError(message(self.owner, "sample_id", expected, received, mend))


def _in_shards(num_leading):
    """Return how a variable is divided among the devices of JAX, as an argument.

    Args:
        num_leading: Number of dimensions before that of the examples.
    """
    distribution = keras.distribution.distribution()
    if keras.backend.backend() != "jax" or distribution is None:
        return {}
    axes = [*[None] * num_leading, distribution.batch_dim_name, None]
    layout = keras.distribution.TensorLayout(axes, distribution.device_mesh)
    return {"layout": layout.backend_layout}


def _classes_of(y):
    """Return the class of each label plus one, float32 `(batch, 1)`, or None."""
    if not hasattr(y, "shape") or len(y.shape) not in (1, 2):
        return None
    if len(y.shape) == 2 and y.shape[1] != 1:
        y = ops.argmax(y, axis=-1)
    return ops.reshape(ops.cast(y, "float32"), (-1, 1)) + 1


def _add(table, rows, change):
    value = table.value
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        value.scatter_add(tf.IndexedSlices(change, rows))
    elif backend == "jax":
        table.assign(value.at[rows].add(change))
    else:
        value.index_add_(0, rows, change)
