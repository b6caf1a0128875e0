"""The runner on a tiny recipe: what it writes, resuming, several devices, bad input."""

import json
import os
import signal
import subprocess
import sys

import filelock
import keras
import numpy as np
import pytest

from benchmarks import _records, _training, recipes, run
from keras_noisy import noise
from tests.benchmarks.conftest import RECIPE, ROOT, stable, write_recipe

# A network of two epochs knows little, and the estimate of a matrix says so.
pytestmark = pytest.mark.filterwarnings("ignore:estimate_from_:UserWarning")

SYMMETRIC = ["--noise", "symmetric", "--rate", "0.4", "--seeds", "1"]


def start(tiny, out, *arguments):
    recipe, data = tiny
    run.main([recipe, "--source", data, "--out", str(out), *arguments])
    return _records.read(out / run.RUNS)


def in_subprocess(code, *arguments):
    """Start `code` with these arguments, from the root of the repository."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(process, *, seconds=400):
    """Return what a process has printed, and leave none behind that hangs."""
    with process:
        try:
            return process.communicate(timeout=seconds)[0]
        finally:
            process.kill()


# One of each kind; the recipe's other method differs from them by its loss alone.
METHODS = ["CE", "ProSelfLC", "Forward", "DMI", "ELR", "DAC", "Joint", "Co-teaching"]
METHODS += ["M-DYR-H", "S-adaptation", "Masking", "SEAL", "SEAL (DMI)"]


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """Return the folder of a run of every kind of method."""
    path = tmp_path_factory.mktemp("all")
    start(tiny, path, *SYMMETRIC, "--method", *METHODS)
    return path


@pytest.fixture(scope="module")
def records(folder):
    """Return what that run wrote."""
    return _records.read(folder / run.RUNS)


def test_there_is_a_line_for_every_run(records):
    assert [record["method"] for record in records] == METHODS
    for record in records:
        accuracies = record["curve"]["test_accuracy"]
        assert len(accuracies) == record["epochs"] == 4
        assert record["last"] == accuracies[-1]
        assert record["best"] == accuracies[record["best_epoch"] - 1] == max(accuracies)
        assert record["noise"]["realised_rate"] == pytest.approx(0.4, abs=0.02)
        assert record["seconds"] > 0
        assert record["peak_memory_mb"] > 50
        versions = record["settings"]["versions"]
        assert versions["keras"] == keras.__version__
        assert keras.backend.backend() in versions
    assert len({record["noise"]["digest"] for record in records}) == 1
    assert len({record["settings_digest"] for record in records}) == len(records)


def test_methods_are_trained_as_the_recipe_says(records):
    by_name = {record["method"]: record for record in records}
    lengths = {
        name: [len(stage["loss"]) for stage in record["stages"]]
        for name, record in by_name.items()
        if record["stages"]
    }
    # Rounds of SEAL are stages, the last one aside.
    expected = {
        "Forward": [2],
        "DMI": [2],
        "Joint": [3],
        "S-adaptation": [2],
        "Masking": [2],
        "SEAL": [4],
        "SEAL (DMI)": [2, 4],
    }
    assert lengths == expected
    assert "global_trust" in by_name["ProSelfLC"]["curve"]
    prices = by_name["DAC"]["curve"]["abstention_alpha"]
    assert prices[:2] == [None, None] and prices[3] > prices[2]
    (first,) = by_name["Joint"]["stages"]
    assert all(0 <= share <= 1 for share in first["label_accuracy"])
    assert first["changed_labels"][:2] == [None, None]
    assert 0 <= first["changed_labels"][2] <= 1
    rates = by_name["Co-teaching"]["curve"]["keep_rate"]
    assert rates == pytest.approx([1.0, 0.8, 0.6, 0.6])
    # SEAL's first round and plain cross-entropy are the same training.
    first = by_name["SEAL"]["stages"][0]["test_accuracy"]
    assert first == pytest.approx(by_name["CE"]["curve"]["test_accuracy"], abs=0.05)
    assert len(by_name["SEAL"]["reports"]) == 2
    given = by_name["ProSelfLC"]["settings"]["method"]
    assert given["by_noise"] == {"symmetric 0.4": {"exp_base": 16.0}}


SMOOTHED = (
    RECIPE.split("[methods.CE]")[0]
    + """
[methods.LSR]
loss = "LabelSmoothing"
arguments = { epsilon = 0.3 }

