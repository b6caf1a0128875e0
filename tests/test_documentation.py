"""README and docs: code blocks run, links lead somewhere, figures are the results'."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


def run_blocks(page):
    """Run the Python blocks of a page in one namespace, as a reader would."""
    names = {"__name__": "__main__"}
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text[: match.start(1)].count("\n")
        code = "\n" * line + match.group(1)  # Errors then name the page's line.
        exec(compile(code, str(page), "exec"), names)


@each_page
def test_code_blocks_run(page, monkeypatch, tmp_path):
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    if any("import tensorflow" in block for block in blocks):
        pytest.importorskip("tensorflow")
    for name in re.findall(r"^import (matplotlib|sklearn|cleanlab)", "".join(blocks)):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    run_blocks(page)


@each_page
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_loss_has_a_card():
    losses = {path.stem for path in (ROOT / "keras_noisy" / "losses").glob("[a-z]*.py")}
    cards = {path.stem for path in (ROOT / "docs" / "cards").glob("*.md")}
    assert losses <= cards


def test_readme_figures_are_those_of_the_report():
    report = ROOT / "benchmarks" / "results" / "quickstart_digits.md"
    rows = [line for line in report.read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 7
    assert "\n".join(rows) in (ROOT / "README.md").read_text(encoding="utf-8")
