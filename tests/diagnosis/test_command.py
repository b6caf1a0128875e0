"""The command `keras-noisy`."""

import re

import numpy as np
import pytest

from keras_noisy.__main__ import main
from keras_noisy.diagnosis import _csv, command

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image", reason="needs Pillow")


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


def test_how_numbers_are_written():
    read = _csv.as_numbers
    assert read(["1", " -2.5", "", "1e3", ".5"]) == [1, -2.5, None, 1000, 0.5]
    assert read(["1,5", "-12", "1.234,5", ""]) == [1.5, -12, 1234.5, None]
    assert read(["1,234", "999", "1,234,567.5"]) == [1234, 999, 1234567.5]
    assert read(["0,125", "12,5"]) == [0.125, 12.5]
    # Words for nothing are missing beside numbers, and categories beside words.
    assert read(["NA", "2", "?", "n/a", "nan"]) == [None, 2, None, None, None]
    assert read(["NA", "red", " "]) == ["NA", "red", None]
    for words in (["1,5", "1.5"], ["1,2,3"], ["2020-01-02"], ["1_000"]):
        assert read(words) == words


def test_files_of_spreadsheets(tmp_path):
    """A separator above the header, UTF-16, and what lies beside the table."""
    text = "sep=;\r\n a ;b;\r\n1,5;x;\r\n;;\r\n2;é;\r\n"
    path = tmp_path / "a.csv"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert _csv.read("owner", "path", path) == {"a": ["1,5", "2"], "b": ["x", "é"]}
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="Save it as UTF-8, which spreadsheets call"):
        _csv.read("owner", "path", path)
    assert _csv.read("owner", "path", path, "latin-1")["b"] == ["x", "é"]
    path.write_text('a,b\n1,"' + "x" * 200_000)
    with pytest.raises(ValueError, match="quotation mark that is never closed"):
        _csv.read("owner", "path", path)


def test_decimal_commas_are_numbers(tmp_path, capsys):
    path = tmp_path / "german.csv"
    rows = [f"{i % 2},{i:02};{'ab'[i % 2]}" for i in range(30)]
    path.write_text("\n".join(["wert;klasse", *rows]))
    assert main(["check", str(path), "--label", "klasse", "--epochs", "1",
                 "--output", str(tmp_path)]) == 0  # fmt: skip
    assert "left out" not in capsys.readouterr().out


def test_a_run_that_is_interrupted(tmp_path, capsys, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "find_wrong_labels", stop)
    arguments = ["check", str(table(tmp_path / "a.csv")), "--label", "species"]
    assert main(arguments) == 130
    assert "With --storage a run can be continued" in capsys.readouterr().err
    assert main([*arguments, "--storage", str(tmp_path / "run")]) == 130
    assert "The same command goes on from there" in capsys.readouterr().err


@pytest.mark.every_backend
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
        (
            ["objects.npz"],
            r"arrays of numbers or strings. .*y: .*`array.astype\(str\)`",
        ),
        (["insects.csv", "--label", "species", "--epochs", "0"], "`--epochs` must be"),
        (["insects.csv", "--label", "species", "--seed", "-1"], "Received: --seed=-1"),
        (["insects.csv", "--label", "id"], "`--label` must be .* Received: --label="),
        (
            ["insects.csv", "--label", "species", "--ids", "species"],
            "`--ids` must be another column than that of --label",
        ),
        (["insects.csv", "--label", "species", "--text", "species"], "another column"),
        (
            ["insects.csv", "--label", "id", "--skip-broken"],
            "`--skip-broken` must be left out where `path` is a CSV file",
        ),
        (["insects.csv", "--label", "id", "--output", "one.csv"], "be a folder"),
        (["insects.csv", "--label", "id", "--storage", "one.csv"], "be a folder"),
        (
            ["insects.csv", "--label", "id", "--reviewed", "none.csv"],
            "`--reviewed` must be an existing file",
        ),
        (["insects.csv", "--label", "id", "--encoding", "x"], "name of an encoding"),
        (
            ["insects.csv", "--label", "species", "--groups", "colour"],
            "`--groups` must be of 3 different examples or groups",
        ),
        (["photos"], "`path` must be .*=1 of 2 broken: .* with `--skip-broken`"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, monkeypatch, arguments, text):
    table(tmp_path / "insects.csv")
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "one.csv").write_text("a\n1\n2\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xfa\xfe,b\n1,2\n")
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    objects = np.array(["a", "b"], object)
    np.savez(tmp_path / "objects.npz", x=np.zeros((2, 2)), y=objects)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    (tmp_path / "photos" / "a" / "0.png").write_bytes(b"no image")
    Image.new("L", (2, 2)).save(tmp_path / "photos" / "b" / "0.png")
    monkeypatch.chdir(tmp_path)
    assert main(["check", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("keras-noisy: ") and err.count("\n") == 1
    assert err.count("keras-noisy:") == 1 and "find_wrong_labels" not in err
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
