"""Callbacks that trainings of this package add to `fit`."""

import inspect

import keras

from keras_noisy.training import _random


class SetEpoch(keras.callbacks.Callback):
    """Tells the model which epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        """Call `set_epoch` of the model."""
        self.model.set_epoch(epoch)


class Order(keras.callbacks.Callback):
    """Gives each epoch an order of examples and random numbers of its own.

    Args:
        batches: `_arrays.Batches` that are trained on.
        seed: Integers that the random numbers follow from, with the epoch.
    """

    def __init__(self, batches, seed):
        super().__init__()
        self.batches, self.seed = batches, seed

    def on_epoch_begin(self, epoch, logs=None):
        """Seed everything, and order the batches."""
        # Dropout on torch draws from the global state, which is in no checkpoint.
        keras.utils.set_random_seed(_random.derive_seed(*self.seed, epoch))
        self.batches.set_epoch(epoch)


def arguments_with(model, callback, args, kwargs):
    """Return the arguments of `fit` as keywords, with a callback before all others.

    First, so that the others see what it logs.

    Args:
        model: The model that is trained.
        callback: Its own callback, or a function of the arguments that returns it.
        args: Positional arguments of `keras.Model.fit`.
        kwargs: Keyword arguments.
    """
    bound = inspect.signature(keras.Model.fit).bind(model, *args, **kwargs)
    arguments = dict(bound.arguments)
    del arguments["self"]
    own = arguments.pop("callbacks", None)
    if not isinstance(callback, keras.callbacks.Callback):
        callback = callback(arguments)
    if isinstance(own, keras.callbacks.CallbackList):
        callback.set_model(model)
        own.callbacks.insert(0, callback)
    else:
        own = [callback, *(keras.tree.flatten(own) if own else [])]
    return {**arguments, "callbacks": own}
