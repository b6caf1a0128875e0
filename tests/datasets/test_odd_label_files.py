"""Label files that are not quite what they seem, and what is said of them."""

import re

import numpy as np
import pytest

from keras_noisy.datasets import read_label_file
from keras_noisy.datasets.read_label_file import _chance_agreement, _chance_exponent
from keras_noisy.noise import corrupt_labels, symmetric

from .label_files import CLEAN, NOISY, write_csv, write_npy, write_torch


def write_text(path, text):
    path.write_text(text)
    return path


def refuse(path, text, clean=CLEAN, **arguments):
    with pytest.raises((TypeError, ValueError), match=text) as caught:
        read_label_file(path, clean, **arguments)
    assert str(caught.value).startswith("read_label_file: `")


# --- the text of a CSV file


@pytest.mark.parametrize(
    ("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")]
)
def test_other_separators(separator, name, tmp_path):
    path = write_csv(tmp_path / "a.csv", {"label": CLEAN, "label_noisy": NOISY})
    path.write_text(path.read_text().replace(",", separator))
    refuse(path, f"undamaged label file.*separated by {name}, not by commas")


def test_a_comma_at_the_end(tmp_path):
    path = write_csv(tmp_path / "a.csv", {"label": CLEAN, "label_noisy": NOISY})
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{row}," for row in rows)]))
    refuse(path, "line 2 has 3 of 2 values. A comma at the end adds one.")
    path.write_text("\n".join(f"{line}," for line in [header, *rows]))
    refuse(path, "its lines end in a comma, which adds a column without values")
    # Numbers there are what pandas writes: the ids.
    path.write_text(
        "\n".join([f"{header},", *(f"{r},{i}" for i, r in enumerate(rows))])
    )
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)


def test_the_line_of_a_wrong_row(tmp_path):
    path = write_text(tmp_path / "a.csv", "label,noisy\n\n\n1,2\n\n1\n")
    refuse(path, "line 6 has 1 of 2 values", [1, 1])


@pytest.mark.parametrize(
    "header",
    ["label,noisy,noisy", "label,label,noisy", "id,id,noisy", "label, noisy,noisy "],
)
def test_repeated_columns(header, tmp_path):
    rows = "\n".join("0,1,1" for _ in range(3))
    path = write_text(tmp_path / "a.csv", f"{header}\n{rows}\n")
    refuse(path, "it has more than one column '(label|noisy|id)'", [0, 0, 0])


def test_what_is_no_column_of_integers(tmp_path):
    for value in ("", "N/A", "1.0", "1_0", "0x1", "\u0661", "9" * 30, "nan"):
        text = "label,noisy\n" + "".join(f"{y},{y}\n" for y in CLEAN[:5])
        path = tmp_path / "a.csv"
        path.write_text(f"{text}0,{value}\n", encoding="utf-8")
        text = rf"`path\['noisy'\]` must be class ids .*row 5 of 6 is {value!r}"
        refuse(path, text)


def test_text_beside_the_labels(tmp_path):
    columns = {"file": [f"{i}.png" for i in range(6)], "label": CLEAN, "noisy": NOISY}
    path = write_csv(tmp_path / "a.csv", columns)
    refuse(path, "`key` must be one of the label sets of the file, 'file', 'noisy'")
    labels = read_label_file(path, CLEAN, key="noisy")
    np.testing.assert_array_equal(labels.noisy, NOISY)


def test_a_value_as_long_as_a_book_does_not_widen_the_others(tmp_path):
    rows = "".join(f"{i % 4},{i % 4},a\n" for i in range(20_000))
    text = f"label,noisy,text\n{rows}0,0,{'b' * 130_000}\n"
    path = write_text(tmp_path / "a.csv", text)
    clean = np.append(np.arange(20_000) % 4, 0)
    assert read_label_file(path, clean, key="noisy").rate == 0


# --- clean labels


@pytest.mark.parametrize("bad", ["clean", "label", "true_label", "clean_2", "y_clean"])
def test_all_clean_columns_are_compared(bad, tmp_path):
    columns = {"clean_label": CLEAN, bad: CLEAN, "noisy": NOISY}
    path = write_csv(tmp_path / "a.csv", columns)
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)
    write_csv(path, columns | {bad: CLEAN[::-1]})
    count = int(np.sum(CLEAN[::-1] != CLEAN))
    refuse(path, rf"{count} of 6 differ.* They are under '{bad}'")
    write_csv(path, columns | {"clean_label": CLEAN[::-1]})
    refuse(path, rf"{count} of 6 differ.* They are under 'clean_label'")


