"""The methods that can be chosen, with the settings of their papers.

None was searched for on data. What a candidate costs is counted in trainings with
cross-entropy; a table or a clock costs nothing that could be measured there.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_noisy import callbacks, losses

DEFAULT = "early_learning_regularization"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A method that can be chosen.

    Attributes:
        title: Its name in sentences.
        loss: Makes its loss, of `from_logits` and the transition matrix.
        callback: Makes the callback that moves it, of the number of examples, or None.
        takes_matrix: Whether it needs an estimated transition matrix.
        when: When it is a good choice, a sentence without its end.
    """

    title: str
    loss: Callable[[bool, Any], keras.losses.Loss]
    when: str
    callback: Callable[[int], keras.callbacks.Callback] | None = None
    takes_matrix: bool = False


CANDIDATES = {
    "cross_entropy": Candidate(
        "cross-entropy, stopped early",
        lambda is_logits, _: keras.losses.SparseCategoricalCrossentropy(is_logits),
        "labels are right, or the tables are small",
    ),
    "generalized_cross_entropy": Candidate(
        "generalised cross-entropy",
        lambda is_logits, _: losses.GeneralizedCrossEntropy(from_logits=is_logits),
        "wrong labels are spread over the classes",
    ),
    "symmetric_cross_entropy": Candidate(
        "symmetric cross-entropy",
        lambda is_logits, _: losses.SymmetricCrossEntropy(
            alpha=0.1, beta=1.0, from_logits=is_logits
        ),
        "wrong labels are spread over the classes",
    ),
    "equal_loss": Candidate(
        "Equal Loss",
        lambda is_logits, _: losses.EqualLoss(epsilon=0.3, from_logits=is_logits),
        "wrong labels are spread over the classes",
    ),
    "label_smoothing": Candidate(
        "label smoothing",
        lambda is_logits, _: losses.LabelSmoothing(epsilon=0.1, from_logits=is_logits),
        "few labels are wrong",
    ),
    "bootstrap_hard": Candidate(
        "bootstrapping",
        lambda is_logits, _: losses.BootstrapHard(epsilon=0.2, from_logits=is_logits),
        "few labels are wrong",
    ),
    "proselflc": Candidate(
        "ProSelfLC",
        lambda is_logits, _: losses.ProSelfLC(from_logits=is_logits),
        "the number of epochs is known beforehand",
        callback=lambda size: callbacks.GlobalTrust(),
    ),
    "forward_correction": Candidate(
        "forward correction",
        lambda is_logits, matrix: losses.ForwardCorrection(
            transition_matrix=matrix, from_logits=is_logits
        ),
        "pairs of classes are confused, and the noise depends on the class alone",
        takes_matrix=True,
    ),
    DEFAULT: Candidate(
        "early-learning regularisation",
        lambda is_logits, _: losses.EarlyLearningRegularization(
            weight=3.0, momentum=0.7, from_logits=is_logits
        ),
        "nothing is known of the noise",
        callback=callbacks.EarlyLearningTargets,
    ),
}
# In the order in which a budget takes them, after the default. More of them gained
# nothing that could be told from chance where the rule was made
# (`benchmarks/results/choice.md`).
AUTO = (
    "forward_correction",
    "symmetric_cross_entropy",
    "cross_entropy",
    DEFAULT,
)
