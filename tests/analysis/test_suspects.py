import csv

import numpy as np
import pytest

from keras_noisy import analysis, noise
from keras_noisy.analysis import Suspects, find_suspects

SOFT = np.array(
    [
        [0.7, 0.2, 0.1],  # Given 0: right.
        [0.1, 0.3, 0.6],  # Given 1: 2 instead, with 0.6.
        [0.8, 0.1, 0.1],  # Given 2: 0 instead, with 0.8.
        [0.4, 0.2, 0.4],  # Given 2: a tie is no suspicion.
    ]
)
LABELS = np.array([0, 1, 2, 2], "uint8")

# The one example of class 1 is a suspect.
class_1_is_lost = pytest.mark.filterwarnings("ignore:Suspects. no example is left")


def test_soft_labels():
    suspects = find_suspects(LABELS, SOFT)
    assert isinstance(suspects, Suspects)
    assert suspects.sample_id.tolist() == [2, 1, 3, 0]
    assert suspects.given_label.tolist() == [2, 1, 2, 0]
    assert suspects.proposed_label.tolist() == [0, 2, 0, 1]
    np.testing.assert_allclose(suspects.confidence, [0.85, 0.65, 0.5, 0.25])
    assert suspects.is_suspect.tolist() == [True, True, False, False]
    assert repr(suspects) == "Suspects(2 of 4 labels, 50.0%, source='soft_labels')"


@pytest.mark.parametrize(
    ("rank_by", "order", "confidence"),
    [
        ("correction", [2, 1, 3, 0], [0.8, 0.6, 0.4, 0.2]),
        ("self_confidence", [2, 1, 3, 0], [0.9, 0.7, 0.6, 0.3]),
    ],
)
def test_other_orders_hold_the_same_labels_for_suspect(rank_by, order, confidence):
    suspects = find_suspects(LABELS, SOFT, rank_by=rank_by)
    assert suspects.sample_id.tolist() == order
    np.testing.assert_allclose(suspects.confidence, confidence)
    assert suspects.is_suspect.tolist() == [True, True, False, False]


def test_suspects_are_those_that_another_class_beats_and_that_leave_most_of_a_class():
    generator = np.random.default_rng(0)
    soft = generator.dirichlet([1, 1, 1], 200).astype("float16")
    labels = generator.integers(0, 3, 200)
    suspects = find_suspects(labels, soft)
    own = soft[np.arange(200), labels].astype("float64")
    total = {index: own[labels == index].sum() for index in range(3)}
    held = dict.fromkeys(range(3), 0.0)
    expected = []
    # The most suspicious first, until those of a class hold a third of its sum.
    for row, confidence in zip(suspects.sample_id, suspects.confidence, strict=True):
        is_within = held[labels[row]] <= total[labels[row]] / 3
        expected.append(confidence > 0.5 and is_within)
        held[labels[row]] += own[row]
    assert 0 < sum(expected) < (suspects.confidence > 0.5).sum()
    np.testing.assert_array_equal(suspects.is_suspect, expected)


def test_a_rare_class_does_not_disappear():
    """90:9:1 whose classes overlap: another class is more probable everywhere."""
    generator = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [1800, 180, 20])
    features = generator.normal(size=(2000, 2)) + 1.5 * np.eye(3, 2)[classes]
    noisy = noise.corrupt_labels(classes, noise.symmetric(3, 0.1), seed=0).noisy
    soft = analysis.neighbor_votes(features, noisy, metric="euclidean")
    for suspects in (
        find_suspects(noisy, soft),
        find_suspects(noisy, features=features, metric="euclidean"),
    ):
        is_suspect = np.zeros(2000, bool)
        is_suspect[suspects.sample_id] = suspects.is_suspect
        for index in range(3):
            right = (classes == index) & (noisy == index)
            assert is_suspect[right].mean() < 0.5
    ahead = soft[np.arange(2000), noisy] < soft.max(axis=1)
    assert ahead[(classes == 2) & (noisy == 2)].all()


