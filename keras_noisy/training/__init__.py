"""Training procedures: SEAL's rounds, instance-dependent noise, co-teaching."""

from keras_noisy.training.co_teaching import CoTeaching
from keras_noisy.training.instance_dependent_noise import (
    generate_instance_dependent_noise,
)
from keras_noisy.training.self_evolution import SelfEvolution

__all__ = ["CoTeaching", "SelfEvolution", "generate_instance_dependent_noise"]
