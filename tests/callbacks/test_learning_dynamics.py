import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import analysis, callbacks

NUM_CLASSES = 3
X = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
CLEAN = np.arange(20) % NUM_CLASSES
NOISY = np.where(np.arange(20) < 8, (CLEAN + 1) % NUM_CLASSES, CLEAN)
NAMES = ["wrong_label_fit", "semantic_correction", "entropy_clean", "entropy_corrupted"]


def build_model(activation="softmax"):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            # Would change the predictions if they were made in training mode.
            keras.layers.Dropout(0.5, seed=0),
            keras.layers.Dense(NUM_CLASSES, activation=activation),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    model.compile(keras.optimizers.SGD(0.5), loss, metrics=["accuracy"])
    return model


def fit(model, *watch, epochs=1, **kwargs):
    kwargs = {"epochs": epochs, "verbose": 0, "callbacks": [*watch], **kwargs}
    return model.fit(X, NOISY, **kwargs).history


def test_logs_are_those_of_the_model_after_the_epoch():
    model = build_model()
    history = fit(model, callbacks.LearningDynamics(X, NOISY, CLEAN), epochs=3)
    assert all(len(history[name]) == 3 for name in NAMES)
    p = model.predict(X, verbose=0)
    entropy = -(p * np.log(p)).sum(axis=1) / np.log(NUM_CLASSES)
    wrong = NOISY != CLEAN
    expected = [
        (p.argmax(axis=1) == NOISY)[wrong].mean(),
        (p.argmax(axis=1) == CLEAN)[wrong].mean(),
        entropy[~wrong].mean(),
        entropy[wrong].mean(),
    ]
    actual = [history[name][-1] for name in NAMES]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_logits():
    model = build_model(activation=None)
    watch = callbacks.LearningDynamics(X, NOISY, CLEAN, from_logits=True)
    history = fit(model, watch)
    p = ops.convert_to_numpy(ops.softmax(model.predict(X, verbose=0)))
    expected = analysis.normalized_entropy(p)[NOISY == CLEAN].mean()
    assert history["entropy_clean"][0] == pytest.approx(expected, rel=1e-5)


def test_csv_logger_writes_it(tmp_path):
    path = tmp_path / "log.csv"
    watch = callbacks.LearningDynamics(X, NOISY, CLEAN)
    fit(build_model(), watch, keras.callbacks.CSVLogger(str(path)))
    assert set(NAMES) < set(path.read_text().splitlines()[0].split(","))


def test_training_is_the_same_with_it():
    losses = []
    for watch in ([], [callbacks.LearningDynamics(X, NOISY, CLEAN)]):
        keras.utils.set_random_seed(1)
        # On torch any pass over data draws from the generator that shuffles.
        history = fit(build_model(), *watch, epochs=2, shuffle=False)
        losses.append(history["loss"])
    assert losses[0] == losses[1]


def test_no_corrupted_example_is_nan():
    history = fit(build_model(), callbacks.LearningDynamics(X, CLEAN, CLEAN))
    for name in ("wrong_label_fit", "semantic_correction", "entropy_corrupted"):
        assert np.isnan(history[name][0])
    assert 0 <= history["entropy_clean"][0] <= 1


@pytest.mark.parametrize(
    ("noisy", "clean", "text"),
    [
        (NOISY, CLEAN[1:], r"`clean_labels` must have the length of .* 20\. .*19"),
        (NOISY[:, None], CLEAN, r"`noisy_labels.shape` must be \(n,\)"),
        (NOISY, np.eye(3)[CLEAN], r"`clean_labels.shape` must be \(n,\)"),
    ],
)
def test_errors(noisy, clean, text):
    with pytest.raises(ValueError, match="^LearningDynamics: " + text):
        callbacks.LearningDynamics(X, noisy, clean)


def test_logits_taken_for_probabilities_are_an_error():
    model = build_model(activation=None)
    with pytest.raises(ValueError, match="`predictions` must be distributions"):
        fit(model, callbacks.LearningDynamics(X, NOISY, CLEAN))


def test_inputs_of_another_length():
    with pytest.raises(ValueError, match="with n the number of predictions, 19"):
        fit(build_model(), callbacks.LearningDynamics(X[1:], NOISY, CLEAN))
