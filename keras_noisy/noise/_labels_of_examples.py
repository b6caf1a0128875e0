"""Several labels of an example, as labels of examples that have one each.

Label `l` of `L` of the example with id `i` has the id `L i + l`. Where each label has a
matrix of its own, its classes 0 and 1 are the classes `2 l` and `2 l + 1` of one large
matrix, in which no label turns into another.
"""

import numpy as np

from keras_noisy._checks.distributions import as_numbers
from keras_noisy._checks.errors import Described, describe_array, message
from keras_noisy._checks.matrices import MOST_CLASSES, check_transition_matrix

_MEND = "`noise.independent_flips` makes it."


def are_several(matrix):
    """Whether a transition matrix is an array of them, one for each label."""
    return np.ndim(matrix) == 3


def check_matrices(owner, matrices):
    """Return transition matrices `(num_labels, 2, 2)` as float64, or raise."""
    array = as_numbers(owner, "transition_matrix", matrices)
    fits = array.shape[1:] == (2, 2) and 0 < len(array) <= MOST_CLASSES // 2
    if not fits:
        expected = "of shape (num_classes, num_classes), or (num_labels, 2, 2)"
        received = describe_array(array)
        raise ValueError(message(owner, "transition_matrix", expected, received, _MEND))
    return np.stack([check_transition_matrix(owner, matrix) for matrix in array])


def one_matrix(matrices):
    """Return the matrix of all classes of all labels, `(2 L, 2 L)`."""
    count = len(matrices)
    matrix = np.zeros((count, 2, count, 2))
    labels = np.arange(count)
    matrix[labels, :, labels, :] = matrices
    return matrix.reshape(2 * count, 2 * count)


def check_multi_hot(owner, argument, labels, num_labels):
    """Raise unless an array holds 0 and 1 for each of `num_labels` labels."""
    expected = f"multi-hot labels (n, {num_labels}), a column for each matrix"
    if labels.shape[-1:] != (num_labels,):
        raise ValueError(message(owner, argument, expected, describe_array(labels)))
    if labels.dtype.kind not in "iub":
        mend = "Cast them to an integer dtype."
        raise TypeError(
            message(owner, argument, expected, describe_array(labels), mend)
        )
    if labels.size and not ((labels == 0) | (labels == 1)).all():
        low, high = labels.min(), labels.max()
        received = Described(f"array with values in [{low}, {high}]")
        mend = "Make the noise before labels go missing."
        raise ValueError(message(owner, argument, "labels 0 and 1", received, mend))


def ids_of(sample_ids, count):
    """Return the ids of `count` labels of each example, with a last axis of them."""
    labels = np.arange(count, dtype=np.uint64)
    ids = np.asarray(sample_ids).astype(np.uint64)[..., None]
    return ids * np.uint64(count) + labels
