import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import analysis, callbacks, losses

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


def test_the_loss_says_that_outputs_are_logits():
    arguments = (X, NOISY, CLEAN)
    told = callbacks.LearningDynamics(*arguments, from_logits=True)
    watch = callbacks.LearningDynamics(*arguments)
    keras.utils.set_random_seed(0)
    expected = fit(build_model(activation=None), told)
    keras.utils.set_random_seed(0)
    with pytest.warns(UserWarning, match="LearningDynamics: the model's loss takes"):
        assert fit(build_model(activation=None), watch) == expected


@pytest.mark.parametrize("activation", ["softmax", None])
def test_a_diverged_training_is_an_error_that_says_so(activation):
    model = build_model(activation)
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    with pytest.raises(
        ValueError, match=r"LearningDynamics: .* must be finite numbers"
    ):
        watch = callbacks.LearningDynamics(
            X, NOISY, CLEAN, from_logits=activation is None
        )
        fit(model, watch)


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
        (NOISY, CLEAN[1:], r"`clean_labels` must be class ids of shape \(20,\).*19"),
        (np.eye(3)[NOISY], CLEAN, r"`noisy_labels` must be class ids of shape \(n,\)"),
        (NOISY, np.eye(3)[CLEAN], r"`clean_labels` must be class ids of shape \(20,\)"),
    ],
)
def test_errors(noisy, clean, text):
    with pytest.raises(ValueError, match="^LearningDynamics: " + text):
        callbacks.LearningDynamics(X, noisy, clean)


def test_logits_taken_for_probabilities_are_an_error():
    def loss(y_true, y_pred):
        """A loss that does not say what it takes."""
        return losses.equal_loss(y_true, y_pred, epsilon=0.3, from_logits=True)

    model = build_model(activation=None)
    model.compile("adam", loss)
    for watch in (
        callbacks.LearningDynamics(X, NOISY, CLEAN),
        callbacks.LearningDynamics(X, NOISY, CLEAN, from_logits=False),
    ):
        with pytest.raises(ValueError, match="Pass from_logits=True if they are"):
            fit(model, watch)


def test_from_logits_must_be_a_bool():
    with pytest.raises(TypeError, match="`from_logits` must be True, False or None"):
        callbacks.LearningDynamics(X, NOISY, CLEAN, from_logits="yes")


def test_inputs_of_another_length():
    with pytest.raises(ValueError, match="with n the number of predictions, 19"):
        fit(build_model(), callbacks.LearningDynamics(X[1:], NOISY, CLEAN))


@pytest.mark.tf_data
def test_endless_tf_data():
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensor_slices((X, NOISY)).batch(5).repeat()
    with pytest.raises(ValueError, match=r"^LearningDynamics: `x` must be a finite"):
        callbacks.LearningDynamics(endless, NOISY, CLEAN)
    # It does not say that it has no end.
    filtered = endless.filter(lambda x, y: True)
    assert int(filtered.cardinality()) == -2
    with pytest.raises(ValueError, match="the number of predictions, 25 or more"):
        fit(build_model(), callbacks.LearningDynamics(filtered, NOISY, CLEAN))


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return X, NOISY


class WithoutALength(keras.utils.PyDataset):
    def __getitem__(self, index):
        return X, NOISY


class EndlessInSilence:
    """Iterates for ever, and nothing says so."""

    def __iter__(self):
        while True:
            yield X, NOISY


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (Endless(), ValueError, "a finite data set.* Leave out `repeat`"),
        (WithoutALength(), ValueError, "a finite data set.*a `__len__`"),
        (((X, NOISY) for _ in range(2)), TypeError, "arrays, or a data set.*PyDataset"),
        (3, TypeError, "arrays, or a data set of batches"),
        (None, TypeError, "arrays, or a data set of batches"),
    ],
)
@pytest.mark.parametrize("watch", ["LearningDynamics", "SEAL"])
def test_data_that_cannot_be_read_in_every_epoch(watch, x, error, text):
    labels = (NOISY,) if watch == "LearningDynamics" else ()
    with pytest.raises(error, match=f"^{watch}: `x` must be {text}"):
        getattr(callbacks, watch)(x, *labels)


def test_an_endless_data_set_that_does_not_say_so():
    with pytest.raises(ValueError, match="the number of predictions, 40 or more"):
        fit(build_model(), callbacks.LearningDynamics(EndlessInSilence(), NOISY))


