import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_noisy
from keras_noisy import diagnosis as room
from keras_noisy import find_wrong_labels
from keras_noisy.analysis import _exact_neighbors
from keras_noisy.diagnosis import Diagnosis, _images, _labels, _sources, _tables

CLASSES = np.array(["ant", "bee", "cat"])
CORES = 6 * np.eye(3, 8)


def data(size=90, seed=0, wrong=6):
    """Return features, given labels, true labels, and which are wrong."""
    generator = np.random.default_rng(seed)
    truth = np.arange(size) % 3
    x = (CORES[truth] + generator.normal(size=(size, 8))).astype("float32")
    labels = truth.copy()
    rows = generator.permutation(size)[:wrong]
    labels[rows] = (labels[rows] + 1) % 3
    return x, CLASSES[labels], CLASSES[truth], labels != truth


def find(x, labels=None, **arguments):
    return find_wrong_labels(x, labels, **{"epochs": 12, "verbose": 0, **arguments})


@pytest.fixture(scope="module")
def found():
    x, labels, _, _ = data()
    return find(x, labels, ids=[f"row {i}" for i in range(90)])


@pytest.mark.every_backend
def test_it_finds_them(found):
    _, labels, truth, is_wrong = data()
    assert isinstance(found, Diagnosis) and room.find_wrong_labels is find_wrong_labels
    suspects = found.suspects
    assert set(suspects.top(6).sample_id) == set(np.flatnonzero(is_wrong))
    assert suspects.top(1).names[0] == f"row {suspects.sample_id[0]}"
    assert (found.cleaned_labels() != truth).sum() <= 1
    assert not found.keep_mask()[is_wrong].any()
    assert found.keep_mask().sum() >= 83
    assert found.soft_labels.shape == (90, 3)
    np.testing.assert_allclose(found.soft_labels.sum(axis=1), 1, rtol=1e-4)
    assert (labels[is_wrong] != truth[is_wrong]).all()


def test_the_same_seed_gives_the_same():
    x, labels, _, _ = data(30)
    first, again = (find(x, labels, epochs=2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.soft_labels, again.soft_labels)
    np.testing.assert_array_equal(first.suspects.sample_id, again.suspects.sample_id)


def test_no_network_has_seen_what_it_judges():
    """One that learns by heart, and neighbours far away, find labels by chance wrong.

    In-sample its average predictions would be the given labels.
    """
    generator = np.random.default_rng(0)
    x, labels = generator.normal(size=(60, 50)), generator.integers(0, 2, 60)

    def build_model():
        model = keras.Sequential([keras.Input((50,)), keras.layers.Dense(2, "softmax")])
        model.compile(keras.optimizers.SGD(5.0), "sparse_categorical_crossentropy")
        return model

    result = find(x, labels, build_model=build_model, epochs=20)
    agreement = (result.soft_labels.argmax(axis=1) == labels).mean()
    assert agreement < 0.75


def test_groups_do_not_vouch_for_each_other():
    """A wrong label that all frames of a video have is found, with groups alone."""
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(12) % 2, 8)
    group = np.repeat(np.arange(12), 8)
    centres = 3 * truth[:, None] + generator.normal(size=(12, 4))[group]
    x = centres + 0.01 * generator.normal(size=(96, 4))
    labels = np.where(group == 5, 1 - truth, truth)
    alone = find(x, labels)
    together = find(x, labels, groups=group)
    assert together.suspects.is_suspect[np.isin(together.suspects.sample_id,
        np.flatnonzero(group == 5))].all()  # fmt: skip
    at = np.isin(alone.suspects.sample_id, np.flatnonzero(group == 5))
    assert not alone.suspects.is_suspect[at].all()


