"""Which labels are wrong, by a mixture of two distributions of the loss."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from keras_noisy._errors import check_count, describe_array, message
from keras_noisy._typing import ArrayLike, FloatArray

_OWNER = "beta_mixture"
# Losses are scaled by these percentiles, so that no outlier sets the scale.
LOW_PERCENTILE, HIGH_PERCENTILE = 5, 95
# Scaled losses lie in [EDGE, 1 - EDGE]: a beta distribution has no density at 0 and 1.
EDGE = 1e-3
# As little does an example belong to a component at least.
_LEAST = 1e-12


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
        losses = np.asarray(losses, "float64")
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


def beta_mixture(losses: ArrayLike, *, iterations: int = 10) -> BetaMixture:
    """Fit a mixture of two beta distributions to the losses of training examples.

    In the middle of a training examples with right labels have small losses and those
    with wrong ones large losses. Losses are scaled by their 5th and 95th percentiles,
    the examples outside are left out, and expectation maximisation with weighted
    moments finds the two distributions:

        E: r_k = w_k beta(x; a_k, b_k) / sum_j w_j beta(x; a_j, b_j)
        M: mean m and variance v of x weighted by r_k,
           a_k = m (m (1 - m) / v - 1),  b_k = a_k (1 - m) / m,  w_k = mean r_k

    Args:
        losses: Cross-entropy of each example with its label, `(n,)`, finite.
        iterations: Steps of expectation maximisation.

    Returns:
        A `BetaMixture`, whose `wrong_label_probability` says which labels are wrong.

    Raises:
        ValueError: If `losses` are not finite, fewer than two, or if most of them are
            equal.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import analysis
        >>> rng = np.random.default_rng(0)
        >>> losses = np.append(rng.beta(2, 8, 800), rng.beta(8, 2, 200))
        >>> mixture = analysis.beta_mixture(losses)
        >>> wrong = mixture.wrong_label_probability([0.1, 0.9]) > 0.5
        >>> wrong.tolist()
        [False, True]

    Reference:
        Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML
        2019.
    """
    iterations = check_count(_OWNER, "iterations", iterations)
    losses = np.asarray(losses, "float64")
    expected = "finite numbers of shape (n,), at least two"
    if losses.ndim != 1 or len(losses) < 2:
        raise ValueError(message(_OWNER, "losses", expected, describe_array(losses)))
    if not np.isfinite(losses).all():
        value = float(losses[~np.isfinite(losses)][0])
        raise ValueError(message(_OWNER, "losses", expected, value))
    low, high = loss_range(losses)
    if not high > low:
        expected = "different: their 5th and 95th percentiles are the same"
        raise ValueError(message(_OWNER, "losses", expected, low))
    inside = losses[(losses >= low) & (losses <= high)]
    x = np.clip((inside - low) / (high - low), EDGE, 1 - EDGE)
    alphas, betas, weights = _fit(x, iterations)
    return BetaMixture(alphas, betas, weights, low, high)


def loss_range(losses: FloatArray) -> tuple[float, float]:
    """Return the losses that are scaled to 0 and to 1."""
    low, high = np.percentile(losses, [LOW_PERCENTILE, HIGH_PERCENTILE])
    return float(low), float(high)


def _fit(x, iterations):
    """Return the parameters of two components, the one of larger mean last."""
    alphas, betas = np.array([1.0, 2.0]), np.array([2.0, 1.0])
    weights = np.array([0.5, 0.5])
    log_x, log_rest = np.log(x), np.log1p(-x)
    for _ in range(iterations):
        densities = np.stack(
            [
                w * np.exp((a - 1) * log_x + (b - 1) * log_rest - _log_beta(a, b))
                for w, a, b in zip(weights, alphas, betas, strict=True)
            ]
        )
        shares = np.maximum(densities, _LEAST)
        shares /= shares.sum(axis=0)
        weights = shares.mean(axis=1)
        means = shares @ x / shares.sum(axis=1)
        squares = (shares * (x - means[:, None]) ** 2).sum(axis=1)
        # A component that has shrunk to one loss keeps a width.
        variances = np.maximum(squares / shares.sum(axis=1), 1e-8)
        alphas = means * (means * (1 - means) / variances - 1)
        betas = alphas * (1 - means) / means
    order = np.argsort(alphas / (alphas + betas), kind="stable")
    return alphas[order], betas[order], weights[order]


def _log_beta(a, b):
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
