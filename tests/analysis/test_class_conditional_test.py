import math

import keras
import numpy as np
import pytest

from keras_noisy import analysis, noise

T = [[0.8, 0.2], [0.3, 0.7]]
W = [0.5, 0.5]


def call(matrix=T, weights=W, error=0.15, num_validation=1000, num_verified=None):
    return analysis.class_conditional_test(
        matrix,
        weights,
        error=error,
        num_validation=num_validation,
        num_verified=num_verified,
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
        ({"weights": [1.0]}, "`class_weights` must be a distribution"),
        ({"weights": [0.5, 0.6]}, "`class_weights` must be a distribution"),
        ({"error": 1.2}, r"`error` must be a number in \[0, 1\]"),
        ({"error": math.nan}, "`error` must be"),
        ({"num_validation": 0}, "`num_validation` must be a positive integer"),
        ({"num_validation": 2.5}, "`num_validation` must be a positive integer"),
        ({"num_verified": 0}, "`num_verified` must be a positive integer"),
        ({"num_verified": 2.5}, "`num_verified` must be a positive integer"),
        ({"num_verified": [5]}, "`num_verified` must be a number, or 2 of them"),
        ({"num_verified": [5, 0]}, "`num_verified` must be a number, or 2 of them"),
        ({"num_verified": [5.0, 5.0]}, "`num_verified` must be a number, or 2"),
    ],
)
def test_errors(arguments, text):
    with pytest.raises(ValueError, match="^class_conditional_test: " + text):
        call(**arguments)


# --- with an estimated matrix


def by_hits(hits, n, found, m):
    """Test `hits` of `n` verified and `found` of `m` held-out examples."""
    matrix = [[hits / n, 1 - hits / n], [1 - hits / n, hits / n]]
    return call(matrix, W, 1 - found / m, m, n)


def fisher(hits, n, found, m):
    """Return Fisher's exact test in whole numbers."""
    total = hits + found
    ways = sum(
        math.comb(m, k) * math.comb(n, total - k)
        for k in range(found, min(m, total) + 1)
    )
    return ways / math.comb(m + n, total)


@pytest.mark.parametrize(
    ("hits", "n", "found", "m"),
    [(240, 300, 4450, 5000), (30, 40, 38, 40), (51, 60, 60, 60), (800, 1000, 150, 160)],
)
def test_random_sample_is_bounded_by_fishers_exact_test(hits, n, found, m):
    test = by_hits(hits, n, found, m)
    exact = fisher(hits, n, found, m)
    assert exact <= 10**test.log10_bound <= 1.7 * exact
    assert test.least_error == pytest.approx(1 - hits / n)
    assert test.num_verified == n
    assert f"by {n} verified examples" in str(test)


def test_known_weights_by_hand():
    test = call(weights=[0.9, 0.1], error=0.1, num_verified=[50, 20])
    assert test.epsilon == pytest.approx(1 - 0.9 * 0.8 - 0.1 * 0.7 - 0.1)
    variance = 1 / 1000 + 0.81 / 50 + 0.01 / 20
    expected = -2 * test.epsilon**2 / variance / math.log(10)
    assert test.log10_bound == pytest.approx(expected)
    assert test.num_verified == 70
    # A class that does not occur needs no example.
    assert call(weights=[1.0, 0.0], num_verified=[50, 0]).num_verified == 50


def test_sampling_error_weakens_the_verdict():
    bounds = [call(num_verified=n).log10_bound for n in (20, 100, 1000, None)]
    assert bounds[0] > bounds[1] > bounds[2]
    assert call(error=0.25, num_verified=100).log10_bound == 0
    huge = [call(num_verified=n).log10_bound for n in (10**9, 10**30)]
    assert huge[0] == pytest.approx(huge[1])
    # A binomial test then, which is sharper than the inequality.
    tail = sum(math.comb(1000, k) * 3**k / 4**1000 for k in range(850, 1001))
    assert huge[0] == pytest.approx(math.log10(tail), abs=0.1)
    assert huge[0] < call().log10_bound


