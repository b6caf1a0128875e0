"""The main job of the README, on few examples and epochs."""

import importlib.util
import pathlib
import re

import numpy as np
import pytest

from keras_noisy import datasets

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = ROOT / "examples" / "quickstart.py"
SPEC = importlib.util.spec_from_file_location("quickstart", PATH)
quickstart = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(quickstart)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Return arguments for images of three classes, and the folder of the output."""
    folder = tmp_path_factory.mktemp("quickstart")
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (rng.integers(0, 60, (120, 4, 4)) + 60 * y[:, None, None]).astype("uint8")
    np.savez(folder / "own.npz", x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    arguments = ["--npz", str(folder / "own.npz"), "--epochs", "2", "--seeds", "0"]
    return [*arguments, "--out", str(folder / "out")], folder / "out"


@pytest.fixture(scope="module")
def first(own):
    """Run once, and return the report."""
    arguments, out = own
    quickstart.main(arguments)
    return (out / "report.md").read_text(encoding="utf-8")


def table_of(report):
    return [line for line in report.splitlines() if line.startswith("| ")]


def test_every_method(own, first):
    _, *rows = table_of(first)
    assert [row.split(" | ")[0] for row in rows] == [
        f"| {method}" for method in quickstart.METHODS
    ]
    for row in rows:
        last, best, fitted = (float(cell.split()[0]) for cell in row.split(" | ")[1:])
        assert 0 < last <= best <= 1 and 0 <= fitted <= 1
    assert first.startswith("# custom, 40% symmetric noise, 2 epochs\n")
    assert "* seed 0: 48 of 120 labels are wrong; " in first
    assert " are suspects" in first
    assert "    python examples/quickstart.py --npz " in first
    assert "s of CPU time" in first
    assert (own[1] / "quickstart.png").stat().st_size > 10_000


def test_finished_runs_are_kept(own, first, monkeypatch, capsys):
    arguments, out = own

    def train(method, *others):
        asked.append(method)
        return [0.25, 0.125], np.zeros(120, int)

    def find(*arguments, **options):
        raise RuntimeError("looked again")

    asked = []
    monkeypatch.setattr(quickstart, "train", train)
    monkeypatch.setattr(quickstart.keras_noisy, "find_wrong_labels", find)
    (path,) = out.glob("*/Equal Loss.npy")
    path.unlink()
    # A kill in the middle of a write leaves a part.
    (path.parent / "unfinished.npy").write_bytes(b"half")
    capsys.readouterr()
    quickstart.main(arguments)
    assert asked == ["Equal Loss"]
    before, after = table_of(first), table_of(capsys.readouterr().out)
    changed = [row for row, old in zip(after, before, strict=True) if row != old]
    assert changed == [row for row in after if row.startswith("| Equal Loss | 0.125 ")]
    # With other labels nothing is taken from there.
    with pytest.raises(RuntimeError, match="looked again"):
        quickstart.main([*arguments, "--rate", "0.2"])


def test_digits_are_the_default(monkeypatch):
    seen = []

    def run(args, data, seed):
        seen.append((args, data, seed))

    monkeypatch.setattr(quickstart, "run", run)
    monkeypatch.setattr(quickstart, "report", lambda *arguments: None)
    quickstart.main([])
    assert [seed for *_, seed in seen] == [0, 1, 2]
    args, data, _ = seen[0]
    assert args.rate == 0.4 and args.epochs == 30 and not args.verbose
    assert (data.x_train == datasets.load("digits").x_train).all()


def test_missing_file_is_named(own):
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        quickstart.main([*own[0], "--npz", "none.npz"])


def test_it_is_short_and_uses_what_is_public():
    lines = PATH.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert not [line for line in lines if re.search(r"keras_noisy\._[a-z]", line)]
