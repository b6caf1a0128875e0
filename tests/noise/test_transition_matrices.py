import numpy as np
import pytest

from keras_noisy import noise
from keras_noisy._checks.matrices import check_transition_matrix

# The superclass of each of eight classes; ids of a group are not consecutive.
GROUPS = np.array([0, 1, 0, 1, 0, 1, 0, 1])
ALL = {
    "symmetric": lambda rate: noise.symmetric(7, rate),
    "symmetric, included": lambda rate: noise.symmetric(7, rate, include_original=True),
    "pair_flip": lambda rate: noise.pair_flip(7, rate),
    "two-way": lambda rate: noise.asymmetric(10, noise.CIFAR10_FLIPS_TWO_WAY, rate),
    "one-way": lambda rate: noise.asymmetric(10, noise.CIFAR10_FLIPS_ONE_WAY, rate),
    "pairs": lambda rate: noise.within_groups(GROUPS, rate, seed=3),
    "cyclic": lambda rate: noise.within_groups(GROUPS, rate, kind="cyclic"),
}


def test_symmetric():
    expected = [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.3, 0.3, 0.4]]
    np.testing.assert_allclose(noise.symmetric(3, 0.6), expected, rtol=1e-15)


def test_symmetric_with_the_original_class():
    # 1 - 0.6 + 0.6 / 3 stay: the realised rate is 0.6 * 2 / 3 = 0.4.
    expected = [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]]
    matrix = noise.symmetric(3, 0.6, include_original=True)
    np.testing.assert_allclose(matrix, expected, rtol=1e-15)


def test_symmetric_rate_one():
    np.testing.assert_array_equal(noise.symmetric(2, 1.0), [[0, 1], [1, 0]])
    matrix = noise.symmetric(4, 1, include_original=True)
    np.testing.assert_array_equal(matrix, np.full((4, 4), 0.25))


def test_pair_flip():
    expected = [[0.75, 0.25, 0], [0, 0.75, 0.25], [0.25, 0, 0.75]]
    np.testing.assert_array_equal(noise.pair_flip(3, 0.25), expected)


def test_asymmetric_happens_at_once_and_as_written():
    matrix = noise.asymmetric(4, {0: 1, 1: 0, 2: 1}, 0.25)
    expected = [
        [0.75, 0.25, 0, 0],
        [0.25, 0.75, 0, 0],
        [0, 0.25, 0.75, 0],
        [0, 0, 0, 1],
    ]
    np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize(
    ("flips", "pairs", "rate"),
    [
        (
            noise.CIFAR10_FLIPS_TWO_WAY,
            "truck automobile, automobile truck, bird airplane, airplane bird, "
            "deer horse, horse deer, cat dog, dog cat",
            0.8,
        ),
        (
            noise.CIFAR10_FLIPS_ONE_WAY,
            "truck automobile, bird airplane, deer horse, cat dog, dog cat",
            0.5,
        ),
    ],
)
def test_cifar10_flips(flips, pairs, rate):
    names = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    expected = dict(
        tuple(names.index(name) for name in pair.split()) for pair in pairs.split(", ")
    )
    assert flips == expected
    matrix = noise.asymmetric(10, flips, 1.0)
    assert 1 - matrix.diagonal().mean() == pytest.approx(rate)


def test_within_groups_cyclic():
    matrix = noise.within_groups([5, 9, 5, 9, 5], 0.25, kind="cyclic")
    expected = [
        [0.75, 0, 0.25, 0, 0],
        [0, 0.75, 0, 0.25, 0],
        [0, 0, 0.75, 0, 0.25],
        [0, 0.25, 0, 0.75, 0],
        [0.25, 0, 0, 0, 0.75],
    ]
    np.testing.assert_array_equal(matrix, expected)


