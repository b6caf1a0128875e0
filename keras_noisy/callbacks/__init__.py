"""Callbacks: the training clock and what to watch while training."""

from keras_noisy.callbacks.global_trust import GlobalTrust
from keras_noisy.callbacks.learning_dynamics import LearningDynamics

__all__ = ["GlobalTrust", "LearningDynamics"]
