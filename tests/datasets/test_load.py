import io
import pathlib
import re
import zipfile

import keras
import numpy as np
import pytest

from keras_noisy import datasets
from keras_noisy.noise import NoisyLabels

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs copies of public image sets in ../shared/data"
)
SHAPES = {
    "digits": (8, 8, 1),
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
}


def make_arrays(shape, num_classes=10, train=30, test=10):
    """Return four random arrays by name."""
    generator = np.random.default_rng(0)
    return {
        "x_train": generator.integers(0, 256, (train, *shape), dtype=np.uint8),
        "y_train": generator.integers(0, num_classes, train).astype("uint8"),
        "x_test": generator.integers(0, 256, (test, *shape), dtype=np.uint8),
        "y_test": generator.integers(0, num_classes, test).astype("uint8"),
    }


def examples(arrays, split, prefix=None):
    """Return the examples of a split, as the fixture `prepare` takes them."""
    rows = zip(arrays[f"x_{split}"], arrays[f"y_{split}"], strict=True)
    return [
        (x, int(y), {"id": f"{prefix}_{i:05d}"} if prefix else {})
        for i, (x, y) in enumerate(rows)
    ]


def pretend_keras_datasets(monkeypatch, name, arrays):
    """Let `keras.datasets` return arrays, in the shapes that it has."""
    y_train, y_test = arrays["y_train"], arrays["y_test"]
    x_train, x_test = arrays["x_train"], arrays["x_test"]
    if name.startswith("cifar"):
        y_train, y_test = y_train[:, None], y_test[:, None]
    else:
        x_train, x_test = x_train[..., 0], x_test[..., 0]
    module = getattr(keras.datasets, name)
    data = (x_train, y_train), (x_test, y_test)
    monkeypatch.setattr(module, "load_data", lambda: data)


def write_human_labels(path, clean, seed=0):
    """Write CIFAR-10N's file for these labels, and return its label sets."""
    generator = np.random.default_rng(seed)
    keys = ["aggre_label", "worse_label", *(f"random_label{i}" for i in (1, 2, 3))]
    content = {key: generator.integers(0, 10, len(clean)) for key in keys}
    np.save(path, {"clean_label": clean.astype("int64"), **content}, allow_pickle=True)
    return content


# --- without a source


def test_digits():
    data = datasets.load("digits")
    assert data.x_train.shape == (1347, 8, 8, 1) and data.x_test.shape == (450, 8, 8, 1)
    assert data.x_train.dtype == np.uint8 and data.x_train.max() == 255
    assert data.order == "scikit-learn" and data.class_names == tuple("0123456789")
    # Every class has its share of the test set, and the split is the same every time.
    assert (np.bincount(data.y_test) >= 43).all()
    again = datasets.load("digits")
    np.testing.assert_array_equal(again.x_train, data.x_train)
    np.testing.assert_array_equal(data.train_ids, np.arange(1347))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_keras_datasets(name, monkeypatch):
    arrays = make_arrays(SHAPES[name], 100 if name == "cifar100" else 10)
    pretend_keras_datasets(monkeypatch, name, arrays)
    data = datasets.load(name)
    for key, array in arrays.items():
        np.testing.assert_array_equal(getattr(data, key), array)
    assert data.y_train.dtype == np.int64 and data.y_train.shape == (30,)
    assert data.order == "keras.datasets"
    assert (
        data.num_classes == len(data.class_names) == (100 if name == "cifar100" else 10)
    )
    assert (data.superclasses is None) == (name != "cifar100")


def test_superclasses_of_cifar100(monkeypatch):
    pretend_keras_datasets(monkeypatch, "cifar100", make_arrays((32, 32, 3), 100))
    data = datasets.load("cifar100")
    assert data.superclasses.shape == (100,) and len(data.superclass_names) == 20
    assert (np.bincount(data.superclasses) == 5).all()
    of = {
        name: data.superclass_names[group]
        for name, group in zip(data.class_names, data.superclasses, strict=True)
    }
    # Class 0, a class whose superclass is far from it in the alphabet, and the last.
    assert list(of)[:2] == ["apple", "aquarium_fish"] and list(of)[-1] == "worm"
    assert of["apple"] == "fruit_and_vegetables" and of["ray"] == "fish"
    assert of["pickup_truck"] == "vehicles_1" and of["tractor"] == "vehicles_2"


@needs_shared_data
def test_superclasses_are_those_of_the_real_file(monkeypatch):
    pretend_keras_datasets(monkeypatch, "cifar100", make_arrays((32, 32, 3), 100))
    data = datasets.load("cifar100")
    with np.load(SHARED / "cifar100_jpeg.npz") as pack:
        assert tuple(pack["class_names"]) == data.class_names
        np.testing.assert_array_equal(pack["fine_to_coarse"], data.superclasses)


