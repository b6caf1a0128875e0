"""What tests of several files do alike."""

import pkgutil

import keras
import numpy as np
import pytest

import keras_noisy

# Names of the packages that users import from.
PUBLIC = [
    module.name
    for module in pkgutil.iter_modules(keras_noisy.__path__)
    if module.ispkg and not module.name.startswith("_")
]


class Crash(keras.callbacks.Callback):
    """Ends a training by an error, at the end of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise RuntimeError("crash")


def continued(build, fit, folder, epoch):
    """Return a model whose training was ended by an error, and begun again.

    Args:
        build: Function that returns a compiled model.
        fit: Function that trains it, with `callbacks`.
        folder: Where Keras keeps its backup.
        epoch: At whose end the error comes.
    """

    def train(*callbacks):
        model = build()
        fit(model, callbacks=[*callbacks, keras.callbacks.BackupAndRestore(folder)])
        return model

    with pytest.raises(RuntimeError, match="crash"):
        train(Crash(epoch))
    return train()


def softmax(z):
    """Return the softmax over the last axis, in NumPy."""
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def linear_network(kernel, activation=None, steps=(), **kwargs):
    """Return a network of one layer without a bias.

    Args:
        kernel: Its weights, `(features, num_classes)`.
        activation: Of the layer.
        steps: Lengths of the dimensions between batch and features.
        **kwargs: Of the layer.
    """
    features, num_classes = kernel.shape
    layer = keras.layers.Dense(num_classes, activation, use_bias=False, **kwargs)
    network = keras.Sequential([keras.Input((*steps, features)), layer])
    network.set_weights([kernel])
    return network


def assert_serves_its_network(model, logs, x, y):
    """Compare what a model around a network says with what the network does.

    Args:
        model: Around `model.network`, compiled with accuracy.
        logs: Of its training, with `x` and `y` as validation data.
        x: Inputs.
        y: Labels.

    Returns:
        Loss and accuracy of the network.
    """
    network = model.network
    np.testing.assert_allclose(
        model.predict(x, verbose=0), network.predict(x, verbose=0), rtol=1e-6
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(loss=loss, metrics=["accuracy"])
    expected = network.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-5)
    np.testing.assert_allclose(
        [logs["val_loss"][-1], logs["val_accuracy"][-1]], expected, rtol=1e-5
    )
    return expected


def ids_of_epochs(callback, data, epochs):
    """Return the ids of each epoch, in the order in which `fit` gets them.

    Args:
        callback: The callback whose `pipeline` returned the data.
        data: A `tf.data.Dataset` or a `keras.utils.PyDataset`.
        epochs: Number of epochs.
    """
    ids = []
    for epoch in range(epochs):
        callback._pipeline.set_epoch(epoch)
        is_indexed = isinstance(data, keras.utils.PyDataset)
        batches = (data[k] for k in range(len(data))) if is_indexed else data
        ids.append(np.concatenate([batch[0]["sample_id"] for batch in batches]))
    return ids
