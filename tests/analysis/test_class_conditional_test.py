import math

import keras
import numpy as np
import pytest

from keras_noisy import analysis, noise

T = [[0.8, 0.2], [0.3, 0.7]]
W = [0.5, 0.5]


def call(matrix=T, weights=W, error=0.15, num_validation=1000):
    return analysis.class_conditional_test(
        matrix, weights, error=error, num_validation=num_validation
    )


def test_values_by_hand():
    test = call()
    assert isinstance(test, analysis.ClassConditionalTest)
    assert test.least_error == pytest.approx(1 - 0.5 * 0.8 - 0.5 * 0.7)
    assert test.epsilon == pytest.approx(0.1)
    assert test.log10_bound == pytest.approx(-2 * 1000 * 0.01 / math.log(10))
    assert call(weights=[1.0, 0.0]).least_error == pytest.approx(0.2)


def test_figures_of_the_paper():
    # Clothing1M: epsilon = 0.2212 and m = 500000 give less than 1e-21250, which no
    # float64 holds.
    least = 0.1605 + 0.2212
    test = call([[1 - least, least], [least, 1 - least]], W, 0.1605, 500_000)
    assert test.epsilon == pytest.approx(0.2212)
    assert test.log10_bound < -21_249
    assert test.log10_bound == pytest.approx(-21_250, abs=2)


def test_no_evidence():
    test = call(error=0.3)
    assert test.epsilon == pytest.approx(-0.05)
    assert test.log10_bound == 0
    assert math.copysign(1, test.log10_bound) == 1
    assert not test.rejects()
    assert "No evidence against class-conditional noise" in str(test)


def test_verdicts():
    assert call().rejects()
    assert "is rejected" in str(call())
    assert "probability at most 10^-8.686" in str(call())
    weak = call(num_validation=10)
    assert not weak.rejects()
    assert weak.rejects(significance=0.9)
    assert "is not rejected" in str(weak)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"matrix": np.ones((2, 3)) / 3}, "`transition_matrix` must be a square"),
        (
            {"matrix": [[0.8, 0.3], [0.2, 0.7]]},
            "`transition_matrix` .* looks transposed",
        ),
        ({"matrix": [[1.5, -0.5], [0.0, 1.0]]}, "`transition_matrix` must be finite"),
        ({"matrix": np.full((2, 2), np.nan)}, "`transition_matrix` must be finite"),
        ({"weights": [1.0]}, "`class_weights` must be 2 shares"),
        ({"weights": [0.5, 0.6]}, "`class_weights` must be 2 shares"),
        ({"error": 1.2}, r"`error` must be a number in \[0, 1\]"),
        ({"error": math.nan}, "`error` must be"),
        ({"num_validation": 0}, "`num_validation` must be a positive integer"),
        ({"num_validation": 2.5}, "`num_validation` must be a positive integer"),
    ],
)
def test_errors(arguments, text):
    with pytest.raises(ValueError, match="^class_conditional_test: " + text):
        call(**arguments)


# --- from data: two classes that a line separates

SIZE = 3000
X = np.random.default_rng(0).uniform(-1, 1, (SIZE, 2)).astype("float32")
CLEAN = (X[:, 0] > 0).astype("int64")


