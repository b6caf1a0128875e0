"""CSV files with a header, with whatever separator they have."""

import codecs
import csv
import re

from keras_noisy._checks.errors import check_path, message
from keras_noisy._checks.labels import UNVERIFIED

_SEPARATORS = ",;\t|"
_SAMPLE = 1 << 16
# What a spreadsheet writes, or wants to read, above the header.
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
# With a point where a program has had numbers with missing ones.
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})(\.0)?")
# How numbers are written: the mark of thousands, that of decimals, and all of it.
_HABITS = (
    ("", ".", r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|infinity"),
    (",", ".", r"(\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d*)?"),
    (".", ",", r"(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d*)?([eE][+-]?\d+)?"),
)
# Words for a missing number, as spreadsheets and statistics programs write them.
_NO_NUMBERS = ("", "-", "?", "#n/a", "n/a", "na", "nan", "none", "null")


def read(owner, argument, path, encoding=None):
    """Return the columns of a CSV file, lists of strings by their names, or raise.

    The separator is that of comma, semicolon, tabulator and bar that the file has, or
    that a first line such as `sep=;` says. Blanks around names, rows without a word and
    nameless columns without one are left out.

    Args:
        owner: Name of the public function, for errors.
        argument: Name of the argument that `path` came as.
        path: The file.
        encoding: Of the file; by default UTF-16 where its first bytes say so, and UTF-8
            elsewhere.
    """
    path = check_path(owner, argument, path)

    def error(expected, mend):
        return ValueError(message(owner, argument, expected, path, mend))

    encoding = encoding or _encoding_of(path)
    with open(path, encoding=encoding, newline="") as file:
        try:
            sample = file.read(_SAMPLE)
            said = _SEPARATOR_LINE.match(sample)
            file.seek(0)
            if said:
                file.readline()
            separator = said[1] if said else _separator(sample)
            rows = list(csv.reader(file, delimiter=separator))
        except UnicodeError as reason:
            mend = f"({reason}) Save it as UTF-8, which spreadsheets call CSV UTF-8."
            name = "UTF-8" if encoding == "utf-8-sig" else encoding
            raise error(f"a CSV file in {name}", mend) from None
        except csv.Error as reason:
            mend = f"({reason}) Is there a quotation mark that is never closed?"
            raise error("a CSV file", mend) from None
    rows = [row for row in rows if any(cell.strip() for cell in row)]
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
    header = [name.strip() for name in header]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            mend = f"Row {number} has {len(row)}: {row[:5]}."
            raise error(f"a CSV file with {len(header)} cells in each row", mend)
    columns = [
        (name, list(cells))
        for name, *cells in zip(header, *rows, strict=True)
        if name or any(cell.strip() for cell in cells)
    ]
    found = dict(columns)
    if len(found) < len(columns):
        raise error("a CSV file whose columns have different names", f"It has {header}")
    return found


def _encoding_of(path):
    with open(path, "rb") as file:
        start = file.read(2)
    is_wide = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if is_wide else "utf-8-sig"


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
    """Return cells as floats, None where they are missing, or as they are if words.

    Decimals may follow a comma, in all cells of a column: 1.234,5 or 12,5.
    """
    words = [cell.strip() for cell in cells]
    known = {word for word in words if word.lower() not in _NO_NUMBERS}
    numbers = _numbers_of(known)
    if numbers is None:
        return [cell if cell.strip() else None for cell in cells]
    return [numbers.get(word) for word in words]


def _numbers_of(words):
    """Return what different words are as floats, a dict, or None if some are none."""
    for thousands, point, number in _HABITS:
        habit = re.compile(f"[+-]?({number})", re.IGNORECASE)
        if all(habit.fullmatch(word) for word in words):
            plain = (word.replace(thousands, "").replace(point, ".") for word in words)
            return dict(zip(words, map(float, plain), strict=True))
    return None
