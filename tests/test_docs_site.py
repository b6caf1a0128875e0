"""The documentation site: built without a warning, complete, without a network."""

import base64
import collections
import html.parser
import importlib
import importlib.util
import json
import pathlib
import posixpath
import re
import subprocess
import sys
import urllib.parse

import pytest

from .helpers import PUBLIC

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A browser loads what these attributes name. The address in `<link rel="canonical">` it
# does not, and not what `<a>` leads to.
LOADS = {
    ("script", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("link", "href"),
    ("object", "data"),
    ("use", "href"),
}


class Page(html.parser.HTMLParser):
    """What a page loads, shows as a formula, and can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.ids, self.tags, self.formulas = [], set(), set(), 0
        self.links = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.add(values.get("id"))
        self.tags.add(tag)
        self.formulas += tag == "math"
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev"):
            return
        self.loads += [v for name, v in attrs if (tag, name) in LOADS]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site once, with warnings as errors."""
    for package in ("zensical", "mkdocstrings", "latex2mathml", "ziamath"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}, from the extra `docs`, and Python 3.11")
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "docs/site/build.py", "--out", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {
        path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")
    }


def public_names():
    """Yield the package of everything public, and a pattern of where it is defined.

    The path through the package is at the same time that of a module, for most losses.
    """
    for public in PUBLIC:
        try:
            package = importlib.import_module(f"keras_noisy.{public}")
        except ImportError:
            continue  # Without TensorFlow, for one.
        for name in package.__all__:
            # Constants do not know theirs.
            module = getattr(getattr(package, name), "__module__", r"[\w.]+")
            yield public, f"{module}.{name}"


def test_every_public_name_is_in_the_api(pages):
    names = list(public_names())
    ids = collections.defaultdict(set)
    for uri, page in pages.items():
        if uri.startswith("api/") and uri.count("/") == 2:
            ids[uri.split("/")[1]] |= page.ids
    assert len(names) > 100
    assert ("losses", "keras_noisy.losses.equal_loss.equal_loss") in names
    for package, name in names:
        anchors = ids[package]
        assert any(re.fullmatch(name, anchor or "") for anchor in anchors), name


def test_docstrings_are_in_the_api(pages):
    page = pages["api/losses/generalized_cross_entropy.html"]
    text = " ".join(page.text.split())
    assert "Negative Box-Cox transform of the labelled class's probability." in text
    assert "Exponent, in (0, 1]. The paper uses 0.7 everywhere." in text
    assert ">>> from keras_noisy import losses" in text
    for name, page in pages.items():
        # What `>>>` becomes where it is not known to be code.
        assert not (name.startswith("api/") and "blockquote" in page.tags), name


def test_every_page_of_the_repository_is_there(pages):
    for path in (ROOT / "docs").rglob("*.md"):
        name = path.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert name in pages
    for path in (ROOT / "benchmarks" / "results").glob("*.md"):
        name = "index" if path.stem == "README" else path.stem
        assert f"results/{name}.html" in pages
    for path in (ROOT / "examples").glob("*.ipynb"):
        page = pages[f"notebooks/{path.stem}.html"]
        assert "import keras_noisy" in page.text
        assert "%pip" not in page.text
    others = {"index.html", "notebooks.html", "changelog.html", "contributing.html"}
    assert others <= pages.keys()


def test_search_finds_guides_and_not_figures(site):
    items = json.loads((site / "search.json").read_text(encoding="utf-8"))["items"]
    found = {item["location"].partition("#")[0] for item in items}
    assert {"guides/find_wrong_labels.html", "results/index.html"} <= found
    assert "results/how_good.html" in found
    assert not [name for name in found if name.startswith(("results/q", "results/s"))]


def test_formulas_are_mathml(pages):
    for name, page in pages.items():
        assert not re.search(r"\\(frac|text|sum|log|epsilon)\b", page.text), name
    blocks = sum(
        path.read_text(encoding="utf-8").count("```math")
        for path in (ROOT / "docs").rglob("*.md")
    )
    assert blocks > 25
    assert sum(page.formulas for page in pages.values()) >= blocks


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for name, page in pages.items():
        for address in page.loads:
            assert not re.match(r"(https?:)?//", address), f"{name}: {address}"
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import\s*)[\"']?(https?:)?//", text), path


def test_what_is_loaded_is_there(site, pages):
    for name, page in pages.items():
        folder = (site / name).parent
        if name == "404.html":
            continue  # Its addresses begin at the root of the server.
        for address in page.loads:
            if not address.startswith("data:"):
                target = re.split("[?#]", address)[0]
                assert (folder / target).exists(), f"{name}: {address}"


def test_links_lead_to_pages_and_to_parts_of_them(site, pages):
    assert all(page.links for page in pages.values())
    for name, page in pages.items():
        if name == "404.html":
            continue
        for link in page.links:
            address = urllib.parse.urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = posixpath.join(posixpath.dirname(name), address.path)
            target = posixpath.normpath(target) if address.path else name
            assert (site / target).exists(), f"{name}: {link}"
            if address.fragment and target in pages:
                part = urllib.parse.unquote(address.fragment)
                assert part in pages[target].ids, f"{name}: {link}"


def output(kind, **content):
    return {"output_type": kind, **content}


def test_pages_of_notebooks_show_outputs():
    spec = importlib.util.spec_from_file_location(
        "notebooks", ROOT / "docs" / "site" / "notebooks.py"
    )
    notebooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebooks)
    png = base64.b64encode(b"picture").decode()
    outputs = [
        output("stream", name="stderr", text="a log\n"),
        output("stream", name="stdout", text=["first\n", "second\n"]),
        output("display_data", data={"text/plain": "<Figure>", "image/png": png}),
        output("execute_result", data={"text/html": "<table></table>"}),
        output("execute_result", data={"text/plain": "\x1b[31m3\x1b[0m"}),
    ]
    cells = [
        {"cell_type": "code", "id": "licence", "source": "# @title", "outputs": []},
        {"cell_type": "markdown", "id": "title", "source": ["# Title\n", "\nText"]},
        {"cell_type": "markdown", "id": "buttons", "source": "<table>"},
        {"cell_type": "code", "id": "a", "source": "f()", "outputs": outputs},
    ]
    text, pictures = notebooks.markdown(cells, "mine", "[Run](there)")
    assert pictures == {"mine-1.png": b"picture"}
    assert text == (
        "# Title\n\nText\n\n[Run](there)\n\n```python\nf()\n```\n\n"
        "```text\nfirst\nsecond\n```\n\n![Output](mine-1.png)\n\n"
        '<div class="output"><table></table></div>\n\n```text\n3\n```\n'
    )
