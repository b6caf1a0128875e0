"""What label noise does to a network: quantities for experiments."""

from keras_noisy.analysis.dynamics import (
    normalized_entropy,
    semantic_correction,
    wrong_label_fit,
)

__all__ = ["normalized_entropy", "semantic_correction", "wrong_label_fit"]