def test_within_groups_cyclic_in_blocks_of_five():
    matrix = noise.within_groups(np.arange(100) // 5, 1.0, kind="cyclic")
    targets = matrix.argmax(axis=1)
    assert targets[:10].tolist() == [1, 2, 3, 4, 0, 6, 7, 8, 9, 5]


def test_within_groups_pairs():
    groups = np.arange(100) % 20
    matrix = noise.within_groups(groups, 0.4, seed=0)
    sources, targets = np.nonzero(matrix * (1 - np.eye(100)))
    assert len(sources) == 40
    assert (np.bincount(groups[sources]) == 2).all()
    assert (groups[sources] == groups[targets]).all()
    np.testing.assert_array_equal(matrix, matrix.T)  # Two-way.
    assert 1 - matrix.diagonal().mean() == pytest.approx(0.4 * 0.4)
    np.testing.assert_array_equal(matrix, noise.within_groups(groups, 0.4, seed=0))
    assert (matrix != noise.within_groups(groups, 0.4, seed=1)).any()


def test_within_groups_every_pair_is_equally_likely():
    counts = np.zeros((5, 5))
    for seed in range(1000):
        counts += noise.within_groups(np.zeros(5, int), 1.0, seed=seed) * (
            1 - np.eye(5)
        )
    pairs = counts[np.triu_indices(5, 1)]
    assert pairs.sum() == 1000
    assert ((pairs - 100) ** 2 / 100).sum() < 27.9  # Chi-square, 9 degrees, p = 0.001.


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("rate", [0, 0.1, 1 / 3, 0.7, 1])
def test_every_matrix_is_a_transition_matrix(name, rate):
    matrix = ALL[name](rate)
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(check_transition_matrix("test", matrix), matrix)
    if rate == 0:
        np.testing.assert_array_equal(matrix, np.eye(len(matrix)))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rate_out_of_range(name, rate):
    with pytest.raises(ValueError, match=r"`rate` must be a number in \[0, 1\]\. Rec"):
        ALL[name](rate)


@pytest.mark.parametrize("rate", [None, "0.4", True])
def test_rate_of_a_wrong_type(rate):
    with pytest.raises(TypeError, match=r"pair_flip: `rate` must be a number"):
        noise.pair_flip(3, rate)


@pytest.mark.parametrize(
    "num_classes", [1, 3.0, True, None, np.array([3]), np.array([3, 4])]
)
def test_num_classes(num_classes):
    with pytest.raises(
        ValueError, match="`num_classes` must be an integer of at least 2"
    ):
        noise.symmetric(num_classes, 0.1)


@pytest.mark.parametrize(
    ("flips", "error", "text"),
    [
        ([(0, 1)], TypeError, "must be a mapping from class ids"),
        ({"cat": 5}, TypeError, "Received: flips={'cat': 5}"),
        ({0: 3}, ValueError, r"between class ids in \[0, 3\)\. Received: flips={0: 3}"),
        ({-1: 0}, ValueError, r"between class ids in \[0, 3\)"),
        ({1: 1}, ValueError, "from each class to another class"),
    ],
)
def test_flips(flips, error, text):
    with pytest.raises(error, match=text):
        noise.asymmetric(3, flips, 0.1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (dict(groups=[[0, 0]]), "`groups` must be class ids of shape"),
        (dict(groups=[0.0, 0.0]), "`groups` must be class ids of an integer"),
        (dict(groups=np.zeros(0, int)), "groups of at least two classes"),
        (dict(groups=[0, 0, 4], kind="cyclic"), r"Groups of one class: \[4\]"),
        (dict(groups=[0, 0], kind="triple"), "`kind` must be one of 'pair', 'cyclic'"),
    ],
)
def test_groups(arguments, text):
    with pytest.raises((TypeError, ValueError), match=text):
        noise.within_groups(rate=0.1, seed=0, **arguments)


def test_pairs_need_a_seed():
    with pytest.raises(TypeError, match=r"within_groups: `seed` must.*pass seed=0"):
        noise.within_groups([0, 0], 0.1)


@pytest.mark.parametrize(
    ("matrix", "error", "text"),
    [
        ([[0.5, 0.5]], ValueError, r"a square array .* Received: .*shape \(1, 2\)"),
        ([[1.0]], ValueError, "at least 2 classes"),
        ([[1, 0], [0, float("nan")]], ValueError, r"finite.* nan at \[1, 1\]"),
        ([[1.5, -0.5], [0, 1]], ValueError, r"non-negative.* -0.5 at \[0, 1\]"),
        ([[1, 0], [0.2, 0.7]], ValueError, "row 1 sums to 0.9"),
        ([[0.7, 0.6], [0.3, 0.4]], ValueError, "looks transposed"),
        ([["a", "b"], ["c", "d"]], TypeError, "a square array of probabilities"),
        ([[1, 0], [0]], TypeError, "a square array of probabilities"),
    ],
)
def test_check_transition_matrix(matrix, error, text):
    with pytest.raises(error, match="Owner: `transition_matrix` must be .*" + text):
        check_transition_matrix("Owner", matrix)


def test_only_a_transposed_matrix_is_called_transposed():
    with pytest.raises(ValueError, match="sums to") as caught:
        check_transition_matrix("Owner", [[1, 0], [0.2, 0.7]])
    assert "transposed" not in str(caught.value)


def test_check_transition_matrix_size():
    with pytest.raises(ValueError, match=r"must be of shape \(4, 4\)"):
        check_transition_matrix("Owner", np.eye(3), num_classes=4)


def test_check_transition_matrix_accepts_float32():
    matrix = noise.symmetric(1000, 0.4).astype("float32")
    checked = check_transition_matrix("Owner", matrix, num_classes=1000)
    assert checked.dtype == np.float64