@pytest.mark.parametrize("name", ["imagenet2012", "clothing1m", "custom"])
def test_source_is_needed(name):
    with pytest.raises(ValueError, match=f"load: `source` must be given for '{name}'"):
        datasets.load(name)


def test_unknown_name():
    known = "'digits', 'mnist', 'fashion_mnist', 'cifar10', 'cifar100', 'cifar10_n', "
    known += "'cifar100_n', 'clothing1m', 'imagenet2012', 'custom'"
    text = f"load: `name` must be one of {known}. Received: name='CIFAR10'."
    with pytest.raises(ValueError, match=re.escape(text)):
        datasets.load("CIFAR10")


# --- files


@pytest.mark.parametrize("name", SHAPES)
def test_npz(name, tmp_path):
    arrays = make_arrays(SHAPES[name])
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    for source in (path, str(path)):
        data = datasets.load(name, source=source)
        for key, array in arrays.items():
            np.testing.assert_array_equal(getattr(data, key), array)
        assert data.order == "file"


@needs_shared_data
def test_labels_in_the_published_order_are_recognised():
    data = datasets.load("mnist", source=SHARED / "mnist.npz")
    assert data.order == "keras.datasets"
    assert data.x_train.shape == (60000, 28, 28, 1)


def test_custom_npz(tmp_path):
    generator = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    x = generator.normal(size=(12, 5)).astype("float32")
    y = np.arange(12) % 3
    np.savez(path, x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    data = datasets.load("custom", source=path)
    assert data.x_train.dtype == np.float32 and data.num_classes == 3
    assert data.class_names is None
    np.savez(
        path, x_train=x, y_train=y, x_test=x, y_test=y, class_names=["a", "b", "c", "d"]
    )
    data = datasets.load("custom", source=path)
    assert data.class_names == ("a", "b", "c", "d") and data.num_classes == 4


def test_npz_refuses(tmp_path):
    path, arrays = tmp_path / "data.npz", make_arrays((32, 32, 3))

    def refuse(text, **changes):
        np.savez(path, **{**arrays, **changes})
        with pytest.raises((TypeError, ValueError), match=text):
            datasets.load("cifar10", source=path)

    refuse(r"`source` must be cifar10, with x_train of shape \(n, 32, 32, 3\) and dty"
           r"pe uint8. Received: source=x_train of shape \(30, 28, 28\), uint8. Load ",
           x_train=np.zeros((30, 28, 28), "uint8"))  # fmt: skip
    refuse("x_test of shape.*float64", x_test=np.zeros((10, 32, 32, 3)))
    refuse(r"`y_train` must be class ids in \[0, 10\). .*in \[0, 10\]",
           y_train=np.arange(30) % 11)  # fmt: skip
    refuse(r"`y_test` must be class ids in \[0, 10\)", y_test=-np.ones(10, int))
    refuse("`y_train` must be class ids of an integer dtype", y_train=np.ones(30))
    refuse("`y_train` must be of length 30, that of `x_train`",
           y_train=np.zeros(29, int))  # fmt: skip
    refuse(r"`y_train` must be class ids of shape", y_train=np.eye(30, dtype=int))
    del arrays["y_test"]
    refuse("npz file with x_train, y_train, x_test, y_test. .*It has no y_test.")


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "objects"])
def test_damaged_npz(damage, tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **make_arrays((28, 28, 1)))
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[5000:5100] = bytes(100)
    elif damage == "objects":
        file = io.BytesIO()
        np.savez(file, **{key: np.array([{}]) for key in make_arrays((28, 28, 1))})
        content = file.getvalue()
    changed = {"cut": content[:-300], "empty": b"", "text": b"x_train"}
    path.write_bytes(changed.get(damage, content))
    with pytest.raises(ValueError, match=r"`source` must be an undamaged .npz file"):
        datasets.load("mnist", source=path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"class_names": "cat"}, r"its 'class_names' have the shape \(\)"),
        (
            {"class_names": [["cat"], ["dog"]]},
            r"its 'class_names' have the shape \(2, 1",
        ),
        ({"x_train": 5}, "its 'x_train' is one number"),
        ({"y_test": 5}, "its 'y_test' is one number"),
    ],
)
def test_npz_of_other_shapes(changes, text, tmp_path):
    np.savez(tmp_path / "data.npz", **make_arrays((8, 8, 1), 2) | changes)
    with pytest.raises(ValueError, match=f"`source` must be an undamaged.*{text}"):
        datasets.load("custom", source=tmp_path / "data.npz")


