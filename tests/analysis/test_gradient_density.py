import keras
import numpy as np
import pytest

from keras_noisy import analysis, losses

GENERATOR = np.random.default_rng(0)
LOGITS = 2 * GENERATOR.normal(size=(500, 4)).astype("float32")
LABELS = GENERATOR.integers(0, 4, 500)
P = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
P_Y = P[np.arange(500), LABELS]


def by_hand(weight, bins):
    """Gradient norm of `weight(p_y)` times cross-entropy's, `2 (1 - p_y)`."""
    which = np.minimum((P_Y * bins).astype(int), bins - 1)
    norms = 2 * (1 - P_Y) * weight(P_Y)
    density = np.array([(which == k).sum() for k in range(bins)]) * bins / 500
    total = np.array([norms[which == k].sum() for k in range(bins)]) * bins / 500
    return density, total


@pytest.mark.parametrize(
    ("loss", "weight"),
    [
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), np.ones_like),
        (keras.losses.CategoricalCrossentropy(from_logits=True), np.ones_like),
        (keras.losses.CategoricalCrossentropy(), np.ones_like),
        (
            losses.EqualLoss(epsilon=0.4, from_logits=True),
            lambda p: 1.4 * p / (p + 0.4),
        ),
        (losses.EqualLoss(epsilon=0.4), lambda p: 1.4 * p / (p + 0.4)),
    ],
)
@pytest.mark.parametrize("from_logits", [False, True])
def test_curve(loss, weight, from_logits):
    y_pred = LOGITS if from_logits else P
    curve = analysis.gradient_density(
        loss, LABELS, y_pred, from_logits=from_logits, bins=10
    )
    assert isinstance(curve, analysis.GradientDensity)
    density, total = by_hand(weight, 10)
    np.testing.assert_allclose(curve.probability, np.arange(10) / 10 + 0.05)
    np.testing.assert_allclose(curve.density, density, atol=1e-6)
    np.testing.assert_allclose(curve.gradient_density, total, rtol=2e-3, atol=1e-4)
    filled = curve.density > 0
    np.testing.assert_allclose(
        (curve.density * curve.gradient_norm)[filled],
        curve.gradient_density[filled],
        rtol=1e-6,
    )


def test_density_integrates_to_one_and_empty_bins_are_nan():
    loss = losses.EqualLoss(epsilon=0.4)
    curve = analysis.gradient_density(loss, [0, 0], [[1.0, 0.0], [0.0, 1.0]], bins=4)
    assert curve.density.sum() / 4 == 1
    assert np.isnan(curve.gradient_norm).tolist() == [False, True, True, False]
    assert curve.gradient_density[1] == 0


@pytest.mark.parametrize(
    ("y_true", "y_pred", "text"),
    [
        (LABELS[:3], P[:4], "`y_true` must be class ids"),
        (LABELS[:4] * 1.0, P[:4], "`y_true` must be class ids"),
        ([4], P[:1], r"`y_true` must be class ids in \[0, 4\)"),
        (LABELS[:0], P[:0], r"`y_pred` must be of shape .* and 1 example"),
        (LABELS[:4], P[:4, :1, None], "`y_pred` must be of shape"),
        (LABELS[:4], P[:4] * np.nan, "`y_pred` must be numbers"),
        (LABELS[:4], P[:4] + np.inf, "`y_pred` must be numbers"),
    ],
)
def test_errors(y_true, y_pred, text):
    with pytest.raises((TypeError, ValueError), match="^gradient_density: " + text):
        analysis.gradient_density(losses.EqualLoss(epsilon=0.4), y_true, y_pred)
