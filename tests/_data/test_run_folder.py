"""The folder of a run: one process, one run, and files that are whole."""

import errno
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from keras_noisy._data import files
from keras_noisy._data.run_folder import InUseError, RunFolder

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORM = "keras_noisy.tests/2"


def make(path, form=FORM):
    return RunFolder("Owner", path, form, "state.json", r"table-\d\.bin")


def write(folder, epoch=1, content=b"0123456789"):
    """Write a table and the state that names it."""
    with folder.writer(f"table-{epoch}.bin") as file:
        file.write(content)
    folder.write(epoch=epoch)


def begin(path, **identity):
    folder = make(path)
    assert folder.open(("epoch",), **{"seed": 1, **identity}) is None
    write(folder)
    return folder


def reopen(path, **identity):
    return make(path).open(("epoch",), **{"seed": 1, **identity})


def test_what_was_written_is_read(tmp_path):
    begin(tmp_path)
    folder = make(tmp_path)
    assert folder.open(("epoch",), seed=1)["epoch"] == 1
    with folder.reading("table-1.bin") as path, open(path, "rb") as file:
        assert file.read() == b"0123456789"


# --- one process


HOLD = """
import sys, time
from tests._data import test_run_folder as t
folder = t.begin(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def hold(path):
    """Start a process that has the folder, and return it when it has."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_another_process_is_kept_out_until_it_ends_or_is_killed(tmp_path):
    process = hold(tmp_path)
    try:
        before = (tmp_path / "state.json").read_bytes()
        text = (
            "Owner: `storage` must be a folder that no other process uses. Received: "
            f"storage={str(tmp_path)!r}. One does: let it end, or choose another "
            "folder."
        )
        for attempt in (lambda: reopen(tmp_path), lambda: make(tmp_path).delete()):
            with pytest.raises(InUseError) as caught:
                attempt()
            assert str(caught.value) == text
        assert (tmp_path / "state.json").read_bytes() == before
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / ".lock").exists()
    assert reopen(tmp_path)["epoch"] == 1


def test_a_later_run_of_the_process_takes_over(tmp_path):
    """The first may live on in the traceback that interrupted it."""
    first = begin(tmp_path)
    second = make(tmp_path)
    second.open(("epoch",), seed=1)
    with pytest.raises(ValueError, match=r"must be a folder of one run at a time"):
        write(first, 2)
    first.release()
    write(second, 2)
    assert reopen(tmp_path)["epoch"] == 2


def test_a_run_that_is_forgotten_lets_others_in(tmp_path):
    folder = begin(tmp_path)
    del folder
    gc.collect()
    process = hold(tmp_path / "other")
    process.communicate()
    assert reopen(tmp_path / "other")["epoch"] == 1
    # Here as there: what holds no object holds no lock.
    assert reopen(tmp_path)["epoch"] == 1


def test_what_changed_while_the_folder_was_free_is_seen(tmp_path):
    first = begin(tmp_path)
    first.release()
    with first.held():
        pass
    second = make(tmp_path)
    second.open(("epoch",), seed=1)
    write(second, 2)
    second.release()
    with pytest.raises(ValueError, match=r"'state.json' was changed by another run"):
        first.acquire()