def test_source_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load: `source` must be .*existing"):
        datasets.load("mnist", source=tmp_path / "missing.npz")
    with pytest.raises(FileNotFoundError, match=r"Received: source=''"):
        datasets.load("mnist", source="")
    with pytest.raises(TypeError, match=r"load: `source` must be .*builder"):
        datasets.load("mnist", source=("tfds",))
    with pytest.raises(ValueError, match="`source` must be another one for 'digits'"):
        datasets.load("digits", source="tfds")
    with pytest.raises(ValueError, match=r"`source` must be None or a .npz file for"):
        datasets.load("digits", source=tmp_path)
    path = tmp_path / "data.npz"
    np.savez(path, **make_arrays((28, 28, 1)))
    with pytest.raises(ValueError, match="`source` must be a folder for 'clothing1m'"):
        datasets.load("clothing1m", source=path)


# --- TFDS


@pytest.mark.tf_data
@pytest.mark.parametrize("source", ["builder", "data_dir", "prepared"])
def test_cifar_of_tfds_comes_in_the_published_order(source, prepare):
    import tensorflow_datasets as tfds

    arrays = make_arrays((32, 32, 3), 10)
    splits = {
        "train": examples(arrays, "train", "train"),
        "test": examples(arrays, "test", "test"),
    }
    builder, folder = prepare(
        "cifar10", (32, 32, 3), 10, splits, {"id": tfds.features.Text()}
    )
    ids = [e["id"] for e in tfds.as_numpy(builder.as_dataset(split="train"))]
    assert ids != sorted(ids), "TFDS keeps an order of its own"
    sources = {"builder": builder, "data_dir": folder, "prepared": builder.data_dir}
    data = datasets.load("cifar10", source=sources[source])
    assert data.order == "keras.datasets"
    np.testing.assert_array_equal(data.x_train, arrays["x_train"])
    np.testing.assert_array_equal(data.y_train, arrays["y_train"])
    # The test split has no published labels to be joined; it stays as it comes.
    assert sorted(data.y_test) == sorted(arrays["y_test"])


@pytest.mark.tf_data
def test_tfds_without_ids_keeps_its_order(prepare):
    import tensorflow_datasets as tfds

    arrays = make_arrays((28, 28, 1))
    splits = {split: examples(arrays, split) for split in ("train", "test")}
    builder, folder = prepare("mnist", (28, 28, 1), 10, splits)
    data = datasets.load("mnist", source=str(folder))
    assert data.order == "tfds"
    expected = list(tfds.as_numpy(builder.as_dataset(split="train")))
    np.testing.assert_array_equal(data.x_train, [e["image"] for e in expected])
    np.testing.assert_array_equal(data.y_train, [e["label"] for e in expected])


@pytest.mark.tf_data
def test_the_newest_prepared_version_is_read(prepare, tmp_path):
    arrays = make_arrays((28, 28, 1))
    splits = {split: examples(arrays, split) for split in ("train", "test")}
    builder, _ = prepare("mnist", (28, 28, 1), 10, splits)
    newest = tmp_path / "mnist" / "10.0.0"
    newest.parent.mkdir()
    pathlib.Path(builder.data_dir).rename(newest)
    older = tmp_path / "mnist" / "9.1.0"
    older.mkdir()
    (older / "dataset_info.json").write_text("{}")
    assert datasets.load("mnist", source=tmp_path).x_train.shape == (30, 28, 28, 1)


@pytest.mark.tf_data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_tfds_by_name(name):
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=5):
        data = datasets.load(name, source="tfds")
    # Mocked ids are random text, so that nothing says more than that it is TFDS's.
    assert data.order == "tfds"
    assert data.x_train.shape == (5, *SHAPES[name])


@pytest.mark.tf_data
def test_custom_builder(prepare):
    arrays = make_arrays((6, 7, 3), 4)
    splits = {split: examples(arrays, split) for split in ("train", "test")}
    builder, _ = prepare("leaves", (6, 7, 3), 4, splits)
    data = datasets.load("custom", source=builder)
    assert data.x_train.shape == (30, 6, 7, 3)
    assert data.class_names == tuple(f"class {i}" for i in range(4))


