"""How far two sets of noisy labels overlap."""

import math

import numpy as np
import pytest

from benchmarks.instance_dependent_noise import overlap


def test_overlap_by_hand():
    clean = np.array([0, 0, 0, 0, 1, 1])
    first = np.array([1, 2, 1, 0, 1, 0])
    second = np.array([1, 1, 0, 0, 0, 0])
    # Four wrong labels, three of them wrong in both, two of these the same.
    assert overlap(first, second, clean) == pytest.approx((3 / 4, 2 / 3, 3 / 6))
    assert overlap(first, first, clean) == (1.0, 1.0, 1.0)
    none, same, agree = overlap(first, np.array([0, 0, 0, 1, 1, 1]), clean)
    assert none == 0 and math.isnan(same) and agree == pytest.approx(1 / 6)
