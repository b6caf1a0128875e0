"""The table of suspects: what it says of each label, as arrays, frames and files."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import hashlib
import html
import io
import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import UNVERIFIED
from keras_noisy._data import files, npz
from keras_noisy._typing import ArrayLike, BoolArray, FilePath, Self

COLUMNS = (
    "sample_id", "given_label", "proposed_label", "confidence", "is_suspect",
)  # fmt: skip
_FORMAT = "keras_noisy.Suspects/1"
# Classes that vanish, named in a warning.
_SHOWN = 5
# Rows that a notebook shows.
_ROWS = 10


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Suspects:
    """All examples, ordered from the most to the least suspicious label.

    Attributes:
        sample_id: Position of the example in the data, int64 `(n,)`.
        given_label: Its given label, a class id; -1 where there is none.
        proposed_label: The class proposed instead.
        confidence: How suspicious the given label is; higher is more. In [0, 1],
            but for `mean_losses`, where it is the loss.
        is_suspect: Whether the source holds the given label for wrong.
        source: What the table was made from.
        names: Name, id or file path of each example, in the order of the table, or
            None.
        class_names: What the labels were before they became class ids, `(C,)`, or
            None. Frames, files and `cleaned_labels` then have these.
    """

    sample_id: np.ndarray
    given_label: np.ndarray
    proposed_label: np.ndarray
    confidence: np.ndarray
    is_suspect: np.ndarray
    source: str
    names: np.ndarray | None = None
    class_names: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sample_id)

    def __repr__(self) -> str:
        share = self.is_suspect.mean() if len(self) else float("nan")
        return (
            f"Suspects({int(self.is_suspect.sum())} of {len(self)} labels, "
            f"{share:.1%}, source={self.source!r})"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the sentence, and the first rows."""
        shown = self.top(_ROWS).columns()
        head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in shown)
        rows = "".join(
            "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>"
            for row in zip(*shown.values(), strict=True)
        )
        rest = len(self) - _ROWS
        foot = f"<p>and {rest} more, less suspicious</p>" if rest > 0 else ""
        return (
            f"<p>{html.escape(repr(self))}</p><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table>{foot}"
        )

    def top(self, count: int) -> Suspects:
        """Return the `count` most suspicious examples, as `Suspects`."""
        count = errors.check_count("Suspects", "count", count, low=0)
        fields = {name: getattr(self, name)[:count] for name in COLUMNS}
        names = None if self.names is None else self.names[:count]
        return dataclasses.replace(self, **fields, names=names)

    def named(
        self, names: ArrayLike | None = None, class_names: ArrayLike | None = None
    ) -> Suspects:
        """Return the table with names of its examples and classes.

        Args:
            names: Name, id or file path of each example, `(n,)`, in the order of the
                data; None leaves them as they are.
            class_names: What stands for each class id, `(C,)`: strings, or integers
                with gaps; None leaves them as they are.

        Returns:
            A new table.

        Raises:
            ValueError: If there are not as many names as examples, or fewer classes
                than the table has.
        """
        changes: dict[str, np.ndarray] = {}
        if names is not None:
            names = as_column("Suspects", "names", names, len(self))
            changes["names"] = names[self.sample_id]
        if class_names is not None:
            least = int(max(self.given_label.max(), self.proposed_label.max())) + 1
            class_names = as_column("Suspects", "class_names", class_names)
            if len(class_names) < least:
                expected = f"{least} names or more, one for each class"
                raise ValueError(
                    message("Suspects", "class_names", expected, len(class_names))
                )
            changes["class_names"] = class_names
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def cleaned_labels(self) -> np.ndarray:
        """Return labels `(n,)` in the order of the data, suspects replaced.

        They are what `class_names` says where the table has them, class ids
        otherwise; an example without a label keeps -1, or None among strings. A class
        of which nothing is left is a warning.
        """
        cleaned = np.where(self.is_suspect, self.proposed_label, self.given_label)
        self._warn_of_lost_classes(cleaned)
        labels = np.empty_like(self.given_label)
        labels[self.sample_id] = cleaned
        return self._as_given(labels)

    def keep_mask(self) -> BoolArray:
        """Return a mask `(n,)` in the order of the data: labels to train on.

        True where there is a label and it is no suspect.
        """
        mask = np.empty(len(self), bool)
        mask[self.sample_id] = ~self.is_suspect & (self.given_label != UNVERIFIED)
        return mask

    def _warn_of_lost_classes(self, cleaned):
        lost = np.setdiff1d(self.given_label, cleaned)
        if not len(lost):
            return
        shown = ", ".join(map(repr, self._as_given(lost[:_SHOWN]).tolist()))
        shown += ", ..." if len(lost) > _SHOWN else ""
        kind = "class" if len(lost) == 1 else "the classes"
        warnings.warn(
            f"Suspects: no example is left in `cleaned_labels` of {kind} {shown}: all "
            "such labels are suspects. Look at them before you train on the cleaned "
            "labels; rare classes can look wrong.",
            stacklevel=3,
        )

    def _as_given(self, ids):
        """Return class ids as the labels that they stand for."""
        if self.class_names is None:
            return ids
        has_label = ids != UNVERIFIED
        if has_label.all():
            return self.class_names[ids]
        nothing = UNVERIFIED if self.class_names.dtype.kind in "iu" else None
        kind = np.int64 if nothing is UNVERIFIED else object
        labels = np.full(ids.shape, nothing, kind)
        labels[has_label] = self.class_names[ids[has_label]]
        return labels

    # --- frames and files

    def columns(self, *, all_examples: bool = True) -> dict[str, np.ndarray]:
        """Return the table as columns by their names, in its order.

        Args:
            all_examples: Whether to have all examples, or the suspects alone.

        Returns:
            `sample_id`, `name` where there are names, `given_label`, `proposed_label`,
            `confidence`, `is_suspect`.
        """
        errors.check_bool("Suspects", "all_examples", all_examples)
        rows = slice(None) if all_examples else np.flatnonzero(self.is_suspect)
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        for name in ("given_label", "proposed_label"):
            columns[name] = self._as_given(columns[name])
        if self.names is None:
            return columns
        first = {"sample_id": columns.pop("sample_id"), "name": self.names[rows]}
        return {**first, **columns}

    def to_frame(self, *, all_examples: bool = True) -> Any:
        """Return `columns` as a `pandas.DataFrame`. Needs pandas.

        Args:
            all_examples: Whether to have all examples, or the suspects alone.
        """
        columns = self.columns(all_examples=all_examples)
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "Suspects: `to_frame` needs pandas. Install it with `pip install "
                "pandas`, or use `columns` or `to_csv`."
            ) from error
        return pd.DataFrame(columns)

    def to_csv(
        self,
        path: FilePath,
        *,
        all_examples: bool = False,
        extra_columns: Sequence[str] = (),
    ) -> None:
        """Write the suspects, or all examples, to a CSV file with a header.

        Args:
            path: The file, which appears when it is complete.
            all_examples: Whether to write all examples.
            extra_columns: Names of empty columns to add, for a reviewer to fill in.
                Such a file has a byte order mark if it has letters beyond ASCII,
                which spreadsheets would show as others without it.
        """
        path = errors.check_path("Suspects", "path", path)
        is_list = isinstance(extra_columns, (list, tuple))
        if not (is_list and all(isinstance(name, str) for name in extra_columns)):
            expected = "a list of names"
            received = extra_columns
            raise TypeError(message("Suspects", "extra_columns", expected, received))
        columns = {
            name: values.tolist()
            for name, values in self.columns(all_examples=all_examples).items()
        }
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*columns, *extra_columns])
        empty = [""] * len(extra_columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([*row, *empty])
        with files.atomic_writer(path) as file:
            for_spreadsheet = extra_columns and not text.getvalue().isascii()
            file.write(codecs.BOM_UTF8 if for_spreadsheet else b"")
            # Names of files may hold what no text can.
            file.write(text.getvalue().encode(errors="backslashreplace"))

    def save_cleaned_labels(self, path: FilePath) -> None:
        """Write `cleaned_labels` to a `.npy` file that `numpy.load` reads."""
        path = errors.check_path("Suspects", "path", path)
        labels = self.cleaned_labels()
        if labels.dtype == object:
            labels = np.array(["" if label is None else str(label) for label in labels])
        with files.atomic_writer(path) as file:
            np.save(file, labels, allow_pickle=False)

    def save(self, path: FilePath) -> None:
        """Write the table to a compressed `.npz` file without pickles."""
        path = errors.check_path("Suspects", "path", path)
        with files.atomic_writer(path) as file:
            np.savez_compressed(file, **to_arrays(self))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: FilePath) -> Self:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or is something else.
        """
        return cls(**load_fields("Suspects", path))

    def to_datalab(self) -> dict[str, np.ndarray]:
        """Return columns like those of cleanlab's `Datalab.get_issues("label")`.

        `pandas.DataFrame(suspects.to_datalab())` has one row per example, in the
        order of the data. `label_score` is in [0, 1], lower is more suspicious.
        """
        if self.source == "mean_losses":
            score = np.exp(-np.maximum(self.confidence, 0))
        else:
            score = 1 - self.confidence
        predicted = np.where(self.is_suspect, self.proposed_label, self.given_label)
        columns = {
            "is_label_issue": self.is_suspect,
            "label_score": score,
            "given_label": self._as_given(self.given_label),
            "predicted_label": self._as_given(predicted),
        }
        back = np.argsort(self.sample_id)
        return {name: values[back] for name, values in columns.items()}

    def precision_and_recall(self, is_corrupted: ArrayLike) -> dict[str, float]:
        """Compare with the truth, where an experiment knows it.

        Args:
            is_corrupted: Mask `(n,)` of the labels that are wrong.

        Returns:
            A dict: `precision` and `recall` of `is_suspect` (NaN over no example),
            and `average_precision` of the order, as scikit-learn has it: labels that
            are equally suspicious are found together.
        """
        truth = errors.as_array(is_corrupted)
        if truth.shape != self.sample_id.shape or not np.isin(truth, (0, 1)).all():
            expected = f"a mask of shape ({len(self)},)"
            received = errors.describe_array(truth)
            raise ValueError(message("Suspects", "is_corrupted", expected, received))
        truth = truth.astype(bool)
        wrong = truth[self.sample_id]
        # Of equal ones the last stands for all.
        last = np.searchsorted(-self.confidence, -self.confidence, side="right")
        precision_there = np.append(0, np.cumsum(wrong))[last] / last
        found = int((wrong & self.is_suspect).sum())
        return {
            "precision": _share(found, int(self.is_suspect.sum())),
            "recall": _share(found, int(wrong.sum())),
            "average_precision": _share(precision_there[wrong].sum(), wrong.sum()),
        }


def _cell(value):
    """Return what a notebook shows of a value."""
    is_share = isinstance(value, (float, np.floating))
    return f"{value:.3f}" if is_share else html.escape(str(value))


def as_column(
    owner: str, argument: str, values: ArrayLike, size: int | None = None
) -> np.ndarray:
    """Return integers or strings as an array `(n,)`, or raise."""
    array = errors.as_array(values)
    if array.dtype.kind == "O":
        kinds = {type(value) for value in array.ravel().tolist()}
        array = np.array([str(value) for value in array]) if kinds == {str} else array
    if array.ndim != 1 or array.dtype.kind not in "iubUT" or size not in (
        None, len(array)
    ):  # fmt: skip
        shape = "(n,)" if size is None else f"({size},)"
        expected = f"strings or integers of shape {shape}"
        raise ValueError(
            message(owner, argument, expected, errors.describe_array(array))
        )
    return array


def to_arrays(suspects: Suspects) -> dict[str, np.ndarray]:
    """Return the table as arrays for an `.npz` file, with a digest of them."""
    arrays = {name: getattr(suspects, name) for name in COLUMNS}
    texts = {
        "source": suspects.source,
        "names": _as_list(suspects.names),
        "class_names": _as_list(suspects.class_names),
    }
    arrays["texts"] = np.frombuffer(json.dumps(texts).encode(), np.uint8)
    digest = np.array(_digest(arrays))
    return {"format": np.array(_FORMAT), **arrays, "digest": digest}


def load_fields(owner: str, path: FilePath) -> dict[str, Any]:
    """Return the arguments of `Suspects` from a file, or raise."""
    path = errors.check_path(owner, "path", path)
    with open(path, "rb") as file:
        try:
            return from_arrays(npz.Npz(file))
        except MemoryError:
            raise
        # zipfile, zlib and NumPy raise half a dozen types on damaged bytes.
        except Exception as error:
            expected = f"an undamaged file that `{owner}.save` wrote"
            mend = f"({type(error).__name__}: {error})"
            raise ValueError(message(owner, "path", expected, path, mend)) from error


def from_arrays(archive: Any) -> dict[str, Any]:
    """Return the arguments of `Suspects` from the arrays of a file, or raise."""
    found = str(archive["format"])
    if found != _FORMAT:
        raise ValueError(f"its format is {found!r}")
    arrays = {name: archive[name] for name in (*COLUMNS, "texts")}
    if str(archive["digest"]) != _digest(arrays):
        raise ValueError("what it holds does not match its digest")
    texts = json.loads(arrays.pop("texts").tobytes())
    for name in ("names", "class_names"):
        if texts[name] is not None:
            texts[name] = np.array(texts[name])
    return {**arrays, **texts}


def _as_list(column):
    return None if column is None else column.tolist()


def _digest(arrays):
    state = hashlib.sha256()
    for name, values in arrays.items():
        state.update(f"{name} {values.shape} {values.dtype.str}".encode())
        state.update(np.ascontiguousarray(values).tobytes())
    return state.hexdigest()


def _share(part, whole):
    return part / float(whole) if whole else float("nan")
