"""The methods that can be chosen, with the settings of their papers.

None was searched for on data. What a candidate costs is counted in trainings with
cross-entropy; a table or a clock costs nothing that could be measured there.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from keras_noisy import losses

DEFAULT = "early_learning_regularization"
_WEIGHT, _MOMENTUM = 3.0, 0.7


class Moment(NamedTuple):
    """What a loss depends on beside labels and outputs.

    Attributes:
        from_logits: Whether outputs are logits.
        progress: Steps done over steps planned.
        matrix: The transition matrix, an array, or None.
        target: Moving averages of the predictions, or None.
    """

    from_logits: bool
    progress: Any
    matrix: Any
    target: Any


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A method that can be chosen.

    Attributes:
        title: Its name in sentences.
        loss: One loss for each example, of label distributions, outputs and a `Moment`.
        when: When it is a good choice, a sentence without its end.
        takes_matrix: Whether it needs an estimated transition matrix.
        has_averages: Whether it compares with moving averages of predictions.
        is_mixed: Whether examples are mixed in pairs, inputs and labels alike.
    """

    title: str
    loss: Callable[[Any, Any, Moment], Any]
    when: str
    takes_matrix: bool = False
    has_averages: bool = False
    is_mixed: bool = False


def averages_after(old, outputs, from_logits):
    """Return the moving averages of predictions, one step on."""
    return losses.updated_target(
        old, outputs, momentum=_MOMENTUM, from_logits=from_logits
    )


def _early_learning(q, outputs, at):
    return losses.early_learning_regularization(
        q, outputs, target=at.target, weight=_WEIGHT, from_logits=at.from_logits
    )


def _forward_early_learning(q, outputs, at):
    """Return ELR's loss with the cross-entropy of forward correction in its place."""
    plain, forward = (
        CANDIDATES[name].loss(q, outputs, at)
        for name in ("cross_entropy", "forward_correction")
    )
    return _early_learning(q, outputs, at) + forward - plain


CANDIDATES = {
    "cross_entropy": Candidate(
        "cross-entropy, stopped early",
        lambda q, outputs, at: losses.label_smoothing(
            q, outputs, epsilon=0.0, from_logits=at.from_logits
        ),
        "labels are right, or the tables are small",
    ),
    "generalized_cross_entropy": Candidate(
        "generalised cross-entropy",
        lambda q, outputs, at: losses.generalized_cross_entropy(
            q, outputs, from_logits=at.from_logits
        ),
        "wrong labels are spread over the classes",
    ),
    "symmetric_cross_entropy": Candidate(
        "symmetric cross-entropy",
        lambda q, outputs, at: losses.symmetric_cross_entropy(
            q, outputs, alpha=0.1, beta=1.0, from_logits=at.from_logits
        ),
        "wrong labels are spread over the classes",
    ),
    "equal_loss": Candidate(
        "Equal Loss",
        lambda q, outputs, at: losses.equal_loss(
            q, outputs, epsilon=0.3, from_logits=at.from_logits
        ),
        "wrong labels are spread over the classes",
    ),
    "label_smoothing": Candidate(
        "label smoothing",
        lambda q, outputs, at: losses.label_smoothing(
            q, outputs, epsilon=0.1, from_logits=at.from_logits
        ),
        "few labels are wrong",
    ),
    "bootstrap_hard": Candidate(
        "bootstrapping",
        lambda q, outputs, at: losses.bootstrap_hard(
            q, outputs, epsilon=0.2, from_logits=at.from_logits
        ),
        "few labels are wrong",
    ),
    "proselflc": Candidate(
        "ProSelfLC",
        lambda q, outputs, at: losses.proselflc(
            q,
            outputs,
            global_trust=losses.global_trust(at.progress),
            from_logits=at.from_logits,
        ),
        "the number of epochs is known beforehand",
    ),
    "forward_correction": Candidate(
        "forward correction",
        lambda q, outputs, at: losses.forward_correction(
            q, outputs, transition_matrix=at.matrix, from_logits=at.from_logits
        ),
        "pairs of classes are confused, and the noise depends on the class alone",
        takes_matrix=True,
    ),
    DEFAULT: Candidate(
        "early-learning regularisation",
        _early_learning,
        "nothing is known of the noise",
        has_averages=True,
    ),
    "early_learning_regularization_mixup": Candidate(
        "early-learning regularisation on mixed inputs",
        _early_learning,
        "inputs are images or features of a network",
        has_averages=True,
        is_mixed=True,
    ),
    "forward_early_learning_mixup": Candidate(
        "early-learning regularisation through the matrix on mixed inputs",
        _forward_early_learning,
        "pairs of classes are confused, and inputs are images or features",
        takes_matrix=True,
        has_averages=True,
        is_mixed=True,
    ),
}
# In the order in which a budget takes them, after the default
# (`benchmarks/results/choice.md`).
AUTO = (
    "forward_correction",
    "symmetric_cross_entropy",
    "forward_early_learning_mixup",
    "early_learning_regularization_mixup",
    DEFAULT,
)
