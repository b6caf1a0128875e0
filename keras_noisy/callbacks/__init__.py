"""Callbacks: the training clock and what to watch while training."""

from keras_noisy.callbacks.global_trust import GlobalTrust

__all__ = ["GlobalTrust"]
