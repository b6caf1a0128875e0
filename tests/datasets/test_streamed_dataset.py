import pathlib

import filelock
import keras
import numpy as np
import pytest

from keras_noisy import datasets, noise
from keras_noisy.datasets import StreamedDataset, _decoding
from keras_noisy.noise import NoisyLabels

needs_pillow = pytest.mark.usefixtures("pillow")


@pytest.fixture
def pillow():
    pytest.importorskip("PIL")


def write_image(path, value, size=(6, 4)):
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), value, "uint8")
    keras.utils.save_img(path, image, scale=False)


def write_class_folders(root, test="val", classes=("n01", "n02", "n03"), each=4):
    """Write images whose grey is their id in the split."""
    for split, count in (("train", each), (test, 2)):
        for c, name in enumerate(classes):
            for i in range(count):
                value = 10 * (c * count + i)
                write_image(root / split / name / f"image_{i}.png", value)
    return root


def write_clothing1m(root, lists=None):
    """Write Clothing1M in small: 6 noisy images, 4 clean ones, of which 2 are both."""
    lists = root / (lists or "")
    lists.mkdir(exist_ok=True)
    noisy = {f"images/0/{i}.png": (3 * i) % 14 for i in range(6)}
    clean = {f"images/0/{i}.png": i for i in (4, 5)}
    clean |= {f"images/1/{i}.png": i for i in (6, 7)}
    for number, key in enumerate({**noisy, **clean}):
        write_image(root / key, 10 * number)
    text = {
        "noisy_label_kv.txt": [f"{key} {label}" for key, label in noisy.items()],
        "clean_label_kv.txt": [f"{key} {label}" for key, label in clean.items()],
        "noisy_train_key_list.txt": list(noisy),
        "clean_train_key_list.txt": ["images/0/4.png"],
        "clean_val_key_list.txt": ["images/0/5.png"],
        "clean_test_key_list.txt": ["images/1/7.png", "images/1/6.png"],
    }
    for name, lines in text.items():
        (lists / name).write_text("\n".join(lines) + "\n")
    return root


# --- folders


