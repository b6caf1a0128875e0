"""What label noise does to a network: quantities for experiments."""

from keras_noisy.analysis.dynamics import (
    normalized_entropy,
    semantic_correction,
    wrong_label_fit,
)
from keras_noisy.analysis.label_correction import (
    correction_candidates,
    label_distance,
)

__all__ = [
    "correction_candidates",
    "label_distance",
    "normalized_entropy",
    "semantic_correction",
    "wrong_label_fit",
]
