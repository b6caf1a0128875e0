"""CSV files with a header, with whatever separator they have."""

import csv
import re

from keras_noisy._checks.errors import check_path, message
from keras_noisy._checks.labels import UNVERIFIED

_SEPARATORS = ",;\t|"
_SAMPLE = 1 << 16
# With a point where a program has had numbers with missing ones.
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})(\.0)?")


def read(owner, argument, path):
    """Return the columns of a CSV file, lists of strings by their names, or raise.

    The separator is that of comma, semicolon, tabulator and bar that the file has.
    """
    path = check_path(owner, argument, path)

    def error(expected, mend):
        return ValueError(message(owner, argument, expected, path, mend))

    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            sample = file.read(_SAMPLE)
        except UnicodeDecodeError as reason:
            mend = f"({reason}) Save it as UTF-8."
            raise error("a CSV file in UTF-8", mend) from None
        file.seek(0)
        rows = list(csv.reader(file, delimiter=_separator(sample)))
    rows = [row for row in rows if row]
    if rows and len(rows[0]) > 1 and len(rows) < 2:
        raise error("a CSV file with rows below its header", "It has the header alone.")
    if not rows or len(rows[0]) < 2:
        mend = f"The first line is {sample.partition(chr(10))[0][:80]!r}."
        expected = (
            "a CSV file with a header and two columns or more, separated by a comma, "
            "semicolon, tabulator or bar"
        )
        raise error(expected, mend)
    header, *rows = rows
    if len(set(header)) < len(header):
        raise error("a CSV file whose columns have different names", f"It has {header}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            mend = f"Row {number} has {len(row)}: {row[:5]}."
            raise error(f"a CSV file with {len(header)} cells in each row", mend)
    return {name: list(cells) for name, *cells in zip(header, *rows, strict=True)}


def _separator(sample):
    """Return the separator of the header, the one that it has most of."""
    try:
        found = csv.Sniffer().sniff(sample, _SEPARATORS).delimiter
    except csv.Error:
        found = ","
    header = sample.partition("\n")[0]
    return found if found in header else max(_SEPARATORS, key=header.count)


def as_labels(cells):
    """Return labels as integers if all are whole numbers, None where there is none.

    Below -1 numbers are names: there, -1 is a class like the others.
    """
    words = [cell.strip() for cell in cells]
    known = [word for word in words if word]
    if not all(_WHOLE.fullmatch(word) for word in known):
        return cells
    numbers = [int(word.removesuffix(".0")) if word else None for word in words]
    if min((n for n in numbers if n is not None), default=0) < UNVERIFIED:
        return cells
    return numbers


def as_numbers(cells):
    """Return cells as floats, None where they are empty, or as they are if words."""
    try:
        return [float(cell) if cell.strip() else None for cell in cells]
    except ValueError:
        return [cell if cell.strip() else None for cell in cells]
