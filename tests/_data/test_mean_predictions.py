"""The averages: exactness over many epochs, storage, and what a crash leaves."""

import errno
import json
import os
import shutil

import filelock
import numpy as np
import pytest

from keras_noisy._data import mean_predictions
from keras_noisy._data.mean_predictions import MeanPredictions

N, C = 7, 3


def predictions(epoch, n=N, num_classes=C):
    p = np.random.default_rng([5, epoch]).dirichlet(np.ones(num_classes), n)
    return p.astype("float32")


def add(means, epoch, values=None, counts=None):
    values = predictions(epoch) if values is None else values
    counts = np.ones(len(values), int) if counts is None else counts
    means.update(epoch, [(0, values, counts)])


@pytest.mark.parametrize("on_disk", [False, True])
def test_thousand_epochs_are_exact(tmp_path, on_disk):
    """Means are within 1e-6 of sums in float64: 1.2e-7, and 7.2e-7 for a slow rise."""
    n, num_classes = 40, 10
    means = MeanPredictions("SEAL", n, num_classes, tmp_path if on_disk else None)
    exact = np.zeros((n, num_classes))
    generator = np.random.default_rng(0)
    # Constant rows, of which float32 sums are worst, changing ones, and one that rises
    # so slowly that all roundings are on one side.
    constant = generator.dirichlet(np.full(num_classes, 0.1), n // 2)
    epochs = 50 if on_disk else 1000
    for epoch in range(epochs):
        changing = generator.dirichlet(np.full(num_classes, 0.1), n - n // 2)
        rise = 1 / (1 + np.exp((100 - epoch) / 60))
        changing[0] = [rise, 1 - rise, *[0] * (num_classes - 2)]
        p = np.concatenate([constant, changing]).astype("float32")
        exact += p.astype("float64")
        add(means, epoch, p)
    np.testing.assert_allclose(means.soft_labels(), exact / epochs, rtol=0, atol=1e-6)


def test_counts_weigh_the_means():
    means = MeanPredictions("SEAL", 2, 2)
    add(means, 0, np.array([[1.0, 0], [1, 1]]), [1, 2])
    add(means, 1, np.array([[0.0, 2], [1, 0]]), [2, 1])
    np.testing.assert_allclose(means.soft_labels(), np.array([[1, 2], [2, 1]]) / 3)
    assert means.counts.tolist() == [3, 3]


def test_chunks_may_be_of_any_size():
    whole, parts = MeanPredictions("SEAL", N, C), MeanPredictions("SEAL", N, C)
    parts.chunk = 2
    for epoch in range(3):
        add(whole, epoch)
        p, ones = predictions(epoch), np.ones(N, int)
        cuts = [slice(0, 1), slice(1, 6), slice(6, 7)]
        parts.update(epoch, [(c.start, p[c], ones[c]) for c in cuts])
    np.testing.assert_array_equal(whole.soft_labels(), parts.soft_labels())


@pytest.mark.parametrize("length", [N - 1, N + 1])
def test_epoch_of_another_length_is_refused(length):
    means = MeanPredictions("SEAL", N, C)
    add(means, 0)
    before = means.soft_labels()
    with pytest.raises(ValueError, match=r"predictions must cover 7 examples"):
        add(means, 1, predictions(1, length))
    assert means.next_epoch == 1
    np.testing.assert_array_equal(means.soft_labels(), before)


def test_unseen_examples_are_an_error():
    means = MeanPredictions("SEAL", N, C)
    counts = np.ones(N, int)
    counts[[2, 5]] = 0
    add(means, 0, counts=counts)
    with pytest.raises(ValueError, match=r"2 of 7 have none, the first ids are \[2, 5"):
        means.soft_labels()


def test_files_hold_what_memory_holds(tmp_path):
    memory, files = (
        MeanPredictions("SEAL", N, C),
        MeanPredictions("SEAL", N, C, tmp_path),
    )
    for epoch in range(3):
        add(memory, epoch)
        add(files, epoch)
    np.testing.assert_array_equal(memory.soft_labels(), files.soft_labels())
    again = MeanPredictions("SEAL", N, C, tmp_path)
    assert (again.first_epoch, again.next_epoch) == (0, 3)
    np.testing.assert_array_equal(again.soft_labels(), memory.soft_labels())
    np.testing.assert_array_equal(again.counts, np.full(N, 3))


def test_start_continues_and_goes_back_one_epoch(tmp_path):
    reference = MeanPredictions("SEAL", N, C)
    for epoch in range(3):
        add(reference, epoch)
    means = MeanPredictions("SEAL", N, C, tmp_path)
    add(means, 0)
    add(means, 1)
    again = MeanPredictions("SEAL", N, C, tmp_path)
    again.start(1)
    assert again.next_epoch == 1
    add(again, 1)
    again.start(2)
    add(again, 2)
    np.testing.assert_array_equal(again.soft_labels(), reference.soft_labels())
    with pytest.raises(ValueError, match=r"`fit` must start at epoch 3, because"):
        again.start(1)


def test_start_after_the_only_epoch_begins_again(tmp_path):
    means = MeanPredictions("SEAL", N, C, tmp_path)
    add(means, 0)
    means.start(0)
    assert means.next_epoch is None
    add(means, 0)
    np.testing.assert_allclose(means.soft_labels(), predictions(0), atol=1e-7)


def test_every_moment_of_a_run_can_be_continued_from(tmp_path, monkeypatch):
    """A copy of the folder at each write is what SIGKILL there would leave."""
    folder, copies = tmp_path / "run", []

    def copy(*_):
        copies.append(tmp_path / f"copy-{len(copies)}")
        shutil.copytree(folder, copies[-1])

    replace, write = os.replace, mean_predictions.RowsOfFile.__setitem__

    def watched_replace(*args):
        copy()
        replace(*args)
        copy()

    def watched_write(table, rows, values):
        half = slice(rows.start, rows.start + 1)
        write(table, half, values[:1])
        copy()
        write(table, rows, values)

    monkeypatch.setattr(os, "replace", watched_replace)
    monkeypatch.setattr(mean_predictions.RowsOfFile, "__setitem__", watched_write)
    reference = MeanPredictions("SEAL", N, C, folder)
    for epoch in range(3):
        add(reference, epoch)
    monkeypatch.undo()
    expected = reference.soft_labels()
    seen = set()
    for path in copies:
        means = MeanPredictions("SEAL", N, C, path)
        start = means.next_epoch or 0
        seen.add(start)
        for epoch in range(start, 3):
            add(means, epoch)
        np.testing.assert_array_equal(means.soft_labels(), expected)
        assert not [name for name in os.listdir(path) if name.endswith(".tmp")]
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_examples": 8}, r"Its num_examples is 7, and that of this run 8"),
        ({"num_classes": 4}, r"Its num_classes is 3, and that of this run 4"),
        ({"data": "b"}, r"Its data is 'a', and that of this run 'b'"),
    ],
)
def test_storage_of_another_run_is_refused(tmp_path, change, text):
    arguments = {"num_examples": N, "num_classes": C, "storage": tmp_path, "data": "a"}
    add(MeanPredictions("SEAL", **arguments), 0)
    with pytest.raises(ValueError, match=f"SEAL: `storage` must be.*{text}"):
        MeanPredictions("SEAL", **{**arguments, **change})


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"`storage` must be empty.*'thesis.tex'"):
        MeanPredictions("SEAL", N, C, tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_files_of_the_user_stay(tmp_path):
    add(MeanPredictions("SEAL", N, C, tmp_path), 0)
    own = set(os.listdir(tmp_path))
    names = ["notes.tmp", "draft.tmp", f"notes.{'0a' * 16}.tmp", "means-old.f32"]
    names += [f"means-2.f32.{'0a' * 16}.tmp", "soft_labels.npy.tmp", ".keep"]
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / f"state.json.{'0a' * 16}.tmp").write_text("{")
    means = MeanPredictions("SEAL", N, C, tmp_path)
    add(means, 1)
    tables = {"means-0.f32", "counts-0.i64"}
    assert set(os.listdir(tmp_path)) == own | tables | set(names)
    means.soft_labels()
    mean_predictions.delete(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    assert all((tmp_path / name).read_text() == name for name in names)


@pytest.mark.parametrize("content", ["my state", '{"slots": 1}', "[]", "null"])
def test_another_state_file_is_refused_and_stays(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(ValueError, match=r"`storage` must be (a folder of|empty)"):
        MeanPredictions("SEAL", N, C, tmp_path)
    assert (tmp_path / "state.json").read_text() == content


def test_a_file_with_the_name_of_a_table_is_not_overwritten(tmp_path):
    (tmp_path / "means-1.f32").write_text("mine")
    with pytest.raises(ValueError, match=r"`storage` must be empty.*'means-1.f32'"):
        MeanPredictions("SEAL", N, C, tmp_path)


def test_storage_of_another_format_is_refused(tmp_path):
    add(MeanPredictions("SEAL", N, C, tmp_path), 0)
    state = json.loads((tmp_path / "state.json").read_text())
    state["identity"]["format"] = "keras_noisy.mean_predictions/0"
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"Its format is"):
        MeanPredictions("SEAL", N, C, tmp_path)


@pytest.mark.parametrize("where", ["allocate", "__setitem__"])
def test_full_disk_is_said_and_keeps_what_was_there(tmp_path, monkeypatch, where):
    means = MeanPredictions("SEAL", N, C, tmp_path)
    add(means, 0)

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mean_predictions.RowsOfFile, where, fail)
    with pytest.raises(OSError, match=r"SEAL: `storage` must be on a disk with .* GB"):
        add(means, 1)
    monkeypatch.undo()
    again = MeanPredictions("SEAL", N, C, tmp_path)
    assert again.next_epoch == 1
    add(again, 1)
    expected = (predictions(0) + predictions(1)) / 2
    np.testing.assert_allclose(again.soft_labels(), expected, atol=1e-7)


