"""What tests of several files do alike."""

import keras
import numpy as np


class Crash(keras.callbacks.Callback):
    """Ends a training by an error, at the end of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise RuntimeError("crash")


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
