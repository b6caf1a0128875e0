"""The one form in which this package says that an argument is wrong."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np


def message(
    owner: str, argument: str, expected: str, value: object, mend: str = ""
) -> str:
    """Return ``owner: `argument` must be expected. Received: argument=value. mend``.

    Args:
        owner: Name of the public class or function that was called.
        argument: Name of the argument that is wrong.
        expected: What it must be, to follow "must be".
        value: What came; a string is quoted, everything else shown by `repr`.
        mend: A sentence that says how to mend it.
    """
    text = f"{owner}: `{argument}` must be {expected}. Received: {argument}={value!r}."
    return f"{text} {mend}".rstrip()


def check_number(
    owner: str,
    argument: str,
    value: Any,
    *,
    low: float,
    high: float,
    without: str = "",
    mend: str = "",
) -> float:
    """Return `value` as a float, or raise unless it is in [`low`, `high`].

    NaN fails every comparison and is therefore refused as well.

    Args:
        owner: Name of the public class or function that was called.
        argument: Name of the argument.
        value: What came.
        low: The least value.
        high: The greatest value.
        without: Which of the two ends are refused: "low", "high", "low high".
        mend: A sentence that says how to mend it.
    """
    left = "(" if "low" in without else "["
    right = ")" if "high" in without else "]"
    expected = f"a number in {left}{low:g}, {high:g}{right}"
    is_scalar = hasattr(value, "__float__") and getattr(value, "shape", ()) == ()
    if isinstance(value, bool) or not is_scalar:
        raise TypeError(message(owner, argument, expected, value, mend))
    number = float(value)
    is_end = (number == low and left == "(") or (number == high and right == ")")
    if is_end or not low <= number <= high:
        raise ValueError(message(owner, argument, expected, number, mend))
    return number


def check_count(
    owner: str, argument: str, value: Any, *, low: int = 1, mend: str = ""
) -> int:
    """Return `value` as an int, or raise unless it is an integer from `low` on.

    Args:
        owner: Name of the public class or function that was called.
        argument: Name of the argument.
        value: What came.
        low: The least value.
        mend: A sentence that says how to mend it.
    """
    expected = "a positive integer" if low == 1 else f"an integer of at least {low}"
    is_integer = hasattr(value, "__index__") and not isinstance(value, bool)
    if not is_integer or value < low:
        raise ValueError(message(owner, argument, expected, value, mend))
    return int(value)


def check_choice(
    owner: str, argument: str, value: Any, choices: tuple[str, ...]
) -> Any:
    """Return `value`, or raise unless it is one of `choices`."""
    if value not in choices:
        raise ValueError(message(owner, argument, f"one of {choices}", value))
    return value


def warn_of_warmup(owner: str, epochs: int, stays: str, **warmup: int) -> None:
    """Warn of a training that ends before a method has begun.

    Args:
        owner: Name of the public class that was called.
        epochs: Epochs of the training.
        stays: What it will not change, a sentence without its end.
        **warmup: The arguments whose sum are the epochs before the method begins.
    """
    if epochs <= sum(warmup.values()):
        settings = " + ".join(f"{name}={n}" for name, n in warmup.items() if n)
        warnings.warn(
            f"{owner}: {settings} leaves nothing of {epochs} epochs, so {stays}. "
            f"Pass a smaller `{next(iter(warmup))}`, or train for longer.",
            stacklevel=2,
        )


class Described:
    """A value that an error message shows by a description instead of its `repr`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def describe_array(array: np.ndarray) -> Described:
    """Return a short description of an array, for the "Received" of an error."""
    return Described(f"array of shape {array.shape} and dtype {array.dtype}")


def check_bool(owner: str, argument: str, value: Any) -> bool:
    """Return `value`, or raise unless it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(message(owner, argument, "a bool", value))
    return value
