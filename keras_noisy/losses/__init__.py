"""Losses for noisy labels: a function and a Keras class for each."""

from keras_noisy.losses._loss import NoisyLabelLoss
from keras_noisy.losses.active_negative import ActiveNegative, active_negative
from keras_noisy.losses.active_passive import ActivePassive, active_passive
from keras_noisy.losses.asymmetric_exponential import (
    AsymmetricExponential,
    asymmetric_exponential,
)
from keras_noisy.losses.asymmetric_generalized_cross_entropy import (
    AsymmetricGeneralizedCrossEntropy,
    asymmetric_generalized_cross_entropy,
)
from keras_noisy.losses.asymmetric_unhinged import (
    AsymmetricUnhinged,
    asymmetric_unhinged,
)
from keras_noisy.losses.backward_correction import (
    BackwardCorrection,
    backward_correction,
)
from keras_noisy.losses.bi_tempered_logistic import (
    BiTemperedLogistic,
    bi_tempered_logistic,
)
from keras_noisy.losses.bootstrap_hard import BootstrapHard, bootstrap_hard
from keras_noisy.losses.bootstrap_soft import BootstrapSoft, bootstrap_soft
from keras_noisy.losses.confidence_penalty import (
    ConfidencePenalty,
    confidence_penalty,
)
from keras_noisy.losses.deep_abstention import DeepAbstention, abstains, deep_abstention
from keras_noisy.losses.derivative_manipulation import (
    DerivativeManipulation,
    derivative_manipulation,
)
from keras_noisy.losses.determinant_mutual_information import (
    DeterminantMutualInformation,
    determinant_mutual_information,
)
from keras_noisy.losses.dimensionality_driven import (
    DimensionalityDriven,
    dimensionality_driven,
)
from keras_noisy.losses.early_learning_regularization import (
    EarlyLearningRegularization,
    early_learning_regularization,
    updated_target,
)
from keras_noisy.losses.epsilon_softmax import EpsilonSoftmax, epsilon_softmax
from keras_noisy.losses.equal_loss import EqualLoss, equal_loss
from keras_noisy.losses.forward_correction import ForwardCorrection, forward_correction
from keras_noisy.losses.generalized_cross_entropy import (
    GeneralizedCrossEntropy,
    generalized_cross_entropy,
)
from keras_noisy.losses.generalized_label_smoothing import (
    GeneralizedLabelSmoothing,
    generalized_label_smoothing,
)
from keras_noisy.losses.imae import IMAE, imae
from keras_noisy.losses.joint_optimization import JointOptimization, joint_optimization
from keras_noisy.losses.knowledge_distillation import knowledge_distillation
from keras_noisy.losses.label_smoothing import LabelSmoothing, label_smoothing
from keras_noisy.losses.mean_absolute_error import (
    MeanAbsoluteError,
    mean_absolute_error,
)
from keras_noisy.losses.multi_label import MultiLabel, multi_label
from keras_noisy.losses.normalized_cross_entropy import (
    NormalizedCrossEntropy,
    normalized_cross_entropy,
)
from keras_noisy.losses.normalized_focal import NormalizedFocal, normalized_focal
from keras_noisy.losses.normalized_generalized_cross_entropy import (
    NormalizedGeneralizedCrossEntropy,
    normalized_generalized_cross_entropy,
)
from keras_noisy.losses.normalized_negative_cross_entropy import (
    NormalizedNegativeCrossEntropy,
    normalized_negative_cross_entropy,
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
from keras_noisy.losses.target_modification import (
    TargetModification,
    target_modification,
)

__all__ = [
    "IMAE",
    "ActiveNegative",
    "ActivePassive",
    "AsymmetricExponential",
    "AsymmetricGeneralizedCrossEntropy",
    "AsymmetricUnhinged",
    "BackwardCorrection",
    "BiTemperedLogistic",
    "BootstrapHard",
    "BootstrapSoft",
    "ConfidencePenalty",
    "DeepAbstention",
    "DerivativeManipulation",
    "DeterminantMutualInformation",
    "DimensionalityDriven",
    "EarlyLearningRegularization",
    "EpsilonSoftmax",
    "EqualLoss",
    "ForwardCorrection",
    "GeneralizedCrossEntropy",
    "GeneralizedLabelSmoothing",
    "JointOptimization",
    "LabelSmoothing",
    "MeanAbsoluteError",
    "MultiLabel",
    "NoisyLabelLoss",
    "NormalizedCrossEntropy",
    "NormalizedFocal",
    "NormalizedGeneralizedCrossEntropy",
    "NormalizedNegativeCrossEntropy",
    "ProSelfLC",
    "ReverseCrossEntropy",
    "SymmetricCrossEntropy",
    "TargetModification",
    "abstains",
    "active_negative",
    "active_passive",
    "asymmetric_exponential",
    "asymmetric_generalized_cross_entropy",
    "asymmetric_unhinged",
    "backward_correction",
    "bi_tempered_logistic",
    "bootstrap_hard",
    "bootstrap_soft",
    "confidence_penalty",
    "deep_abstention",
    "derivative_manipulation",
    "determinant_mutual_information",
    "dimensionality_driven",
    "early_learning_regularization",
    "epsilon_softmax",
    "equal_loss",
    "forward_correction",
    "generalized_cross_entropy",
    "generalized_label_smoothing",
    "global_trust",
    "imae",
    "joint_optimization",
    "knowledge_distillation",
    "label_smoothing",
    "local_trust",
    "mean_absolute_error",
    "multi_label",
    "normalized_cross_entropy",
    "normalized_focal",
    "normalized_generalized_cross_entropy",
    "normalized_negative_cross_entropy",
    "proselflc",
    "reverse_cross_entropy",
    "symmetric_cross_entropy",
    "target_modification",
    "updated_target",
]
