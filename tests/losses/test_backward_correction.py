"""Backward correction: `(T^-1 l)_y` with `l_k = -log p_k`."""

import numpy as np
import pytest

from keras_noisy import losses, noise

from . import reference as ref

MATRICES = {
    "identity": np.eye(5),
    "symmetric": noise.symmetric(5, 0.4),
    "pair flip": noise.pair_flip(5, 0.3),
    "one way": noise.asymmetric(5, {1: 0, 2: 0, 3: 0}, 0.4),
    "dense": 0.7 * np.eye(5) + 0.3 * np.random.default_rng(5).dirichlet(np.ones(5), 5),
}


def oracle(matrix):
    inverse = np.linalg.inv(matrix)
    return lambda q, z: -(q * (ref.log_softmax(z) @ inverse.T)).sum(axis=-1)


def test_values_by_hand():
    # T^-1 = [[1.5, -.5], [-1, 2]]: log .25 - 2 log .75
    loss = losses.backward_correction(
        [1], [[0.25, 0.75]], transition_matrix=[[0.8, 0.2], [0.4, 0.6]]
    )
    np.testing.assert_allclose(loss, [-1.3862944 + 0.5753641], rtol=1e-5)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("matrix", [*MATRICES])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, matrix, dtype):
    ref.check(
        lambda y, z: losses.backward_correction(
            y, z, transition_matrix=MATRICES[matrix], from_logits=True
        ),
        oracle(MATRICES[matrix]),
        labels,
        dtype,
        logits=ref.LOGITS / 4,
    )


@pytest.mark.skipif(ref.BACKEND == "torch", reason="compiled as it is eagerly there")
@pytest.mark.parametrize("matrix", [*MATRICES])
@pytest.mark.parametrize("labels", ["ids", "one-hot", "soft", "one row is soft"])
def test_compiled_code_tells_one_hot_labels_from_others(labels, matrix):
    q = ref.ONE_HOT
    if labels == "soft":
        q = ref.SOFT
    elif labels == "one row is soft":
        q = np.where(np.arange(len(q))[:, None] == 1, ref.SOFT, q)

    @ref.compiled
    def function(y, z):
        return losses.backward_correction(
            y, z, transition_matrix=MATRICES[matrix], from_logits=True
        )

    y_true, logits = ref.tensor(ref.IDS if labels == "ids" else q), ref.LOGITS / 4
    expected = oracle(MATRICES[matrix])
    ref.assert_close(function(y_true, ref.tensor(logits)), expected(q, logits))
    ref.assert_close(
        ref.gradient(lambda z: function(y_true, z), logits),
        ref.numerical_gradient(lambda z: expected(q, z), logits),
    )


def test_identity_is_cross_entropy():
    loss = losses.backward_correction(
        ref.IDS, ref.LOGITS, transition_matrix=np.eye(5), from_logits=True
    )
    ref.assert_close(loss, ref.cross_entropy(ref.ONE_HOT, ref.LOGITS))


def test_its_expectation_over_the_noise_is_the_clean_loss():
    matrix = MATRICES["pair flip"]
    loss = losses.backward_correction(
        ref.ONE_HOT @ matrix, ref.LOGITS, transition_matrix=matrix, from_logits=True
    )
    expected = ref.cross_entropy(ref.ONE_HOT, ref.LOGITS).astype("float64")
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-4)


def test_singular_matrix():
    singular = [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    for matrix in (singular, np.full((3, 3), 1 / 3)):
        with pytest.raises(ValueError, match=r"must be invertible.*singular"):
            losses.BackwardCorrection(transition_matrix=matrix)
