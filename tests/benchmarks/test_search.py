"""The hyperparameter protocol, on a recipe that trains in a moment."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from benchmarks import recipes, run, search
from tests.benchmarks.conftest import RECIPE, write_recipe

SEARCH = """
[search]
validation = 0.25
shared = { method = "CE", learning_rate = [0.1, 0.02], epochs = [2] }
methods.ProSelfLC = { exp_base = [8.0], trust = ["both", "local"] }
"""


@pytest.fixture(scope="module")
def searchable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    recipe = RECIPE.replace("\n[data]", f"{SEARCH}\n[data]", 1)
    return write_recipe(folder, recipe, counts=(96, 48), shape=(6, 6, 1), classes=4)


def command(searchable, out, *more):
    recipe, data = searchable
    fixed = ["--noise", "symmetric", "--rate", "0.4", "--seeds", "1"]
    fixed += ["--method", "CE", "ProSelfLC"]
    return [recipe, "--source", data, "--out", str(out), *fixed, *more]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_protocol(searchable, tmp_path, capsys):
    search.main(command(searchable, tmp_path))
    printed = capsys.readouterr().out
    tried, final = lines(tmp_path / search.SEARCHES), lines(tmp_path / run.RUNS)
    # Two shared settings and two of ProSelfLC; both methods on all data.
    assert [len(tried), len(final)] == [4, 2]
    assert {r["settings"]["held_out"]["share"] for r in tried} == {0.25}
    assert all("held_out" not in r["settings"] for r in final)
    shared, own = tried[:2], tried[2:]
    best = max(shared, key=lambda r: r["last"])["settings"]["training"]
    assert all(r["settings"]["training"] == best for r in [*own, *final])
    # The schedule keeps its share of the length.
    assert {r["epochs"] for r in tried} == {2}
    assert tried[0]["settings"]["training"]["schedule"]["at"] == [1.0]
    chosen = max(own, key=lambda r: r["last"])["settings"]["method"]["arguments"]
    of_method = [r for r in final if r["method"] == "ProSelfLC"]
    assert len(of_method) == 1
    assert all(r["settings"]["method"]["arguments"] == chosen for r in of_method)
    assert f"exp_base {chosen['exp_base']} trust {chosen['trust']} |" in printed
    # A finished search trains nothing again.
    search.main(command(searchable, tmp_path))
    assert lines(tmp_path / search.SEARCHES) == tried
    assert lines(tmp_path / run.RUNS) == final


def test_labels_are_those_of_the_whole_training(searchable, tmp_path):
    args = run.parse_arguments(command(searchable, tmp_path))
    recipe = recipes.load(args.recipe)
    part = search.Search(recipe, args, "")
    whole = run.Session(recipe, args, "")
    cell = run.select(recipe, args)[0]
    labels, found = whole.plan(cell).labels, part.plan(cell).labels
    assert len(part.rows) == 72 and len(part.data.y_test) == 24
    np.testing.assert_array_equal(found.noisy, labels.noisy[part.rows])
    held_out = np.setdiff1d(np.arange(96), part.rows)
    np.testing.assert_array_equal(part.data.y_test, whole.data.y_train[held_out])
    np.testing.assert_array_equal(part.data.x_test, whole.data.x_train[held_out])


def test_validation_data_of_the_data_set_are_used(searchable, tmp_path, monkeypatch):
    from benchmarks import _data

    load = _data.load

    def with_validation(*args):
        data = load(*args)
        more = {"x_validation": data.x_test[:8], "y_validation": data.y_test[:8]}
        return dataclasses.replace(data, **more)

    monkeypatch.setattr(_data, "load", with_validation)
    args = run.parse_arguments(command(searchable, tmp_path))
    part = search.Search(recipes.load(args.recipe), args, "")
    assert len(part.data.y_train) == 96 and len(part.data.y_test) == 8


def test_a_killed_search_continues(searchable, tmp_path, die_at):
    one = ["--method", "ProSelfLC"]
    search.main(command(searchable, tmp_path / "whole", *one))
    with die_at(5):
        search.main(command(searchable, tmp_path / "killed", *one))
    search.main(command(searchable, tmp_path / "killed", *one))
    for name in (search.SEARCHES, run.RUNS):
        found, expected = (
            [(r["settings_digest"], r["last"]) for r in lines(tmp_path / each / name)]
            for each in ("killed", "whole")
        )
        assert found == expected


def test_without_a_search_it_says_so(tiny, tmp_path):
    with pytest.raises(SystemExit, match="needs a recipe with a table `search`"):
        search.main(command(tiny, tmp_path))


def test_what_it_searches_must_exist(searchable, tmp_path):
    text = (tmp_path / "recipe.toml").write_text
    content = pathlib.Path(searchable[0]).read_text()
    text(content.replace("methods.ProSelfLC = {", "methods.Nobody = {"))
    with pytest.raises(SystemExit, match="Unknown method 'Nobody'"):
        search.main([str(tmp_path / "recipe.toml")])
    text(content.replace("epochs = [2]", "iterations = [2]"))
    with pytest.raises(SystemExit, match="not stated in iterations"):
        search.main([str(tmp_path / "recipe.toml"), *command(searchable, tmp_path)[1:]])
