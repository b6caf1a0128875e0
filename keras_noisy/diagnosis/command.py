"""What `keras-noisy check` does."""

from __future__ import annotations

import argparse
import codecs
import pathlib
import re
import zipfile
from typing import Any

from keras_noisy._checks.errors import message
from keras_noisy._data import npz
from keras_noisy.diagnosis import _csv, _findings
from keras_noisy.diagnosis.find_wrong_labels import find_wrong_labels

_OWNER = "keras-noisy"
_INPUTS = ("x", "features", "x_train")
_LABELS = ("labels", "y", "label", "y_train")
# What the arguments of `find_wrong_labels` are called on the command line.
_OPTIONS = {
    "x": "path",
    "labels": "--label",
    "skip_broken": "--skip-broken",
    **{
        name: f"--{name}"
        for name in ("epochs", "groups", "ids", "reviewed", "seed", "storage")
    },
}


def check(options: argparse.Namespace) -> int:
    """Find wrong labels as the options of the command say, and write what was found."""
    output = pathlib.Path(options.output or ".")
    name = options.path.resolve().name.removesuffix(options.path.suffix)
    suspects, report = (output / f"{name}_{e}" for e in ("suspects.csv", "report.html"))
    _check_files(options, suspects)
    x, labels, more = _read(options)
    diagnosis = _find(
        x,
        labels,
        epochs=options.epochs,
        seed=options.seed,
        storage=options.storage,
        reviewed=options.reviewed,
        verbose=0 if options.quiet else "auto",
        **more,
    )
    output.mkdir(parents=True, exist_ok=True)
    how = _how(suspects, report)
    if options.quiet:
        print(diagnosis.verdict)
    else:
        print(_findings.as_text(diagnosis, how))
    diagnosis.to_csv(suspects)
    print(f"\nSuspects: {suspects}")
    findings = _findings.for_report(diagnosis, how)
    settings = {n: v for n, v in sorted(vars(options).items()) if v not in (None, [])}
    diagnosis.report(
        report, title=f"Labels of {name}", findings=findings, settings=settings
    )
    print(f"Report: {report}")
    return 0


def _find(x, labels, **arguments):
    """Call `find_wrong_labels`, whose errors then name options of the command."""
    try:
        return find_wrong_labels(x, labels, **arguments)
    except (ValueError, TypeError, OSError) as error:
        text = str(error).removeprefix("find_wrong_labels: ")
        if text == str(error):
            raise
        names = "|".join(_OPTIONS)
        for before, after in (("`", "`"), ("Received: ", "=")):
            text = re.sub(
                f"{before}({names}){after}",
                lambda found, ends=(before, after): _OPTIONS[found[1]].join(ends),
                text,
            )
        raise ValueError(f"{_OWNER}: {text}") from error


def _check_files(options, suspects):
    """Raise if the run would write over the work of a reviewer, or cannot write."""
    reviewed = options.reviewed
    if reviewed is not None and pathlib.Path(reviewed).resolve() == suspects.resolve():
        expected = "another file than the one that this run writes"
        mend = "Rename it, or pass another folder as --output."
        raise ValueError(message(_OWNER, "--reviewed", expected, reviewed, mend))
    if reviewed is not None and not pathlib.Path(reviewed).is_file():
        raise ValueError(message(_OWNER, "--reviewed", "an existing file", reviewed))
    for name in ("output", "storage"):
        path = pathlib.Path(getattr(options, name) or ".")
        if path.exists() and not path.is_dir():
            raise ValueError(message(_OWNER, f"--{name}", "a folder", str(path)))


def _how(suspects, report):
    """Return by what somebody goes on who works on the command line."""
    return {
        "decide": "",
        "look": str(report),
        "review": "fill in `confirmed` (yes or no) or `corrected_label` in a copy of "
        f"{suspects}, and pass that as `--reviewed` the next time",
        "check": "Review the suspects first.",
        "train": "Train on the proposed labels of the suspects, or without these rows.",
    }


