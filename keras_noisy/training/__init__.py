"""Training procedures that own a fit: SEAL's rounds, instance-dependent noise."""

from keras_noisy.training.instance_dependent_noise import (
    generate_instance_dependent_noise,
)
from keras_noisy.training.self_evolution import SelfEvolution

__all__ = ["SelfEvolution", "generate_instance_dependent_noise"]
