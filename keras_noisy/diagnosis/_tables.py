"""Columns of a data frame as numbers: scaled, one-hot, with nothing missing."""

import numpy as np

from keras_noisy._checks.errors import Described, as_array, message
from keras_noisy.diagnosis import _labels

_LEVELS = 50
# A column of words is a text, or says which row it is, where hardly a value is twice
# there.
_LEAST_ROWS = 20


def is_frame(x):
    """Whether `x` has named columns: a data frame, or a dict of columns."""
    if isinstance(x, dict):
        return bool(x) and all(_is_column(values) for values in x.values())
    return hasattr(x, "columns") and hasattr(x, "__getitem__")


def _is_column(values):
    shape = getattr(values, "shape", None)
    return len(shape) == 1 if shape is not None else isinstance(values, list)


def columns_of(owner, frame):
    """Return the columns of a frame as arrays `(n,)`, by their names."""
    names = list(frame) if isinstance(frame, dict) else list(frame.columns)
    columns = {str(name): as_array(_plain(frame[name])) for name in names}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1 or len(columns) < len(names):
        expected = "a frame of columns of one length with different names"
        received = Described(f"columns {names[:10]} of lengths {sorted(lengths)}")
        raise ValueError(message(owner, "x", expected, received))
    return columns


def _plain(column):
    return column.to_numpy() if hasattr(column, "to_numpy") else column


def encode(owner, columns):
    """Return columns as numbers, float32 `(n, d)`, and sentences on what was done.

    Numbers get mean 0 and deviation 1; a missing one is the median, and a further
    column says so. Strings, bools and categories are one-hot, a missing one a category
    of its own, those beyond the 50 most frequent one together.
    """
    parts, notes = [], _Notes()
    for name, values in columns.items():
        numbers = _numbers(values)
        if numbers is not None and _counts_rows(numbers):
            notes.add("rows", name)
        elif numbers is None:
            parts += _one_hot(name, values, notes)
        else:
            parts += _scaled(name, numbers, notes)
    if not parts:
        expected = "a frame with a column that says something of the examples"
        received = Described(f"columns {list(columns)[:10]}")
        raise ValueError(message(owner, "x", expected, received, notes.text()))
    return np.concatenate(parts, axis=1), notes.sentences()


_TEXTS = {
    "constant": "Columns with one value say nothing and were left out",
    "ids": "Columns of words that hardly repeat (ids, or texts) were left out",
    "rows": "Columns that number the rows were left out",
    "missing": "Missing values were replaced by the median or by a category",
    "rare": f"Categories beyond the {_LEVELS} most frequent were joined",
}


class _Notes:
    """Which columns were dealt with in an unusual way."""

    def __init__(self):
        self._names = {what: [] for what in _TEXTS}

    def add(self, what, name):
        self._names[what].append(name)

    def sentences(self):
        return [
            f"{_TEXTS[what]}: {', '.join(name or repr(name) for name in names[:10])}"
            + (f" and {len(names) - 10} more." if len(names) > 10 else ".")
            for what, names in self._names.items()
            if names
        ]

    def text(self):
        return " ".join(self.sentences())


def _numbers(values):
    """Return a column as float64, NaN where it is missing; None if it is of words."""
    if values.dtype.kind in "mM":
        numbers = values.astype("int64").astype("float64")
        return np.where(np.isnat(values), np.nan, numbers)
    if values.dtype.kind in "iuf":
        return values.astype("float64")
    if values.dtype.kind == "U":
        values = values.astype(object)
    if values.dtype.kind != "O":
        return None
    is_missing = np.array([is_missing_value(value) for value in values.tolist()])
    known = as_array(values[~is_missing].tolist())
    if known.dtype.kind == "U":
        known = _read_numbers(known)
    if known.dtype.kind not in "iuf" or known.ndim != 1 or not known.size:
        return None
    numbers = np.full(len(values), np.nan)
    numbers[~is_missing] = known
    return numbers


def _counts_rows(numbers):
    """Whether a column is that of the rows' numbers, as programs write it into files.

    Where data are sorted by class, it would say the class.
    """
    is_long = len(numbers) > _LEAST_ROWS
    return is_long and bool((np.diff(numbers) == 1).all())


def _read_numbers(words):
    """Return words as numbers if all are, and too different to be categories."""
    if len(set(words.tolist())) <= min(_LEVELS, len(words) / 2):
        return words
    try:
        return words.astype("float64")
    except ValueError:
        return words


def is_missing_value(value):
    """Whether a cell of a frame is empty."""
    is_blank = isinstance(value, str) and not value.strip()
    return is_blank or _labels.is_missing(value)


def _scaled(name, numbers, notes):
    # Nothing can be computed with infinity.
    is_missing = ~np.isfinite(numbers)
    known = numbers[~is_missing]
    if not len(known) or (known.min() == known.max() and not is_missing.any()):
        notes.add("constant", name)
        return []
    filled = np.where(is_missing, np.median(known), numbers)
    # Of large values squares would be infinite.
    _, exponent = np.frexp(np.abs(filled).max())
    filled = np.ldexp(filled, -exponent)
    deviation = filled.std()
    parts = [(filled - filled.mean()) / deviation if deviation else filled * 0]
    if is_missing.any():
        notes.add("missing", name)
        parts.append(is_missing)
    return [part.astype("float32")[:, None] for part in parts]


def _one_hot(name, values, notes):
    words = ["" if is_missing_value(value) else str(value) for value in values.tolist()]
    levels, ids, counts = np.unique(words, return_inverse=True, return_counts=True)
    if len(levels) == 1:
        notes.add("constant", name)
        return []
    if len(words) > _LEAST_ROWS and len(levels) > len(words) / 2:
        notes.add("ids", name)
        return []
    if levels[0] == "":
        notes.add("missing", name)
    order = np.argsort(-counts, kind="stable")
    ranks = np.empty(len(levels), int)
    ranks[order] = np.arange(len(levels))
    if len(levels) > _LEVELS:
        notes.add("rare", name)
    width = min(len(levels), _LEVELS + 1)
    columns = np.minimum(ranks[ids], width - 1)
    return [np.eye(width, dtype="float32")[columns]]