def test_clean_names_of_classes_stand_beside_their_ids(tmp_path):
    names = [f"class {y}" for y in CLEAN]
    columns = {"clean_name": names, "clean_label": CLEAN, "noisy": NOISY}
    path = write_csv(tmp_path / "a.csv", columns)
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)
    del columns["clean_label"]
    write_csv(path, columns)
    refuse(path, r"`path\['clean_name'\]` must be class ids .*row 0 of 6 is 'class 3'")


@pytest.mark.parametrize("write", [write_csv, write_torch, write_npy])
def test_labels_that_count_from_one(write, tmp_path):
    path = tmp_path / ("a.csv" if write is write_csv else "a.npy")
    path = path.with_suffix(".pt") if write is write_torch else path
    write(path, {"label": CLEAN + 1, "noisy": NOISY + 1})
    refuse(path, "6 of 6 differ.*The labels of the file count from 1: subtract 1")
    write(path, {"label": CLEAN, "noisy": NOISY + 1})
    text = r"class ids in \[0, 9\) under 'noisy'.*seem to count from 1: subtract 1"
    refuse(path, text, num_classes=9)
    write(path, {"noisy": NOISY + 1})
    for num_classes in (None, 9):
        refuse(path, "count from 1", order="same", num_classes=num_classes)


def test_labels_without_a_class_0_are_right_as_they_are(tmp_path):
    """Nothing is guessed where the labels agree with the clean ones."""
    clean = np.array([0, 1, 2, 3, 1, 2, 3])
    noisy = np.array([1, 1, 2, 3, 1, 2, 3])
    path = write_csv(tmp_path / "a.csv", {"noisy": noisy})
    np.testing.assert_array_equal(
        read_label_file(path, clean, order="same").noisy, noisy
    )


# --- ids


@pytest.mark.parametrize(
    "name",
    ["ID", "Id", "idx", "IDX", "Index", "ids", "image_id", "ImageID", "sample_index",
     "example-id", "row", "Unnamed: 0", "indices"],
)  # fmt: skip
def test_ids_by_any_name(name, tmp_path):
    """A reversed file was joined by position."""
    columns = {name: np.arange(6)[::-1], "noisy": NOISY[::-1]}
    for suffix, write in ((".csv", write_csv), (".pt", write_torch)):
        path = write(tmp_path / f"a{suffix}", columns)
        for key in (None, "noisy"):
            labels = read_label_file(path, CLEAN, key=key, order="same")
            np.testing.assert_array_equal(labels.noisy, NOISY)
    np.savez(tmp_path / "a.npz", **{name: columns[name], "noisy": columns["noisy"]})
    labels = read_label_file(tmp_path / "a.npz", CLEAN, key="noisy", order="same")
    np.testing.assert_array_equal(labels.noisy, NOISY)


@pytest.mark.parametrize("name", ["uid", "photo", "position"])
def test_numbers_that_must_be_ids_are_not_passed_over(name, tmp_path):
    path = write_csv(tmp_path / "a.csv", {name: np.arange(6)[::-1], "noisy": NOISY})
    text = f"'{name}' has another number in every row.*`file_ids`"
    refuse(path, text, key="noisy", order="same")
    by_position = read_label_file(
        path, CLEAN, key="noisy", order="same", file_ids=np.arange(6)
    )
    np.testing.assert_array_equal(by_position.noisy, NOISY)
    # Where the rows count up they say nothing, and clean labels say enough.
    write_csv(path, {name: np.arange(6) + 1, "noisy": NOISY})
    labels = read_label_file(path, CLEAN, key="noisy", order="same")
    np.testing.assert_array_equal(labels.noisy, NOISY)
    write_csv(path, {name: np.arange(6)[::-1], "noisy": NOISY, "label": CLEAN})
    labels = read_label_file(path, CLEAN, key="noisy")
    np.testing.assert_array_equal(labels.noisy, NOISY)


