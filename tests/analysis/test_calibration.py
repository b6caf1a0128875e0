import numpy as np
import pytest

from keras_noisy import analysis


def test_by_hand():
    p = [[0.95, 0.05], [0.9, 0.1], [0.6, 0.4], [0.45, 0.55]]
    result = analysis.calibration(p, [0, 1, 0, 1], bins=10)
    assert isinstance(result, analysis.Calibration)
    assert result.count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 1, 1]
    assert result.accuracy[5] == 1
    assert result.confidence[5] == pytest.approx(0.575)
    assert result.accuracy[8] == 0  # 0.9 belongs to the bin that it closes.
    assert np.isnan(result.accuracy[0])
    expected = (2 * 0.425 + 1 * 0.9 + 1 * 0.05) / 4
    assert result.error == pytest.approx(expected)


def test_certain_and_right_is_calibrated():
    assert analysis.calibration(np.eye(3), [0, 1, 2]).error == 0


def test_random_predictions_of_known_confidence():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1, 20_000)
    labels = (generator.uniform(size=20_000) > confidence).astype(int)
    p = np.stack([confidence, 1 - confidence], axis=1)
    assert analysis.calibration(p, labels).error < 0.02


@pytest.mark.parametrize(
    ("predictions", "labels", "text"),
    [
        ([[0.5, 0.6]], [0], "`predictions` must be distributions"),
        ([[2.0, -1.0]], [0], "`predictions` must be distributions"),
        ([[np.nan, 1.0]], [0], "`predictions` must be distributions"),
        (np.zeros((0, 2)), np.zeros(0, int), "`labels` must be of at least one"),
        ([[[1.0]]], [0], "`predictions` must be of shape"),
        ([[0.5, 0.5]], [0, 1], "`labels` must be class ids"),
        ([[0.5, 0.5]], [0.0], "`labels` must be class ids"),
    ],
)
def test_errors(predictions, labels, text):
    with pytest.raises((TypeError, ValueError), match="^calibration: " + text):
        analysis.calibration(predictions, labels)
