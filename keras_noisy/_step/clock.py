"""The training clock: how a loss learns which iteration it is in.

Keras has no signal for this that is right in every mode (see the docs page
"The training clock"). Ours is state of the model that every training step advances,
once its loss is computed.
"""

from keras import ops

from keras_noisy._step import seam, state

_ATTRIBUTE = "_keras_noisy_clock"


def current():
    """Return the clock of the step that this thread is running, or None."""
    return seam.find(Clock)


class Clock(state.State):
    """Counts the training steps of one model, and shows global trust in its logs.

    Attributes:
        iterations: Training steps done, `t` of the next one.
        total: Training steps planned, `Gamma`.
        epoch_length: Steps of the last whole epoch, 0 before it.
        is_fitting: Whether `fit` is between steps; the callback says so.
        is_read: Whether any loss has asked for the time.
    """

    def __init__(self, name="global_trust"):
        super().__init__(name=name)
        self.iterations = self.add("iterations", dtype="int")
        self.total = self.add("total", dtype="int")
        self.epoch_length = self.add("epoch_length", dtype="int")
        self.is_fitting = False
        self.is_read = False
        self._trusts = {}

    def progress(self, back=0):
        """Return `t / Gamma` as a float32 scalar, 0 before `Gamma` is known.

        Args:
            back: How many steps ago.
        """
        done = ops.cast(self.iterations - back, "float32")
        return done / ops.maximum(ops.cast(self.total, "float32"), 1.0)

    def time(self):
        """Return iterations done and planned as integers."""
        return _to_int(self.iterations), _to_int(self.total)

    def register(self, key=None, trust=None):
        """Take note that a loss reads this clock, and of its trust for the logs.

        Args:
            key: The arguments that its global trust depends on, or None.
            trust: Function from progress to global trust.
        """
        self.is_read = True
        if key is not None:
            self._trusts[key] = trust

    def forget_losses(self):
        """Drop the losses of an earlier `compile`."""
        self.is_read = False
        self._trusts.clear()

    def end_step(self, step, y, y_pred):
        """Count one training step."""
        self.iterations.assign_add(1)

    def result(self):
        """Return the global trust of this step or the next, nothing in an evaluation.

        With one more value in it, `loss, accuracy = model.evaluate(...)` would no
        longer work. Losses that differ in their arguments have one value each.
        """
        step = seam.current() if current() is self else None
        if not (self.is_fitting if step is None else step.is_training):
            return {}
        progress = self.progress(back=int(step is not None and step.has_loss))
        if len(self._trusts) == 1:
            (trust,) = self._trusts.values()
            return {self.name: trust(progress)}
        return {
            f"{self.name}_{base:g}_{ratio:g}": trust(progress)
            for (base, ratio), trust in self._trusts.items()
        }


def _to_int(variable):
    return int(ops.convert_to_numpy(variable))


def attach(model):
    """Return the clock of `model`, giving it one if it has none."""
    clock = state.of(model, _ATTRIBUTE, Clock)
    if model.train_function is None:
        clock.forget_losses()
    return clock
