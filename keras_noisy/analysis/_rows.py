"""Rows of predictions: the largest of each, and those of several rounds."""

import numpy as np

from keras_noisy._checks.distributions import as_numbers, as_predictions
from keras_noisy._checks.errors import Described, message


def check_largest(owner, argument, rows):
    """Raise unless each row has a largest number.

    Minus infinity beside a number is a class that is masked.
    """
    if not np.isfinite(rows.max(axis=-1)).all():
        expected = "numbers, with a largest one in each row"
        mend = "A training that has diverged predicts them: lower the learning rate."
        received = Described("NaN or infinity")
        raise ValueError(message(owner, argument, expected, received, mend))


def rounds_of(owner, argument, soft_labels):
    """Return the soft labels of each round, given those of one or a list of them."""
    is_list = isinstance(soft_labels, (list, tuple)) and len(soft_labels) > 0
    if not is_list or getattr(soft_labels[0], "ndim", 0) != 2:
        soft_labels = as_numbers(owner, argument, soft_labels)
        soft_labels = soft_labels if soft_labels.ndim == 3 else [soft_labels]
    return [as_predictions(owner, argument, soft) for soft in soft_labels]
