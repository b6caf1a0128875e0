"""Tables of fixed lines."""

import copy
import json

import pytest

from benchmarks import _records, tables
from tests.benchmarks.conftest import ROOT

RECORD = {
    "recipe": "seal/table1",
    "method": "CE",
    "noise": {
        "name": "instance_dependent",
        "kind": "instance_dependent",
        "rate": 0.4,
        "realised_rate": 0.4,
        "digest": "0123456789abcdef",
        "source": "labels.npz:mnist_idn_40",
    },
    "seed": 0,
    "budget": 0.2,
    "epochs": 10,
    "data_source": "mnist.npz",
    "last": 0.70,
    "best": 0.88,
    "best_epoch": 2,
    "selected": None,
    "seconds": 90.0,
    "settings_digest": "a",
    "settings": {
        "data": {"name": "mnist"},
        "network": {"name": "mnist_cnn", "normalize": "scale"},
        "training": {
            "batch_size": 64,
            "optimizer": {"name": "SGD", "learning_rate": 0.01},
            "epochs": 50,
            "iterations": None,
            "schedule": None,
            "augmentation": None,
        },
        "method": {"name": "CE", "loss": "SparseCategoricalCrossentropy"},
        "noise": {},
        "seed": 0,
        "precision": "float32",
        "devices": 1,
        "versions": {"keras": "3.15.1"},
    },
    "python": "3.12.1",
    "machine": "2-core CPU",
    "peak_memory_mb": 900,
    "command": "python -m benchmarks.run seal/table1",
}


def record(digest, **changes):
    made = copy.deepcopy(RECORD)
    made.update(settings_digest=digest, **changes)
    return made


def row(text, name):
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_seal_is_counted_in_both_ways(monkeypatch):
    recipe = tables.recipes.load("seal/table1")
    recipe.expected[0]["iterations"]["SEAL"] = 1
    monkeypatch.setattr(tables.recipes, "load", lambda name: recipe)
    curves = [{"test_accuracy": values} for values in ([0.8, 0.7], [0.9, 0.85])]
    report = {"label_accuracy": 0.9, "label_distance": 0.5}
    seal = {"method": "SEAL", "last": 0.85, "best": 0.9, "curve": curves[1]}
    text = tables.render(
        [record("a", **seal, stages=curves[:1], reports=[report, report])]
    )
    assert row(text, "SEAL, 1 trainings") == ["70.0 (80.0)", "80.7 ± 0.4", "-10.7"]
    assert row(text, "SEAL, 2 trainings") == ["85.0 (90.0)", "80.7 ± 0.4", "+4.3"]


def test_mean_spread_paper_and_difference():
    text = tables.render([record("a", last=0.70), record("b", last=0.74, seed=1)])
    assert row(text, "method") == ["40%", "paper", "difference"]
    assert row(text, "CE") == ["72.0 ± 2.8 (88.0)", "65.8 ± 0.6", "+6.2"]
    assert "# SEAL, Table 1: MNIST: instance dependent" in text
    assert "The paper's figures: Table 1, last epoch." in text
    assert "* Seeds: 0, 1." in text
    assert "**10 epochs, shortened to 20% of the recipe's 50 epochs**" in text
    assert "SGD (learning_rate 0.01), batch 64" in text
    assert "labels.npz:mnist_idn_40 (40%, 40.00% wrong, SHA-256 0123456789ab)" in text
    assert "2 runs, 3.0 minutes of training" in text
    assert "keras 3.15.1, Python 3.12.1" in text
    assert text.count("\n```bash\npython -m benchmarks.run seal/table1\n```\n") == 1


def test_one_seed_has_no_spread_and_a_missing_one_is_told():
    others = [record("b", seed=1), record("c", method="GCE", last=0.75)]
    text = tables.render([record("a"), *others])
    assert row(text, "GCE") == ["75.0 (88.0)", "69.8 ± 0.6", "+5.2"]
    assert "* Seeds: 0, 1; fewer for GCE 40% (1)." in text
    # In the recipe's order.
    assert text.index("| CE |") < text.index("| GCE |")