@pytest.mark.parametrize(("n", "m"), [(20, 60), (60, 80), (100, 25)])
@pytest.mark.parametrize("probability", [0.55, 0.8, 0.95])
def test_exact_probability_of_a_false_rejection(n, m, probability):
    """Over all outcomes, for the best classifier that there can be."""

    def binomial(size):
        p = probability
        return [
            math.comb(size, k) * p**k * (1 - p) ** (size - k) for k in range(size + 1)
        ]

    verified, held_out = binomial(n), binomial(m)
    total = 0.0
    for hits in range((n + 1) // 2, n + 1):
        for found in range(m + 1):
            chance = verified[hits] * held_out[found]
            if chance > 1e-7 and by_hits(hits, n, found, m).rejects():
                total += chance
    assert total < 0.05 - 1e-3


class BestClassifier:
    """Predicts the most frequent label of the true class, which is its input."""

    def __init__(self, matrix):
        self.rows = np.eye(len(matrix))[np.argmax(matrix, axis=1)]

    def fit(self, x, y, **arguments):
        self.trained_on = y

    def predict_on_batch(self, x):
        return self.rows[x]


def draw(generator, matrix, shares, size=4000):
    """Return true classes and labels with class-conditional noise."""
    clean = generator.choice(len(shares), size, p=shares)
    limits = np.cumsum(matrix, axis=1)[clean, :-1]
    return clean, (generator.uniform(size=(size, 1)) > limits).sum(axis=1)


def first_of_each(clean, count):
    """Return true labels of the first examples of each class, and -1."""
    ranks = np.empty(len(clean), int)
    for label in np.unique(clean):
        rows = np.flatnonzero(clean == label)
        ranks[rows] = np.arange(len(rows))
    return np.where(ranks < count, clean, -1)


def test_best(matrix, clean, noisy, known, **arguments):
    return analysis.hold_out_class_conditional_test(
        lambda: BestClassifier(matrix), clean, noisy, known, **arguments
    )


test_best.__test__ = False

SETTINGS = {
    "10 classes": (noise.symmetric(10, 0.2), np.full(10, 0.1), 300, None),
    "2 classes": (noise.symmetric(2, 0.2), np.full(2, 0.5), 200, None),
    "9:1, 50 of each": (noise.symmetric(2, 0.2), np.array([0.9, 0.1]), None, 50),
    "100 classes": (noise.symmetric(100, 0.4), np.full(100, 0.01), 500, None),
    "3 classes, few": (noise.pair_flip(3, 0.1), np.full(3, 1 / 3), 30, None),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_false_rejections_of_the_best_classifier(name):
    matrix, shares, num_random, num_each = SETTINGS[name]
    generator = np.random.default_rng(0)
    rejected, as_if_known = 0, 0
    for seed in range(200):
        clean, noisy = draw(generator, matrix, shares)
        if num_random:
            known = np.where(np.arange(len(clean)) < num_random, clean, -1)
        else:
            known = first_of_each(clean, num_each)
        weights = None if num_random else shares
        test = test_best(matrix, clean, noisy, known, class_weights=weights, seed=seed)
        rejected += test.rejects()
        as_if_known += -2 * test.num_validation * max(test.epsilon, 0) ** 2 < math.log(
            0.05
        )
    # At most 5 %, beyond which the formula for a known matrix is.
    assert rejected <= 10 <= as_if_known


def test_verified_examples_of_a_random_sample_are_held_out_last():
    matrix = np.array(T)
    clean, noisy = draw(np.random.default_rng(0), matrix, W, size=1000)
    known = np.where(np.arange(1000) < 200, clean, -1)
    assert test_best(matrix, clean, noisy, known).num_verified == 200
    assert test_best(matrix, clean, noisy, known, hold_out=0.9).num_verified == 100
    assert test_best(matrix, clean, noisy, clean).num_verified == 500
    # Chosen by class they are not: what is held out must be as all data are.
    some = test_best(matrix, clean, noisy, known, class_weights=W).num_verified
    assert 70 < some < 130


def test_a_class_that_a_random_sample_lacks_is_no_error():
    matrix, shares = np.eye(3) * 0.7 + 0.1, np.array([0.5, 0.49, 0.01])
    clean, noisy = draw(np.random.default_rng(0), matrix, shares)
    rows = np.flatnonzero(clean < 2)[:100]
    known = np.full(len(clean), -1)
    known[rows] = clean[rows]
    test = test_best(matrix, clean, noisy, known)
    assert test.least_error == pytest.approx(1 - (noisy == clean)[rows].mean())


def test_a_choice_that_is_not_random_is_said():
    matrix, shares = noise.symmetric(2, 0.2), np.array([0.9, 0.1])
    clean, noisy = draw(np.random.default_rng(0), matrix, shares)
    by_class = first_of_each(clean, 50)
    with pytest.warns(UserWarning, match="no random sample: .*pass .*`class_weights`"):
        test_best(matrix, clean, noisy, by_class)
    by_label = np.where(first_of_each(noisy, 50) >= 0, clean, -1)
    with pytest.warns(UserWarning, match="no random sample"):
        test_best(matrix, clean, noisy, by_label)
    # The right shares of the classes mend the first; others do not.
    test_best(matrix, clean, noisy, by_class, class_weights=shares)
    by_class = first_of_each(clean, 200)
    with pytest.warns(UserWarning, match="no random sample"):
        test_best(matrix, clean, noisy, by_class, class_weights=W)


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
            lambda: keras.Sequential([keras.Input((2,)), keras.layers.Reshape((2, 1))]),
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
        ({"noisy": CLEAN - 1}, "`noisy_labels` must be class ids in .*-1 is no"),
        ({"clean": CLEAN[1:]}, "`clean_labels` must be class ids"),
        ({"clean": CLEAN * 0 - 1}, "verified examples.*Received none"),
        (
            {"clean": CLEAN * 0, "class_weights": W},
            "an example of every class.*none of class 1",
        ),
        ({"class_weights": [1.0]}, "`class_weights` must be a distribution"),
        ({"clean": None}, "either `clean_labels`, or both"),
        ({"clean": None, "class_weights": W}, "either `clean_labels`, or both"),
        ({"transition_matrix": T, "class_weights": W}, "either `clean_labels`, or"),
        ({"hold_out": 1.0}, "`hold_out` must be a share"),
        ({"hold_out": -0.1}, "`hold_out` must be a number"),
    ],
)
def test_errors_of_hold_out(arguments, text):
    arguments = {"noisy": CLEAN, **arguments}
    expected = "^hold_out_class_conditional_test: .*" + text
    with pytest.raises((TypeError, ValueError), match=expected):
        hold_out(**arguments)
