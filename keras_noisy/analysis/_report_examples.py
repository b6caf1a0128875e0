"""What a report shows of each example: a name, a text, and columns of a table."""

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from keras_noisy._checks.errors import Described, describe_array, message
from keras_noisy.analysis import _thumbnails

_NUM_CARDS = 20
_CARD_SIDE, _ROW_SIDE = 224, 96
_CARD_FIELDS, _CARD_CHARACTERS = 6, 300
_MOST_COLUMNS = 20
_MOST_BYTES_OF_ROWS = 12_000_000
# Texts are cut at the first of these lengths with which all of them fit.
_LENGTHS = (5000, 2000, 1000, 500, 200, 100)
_MOST_CHARACTERS = 5_000_000


def per_example(owner, argument, values, size):
    """Return a sequence of one value per example, or raise."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()  # A series has positions of its own.
    is_list = isinstance(values, (Sequence, np.ndarray))
    if isinstance(values, (str, bytes)) or not is_list:
        expected = f"a sequence of {size}, one per example"
        raise TypeError(message(owner, argument, expected, values))
    is_flat = not isinstance(values, np.ndarray) or values.ndim == 1
    if not is_flat or len(values) != size:
        expected = f"of {size}, one per example"
        found = np.ndim(values) and isinstance(values, np.ndarray)
        received = describe_array(values) if found else Described(f"{len(values)}")
        raise ValueError(message(owner, argument, expected, received))
    return values


def columns(owner, argument, table, size):
    """Return the columns of a mapping or of a data frame, by name."""
    if isinstance(table, Mapping):
        named = table.items()
    elif hasattr(table, "columns") and hasattr(table, "__getitem__"):
        named = ((name, table[name]) for name in table.columns)
    else:
        expected = "a mapping from column names to values, or a data frame"
        raise TypeError(message(owner, argument, expected, table))
    return {
        shown(name): per_example(owner, f"{argument}[{name!r}]", values, size)
        for name, values in named
    }


def shown(value):
    """Return any value as text that a UTF-8 file can hold; what is missing is empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    return str(text).encode("utf-8", "replace").decode()


