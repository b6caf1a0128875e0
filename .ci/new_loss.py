"""Start a new loss: its files, and its name wherever losses are listed.

    python .ci/new_loss.py taylor_cross_entropy

What it writes is weighted cross-entropy, which passes all tests. Put your formula in
its place, and replace every TODO; `git diff` shows the places.
"""

import argparse
import pathlib
import re
import string
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

SOURCE = '''"""$title."""

from __future__ import annotations

import keras

from keras_noisy._checks.numbers import at_least_zero
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss


@_loss.arguments(weight=at_least_zero("TODO: the value to start from."))
def $name(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    weight: float = 1.0,
    from_logits: bool = False,
) -> Tensor:
    """TODO: one line that says what it is.

        loss = weight H(q, p)

    TODO: what the formula does, and its limits.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        weight: TODO, at least 0 and finite.
        from_logits: Whether `y_pred` holds logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `weight` is negative or not finite, shapes do not fit, `y_true`
            holds ids out of range or rows that are no distributions (inside compiled
            code: NaN for that example), or `y_pred` holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.$name([1], [[0.25, 0.75]], weight=2.0)
        >>> round(float(loss[0]), 4)
        0.5754

    Reference:
        TODO et al., "TODO", TODO.
    """

    def formula(q, p):
        return weight * p.cross_entropy(q)

    return _formula.per_example(
        "$name", y_true, y_pred, from_logits, formula
    )


@keras.saving.register_keras_serializable(package="keras_noisy")
class $cls(_loss.NoisyLabelLoss):
    """TODO: the line of the function.

    See `keras_noisy.losses.$name` for the formula and the label forms.
    """

    function = staticmethod($name)
    weight: float = 1.0
'''

TESTS = '''"""$title: `weight H(q, p)`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def oracle(weight):
    return lambda q, z: weight * ref.cross_entropy(q, z)


def test_values_by_hand():
    # -2 log .75
    loss = losses.$name([1], [[0.25, 0.75]], weight=2.0)
    np.testing.assert_allclose(loss, [0.5753641], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("weight", [0.5, 3.0])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, weight, dtype):
    ref.check(
        lambda y, z: losses.$name(
            y, z, weight=weight, from_logits=True
        ),
        oracle(weight),
        labels,
        dtype,
    )
'''

CARD = """# $title

TODO: the problem that the method solves, and how.

```math
L = w H(q, p)
```

## Use

```python
import keras
import numpy as np

from keras_noisy import losses

x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
noisy_labels = np.arange(64) % 4  # Class ids or one-hot rows.

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
model.compile("adam", loss=losses.$cls(weight=2.0, from_logits=True))
model.fit(x, noisy_labels, verbose=0)
```

## Hyperparameters

TODO: a table of the paper's values.

## Evidence

TODO: from `benchmarks/results/`, after `python -m benchmarks.run digits/losses`.

## When it fails

TODO

## Differences from the paper and from published code

TODO

## References

* TODO
"""

CASE = """    "$cls": Case(
        "$name", {"weight": 2.5}, {"weight": FACTORS}
    ),
"""
IMPORT = "from keras_noisy.losses.$name import $cls, $name\n"
EXPORTS = '    "$cls",\n    "$name",\n'
TRUST = (
    "| [`$cls`](cards/$name.md) | `losses/test_$name.py` | by hand, oracle "
    "| none besides the contract's |\n"
)
METHODS = "| [`$cls`](cards/$name.md) | TODO |\n"
CHANGE = "- `losses.$cls` and `$name`: TODO.\n"
RECIPE = '\n[methods.$cls]\nloss = "$cls"\n'


def main():
    """Write the files, and print what is left to do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="in snake case, without the suffix loss")
    parser.add_argument("--cls", help="name of the class; by default CamelCase")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT)
    arguments = parser.parse_args()
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", arguments.name):
        parser.error(f"name must be snake case. Received: {arguments.name!r}.")
    start(arguments.root, arguments.name, arguments.cls or camel(arguments.name))
    print("Put the formula into its place, and replace every TODO:")
    print("    git diff; git grep -n TODO")


def camel(name):
    """Return a snake case name in CamelCase."""
    return "".join(word.capitalize() for word in name.split("_"))


def start(root, name, cls):
    """Write the files of a loss, and its name where losses are listed."""
    title = name.replace("_", " ").capitalize()

    def fill(template):
        return string.Template(template).substitute(name=name, cls=cls, title=title)

    source, tests = f"keras_noisy/losses/{name}.py", f"tests/losses/test_{name}.py"
    card = f"docs/cards/{name}.md"
    for path, template in ((source, SOURCE), (tests, TESTS), (card, CARD)):
        if (root / path).exists():
            raise SystemExit(f"{path} is there already.")
        (root / path).write_text(fill(template), encoding="utf-8")
    exports, contract = "keras_noisy/losses/__init__.py", "tests/test_contract.py"
    for anchor, line in (("^(?=from )", IMPORT), (r"^__all__ = \[\n", EXPORTS)):
        insert(root / exports, anchor, fill(line))
    insert_sorted(root / contract, r'^    "([A-Z]\w+)": \w', fill(CASE))
    insert_sorted(root / "docs/trust.md", r"^\| \[`(\w+)`.*`losses/", fill(TRUST))
    insert(root / "docs/methods.md", r"^\| losses \|.*\n.*\n", fill(METHODS))
    changelog, added = root / "CHANGELOG.md", "### Added\n\n"
    if f"## Unreleased\n\n{added}" not in changelog.read_text(encoding="utf-8"):
        # After a release the section is empty.
        insert(changelog, r"^## Unreleased\n\n", f"{added}\n")
    insert(changelog, rf"^## Unreleased\n\n{added}", fill(CHANGE))
    with (root / "benchmarks/recipes/digits/losses.toml").open("a") as recipe:
        recipe.write(fill(RECIPE))
    ruff = [sys.executable, "-m", "ruff"]
    files = [source, tests, exports, contract]
    # It also sorts the names in `__init__`.
    subprocess.run([*ruff, "check", "--fix", "-q", *files], cwd=root, check=True)
    subprocess.run([*ruff, "format", "-q", *files], cwd=root, check=True)


def insert(path, anchor, line):
    """Put a line after the first match of a pattern."""
    text = path.read_text(encoding="utf-8")
    place = re.search(anchor, text, re.MULTILINE).end()
    path.write_text(text[:place] + line + text[place:], encoding="utf-8")


def insert_sorted(path, entry, line):
    """Put a line before the first entry with a greater name, else before the last.

    The name is the group of the pattern.
    """
    found = list(re.finditer(entry, path.read_text(encoding="utf-8"), re.MULTILINE))
    own = re.match(entry, line)[1].lower()
    later = next((match for match in found if match[1].lower() > own), found[-1])
    insert(path, f"(?={re.escape(later[0])})", line)


if __name__ == "__main__":
    main()
