"""Break the package on purpose, one thing at a time, and see that the tests notice.

    python .ci/breaks.py --python tensorflow=python jax=PYTHON_OF_JAX

Each break is made in a copy of the last commit. The tests of the part that it is in run
on one backend after the other, in their short form, as CI runs them, until one fails.
"""

import argparse
import os
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "keras_noisy/"

# What is broken, in which file, how, and the tests of that part.
BREAKS = (
    (
        "the clock counts every step twice",
        "_step/clock.py",
        ("self.iterations.assign_add(1)", "self.iterations.assign_add(2)"),
        "tests/callbacks/test_global_trust.py",
    ),
    (
        "ids out of range name the first example",
        "_step/rows.py",
        ("ops.where(is_valid, ids, self.num_examples)", "ops.where(is_valid, ids, 0)"),
        "tests/callbacks",
    ),
    (
        "an example that stands twice in a batch moves twice as far",
        "_step/rows.py",
        (
            "change / ops.sum(is_same, axis=1, keepdims=True)",
            "change + 0 * ops.sum(is_same, axis=1, keepdims=True)",
        ),
        "tests/callbacks",
    ),
    (
        "the average forgets how often an example was seen",
        "_data/mean_predictions.py",
        ("* before[:, None] + new", "* np.minimum(before, 1)[:, None] + new"),
        "tests/_data tests/callbacks/test_seal.py",
    ),
    (
        "a run folder of other data is accepted",
        "_data/run_folder.py",
        (
            "        if found != expected:\n            mend",
            "        if False:\n            mend",
        ),
        "tests/_data tests/training tests/callbacks",
    ),
    (
        "a damaged state is accepted",
        "_data/run_folder.py",
        ("not in (None, _digest_of_state(state))", "in ()"),
        "tests/_data tests/training",
    ),
    (
        "symmetric noise that draws the original class is too strong",
        "noise/transition_matrices.py",
        (
            "matrix, 1.0 - rate + rate / num_classes)",
            "matrix, 1.0 - rate)",
        ),
        "tests/noise",
    ),
    (
        "an example votes for its own label",
        "analysis/_exact_neighbors.py",
        (
            "ops.where(is_own, -np.inf, closeness)",
            "ops.where(is_own, closeness, closeness)",
        ),
        "tests/analysis",
    ),
    (
        "labels are replaced an epoch too late",
        "callbacks/joint_optimization_labels.py",
        ("labels.num_epochs() >= self", "labels.num_epochs() > self"),
        "tests/callbacks",
    ),
    (
        "the logits of a softmax are lost",
        "_keras.py",
        ('LOGITS = "_keras_logits"', 'LOGITS = "_keras_logit"'),
        "tests/losses tests/test_contract.py",
    ),
    (
        "masks of layers are lost",
        "_keras.py",
        ("    return get_keras_mask(x)", "    return None"),
        "tests/losses tests/test_contract.py",
    ),
    (
        "evaluation is taken for training",
        "_step/seam.py",
        ('name == "train_step")', 'name != "predict_step")'),
        "tests/callbacks",
    ),
)


def main():
    """Break one thing after the other, and print which tests fail."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", required=True, metavar="BACKEND=PYTHON")
    parser.add_argument("--only", nargs="+", type=int, help="numbers of breaks")
    args = parser.parse_args()
    pythons = [each.partition("=")[::2] for each in args.python]
    unseen = 0
    for number, (what, file, change, tests) in enumerate(BREAKS):
        if args.only and number not in args.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder, "checkout")
            root.mkdir()
            check_out(root)
            replace(root / PACKAGE / file, *change)
            seen = failing(root, tests.split(), pythons)
        unseen += seen is None
        print(f"{number}. {what}: {seen or 'NOT SEEN'}", flush=True)
    return unseen


def check_out(root):
    """Write the last commit into a folder, with the data that some tests read."""
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(root)], input=archive.stdout, check=True)
    if (ROOT.parent / "shared").exists():
        (root.parent / "shared").symlink_to(ROOT.parent / "shared")


def replace(path, old, new):
    """Replace the one place in a file that is to be broken."""
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise SystemExit(f"{path} has {text.count(old)} times: {old}")
    path.write_text(text.replace(old, new), encoding="utf-8")


def failing(root, tests, pythons):
    """Return the first test that fails and its backend, or None."""
    for backend, python in pythons:
        command = [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(root)}
        result = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True
        )
        found = re.search(r"^(?:FAILED|ERROR) (\S+)", result.stdout, re.MULTILINE)
        if found:
            return f"{found[1]} on {backend}"
    return None


if __name__ == "__main__":
    raise SystemExit(main())