def sortable(value):
    """Return a number that JSON can hold as one, and everything else as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return str(value)
    # JavaScript's numbers are exact up to here.
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.6g}")
    return shown(value)


def length_of_texts(texts, positions):
    """Return at how many characters texts are cut, so that all of them fit."""
    lengths = np.array([len(shown(texts[i])) for i in positions], np.int64)
    for length in _LENGTHS:
        if np.minimum(lengths, length).sum() <= _MOST_CHARACTERS:
            return length
    return _LENGTHS[-1]


def cut(text, length):
    """Return a text, or as much of it as is shown, with a mark."""
    return text if len(text) <= length else text[:length] + "…"


class Examples:
    """What the page shows of the suspects, as cards and as rows of the table."""

    def __init__(
        self,
        owner,
        *,
        suspects,
        size,
        class_names,
        has_names,
        truth,
        images,
        texts,
        table,
        names,
    ):
        self._suspects, self._truth = suspects, truth
        self._class_names, self._has_names = class_names, has_names
        entries = {"texts": texts, "names": names}
        self._texts, self._names = (
            None if values is None else per_example(owner, argument, values, size)
            for argument, values in entries.items()
        )
        every = {} if table is None else columns(owner, "table", table, size)
        self._num_columns = len(every)
        self._table = dict([*every.items()][:_MOST_COLUMNS])
        self._proposes = bool(np.any(suspects.given_label != suspects.proposed_label))
        self._pictures = (
            None
            if images is None
            else _thumbnails.Thumbnails(owner, images, size, suspects.sample_id)
        )

    def content(self):
        """Return the cards, and what the template says about the table."""
        count = min(_NUM_CARDS, len(self._suspects))
        return {
            "cards": [self._card(i) for i in range(count)],
            "proposes": self._proposes,
            "total": len(self._suspects),
        }

    def _name(self, position):
        if self._names is None:
            return f"example {position}"
        return shown(self._names[position])

    def _card(self, i):
        position = int(self._suspects.sample_id[i])
        proposed = self._proposed(i)
        truth = None if self._truth is None else self._truth[position]
        fields = [
            (name, cut(str(sortable(values[position])), 80))
            for name, values in [*self._table.items()][:_CARD_FIELDS]
        ]
        text = None
        if self._texts is not None:
            text = shown(self._texts[position])
            text = cut(text, _CARD_CHARACTERS)
        return {
            "name": self._name(position),
            "given": self._class_names[self._suspects.given_label[i]],
            "proposed": None if proposed is None else self._class_names[proposed],
            "truth": None if truth is None else self._class_names[truth],
            "confidence": f"{self._suspects.confidence[i]:.3f}",
            "picture": self._picture(position, _CARD_SIDE),
            "text": text,
            "fields": fields,
        }

    def _picture(self, position, side):
        if self._pictures is None:
            return None
        return self._pictures.address(position, side)

    def _proposed(self, i):
        given, proposed = (
            int(labels[i])
            for labels in (self._suspects.given_label, self._suspects.proposed_label)
        )
        return None if given == proposed else proposed

    def columns(self):
        """Return what the script knows about each entry of a row."""
        found = [("sample_id", "example", "value")]
        found += [] if self._names is None else [("name", "name", "value")]
        found += [("given_label", "given label", "class")]
        found += [("proposed_label", "proposed label", "class")] * self._proposes
        found += [("confidence", "confidence", "confidence")]
        found += [] if self._truth is None else [("true_label", "true label", "class")]
        found += [] if self._texts is None else [("text", "text", "text")]
        found += [(name, name, "value") for name in self._table]
        return [
            {"key": key, "label": label, "kind": kind} for key, label, kind in found
        ]

    def row(self, i, length):
        """Return the entries of a row; a text has at most `length` characters."""
        position = int(self._suspects.sample_id[i])
        row = [position]
        if self._names is not None:
            row.append(shown(self._names[position]))
        row.append(int(self._suspects.given_label[i]))
        if self._proposes:
            row.append(self._proposed(i))
        row.append(sortable(self._suspects.confidence[i]))
        if self._truth is not None:
            row.append(int(self._truth[position]))
        if self._texts is not None:
            text = shown(self._texts[position])
            row.append(cut(text, length))
        values = (values[position] for values in self._table.values())
        return [*row, *map(sortable, values)]

    def data(self, room):
        """Return rows and pictures for the script, as JSON, and notes about them.

        Args:
            room: How many bytes there are for both.
        """
        length = 0
        if self._texts is not None:
            length = length_of_texts(self._texts, self._suspects.sample_id)
        rows, room = _as_many_as_fit(
            (_json(self.row(i, length)) for i in range(len(self._suspects))),
            min(room, _MOST_BYTES_OF_ROWS),
            room,
        )
        pictures = []
        if self._pictures is not None:
            positions = self._suspects.sample_id[: len(rows)]
            pictures, room = _as_many_as_fit(
                (_json(self._picture(int(i), _ROW_SIDE)) for i in positions), room, room
            )
        head = _json(
            {
                "columns": self.columns(),
                "classes": self._class_names,
                "has_names": self._has_names,
                "name": 0 if self._names is None else 1,
                "total": len(self._suspects),
            }
        )
        text = (
            f'{head[:-1]},"rows":[{",".join(rows)}],"pictures":[{",".join(pictures)}]}}'
        )
        return text, self._notes(len(rows), len(pictures), length)

    def _notes(self, num_rows, num_pictures, length):
        total, notes = len(self._suspects), []
        large = "more would make the page larger than 20 MB."
        if num_rows < total:
            notes.append(f"The table has the first {num_rows:,} of {total:,}: {large}")
        if self._pictures is not None:
            first = f"the first {num_pictures:,} of {total:,}: {large}"
            all_of_them = f"all {total:,}."
            notes.append(f"Pictures: {first if num_pictures < total else all_of_them}")
        if self._texts is not None:
            positions = self._suspects.sample_id[:num_rows]
            texts = (shown(self._texts[i]) for i in positions)
            if any(len(text) > length for text in texts):
                notes.append(f"Texts are cut after {length:,} characters.")
        if self._num_columns > len(self._table):
            notes.append(
                f"The first {len(self._table)} of {self._num_columns:,} columns are "
                "shown."
            )
        return notes


def _as_many_as_fit(parts, limit, room):
    """Return the first parts that fit into a limit, and the room that is left."""
    kept, used = [], 0
    for part in parts:
        used += len(part.encode()) + 1
        if used > limit:
            break
        kept.append(part)
        room -= len(part.encode()) + 1
    return kept, room


def _json(value):
    """Return JSON that a script element can hold, whatever is in its texts."""
    from jinja2.utils import htmlsafe_json_dumps

    compact = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    return str(htmlsafe_json_dumps(value, **compact))
