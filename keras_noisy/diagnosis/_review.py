"""What a person has decided on suspects, read from a CSV file."""

import re

import numpy as np

from keras_noisy._checks.errors import Described, message
from keras_noisy._checks.labels import UNVERIFIED
from keras_noisy.diagnosis import _csv

CONFIRMED, CORRECTED = "confirmed", "corrected_label"
COLUMNS = (CONFIRMED, CORRECTED)
_THESE = "a review of these data"
# What spreadsheets and data frames make of integers beside empty cells.
_WHOLE = re.compile(r"(-?\d+)\.0*")
_ANSWERS = {
    **dict.fromkeys(("yes", "y", "true", "1"), True),
    **dict.fromkeys(("no", "n", "false", "0"), False),
}


def read(owner, path, examples):
    """Return the true class of each reviewed example, int64 `(n,)`, -1 for the others.

    A note of the examples says how many rows were applied.

    Args:
        owner: Name of the public function, for errors.
        path: A file like that of `Diagnosis.to_csv`, filled in.
        examples: `Examples`.
    """
    columns = _csv.read(owner, "reviewed", path)
    reader = _Reader(owner, path, examples, columns)
    truth = np.full(examples.size, UNVERIFIED, np.int64)
    num_rows = len(next(iter(columns.values())))
    for number in range(num_rows):
        label = reader.truth_of(number)
        if label is None:
            continue
        position = reader.position_of(number)
        if truth[position] not in (UNVERIFIED, label):
            raise reader.contradiction(number)
        truth[position] = label
    reviewed = truth != UNVERIFIED
    changed = int((truth[reviewed] != examples.labels[reviewed]).sum())
    examples.notes.append(
        f"The review decides on {reviewed.sum()} examples, and gives {changed} of them "
        f"another label ({num_rows} rows were read)."
    )
    return truth


class _Reader:
    """Rows of the file, each of an example."""

    def __init__(self, owner, path, examples, columns):
        self._owner, self._path, self._columns = owner, path, columns
        self._ids = {str(c): i for i, c in enumerate(examples.class_names.tolist())}
        # Programs strip blanks; a class whose name has none goes before.
        for name, number in list(self._ids.items()):
            self._ids.setdefault(name.strip(), number)
        self._labels = examples.labels
        if not set(COLUMNS) & set(columns):
            expected = f"a CSV file with a column `{CONFIRMED}` or `{CORRECTED}`"
            raise self._error(expected, f"It has {list(columns)[:20]}.")
        self._positions = None
        if "name" in columns and examples.names is not None:
            self._positions = {}
            for row, name in enumerate(examples.names.tolist()):
                self._positions.setdefault(str(name), []).append(row)
        elif "sample_id" not in columns:
            expected = "a CSV file with a column `sample_id`, or `name` with `ids`"
            raise self._error(expected, f"It has {list(columns)[:20]}.")

    def _error(self, expected, mend):
        received = Described(repr(str(self._path)))
        return ValueError(message(self._owner, "reviewed", expected, received, mend))

    def _cell(self, name, number):
        cell = self._columns[name][number] if name in self._columns else ""
        if cell in self._ids:
            return cell
        whole = _WHOLE.fullmatch(cell.strip())
        return whole[1] if whole and name != "name" else cell.strip()

    def _in_row(self, number, name):
        # The header is the first row.
        return f"Row {number + 2} has {name}={self._cell(name, number)!r}."

    def truth_of(self, number):
        """Return the class that a row says, or None if nobody has filled it in."""
        corrected = self._cell(CORRECTED, number)
        if corrected:
            return self._class_of(number, CORRECTED)
        answer = self._cell(CONFIRMED, number).lower()
        if not answer:
            return None
        if answer not in _ANSWERS:
            expected = f"a CSV file with yes or no, or nothing, in `{CONFIRMED}`"
            raise self._error(expected, self._in_row(number, CONFIRMED))
        name = "proposed_label" if _ANSWERS[answer] else "given_label"
        return self._class_of(number, name)

    def _class_of(self, number, name):
        label = self._cell(name, number)
        if label not in self._ids:
            expected = f"a CSV file with one of the classes in `{name}`"
            known = f"The classes are {list(self._ids)[:20]}."
            raise self._error(expected, f"{self._in_row(number, name)} {known}")
        return self._ids[label]

    def contradiction(self, number):
        """Return an error for a row that decides otherwise than one above it."""
        name = "sample_id" if self._positions is None else "name"
        expected = "a CSV file that decides once on each example"
        mend = "A row above it says something else of the same example."
        return self._error(expected, f"{self._in_row(number, name)} {mend}")

    def position_of(self, number):
        """Return which example a row is of, or raise if it is of other data."""
        position = self._position(number)
        given = self._cell("given_label", number)
        if given and self._ids.get(given, UNVERIFIED) != self._labels[position]:
            expected = "a review of these data, with the labels that they have"
            raise self._error(expected, self._in_row(number, "given_label"))
        return position

    def _position(self, number):
        """Return which example a row names, by number, by name or by both."""
        cell = self._cell("sample_id", number)
        by_number = int(cell) if cell.isdecimal() else -1
        if self._positions is None:
            if not 0 <= by_number < len(self._labels):
                raise self._error(_THESE, self._in_row(number, "sample_id"))
            return by_number
        found = self._positions.get(self._cell("name", number), [])
        if not found:
            raise self._error(_THESE, self._in_row(number, "name"))
        if cell and by_number not in found:
            mend = (
                f"Example {cell} has another name. If the data came in another order "
                "since, remove the column `sample_id`."
            )
            raise self._error(_THESE, f"{self._in_row(number, 'name')} {mend}")
        if not cell and len(found) > 1:
            expected = "a CSV file that says which example is meant"
            mend = f"{len(found)} examples have this name: add a column `sample_id`."
            raise self._error(expected, f"{self._in_row(number, 'name')} {mend}")
        return by_number if cell else found[0]
