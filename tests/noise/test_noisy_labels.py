import hashlib
import os
import zipfile

import numpy as np
import pytest

from keras_noisy import noise

CLEAN = np.array([0, 0, 0, 0, 1, 1, 3])
NOISY = np.array([0, 1, 1, 3, 1, 0, 3])


@pytest.fixture
def labels():
    return noise.NoisyLabels(NOISY, CLEAN, 4)


def test_quantities(labels):
    assert labels.is_corrupted.tolist() == [False, True, True, True, False, True, False]
    assert labels.rate == 4 / 7
    nan = float("nan")
    expected = [
        [0.25, 0.5, 0, 0.25],
        [0.5, 0.5, 0, 0],
        [nan, nan, nan, nan],  # There is no example of class 2.
        [0, 0, 0, 1],
    ]
    np.testing.assert_array_equal(labels.transition_matrix, expected)


@pytest.mark.parametrize(("first", "second"), [("uint8", "int64"), ("int64", "uint64")])
def test_labels_may_differ_in_dtype(labels, first, second):
    other = noise.NoisyLabels(NOISY.astype(first), CLEAN.astype(second), 4)
    assert other.is_corrupted.tolist() == labels.is_corrupted.tolist()
    assert other.digest == labels.digest
    np.testing.assert_array_equal(other.transition_matrix, labels.transition_matrix)


def test_realised_matrix_of_many_classes():
    clean = np.arange(3000) % 1500
    labels = noise.NoisyLabels((clean + (clean < 700)) % 1500, clean, 1500)
    np.testing.assert_array_equal(
        labels.transition_matrix.argmax(axis=1),
        (np.arange(1500) + (np.arange(1500) < 700)) % 1500,
    )


def test_digest_is_what_the_documentation_says(labels):
    text = str(NOISY.shape).encode() + NOISY.astype("<i8").tobytes()
    assert labels.digest == hashlib.sha256(text).hexdigest()
    assert labels.digest == (
        "81ff56a8432b692f14107e1ad0b380ce1a6ce1182a5988aec813286f1c34f2c4"
    )


def test_digest_depends_on_every_noisy_label(labels):
    for index in range(len(NOISY)):
        other = NOISY.copy()
        other[index] = 2
        assert noise.NoisyLabels(other, CLEAN, 4).digest != labels.digest


