"""Deep abstention: `(1 - p_0) H_c + alpha log(1 / (1 - p_0))`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref

WIDE = np.concatenate([ref.LOGITS, -ref.LOGITS[:, :1]], axis=-1)


def oracle(alpha):
    def loss(q, logits):
        p = ref.softmax(logits)
        kept = 1 - p[:, -1]
        answers = p[:, :-1] / kept[:, None]
        return kept * -(q * np.log(answers)).sum(axis=-1) - alpha * np.log(kept)

    return loss


def test_values_by_hand():
    # .8 * -log .75 - log .8
    loss = losses.deep_abstention([1], [[0.2, 0.6, 0.2]], alpha=1)
    np.testing.assert_allclose(loss, [0.8 * 0.2876821 + 0.2231436], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("alpha", [0.0, 0.02, 3.0])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, alpha, dtype):
    ref.check(
        lambda q, z: losses.deep_abstention(q, z, alpha=alpha, from_logits=True),
        oracle(alpha),
        labels,
        dtype,
        # Beyond, even long double cannot tell 1 - p_0 from its rounding.
        logits=WIDE / 3,
    )


def test_a_negative_tensor_is_cross_entropy_over_all_outputs():
    z = ref.tensor(WIDE)
    alpha = ref.tensor(-1.0, "float32")
    loss = losses.deep_abstention(ref.IDS, z, alpha=alpha, from_logits=True)
    ref.assert_close(loss, ref.cross_entropy(np.eye(6)[ref.IDS], WIDE))
    alpha = ref.tensor(0.3, "float32")
    loss = losses.deep_abstention(ref.IDS, z, alpha=alpha, from_logits=True)
    expected = losses.deep_abstention(ref.IDS, z, alpha=0.3, from_logits=True)
    ref.assert_close(loss, ref.to_numpy(expected))


def test_certain_abstention():
    """`log(1 - p_0)` keeps its digits where `1 - p_0` is zero in float32."""
    z = np.array([[0.0, 0.0, 100.0]], "float32")
    loss = losses.deep_abstention([0], z, alpha=2, from_logits=True)
    ref.assert_close(loss, [2 * (100 - np.log(2))])
    actual = ref.gradient(
        lambda z: losses.deep_abstention([0], z, alpha=2, from_logits=True), z
    )
    ref.assert_close(actual, [[-1, -1, 2]])


def test_missing_output():
    match = r"^deep_abstention: `y_pred` must have one output more"
    with pytest.raises(ValueError, match=match):
        losses.deep_abstention([[0, 1, 0]], [[0.2, 0.6, 0.2]], alpha=1)
    with pytest.raises(ValueError, match=match):
        losses.deep_abstention([1], [[0.2, 0.8]], alpha=1)
    with pytest.raises(ValueError, match=r"class ids in \[0, 2\)"):
        losses.deep_abstention([2], [[0.2, 0.6, 0.2]], alpha=1)


def test_abstains():
    y_pred = np.array([[[0, 1, 2], [2, 1, 0]], [[1, 1, 1], [-3, -2, -1]]])
    expected = [[True, False], [False, True]]
    assert losses.abstains(y_pred).tolist() == expected
    assert losses.abstains(ref.tensor(y_pred, "float32")).tolist() == expected
    with pytest.raises(ValueError, match=r"^abstains: `y_pred` must have one output"):
        losses.abstains([[0.5, 0.5]])
