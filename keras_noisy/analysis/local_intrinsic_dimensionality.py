"""How many dimensions a network's representation of the data has."""

from __future__ import annotations

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers
from keras_noisy._typing import ArrayLike, FloatArray


def local_intrinsic_dimensionality(
    representations: ArrayLike, *, k: int = 20
) -> FloatArray:
    """Dimension of the space around each point, from the distances of its neighbours.

    In a space of `d` dimensions the number of neighbours within a distance `r` grows
    with `r^d`. With `r_1 <= ... <= r_k` the Euclidean distances to the `k` nearest
    points, the maximum likelihood estimate of `d` is

        LID = -1 / ((1/k) sum_i log(r_i / r_k))

    While a network learns what examples have in common, the dimension of their
    representations falls; when it begins to fit wrong labels, it rises.

    Args:
        representations: `(n, d)`, one row for each example, for instance the inputs of
            the last layer. All pairs of rows are compared: pass some hundreds.
        k: Number of neighbours, at least 2 and less than `n`.

    Returns:
        One float64 for each example, infinite where all neighbours are equally far
        away. Rows that are equal, up to the rounding of their dtype, tell nothing and
        do not count as neighbours; NaN where fewer than two others are left.

    Raises:
        ValueError: If `representations` is no matrix or not finite or holds numbers
            from 1e150 on, or `k` is out of range.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import analysis
        >>> line = np.random.default_rng(0).random((500, 1)) @ np.ones((1, 10))
        >>> round(analysis.local_intrinsic_dimensionality(line, k=100).mean())
        1

    Reference:
        Amsaleg et al., "Estimating Local Intrinsic Dimensionality", KDD 2015; Ma et
        al., "Dimensionality-Driven Learning with Noisy Labels", ICML 2018, Eq. 3.
    """
    owner = "local_intrinsic_dimensionality"
    points = as_numbers(owner, "representations", representations)
    dtype = points.dtype if points.dtype.kind == "f" else np.dtype("float64")
    points = points.astype("float64")
    # Squares of larger numbers overflow.
    if points.ndim != 2 or not (np.abs(points) < 1e150).all():
        expected = "a finite matrix (n, d) of numbers below 1e150"
        received = errors.describe_array(points)
        raise ValueError(errors.message(owner, "representations", expected, received))
    k = errors.check_count(owner, "k", k, low=2)
    if k >= len(points):
        expected = f"less than {len(points)}, the number of rows"
        raise ValueError(errors.message(owner, "k", expected, k))
    distances = _distances(points, float(np.finfo(dtype).eps))
    nearest = np.partition(distances, k - 1, axis=1)[:, :k]
    nearest[np.isinf(nearest)] = np.nan
    # NaN where no neighbour is left.
    farthest = np.fmax.reduce(nearest, axis=1, keepdims=True)
    logs = np.log(nearest / farthest)
    count = np.count_nonzero(~np.isnan(logs), axis=1)
    total = np.nansum(logs, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # `0 -` for 0.0, not -0.0: equal distances are those of infinite dimension.
        return np.where(count < 2, np.nan, count / (0 - total))


def _distances(points, precision):
    """Return Euclidean distances, infinite from each row to those equal to it."""
    # Rounding of the rows that were given, of two equal ones each in its own way.
    scale = np.sum(points * points, axis=1)
    rounding = precision**2 * (scale[:, None] + scale)
    # Around the mean, where the differences of squares lose fewest digits.
    centred = points - points.mean(axis=0)
    squares = np.sum(centred * centred, axis=1)
    squared = squares[:, None] + squares - 2 * centred @ centred.T
    np.fill_diagonal(squared, np.inf)
    has_lost_digits = (squared < 1e-6 * (squares[:, None] + squares)).any(axis=1)
    for row in np.flatnonzero(has_lost_digits):
        squared[row] = np.sum((points - points[row]) ** 2, axis=1)
    np.fill_diagonal(squared, np.inf)
    return np.sqrt(np.where(squared <= rounding, np.inf, squared))
