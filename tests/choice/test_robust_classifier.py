"""The classifier: its interface, its inputs, and what it refuses."""

import pickle

import keras
import numpy as np
import pytest

import keras_noisy
from keras_noisy import choice as room
from keras_noisy.choice import _trainings
from keras_noisy.choice._candidates import CANDIDATES
from keras_noisy.choice._mean_of_models import MeanOfModels
from keras_noisy.choice._side_by_side import SideBySide

CLASSES = np.array(["ant", "bee", "cat"])
ELR = "early_learning_regularization"
# A training costs seconds, of which nearly all are spent to compile it.
FAST = {"candidates": ["cross_entropy"], "epochs": 1, "verbose": 0}
pytestmark = pytest.mark.filterwarnings("ignore:.*choice is luck")


def data(size=120, wrong=12):
    """Return features and given labels."""
    generator = np.random.default_rng(0)
    truth = np.arange(size) % 3
    x = 6 * np.eye(3, 4)[truth] + generator.normal(size=(size, 4))
    labels = truth.copy()
    rows = generator.permutation(size)[:wrong]
    labels[rows] = (labels[rows] + 1) % 3
    return x.astype("float32"), CLASSES[labels], CLASSES[truth]


def network(outputs=3, activation=None, **compiled):
    """Return a network of one layer."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(outputs)])
    if activation:
        model.add(keras.layers.Activation(activation))
    if compiled:
        model.compile(**compiled)
    return model


def fast_network():
    """Return a network that learns in few epochs."""
    return network(optimizer=keras.optimizers.SGD(0.3), loss="mse")


def fit(build_model=None, x=None, labels=None, groups=None, **arguments):
    """Return a classifier that was fitted, by default on `data`."""
    if x is None:
        x, labels, _ = data()
    classifier = keras_noisy.RobustClassifier(build_model, **{**FAST, **arguments})
    return classifier.fit(x, labels, groups=groups)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return a classifier of two networks of the user's, and its folder."""
    folder = tmp_path_factory.mktemp("run")
    arguments = {"candidates": ["cross_entropy", ELR], "epochs": 6, "storage": folder}
    return fit(fast_network, **arguments), folder


@pytest.mark.every_backend
def test_it_predicts_the_true_labels(two):
    classifier, _ = two
    x, labels, truth = data()
    assert room.RobustClassifier is keras_noisy.RobustClassifier
    assert set(classifier.choice_.chosen) == {"cross_entropy", ELR}
    assert classifier.choice_.weights == [0.5, 0.5]
    assert classifier.score(x, truth) > 0.97 > classifier.score(x, labels)
    assert classifier.classes_.tolist() == CLASSES.tolist()
    p = classifier.predict_proba(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (classifier.classes_[p.argmax(axis=1)] == classifier.predict(x)).all()
    assert classifier.n_features_in_ == 4
    weights = np.arange(120) == 3
    expected = float(classifier.predict(x)[3] == labels[3])
    assert classifier.score(x, labels, weights) == expected


def test_the_mean_is_that_of_the_two(two):
    classifier, _ = two
    x, _, _ = data()
    model = classifier.model_
    assert isinstance(model, MeanOfModels)
    z = [keras.ops.convert_to_numpy(m(x)).astype("float64") for m in model.models]
    p = [np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in z]
    assert np.abs(p[0] - p[1]).max() > 1e-3
    np.testing.assert_allclose(classifier.predict_proba(x), np.mean(p, 0), atol=1e-5)


def test_what_it_says_of_the_labels(two):
    classifier, _ = two
    _, labels, truth = data()
    suspects = classifier.suspects_
    wrong = np.flatnonzero(labels != truth)
    assert np.isin(suspects.top(12).sample_id, wrong).mean() > 0.9
    assert suspects.class_names.tolist() == CLASSES.tolist()
    assert 0 <= classifier.noise_rate_.low < 0.2
    assert classifier.choice_.num_held_out == 12


def test_a_run_continues_and_gives_the_same(two, monkeypatch):
    classifier, folder = two
    x, _, _ = data()
    arguments = {"candidates": ["cross_entropy", ELR], "epochs": 6}
    names = sorted(path.name for path in folder.iterdir() if path.suffix == ".npz")
    assert names == ["candidates_0_8.npz"]

    def refuse(*_):
        raise AssertionError("a finished training was begun again")

    monkeypatch.setattr(_trainings.Trainings, "run", refuse)
    again = fit(fast_network, storage=folder, **arguments)
    np.testing.assert_array_equal(again.predict_proba(x), classifier.predict_proba(x))
    assert str(again.choice_) == str(classifier.choice_)
    with pytest.raises(ValueError, match="Its seed is 0, and that of this run 1"):
        fit(fast_network, storage=folder, seed=1, **arguments)


@pytest.mark.every_backend
def test_a_killed_run_gives_the_same(two, tmp_path, monkeypatch):
    """Networks that are not small are trained one by one, and each is kept."""
    classifier, _ = two
    arguments = {"candidates": ["cross_entropy", ELR], "epochs": 6}
    run = _trainings.Trainings.run

    def die(self, names, *rest):
        if ELR in names:
            raise KeyboardInterrupt
        return run(self, names, *rest)

    monkeypatch.setattr(_trainings, "_SMALL", 0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_trainings.Trainings, "run", die)
        fit(fast_network, storage=tmp_path, **arguments)
    names = sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".npz")
    assert names == ["candidates_0.npz"]
    again = fit(fast_network, storage=tmp_path, **arguments)
    alone = fit(fast_network, **arguments)
    x, _, _ = data()
    np.testing.assert_array_equal(again.predict_proba(x), alone.predict_proba(x))
    # As one program, the same up to rounding.
    np.testing.assert_allclose(
        again.predict_proba(x), classifier.predict_proba(x), atol=1e-4
    )


