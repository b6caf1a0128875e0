"""Files that are whole or not there, and whose files are deleted."""

import json
import os

import pytest

from keras_noisy._data import files

UNFINISHED = f"run.json.{'0a' * 16}.tmp"
# What a user, an editor or a copy might leave in the folder of a run.
OTHERS = (
    "notes.tmp",
    "draft.tmp",
    f"notes.{'0a' * 16}.tmp",
    f"run.json.{'0A' * 16}.tmp",
    f"run.json.{'0a' * 15}.tmp",
    f"run.json.{'0a' * 16}.tmp.bak",
    f"old-run.json.{'0a' * 16}.tmp",
    f"runXjson.{'0a' * 16}.tmp",
    "run.json.tmp",
    "run.json.bak",
    "my-run.json",
)


def fill(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_only_unfinished_files_of_the_run_are_left_overs(tmp_path):
    fill(tmp_path, "run.json", UNFINISHED, *OTHERS)
    files.remove_leftovers(tmp_path, r"run\.json")
    assert sorted(os.listdir(tmp_path)) == sorted(["run.json", *OTHERS])
    assert all((tmp_path / name).read_text() == name for name in OTHERS)


def test_a_run_is_deleted_and_nothing_else(tmp_path):
    fill(tmp_path / "shared", "run.json", UNFINISHED, *OTHERS)
    fill(tmp_path / "own", "run.json", UNFINISHED)
    fill(tmp_path / "elsewhere", "run.json")
    os.symlink(tmp_path / "elsewhere", tmp_path / "link")
    for name in ("shared", "own", "link", "missing"):
        files.remove_run(tmp_path / name, r"run\.json")
    assert sorted(os.listdir(tmp_path / "shared")) == sorted(OTHERS)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "link", "shared"]
    assert not os.listdir(tmp_path / "elsewhere")


def test_a_missing_folder_is_named(tmp_path):
    folder = tmp_path / "missing"
    with pytest.raises(FileNotFoundError) as error:
        files.write_json(folder / "state.json", {})
    assert str(error.value) == f"[Errno 2] There is no such folder: {str(folder)!r}"


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "state.json"
    files.write_json(path, {"epoch": 1})
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        files.atomic_writer(path) as file,
    ):
        file.write(b"{")
        raise RuntimeError("in the middle")
    assert os.listdir(tmp_path) == ["state.json"]
    assert json.loads(path.read_text()) == {"epoch": 1}
