"""What label noise does to a network, and which labels are wrong."""

from keras_noisy.analysis.beta_mixture import BetaMixture, beta_mixture
from keras_noisy.analysis.calibration import Calibration, calibration
from keras_noisy.analysis.class_conditional_test import (
    ClassConditionalTest,
    class_conditional_test,
    hold_out_class_conditional_test,
)
from keras_noisy.analysis.critical_sample_ratio import critical_sample_ratio
from keras_noisy.analysis.dynamics import (
    normalized_entropy,
    semantic_correction,
    wrong_label_fit,
)
from keras_noisy.analysis.features import features
from keras_noisy.analysis.gradient_density import GradientDensity, gradient_density
from keras_noisy.analysis.label_correction import (
    correction_candidates,
    label_distance,
)
from keras_noisy.analysis.local_intrinsic_dimensionality import (
    local_intrinsic_dimensionality,
)
from keras_noisy.analysis.neighbor_votes import neighbor_votes
from keras_noisy.analysis.noise_rate import NoiseRate, noise_rate, propose_checks
from keras_noisy.analysis.plots import (
    plot_gradient_density,
    plot_images,
    plot_label_distance,
    plot_learning_dynamics,
    plot_losses,
    plot_reliability,
    plot_softmax_trajectories,
    plot_suspects,
    plot_transition_matrix,
)
from keras_noisy.analysis.report import write_report
from keras_noisy.analysis.suspects import find_suspects
from keras_noisy.analysis.suspects_of_parts import SuspectParts, find_suspect_parts
from keras_noisy.analysis.suspects_table import Suspects

__all__ = [
    "BetaMixture",
    "Calibration",
    "ClassConditionalTest",
    "GradientDensity",
    "NoiseRate",
    "SuspectParts",
    "Suspects",
    "beta_mixture",
    "calibration",
    "class_conditional_test",
    "correction_candidates",
    "critical_sample_ratio",
    "features",
    "find_suspect_parts",
    "find_suspects",
    "gradient_density",
    "hold_out_class_conditional_test",
    "label_distance",
    "local_intrinsic_dimensionality",
    "neighbor_votes",
    "noise_rate",
    "normalized_entropy",
    "plot_gradient_density",
    "plot_images",
    "plot_label_distance",
    "plot_learning_dynamics",
    "plot_losses",
    "plot_reliability",
    "plot_softmax_trajectories",
    "plot_suspects",
    "plot_transition_matrix",
    "propose_checks",
    "semantic_correction",
    "write_report",
    "wrong_label_fit",
]
