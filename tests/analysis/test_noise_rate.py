import dataclasses

import numpy as np
import pytest

from keras_noisy import noise
from keras_noisy.analysis import (
    NoiseRate,
    _core,
    _head,
    _sources,
    noise_rate,
    propose_checks,
)

GENERATOR = np.random.default_rng(0)
CLASSES = GENERATOR.integers(0, 4, 1600)
FEATURES = np.eye(6)[CLASSES] + GENERATOR.normal(0, 0.2, (1600, 6))


def given(matrix, seed=0):
    return noise.corrupt_labels(CLASSES, matrix, seed=seed).noisy.copy()


@pytest.mark.parametrize(
    "matrix",
    [noise.symmetric(4, 0.1), noise.symmetric(4, 0.5), noise.pair_flip(4, 0.3)],
    ids=["symmetric 10 %", "symmetric 50 %", "pair flips 30 %"],
)
def test_class_conditional_noise(matrix):
    labels = given(matrix)
    wrong = labels != CLASSES
    found = noise_rate(labels, features=FEATURES)
    assert found.verdict == "class-conditional"
    assert found.estimate == pytest.approx(wrong.mean(), abs=0.03)
    assert found.low < wrong.mean() < found.high
    assert found.high - found.low < 0.15
    np.testing.assert_allclose(found.transition_matrix, matrix, atol=0.09)
    np.testing.assert_allclose(found.transition_matrix.sum(axis=1), 1)
    per_class = [wrong[labels == index].mean() for index in range(4)]
    np.testing.assert_allclose(found.per_class, per_class, atol=0.09)
    assert set(found.by_source) == {"neighbors", "regression"}
    assert all(abs(rate - wrong.mean()) < 0.06 for rate in found.by_source.values())
    assert f"{found.estimate:.1%}" in found.explanation


def test_clean_labels():
    found = noise_rate(CLASSES, features=FEATURES)
    assert found.verdict == "class-conditional"
    assert found.low == 0
    assert found.estimate < 0.005
    assert found.high < 0.02


