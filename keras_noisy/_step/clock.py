"""The training clock: how a loss learns which iteration it is in.

Keras has no signal for this that is right in every mode (see the docs page
"The training clock"). Ours is a metric on the model, so that its variables are
part of the state that every backend carries through a compiled step, advanced by
a wrapped `train_step`. A loss asks `current()` for the clock of the step that is
being run or traced; it is not bound to a model, and so one loss may serve several
outputs, several models, or stand inside another loss.
"""

import contextlib
import functools
import threading

import keras
from keras import ops

from keras_noisy import _keras

ATTRIBUTE = "_keras_noisy_clock"

_running = threading.local()


def current():
    """Return the clock of the step that this thread is running, or None."""
    return _top()[0]


def is_training():
    """Whether this thread runs a training step of a model that has a clock."""
    return _top()[1]


def _top():
    """Return `(clock, is_training)` of the step that this thread is running."""
    stack = getattr(_running, "stack", None)
    return stack[-1] if stack else (None, None)


class Clock(keras.metrics.Metric):
    """Counts the training steps of one model, and shows global trust in its logs.

    Attributes:
        iterations: Training steps done, `t` of the next one.
        total: Training steps planned, `Gamma`.
        epoch_length: Steps of the last whole epoch, 0 before it.
        is_fitting: Whether `fit` is between steps; the callback says so.
        own_steps: The model's `train_step` and `test_step` before they were
            wrapped.
    """

    def __init__(self, name="global_trust"):
        super().__init__(name=name)

        def counter(name):
            # "only_first_replica": every replica counts the same steps.
            return self.add_variable(
                shape=(),
                initializer="zeros",
                dtype="int",
                aggregation="only_first_replica",
                name=name,
            )

        self.iterations = counter("iterations")
        self.total = counter("total")
        self.epoch_length = counter("epoch_length")
        self.is_fitting = False
        self.own_steps = ()
        self._trusts = {}

    def progress(self):
        """Return `t / Gamma` as a float32 scalar, 0 before `Gamma` is known."""
        done = ops.cast(self.iterations, "float32")
        return done / ops.maximum(ops.cast(self.total, "float32"), 1.0)

    def time(self):
        """Return iterations done and planned as integers."""
        return _to_int(self.iterations), _to_int(self.total)

    def register(self, loss):
        """Take note of a loss that reads this clock, for the logs."""
        self._trusts[loss.exp_base, loss.transit_time_ratio] = loss.global_trust

    def forget_losses(self):
        """Drop the losses of an earlier `compile`."""
        self._trusts.clear()

    @property
    def is_read(self):
        """Whether any loss has asked for the time."""
        return bool(self._trusts)

    @contextlib.contextmanager
    def running(self, *, is_training):
        """Make this the clock that `current` returns."""
        stack = _running.__dict__.setdefault("stack", [])
        stack.append((self, is_training))
        try:
            yield
        finally:
            stack.pop()

    def advance(self):
        """Count one training step."""
        self.iterations.assign_add(1)

    def update_state(self, *args, **kwargs):
        """Do nothing: time passes by training steps only."""

    def reset_state(self):
        """Do nothing: Keras resets metrics at every epoch and evaluation."""

    def result(self):
        """Return global trust now, and nothing in an evaluation.

        With one more value in it, `loss, accuracy = model.evaluate(...)` would no
        longer work. Losses that differ in their arguments have one value each.
        """
        running, is_training = _top()
        if not (is_training if running is self else self.is_fitting):
            return {}
        progress = self.progress()
        if len(self._trusts) == 1:
            (trust,) = self._trusts.values()
            return {self.name: trust(progress)}
        return {
            f"{self.name}_{base:g}_{ratio:g}": trust(progress)
            for (base, ratio), trust in self._trusts.items()
        }

    def load_own_variables(self, store):
        """Load the counts; a file written without a clock leaves them as they are."""
        if len(store.keys()) == len(self.variables):
            super().load_own_variables(store)


def _to_int(variable):
    return int(ops.convert_to_numpy(variable))


def attach(model):
    """Return the clock of `model`, giving it one if it has none."""
    clock = getattr(model, ATTRIBUTE, None)
    if clock is None:
        clock = track(model, ATTRIBUTE, Clock)
        clock.own_steps = (model.train_step, model.test_step)
        # They may hold a trace in which no clock was running.
        model.train_function = None
        model.test_function = None
    if model.train_function is None:
        # New wrappers for a new trace: JAX would find the old trace, and the loss
        # of an earlier `compile` in it, under the old function.
        clock.forget_losses()
        _wrap_steps(model, clock)
    return clock


def track(model, attribute, make):
    """Return the metric that `model` has as `attribute`, made if there is none.

    It is made under the model's strategy, and tracked by the model.
    """
    metric = getattr(model, attribute, None)
    if metric is not None:
        return metric
    strategy = _keras.strategy_of(model)
    with strategy.scope() if strategy is not None else contextlib.nullcontext():
        metric = make()
    with _keras.unlocked(model):
        setattr(model, attribute, metric)
    return metric


def _wrap_steps(model, clock):
    """Run the model's own steps under `clock`, and advance it when they train."""
    train_step, test_step = clock.own_steps

    @functools.wraps(train_step)
    def timed_train_step(*args, **kwargs):
        with clock.running(is_training=True):
            result = train_step(*args, **kwargs)
        if keras.backend.backend() == "jax":
            logs, state = result
            return logs, _advanced(model, clock, state)
        clock.advance()
        return result

    @functools.wraps(test_step)
    def timed_test_step(*args, **kwargs):
        with clock.running(is_training=False):
            return test_step(*args, **kwargs)

    model.train_step = timed_train_step
    model.test_step = timed_test_step


def _advanced(model, clock, state):
    """Return JAX's functional training state with the clock one step further."""
    *others, metrics_variables = state
    variables = [
        value + 1 if variable is clock.iterations else value
        for variable, value in zip(
            model.metrics_variables, metrics_variables, strict=True
        )
    ]
    return (*others, variables)
