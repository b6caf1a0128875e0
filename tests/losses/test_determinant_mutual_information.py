"""DMI: `-log |det(Y' P / N)|`, of the whole batch."""

import keras
import numpy as np
import pytest

from keras_noisy import losses, noise

from . import reference as ref

# Every class is there.
IDS = np.concatenate([np.arange(5), ref.IDS[5:]])
LOGITS = ref.LOGITS / 4


def dmi(y_true, z, **kwargs):
    return losses.determinant_mutual_information(y_true, z, from_logits=True, **kwargs)


def oracle(q, logits):
    joint = (q.T @ ref.softmax(logits)).astype("float64") / len(q)
    return -np.log(np.abs(np.linalg.det(joint)))


def test_values_by_hand():
    # [[.75, .25], [.25, .75]] / 2 has the determinant 1 / 8.
    loss = losses.determinant_mutual_information([0, 1], [[0.75, 0.25], [0.25, 0.75]])
    assert float(loss) == pytest.approx(np.log(8), rel=1e-6)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("q", [np.eye(5)[IDS], ref.SOFT], ids=["hard", "soft"])
def test_oracle(q, dtype):
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    loss = dmi(q, ref.tensor(LOGITS, dtype))
    assert tuple(loss.shape) == ()
    assert float(loss) == pytest.approx(oracle(q, LOGITS), rel=tolerance)
    actual = ref.gradient(lambda z: dmi(q, z), LOGITS.astype(dtype))
    # Of each row in turn, by differences.
    step, expected = 1e-5, np.zeros_like(LOGITS, "float64")
    for index in np.ndindex(*LOGITS.shape):
        shift = np.zeros(LOGITS.shape)
        shift[index] = step
        ahead, behind = oracle(q, LOGITS + shift), oracle(q, LOGITS - shift)
        expected[index] = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=2e-5)


def test_label_forms_and_leading_dimensions():
    expected = float(dmi(IDS, LOGITS))
    for labels in (IDS[:, None], IDS.astype("uint8"), np.eye(5)[IDS], IDS.tolist()):
        assert float(dmi(labels, LOGITS)) == pytest.approx(expected, rel=1e-5)
    loss = dmi(IDS.reshape(4, 4), LOGITS.reshape(4, 4, 5))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    p = ref.softmax(LOGITS).astype("float32")
    loss = losses.determinant_mutual_information(IDS, p)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_noise_adds_a_constant():
    """`det(Y' P) = det(T') det(clean' P)`: the gradient is that of clean labels."""
    matrix = noise.pair_flip(5, 0.3)
    clean = np.eye(5)[IDS]
    difference = float(dmi(clean @ matrix, LOGITS)) - float(dmi(clean, LOGITS))
    expected = -np.log(np.linalg.det(matrix))
    assert difference == pytest.approx(expected, rel=1e-3)
    gradients = [
        ref.gradient(lambda z, q=q: dmi(q, z), LOGITS) for q in (clean @ matrix, clean)
    ]
    np.testing.assert_allclose(*gradients, rtol=1e-2, atol=1e-4)


def test_a_class_that_is_missing():
    """What is left is the determinant of the classes that are there."""
    ids = np.where(IDS == 3, 0, IDS)
    p = ref.softmax(LOGITS)
    joint = (np.eye(5)[ids].T @ p).astype("float64") / 16
    present = [0, 1, 2, 4]
    # The row of class 3 is that of the identity.
    expected = -np.log(np.abs(np.linalg.det(joint[np.ix_(present, present)])))
    assert float(dmi(ids, LOGITS)) == pytest.approx(expected, rel=1e-4)
    assert np.all(np.isfinite(ref.gradient(lambda z: dmi(ids, z), LOGITS)))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_fewer_examples_than_classes(size):
    assert np.isfinite(float(dmi(IDS[:size], LOGITS[:size])))
    gradient = ref.gradient(lambda z: dmi(IDS[:size], z), LOGITS[:size])
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
    "logits",
    [
        np.zeros((16, 5)),
        100 * np.ones((16, 5)),
        np.tile([100.0, -100, 0, 0, 0], (16, 1)),
    ],
    ids=["zeros", "equal", "one class"],
)
def test_singular(logits):
    """A network that predicts the same everywhere."""
    logits = logits.astype("float32")
    assert np.isfinite(float(dmi(IDS, logits)))
    gradient = ref.gradient(lambda z: dmi(IDS, z), logits)
    assert np.all(np.isfinite(gradient)) and np.abs(gradient).max() < 10


