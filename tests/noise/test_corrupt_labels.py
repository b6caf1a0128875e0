import os
import subprocess
import sys

import numpy as np
import pytest

from keras_noisy import noise

CLASSES = 10
LABELS = np.random.default_rng(0).integers(0, CLASSES, 50_000)
MATRICES = {
    "symmetric": noise.symmetric(CLASSES, 0.4),
    "symmetric, included": noise.symmetric(CLASSES, 0.4, include_original=True),
    "pair_flip": noise.pair_flip(CLASSES, 0.45),
    "two-way": noise.asymmetric(CLASSES, noise.CIFAR10_FLIPS_TWO_WAY, 0.3),
    "cyclic": noise.within_groups(np.arange(10) % 2, 0.2, kind="cyclic"),
    "any": np.random.default_rng(1).dirichlet(np.full(CLASSES, 0.5), size=CLASSES),
    "identity": np.eye(CLASSES),
    "float32": noise.symmetric(CLASSES, 0.4).astype("float32"),
}
# These never change: a paper that quotes a digest must be reproducible.
GOLDEN_DIGESTS = {
    ("symmetric", True): (
        "423883575efbd42a483a2b1ceb9c3400c3849b9d21f672efd05a909864cc85f6"
    ),
    ("symmetric", False): (
        "5f2d9dae59271d83bc547de3cc01ad2f3ebd524b276db371628bb7233cec64f1"
    ),
    ("any", True): ("dc81664e168e7a5cee0f093a71acee399a0e502af3c7dd5ba40219fa38540d0c"),
    ("any", False): (
        "52ff4dcd96cbf372fff4ef6ae8060a9cbe4f47f59d0eda83ed036774a79da6cb"
    ),
}
GOLDEN_LABELS = np.arange(1000) * 7 % CLASSES


def counts_of(result):
    counts = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(counts, (result.clean, result.noisy), 1)
    return counts


@pytest.mark.parametrize("name", MATRICES)
def test_exact_counts(name):
    """As many flips as the rate says, and every target within one of its share."""
    matrix = MATRICES[name]
    counts = counts_of(noise.corrupt_labels(LABELS, matrix, seed=1))
    sizes = np.bincount(LABELS, minlength=CLASSES)
    rates = 1 - matrix.diagonal().astype("float64")
    flips = np.floor(rates * sizes + 0.5 + 1e-6)
    np.testing.assert_array_equal(sizes - counts.diagonal(), flips)
    shares = matrix * (1 - np.eye(CLASSES))
    quotas = shares * (flips / np.where(rates > 0, rates, 1))[:, None]
    difference = (counts - quotas) * (1 - np.eye(CLASSES))
    assert np.abs(difference).max() < 1 + 1e-3
    assert (counts[matrix == 0] == 0).all()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", MATRICES)
def test_chi_square_against_the_matrix(name, exact):
    matrix = MATRICES[name].astype("float64")
    counts = counts_of(noise.corrupt_labels(LABELS, matrix, seed=2, exact=exact))
    expected = matrix * counts.sum(axis=1, keepdims=True)
    assert (counts[matrix == 0] == 0).all()
    seen = expected > 5
    statistic = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
    degrees = max(seen.sum() - CLASSES, 0)
    # Far in the tail: mean + 4.5 standard deviations.
    assert statistic <= degrees + 4.5 * np.sqrt(2 * degrees)
    if exact:
        assert statistic < 1


@pytest.mark.parametrize("exact", [True, False])
def test_who_flips_is_independent_of_position(exact):
    result = noise.corrupt_labels(LABELS, MATRICES["symmetric"], seed=3, exact=exact)
    flipped = result.is_corrupted.astype("float64")
    for step in (1, 2, 10, 128):
        correlation = np.corrcoef(flipped[:-step], flipped[step:])[0, 1]
        assert abs(correlation) < 4.5 / np.sqrt(len(LABELS))
    blocks = flipped.reshape(50, -1).mean(axis=1)
    assert np.abs(blocks - 0.4).max() < 4.5 * np.sqrt(0.24 / 1000)


@pytest.mark.parametrize("exact", [True, False])
def test_seeds_are_independent(exact):
    results = [
        noise.corrupt_labels(LABELS, MATRICES["symmetric"], seed=seed, exact=exact)
        for seed in (0, 1, 2**63 - 1)
    ]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        both = results[first].is_corrupted & results[second].is_corrupted
        assert abs(both.mean() - 0.16) < 4.5 * np.sqrt(0.16 * 0.84 / len(LABELS))


