"""How near the decision boundary is to the data."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers, is_one_output
from keras_noisy._checks.errors import message
from keras_noisy._checks.numbers import Interval, optional
from keras_noisy._data import arrays, outputs, predictions
from keras_noisy._typing import Data, Tensor
from keras_noisy.analysis import _gradients, _rows

_OWNER = "critical_sample_ratio"


def critical_sample_ratio(
    model: keras.Model | Callable[[Tensor], Tensor],
    x: Data,
    *,
    radius: float,
    step_size: float | None = None,
    noise_scale: float | None = None,
    max_steps: int = 100,
    bounds: tuple[float, float] | None = None,
    batch_size: int = 256,
    seed: int = 0,
    verbose: int = 0,
    from_logits: bool | None = None,
) -> float:
    """Share of examples that have another predicted class within a small box.

    An example `x` is critical if some `x'` with `||x - x'||_inf <= radius` is
    predicted as another class. It is searched for as in Arpit et al.: from `x`,
    `max_steps` steps against the sign of a gradient, plus Gaussian noise, each
    followed by a projection onto the box. (The gradient is that of the margin to the
    second class, not of the predicted class alone: it does not vanish for certain
    predictions of logits.) What is found is certain; what is not may have been
    missed, so the ratio is a lower bound that grows with `max_steps`.

    Args:
        model: Built Keras model, or a function of tensors, with one output of
            probabilities or logits `(batch, num_classes)`, or of one sigmoid.
        x: Floating-point inputs, an array `(n, ...)`, or a data set of batches of
            inputs or of tuples that begin with them.
        radius: Half the width of the box, in units of `x`, positive.
        step_size: Length of the step in each input. By default 5/6 of `radius`, and
            the noise 2/3: the proportions 0.25 : 0.2 : 0.3 usual for this search.
        noise_scale: Standard deviation of the noise.
        max_steps: Number of steps, positive.
        bounds: `(lowest, highest)` value of a valid input, or None.
        batch_size: Examples at once, where `x` is an array.
        seed: Seed of the noise.
        verbose: 1 shows a progress bar.
        from_logits: Whether one output for each example is a logit. By default the
            model's loss says so; of several outputs it makes no difference.

    Returns:
        A float in [0, 1].

    Raises:
        TypeError: If `x` is not floating-point.
        ValueError: If `x` is empty, an argument is out of range or predictions are
            NaN.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import analysis
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.0, 1.0]]), np.zeros(2)])  # Boundary at 0.
        >>> x = np.array([[-2.0], [-0.1], [0.2], [3.0]], "float32")
        >>> analysis.critical_sample_ratio(model, x, radius=0.5)
        0.5

    Reference:
        Eq. 4 of Chen et al., "Beyond Class-Conditional Assumption", AAAI 2021;
        Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017.
    """
    owner = _OWNER
    if not callable(model):
        raise TypeError(message(owner, "model", "a model or a function", model))
    if not hasattr(x, "__iter__") or getattr(x, "shape", None) == ():
        expected = "an array or batches of arrays"
        raise TypeError(message(owner, "x", expected, x))
    x = arrays.standard(x)
    predictions.check_finite(owner, x)
    radius = Interval(0, 1e30, "right")(owner, "radius", radius)
    length = optional(Interval(0, 1e30))
    step_size = length(owner, "step_size", step_size)
    step_size = radius * 5 / 6 if step_size is None else step_size
    noise_scale = length(owner, "noise_scale", noise_scale)
    noise_scale = radius * 2 / 3 if noise_scale is None else noise_scale
    seed = errors.check_seed(owner, seed, bits=63)
    max_steps = errors.check_count(owner, "max_steps", max_steps)
    batch_size = errors.check_count(owner, "batch_size", batch_size)
    is_logits = _is_logits(model, from_logits)
    lengths = (radius, step_size, noise_scale)
    search = _Search(model, *lengths, max_steps, bounds, is_logits)
    generator = np.random.Generator(np.random.PCG64(seed))
    bar = keras.utils.Progbar(_length(x), verbose=verbose)
    critical = count = 0
    for batch in _batches(x, batch_size):
        found = search(_check_inputs(owner, batch), generator)
        critical += int(found.sum())
        count += len(found)
        bar.update(count, values=[("critical_sample_ratio", found.mean())])
    if not count:
        raise ValueError(
            message(owner, "x", "at least one example", "none", "Is it used up?")
        )
    return critical / count


class _Search:
    """The search for another class around each example of a batch."""

    def __init__(
        self, model, radius, step_size, noise_scale, max_steps, bounds, is_logits
    ):
        self.radius, self.step_size = radius, step_size
        self.noise_scale, self.max_steps = noise_scale, max_steps
        self.low, self.high = _check_bounds(bounds)

        def score(x):
            is_model = isinstance(model, keras.Model)
            found = model(x, training=False) if is_model else model(x)
            if is_logits is None and is_one_output(getattr(found, "shape", (0, 0))):
                expected = "True or False for one output whose loss does not say"
                raise ValueError(message(_OWNER, "from_logits", expected, is_logits))
            found = outputs.scores(_OWNER, found, bool(is_logits))
            found = ops.cast(found, "float32")
            return _margin(found), found

        self.gradient = _gradients.compiled_gradient(score)

    def __call__(self, x, generator):
        """Return for each example whether another class was found."""
        low = np.maximum(x - self.radius, np.minimum(x, self.low))
        high = np.minimum(x + self.radius, np.maximum(x, self.high))
        at, classes = x, None
        found = np.zeros(len(x), bool)
        for _ in range(self.max_steps + 1):
            scores, slope = self.gradient(ops.convert_to_tensor(at))
            scores = ops.convert_to_numpy(scores)
            _rows.check_largest(_OWNER, "model(x)", scores)
            predicted = scores.argmax(axis=1)
            classes = predicted if classes is None else classes
            found |= predicted != classes
            if found.all():
                break
            noise = generator.standard_normal(x.shape, dtype="float32")
            step = self.noise_scale * noise
            step -= self.step_size * np.sign(ops.convert_to_numpy(slope))
            at = np.clip(at + step, low, high).astype(x.dtype)
        return found


def _is_logits(model, from_logits):
    """Return whether outputs are logits, None where nobody says."""
    outputs.check_from_logits(_OWNER, from_logits)
    if from_logits is None:
        return outputs.takes_logits(getattr(model, "loss", None))
    return from_logits


def _margin(scores):
    """How far the largest output lies above the second, per example."""
    largest = ops.top_k(scores, 2)[0]
    return largest[:, 0] - largest[:, 1]


def _batches(x, batch_size):
    """Yield the inputs in batches."""
    if hasattr(x, "shape"):
        for start in range(0, x.shape[0], batch_size):
            yield x[start : start + batch_size]
        return
    for batch in x:
        yield batch[0] if isinstance(batch, (tuple, list)) else batch


def _length(x):
    return x.shape[0] if hasattr(x, "shape") else None


def _check_inputs(owner, batch):
    if not hasattr(batch, "shape"):
        expected = "an array or batches of arrays"
        raise TypeError(message(owner, "x", expected, type(batch)))
    batch = ops.convert_to_numpy(arrays.dense(batch))
    if batch.dtype.kind != "f":
        mend = "The search moves inputs a little: convert them, and scale `radius`."
        raise TypeError(message(owner, "x", "floating-point", batch.dtype, mend))
    return batch


def _check_bounds(bounds):
    if bounds is None:
        return -np.inf, np.inf
    expected = "None, or a pair of numbers (lowest, highest)"
    pair = as_numbers(_OWNER, "bounds", bounds)
    if pair.shape != (2,) or not pair[0] < pair[1]:
        raise ValueError(message(_OWNER, "bounds", expected, bounds))
    return tuple(pair.tolist())
