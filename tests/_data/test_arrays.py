"""The same result for lists, data frames, tensors and sparse arrays as for arrays."""

import importlib.util

import keras
import numpy as np
import pytest

from keras_noisy import analysis, callbacks, datasets, losses, noise, training
from keras_noisy._data import arrays

NUM_CLASSES = 3
N = 60
RANDOM = np.random.default_rng(0)
# Half of it zeros.
X = np.where(RANDOM.integers(0, 2, (N, 8)), RANDOM.normal(size=(N, 8)), 0.0)
X = X.astype("float32")
CLEAN = np.arange(N) % NUM_CLASSES
NOISY = noise.corrupt_labels(CLEAN, noise.symmetric(NUM_CLASSES, 0.4), seed=0).noisy


def list_of(array):
    return array.tolist()


def frame_of(array):
    import pandas

    # Rows named after another order, as after a split, and no row by its position.
    index = np.arange(len(array))[::-1] / 2
    kind = pandas.DataFrame if array.ndim == 2 else pandas.Series
    return kind(array, index=index)


def sparse_of(array):
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy comes with scikit-learn")
    return sparse.coo_array(array) if array.ndim == 2 else array


def rows_of_sparse(array):
    return sparse_of(array).tocsr() if array.ndim == 2 else array


def tensor_of(array):
    return keras.ops.convert_to_tensor(array)


needs_pandas = pytest.mark.skipif(
    importlib.util.find_spec("pandas") is None, reason="pandas comes with cleanlab"
)
FORMS = {
    "list": list_of,
    "tensor": tensor_of,
    "data frame": pytest.param(frame_of, marks=needs_pandas),
    "sparse": sparse_of,
}
of_all_forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def build_model(loss=None, seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(NUM_CLASSES),
        ]
    )
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    return model


def build_soft_model():
    return build_model(keras.losses.CategoricalCrossentropy(from_logits=True))


def fit(model, *watch, epochs=2, **kwargs):
    kwargs = {"epochs": epochs, "verbose": 0, "callbacks": [*watch], **kwargs}
    return model.fit(X, NOISY, **kwargs).history


@of_all_forms
def test_seal_knows_its_data_again(form, tmp_path):
    def train(x, **kwargs):
        seal = callbacks.SEAL(x, storage=tmp_path, from_logits=True)
        fit(build_model(), seal, **kwargs)
        return seal

    train(form(X))
    # Numbers of a list are in double precision.
    same = X.astype("float64") if form is list_of else X
    assert train(same, initial_epoch=2, epochs=3).epochs_seen == 3
    with pytest.raises(ValueError, match="`storage` must be a folder of this run"):
        train(form(X[::-1]), initial_epoch=3, epochs=4)


def self_evolution(x, y, collect="pass", **kwargs):
    run = training.SelfEvolution(
        build_soft_model, rounds=2, collect=collect, from_logits=True
    )
    run.fit(x, y, epochs=2, verbose=0, **kwargs)
    return run.soft_labels


@of_all_forms
@pytest.mark.parametrize("collect", ["pass", "on_the_fly"])
def test_self_evolution(form, collect):
    weight = np.linspace(0.5, 1.5, N, dtype="float32")
    np.testing.assert_array_equal(
        self_evolution(form(X), form(NOISY), collect, sample_weight=form(weight)),
        self_evolution(X, NOISY, collect, sample_weight=weight),
    )


@of_all_forms
def test_pipelines(form):
    weight = np.linspace(0.5, 1.5, N, dtype="float32")

    def batches(x, y, weight):
        seal = callbacks.SEALOnTheFly(N)
        arguments = {"sample_weight": weight, "batch_size": 16}
        return [
            *seal.pipeline(build_model(), x, y, **arguments),
            *datasets.training_pipeline(x, y, **arguments),
        ]

    expected = batches(X, NOISY, weight)
    actual = batches(form(X), form(NOISY), form(weight))
    keras.tree.assert_same_structure(actual, expected)
    keras.tree.map_structure(np.testing.assert_array_equal, actual, expected)


@of_all_forms
@pytest.mark.parametrize("num_examples", [None, 20])
def test_learning_dynamics(form, num_examples):
    def logs(*data):
        arguments = {"from_logits": True, "num_examples": num_examples}
        return fit(build_model(), callbacks.LearningDynamics(*data, **arguments))

    assert logs(form(X), form(NOISY), form(CLEAN)) == logs(X, NOISY, CLEAN)


@of_all_forms
def test_dimensionality_schedule(form):
    def logs(x):
        watch = callbacks.DimensionalitySchedule(
            x, warmup_epochs=1, window=2, batch_size=30, num_neighbors=5
        )
        loss = losses.DimensionalityDriven(from_logits=True)
        return fit(build_model(loss), watch, epochs=5)

    assert logs(form(X)) == logs(X)