@pytest.mark.parametrize(
    ("rate", "size", "flips"),
    [
        (0.5, 5, 3),  # 2.5 is rounded up,
        (0.15, 10, 2),  # also where 1 - (1 - 0.15) is a little off.
        (0.35, 10, 4),
        (0.45, 10, 5),
        (0.1, 4, 0),
        (0.1, 5, 1),
        (0.9, 1, 1),
        (1.0, 7, 7),
        (0.0, 7, 0),
    ],
)
def test_rounding(rate, size, flips):
    arguments = np.zeros(size, int), noise.symmetric(4, rate)
    if 0 < rate < 1 and flips in (0, size):
        text = f"rounds {rate * size:.3g} of the {size} examples of class 0 to {flips},"
        with pytest.warns(UserWarning, match=text):
            result = noise.corrupt_labels(*arguments, seed=0)
    else:
        result = noise.corrupt_labels(*arguments, seed=0)
    assert result.is_corrupted.sum() == flips


def test_rounding_names_how_many_classes_are_left_without_noise():
    # Classes of 100, 2, 1 and no example.
    labels = np.repeat([0, 1, 2], [100, 2, 1])
    with pytest.warns(UserWarning, match="class 1 to 0, and 2 of 3 classes in all"):
        noise.corrupt_labels(labels, noise.symmetric(4, 0.2), seed=0)
    noise.corrupt_labels(labels, noise.symmetric(4, 0.2), seed=0, exact=False)


def test_equal_remainders_favour_no_class():
    """One flip of class 0 a time: its target is a fair draw over the seeds."""
    matrix = noise.symmetric(5, 0.5)
    targets = [
        noise.corrupt_labels([0, 0], matrix, seed=seed).noisy.max()
        for seed in range(1000)
    ]
    counts = np.bincount(targets, minlength=5)
    assert counts[0] == 0
    assert ((counts[1:] - 250) ** 2 / 250).sum() < 16.3  # 3 degrees, p = 0.001.


def test_a_lower_rate_flips_some_of_those_that_a_higher_rate_flips():
    low, high = (
        noise.corrupt_labels(LABELS, noise.symmetric(CLASSES, rate), seed=0)
        for rate in (0.2, 0.4)
    )
    assert (high.is_corrupted | ~low.is_corrupted).all()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "uint64", ">i4"]
)
def test_dtype_does_not_matter(dtype, exact):
    expected = noise.corrupt_labels(LABELS, MATRICES["any"], seed=5, exact=exact)
    result = noise.corrupt_labels(
        LABELS.astype(dtype), MATRICES["any"], seed=5, exact=exact
    )
    assert result.noisy.dtype == np.dtype(dtype).newbyteorder("=")
    assert result.clean.dtype == result.noisy.dtype
    np.testing.assert_array_equal(result.noisy, expected.noisy)
    assert result.digest == expected.digest


@pytest.mark.parametrize("exact", [True, False])
def test_forms_of_labels(exact):
    matrix = MATRICES["any"]
    expected = noise.corrupt_labels(LABELS, matrix, seed=5, exact=exact).noisy
    forms = (
        LABELS.tolist(),
        LABELS[:, None],
        np.repeat(LABELS, 2)[::2],
        np.asfortranarray(LABELS),
    )
    for labels in forms:
        result = noise.corrupt_labels(labels, matrix, seed=5, exact=exact)
        np.testing.assert_array_equal(result.noisy, expected)


@pytest.mark.parametrize("exact", [True, False])
def test_no_labels(exact):
    result = noise.corrupt_labels([], MATRICES["any"], seed=0, exact=exact)
    assert result.noisy.shape == (0,)


@pytest.mark.parametrize("exact", [True, False])
def test_the_clean_labels_are_a_snapshot(exact):
    labels = LABELS.copy()
    result = noise.corrupt_labels(labels, MATRICES["any"], seed=0, exact=exact)
    np.testing.assert_array_equal(labels, LABELS)
    labels[:] = 0
    np.testing.assert_array_equal(result.clean, LABELS)


@pytest.mark.parametrize("exact", [True, False])
def test_sample_ids_make_the_order_irrelevant(exact):
    order = np.random.default_rng(3).permutation(len(LABELS))
    expected = noise.corrupt_labels(LABELS, MATRICES["any"], seed=5, exact=exact)
    result = noise.corrupt_labels(
        LABELS[order], MATRICES["any"], seed=5, exact=exact, sample_ids=order
    )
    np.testing.assert_array_equal(result.noisy, expected.noisy[order])