@pytest.mark.parametrize("names", [None, ("a", "b")])
def test_several_outputs(names):
    """Two outputs of the labels' length are no classes of two examples."""
    inputs = keras.Input((4,))
    heads = [keras.layers.Dense(NUM_CLASSES, "softmax")(inputs) for _ in range(2)]
    outputs = dict(zip(names, heads, strict=True)) if names else heads
    model = keras.Model(inputs, outputs)
    loss = "sparse_categorical_crossentropy"
    model.compile("sgd", dict.fromkeys(names, loss) if names else [loss] * 2)
    y = dict.fromkeys(names, NOISY) if names else [NOISY, NOISY]
    for x in (X, Pieces()):
        watch = callbacks.LearningDynamics(x, NOISY, CLEAN, from_logits=False)
        with pytest.raises(
            ValueError,
            match=r"^LearningDynamics: `model` must be a classifier with one output",
        ):
            model.fit(X, y, epochs=1, verbose=0, callbacks=[watch])


class Pieces(keras.utils.PyDataset):
    num_batches = 2

    def __getitem__(self, index):
        return X[10 * index : 10 * index + 10], NOISY[10 * index : 10 * index + 10]


def test_seal_with_another_number_of_examples():
    for seal in (callbacks.SEAL(X[1:]), callbacks.SEALOnTheFly(19)):
        with pytest.raises(ValueError, match="with n the number of predictions, 19"):
            callbacks.LearningDynamics(seal, NOISY, CLEAN)


def test_losses_per_subset():
    model = build_model()
    history = fit(model, callbacks.LearningDynamics(X, NOISY, CLEAN))
    p = model.predict(X, verbose=0)
    each = -np.log(p[np.arange(20), NOISY])
    wrong = NOISY != CLEAN
    assert history["loss_clean"][0] == pytest.approx(each[~wrong].mean(), rel=1e-4)
    assert history["loss_corrupted"][0] == pytest.approx(each[wrong].mean(), rel=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        losses.EqualLoss(epsilon=0.4),
        keras.losses.sparse_categorical_crossentropy,
    ],
    ids=["name", "this package's", "function"],
)
def test_losses_of_every_form(loss):
    model = build_model()
    model.compile("sgd", loss)
    history = fit(model, callbacks.LearningDynamics(X, NOISY, CLEAN))
    assert np.isfinite(history["loss_clean"][0])


def test_trust_per_subset():
    model = build_model()
    model.compile("sgd", losses.ProSelfLC())
    watch = [callbacks.LearningDynamics(X, NOISY, CLEAN), callbacks.GlobalTrust()]
    history = fit(model, *watch, epochs=2)
    for part in ("clean", "corrupted"):
        g, h = history["global_trust"][1], history[f"entropy_{part}"][1]
        assert history[f"trust_{part}"][1] == pytest.approx(g * (1 - h), rel=1e-6)


@pytest.mark.parametrize("trust", ["both", "global", "local", 0.6])
def test_trust_is_that_of_the_loss(trust):
    model = build_model()
    model.compile("sgd", losses.ProSelfLC(trust=trust))
    watch = [callbacks.LearningDynamics(X, NOISY, CLEAN), callbacks.GlobalTrust()]
    logs = {name: each[-1] for name, each in fit(model, *watch, epochs=2).items()}
    for part in ("clean", "corrupted"):
        g, local = logs.get("global_trust"), 1 - logs[f"entropy_{part}"]
        expected = {
            "both": g and g * local,
            "global": g,
            "local": local,
            0.6: 0.6,
        }
        assert logs[f"trust_{part}"] == pytest.approx(expected[trust], rel=1e-5)


def test_semantic_class_of_targets():
    """By hand: a prediction takes the target over where `e p > (1 - e) + e p_y`."""
    model = build_model()
    model.compile("sgd", losses.BootstrapSoft(epsilon=0.7))
    logs = fit(model, callbacks.LearningDynamics(X, NOISY, CLEAN))
    p = model.predict(X, verbose=0)
    targets = 0.7 * p + 0.3 * np.eye(p.shape[1])[NOISY]
    wrong = NOISY != CLEAN
    expected = (targets.argmax(axis=1) == CLEAN)[wrong].mean()
    assert logs["target_correction"][0] == pytest.approx(expected)
    assert expected == analysis.semantic_correction(targets, NOISY, CLEAN)
    logs = fit(model, callbacks.LearningDynamics(X, NOISY))
    p = model.predict(X, verbose=0)
    targets = 0.7 * p + 0.3 * np.eye(p.shape[1])[NOISY]
    expected = (targets.argmax(axis=1) == NOISY).mean()
    assert logs["target_agreement"][0] == pytest.approx(expected)


def test_a_target_that_is_the_prediction_has_its_class():
    model = build_model()
    model.compile("sgd", losses.ProSelfLC(trust=1.0))
    logs = fit(model, callbacks.LearningDynamics(X, NOISY, CLEAN))
    assert logs["target_correction"] == logs["semantic_correction"]
    model.compile("sgd", losses.LabelSmoothing(epsilon=0.5))
    logs = fit(model, callbacks.LearningDynamics(X, NOISY, CLEAN))
    assert logs["target_correction"] == [0]
    model.compile("sgd", "sparse_categorical_crossentropy")
    logs = fit(model, callbacks.LearningDynamics(X, NOISY, CLEAN))
    assert "target_correction" not in logs


