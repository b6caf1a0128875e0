"""The command `keras-noisy`."""

import re

import numpy as np
import pytest

from keras_noisy.__main__ import main
from keras_noisy.diagnosis import _csv

pytest.importorskip("matplotlib")


def table(path, separator=","):
    generator = np.random.default_rng(0)
    lines = [separator.join(["width", "colour", "species", "id"])]
    for i in range(30):
        colour, species = ("red", "ant") if i % 2 else ("blue", "bee")
        width = "" if i == 3 else f"{i % 2 + generator.normal(0, 0.1):.3f}"
        species = "bee" if i == 5 else species
        lines.append(separator.join([width, colour, species, f"n{i}"]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table(tmp_path, capsys, separator):
    path = table(tmp_path / "insects.csv", separator)
    out = tmp_path / "out"
    code = main(["check", str(path), "--label", "species", "--ids", "id",
                 "--epochs", "20", "--output", str(out)])  # fmt: skip
    shown = capsys.readouterr().out
    assert code == 0
    assert "of the 30 labels" in shown and "Training 1 of 3" in shown
    assert "replaced by the median or by a category: width" in shown
    assert (
        (out / "insects_suspects.csv").read_text().splitlines()[1].startswith("5,n5,")
    )
    report = (out / "insects_report.html").read_text()
    assert "n5" in report
    for text in (shown, report):
        assert f"a copy of {out / 'insects_suspects.csv'}, and pass" in text
        assert "to_csv(" not in text and "cleaned_labels" not in text


def test_whole_numbers_are_labels(tmp_path, capsys):
    """As anywhere else, -1 and an empty cell say that there is no label."""
    path = tmp_path / "numbers.csv"
    rows = [f"{i % 2 + i / 100},{i % 2},{i}" for i in range(30)]
    rows[4], rows[5] = "0.04,-1,4", "1.05,,5"
    path.write_text("\n".join(["width,class,id", *rows]) + "\n")
    code = main(["check", str(path), "--label", "class", "--drop", "id",
                 "--epochs", "1", "--output", str(tmp_path)])  # fmt: skip
    assert code == 0
    shown = capsys.readouterr().out
    assert "28 labels" in shown and "2 examples have no label" in shown


def test_which_cells_are_numbers():
    assert _csv.as_labels(["10", " -1", "", "2.0"]) == [10, -1, None, 2]
    # Names, of which -1 and 01 are some.
    for cells in (["-2", "-1"], ["01", "1"], ["1", "a"], ["1.5", "1"], ["+1", "1"]):
        assert _csv.as_labels(cells) == cells


def test_arrays(tmp_path, capsys, monkeypatch):
    generator = np.random.default_rng(0)
    path = tmp_path / "features.npz"
    labels = np.arange(30) % 3
    np.savez(path, features=generator.normal(size=(30, 4)), y=labels)
    monkeypatch.chdir(tmp_path)
    assert main(["check", str(path), "--epochs", "1", "--quiet"]) == 0
    assert "Training" not in capsys.readouterr().out
    assert (tmp_path / "features_suspects.csv").exists()
    assert main(["check", str(path), "--label", "truth"]) == 2
    assert "with an array truth" in capsys.readouterr().err


def test_texts(tmp_path, capsys):
    path = tmp_path / "texts.csv"
    rows = [
        f'"the {w} is {w}, {i % 7}",{w}' for i, w in enumerate(["red", "blue"] * 12)
    ]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    code = main(["check", str(path), "--label", "label", "--text", "text",
                 "--epochs", "1", "--output", str(tmp_path)])  # fmt: skip
    assert code == 0
    assert "of the 24 labels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing.csv", "--label", "species"], "`path` must be an existing CSV"),
        (["insects.csv"], "`--label` must be a column. .* The file has"),
        (["insects.csv", "--label", "spices"], "`--label` must be one of the columns"),
        (["insects.csv", "--label", "species", "--drop", "x"], "`--drop` must be one"),
        (
            ["insects.csv", "--label", "id", "--reviewed", "insects_suspects.csv"],
            "`--reviewed` must be another file than .* Rename it",
        ),
        (["insects.csv", "--label", "id"], "Is this a column of ids"),
        (["."], "a folder with CLASS/IMAGE files"),
        ([".", "--label", "a"], "`--label` must be left out where `path` is a folder"),
        (["one.csv", "--label", "a"], "a header and two columns or more"),
        (["header.csv", "--label", "a"], "with rows below its header"),
        (["bytes.csv", "--label", "a"], "a CSV file in UTF-8"),
        (["broken.npz"], "`path` must be an undamaged .npz file"),
        (["insects.csv", "--label", "species", "--epochs", "0"], "`epochs` must be"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, monkeypatch, arguments, text):
    table(tmp_path / "insects.csv")
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "one.csv").write_text("a\n1\n2\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\xfa,b\n1,2\n")
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    monkeypatch.chdir(tmp_path)
    assert main(["check", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("keras-noisy: ") and err.count("\n") == 1
    assert err.count("keras-noisy:") == 1
    assert re.search(text, err)


def test_usage(capsys):
    for arguments in ([], ["check"], ["clean"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.count(".") == 2
