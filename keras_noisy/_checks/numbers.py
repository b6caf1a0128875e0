"""Numbers that an argument may be.

A check is a function `(owner, argument, value)` that returns the value as it is used,
or raises the package's error.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

from keras_noisy._checks.errors import message

Check = Callable[[str, str, Any], Any]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A range of finite numbers, declared as scikit-learn declares parameters.

    Args:
        low: The least number.
        high: The greatest number; it is never part of the range where it is infinite.
        closed: Which of the two ends are part of it.
        mend: A sentence for the error that says how to mend it.
    """

    low: float
    high: float
    closed: Literal["both", "left", "right", "neither"] = "both"
    mend: str = ""

    def __str__(self) -> str:
        left = "[" if self.closed in ("both", "left") else "("
        right = "]" if self.closed in ("both", "right") else ")"
        left = "(" if math.isinf(self.low) else left
        right = ")" if math.isinf(self.high) else right
        return f"{left}{self.low:g}, {self.high:g}{right}"

    def __contains__(self, number: float) -> bool:
        # NaN fails every comparison, and is outside of every range.
        above = self.low <= number if str(self)[0] == "[" else self.low < number
        return above and (
            number <= self.high if str(self)[-1] == "]" else number < self.high
        )

    def __call__(self, owner: str, argument: str, value: Any) -> float:
        """Return `value` as a float, or raise unless it is in the range."""
        expected = f"a number in {self}"
        number = _as_number(value)
        if number is None:
            raise TypeError(message(owner, argument, expected, value, self.mend))
        if number not in self:
            raise ValueError(message(owner, argument, expected, number, self.mend))
        return number


def _as_number(value):
    """Return a number of Python, NumPy or a backend as a float, all else as None."""
    # Of NumPy, strings have `__float__`, and so have arrays of one number.
    dtype = str(getattr(value, "dtype", "float"))
    is_number = hasattr(value, "__float__") and ("float" in dtype or "int" in dtype)
    if isinstance(value, bool) or not is_number or getattr(value, "shape", ()) != ():
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def at_least_zero(mend: str = "") -> Interval:
    """Return the range of the finite numbers from zero on."""
    return Interval(0, math.inf, mend=mend)


def positive(mend: str = "") -> Interval:
    """Return the range of the finite numbers above zero."""
    return Interval(0, math.inf, "neither", mend)


def optional(check: Check) -> Check:
    """Return a check that lets None through."""
    return lambda owner, argument, value: (
        None if value is None else check(owner, argument, value)
    )