def test_it_cannot_be_changed(labels):
    with pytest.raises(AttributeError):
        labels.noisy = CLEAN
    for array in (
        labels.noisy,
        labels.clean,
        labels.is_corrupted,
        labels.transition_matrix,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_no_labels():
    empty = noise.NoisyLabels(np.zeros(0, int), np.zeros(0, int), 3)
    assert np.isnan(empty.rate)
    assert np.isnan(empty.transition_matrix).all()


def test_repr(labels):
    assert repr(labels).startswith("NoisyLabels(n=7, num_classes=4, rate=0.571429, dig")


@pytest.mark.parametrize("name", ["labels.npz", "labels", "a.b c"])
def test_save_and_load(labels, tmp_path, name):
    path = tmp_path / name
    labels.save(path)
    loaded = noise.NoisyLabels.load(str(path))
    np.testing.assert_array_equal(loaded.noisy, NOISY)
    np.testing.assert_array_equal(loaded.clean, CLEAN)
    assert loaded.num_classes == 4
    assert loaded.digest == labels.digest
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
def test_save_keeps_the_dtype(tmp_path, dtype):
    clean = CLEAN.astype(dtype)
    result = noise.corrupt_labels(clean, noise.symmetric(4, 0.5), seed=0, exact=False)
    result.save(tmp_path / "labels.npz")
    loaded = noise.NoisyLabels.load(tmp_path / "labels.npz")
    assert loaded.noisy.dtype == loaded.clean.dtype == dtype


def test_an_interrupted_save_leaves_the_old_file(labels, tmp_path, monkeypatch):
    path = tmp_path / "labels.npz"
    labels.save(path)
    before = path.read_bytes()

    def interrupt(file, **arrays):
        file.write(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        noise.NoisyLabels(CLEAN, CLEAN, 4).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["labels.npz"]


def test_load_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        noise.NoisyLabels.load(tmp_path / "labels.npz")


def test_load_a_truncated_file(labels, tmp_path):
    path = tmp_path / "labels.npz"
    labels.save(path)
    content = path.read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="`path` must be an undamaged file that"):
            noise.NoisyLabels.load(path)


def test_load_never_returns_wrong_labels_from_a_damaged_file(labels, tmp_path):
    path = tmp_path / "labels.npz"
    labels.save(path)
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            loaded = noise.NoisyLabels.load(path)
        except ValueError as error:
            assert "Copy the file again" in str(error)
        else:  # A byte that does not matter, such as a date.
            np.testing.assert_array_equal(loaded.noisy, NOISY)
            np.testing.assert_array_equal(loaded.clean, CLEAN)


EDITS = {
    "noisy": [CLEAN, NOISY.astype("int32"), NOISY[None], NOISY[:6], NOISY * 1.0],
    "clean": [NOISY, CLEAN.astype("uint8")],
    # A transition matrix of the last but one would be of 7 TiB.
    "num_classes": [3, 5, 1_000_000, 4.0, -4, True, [4], "4"],
    "format": ["something else", "keras_noisy.NoisyLabels/3", [1, 2]],
    "digest": ["", "0" * 64],
    "clean_digest": ["0" * 64],
    "file_digest": ["0" * 64],
}


@pytest.mark.parametrize(
    ("changed", "value"), [(k, v) for k, values in EDITS.items() for v in values]
)
def test_load_edited_labels(labels, tmp_path, changed, value):
    path = tmp_path / "labels.npz"
    labels.save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez_compressed(path, **arrays | {changed: np.array(value)})
    with pytest.raises(ValueError, match=r"undamaged file.* Received: path='.*Error: "):
        noise.NoisyLabels.load(path)


@pytest.mark.parametrize("missing", EDITS)
def test_load_a_file_that_lacks_something(labels, tmp_path, missing):
    path = tmp_path / "labels.npz"
    labels.save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    del arrays[missing]
    np.savez_compressed(path, **arrays)
    with pytest.raises(ValueError, match=f"undamaged file.*KeyError: '{missing}'"):
        noise.NoisyLabels.load(path)


def old_file(path, labels, **changes):
    """Write what version 0.1 wrote: without a digest of all."""

    def digest(array):
        text = str(array.shape).encode() + array.astype("<i8").tobytes()
        return np.array(hashlib.sha256(text).hexdigest())

    arrays = {
        "format": np.array("keras_noisy.NoisyLabels/1"),
        "noisy": labels.noisy,
        "clean": labels.clean,
        "num_classes": np.array(labels.num_classes),
        "digest": digest(labels.noisy),
        "clean_digest": digest(labels.clean),
    }
    np.savez_compressed(path, **arrays | changes)


def test_files_of_version_0_1(labels, tmp_path):
    path = tmp_path / "labels.npz"
    old_file(path, labels)
    loaded = noise.NoisyLabels.load(path)
    assert loaded.digest == labels.digest and loaded.num_classes == 4
    np.testing.assert_array_equal(loaded.clean, CLEAN)
    # Saved again, it is protected as the others are.
    loaded.save(path)
    with np.load(path) as archive:
        assert str(archive["format"]) == "keras_noisy.NoisyLabels/2"
    for changes in ({"noisy": CLEAN}, {"clean": NOISY}, {"num_classes": 4.5}):
        old_file(path, labels, **changes)
        with pytest.raises(ValueError, match="undamaged file"):
            noise.NoisyLabels.load(path)


def test_the_digest_of_the_file_is_of_all_that_is_read(labels, tmp_path):
    labels.save(tmp_path / "labels.npz")
    with np.load(tmp_path / "labels.npz") as archive:
        arrays = dict(archive)
    parts = ("keras_noisy.NoisyLabels/2", "4", "<i8", "<i8")
    parts += (str(arrays["digest"]), str(arrays["clean_digest"]))
    content = " ".join(parts).encode()
    assert str(arrays["file_digest"]) == hashlib.sha256(content).hexdigest()
    # The one that papers quote is that of the noisy labels, as before.
    assert str(arrays["digest"]) == labels.digest


def test_load_other_files(tmp_path):
    path = tmp_path / "other"
    np.savez(path.with_suffix(".npz"), x=np.zeros(3))
    path.with_suffix(".npz").rename(path)
    with pytest.raises(ValueError, match="undamaged file"):
        noise.NoisyLabels.load(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="undamaged file"):
        noise.NoisyLabels.load(path)
    path.write_bytes(b"not an archive at all")
    with pytest.raises(ValueError, match="undamaged file"):
        noise.NoisyLabels.load(path)


def test_load_runs_no_pickle(tmp_path):
    path = tmp_path / "labels.npz"
    np.savez(path, format=np.array([print, "x"], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        noise.NoisyLabels.load(path)


def test_the_file_holds_no_pickle(labels, tmp_path):
    labels.save(tmp_path / "labels.npz")
    with zipfile.ZipFile(tmp_path / "labels.npz") as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())
    with np.load(tmp_path / "labels.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["noisy"], NOISY)


@pytest.mark.parametrize(
    ("noisy", "clean", "num_classes", "error", "text"),
    [
        (np.eye(4)[NOISY], CLEAN, 4, ValueError, r"`noisy` must.* of shape \(n,\)"),
        (NOISY, CLEAN[1:], 4, ValueError, r"`clean` must be of the shape \(7,\)"),
        (NOISY, CLEAN, 3, ValueError, r"`noisy` must be class ids in \[0, 3\)"),
        (NOISY * 1.0, CLEAN, 4, TypeError, "`noisy` must be class ids of an integer"),
        (NOISY, CLEAN, 4.0, ValueError, "`num_classes` must be an integer"),
    ],
)
def test_errors(noisy, clean, num_classes, error, text):
    with pytest.raises(error, match="NoisyLabels: " + text):
        noise.NoisyLabels(noisy, clean, num_classes)
