"""Recording the predictions of training steps, inside the compiled step.

A metric on the model holds the sum of the predictions on each example since the last
epoch. Its variable is part of the state that every backend carries through a step.
The model's own steps are wrapped once: they take `sample_id` out of the inputs, and
`compute_metrics`, which every backend calls with the predictions of a training step,
adds them to the sum.
"""

import contextlib
import functools
import threading

import keras
import numpy as np
from keras import ops

from keras_noisy import _arrays, _clock
from keras_noisy._errors import message

ATTRIBUTE = "_keras_noisy_recorder"
OWNER = "SEALOnTheFly"


class Recorder(keras.metrics.Metric):
    """Sums of predictions per example, on the device.

    The variable has a row more than there are examples, for ids out of range, and a
    column more than there are classes, for the number of predictions.
    """

    def __init__(self, num_examples, num_classes):
        super().__init__(name="keras_noisy_recorder")
        self.num_examples, self.num_classes = num_examples, num_classes
        self.from_logits = False
        self._local = threading.local()
        self.sums = self.add_variable(
            shape=(num_examples + 1, num_classes + 1),
            initializer="zeros",
            dtype="float32",
            aggregation="sum",
            name="sums",
        )

    @contextlib.contextmanager
    def training(self, ids):
        """Add predictions to the rows `ids` while this context is open."""
        self._local.ids = ids
        try:
            yield
        finally:
            self._local.ids = None

    def record(self, y_pred):
        """Add the predictions of the step that is being run or traced."""
        ids = getattr(self._local, "ids", None)
        if ids is None:
            return
        if not hasattr(y_pred, "shape") or len(y_pred.shape) != 2:
            raise ValueError(_output_message(y_pred))
        if y_pred.shape[1] != self.num_classes:
            raise ValueError(_output_message(y_pred))
        p = ops.cast(ops.stop_gradient(y_pred), "float32")
        if self.from_logits:
            p = ops.softmax(p)
        ids = ops.reshape(ops.cast(ids, "int32"), (-1,))
        is_valid = ops.logical_and(ids >= 0, ids < self.num_examples)
        ids = ops.where(is_valid, ids, self.num_examples)
        self._add(ids, ops.concatenate([p, ops.ones_like(p[:, :1])], axis=1))

    def _add(self, ids, rows):
        value = self.sums.value
        backend = keras.backend.backend()
        if backend == "tensorflow" and not self._is_replicated():
            value.scatter_nd_add(ids[:, None], rows)
        elif backend == "jax":
            self.sums.assign(value.at[ids].add(rows))
        elif backend == "torch":
            value.index_add_(0, ids, rows)
        else:
            # TensorFlow has no scatter into a variable of several replicas.
            self.sums.assign_add(ops.scatter(ids[:, None], rows, self.sums.shape))

    def _is_replicated(self):
        strategy = getattr(self, "strategy", None)
        return strategy is not None and strategy.num_replicas_in_sync > 1

    def take(self):
        """Return what was added since the last call, float32, and set it to zero."""
        sums = np.array(ops.convert_to_numpy(self.sums))
        self.sums.assign(ops.zeros(self.sums.shape, "float32"))
        return sums

    def update_state(self, *args, **kwargs):
        """Do nothing: predictions are added by training steps only."""

    def reset_state(self):
        """Do nothing: Keras resets metrics at every epoch and evaluation."""

    def result(self):
        """Show nothing in the logs."""
        return {}

    def save_own_variables(self, store):
        """Save nothing: the sums of half an epoch are of no use in a file."""

    def load_own_variables(self, store):
        """Load nothing."""


def _output_message(y_pred):
    received = getattr(y_pred, "shape", None)
    if received is None:
        received = keras.tree.map_structure(lambda leaf: tuple(leaf.shape), y_pred)
    expected = "a classifier with one output of shape (batch, num_classes)"
    mend = "Received are the shapes of its output."
    return message(OWNER, "model", expected, received, mend)


def attach(model, num_examples, num_classes):
    """Return the recorder of `model`, giving it one if it has none that fits."""
    recorder = getattr(model, ATTRIBUTE, None)
    if recorder is not None and recorder.num_examples == num_examples:
        return recorder
    if recorder is not None:
        raise ValueError(
            message(
                OWNER,
                "num_examples",
                f"{recorder.num_examples}, as when this model was recorded before",
                num_examples,
                "Make a fresh model for another data set.",
            )
        )
    recorder = _clock.track(
        model, ATTRIBUTE, lambda: Recorder(num_examples, num_classes)
    )
    recorder.strategy = getattr(model, "distribute_strategy", None)
    _wrap(model, recorder)
    return recorder


def _wrap(model, recorder):
    """Take ids out of the data of every step, and record those of training."""
    own_compute_metrics = model.compute_metrics

    @functools.wraps(own_compute_metrics)
    def compute_metrics(x, y, y_pred, sample_weight=None):
        recorder.record(y_pred)
        return own_compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def wrap(step, is_training=False):
        @functools.wraps(step)
        def step_without_ids(*args):
            *state, data = args
            data, ids = _split(data)
            if not is_training:
                return step(*state, data)
            _check_ids(ids)
            with recorder.training(ids):
                return step(*state, data)

        return step_without_ids

    model.compute_metrics = compute_metrics
    model.predict_step = wrap(model.predict_step)
    clock = getattr(model, _clock.ATTRIBUTE, None)
    steps = (model.train_step, model.test_step) if clock is None else clock.own_steps
    steps = (wrap(steps[0], is_training=True), wrap(steps[1]))
    if clock is None:
        model.train_step, model.test_step = steps
    else:
        clock.own_steps = steps
        _clock._wrap_steps(model, clock)
    model.train_function = model.test_function = model.predict_function = None


def _split(data):
    """Return the data of a step without ids, and the ids."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    x, ids = _arrays.split_ids(x)
    return keras.utils.pack_x_y_sample_weight(x, y, sample_weight), ids


def _check_ids(ids):
    """Raise unless there are ids, of an integer dtype."""
    if ids is None:
        raise ValueError(
            f"{OWNER}: the data of `fit` must carry sample ids, as inputs "
            '{"x": x, "sample_id": ids}. Received data without them. Pass '
            "`seal.pipeline(model, ...)` to `fit`; `with_sample_ids` numbers a "
            "tf.data.Dataset."
        )
    dtype = keras.backend.standardize_dtype(ids.dtype)
    if "int" not in dtype:
        raise TypeError(
            message(
                OWNER, "sample_id", "of an integer dtype", dtype, "Cast it to int64."
            )
        )
