"""README and docs: code blocks run, links lead somewhere, figures are the results'."""

import contextlib
import pathlib
import re

import pytest

import keras_noisy

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = pathlib.Path(keras_noisy.__file__).parent
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
    imports = r"^(?:import|from) (matplotlib|scipy|sklearn|cleanlab)\b"
    for name in re.findall(imports, "".join(blocks), re.MULTILINE):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        if any("tensorflow_datasets" in block for block in blocks):
            tfds = pytest.importorskip("tensorflow_datasets")
            # `tfds.load` downloads nothing, and returns few random examples.
            stack.enter_context(tfds.testing.mock_data(num_examples=64))
        run_blocks(page)


@each_page
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page}: {target}"


LOSSES = sorted(path.stem for path in (PACKAGE / "losses").glob("[a-z]*.py"))
CARDS = sorted((ROOT / "docs" / "cards").glob("*.md"))
each_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)


def test_every_loss_has_a_card():
    assert set(LOSSES) <= {card.stem for card in CARDS}


# In this order. The label-noise card is about the definitions of several kinds.
SECTIONS = [
    "Use",
    "Hyperparameters",
    "Evidence",
    "When it fails",
    "Differences from the paper and from published code",
    "References",
]


@each_card
def test_card_has_every_section(card):
    text = card.read_text(encoding="utf-8")
    title, problem, *_ = text.split("\n\n")
    assert title.startswith("# ") and "\n" not in title
    assert problem[0].isalpha() or problem[0] in "[`*"
    if card.stem == "label_noise":
        return
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [h for h in headings if h in SECTIONS] == SECTIONS
    for heading in SECTIONS:
        section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        assert len(section.split()) > 0, heading
    if card.stem in LOSSES:
        assert "```math\n" in text.partition("\n## Use\n")[0]


def test_trust_page_names_every_loss_and_tests_that_exist():
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for loss in LOSSES:
        own = [row for row in rows if f"`losses/test_{loss}.py`" in row]
        assert len(own) == 1, loss
        assert f"](cards/{loss}.md)" in own[0]
    for row in rows:
        files = re.findall(r"`((?:\w+/)*test_\w+\.py)`", row)
        content = "".join((ROOT / "tests" / f).read_text("utf-8") for f in files)
        named = re.findall(r"`(test_\w+)`", row)
        named += ["test_values_by_hand"] * bool(re.search(r"\bby hand\b", row))
        named += ["test_oracle"] * bool(re.search(r"\boracle\b", row))
        for name in named:
            assert not files or f"def {name}(" in content, f"{row}: {name}"


def test_trust_page_names_every_test_file_of_a_method():
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    for folder in ("losses", "callbacks", "noise", "training", "analysis", "models"):
        for path in (ROOT / "tests" / folder).glob("test_*.py"):
            if path.name not in NOT_ON_THE_TRUST_PAGE:
                assert f"`{folder}/{path.name}`" in text, path


# They test how things are shown or handed over, not a number.
NOT_ON_THE_TRUST_PAGE = {
    "test_base.py",
    "test_plots.py",
    "test_report.py",
    "test_report_in_chromium.py",
    "test_noisy_labels.py",
}


def test_readme_figures_are_those_of_the_report():
    report = ROOT / "benchmarks" / "results" / "quickstart_digits.md"
    rows = [line for line in report.read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 7
    assert "\n".join(rows) in (ROOT / "README.md").read_text(encoding="utf-8")
