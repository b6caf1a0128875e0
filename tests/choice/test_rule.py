"""The rule, by hand: what is taken, how sure that is, and what is said of it."""

import dataclasses

import numpy as np
import pytest

from keras_noisy.choice import _hold_out, _rule

LABELS = np.array([0] * 6 + [1] * 3 + [2])
NAMES = np.array(["ant", "bee", "cat"])
ELR = "early_learning_regularization"


def tried(name, predicted, score=None):
    """Return a candidate that predicts these classes."""
    held = np.eye(3, dtype="float32")[np.array(predicted)]
    score = float(np.mean(np.array(predicted) == LABELS)) if score is None else score
    return _rule.Tried(name, score, held, 7)


RIGHT = tried("cross_entropy", LABELS)
NO_CAT = tried(ELR, [0] * 6 + [1] * 3 + [0])
POOR = tried("equal_loss", [1] * 10)
GONE = tried("proselflc", [0] * 10, np.nan)


def choice(*found, verdict="class-conditional", combine=True):
    """Return what the rule makes of candidates."""
    chosen = _rule.take(found, LABELS, verdict, combine)
    return _rule.choice_of(found, chosen, LABELS, NAMES, verdict, [])


def take(*found, verdict="class-conditional", combine=True):
    return _rule.take(found, LABELS, verdict, combine)


# Eight, seven and six of ten right, one after the other.
EIGHT, SEVEN, SIX = ([*LABELS[:n], *(LABELS[n:] + 1) % 3] for n in (8, 7, 6))
UNKNOWN = {"verdict": "cannot tell"}


def test_all_that_are_near_to_the_best_where_labels_can_be_relied_on():
    # One of ten differs, 0.1 +- 0.14, then three, 0.3 +- 0.18.
    assert take(RIGHT, NO_CAT, POOR) == {"cross_entropy": 0.5, ELR: 0.5}
    seven = tried("equal_loss", SEVEN)
    assert take(RIGHT, seven, NO_CAT) == {"cross_entropy": 0.5, ELR: 0.5}
    assert take(GONE, RIGHT, POOR) == {"cross_entropy": 1}
    assert take(NO_CAT) == take(NO_CAT, GONE) == take(GONE) == {ELR: 1}


def test_the_default_has_half_where_they_cannot():
    poor_default = tried(ELR, [1] * 10)
    eight, seven = tried("cross_entropy", EIGHT), tried("equal_loss", SEVEN)
    found = take(POOR, eight, seven, poor_default, **UNKNOWN)
    assert found.pop(ELR) == 0.5
    # The first of `POOR`'s name is far behind.
    assert found == {"cross_entropy": 0.25, "equal_loss": 0.25}
    assert take(eight, poor_default, **UNKNOWN) == {ELR: 0.5, "cross_entropy": 0.5}
    assert take(eight, seven, **UNKNOWN) == {"cross_entropy": 0.5, "equal_loss": 0.5}
    assert take(poor_default, **UNKNOWN) == {ELR: 1}


def test_one_network():
    eight, six = tried("cross_entropy", EIGHT), tried(ELR, SIX)
    poor_default = tried(ELR, [1] * 10)
    assert take(RIGHT, NO_CAT, combine=False) == {ELR: 1}
    assert take(RIGHT, poor_default, combine=False) == {"cross_entropy": 1}
    assert take(eight, six, combine=False, **UNKNOWN) == {ELR: 1}
    gone = tried(ELR, LABELS, np.nan)
    assert take(POOR, eight, gone, combine=False) == {"cross_entropy": 1}


def test_of_equal_ones_the_first_is_taken():
    twin = tried("symmetric_cross_entropy", LABELS)
    poor = tried(ELR, [1] * 10)
    for order in ((RIGHT, twin, poor), (twin, RIGHT, poor)):
        assert [*take(*order)] == [each.name for each in order[:2]]
        assert [*take(*order[:2], combine=False)] == [order[0].name]


def test_candidates_that_agree_on_all_held_out_labels_are_not_told_apart():
    twin = dataclasses.replace(tried(ELR, LABELS), score=0.999)
    assert take(RIGHT, twin) == {ELR: 0.5, "cross_entropy": 0.5}
    found = choice(RIGHT, twin)
    assert found.certainty == "cannot tell"
    np.testing.assert_allclose(found.standard_errors, [0, np.sqrt(2) / 12])