def test_one_model_alone(two, tmp_path):
    _, folder = two
    arguments = {"candidates": ["cross_entropy", ELR], "epochs": 6}
    one = fit(fast_network, storage=folder, combine=False, **arguments)
    assert one.choice_.chosen == [ELR] and not isinstance(one.model_, MeanOfModels)
    x, _, _ = data()
    z = keras.ops.convert_to_numpy(one.model_(x))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(one.predict_proba(x), p, atol=1e-5)


def test_pickle_gives_the_same(two):
    classifier, _ = two
    x, _, _ = data()
    classifier.set_params(build_model=None)
    copy = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(copy.predict_proba(x), classifier.predict_proba(x))
    assert copy.suspects_.sample_id.tolist() == classifier.suspects_.sample_id.tolist()


def test_arguments_are_those_of_scikit_learn():
    classifier = keras_noisy.RobustClassifier(epochs=3)
    arguments = classifier.get_params()
    assert arguments["epochs"] == 3 and arguments["candidates"] == "auto"
    assert classifier.set_params(budget=2) is classifier and classifier.budget == 2
    assert repr(classifier) == "RobustClassifier(epochs=3, budget=2)"
    with pytest.raises(ValueError, match=r"`set_params` must be one of build_model"):
        classifier.set_params(rate=1)


def test_predict_before_fit():
    with pytest.raises(ValueError, match="it is not fitted"):
        keras_noisy.RobustClassifier().predict(np.zeros((2, 4)))


# --- what is trained


@pytest.mark.dealt
@pytest.mark.parametrize("name", CANDIDATES)
def test_each_candidate_trains(name):
    def build_model():
        # Bounded losses do not come back from where large steps lead.
        return network(optimizer=keras.optimizers.Adam(0.03), loss="mse")

    classifier = fit(build_model, candidates=[name], epochs=12)
    assert classifier.choice_.names == [name]
    x, _, truth = data()
    assert classifier.score(x, truth) > 0.7


def test_a_budget_keeps_the_default(monkeypatch):
    trained = []
    run = _trainings.Trainings.run
    monkeypatch.setattr(
        _trainings.Trainings,
        "run",
        lambda self, names, *rest: (trained.extend(names), run(self, names, *rest))[1],
    )
    fit(network, candidates="auto", budget=1)
    assert trained == [ELR]


