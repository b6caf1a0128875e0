"""Training procedures: SEAL's rounds, models around networks, noise to make."""

from keras_noisy.training.co_teaching import CoTeaching
from keras_noisy.training.distillation import Distillation, self_distillation
from keras_noisy.training.divide_mix import DivideMix
from keras_noisy.training.dynamic_bootstrapping import DynamicBootstrapping
from keras_noisy.training.instance_dependent_noise import (
    generate_instance_dependent_noise,
)
from keras_noisy.training.masking import Masking
from keras_noisy.training.noise_adaptation import NoiseAdaptation
from keras_noisy.training.self_evolution import SelfEvolution
from keras_noisy.training.ssr import SSR

__all__ = [
    "SSR",
    "CoTeaching",
    "Distillation",
    "DivideMix",
    "DynamicBootstrapping",
    "Masking",
    "NoiseAdaptation",
    "SelfEvolution",
    "generate_instance_dependent_noise",
    "self_distillation",
]
