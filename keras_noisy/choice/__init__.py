"""The method chooses itself: a classifier that needs no clean labels."""

from keras_noisy.choice.advise import advise
from keras_noisy.choice.robust_classifier import RobustClassifier

__all__ = ["RobustClassifier", "advise"]
