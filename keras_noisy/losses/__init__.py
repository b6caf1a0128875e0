"""Losses for noisy labels: a function and a Keras class for each."""

from keras_noisy.losses._base import NoisyLabelLoss
from keras_noisy.losses.bootstrap_hard import BootstrapHard, bootstrap_hard
from keras_noisy.losses.bootstrap_soft import BootstrapSoft, bootstrap_soft
from keras_noisy.losses.confidence_penalty import (
    ConfidencePenalty,
    confidence_penalty,
)
from keras_noisy.losses.equal_loss import EqualLoss, equal_loss
from keras_noisy.losses.knowledge_distillation import knowledge_distillation
from keras_noisy.losses.label_smoothing import LabelSmoothing, label_smoothing
from keras_noisy.losses.proselflc import (
    ProSelfLC,
    global_trust,
    local_trust,
    proselflc,
)

__all__ = [
    "BootstrapHard",
    "BootstrapSoft",
    "ConfidencePenalty",
    "EqualLoss",
    "LabelSmoothing",
    "NoisyLabelLoss",
    "ProSelfLC",
    "bootstrap_hard",
    "bootstrap_soft",
    "confidence_penalty",
    "equal_loss",
    "global_trust",
    "knowledge_distillation",
    "label_smoothing",
    "local_trust",
    "proselflc",
]
