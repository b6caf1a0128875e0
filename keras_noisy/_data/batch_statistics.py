"""Whether batch normalisation predicts with the statistics that the data have.

A network trains with the mean and variance of each batch and predicts with moving
averages of them. After few steps these are near their start (mean 0, variance 1), and
then predictions in inference mode are not those of the network that was trained.
"""

import contextlib
import warnings

import keras
import numpy as np
from keras import ops

from keras_noisy import _keras
from keras_noisy._data import arrays, outputs, predictions

_BATCH = 256
_SAMPLE_BYTES = 1 << 28
# The share of its right predictions that a network may lose by moving statistics, on
# average of the epochs (see benchmarks/results/batch_normalization.md).
_UNSETTLED = 0.05


class Statistics:
    """The moving statistics of a network beside those of its data.

    Args:
        owner: Name of the class that predicts, for the warning.
        num_examples: How many of the data speak for all, at most.
    """

    def __init__(self, owner, num_examples=512):
        self.owner, self.num_examples = owner, num_examples
        self._before = {}
        self._sample = None
        self._losses = []
        self._momentum = 0.0

    def begin(self, model):
        """Take note of the statistics before an epoch."""
        self._before = {id(layer): _values(layer) for layer in _layers_of(model)}

    @contextlib.contextmanager
    def of_data(self, model, x, size, from_logits):
        """Let a model normalise by statistics of its data inside a `with`.

        Args:
            model: The model.
            x: Inputs of its examples, arrays or a data set of batches.
            size: Their number.
            from_logits: Whether outputs are logits.
        """
        layers = [layer for layer in _layers_of(model) if self._is_updated(layer)]
        if not layers:
            yield
            return
        if self._sample is None:
            self._sample = _sample(x, size, self.num_examples)
        kept = [_values(layer) for layer in layers]
        try:
            self._compare(model, layers, from_logits)
            yield
        finally:
            for layer, values in zip(layers, kept, strict=True):
                layer.moving_mean.assign(values[0])
                layer.moving_variance.assign(values[1])

    def compare(self, *args):
        """Take note of what the moving statistics lose; arguments of `of_data`."""
        with self.of_data(*args):
            return

    def _is_updated(self, layer):
        """Whether training has changed the statistics, and so normalises by batches.

        It does not where a layer is frozen, or called with `training=False`.
        """
        before = self._before.get(id(layer))
        return before is None or not np.array_equal(before, _values(layer))

    def _compare(self, model, layers, from_logits):
        """Give the layers the statistics, and note what the moving ones lose."""

        def predict(batch):
            return _probabilities(self.owner, model, batch, from_logits)

        chosen = [predict(batch).argmax(axis=-1) for batch in self._sample]
        best = of_chosen = 0.0
        with contextlib.ExitStack() as stack:
            for layer in layers:
                stack.enter_context(_measuring(layer))
            for batch, classes in zip(self._sample, chosen, strict=True):
                p = predict(batch)
                best += p.max(axis=-1).sum()
                of_chosen += np.take_along_axis(p, classes[..., None], -1).sum()
        self._losses.append(1 - of_chosen / best)
        self._momentum = max(layer.momentum for layer in layers)

    def warn(self, steps, cure):
        """Warn if in the epochs since the last call statistics had not settled.

        Args:
            steps: Number of steps of an epoch.
            cure: A sentence that says what to do.
        """
        losses, self._losses = self._losses, []
        lost = float(np.mean(losses)) if losses else 0.0
        if not lost > _UNSETTLED:
            return
        settles = 5 / max(1 - self._momentum, 1e-6)
        warnings.warn(
            f"{self.owner}: predictions in inference mode were worse than those of the "
            "training, because the moving statistics of batch normalisation had not "
            f"settled. By the network's own probabilities {lost:.0%} fewer were right "
            f"than with the statistics of the data, on average of {len(losses)} "
            f"epochs. With momentum={self._momentum:g} they take about {settles:.0f} "
            f"steps to settle, and an epoch has {steps or 'few'}. {cure}",
            stacklevel=3,
        )


def _layers_of(model):
    return [
        layer
        for layer in _keras.all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
        and layer.built
        # Has more statistics than these two, and corrects batches by them.
        and not getattr(layer, "renorm", False)
    ]


def _values(layer):
    variables = (layer.moving_mean, layer.moving_variance)
    # A copy: JAX gives the buffers of variables away.
    return np.stack([ops.convert_to_numpy(variable) for variable in variables])


def _probabilities(owner, model, batch, from_logits):
    """Return what a model predicts in inference mode, `(batch, num_classes)`."""
    inputs = keras.tree.map_structure(ops.convert_to_tensor, batch)
    found = outputs.check_single(owner, model(inputs, training=False))
    if not outputs.are_labels(model):
        return ops.convert_to_numpy(outputs.probabilities(found, from_logits))
    # Of many labels each is a distribution over two classes.
    each = ops.reshape(found, (-1,))
    return ops.convert_to_numpy(outputs.probabilities(each, from_logits))


@contextlib.contextmanager
def _measuring(layer):
    """Let a layer normalise by batches, and average their statistics.

    The rest of the network stays in inference mode: dropout and augmentation change
    nothing.
    """
    call, momentum, seen = layer.call, layer.momentum, 0

    def by_batch(inputs, training=None, mask=None):
        nonlocal seen
        layer.momentum = seen / (seen + inputs.shape[0])
        seen += inputs.shape[0]
        return call(inputs, training=True, mask=mask)

    layer.call = by_batch
    try:
        yield
    finally:
        del layer.call
        layer.momentum = momentum


def _sample(x, size, at_most):
    """Return random examples, in random order, as batches of inputs.

    Batches of examples in order can be of one class each.
    """
    generator = np.random.default_rng(0)
    read = _of_arrays if arrays.is_arrays(x) else _of_data_set
    first = keras.tree.flatten(read(x, np.arange(1)))
    row_bytes = sum(arrays.to_numpy(leaf).nbytes for leaf in first)
    count = min(at_most, max(_BATCH, _SAMPLE_BYTES // max(row_bytes, 1)))
    rows = np.sort(generator.permutation(size)[:count])
    pool, order = read(x, rows), generator.permutation(len(rows))
    return [
        arrays.batch_of(pool, order[start : start + _BATCH])
        for start in range(0, len(order), _BATCH)
    ]


def _of_arrays(x, rows):
    """Return some rows of arrays; strings stay arrays, to take rows from again."""
    return keras.tree.map_structure(lambda leaf: leaf[rows], x)


def _of_data_set(data, rows):
    """Return some rows of a data set of batches as arrays."""
    parts, start = [], 0
    for batch in data:
        # A data set may have no end and not say so.
        if start > rows[-1]:
            break
        inputs = arrays.of_backend(predictions.inputs_of(batch))
        inputs = keras.tree.map_structure(ops.convert_to_numpy, inputs)
        size = len(keras.tree.flatten(inputs)[0])
        inside = rows[(rows >= start) & (rows < start + size)] - start
        parts.append(_of_arrays(inputs, inside))
        start += size
    return keras.tree.map_structure(lambda *leaves: np.concatenate(leaves), *parts)
