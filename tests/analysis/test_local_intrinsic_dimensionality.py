"""Local intrinsic dimensionality: by hand, a loop, and spaces of known dimension."""

import numpy as np
import pytest

from keras_noisy.analysis import local_intrinsic_dimensionality


def by_loop(points, k):
    """Return the estimate, distances computed one by one."""
    found = []
    for row in points:
        distances = sorted(
            float(np.sqrt(np.sum((row - other) ** 2, dtype="float128")))
            for other in points
        )
        nearest = np.array([d for d in distances if d > 0][:k])
        found.append(-1 / np.mean(np.log(nearest / nearest[-1])))
    return found


def test_values_by_hand():
    # From 0 the neighbours are 1 and 2 away: -1 / (log(1/2) / 2).
    found = local_intrinsic_dimensionality([[0.0], [1.0], [2.0], [10.0]], k=2)
    np.testing.assert_allclose(found[0], 2 / np.log(2))
    # From 1 both are 1 away, as in infinitely many dimensions.
    assert found[1] == np.inf
    # From 10 they are 8 and 9 away.
    np.testing.assert_allclose(found[3], 2 / np.log(9 / 8))


@pytest.mark.parametrize("k", [2, 5, 20])
@pytest.mark.parametrize("offset", [0, 1000])
def test_against_a_loop(k, offset):
    points = np.random.default_rng(0).normal(size=(60, 7)) + offset
    found = local_intrinsic_dimensionality(points, k=k)
    np.testing.assert_allclose(found, by_loop(points, k), rtol=1e-6)


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_dimension_of_a_plane_in_a_larger_space(dimensions):
    """Rotated, moved and scaled, a plane keeps its dimension."""
    rng = np.random.default_rng(0)
    inside = rng.uniform(size=(2000, dimensions))
    points = 3 * inside @ rng.normal(size=(dimensions, 30)) - 7
    found = local_intrinsic_dimensionality(points.astype("float32"), k=50)
    assert np.median(found) == pytest.approx(dimensions, rel=0.15)


def test_equal_rows_are_no_neighbours():
    points = np.random.default_rng(0).normal(size=(30, 3))
    doubled = np.concatenate([points, points])
    # Every other point is there twice: the same distances, each two times.
    found = local_intrinsic_dimensionality(doubled, k=8)
    expected = [
        -1 / np.mean(np.log(np.repeat(nearest, 2) / nearest[-1]))
        for nearest in (
            np.sort(np.linalg.norm(points - row, axis=1))[1:5] for row in points
        )
    ]
    np.testing.assert_allclose(found, expected * 2, rtol=1e-6)


@pytest.mark.parametrize("huge", [1e3, 1e8, 1e16, 1e140])
def test_a_huge_row_changes_no_other(huge):
    points = np.random.default_rng(0).normal(size=(40, 4))
    expected = by_loop(points, 8)
    found = local_intrinsic_dimensionality(np.append(points, [[huge] * 4], 0), k=8)
    np.testing.assert_allclose(found[:-1], expected, rtol=1e-9)
    # From there all others are equally far, up to their own distances.
    assert found[-1] > 100


def test_groups_that_are_far_from_each_other():
    points = np.random.default_rng(0).normal(size=(60, 4))
    far = points + 1e9 * (np.arange(60) % 3)[:, None]
    np.testing.assert_allclose(
        local_intrinsic_dimensionality(far, k=8), by_loop(far, 8), rtol=1e-5
    )


def test_rows_that_differ_by_rounding_are_equal():
    points = np.random.default_rng(0).normal(size=(30, 3)).astype("float32")
    again = np.nextafter(points, np.float32(np.inf))
    found = local_intrinsic_dimensionality(np.concatenate([points, again]), k=8)
    expected = local_intrinsic_dimensionality(np.concatenate([points, points]), k=8)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_too_few_different_rows_give_nan():
    points = np.array([[0.0], [0.0], [0.0], [1.0]])
    found = local_intrinsic_dimensionality(points, k=2)
    assert np.isnan(found[:3]).all()
    assert np.isnan(local_intrinsic_dimensionality(np.zeros((5, 2)), k=3)).all()


@pytest.mark.parametrize(
    "points", [[1.0, 2.0], [[np.nan], [1.0], [2.0]], [[1e200], [1.0], [2.0]]]
)
def test_representations_must_be_a_finite_matrix(points):
    with pytest.raises(ValueError, match="`representations` must be a finite matrix"):
        local_intrinsic_dimensionality(points, k=2)


@pytest.mark.parametrize("k", [1, 4, 2.5, None])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match="local_intrinsic_dimensionality: `k` must be"):
        local_intrinsic_dimensionality(np.eye(4), k=k)