def test_a_subset_with_its_sample_ids_gets_the_same_draws():
    expected = noise.corrupt_labels(LABELS, MATRICES["any"], seed=5, exact=False)
    ids = np.arange(0, len(LABELS), 7, dtype=np.uint16)
    result = noise.corrupt_labels(
        LABELS[ids], MATRICES["any"], seed=5, exact=False, sample_ids=ids
    )
    np.testing.assert_array_equal(result.noisy, expected.noisy[ids])


@pytest.mark.parametrize("key", GOLDEN_DIGESTS, ids=str)
def test_golden_digests(key):
    name, exact = key
    # A matrix written out: random numbers of NumPy may change with its version.
    matrix = {
        "symmetric": MATRICES["symmetric"],
        "any": (np.arange(100).reshape(10, 10) % 7) ** 2.0,
    }[name]
    matrix = matrix / matrix.sum(axis=1, keepdims=True)
    result = noise.corrupt_labels(GOLDEN_LABELS, matrix, seed=42, exact=exact)
    assert result.digest == GOLDEN_DIGESTS[key]


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_other_processes_agree(hash_seed):
    program = (
        "import numpy as np\n"
        "from keras_noisy import noise\n"
        "for exact in (True, False):\n"
        "    labels = np.arange(1000) * 7 % 10\n"
        "    matrix = noise.symmetric(10, 0.4)\n"
        "    print(noise.corrupt_labels(labels, matrix, seed=42, exact=exact).digest)\n"
        "print(noise.within_groups(np.arange(10) % 2, 1.0, seed=1).argmax(1))\n"
    )
    environment = dict(os.environ, PYTHONHASHSEED=hash_seed)
    output = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    groups = noise.within_groups(np.arange(10) % 2, 1.0, seed=1).argmax(1)
    assert output == [
        GOLDEN_DIGESTS["symmetric", True],
        GOLDEN_DIGESTS["symmetric", False],
        str(groups),
    ]


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        (dict(labels=LABELS * 1.0), TypeError, "an integer dtype.*astype"),
        (dict(labels=LABELS > 3), TypeError, "an integer dtype.* dtype bool"),
        (dict(labels=np.eye(10, dtype=int)), ValueError, r"labels\.argmax"),
        (dict(labels=np.array(3)), ValueError, r"of shape \(n,\)"),
        (dict(labels=[0, 10]), ValueError, r"in \[0, 10\)\. .*values in \[0, 10\]"),
        (dict(labels=[-1, 3]), ValueError, r"in \[0, 10\)\. .*values in \[-1, 3\]"),
        (
            dict(
                labels=np.zeros(3, "uint8"), transition_matrix=noise.symmetric(300, 0.1)
            ),
            ValueError,
            "of a dtype that can hold class 299.*wider",
        ),
        (dict(transition_matrix=np.eye(10)[:9]), ValueError, "`transition_matrix` mus"),
        (dict(transition_matrix=2 * np.eye(10)), ValueError, "rows sum to one"),
        (dict(seed=None), TypeError, r"`seed` must.*pass seed=0\."),
        (dict(seed=1.0), TypeError, "`seed` must be an integer"),
        (dict(seed=True), TypeError, "`seed` must be an integer"),
        (dict(seed=-1), ValueError, r"`seed` must be an integer in \[0, 2\*\*63\)"),
        (dict(seed=2**63), ValueError, "`seed` must be an integer"),
        (dict(sample_ids=np.arange(3)), ValueError, r"of shape \(50000,\), one id"),
        (dict(sample_ids=LABELS * 1.0), TypeError, "`sample_ids` must be non-neg"),
        (dict(sample_ids=LABELS - 5), ValueError, "non-negative.* minimum -5"),
        (dict(sample_ids=LABELS), ValueError, "different for every label.*more than"),
    ],
)
def test_errors(changes, error, text):
    arguments = dict(labels=LABELS, transition_matrix=MATRICES["any"], seed=0)
    with pytest.raises(error, match="^corrupt_labels: .*" + text):
        noise.corrupt_labels(**{**arguments, **changes})


def test_a_missing_seed():
    with pytest.raises(TypeError, match="Label noise must be reproducible"):
        noise.corrupt_labels(LABELS, MATRICES["any"])
