import os
import pathlib
import pickle
import re
import zipfile

import numpy as np
import pytest

from keras_noisy import datasets
from keras_noisy.datasets import Dataset, read_label_file
from keras_noisy.noise import corrupt_labels, symmetric

from .label_files import (
    CLEAN,
    NOISY,
    write_csv,
    write_npy,
    write_old_torch,
    write_torch,
)

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs copies of public image sets in ../shared/data"
)


def make_dataset(y=CLEAN, **changes):
    arguments = {"x_train": np.zeros((len(y), 2)), "y_train": y, "y_test": [0]}
    return Dataset("custom", x_test=np.zeros((1, 2)), **{**arguments, **changes})


# --- the formats


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_seal_csv(newline, spaces, tmp_path):
    path = write_csv(tmp_path / "idn.csv", {"label": CLEAN, "label_noisy": NOISY})
    text = path.read_text()
    text = "\ufeff" + (text.replace(",", ", ") if spaces else text) + "\n"
    path.write_text(text, newline=newline, encoding="utf-8")
    for clean in (
        CLEAN,
        CLEAN.tolist(),
        make_dataset(),
        CLEAN[:, None].astype("uint8"),
    ):
        labels = read_label_file(path, clean)
        np.testing.assert_array_equal(labels.noisy, NOISY)
        np.testing.assert_array_equal(labels.clean, CLEAN)
        assert labels.num_classes == 4 and labels.rate == 1 / 3


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("CIFAR-10_human.npy", write_npy),
        ("CIFAR-10_human.pt", write_torch),
        ("CIFAR-10_human.pth", write_old_torch),
    ],
)
def test_cifar_n(name, write, tmp_path):
    content = {"clean_label": CLEAN, "worse_label": NOISY, "random_label2": NOISY[::-1]}
    path = write(tmp_path / name, content)
    for key in ("worst", "worse_label"):
        labels = read_label_file(path, CLEAN, key=key)
        np.testing.assert_array_equal(labels.noisy, NOISY)
    labels = read_label_file(path, CLEAN, key="random2")
    np.testing.assert_array_equal(labels.noisy, NOISY[::-1])
    text = "label sets of the file, 'worse_label', 'random_label2'. Received: key=None"
    with pytest.raises(ValueError, match=re.escape(text)):
        read_label_file(path, CLEAN)
    with pytest.raises(ValueError, match="Received: key='aggre'"):
        read_label_file(path, CLEAN, key="aggre")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_all_pickle_protocols_and_dtypes(protocol, tmp_path):
    for dtype in ("uint8", "int32", "<i8", ">i4"):
        clean = CLEAN.astype(dtype)
        content = {"clean_label": clean, "noisy": [np.int64(i) for i in NOISY]}
        path = write_torch(tmp_path / "a.pt", pickle.dumps(content, protocol=protocol))
        labels = read_label_file(path, CLEAN)
        np.testing.assert_array_equal(labels.noisy, NOISY)


def test_a_pickle_of_python_2(tmp_path):
    def array(labels):
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K"
            b"\x01(K\x06tcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff"
            b"\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06"
            + bytes(labels.tolist())
            + b"tb"
        )

    high = NOISY + 250
    content = b"\x80\x02}(U\x05clean" + array(CLEAN) + b"U\x05noisy" + array(high)
    path = write_torch(tmp_path / "labels.pt", content + b"u.")
    labels = read_label_file(path, CLEAN, num_classes=256)
    np.testing.assert_array_equal(labels.noisy, high)


def test_files_of_torch_itself(tmp_path):
    torch = pytest.importorskip("torch")
    arrays = {"clean_label": CLEAN, "noisy_label": NOISY}
    tensors = {key: torch.as_tensor(value) for key, value in arrays.items()}
    parts = torch.as_tensor(np.stack([CLEAN, NOISY]))
    views = {"clean_label": parts[0], "noisy_label": parts.T.contiguous()[:, 1]}
    path = tmp_path / "labels.pt"
    for content in (arrays, tensors, views):
        torch.save(content, path)
        labels = read_label_file(path, CLEAN)
        np.testing.assert_array_equal(labels.noisy, NOISY)
    torch.save(arrays, path, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"tensors in the format before torch 1.6"):
        read_label_file(path, CLEAN)