def blobs():
    """Features of three classes, and labels of which 40 % are pair flips."""
    generator = np.random.default_rng(0)
    classes = generator.integers(0, 3, 900)
    features = np.eye(5)[classes] + generator.normal(0, 0.35, (900, 5))
    noisy = noise.corrupt_labels(classes, noise.pair_flip(3, 0.4), seed=0).noisy
    return classes, features, noisy


def average_precision(suspects, wrong):
    return suspects.precision_and_recall(wrong)["average_precision"]


def test_features():
    classes, features, noisy = blobs()
    suspects = find_suspects(noisy, features=features)
    assert suspects.source == "features"
    assert sorted(suspects.sample_id) == [*range(900)]
    found = suspects.precision_and_recall(noisy != classes)
    assert found["precision"] > 0.85
    assert found["average_precision"] > 0.9
    # The matrix is worth something: votes alone do not know which classes are mixed up.
    votes = analysis.neighbor_votes(features, noisy)
    by_votes = average_precision(find_suspects(noisy, votes), noisy != classes)
    assert found["average_precision"] > by_votes + 0.02
    named = suspects.proposed_label == classes[suspects.sample_id]
    assert named[suspects.is_suspect].mean() > 0.85


def test_several_sources():
    classes, features, noisy = blobs()
    wrong = noisy != classes
    soft = np.random.default_rng(0).dirichlet([1, 1, 1], 900) + np.eye(3)[classes]
    soft /= soft.sum(axis=1, keepdims=True)
    losses = -np.log(soft[np.arange(900), noisy])
    alone = average_precision(find_suspects(noisy, features=features), wrong)
    several = find_suspects(
        noisy,
        soft,
        features=[features, features[:, :3]],
        predictions=soft,
        mean_losses=losses,
        groups=np.arange(900),
    )
    assert several.source == "soft_labels + features + predictions + mean_losses"
    assert average_precision(several, wrong) > alone
    assert several.confidence.min() >= 0
    assert several.confidence.max() <= 1


def test_several_sources_without_features_are_averaged():
    other = np.full((4, 3), 1 / 3)
    losses = -np.log(SOFT[np.arange(4), LABELS])
    suspects = find_suspects(LABELS, SOFT, mean_losses=losses)
    # What the losses say of the given label, soft labels say as well.
    expected = find_suspects(LABELS, SOFT)
    np.testing.assert_array_equal(suspects.sample_id, expected.sample_id)
    np.testing.assert_allclose(suspects.confidence, expected.confidence, atol=1e-6)
    mean = find_suspects(LABELS, SOFT, predictions=other)
    by_hand = find_suspects(LABELS, (SOFT + other) / 2, rank_by="margin")
    assert set(mean.sample_id) == set(by_hand.sample_id)


def test_held_out_distributions():
    """They are judged as sources are, without cleanlab."""
    held_out = 0.7 * np.eye(3)[np.arange(300) % 3] + 0.1
    labels = noise.corrupt_labels(
        np.arange(300) % 3, noise.symmetric(3, 0.2), seed=0
    ).noisy
    suspects = find_suspects(labels, held_out=held_out)
    assert suspects.source == "held_out"
    wrong = labels != np.arange(300) % 3
    assert average_precision(suspects, wrong) == 1
    assert suspects.is_suspect.sum() == wrong.sum()
    mean = find_suspects(labels, held_out=held_out, predictions=held_out)
    np.testing.assert_array_equal(mean.sample_id, suspects.sample_id)
    with pytest.raises(ValueError, match=r"`held_out` must be of shape \(300, 3\)"):
        find_suspects(labels, held_out, held_out=np.full((300, 2), 0.5))