def _read(options: argparse.Namespace) -> tuple[Any, Any, dict[str, Any]]:
    """Return inputs, labels, and further arguments of `find_wrong_labels`."""
    path = options.path
    if path.is_dir():
        _refuse(
            options, "a folder", "label", "text", "ids", "groups", "drop", "encoding"
        )
        return path, None, {"skip_broken": options.skip_broken}
    if not path.is_file():
        expected = "an existing CSV or .npz file, or a folder of images"
        raise ValueError(message(_OWNER, "path", expected, str(path)))
    if path.suffix == ".npz":
        _refuse(options, "an .npz file", "text", "drop", "encoding", "skip_broken")
        return _read_npz(options)
    _refuse(options, "a CSV file", "skip_broken")
    return _read_csv(options)


def _refuse(options, what, *names):
    for name in names:
        if getattr(options, name):
            expected = f"left out where `path` is {what}"
            option = f"--{name.replace('_', '-')}"
            raise ValueError(message(_OWNER, option, expected, getattr(options, name)))


def _read_npz(options):
    with open(options.path, "rb") as file:
        archive = _open_npz(options.path, file)
        x = _array(options, archive, _INPUTS, None)
        labels = _array(options, archive, _LABELS, options.label)
        more = {
            name: _array(options, archive, (), getattr(options, name))
            for name in ("ids", "groups")
            if getattr(options, name)
        }
    return x, labels, more


def _array(options, archive, usual, wanted):
    name = _one_of(options, archive.names, usual, wanted)
    try:
        return archive[name]
    except ValueError as error:
        expected = "an .npz file of arrays of numbers or strings"
        mend = f"({name}: {error}) Save Python objects as strings, `array.astype(str)`."
        text = message(_OWNER, "path", expected, str(options.path), mend)
        raise ValueError(text) from error


def _open_npz(path, file):
    try:
        return npz.Npz(file)
    except (ValueError, zipfile.BadZipFile) as error:
        expected, mend = "an undamaged .npz file", f"({error})"
        text = message(_OWNER, "path", expected, str(path), mend)
        raise ValueError(text) from error


def _one_of(options, names, usual, wanted):
    """Return which of the arrays of a file is meant, or raise."""
    found = [name for name in ([wanted] if wanted else usual) if name in names]
    if not found:
        expected = f"a file with an array {' or '.join([wanted] if wanted else usual)}"
        mend = f"It has {list(names)[:20]}."
        raise ValueError(message(_OWNER, "path", expected, str(options.path), mend))
    return found[0]


def _read_csv(options):
    _check_encoding(options.encoding)
    columns = _csv.read(_OWNER, "path", options.path, options.encoding)
    if not options.label:
        mend = f"The file has {list(columns)[:20]}."
        raise ValueError(message(_OWNER, "--label", "a column", options.label, mend))
    purposes = {}
    for name in ("label", "text", "ids", "groups"):
        column = getattr(options, name)
        _check_column(f"--{name}", column, columns)
        if column is not None and column in purposes:
            expected = f"another column than that of --{purposes[column]}"
            raise ValueError(message(_OWNER, f"--{name}", expected, column))
        purposes[column] = name
    for name in options.drop:
        _check_column("--drop", name, columns)
    labels = _csv.as_labels(columns.pop(options.label))
    more = {
        name: columns.pop(getattr(options, name))
        for name in ("ids", "groups")
        if getattr(options, name)
    }
    if options.text:
        return columns[options.text], labels, more
    table = {
        name: _csv.as_numbers(cells)
        for name, cells in columns.items()
        if name not in options.drop
    }
    if not table:
        expected = "a CSV file with a column that is neither --label nor left out"
        raise ValueError(message(_OWNER, "path", expected, str(options.path)))
    return table, labels, more


def _check_encoding(encoding):
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError as error:
        expected = "the name of an encoding, for instance latin-1"
        raise ValueError(message(_OWNER, "--encoding", expected, encoding)) from error


def _check_column(option, name, columns):
    if name is not None and name not in columns:
        expected = f"one of the columns {list(columns)[:20]}"
        raise ValueError(message(_OWNER, option, expected, name))
