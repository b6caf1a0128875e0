import numpy as np
import pytest

from keras_noisy import noise
from keras_noisy._checks import distributions

P = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])


def test_rows():
    distributions.check_rows("owner", "p", P)
    # A softmax in half precision over many classes.
    distributions.check_rows("owner", "p", np.full((1, 1000), 0.001, "float16"))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (P + 0.02, "a row from 0.52 on that sums to 1.04. Apply the softmax"),
        (P - 0.25, "a row from 0.25 on that sums to 0.5"),
        ([[1.5, -0.5]], "a row from -0.5 on that sums to 1"),
        ([[np.nan, 1.0]], "a row from nan on that sums to nan"),
        ([[np.inf, 0.0]], "sums to inf"),
    ],
)
def test_rows_that_are_none(rows, text):
    expected = f"^owner: `p` must be distributions: .*Received: p=.*{text}"
    with pytest.raises(ValueError, match=expected):
        distributions.check_rows("owner", "p", np.array(rows))


def test_the_first_row_that_is_none_is_named():
    with pytest.raises(ValueError, match="sums to 2"):
        distributions.check_rows("owner", "p", np.array([[0.5, 0.5], [1, 1], [3, 3]]))


def test_one_tolerance_for_predictions():
    rows = np.array([[0.9, 0.115], [0.3, 0.7]])
    assert noise.estimate_from_anchors(rows).shape == (2, 2)
    assert noise.instance_dependent(rows, [0, 1], 0.5).num_classes == 2


def test_one_distribution():
    values = distributions.check_distribution("owner", "w", [1, 0, 0], 3)
    assert values.dtype == "float64" and values.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ([0.5, 0.6], ValueError, "divide counts by their sum"),
        ([1.5, -0.5], ValueError, "divide counts by their sum"),
        ([np.nan, 1.0], ValueError, "divide counts by their sum"),
        ([1.0], ValueError, r"shape \(1,\)"),
        ([0.2, 0.3, 0.5], ValueError, r"shape \(2,\)"),
        (["a", "b"], TypeError, "an array of numbers"),
        ([[0.5], [0.5, 0]], TypeError, "an array of numbers"),
        (None, TypeError, "an array of numbers"),
    ],
)
def test_no_distribution(values, error, text):
    with pytest.raises(error, match=f"^owner: `w` must be .*{text}"):
        distributions.check_distribution("owner", "w", values, 2)


def test_pieces_are_all_rows_once(monkeypatch):
    monkeypatch.setattr(distributions, "_PIECE_BYTES", 8 * 2 * 2)
    rows = [P[piece] for piece in distributions.pieces(P)]
    assert [len(part) for part in rows] == [2, 1]
    np.testing.assert_array_equal(np.concatenate(rows), P)