def test_coarse_labels_of_cifar100_n(tmp_path):
    content = {
        "clean_label": [99, 98],
        "noisy_label": [99, 97],
        "clean_coarse_label": [1, 0],
        "noisy_coarse_label": [1, 1],
    }
    path = write_npy(tmp_path / "CIFAR-100_human.npy", content)
    assert read_label_file(path, [1, 0], key="noisy_coarse").noisy.tolist() == [1, 1]
    fine = read_label_file(path, [99, 98], key="noisy_fine")
    assert fine.noisy.tolist() == [99, 97] and fine.num_classes == 100


def test_our_own_format(tmp_path):
    labels = corrupt_labels(CLEAN, symmetric(7, 0.5), seed=0, exact=False)
    labels.save(tmp_path / "mine.npz")
    again = read_label_file(tmp_path / "mine.npz", CLEAN)
    assert again.digest == labels.digest and again.num_classes == 7
    content = bytearray((tmp_path / "mine.npz").read_bytes())
    content[60] ^= 255
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(ValueError, match="an undamaged label file"):
        read_label_file(tmp_path / "mine.npz", CLEAN)


def test_npz_by_key(tmp_path):
    path = tmp_path / "labels.npz"
    np.savez(path, half=NOISY, third=CLEAN, table=np.eye(3, dtype=int))
    for arguments in ((f"{path}:half", None), (path, "half"), (str(path), "half")):
        labels = read_label_file(
            arguments[0], CLEAN, key=arguments[1], order="torchvision"
        )
        np.testing.assert_array_equal(labels.noisy, NOISY)
    with pytest.raises(ValueError, match=r"label sets of the file, 'half', 'third'. "):
        read_label_file(f"{path}:table", CLEAN, order="same")
    with pytest.raises(ValueError, match="`key` must be None where `path` names"):
        read_label_file(f"{path}:half", CLEAN, key="half")


def test_plain_npy(tmp_path):
    path = write_npy(tmp_path / "labels.npy", NOISY.astype("uint8"))
    np.testing.assert_array_equal(
        read_label_file(path, CLEAN, order="same").noisy, NOISY
    )


# --- the join


def test_a_shuffled_data_set_is_joined_by_its_ids(tmp_path):
    path = write_csv(tmp_path / "idn.csv", {"label": CLEAN, "label_noisy": NOISY})
    ids = np.array([5, 2, 0, 1, 3, 4])
    data = make_dataset(CLEAN[ids], train_ids=ids, order="tfds")
    for labels in (
        read_label_file(path, data),
        read_label_file(path, CLEAN[ids], ids=ids),
    ):
        np.testing.assert_array_equal(labels.noisy, NOISY[ids])
        np.testing.assert_array_equal(labels.clean, CLEAN[ids])
    part = make_dataset().subset([4, 1])
    np.testing.assert_array_equal(read_label_file(path, part).noisy, NOISY[[4, 1]])


@pytest.mark.parametrize("name", ["sample_id", "id", "index", ""])
def test_ids_of_the_file(name, tmp_path):
    ids = np.array([5, 2, 0, 1, 3, 4])
    columns = {name: ids, "label": CLEAN[ids], "label_noisy": NOISY[ids]}
    path = write_csv(tmp_path / "a.csv", columns)
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)


def test_file_in_the_order_of_tfds(tmp_path):
    order = np.array([5, 2, 0, 1, 3, 4])
    content = {"clean_label": CLEAN[order], "noisy_label": NOISY[order]}
    path = write_npy(tmp_path / "CIFAR-10_human_ordered.npy", content)
    labels = read_label_file(path, make_dataset(), file_ids=order)
    np.testing.assert_array_equal(labels.noisy, NOISY)
    # Row 4 has the right label by chance.
    text = "5 of 6 differ, first at ids 0, 1, 2, 3, 5. Mostly the order is another one"
    with pytest.raises(ValueError, match=re.escape(text)):
        read_label_file(path, make_dataset())