P = np.random.default_rng(1).dirichlet([0.5] * NUM_CLASSES, N).astype("float32")
LABELLED = {
    "corrupt_labels": lambda y, clean: (
        noise.corrupt_labels(y, noise.symmetric(NUM_CLASSES, 0.2), seed=0).noisy
    ),
    "instance_dependent": lambda y, clean: noise.instance_dependent(P, y, 0.2).noisy,
    "estimate_from_confusion": lambda y, clean: noise.estimate_from_confusion(
        y, 0.2 * P + 0.8 * np.eye(NUM_CLASSES)[NOISY]
    ),
    "wrong_label_fit": lambda y, clean: analysis.wrong_label_fit(P, y, clean),
    "semantic_correction": lambda y, clean: analysis.semantic_correction(y, y, clean),
    "label_distance": lambda y, clean: analysis.label_distance(P, y, clean),
    "correction_candidates": lambda y, clean: analysis.correction_candidates(P, y),
    "calibration": lambda y, clean: analysis.calibration(P, y).accuracy,
    "gradient_density": lambda y, clean: (
        analysis.gradient_density(losses.EqualLoss(epsilon=0.3), y, P).density
    ),
    "find_suspects": lambda y, clean: analysis.find_suspects(y, P).to_datalab(),
    "LearningDynamics": lambda y, clean: fit(
        build_model(), callbacks.LearningDynamics(X, y, clean, from_logits=True)
    ),
    "SelfEvolution": lambda y, clean: self_evolution(X, y, clean_labels=clean),
    "hold_out_class_conditional_test": lambda y, clean: str(
        analysis.hold_out_class_conditional_test(
            build_model, X, y, clean_labels=clean, epochs=1, verbose=0
        )
    ),
}


@pytest.mark.parametrize("use", LABELLED.values(), ids=LABELLED)
def test_labels_as_a_column(use):
    """As `keras.datasets.cifar10` has them."""

    def column(labels):
        return labels[:, None].astype("uint8")

    actual = use(column(NOISY), column(CLEAN))
    np.testing.assert_equal(actual, use(NOISY.astype("uint8"), CLEAN.astype("uint8")))


@of_all_forms
def test_critical_sample_ratio(form):
    model = build_model()

    def ratio(x):
        return analysis.critical_sample_ratio(model, x, radius=0.2, max_steps=5)

    assert 0 < ratio(X) < 1
    assert ratio(form(X)) == ratio(X)


@of_all_forms
def test_hold_out_class_conditional_test(form):
    def error(*data):
        return analysis.hold_out_class_conditional_test(
            build_model, *data[:2], clean_labels=data[2], epochs=1, verbose=0
        )

    assert str(error(form(X), form(NOISY), form(CLEAN))) == str(error(X, NOISY, CLEAN))


# The others are no data for `keras.Model.fit`, and so for none of these.
@pytest.mark.parametrize(
    "form", [FORMS["data frame"], rows_of_sparse], ids=["data frame", "sparse"]
)
def test_models_around_networks(form):
    def logs(model, x, y):
        model.compile(
            "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        arguments = {"epochs": 3, "validation_split": 0.2, "verbose": 0}
        return model.fit(x, y, **arguments).history

    for build in (
        lambda: training.DynamicBootstrapping(build_model(), warmup_epochs=1, seed=0),
        lambda: training.CoTeaching(
            build_model(), build_model(seed=1), forget_rate=0.4
        ),
    ):
        keras.utils.set_random_seed(0)
        expected = logs(build(), X, NOISY)
        keras.utils.set_random_seed(0)
        np.testing.assert_equal(logs(build(), form(X), form(NOISY)), expected)


WORDS = np.array(["good", "bad", "fine", "awful"])
TEXTS = np.array([" ".join(RANDOM.choice(WORDS, 3)) for _ in range(N)])


def build_text_model(loss=None):
    keras.utils.set_random_seed(0)
    words = keras.layers.TextVectorization(output_mode="count", vocabulary=list(WORDS))
    inputs = keras.Input((), dtype="string")
    outputs = keras.layers.Dense(NUM_CLASSES)(words(inputs))
    model = keras.Model(inputs, outputs)
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    return model


def objects_of(array):
    return array.astype(object)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize(
    "form",
    [np.asarray, objects_of, list_of, list, FORMS["data frame"], tensor_of],
)
def test_texts(form):
    """Where the model itself looks up words, which only TensorFlow can."""

    def soft_labels(x):
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        run = training.SelfEvolution(
            lambda: build_text_model(loss), rounds=2, from_logits=True
        )
        run.fit(x, NOISY, epochs=2, verbose=0)
        return run.soft_labels

    seals = [callbacks.SEAL(x, from_logits=True) for x in (form(TEXTS), TEXTS)]
    build_text_model().fit(
        objects_of(TEXTS), NOISY, epochs=2, verbose=0, callbacks=seals
    )
    np.testing.assert_array_equal(seals[0].soft_labels, seals[1].soft_labels)
    assert np.ptp(seals[0].soft_labels, axis=0).min() > 0.1
    np.testing.assert_array_equal(soft_labels(form(TEXTS)), soft_labels(TEXTS))


def test_texts_in_other_memory_are_the_same_data():
    digests = {arrays.digest(np.array(list(TEXTS), object)) for _ in range(2)}
    assert len(digests) == 1
    assert digests != {arrays.digest(objects_of(TEXTS[::-1]))}


@pytest.mark.parametrize(
    "values", [TEXTS, CLEAN, X[:, 0]], ids=["text", "id", "number"]
)
def test_a_list_of_numpy_s_scalars_is_an_array(values):
    """They have a shape, as arrays have, but no entries."""
    found = arrays.standard(list(values))
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype
    assert callbacks.SEAL(list(values)).num_examples == N


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (tuple(TEXTS), ValueError),
        (np.float32(3.0), ValueError),
        ({"a": X, "b": np.array("text")}, ValueError),
        (tuple(TEXTS.tolist()), TypeError),
        ("text", TypeError),
        ({"a": "text"}, TypeError),
    ],
)
def test_what_has_no_entries_is_no_data(x, error):
    expected = r"`x` must be an array, or a tuple or dict of arrays"
    with pytest.raises(error, match=f"SEAL: {expected}"):
        callbacks.SEAL(x)
    with pytest.raises(error, match=f"SelfEvolution: {expected}"):
        self_evolution(x, NOISY)
