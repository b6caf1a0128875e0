"""Versions agree, and the page on the package index has no dead links."""

import importlib.metadata
import pathlib
import re

import pytest

import keras_noisy
from keras_noisy import losses

ROOT = pathlib.Path(__file__).resolve().parent.parent


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_changelog_has_this_version_and_is_open():
    headings = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    version, date = headings[1].split(" - ")
    assert version == keras_noisy.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)


def test_the_citation_is_of_this_version():
    version = keras_noisy.__version__
    text = read("CITATION.cff")
    assert f"\nversion: {version}\n" in text
    date = re.search(r"^date-released: (.+)$", text, re.MULTILINE).group(1)
    assert f"## {version} - {date}\n" in read("CHANGELOG.md")
    readme = read("README.md")
    assert f"version = {{{version}}}" in readme
    assert f"year = {{{date[:4]}}}" in readme


def test_the_oldest_versions_are_those_that_setup_allows():
    setup = read("setup.py")
    for line in read("tests/lowest.txt").splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            (allowed,) = set(re.findall(rf'"{name}>=([\d.]+)"', setup))
            assert f"{version}.".startswith(f"{allowed}."), line


def test_page_on_the_package_index():
    try:
        metadata = importlib.metadata.metadata("keras-noisy")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs the package to be installed")
    assert metadata["Version"] == keras_noisy.__version__
    links = re.findall(r"(!?)\[[^]]*\]\(([^)]+)\)", metadata.get_payload())
    assert any(is_picture for is_picture, _ in links)
    for is_picture, link in links:
        assert link.startswith(("https://", "#")), link
        assert not is_picture or link.startswith("https://raw."), link


RENAMED = [
    (name, old, new)
    for name in losses.__all__
    for old, new in getattr(getattr(losses, name), "renamed_presets", {}).items()
]


@pytest.mark.parametrize("name, old, new", RENAMED)
def test_old_names_warn_and_the_changelog_lists_them(name, old, new):
    cls = getattr(losses, name)
    with pytest.warns(DeprecationWarning, match=f"^{name}: .*'{old}'.*'{new}'"):
        loss = cls.from_preset(old)
    assert loss.get_config() == cls.from_preset(new).get_config()
    _, _, migration = read("CHANGELOG.md").partition("\n### Migration from 0.1\n")
    assert f'| `{name}.from_preset("{old}")` | `from_preset("{new}")`' in migration
