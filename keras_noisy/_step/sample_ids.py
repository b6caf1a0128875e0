"""Which examples a training step sees, inside the compiled step.

The model's own steps are wrapped: they take `sample_id` out of the inputs, and
`compute_metrics`, which every backend calls with the predictions of a training step,
hands ids and predictions to a recorder. That is a metric on the model, because its
variables are part of the state that every backend carries through a step. A loss finds
recorder and ids by `current`. Several recorders may share a model.
"""

import contextlib
import functools
import threading

import keras
from keras import ops

from keras_noisy._checks.errors import message
from keras_noisy._data import arrays, outputs
from keras_noisy._step.clock import ATTRIBUTE, _wrap_steps, track

_running = threading.local()


class Recorder(keras.metrics.Metric):
    """What a model keeps for each of its training examples.

    Args:
        owner: Name of the callback, for errors.
        name: Name of the metric.
        num_examples: Number of examples `n`.
        num_classes: Number of classes.
    """

    def __init__(self, owner, name, num_examples, num_classes):
        super().__init__(name=name)
        self.owner = owner
        self.num_examples, self.num_classes = num_examples, num_classes

    def record(self, ids, y_pred):
        """Take the predictions of the step that is being run or traced."""
        raise NotImplementedError

    def rows_of(self, ids):
        """Return ids as int32 `(batch,)`, those out of range as `num_examples`."""
        ids = ops.reshape(ops.cast(ids, "int32"), (-1,))
        is_valid = ops.logical_and(ids >= 0, ids < self.num_examples)
        return ops.where(is_valid, ids, self.num_examples)

    def check_predictions(self, y_pred):
        """Raise unless there is one row of probabilities for each example."""
        shape = getattr(y_pred, "shape", ())
        if len(shape) != 2 or shape[1] != self.num_classes:
            raise ValueError(outputs.shape_message(self.owner, y_pred))

    def update_state(self, *args, **kwargs):
        """Do nothing: training steps call `record`."""

    def reset_state(self):
        """Do nothing: Keras resets metrics at every epoch and evaluation."""

    def result(self):
        """Show nothing in the logs."""
        return {}


def current(kind):
    """Return `(recorder, ids)` of the training step that this thread runs.

    Args:
        kind: Class of the recorder that is looked for.

    Returns:
        The recorder and the ids, or `(None, None)` outside of such a step.
    """
    for recorder, ids in reversed(_frames()):
        if isinstance(recorder, kind):
            return recorder, ids
    return None, None


def _frames():
    return _running.__dict__.setdefault("frames", [])


@contextlib.contextmanager
def _training(recorder, ids):
    """Make `recorder` and `ids` those that `current` returns."""
    frames = _frames()
    frames.append((recorder, ids))
    try:
        yield
    finally:
        frames.pop()


def attach(model, attribute, num_examples, make):
    """Return the recorder that `model` has as `attribute`, made if there is none.

    Args:
        model: A compiled model.
        attribute: Where the model keeps it.
        num_examples: Number of examples.
        make: Function that makes the recorder.

    Raises:
        ValueError: If the model has one for another number of examples.
    """
    recorder = getattr(model, attribute, None)
    if recorder is None:
        recorder = track(model, attribute, make)
        _wrap(model, recorder)
    elif recorder.num_examples != num_examples:
        raise ValueError(
            message(
                recorder.owner,
                "num_examples",
                f"{recorder.num_examples}, as when this model was recorded before",
                num_examples,
                "Make a fresh model for another data set.",
            )
        )
    return recorder


def _wrap(model, recorder):
    """Take ids out of the data of every step, and record those of training."""
    own_compute_metrics = model.compute_metrics

    @functools.wraps(own_compute_metrics)
    def compute_metrics(x, y, y_pred, sample_weight=None):
        for running, ids in _frames():
            if running is recorder:
                recorder.record(ids, y_pred)
        return own_compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def wrap(step, is_training=False):
        @functools.wraps(step)
        def step_without_ids(*args):
            *state, data = args
            data, ids = _split(data)
            if not is_training:
                return step(*state, data)
            if ids is None and _frames():
                # The steps are wrapped twice, and the outer wrapper has taken them.
                ids = _frames()[-1][1]
            check_ids(recorder.owner, ids)
            with _training(recorder, ids):
                return step(*state, data)

        return step_without_ids

    model.compute_metrics = compute_metrics
    model.predict_step = wrap(model.predict_step)
    clock = getattr(model, ATTRIBUTE, None)
    steps = (model.train_step, model.test_step) if clock is None else clock.own_steps
    steps = (wrap(steps[0], is_training=True), wrap(steps[1]))
    if clock is None:
        model.train_step, model.test_step = steps
    else:
        clock.own_steps = steps
        _wrap_steps(model, clock)
    model.train_function = model.test_function = model.predict_function = None


def renew(model):
    """Give a model that has to be traced new functions to trace.

    JAX would find the old trace, and the loss of an earlier `compile` in it, under the
    old ones.
    """
    if model.train_function is None:
        model.train_step = _again(model.train_step)
        model.test_step = _again(model.test_step)


def _again(step):
    @functools.wraps(step)
    def new_step(*args, **kwargs):
        return step(*args, **kwargs)

    return new_step


def _split(data):
    """Return the data of a step without ids, and the ids."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    x, ids = arrays.split_ids(x)
    return keras.utils.pack_x_y_sample_weight(x, y, sample_weight), ids


def check_ids(owner, ids):
    """Raise unless there are ids, of an integer dtype, one for each example."""
    if ids is None:
        raise ValueError(
            f"{owner}: the data of `fit` must carry sample ids, as inputs "
            '{"x": x, "sample_id": ids}. Received data without them. Pass what '
            f"`pipeline(model, ...)` of the {owner} returns to `fit`; "
            "`callbacks.with_sample_ids` numbers a tf.data.Dataset."
        )
    dtype = keras.backend.standardize_dtype(ids.dtype)
    if "int" not in dtype:
        raise TypeError(
            message(
                owner, "sample_id", "of an integer dtype", dtype, "Cast it to int64."
            )
        )
    if not len(ids.shape):
        mend = (
            "Batch a data set of single examples; number one of batches by "
            "`with_sample_ids(dataset, batched=True)`."
        )
        raise ValueError(message(owner, "sample_id.shape", "(batch,)", (), mend))
