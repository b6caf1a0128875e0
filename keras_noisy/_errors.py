"""The one form in which this package says that an argument is wrong."""


def message(owner, argument, expected, value, mend=""):
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


def check_number(owner, argument, value, *, low, high, without="", mend=""):
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


def check_count(owner, argument, value):
    """Return `value` as an int, or raise unless it is a positive integer."""
    is_integer = hasattr(value, "__index__") and not isinstance(value, bool)
    if not is_integer or value < 1:
        raise ValueError(message(owner, argument, "a positive integer", value))
    return int(value)


def check_bool(owner, argument, value):
    """Return `value`, or raise unless it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(message(owner, argument, "a bool", value))
    return value
