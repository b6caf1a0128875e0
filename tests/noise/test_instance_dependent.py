"""Algorithm 1's last step: values by hand, ties, nested rates, bad input."""

import numpy as np
import pytest

from keras_noisy.noise import NoisyLabels, instance_dependent

N, CLASSES = 200, 5
rng = np.random.default_rng(0)
S = rng.dirichlet(np.ones(CLASSES), N).astype("float32")
Y = rng.integers(0, CLASSES, N)


def flip_by_hand(predictions, labels, number):
    """The same by a loop over examples."""
    scores = []
    for i, (p, y) in enumerate(zip(predictions, labels, strict=True)):
        others = [(p[k], -k) for k in range(len(p)) if k != y]
        score, negative = max(others)
        scores.append((-score, i, -negative))
    noisy = np.array(labels)
    for _, i, k in sorted(scores)[:number]:
        noisy[i] = k
    return noisy


def test_by_hand():
    predictions = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]]
    labels = [0, 2, 1, 2]  # N is .3 (1), .2 (1), 0 (0), .3 (0).
    for rate, noisy in [
        (0.0, [0, 2, 1, 2]),
        (0.25, [1, 2, 1, 2]),
        (0.5, [1, 2, 1, 0]),
        (0.75, [1, 1, 1, 0]),
        (1.0, [1, 1, 0, 0]),
    ]:
        result = instance_dependent(predictions, labels, rate)
        assert isinstance(result, NoisyLabels)
        assert result.noisy.tolist() == noisy
        assert result.clean.tolist() == labels
        assert result.rate == rate
        assert result.num_classes == 3


@pytest.mark.parametrize("rate", [0, 0.001, 0.0025, 0.1, 1 / 3, 0.4, 0.9975, 1])
def test_against_a_loop(rate):
    number = int(np.floor(rate * N + 0.5))
    if rate and not number:
        with pytest.warns(UserWarning, match="rounds 0.2 of 200 examples to none"):
            result = instance_dependent(S, Y, rate)
    else:
        result = instance_dependent(S, Y, rate)
    np.testing.assert_array_equal(result.noisy, flip_by_hand(S, Y, number))
    assert result.is_corrupted.sum() == number


def test_rate_zero_flips_nothing():
    assert not instance_dependent(S, Y, 0).is_corrupted.any()


def test_flips_of_a_lower_rate_are_among_those_of_a_higher():
    tied = np.full((N, CLASSES), 1 / CLASSES)
    for predictions in (S, tied):
        before = np.zeros(N, bool)
        for rate in np.linspace(0, 1, 23):
            result = instance_dependent(predictions, Y, rate)
            assert result.is_corrupted[before].all()
            before = result.is_corrupted


def test_ties_take_the_first_example_and_the_lowest_class():
    tied = np.full((6, 3), 1 / 3)
    result = instance_dependent(tied, [0, 1, 2, 0, 1, 2], 0.5)
    assert result.noisy.tolist() == [1, 0, 0, 0, 1, 2]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_dtype_is_kept_and_labels_are_not_changed(dtype):
    labels = Y.astype(dtype)
    result = instance_dependent(S, labels, 0.4)
    assert result.noisy.dtype == dtype
    np.testing.assert_array_equal(labels, Y)


def test_memory_map(tmp_path):
    np.save(tmp_path / "s.npy", S)
    mapped = np.load(tmp_path / "s.npy", mmap_mode="r")
    expected = instance_dependent(S, Y, 0.4)
    assert instance_dependent(mapped, Y, 0.4).digest == expected.digest


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), float("inf")])
def test_bad_rate(rate):
    expected = r"^instance_dependent: `rate` must be a number in \[0, 1\]\. Received"
    with pytest.raises(ValueError, match=expected):
        instance_dependent(S, Y, rate)


@pytest.mark.parametrize("rate", ["0.4", None, True, [0.4]])
def test_rate_of_another_type(rate):
    with pytest.raises(
        TypeError, match=r"^instance_dependent: `rate` must be a number"
    ):
        instance_dependent(S, Y, rate)


def test_bad_predictions():
    text = "^instance_dependent: `mean_predictions` must be"
    nan = S.copy()
    nan[3] = np.nan
    for bad in (S[:, :1, None], S[None], 2 * S, np.log(S), nan):
        with pytest.raises(ValueError, match=text):
            instance_dependent(bad, Y[: len(bad)], 0.4)


def test_bad_labels():
    text = "^instance_dependent: `labels` must be"
    for bad in (Y[1:], np.eye(CLASSES)[Y], Y - 1, Y + 1):
        with pytest.raises(ValueError, match=text):
            instance_dependent(S, bad, 0.4)
    with pytest.raises(TypeError, match=text):
        instance_dependent(S, Y.astype("float32"), 0.4)


def test_no_examples():
    result = instance_dependent(np.zeros((0, 3)), np.zeros(0, int), 0.4)
    assert len(result.noisy) == 0