def test_held_out_labels_have_no_part_in_the_training(monkeypatch):
    seen = {}
    read = room.robust_classifier.read

    def look(owner, labels, **rest):
        seen["looked at"] = int((labels >= 0).sum())
        return read(owner, labels, **rest)

    monkeypatch.setattr(room.robust_classifier, "read", look)
    monkeypatch.setattr(_trainings.Trainings, "run", lambda self, *_: _made(self, seen))
    x, _, truth = data()
    fit(network, x, truth, candidates=["forward_correction"], validation=0.25)
    assert seen == {"looked at": 90, "trained": 90, "both": 0}


def _made(trainings, seen):
    """Return what a training might have left."""
    seen["trained"] = len(trainings.trained)
    seen["both"] = len(np.intersect1d(trainings.trained, trainings.held))
    rows, classes = len(trainings.held), trainings.num_classes
    kept = {
        "curve": np.ones(1),
        "epoch": np.array(0),
        "held": np.full((rows, classes), 1 / classes, "float32"),
        "averages": np.full((len(trainings.trained), classes), 1 / classes, "float32"),
        "weight_0": np.zeros((4, 3), "float32"),
        "weight_1": np.zeros(3, "float32"),
    }
    place = [*CANDIDATES].index("forward_correction")
    return {f"{place}_{key}": value for key, value in kept.items()}


