"""Which labels are wrong, how many, and how sure: one call."""

from keras_noisy.diagnosis.diagnosis import Diagnosis
from keras_noisy.diagnosis.find_wrong_labels import find_wrong_labels

__all__ = ["Diagnosis", "find_wrong_labels"]