def test_classes_that_are_groups():
    """Nobody can vouch for labels of a class that lies in one group."""
    x, labels, _, _ = data(30, wrong=0)
    group = np.where(labels == "ant", 99, np.arange(30) % 10)
    result = find(x, labels, groups=group)
    assert result.num_suspects == 0
    assert result.notes == [
        "1 class lies in one group ('ant'): no example of another group can vouch for "
        "these labels, so that none of them is a suspect."
    ]
    result = find(x, labels, groups=labels, epochs=1)
    assert result.num_suspects == 0 and result.noise_rate.estimate is None
    assert result.notes[0].startswith("3 classes lie in one group each ('ant', 'bee'")


def test_unlabelled_examples():
    x, labels, truth, _ = data()
    labels = labels.astype(object)
    labels[[2, 40]] = None
    result = find(x, labels)
    assert result.num_labels == 88
    assert sorted(result.suspects.sample_id[-2:]) == [2, 40]
    cleaned = result.cleaned_labels()
    assert cleaned[2] is None and cleaned[40] is None
    assert not result.keep_mask()[[2, 40]].any()
    proposed = dict(zip(result.suspects.sample_id, result.suspects.proposed_label,
                        strict=True))  # fmt: skip
    assert CLASSES[[proposed[2], proposed[40]]].tolist() == truth[[2, 40]].tolist()
    assert "2 examples have no label and were not judged." in result.notes


@pytest.mark.filterwarnings("ignore:Suspects. no example is left")
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([7, 7, 1000] * 10), np.int64),
        (np.array([True, False] * 15), np.bool_),
        (np.array(["a", "b"] * 15), np.str_),
        ([3.0, None, 5.0] * 10, np.int64),
    ],
)
def test_labels_come_back_as_they_were(labels, expected):
    generator = np.random.default_rng(0)
    result = find(generator.normal(size=(30, 3)), labels, epochs=1)
    cleaned = result.cleaned_labels()
    assert np.issubdtype(cleaned.dtype, expected)
    given = set(np.asarray(labels, object).tolist()) - {None}
    assert set(cleaned.tolist()) <= {*given, -1}


def test_class_names():
    x, _, truth, _ = data(30)
    ids = np.searchsorted(CLASSES, truth)
    names = ["Z", "Y", "X"]
    result = find(x, ids, class_names=names, epochs=3)
    assert result.suspects.class_names.tolist() == names
    back = np.argsort(result.suspects.sample_id)
    assert result.suspects.given_label[back].tolist() == ids.tolist()
    with pytest.raises(ValueError, match=r"`labels` must be class ids in \[0, 2\)"):
        find(x, ids, class_names=["Z", "Y"])


@pytest.mark.every_backend
def test_own_network_and_features():
    x, labels, _, is_wrong = data()
    made = []

    def build_model():
        inputs = keras.Input((8,))
        hidden = keras.layers.Dense(16, "relu")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(3)(hidden))
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        made.append(model)
        return model

    result = find(x, labels, build_model=build_model, features=x)
    assert len(made) == 3
    assert is_wrong[result.suspects.top(6).sample_id].sum() >= 5


def test_own_network_of_several_inputs():
    x, labels, _, _ = data(30)

    def build_model():
        one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
        both = keras.layers.Concatenate()([one, two])
        outputs = keras.layers.Dense(3, "softmax")(both)
        model = keras.Model({"one": one, "two": two}, outputs)
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    inputs = {"one": x[:, :4], "two": x[:, 4:]}
    result = find(inputs, labels, build_model=build_model, epochs=1)
    assert len(result.suspects) == 30
    with pytest.raises(TypeError, match="one array where there is no `build_model`"):
        find(inputs, labels)


def test_an_own_network_must_have_an_output_for_each_class():
    x, labels, _, _ = data(30)

    def build_model():
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    with pytest.raises(ValueError, match="has 3 outputs, one a class"):
        find(x, labels, build_model=build_model)
    with pytest.raises(TypeError, match=r"returns a compiled keras\.Model"):
        find(x, labels, build_model=lambda: keras.Sequential())


# --- kinds of data


