"""Forward correction: `-log (T' p)_y`."""

import numpy as np
import pytest

from keras_noisy import losses, noise

from . import reference as ref

MATRICES = {
    "identity": np.eye(5),
    "symmetric": noise.symmetric(5, 0.4),
    "pair flip": noise.pair_flip(5, 0.3),
    "one way": noise.asymmetric(5, {1: 0, 2: 0, 3: 0}, 0.4),
    "mostly wrong": noise.symmetric(5, 0.9),
    "to each class at a rate of its own": (
        0.6 * np.eye(5) + 0.4 * np.tile([0.1, 0.2, 0.3, 0.15, 0.25], (5, 1))
    ),
    "dense": 0.7 * np.eye(5) + 0.3 * np.random.default_rng(5).dirichlet(np.ones(5), 5),
}


def oracle(matrix):
    matrix = np.asarray(matrix, "longdouble")
    return lambda q, z: -(q * np.log(ref.softmax(z) @ matrix)).sum(axis=-1)


def test_values_by_hand():
    # (.25 * .2 + .75 * .6) = .5
    loss = losses.forward_correction(
        [1], [[0.25, 0.75]], transition_matrix=[[0.8, 0.2], [0.4, 0.6]]
    )
    np.testing.assert_allclose(loss, [np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("matrix", [*MATRICES])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, matrix, dtype):
    ref.check(
        lambda y, z: losses.forward_correction(
            y, z, transition_matrix=MATRICES[matrix], from_logits=True
        ),
        oracle(MATRICES[matrix]),
        labels,
        dtype,
    )


@pytest.mark.parametrize("labels", [ref.IDS, ref.SOFT], ids=["hard", "soft"])
def test_identity_is_cross_entropy(labels):
    far = np.concatenate(
        [ref.LOGITS[:14], [[100, -100, 0, 0, 0], [-100, 100, 0, 0, 0]]]
    )
    far = far.astype("float32")
    loss = losses.forward_correction(
        labels, far, transition_matrix=np.eye(5), from_logits=True
    )
    q = ref.ONE_HOT if labels is ref.IDS else ref.SOFT
    ref.assert_close(loss, ref.cross_entropy(q, far))
    actual = ref.gradient(
        lambda z: losses.forward_correction(
            labels, z, transition_matrix=np.eye(5), from_logits=True
        ),
        far,
    )
    ref.assert_close(actual, ref.softmax(far) - q)


@pytest.mark.parametrize("labels", [ref.IDS, ref.SOFT], ids=["hard", "soft"])
def test_probabilities_that_underflow(labels):
    """`T' p` itself would be zero for classes that nothing likely turns into."""
    z = np.tile(np.array([[200, 0, -200, 0, 0]], "float32"), (16, 1))
    loss = losses.forward_correction(
        labels, z, transition_matrix=MATRICES["pair flip"], from_logits=True
    )
    q = ref.ONE_HOT if labels is ref.IDS else ref.SOFT
    ref.assert_close(loss, oracle(MATRICES["pair flip"])(q, z))


def test_a_class_that_no_label_can_come_from_is_finite():
    matrix = [[1.0, 0.0], [1.0, 0.0]]
    z = np.array([[1.0, 2.0]], "float32")
    for labels in ([1], np.array([[0.5, 0.5]])):
        function = lambda z, labels=labels: losses.forward_correction(  # noqa: E731
            labels, z, transition_matrix=matrix, from_logits=True
        )
        assert np.all(np.isfinite(ref.to_numpy(function(z))))
        assert np.all(np.isfinite(ref.gradient(function, z)))


def test_leads_to_the_clean_minimiser():
    """The expected loss under the noise is least at the clean distribution."""
    matrix, clean = MATRICES["pair flip"], ref.SOFT
    noisy = clean @ matrix
    gradient = ref.gradient(
        lambda z: losses.forward_correction(
            noisy, z, transition_matrix=matrix, from_logits=True
        ),
        np.log(clean).astype("float32"),
    )
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_errors():
    transposed = MATRICES["one way"].T
    with pytest.raises(ValueError, match=r"looks transposed, pass its `\.T`"):
        losses.ForwardCorrection(transition_matrix=transposed)
    with pytest.raises(ValueError, match=r"must be of shape \(5, 5\)"):
        losses.forward_correction(
            ref.IDS, ref.LOGITS, transition_matrix=np.eye(4), from_logits=True
        )