@pytest.mark.tf_data
def test_tfds_refuses(prepare, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    with pytest.raises(ValueError, match="a folder with cifar10 as TFDS prepares it"):
        datasets.load("cifar10", source=tmp_path)
    arrays = make_arrays((28, 28, 1))
    splits = {split: examples(arrays, split) for split in ("train", "test")}
    builder, _ = prepare("mnist", (28, 28, 1), 10, splits)
    with pytest.raises(ValueError, match="`source` must be cifar10, with x_train of"):
        datasets.load("cifar10", source=builder)
    with (
        tfds.testing.mock_data(num_examples=1),
        pytest.raises(ValueError, match="the features 'image' and 'label'"),
    ):
        datasets.load("custom", source=tfds.builder("imdb_reviews"))


def test_tfds_is_not_installed(monkeypatch):
    import importlib

    def import_module(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    text = r"load: .* needs the package 'tensorflow_datasets'.*keras-noisy\[datasets\]"
    with pytest.raises(ModuleNotFoundError, match=text):
        datasets.load("mnist", source="tfds")


# --- human labels


@pytest.mark.parametrize("given", [True, False])
def test_cifar10_n(given, monkeypatch, tmp_path):
    arrays = make_arrays((32, 32, 3))
    pretend_keras_datasets(monkeypatch, "cifar10", arrays)
    path = tmp_path / "CIFAR-10_human.npy"
    content = write_human_labels(path, arrays["y_train"])
    downloads = []

    def get_file(name, origin):
        downloads.append((name, origin))
        return str(path)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    label_file = path if given else None
    for labels, key in (("worst", "worse_label"), ("random2", "random_label2")):
        data = datasets.load("cifar10_n", label_file=label_file, labels=labels)
        np.testing.assert_array_equal(data.noisy_labels.noisy, content[key])
        np.testing.assert_array_equal(data.noisy_labels.clean, arrays["y_train"])
        np.testing.assert_array_equal(data.y_train, arrays["y_train"])
    folder = "https://github.com/UCSC-REAL/cifar-10-100n/raw/main/data/"
    expected = ("CIFAR-10_human.pt", f"{folder}CIFAR-10_human.pt")
    assert downloads == ([] if given else [expected] * 2)


def test_cifar100_n(monkeypatch, tmp_path):
    arrays = make_arrays((32, 32, 3), 100)
    pretend_keras_datasets(monkeypatch, "cifar100", arrays)
    clean = arrays["y_train"].astype(int)
    noisy = (clean + np.arange(30) % 2) % 100
    path = tmp_path / "CIFAR-100_human.npy"
    # Its two files call the noisy labels by different names.
    for key in ("noisy_label", "noise_label"):
        coarse = {"clean_coarse_label": clean // 5, "noisy_coarse_label": noisy // 5}
        np.save(path, {"clean_label": clean, key: noisy, **coarse}, allow_pickle=True)
        data = datasets.load("cifar100_n", label_file=path)
        np.testing.assert_array_equal(data.noisy_labels.noisy, noisy)
        assert data.noisy_labels.num_classes == 100
        assert data.superclasses is not None


@pytest.mark.tf_data
def test_cifar10_n_of_tfds(prepare, tmp_path):
    import tensorflow_datasets as tfds

    arrays = make_arrays((32, 32, 3))
    worse = (arrays["y_train"].astype(int) + 1) % 10
    train = examples(arrays, "train", "train")
    for (_, _, others), label in zip(train, worse, strict=True):
        others["worse_label"] = int(label)
    test = [
        (x, y, {**others, "worse_label": -1})
        for x, y, others in examples(arrays, "test", "test")
    ]
    features = {
        "id": tfds.features.Text(),
        "worse_label": tfds.features.ClassLabel(num_classes=10),
    }
    splits = {"train": train, "test": test}
    builder, folder = prepare("cifar10_n", (32, 32, 3), 10, splits, features)
    for source in (builder, folder):
        data = datasets.load("cifar10_n", source=source, labels="worst")
        assert data.order == "keras.datasets"
        np.testing.assert_array_equal(data.noisy_labels.noisy, worse)
    # Images of TFDS with the authors' file.
    path = tmp_path / "human.npy"
    content = write_human_labels(path, arrays["y_train"])
    data = datasets.load("cifar10_n", source=folder, label_file=path, labels="aggre")
    np.testing.assert_array_equal(data.noisy_labels.noisy, content["aggre_label"])


def test_label_file_of_another_set(monkeypatch, tmp_path):
    arrays = make_arrays((28, 28, 1))
    pretend_keras_datasets(monkeypatch, "mnist", arrays)
    clean = arrays["y_train"]
    labels = NoisyLabels((clean + 1) % 10, clean, 10)
    labels.save(tmp_path / "mine.npz")
    data = datasets.load("mnist", label_file=tmp_path / "mine.npz")
    assert data.noisy_labels.digest == labels.digest
    arrays["y_train"][:] = clean[::-1].copy()
    with pytest.raises(ValueError, match="whose clean labels agree with"):
        datasets.load("mnist", label_file=tmp_path / "mine.npz")


def test_labels_refuses():
    text = "`labels` must be one of 'aggre', 'worst', 'random1', 'random2', 'random3'"
    for labels in (None, "worse", "clean"):
        with pytest.raises(ValueError, match=text):
            datasets.load("cifar10_n", labels=labels)
    with pytest.raises(ValueError, match="`labels` must be None for 'cifar10' without"):
        datasets.load("cifar10", labels="worst")


def test_a_zip_that_is_not_npz(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.txt", "1 2 3")
    with pytest.raises(ValueError, match="It has no x_train, y_train, x_test, y_test"):
        datasets.load("mnist", source=path)