@pytest.mark.every_backend
def test_the_weights_are_those_of_the_best_mean(monkeypatch):
    """Held-out accuracy is made up; the second mean of two is the best."""
    seen = []
    look = _trainings.Watch._look

    def made_up(self, name, epoch, held, weights):
        self._labels = np.zeros(12, int)
        seen.append(weights)
        is_wrong = np.arange(12) >= round(12 * next(curve))
        held = np.eye(3, dtype="float32")[is_wrong.astype(int)]
        look(self, name, epoch, held, weights)

    curve = iter(np.array([1, 2, 11, 10, 1, 1]) / 12)
    monkeypatch.setattr(_trainings.Watch, "_look", made_up)
    monkeypatch.setattr(_trainings, "WINDOW", 2)
    classifier = fit(network, epochs=6)
    assert classifier.choice_.epochs == [4]
    assert classifier.choice_.scores[0] == pytest.approx(10.5 / 12)
    for found, expected in zip(classifier.model_.get_weights(), seen[3], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_are_averaged_over_an_epoch(monkeypatch):
    """By the optimizer, with exp(-1 / steps); the training goes on with its own."""
    x, labels, _ = data()
    look = _trainings.Watch._look
    seen = []

    def noted(self, name, epoch, held, weights):
        seen.append(weights)
        look(self, name, epoch, held, weights)

    monkeypatch.setattr(_trainings.Watch, "_look", noted)

    def weights_of_each_epoch():
        """Train with one step in an epoch."""
        seen.clear()
        fit(
            lambda: network(optimizer=keras.optimizers.SGD(0.1), loss="mse"),
            x,
            labels,
            epochs=3,
            batch_size=200,
        )
        return list(seen)

    means = weights_of_each_epoch()
    keras.utils.set_random_seed(0)
    monkeypatch.setattr(_trainings, "_averaging", lambda optimizer, _: optimizer)
    steps = weights_of_each_epoch()
    share, expected = np.exp(-1), steps[0]
    for mean, step in zip(means, steps, strict=True):
        expected = [
            share * old + (1 - share) * new
            for old, new in zip(expected, step, strict=True)
        ]
        for found, value in zip(mean, expected, strict=True):
            np.testing.assert_allclose(found, value, atol=1e-5)


def test_probabilities_and_logits_are_told_apart():
    x, _, _ = data()
    for activation in (None, "softmax"):
        classifier = fit(lambda a=activation: network(activation=a))
        p = classifier.predict_proba(x)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert not isinstance(classifier.model_, MeanOfModels)


# --- forms of data


def test_a_frame_is_encoded_as_the_first_one():
    x, labels, _ = data(60)
    kind = np.array(["p", "q", "r"])[x.argmax(axis=1) % 3]
    columns = {"size": x[:, 0] * 100, "kind": kind}
    classifier = fit(x=columns, labels=labels, epochs=2)
    some = {name: values[:3] for name, values in columns.items()}
    np.testing.assert_allclose(
        classifier.predict_proba(some), classifier.predict_proba(columns)[:3], atol=1e-6
    )
    new = {"size": np.array([1.0]), "kind": np.array(["never seen"])}
    assert np.isfinite(classifier.predict_proba(new)).all()
    with pytest.raises(ValueError, match=r"without \['kind'\]"):
        classifier.predict({"size": np.zeros(2)})
    with pytest.raises(TypeError, match="data frame"):
        classifier.predict(np.zeros((2, 2)))


def test_texts_are_encoded_as_the_first_ones():
    texts = [f"{word} runs on number {i % 7}" for i in range(20) for word in CLASSES]
    classifier = fit(x=texts, labels=np.tile(CLASSES, 20))
    p = classifier.predict_proba(texts)
    np.testing.assert_allclose(classifier.predict_proba(texts[5:8]), p[5:8], atol=1e-6)
    assert np.isfinite(classifier.predict_proba(["", "words of its own"])).all()
    assert len(pickle.dumps(classifier)) < 5e6
    with pytest.raises(TypeError, match="a list of texts"):
        classifier.predict("a text")


def test_several_inputs_and_no_features():
    x, labels, _ = data(60)

    def build_model():
        first, second = keras.Input((2,), name="a"), keras.Input((2,), name="b")
        both = keras.layers.Concatenate()([first, second])
        return keras.Model([first, second], keras.layers.Dense(3)(both))

    inputs = (x[:, :2], x[:, 2:])
    names = ["cross_entropy", "forward_correction"]
    classifier = fit(build_model, inputs, labels, candidates=names)
    assert classifier.predict(inputs).shape == (60,)
    assert classifier.choice_.names == ["cross_entropy"]
    assert "Left out: Forward correction: no features" in str(classifier.choice_)


def test_words_are_not_mixed():
    texts = [f"{word} runs on number {i % 7}" for i in range(20) for word in CLASSES]
    names = ["early_learning_regularization_mixup", "cross_entropy"]
    classifier = fit(x=texts, labels=np.tile(CLASSES, 20), candidates=names)
    assert classifier.choice_.names == ["cross_entropy"]
    (note,) = classifier.choice_.notes
    assert note.endswith("on mixed inputs: ids of words cannot be mixed.")
    with pytest.raises(ValueError, match="one that these inputs allow"):
        fit(x=texts, labels=np.tile(CLASSES, 20), candidates=names[:1])


def test_a_folder_of_images(tmp_path):
    generator = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for index in range(12):
            image = generator.integers(0, 80, (8, 8, 3)) + 80 * number
            keras.utils.save_img(tmp_path / name / f"{index}.png", image, scale=False)
    names = ["early_learning_regularization_mixup", "cross_entropy"]
    classifier = fit(x=tmp_path, epochs=4, candidates=names)
    assert classifier.classes_.tolist() == CLASSES.tolist()
    p = classifier.predict_proba(tmp_path)
    assert p.shape == (36, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs TensorFlow's data sets"
)
def test_a_data_set_of_tensorflow():
    import tensorflow as tf

    x, labels, _ = data()
    classes = np.searchsorted(CLASSES, labels)
    batches = tf.data.Dataset.from_tensor_slices((x, classes)).batch(16)
    found, arrays = fit(x=batches), fit(x=x, labels=classes)
    np.testing.assert_allclose(
        found.predict_proba(x), arrays.predict_proba(x), atol=1e-5
    )


def test_labels_that_are_missing_are_not_trained_on():
    x, labels, _ = data(60)
    labels = labels.astype(object)
    labels[:9] = None
    classifier = fit(network, x, labels)
    assert sorted(classifier.suspects_.sample_id.tolist()) == [*range(9, 60)]


def test_examples_of_another_form():
    classifier = fit(network)
    with pytest.raises(ValueError, match="X has 3 features, but RobustClassifier"):
        classifier.predict(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 2 rows"):
        classifier.predict([[0, 0, 0, 1.0], [0, np.nan, 0, 0]])


# --- bad input


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"validation": 0}, r"`validation` must be a number in \(0, 1\)"),
        ({"validation": 1.0}, r"`validation` must be a number in \(0, 1\)"),
        ({"candidates": []}, "`candidates` must be 'auto', or a list"),
        ({"candidates": ["mixup"]}, "`candidates` must be 'auto', or a list"),
        ({"candidates": ["proselflc"] * 2}, "`candidates` must be 'auto', or a list"),
        ({"candidates": "proselflc"}, "`candidates` must be 'auto', or a list"),
        ({"budget": 0}, r"`budget` must be a number in \[1, 1000\]"),
        ({"epochs": 0}, "`epochs` must be"),
        ({"batch_size": -1}, "`batch_size` must be"),
        ({"seed": "a"}, "`seed` must be"),
        ({"verbose": 3}, "`verbose` must be one of"),
        ({"combine": 1}, "`combine` must be"),
        ({"build_model": network()}, "`build_model` must be a function that returns"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises((TypeError, ValueError), match=text):
        fit(**arguments)


def test_a_compiled_model_has_its_optimizer_and_another_loss(monkeypatch):
    built = []

    def build_model():
        optimizer = keras.optimizers.SGD(0.125)
        built.append(network(optimizer=optimizer, loss="mse"))
        return built[-1]

    used = []
    compiled = SideBySide.compile
    monkeypatch.setattr(
        SideBySide,
        "compile",
        lambda self, optimizer: (used.append(optimizer), compiled(self, optimizer))[1],
    )
    fit(build_model)
    (optimizer,) = used
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert float(optimizer.learning_rate) == 0.125
    assert int(optimizer.iterations) > 0
    assert all(int(model.optimizer.iterations) == 0 for model in built)


def test_another_number_of_outputs():
    text = r"3 outputs, one a class. Received: .* outputs of shape \(\d+, 2\)"
    with pytest.raises(ValueError, match=text):
        fit(lambda: network(2))


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_output_is_that_of_the_second_class(activation):
    x, _, truth = data()
    is_ant = np.where(truth == "ant", "yes", "no")
    x[:, 1:] = 0
    candidates = ["cross_entropy", ELR]
    fitted = fit(lambda: network(1, activation), x, is_ant, candidates=candidates)
    p = fitted.predict_proba(x)
    assert p.shape == (120, 2) and fitted.classes_.tolist() == ["no", "yes"]
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    outputs = [model.predict(x, verbose=0)[:, 0] for model in fitted.model_.models]
    if activation is None:
        outputs = [1 / (1 + np.exp(-z)) for z in outputs]
    np.testing.assert_allclose(p[:, 1], np.mean(outputs, axis=0), atol=1e-6)


def test_no_examples_to_predict():
    with pytest.raises(ValueError, match="`x` must be one example at least"):
        fit().predict(np.zeros((0, 4)))


def test_no_model():
    with pytest.raises(TypeError, match=r"a function that returns a keras\.Model"):
        fit(lambda: None)


def test_a_fitted_model():
    def build_model():
        model = network(optimizer="sgd", loss="mse")
        model.fit(np.zeros((2, 4)), np.zeros((2, 3)), verbose=0)
        return model

    with pytest.raises(ValueError, match=r"Received: .* trained for 1 steps"):
        fit(build_model)


def test_the_same_model_twice():
    model = network()
    with pytest.raises(ValueError, match="returned the same model twice"):
        fit(lambda: model)


def test_one_class():
    with pytest.raises(ValueError, match="`y` must be of at least two classes"):
        fit(x=np.eye(4), labels=["ant"] * 4)


def test_all_candidates_diverge():
    def build_model():
        return network(optimizer=keras.optimizers.SGD(1e38), loss="mse")

    names = ["cross_entropy", ELR]
    with pytest.raises(ValueError, match="NaN or infinity from all of them"):
        fit(build_model, candidates=names, epochs=3)


def test_labels_that_are_all_right():
    x, _, truth = data()
    classifier = fit(network, x, truth)
    assert classifier.choice_.names == ["cross_entropy"]
    assert len(classifier.suspects_) == 120
