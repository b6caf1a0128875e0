"""Distillation: against training on mixed labels, and written out in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import losses, training
from tests.helpers import softmax

CLASSES, FEATURES, SIZE = 3, 5, 24
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SIZE, FEATURES)).astype("float32")
Y = RNG.integers(0, CLASSES, SIZE)
EPSILON, TEMPERATURE = 0.3, 3.0


def network(seed, activation=None, units=CLASSES):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(units, activation)]
    )


def cross_entropy(from_logits=True):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def distilled(loss=None, rate=0.5, **arguments):
    arguments = {"epsilon": EPSILON, "from_logits": True, **arguments}
    model = training.Distillation(network(1), network(2), **arguments)
    model.compile(keras.optimizers.SGD(rate), loss or cross_entropy())
    return model


def fit(model, y=Y, x=X, **arguments):
    arguments = {"epochs": 3, "batch_size": 8, "shuffle": False, **arguments}
    return model.fit(x, y, verbose=0, **arguments)


def test_it_is_cross_entropy_to_corrected_labels():
    model = distilled()
    before = model.teacher.get_weights()
    teacher = softmax(model.teacher.predict(X, verbose=0))
    fit(model)
    other = network(1)
    other.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    fit(other, (1 - EPSILON) * np.eye(CLASSES)[Y] + EPSILON * teacher)
    for own, expected in zip(
        model.network.get_weights(), other.get_weights(), strict=True
    ):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-6)
    for own, expected in zip(model.teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, expected)


@pytest.mark.every_backend
def test_training_by_hand():
    model = distilled(temperature=TEMPERATURE)
    w, b = (value.astype("float64") for value in model.network.get_weights())
    tw, tb = (value.astype("float64") for value in model.teacher.get_weights())
    weights = np.linspace(0.2, 1.8, SIZE)
    fit(model, sample_weight=weights)
    for _ in range(3):
        for start in range(0, SIZE, 8):
            rows = slice(start, start + 8)
            x, z = X[rows].astype("float64"), X[rows] @ w + b
            soft = softmax(z / TEMPERATURE) - softmax((x @ tw + tb) / TEMPERATURE)
            slope = (1 - EPSILON) * (softmax(z) - np.eye(CLASSES)[Y[rows]])
            slope += EPSILON * TEMPERATURE * soft
            slope *= weights[rows, None] / 8
            w, b = w - 0.5 * x.T @ slope, b - 0.5 * slope.sum(axis=0)
    for own, expected in zip(model.network.get_weights(), (w, b), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5)


def test_probabilities_and_a_robust_loss():
    teacher, student = network(2, "softmax"), network(1, "softmax")
    model = training.Distillation(student, teacher, epsilon=EPSILON)
    model.compile(keras.optimizers.SGD(0.5), losses.GeneralizedCrossEntropy(q=0.7))
    loss = model.compute_loss(X, Y, student(X), training=True)
    p, t = student.predict(X, verbose=0), teacher.predict(X, verbose=0)
    of_labels = (1 - p[np.arange(SIZE), Y] ** 0.7) / 0.7
    of_teacher = -np.sum(t * np.log(p), axis=1)
    expected = np.mean((1 - EPSILON) * of_labels + EPSILON * of_teacher)
    assert float(ops.convert_to_numpy(loss)) == pytest.approx(expected, rel=1e-5)


def test_evaluation_is_that_of_the_network():
    model = distilled()
    alone = model.network
    expected = float(ops.convert_to_numpy(cross_entropy()(Y, alone(X))))
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        model.predict(X, verbose=0), ops.convert_to_numpy(alone(X)), rtol=1e-5
    )


def test_penalties_of_layers_are_not_weighted():
    plain, kernel = network(1), network(1).get_weights()[0]
    held = keras.layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(0.1))
    student = keras.Sequential([keras.Input((FEATURES,)), held])
    student.set_weights(plain.get_weights())
    found = []
    for each in (student, plain):
        model = training.Distillation(each, network(2), from_logits=True)
        model.compile("sgd", cross_entropy())
        output = model(X, training=True)
        loss = model.compute_loss(X, Y, output, training=True)
        found.append(float(ops.convert_to_numpy(loss)))
    assert found[0] - found[1] == pytest.approx(0.1 * np.sum(kernel**2), rel=1e-3)


def test_saved_and_loaded(tmp_path):
    model = distilled(temperature=TEMPERATURE)
    fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.epsilon, loaded.temperature) == (EPSILON, TEMPERATURE)
    assert loaded.from_logits and not loaded.teacher.trainable
    fit(model, epochs=2)
    fit(loaded, epochs=2)
    for own, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.tensorflow_only
def test_two_replicas(strategy):
    one = distilled(temperature=TEMPERATURE)
    fit(one)
    with strategy.scope():
        two = distilled(temperature=TEMPERATURE)
    fit(two)
    for own, expected in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)


def test_self_distillation_trains_two():
    made = []

    def build_model():
        made.append(network(len(made)))
        made[-1].compile(
            keras.optimizers.SGD(0.5), cross_entropy(), metrics=["accuracy"]
        )
        return made[-1]

    model = training.self_distillation(
        build_model,
        X,
        Y,
        epsilon=EPSILON,
        temperature=TEMPERATURE,
        from_logits=True,
        epochs=3,
        batch_size=8,
        shuffle=False,
        verbose=0,
    )
    teacher, student = network(0), network(1)
    teacher.compile(keras.optimizers.SGD(0.5), cross_entropy())
    fit(teacher)
    by_hand = training.Distillation(
        student, teacher, epsilon=EPSILON, temperature=TEMPERATURE, from_logits=True
    )
    by_hand.compile(keras.optimizers.SGD(0.5), cross_entropy())
    fit(by_hand)
    assert model.teacher is made[0] and model.network is made[1]
    for own, expected in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)
    assert set(model.evaluate(X, Y, verbose=0, return_dict=True)) == {
        "loss",
        "accuracy",
    }


def test_errors():
    one, other = network(1), network(2)
    with pytest.raises(ValueError, match="Distillation: `teacher` must be another mod"):
        training.Distillation(one, one)
    with pytest.raises(
        TypeError, match=r"Distillation: `teacher` must be a keras\.Model"
    ):
        training.Distillation(one, "other")
    for name, value in (("epsilon", 1.5), ("temperature", 0.0)):
        with pytest.raises(ValueError, match=f"Distillation: `{name}` must be"):
            training.Distillation(one, other, **{name: value})
    model = training.Distillation(one, other)
    model.compile("sgd", cross_entropy())
    with pytest.raises(
        ValueError, match=r"`from_logits` must be True, as the loss was"
    ):
        fit(model)
    model = distilled(losses.DeterminantMutualInformation(from_logits=True))
    with pytest.raises(ValueError, match="one value for each example"):
        fit(model)
    wider = training.Distillation(network(1), network(2, units=4), from_logits=True)
    wider.compile("sgd", cross_entropy())
    with pytest.raises(
        ValueError, match="`teacher_pred` must have the shape of y_pred"
    ):
        fit(wider)


@pytest.mark.parametrize(
    ("build_model", "error", "text"),
    [
        (None, TypeError, "a function that returns a compiled model"),
        (lambda: 1, TypeError, r"a function that returns a keras\.Model"),
        (lambda: network(0), ValueError, "a function that returns a compiled model"),
    ],
)
def test_errors_of_self_distillation(build_model, error, text):
    with pytest.raises(error, match=f"self_distillation: `build_model` must be {text}"):
        training.self_distillation(build_model, X, Y)
