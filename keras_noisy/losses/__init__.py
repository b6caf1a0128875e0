"""Losses for noisy labels: a function and a Keras class for each."""

from keras_noisy.losses._base import NoisyLabelLoss
from keras_noisy.losses.active_passive import ActivePassive, active_passive
from keras_noisy.losses.bootstrap_hard import BootstrapHard, bootstrap_hard
from keras_noisy.losses.bootstrap_soft import BootstrapSoft, bootstrap_soft
from keras_noisy.losses.confidence_penalty import (
    ConfidencePenalty,
    confidence_penalty,
)
from keras_noisy.losses.equal_loss import EqualLoss, equal_loss
from keras_noisy.losses.generalized_cross_entropy import (
    GeneralizedCrossEntropy,
    generalized_cross_entropy,
)
from keras_noisy.losses.knowledge_distillation import knowledge_distillation
from keras_noisy.losses.label_smoothing import LabelSmoothing, label_smoothing
from keras_noisy.losses.mean_absolute_error import (
    MeanAbsoluteError,
    mean_absolute_error,
)
from keras_noisy.losses.normalized_cross_entropy import (
    NormalizedCrossEntropy,
    normalized_cross_entropy,
)
from keras_noisy.losses.normalized_focal import NormalizedFocal, normalized_focal
from keras_noisy.losses.normalized_generalized_cross_entropy import (
    NormalizedGeneralizedCrossEntropy,
    normalized_generalized_cross_entropy,
)
from keras_noisy.losses.proselflc import (
    ProSelfLC,
    global_trust,
    local_trust,
    proselflc,
)
from keras_noisy.losses.reverse_cross_entropy import (
    ReverseCrossEntropy,
    reverse_cross_entropy,
)
from keras_noisy.losses.symmetric_cross_entropy import (
    SymmetricCrossEntropy,
    symmetric_cross_entropy,
)

__all__ = [
    "ActivePassive",
    "BootstrapHard",
    "BootstrapSoft",
    "ConfidencePenalty",
    "EqualLoss",
    "GeneralizedCrossEntropy",
    "LabelSmoothing",
    "MeanAbsoluteError",
    "NoisyLabelLoss",
    "NormalizedCrossEntropy",
    "NormalizedFocal",
    "NormalizedGeneralizedCrossEntropy",
    "ProSelfLC",
    "ReverseCrossEntropy",
    "SymmetricCrossEntropy",
    "active_passive",
    "bootstrap_hard",
    "bootstrap_soft",
    "confidence_penalty",
    "equal_loss",
    "generalized_cross_entropy",
    "global_trust",
    "knowledge_distillation",
    "label_smoothing",
    "local_trust",
    "mean_absolute_error",
    "normalized_cross_entropy",
    "normalized_focal",
    "normalized_generalized_cross_entropy",
    "proselflc",
    "reverse_cross_entropy",
    "symmetric_cross_entropy",
]