def overlapping():
    """Two classes whose labels are right and whose features overlap."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 4000)
    labels = (rng.uniform(size=4000) < 1 / (1 + np.exp(-1.5 * x))).astype(int)
    return x[:, None], labels


def test_overlap_is_no_noise():
    x, labels = overlapping()
    found = noise_rate(labels, features=np.hstack([x, np.ones_like(x)]))
    assert found.verdict == "cannot tell"
    assert (found.estimate, found.low, found.high) == (None, 0, 1)
    assert found.per_class is None
    assert found.transition_matrix is None
    assert "`propose_checks`" in found.explanation


def test_labels_without_any_relation_to_features():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 900)
    found = noise_rate(labels, features=generator.normal(size=(900, 5)))
    assert found.verdict == "cannot tell"


def test_duplicates_do_not_vouch_for_each_other():
    labels = given(noise.symmetric(4, 0.3))
    alone = noise_rate(labels, features=FEATURES)
    rows = np.r_[np.arange(1600), np.repeat(np.arange(400), 2)]
    copied = noise_rate(labels[rows], features=FEATURES[rows])
    true = (labels[rows] != CLASSES[rows]).mean()
    assert copied.estimate == pytest.approx(true, abs=0.03)
    assert copied.estimate == pytest.approx(alone.estimate, abs=0.03)


def test_groups_do_not_vouch_for_each_other():
    """Frames of a video that was labelled once."""
    videos = np.arange(1600)
    labels = given(noise.symmetric(4, 0.3))
    rows = np.repeat(videos[:400], 4)
    features = FEATURES[rows] + np.random.default_rng(1).normal(0, 1e-3, (1600, 6))
    true = (labels[rows] != CLASSES[rows]).mean()
    blind = noise_rate(labels[rows], features=features)
    found = noise_rate(labels[rows], features=features, groups=rows)
    assert found.estimate == pytest.approx(true, abs=0.05)
    assert blind.estimate is None or abs(blind.estimate - true) > 0.05


def test_unlabelled_rows_do_not_count():
    labels = given(noise.symmetric(4, 0.3))
    labels[:100] = -1
    found = noise_rate(labels, features=FEATURES)
    without = noise_rate(labels[100:], features=FEATURES[100:])
    assert found.estimate == pytest.approx(without.estimate, abs=0.02)


def test_predictions_alone():
    labels = given(noise.symmetric(4, 0.2))
    predictions = 0.8 * np.eye(4)[CLASSES] + 0.05
    predictions += np.random.default_rng(1).uniform(0, 1e-3, predictions.shape)
    predictions /= predictions.sum(axis=1, keepdims=True)
    found = noise_rate(labels, predictions=predictions)
    assert found.low < 0.2 < found.high
    assert found.estimate == pytest.approx(0.2, abs=0.03)
    assert [*found.by_source] == ["predictions"]


def test_soft_labels_alone_cannot_tell():
    labels = given(noise.symmetric(4, 0.2))
    found = noise_rate(labels, soft_labels=0.7 * np.eye(4)[labels] + 0.075)
    assert found.verdict == "cannot tell"
    assert "learnt" in found.explanation
    both = noise_rate(
        labels, soft_labels=0.7 * np.eye(4)[labels] + 0.075, features=FEATURES
    )
    assert both.estimate == pytest.approx(0.2, abs=0.03)
    assert both.by_source["soft_labels"] < 0.01


def test_checked_labels_answer_under_any_noise():
    """Intervals of 200 checks cover, and are narrow, where noise is at boundaries."""
    x, labels = overlapping()
    rng = np.random.default_rng(1)
    truth = np.where(
        rng.uniform(size=4000) < 0.4 * (abs(x[:, 0]) < 1), 1 - labels, labels
    )
    rate = (truth != labels).mean()
    covered, widths = [], []
    for seed in range(20):
        predictions = 1 / (1 + np.exp(-1.5 * x))
        predictions = np.hstack([1 - predictions, predictions])
        rows = propose_checks(labels, predictions=predictions, seed=seed)
        assert len(rows) == len(set(rows.tolist())) == 200
        checked = np.full(4000, -1)
        checked[rows] = truth[rows]
        found = noise_rate(labels, predictions=predictions, checked=checked, seed=seed)
        assert found.verdict == "checked"
        covered.append(found.low <= rate <= found.high)
        widths.append((found.high - found.low) / 2)
    assert np.mean(covered) >= 0.8
    assert np.max(widths) < 0.05


@pytest.mark.parametrize("count", [5, 20, 60])
@pytest.mark.parametrize("is_proposed", [True, False], ids=["proposed", "random"])
def test_intervals_of_few_checks_cover(is_proposed, count):
    """Binomial intervals where there are few; never a rate that nobody has seen."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 600)
    labels = np.where(rng.uniform(size=600) < 0.15, 1 - truth, truth)
    rate = (labels != truth).mean()
    score = np.clip(0.5 + 0.3 * (2 * truth - 1) + rng.normal(0, 0.2, 600), 0.01, 0.99)
    predictions = np.stack([1 - score, score], axis=1)
    covered = []
    for seed in range(60):
        rows = np.random.default_rng(seed).permutation(600)[:count]
        if is_proposed:
            rows = propose_checks(
                labels, predictions=predictions, count=count, seed=seed
            )
        checked = np.full(600, -1)
        checked[rows] = truth[rows]
        found = noise_rate(labels, predictions=predictions, checked=checked, seed=seed)
        assert found.low <= found.estimate <= found.high
        covered.append(found.low <= rate <= found.high)
    assert np.mean(covered) >= 0.8


def test_parts_without_checks_are_not_known():
    x, labels = overlapping()
    checked = np.full(4000, -1)
    predictions = np.hstack([1 - x / 8 - 0.5, x / 8 + 0.5])
    order = np.argsort(predictions[np.arange(4000), labels])
    checked[order[:100]] = labels[order[:100]]
    found = noise_rate(labels, predictions=predictions, checked=checked)
    assert found.high - found.low > 0.2


def test_proposals():
    generator = np.random.default_rng(1)
    predictions = generator.dirichlet([1, 1, 1], 500)
    labels = generator.integers(0, 3, 500)
    labels[:50] = -1
    rows = propose_checks(labels, predictions=predictions, count=90)
    assert rows.shape == (90,)
    assert (np.diff(rows) > 0).all()
    assert rows.min() >= 50
    np.testing.assert_array_equal(
        rows, propose_checks(labels, predictions=predictions, count=90)
    )
    everything = propose_checks(labels, predictions=predictions, count=1000)
    np.testing.assert_array_equal(everything, np.arange(50, 500))
    few = propose_checks(labels, predictions=predictions, count=3)
    assert few.shape == (3,)