def test_values_by_hand():
    found = choice(RIGHT, NO_CAT, POOR, GONE)
    np.testing.assert_allclose(found.scores, [1, 0.9, 0.3, np.nan])
    rows = [[1, 1, 1], [1, 1, 0], [0, 1, 0], [np.nan] * 3]
    np.testing.assert_allclose(found.recalls, rows)
    np.testing.assert_allclose(found.balanced, [1, 2 / 3, 1 / 3, np.nan])
    # One of ten differs, and seven do; one more is counted on each side.
    errors = [0, np.sqrt((3 / 12 - 1 / 144) / 12), np.sqrt((9 - 49 / 12) / 144), np.nan]
    np.testing.assert_allclose(found.standard_errors, errors)
    assert found.epochs == [7, 7, 7, 7] and found.num_held_out == 10
    columns = found.columns()
    assert columns["weight"] == [0.5, 0.5, 0.0, 0.0]
    assert found.chosen == ["cross_entropy", ELR] and found.weights == [0.5, 0.5]
    assert {len(column) for column in columns.values()} == {4}
    assert columns["recall of cat"][:2] == [1.0, 0.0]


def test_smoothed_is_the_mean_up_to_the_epoch():
    curve = np.array([0.0, 0.1, 0.2, 0.3])
    assert _rule.smoothed(curve, 3, 2) == pytest.approx(0.25)
    assert _rule.smoothed(curve, 1, 5) == pytest.approx(0.05)


def test_how_sure():
    few = choice(RIGHT, NO_CAT)
    assert few.certainty == "cannot tell" and "10.0 ± 14.2 points" in few.sentence
    clear = choice(RIGHT, POOR)
    assert clear.certainty == "sure" and "100.0 % on 10 held-out" in clear.sentence
    unknown = choice(RIGHT, POOR, verdict="cannot tell")
    assert unknown.certainty == "cannot know"
    assert "reward fitting them" in unknown.sentence
    alone = choice(NO_CAT)
    assert "the only candidate" in alone.sentence
    assert "alone did not diverge" in choice(RIGHT, GONE).sentence


def test_a_class_that_is_given_up_is_named():
    (note,) = choice(RIGHT, NO_CAT).notes
    assert note.startswith("Early-learning regularisation predicts cat for no held-out")
    assert choice(NO_CAT).notes == []
    assert choice(RIGHT, combine=False).notes == []


def test_divergence_is_named():
    assert any("ProSelfLC diverged" in note for note in choice(RIGHT, GONE).notes)


def test_it_prints():
    text = str(choice(RIGHT, NO_CAT, GONE))
    start = "* cross_entropy".ljust(38)
    assert f"{start}  0.50  100.0" in text and "nan" in text
    assert repr(choice(RIGHT)) == "Choice(cross_entropy, 'cannot tell')"


# --- the labels that are held out


def hold_out(labels, group=None, share=0.25, seed=0):
    """Return what is held out, without the warning of few labels."""
    labels = np.array(labels)
    group = np.arange(len(labels)) if group is None else np.array(group)
    names = np.array([f"class {i}" for i in range(labels.max() + 1)])
    return _hold_out.choose("owner", group, labels, names, share, seed)


@pytest.mark.filterwarnings("ignore:.*choice is luck")
def test_some_of_each_class_and_one_at_least():
    labels = np.array([0] * 20 + [1] * 8 + [2] * 2 + [3])
    held, notes = hold_out(labels)
    assert np.bincount(labels[held], minlength=4).tolist() == [5, 2, 1, 0]
    assert notes == ["No label of class 3 could be held out: nothing is known of them."]
    other, _ = hold_out(labels, seed=1)
    assert (held != other).any() and (held == hold_out(labels)[0]).all()


@pytest.mark.filterwarnings("ignore:.*choice is luck")
def test_groups_are_held_out_as_a_whole():
    labels, group = [0] * 12 + [1] * 12, np.repeat(np.arange(8), 3)
    held, _ = hold_out(labels, group)
    by_group = held.reshape(8, 3)
    assert (by_group == by_group[:, :1]).all()
    assert by_group[:4, 0].sum() == by_group[4:, 0].sum() == 1


@pytest.mark.filterwarnings("ignore:.*choice is luck")
def test_no_unlabelled_example_is_held_out():
    labels = np.array([0, -1] * 10 + [1, -1] * 10)
    held, _ = hold_out(labels)
    assert not held[labels < 0].any() and held.sum() == 4


def test_few_labels_are_warned_of():
    with pytest.warns(UserWarning, match="2 of 20 labels are held out"):
        hold_out([0, 1] * 10, share=0.1)


def test_a_class_is_never_held_out_as_a_whole():
    # The second class is in a group of the first.
    with pytest.warns(UserWarning, match="luck"):
        held, _ = hold_out([0, 0, 0, 1], [0, 1, 2, 2], share=0.9)
    assert held.tolist() in ([True, False, False, False], [False, True, False, False],
                             [True, True, False, False])  # fmt: skip


def test_nothing_that_could_be_held_out():
    with pytest.raises(ValueError, match=r"`validation` must be a share that holds"):
        hold_out([0, 1, 2])
