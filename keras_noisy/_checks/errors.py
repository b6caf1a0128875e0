"""The one form in which this package says that an argument is wrong."""

from __future__ import annotations

import operator
import os
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


def check_count(
    owner: str,
    argument: str,
    value: Any,
    *,
    low: int = 1,
    high: float = 2**31 - 1,
    mend: str = "",
) -> int:
    """Return `value` as an int, or raise unless it is an integer in [`low`, `high`].

    Args:
        owner: Name of the public class or function that was called.
        argument: Name of the argument.
        value: What came.
        low: The least value.
        high: The greatest value; counts of more are counts of something else, and of
            some a table would be made.
        mend: A sentence that says how to mend it.
    """
    number = as_integer(value)
    if number is None or not low <= number <= high:
        expected = "a positive integer" if low == 1 else f"an integer of at least {low}"
        if number is not None and number > high:
            expected = f"an integer of at most {high}"
        raise ValueError(message(owner, argument, expected, value, mend))
    return number


def check_seed(
    owner: str,
    value: Any,
    *,
    argument: str = "seed",
    bits: int = 32,
    mend: str = "",
) -> int:
    """Return a seed as an int, or raise unless it is an integer of so many bits.

    Args:
        owner: Name of the public class or function that was called.
        value: What came.
        argument: Name of the argument.
        bits: How many bits a seed has: Keras takes 32.
        mend: A sentence that says how to mend it.
    """
    number = as_integer(value)
    expected = f"an integer in [0, 2**{bits})"
    if number is None:
        raise TypeError(message(owner, argument, expected, value, mend))
    if not 0 <= number < 2**bits:
        raise ValueError(message(owner, argument, expected, number, mend))
    return number


def as_integer(value: Any) -> int | None:
    """Return an integer of Python, NumPy or a backend as an int, all else as None."""
    is_bool = isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
    # Arrays of one number are integers to Python; here only those of shape () are.
    if is_bool or getattr(value, "shape", ()) != ():
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def check_choice(owner: str, argument: str, value: Any, choices: tuple) -> Any:
    """Return `value`, or raise unless it is one of `choices`, strings or False."""
    # An array is not compared: that would give an array.
    if not isinstance(value, (str, bool)) or value not in choices:
        names = ", ".join(map(repr, choices))
        raise ValueError(message(owner, argument, f"one of {names}", value))
    return value


def check_path(owner: str, argument: str, value: Any, expected: str = "a path") -> str:
    """Return a path as a string, or raise unless it is a string or `os.PathLike`."""
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    # Of bytes are paths of some systems, and of none that Keras can write to.
    if not isinstance(path, str):
        raise TypeError(message(owner, argument, expected, value))
    if not path or "\0" in path:
        raise ValueError(message(owner, argument, expected, value))
    return path


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


def as_array(values: Any) -> np.ndarray:
    """Return `values` as an array; rows of several lengths, which are none, as `()`."""
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "detach"):
        # A torch tensor, which can be on a device.
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except ValueError:
        return np.empty((), object)


def check_bool(owner: str, argument: str, value: Any) -> bool:
    """Return `value`, or raise unless it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(message(owner, argument, "a bool", value))
    return value
