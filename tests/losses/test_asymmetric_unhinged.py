"""Asymmetric unhinged loss: `((a - p_y)^q - (a - 1)^q) / q`."""

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref


def oracle(a, q):
    a, q = np.longdouble(a), np.longdouble(q)
    return lambda labels, z: (
        labels * ((a - ref.softmax(z)) ** q - (a - 1) ** q) / q
    ).sum(axis=-1)


def test_values_by_hand():
    # (1.25^2 - 1) / 2
    loss = losses.asymmetric_unhinged([1], [[0.25, 0.75]], a=2, q=2)
    np.testing.assert_allclose(loss, [0.28125], rtol=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize(
    "case",
    [
        (3.0, 0.1),
        (5.5, 3.0),
        (6.3, 1.5),
        (1.5, 0.5),
        (1.5, 2.0),
        (2.0, 4.0),
        (1.5, 5.0),
    ],
)
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, case, dtype):
    ref.check(
        lambda y, z: losses.asymmetric_unhinged(
            y, z, a=case[0], q=case[1], from_logits=True
        ),
        oracle(*case),
        labels,
        dtype,
    )


def test_exponent_one_is_unhinged():
    loss = losses.asymmetric_unhinged(ref.IDS, ref.LOGITS, a=1.3, q=1, from_logits=True)
    p_y = ref.softmax(ref.LOGITS)[np.arange(16), ref.IDS]
    ref.assert_close(loss, 1 - p_y)


@pytest.mark.parametrize("q", [2.0, 3.0, 2.5])
def test_large_constants_keep_the_digits_of_p(q):
    """The two powers differ by a millionth."""
    loss = losses.asymmetric_unhinged(ref.IDS, ref.LOGITS, a=1e6, q=q, from_logits=True)
    p_y = ref.softmax(ref.LOGITS)[np.arange(16), ref.IDS]
    rest = np.longdouble(1e6 - 1)
    expected = rest**q / q * np.expm1(q * np.log1p((1 - p_y) / rest))
    np.testing.assert_allclose(
        ref.to_numpy(loss / rest.astype(float) ** (q - 1)),
        (expected / rest ** (q - 1)).astype(float),
        rtol=2e-5,
        atol=2e-6,
    )


def test_finite_next_to_one():
    z = np.array([[100.0, 0.0], [-100.0, 0.0]], "float32")
    for q in (0.1, 3.0):
        gradient = ref.gradient(
            lambda z, q=q: losses.asymmetric_unhinged(
                [0, 0], z, a=1 + 1e-9, q=q, from_logits=True
            ),
            z,
        )
        assert np.all(np.isfinite(gradient))
