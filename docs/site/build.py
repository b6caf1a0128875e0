"""Build the documentation site: its pages and settings, then the generator.

    python docs/site/build.py            # into site/
    python docs/site/build.py --serve    # while writing
    python docs/site/build.py --execute  # with what the notebooks show: minutes

The generator gets plain Markdown files: those of the repository with their links moved,
formulas as MathML, which browsers show without any script, and a page for each package
of the API. It needs no plugin of ours, so that another one can take its place.
"""

import argparse
import ast
import html
import pathlib
import posixpath
import re
import shutil
import subprocess
import sys

import notebooks
import ziamath
from latex2mathml.converter import convert

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "keras_noisy"
REPOSITORY = "https://github.com/keras-noisy/keras-noisy"

# Files and folders of the repository, and their paths on the site.
PLACES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "notebooks.md",
    "benchmarks/results/": "results/",
    "docs/": "",
}
# Not searched: who asks how many labels are wrong wants the guide before the figures,
# to which a list leads.
FIGURES = re.compile(r"results/(?!README|how_good)|changelog")
LINK = re.compile(r"(\]\()([^)\s#]+)")
# For browsers on systems without a font that has the signs of mathematics.
FONT = pathlib.Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
INLINE = re.compile(r"\$(?=\S)([^$\n]+(?:\n[^$\n]+)?)(?<=\S)\$")
ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
BREAK = re.compile(r"[_/.(](?=\w)|[a-z](?=[A-Z])")


def main():
    """Write the pages, and call the generator."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="show it while writing")
    parser.add_argument(
        "--execute", action="store_true", help="run notebooks that have changed"
    )
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "site")
    args = parser.parse_args()
    work = ROOT / "build" / "site"
    shutil.rmtree(work, ignore_errors=True)
    prepare(work, execute=args.execute)
    command = [sys.executable, "-m", "zensical", "serve" if args.serve else "build"]
    command += ["-f", str(work / "mkdocs.yml")]
    command += [] if args.serve else ["--strict", "--clean"]
    status = subprocess.run(command, check=False).returncode
    if status == 0 and not args.serve:
        # The generator writes beside the settings only.
        shutil.rmtree(args.out, ignore_errors=True)
        shutil.copytree(work / "site", args.out)
    return status


def prepare(work, *, execute=False):
    """Write the pages and the settings of the site into a folder."""
    docs = work / "docs"
    for path, uri in sources():
        target = docs / uri
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(page(path, uri), encoding="utf-8")
        else:
            shutil.copy(path, target)
    write_notebooks(docs, execute)
    for name, text in api_pages():
        target = docs / "api" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    shutil.copy(FONT, docs / "site")
    shutil.copytree(ROOT / "docs" / "site" / "overrides", work / "overrides")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    settings = with_other_pages(settings, docs)
    settings = settings.replace("paths: [.]", f"paths: [{ROOT}]")
    settings = settings.replace("docs/site/docstrings", f"{ROOT}/docs/site/docstrings")
    (work / "mkdocs.yml").write_text(settings, encoding="utf-8")


def write_notebooks(docs, execute):
    """Write a page for each notebook, and its pictures."""
    (docs / "notebooks").mkdir(parents=True, exist_ok=True)
    for path in notebooks.paths():
        cells = notebooks.executed(path, run=execute)
        has_run = cells is not None
        text, pictures = notebooks.markdown(
            cells if has_run else notebooks.read(path),
            path.stem,
            buttons(path.name, has_run),
        )
        uri = f"notebooks/{path.stem}.md"
        target = docs / uri
        target.write_text(with_site_links(text, uri), encoding="utf-8")
        for name, content in pictures.items():
            (target.parent / name).write_bytes(content)


def buttons(name, has_run):
    """Return the line of links of a notebook's page."""
    path = REPOSITORY.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{path}/blob/main/examples/{name}"
    line = (
        f"[Run in Google Colab]({colab}) · "
        f"[Download]({REPOSITORY}/raw/main/examples/{name})"
    )
    missing = "\n\n*This site was built without the outputs of notebooks.*"
    return line if has_run else line + missing


def with_site_links(text, uri):
    """Return Markdown whose links to files of the repository lead to their pages."""

    def link(match):
        place = site_uri(match[1])
        if place is None:
            return match[0]
        return f"]({posixpath.relpath(place, posixpath.dirname(uri))}"

    pattern = rf"\]\({re.escape(REPOSITORY)}/blob/main/([^)#\s]+)"
    return outside_of_fences(re.sub(pattern, link, text), prose)


def sources():
    """Yield each file that the site shows, and its path there."""
    for source, target in PLACES.items():
        path = ROOT / source
        if path.is_file():
            yield path, target
            continue
        # Pictures of results are linked from their pages; other files are data.
        for each in sorted(path.rglob("*")):
            is_shown = each.suffix in (".md", ".png", ".css", ".svg")
            if each.is_file() and is_shown:
                yield each, target + each.relative_to(path).as_posix()


def with_other_pages(settings, docs):
    """Put the pages that the navigation does not list where it says `# others of`."""
    listed = set(re.findall(r"[\w/]+\.md", settings))

    def others(match):
        indent, folder = match.groups()
        uris = [
            f"{folder}/{each.name}" for each in sorted((docs / folder).glob("*.md"))
        ]
        return "".join(f"{indent}- {uri}\n" for uri in uris if uri not in listed)

    return re.sub(r"^( *)# others of (\w+)\n", others, settings, flags=re.MULTILINE)


