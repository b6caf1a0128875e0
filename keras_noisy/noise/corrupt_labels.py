"""Class-conditional label noise on an array of labels."""

from __future__ import annotations

import math
import warnings

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_class_ids, check_labels, check_sample_ids
from keras_noisy._checks.matrices import check_transition_matrix
from keras_noisy._typing import ArrayLike
from keras_noisy.noise import _labels_of_examples
from keras_noisy.noise._alias_tables import build_alias_table, draw_numpy
from keras_noisy.noise._hashing import (
    STREAM_BERNOULLI,
    STREAM_EXACT,
    STREAM_TIES,
    check_seed,
    derive_keys,
    hash_numpy,
)
from keras_noisy.noise.noisy_labels import NoisyLabels, of_fresh_arrays

_OWNER = "corrupt_labels"
_CHUNK = 1 << 15


def corrupt_labels(
    labels: ArrayLike,
    transition_matrix: ArrayLike,
    *,
    seed: int | None = None,
    exact: bool = True,
    sample_ids: ArrayLike | None = None,
) -> NoisyLabels:
    """Replace labels at random, as a transition matrix says.

    A sample's noisy label is decided once: it follows from the seed, the sample's id
    and its clean label (with `exact=True` also from the other samples of its class),
    and is the same in every process and on every machine, for every integer dtype.

    With `exact=True`, of the `n_i` examples of class `i` exactly
    `floor(r_i * n_i + 1/2)` flip, where `r_i = 1 - T[i, i]`. They are shared among the
    other classes in proportion to `T[i, j]` by largest remainder; equal remainders are
    served in an order that the seed shuffles. The seed also decides which examples
    flip; for the same seed, those of a lower rate are among those of a higher one. A
    warning names classes so small that none of their labels flips, or all do.

    With `exact=False` every label is drawn from row `T[i]` on its own, so counts
    scatter as a binomial does. This is what `LabelNoise` does in a stream, and the
    result is the same, sample by sample.

    Multi-hot labels `(n, L)` take a matrix for each label, `(L, 2, 2)`: labels then
    flip independently of each other. Of maps `(n, height, width)` and other arrays of
    three dimensions and more, each entry is a label that flips by itself.

    Args:
        labels: Clean class ids, shape `(n,)` or `(n, 1)`, any integer dtype that can
            hold `C - 1`. Or multi-hot labels `(n, L)`, or maps of class ids.
        transition_matrix: `(C, C)`, `T[i, j] = P(noisy = j | clean = i)`; see
            `symmetric`, `pair_flip`, `asymmetric` and `within_groups`. For multi-hot
            labels `(L, 2, 2)`; see `independent_flips`.
        seed: Integer in [0, 2**63).
        exact: Whether the numbers of flips are exact or random.
        sample_ids: Non-negative integers, one per example, all different; by default
            the position `0 ... n - 1`. Pass the ids of the original data set to give
            the samples of a subset or of a shuffled copy the same draws.

    Returns:
        `NoisyLabels`, with arrays of the shape of `labels`, `(n,)` for a column, and of
        their dtype.

    Example:
    >>> result = corrupt_labels([0, 0, 0, 0, 1, 1], pair_flip(2, 0.5), seed=0)
    >>> result.rate
    0.5
    >>> result.transition_matrix
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    seed = check_seed(_OWNER, seed)
    errors.check_bool(_OWNER, "exact", exact)
    flip = _flip_exactly if exact else _draw_each
    name = "class {0}".format
    if _labels_of_examples.are_several(transition_matrix):
        matrices = _labels_of_examples.check_matrices(_OWNER, transition_matrix)
        array = np.atleast_1d(errors.as_array(labels))
        # A row alone is not one example of many labels.
        array = array if array.ndim > 1 else array[:, None]
        _labels_of_examples.check_multi_hot(_OWNER, "labels", array, len(matrices))
        clean, first = np.array(array), 2 * np.arange(len(matrices))
        matrix = _labels_of_examples.one_matrix(matrices)
        ids = _ids_of_entries(clean, sample_ids)
        noisy = flip((clean + first).ravel(), matrix, seed, ids, _name_of_state)
        noisy = (noisy.reshape(clean.shape) - first).astype(clean.dtype)
        return of_fresh_arrays(noisy, clean, 2)
    matrix = check_transition_matrix(_OWNER, transition_matrix)
    array = errors.as_array(labels)
    if array.ndim > 2:
        flat = _check_labels(array.ravel(), len(matrix))
        ids = _ids_of_entries(array, sample_ids)
        noisy = flip(flat, matrix, seed, ids, name)
        noisy, clean = (each.reshape(array.shape) for each in (noisy, flat))
        return of_fresh_arrays(noisy, clean, len(matrix))
    clean = _check_labels(labels, len(matrix))
    if sample_ids is not None:
        sample_ids = check_sample_ids(
            _OWNER, "sample_ids", errors.as_array(sample_ids), clean.shape
        )
    noisy = flip(clean, matrix, seed, sample_ids, name)
    return of_fresh_arrays(noisy, clean, len(matrix))


def _name_of_state(state):
    """Return what one of the classes of `_labels_of_examples.one_matrix` is."""
    return f"label {state // 2} that are {state % 2}"


def _ids_of_entries(labels, sample_ids):
    """Return an id for each entry of an array of labels, flat; None for positions."""
    if sample_ids is None:
        return None
    ids = errors.as_array(sample_ids)
    check_sample_ids(_OWNER, "sample_ids", ids, labels.shape[:1])
    count = int(np.prod(labels.shape[1:]))
    return _labels_of_examples.ids_of(ids, count).ravel()


def _check_labels(labels, num_classes):
    """Return a new contiguous array `(n,)` of valid class ids, or raise."""
    array = check_labels(_OWNER, "labels", labels, num_classes=num_classes)
    check_class_ids(_OWNER, "labels", array, num_classes)
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _draw_each(clean, matrix, seed, sample_ids, name):
    table = build_alias_table(matrix)
    keys = derive_keys(seed, STREAM_BERNOULLI)
    noisy = np.empty_like(clean)
    for start in range(0, clean.size, _CHUNK):
        part = slice(start, min(start + _CHUNK, clean.size))
        if sample_ids is None:
            ids = np.arange(part.start, part.stop)
        else:
            ids = sample_ids[part]
        noisy[part] = draw_numpy(table, hash_numpy(ids, keys), clean[part])
    return noisy


def _flip_exactly(clean, matrix, seed, sample_ids, name):
    num_classes = len(matrix)
    noisy = clean.copy()
    # NumPy sorts 16-bit integers by radix, in linear time.
    compact = clean.astype(np.uint16 if num_classes <= 1 << 16 else np.int64)
    sizes = np.zeros(num_classes, dtype=np.int64)
    for start in range(0, compact.size, _CHUNK):
        sizes += np.bincount(compact[start : start + _CHUNK], minlength=num_classes)
    by_class = np.argsort(compact, kind="stable")
    del compact
    ends = np.cumsum(sizes)
    counts = _target_counts(matrix, sizes, seed, name)
    keys = derive_keys(seed, STREAM_EXACT)
    for label in np.flatnonzero(counts.any(axis=1)):
        members = by_class[ends[label] - sizes[label] : ends[label]]
        ids = members if sample_ids is None else sample_ids[members]
        lottery = hash_numpy(ids, keys)
        order = np.argsort(lottery)
        if sample_ids is not None:
            # Different ids have different hashes.
            drawn = lottery[order]
            same = np.flatnonzero(drawn[1:] == drawn[:-1])
            if same.size:
                repeated = int(ids[order[same[0]]])
                expected = "different for every label when exact=True"
                received = errors.Described(f"array with {repeated} more than once")
                raise ValueError(message(_OWNER, "sample_ids", expected, received))
        targets = np.flatnonzero(counts[label])
        flipped = np.repeat(targets, counts[label, targets])
        noisy[members[order[: flipped.size]]] = flipped
    return noisy


def _target_counts(matrix, sizes, seed, name):
    """Return how many examples of each class (row) flip to each class (column)."""
    num_classes = len(matrix)
    off_diagonal = matrix.copy()
    np.fill_diagonal(off_diagonal, 0.0)
    # fsum is exact, so that the counts do not depend on the machine.
    flip_mass = np.array([math.fsum(row) for row in off_diagonal.tolist()])
    rates = flip_mass / (flip_mass + matrix.diagonal())
    # The small term makes 1 - (1 - 0.15) times 10 the half that was meant.
    num_flips = np.floor(rates * sizes * (1 + 1e-12) + (0.5 + 1e-9)).astype(np.int64)
    num_flips = np.where(rates > 0, np.minimum(num_flips, sizes), 0)
    _warn_of_rounding(rates, sizes, num_flips, name)

    scale = num_flips / np.where(flip_mass > 0, flip_mass, 1.0)
    quotas = off_diagonal * scale[:, None]
    counts = np.floor(quotas).astype(np.int64)
    missing = num_flips - counts.sum(axis=1)
    # One sortable integer: 30 bits of the remainder, descending (values that differ by
    # rounding alone are equal), then 34 random bits.
    remainders = np.rint((quotas - counts) * (1 << 29)).astype(np.uint64)
    lottery = hash_numpy(
        np.arange(num_classes**2).reshape(num_classes, num_classes),
        derive_keys(seed, STREAM_TIES),
    )
    priority = (np.uint64(1 << 29) - remainders) << np.uint64(34)
    priority |= lottery >> np.uint64(30)
    priority[off_diagonal == 0] = np.iinfo(np.uint64).max
    served = np.argsort(priority, axis=1)
    is_served = np.arange(num_classes) < missing[:, None]
    rows = np.broadcast_to(np.arange(num_classes)[:, None], served.shape)
    counts[rows[is_served], served[is_served]] += 1
    return counts


def _warn_of_rounding(rates, sizes, num_flips, name):
    """Warn of classes that rounding leaves without noise, or without a right label."""
    is_meant = (rates > 0) & (rates < 1) & (sizes > 0)
    rounded = np.flatnonzero(is_meant & ((num_flips == 0) | (num_flips == sizes)))
    if rounded.size:
        first = rounded[0]
        warnings.warn(
            f"{_OWNER}: exact=True rounds {rates[first] * sizes[first]:.3g} of the "
            f"{sizes[first]} examples of {name(first)} to {num_flips[first]}, and "
            f"{rounded.size} of {np.count_nonzero(sizes)} classes in all to none or to "
            "all of their examples. Pass exact=False to draw every label by itself.",
            stacklevel=4,
        )
