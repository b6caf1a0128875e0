"""Which labels are wrong, by a mixture of two distributions of the loss."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from keras_noisy._checks.distributions import as_numbers
from keras_noisy._checks.errors import check_count, describe_array, message
from keras_noisy._checks.numbers import optional
from keras_noisy._typing import ArrayLike, FloatArray

_OWNER = "beta_mixture"
# The published procedure scales losses by these percentiles.
LOW_PERCENTILE, HIGH_PERCENTILE = 5, 95
# So many times their distance do losses count that lie outside of them: no outlier sets
# the scale, and the few losses of rare wrong labels are seen.
_FENCE = 3
# Scaled losses lie in [EDGE, 1 - EDGE]: a beta distribution has no density at 0 and 1.
EDGE = 1e-3
# As little does an example belong to a component at least.
_LEAST = 1e-12
# A component that has shrunk to one loss, such as zero, keeps this variance: it must
# not explain that so well that the likelihood prefers it to two kinds of examples.
_LEAST_VARIANCE = 1e-5
# Fits of which a component has less are taken for fits of outliers.
_LEAST_WEIGHT = 0.01
# To convergence: the weights change by less, or so many steps have been made.
_TOLERANCE, _MOST_STEPS = 1e-6, 1000
# Shares of the largest losses that a fit begins with as those of wrong labels.
_STARTS = (0.05, 0.2, 0.5, 0.8, 0.95)


@dataclasses.dataclass(frozen=True, eq=False)
class BetaMixture:
    """Two beta distributions of the scaled loss: of right labels, and of wrong ones.

    Attributes:
        alphas: First parameters `(2,)`; the second component is the one of larger mean.
        betas: Second parameters `(2,)`.
        weights: Shares of the components `(2,)`; the second is an estimate of the
            noise rate.
        low: Loss that is scaled to 0.
        high: Loss that is scaled to 1.
    """

    alphas: FloatArray
    betas: FloatArray
    weights: FloatArray
    low: float
    high: float

    def wrong_label_probability(self, losses: ArrayLike) -> FloatArray:
        """Return the probability that each label is wrong, float64 of the same shape.

        It never falls with the loss: where the quotient of the two densities would, it
        stays at its largest value.

        Args:
            losses: Losses of any shape, such as those that the mixture was fitted to.
        """
        constant, slope_low, slope_high = self.log_odds()
        low, high = self.turning_points()
        losses = as_numbers("BetaMixture", "losses", losses).astype("float64")
        x = np.clip((losses - self.low) / (self.high - self.low), low, high)
        log_odds = constant + slope_low * np.log(x) + slope_high * np.log1p(-x)
        # The logistic function, without an exponential that overflows.
        return np.asarray((1 + np.tanh(log_odds / 2)) / 2)

    def log_odds(self) -> tuple[float, float, float]:
        """Return `(c, a, b)`: log-odds are `c + a log x + b log(1 - x)`."""
        constants = np.log(self.weights) - [
            _log_beta(a, b) for a, b in zip(self.alphas, self.betas, strict=True)
        ]
        (slope_low,), (slope_high,) = np.diff(self.alphas), np.diff(self.betas)
        return float(constants[1] - constants[0]), float(slope_low), float(slope_high)

    def turning_points(self) -> tuple[float, float]:
        """Return between which scaled losses the probability rises."""
        _, slope_low, slope_high = self.log_odds()
        low, high = EDGE, 1 - EDGE
        if slope_low * slope_high > 0:
            turn = min(max(slope_low / (slope_low + slope_high), low), high)
            # Both positive: the quotient has a maximum there, both negative: a minimum.
            low, high = (low, turn) if slope_low > 0 else (turn, high)
        return low, high


def beta_mixture(losses: ArrayLike, *, iterations: int | None = None) -> BetaMixture:
    """Fit a mixture of two beta distributions to the losses of training examples.

    In the middle of a training examples with right labels have small losses and those
    with wrong ones large losses. Losses are scaled to [0, 1], and expectation
    maximisation with weighted moments finds the two distributions:

        E: r_k = w_k beta(x; a_k, b_k) / sum_j w_j beta(x; a_j, b_j)
        M: mean m and variance v of x weighted by r_k,
           a_k = m (m (1 - m) / v - 1),  b_k = a_k (1 - m) / m,  w_k = mean r_k

    By default it runs until the weights stay the same, from several starts, and the
    fit of largest likelihood is returned. All losses count; those that lie far outside
    of the 5th and 95th percentiles, by three times their distance, are moved there.

    With `iterations` it is the published procedure: so many steps from one start,
    losses scaled by the 5th and 95th percentiles, and the examples outside left out.
    Ten steps, as published, have not converged, and draw the weights towards one half.

    Args:
        losses: Cross-entropy of each example with its label, `(n,)`, finite.
        iterations: Steps of the published procedure, which has 10; by default None,
            to convergence.

    Returns:
        A `BetaMixture`, whose `wrong_label_probability` says which labels are wrong.

    Raises:
        ValueError: If `losses` are not finite, fewer than two, or all equal; with
            `iterations`, if most of them are equal.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import analysis
        >>> rng = np.random.default_rng(0)
        >>> losses = np.append(rng.beta(2, 8, 800), rng.beta(8, 2, 200))
        >>> mixture = analysis.beta_mixture(losses)
        >>> round(float(mixture.weights[1]), 1)
        0.2
        >>> wrong = mixture.wrong_label_probability([0.1, 0.9]) > 0.5
        >>> wrong.tolist()
        [False, True]

    Note:
        Two distributions are found in any losses: without wrong labels the second one
        takes hard examples. Where the losses of right and wrong labels overlap much,
        the weights say nothing of the noise rate.

    Reference:
        Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML
        2019.
    """
    iterations = optional(check_count)(_OWNER, "iterations", iterations)
    losses = as_numbers(_OWNER, "losses", losses).astype("float64")
    expected = "finite numbers of shape (n,), at least two"
    if losses.ndim != 1 or len(losses) < 2:
        raise ValueError(message(_OWNER, "losses", expected, describe_array(losses)))
    # Differences of larger numbers overflow.
    is_finite = np.abs(losses) < 1e300
    if not is_finite.all():
        value = float(losses[~is_finite][0])
        raise ValueError(message(_OWNER, "losses", expected, value))
    low, high = loss_range(losses, iterations)
    if not high > low:
        expected = "different"
        if iterations is not None:
            expected += ": their 5th and 95th percentiles are the same"
        raise ValueError(message(_OWNER, "losses", expected, low))
    x = (losses - low) / (high - low)
    fit = _converged(x) if iterations is None else _published(x, iterations)
    alphas, betas, weights = fit
    return BetaMixture(alphas, betas, weights, low, high)


def loss_range(losses: FloatArray, iterations: int | None) -> tuple[float, float]:
    """Return the losses that are scaled to 0 and to 1."""
    low, high = np.percentile(losses, [LOW_PERCENTILE, HIGH_PERCENTILE])
    if iterations is None:
        lowest, highest = losses.min(), losses.max()
        fence = _FENCE * (high - low) or np.inf
        low, high = max(lowest, low - fence), min(highest, high + fence)
    return float(low), float(high)


def _published(x, iterations):
    """Return the parameters after so many steps from the published start."""
    inside = (x >= 0) & (x <= 1)
    # Of two or three losses nothing need lie between the percentiles.
    x = np.clip(x[inside] if inside.any() else x, EDGE, 1 - EDGE)
    start = np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([0.5, 0.5])
    return _fit(x, np.ones_like(x), start, iterations)[0]


def _converged(x):
    """Return the parameters of largest likelihood that several starts lead to."""
    # As exact as EDGE is, and as fast for a million examples as for a thousand.
    x = np.round(np.clip(x, EDGE, 1 - EDGE), 3)
    x, counts = np.unique(x, return_counts=True)
    order = np.cumsum(counts) / counts.sum()
    fits = []
    for share in _STARTS:
        # At least the lowest loss is low.
        is_high = order > max(1 - share, order[0])
        start = _moments(x, np.stack([~is_high, is_high]) * counts)
        fits.append(_fit(x, counts, start, _MOST_STEPS, _TOLERANCE))
    return max(fits, key=lambda fit: (fit[0][2].min() >= _LEAST_WEIGHT, fit[1]))[0]


def _fit(x, counts, start, iterations, tolerance=0.0):
    """Return parameters, the component of larger mean last, and the log-likelihood."""
    alphas, betas, weights = start
    log_x, log_rest = np.log(x), np.log1p(-x)
    for _ in range(iterations):
        before = weights
        densities = _densities(log_x, log_rest, alphas, betas, weights)
        shares = np.maximum(densities, _LEAST)
        alphas, betas, weights = _moments(x, shares / shares.sum(axis=0) * counts)
        if np.abs(weights - before).max() < tolerance:
            break
    densities = _densities(log_x, log_rest, alphas, betas, weights)
    likelihood = float(np.log(np.maximum(densities.sum(axis=0), _LEAST)) @ counts)
    order = np.argsort(alphas / (alphas + betas), kind="stable")
    return (alphas[order], betas[order], weights[order]), likelihood


def _densities(log_x, log_rest, alphas, betas, weights):
    return np.stack(
        [
            w * np.exp((a - 1) * log_x + (b - 1) * log_rest - _log_beta(a, b))
            for w, a, b in zip(weights, alphas, betas, strict=True)
        ]
    )


def _moments(x, shares):
    """Return parameters from how much of each value belongs to each component."""
    sizes = shares.sum(axis=1)
    means = shares @ x / sizes
    squares = (shares * (x - means[:, None]) ** 2).sum(axis=1)
    variances = np.maximum(squares / sizes, _LEAST_VARIANCE)
    alphas = means * (means * (1 - means) / variances - 1)
    return alphas, alphas * (1 - means) / means, sizes / sizes.sum()


def _log_beta(a, b):
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
