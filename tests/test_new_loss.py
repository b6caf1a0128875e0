"""Where a loss is listed, and the command that starts one."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import keras_noisy
from keras_noisy import losses

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = pathlib.Path(keras_noisy.__file__).parent
COMMAND = ROOT / ".ci" / "new_loss.py"
CLASSES = {
    cls.__name__: cls.function.__name__
    for cls in vars(losses).values()
    if isinstance(cls, type) and cls is not losses.NoisyLabelLoss
}
RECIPES = ROOT / "benchmarks" / "recipes"
# With other labels than a recipe's data have, or with what no file can name.
NO_RECIPE = {"TargetModification", "MultiLabel"}


def read(path):
    """Return the text of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CLASSES)
def test_a_loss_has_all_its_places(name):
    """The exports and the contract's table are tested there."""
    function = CLASSES[name]
    assert {name, function} <= set(losses.__all__)
    link = f"](cards/{function}.md)"
    recipes = [path.read_text(encoding="utf-8") for path in RECIPES.rglob("*.toml")]
    files = {
        f"keras_noisy/losses/{function}.py": PACKAGE / "losses" / f"{function}.py",
        f"tests/losses/test_{function}.py": ROOT / f"tests/losses/test_{function}.py",
        f"docs/cards/{function}.md": ROOT / f"docs/cards/{function}.md",
    }
    places = {
        **{name: path.exists() for name, path in files.items()},
        "docs/methods.md, in the table of losses": link in read("docs/methods.md"),
        "CHANGELOG.md": name in read("CHANGELOG.md"),
        "a recipe in benchmarks/recipes": name in NO_RECIPE
        or any(re.search(rf'loss = "{name}"', text) for text in recipes),
    }
    missing = [place for place, is_there in places.items() if not is_there]
    assert not missing, f"{name} is missing in {', '.join(missing)}"


@pytest.mark.skipif(not COMMAND.exists(), reason="only a checkout has it")
def test_what_the_command_writes_passes_the_tests(tmp_path):
    pytest.importorskip("ruff")
    for path in ROOT.iterdir():
        if path.name in ("keras_noisy", "tests", "docs", "benchmarks"):
            ignored = shutil.ignore_patterns("__pycache__", "results", "*.svg", "*.png")
            shutil.copytree(path, tmp_path / path.name, ignore=ignored)
        elif path.suffix in (".md", ".toml", ".yml", ".py"):
            shutil.copy(path, tmp_path)
    arguments = [sys.executable, str(COMMAND), "my_own_cross_entropy"]
    command = [*arguments, "--root", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    ruff = [sys.executable, "-m", "ruff"]
    for check in (["check"], ["format", "--check"]):
        subprocess.run(
            [*ruff, *check, "keras_noisy", "tests"], cwd=tmp_path, check=True
        )
    tests = [f"tests/{name}.py" for name in ("test_contract", "test_new_loss")]
    tests += [
        "tests/losses/test_my_own_cross_entropy.py",
        "tests/test_documentation.py",
    ]
    # Of the contract, what shows that the loss is in its tables.
    chosen = (
        "oracle or by_hand or trust_page or has_a_card or public_name_is_tested"
        " or (MyOwnCrossEntropy and (places or config)) or my_own_cross_entropy.md"
    )
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*pytest_, "--full", "-k", chosen, *tests],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) >= 15
    # A second one of that name is refused.
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode and "is there already" in again.stderr
