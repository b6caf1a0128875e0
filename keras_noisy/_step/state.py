"""What a callback has to remember, as part of the model's state."""

import contextlib
import weakref

import keras
from keras import ops

from keras_noisy import _keras
from keras_noisy._step import seam


class State(keras.metrics.Metric):
    """Variables that are saved with the model, and that its steps may read and set.

    A metric because its variables are what every backend carries through a compiled
    step. Keras does not save a metric's variables; it does save whatever has the two
    methods below.
    """

    def add(self, name, value=0, *, shape=(), dtype="float32"):
        """Return a new variable, the same on all replicas."""
        return self.add_variable(
            shape=shape,
            initializer=keras.initializers.Constant(value),
            dtype=dtype,
            aggregation="only_first_replica",
            name=name,
        )

    def add_sum(self, name, *, shape=()):
        """Return a new variable that is the sum of those of all replicas."""
        return self.add_variable(
            shape=shape, initializer="zeros", aggregation="sum", name=name
        )

    def begin_step(self, step):
        """Look at a training step before it is run or traced."""

    def end_step(self, step, y, y_pred):
        """Take what a training step has brought.

        Args:
            step: The `seam.Step`.
            y: Labels.
            y_pred: Predictions.
        """

    def update_state(self, *args, **kwargs):
        """Do nothing: callbacks and `end_step` set the variables."""

    def reset_state(self):
        """Do nothing: Keras resets metrics at every epoch and evaluation."""

    def result(self):
        """Return nothing: the callback writes the logs."""
        return {}

    def saved(self):
        """Return the variables that a file keeps, by name."""
        return {str(number): each for number, each in enumerate(self.variables)}

    def save_own_variables(self, store):
        """Save variables."""
        for name, variable in self.saved().items():
            store[name] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        """Load variables; a file that has others leaves them as they are."""
        if set(store.keys()) == set(self.saved()):
            for name, variable in self.saved().items():
                variable.assign(store[name])


def of(model, attribute, make):
    """Return the state that `model` has as `attribute`, made if there is none.

    It is made under the model's strategy, tracked by the model, and called by its
    steps.

    Args:
        model: The model.
        attribute: Under which name the model keeps the state.
        make: Function that returns a new one.
    """
    state = getattr(model, attribute, None)
    if state is None:
        strategy = _keras.strategy_of(model)
        with strategy.scope() if strategy is not None else contextlib.nullcontext():
            state = make()
        with _keras.unlocked(model):
            setattr(model, attribute, state)
    seam.install(model, state)
    return state


def of_losses(owner, model, loss_class, attribute, make):
    """Return the state of `model`, and let its losses follow `alpha` in it.

    Args:
        owner: Name of the callback, for errors.
        model: The compiled model.
        loss_class: Subclass of `losses._loss.ScheduledLoss` that the model must have.
        attribute: Under which name the model keeps the state.
        make: Function that returns a new state, with a variable `alpha`.
    """
    found = [
        loss for loss in keras.tree.flatten(model.loss) if isinstance(loss, loss_class)
    ]
    if not found:
        raise ValueError(
            f"{owner}: `model.loss` must hold a "
            f"`keras_noisy.losses.{loss_class.__name__}`. Received: "
            f"model.loss={model.loss!r}. Compile the model with it, or remove the "
            "callback."
        )
    # Older traces may be without it.
    model.train_function = model.test_function = None
    state = of(model, attribute, make)
    for loss in found:
        # Weak: the state belongs to the model.
        loss.follow(weakref.ref(state.alpha))
    return state
