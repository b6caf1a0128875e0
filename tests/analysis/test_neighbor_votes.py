import importlib.util

import numpy as np
import pytest

from keras_noisy import analysis
from keras_noisy.analysis import _approximate_neighbors, _units, neighbor_votes
from keras_noisy.analysis.neighbor_votes import find_neighbors

GENERATOR = np.random.default_rng(0)
CLASSES = GENERATOR.integers(0, 4, 400)
FEATURES = np.eye(8)[CLASSES] + GENERATOR.normal(0, 0.4, (400, 8))


def reference(features, labels, count, metric):
    """Return votes by all distances in float64."""
    features = np.asarray(features, "float64")
    if metric == "cosine":
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = ((features[:, None] - features) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    distances[:, labels < 0] = np.inf
    nearest = np.argsort(distances, axis=1)[:, :count]
    return np.eye(labels.max() + 1)[labels[nearest]].mean(axis=1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_votes_are_those_of_the_nearest(metric, shift):
    features = FEATURES + (shift if metric == "euclidean" else 0)
    labels = np.where(np.arange(400) % 7, CLASSES, -1)
    votes = neighbor_votes(features, labels, num_neighbors=9, metric=metric)
    assert votes.dtype == np.float32
    expected = reference(features, labels, 9, metric)
    # In float32 two distances can be equal.
    assert np.mean(np.abs(votes - expected).max(axis=1) > 1e-6) < 0.01


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_the_unit_of_features_does_not_matter(scale, metric):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(80, 4)), rng.integers(0, 3, 80)
    votes = neighbor_votes(x, labels, num_neighbors=5, metric=metric)
    scaled = neighbor_votes(scale * x, labels, num_neighbors=5, metric=metric)
    np.testing.assert_allclose(scaled, votes, atol=1e-6)


def test_blocks_give_the_same(monkeypatch):
    expected = neighbor_votes(FEATURES, CLASSES, num_neighbors=9)
    monkeypatch.setattr(analysis._exact_neighbors, "_POINTS", 64)
    monkeypatch.setattr(analysis._exact_neighbors, "_QUERIES", 50)
    found = neighbor_votes(FEATURES, CLASSES, num_neighbors=9, verbose=True)
    assert np.mean(np.abs(found - expected).max(axis=1) > 1e-6) < 0.01


def test_an_example_does_not_vote_for_itself():
    features = np.arange(20.0)[:, None]
    labels = np.r_[1, np.zeros(19, int)]
    votes = neighbor_votes(features, labels, num_neighbors=3, metric="euclidean")
    np.testing.assert_allclose(votes[0], [1, 0])
    np.testing.assert_allclose(votes[1], [2 / 3, 1 / 3])


def test_duplicates_cast_one_vote_divided_among_their_labels():
    # Two copies at 0 with labels 0 and 1, then points at 1, 2 and 4.
    features = np.array([0.0, 0, 1, 2, 4])[:, None]
    labels = [0, 1, 1, 0, 0]
    votes = neighbor_votes(features, labels, num_neighbors=2, metric="euclidean")
    # The copies see 1 and 2, not each other.
    np.testing.assert_allclose(votes[:2], [[0.5, 0.5]] * 2)
    # The point at 1 sees half a vote for each class from 0, and that of 2.
    np.testing.assert_allclose(votes[2], [0.75, 0.25])


def test_rows_of_few_values_are_no_copies():
    """Three of each kind of row: different examples that look alike."""
    features, labels = np.repeat(np.eye(4), 3, axis=0), np.repeat([0, 1, 0, 1], 3)
    labels[0] = 1
    votes = neighbor_votes(features, labels, num_neighbors=2)
    np.testing.assert_allclose(votes[:3], [[1, 0], [0.5, 0.5], [0.5, 0.5]])
    np.testing.assert_allclose(votes[3:6], [[0, 1]] * 3)


def test_groups_do_not_vouch_for_each_other():
    features = np.array([0.0, 0.1, 0.2, 5, 6, 7])[:, None]
    labels = [0, 0, 0, 1, 1, 1]
    groups = ["a", "a", "a", "b", "c", "d"]
    votes = neighbor_votes(
        features, labels, num_neighbors=2, metric="euclidean", groups=groups
    )
    np.testing.assert_allclose(votes[:3], [[0, 1]] * 3)
    np.testing.assert_allclose(votes[3], [0, 1])


def test_groups_with_a_common_duplicate_are_one():
    features = np.array([0.0, 0.0, 0.1, 0.2, 5, 6])[:, None]
    labels = [0, 0, 0, 0, 1, 1]
    # 0 and 1 are copies in two groups, so that 2 and 3 are of one group as well.
    groups = [0, 1, 0, 1, 2, 3]
    votes = neighbor_votes(
        features, labels, num_neighbors=2, metric="euclidean", groups=groups
    )
    np.testing.assert_allclose(votes[:4], [[0, 1]] * 4)


def test_unlabelled_examples_receive_votes_and_cast_none():
    labels = np.where(np.arange(400) < 40, -1, CLASSES)
    votes = neighbor_votes(FEATURES, labels)
    assert np.mean(votes[:40].argmax(axis=1) == CLASSES[:40]) > 0.7
    without = neighbor_votes(FEATURES[40:], CLASSES[40:])
    assert np.abs(votes[40:] - without).mean() < 1e-3


def test_the_number_of_neighbors_follows_from_the_data():
    """A clean pattern of ten neighbours needs few, noise on large classes many."""
    rng = np.random.default_rng(0)
    small = np.repeat(np.arange(60), 8)
    features = rng.normal(size=(60, 5))[small] + rng.normal(0, 0.01, (480, 5))
    fine = neighbor_votes(features, small, metric="euclidean")
    expected = neighbor_votes(features, small, metric="euclidean", num_neighbors=5)
    np.testing.assert_array_equal(fine, expected)
    classes = rng.integers(0, 2, 3000)
    features = classes[:, None] * 3 + rng.normal(size=(3000, 3))
    noisy = np.where(rng.uniform(size=3000) < 0.4, 1 - classes, classes)
    coarse = neighbor_votes(features, noisy, metric="euclidean")
    # Of 5 or 10 the shares would be rough.
    assert len(np.unique(coarse[:, 0])) > 30


@pytest.mark.skipif(
    importlib.util.find_spec("usearch") is None, reason="usearch is not installed"
)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_approximate_neighbors(metric):
    arguments = {"num_neighbors": 20, "metric": metric, "groups": np.arange(400) // 2}
    exact = neighbor_votes(FEATURES, CLASSES, **arguments)
    found = neighbor_votes(
        FEATURES, CLASSES, approximate=True, verbose=True, **arguments
    )
    assert np.abs(found - exact).mean() < 0.02
    again = neighbor_votes(FEATURES, CLASSES, approximate=True, **arguments)
    np.testing.assert_array_equal(found, again)
    # Larger groups than are found around: the rest is looked for exactly.
    arguments["groups"] = CLASSES
    exact = neighbor_votes(FEATURES, CLASSES, **arguments)
    found = neighbor_votes(FEATURES, CLASSES, approximate=True, **arguments)
    assert (found[np.arange(400), CLASSES] == 0).all()
    assert np.abs(found - exact).mean() < 0.02


def test_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr(_approximate_neighbors, "is_installed", lambda: False)
    with pytest.raises(ImportError, match=r"keras-noisy\[neighbors\]"):
        neighbor_votes(FEATURES, CLASSES, approximate=True)


def test_float16_memory_map(tmp_path):
    np.save(tmp_path / "features.npy", FEATURES.astype("float16"))
    features = np.load(tmp_path / "features.npy", mmap_mode="r")
    votes = neighbor_votes(features, CLASSES, num_neighbors=9)
    expected = neighbor_votes(np.asarray(features), CLASSES, num_neighbors=9)
    np.testing.assert_array_equal(votes, expected)


def test_num_classes_can_be_more():
    assert neighbor_votes(FEATURES, CLASSES, num_classes=7).shape == (400, 7)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"features": FEATURES[:, 0]}, r"`features` must be an array \(n, d\)"),
        ({"features": FEATURES * np.nan}, "`features` must be finite numbers"),
        ({"features": FEATURES[:3]}, r"`labels` must be class ids of shape \(3,\)"),
        ({"labels": CLASSES * 1.0}, "`labels` must be class ids of an integer"),
        ({"labels": CLASSES - 2}, "`labels` must be non-negative"),
        ({"num_neighbors": 400}, "at least 400 distinct labelled examples"),
        ({"groups": np.zeros(400, int)}, "at least 1 distinct labelled examples"),
        ({"labels": np.full(400, -1)}, "at least 1 distinct labelled examples"),
        ({"groups": np.zeros(3, int)}, r"`groups` must be an id for each example"),
        ({"num_neighbors": 0}, "`num_neighbors` must be a positive integer"),
        ({"metric": "manhattan"}, "`metric` must be one of"),
        ({"num_classes": 2}, r"`labels` must be class ids in \[0, 2\)"),
        ({"approximate": 1}, "`approximate` must be a bool"),
    ],
)
def test_errors(arguments, text):
    with pytest.raises((TypeError, ValueError), match="^neighbor_votes: .*" + text):
        neighbor_votes(**{"features": FEATURES, "labels": CLASSES, **arguments})


def test_votes_of_other_folds_by_hand():
    features = np.array([[0.0], [1.0], [2.1], [3.3], [4.6]], "float32")
    labels = np.array([0, 1, 0, 1, 1])
    units = _units.find_units(features)
    found = find_neighbors(
        "test", features, labels, 2, units, num_neighbors=3, metric="euclidean"
    )
    fold_of = np.array([0, 0, 1, 1, 0])
    # Of the three nearest those in the other fold.
    expected = [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0, 1], [0.5, 0.5]]
    np.testing.assert_allclose(found.votes_of_other_folds(fold_of), expected)
    alone = found.votes_of_other_folds(np.zeros(5, int))
    np.testing.assert_allclose(alone, np.tile([0.4, 0.6], (5, 1)))


def test_other_labels_of_the_same_neighbors():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3)).astype("float32")
    labels, others = rng.integers(0, 3, (2, 60))
    units = _units.find_units(features)
    found = find_neighbors("test", features, labels, 3, units, num_neighbors=5)
    expected = neighbor_votes(features, others, num_neighbors=5, num_classes=3)
    np.testing.assert_allclose(found.of_labels(others).votes(), expected)
