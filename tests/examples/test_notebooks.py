"""The notebooks: their form, and that they run as a reader would run them."""

import importlib.util
import os
import pathlib
import re

import pytest

import keras_noisy

nbformat = pytest.importorskip("nbformat", reason="needs nbclient, of the extra `test`")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient, of the extra `test`")
for package in ("ipykernel", "matplotlib", "sklearn"):
    pytest.importorskip(package)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location(
    "format_notebooks", ROOT / "examples" / "format_notebooks.py"
)
format_notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(format_notebooks)

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
NEED_TENSORFLOW = ("make_and_measure_label_noise", "several_devices")
SECTIONS = (
    "Overview", "Setup", "Load the data", "Add label noise", "Train ", "Compare",
)  # fmt: skip
# For a cell; far more than one takes, also on a machine that does other things.
SECONDS = 900

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def test_there_are_eight():
    assert len(NOTEBOOKS) == 8


@each_notebook
def test_form(path):
    """No outputs, the shared cells, the repository's address, as the script writes."""
    text = path.read_text(encoding="utf-8")
    command = "python examples/format_notebooks.py"
    assert format_notebooks.formatted(text, path.name) == text, f"run `{command}`"


@each_notebook
def test_cells_stand_in_order(path):
    cells = read(path).cells
    ids = [cell.id for cell in cells]
    assert ids[:5] == ["copyright", "licence", "title", "buttons", "overview"]
    assert ids[5:8] == ["setup", "install", "setup-imports"]
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    places = [
        next((i for i, each in enumerate(headings) if each.startswith(name)), None)
        for name in SECTIONS
    ]
    assert None not in places
    assert places == sorted(places)
    assert headings[-1] == "Next steps"


@each_notebook
def test_links_into_the_repository_lead_somewhere(path):
    repository = re.escape(format_notebooks.REPOSITORY)
    text = "\n".join(cell.source for cell in read(path).cells)
    targets = re.findall(rf"{repository}/(?:blob|tree|raw)/main/([^)#\"]+)", text)
    assert f"examples/{path.name}" in targets
    for target in targets:
        assert (ROOT / target).exists(), target


@each_notebook
def test_readme_leads_to_it(path):
    assert f"]({path.name})" in (ROOT / "examples/README.md").read_text("utf-8")


def test_a_notebook_without_the_shared_cells_is_refused():
    text = nbformat.writes(nbformat.v4.new_notebook())
    with pytest.raises(ValueError, match=r"`mine.ipynb` must hold cells with the ids"):
        format_notebooks.formatted(text, "mine.ipynb")


def test_outputs_are_removed_and_addresses_mended():
    notebook = read(NOTEBOOKS[0])
    cells = {cell.id: cell for cell in notebook.cells}
    cells["install"].outputs = [nbformat.v4.new_output("stream", text="done")]
    cells["install"].execution_count = 1
    cells["buttons"].source = "elsewhere"
    cells["overview"].source += " https://github.com/someone/keras-noisy/issues"
    text = format_notebooks.formatted(nbformat.writes(notebook), NOTEBOOKS[0].name)
    assert "done" not in text
    assert "elsewhere" not in text
    assert f"{format_notebooks.REPOSITORY}/issues" in text


WARNING = re.compile(r"^(\S+?):\d+: (\w+Warning): .*$", re.MULTILINE)
DEPRECATIONS = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
DEPRECATIONS += ("Pandas4Warning",)


def warnings_in(text):
    """Return the warnings in what a notebook wrote in red, as far as they are ours."""
    return [
        match[0]
        for match in WARNING.finditer(text)
        if not _is_of_others(file=match[1], category=match[2])
    ]


def _is_of_others(file, category):
    # cleanlab's progress bar misses ipywidgets, which nothing needs.
    is_package = "site-packages" in file and "keras_noisy" not in file
    return category == "TqdmWarning" or (is_package and category in DEPRECATIONS)


def test_which_warnings_are_ours():
    ours = [
        "/tmp/ipykernel_1/2.py:3: DeprecationWarning: old",
        "/lib/site-packages/keras_noisy/noise.py:3: FutureWarning: old",
        "/lib/site-packages/keras/fit.py:74: UserWarning: `shuffle` is ignored",
    ]
    others = [
        "/lib/site-packages/keras/core.py:172: DeprecationWarning: no copy",
        "/lib/site-packages/tqdm/auto.py:21: TqdmWarning: IProgress not found",
    ]
    assert warnings_in("\n  code\n".join([*ours, *others])) == ours


# Lines of the log that TensorFlow writes while it is imported.
LOG = re.compile(
    r"^(WARNING: All log messages before absl|[IWE]\d{4} ).*$", re.MULTILINE
)
EPOCHS = re.compile(r"^EPOCHS = \d+$", re.MULTILINE)
# Enough for every cell to do its work; with all epochs they take minutes.
FEW = "EPOCHS = 2"


def run(path, folder, *, is_full):
    """Run a notebook in a process of its own, and return it with its outputs."""
    notebook = read(path)
    if not is_full:
        for cell in notebook.cells:
            cell.source = EPOCHS.sub(FEW, cell.source)
    packages = str(pathlib.Path(keras_noisy.__file__).parents[1])
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [packages, os.environ.get("PYTHONPATH")])
    )
    client = nbclient.NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    with client.setup_kernel(env=environment):
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
    return notebook


@each_notebook
def test_epochs_are_said_once(path):
    sources = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    assert len(EPOCHS.findall("\n".join(sources))) == 1


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=path.stem,
            marks=[pytest.mark.tensorflow_only] * (path.stem in NEED_TENSORFLOW),
        )
        for path in NOTEBOOKS
    ],
)
def test_runs(path, tmp_path, pytestconfig):
    is_full = pytestconfig.getoption("full")
    outputs = [
        output
        for cell in run(path, tmp_path, is_full=is_full).cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    red = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    assert not [warning for text in red for warning in warnings_in(text)]
    assert not [line[0] for text in red for line in LOG.finditer(text)]
    assert [o for o in outputs if "image/png" in o.get("data", {})]
    # A notebook leaves nothing behind where the reader has started it.
    assert not list(tmp_path.iterdir())
