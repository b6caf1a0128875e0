"""Row by row work on predictions that are too large to copy."""

import numpy as np

from keras_noisy._checks.errors import Described, message

_BYTES = 1 << 25


def chunks(array):
    """Yield slices of rows of `array`, some megabytes of float64 each."""
    rows = max(1, _BYTES // (8 * max(1, int(np.prod(array.shape[1:])))))
    for start in range(0, len(array), rows):
        yield slice(start, min(start + rows, len(array)))


def as_array(values):
    """Return `values` as an array; a memory map stays on disk."""
    return values if isinstance(values, np.ndarray) else np.asarray(values)


def check_largest(owner, argument, rows):
    """Raise unless each row has a largest number.

    Minus infinity beside a number is a class that is masked.
    """
    if not np.isfinite(rows.max(axis=-1)).all():
        expected = "numbers, with a largest one in each row"
        mend = "A training that has diverged predicts them: lower the learning rate."
        received = Described("NaN or infinity")
        raise ValueError(message(owner, argument, expected, received, mend))


def rounds_of(soft_labels):
    """Return the soft labels of each round, given those of one or a list of them."""
    is_one = getattr(soft_labels, "ndim", np.ndim(soft_labels[0]) + 1) == 2
    return [soft_labels] if is_one else list(soft_labels)