def test_mean_over_noises_and_rates():
    """Equal Loss has seven cells; a mean over fewer would be another one."""
    noises = [("symmetric", r) for r in (0.2, 0.4, 0.6, 0.8)]
    noises += [("asymmetric", r) for r in (0.2, 0.3, 0.4)]
    records = [
        record(
            f"{method} {index}",
            recipe="equal_loss/table1_cifar10",
            method=method,
            noise={**RECORD["noise"], "name": name, "rate": rate},
            last=0.5 + 0.01 * index,
        )
        for method, cells in (("CE", noises), ("EL", noises[:3]))
        for index, (name, rate) in enumerate(cells)
    ]
    text = tables.render(records)
    assert text.count("mean over noises and rates") == 1
    assert "| CE | 53.00 | 73.01 | -20.01 |" in text
    assert "| EL | (3 of 7 cells) | 80.86 |  |" in text
    # Nobody has all: no table.
    assert "mean over" not in tables.render(records[7:])


def test_the_same_run_counts_once():
    text = tables.render([record("a", last=0.70), record("a", last=0.70)])
    assert row(text, "CE")[0] == "70.0 (88.0)"


def test_other_settings_are_another_table():
    other = record("b")
    other["settings"]["devices"] = 2
    text = tables.render([record("a"), other])
    assert text.count("# SEAL, Table 1") == 2
    assert "Devices: 1." in text and "Devices: 2." in text


def test_changed_arguments_are_another_row():
    other = record("b", last=0.5)
    other["settings"]["method"]["arguments"] = {"epsilon": 0.3}
    text = tables.render([record("a"), other])
    assert row(text, "CE `{}`")[0] == "70.0 (88.0)"
    assert row(text, "CE `{'epsilon': 0.3}`")[0] == "50.0 (88.0)"


def test_without_a_rate_the_selected_epoch_is_compared():
    noise = {"name": "as_given", "kind": "as_given", "rate": None, "realised_rate": 0.0}
    noise.update(digest="0" * 64, source="drawn with the run's seed")
    text = tables.render([record("a", recipe="seal/table3", noise=noise, selected=0.7)])
    assert row(text, "method") == ["ours", "paper", "difference"]
    assert row(text, "CE") == ["70.0 (88.0)", "69.1", "+0.9"]


def test_recipes_of_ones_own_have_no_paper():
    text = tables.render([record("a", recipe="own")])
    assert row(text, "CE") == ["70.0 (88.0)"]


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        ({"kind": "cosine"}, "learning rate along a cosine"),
        ({"kind": "polynomial", "power": 2}, "a polynomial of power 2"),
        (
            {"kind": "steps", "at": [60, 120], "factor": 0.2},
            "learning rate times 0.2 at 60, 120",
        ),
    ],
)
def test_schedules_in_words(schedule, text):
    scheduled = record("a", budget=0.005)
    scheduled["settings"]["training"]["schedule"] = schedule
    result = tables.render([scheduled])
    assert text in result
    assert "shortened to 0.5% of the recipe's 50 epochs" in result


def test_command_line(tmp_path, capsys):
    _records.append(tmp_path / "runs.jsonl", record("a"))
    _records.append(tmp_path / "runs.jsonl", record("b", seed=1, recipe="own"))
    tables.main([str(tmp_path), "--recipe", "seal/table1"])
    out = capsys.readouterr().out
    assert "own" not in out
    tables.main([str(tmp_path / "runs.jsonl"), "--out", str(tmp_path / "x" / "t.md")])
    assert "| CE |" in (tmp_path / "x" / "t.md").read_text()
    with pytest.raises(SystemExit, match="there is no file"):
        tables.main([str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="no finished runs"):
        tables.main([str(tmp_path), "--recipe", "mnist/idn"])


def test_a_line_after_one_that_was_cut_off_is_on_its_own(tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(RECORD)[:50])
    _records.append(path, record("a"))
    _records.append(path, record("b"))
    assert [r["settings_digest"] for r in _records.read(path)] == ["a", "b"]
    assert "left out line 1" in capsys.readouterr().out


LINES = sorted((ROOT / "benchmarks" / "results").glob("*/runs.jsonl"))
# Those that no recipe has made.
OTHERS = ("suspects", "coming_from_cleanlab", "choice")
LINES = [path for path in LINES if path.parent.name not in OTHERS]


@pytest.mark.parametrize("path", LINES, ids=lambda path: path.parent.name)
def test_pages_hold_the_tables_of_their_lines(path):
    page = path.parent.with_suffix(".md").read_text(encoding="utf-8")
    # A page may have a title of its own.
    parts = tables.render(_records.read(path)).rstrip("\n").split("\n\n")
    parts = [part for part in parts if not part.startswith("# ")]
    assert len(parts) >= 4
    assert [part for part in parts if part not in page] == []
