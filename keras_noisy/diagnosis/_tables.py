"""Columns of a data frame as numbers: scaled, one-hot, with nothing missing."""

import dataclasses

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


class Encoder:
    """Columns as numbers, float32 `(n, d)`; later ones as those it was made from.

    Numbers get mean 0 and deviation 1; a missing one is the median, and a further
    column says so. Strings, bools and categories are one-hot, a missing one a category
    of its own, those beyond the 50 most frequent one together. Of later rows a
    category that was not there is none of them.

    Args:
        owner: Name of the public function, for errors.
        columns: Arrays `(n,)` by their names.

    Attributes:
        notes: Sentences on what was done.
    """

    def __init__(self, owner, columns):
        notes, self._columns = _Notes(), {}
        for name, values in columns.items():
            numbers = _numbers(values)
            if numbers is not None and _counts_rows(numbers):
                notes.add("rows", name)
                continue
            if numbers is None:
                column = _categories(name, values, notes)
            else:
                column = _scale(name, numbers, notes)
            if column is not None:
                self._columns[name] = column
        if not self._columns:
            expected = "a frame with a column that says something of the examples"
            received = Described(f"columns {list(columns)[:10]}")
            raise ValueError(message(owner, "x", expected, received, notes.text()))
        self.notes = notes.sentences()

    def encode(self, owner, columns):
        """Return columns as numbers, float32 `(n, d)`, or raise if one is missing."""
        missing = [name for name in self._columns if name not in columns]
        if missing:
            expected = "a frame with all columns that were trained on"
            received = Described(f"a frame without {missing[:10]}")
            raise ValueError(message(owner, "x", expected, received))
        parts = [
            column.encode(owner, columns[name])
            for name, column in self._columns.items()
        ]
        return np.concatenate(parts, axis=1)


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


def _scale(name, numbers, notes):
    """Return the `_Scale` of a column, None if all its values are one."""
    # Nothing can be computed with infinity.
    is_missing = ~np.isfinite(numbers)
    known = numbers[~is_missing]
    if not len(known) or (known.min() == known.max() and not is_missing.any()):
        notes.add("constant", name)
        return None
    if is_missing.any():
        notes.add("missing", name)
    filled = np.where(is_missing, np.median(known), numbers)
    # Of large values squares would be infinite.
    _, exponent = np.frexp(np.abs(filled).max())
    small = np.ldexp(filled, -exponent)
    return _Scale(
        name=name,
        median=float(np.median(known)),
        exponent=int(exponent),
        mean=small.mean(),
        deviation=small.std(),
        has_missing=bool(is_missing.any()),
    )


@dataclasses.dataclass
class _Scale:
    """How a column of numbers is scaled."""

    name: str
    median: float
    exponent: int
    mean: float
    deviation: float
    has_missing: bool

    def encode(self, owner, values):
        numbers = _numbers(values)
        if numbers is None:
            expected = f"a frame whose column {self.name!r} is of numbers, as before"
            received = Described(f"values like {values[:3].tolist()}")
            raise TypeError(message(owner, "x", expected, received))
        is_missing = ~np.isfinite(numbers)
        filled = np.where(is_missing, self.median, numbers)
        filled = np.ldexp(filled, -self.exponent)
        scaled = filled * 0
        if self.deviation:
            scaled = (filled - self.mean) / self.deviation
        parts = [scaled, *([is_missing] if self.has_missing else [])]
        return np.stack(parts, axis=1).astype("float32")


def _categories(name, values, notes):
    """Return the `_Categories` of a column, None if it says nothing."""
    words = _words(values)
    levels, counts = np.unique(words, return_counts=True)
    if len(levels) == 1:
        notes.add("constant", name)
        return None
    if len(words) > _LEAST_ROWS and len(levels) > len(words) / 2:
        notes.add("ids", name)
        return None
    if levels[0] == "":
        notes.add("missing", name)
    if len(levels) > _LEVELS:
        notes.add("rare", name)
    order = np.argsort(-counts, kind="stable")
    ranks = {levels[index]: rank for rank, index in enumerate(order)}
    return _Categories(ranks, width=min(len(levels), _LEVELS + 1))


@dataclasses.dataclass
class _Categories:
    """Which place each category of a column has, the most frequent the first."""

    ranks: dict
    width: int

    def encode(self, owner, values):
        places = [min(self.ranks.get(w, -1), self.width - 1) for w in _words(values)]
        places = np.array(places, int)
        encoded = np.eye(self.width, dtype="float32")[places]
        encoded[places < 0] = 0
        return encoded


def _words(values):
    return ["" if is_missing_value(value) else str(value) for value in values.tolist()]