def test_clean_labels_are_compared_one_by_one(tmp_path):
    path = write_csv(tmp_path / "idn.csv", {"label": CLEAN, "label_noisy": NOISY})
    other = CLEAN.copy()
    other[4] = 1
    with pytest.raises(ValueError, match=r"1 of 6 differ, first at ids 4. "):
        read_label_file(path, other)


def test_join_refuses(tmp_path):
    path = write_csv(tmp_path / "idn.csv", {"label": CLEAN, "label_noisy": NOISY})

    def refuse(text, clean=CLEAN, **arguments):
        with pytest.raises((TypeError, ValueError), match=text):
            read_label_file(path, clean, **arguments)

    refuse("as many labels as the data set, 5. .*It has 6", CLEAN[:5])
    refuse("a row for each id of the data set. .*2 of 6 ids have none, first 6, 7.",
           ids=[0, 1, 2, 3, 6, 7])  # fmt: skip
    refuse(r"`ids` must be of shape \(6,\), one id for each", ids=[0])
    refuse("`ids` must be non-negative integers", ids=-np.arange(6))
    refuse(r"`file_ids` must be of shape \(6,\)", file_ids=np.arange(7))
    refuse("`file_ids` must be unique. Received: file_ids=6 ids, some of them twice",
           file_ids=[0, 0, 1, 2, 3, 4])  # fmt: skip
    refuse("`clean_labels` must be class ids of an integer dtype", CLEAN / 2)
    refuse(r"`clean_labels` must be class ids in \[0, 3\)", num_classes=3)


def test_labels_out_of_range(tmp_path):
    noisy = np.array([3, 1, 1, 0, 5, 0])
    path = write_csv(tmp_path / "idn.csv", {"label": CLEAN, "label_noisy": noisy})
    text = r"class ids in \[0, 4\) under 'label_noisy'. .*It holds 5. Pass `num_classe"
    with pytest.raises(ValueError, match=text):
        read_label_file(path, CLEAN)
    assert read_label_file(path, CLEAN, num_classes=6).num_classes == 6
    write_csv(path, {"label": CLEAN, "label_noisy": -noisy})
    with pytest.raises(ValueError, match="must be non-negative class ids"):
        read_label_file(path, CLEAN)
    write_csv(path, {"label": CLEAN, "label_noisy": noisy / 2})
    with pytest.raises(TypeError, match="must be class ids of an integer dtype"):
        read_label_file(path, CLEAN)


# --- files without clean labels


def test_order_must_be_known(tmp_path):
    path = write_npy(tmp_path / "labels.npy", NOISY)
    tfds, keras = make_dataset(order="tfds"), make_dataset(order="keras.datasets")
    with pytest.raises(
        ValueError, match=r"`order` must be given for this file. .*has no"
    ):
        read_label_file(path, keras)
    with pytest.raises(
        ValueError, match=r"that of the data set, 'tfds'. Received: order"
    ):
        read_label_file(path, tfds, order="torchvision")
    with pytest.raises(ValueError, match=r"`order` must be one of 'keras.datasets', "):
        read_label_file(path, tfds, order="pytorch")
    for data, order in (
        (keras, "torchvision"),
        (keras, "keras.datasets"),
        (tfds, "tfds"),
        (tfds, "same"),
        (make_dataset(), "file"),
        (CLEAN, "torchvision"),
    ):
        labels = read_label_file(path, data, order=order)
        np.testing.assert_array_equal(labels.noisy, NOISY)


def test_labels_of_another_order_are_no_better_than_chance(tmp_path):
    clean = np.random.default_rng(0).integers(0, 10, 2000)
    noisy = corrupt_labels(clean, symmetric(10, 0.8), seed=0).noisy
    path = write_npy(tmp_path / "labels.npy", noisy)
    assert read_label_file(path, clean, order="same").rate == pytest.approx(
        0.8, abs=0.01
    )
    text = r"labels of this data set, in its order. .* would by chance"
    with pytest.raises(ValueError, match=text):
        read_label_file(path, np.sort(clean), order="same")


