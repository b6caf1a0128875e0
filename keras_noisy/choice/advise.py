"""Which methods to try, for people who train themselves."""

from __future__ import annotations

import dataclasses

from keras_noisy._checks.errors import message
from keras_noisy.choice._candidates import CANDIDATES, DEFAULT
from keras_noisy.diagnosis.diagnosis import Diagnosis

# Below so many labels a tenth of them hardly tells methods apart.
_MANY = 5000
_FEW_WRONG = 0.05


@dataclasses.dataclass(frozen=True)
class Advice:
    """Which methods to try.

    Attributes:
        candidates: Names for `RobustClassifier(candidates=...)`, the best first.
        sentence: Why, and what is not known.
    """

    candidates: list[str]
    sentence: str

    def __str__(self) -> str:
        methods = [
            f"{number}. {name}: {CANDIDATES[name].title}, where {CANDIDATES[name].when}"
            for number, name in enumerate(self.candidates, 1)
        ]
        return "\n".join([self.sentence, *methods])


def advise(diagnosis: Diagnosis) -> Advice:
    """Return which methods to try on labels that were diagnosed.

    It is what `RobustClassifier` knows, for those who train themselves: take the first,
    or try them in this order and compare them on held-out labels, which may be noisy.

    Args:
        diagnosis: What `find_wrong_labels` found.

    Returns:
        An `Advice`, with the attributes `candidates` and `sentence`.

    Raises:
        TypeError: If it is no `Diagnosis`.

    Example:
        >>> import numpy as np
        >>> import keras_noisy
        >>> x = np.random.default_rng(0).normal(size=(90, 4))
        >>> x[:, 0] += 9 * (np.arange(90) % 2)
        >>> labels = np.arange(90) % 2
        >>> labels[:30] = labels[:30][::-1]
        >>> found = keras_noisy.find_wrong_labels(x, labels, epochs=1, verbose=0)
        >>> keras_noisy.advise(found).candidates[0]
        'early_learning_regularization'
    """
    if not isinstance(diagnosis, Diagnosis):
        expected = "a `Diagnosis`, as `find_wrong_labels` returns"
        raise TypeError(message("advise", "diagnosis", expected, diagnosis))
    rate = diagnosis.noise_rate
    if rate.verdict == "cannot tell":
        return Advice(
            [DEFAULT, "generalized_cross_entropy"],
            "Wrong labels may depend on the example, or classes overlap. Held-out "
            "labels are then wrong in the same way and reward fitting them: do not "
            "choose by them alone, and verify some labels by hand.",
        )
    size = diagnosis.num_labels
    end = (
        f"A tenth of {size} labels is too few to tell methods apart that are close."
        if size < _MANY
        else f"A tenth of {size} labels, held out, tells methods apart."
    )
    if rate.high < _FEW_WRONG:
        start = "Few labels are wrong: cross-entropy, stopped early, may be as good."
        return Advice([DEFAULT, "cross_entropy"], f"{start} {end}")
    start = "Which labels are wrong depends on the class."
    if _is_confused_in_pairs(rate.transition_matrix):
        start += " Most wrong labels of a class are of one other: estimate the matrix."
        names = [DEFAULT, "forward_correction", "symmetric_cross_entropy"]
        return Advice(names, f"{start} {end}")
    names = [DEFAULT, "symmetric_cross_entropy", "generalized_cross_entropy"]
    return Advice(names, f"{start} {end}")


def _is_confused_in_pairs(matrix):
    """Whether most wrong labels of a class are of one other class."""
    if matrix is None or len(matrix) < 3:
        return False
    others = matrix.copy()
    others[range(len(others)), range(len(others))] = 0
    total = others.sum()
    return bool(total > 0 and others.max(axis=1).sum() / total > 0.5)