class OnlyInTraining(keras.layers.Layer):
    """Gives numbers in training alone."""

    def call(self, inputs, training=False):
        return inputs if training else inputs * float("nan")


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (OnlyInTraining, "`build_model` must be a function whose model gives finite"),
        (lambda: keras.layers.Rescaling(float("nan")), "The training has diverged"),
    ],
    ids=["after training", "in training"],
)
def test_an_own_network_that_gives_no_numbers(inner, text):
    def build_model():
        output = keras.layers.Dense(3, activation="softmax")
        model = keras.Sequential([keras.Input((8,)), inner(), output])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    x, labels, *_ = data()
    with pytest.raises(ValueError, match=text):
        find(x, labels, build_model=build_model, epochs=1)


def test_neighbors_are_looked_for_once(monkeypatch):
    """Those in the features; the hidden layers are others."""
    calls = []
    nearest = _exact_neighbors.nearest

    def counted(features, *args, **kwargs):
        calls.append(features.shape)
        return nearest(features, *args, **kwargs)

    monkeypatch.setattr(_exact_neighbors, "nearest", counted)
    x, labels, *_ = data()
    find(x, labels, epochs=1)
    assert calls.count(x.shape) == 1


@pytest.mark.every_backend
def test_images():
    generator = np.random.default_rng(0)
    truth = np.arange(30) % 2
    images = generator.integers(0, 60, (30, 9, 9), "uint8")
    images[truth == 1, 3:6] += 150
    labels = truth.copy()
    labels[4] = 1
    result = find(images, labels, epochs=8)
    assert result.suspects.sample_id[0] == 4
    assert find(images[..., None], labels, epochs=1).num_labels == 30


@pytest.mark.every_backend
def test_texts():
    truth = np.arange(40) % 2
    words = [["red", "green", "blue"], ["dog", "horse", "mouse"]]
    texts = [f"the {words[c][i % 3]} and the {words[c][i % 2]}, number {i % 5}"
             for i, c in enumerate(truth)]  # fmt: skip
    labels = np.array(["colour", "animal"])[truth]
    labels[8] = "animal"
    result = find(texts, labels, epochs=30)
    assert result.suspects.sample_id[0] == 8
    one_column = find({"text": texts * 1}, labels, epochs=1)
    assert one_column.num_labels == 40


def test_texts_without_words():
    words = ["river", "house", "green", "table", "cloud"]
    texts = [f"{'alpha' if i % 2 else 'beta'} {words[i % 5]} {words[i % 3]}"
             for i in range(40)]  # fmt: skip
    texts[:3] = "", " ", "?!"
    result = find(texts, np.arange(40) % 2, epochs=1)
    assert np.isfinite(result.soft_labels).all()
    assert result.notes[0].startswith("3 texts have no words (rows 0, 1, 2): ")
    texts[1] = None
    for form in (texts, np.array(texts, object)):
        with pytest.raises(
            TypeError, match=r"`x` must be texts, .*=None in row 1. Pass"
        ):
            find(form, np.arange(40) % 2)


def test_a_data_frame():
    pd = pytest.importorskip("pandas")
    x, labels, _, is_wrong = data()
    frame = pd.DataFrame(x[:, :3], columns=["a", "b", "c"])
    frame["kind"] = pd.Categorical(np.where(np.arange(90) % 2, "odd", "even"))
    frame["name"] = [f"number {i}" for i in range(90)]
    frame["flat"] = 1.0
    frame.loc[7, "a"] = np.nan
    frame.loc[8, "kind"] = None
    frame["species"] = labels
    result = find(frame, "species")
    assert set(result.suspects.top(6).sample_id) == set(np.flatnonzero(is_wrong))
    notes = " ".join(result.notes)
    assert "one value say nothing and were left out: flat." in notes
    assert "(ids, or texts) were left out: name." in notes
    assert "by the median or by a category: a, kind." in notes
    with pytest.raises(ValueError, match="`labels` must be one of the columns"):
        find(frame, "specie")


