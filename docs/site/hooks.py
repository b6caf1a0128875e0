"""What the site has besides `docs/`: other files of the repository, the API, formulas.

MkDocs calls the functions whose names begin with `on_`.
"""

import ast
import html
import pathlib
import posixpath
import re

import ziamath
from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "keras_noisy"

# Paths in the repository of files and folders, and where the site has them.
PLACES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "notebooks.md",
    "benchmarks/results/": "results/",
    "docs/": "",
}
# Sections of the navigation whose pages need not be listed, and where a page that is
# not listed goes.
SECTIONS = {
    "guides/": ("Train",),
    "cards/": ("Methods", "Others"),
    "results/": ("Reference", "Results"),
    "api/": ("Reference", "API"),
}
# Who searches wants a guide before a page of figures.
BOOST = {"guides/": 4, "cards/": 2, "results/": 0.5, "changelog": 0.2}
LINK = re.compile(r"(\]\()([^)\s#]+)")
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL
)
# For browsers on systems without a font that has the signs of mathematics.
FONT = "STIXTwoMath-Regular.ttf"
CELL = re.compile(r"<td.*?</td>", re.DOTALL)
CODE = re.compile(r"(?<=<code>).*?(?=</code>)", re.DOTALL)
BREAK = re.compile(r"[_/.(](?=\w)|[a-z](?=[A-Z])")


def on_files(files, config):
    """Add the files outside of `docs/`, and the API's pages."""
    for source, target in PLACES.items():
        path = ROOT / source
        for page in path.glob("*.md") if path.is_dir() else [path]:
            if source != "docs/":
                uri = target + page.name if path.is_dir() else target
                content = page.read_text(encoding="utf-8")
                files.append(File.generated(config, uri, content=content))
    font = pathlib.Path(ziamath.__file__).parent / "fonts" / FONT
    files.append(File.generated(config, f"site/{FONT}", abs_src_path=str(font)))
    for name in packages():
        content = api_page(name)
        files.append(File.generated(config, f"api/{name}.md", content=content))
    for prefix, section in SECTIONS.items():
        complete(config.nav, prefix, section, files)
    return files


def complete(nav, prefix, section, files):
    """Put the pages under `prefix` that `nav` does not list at the end of `section`."""
    listed = set(re.findall(r"[\w/]+\.md", str(nav)))
    place = nav
    for title in section:
        place = next(item[title] for item in place if title in item)
    uris = [file.src_uri for file in files if file.src_uri.endswith(".md")]
    place.extend(
        uri for uri in sorted(uris) if uri.startswith(prefix) and uri not in listed
    )


def on_page_markdown(markdown, page, config, files):
    """Make links of the repository links of the site, and weigh pages for search."""
    uri = page.file.src_uri
    for prefix, boost in BOOST.items():
        if uri.startswith(prefix):
            page.meta["search"] = {"boost": boost}
    source = repository_path(uri)
    if source is None:
        return markdown

    def link(match):
        target = match.group(2)
        if re.match(r"[a-z]+:", target):
            return match.group(0)
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = site_uri(path)
        if place is None:
            return f"{match.group(1)}{config.extra['repository']}/blob/main/{path}"
        return match.group(1) + posixpath.relpath(place, posixpath.dirname(uri) or ".")

    return LINK.sub(link, markdown) + api_links(uri)


def on_page_content(html, **_):
    """Replace formulas by MathML, and let names in tables break between their words.

    Browsers show MathML without any script.
    """
    return CELL.sub(
        lambda cell: CODE.sub(lambda code: BREAK.sub(r"\g<0><wbr>", code[0]), cell[0]),
        FORMULA.sub(mathml, html),
    )


def mathml(match):
    """Return the MathML of a formula that Markdown found."""
    display = "block" if match.group(1) == "div" else "inline"
    formula = html.unescape(match.group(3)).strip()
    result = convert(formula, display=display)
    if "\\" in result:
        # Unknown commands come back as text.
        raise ValueError(f"No MathML for the formula {formula!r}.")
    return f'<div class="formula">{result}</div>' if display == "block" else result


def repository_path(uri):
    """Return where in the repository a page of the site is, None for made ones."""
    for source, target in PLACES.items():
        is_folder = source.endswith("/")
        if uri == target or (is_folder and target and uri.startswith(target)):
            return source + uri[len(target) :] if is_folder else source
    path = f"docs/{uri}"
    return path if (ROOT / path).exists() else None


def site_uri(path):
    """Return where on the site a file of the repository is, None where it is not."""
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


def api_page(package):
    """Return the page of a package: its docstring and everything that is public."""
    source = (PACKAGE / package / "__init__.py").read_text(encoding="utf-8")
    blocks = [f"::: {module}.{name}" for module, name in public_names(package)]
    summary = ast.get_docstring(ast.parse(source))
    return "\n\n".join([f"# keras_noisy.{package}", summary, *blocks])


def api_links(uri):
    """Return a section of links from the card of a loss to its functions and class."""
    folder, _, stem = uri.removesuffix(".md").rpartition("/")
    module = f"keras_noisy.losses.{stem}"
    names = [name for source, name in public_names("losses") if source == module]
    if folder != "cards" or not names:
        return ""
    links = ", ".join(f"[`{name}`][{module}.{name}]" for name in names)
    return f"\n\n## API\n\n{links}\n"
