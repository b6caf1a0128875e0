"""Callbacks: the training clock and what to watch while training."""

from keras_noisy.callbacks.abstention_schedule import AbstentionSchedule
from keras_noisy.callbacks.atomic_backup_and_restore import AtomicBackupAndRestore
from keras_noisy.callbacks.dimensionality_schedule import DimensionalitySchedule
from keras_noisy.callbacks.early_learning_targets import EarlyLearningTargets
from keras_noisy.callbacks.global_trust import GlobalTrust
from keras_noisy.callbacks.joint_optimization_labels import JointOptimizationLabels
from keras_noisy.callbacks.label_wave import LabelWave
from keras_noisy.callbacks.learning_dynamics import LearningDynamics
from keras_noisy.callbacks.seal import SEAL, SEALOnTheFly, with_sample_ids
from keras_noisy.callbacks.smoothed_early_stopping import SmoothedEarlyStopping

__all__ = [
    "SEAL",
    "AbstentionSchedule",
    "AtomicBackupAndRestore",
    "DimensionalitySchedule",
    "EarlyLearningTargets",
    "GlobalTrust",
    "JointOptimizationLabels",
    "LabelWave",
    "LearningDynamics",
    "SEALOnTheFly",
    "SmoothedEarlyStopping",
    "with_sample_ids",
]
