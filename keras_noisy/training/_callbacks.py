"""Callbacks of a model's own in `fit`."""

import inspect

import keras


class SetEpoch(keras.callbacks.Callback):
    """Tells the model which epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        """Call `set_epoch` of the model."""
        self.model.set_epoch(epoch)


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