def build_model():
    model = keras.Sequential(
        [
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    return model


def hold_out(noisy, clean=CLEAN, **arguments):
    arguments = {"epochs": 8, "verbose": 0, "batch_size": 128, **arguments}
    return analysis.hold_out_class_conditional_test(
        build_model, X, noisy, clean, **arguments
    )


def test_class_conditional_noise_is_not_rejected():
    noisy = noise.corrupt_labels(CLEAN, noise.symmetric(2, 0.3), seed=0).noisy
    test = hold_out(noisy)
    assert test.num_validation == SIZE // 2
    assert test.least_error == pytest.approx(0.3, abs=0.01)
    assert not test.rejects()


def test_instance_dependent_noise_is_rejected():
    # The same rate, but where the second input is large: a network learns it.
    noisy = np.where(X[:, 1] > 0.4, 1 - CLEAN, CLEAN)
    assert (noisy != CLEAN).mean() == pytest.approx(0.3, abs=0.02)
    test = hold_out(noisy)
    assert test.error < 0.15
    assert test.rejects(1e-6)


def test_partly_verified_labels_and_given_matrix():
    noisy = np.where(X[:, 1] > 0.4, 1 - CLEAN, CLEAN)
    partly = np.where(np.arange(SIZE) % 4 == 0, CLEAN, -1)
    estimated = hold_out(noisy, partly)
    assert estimated.least_error == pytest.approx(0.3, abs=0.04)
    given = hold_out(
        noisy, None, transition_matrix=[[0.7, 0.3], [0.3, 0.7]], class_weights=W
    )
    assert given.least_error == pytest.approx(0.3)
    assert given.rejects(1e-6)


def test_held_out_part_follows_from_the_seed():
    seen = []

    def spy():
        model = build_model()
        fit = model.fit

        def record(x, y, **kwargs):
            seen.append(x)
            return fit(x, y, **kwargs)

        model.fit = record
        return model

    for seed in (0, 0, 1):
        analysis.hold_out_class_conditional_test(
            spy, X, CLEAN, CLEAN, hold_out=0.9, seed=seed, epochs=1, verbose=0
        )
    assert len(seen[0]) == SIZE // 10
    np.testing.assert_array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])


def headed(*names):
    """Return a network with several outputs, as a list or a dict of them."""
    inputs = keras.Input((2,))
    heads = [keras.layers.Dense(2, "softmax")(inputs) for _ in range(2)]
    outputs = dict(zip(names, heads, strict=True)) if names else heads
    return keras.Model(inputs, outputs)


def diverged(value):
    """Return a network one of whose weights is not finite."""
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(2, use_bias=False)(inputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([np.array([[value, 0.0], [0.0, 0.0]])])
    return model


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: diverged(np.nan), "`predictions` must be numbers.*diverged"),
        (lambda: diverged(np.inf), "`predictions` must be numbers.*diverged"),
        (headed, "`model` must be a classifier with one output"),
        (lambda: headed("a", "b"), "`model` must be a classifier with one output"),
        (
            lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]),
            "`model` must be a classifier with one output",
        ),
    ],
)
def test_networks_that_predict_no_classes(build, text):
    """NaN has no largest class: its error says nothing about the noise."""

    def build_without_training():
        model = build()
        model.fit = lambda *args, **kwargs: None
        return model

    with pytest.raises(ValueError, match="^hold_out_class_conditional_test: " + text):
        analysis.hold_out_class_conditional_test(
            build_without_training, X, CLEAN, CLEAN
        )


def test_masked_classes_may_have_minus_infinity():
    """The largest output is what counts; here it is that of class 1, always."""

    def build():
        bias = keras.initializers.Constant([-np.inf, 0.0])
        output = keras.layers.Dense(2, bias_initializer=bias)
        model = keras.Sequential([keras.Input((2,)), output])
        model.fit = lambda *args, **kwargs: None
        return model

    test = analysis.hold_out_class_conditional_test(build, X, CLEAN, CLEAN)
    assert test.error == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"noisy": CLEAN[1:]}, "`noisy_labels` must be class ids"),
        ({"noisy": CLEAN * 1.0}, "`noisy_labels` must be class ids"),
        ({"clean": CLEAN[1:]}, "`clean_labels` must be class ids"),
        ({"clean": CLEAN * 0}, "an example of every class.*none of class 1"),
        ({"clean": None}, "either `clean_labels`, or both"),
        ({"class_weights": W}, "either `clean_labels`, or both"),
        ({"hold_out": 1.0}, "`hold_out` must be a share"),
        ({"hold_out": -0.1}, "`hold_out` must be a number"),
    ],
)
def test_errors_of_hold_out(arguments, text):
    arguments = {"noisy": CLEAN, **arguments}
    with pytest.raises(ValueError, match="^hold_out_class_conditional_test: .*" + text):
        hold_out(**arguments)
