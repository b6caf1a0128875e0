"""Train Keras classifiers on noisy labels."""

from typing import TYPE_CHECKING, Any

from keras_noisy.version import __version__

if TYPE_CHECKING:
    from keras_noisy.choice.advise import advise
    from keras_noisy.choice.robust_classifier import RobustClassifier
    from keras_noisy.diagnosis.diagnosis import Diagnosis
    from keras_noisy.diagnosis.find_wrong_labels import find_wrong_labels

__all__ = [
    "Diagnosis",
    "RobustClassifier",
    "__version__",
    "advise",
    "find_wrong_labels",
]


def __getattr__(name: str) -> Any:
    # With it comes all that it needs; who wants a loss alone does not wait for that.
    if name in ("Diagnosis", "find_wrong_labels"):
        from keras_noisy import diagnosis

        return getattr(diagnosis, name)
    if name in ("RobustClassifier", "advise"):
        from keras_noisy import choice

        return getattr(choice, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
