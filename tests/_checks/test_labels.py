"""Labels are read alike everywhere, and -1 is never the last class."""

import math

import numpy as np
import pytest

from keras_noisy import analysis, callbacks, losses, noise, training
from keras_noisy._checks import labels
from keras_noisy.callbacks import learning_dynamics

NAMES = np.array(["cat", "dog", "cat", "bird"])
# The last two are not verified.
NOISY = np.array([0, 1, 2, 2, 0, 2])
CLEAN = np.array([0, 1, 1, 0, -1, -1])
P = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.1, 0.1, 0.8],
        [0.7, 0.1, 0.2],
        [0.9, 0.1, 0.0],
        [0.1, 0.1, 0.8],
    ]
)
KNOWN = CLEAN >= 0


def check(values, **kwargs):
    return labels.check_labels("owner", "labels", values, **kwargs)


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 1],
        (0, 1, 1),
        np.array([0, 1, 1], "uint8"),
        np.array([[0], [1], [1]]),
    ],
)
def test_class_ids(values):
    assert check(values, size=3, num_classes=2).tolist() == [0, 1, 1]


def test_the_dtype_stays():
    assert check(np.array([0, 1], "uint8")).dtype == "uint8"
    assert check([]).dtype == "int64"


@pytest.mark.parametrize("values", [NAMES, NAMES.tolist(), NAMES.astype(object)])
def test_the_cure_for_names(values):
    with pytest.raises(TypeError, match=r"integer dtype.*np\.unique\(labels, return"):
        check(values)
    classes, ids = np.unique(NAMES, return_inverse=True)
    assert check(ids).tolist() == [1, 2, 1, 0]
    assert classes[ids].tolist() == NAMES.tolist()


def test_the_cure_for_ids_with_gaps():
    with pytest.raises(ValueError, match=r"in \[0, 3\).*\[10, 30\].*np\.unique.*gaps"):
        check([10, 20, 30], num_classes=3)


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ([0.0, 1.0], TypeError, r"an integer dtype.*astype\('int64'\)"),
        ([0.5, math.nan], TypeError, "an integer dtype"),
        ([True, False], TypeError, "an integer dtype"),
        ([{}, {}], TypeError, "an integer dtype"),
        (np.eye(2), ValueError, r"shape \(n,\).*one-hot.*argmax"),
        ([[0, 1], [1]], ValueError, r"shape \(n,\)"),
        (None, ValueError, r"shape \(n,\)"),
        (3, ValueError, r"shape \(n,\)"),
        (np.array([0, 2**63], "uint64"), ValueError, "non-negative class ids"),
        ([0, -2], ValueError, "non-negative class ids"),
        ([0, -1], ValueError, "-1 is no class: leave out"),
    ],
)
def test_errors(values, error, text):
    with pytest.raises(error, match=f"^owner: `labels` must be .*{text}"):
        check(values)


def test_length():
    with pytest.raises(ValueError, match=r"class ids of shape \(3,\)"):
        check([0, 1], size=3)


def test_not_verified_is_a_mark_of_true_labels_alone():
    assert check(CLEAN, num_classes=3, unverified=True) is CLEAN
    with pytest.raises(ValueError, match=r"in \[0, 3\), or -1 for an example whose"):
        check([-2, 0], num_classes=3, unverified=True)
    with pytest.raises(ValueError, match="-1 is no class"):
        check(CLEAN, num_classes=3)


def test_unsigned_labels_are_compared_with_the_mark():
    clean = np.array([1, 1], "uint8")
    assert labels.is_wrong(np.array([1, 0], "uint8"), clean).tolist() == [False, True]


# --- the right values with labels that are not verified


def test_shares():
    # Of the two that are known to be wrong, one has the given and one the true label.
    assert analysis.wrong_label_fit(P, NOISY, CLEAN) == 0.5
    assert analysis.semantic_correction(P, NOISY, CLEAN) == 0.5
    classes = P.argmax(axis=1)
    assert analysis.wrong_label_fit(classes, NOISY, CLEAN) == 0.5
    assert analysis.semantic_correction(classes, NOISY, CLEAN) == 0.5
    assert math.isnan(analysis.semantic_correction(P, NOISY, np.full(6, -1)))


