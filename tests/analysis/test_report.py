"""The page holds what it was given, needs nothing from outside, and runs no text."""

import base64
import dataclasses
import hashlib
import html.parser
import io
import json
import pathlib
import re
import types

import numpy as np
import pytest

from keras_noisy import analysis
from keras_noisy.analysis import _report_examples, report, write_report

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

GENERATOR = np.random.default_rng(0)
CLEAN = GENERATOR.integers(0, 3, 40)
NOISY = np.where(np.arange(40) < 15, (CLEAN + 1) % 3, CLEAN)
SOFT = 0.7 * np.eye(3)[CLEAN] + 0.3 * GENERATOR.dirichlet(np.ones(3), 40)
RATE = types.SimpleNamespace(
    estimate=0.374,
    low=0.31,
    high=0.45,
    per_class=np.array([0.1, 0.2, np.nan]),
    verdict="class-conditional",
    explanation="The noise depends on the class alone.",
)
EVERYTHING = {
    "soft_labels": [SOFT, SOFT**2 / (SOFT**2).sum(axis=1, keepdims=True)],
    "clean_labels": CLEAN,
    "histories": {"SEAL": {"val_accuracy": [0.5, 0.8]}},
    "test_predictions": SOFT,
    "test_labels": CLEAN,
    "images": GENERATOR.uniform(size=(40, 8, 8)),
    "texts": [f"text number {i}" for i in range(40)],
    "table": {"length": np.arange(40), "kind": ["a", None] * 20},
    "names": [pathlib.PurePosixPath(f"folder/{i}.png") for i in range(40)],
    "class_names": ["cat", "dog", "<b>ship</b>"],
    "noise_rate": RATE,
    "findings": ["Two in five labels are wrong.", "Check the cats first."],
    "settings": {"seed": 0, "epochs": 10},
}
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\u2028\u2029\0\ud800\u202e",
    "=HYPERLINK(0)",
]


def doubted(size, soft_labels=None):
    """Return suspects that are all labels, of class 0."""
    labels = np.zeros(size, int)
    found = analysis.find_suspects(labels, soft_labels or [[0.1, 0.9]] * size)
    return dataclasses.replace(found, is_suspect=np.ones(size, bool))


class Page(html.parser.HTMLParser):
    """What a page shows without script, what it would load, and the script's data."""

    def __init__(self, path):
        super().__init__()
        self.headings, self.loads, self.cells, self.text = [], [], [], ""
        self.styles, self.scripts, self.policy, self.handlers = [], [], "", []
        self.data, self.cards, self.open = None, 0, []
        self.source = path.read_bytes().decode()
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)
        attributes = dict(attributes)
        self.loads += [v for k, v in attributes.items() if k in ("src", "href")]
        self.handlers += [k for k in attributes if k.startswith("on") or k == "style"]
        if attributes.get("http-equiv"):
            self.policy = attributes["content"]
        self.cards += tag == "ol"
        self.is_data = attributes.get("id") == "data"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        tag = self.open[-1] if self.open else ""
        if tag == "script" and self.is_data:
            self.data = json.loads(data)
        elif tag == "script":
            self.scripts.append(data)
        elif tag == "style":
            self.styles.append(data)
        else:
            self.text += data
        if tag == "h2":
            self.headings.append(data)
        if tag in ("td", "th"):
            self.cells.append(data)


def written(tmp_path, labels=NOISY, **arguments):
    path = tmp_path / "report.html"
    assert write_report(path, labels, **arguments) == path
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    page = Page(path)
    assert not page.open
    assert not page.handlers
    return page


