"""Label noise: transition matrices, corruption of arrays, and a layer for streams."""

from keras_noisy.noise.corrupt_labels import corrupt_labels
from keras_noisy.noise.estimation import (
    estimate_from_anchors,
    estimate_from_confusion,
    estimate_from_neighbors,
    estimate_with_cleanlab,
    keep_structure,
)
from keras_noisy.noise.instance_dependent import instance_dependent
from keras_noisy.noise.label_noise import LabelNoise, add_label_noise
from keras_noisy.noise.move_borders import move_borders
from keras_noisy.noise.noisy_labels import NoisyLabels
from keras_noisy.noise.transition_matrices import (
    CIFAR10_FLIPS_ONE_WAY,
    CIFAR10_FLIPS_TWO_WAY,
    asymmetric,
    independent_flips,
    pair_flip,
    symmetric,
    within_groups,
)

__all__ = [
    "CIFAR10_FLIPS_ONE_WAY",
    "CIFAR10_FLIPS_TWO_WAY",
    "LabelNoise",
    "NoisyLabels",
    "add_label_noise",
    "asymmetric",
    "corrupt_labels",
    "estimate_from_anchors",
    "estimate_from_confusion",
    "estimate_from_neighbors",
    "estimate_with_cleanlab",
    "independent_flips",
    "instance_dependent",
    "keep_structure",
    "move_borders",
    "pair_flip",
    "symmetric",
    "within_groups",
]