def folder_of_images(path, size=12):
    image = pytest.importorskip("PIL.Image")
    for i in range(size):
        name = "night" if i % 2 else "day"
        (path / name).mkdir(parents=True, exist_ok=True)
        shade = 40 if i % 2 else 200
        pixels = np.full((20, 30, 3), shade + i, "uint8")
        image.fromarray(pixels).save(path / name / f"{i:02d}.png")
    return path


def test_an_image_folder(tmp_path):
    folder = folder_of_images(tmp_path / "photos")
    (folder / "day" / "notes.txt").write_text("no image")
    result = find(folder, epochs=1)
    assert result.suspects.class_names.tolist() == ["day", "night"]
    assert len(result.suspects) == 12
    first = result.suspects.names[np.argsort(result.suspects.sample_id)][0]
    assert pathlib.Path(first) == folder / "day" / "00.png"
    with pytest.raises(ValueError, match="`labels` must be None where `x` is a folder"):
        find(folder, [0] * 12)


def test_images_and_folders_without_a_class(tmp_path):
    folder = folder_of_images(tmp_path)
    (folder / "dusk").mkdir()
    shutil.copy(folder / "day" / "00.png", folder / "stray.png")
    assert find(folder, epochs=1).notes[:2] == [
        "Images that are in no folder of a class were left out: stray.png.",
        "Folders without an image were left out: dusk.",
    ]


def test_a_folder_of_train_and_test(tmp_path):
    for part in ("train", "test"):
        folder_of_images(tmp_path / part)
    text = "parts test, train with folders day, night. Pass one part, .*test"
    with pytest.raises(ValueError, match=text):
        find(tmp_path)
    # Classes may have such names, or folders of their own.
    scanned = _images.read_folder("owner", tmp_path / "train", False)
    assert sorted(set(scanned[1])) == ["day", "night"]
    (tmp_path / "train").rename(tmp_path / "bus")
    assert set(_images.read_folder("owner", tmp_path, False)[1]) == {"bus", "test"}


def test_broken_images_are_named_and_skipped_when_asked(tmp_path):
    folder = folder_of_images(tmp_path)
    (folder / "day" / "99.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 of 13 broken: .*99.png. Mend or remove"):
        find(folder)
    result = find(folder, skip_broken=True, epochs=1)
    assert len(result.suspects) == 12
    (folder / "day" / ".99.png").write_bytes(b"hidden")
    (folder / "day" / ".cache").mkdir()
    (folder / "day" / ".cache" / "a.png").write_bytes(b"hidden")
    (folder / "day" / "99.png").unlink()
    assert len(_images.read_folder("owner", folder, False)[0]) == 12
    assert "1 file that is no image was left out" in result.notes[0]


def test_images_of_any_kind_are_seen(tmp_path):
    """Pillow alone makes 16 bits white, floats black, and shows what is transparent."""
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    ramp = np.tile(np.arange(64), (64, 1))
    clear = np.zeros((64, 64, 4), "uint8")
    clear[:32, :, 3] = 255
    made = {
        "16.png": Image.fromarray((1000 + 300 * ramp).astype("uint16")),
        "32.tiff": Image.fromarray((ramp / 64).astype("float32")),
        "grey.png": Image.fromarray((4 * ramp).astype("uint8")),
        "clear.png": Image.fromarray(clear),
    }
    for name, image in made.items():
        (tmp_path / name[0]).mkdir()
        image.save(tmp_path / name[0] / name)
    side = Image.fromarray(np.repeat(4 * ramp[..., None], 3, axis=2).astype("uint8"))
    (tmp_path / "turned").mkdir()
    exif = side.getexif()
    exif[0x0112] = 6  # Turn clockwise to see it upright.
    side.save(tmp_path / "turned" / "a.png", exif=exif)
    images, labels, *_ = _images.read_folder("owner", tmp_path, False)
    sixteen, floats, black, grey, turned = images[..., 0].astype(int)
    assert labels == ["1", "3", "c", "g", "turned"]
    for stretched in (sixteen, floats):
        np.testing.assert_allclose(stretched, 255 * ramp / 63, atol=1)
    np.testing.assert_array_equal(grey, 4 * ramp)
    assert (black[:32] == 0).all() and (black[32:] == 128).all()
    np.testing.assert_array_equal(turned, 4 * ramp.T)


