"""A mixture of two beta distributions of the loss."""

import math

import numpy as np
import pytest

from keras_noisy import analysis
from keras_noisy.analysis.beta_mixture import EDGE

rng = np.random.default_rng(0)
RIGHT, WRONG = rng.beta(2, 12, 3000), rng.beta(9, 3, 1000)
LOSSES = 5 * np.append(RIGHT, WRONG)


def density(x, a, b):
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp((a - 1) * math.log(x) + (b - 1) * math.log(1 - x) - log_beta)


def test_against_a_loop():
    """Expectation maximisation, an example at a time."""
    mixture = analysis.beta_mixture(LOSSES, iterations=4)
    low, high = np.percentile(LOSSES, [5, 95])
    x = [v for v in LOSSES if low <= v <= high]
    x = [min(max((v - low) / (high - low), EDGE), 1 - EDGE) for v in x]
    parameters, weights = [(1, 2), (2, 1)], [0.5, 0.5]
    for _ in range(4):
        shares = []
        for value in x:
            both = [
                w * density(value, *p) for w, p in zip(weights, parameters, strict=True)
            ]
            shares.append([part / sum(both) for part in both])
        for k in range(2):
            total = sum(share[k] for share in shares)
            mean = sum(s[k] * v for s, v in zip(shares, x, strict=True)) / total
            spread = [s[k] * (v - mean) ** 2 for s, v in zip(shares, x, strict=True)]
            a = mean * (mean * (1 - mean) / (sum(spread) / total) - 1)
            parameters[k], weights[k] = (a, a * (1 - mean) / mean), total / len(x)
    np.testing.assert_allclose(mixture.alphas, [p[0] for p in parameters], rtol=1e-6)
    np.testing.assert_allclose(mixture.betas, [p[1] for p in parameters], rtol=1e-6)
    np.testing.assert_allclose(mixture.weights, weights, rtol=1e-6)
    assert (mixture.low, mixture.high) == (low, high)
    for loss in (0.5, 1.5, 3.0):
        value = (loss - low) / (high - low)
        both = [
            w * density(value, *p) for w, p in zip(weights, parameters, strict=True)
        ]
        expected = both[1] / sum(both)
        actual = float(mixture.wrong_label_probability(loss))
        assert actual == pytest.approx(expected, rel=1e-6)


def test_it_finds_wrong_labels():
    truth = np.arange(len(LOSSES)) >= len(RIGHT)
    for iterations, error, accuracy in ((10, 0.06, 0.97), (50, 0.03, 0.98)):
        mixture = analysis.beta_mixture(LOSSES, iterations=iterations)
        assert mixture.weights[1] == pytest.approx(0.25, abs=error)
        assert mixture.weights.sum() == pytest.approx(1)
        is_wrong = mixture.wrong_label_probability(LOSSES) > 0.5
        assert np.mean(is_wrong == truth) > accuracy


@pytest.mark.parametrize(
    ("alphas", "betas"),
    [([2, 5], [2, 3]), ([2, 3], [2, 3]), ([5, 3], [9, 2]), ([2, 9], [9, 2])],
)
def test_the_probability_never_falls_with_the_loss(alphas, betas):
    mixture = analysis.BetaMixture(
        np.array(alphas, float), np.array(betas, float), np.array([0.6, 0.4]), 0.5, 3.0
    )
    losses = np.linspace(-1, 5, 1001)
    probabilities = mixture.wrong_label_probability(losses)
    assert (np.diff(probabilities) >= -1e-12).all()
    assert probabilities[0] < probabilities[-1]
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_extreme_losses_are_finite():
    losses = np.concatenate([np.full(50, 1e-8), rng.uniform(0, 1, 100), [1e4, 1e5]])
    mixture = analysis.beta_mixture(losses, iterations=50)
    for values in (mixture.alphas, mixture.betas, mixture.weights):
        assert np.isfinite(values).all() and (values > 0).all()
    assert np.isfinite(mixture.wrong_label_probability([0, 1e-30, 1e9])).all()


def test_two_losses_and_nothing_between():
    mixture = analysis.beta_mixture([0.1] * 60 + [4.0] * 40)
    probabilities = mixture.wrong_label_probability([0.1, 4.0])
    np.testing.assert_allclose(probabilities, [0, 1], atol=1e-3)
    np.testing.assert_allclose(mixture.weights, [0.6, 0.4], atol=1e-3)


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ([], "finite numbers of shape"),
        ([1.0], "finite numbers of shape"),
        ([[1.0, 2.0]], "finite numbers of shape"),
        ([1.0, np.nan], "losses=nan"),
        ([1.0, np.inf], "losses=inf"),
        (np.ones(100), "5th and 95th percentiles are the same"),
    ],
)
def test_bad_losses(losses, text):
    with pytest.raises(ValueError, match=rf"^beta_mixture: `losses`.*{text}"):
        analysis.beta_mixture(losses)
    with pytest.raises(ValueError, match="`iterations` must be a positive"):
        analysis.beta_mixture([1.0, 2.0], iterations=0)