def test_without_clean_labels():
    model = build_model()
    history = fit(model, callbacks.LearningDynamics(X, NOISY))
    p = model.predict(X, verbose=0)
    assert history["label_agreement"][0] == pytest.approx(
        (p.argmax(axis=1) == NOISY).mean()
    )
    assert history["entropy"][0] == pytest.approx(
        analysis.normalized_entropy(p).mean(), rel=1e-5
    )
    assert history["given_loss"][0] == pytest.approx(
        -np.log(p[np.arange(20), NOISY]).mean(), rel=1e-4
    )
    assert "wrong_label_fit" not in history


def test_every():
    watch = callbacks.LearningDynamics(X, NOISY, CLEAN, every=3)
    history = fit(build_model(), watch, epochs=5)
    measured = ~np.isnan(history["wrong_label_fit"])
    assert measured.tolist() == [True, False, False, True, True]


def test_num_examples():
    first, second, other = (
        callbacks.LearningDynamics(X, NOISY, CLEAN, num_examples=7, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.x.shape == (7, 4)
    np.testing.assert_array_equal(first.x, second.x)
    assert not np.array_equal(first.x, other.x)
    rows = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in first.x]
    assert first.noisy_labels.tolist() == NOISY[rows].tolist()
    assert first.clean_labels.tolist() == CLEAN[rows].tolist()
    assert np.isfinite(fit(build_model(), first)["entropy_clean"][0])


def test_batches_instead_of_arrays():
    class Batches(keras.utils.PyDataset):
        num_batches = 2

        def __getitem__(self, index):
            return X[10 * index : 10 * index + 10], NOISY[10 * index : 10 * index + 10]

    batches = Batches()
    keras.utils.set_random_seed(1)
    first = fit(build_model(), callbacks.LearningDynamics(batches, NOISY, CLEAN))
    keras.utils.set_random_seed(1)
    second = fit(build_model(), callbacks.LearningDynamics(X, NOISY, CLEAN))
    for name in NAMES:
        assert first[name] == pytest.approx(second[name], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"every": 0}, "`every` must be a positive integer"),
        ({"num_examples": 1.5}, "`num_examples` must be a positive integer"),
        ({"x": [(X, NOISY)], "num_examples": 3}, "`num_examples` must be None"),
    ],
)
def test_more_errors(arguments, text):
    x = arguments.pop("x", X)
    x = x if x is X else iter(x)
    with pytest.raises(ValueError, match="^LearningDynamics: " + text):
        callbacks.LearningDynamics(x, NOISY, CLEAN, **arguments)


def test_predictions_of_seal_are_used():
    keras.utils.set_random_seed(1)
    plain = fit(build_model(), callbacks.LearningDynamics(X, NOISY, CLEAN), epochs=2)
    keras.utils.set_random_seed(1)
    seal = callbacks.SEAL(X)
    watch = callbacks.LearningDynamics(seal, NOISY, CLEAN)
    shared = fit(build_model(), seal, watch, epochs=2)
    for name in [*NAMES, "loss_clean", "loss_corrupted"]:
        assert shared[name] == pytest.approx(plain[name], rel=1e-4), name


def test_predictions_of_seal_of_a_model_with_logits():
    model = build_model(activation=None)
    seal = callbacks.SEAL(X, from_logits=True)
    history = fit(model, seal, callbacks.LearningDynamics(seal, NOISY, CLEAN))
    p = seal.soft_labels
    each = -np.log(p[np.arange(20), NOISY])
    assert history["loss_clean"][0] == pytest.approx(
        each[NOISY == CLEAN].mean(), rel=1e-4
    )


def test_predictions_on_the_fly_are_used():
    model = build_model()
    seal = callbacks.SEALOnTheFly(20)
    data = seal.pipeline(model, X, NOISY, batch_size=8)
    watch = callbacks.LearningDynamics(seal, NOISY, CLEAN)
    history = model.fit(data, shuffle=False, verbose=0, callbacks=[seal, watch]).history
    expected = analysis.normalized_entropy(seal.soft_labels)[NOISY == CLEAN].mean()
    assert history["entropy_clean"][0] == pytest.approx(expected, rel=1e-4)


def test_seal_must_come_first():
    seal = callbacks.SEAL(X)
    watch = callbacks.LearningDynamics(seal, NOISY, CLEAN)
    with pytest.raises(ValueError, match="`x` must stand before this callback"):
        fit(build_model(), watch, seal)
    with pytest.raises(ValueError, match="with n the number of predictions, 20"):
        seal = callbacks.SEAL(X)
        watch = callbacks.LearningDynamics(seal, NOISY[1:], CLEAN[1:])
        fit(build_model(), seal, watch)