@pytest.mark.parametrize("names", [[], ["one"], ["one", "two"]])
def test_folders_without_classes(tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="`x` must be a folder with CLASS/IMAGE files"):
        find(tmp_path)


def test_a_string_is_no_path():
    with pytest.raises(TypeError, match=r"pass pathlib.Path\('photos'\)"):
        find("photos", [0, 1])
    with pytest.raises(FileNotFoundError, match="`x` must be an existing folder"):
        find(pathlib.Path("no such folder"))


@pytest.mark.tf_data
def test_a_tf_data_set():
    import tensorflow as tf

    x, labels, _, _ = data(30)
    dataset = tf.data.Dataset.from_tensor_slices((x, labels))
    single, batches = find(dataset, epochs=2), find(dataset.batch(7), epochs=2)
    arrays = find(x, labels, epochs=2)
    np.testing.assert_array_equal(single.soft_labels, arrays.soft_labels)
    np.testing.assert_array_equal(batches.soft_labels, arrays.soft_labels)
    with pytest.raises(ValueError, match="in a fixed order, without `shuffle`"):
        find(dataset.shuffle(30))
    with pytest.raises(ValueError, match="`x` must be a finite data set"):
        find(dataset.repeat())
    generator = np.random.default_rng(0)

    def draw():
        for i in generator.permutation(30):
            yield x[i], labels[i]

    signature = (tf.TensorSpec((8,)), tf.TensorSpec((), tf.string))
    drawn = tf.data.Dataset.from_generator(draw, output_signature=signature)
    with pytest.raises(ValueError, match="the same order whenever it is read"):
        find(drawn)


# --- bad input


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"labels": None}, "`labels` must be given, unless `x` is an image folder"),
        (
            {"labels": np.arange(30)},
            "two examples or more on average. Received: labels",
        ),
        ({"labels": np.zeros(30, int)}, "`labels` must be of at least two classes"),
        ({"labels": np.linspace(0, 1, 30)}, "classes: strings or integers"),
        ({"labels": np.eye(3)[np.arange(30) % 3]}, r"labels.argmax\(axis=-1\)"),
        (
            {"labels": np.array([1, "a"] * 15, object)},
            "strings alone, or integers alone",
        ),
        ({"labels": ["a", "b"] * 14}, "as many examples as the 28 labels"),
        ({"x": np.full((30, 2), np.nan)}, "NaN or infinity in 30 of 30 rows"),
        ({"x": np.zeros((30, 2, 2, 2))}, r"of shape \(n, features\)"),
        ({"x": {"a": [1.0] * 30}}, "a column that says something of the examples"),
        ({"features": np.zeros((29, 2))}, r"`features` must be of shape \(30, d\)"),
        ({"features": np.full((30, 2), np.inf)}, "`features` must be finite numbers"),
        ({"ids": ["a"]}, r"`ids` must be strings or integers of shape \(30,\)"),
        ({"groups": ["a"] * 30}, "`groups` must be of 3 different examples or groups"),
        ({"epochs": 0}, "`epochs` must be a positive integer"),
        ({"batch_size": 0.5}, "`batch_size` must be a positive integer"),
        ({"verbose": 3}, "`verbose` must be one of 'auto', 0, 1, 2"),
        ({"seed": -1}, "`seed` must be an integer"),
        ({"build_model": 3}, "`build_model` must be a function"),
        ({"skip_broken": 1}, "`skip_broken` must be a bool"),
    ],
)
def test_bad_input(change, text):
    x, labels, _, _ = data(30)
    arguments = {"x": x, "labels": labels, **change}
    with pytest.raises((TypeError, ValueError), match=rf"^find_wrong_labels: .*{text}"):
        find(**arguments)