@needs_pillow
@pytest.mark.parametrize("test", ["val", "validation", "test"])
@pytest.mark.parametrize("name", ["imagenet2012", "custom"])
def test_class_folders(name, test, tmp_path):
    write_class_folders(tmp_path, test)
    (tmp_path / "train" / "n01" / ".hidden.png").write_bytes(b"")
    (tmp_path / "train" / "n01" / "notes.txt").write_text("no image")
    data = datasets.load(name, source=str(tmp_path))
    assert isinstance(data, StreamedDataset)
    assert data.class_names == ("n01", "n02", "n03") and data.num_classes == 3
    assert data.splits == ("train", "test") and data.order == "file"
    assert data.num_examples() == 12 and data.num_examples("test") == 6
    np.testing.assert_array_equal(data.y_train, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(data.y_test, np.repeat([0, 1, 2], 2))
    np.testing.assert_array_equal(data.train_ids, np.arange(12))
    assert data.superclasses is None and data.noisy_labels is None
    assert data.paths()[5] == str(tmp_path / "train" / "n02" / "image_1.png")
    assert repr(data) == (
        f"StreamedDataset('{name}', train=12, test=6, num_classes=3, order='file')"
    )


@needs_pillow
@pytest.mark.tf_data
def test_stream_of_files(tmp_path):
    data = datasets.load("imagenet2012", source=write_class_folders(tmp_path))
    rows = list(data.pipeline().as_numpy_iterator())
    assert [int(i) for i, _, _ in rows] == list(range(12))
    for sample_id, image, label in rows:
        assert image.shape == (6, 4, 3) and image.dtype == np.uint8
        assert (image == 10 * sample_id).all() and label == sample_id // 4
        assert label.dtype == sample_id.dtype == np.int64
    tests = list(data.pipeline("test").as_numpy_iterator())
    assert [int(y) for _, _, y in tests] == [0, 0, 1, 1, 2, 2]


@needs_pillow
@pytest.mark.tf_data
def test_shuffled_stream_of_files(tmp_path):
    data = datasets.load("imagenet2012", source=write_class_folders(tmp_path))
    stream = data.pipeline(shuffle=True, seed=3)
    epochs = [list(stream.as_numpy_iterator()) for _ in range(2)]
    orders = [[int(i) for i, _, _ in rows] for rows in epochs]
    assert orders[0] != orders[1]
    for rows, order in zip(epochs, orders, strict=True):
        assert sorted(order) == list(range(12)) != order
        assert all((image == 10 * i).all() and y == i // 4 for i, image, y in rows)
    again = data.pipeline(shuffle=True, seed=3).as_numpy_iterator()
    assert [int(i) for i, _, _ in again] == orders[0]


@needs_pillow
@pytest.mark.tf_data
def test_labels_by_id(tmp_path):
    data = datasets.load("imagenet2012", source=write_class_folders(tmp_path))
    labels = noise.corrupt_labels(data.y_train, noise.symmetric(3, 0.5), seed=0)
    for given in (labels, labels.noisy):
        rows = data.pipeline(labels=given, shuffle=True).as_numpy_iterator()
        assert {int(i): int(y) for i, _, y in rows} == dict(enumerate(labels.noisy))
    with pytest.raises(ValueError, match=r"`labels` must be class ids of .*\(12,\)"):
        data.pipeline(labels=[0, 1])


@needs_pillow
@pytest.mark.tf_data
@pytest.mark.parametrize("size", [(5, 5), (3, 9), (8, 2), (1, 1), (7, 6)])
def test_image_size(size, tmp_path):
    write_class_folders(tmp_path)
    for number, shape in enumerate([(1, 1), (1, 9), (9, 1), (40, 30)]):
        path = tmp_path / "train" / "n03" / f"image_{number}.png"
        write_image(path, 80 + 10 * number, shape)
    data = datasets.load("imagenet2012", source=tmp_path)
    (batch,) = data.pipeline(image_size=size).batch(12).as_numpy_iterator()
    assert batch[1].shape == (12, *size, 3) and batch[1].dtype == np.uint8
    np.testing.assert_array_equal(batch[1][:, 0, 0, 0], 10 * np.arange(12))


@needs_pillow
@pytest.mark.tf_data
def test_the_middle_is_cut_out(tmp_path):
    write_class_folders(tmp_path)
    # Columns 0 to 7 hold their number; the middle four of 4 x 8 are 2, 3, 4, 5.
    image = np.tile(np.arange(8, dtype="uint8")[None, :, None], (4, 1, 3))
    path = tmp_path / "train" / "n01" / "image_0.png"
    keras.utils.save_img(path, image, scale=False)
    data = datasets.load("imagenet2012", source=tmp_path)
    _, cut, _ = next(data.pipeline(image_size=4).as_numpy_iterator())
    np.testing.assert_array_equal(cut, image[:, 2:6])


@needs_pillow
@pytest.mark.tf_data
def test_pipeline_refuses(tmp_path):
    data = datasets.load("imagenet2012", source=write_class_folders(tmp_path))
    with pytest.raises(ValueError, match="`split` must be one of 'train', 'test'"):
        data.pipeline("validation")
    for size in (0, (4,), (4, -1), 2.5, "8"):
        with pytest.raises(ValueError, match="`image_size` must be a positive integer"):
            data.pipeline(image_size=size)
    with pytest.raises(TypeError, match="`shuffle` must be a bool"):
        data.pipeline(shuffle=1)
    pathlib.Path(data.paths()[3]).write_bytes(b"no image")
    with pytest.raises(Exception, match="Unknown image file format"):
        list(data.pipeline())


# --- decoded once


@pytest.fixture
def small_chunks(monkeypatch):
    """Two images at once, and a note of how far it is after each two."""
    monkeypatch.setattr(_decoding, "_CHUNK", 2)
    monkeypatch.setattr(_decoding, "_BYTES", 1)


@needs_pillow
@pytest.mark.tf_data
def test_arrays_are_what_the_stream_gives(tmp_path, small_chunks):
    data = datasets.load("custom", source=write_class_folders(tmp_path / "images"))
    arrays = data.to_arrays(tmp_path / "arrays", image_size=(5, 3))
    assert set(arrays) == {"train", "test"}
    for split, (images, labels) in arrays.items():
        rows = data.pipeline(split, image_size=(5, 3)).as_numpy_iterator()
        ids, expected, classes = (
            np.stack(column) for column in zip(*rows, strict=True)
        )
        np.testing.assert_array_equal(images[ids], expected)
        np.testing.assert_array_equal(labels[ids], classes)
        assert isinstance(images, np.memmap) and not images.flags.writeable
        assert images.dtype == "uint8" and labels.dtype == "int64"


@pytest.fixture
def interrupted(small_chunks, monkeypatch):
    """A function that begins to decode, and is interrupted after six images."""

    def crash(path, content, write=_decoding.files.write_json):
        write(path, content)
        if content["done"] == 6:
            raise KeyboardInterrupt

    def interrupted(data, folder):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(_decoding.files, "write_json", crash)
            data.to_arrays(folder, image_size=4, splits=["train"])

    return interrupted


@needs_pillow
@pytest.mark.tf_data
def test_decoding_continues(tmp_path, interrupted, monkeypatch):
    root, folder = write_class_folders(tmp_path / "images"), tmp_path / "arrays"
    data = datasets.load("custom", source=root)
    expected = data.to_arrays(tmp_path / "whole", image_size=4, splits=["train"])
    interrupted(data, folder)
    for path in data.paths()[:6]:
        pathlib.Path(path).write_bytes(b"not read again")
    arrays = data.to_arrays(folder, image_size=4, splits=["train"])
    for actual, other in zip(arrays["train"], expected["train"], strict=True):
        np.testing.assert_array_equal(actual, other)
    # Finished, it reads no image.
    monkeypatch.setattr(StreamedDataset, "_stream", None)
    again = data.to_arrays(folder, image_size=4, splits=["train"])
    np.testing.assert_array_equal(again["train"][0], expected["train"][0])


@needs_pillow
@pytest.mark.tf_data
def test_to_arrays_refuses(tmp_path):
    root, folder = write_class_folders(tmp_path / "images"), tmp_path / "arrays"
    data = datasets.load("custom", source=root)
    for size in (0, None, (4, 4, 3)):
        with pytest.raises(ValueError, match=r"to_arrays: `image_size` must be a posi"):
            data.to_arrays(folder, image_size=size)
    with pytest.raises(ValueError, match=r"to_arrays: `split` must be one of"):
        data.to_arrays(folder, image_size=4, splits=["validation"])
    damaged = pathlib.Path(data.paths()[3])
    content = damaged.read_bytes()
    damaged.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"n01.image_3\.png is damaged"):
        data.to_arrays(folder, image_size=4)
    damaged.write_bytes(content)
    data.to_arrays(folder, image_size=4)
    with pytest.raises(ValueError, match=r"Its image_size is \[4, 4\], and .*\[5, 5\]"):
        data.to_arrays(folder, image_size=5)
    damaged.rename(damaged.with_name("another.png"))
    with pytest.raises(
        ValueError, match=r"`folder` must be a folder of this run.*files"
    ):
        datasets.load("custom", source=root).to_arrays(folder, image_size=4)


@needs_pillow
@pytest.mark.tf_data
def test_arrays_that_are_damaged_or_in_use(tmp_path, interrupted):
    root, folder = write_class_folders(tmp_path / "images"), tmp_path / "arrays"
    data = datasets.load("custom", source=root)
    interrupted(data, folder)
    lock = filelock.FileLock(folder / "train" / ".lock")
    with (
        lock,
        pytest.raises(ValueError, match=r"`folder` must be a folder that no other pro"),
    ):
        data.to_arrays(folder, image_size=4)
    whole = data.to_arrays(folder, image_size=4)["train"]
    # What is finished may be read by many.
    with lock:
        for actual, expected in zip(
            data.to_arrays(folder, image_size=4)["train"], whole, strict=True
        ):
            np.testing.assert_array_equal(actual, expected)
    for name, damage in {
        "images.npy": lambda content: content[:-1],
        "labels.npy": lambda content: content[:-1] + b"1",
        "progress.json": lambda content: b"",
    }.items():
        path = folder / "train" / name
        content = path.read_bytes()
        path.write_bytes(damage(content))
        with pytest.raises(ValueError, match=rf"Its '{name}' is damaged"):
            data.to_arrays(folder, image_size=4)
        path.write_bytes(content)


def write_flat(root, classes=("bus", "car", "train"), each=4):
    """Write images in class folders, their grey 7 times the id; the layout of Keras."""
    for c, name in enumerate(classes):
        for i in range(each):
            write_image(root / name / f"image_{i}.png", 7 * (c * each + i))
    return root


@needs_pillow
@pytest.mark.parametrize("classes", [("a", "b", "c"), ("bus", "car", "train")])
def test_flat_class_folders(classes, tmp_path):
    """All images are the split "train", even where a class has that name."""
    write_flat(tmp_path, classes)
    (tmp_path / "LICENSE.txt").write_text("free")
    (tmp_path / ".cache").mkdir()
    data = datasets.load("custom", source=tmp_path)
    assert isinstance(data, StreamedDataset)
    assert data.splits == ("train",) and data.class_names == classes
    np.testing.assert_array_equal(data.y_train, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(data.train_ids, np.arange(12))
    assert data.y_test is None and data.num_classes == 3
    with pytest.raises(ValueError, match="`split` must be one of 'train'"):
        data.pipeline("test")
    assert repr(data) == (
        "StreamedDataset('custom', train=12, num_classes=3, order='file')"
    )


@needs_pillow
@pytest.mark.tf_data
def test_flat_class_folders_are_those_of_keras(tmp_path):
    """The same classes, files and order as `image_dataset_from_directory`."""
    write_flat(tmp_path, ("b", "a", "C"), each=11)
    write_image(tmp_path / "a" / "UPPER.PNG", 0)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    data = datasets.load("custom", source=tmp_path)
    theirs = keras.utils.image_dataset_from_directory(
        tmp_path, shuffle=False, image_size=(6, 4), verbose=False
    )
    assert list(data.class_names) == theirs.class_names
    assert list(data.paths()) == theirs.file_paths
    images, labels = data.to_arrays(tmp_path / ".arrays", image_size=(6, 4))["train"]
    np.testing.assert_array_equal(labels, np.concatenate([y for _, y in theirs]))
    np.testing.assert_array_equal(images, np.concatenate([x for x, _ in theirs]))


@needs_pillow
def test_flat_class_folders_refuse(tmp_path):
    def refuse(text, name="custom"):
        with pytest.raises(ValueError, match=text):
            datasets.load(name, source=tmp_path)

    layouts = (
        "`source` must be a folder with CLASS/IMAGE files for two classes or more, "
        "one with train/CLASS/IMAGE and val/CLASS/IMAGE files, or one that TFDS prep"
    )
    refuse(layouts)
    write_image(tmp_path / "image.png", 0)
    refuse(layouts)
    write_image(tmp_path / "cat" / "a.png", 0)
    refuse(layouts)
    (tmp_path / "dog").mkdir()
    refuse(f"{layouts}.*There are no images in dog")
    write_image(tmp_path / "dog" / "young" / "a.png", 0)
    refuse(f"{layouts}.*There are no images in dog")
    write_image(tmp_path / "dog" / "b.png", 0)
    refuse(
        "images, and no folders, in .*/dog.* Move the images of young up, or it away"
    )
    (tmp_path / "dog" / "young" / "a.png").rename(tmp_path / "dog" / "a.png")
    (tmp_path / "dog" / "young").rmdir()
    assert datasets.load("custom", source=tmp_path).num_examples() == 3
    refuse("a folder with imagenet2012 as TFDS prepares it", "imagenet2012")
    # Images that nobody sorted are not classes named after splits.
    for name, split in (("cat", "Training"), ("dog", "test")):
        (tmp_path / name).rename(tmp_path / split)
    refuse(layouts)


@needs_pillow
def test_images_below_a_class_folder_are_not_passed_over(tmp_path):
    write_class_folders(tmp_path)
    write_image(tmp_path / "train" / "n02" / "more" / "a.png", 0)
    text = "images, and no folders, in train/n02.* Move the images of more up"
    with pytest.raises(ValueError, match=text):
        datasets.load("imagenet2012", source=tmp_path)


@needs_pillow
def test_class_folders_refuse(tmp_path):
    (tmp_path / "train").mkdir()
    text = "a folder with train/CLASS/IMAGE files and the same under one of test, val"
    with pytest.raises(ValueError, match=text):
        datasets.load("imagenet2012", source=tmp_path)
    write_image(tmp_path / "train" / "n01" / "a.png", 0)
    with pytest.raises(ValueError, match=text):
        datasets.load("imagenet2012", source=tmp_path)
    # ImageNet's validation set as it comes.
    write_image(tmp_path / "val" / "ILSVRC2012_val_00000001.png", 0)
    with pytest.raises(
        ValueError, match=r"the same classes in val as train. .*Put each"
    ):
        datasets.load("imagenet2012", source=tmp_path)
    (tmp_path / "val" / "n01").mkdir()
    with pytest.raises(ValueError, match="images below val"):
        datasets.load("imagenet2012", source=tmp_path)
    write_image(tmp_path / "val" / "n01" / "a.png", 0)
    with pytest.raises(
        ValueError, match="`label_file` must be None for a data set that"
    ):
        datasets.load("imagenet2012", source=tmp_path, label_file="labels.csv")
    assert datasets.load("imagenet2012", source=tmp_path).num_examples() == 1
    with pytest.raises(ValueError, match="`split` must be one of"):
        datasets.load("imagenet2012", source=tmp_path).num_examples("val")


def test_there_must_be_training_data():
    with pytest.raises(
        ValueError, match="StreamedDataset: `sources` must be a dict wi"
    ):
        StreamedDataset("mine", {"test": None}, ("cat", "dog"))


# --- Clothing1M


@needs_pillow
@pytest.mark.parametrize("lists", [None, "annotations"])
def test_clothing1m(lists, tmp_path):
    data = datasets.load("clothing1m", source=write_clothing1m(tmp_path, lists))
    assert data.splits == ("train", "clean_train", "validation", "test")
    sizes = [data.num_examples(split) for split in data.splits]
    assert sizes == [6, 1, 1, 2]
    assert data.num_classes == 14 and data.class_names[13] == "Underwear"
    np.testing.assert_array_equal(data.y_train, [0, 3, 6, 9, 12, 1])
    np.testing.assert_array_equal(data.y_test, [7, 6])
    assert isinstance(data.noisy_labels, NoisyLabels)
    assert data.noisy_labels.noisy.tolist() == [12, 1]
    assert data.noisy_labels.clean.tolist() == [4, 5]
    assert data.noisy_labels.transition_matrix[4, 12] == 1


@needs_pillow
@pytest.mark.tf_data
def test_stream_of_clothing1m(tmp_path):
    data = datasets.load("clothing1m", source=write_clothing1m(tmp_path))
    rows = list(data.pipeline("test", image_size=3).as_numpy_iterator())
    assert [(int(i), int(x[0, 0, 0]), int(y)) for i, x, y in rows] == [
        (0, 70, 7),
        (1, 60, 6),
    ]


@needs_pillow
def test_clothing1m_refuses(tmp_path):
    root = write_clothing1m(tmp_path)

    def refuse(text, name, content):
        whole = (root / name).read_text()
        (root / name).write_text(content)
        with pytest.raises((FileNotFoundError, ValueError), match=text):
            datasets.load("clothing1m", source=root)
        (root / name).write_text(whole)

    lines = r"noisy_label_kv.txt has lines of an image and a class id in \[0, 14\)"
    refuse(f"{lines}. .*Line 1 is 'images/0/0.png 14'.",
           "noisy_label_kv.txt", "images/0/0.png 14")  # fmt: skip
    refuse(f"{lines}. .*Line 2 is 'x'.", "noisy_label_kv.txt", "images/0/0.png 1\n\nx")
    refuse(lines, "noisy_label_kv.txt", "images/0/0.png -1")
    text = r"key of clean_val_key_list.txt. .*1 of 1 have none, the first \['x.png'\]"
    refuse(text, "clean_val_key_list.txt", "x.png")
    refuse("a label for each key of clean_test_key_list", "clean_test_key_list.txt", "")
    (root / "images/1/7.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no images/1/7.png. Untar"):
        datasets.load("clothing1m", source=root)
    (root / "clean_train_key_list.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match="Clothing1M, with clean_train_key_list"
    ):
        datasets.load("clothing1m", source=root)
    with pytest.raises(FileNotFoundError, match=r"Clothing1M, with noisy_label_kv.txt"):
        datasets.load("clothing1m", source=root / "images")


# --- TFDS


@pytest.mark.tf_data
def test_imagenet_of_tfds(prepare):
    def examples(count):
        # Images of several sizes, whose grey is their label.
        return [
            (np.full((4 + i % 3, 5, 3), 20 * (i % 5), "uint8"), i % 5, {})
            for i in range(count)
        ]

    splits = {"train": examples(50), "validation": examples(10), "test": examples(5)}
    builder, folder = prepare("imagenet2012", (None, None, 3), 5, splits, num_shards=4)
    assert len(builder.info.splits["train"].shard_lengths) == 4
    for source in (builder, folder):
        data = datasets.load("imagenet2012", source=source)
        assert isinstance(data, StreamedDataset) and data.order == "tfds"
        # Papers test on the validation set.
        assert data.num_examples() == 50 and data.num_examples("test") == 10
        assert data.y_train is None and data.paths() is None
        assert data.class_names[4] == "class 4"
    rows = list(data.pipeline().as_numpy_iterator())
    assert sorted(int(i) for i, _, _ in rows) == list(range(50))
    assert all((image == 20 * y).all() for _, image, y in rows)
    by_id = {int(i): int(y) for i, _, y in rows}
    shuffled = list(data.pipeline(shuffle=True, seed=1).as_numpy_iterator())
    assert [int(i) for i, _, _ in shuffled] != [int(i) for i, _, _ in rows]
    assert {int(i): int(y) for i, _, y in shuffled} == by_id
    labels = np.arange(50) % 3
    rows = data.pipeline(labels=labels, image_size=4).batch(50).as_numpy_iterator()
    ids, images, given = next(rows)
    assert images.shape == (50, 4, 4, 3)
    np.testing.assert_array_equal(given, labels[ids])


@pytest.mark.tf_data
def test_decoding_of_tfds_continues(prepare, interrupted, tmp_path):
    rows = [(np.full((3, 4, 3), 10 * i, "uint8"), i % 5, {}) for i in range(20)]
    splits = {"train": rows, "validation": rows[:3]}
    builder, _ = prepare("imagenet2012", (None, None, 3), 5, splits, num_shards=3)
    data = datasets.load("imagenet2012", source=builder)
    interrupted(data, tmp_path)
    images, labels = data.to_arrays(tmp_path, image_size=4, splits=["train"])["train"]
    values = images[:, 0, 0, 0] // 10
    assert sorted(values) == list(range(20))
    np.testing.assert_array_equal(labels, values % 5)
    by_id = {int(i): image for i, image, _ in data.pipeline(image_size=4)}
    assert all((by_id[i] == images[i]).numpy().all() for i in range(20))


@pytest.mark.tf_data
def test_custom_builder_with_images_of_several_sizes(prepare):
    rows = [(np.zeros((3 + i, 4, 3), "uint8"), i % 2, {}) for i in range(4)]
    splits = {"train": rows, "test": rows[:2]}
    builder, _ = prepare("photos", (None, None, 3), 2, splits)
    data = datasets.load("custom", source=builder)
    assert data.splits == ("train", "test") and data.num_examples("test") == 2
