"""What a callback has to remember, as part of the model's state."""

import keras
from keras import ops


class State(keras.metrics.Metric):
    """Variables that a callback sets, and that are saved with the model.

    A metric because its variables are what every backend carries through a compiled
    step. Keras does not save a metric's variables; it does save whatever has the two
    methods below.
    """

    def add_scalar(self, name, value, dtype="float32"):
        """Return a new variable of this value, the same on all replicas."""
        return self.add_copy(name, (), dtype, value)

    def add_copy(self, name, shape, dtype, value=0):
        """Return a new variable of this shape, the same on all replicas."""
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

    def save_own_variables(self, store):
        """Save all variables, by their place."""
        for number, variable in enumerate(self.variables):
            store[str(number)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        """Load all variables; a file that has none leaves them as they are."""
        if len(store.keys()) == len(self.variables):
            for number, variable in enumerate(self.variables):
                variable.assign(store[str(number)])
