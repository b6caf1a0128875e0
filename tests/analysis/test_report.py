"""The page holds what it was given, and needs nothing from outside."""

import html.parser
import shutil
import subprocess

import numpy as np
import pytest

from keras_noisy import analysis
from keras_noisy.analysis import write_report

pytest.importorskip("matplotlib")

GENERATOR = np.random.default_rng(0)
CLEAN = GENERATOR.integers(0, 3, 40)
NOISY = np.where(np.arange(40) < 15, (CLEAN + 1) % 3, CLEAN)
SOFT = 0.7 * np.eye(3)[CLEAN] + 0.3 * GENERATOR.dirichlet(np.ones(3), 40)
EVERYTHING = {
    "soft_labels": [SOFT, SOFT**2 / (SOFT**2).sum(axis=1, keepdims=True)],
    "clean_labels": CLEAN,
    "histories": {"SEAL": {"val_accuracy": [0.5, 0.8]}},
    "test_predictions": SOFT,
    "test_labels": CLEAN,
    "images": GENERATOR.uniform(size=(40, 8, 8)),
    "class_names": ["cat", "dog", "<b>ship</b>"],
    "settings": {"seed": 0, "epochs": 10},
}


class Page(html.parser.HTMLParser):
    """What a page shows, and what it would load."""

    def __init__(self, path):
        super().__init__()
        self.headings, self.loads, self.cells, self.text = [], [], [], ""
        self.open = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.loads += [v for k, v in attributes if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def test_everything(tmp_path):
    path = tmp_path / "report.html"
    assert write_report(path, NOISY, **EVERYTHING) == path
    page = Page(path)
    assert not page.open
    assert page.headings == [
        "In numbers",
        "Learning dynamics",
        "Realised noise matrix",
        "Distance of the soft labels to the truth",
        "Reliability on test data",
        "Top suspects",
        "Suspects",
        "Settings",
    ]
    assert len(page.loads) == 5
    assert all(source.startswith("data:image/png;base64,") for source in page.loads)
    suspects = analysis.find_suspects(NOISY, EVERYTHING["soft_labels"][-1])
    assert page.cells[0] == str(suspects.sample_id[0])
    assert len(page.cells) == 40 * 5
    assert "<b>ship</b>" in page.cells
    assert f"{suspects.is_suspect.sum()} of 40 labels" in page.text
    assert "37.5% of the labels are wrong" in page.text
    assert '"epochs": 10' in page.text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_least(tmp_path):
    path = tmp_path / "report.html"
    suspects = analysis.find_suspects(NOISY, mean_losses=GENERATOR.uniform(size=40))
    write_report(path, NOISY, suspects=suspects, num_suspects=5, title="A & B")
    page = Page(path)
    assert page.headings == ["In numbers", "Suspects", "Settings"]
    assert len(page.cells) == 5 * 4
    assert "A & B" in page.text


def test_errors(tmp_path):
    path = tmp_path / "report.html"
    with pytest.raises(ValueError, match="`suspects` or `soft_labels` must be given"):
        write_report(path, NOISY)
    with pytest.raises(
        ValueError, match=r"`clean_labels` must be class ids of shape \(40,\)"
    ):
        write_report(path, NOISY, soft_labels=SOFT, clean_labels=CLEAN[1:])
    other = analysis.find_suspects(NOISY[1:], SOFT[1:])
    with pytest.raises(ValueError, match="`suspects` must be of 40 examples"):
        write_report(path, NOISY, suspects=other)
    assert not path.exists()


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the browser Chromium")
def test_a_browser_shows_it(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, NOISY, **EVERYTHING)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--disable-background-networking", "--no-first-run"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,900"]
    picture = tmp_path / "page.png"
    subprocess.run(
        [*command, f"--screenshot={picture}", path.as_uri()],
        check=True,
        timeout=120,
        capture_output=True,
    )
    assert picture.stat().st_size > 10_000
