import math
import pathlib

import numpy as np
import pytest

from keras_noisy._checks import errors
from keras_noisy._checks.numbers import Interval, at_least_zero, optional, positive


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (Interval(0, 1), [0, 0.5, 1], [-0.1, 1.1]),
        (Interval(0, 1, "left"), [0, 0.5], [1]),
        (Interval(0, 1, "right"), [0.5, 1], [0]),
        (Interval(0, 1, "neither"), [0.5], [0, 1]),
        (at_least_zero(), [0, 1e300], [-1e-300]),
        (positive(), [1e-300], [0]),
    ],
)
def test_ends(interval, inside, outside):
    for value in inside:
        assert interval("owner", "rate", value) == value
    for value in [*outside, math.nan, math.inf, -math.inf]:
        with pytest.raises(ValueError, match=r"^owner: `rate` must be a number in"):
            interval("owner", "rate", value)


def test_text_of_an_interval():
    assert str(Interval(0, 1, "left")) == "[0, 1)"
    assert str(at_least_zero()) == "[0, inf)"


@pytest.mark.parametrize("value", [1, np.float32(1), np.array(1.0), np.array(1)])
def test_numbers_of_numpy(value):
    number = Interval(0, 1)("owner", "rate", value)
    assert type(number) is float and number == 1


def test_none_where_it_may_be():
    assert optional(Interval(0, 1))("owner", "rate", None) is None


def test_a_number_beyond_all_floats():
    with pytest.raises(ValueError, match="Received: rate=inf"):
        Interval(0, 1)("owner", "rate", 10**400)


@pytest.mark.parametrize("value", [3, np.int8(3), np.array(3), np.array(3, "uint64")])
def test_integers(value):
    for number in (
        errors.check_count("owner", "n", value),
        errors.check_seed("owner", value),
    ):
        assert type(number) is int and number == 3


def test_a_count_has_an_end():
    with pytest.raises(ValueError, match="an integer of at most 2147483647"):
        errors.check_count("owner", "n", 10**12)
    assert errors.check_count("owner", "n", 10**12, high=math.inf) == 10**12


def test_seeds():
    assert errors.check_seed("owner", 2**32 - 1) == 2**32 - 1
    assert errors.check_seed("owner", 2**63 - 1, bits=63) == 2**63 - 1
    for value, bits in ((2**32, 32), (2**63, 63), (-1, 32)):
        with pytest.raises(ValueError, match=rf"`seed` must be .*2\*\*{bits}\)"):
            errors.check_seed("owner", value, bits=bits)


def test_paths(tmp_path):
    assert errors.check_path("owner", "path", "a") == "a"
    assert errors.check_path("owner", "path", pathlib.Path("a")) == "a"
    for value in ("", "a\0b"):
        with pytest.raises(ValueError, match="`path` must be a path"):
            errors.check_path("owner", "path", value)


def test_choices():
    choices = (False, "last", "best")
    assert errors.check_choice("owner", "start", np.str_("last"), choices) == "last"
    assert errors.check_choice("owner", "start", False, choices) is False
    for value in (0, True, "first", ["last"], np.array(["last", "best"]), None):
        with pytest.raises(ValueError, match="`start` must be one of False, 'last'"):
            errors.check_choice("owner", "start", value, choices)
