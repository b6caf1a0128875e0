"""The papers' figures from runs that take a moment."""

import json

import numpy as np
import pytest

from benchmarks import _records, figures, run
from tests.benchmarks.conftest import write_recipe

pytest.importorskip("matplotlib")

RECIPE = """
title = "Tiny"

[data]
name = "custom"

[network]
name = "dense"
units = [16]

[training]
epochs = 3
batch_size = 16
optimizer = { name = "SGD", learning_rate = 0.1 }

[dynamics]
every = 2
num_examples = 64
critical_sample_ratio = { radius = 0.2, num_examples = 16, max_steps = 3 }

[noise.symmetric]
kind = "symmetric"
rates = [0.25, 0.5]

[methods.ProSelfLC]
loss = "ProSelfLC"

[methods."local trust"]
loss = "ProSelfLC"
arguments = { trust = "local" }

[methods.SEAL]
loss = "CategoricalCrossentropy"
self_evolution = { rounds = 2 }
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the arguments of a recipe, some runs of which are finished."""
    folder = tmp_path_factory.mktemp("figures")
    recipe, data = write_recipe(
        folder, RECIPE, counts=(96, 48), shape=(6, 6, 1), classes=4
    )
    arguments = [recipe, "--source", data, "--out", str(folder / "out"), "--seeds", "1"]
    methods = ["--method", "ProSelfLC", "local trust"]
    run.main([*arguments, *methods, "--rate", "0.5"])
    run.main([*arguments, *methods[:2], "--rate", "0.25"])
    return arguments, folder / "out"


def test_the_runner_records_the_dynamics(trained):
    _, out = trained
    first, second, _ = _records.read(out / run.RUNS)
    for record in (first, second):
        curve = record["curve"]
        assert record["settings"]["dynamics"]["every"] == 2
        for name in ("wrong_label_fit", "target_correction", "critical_sample_ratio"):
            # After the first epoch, the third, and the last, which is the same.
            assert [value is None for value in curve[name]] == [False, True, False]
            assert all(0 <= value <= 1 for value in curve[name][::2])
        local = 1 - curve["entropy_corrupted"][2]
        g = curve.get("global_trust", [1.0] * 3)[2]
        assert curve["trust_corrupted"][2] == pytest.approx(g * local, rel=1e-4)
    assert "global_trust" in first["curve"] and "global_trust" not in second["curve"]


@pytest.mark.parametrize(
    ("name", "more", "curves"),
    [
        ("proselflc_2", ["--rate", "0.5"], ["ProSelfLC", "local trust"]),
        ("proselflc_3", ["--rate", "0.5"], ["ProSelfLC", "local trust"]),
        ("proselflc_5", ["--method", "ProSelfLC"], ["50%", "25%"]),
        ("seal_4", ["--method", "ProSelfLC"], ["50%", "25%"]),
    ],
)
def test_figures_of_finished_runs(trained, tmp_path, monkeypatch, name, more, curves):
    arguments, _ = trained
    drawn = {}
    plot = figures.analysis.plot_learning_dynamics

    def keep(histories, **kwargs):
        drawn.update(histories)
        return plot(histories, **kwargs)

    monkeypatch.setattr(figures.analysis, "plot_learning_dynamics", keep)
    picture = tmp_path / "deep" / "picture.png"
    figures.main([name, *arguments, *more, "--picture", str(picture)])
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert list(drawn) == curves
    quantities = figures.OF_RUNS[name]
    assert all(list(curve) == [*quantities] for curve in drawn.values())


def test_curves_are_means_over_seeds():
    runs = [{"a": [0.0, None, 1.0]}, {"a": [1.0, None, 0.0]}]
    np.testing.assert_array_equal(figures._mean(runs, "a"), [0.5, np.nan, 0.5])


def test_without_runs_it_says_so(trained, tmp_path):
    arguments, _ = trained
    with pytest.raises(SystemExit, match="no finished runs"):
        figures.main(["seal_4", *arguments, "--out", str(tmp_path)])


def test_figures_of_seal(trained, tmp_path):
    arguments, out = trained
    more = ["--method", "SEAL", "--rate", "0.5", "--examples", "80"]
    for name in ("seal_3", "seal_5", "seal_6"):
        picture = tmp_path / f"{name}.png"
        figures.main([name, *arguments, *more, "--picture", str(picture)])
        assert picture.stat().st_size > 1000
    # One run for all of them.
    (folder,) = [path for path in (out / "figures").iterdir() if "SEAL" in path.name]
    state = json.loads((folder / "run.json").read_text())
    assert len(state["histories"]) == 2


def test_figure_of_equal_loss(trained, tmp_path):
    arguments, _ = trained
    picture = tmp_path / "picture.png"
    more = ["--rate", "0.5", "--epoch", "2", "--picture", str(picture)]
    figures.main(["equal_loss_1", *arguments, *more])
    assert picture.stat().st_size > 1000