def pixels(address):
    """Return the pixels of a `data:` address."""
    content = base64.b64decode(address.partition(",")[2])
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def test_everything(tmp_path):
    page = written(tmp_path, **EVERYTHING)
    assert page.headings == [
        "Findings",
        "The most suspicious labels",
        "All suspects",
        "Given and proposed labels",
        "Realised noise matrix",
        "Distance of the soft labels to the truth",
        "Learning dynamics",
        "Reliability on test data",
        "Settings",
    ]
    assert "Two in five labels are wrong." in page.text
    suspects = analysis.find_suspects(NOISY, EVERYTHING["soft_labels"][-1])
    count = suspects.is_suspect.sum()
    assert "37.5% of the labels are wrong" in page.text
    assert '"epochs": 10' in page.text
    # Four figures, and a picture on each card.
    assert len(page.loads) == 4 + min(count, 20)
    assert all(source.startswith("data:image/png;base64,") for source in page.loads)
    # Nothing is said twice: findings are in place of the report's own sentences.
    assert "About 37.4%" not in page.text and "suspicious (source" not in page.text
    own = written(tmp_path, **{**EVERYTHING, "findings": None}).text
    assert "About 37.4% of the labels are wrong (90% interval: 31.0% to 45.0%)." in own
    assert "The noise depends on the class alone." in own
    assert f"{count} of 40 labels" in own


def test_findings_come_in_order(tmp_path):
    findings = ["How many.", "Pass `<b>` as `--x`.", "An odd ` stays."]
    page = written(tmp_path, **{**EVERYTHING, "findings": findings})
    parts = [
        "How many.",
        "Most suspects are among",
        "Pass <b> as --x.",
        "An odd ` stays",
    ]
    places = [page.text.index(part) for part in parts]
    assert places == sorted(places)
    assert "<code>&lt;b&gt;</code>" in page.source


def test_the_data_of_the_table(tmp_path):
    data = written(tmp_path, **EVERYTHING).data
    suspects = analysis.find_suspects(NOISY, EVERYTHING["soft_labels"][-1])
    held = np.flatnonzero(suspects.is_suspect)
    assert [column["key"] for column in data["columns"]] == [
        "sample_id",
        "name",
        "given_label",
        "proposed_label",
        "confidence",
        "true_label",
        "text",
        "length",
        "kind",
    ]
    assert data["total"] == len(data["rows"]) == len(data["pictures"]) == len(held)
    assert data["classes"] == ["cat", "dog", "<b>ship</b>"]
    for at, row, address in zip(held, data["rows"], data["pictures"], strict=True):
        i = int(suspects.sample_id[at])
        proposed = int(suspects.proposed_label[at])
        confidence = float(f"{suspects.confidence[at]:.6g}")
        kind = "a" if i % 2 == 0 else ""
        expected = [i, f"folder/{i}.png", NOISY[i], proposed, confidence, CLEAN[i]]
        assert row == [*expected, f"text number {i}", i, kind]
        image = (255 * EVERYTHING["images"][i]).round()
        np.testing.assert_array_equal(pixels(address), image)


def test_least(tmp_path):
    suspects = analysis.find_suspects(NOISY, mean_losses=GENERATOR.uniform(size=40))
    page = written(tmp_path, suspects=suspects, num_suspects=5, title="A & B")
    # The losses propose no label.
    assert page.headings == [
        "Findings",
        "The most suspicious labels",
        "All suspects",
        "Settings",
    ]
    keys = [column["key"] for column in page.data["columns"]]
    assert keys == ["sample_id", "given_label", "confidence"]
    assert len(page.data["rows"]) == page.data["total"] == 5
    assert "A & B" in page.text


def test_classes_and_their_confusions_by_hand(tmp_path):
    # Two cats are called dogs, and one ship a cat.
    labels = np.array([1, 1, 1, 0, 0, 2])
    soft = np.eye(3)[[0, 0, 1, 2, 0, 2]]
    page = written(
        tmp_path,
        labels,
        soft_labels=soft,
        class_names=["cat", "dog", "ship"],
        noise_rate=RATE,
    )
    assert "3 of 6 labels (50.0%) are suspicious" in page.text
    assert "among the labels dog: 2 of 3 (66.7%)" in page.text
    assert "dog → cat (2), cat → ship (1)" in page.text
    start = page.cells.index("most often proposed") + 1
    assert page.cells[start : start + 6] == ["dog", "3", "2", "66.7%", "20.0%"] + [
        "cat (2)"
    ]
    assert re.search(
        r'class="heat5" data-given="1" data-proposed="0">2</td>', page.source
    )
    assert re.search(
        r'class="heat3" data-given="0" data-proposed="2">1</td>', page.source
    )


