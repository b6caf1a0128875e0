"""Train Keras classifiers on noisy labels."""

from keras_noisy.version import __version__

__all__ = ["__version__"]
