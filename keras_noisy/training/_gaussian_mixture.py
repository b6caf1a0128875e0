"""Which losses are small ones: a mixture of two normal distributions."""

from __future__ import annotations

import numpy as np

from keras_noisy._typing import FloatArray

# What is added to the variances of losses in [0, 1], as the authors of DivideMix do: a
# component does not shrink to a single loss.
_LEAST_VARIANCE = 5e-4
_STEPS = 10
_LEAST = 1e-300


def small_probability(losses: FloatArray) -> FloatArray:
    """Return how probable it is that each loss is of the component of smaller mean.

    Losses are scaled to [0, 1]. Expectation maximisation takes ten steps, as the
    authors of DivideMix do, from the two means of k-means: where right and wrong labels
    are hardly apart yet, it would move on to the few largest losses.

    The probability never rises with the loss. A loss below the smaller mean is as
    probable as that mean; otherwise, where the wider component is denser in both tails,
    the smallest losses would not be small ones.

    Args:
        losses: Finite float64 `(n,)`.

    Returns:
        float64 `(n,)`; ones where all losses are the same.
    """
    low, high = losses.min(), losses.max()
    if not high > low:
        return np.ones_like(losses)
    x = (losses - low) / (high - low)
    means, variances, weights = _fit(x)
    small = np.argmin(means)
    x = np.maximum(x, means[small])
    densities = _densities(x, means, variances, weights)
    order = np.argsort(x, kind="stable")
    probability = np.empty_like(x)
    falling = densities[small][order] / densities.sum(axis=0)[order]
    probability[order] = np.minimum.accumulate(falling)
    return probability


def _fit(x):
    """Return means, variances and weights, `(2,)` each."""
    is_small = _nearer_to_smaller(x)
    shares = np.stack([is_small, ~is_small]).astype("float64")
    means, variances, weights = _moments(x, shares)
    for _ in range(_STEPS):
        densities = _densities(x, means, variances, weights)
        means, variances, weights = _moments(x, densities / densities.sum(axis=0))
    return means, variances, weights


def _nearer_to_smaller(x):
    """Return which losses are nearer to the smaller of two means of the nearest."""
    limit = before = 0.5
    for _ in range(100):
        # The smallest is 0 and the largest 1, so that neither side is empty.
        limit = (x[x <= before].mean() + x[x > before].mean()) / 2
        if limit == before:
            break
        before = limit
    return x <= limit


def _moments(x, shares):
    sizes = np.maximum(shares.sum(axis=1), _LEAST)
    means = shares @ x / sizes
    squares = (shares * (x - means[:, None]) ** 2).sum(axis=1)
    return means, squares / sizes + _LEAST_VARIANCE, sizes / sizes.sum()


def _densities(x, means, variances, weights):
    """Return weighted densities `(2, n)` up to a constant, never zero."""
    distances = (x - means[:, None]) ** 2 / variances[:, None]
    scales = weights / np.sqrt(variances)
    return np.maximum(scales[:, None] * np.exp(-distances / 2), _LEAST)
