import csv
import json
import warnings

import numpy as np
import pytest

from keras_noisy import analysis, diagnosis, find_wrong_labels
from keras_noisy.analysis import NoiseRate
from keras_noisy.diagnosis import Diagnosis, _csv, _inputs, _review

# Four labels of "cat", "dog": ids 1 and 2 are suspects.
SUSPECTS = analysis.Suspects(
    sample_id=np.array([2, 1, 0, 3]),
    given_label=np.array([1, 0, 0, 1]),
    proposed_label=np.array([0, 1, 1, 0]),
    confidence=np.array([0.9, 0.7, 0.4, 0.1]),
    is_suspect=np.array([True, True, False, False]),
    source="mean of 3 sources",
).named(["a.png", "b.png", "c.png", "d.png"], ["cat", "dog"])
RATE = NoiseRate(
    estimate=0.5,
    low=0.25,
    high=0.75,
    per_class=np.array([0.5, 0.5]),
    by_source={"neighbors": 0.5},
    verdict="class-conditional",
    transition_matrix=np.full((2, 2), 0.5),
    explanation="About half.",
)
UNKNOWN = NoiseRate(None, 0.1, 0.4, None, {}, "cannot tell", None, "")
SOFT = np.array([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1], [0.1, 0.9]], "float32")


def make(**changes):
    fields = {
        "noise_rate": RATE,
        "suspects": SUSPECTS,
        "soft_labels": SOFT,
        "num_agreed": 1,
        "num_sources": 3,
        "contradictions": [[0, 2]],
        "notes": ["A note."],
        **changes,
    }
    found = Diagnosis(**fields)
    # Of four labels nobody could say.
    found.__dict__["is_informative"] = True
    return found


def test_tables():
    found = make()
    assert (found.num_labels, found.num_suspects) == (4, 2)
    table = {name: column.tolist() for name, column in found.per_class.items()}
    assert table == {
        "class": ["cat", "dog"],
        "labels": [2, 2],
        "suspects": [1, 1],
        "suspect_share": [0.5, 0.5],
        "proposed": [1, 1],
        "noise_rate": [0.5, 0.5],
    }
    assert found.confusions == [("cat", "dog", 1), ("dog", "cat", 1)]
    assert found.cleaned_labels().tolist() == ["cat", "dog", "cat", "dog"]
    assert found.keep_mask().tolist() == [True, False, False, True]


def test_verdict():
    assert make().verdict == (
        "About 50.0% of the 4 labels are wrong (90 % interval 25.0% to 75.0%). 2 are "
        "suspects; most often 'cat' is given where 'dog' fits better (once). Each "
        "of the 3 sources alone doubts 1 of the suspects (50%); look at the others "
        "before you believe them."
    )
    assert repr(make()) == "Diagnosis(2 suspects among 4 labels, noise_rate=0.5)"
    text = str(make())
    for part in (
        "cat: 1 of 2 (50%)",
        "dog -> cat: 1",
        "- A note.",
        "1 set of equal examples has different labels (`contradictions`); decide on "
        "one label for each: a.png (cat) = c.png (dog).",
    ):
        assert part in text
    alone = make(num_sources=1, num_agreed=2).verdict
    assert alone.endswith("The only source of evidence doubts all of the suspects.")
    unknown = make(noise_rate=UNKNOWN)
    assert "4 labels are wrong cannot be told from the data alone" in unknown.verdict
    assert "noise_rate" not in unknown.per_class
    assert "Do not clean unseen" in unknown.next_steps[-1]


def test_nothing_suspicious():
    clean = analysis.find_suspects([0, 0, 1, 1], SOFT[[0, 0, 1, 1]])
    found = make(
        suspects=clean.named(None, ["cat", "dog"]), contradictions=[], notes=[]
    )
    assert "None of them is a suspect." in found.verdict
    assert found.next_steps == ["Train as you are: there is nothing to clean."]
    assert "none" in str(found)