@needs_shared_data
def test_published_labels_of_mnist():
    mnist = datasets.load("mnist", source=SHARED / "mnist.npz")
    path = SHARED / "idn_labels.npz"
    for rate in (20, 40):
        labels = read_label_file(f"{path}:mnist_idn_{rate}", mnist, order="torchvision")
        assert labels.rate == pytest.approx(rate / 100, abs=1e-3)
    with pytest.raises(ValueError, match="a row for each id of the data set"):
        read_label_file(f"{path}:cifar10_idn_20", mnist, order="same")
    shuffled = np.random.default_rng(0).permutation(60000)
    with pytest.raises(ValueError, match="in its order"):
        read_label_file(f"{path}:mnist_idn_40", mnist.y_train[shuffled], order="same")
    part = mnist.subset(shuffled[:5000])
    labels = read_label_file(f"{path}:mnist_idn_40", part, order="keras.datasets")
    assert labels.rate == pytest.approx(0.4, abs=0.03)


@needs_shared_data
@pytest.mark.parametrize("shuffled", [False, True])
def test_published_csv_of_mnist(shuffled, tmp_path):
    mnist = datasets.load("mnist", source=SHARED / "mnist.npz")
    with np.load(SHARED / "idn_labels.npz") as archive:
        noisy = archive["mnist_idn_20"]
    order = np.arange(60000)
    if shuffled:
        order = np.random.default_rng(0).permutation(order)
    columns = {"label": mnist.y_train[order], "label_noisy": noisy[order]}
    path = write_csv(tmp_path / "dependent0.2.csv", columns)
    if not shuffled:
        np.testing.assert_array_equal(read_label_file(path, mnist).noisy, noisy)
        return
    with pytest.raises(ValueError, match=r"5\d{4} of 60000 differ, first at ids 0"):
        read_label_file(path, mnist)
    by_ids = read_label_file(path, mnist, file_ids=order)
    np.testing.assert_array_equal(by_ids.noisy, noisy)


# --- files that are something else


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("form", ["npy", "pt", "old pt"])
def test_pickles_run_nothing(form, tmp_path):
    evil = Evil()
    Evil.target = tmp_path / "ran"
    content = {"clean_label": CLEAN, "noisy": evil}
    write = {"npy": write_npy, "pt": write_torch, "old pt": write_old_torch}[form]
    path = write(tmp_path / f"labels.{form[-3:].strip()}", content)
    text = (
        r"a pickle of plain arrays. .*It names (posix|nt).system, .*nothing of it was"
    )
    with pytest.raises(ValueError, match=text):
        read_label_file(path, CLEAN)
    assert not Evil.target.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(V1\ntR.",
        b"cnumpy\nload\n(V/etc/passwd\ntR.",
        b"c_codecs\nencode\n(V1\nVrot13\ntR.",
        b"ctorch.serialization\nload\n.",
        b"cnumpy._core.multiarray\nfrombuffer\n.",
        b"cnumpy\ndtype\n(VV8\ntR.",
        # Giving what is known another meaning.
        b"cnumpy\ndtype\n(N(dV__init__\nc_codecs\nencode\nstb.",
        b"c_codecs\nencode\n(dVx\nI1\nsb.",
        b"cnumpy\nndarray\n(I5\ntR.",
        b"cnumpy._core.multiarray\nscalar\n(I5\ntR.",
        b"\x80\x02cnumpy\ndtype\nVi8\n\x85\x81.",
        b"(ios\nsystem\n.",
        b"\x82\x01.",  # An extension, by its number.
        b"(lp0\n0g0\na.",
    ],
)
def test_other_names_are_refused(content, tmp_path):
    path = write_torch(tmp_path / "labels.pt", content)
    with pytest.raises(ValueError, match="a pickle of plain arrays"):
        read_label_file(path, CLEAN)


def tensor_pickle(offset, size, step, key="V0", kind="LongStorage"):
    """Return the pickle of a dict of clean labels and one tensor of torch."""
    clean = "".join(f"I{label}\n" for label in CLEAN)
    return (
        f"(dVclean_label\n({clean}lsVnoisy\nctorch._utils\n_rebuild_tensor_v2\n"
        f"((Vstorage\nctorch\n{kind}\n{key}\nVcpu\nI6\ntQI{offset}\n(I{size}\nt"
        f"(I{step}\ntI00\nNtRs."
    ).encode()