def test_calibration():
    actual = analysis.calibration(P, CLEAN, bins=5)
    expected = analysis.calibration(P[KNOWN], CLEAN[KNOWN], bins=5)
    assert actual.error == expected.error
    assert actual.count.sum() == 4
    np.testing.assert_array_equal(actual.accuracy, expected.accuracy)
    with pytest.raises(ValueError, match="at least one example whose class is verif"):
        analysis.calibration(P, np.full(6, -1))


def test_label_distance():
    distance = analysis.label_distance(P, NOISY, CLEAN)
    assert np.isnan(distance).tolist() == [True, True, False, False, True, True]
    np.testing.assert_allclose(distance[2:4], [0.9, 0.3])


def test_learning_dynamics():
    watch = callbacks.LearningDynamics(np.zeros((6, 1)), NOISY, CLEAN)
    watch._sums = sums = learning_dynamics._Sums()
    watch.set_model(_Silent())
    watch._add(slice(0, 6), P)
    assert sums("corrupted", "label_agreement") == 0.5
    assert sums("corrupted", "semantic_correction") == 0.5
    # Without the two that nobody has verified.
    assert sums("clean", "label_agreement") == 0.5


class _Silent:
    loss = None


def test_learning_dynamics_refuses():
    x = np.zeros((6, 1))
    with pytest.raises(ValueError, match=r"`noisy_labels` must be .*-1 is no class"):
        callbacks.LearningDynamics(x, CLEAN)
    with pytest.raises(ValueError, match=r"`clean_labels` must be .*, or -1 for an"):
        callbacks.LearningDynamics(x, NOISY, CLEAN - 1)
    watch = callbacks.LearningDynamics(x, NOISY + 1, CLEAN)
    watch._sums = learning_dynamics._Sums()
    watch.set_model(_Silent())
    with pytest.raises(ValueError, match=r"`noisy_labels` must be class ids in \[0, 3"):
        watch._add(slice(0, 6), P)


LATE = {
    "correction_candidates": lambda y: analysis.correction_candidates(P, y),
    "corrupt_labels": lambda y: noise.corrupt_labels(y, np.eye(3), seed=0),
    "estimate_from_confusion": lambda y: noise.estimate_from_confusion(y, P),
    "find_suspects": lambda y: analysis.find_suspects(y, mean_losses=np.arange(6.0)),
    "generate_instance_dependent_noise": lambda y: (
        training.generate_instance_dependent_noise(
            lambda: 0, np.zeros((6, 1)), y, rate=0.5, epochs=1
        )
    ),
    "gradient_density": lambda y: analysis.gradient_density(
        losses.MeanAbsoluteError(), y, P
    ),
    "hold_out_class_conditional_test": lambda y: (
        analysis.hold_out_class_conditional_test(lambda: 0, np.zeros((6, 1)), y, NOISY)
    ),
    "instance_dependent": lambda y: noise.instance_dependent(P, y, 0.5),
    "NoisyLabels": lambda y: noise.NoisyLabels(NOISY, y, 3),
    "plot_softmax_trajectories": lambda y: analysis.plot_softmax_trajectories(
        P[None], NOISY, y
    ),
    "SelfEvolution": lambda y: training.SelfEvolution(lambda: 0).fit(
        np.zeros((6, 1)), y, epochs=1
    ),
    "write_report": lambda y: analysis.write_report("never.html", y, soft_labels=P),
}


@pytest.mark.parametrize("owner", LATE)
def test_given_labels_are_verified_by_nobody_and_have_no_mark(owner):
    with pytest.raises(ValueError, match=f"^{owner}: .* must be .*-1 is no class"):
        LATE[owner](CLEAN)


@pytest.mark.parametrize("owner", LATE)
def test_names_everywhere(owner):
    with pytest.raises(TypeError, match=rf"^{owner}: .* must be .*np\.unique"):
        LATE[owner](np.array(["a", "b", "c", "a", "b", "c"]))


def test_the_hold_out_knows_one_mark():
    clean = np.array([0, 1, 1, 0, -2, -1])
    with pytest.raises(ValueError, match=r"`clean_labels` must be .*\[-2, 1\]"):
        analysis.hold_out_class_conditional_test(
            lambda: 0, np.zeros((6, 1)), NOISY, clean
        )
