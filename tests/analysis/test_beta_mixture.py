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


@pytest.mark.parametrize("iterations", [None, 10])
@pytest.mark.parametrize("counts", [(60, 40), (1, 1), (13, 11), (90, 10), (97, 3)])
def test_two_losses_and_nothing_between(counts, iterations):
    losses = np.repeat([0.1, 0.9], counts)
    if iterations and counts == (97, 3):
        pytest.skip("The published percentiles are equal.")
    mixture = analysis.beta_mixture(losses, iterations=iterations)
    probabilities = mixture.wrong_label_probability([0.1, 0.9])
    np.testing.assert_allclose(probabilities, [0, 1], atol=2e-3)
    np.testing.assert_allclose(
        mixture.weights, np.divide(counts, sum(counts)), atol=0.01
    )


def generated(kind, share, size=5000, seed=0):
    """Return losses of which a share is that of wrong labels."""
    generator = np.random.default_rng(seed)
    wrong = round(share * size)
    right = size - wrong
    if kind == "beta":
        return np.append(generator.beta(2, 8, right), generator.beta(8, 2, wrong))
    if kind == "close":
        return np.append(generator.beta(2, 5, right), generator.beta(5, 2, wrong))
    return np.append(generator.gamma(1.0, 0.2, right), generator.gamma(9.0, 0.4, wrong))


@pytest.mark.parametrize("kind", ["beta", "gamma"])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_weights_are_recovered(kind, share, seed):
    losses = generated(kind, share, seed=seed)
    mixture = analysis.beta_mixture(losses)
    assert mixture.weights[1] == pytest.approx(share, abs=0.01)
    # The published ten steps draw them to one half.
    ten = analysis.beta_mixture(losses, iterations=10).weights[1]
    assert kind == "gamma" or share == 0.5 or share + 0.02 < ten < 0.5


def test_strong_noise_is_recovered_too():
    assert analysis.beta_mixture(generated("beta", 0.8)).weights[1] == pytest.approx(
        0.8, abs=0.01
    )
    assert analysis.beta_mixture(generated("beta", 0.95)).weights[1] == pytest.approx(
        0.95, abs=0.01
    )


def test_what_it_cannot_see():
    """Losses that overlap much, and no wrong labels at all."""
    assert analysis.beta_mixture(generated("close", 0.1)).weights[1] > 0.2
    assert analysis.beta_mixture(generated("close", 0.8)).weights[1] < 0.6
    assert analysis.beta_mixture(generated("close", 0.0)).weights[1] > 0.05


def test_convergence_is_a_fixed_point():
    losses = generated("beta", 0.3)
    mixture = analysis.beta_mixture(losses)
    x = np.clip((losses - mixture.low) / (mixture.high - mixture.low), EDGE, 1 - EDGE)
    # Of three digits, as in the fit.
    x = np.round(x, 3)
    both = np.array(
        [
            [w * density(v, a, b) for v in x]
            for w, a, b in zip(
                mixture.weights, mixture.alphas, mixture.betas, strict=True
            )
        ]
    )
    shares = both / both.sum(axis=0)
    np.testing.assert_allclose(shares.mean(axis=1), mixture.weights, atol=1e-5)
    means = shares @ x / shares.sum(axis=1)
    expected = mixture.alphas / (mixture.alphas + mixture.betas)
    np.testing.assert_allclose(means, expected, atol=1e-4)


def test_outliers_and_zeros_do_not_take_a_component():
    usual = generated("gamma", 0.2, size=1000)
    assert analysis.beta_mixture(usual).weights[1] == pytest.approx(0.2, abs=0.01)
    outlier = analysis.beta_mixture(np.append(usual, 1e8))
    assert outlier.weights[1] == pytest.approx(0.2, abs=0.07)
    zeros = analysis.beta_mixture(np.append(usual, np.zeros(300)))
    assert zeros.weights[1] == pytest.approx(200 / 1300, abs=0.05)


@pytest.mark.parametrize("iterations", [None, 1, 10, 50])
@pytest.mark.parametrize(
    "losses",
    [
        [0, 1, 2],
        [0, 0, 1],
        [5, 5 + 1e-9],
        [1e-300, 2e-300],
        [-3, -2, 4, 5],
        np.arange(10) % 3,
        np.round(generated("beta", 0.2, size=50), 1),
        np.random.default_rng(0).uniform(size=200),
    ],
)
def test_few_and_tied_losses_are_finite(losses, iterations):
    mixture = analysis.beta_mixture(losses, iterations=iterations)
    for values in (mixture.alphas, mixture.betas, mixture.weights):
        assert np.isfinite(values).all() and (values > 0).all()
    assert mixture.weights.sum() == pytest.approx(1)
    probabilities = mixture.wrong_label_probability(np.sort(losses))
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert (np.diff(probabilities) >= -1e-12).all()


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ([], "finite numbers of shape"),
        ([1.0], "finite numbers of shape"),
        ([[1.0, 2.0]], "finite numbers of shape"),
        ([1.0, np.nan], "losses=nan"),
        ([1.0, np.inf], "losses=inf"),
        ([0.0, 1e301], "losses=1e[+]301"),
        (np.ones(100), "must be different.*losses=1.0"),
    ],
)
@pytest.mark.parametrize("iterations", [None, 10])
def test_bad_losses(losses, text, iterations):
    with pytest.raises(ValueError, match=rf"^beta_mixture: `losses`.*{text}"):
        analysis.beta_mixture(losses, iterations=iterations)
    with pytest.raises(ValueError, match="5th and 95th percentiles are the same"):
        analysis.beta_mixture([0.0] * 97 + [1.0] * 3, iterations=10)
    with pytest.raises(ValueError, match="`iterations` must be a positive"):
        analysis.beta_mixture([1.0, 2.0], iterations=0)