def test_tensors_without_torch(tmp_path):
    storages = [("0", np.repeat(NOISY, 2).astype("<i8")[:11])]
    content = tensor_pickle(0, 6, 2).replace(b"I6\ntQ", b"I11\ntQ")
    path = write_torch(tmp_path / "labels.pt", content, storages=storages)
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)


@pytest.mark.parametrize(
    ("offset", "size", "step"),
    [(0, 7, 1), (1, 6, 1), (0, 6, 2), (-1, 6, 1), (5, 6, -1), (0, 6, 0)],
)
def test_tensors_cannot_read_other_memory(offset, size, step, tmp_path):
    content = tensor_pickle(offset, size, step)
    storages = [("0", NOISY.astype("<i8"))]
    path = write_torch(tmp_path / "labels.pt", content, storages=storages)
    text = "larger than its storage" if min(offset, step) >= 0 else "no plain integers"
    with pytest.raises(ValueError, match=text):
        read_label_file(path, CLEAN)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", b""),
        (".csv", b"3,3\n0,1\n"),
        (".csv", b"label,label_noisy\n3,3\n0\n"),
        (".csv", b"\xff\xfelabel"),
        (".npy", b""),
        (".npy", b"\x93NUMPY\x01\x00"),
        (".npz", b"PK\x03\x04"),
        (".npz", b""),
        (".pt", b""),
        (".pt", pickle.dumps(7)),
        (".pt", b"PK\x03\x04"),
    ],
)
def test_damaged_files(suffix, content, tmp_path):
    path = tmp_path / f"labels{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="`path` must be an undamaged label file"):
        read_label_file(path, CLEAN)


def test_loops_and_odd_calls(tmp_path):
    for content in (
        b"(dr\xff\xff\xff\x7f.",  # A table of 32 GB.
        b"\x96\xff\xff\xff\xff\x0f\x00\x00\x00.",  # An array of 64 GB.
        b"(dp0\nVnoisy\ng0\ns.",
        b"(dp0\nVnoisy\n(lp1\ng1\nas.",
    ):
        path = write_torch(tmp_path / "labels.pt", content)
        with pytest.raises(ValueError, match="an undamaged label file"):
            read_label_file(path, CLEAN)


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".pt"])
def test_files_cut_short(suffix, tmp_path):
    path = tmp_path / f"labels{suffix}"
    content = {"clean_label": CLEAN, "noisy": NOISY}
    if suffix == ".npz":
        np.savez_compressed(path, **content)
    else:
        write = {".csv": write_csv, ".npy": write_npy, ".pt": write_torch}[suffix]
        write(path, content)
    whole = path.read_bytes()
    assert read_label_file(path, CLEAN).rate == 1 / 3
    for size in range(0, len(whole) - 2, max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        with pytest.raises((TypeError, ValueError), match="read_label_file: `"):
            read_label_file(path, CLEAN)


def test_torch_file_without_a_pickle(tmp_path):
    path = tmp_path / "labels.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("something.txt", "else")
    with pytest.raises(ValueError, match=r"it is not a file of torch.save"):
        read_label_file(path, CLEAN)


def test_path_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="`path` must be an existing file"):
        read_label_file(tmp_path / "missing.csv", CLEAN)
    with pytest.raises(TypeError, match=r"`path` must be a path. Received: path=5"):
        read_label_file(5, CLEAN)
    with pytest.raises(ValueError, match=r"`path` must be a file that ends in \.csv, "):
        read_label_file(tmp_path / "labels.txt", CLEAN)


def test_sizes_that_differ(tmp_path):
    path = tmp_path / "labels.npz"
    np.savez(path, clean=CLEAN[:5], noisy=NOISY)
    text = "as many labels under 'clean' as under 'noisy'. .*They are 5 and 6."
    with pytest.raises(ValueError, match=text):
        read_label_file(path, CLEAN)
    np.savez(path, clean=CLEAN, noisy=np.eye(6, dtype=int))
    with pytest.raises(ValueError, match="`key` must be one of the label sets of the"):
        read_label_file(path, CLEAN)
