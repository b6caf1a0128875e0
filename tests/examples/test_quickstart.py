"""The main job of the README, on few examples and epochs."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from keras_noisy import datasets

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location(
    "quickstart", ROOT / "examples" / "quickstart.py"
)
quickstart = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(quickstart)

SMALL = ["--epochs", "2", "--train-size", "128", "--verbose", "0"]


def run(out, *arguments):
    quickstart.main([*SMALL, "--out", str(out), *arguments])
    return [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]


def test_every_method(tmp_path, capsys):
    records = run(tmp_path, "--seeds", "0")
    assert [record["method"] for record in records] == list(quickstart.METHODS)
    for record in records:
        assert len(record["history"]["val_accuracy"]) == 2
        assert record["best"] >= record["final"] > 0
        assert record["noise_rate"] == pytest.approx(0.4, abs=0.01)
    assert len({record["noise_digest"] for record in records}) == 1
    report = (tmp_path / "report.md").read_text()
    out = capsys.readouterr().out
    for title in quickstart.TITLES.values():
        assert f"| {title} |" in report
        assert f"| {title} |" in out
    assert "original class excluded" in report
    assert records[0]["noise_digest"][:16] in report
    assert "python examples/quickstart.py --epochs 2" in report
    assert (tmp_path / "learning_curves.png").stat().st_size > 10_000


def test_finished_runs_are_kept_and_other_settings_are_not_mixed(tmp_path, capsys):
    some = ["--methods", "cross_entropy", "equal_loss", "--seeds", "1"]
    first = run(tmp_path, *some)
    # A kill in the middle of a write leaves part of a line.
    path = tmp_path / "runs.jsonl"
    lines = path.read_text().splitlines()
    path.write_text(lines[0] + "\n" + lines[1][:100])
    capsys.readouterr()
    quickstart.main([*SMALL, "--out", str(tmp_path), *some])
    out = capsys.readouterr().out
    assert out.count("done before") == 1
    assert "left out a line" in out
    again = json.loads(path.read_text().splitlines()[-1])
    assert again["method"] == "equal_loss"
    assert again["noise_digest"] == first[1]["noise_digest"]
    assert again["final"] == pytest.approx(first[1]["final"], abs=0.05)
    capsys.readouterr()
    quickstart.main([*SMALL, "--out", str(tmp_path), *some, "--rate", "0.2"])
    assert "done before" not in capsys.readouterr().out


def test_own_data_and_label_files(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.integers(0, 60, (60, 12, 12)) + 60 * y[:, None, None]).astype("uint8")
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    noisy = np.where(np.arange(60) < 15, (y + 1) % 3, y).astype("uint8")
    np.savez(tmp_path / "noisy.npz", quarter=noisy)
    arguments = ["--npz", str(tmp_path / "own.npz"), "--epochs", "1", "--verbose", "0"]
    arguments += ["--methods", "proselflc", "--seeds", "0"]
    arguments += ["--noisy-labels", f"{tmp_path / 'noisy.npz'}:quarter"]
    quickstart.main([*arguments, "--out", str(tmp_path)])
    (line,) = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert json.loads(line)["noise_rate"] == 0.25


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--noise", "asymmetric", "--npz", "three.npz"], "CIFAR-10's classes"),
        (["--noisy-labels", "noisy.npz:other", "--npz", "three.npz"], "'quarter'"),
        (["--noisy-labels", "short.npy", "--npz", "three.npz"], "60"),
        (["--npz", "none.npz"], "none.npz"),
    ],
)
def test_errors(tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    x, y = np.zeros((60, 8, 8), "uint8"), np.arange(60) % 3
    np.savez("three.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    np.savez("noisy.npz", quarter=y)
    np.save("short.npy", y[:10])
    with pytest.raises(SystemExit, match=f"error: .*{text}"):
        quickstart.main([*arguments, "--epochs", "1"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("digits", None)),
        (["--source", "tfds"], ("digits", None)),
        (["--data", "cifar100"], ("cifar100", None)),
        (["--data", "mnist", "--source", "tfds"], ("mnist", "tfds")),
    ],
)
def test_data_sets(monkeypatch, arguments, expected):
    asked, digits = [], datasets.load("digits")

    def load(name, source):
        asked.append((name, source))
        return digits

    monkeypatch.setattr(datasets, "load", load)
    args = quickstart.parse_arguments(arguments)
    (x_train, y_train), (x_test, _), given = quickstart.load_data(args)
    assert asked == [expected] and given is None
    assert x_train.shape == (1347, 8, 8, 1) and x_test.shape == (450, 8, 8, 1)
    assert y_train.tolist() == digits.y_train.tolist()
    assert x_train == pytest.approx(digits.x_train / 255)
