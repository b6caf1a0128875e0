"""Targets that users derive from labels and predictions."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import callbacks, losses

from . import reference as ref

P = ref.softmax(ref.LOGITS)
UNIFORM = np.full(P.shape, 1 / ref.NUM_CLASSES)
TRUST = 1 - ref.entropy(ref.LOGITS) / np.log(ref.NUM_CLASSES)


def loss_of(target, labels=ref.IDS, logits=ref.LOGITS):
    return losses.target_modification(labels, logits, target=target, from_logits=True)


def corrected(q, p):
    e = 0.7 * p.local_trust()
    return (1 - e) * q + e * p


TARGETS = {
    "labels": (lambda q, p: q, ref.ONE_HOT),
    "smoothed": (lambda q, p: 0.9 * q + 0.1 * p.uniform(), 0.9 * ref.ONE_HOT + 0.02),
    "penalty": (lambda q, p: 0.8 * q - 0.2 * p, 0.8 * ref.ONE_HOT - 0.2 * P),
    "hard": (
        lambda q, p: (q + p.argmax()) / 2,
        (ref.ONE_HOT + ref.one_hot_argmax(ref.LOGITS)) / 2,
    ),
    "negative": (lambda q, p: -(p - q), ref.ONE_HOT - P),
    "nested": (
        lambda q, p: 0.5 * (0.4 * q + 0.6 * p) + np.float64(0.5) * p.uniform() * 2,
        0.2 * ref.ONE_HOT + 0.3 * P + UNIFORM,
    ),
    "corrected": (
        corrected,
        (1 - 0.7 * TRUST)[:, None] * ref.ONE_HOT + 0.7 * TRUST[:, None] * P,
    ),
    "entropy": (
        lambda q, p: p.entropy() * q,
        ref.entropy(ref.LOGITS)[:, None] * ref.ONE_HOT,
    ),
    "constant": (lambda q, p: 0.5 * q + 0.5 * p.constant(), (ref.ONE_HOT + P) / 2),
    "tensor": (lambda q, p: q.labels * p.probabilities, ref.ONE_HOT * P),
    "part": (lambda q, p: 0.5 * q + p.of(p.probabilities**2), 0.5 * ref.ONE_HOT + P**2),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", TARGETS)
def test_is_cross_entropy_to_the_target(name, compiled):
    target, expected = TARGETS[name]
    function = lambda y, z: loss_of(target, y, z)  # noqa: E731
    if compiled:
        function = ref.compiled(function)
    loss = function(ref.tensor(ref.IDS), ref.tensor(ref.LOGITS))
    ref.assert_close(loss, ref.cross_entropy(expected, ref.LOGITS))


@pytest.mark.parametrize("name", ["corrected", "constant", "tensor", "part"])
def test_gradient(name):
    """The target carries gradient, and the numbers about the prediction do not."""
    trust = TRUST[:, None]
    exact = {
        "corrected": lambda p: (1 - 0.7 * trust) * ref.ONE_HOT + 0.7 * trust * p,
        "constant": lambda p: (ref.ONE_HOT + P) / 2,
        "tensor": lambda p: ref.ONE_HOT * p,
        "part": lambda p: 0.5 * ref.ONE_HOT + p**2,
    }[name]
    actual = ref.gradient(lambda z: loss_of(TARGETS[name][0], ref.IDS, z), ref.LOGITS)
    expected = ref.numerical_gradient(
        lambda z: ref.cross_entropy(exact(ref.softmax(z)), z), ref.LOGITS
    )
    ref.assert_close(actual, expected)


def test_proselflc_in_three_lines():
    loss = loss_of(corrected)
    expected = losses.proselflc(ref.IDS, ref.LOGITS, global_trust=0.7, from_logits=True)
    np.testing.assert_array_equal(ref.to_numpy(loss), ref.to_numpy(expected))


def test_weights_of_their_own_for_each_example():
    weight = np.linspace(0, 1, 16).astype("float32")
    loss = loss_of(lambda q, p: ref.tensor(weight) * q + (1 - ref.tensor(weight)) * p)
    target = weight[:, None] * ref.ONE_HOT + (1 - weight)[:, None] * P
    ref.assert_close(loss, ref.cross_entropy(target, ref.LOGITS))


def test_products_of_targets_are_refused():
    with pytest.raises(TypeError, match="cannot be multiplied with each other"):
        loss_of(lambda q, p: q * p)


@keras.saving.register_keras_serializable(package="tests")
def sharpened(q, p):
    power = p.probabilities**2
    power = power / ops.sum(power, axis=-1, keepdims=True)
    return 0.5 * q + 0.5 * p.of(ops.stop_gradient(power))


def test_saved_by_name(tmp_path):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    loss = losses.TargetModification(target=sharpened, from_logits=True)
    model.compile("sgd", loss)
    model.fit(ref.LOGITS, ref.IDS, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.target is sharpened
    expected = model.evaluate(ref.LOGITS, ref.IDS, verbose=0)
    actual = loaded.evaluate(ref.LOGITS, ref.IDS, verbose=0)
    assert actual == pytest.approx(expected, rel=1e-6)


def test_a_lambda_trains_but_is_not_saved():
    loss = losses.TargetModification(target=lambda q, p: q, from_logits=True)
    expected = ref.cross_entropy(ref.ONE_HOT, ref.LOGITS).mean()
    assert float(loss(ref.IDS, ref.LOGITS)) == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(ValueError, match=r"`target` must be a registered function"):
        loss.get_config()


# --- targets that follow the training time


@keras.saving.register_keras_serializable(package="tests")
def corrected_in_time(q, p, progress):
    e = losses.global_trust(progress, exp_base=8.0) * p.local_trust()
    return (1 - e) * q + e * p


def train(loss, **kwargs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.compile(keras.optimizers.SGD(0.5), loss, **kwargs)
    clock = callbacks.GlobalTrust()
    arguments = dict(batch_size=4, epochs=3, verbose=0, callbacks=[clock])
    model.fit(ref.LOGITS, ref.IDS, **arguments)
    return model


def test_a_target_in_time_trains_as_proselflc():
    own = losses.TargetModification(target=corrected_in_time, from_logits=True)
    found = train(own).get_weights()
    loss = losses.ProSelfLC(exp_base=8.0, from_logits=True)
    for actual, expected in zip(found, train(loss).get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)
    still = losses.TargetModification(target=corrected, from_logits=True)
    assert np.abs(found[0] - train(still).get_weights()[0]).max() > 1e-3


def test_time_is_saved_with_the_model(tmp_path):
    model = train(losses.TargetModification(target=corrected_in_time, from_logits=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config()["saved_time"] == [12, 12]
    expected = model.evaluate(ref.LOGITS, ref.IDS, verbose=0)
    actual = loaded.evaluate(ref.LOGITS, ref.IDS, verbose=0)
    assert actual == pytest.approx(expected, rel=1e-6)


def test_progress_of_the_function():
    loss = losses.target_modification(
        ref.IDS,
        ref.LOGITS,
        target=corrected_in_time,
        progress=0.75,
        from_logits=True,
    )
    e = (TRUST / (1 + np.exp(-2)))[:, None]
    expected = ref.cross_entropy((1 - e) * ref.ONE_HOT + e * P, ref.LOGITS)
    ref.assert_close(loss, expected)


def test_an_argument_of_another_name_is_left_alone():
    target = lambda q, p, e=0.5: (1 - e) * q + e * p  # noqa: E731
    ref.assert_close(
        loss_of(target), ref.cross_entropy((ref.ONE_HOT + P) / 2, ref.LOGITS)
    )


def test_progress_is_there_where_it_is_used():
    with pytest.raises(ValueError, match="`target` has an argument `progress`"):
        loss_of(corrected_in_time)
    with pytest.raises(ValueError, match="`progress` must be None"):
        losses.target_modification(ref.IDS, P, target=corrected, progress=0.5)
    with pytest.raises(ValueError, match="target_modification: `progress` must be"):
        losses.target_modification(ref.IDS, P, target=corrected_in_time, progress=-1)


def test_a_target_in_time_warns_without_its_clock():
    loss = losses.TargetModification(target=corrected_in_time, from_logits=True)
    with pytest.warns(UserWarning, match="TargetModification is being trained without"):
        ref.gradient(lambda z: loss(ref.IDS, z), ref.LOGITS)


# --- the target itself


@pytest.mark.parametrize("name", TARGETS)
def test_modified_targets(name):
    target, expected = TARGETS[name]
    loss = losses.TargetModification(target=target, from_logits=True)
    ref.assert_close(loss.modified_targets(ref.IDS, ref.LOGITS), expected)


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (losses.LabelSmoothing, UNIFORM),
        (losses.ConfidencePenalty, -P),
        (losses.BootstrapSoft, P),
        (losses.BootstrapHard, ref.one_hot_argmax(ref.LOGITS)),
    ],
)
def test_modified_targets_of_the_fixed_forms(loss, target):
    loss = loss(epsilon=0.3, from_logits=True)
    expected = 0.7 * ref.ONE_HOT + 0.3 * target
    ref.assert_close(loss.modified_targets(ref.IDS, ref.LOGITS), expected)
