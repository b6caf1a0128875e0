"""Where a model's training step calls this package.

Keras documents two hooks, and a model has each of them replaced once: `compute_loss`,
which every backend calls with labels and predictions, inside the state that it carries
through a compiled step, and the three steps themselves. These are only told apart, as
a `compute_loss` of a user need not say whether it trains, and rid of sample ids. Beside
the labels ids would need no such thing, but Keras refuses `class_weight` then, and data
sets could not be passed to `fit`, `evaluate` and `predict` as they are.

What a model has of this package are parts, metrics on the model: their variables are
the state that is carried. A loss finds the part that it reads by `find`; it is bound to
no model, and so one loss may serve several outputs, several models, or stand inside
another loss.
"""

import contextlib
import functools
import threading

import keras

from keras_noisy._data import arrays

_ATTRIBUTE = "_keras_noisy_seam"
_HOOKS = ("train_step", "test_step", "predict_step", "compute_loss")
_running = threading.local()


class Step:
    """A step of a model that a thread runs or traces.

    Attributes:
        parts: What the model has of this package.
        is_training: Whether it is a training step.
        ids: The sample ids of its data, or None.
        has_loss: Whether a training step has computed its loss, and told the parts.
        notes: What parts keep until the end of the step.
    """

    def __init__(self, parts, is_training, ids):
        self.parts, self.is_training, self.ids = parts, is_training, ids
        self.has_loss = False
        self.notes = {}


@contextlib.contextmanager
def running(step):
    """Make a step the one that `current` returns."""
    steps = _steps()
    steps.append(step)
    try:
        yield step
    finally:
        steps.pop()


def current():
    """Return the step that this thread runs, or None."""
    steps = _steps()
    return steps[-1] if steps else None


def is_training():
    """Whether this thread runs a training step of a model that has a part."""
    step = current()
    return step is not None and step.is_training


def find(kind):
    """Return the part of a class that the model of the current step has, or None."""
    step = current()
    parts = step.parts if step is not None else ()
    return next((part for part in parts if isinstance(part, kind)), None)


def install(model, part=None):
    """Let the steps of a model call a part, besides those that it has.

    Args:
        model: The model.
        part: A `state.State`, or None.
    """
    seam = getattr(model, _ATTRIBUTE, None)
    if seam is None:
        seam = _Seam()
        setattr(model, _ATTRIBUTE, seam)
    if part is not None and not any(part is each for each in seam.parts):
        seam.parts.append(part)
        _forget_traces(model)
    if not seam.is_in(model):
        for name in _HOOKS:
            seam.replace(model, name)
        seam.trace_anew(model)
        _forget_traces(model)


def _forget_traces(model):
    model.train_function = model.test_function = model.predict_function = None


def _steps():
    return _running.__dict__.setdefault("steps", [])


def _is_hook(function):
    return hasattr(function, "replaces")


class _Seam:
    """The parts of one model, and the hooks that call them."""

    def __init__(self):
        self.parts = []

    def is_in(self, model):
        """Whether the model's hooks call this; a user may have replaced them since."""
        return all(_is_hook(getattr(model, name)) for name in _HOOKS)

    def replace(self, model, name):
        """Put a new hook around the model's own."""
        now = getattr(model, name)
        own = now.replaces if _is_hook(now) else now
        is_loss = name == "compute_loss"
        hook = self._loss(own) if is_loss else self._step(own, name == "train_step")
        hook.replaces = own
        setattr(model, name, hook)

    def trace_anew(self, model):
        """Give the model a new hook whenever a step has to be traced.

        JAX would find the old trace, and the loss of an earlier `compile` in it, under
        the old one.
        """
        if keras.backend.backend() != "jax":
            return
        for kind in "train", "test":
            name = f"make_{kind}_function"
            if not _is_hook(getattr(model, name)):
                setattr(model, name, self._making(model, kind))

    def _making(self, model, kind):
        own = getattr(model, f"make_{kind}_function")

        @functools.wraps(own)
        def make(force=False):
            is_made = getattr(model, f"{kind}_function") is not None and not force
            if not is_made and _is_hook(getattr(model, f"{kind}_step")):
                self.replace(model, f"{kind}_step")
            return own(force)

        make.replaces = own
        return make

    def _is_running(self):
        step = current()
        return step is not None and step.parts is self.parts

    def _step(self, own, is_training):
        @functools.wraps(own)
        def step(*args):
            if self._is_running():
                # A user's function stands between this hook and an older one.
                return own(*args)
            *state, data = args
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            x, ids = arrays.split_ids(x)
            if ids is not None:
                data = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
            with running(Step(self.parts, is_training, ids)) as now:
                if is_training:
                    for part in self.parts:
                        part.begin_step(now)
                return own(*state, data)

        return step

    def _loss(self, own):
        @functools.wraps(own)
        def compute_loss(*args, **kwargs):
            loss = own(*args, **kwargs)
            step = current()
            if self._is_running() and step.is_training and not step.has_loss:
                step.has_loss = True
                names = ("x", "y", "y_pred", "sample_weight", "training")
                # A user's function may lack the last one.
                given = {**dict(zip(names, args, strict=False)), **kwargs}
                for part in self.parts:
                    part.end_step(step, given.get("y"), given.get("y_pred"))
            return loss

        return compute_loss