def test_csv_and_frame(tmp_path):
    found = make()
    found.to_csv(tmp_path / "suspects.csv")
    with open(tmp_path / "suspects.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "sample_id": "2",
        "name": "c.png",
        "given_label": "dog",
        "proposed_label": "cat",
        "confidence": "0.9",
        "is_suspect": "True",
        "confirmed": "",
        "corrected_label": "",
    }
    assert len(rows) == 2
    pytest.importorskip("pandas")
    frame = found.to_frame(all_examples=False)
    assert frame["name"].tolist() == ["c.png", "b.png"]
    assert len(found.to_frame()) == 4


def test_save_and_load(tmp_path):
    found = make(folder="photos")
    found.save(tmp_path / "diagnosis.npz")
    again = Diagnosis.load(tmp_path / "diagnosis.npz")
    again.__dict__["is_informative"] = True
    assert str(again) == str(found)
    assert again.folder == "photos" and again.contradictions == [[0, 2]]
    np.testing.assert_array_equal(again.soft_labels, SOFT)
    np.testing.assert_array_equal(again.noise_rate.per_class, RATE.per_class)
    assert again.cleaned_labels().tolist() == found.cleaned_labels().tolist()
    assert again.suspects.names.tolist() == SUSPECTS.names.tolist()
    unknown = make(noise_rate=UNKNOWN)
    unknown.save(tmp_path / "unknown.npz")
    assert Diagnosis.load(tmp_path / "unknown.npz").noise_rate.per_class is None
    content = (tmp_path / "diagnosis.npz").read_bytes()
    for damaged in (content[:-100], b"", content[:200] + b"x" + content[201:]):
        (tmp_path / "damaged.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="`path` must be an undamaged file"):
            Diagnosis.load(tmp_path / "damaged.npz")
    with pytest.raises(FileNotFoundError):
        Diagnosis.load(tmp_path / "missing.npz")


def test_label_studio(tmp_path):
    of_images = make(folder="photos")
    of_images.to_label_studio(tmp_path / "tasks.json", url_prefix="/files/?d=")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        "/files/?d=c.png", "/files/?d=b.png"
    ]  # fmt: skip
    (prediction,) = tasks[0]["predictions"]
    assert prediction["score"] == 0.9
    assert prediction["result"] == [
        {
            "from_name": "label",
            "to_name": "example",
            "type": "choices",
            "value": {"choices": ["cat"]},
        }
    ]
    of_texts = make(shown={"texts": np.array(["w", "x", "y", "z"])})
    of_texts.to_label_studio(tmp_path / "texts.json")
    tasks = json.loads((tmp_path / "texts.json").read_text())
    assert [task["data"]["text"] for task in tasks] == ["y", "x"]
    with pytest.raises(TypeError, match="`url_prefix` must be a string"):
        make().to_label_studio(tmp_path / "tasks.json", url_prefix=3)


@pytest.mark.parametrize("kind", ["images", "texts", "rows"])
def test_tasks_are_as_label_studio_documents(tmp_path, kind):
    """`data` and `predictions` alone, and of these what the guide on predictions has.

    The same tasks pass `LabelInterface.validate_prediction` of label-studio-sdk 2.
    """
    suspects = SUSPECTS if kind == "images" else SUSPECTS.named(None, [3, 7])
    shown = {
        "images": {"images": np.zeros((4, 8, 8))},
        "texts": {"texts": ["w", "\ud800", "y", "z"]},
        "rows": {"table": {"weight": [1.5, 2, None, 4]}},
    }[kind]
    make(suspects=suspects, shown=shown).to_label_studio(tmp_path / "tasks.json")
    tasks = json.loads((tmp_path / "tasks.json").read_bytes())
    assert len(tasks) == 2
    for task in tasks:
        assert set(task) == {"data", "predictions"}
        expected = {"images": {"image"}, "texts": {"text"}, "rows": {"row"}}[kind]
        always = {"sample_id", "name", "given_label", "proposed_label"}
        assert set(task["data"]) == always | expected
        (prediction,) = task["predictions"]
        assert set(prediction) == {"model_version", "score", "result"}
        assert isinstance(prediction["model_version"], str)
        assert 0 <= prediction["score"] <= 1
        (region,) = prediction["result"]
        assert set(region) == {"from_name", "to_name", "type", "value"}
        (choice,) = region["value"]["choices"]
        assert choice in (["cat", "dog"] if kind == "images" else ["3", "7"])