def test_averages_of_0_1_say_what_to_do(tmp_path):
    identity = {"format": "keras_noisy.mean_predictions/1", "num_examples": N}
    state = {"identity": identity, "slots": [[0, 1], None], "current": 0}
    (tmp_path / "state.json").write_text(json.dumps(state))
    (tmp_path / "means-0.u32").write_bytes(bytes(4 * N * C))
    text = (
        r"Its format is '.*/1', and that of this run '.*/2'\. Choose another folder, or"
    )
    with pytest.raises(ValueError, match=text):
        MeanPredictions("SEAL", N, C, tmp_path)
    mean_predictions.delete(tmp_path)
    assert not tmp_path.exists()


def test_averages_that_begin_late_are_said(tmp_path):
    means = MeanPredictions("SEAL", N, C, tmp_path)
    with pytest.warns(
        UserWarning, match=r"SEAL: .* holds nothing of the epochs before 3"
    ):
        means.start(3)


def test_other_processes_may_use_what_is_closed(tmp_path):
    means = MeanPredictions("SEAL", N, C, tmp_path)
    add(means, 0)
    lock = filelock.FileLock(tmp_path / ".lock", timeout=0)
    with pytest.raises(filelock.Timeout):
        lock.acquire()
    means.close()
    with (
        lock,
        pytest.raises(ValueError, match=r"SEAL: `storage` must be a folder that no ot"),
    ):
        means.start(1)
    means.start(1)
    add(means, 1)
    assert means.next_epoch == 2