@pytest.mark.parametrize("rank_by", ["correction", "self_confidence"])
def test_order_of_several_sources(rank_by):
    _, features, noisy = blobs()
    by_margin = find_suspects(noisy, features=features)
    other = find_suspects(noisy, features=features, rank_by=rank_by)
    np.testing.assert_array_equal(other.cleaned_labels(), by_margin.cleaned_labels())
    assert (other.sample_id != by_margin.sample_id).any()


@class_1_is_lost
def test_cleaned_labels_are_in_the_order_of_the_data():
    cleaned = find_suspects(LABELS, SOFT).cleaned_labels()
    assert cleaned.tolist() == [0, 2, 0, 2]
    assert cleaned.dtype == LABELS.dtype


def test_ties_keep_the_order_of_the_data():
    suspects = find_suspects([0] * 50, np.full((50, 2), 0.5))
    assert suspects.sample_id.tolist() == list(range(50))
    assert not suspects.is_suspect.any()


def test_memory_map(tmp_path):
    table = np.memmap(tmp_path / "soft", "float32", "w+", shape=SOFT.shape)
    table[:] = SOFT
    suspects = find_suspects(LABELS, table)
    assert suspects.sample_id.tolist() == [2, 1, 3, 0]


def test_top():
    top = find_suspects(LABELS, SOFT).top(1)
    assert len(top) == 1
    assert top.sample_id.tolist() == [2]


def test_a_notebook_shows_the_first_rows():
    shown = (
        find_suspects(LABELS, SOFT).named(class_names=["<a>", "b", "c"])._repr_html_()
    )
    assert shown.startswith("<p>Suspects(2 of 4 labels, 50.0%, source=&#x27;soft_")
    assert "<tr><td>2</td><td>c</td><td>&lt;a&gt;</td><td>0.850</td>" in shown
    assert shown.count("<tr>") == 5
    assert "more" not in shown
    many = find_suspects(np.tile(LABELS, 4), np.tile(SOFT, (4, 1)))._repr_html_()
    assert many.count("<tr>") == 11
    assert many.endswith("<p>and 6 more, less suspicious</p>")


def test_csv(tmp_path):
    suspects = find_suspects(LABELS, SOFT)
    suspects.to_csv(tmp_path / "suspects.csv")
    with open(tmp_path / "suspects.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample_id"] for row in rows] == ["2", "1"]
    assert float(rows[0].pop("confidence")) == pytest.approx(0.85)
    assert rows[0] == {
        "sample_id": "2",
        "given_label": "2",
        "proposed_label": "0",
        "is_suspect": "True",
    }
    suspects.to_csv(tmp_path / "all.csv", all_examples=True)
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 5