[methods."LSR+EL"]
loss = "EqualLoss"
arguments = { epsilon = 0.0 }
smoothing = 0.3
"""
)


def test_equal_loss_at_zero_on_smoothed_labels_is_label_smoothing(tmp_path):
    size = {"counts": (96, 48), "shape": (6, 6, 1), "classes": 4}
    first, second = start(
        write_recipe(tmp_path, SMOOTHED, **size), tmp_path, *SYMMETRIC
    )
    assert first["curve"]["loss"] == pytest.approx(second["curve"]["loss"], rel=1e-4)


ITERATIONS = (
    RECIPE.split("[methods.CE]")[0].replace("epochs = 4", "iterations = 10")
    + """
[methods.ProSelfLC]
loss = "ProSelfLC"
callback = { name = "GlobalTrust", total_iterations = "iterations" }
arguments = { exp_base = 8.0 }
"""
)


def test_a_recipe_in_iterations_ends_with_the_last_of_them(tmp_path):
    size = {"counts": (96, 48), "shape": (6, 6, 1), "classes": 4}
    custom = write_recipe(tmp_path, ITERATIONS, **size)
    whole, half = [
        start(custom, tmp_path, *SYMMETRIC, "--budget", budget)[-1]
        for budget in ("1", "0.5")
    ]
    assert (whole["epochs"], whole["iterations"]) == (2, 10)
    assert (half["epochs"], half["iterations"]) == (1, 5)
    # Trust after 6 and 10 of 10 steps, and after 5 of 5.
    trusts = [1 / (1 + np.exp(-8 * (share - 0.5))) for share in (0.6, 1.0)]
    assert whole["curve"]["global_trust"] == pytest.approx(trusts, rel=1e-5)
    assert half["curve"]["global_trust"] == pytest.approx(trusts[1:], rel=1e-5)


D2L = (
    # The search begins after a warm-up and a window of five epochs.
    RECIPE.split("[methods.CE]")[0].replace("epochs = 4", "epochs = 7")
    + """
[methods.D2L]
loss = "DimensionalityDriven"
callback = { x = "inputs", warmup_epochs = 1 }
"""
)


def test_d2l_looks_at_the_training_set(tmp_path):
    size = {"counts": (160, 48), "shape": (6, 6, 1), "classes": 4}
    custom = write_recipe(tmp_path, D2L, **size)
    (record,) = start(custom, tmp_path, *SYMMETRIC)
    assert all(dimension > 0 for dimension in record["curve"]["dimensionality"])
    assert record["curve"]["dimensionality_alpha"][:6] == [1.0] * 6


def test_finished_runs_are_kept_and_others_are_others(tiny, tmp_path, folder, capsys):
    assert not list((folder / "state").rglob("*.npz"))
    path = tmp_path / run.RUNS
    lines = (folder / run.RUNS).read_text()
    # A kill in the middle of a write leaves part of a line.
    path.write_text(lines + lines[:80])
    ce = [*SYMMETRIC, "--method", "CE"]
    again = start(tiny, tmp_path, *ce)
    out = capsys.readouterr().out
    assert "CE, symmetric 40%, seed 0: done before" in out
    assert f"left out line {len(METHODS) + 1}" in out
    short = start(tiny, tmp_path, *ce, "--budget", "0.5")
    assert short[:-1] == again
    assert short[-1]["epochs"] == 2
    other = start(tiny, tmp_path, *ce, "--budget", "0.25", "--first-seed", "7")
    assert other[-1]["noise"]["digest"] != other[0]["noise"]["digest"]
    assert len({record["settings_digest"] for record in other}) == len(METHODS) + 2


def test_precision_is_that_of_every_run(tiny, tmp_path):
    some = [*SYMMETRIC, "--method", "CE", "--budget", "0.5"]
    half = [*some, "--precision", "mixed_bfloat16"]
    both = start(tiny, tmp_path / "both", *half, "--seeds", "2")
    alone = start(tiny, tmp_path / "alone", *half, "--first-seed", "1")
    other = start(tiny, tmp_path / "other", *some)
    assert stable(both[1]) == stable(alone[0])
    assert both[0]["curve"]["loss"] != other[0]["curve"]["loss"]


KILL = """
import os, signal, sys
from benchmarks import run
from keras_noisy._data import files as _files

write, count = _files.write_json, 0

def write_or_die(path, content):
    global count
    count += path.endswith("state.json") or path.endswith("run.json")
    if count == int(sys.argv[1]):
        # After the checkpoint and before the state that names it.
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)

