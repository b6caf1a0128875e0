"""The study of choice: its page, its rules on made runs, and its loop."""

import json
import pathlib

import keras
import numpy as np
import pytest

from benchmarks import _choice_rules as rules

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def regrets():
    """Return the lines of the results."""
    path = RESULTS / "choice" / "regrets.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_page_holds_the_tables_of_its_lines():
    page = (RESULTS / "choice.md").read_text(encoding="utf-8")
    assert [row for row in rules.tables(regrets()) if row.strip() not in page] == []


def test_the_guide_holds_its_table():
    page = (ROOT / "docs" / "guides" / "choose_a_method.md").read_text(encoding="utf-8")
    assert [row for row in rules.advice(regrets()) if row not in page] == []


def one_hot(classes):
    return np.eye(2, dtype="float32")[classes]


@pytest.fixture
def condition(tmp_path):
    """Return a condition of two candidates with three epochs and four test examples."""
    (tmp_path / "predictions").mkdir()
    clean = np.array([0, 0, 1, 1])
    # Classes on the test data in each epoch, and right ones of the held-out labels;
    # averaged weights predict all right.
    tested = {"ELR": [[0, 0, 1, 0]] * 3, "SCE": [[0, 1, 1, 1], [0, 0, 0, 0], [0] * 4]}
    held = {"ELR": [[0, 1]] * 3, "SCE": [[0, 0]] * 3}
    lines = []
    for name in tested:
        right = np.array(tested[name]) == clean
        accuracy = np.mean(np.array(held[name]) == [0, 1], axis=1).tolist()
        stops = {"last": 2, "raw": 0, "smoothed": 2, "averaged": 1, "wave": 1}
        arrays = {
            "0_test": np.stack([one_hot(tested[name][2]), one_hot(clean)]),
            "0_validation": np.stack([one_hot(held[name][2]), one_hot([0, 1])]),
            "noisy": [[0, 1]],
            "clean": clean,
            "noises": ["none 0%"],
        }
        np.savez(rules.path_of(tmp_path, "car", 0, name), **arrays)
        line = {"data": "car", "noise": "none 0%", "seed": 0, "labelled": 20}
        test = [right[:, half::2].mean(axis=1).tolist() for half in (0, 1)]
        validation, test = [accuracy, [1.0] * 3], [test, [[1.0] * 3] * 2]
        line.update(candidate=name, stops=stops, validation=validation, test=test)
        lines.append(line)
    return rules.Condition(lines, {"verdict": "cannot tell"}, tmp_path)


def test_regret_by_hand(condition):
    """Halves are examples 0 and 2, and 1 and 3.

    On the first half both candidates have all right, ELR being the first, which has
    half of the second half. On the second half ELR and SCE's first two epochs have
    half, ELR is the first, and has all of the first half.
    """
    accuracy = condition.accuracy(condition.predictions("SCE"))
    np.testing.assert_allclose(accuracy, [50, 50])
    np.testing.assert_allclose(condition.accuracy_of("SCE"), [50, 50])
    np.testing.assert_allclose(condition.accuracy_of("SCE", "raw"), [100, 50])
    np.testing.assert_allclose(condition.accuracy_of("SCE", "averaged"), [100, 100])
    assert condition.regret(accuracy) == pytest.approx(((50 - 50) + (100 - 50)) / 2)
    assert condition.regret(condition.accuracy_of("ELR")) == pytest.approx(0)
    assert condition.regret(accuracy, is_stopped=True) == pytest.approx(25)
    assert condition.regret(accuracy, is_averaged=True) == pytest.approx(25)
    assert condition.score("ELR") == 1 and condition.score("SCE") == 0.5
    assert condition.score("SCE", "averaged") == 1
    assert condition.ranked(["SCE", "ELR"]) == ["ELR", "SCE"]
    assert condition.best_raw(["SCE", "ELR"]) == "ELR"
    assert condition.kind == "none"


