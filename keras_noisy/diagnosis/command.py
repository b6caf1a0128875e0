"""What `keras-noisy check` does."""

from __future__ import annotations

import argparse
import pathlib
import zipfile
from typing import Any

from keras_noisy._checks.errors import message
from keras_noisy._data import npz
from keras_noisy.diagnosis import _csv, _findings
from keras_noisy.diagnosis.find_wrong_labels import find_wrong_labels

_OWNER = "keras-noisy"
_INPUTS = ("x", "features", "x_train")
_LABELS = ("labels", "y", "label", "y_train")


def check(options: argparse.Namespace) -> int:
    """Find wrong labels as the options of the command say, and write what was found."""
    output = pathlib.Path(options.output or ".")
    name = options.path.resolve().name.removesuffix(options.path.suffix)
    suspects, report = (output / f"{name}_{e}" for e in ("suspects.csv", "report.html"))
    _check_reviewed(options.reviewed, suspects)
    x, labels, more = _read(options)
    diagnosis = find_wrong_labels(
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
    findings = [diagnosis.verdict, *_findings.next_steps(diagnosis, how)]
    diagnosis.report(report, title=f"Labels of {name}", findings=findings)
    print(f"Report: {report}")
    return 0


def _check_reviewed(reviewed, suspects):
    """Raise if the run would write over the work of a reviewer."""
    if reviewed is not None and pathlib.Path(reviewed).resolve() == suspects.resolve():
        expected = "another file than the one that this run writes"
        mend = "Rename it, or pass another folder as --output."
        raise ValueError(message(_OWNER, "--reviewed", expected, reviewed, mend))


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
        _refuse(options, "a folder", "label", "text", "ids", "groups", "drop")
        return path, None, {"skip_broken": options.skip_broken}
    if not path.is_file():
        expected = "an existing CSV or .npz file, or a folder of images"
        raise ValueError(message(_OWNER, "path", expected, str(path)))
    if path.suffix == ".npz":
        _refuse(options, "an .npz file", "text", "drop")
        return _read_npz(options)
    return _read_csv(options)


def _refuse(options, what, *names):
    for name in names:
        if getattr(options, name):
            expected = f"left out where `path` is {what}"
            raise ValueError(
                message(_OWNER, f"--{name}", expected, getattr(options, name))
            )


def _read_npz(options):
    with open(options.path, "rb") as file:
        archive = _open_npz(options.path, file)
        x = archive[_one_of(options, archive.names, _INPUTS, None)]
        labels = archive[_one_of(options, archive.names, _LABELS, options.label)]
        more = {
            name: archive[_one_of(options, archive.names, (), getattr(options, name))]
            for name in ("ids", "groups")
            if getattr(options, name)
        }
    return x, labels, more


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
    columns = _csv.read(_OWNER, "path", options.path)
    if not options.label:
        mend = f"The file has {list(columns)[:20]}."
        raise ValueError(message(_OWNER, "--label", "a column", options.label, mend))
    for name in ("label", "text", "ids", "groups"):
        _check_column(f"--{name}", getattr(options, name), columns)
    for name in options.drop:
        _check_column("--drop", name, columns)
    labels = _csv.as_labels(columns.pop(options.label))
    more = {
        name: columns.pop(getattr(options, name))
        for name in ("ids", "groups")
        if getattr(options, name)
    }
    for name in options.drop:
        columns.pop(name, None)
    if options.text:
        return columns[options.text], labels, more
    table = {name: _csv.as_numbers(cells) for name, cells in columns.items()}
    return table, labels, more


def _check_column(option, name, columns):
    if name is not None and name not in columns:
        expected = f"one of the columns {list(columns)[:20]}"
        raise ValueError(message(_OWNER, option, expected, name))