def page(path, uri):
    """Return the Markdown of a page of the site."""
    text = path.read_text(encoding="utf-8")
    source = path.relative_to(ROOT).as_posix()

    def link(match):
        target = match.group(2)
        if re.match(r"[a-z]+:", target):
            return match.group(0)
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = site_uri(there)
        if place is None:
            return f"{match.group(1)}{REPOSITORY}/blob/main/{there}"
        return match.group(1) + posixpath.relpath(place, posixpath.dirname(uri) or ".")

    text = outside_of_fences(LINK.sub(link, text), prose)
    return front_matter(uri) + text + api_links(uri)


def front_matter(uri):
    """Return what keeps a page out of the search."""
    return "---\nsearch:\n  exclude: true\n---\n\n" if FIGURES.match(uri) else ""


def outside_of_fences(text, change):
    """Return a text with its formulas as MathML, and with what is no code changed."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts.append(change(text[end : fence.start()]))
        is_formula = fence[2] == "math"
        parts.append(mathml(fence[3], "block") if is_formula else fence[0])
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def prose(text):
    """Return Markdown without fences with formulas as MathML, and names that break."""
    text = ROW.sub(lambda row: CODE.sub(breakable, row[0]), text)
    # What is code by now holds no formula.
    parts = re.split(r"(`[^`\n]+`|<code>.*?</code>)", text)
    for number in range(0, len(parts), 2):
        parts[number] = INLINE.sub(lambda one: mathml(one[1], "inline"), parts[number])
    return "".join(parts)


def breakable(code):
    """Return code in a table that may break between the words of a name."""
    text = html.escape(code[2].replace("\\|", "|"), quote=False)
    text = BREAK.sub(r"\g<0><wbr>", text.replace("|", "&#124;"))
    return f"<code>{quoted(text)}</code>"


def mathml(formula, display):
    """Return a formula of TeX as MathML."""
    result = convert(formula.strip(), display=display)
    if "\\" in result:
        # Unknown commands come back as text.
        raise ValueError(f"No MathML for the formula {formula!r}.")
    result = quoted(result)
    return f'<div class="formula">{result}</div>' if display == "block" else result


def quoted(markup):
    """Return HTML in which Markdown finds nothing of its own."""
    return re.sub(r"[*_$`]", lambda sign: f"&#{ord(sign[0])};", markup)


def site_uri(path):
    """Return the page of a file of the repository, or None if it has none."""
    notebook = re.fullmatch(r"examples/(\w+)\.ipynb", path)
    if notebook:
        return f"notebooks/{notebook[1]}.md"
    for source, target in PLACES.items():
        if path == source:
            return target
        if source.endswith("/") and path.startswith(source):
            return target + path[len(source) :]
    return None


def packages():
    """Return the names of the public packages."""
    return sorted(
        path.parent.name
        for path in PACKAGE.glob("[a-z]*/__init__.py")
        if public_names(path.parent.name)
    )


def public_names(package):
    """Return `(module, name)` for each name in `__all__`, in the order of imports.

    That order puts the function and the class of a loss together, and the module is
    needed because it and the function have one name. The source is parsed and not
    imported, so that no backend is needed.
    """
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    names, listed = [], []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            names += [(node.module, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            listed = ast.literal_eval(node.value)
    return [(module, name) for module, name in names if name in listed]


def api_pages():
    """Yield the pages of the API: a list for each package, one for each module.

    Not for each name: `ProSelfLC` and `proselflc` are one file on many systems.
    """
    for package in packages():
        names = public_names(package)
        modules = {}
        for module, name in names:
            modules.setdefault(module, []).append(name)
        for module, found in modules.items():
            blocks = [f"::: {module}.{name}" for name in found]
            title = next((name for name in found if name[0].isupper()), found[0])
            yield _uri(package, module), "\n\n".join([f"# {title}", *blocks]) + "\n"
        source = (PACKAGE / package / "__init__.py").read_text(encoding="utf-8")
        rows = [
            f"| [`{name}`]({_uri(package, module)}#{module}.{name}) "
            f"| {summary(module, name)} |"
            for module, name in sorted(names, key=lambda pair: pair[1].lower())
        ]
        about = ast.get_docstring(ast.parse(source))
        lines = [f"# keras_noisy.{package}", "", about, "", "| name | |", "|---|---|"]
        yield f"{package}.md", "\n".join([*lines, *rows]) + "\n"


def _uri(package, module):
    return f"{package}/{module.rpartition('.')[2]}.md"


def summary(module, name):
    """Return the first line of a docstring, or of the string after a constant."""
    path = ROOT / (module.replace(".", "/") + ".py")
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    for node, after in zip(nodes, [*nodes[1:], None], strict=True):
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        if name not in [
            getattr(each, "name", getattr(each, "id", "")) for each in targets
        ]:
            continue
        text = ast.get_docstring(node) if hasattr(node, "name") else _string(after)
        if text:
            return text.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return ""


def _string(node):
    """Return the string that a statement is, or None."""
    value = getattr(node, "value", None)
    return value.value if isinstance(value, ast.Constant) else None


def api_links(uri):
    """Return a section of links from the card of a loss to its functions and class."""
    folder, _, stem = uri.removesuffix(".md").rpartition("/")
    module = f"keras_noisy.losses.{stem}"
    names = [name for source, name in public_names("losses") if source == module]
    if folder != "cards" or not names:
        return ""
    links = ", ".join(f"[`{name}`][{module}.{name}]" for name in names)
    return f"\n\n## API\n\n{links}\n"


if __name__ == "__main__":
    sys.exit(main())