def test_ids_that_differ_or_are_text(tmp_path):
    columns = {"id": np.arange(6), "index": np.arange(6)[::-1], "noisy": NOISY}
    path = write_csv(tmp_path / "a.csv", columns)
    refuse(path, "one column of ids.*differ under 'index', 'id'", order="same")
    write_csv(path, {"id": [f"a{i}" for i in range(6)], "noisy": NOISY})
    text = "integers under 'id'.*row 0 of 6 is 'a0'. Pass `file_ids`"
    refuse(path, text, order="same")
    # The clean labels show the order.
    write_csv(path, {"id": list("abcdef"), "label": CLEAN, "noisy": NOISY})
    np.testing.assert_array_equal(read_label_file(path, CLEAN).noisy, NOISY)
    # What pandas writes without a name is the number of the row, not the id.
    write_csv(path, {"": np.arange(6), "id": np.arange(6)[::-1], "noisy": NOISY[::-1]})
    labels = read_label_file(path, CLEAN, order="same")
    np.testing.assert_array_equal(labels.noisy, NOISY)


def test_ids_that_count_from_one(tmp_path):
    path = write_csv(tmp_path / "a.csv", {"id": np.arange(1, 7), "noisy": NOISY})
    refuse(path, "counts its rows from 1: pass `file_ids`, less by 1", order="same")


def test_arguments_are_looked_at_though_clean_labels_show_the_order(tmp_path):
    path = write_csv(tmp_path / "a.csv", {"label": CLEAN, "noisy": NOISY})
    for order in ("pytorch", ["same"], np.array(["same", "file"]), 0):
        refuse(path, "`order` must be one of 'keras.datasets', ", order=order)
    for key in (3, ["noisy"], b"noisy"):
        refuse(path, "`key` must be a name in the file, or None", key=key)
    for num_classes in ("4", 4.0, 1, True):
        text = "`num_classes` must be an integer of at least 2"
        refuse(path, text, num_classes=num_classes)


def test_ids_beyond_int64_do_not_wrap_around(tmp_path):
    labels = NOISY.astype("uint64") + np.uint64(2**63)
    path = write_npy(tmp_path / "a.npy", labels)
    refuse(path, "must be non-negative class ids", order="same")


def test_a_label_out_of_range_is_not_said_to_count_from_one(tmp_path):
    path = write_csv(tmp_path / "a.csv", {"label": [3, 0], "noisy": [10**17, 1]})
    refuse(path, f"It holds {10**17}. Pass `num_classes` if there are more", [3, 0])


# --- what is no array


def test_members_that_are_no_arrays(tmp_path):
    import zipfile

    path = tmp_path / "a.npz"
    np.savez(
        path,
        noisy=NOISY,
        table=np.eye(3, dtype=int),
        objects=np.array([{}, []], object),
        column=NOISY[:, None],
        number=np.array(5),
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "labels of 2024")
    for key in ("noisy", "column"):
        labels = read_label_file(path, CLEAN, key=key, order="same")
        np.testing.assert_array_equal(labels.noisy, NOISY)
    for key, text in {
        "notes.txt": "no array",
        "table": "an array with 2 axes",
        "objects": "an array of Python objects, which are not read",
        "number": r"an array of shape \(\) and dtype int64",
    }.items():
        refuse(path, f"`key` must be one of .*Its '{key}' is {text}", key=key)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "labels of 2024")
    refuse(path, "it holds no labels: 'notes.txt' is no array")


@pytest.mark.parametrize("content", [{}, 7, "cat", None, {"a": {"b": 1}}, [[1], [2]]])
def test_pickles_without_labels(content, tmp_path):
    refuse(write_torch(tmp_path / "a.pt", content), "it holds no labels: ")


@pytest.mark.parametrize("num_classes", [7.5, [7], "many"])
def test_num_classes_of_a_file(num_classes, tmp_path):
    content = {"noisy": NOISY, "num_classes": np.array(7)}
    np.savez(tmp_path / "a.npz", **content)
    arguments = {"key": "noisy", "order": "same"}
    assert read_label_file(tmp_path / "a.npz", CLEAN, **arguments).num_classes == 7
    np.savez(tmp_path / "a.npz", **content | {"num_classes": np.array(num_classes)})
    if num_classes == [7]:  # A column of that name, as in a table.
        return
    refuse(tmp_path / "a.npz", "'num_classes' is an integer", **arguments)


# --- chance