def test_the_result_is_frozen():
    found = noise_rate(CLASSES, features=FEATURES)
    assert isinstance(found, NoiseRate)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.estimate = 0.5


def test_results_follow_from_the_seed():
    labels = given(noise.symmetric(4, 0.2))
    first = noise_rate(labels, features=FEATURES, seed=1)
    assert first.estimate == noise_rate(labels, features=FEATURES, seed=1).estimate


def test_the_regression_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 5)).astype("float32")
    labels = (x @ rng.normal(size=(5, 3)) + rng.gumbel(size=(500, 3))).argmax(axis=1)
    head = _head._Head(x, labels, 3, np.arange(500), 0.01)
    x_standard = (x - x.mean(axis=0)) / x.std(axis=0)
    # scikit-learn's penalty is for the sum of the losses.
    oracle = linear_model.LogisticRegression(C=1 / (0.01 * 500), tol=1e-8)
    expected = oracle.fit(x_standard, labels).predict_proba(x_standard)
    np.testing.assert_allclose(head(x), expected, atol=0.005)


def test_no_example_is_in_its_own_training_set():
    """Random labels of random features are not predicted better than by chance."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(100, 90)), 3, axis=0).astype("float32")
    labels = np.repeat(rng.integers(0, 2, 100), 3)
    group = np.repeat(np.arange(100), 3)
    found = _head.out_of_fold(x, labels, 2, group % 5, 0)
    assert (found.argmax(axis=1) == labels).mean() < 0.65
    leaking = _head.out_of_fold(x, labels, 2, np.arange(300) % 5, 0)
    assert (leaking.argmax(axis=1) == labels).mean() > 0.8


def test_probability_of_a_wrong_label_by_hand():
    matrix = np.array([[0.8, 0.2], [0.0, 1.0]])
    # P(noisy | x) of a certain example of class 0 is its row.
    scores = np.array([[0.8, 0.2], [0.8, 0.2], [0.0, 1.0]])
    found = _core.wrong_label_probability(scores, np.array([0, 1, 1]), matrix)
    np.testing.assert_allclose(found, [0, 1, 0], atol=0.2)
    exact = _core.true_classes(scores, matrix, steps=3000)
    np.testing.assert_allclose(exact, [[1, 0], [1, 0], [0, 1]], atol=2e-3)


@pytest.mark.parametrize("function", [noise_rate, propose_checks])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"features": None}, "at least one of `features`, `soft_labels`"),
        ({"labels": np.zeros(1600, int)}, "`labels` must be of at least two classes"),
        ({"labels": np.full(1600, -1)}, "distinct labelled examples"),
        ({"features": FEATURES * np.inf}, "`features` must be finite"),
        ({"soft_labels": np.ones((1600, 4))}, "`soft_labels` must be distributions"),
        (
            {
                "soft_labels": np.full((1600, 4), 0.25),
                "predictions": np.full((1600, 5), 0.2),
            },
            r"`predictions` must be of shape \(1600, 4\)",
        ),
        ({"groups": [1, 2]}, "`groups` must be an id for each example"),
        ({"seed": -1}, "`seed` must be an integer"),
    ],
)
def test_errors(function, arguments, text):
    arguments = {"labels": CLASSES, "features": FEATURES, **arguments}
    with pytest.raises(
        (TypeError, ValueError), match=f"^{function.__name__}: .*{text}"
    ):
        function(**arguments)


def test_errors_of_checks():
    for checked, text in (
        (np.full(1600, -1), "the true class of at least one"),
        (np.full(3, 0), r"class ids of shape \(1600,\)"),
        (np.full(1600, 9), r"class ids in \[0, 4\)"),
    ):
        with pytest.raises(ValueError, match="^noise_rate: `checked` must be " + text):
            noise_rate(CLASSES, features=FEATURES, checked=checked)
    with pytest.raises(ValueError, match=r"^propose_checks: `count` must be"):
        propose_checks(CLASSES, features=FEATURES, count=0)


def test_rare_classes_that_features_say_nothing_of():
    """All examples look like the frequent class, with which most labels agree."""
    generator = np.random.default_rng(0)
    labels = generator.choice(3, 800, p=np.array([20, 5, 1]) / 26)
    found = noise_rate(labels, features=generator.normal(size=(800, 8)))
    assert found.verdict == "cannot tell" and found.estimate is None


def test_rows_of_few_values_give_no_rate():
    """Seven segments of which each is wrong in a tenth: classes look alike."""
    generator = np.random.default_rng(0)
    classes = generator.integers(0, 4, 600)
    rows = np.eye(4, 7)[classes] != (generator.uniform(size=(600, 7)) < 0.1)
    found = noise_rate(classes, features=rows.astype("float32"))
    assert found.estimate is None and "have an equal one" in found.explanation


def test_no_view_of_a_fold_has_seen_its_labels():
    """Or those on top of a ranking are not a fair sample of its labels."""
    first = _sources.read("test", given(noise.symmetric(4, 0.3)), features=FEATURES)
    in_fold = first.fold_of == 2
    changed = np.where(in_fold, (first.labels + 1) % 4, first.labels)
    second = _sources.read("test", changed, features=FEATURES)
    np.testing.assert_array_equal(first.fold_of, second.fold_of)
    for name, view in first.views.items():
        np.testing.assert_array_equal(view[in_fold], second.views[name][in_fold])
        assert not np.array_equal(view[~in_fold], second.views[name][~in_fold])


def test_typical_examples_are_wrong_as_often_as_others():
    """The mean over draws of the noise, in the top tenth of pure classes."""
    top, everywhere = [], []
    for seed in range(8):
        labels = given(noise.symmetric(4, 0.3), seed)
        sources = _sources.read("test", labels, features=FEATURES)
        views = [*sources.views.values()]
        classes, typical, _ = _core._classes_behind(
            views, noise.symmetric(4, 0.3), np.bincount(labels)
        )
        rings = _core._Rings(classes, typical, labels, sources.fold_of)
        top.append(rings.wrong[:2].sum() / rings.sizes[:2].sum())
        everywhere.append(rings.wrong.sum() / rings.sizes.sum())
    # Four standard errors of 8 x 160 labels.
    assert np.mean(top) == pytest.approx(np.mean(everywhere), abs=0.05)


@pytest.mark.parametrize("power", [0, 2, 6])
def test_where_a_profile_starts(power):
    """Rings that lie on a curve have its start."""
    rings = object.__new__(_core._Rings)
    rings.sizes = np.full(len(_core._SHARES), 4e5)
    middle = (np.append(0, _core._SHARES[:-1]) + _core._SHARES) / 2
    rings.wrong = rings.sizes * (0.2 + 0.3 * (middle**power if power else 0))
    start, error = rings.start()
    assert start == pytest.approx(0.2, abs=0.003)
    assert 0 < error < 0.003


def test_intervals_reach_down_for_a_class_that_hides():
    """A twentieth of the examples looks nearly like those of another class."""
    rng = np.random.default_rng(0)
    classes = rng.choice(4, 3000, p=[0.4, 0.4, 0.15, 0.05])
    centres = np.eye(5)[[0, 1, 2, 0]]
    centres[3, 4] = 0.15
    features = centres[classes] + rng.normal(0, 0.2, (3000, 5))
    noisy = noise.corrupt_labels(classes, noise.symmetric(4, 0.2), seed=0).noisy
    core = _sources.read("test", noisy, features=features).core()
    assert core.low < 0.2 < core.high
    assert core.rate == pytest.approx(0.2, abs=0.02)
    # The class is there by the labels, and few examples look like it.
    assert core.prior[3] > 0.02


def test_the_work_of_the_regression_is_bounded(monkeypatch):
    assert _head._most_rows(768, 100) < 30_000
    assert _head._most_rows(16, 10) == 50_000
    assert _head._most_rows(768, 1000) == 20_000
    monkeypatch.setattr(_head, "_MOST_WORK", 6 * 4 * 300)
    fold_of = np.arange(1600) % 5
    first, again = (
        _head.out_of_fold(FEATURES, CLASSES, 4, fold_of, 3) for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first.argmax(axis=1) == CLASSES).mean() > 0.95


def test_progress_is_shown(capsys):
    noise_rate(CLASSES, features=FEATURES, verbose=True)
    shown = capsys.readouterr().out
    # Blocks of neighbours, and trainings.
    assert "4/4" in shown
    assert "12/12" in shown