def test_a_constant_column_and_few_examples():
    """Fewer examples than neighbours, and rows of which nothing can be told apart."""
    x = np.ones((8, 3))
    x[:, 1] = [1, 1, 1, 1, 2, 3, 4, 4]
    labels = [0, 0, 0, 1, 1, 1, 1, 1]
    result = find(x, labels, epochs=1)
    assert len(result.suspects) == 8
    assert result.contradictions == [[0, 1, 2, 3]]
    with pytest.raises(ValueError, match="`x` must be of 3 different examples"):
        find(np.round(x / 4), labels)


def test_ten_thousand_classes():
    """More than half as many as examples are no classes; of others two are enough."""
    labels = np.arange(15_000) % 10_000
    with pytest.raises(ValueError, match="10000 different labels of 15000 examples"):
        find(np.zeros((15_000, 2)), labels)
    x = np.repeat(np.random.default_rng(0).normal(size=(150, 4)), 2, axis=0)
    x += np.arange(600).reshape(300, 2).repeat(2, axis=1) * 1e-6
    result = find(x, np.repeat(np.arange(150), 2), epochs=1)
    assert result.soft_labels.shape == (300, 150)
    assert len(result.suspects) == 300 and len(result.per_class["class"]) == 150
    assert str(result)


def test_equal_examples_with_different_labels():
    x, labels, _, _ = data(30)
    x[5], x[6] = x[4], x[3]
    labels[[3, 6]] = "ant"
    labels[[4, 5]] = "bee", "cat"
    result = find(x, labels, epochs=1)
    assert result.contradictions == [[4, 5]]
    assert any("1 set of equal examples has different" in s for s in result.next_steps)


# --- a run that is killed