@class_1_is_lost
def test_cleaned_label_file(tmp_path):
    find_suspects(LABELS, SOFT).save_cleaned_labels(tmp_path / "labels.npy")
    assert np.load(tmp_path / "labels.npy").tolist() == [0, 2, 0, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["labels.npy"]


def test_datalab_columns():
    columns = find_suspects(LABELS, SOFT).to_datalab()
    assert columns["is_label_issue"].tolist() == [False, True, True, False]
    assert columns["predicted_label"].tolist() == [0, 2, 0, 2]
    assert columns["given_label"].tolist() == LABELS.tolist()
    np.testing.assert_allclose(columns["label_score"], [0.75, 0.35, 0.15, 0.5])
    by_loss = find_suspects(LABELS, mean_losses=[0.1, 0.2, 9.0, 0.3]).to_datalab()
    assert by_loss["label_score"].argmin() == 2
    assert np.all((by_loss["label_score"] >= 0) & (by_loss["label_score"] <= 1))


def test_datalab_has_the_same_columns():
    pytest.importorskip("cleanlab")
    pytest.importorskip("datasets")
    from cleanlab import Datalab

    lab = Datalab({"label": [0, 1, 2, 2] * 10}, label_name="label", verbosity=0)
    predictions = 0.6 * np.eye(3)[[0, 1, 2, 2] * 10] + 0.4 / 3
    lab.find_issues(pred_probs=predictions, issue_types={"label": {}})
    expected = set(lab.get_issues("label").columns)
    assert set(find_suspects(LABELS, SOFT).to_datalab()) == expected


def test_mean_losses_above_a_mixture():
    rng = np.random.default_rng(0)
    losses = np.append(rng.gamma(1.0, 0.2, 600), rng.gamma(9.0, 0.4, 400))
    labels, wrong = np.zeros(1000, int), np.arange(1000) >= 600
    shares = {}
    for threshold in ("deviation", "beta_mixture"):
        suspects = find_suspects(labels, mean_losses=losses, threshold=threshold)
        shares[threshold] = suspects.precision_and_recall(wrong)
    assert shares["beta_mixture"]["precision"] > 0.95
    # Of 40 % wrong labels only half are far above the mean.
    assert shares["deviation"]["recall"] < 0.6 < 0.8 < shares["beta_mixture"]["recall"]


def test_mean_losses():
    suspects = find_suspects(LABELS, mean_losses=[0.1, 0.2, 9.0, 0.3])
    assert suspects.sample_id.tolist() == [2, 3, 1, 0]
    assert suspects.is_suspect.tolist() == [True, False, False, False]
    assert suspects.cleaned_labels().tolist() == LABELS.tolist()


def test_infinite_losses_are_suspects_beside_others():
    """Mean and deviation are those of the finite ones."""
    rng = np.random.default_rng(0)
    finite = rng.gamma(1.0, 0.2, 100)
    threshold = finite.mean() + finite.std()
    expected = np.append(finite > threshold, True)
    losses = np.append(finite, np.inf)
    labels = np.zeros(101, int)
    suspects = find_suspects(labels, mean_losses=losses)
    assert sorted(suspects.sample_id[suspects.is_suspect]) == [*expected.nonzero()[0]]
    # Their squares are infinite.
    suspects = find_suspects(labels, mean_losses=losses * 1e200)
    assert sorted(suspects.sample_id[suspects.is_suspect]) == [*expected.nonzero()[0]]
    for bad, text in ((-np.inf, "numbers"), (np.inf, "finite for some")):
        with pytest.raises(ValueError, match="`mean_losses` must be " + text):
            find_suspects(labels, mean_losses=np.full(101, bad))


def test_cleanlab():
    pytest.importorskip("cleanlab")
    generator = np.random.default_rng(0)
    clean = generator.integers(0, 3, 300)
    noisy = np.where(np.arange(300) < 60, (clean + 1) % 3, clean)
    predictions = 0.85 * np.eye(3)[clean] + 0.05
    suspects = find_suspects(noisy, predictions=predictions)
    result = suspects.precision_and_recall(noisy != clean)
    assert result == {"precision": 1, "recall": 1, "average_precision": 1}
    assert suspects.source == "predictions"
    assert (suspects.cleaned_labels() == clean).all()


def test_missing_cleanlab_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.filter", None)
    with pytest.raises(ImportError, match=r"keras-noisy\[cleanlab\]"):
        find_suspects(LABELS, predictions=SOFT)


def test_precision_and_recall():
    suspects = find_suspects(LABELS, SOFT)
    # Order 2, 1, 3, 0: hits at ranks 1 and 3, one of which is a suspect.
    result = suspects.precision_and_recall([False, False, True, True])
    assert result["precision"] == 0.5
    assert result["recall"] == 0.5
    assert result["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    nothing = suspects.precision_and_recall(np.zeros(4, bool))
    assert nothing["precision"] == 0
    assert np.isnan(nothing["recall"])
    assert np.isnan(nothing["average_precision"])


def test_average_precision_does_not_depend_on_the_order_of_ties():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    losses = generator.integers(0, 5, 200)
    truth = generator.uniform(size=200) < losses / 6
    expected = metrics.average_precision_score(truth, losses)
    labels = np.zeros(200, int)
    for order in (np.arange(200), np.arange(200)[::-1], generator.permutation(200)):
        suspects = find_suspects(labels, mean_losses=losses[order])
        found = suspects.precision_and_recall(truth[order])["average_precision"]
        assert found == pytest.approx(expected)
    # All equal: the share of wrong labels.
    tied = find_suspects(labels, mean_losses=np.ones(200))
    found = tied.precision_and_recall(truth)["average_precision"]
    assert found == pytest.approx(truth.mean())
    empty = find_suspects(labels[:0], mean_losses=[]).precision_and_recall([])
    assert np.isnan(empty["average_precision"])


def test_iterations_of_the_mixture():
    generator = np.random.default_rng(0)
    losses = np.append(generator.beta(2, 8, 950), generator.beta(8, 2, 50))
    labels = np.zeros(1000, int)
    for iterations in (None, 1, 10):
        mixture = analysis.beta_mixture(losses, iterations=iterations)
        suspects = find_suspects(
            labels,
            mean_losses=losses,
            threshold="beta_mixture",
            iterations=iterations,
        )
        expected = mixture.wrong_label_probability(losses) > 0.5
        np.testing.assert_array_equal(suspects.cleaned_labels(), labels)
        assert suspects.is_suspect.sum() == expected.sum()
    with pytest.raises(ValueError, match=r"^find_suspects: `iterations` must be"):
        find_suspects(labels, mean_losses=losses, iterations=0)


def test_average_precision_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    soft = generator.dirichlet([1, 1, 1], 400)
    labels = generator.integers(0, 3, 400)
    truth = generator.uniform(size=400) < 0.3
    confidence, _ = analysis.correction_candidates(soft, labels)
    expected = metrics.average_precision_score(truth, confidence)
    suspects = find_suspects(labels, soft, rank_by="correction")
    result = suspects.precision_and_recall(truth)
    assert result["average_precision"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "at least one of"),
        ({"features": np.zeros((3, 2))}, r"`features` must be an array \(4, d\)"),
        ({"features": SOFT, "metric": "l1"}, "`metric` must be one of"),
        ({"features": SOFT, "groups": [0]}, "`groups` must be an id for each"),
        (
            {"soft_labels": SOFT, "predictions": SOFT[:, :2] + 0.2},
            "`predictions` must be",
        ),
        ({"soft_labels": SOFT, "rank_by": "eq10"}, "`rank_by` must be one of"),
        ({"soft_labels": SOFT[1:]}, "`labels` must be"),
        ({"soft_labels": SOFT[:, :2]}, r"class ids in \[0, 2\)"),
        ({"soft_labels": SOFT * np.nan}, "`soft_labels` must be finite numbers"),
        ({"mean_losses": [0.1] * 4, "threshold": "mixture"}, "`threshold` must be one"),
        (
            {"mean_losses": [0.1, 0.2, np.nan, 1], "threshold": "beta_mixture"},
            "`mean_losses` must be numbers",
        ),
        ({"mean_losses": [0.1]}, r"`mean_losses` must be of shape \(4,\)"),
        ({"mean_losses": [0.1, 0.2, np.nan, 1]}, "`mean_losses` must be numbers"),
        ({"labels": LABELS * 1.0, "soft_labels": SOFT}, "`labels` must be class ids"),
    ],
)
def test_errors(arguments, text):
    with pytest.raises((TypeError, ValueError), match=text):
        find_suspects(**{"labels": LABELS, **arguments})


def test_mask_of_another_length():
    with pytest.raises(ValueError, match=r"`is_corrupted` must be a mask of shape"):
        find_suspects(LABELS, SOFT).precision_and_recall([True])


def test_negative_probabilities_are_refused():
    scores = np.array([[2.0, -3.5, 1.0], [-1.0, 0.5, 0.5]])
    with pytest.raises(ValueError, match=r"^find_suspects: `soft_labels` must be"):
        analysis.find_suspects(np.array([0, 1]), scores)