def test_a_finished_run_is_read_where_nobody_may_write(tmp_path, monkeypatch):
    begin(tmp_path).release()

    def refuse(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert reopen(tmp_path)["epoch"] == 1


def test_the_working_directory_may_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = begin("run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write(folder, 2)
    assert reopen(tmp_path / "run")["epoch"] == 2
    assert os.listdir(".") == []


# --- one run


def test_another_run_is_refused(tmp_path):
    begin(tmp_path)
    with pytest.raises(ValueError, match=r"Its seed is 1, and that of this run 2\. Ch"):
        reopen(tmp_path, seed=2)
    with pytest.raises(ValueError, match=r"Its format is .*tests/2', and .*tests/3'"):
        make(tmp_path, "keras_noisy.tests/3").open(("epoch",), seed=1)
    with pytest.raises(ValueError, match=r"'state.json' is damaged, or another progra"):
        make(tmp_path, "keras_noisy.others/2").open(("epoch",), seed=1)


def test_a_folder_of_somebody_is_left_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    (tmp_path / ".hidden").write_text("")
    with pytest.raises(ValueError, match=r"It holds 'thesis.tex' and no 'state.json'"):
        reopen(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "thesis.tex"]


def test_a_folder_of_0_1_has_no_digests_and_is_read(tmp_path):
    state = {"identity": {"format": FORM, "seed": 1}, "epoch": 1}
    (tmp_path / "state.json").write_text(json.dumps(state))
    (tmp_path / "table-1.bin").write_bytes(b"0123")
    folder = make(tmp_path)
    assert folder.open(("epoch",), seed=1) == state
    with folder.reading("table-1.bin") as path:
        assert pathlib.Path(path).read_bytes() == b"0123"
    with (
        pytest.raises(ValueError, match=r"'table-1.bin' is damaged \(no array\)"),
        folder.reading("table-1.bin"),
    ):
        raise ValueError("no array")


# --- whole files


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-3],
    "lengthened": lambda content: content + b"0",
    "a bit": flip,
    "another run's": lambda content: content[::-1],
    "missing": None,
}


def damage(path, how):
    if how is None:
        os.remove(path)
    else:
        path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["table-1.bin", "state.json"])
def test_a_damaged_file_is_named(tmp_path, name, how):
    begin(tmp_path)
    damage(tmp_path / name, DAMAGE[how])
    folder = make(tmp_path)
    expected = (
        rf"^Owner: `storage` must be .* Received: storage='{tmp_path}'\. .*"
        rf"(Its|and no) '{name}'.*hoose another folder, or delete this one\.$"
    )
    with pytest.raises(ValueError, match=expected):
        folder.open(("epoch",), seed=1)
        with folder.reading(name):
            pass


def test_every_bit_of_the_state_counts(tmp_path):
    """What is still JSON after the flip would be another number of epochs."""
    begin(tmp_path)
    path = tmp_path / "state.json"
    whole = path.read_bytes()
    read = 0
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            state = reopen(tmp_path)
        except ValueError:
            continue
        # Spaces that became others, and a name of a digest that none is looked up by.
        read += 1
        assert state["epoch"] == 1
    assert read < 8 * len(whole) / 10


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path, monkeypatch):
    folder = begin(tmp_path)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        text = r"Owner: `storage` must be on a disk with free space\..*\(No space left"
        for attempt in (lambda: folder.write(epoch=2), lambda: write(folder, 2)):
            with pytest.raises(OSError, match=text) as caught:
                attempt()
            assert caught.value.errno == errno.ENOSPC
    assert reopen(tmp_path)["epoch"] == 1
    assert sorted(os.listdir(tmp_path)) == [".lock", "state.json", "table-1.bin"]


def test_a_run_is_deleted_and_nothing_else(tmp_path):
    begin(tmp_path / "own")
    begin(tmp_path / "shared")
    for name in ("notes.txt", f"table-1.bin.{'0a' * 16}.tmp", "table-x.bin"):
        (tmp_path / "shared" / name).write_text("")
    (tmp_path / "own" / "state.json").write_bytes(b"")
    for name in ("own", "shared", "missing"):
        make(tmp_path / name).delete()
    assert os.listdir(tmp_path) == ["shared"]
    assert sorted(os.listdir(tmp_path / "shared")) == ["notes.txt", "table-x.bin"]


def test_digests_tell_files_apart(tmp_path):
    values = np.arange(1 << 19, dtype="float32")
    values.tofile(tmp_path / "a")
    values[-1] += 1
    values.tofile(tmp_path / "b")
    state = files.new_digest()
    state.update(values)
    assert files.digest(tmp_path / "b") == state.hexdigest()
    assert files.digest(tmp_path / "a") != files.digest(tmp_path / "b")