def test_examples_without_a_label(tmp_path):
    suspects = analysis.find_suspects([0, 1, 1, 0], np.eye(2)[[1, 1, 1, 0]])
    # The same page, without a warning, where no label of a class is left.
    given = np.where(suspects.sample_id == 3, -1, suspects.given_label)
    suspects = dataclasses.replace(suspects, given_label=given)
    page = written(
        tmp_path, [0, 1, 1, -1], suspects=suspects, clean_labels=[1, 1, 0, 0]
    )
    assert "1 of 3 labels (33.3%) is suspicious" in page.text
    assert "1 example has no label." in page.text
    assert "66.7% of the labels are wrong" in page.text
    assert "leaves 33.3% wrong" in page.text
    with pytest.raises(ValueError, match="`labels` must be class ids"):
        write_report(tmp_path / "report.html", [0, -1], soft_labels=np.eye(2))


def test_names_that_the_suspects_know(tmp_path):
    found = doubted(2, [[0.4, 0.6], [0.1, 0.9]])
    suspects = found.named(np.array(["a", "b"]), np.array(["cat", "dog"]))
    page = written(tmp_path, [0, 0], suspects=suspects)
    assert [row[:2] for row in page.data["rows"]] == [[1, "b"], [0, "a"]]
    assert page.data["classes"] == ["cat", "dog"]
    page = written(tmp_path, [0, 0], suspects=suspects, names=["x", "y"])
    assert [row[:2] for row in page.data["rows"]] == [[1, "y"], [0, "x"]]


def test_no_suspect(tmp_path):
    for labels, soft in ((CLEAN, np.eye(3)[CLEAN]), ([], np.zeros((0, 3)))):
        page = written(tmp_path, labels, soft_labels=soft)
        assert page.headings == ["Findings", "Settings"]
        assert f"0 of {len(labels)} labels" in page.text
        assert not page.scripts


def test_many_classes(tmp_path):
    labels = np.arange(200) % 100
    soft = np.eye(100)[(labels + 1) % 100]
    page = written(tmp_path, labels, soft_labels=soft)
    assert "the 20 of 100 classes with the most" in page.text
    assert "The 30 most frequent of 100 pairs" in page.text


@pytest.mark.parametrize(
    ("estimate", "low", "high", "text"),
    [
        (0.1, None, None, "About 10.0% of the labels are wrong."),
        (None, None, None, "cannot be told from these data."),
        (None, 0.0, 1.0, "cannot be told from these data."),
        (None, 0.1, 0.4, "cannot be told from these data: between 10.0% and 40.0%."),
    ],
)
def test_rates(tmp_path, estimate, low, high, text):
    rate = types.SimpleNamespace(estimate=estimate, low=low, high=high)
    page = written(tmp_path, soft_labels=SOFT, noise_rate=rate)
    assert text in page.text
    assert "estimated wrong" not in page.text


def test_the_policy_allows_this_script_and_no_other(tmp_path):
    page = written(tmp_path, **EVERYTHING)
    assert page.policy.startswith("default-src 'none'; img-src data:;")
    for kind, parts in (("style", page.styles), ("script", page.scripts)):
        (part,) = parts
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in page.policy
    assert "unsafe" not in page.policy


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_data(tmp_path, text):
    n = 6
    page = written(
        tmp_path,
        np.zeros(n, int),
        suspects=doubted(n),
        texts=[text] * n,
        names=[text] * n,
        table={text: [text] * n},
        class_names=[text, text],
        findings=[text],
        settings={text: text},
        title=text,
    )
    (script,) = page.scripts
    assert script == report._environment().loader.get_source(None, "report.js")[0]
    expected = text.encode("utf-8", "replace").decode()
    assert page.data["classes"] == [expected] * 2
    row = [expected, 0, 1, 0.9, expected, expected]
    assert page.data["rows"] == [[i, *row] for i in range(n)]
    assert expected.replace("\0", "\ufffd") in page.text.replace("\0", "\ufffd")
    assert "x" not in page.loads


