"""ProSelfLC: `(1 - e) q + e p` with `e = g(t) l(p)`, a constant for the gradient.

The clock has its own tests, in tests/callbacks/test_global_trust.py.
"""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks, losses

from . import reference as ref


def trust(g, logits=ref.LOGITS):
    """`e` per example, from the definition."""
    return g * (1 - ref.entropy(logits) / np.log(logits.shape[-1]))


def target(q, g):
    e = trust(g)[:, None]
    return (1 - e) * q + e * ref.softmax(ref.LOGITS)


# --- global trust


def test_global_trust_by_hand():
    assert float(losses.global_trust(0.5)) == 0.5
    g = losses.global_trust([0.0, 0.75, 1.0], exp_base=8)
    expected = [1 / (1 + math.exp(4)), 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-4))]
    np.testing.assert_allclose(ref.to_numpy(g), expected, rtol=1e-6)
    # The first arXiv version.
    g = losses.global_trust(1.0, exp_base=1, transit_time_ratio=0)
    np.testing.assert_allclose(float(g), 1 / (1 + math.exp(-1)), rtol=1e-6)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("exp_base", [1, 8, 16])
def test_global_trust_is_half_at_the_transit_time_and_grows(exp_base, ratio):
    arguments = dict(exp_base=exp_base, transit_time_ratio=ratio)
    half = losses.global_trust(np.float32(ratio), **arguments)
    assert float(half) == pytest.approx(0.5, abs=1e-6)
    g = ref.to_numpy(losses.global_trust(np.linspace(0, 1, 50), **arguments))
    # Near one float32 has no digits left to grow by.
    assert np.all(np.diff(g) >= -1e-7)
    assert np.all(np.diff(g[g < 0.99]) > 0)
    assert np.all((g > 0) & (g <= 1))


def test_global_trust_of_integers():
    """The first and the last iteration are whole numbers."""
    for progress in ([0, 1], np.array([0, 1]), ref.tensor([0, 1], "int32")):
        g = ref.to_numpy(losses.global_trust(progress))
        np.testing.assert_allclose(g, [0.0066929, 0.9933072], rtol=1e-4)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("exp_base", 0),
        ("exp_base", -1.0),
        ("exp_base", math.nan),
        ("exp_base", math.inf),
        ("transit_time_ratio", -0.1),
        ("transit_time_ratio", 1.1),
        ("transit_time_ratio", math.nan),
    ],
)
def test_bad_trust(argument, value):
    with pytest.raises(ValueError, match=f"global_trust: `{argument}` must be"):
        losses.global_trust(0.5, **{argument: value})
    with pytest.raises(ValueError, match=f"ProSelfLC: `{argument}` must be"):
        losses.ProSelfLC(**{argument: value})


# --- local trust


@pytest.mark.parametrize("dtype", ref.FLOATS)
def test_local_trust(dtype):
    trusts = losses.local_trust(ref.tensor(ref.LOGITS, dtype), from_logits=True)
    ref.assert_close(trusts, trust(1.0), dtype)
    np.testing.assert_allclose(losses.local_trust([[0.25, 0.75]]), [0.188722], 1e-5)


def test_local_trust_stays_in_its_interval():
    far = np.array([[100, -100, 0], [1e4, -1e4, 0], [0, 0, 0], [7, 7, 7]], "float32")
    trusts = ref.to_numpy(losses.local_trust(far, from_logits=True))
    np.testing.assert_allclose(trusts, [1, 1, 0, 0], atol=1e-6)
    many = np.zeros((1, 1000), "float32")
    trusts = ref.to_numpy(losses.local_trust(many, from_logits=True))
    assert np.all((trusts >= 0) & (trusts <= 1e-6))


# --- the loss


def test_values_by_hand():
    # l = 0.7965300; with e = 0.4, q~ = [.38, .004, .616].
    p = np.array([[0.95, 0.01, 0.04]])
    loss = losses.proselflc([2], p, global_trust=0.4 / 0.7965300)
    expected = -np.array([0.38, 0.004, 0.616]) @ np.log(p[0])
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)
    # A uniform prediction is not trusted, and a certain one wholly.
    loss = losses.proselflc([2], [[0.25] * 4], global_trust=1.0)
    np.testing.assert_allclose(loss, [np.log(4)], rtol=1e-6)
    loss = losses.proselflc([1], [[1.0, 0.0]], global_trust=1.0)
    np.testing.assert_allclose(loss, [0.0], atol=1e-6)