def test_storage(tmp_path, monkeypatch):
    x, labels, _, _ = data(30)
    whole = find(x, labels, epochs=2)
    fit = keras.Model.fit
    calls = []

    def dying(model, *args, **kwargs):
        calls.append(model)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(model, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", dying)
    with pytest.raises(KeyboardInterrupt):
        find(x, labels, epochs=2, storage=tmp_path)
    continued = find(x, labels, epochs=2, storage=tmp_path)
    # The first training was finished.
    assert len(calls) == 2 + 2
    np.testing.assert_array_equal(continued.soft_labels, whole.soft_labels)
    again = find(x, labels, epochs=2, storage=tmp_path)
    assert len(calls) == 4
    np.testing.assert_array_equal(again.soft_labels, whole.soft_labels)
    # Of the trainings nothing is left but what they found.
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    with pytest.raises(ValueError, match="`storage` must be a folder of this run"):
        find(x, labels, epochs=3, storage=tmp_path)
    with pytest.raises(ValueError, match="`storage` must be a folder of this run"):
        find(x + 1, labels, epochs=2, storage=tmp_path)


@pytest.mark.parametrize("killed", ["in an epoch", "after the last"])
def test_a_training_that_is_killed_goes_on(tmp_path, monkeypatch, killed):
    """After the last finished epoch, to the same numbers as without the kill."""
    x, labels, _, _ = data(30)
    whole = find(x, labels, epochs=3)
    begun = []

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            begun.append(epoch)
            if killed == "in an epoch" and len(begun) == 6:
                raise KeyboardInterrupt

    fit = keras.Model.fit
    monkeypatch.setattr(
        keras.Model,
        "fit",
        lambda model, *args, callbacks, **kwargs: fit(
            model, *args, callbacks=[Kill(), *callbacks], **kwargs
        ),
    )
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if killed == "after the last":
            patch.setattr(_sources, "hidden_features", interrupted)
        find(x, labels, epochs=3, storage=tmp_path)
    before = len(begun)
    continued = find(x, labels, epochs=3, storage=tmp_path)
    again = [2, 0, 1, 2] if killed == "in an epoch" else 2 * [0, 1, 2]
    assert begun[before:] == again
    np.testing.assert_array_equal(continued.soft_labels, whole.soft_labels)


def interrupted(*args):
    raise KeyboardInterrupt


def test_importing_the_package_imports_no_keras():
    code = (
        "import sys, keras_noisy\n"
        "assert 'keras' not in sys.modules\n"
        "assert 'find_wrong_labels' in keras_noisy.__all__\n"
    )
    root = pathlib.Path(keras_noisy.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
    with pytest.raises(AttributeError, match="no attribute 'find_right_labels'"):
        keras_noisy.find_right_labels  # noqa: B018


def test_data_that_say_nothing():
    """Labels that nothing predicts: no suspect, no rate, and a verdict that says so."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8)).astype("float32")
    labels = rng.choice(3, 400, p=[0.76, 0.2, 0.04])
    diagnosis = find(x, labels, epochs=3)
    assert diagnosis.num_suspects == 0 and not diagnosis.is_informative
    assert diagnosis.noise_rate.estimate is None
    assert "cannot be predicted from these data better than by chance" in (
        diagnosis.verdict
    )


def test_labels_of_another_index():
    pandas = pytest.importorskip("pandas", reason="needs data frames")
    frame = pandas.DataFrame({"a": np.arange(6.0)})
    labels = pandas.Series(list("ababab"))[::-1]
    with pytest.raises(ValueError, match=r"`labels` must be with the index of `x`"):
        find(frame, labels)


def test_a_frame_of_labels_alone():
    with pytest.raises(ValueError, match=r"a frame with columns beside 'kind'"):
        find({"kind": list("ababab")}, "kind")


def test_labels_of_two_kinds():
    with pytest.raises(TypeError, match=r"`labels` must be strings alone"):
        find(np.zeros((6, 2)), [1, "1", "c", 1, "1", "c"])


def test_numbers_that_are_written_as_words():
    numbers = np.random.default_rng(0).normal(size=100)
    words = [f"{number:.6f}" for number in numbers]
    words[3] = ""
    columns = {"a": np.array(words, object)}
    encoder = _tables.Encoder("owner", columns)
    encoded, notes = encoder.encode("owner", columns), encoder.notes
    assert encoded.shape == (100, 2) and encoded[3, 1] == 1
    order = np.delete(np.arange(100), 3)
    assert np.corrcoef(encoded[order, 0], numbers[order])[0, 1] > 0.9999
    assert notes == ["Missing values were replaced by the median or by a category: a."]


def test_a_column_that_numbers_the_rows_is_left_out():
    """Of data that are sorted by class it would say the class."""
    value = np.arange(30) % 7
    encoder = _tables.Encoder("owner", {"": np.arange(5, 35), "a": value})
    assert encoder.notes == ["Columns that number the rows were left out: ''."]
    columns = {"": np.arange(30)[::-1], "a": value}
    encoder = _tables.Encoder("owner", columns)
    assert encoder.encode("owner", columns).shape == (30, 2) and not encoder.notes


def test_classes_that_read_like_no_label():
    names = ["a", " ", "a", "None", "b", "b", "b"]
    ids, classes = _labels.as_classes("owner", names)
    assert ids.tolist() == [1, -1, 1, 0, 2, 2, 2]
    assert _labels.notes_on(classes) == [
        "'None' was taken for a class; pass None or an empty string where there is no "
        "label."
    ]
    (note,) = _labels.notes_on(np.array(["Cat", "cat ", "dog", "hot dog", "hotdog"]))
    assert "'Cat' and 'cat '" in note and "dog" not in note
    assert _labels.notes_on(np.array([1, 2])) == []