def test_the_rule_is_that_of_the_package(condition):
    """The same candidates, in the same order, and weights that it gives."""
    from keras_noisy.choice import _candidates

    assert tuple(rules.NAMES[each] for each in rules.AUTO) == _candidates.AUTO
    assert rules.budget(2) == ("forward", "ELR")
    tried = condition.tried("SCE", "smoothed")
    assert tried.name == "symmetric_cross_entropy" and tried.score == 0.5
    np.testing.assert_allclose(tried.held, one_hot([0, 0]))
    names = ("SCE", "ELR")
    # Both have half of the weight; of equal probabilities the first class is taken.
    found = rules.robust_classifier(condition, names, weights="smoothed")
    np.testing.assert_allclose(found, [50, 50])
    # All held-out labels are predicted by ELR, and half by SCE: 0.5 +- 0.41.
    condition.verdict = "class-conditional"
    found = rules.robust_classifier(condition, names, weights="smoothed")
    np.testing.assert_allclose(found, condition.accuracy_of("ELR"))
    found = rules.robust_classifier(condition, names)
    np.testing.assert_allclose(found, [100, 100])


def test_stops_by_hand():
    validation = np.array([0.1, 0.9, 0.2, 0.5, 0.6, 0.6, 0.7])
    changes = np.array([np.nan, 0.5, 0.2, 0.1, 0.3, 0.4, 0.5])
    found = rules.stops(validation, validation[::-1], changes)
    # Means of five: 0.46, 0.56, 0.52, and backwards 0.52, 0.56, 0.46; of three changes:
    # 0.27, 0.2, 0.27, 0.4.
    expected = {"last": 6, "raw": 1, "smoothed": 5, "averaged": 5, "wave": 4}
    assert found == expected


ON_JAX = pytest.mark.skipif(keras.backend.backend() != "jax", reason="a JAX program")


@ON_JAX
def test_all_candidates_have_a_loss():
    from benchmarks import _choice

    assert (*_choice.LOSSES, *_choice.ELR) == rules.CANDIDATES


@ON_JAX
@pytest.mark.parametrize("name", ["cross-entropy", "GCE"])
def test_the_loop_is_that_of_keras(name):
    from benchmarks import _choice
    from keras_noisy import losses

    generator = np.random.default_rng(0)
    x = generator.normal(size=(12, 3)).astype("float32")
    noisy = generator.integers(0, 2, (2, 12))
    orders = np.array([generator.permutation(12).reshape(3, 4) for _ in range(2)])
    shift, scale = x.mean(axis=0), x.std(axis=0)
    data = _choice.Data(x, x[:5], orders, np.ones((2, 3), "float32"), shift, scale)
    weights = _choice.initial_weights(3, 2, seed=0)
    matrices = np.tile(np.eye(2, dtype="float32"), (2, 1, 1))
    ones = np.ones((2, 12), "float32")
    logs = _choice.train(name, data, weights, one_hot(noisy), ones, matrices)
    loss = {
        "cross-entropy": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "GCE": losses.GeneralizedCrossEntropy(from_logits=True),
    }[name]
    for run, labels in enumerate(noisy):
        layers = [keras.layers.Dense(_choice.HIDDEN, "relu"), keras.layers.Dense(2)]
        model = keras.Sequential([keras.Input((3,)), *layers])
        model.set_weights([*weights.values()])
        model.compile(keras.optimizers.Adam(_choice.LEARNING_RATE), loss)
        mean, count = model.get_weights(), 0
        for epoch, order in enumerate(orders):
            for rows in order:
                model.train_on_batch((x[rows] - shift) / scale, labels[rows])
                momentum = min(np.exp(-1 / 3), count / (count + 1))
                count += 1
                mean = [
                    momentum * old + (1 - momentum) * new
                    for old, new in zip(mean, model.get_weights(), strict=True)
                ]
            own = model.get_weights()
            for number, values in enumerate((mean, own)[::-1]):
                model.set_weights(values)
                z = model.predict_on_batch((x - shift) / scale)
                p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
                watched = np.asarray(logs["watched"])[run, epoch, number]
                np.testing.assert_allclose(watched, p[:5], atol=2e-3)
            model.set_weights(own)
    # After two epochs: the share of classes that are others than after the first.
    changes = np.asarray(logs["changes"])
    assert changes.shape == (2, 2) and (changes[:, 0] == 1).all()