_files.write_json = write_or_die
run.main(sys.argv[2:])
"""


# The writes of DMI and Masking: two epochs of the start, its end, then epochs; of joint
# optimisation: three, the end, then epochs; those of ELR, DAC and co-teaching: epochs;
# those of SEAL: its own and the rounds'.
KILLED = [("DMI", 5), ("ELR", 3), ("DAC", 4), ("Co-teaching", 3), ("SEAL", 13)]
KILLED += [("Joint", 3), ("Joint", 6), ("Masking", 5), ("M-DYR-H", 3)]


@pytest.mark.parametrize(("method", "when"), KILLED)
def test_a_killed_run_ends_with_the_same_line(
    tiny, tmp_path, records, die_at, method, when
):
    some = [*SYMMETRIC, "--method", method]
    with die_at(when):
        start(tiny, tmp_path, *some)
    check_continued(tiny, tmp_path, records, method)


def test_a_process_that_is_killed_leaves_as_much(tiny, tmp_path, records):
    arguments = [tiny[0], "--source", tiny[1], "--out", tmp_path]
    process = in_subprocess(KILL, 5, *arguments, *SYMMETRIC, "--method", "DMI")
    output = output_of(process)
    assert process.returncode == -signal.SIGKILL, output
    check_continued(tiny, tmp_path, records, "DMI")


def check_continued(tiny, out, records, method):
    """Compare what becomes of a run that was killed with the whole run."""
    assert not (out / run.RUNS).exists()
    folder = next((out / "state").rglob(f"{method}-*-0-*[!k]"))
    state = json.loads((folder / "state.json").read_text())
    assert state["curves"] or (folder / "rounds" / "run.json").exists()
    (record,) = start(tiny, out, *SYMMETRIC, "--method", method)
    (whole,) = (r for r in records if r["method"] == method)
    assert stable(record) == stable(whole)


TWO_DEVICES = "import sys; from benchmarks import run; run.main(sys.argv[1:])"


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="the runner has one device on torch"
)
def test_two_devices_give_the_curve_of_one(tiny, tmp_path, records):
    methods = ["CE", "Co-teaching", "SEAL"]
    arguments = [tiny[0], "--source", tiny[1], "--out", tmp_path, *SYMMETRIC]
    arguments += ["--devices", "2", "--method", *methods]
    process = in_subprocess(TWO_DEVICES, *arguments)
    output = output_of(process)
    assert process.returncode == 0, output
    found = {record["method"]: record for record in _records.read(tmp_path / run.RUNS)}
    assert list(found) == methods
    for method in methods:
        (one,) = (r for r in records if r["method"] == method)
        two = found[method]
        assert two["settings"]["devices"] == 2
        assert two["curve"]["loss"] == pytest.approx(one["curve"]["loss"], rel=1e-4)
        # One of 48 test images may be on the edge.
        for name in ("test_accuracy", "accuracy"):
            assert two["curve"][name] == pytest.approx(one["curve"][name], abs=0.022)


def test_published_labels_are_matched_with_the_rate_that_they_have(tiny, tmp_path):
    with np.load(tiny[1]) as data:
        clean = data["y_train"]
    for share in (0.25, 0.5):
        noisy = np.where(np.arange(96) < 96 * share, (clean + 1) % 4, clean)
        noise.NoisyLabels(noisy, clean, 4).save(tmp_path / f"{share}.npz")
    files = [str(tmp_path / "0.25.npz"), str(tmp_path / "0.5.npz")]
    some = ["--noise", "instance_dependent", "--seeds", "1", "--method", "CE"]
    some += ["--budget", "0.25"]
    (record,) = start(tiny, tmp_path, *some, "--labels", *files)
    assert record["noise"]["source"] == "0.25.npz"
    assert record["noise"]["realised_rate"] == 0.25
    with pytest.raises(SystemExit, match=r"rate of 0\.25\. Received: 0\.500 \(0\.5"):
        start(tiny, tmp_path, *some, "--labels", files[1])
    # Without a file, Algorithm 1 makes other labels of the same rate.
    made = start(tiny, tmp_path, *some, "--seeds", "2")[1:]
    assert [record["noise"]["realised_rate"] for record in made] == [0.25, 0.25]
    assert made[0]["noise"]["digest"] == made[1]["noise"]["digest"]
    assert made[0]["noise"]["digest"] != record["noise"]["digest"]


def test_a_run_that_another_process_has_is_left_to_it(tiny, tmp_path, capsys):
    some = [*SYMMETRIC, "--method", "CE", "--budget", "0.25"]
    args = run.parse_arguments(
        [tiny[0], "--source", tiny[1], "--out", str(tmp_path), *some]
    )
    recipe = recipes.load(tiny[0])
    session = run.Session(recipe, args, "")
    (cell,) = run.select(recipe, args)
    _, labels = session.find_labels(cell)
    digest = _records.digest(session.settings_of(cell, labels))
    folder = session._folder(cell, digest)
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".lock"):
        assert start(tiny, tmp_path, *some) == []
    assert "another process trains it" in capsys.readouterr().out
    assert len(start(tiny, tmp_path, *some)) == 1


def test_list_and_dry_run_train_nothing(tiny, tmp_path, capsys):
    run.main(["--list"])
    assert "digits/losses" in capsys.readouterr().out
    run.main(["seal/table2", "--list"])
    out = capsys.readouterr().out
    assert "methods: CE, Forward, Co-teaching, GCE, DAC, DMI, SEAL" in out
    assert "Algorithm 1" in out
    run.main(["seal/table2", "--dry-run", "--rate", "0.4", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "seal/table2: SEAL, instance_dependent 40%, seed 2" in out
    assert "21 runs of 150 epochs, budget 1" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["seal/table8"], "Unknown recipe 'seal/table8'. Known: digits/joint_opt"),
        (["--method", "CCE"], "Unknown method 'CCE'. Known: CE, ProSelfLC, Forward"),
        (["--rate", "0.3"], r"Unknown rate '0\.3'\. Known: 0\.2, 0\.25, 0\.4"),
        (["--noise", "pairs"], "Unknown noise 'pairs'. Known: symmetric"),
        (["--source", "none.npz"], "none.npz"),
        (["--labels", "none.csv"], "none.csv"),
        (
            ["--noise", "instance_dependent", "--method", "Forward(true)"],
            "No method of the recipe is defined under this noise",
        ),
    ],
)
def test_errors(tiny, tmp_path, arguments, text):
    recipe = [] if arguments[0].startswith("seal") else [tiny[0], "--source", tiny[1]]
    with pytest.raises(SystemExit, match=text):
        run.main([*recipe, *arguments, "--out", str(tmp_path)])


@pytest.mark.parametrize(
    "arguments",
    [[], ["x", "--budget", "0"], ["x", "--budget", "2"], ["x", "--seeds", "0"]],
)
def test_arguments_out_of_range(arguments, capsys):
    with pytest.raises(SystemExit):
        run.main(arguments)
    assert "error" in capsys.readouterr().err


def test_devices_that_do_not_divide_a_batch():
    class Data:
        y_train, y_test = np.zeros(96), np.zeros(50)

    run.check_batches(Data, 16, 1)
    run.check_batches(Data, 16, 2)
    with pytest.raises(ValueError, match=r"Received: --devices 4.* a batch of 50\."):
        run.check_batches(Data, 16, 4)


def test_epochs_of_a_recipe():
    training = recipes.load("proselflc/table4").training
    # 30,000 iterations are 153 epochs of 196, and twelve more.
    assert _training.epochs_of(training, 50_000, 1.0) == 154
    assert _training.epochs_of(training, 50_000, 0.1) == 16
    assert _training.epochs_of(training, 50_000, 1e-6) == 1


def test_a_finished_run_takes_no_file_of_the_user_along(tmp_path):
    own = ["state.json", "state-3.npz", "checkpoint-0-2.npz", "soft_labels.npy"]
    own += [f"state.json.{'0a' * 16}.tmp", "rounds/checkpoint-1-2.npz"]
    own += ["rounds/soft_labels-0.npy", "rounds/round-1/state.json"]
    others = ["notes.tmp", "checkpoint-best.npz", "rounds/notes.txt", "old/state.json"]
    for name in [*own, *others]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for name, form in (
        ("state.json", "benchmarks"),
        ("rounds/run.json", "self_evolution"),
        ("rounds/round-1/state.json", "mean_predictions"),
    ):
        identity = {"format": f"keras_noisy.{form}/1"}
        text = json.dumps({"identity": identity, "round": 1})
        (tmp_path / name).write_text(text)
    _training.remove(tmp_path)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(found) == sorted(tmp_path / name for name in others)
    _training.remove(tmp_path / "missing")
