import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import analysis


def linear(softmax=False):
    """Return a classifier of two inputs whose boundary is x0 + x1 = 0."""
    activation = "softmax" if softmax else None
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3, activation=activation)]
    )
    kernel = [[-1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]]
    model.set_weights([np.array(kernel), np.array([0.0, 0.0, -50.0])])
    return model


# Within the box of half-width 0.2 the sum x0 + x1 can change by 0.4.
X = np.array(
    [[1, 1], [0.1, 0.1], [-0.3, 0.05], [-0.3, -0.3], [0.5, -0.2], [0.2, 0.15]],
    "float32",
)
EXPECTED = np.abs(X.sum(axis=1)) < 0.4


@pytest.mark.parametrize("softmax", [False, True])
def test_linear_boundary_is_found_exactly(softmax):
    ratio = analysis.critical_sample_ratio(linear(softmax), X, radius=0.2)
    assert ratio == pytest.approx(EXPECTED.mean())


def test_ratio_grows_with_the_radius():
    x = np.random.default_rng(0).normal(size=(200, 2)).astype("float32")
    model = linear()
    ratios = [
        analysis.critical_sample_ratio(model, x, radius=r, max_steps=20)
        for r in (0.01, 0.1, 0.5, 3.0)
    ]
    assert ratios == sorted(ratios)
    exact = (np.abs(x.sum(axis=1)) < 1).mean()
    assert ratios[2] == pytest.approx(exact, abs=0.01)


def test_batches_data_sets_and_functions_agree():
    model = linear()
    expected = EXPECTED.mean()
    for x in (X, [X[:4], X[4:]], [(X[:4], np.zeros(4)), (X[4:], np.zeros(2))]):
        ratio = analysis.critical_sample_ratio(model, x, radius=0.2, batch_size=4)
        assert ratio == pytest.approx(expected)
    ratio = analysis.critical_sample_ratio(lambda x: model(x), X, radius=0.2)
    assert ratio == pytest.approx(expected)


@pytest.mark.tf_data
def test_tf_data():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, np.zeros(6))).batch(4)
    ratio = analysis.critical_sample_ratio(linear(), data, radius=0.2)
    assert ratio == pytest.approx(EXPECTED.mean())


class Endless(keras.utils.PyDataset):
    """Batches without an end, as a data set with `repeat` is."""

    num_batches = None

    def __getitem__(self, index):
        return X


def test_search_stays_in_bounds():
    def model(x):
        return ops.stack([x[:, 0], -x[:, 0]], axis=1)

    x = np.array([[0.9], [0.1]], "float32")
    # Without bounds 0.1 - 0.2 crosses zero; inputs below 0.05 are not allowed here.
    arguments = {"radius": 0.2, "max_steps": 10}
    bounds = (0.05, 1)
    assert analysis.critical_sample_ratio(model, x, bounds=bounds, **arguments) == 0
    assert analysis.critical_sample_ratio(model, x, **arguments) == 0.5


def test_model_is_not_changed_and_runs_in_inference_mode():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.9),
            keras.layers.Dense(2),
        ]
    )
    before = model.get_weights()
    first = analysis.critical_sample_ratio(model, X, radius=0.1, max_steps=3)
    assert analysis.critical_sample_ratio(model, X, radius=0.1, max_steps=3) == first
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_progress_bar(capsys):
    analysis.critical_sample_ratio(linear(), X, radius=0.2, verbose=1)
    out = capsys.readouterr().out
    assert "6/6" in out
    assert "critical_sample_ratio" in out


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"radius": 0}, ValueError, "`radius` must be a number in \\(0"),
        ({"radius": -1}, ValueError, "`radius` must be a number"),
        ({"radius": np.nan}, ValueError, "`radius` must be a number"),
        ({"step_size": -1}, ValueError, "`step_size` must be a number"),
        ({"max_steps": 0}, ValueError, "`max_steps` must be a positive integer"),
        ({"batch_size": 1.5}, ValueError, "`batch_size` must be a positive integer"),
        ({"bounds": (1, 0)}, ValueError, "`bounds` must be"),
        ({"x": X.astype("uint8")}, TypeError, "`x` must be floating-point"),
        ({"x": X[:0]}, ValueError, "`x` must be at least one example"),
        ({"x": X * np.nan}, ValueError, r"`model\(x\)` must be numbers, with a"),
        ({"model": lambda x: x[:, 0]}, ValueError, "`from_logits` must be True or"),
        ({"model": lambda x: [x, x]}, ValueError, "`model` must be a classifier"),
        ({"model": lambda x: {"a": x}}, ValueError, "`model` must be a classifier"),
        ({"model": lambda x: x + np.inf}, ValueError, r"`model\(x\)` must be numbers"),
        ({"x": Endless()}, ValueError, "`x` must be a finite data set"),
    ],
)
def test_errors(arguments, error, text):
    arguments = {"model": linear(), "x": X, "radius": 0.2, **arguments}
    with pytest.raises(error, match="^critical_sample_ratio: " + text):
        analysis.critical_sample_ratio(**arguments)
