"""Models that prepare raw inputs in `fit`, as the tasks of keras-hub do.

Such a model has a method `preprocess_samples(x, y, sample_weight)`. Its own `fit`,
`evaluate` and `predict` call it for arrays and for data sets that have `map`, but take
no `keras.utils.PyDataset`, which is what gives an epoch an order of its own.
"""

import functools

import keras

from keras_noisy._checks.errors import message
from keras_noisy._data import arrays

_METHOD = "preprocess_samples"


def are_taken_by(model):
    """Whether a model prepares what `fit` takes."""
    return hasattr(model, _METHOD)


def accept_batches(model):
    """Let `fit` of a model take `arrays.Batches` of what it takes as arrays.

    Models that prepare nothing take them already.
    """
    if not are_taken_by(model) or hasattr(model.fit, "takes_batches"):
        return
    own_fit, own_prepare = model.fit, getattr(model, _METHOD)

    @functools.wraps(own_prepare)
    def prepare(x, y=None, sample_weight=None):
        x, ids = arrays.split_ids(x)
        prepared = own_prepare(x, y, sample_weight)
        if ids is None:
            return prepared
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(prepared)
        x = {arrays.INPUTS: x, arrays.SAMPLE_ID: ids}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    @functools.wraps(own_fit)
    def fit(x=None, *args, **kwargs):
        if not isinstance(x, arrays.Batches):
            return own_fit(x, *args, **kwargs)
        x.prepare = prepare
        validation = kwargs.get("validation_data")
        if validation is not None:
            size = kwargs.get("validation_batch_size") or x.batch_size
            kwargs["validation_data"] = _prepared(model, prepare, validation, size)
        return keras.Model.fit(model, x, *args, **kwargs)

    fit.takes_batches = True
    setattr(model, _METHOD, prepare)
    model.fit = fit


def _prepared(model, prepare, data, batch_size):
    """Return validation data that `keras.Model.fit` takes."""
    if isinstance(data, (tuple, list)):
        x, *others = (arrays.standard(part) for part in data)
        batches = arrays.Batches(x, *others, batch_size=batch_size, shuffle=False)
        batches.prepare = prepare
        return batches
    if not hasattr(data, "map"):
        expected = "arrays, or a data set that has `map`"
        owner = type(model).__name__
        raise TypeError(message(owner, "validation_data", expected, type(data)))

    def prepare_element(*element):
        # Grain passes a batch as one argument.
        return prepare(*(element[0] if isinstance(element[0], tuple) else element))

    return data.map(prepare_element)
