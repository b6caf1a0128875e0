"""What a callback has to remember, as part of the model's state."""

import weakref

import keras
from keras import ops

from keras_noisy._step import clock


class State(keras.metrics.Metric):
    """Variables that a callback sets, and that are saved with the model.

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

    def update_state(self, *args, **kwargs):
        """Do nothing: the callback sets the variables."""

    def reset_state(self):
        """Do nothing: Keras resets metrics at every epoch and evaluation."""

    def result(self):
        """Return nothing: the callback writes the logs."""
        return {}

    def saved(self):
        """Return the variables that a file keeps."""
        return self.variables

    def save_own_variables(self, store):
        """Save variables, by their place."""
        for number, variable in enumerate(self.saved()):
            store[str(number)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        """Load variables; a file that has none leaves them as they are."""
        if len(store.keys()) == len(self.saved()):
            for number, variable in enumerate(self.saved()):
                variable.assign(store[str(number)])


def attach(owner, model, loss_class, attribute, make):
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
    state = clock.track(model, attribute, make)
    for loss in found:
        # Weak: the state belongs to the model.
        loss.follow(weakref.ref(state.alpha))
    # They may hold a trace without it.
    model.train_function = None
    model.test_function = None
    return state
