"""Pages of the site from the notebooks in `examples/`, with what their cells show.

Notebooks are kept without outputs. `executed` runs one, as a reader would, and keeps
the result in `build/notebooks` until the notebook or the package changes; running needs
nbclient and what the notebook imports. `markdown` needs nothing.
"""

import base64
import hashlib
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"
KEPT = ROOT / "build" / "notebooks"
# What a page of the site has no use for.
LEFT_OUT = {"copyright", "licence", "install"}
# For a cell; far more than one takes.
SECONDS = 900
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def paths():
    """Return the notebooks."""
    return sorted(FOLDER.glob("*.ipynb"))


def executed(path, *, run):
    """Return the cells of a notebook with outputs, or None where it has not run.

    Args:
        path: The notebook.
        run: Whether to run it, unless the present one has been run before.
    """
    kept = KEPT / f"{path.stem}-{_digest(path)}.ipynb"
    if not kept.exists():
        if not run:
            return None
        KEPT.mkdir(parents=True, exist_ok=True)
        for old in KEPT.glob(f"{path.stem}-*.ipynb"):
            old.unlink()
        text = _run(path)
        kept.write_text(text, encoding="utf-8")
    return read(kept)


def read(path):
    """Return the cells of a notebook file."""
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def _digest(path):
    """Return what changes when the outputs may."""
    digest = hashlib.sha256(path.read_bytes())
    for source in sorted((ROOT / "keras_noisy").rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _run(path):
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    at = {"metadata": {"path": str(ROOT)}}  # The package is that of this folder.
    nbclient.NotebookClient(notebook, timeout=SECONDS, resources=at).execute()
    return nbformat.writes(notebook)


def markdown(cells, name, buttons):
    """Return the Markdown of a notebook's page, and its pictures by their names.

    Args:
        cells: Its cells, with or without outputs.
        name: Name of the page, which begins those of its pictures.
        buttons: Markdown in place of the row of buttons, whose pictures are elsewhere.
    """
    parts, pictures = [], {}
    for cell in cells:
        if cell["id"] in LEFT_OUT:
            continue
        source = "".join(cell["source"])
        if cell["id"] == "buttons":
            parts.append(buttons)
        elif cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts.append(f"```python\n{source}\n```")
            for output in cell["outputs"]:
                parts += _shown(output, name, pictures)
    return "\n\n".join(parts) + "\n", pictures


def _shown(output, name, pictures):
    """Yield the Markdown of an output: its picture, its table or its text."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = f"{name}-{len(pictures) + 1}.png"
        pictures[picture] = base64.b64decode("".join(data["image/png"]))
        yield f"![Output]({picture})"
    elif "text/html" in data:
        yield f'<div class="output">{"".join(data["text/html"])}</div>'
    elif output.get("name") != "stderr":
        text = ESCAPE.sub("", "".join(output.get("text", data.get("text/plain", ""))))
        if text.strip():
            yield f"```text\n{text.rstrip()}\n```"
