"""README and docs: code blocks run, links lead somewhere, figures are the results'."""

import contextlib
import importlib.util
import pathlib
import re

import pytest

import keras_noisy

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = pathlib.Path(keras_noisy.__file__).parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


def run_blocks(page):
    """Run the Python blocks of a page in a namespace, as a reader would; return it."""
    names = {"__name__": "__main__"}
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text[: match.start(1)].count("\n")
        code = "\n" * line + match.group(1)  # Errors then name the page's line.
        exec(compile(code, str(page), "exec"), names)
    return names


# What a page may need that does not come with every backend.
OTHERS = "cleanlab|matplotlib|scipy|sklearn|tensorflow|tensorflow_datasets|torch"
# Packages of extras that are too large for the tests of every change:
# `nox -s test_guides` installs them.
OF_EXTRAS = {"crowdkit": "crowd", "datasets": "huggingface", "keras_hub": "keras-hub"}
OTHERS += "|" + "|".join(OF_EXTRAS)
NEEDED = re.compile(rf"^ *(?:import|from) ({OTHERS})\b", re.MULTILINE)


def needs_of(page):
    """Return the names of these packages that a page's blocks import."""
    text = "".join(BLOCK.findall(page.read_text(encoding="utf-8")))
    return sorted(set(NEEDED.findall(text)))


def page_with_its_needs(page):
    needs = needs_of(page)
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    extras = [f"`{OF_EXTRAS[name]}`" for name in missing if name in OF_EXTRAS]
    reason = f"needs {', '.join(missing)}"
    if extras:
        reason += f", of the extra {', '.join(extras)}, which `nox -s test_guides` has"
    marks = [pytest.mark.skipif(bool(missing), reason=reason)] * bool(needs)
    return pytest.param(page, marks=marks, id=str(page.relative_to(ROOT)))


@pytest.mark.dealt
@pytest.mark.parametrize("page", [page_with_its_needs(page) for page in PAGES])
def test_code_blocks_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        if "tensorflow_datasets" in needs_of(page):
            import tensorflow_datasets as tfds

            # `tfds.load` downloads nothing, and returns few random examples.
            stack.enter_context(tfds.testing.mock_data(num_examples=64))
        names = run_blocks(page)
    if page.name == "README.md" and page.parent == ROOT:
        check_what_the_readme_found(names["diagnosis"])


def check_what_the_readme_found(diagnosis):
    """Compare the verdict that the README quotes, but for a backend's last digits."""
    quoted = re.search(r"(\d+) are suspects", README)
    assert abs(diagnosis.num_suspects - int(quoted[1])) <= 5
    assert "Nearly all of them are among the 90 that we made wrong" in README
    suspects = diagnosis.suspects.sample_id[diagnosis.suspects.is_suspect]
    assert (suspects % 20 == 0).mean() > 0.95


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
    text = report.read_text(encoding="utf-8")
    first, *_ = README.partition("## Install")
    named = "cross-entropy|Equal Loss|cleaned labels|automatic choice"
    figures = re.findall(rf"({named}) (?:ends )?at (\d\.\d+)", first)
    assert [name for name, _ in figures] == named.split("|")
    assert len(re.findall(r"\d\.\d", first)) == len(figures)
    for name, figure in figures:
        assert f"| {name} | {figure} ± " in text
    seconds = re.search(r"takes (\d+) s of CPU time", README)[1]
    assert f", {seconds} s of CPU time" in text


def test_readme_is_short():
    assert len(README.split()) <= 700


@pytest.mark.parametrize("name", ["examples", "benchmarks/results"])
def test_links_of_lists_lead_somewhere(name):
    page = ROOT / name / "README.md"
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert len(targets) > 5
    for target in targets:
        assert (page.parent / target).exists(), target


def test_every_page_of_results_is_in_the_list():
    folder = ROOT / "benchmarks" / "results"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    for page in folder.glob("[!R]*.md"):
        assert f"]({page.name})" in listed, page.name
