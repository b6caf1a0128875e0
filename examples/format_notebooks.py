"""Bring the notebooks of this folder into the form in which they are kept.

Run it after editing a notebook:

    python examples/format_notebooks.py

It removes outputs, and writes the cells that all notebooks share (copyright,
licence, buttons, install), which stand here and nowhere else, and the address of the
repository, which stands in `setup.py`. Needs nbformat, which comes with Jupyter.
"""

import pathlib
import re

import nbformat

FOLDER = pathlib.Path(__file__).resolve().parent
REPOSITORY = re.search(
    r'^REPOSITORY = "(.+)"$',
    (FOLDER.parent / "setup.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

# The cells that all notebooks share, by cell id. (Colab takes `# @title`, the form that
# ruff writes, as well as `#@title`.)
SHARED = {
    "copyright": "##### Copyright 2026 The keras-noisy developers",
    "licence": """\
# @title Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
# https://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.""",
    "buttons": """\
<table class="tfo-notebook-buttons" align="left">
  <td>
    <a target="_blank" href="{nbviewer}/blob/main/examples/{name}"><img \
src="https://nbviewer.org/static/img/nav_logo.svg" height="32" alt="" />View \
on nbviewer</a>
  </td>
  <td>
    <a target="_blank" href="{colab}/blob/main/examples/{name}"><img \
src="https://www.tensorflow.org/images/colab_logo_32px.png" alt="" />Run in Google \
Colab</a>
  </td>
  <td>
    <a target="_blank" href="{repository}/blob/main/examples/{name}"><img \
src="https://www.tensorflow.org/images/GitHub-Mark-32px.png" alt="" />View on \
GitHub</a>
  </td>
  <td>
    <a href="{repository}/raw/main/examples/{name}"><img \
src="https://www.tensorflow.org/images/download_logo_32px.png" alt="" />Download \
notebook</a>
  </td>
</table>""",
    "install": """\
import importlib.util
import os

if importlib.util.find_spec("keras_noisy") is None:
    %pip install -q "keras-noisy[examples,cleanlab,datasets] @ git+{repository}"

# TensorFlow writes a log into the notebook while it is imported, but not here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 2)
try:
    import keras
finally:
    os.dup2(stderr, 2)""",
}
METADATA = {
    "colab": {"provenance": [], "toc_visible": True},
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def formatted(text, name):
    """Return the text of the notebook file `name` in its canonical form.

    Args:
        text: Content of a notebook file.
        name: Name of the file, for the buttons.

    Returns:
        Content without outputs, with the shared cells and the repository's address.

    Raises:
        ValueError: If a shared cell is missing, or the notebook is not valid.
    """
    notebook = nbformat.reads(text, as_version=4)
    missing = SHARED.keys() - {cell.id for cell in notebook.cells}
    if missing:
        raise ValueError(
            f"format_notebooks: `{name}` must hold cells with the ids {[*SHARED]}. "
            f"Received a notebook without {sorted(missing)}. Copy them from another."
        )
    for cell in notebook.cells:
        cell.source = _source(cell, name)
        cell.metadata = {"cellView": "form"} if cell.id == "licence" else {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata = METADATA
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _source(cell, name):
    """Return the source of a cell, with the present address of the repository."""
    if cell.id in SHARED:
        path = REPOSITORY.removeprefix("https://github.com/")
        stands_for = {
            "{repository}": REPOSITORY,
            "{colab}": f"https://colab.research.google.com/github/{path}",
            "{nbviewer}": f"https://nbviewer.org/github/{path}",
            "{name}": name,
        }
        text = SHARED[cell.id]
        for word, address in stands_for.items():
            text = text.replace(word, address)
        return text
    return re.sub(r"https://github\.com/[\w.-]+/keras-noisy", REPOSITORY, cell.source)


def main():
    """Format all notebooks, and say which have changed."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        new = formatted(text, path.name)
        if new != text:
            path.write_text(new, encoding="utf-8")
            print(f"{path.name}: formatted")


if __name__ == "__main__":
    main()
