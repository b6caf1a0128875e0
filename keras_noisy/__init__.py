"""Train Keras classifiers on noisy labels."""

from typing import TYPE_CHECKING, Any

from keras_noisy.version import __version__

if TYPE_CHECKING:
    from keras_noisy.diagnosis.diagnosis import Diagnosis
    from keras_noisy.diagnosis.find_wrong_labels import find_wrong_labels

__all__ = ["Diagnosis", "__version__", "find_wrong_labels"]


def __getattr__(name: str) -> Any:
    # With it comes all that it needs; who wants a loss alone does not wait for that.
    if name in ("Diagnosis", "find_wrong_labels"):
        from keras_noisy import diagnosis

        return getattr(diagnosis, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
