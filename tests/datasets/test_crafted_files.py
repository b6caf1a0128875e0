"""Label files that were made to crash, to hang, to fill memory or to read it."""

import contextlib
import io
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from keras_noisy import datasets, noise
from keras_noisy.datasets import read_label_file

from .label_files import CLEAN, NOISY, write_npy, write_torch

CLEAN_PICKLE = "Vclean_label\n(" + "".join(f"I{label}\n" for label in CLEAN) + "ls"
# Of what reading may take, whatever a file claims.
ROOM = 100 << 20


@contextlib.contextmanager
def little_memory():
    """Fail if more than `ROOM` bytes are taken at a time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < ROOM


def refuse(path, text="read_label_file: `path` must be an undamaged label file"):
    with little_memory(), pytest.raises(ValueError, match=text):
        read_label_file(path, CLEAN, order="same")


def scalar(dtype, value):
    """Return steps of a pickle that make a NumPy scalar."""
    data = np.array(value, dtype).tobytes()
    head = f"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(V{dtype}\ntR".encode()
    return head + b"C" + bytes([len(data)]) + data + b"tR"


def number(value):
    return f"I{value}\n".encode()


def tensor(offset=b"I0\n", size=b"I6\n", stride=b"I1\n", storage=None, count=b"I6\n"):
    """Return a pickle of clean labels and a tensor, from steps for its parts."""
    storage = storage or (b"(Vstorage\nctorch\nLongStorage\nV0\nVcpu\n" + count + b"tQ")
    return (
        b"(d" + CLEAN_PICKLE.encode() + b"Vnoisy\nctorch._utils\n_rebuild_tensor_v2\n("
        + storage + offset + b"(" + size + b"t(" + stride + b"tI00\nNtRs."
    )  # fmt: skip


def write_tensor(folder, **parts):
    storages = [("0", NOISY.astype("<i8"))]
    return write_torch(folder / "labels.pt", tensor(**parts), storages=storages)


def test_the_tensor_of_these_tests_is_a_right_one(tmp_path):
    labels = read_label_file(write_tensor(tmp_path), CLEAN)
    np.testing.assert_array_equal(labels.noisy, NOISY)
    # A column, (6, 1), as Keras has labels.
    parts = {"size": b"I6\nI1\n", "stride": b"I1\nI1\n"}
    labels = read_label_file(write_tensor(tmp_path, **parts), CLEAN)
    np.testing.assert_array_equal(labels.noisy, NOISY)


# --- sizes that lie


@pytest.mark.parametrize(
    "parts",
    [
        # They wrapped around, and the process crashed.
        {"size": scalar("i8", 5), "stride": scalar("i8", 2**62)},
        {"offset": scalar("i8", 2**63 - 1000)},
        {"size": scalar("u1", 6)},
        {"count": scalar("i8", 6)},
        {"size": number(2**62)},
        {"size": number(2**70)},
        {"stride": number(2**62)},
        {"offset": number(2**63 - 1)},
        {"size": b"I01\n"},  # A bool.
        {"offset": b"I01\n"},
        {"size": b"F6.0\n"},
        {"size": b"V6\n"},
        {"size": b"(I6\nt"},
        {"size": b"I-1\n"},
        # Bytes become gigabytes.
        {"size": number(2**31), "stride": b"I0\n"},
        {"size": b"I7\n", "stride": b"I0\n"},
        {"size": number(10**10)},
        {"offset": b"I6\n", "size": b"I1\n"},
        # A storage is larger than its file.
        {"count": b"I7\n"},
        {"count": number(2**61)},
        {"count": b"I-1\n"},
        # There are more sizes than strides.
        {"size": b"I6\nI1\n", "stride": b""},
    ],
)
def test_sizes_of_tensors(parts, tmp_path):
    refuse(write_tensor(tmp_path, **parts))


@pytest.mark.parametrize("size", [f"I{2**30}\nI0\n", "I6\n", "I0\n"])
def test_a_storage_is_one_of_the_file(size, tmp_path):
    """A tensor, an array and text in its place: process memory came back as labels."""
    whole = b"(Vstorage\nctorch\nLongStorage\nV0\nVcpu\nI6\ntQ"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + whole + b"I0\n("
    rebuilt += size.encode() + b"t(I1\nI1\ntI00\nNtR"
    array = pickle.dumps(np.zeros((6, 1)), protocol=2)[2:-1]
    for storage in (rebuilt, array, b"V012345\n", b"(I0\nI1\nl", scalar("i8", 5), b"N"):
        path = write_tensor(tmp_path, storage=storage)
        refuse(path, "read_label_file: `path` must be")


@pytest.mark.parametrize(
    "key",
    [
        b"(Vother\nctorch\nLongStorage\nV0\nVcpu\nI6\nt",
        b"(Vstorage\nVLongStorage\nV0\nVcpu\nI6\nt",
        b"(Vstorage\ncnumpy\ndtype\nV0\nVcpu\nI6\nt",
        b"(Vstorage\nctorch\nLongStorage\nI0\nVcpu\nI6\nt",
        b"(Vstorage\nctorch\nLongStorage\nV../data.pkl\nVcpu\nI6\nt",
        b"(t",
        b"N",
    ],
)
def test_storages_refuse(key, tmp_path):
    refuse(write_tensor(tmp_path, storage=key + b"Q"), "read_label_file: `path` must")


def array_pickle(dtype, shape, data, order=b"I00\n"):
    """Return a pickle of clean labels and a NumPy array, from steps for its parts."""
    return (
        b"(d" + CLEAN_PICKLE.encode()
        + b"Vnoisy\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt"
        + b"C\x01btR(I1\n(" + shape + b"tcnumpy\ndtype\n(V"
        + dtype + b"\ntR" + order + data + b"tbs."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        (b"u1", b"I7\n", b"C\x06\x00\x01\x02\x03\x00\x00"),
        (b"u1", number(10**10), b"C\x06\x00\x01\x02\x03\x00\x00"),
        (b"u1", number(2**64 + 6), b"C\x06\x00\x01\x02\x03\x00\x00"),
        (b"i8", b"I6\n", b"C\x06\x00\x01\x02\x03\x00\x00"),
        (b"u1", scalar("i8", 6), b"C\x06\x00\x01\x02\x03\x00\x00"),
        (b"u1", b"I-1\n", b"C\x06\x00\x01\x02\x03\x00\x00"),
        (b"S999999999", b"I1\n", b"C\x01\x00"),
        (b"S0", number(2**39), b"C\x00"),
        (b"O", number(10**10), b"(I1\nl"),
        (b"O", b"I6\n", b"C\x06\x00\x01\x02\x03\x00\x00"),
        (b"u1", b"I6\n", b"(I1\nl"),
        (b"u1", b"I6\n", b"N"),
        (b"V6", b"I1\n", b"C\x06\x00\x01\x02\x03\x00\x00"),
    ],
)
def test_sizes_of_arrays(dtype, shape, data, tmp_path):
    path = write_torch(tmp_path / "labels.pt", array_pickle(dtype, shape, data))
    refuse(path, "read_label_file: `path` must be")


def test_the_array_of_these_tests_is_a_right_one(tmp_path):
    content = array_pickle(b"u1", b"I6\n", b"C\x06" + bytes(NOISY.tolist()))
    path = write_torch(tmp_path / "labels.pt", content)
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)
    content = content.replace(b"(I6\nt", b"(I6\nI1\nt")
    path = write_torch(tmp_path / "labels.pt", content)
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)


# --- objects that are named again and again


def laughs(kind, depth=60):
    """Return steps that nest `kind`, each time twice in another: 2**60 in the end."""
    nest = 1
    for _ in range(depth):
        nest = (nest, nest) if kind == "tuple" else [nest, nest]
    return pickle.dumps(nest, protocol=2)[:-1]


@pytest.mark.parametrize("kind", ["list", "tuple"])
@pytest.mark.parametrize(
    "place", ["column", "key", "name", "function", "args", "state", "shape", "scalar"]
)
def test_billion_laughs(kind, place, tmp_path):
    nest = laughs(kind)
    begin = b"(d" + CLEAN_PICKLE.encode()
    steps = {
        "column": begin + b"Vnoisy\n" + nest + b"s.",
        "key": begin + nest + b"I1\ns.",
        "name": nest + nest + b"\x93.",
        "function": nest + b")R.",
        "args": b"c_codecs\nencode\n" + nest + b"R.",
        "state": b"cnumpy\ndtype\n(Vi8\ntR" + nest + b"b.",
        "shape": tensor(size=nest),
        "scalar": begin + b"Vnoisy\n(cnumpy.core.multiarray\nscalar\n" + nest + b"Rls.",
    }[place]
    path = write_torch(tmp_path / "labels.pt", steps)
    refuse(path, "read_label_file: `(path|key)")


def test_lists_nested_deeply(tmp_path):
    for begin, end in ((b"(", b"l"), (b"(", b"t")):
        steps = b"(d" + CLEAN_PICKLE.encode() + b"Vnoisy\n"
        steps += begin * 50_000 + end * 50_000 + b"s."
        path = write_torch(tmp_path / "labels.pt", steps)
        refuse(path, "`key` must be one of the label sets of the file")


def test_objects_that_hold_themselves(tmp_path):
    begin = b"(d" + CLEAN_PICKLE.encode()
    for steps in (
        begin + b"Vnoisy\n(lp0\ng0\nas.",
        # An object array in its own list.
        begin + b"Vnoisy\n" + array_pickle(b"O", b"I1\n", b"(lp7\ng8\na")[
            len(begin) + len(b"Vnoisy\n") :
        ].replace(b"C\x01btR", b"C\x01btRp8\n"),
    ):  # fmt: skip
        path = write_torch(tmp_path / "labels.pt", steps)
        refuse(path, "read_label_file: `(path|key)")


def test_a_large_object_named_often_is_read_once(tmp_path):
    text = b"V" + b"a" * 100_000 + b"\n"
    encoded = b"c_codecs\nencode\n(g0\nVlatin1\ntR"
    array = b"cnumpy.core.numeric\n_frombuffer\n(" + encoded
    array += b"cnumpy\ndtype\n(Vu1\ntR(I100000\ntVC\ntR"
    columns = b"".join(b"V%d\n" % i + array + b"s" for i in range(900))
    lists = b"".join(b"Vl%d\ng1\ns" % i for i in range(900))
    begin = b"(d" + CLEAN_PICKLE.encode()
    for steps in (
        begin + b"Vtext\n" + text + b"p0\ns" + columns + b".",
        begin + b"Vlist\n(" + b"I1\n" * 100_000 + b"lp1\ns" + lists + b".",
    ):
        refuse(write_torch(tmp_path / "labels.pt", steps), "`key` must be one of")


def test_names_of_one_hash(tmp_path):
    """Integers that a dict cannot tell apart fast are kept as text."""
    prime = 2**61 - 1
    items = b"".join(b"I%d\nI1\n" % (i * prime) for i in range(30_000))
    path = write_torch(tmp_path / "labels.pt", b"(" + items + b"d.")
    refuse(path, "more than 1000 columns")


def test_names_twice_and_other_names(tmp_path):
    for names in (
        b"Vnoisy\nI1\nVnoisy\nI2\n",
        b"I1\nI1\nV1\nI2\n",
        b"NI1\n",
        b"(tI1\n",
    ):
        for steps in (b"(" + names + b"d.", b"(d(" + names + b"u."):
            path = write_torch(tmp_path / "labels.pt", steps)
            refuse(path, "a name twice, or one that is no text")


def test_too_many_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_noisy.datasets._safe_pickle._MAX_STEPS", 1000)
    path = write_torch(tmp_path / "labels.pt", b"(" + b"I1\n" * 1000 + b"l.")
    refuse(path, "more steps than any file of labels")


@pytest.mark.parametrize(
    "steps",
    [
        b"r\xff\xff\xff\xff",
        b"B\xff\xff\xff\xff",  # Bytes, text and an integer of 4 GB.
        b"X\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\x7f",
        b"\x8e\x00\x00\x00\x00\x10\x00\x00\x00",  # Of 64 GB.
        b"\x8d\x00\x00\x00\x00\x10\x00\x00\x00",
        b"\x96\x00\x00\x00\x00\x10\x00\x00\x00",
        b"\x95\x00\x00\x00\x00\x10\x00\x00\x00",
        b"L" + b"9" * 100_000 + b"L\n",
        b"l",
        b"u",
        b"0",
        b"R",
        b"b",
        b"h\x05",
        b"P0\n",
        b"\x97",
        b"",
    ],
)
def test_steps_that_claim_more_than_they_have(steps, tmp_path):
    for write in (write_torch, write_pickled_npy):
        path = write(tmp_path / "labels.pt", steps + b".")
        refuse(path, "read_label_file: `path` must be")


def write_pickled_npy(path, content):
    """Write an object array that is this pickle."""
    file = io.BytesIO()
    np.save(file, np.array({}, object), allow_pickle=True)
    header = file.getvalue()[:128]
    assert header.endswith(b"\n")
    path = path.with_suffix(".npy")
    path.write_bytes(header + content)
    return path


def test_integers_that_are_no_labels(tmp_path):
    digits = b"\x8a\xff" + b"\x7f" * 255
    for value in (digits, b"I%d\n" % 2**63, b"I01\n", b"N", b"F1.0\n", b"V1\n"):
        steps = b"(d" + CLEAN_PICKLE.encode() + b"Vnoisy\n(" + value * 6 + b"ls."
        path = write_torch(tmp_path / "labels.pt", steps)
        with pytest.raises(TypeError, match="class ids of an integer dtype"):
            read_label_file(path, CLEAN)


# --- zip files that unpack to more


def write_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                for part in content:
                    member.write(part)
    return path


def header_of(dtype="<i8", shape=(6,)):
    file = io.BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
    return file.getvalue()


def zeros(count):
    """Return parts of `count` MiB."""
    return [bytes(1 << 20)] * count


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return [file.getvalue()]


LOADERS = {
    "labels.npz": lambda path: read_label_file(path, CLEAN, order="same"),
    "saved.npz": noise.NoisyLabels.load,
    "data.npz": lambda path: datasets.load("custom", source=path),
}


def members_of(name, noisy):
    """Return a file that `LOADERS[name]` reads, with other bytes for one array."""
    if name == "data.npz":
        arrays = {"x_train": None, "y_train": CLEAN, "x_test": CLEAN, "y_test": CLEAN}
    elif name == "labels.npz":
        arrays = {"clean": CLEAN, "noisy": None}
    else:
        arrays = {"format": np.array("keras_noisy.NoisyLabels/1"), "noisy": None}
        arrays |= {"clean": CLEAN, "num_classes": np.array(4)}
        arrays |= {"digest": np.array(""), "clean_digest": np.array("")}
    return {
        f"{key}.npy": noisy if array is None else npy(array)
        for key, array in arrays.items()
    }


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("<i8", (10**10 // 8,), b""),  # 10 GB.
        ("<i8", (2**62,), bytes(48)),
        ("<i8", (2**61, 8), bytes(48)),
        ("<i8", (7,), bytes(48)),
        ("<i8", (-1,), bytes(48)),
        ("<U1000000000", (1,), bytes(48)),
        ("<U0", (10**12,), bytes(48)),
        (("<i8", (10**9,)), (1,), bytes(48)),
    ],
)
def test_headers_that_claim_more_than_the_file_holds(
    name, dtype, shape, data, tmp_path
):
    content = [header_of(dtype, shape) + data]
    path = write_zip(tmp_path / name, members_of(name, content))
    with little_memory(), pytest.raises(ValueError, match="must be an undamaged"):
        LOADERS[name](path)
    if name == "labels.npz":
        (tmp_path / "labels.npy").write_bytes(content[0])
        refuse(tmp_path / "labels.npy")


def header_with(text, version=b"\x01\x00"):
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + length + text


@pytest.mark.parametrize(
    "header",
    [
        # Python's parser has no room for them, which is a MemoryError.
        header_with(b"{'descr': '<i8', 'shape': " + b"(" * 5000 + b"}"),
        header_with(b"-" * 9000 + b"1"),
        header_with(b"[" * 9000),
        header_with(b"{}"),
        header_with(b"{'descr': '<i8', 'fortran_order': False, 'shape': 6}"),
        header_with(b" " * 60_000),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",  # A header of 4 GB.
        header_with(b"{}", b"\x03\x00"),
        header_with(b"{}", b"\x09\x00"),
        b"\x93NUMPY",
    ],
)
@pytest.mark.parametrize("name", LOADERS)
def test_headers_that_are_none(name, header, tmp_path):
    path = write_zip(tmp_path / name, members_of(name, [header + bytes(48)]))
    with little_memory(), pytest.raises(ValueError, match="must be an undamaged"):
        LOADERS[name](path)
    if name == "labels.npz":
        (tmp_path / "labels.npy").write_bytes(header + bytes(48))
        refuse(tmp_path / "labels.npy")


@pytest.mark.parametrize("name", LOADERS)
def test_members_that_unpack_to_gigabytes(name, tmp_path):
    content = [header_of("u1", (300 << 20,)), *zeros(300)]
    path = write_zip(tmp_path / name, members_of(name, content))
    assert path.stat().st_size < 1 << 20
    text = "must be an undamaged.*more than the limit"
    with little_memory(), pytest.raises(ValueError, match=text):
        LOADERS[name](path)


def test_storages_and_pickles_that_unpack_to_more(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_noisy._data.npz.FREE_BYTES", 1 << 20)
    path = tmp_path / "labels.pt"
    for large in ("archive/data.pkl", "archive/data/0", "archive/byteorder"):
        members = {"archive/data.pkl": [tensor()], "archive/data/0": [bytes(48)]}
        write_zip(path, members | {large: zeros(16)})
        refuse(path, "more than the limit")


@pytest.mark.parametrize("name", LOADERS)
def test_a_member_that_lies_about_its_size(name, tmp_path):
    """Its directory says little, and the stream goes on and on."""
    content = [header_of("u1", (6,)), *zeros(200)]
    path = write_zip(tmp_path / name, members_of(name, content))
    with zipfile.ZipFile(path) as archive:
        size = max(info.file_size for info in archive.infolist())
    data = path.read_bytes()
    small = len(header_of()) + 6
    for form in ("<I", "<Q"):
        data = data.replace(struct.pack(form, size), struct.pack(form, small))
    path.write_bytes(data)
    with little_memory(), pytest.raises(ValueError, match="must be an undamaged"):
        LOADERS[name](path)


@pytest.mark.parametrize("name", LOADERS)
def test_other_compressions(name, tmp_path):
    """They unpack without a limit, and NumPy writes none of them."""
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = write_zip(tmp_path / name, members_of(name, npy(NOISY)), compression)
        with pytest.raises(
            ValueError, match="compressed in a way that NumPy and torch"
        ):
            LOADERS[name](path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["noisy.npy", "noisy"])
def test_two_members_of_one_name(second, tmp_path):
    path = tmp_path / "labels.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clean.npy", npy(CLEAN)[0])
        archive.writestr("noisy.npy", npy(NOISY)[0])
        archive.writestr(second, npy(CLEAN)[0])
    refuse(path, "it holds two files of one name")


def test_what_the_limits_leave_alone(tmp_path):
    """Labels of one class are packed a thousand times smaller, and are right."""
    clean = np.zeros(1_000_000, np.int64)
    labels = noise.NoisyLabels(clean, clean, 2)
    labels.save(tmp_path / "labels.npz")
    assert (tmp_path / "labels.npz").stat().st_size < 20_000
    assert noise.NoisyLabels.load(tmp_path / "labels.npz").digest == labels.digest
    path = write_zip(tmp_path / "labels.pt", {
        "archive/data.pkl": [tensor()], "archive/data/0": [NOISY.tobytes()]
    })  # fmt: skip
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)


def test_labels_above_the_limit_are_saved_so_that_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_noisy._data.npz.FREE_BYTES", 1000)
    clean = np.zeros(100_000, np.int64)
    noise.NoisyLabels(clean, clean, 2).save(tmp_path / "labels.npz")
    assert noise.NoisyLabels.load(tmp_path / "labels.npz").noisy.size == 100_000


def test_any_bit_of_a_file(tmp_path):
    """Whatever is flipped: the labels, or an error of this package."""
    generator = np.random.default_rng(0)
    content = {"clean_label": CLEAN, "noisy": NOISY}
    np.savez_compressed(tmp_path / "labels.npz", **content)
    paths = [tmp_path / "labels.npz", write_npy(tmp_path / "labels.npy", content)]
    paths += [write_torch(tmp_path / "a.pt", content), write_tensor(tmp_path)]
    for path in paths:
        whole = path.read_bytes()
        for _ in range(300):
            damaged = bytearray(whole)
            damaged[generator.integers(len(whole))] ^= 1 << generator.integers(8)
            path.write_bytes(damaged)
            try:
                labels = read_label_file(path, CLEAN)
            except (TypeError, ValueError) as error:
                assert str(error).startswith("read_label_file: `")
            else:
                assert labels.noisy.shape == CLEAN.shape