def test_many_classes_do_not_underflow():
    """The determinant of 200 balanced classes is 200 ** -200."""
    z = 50 * np.eye(200, dtype="float32")
    expected = 200 * np.log(200)
    assert float(dmi(np.arange(200), z)) == pytest.approx(expected, rel=1e-5)


def test_weights_and_masks():
    weights = np.arange(16) % 3
    repeated = np.repeat(np.arange(16), weights)
    expected = float(dmi(IDS[repeated], LOGITS[repeated]))
    actual = dmi(IDS, LOGITS, sample_weight=weights)
    assert float(actual) == pytest.approx(expected, rel=1e-4)
    loss = losses.DeterminantMutualInformation(from_logits=True)
    for given in (weights, weights[:, None]):
        actual = loss(IDS, LOGITS, sample_weight=given)
        assert float(actual) == pytest.approx(expected, rel=1e-4)
    y_pred = ref.tensor(LOGITS.reshape(4, 4, 5))
    mask = weights.reshape(4, 4) > 0
    y_pred._keras_mask = ref.tensor(mask)
    expected = dmi(IDS[mask.reshape(-1)], LOGITS[mask.reshape(-1)])
    actual = loss(IDS.reshape(4, 4), y_pred)
    assert float(actual) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_masks_of_layers(mode):
    """Of traced JAX arrays Keras keeps them elsewhere."""
    if ref.BACKEND == "torch" and mode == "jit":
        pytest.skip("torch.compile needs a C++ toolchain")
    embedding = keras.layers.Embedding(
        16,
        5,
        mask_zero=True,
        embeddings_initializer=keras.initializers.Constant(LOGITS),
    )
    model = keras.Sequential([keras.Input((4,), dtype="int32"), embedding])
    loss = losses.DeterminantMutualInformation(from_logits=True)
    model.compile(loss=loss, run_eagerly=mode == "eager", jit_compile=mode == "jit")
    tokens = np.arange(16).reshape(4, 4) * (np.arange(4) < 3)
    kept = tokens.ravel() > 0
    expected = dmi(IDS[kept], LOGITS[tokens.ravel()][kept])
    actual = model.evaluate(tokens, IDS.reshape(4, 4), verbose=0)
    assert actual == pytest.approx(float(expected), rel=1e-4)


def test_bad_labels():
    owner = "^determinant_mutual_information: `y_true` must hold class ids"
    with pytest.raises(ValueError, match=owner):
        dmi(IDS + 1, LOGITS)
    compiled = ref.compiled(dmi)
    # torch leaves the singular values to eager code, which sees the ids and raises.
    if ref.BACKEND != "torch":
        assert np.isnan(float(compiled(ref.tensor(IDS + 1), ref.tensor(LOGITS))))
    loss = compiled(ref.tensor(IDS), ref.tensor(LOGITS))
    assert float(loss) == pytest.approx(float(dmi(IDS, LOGITS)), rel=1e-5)


MODES = [{"run_eagerly": True}, {"jit_compile": False}]
if ref.BACKEND != "torch":  # torch.compile needs a C++ toolchain.
    MODES.append({"jit_compile": True})


def trained(**compile_args):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.set_weights([np.eye(5), np.zeros(5)])
    loss = losses.DeterminantMutualInformation(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, **compile_args)
    history = model.fit(
        LOGITS, IDS, batch_size=16, epochs=3, shuffle=False, verbose=0
    ).history
    return history["loss"], model.get_weights()


def test_modes_of_fit_agree():
    expected, weights = trained(run_eagerly=True)
    assert expected[0] == pytest.approx(float(dmi(IDS, LOGITS)), rel=1e-5)
    assert expected[-1] < expected[0]
    for mode in MODES[1:]:
        actual, others = trained(**mode)
        np.testing.assert_allclose(actual, expected, rtol=1e-4)
        for a, b in zip(weights, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.tensorflow_only
def test_two_replicas_see_the_global_batch(strategy):
    expected, weights = trained(jit_compile=False)
    with strategy.scope():
        actual, others = trained(jit_compile=False)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    loss = losses.DeterminantMutualInformation(from_logits=True, dtype=policy)
    z = keras.ops.cast(ref.tensor(LOGITS), policy[6:])
    expected = float(dmi(IDS, ref.to_numpy(keras.ops.cast(z, "float32"))))
    assert float(loss(IDS, z)) == pytest.approx(expected, rel=1e-5)


def test_round_trip():
    loss = losses.DeterminantMutualInformation(
        from_logits=True, reduction="sum", name="mine"
    )
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is losses.DeterminantMutualInformation
    assert again.get_config() == loss.get_config()
    assert float(again(IDS, LOGITS)) == pytest.approx(float(dmi(IDS, LOGITS)))