def test_rare_classes_are_no_chance(tmp_path):
    """9 right and 11 given positives of 5,000, all 9 shared."""
    clean = np.zeros(5000, int)
    clean[::600] = 1
    noisy = clean.copy()
    noisy[[7, 8]] = 1
    assert (clean.sum(), noisy.sum(), (clean & noisy).sum()) == (9, 11, 9)
    path = write_npy(tmp_path / "a.npy", noisy)
    labels = read_label_file(path, clean, order="same")
    np.testing.assert_array_equal(labels.noisy, noisy)
    for order in (np.arange(5000)[::-1], np.roll(np.arange(5000), 1)):
        text = r"4980 of 5000 agree with the clean labels, and 4980.0 would by chance"
        refuse(path, text, clean[order], order="same")


@pytest.mark.parametrize("shared", [1, 2, 3, 5])
def test_how_few_are_enough(shared, tmp_path):
    clean = np.zeros(5000, int)
    clean[:5] = 1
    noisy = np.zeros(5000, int)
    noisy[5 - shared : 10 - shared] = 1
    path = write_npy(tmp_path / "a.npy", noisy)
    if shared > 2:
        assert read_label_file(path, clean, order="same").noisy.sum() == 5
    else:  # By chance 0.5 % share one, and 1e-5 two.
        refuse(path, "would by chance", clean, order="same")


def test_mean_and_variance_of_chance():
    """Against all 720 orders of six labels, and many of 300."""
    import itertools

    orders = np.array(list(itertools.permutations(range(6))))
    counts = (CLEAN[orders] == NOISY).sum(axis=1)
    mean, variance = _chance_agreement(NOISY, CLEAN)
    np.testing.assert_allclose([mean, variance], [counts.mean(), counts.var()])
    generator = np.random.default_rng(0)
    noisy = generator.choice(5, 300, p=[0.6, 0.3, 0.05, 0.03, 0.02])
    clean = generator.choice(5, 300, p=[0.5, 0.1, 0.1, 0.25, 0.05])
    drawn = [np.sum(noisy == generator.permutation(clean)) for _ in range(4000)]
    mean, variance = _chance_agreement(noisy, clean)
    assert abs(np.mean(drawn) - mean) < 4 * np.sqrt(variance / 4000)
    assert np.var(drawn) == pytest.approx(variance, rel=0.1)


def test_the_bound_of_chance():
    """Never below the true probability, and a normal one's where many agree."""
    import math

    # Two classes: the shared positives are hypergeometric, each of them counts twice.
    size, given, true = 5000, 11, 9
    for shared in range(1, 10):
        tail = sum(
            math.comb(given, k) * math.comb(size - given, true - k)
            for k in range(shared, true + 1)
        ) / math.comb(size, true)
        noisy, clean = np.arange(size) < given, np.arange(size) < true
        _, variance = _chance_agreement(noisy.astype(int), clean.astype(int))
        excess = 2 * (shared - given * true / size)
        assert _chance_exponent(excess, variance) <= -math.log(tail)
    assert _chance_exponent(50.0, 1e4) == pytest.approx(0.125, rel=0.01)
    assert _chance_exponent(0.0, 1.0) == _chance_exponent(1.0, 0.0) == 0


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_right_files_pass_and_shuffled_ones_do_not(num_classes, tmp_path):
    generator = np.random.default_rng(num_classes)
    shares = generator.dirichlet(np.full(num_classes, 0.3))
    clean = generator.choice(num_classes, 20_000, p=shares)
    matrix = symmetric(num_classes, 0.4)
    noisy = corrupt_labels(clean, matrix, seed=1, exact=False).noisy
    path = write_npy(tmp_path / "a.npy", noisy)
    arguments = {"order": "same", "num_classes": num_classes}
    labels = read_label_file(path, clean, **arguments)
    assert labels.rate == pytest.approx(0.4, abs=0.02)
    for _ in range(20):
        refuse(path, "would by chance", generator.permutation(clean), **arguments)


def test_one_class_is_no_evidence(tmp_path):
    path = write_npy(tmp_path / "a.npy", np.zeros(2000, int))
    refuse(path, "would by chance", np.zeros(2000, int), order="same")


def test_labels_of_npy_in_an_object_array(tmp_path):
    path = write_npy(tmp_path / "a.npy", np.array(NOISY.tolist(), object))
    labels = read_label_file(path, CLEAN, order="same")
    np.testing.assert_array_equal(labels.noisy, NOISY)
    path = write_npy(tmp_path / "b.npy", np.array([0, 1, None, "a", 2, 0], object))
    text = re.escape("path['noisy']=no column of integers: row 2 of 6 is None")
    refuse(path, text, order="same")