def test_fiftyone(tmp_path):
    names = [f"photos/{name}" for name in ("cat/a.png", "b.png", "dog/c.png", "d.png")]
    found = make(folder="photos", suspects=SUSPECTS.named(names))
    found.to_fiftyone(tmp_path / "labels.json")
    labels = json.loads((tmp_path / "labels.json").read_text())["labels"]
    assert labels["dog/c"] == {
        "label": "dog",
        "attributes": {"proposed_label": "cat", "suspicion": 0.9, "is_suspect": True},
    }
    assert set(labels) == {"cat/a", "b", "dog/c", "d"}
    # Fields of a Classification are strings, and attributes plain values.
    for label in labels.values():
        assert set(label) == {"label", "attributes"} and isinstance(label["label"], str)
        kinds = [type(value) for value in label["attributes"].values()]
        assert kinds == [str, float, bool]
    with pytest.raises(ValueError, match="must be of an image folder"):
        make().to_fiftyone(tmp_path / "labels.json")


def test_datalab():
    columns = make().to_datalab()
    assert columns["is_label_issue"].tolist() == [False, True, True, False]
    assert columns["predicted_label"].tolist() == ["cat", "dog", "cat", "dog"]


def test_datalab_has_the_same_columns():
    """As cleanlab's own table of label issues, name by name and kind by kind."""
    pytest.importorskip("datasets", reason="cleanlab's Datalab needs datasets")
    cleanlab = pytest.importorskip("cleanlab", reason="compares with cleanlab")
    pandas = pytest.importorskip("pandas", reason="needs data frames")
    rng = np.random.default_rng(0)
    labels = np.repeat(["cat", "dog"], 20)
    lab = cleanlab.Datalab({"y": labels.tolist()}, label_name="y", verbosity=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of what cleanlab takes from pandas.
        lab.find_issues(pred_probs=rng.dirichlet([1, 1], 40), issue_types={"label": {}})
    theirs = lab.get_issues("label")
    ours = pandas.DataFrame(make().to_datalab())
    assert list(ours.columns) == list(theirs.columns)
    for name in ours.columns:
        assert ours[name].dtype.kind == theirs[name].dtype.kind or name[-5:] == "label"
    assert ours["label_score"].between(0, 1).all()


def test_report(tmp_path):
    pytest.importorskip("matplotlib")
    table = {"weight": [1.5, 2.5, 3.5, 4.5]}
    path = make(shown={"table": table}).report(tmp_path / "report.html", title="Pets")
    page = path.read_text()
    for part in ("Pets", "About 50.0% of the 4 labels", "c.png", "3.5", "A note."):
        assert page.count(part) >= 1
    # Neither is said twice, and the page does not send readers to itself.
    assert page.count("About 50.0%") == 1 and "report.html" not in page


def test_to_check():
    positions = make().to_check(3)
    assert len(positions) == 3
    assert set(positions) <= {0, 1, 2, 3}


def test_the_rate_of_checks():
    rate = make().rate_of_checks(["cat", "cat", None, "dog"])
    assert rate.verdict == "checked"
    assert rate.low < rate.estimate < rate.high
    assert "3 labels that were verified, of which 0" in rate.explanation
    with pytest.raises(ValueError, match="`truth` must be of the classes"):
        make().rate_of_checks(["cow", None, None, None])
    with pytest.raises(ValueError, match="`truth` must be one label for each"):
        make().rate_of_checks(["cat"])


def test_a_class_that_disappears_is_a_warning():
    table = analysis.find_suspects([0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    named = table.named(class_names=["cat", "dog"])
    with pytest.warns(
        UserWarning, match="is left in `cleaned_labels` of class 'dog': all"
    ):
        assert named.cleaned_labels().tolist() == ["cat"] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().cleaned_labels()


# --- suspects with names


def test_named_suspects():
    assert SUSPECTS.top(1).names.tolist() == ["c.png"]
    assert [*SUSPECTS.columns(all_examples=False)["given_label"]] == ["dog", "cat"]
    with pytest.raises(
        ValueError, match=r"`names` must be strings or integers of shape"
    ):
        SUSPECTS.named(["a"])
    with pytest.raises(ValueError, match="`class_names` must be 2 names or more"):
        SUSPECTS.named(class_names=["cat"])
    integers = SUSPECTS.named(class_names=[7, 1000])
    assert integers.cleaned_labels().tolist() == [7, 1000, 7, 1000]


def test_suspects_are_saved_and_loaded(tmp_path):
    for table in (SUSPECTS, SUSPECTS.named(class_names=[7, 1000]),
                  analysis.find_suspects([0, 1, 0, 1], SOFT)):  # fmt: skip
        table.save(tmp_path / "suspects.npz")
        again = analysis.Suspects.load(tmp_path / "suspects.npz")
        for name, values in table.columns().items():
            np.testing.assert_array_equal(again.columns()[name], values)
            assert again.columns()[name].dtype == values.dtype
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"that `Suspects\.save` wrote"):
        analysis.Suspects.load(tmp_path / "other.npz")


def test_files_for_reviewers_show_all_letters(tmp_path):
    """Spreadsheets take UTF-8 for UTF-8 where a mark says so; programs need none."""
    path = tmp_path / "review.csv"
    umlauts = make(suspects=SUSPECTS.named(["a", "b", "\udcff", "d"], ["cät", "dog"]))
    umlauts.to_csv(path)
    assert path.read_bytes()[:3] == b"\xef\xbb\xbf"
    assert _csv.read("owner", "path", path)["given_label"] == ["dog", "cät"]
    umlauts.suspects.to_csv(path)
    assert path.read_bytes().startswith(b"sample_id")
    make().to_csv(path)
    assert path.read_bytes().startswith(b"sample_id")


# --- reviews


X = np.repeat(np.eye(2), 30, axis=0) + np.random.default_rng(0).normal(0, 0.1, (60, 2))
LABELS = np.repeat(["cat", "dog"], 30)


def review(path, rows, header="sample_id,given_label,proposed_label,confirmed"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return find_wrong_labels(X, LABELS, epochs=2, verbose=0, reviewed=path)


def test_a_review_is_respected(tmp_path):
    path = tmp_path / "review.csv"
    found = review(path, ["3,cat,dog,yes", "40,dog,cat,No", "5,cat,dog,"])
    assert found.suspects.sample_id[0] == 3
    assert found.suspects.is_suspect[0] and found.suspects.confidence[0] == 1
    assert found.cleaned_labels()[3] == "dog"
    assert found.suspects.sample_id[-1] == 40
    assert not found.suspects.is_suspect[-1] and found.suspects.confidence[-1] == 0


def test_a_corrected_label_and_another_separator(tmp_path):
    path = tmp_path / "review.csv"
    found = review(path, ["3;dog", "4;cat"], "sample_id;corrected_label")
    assert found.cleaned_labels()[[3, 4]].tolist() == ["dog", "cat"]


def test_what_to_csv_writes_is_read(tmp_path):
    first = find_wrong_labels(X, LABELS, epochs=2, verbose=0, ids=np.arange(60) + 100)
    first.to_csv(tmp_path / "all.csv", all_examples=True)
    again = find_wrong_labels(
        X, LABELS, epochs=2, verbose=0, ids=np.arange(60) + 100,
        reviewed=tmp_path / "all.csv",
    )  # fmt: skip
    np.testing.assert_array_equal(again.soft_labels, first.soft_labels)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (
            ["3,cat,dog,perhaps"],
            r"yes or no, or nothing.* Row 2 has confirmed='perhaps'",
        ),
        (["3,cat,cow,yes"], "one of the classes in `proposed_label`.*'cow'"),
        (["3,dog,cat,yes"], "with the labels that they have.*given_label='dog'"),
        (["60,cat,dog,yes"], "a review of these data.*sample_id='60'"),
        (["3,cat,dog"], "with 4 cells in each row.*Row 2 has 3"),
        ([], "rows below its header.*the header alone"),
        (
            ["3,cat,dog,yes", "3,cat,dog,no"],
            "that decides once on each example.*Row 3 has sample_id='3'",
        ),
    ],
)
def test_bad_reviews(tmp_path, rows, text):
    with pytest.raises(ValueError, match=rf"`reviewed` must be .*{text}"):
        review(tmp_path / "review.csv", rows)


def test_what_data_frames_make_of_integers(tmp_path):
    """Beside empty cells 2 becomes 2.0; and blanks around names may be gone."""
    path = tmp_path / "reviewed.csv"
    path.write_text("sample_id,given_label,corrected_label,confirmed\n"
                    "1.0,0.0,1.0,\n2,1,,0.0\n,,,\n")  # fmt: skip
    examples = _inputs.Examples("features", None, np.array([0, 0, 1, 1]), np.arange(2))
    assert _review.read("owner", path, examples).tolist() == [-1, 1, 1, -1]
    path.write_text("sample_id,given_label,corrected_label\n0,a,b\n1,a ,a\n")
    names = np.array(["a", "a ", "b "])
    examples = _inputs.Examples("features", None, np.array([0, 1, 2]), names)
    assert _review.read("owner", path, examples).tolist() == [2, 0, -1]


def test_a_review_says_how_much_it_decides(tmp_path):
    rows = ["3,cat,dog,yes", "3,cat,dog,yes", "40,dog,cat,no", "5,cat,dog,"]
    assert review(tmp_path / "review.csv", rows).notes == [
        "The review decides on 2 examples, and gives 1 of them another label (4 rows "
        "were read)."
    ]


def read_named_review(path, header, row):
    """Read a review of four examples, two of which have one name."""
    path.write_text(f"{header},corrected_label\n{row},dog\n")
    examples = _inputs.Examples(
        kind="custom",
        x=None,
        labels=np.zeros(4, int),
        class_names=np.array(["cat", "dog"]),
        names=np.array(["a", "b", "b", "c"]),
    )
    return _review.read("owner", path, examples).tolist()


def test_names_of_reviewed_examples(tmp_path):
    path = tmp_path / "review.csv"
    assert read_named_review(path, "name", "c") == [-1, -1, -1, 1]
    assert read_named_review(path, "sample_id,name", "1,b") == [-1, 1, -1, -1]
    with pytest.raises(ValueError, match=r"name='b'. 2 examples have this name"):
        read_named_review(path, "name", "b")
    with pytest.raises(ValueError, match=r"name='c'. Example 0 has another name"):
        read_named_review(path, "sample_id,name", "0,c")
    with pytest.raises(ValueError, match=r"a review of these data.*name='d'"):
        read_named_review(path, "sample_id,name", "0,d")


def test_reviews_without_the_columns(tmp_path):
    with pytest.raises(ValueError, match="with a column `confirmed` or"):
        review(tmp_path / "review.csv", ["3,cat"], "sample_id,given_label")
    with pytest.raises(ValueError, match="with a column `sample_id`"):
        review(tmp_path / "review.csv", ["yes,cat"], "confirmed,given_label")


def test_the_room_has_its_names():
    assert diagnosis.__all__ == ["Diagnosis", "find_wrong_labels"]