def test_data_frames(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "price": [1.5, np.nan, 3.0],
            "colour": pandas.Categorical(["red", None, "blue"]),
            "day": pandas.to_datetime(["2024-01-01", None, "2024-01-03"]),
            "sold": [True, False, True],
        },
        index=[7, 8, 9],
    )
    page = written(tmp_path, [0, 0, 0], suspects=doubted(3), table=frame)
    rows = [row[4:] for row in page.data["rows"]]
    assert rows[1][:2] == ["", ""]
    assert rows[0][:2] == [1.5, "red"]
    assert rows[2][3] == "True"
    names = pandas.Series(["a", "b", "c"], index=[7, 8, 9])
    page = written(tmp_path, [0, 0, 0], suspects=doubted(3), names=names)
    assert [row[1] for row in page.data["rows"]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (2**60, str(2**60)),
        (float("inf"), "inf"),
        (float("nan"), ""),
        (None, ""),
        (True, "True"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
    ],
)
def test_values(value, expected):
    found = _report_examples.sortable(value)
    assert found == expected
    assert type(found) is type(expected)


def test_infinite_losses(tmp_path):
    losses = np.append(np.ones(39), np.inf)
    suspects = analysis.find_suspects(NOISY, mean_losses=losses)
    page = written(tmp_path, suspects=suspects)
    assert page.data["rows"] == [[39, int(NOISY[39]), "inf"]]


def test_the_page_stays_below_its_size(tmp_path, monkeypatch):
    n = 3000
    images = GENERATOR.integers(0, 255, (n, 32, 32, 3), dtype="uint8")
    arguments = {"suspects": doubted(n), "images": images}
    monkeypatch.setattr(report, "_MOST_BYTES", 1_000_000)
    page = written(tmp_path, np.zeros(n, int), **arguments)
    assert 800_000 < len(page.source) < 1_000_000
    count = len(page.data["pictures"])
    assert 20 < count < len(page.data["rows"]) == n
    assert f"Pictures: the first {count} of 3,000" in page.text
    monkeypatch.setattr(_report_examples, "_MOST_BYTES_OF_ROWS", 20_000)
    page = written(tmp_path, np.zeros(n, int), **arguments)
    count = len(page.data["rows"])
    assert 500 < count < n
    assert f"The table has the first {count:,} of 3,000" in page.text
    assert page.data["total"] == n


def test_long_texts_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(_report_examples, "_MOST_CHARACTERS", 10_000)
    page = written(
        tmp_path, np.zeros(9, int), suspects=doubted(9), texts=["x" * 9000] * 9
    )
    assert {row[4] for row in page.data["rows"]} == {"x" * 1000 + "…"}
    assert "Texts are cut after 1,000 characters." in page.text


def test_many_columns(tmp_path):
    table = {f"column {k}": np.arange(40) for k in range(30)}
    page = written(tmp_path, soft_labels=SOFT, table=table)
    assert page.data["columns"][-1]["key"] == "column 19"
    assert "The first 20 of 30 columns are shown." in page.text


def test_pictures_of_files(tmp_path):
    folder, target = tmp_path / "images", tmp_path / "out"
    folder.mkdir(), target.mkdir()
    wide = GENERATOR.integers(0, 255, (90, 400, 3), dtype="uint8")
    Image.fromarray(wide).save(folder / "wide.jpg")
    Image.fromarray(np.full((9, 9, 4), 200, "uint8")).save(folder / "clear.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    paths = [folder / name for name in ("wide.jpg", "clear.png", "broken.png", "gone")]
    page = written(target, np.zeros(4, int), suspects=doubted(4), images=paths)
    wide, clear, *others = page.data["pictures"]
    assert pixels(wide).shape == (22, 96, 3)
    assert pixels(clear).shape == (9, 9, 3)
    assert others == [None, None]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[0, 255]], "uint8"), [[0, 255]]),
        (np.array([[0.0, 0.2, 1.0]]), [[0, 51, 255]]),
        (np.array([[0.0, 8.0, 16.0]]), [[0, 128, 255]]),
        (np.array([[-1.0, 0.0, 1.0, np.nan]]), [[0, 128, 255, 0]]),
        (np.array([[True, False]]), [[255, 0]]),
        (np.array([[[7], [9]]], "uint8"), [[7, 9]]),
        (np.full((2, 2), 5.0), [[0, 0], [0, 0]]),
    ],
)
def test_pixels(tmp_path, image, expected):
    page = written(tmp_path, [0], suspects=doubted(1), images=[image])
    (address,) = page.data["pictures"]
    np.testing.assert_array_equal(pixels(address), expected)


