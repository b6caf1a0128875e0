"""The method chooses itself: a classifier that needs neither clean labels nor an expert."""

from keras_noisy.choice.advise import advise
from keras_noisy.choice.robust_classifier import RobustClassifier

__all__ = ["RobustClassifier", "advise"]