def test_labelled_class_keeps_the_argmax_in_the_first_half():
    """The target `d loss / d(-log p)`, read off as `p - gradient` with it stopped."""
    g = float(losses.global_trust(0.499, exp_base=16))
    z = np.array([[100.0, -100, 0], [3, 0, 0], [0, 0, 0], [-9, 9, 8]], "float32")
    ids = np.array([1, 2, 0, 0])
    assert np.all(ref.to_numpy(losses.local_trust(z, from_logits=True)) * g < 0.5)
    # e on both sides, from the gradient of H(q, p) that is left over.
    gradient = ref.gradient(
        lambda z: losses.proselflc(
            ids, z, global_trust=g, from_logits=True, stop_target_gradient=True
        ),
        z,
    )
    target = ref.softmax(z) - gradient
    np.testing.assert_array_equal(target.argmax(axis=1), ids)


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("g", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_oracle(q, g, dtype, stop):
    loss = losses.proselflc(
        q,
        ref.tensor(ref.LOGITS, dtype),
        global_trust=g,
        from_logits=True,
        stop_target_gradient=stop,
    )
    ref.assert_close(loss, ref.cross_entropy(target(q, g), ref.LOGITS), dtype)


def test_probabilities():
    p = ref.softmax(ref.LOGITS).astype("float32")
    loss = losses.proselflc(ref.IDS, p, global_trust=0.6)
    ref.assert_close(loss, ref.cross_entropy(target(ref.ONE_HOT, 0.6), ref.LOGITS))


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
def test_gradient_with_trust_constant(q, dtype):
    actual = ref.gradient(
        lambda z: losses.proselflc(q, z, global_trust=0.7, from_logits=True),
        ref.LOGITS.astype(dtype),
    )
    e = trust(0.7)[:, None]
    only_scaled = (1 - e) * (ref.softmax(ref.LOGITS) - q)
    expected = only_scaled + e * ref.entropy_gradient(ref.LOGITS)
    ref.assert_close(actual, expected, dtype)
    assert np.abs(actual - only_scaled).max() > 0.01


@pytest.mark.parametrize("dtype", ref.FLOATS)
def test_gradient_with_the_target_stopped(dtype):
    actual = ref.gradient(
        lambda z: losses.proselflc(
            ref.IDS, z, global_trust=0.7, from_logits=True, stop_target_gradient=True
        ),
        ref.LOGITS.astype(dtype),
    )
    expected = ref.softmax(ref.LOGITS) - target(ref.ONE_HOT, 0.7)
    ref.assert_close(actual, expected, dtype)


def test_no_trust_is_cross_entropy():
    loss = losses.proselflc(
        ref.IDS, ref.tensor(ref.LOGITS), global_trust=0, from_logits=True
    )
    ref.assert_close(loss, ref.cross_entropy(ref.ONE_HOT, ref.LOGITS))


def test_global_trust_may_be_a_tensor():
    loss = ref.compiled(
        lambda g, z: losses.proselflc(ref.IDS, z, global_trust=g, from_logits=True)
    )(ref.tensor(0.7, "float32"), ref.tensor(ref.LOGITS))
    ref.assert_close(loss, ref.cross_entropy(target(ref.ONE_HOT, 0.7), ref.LOGITS))


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_bad_global_trust(value):
    with pytest.raises(ValueError, match="proselflc: `global_trust` must be"):
        losses.proselflc([1], [[0.25, 0.75]], global_trust=value)


def test_extreme_logits():
    z = np.array([[100.0, -100.0, 0.0], [-100.0, 100.0, 100.0]], "float32")
    loss = losses.proselflc([1, 0], z, global_trust=0.7, from_logits=True)
    e = 0.7 * (1 - math.log(2) / math.log(3))
    ref.assert_close(loss, [0.3 * 200, (1 - e) * 200 + math.log(2)])


# --- the class, without a clock


def test_class_starts_at_no_progress():
    loss = losses.ProSelfLC(
        exp_base=8, transit_time_ratio=0.25, from_logits=True, reduction=None
    )
    expected = target(ref.ONE_HOT, 1 / (1 + math.exp(2)))
    ref.assert_close(loss(ref.IDS, ref.LOGITS), ref.cross_entropy(expected, ref.LOGITS))


def test_class_warns_once_when_it_is_trained_without_its_clock():
    loss = losses.ProSelfLC(from_logits=True, stop_target_gradient=True, reduction=None)
    with pytest.warns(UserWarning, match="trained without its clock") as caught:
        actual = ref.gradient(lambda z: loss(ref.IDS, z), ref.LOGITS)
    assert sum("without its clock" in str(each.message) for each in caught) == 1
    g = 1 / (1 + math.exp(5))
    ref.assert_close(actual, ref.softmax(ref.LOGITS) - target(ref.ONE_HOT, g))
    ref.gradient(lambda z: loss(ref.IDS, z), ref.LOGITS)


def test_class_warns_in_fit_and_not_in_evaluate():
    def model():
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
        model.compile("sgd", losses.ProSelfLC(from_logits=True))
        return model

    model().evaluate(ref.LOGITS, ref.IDS, verbose=0)
    with pytest.warns(UserWarning, match=r"callbacks=\[keras_noisy.callbacks.Glob"):
        model().fit(ref.LOGITS, ref.IDS, verbose=0)


def test_stop_target_gradient_is_a_bool():
    with pytest.raises(TypeError, match="ProSelfLC: `stop_target_gradient` must be"):
        losses.ProSelfLC(stop_target_gradient="no")


def test_trust_of_a_sequence():
    z = np.stack([ref.LOGITS, ref.LOGITS])
    assert losses.local_trust(ops.convert_to_tensor(z), from_logits=True).shape == (
        2,
        16,
    )


# --- what trust is made of: Fig. 2

G = 0.7


def weights(kind, g=G):
    """`e` per example, from the definition."""
    local = trust(1.0)
    return {
        "both": g * local,
        "global": np.full_like(local, g),
        "local": local,
        0.5: np.full_like(local, 0.5),
    }[kind]


def target_of(kind, q=ref.ONE_HOT, g=G):
    e = weights(kind, g)[:, None]
    return (1 - e) * q + e * ref.softmax(ref.LOGITS)


KINDS = ["both", "global", "local", 0.5]


@pytest.mark.parametrize("q", [ref.ONE_HOT, ref.SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_trust_is_made_of(kind, q):
    g = G if kind in ("both", "global") else None
    arguments = dict(global_trust=g, trust=kind, from_logits=True)
    loss = losses.proselflc(q, ref.tensor(ref.LOGITS), **arguments)
    ref.assert_close(loss, ref.cross_entropy(target_of(kind, q), ref.LOGITS))
    actual = ref.gradient(lambda z: losses.proselflc(q, z, **arguments), ref.LOGITS)
    e = weights(kind)[:, None]
    expected = (1 - e) * (ref.softmax(ref.LOGITS) - q)
    ref.assert_close(actual, expected + e * ref.entropy_gradient(ref.LOGITS))


def test_fixed_trust_is_soft_bootstrapping():
    fixed = losses.ProSelfLC(trust=0.3, from_logits=True, reduction=None)
    other = losses.BootstrapSoft(epsilon=0.3, from_logits=True, reduction=None)
    np.testing.assert_array_equal(
        ref.to_numpy(fixed(ref.IDS, ref.LOGITS)),
        ref.to_numpy(other(ref.IDS, ref.LOGITS)),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_class_says_its_trust_and_its_targets(kind):
    loss = losses.ProSelfLC(
        exp_base=8, transit_time_ratio=0.25, trust=kind, from_logits=True
    )
    g = 1 / (1 + math.exp(2))
    ref.assert_close(loss.self_trust(ref.LOGITS), weights(kind, g))
    targets = loss.modified_targets(ref.IDS, ref.LOGITS)
    ref.assert_close(targets, target_of(kind, g=g))
    again = losses.ProSelfLC.from_config(loss.get_config())
    assert again.trust == kind


@pytest.mark.parametrize("kind", ["local", 0.5])
def test_trust_without_time_needs_no_clock(kind):
    def model():
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
        model.compile("sgd", losses.ProSelfLC(trust=kind, from_logits=True))
        return model

    model().fit(ref.LOGITS, ref.IDS, verbose=0)
    # And has nothing against one, so that variants may share a program.
    logs = model().fit(
        ref.LOGITS, ref.IDS, verbose=0, callbacks=[callbacks.GlobalTrust()]
    )
    assert "global_trust" not in logs.history


def test_global_trust_is_there_where_it_is_used():
    p = [[0.25, 0.75]]
    with pytest.raises(
        ValueError, match=r"proselflc: `global_trust` must be a number in \[0, 1\]"
    ):
        losses.proselflc([1], p)
    with pytest.raises(ValueError, match=r"`global_trust` must be None.*not used"):
        losses.proselflc([1], p, global_trust=0.5, trust="local")


@pytest.mark.parametrize("value", ["fixed", "", None, True, 1.5, -0.1, math.nan])
def test_bad_kind_of_trust(value):
    pattern = "`trust` must be one of 'both', 'global', 'local', or a number in"
    with pytest.raises((ValueError, TypeError), match=f"proselflc: {pattern}"):
        losses.proselflc([1], [[0.25, 0.75]], trust=value)
    with pytest.raises((ValueError, TypeError), match=f"ProSelfLC: {pattern}"):
        losses.ProSelfLC(trust=value)