BAD = [
    ({"clean_labels": CLEAN[1:]}, r"`clean_labels` must be class ids of shape \(40,\)"),
    ({"texts": ["a"] * 3}, "`texts` must be of 40, one per example. Received: texts=3"),
    ({"names": "abc"}, "`names` must be a sequence of 40, one per example"),
    ({"names": {1, 2}}, "`names` must be a sequence of 40, one per example"),
    ({"table": {"a": [1]}}, r"`table\['a'\]` must be of 40, one per example"),
    ({"table": [1, 2]}, "`table` must be a mapping from column names"),
    ({"table": {"a": np.zeros((40, 2))}}, r"`table\['a'\]` must be of 40"),
    ({"findings": "one"}, "`findings` must be a list of sentences"),
    ({"findings": [1]}, "`findings` must be a list of sentences"),
    ({"noise_rate": 0.4}, "`noise_rate` must be an estimate with `estimate`, `low`"),
    ({"class_names": ["a"]}, "`class_names` must be of at least 3 names"),
    ({"images": "folder"}, "`images` must be 40 images"),
    ({"images": np.zeros((3, 8, 8))}, "`images` must be 40 images"),
    ({"images": np.zeros((40, 8, 8, 2))}, "`images` must be 40 images"),
    ({"images": np.zeros((40, 8))}, "`images` must be 40 images"),
    ({"num_suspects": -1}, "`num_suspects` must be an integer of at least 0"),
]


@pytest.mark.parametrize(("arguments", "text"), BAD)
def test_errors(tmp_path, arguments, text):
    path = tmp_path / "report.html"
    with pytest.raises((TypeError, ValueError), match=f"^write_report: {text}"):
        write_report(path, NOISY, soft_labels=SOFT, **arguments)
    assert not path.exists()


def test_errors_of_suspects(tmp_path):
    path = tmp_path / "report.html"
    with pytest.raises(ValueError, match="`suspects` or `soft_labels` must be given"):
        write_report(path, NOISY)
    other = analysis.find_suspects(NOISY[1:], SOFT[1:])
    with pytest.raises(ValueError, match="`suspects` must be of 40 examples"):
        write_report(path, NOISY, suspects=other)
    with pytest.raises(TypeError, match="`suspects` must be of find_suspects"):
        write_report(path, NOISY, suspects="all")
    assert not path.exists()


def test_pictures_of_files_of_any_kind(tmp_path):
    """Those of 16 bits are stretched, and black on nothing can be seen."""
    folder = tmp_path / "images"
    folder.mkdir()
    ramp = np.tile(np.arange(32), (32, 1))
    clear = np.zeros((32, 32, 4), "uint8")
    clear[:16, :, 3] = 255
    Image.fromarray((1000 + 900 * ramp).astype("uint16")).save(folder / "16.png")
    Image.fromarray(clear).save(folder / "clear.png")
    (tmp_path / "page").mkdir()
    page = written(
        tmp_path / "page",
        np.zeros(2, int),
        suspects=doubted(2),
        images=[folder / "16.png", folder / "clear.png"],
    )
    sixteen, black = (
        pixels(each)[..., 0].astype(int) for each in page.data["pictures"]
    )
    np.testing.assert_allclose(sixteen, 255 * ramp / 31, atol=1)
    assert (black[:16] == 0).all() and (black[16:] == 128).all()
