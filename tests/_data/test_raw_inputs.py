"""Models that prepare raw inputs in `fit`, made as the tasks of keras-hub are."""

import keras
import numpy as np
import pytest

from keras_noisy import callbacks, losses
from keras_noisy.callbacks import SEAL, SEALOnTheFly
from keras_noisy.training import SelfEvolution

LENGTH, CLASSES, BATCH, EPOCHS = 3, 3, 8, 3
BACKEND = keras.backend.backend()
WORDS = ["good", "bad", "film", "the", "boring"]
rng = np.random.default_rng(0)
TEXTS = [" ".join(rng.choice(WORDS, rng.integers(1, 5))) for _ in range(28)]
Y = rng.integers(0, CLASSES, len(TEXTS))


def tokenized(texts):
    """Return what the network takes, for a list or an array of strings."""
    rows = np.zeros((len(texts), LENGTH), "int32")
    for row, text in zip(rows, texts, strict=True):
        text = text.decode() if isinstance(text, bytes) else str(text)
        ids = [WORDS.index(word) + 1 for word in text.split()][:LENGTH]
        row[: len(ids)] = ids
    return {"token_ids": rows, "padding_mask": rows != 0}


@keras.saving.register_keras_serializable(package="tests")
class Task(keras.Model):
    """A functional model of dict inputs; `fit` and its kin prepare what they get.

    As in keras-hub, they take arrays and data sets with `map`, and no `PyDataset`.
    """

    def __init__(self, *args, prepares=True, **kwargs):
        super().__init__(*args, **kwargs)
        self.prepares, self.prepared = prepares, 0

    def preprocess_samples(self, x, y=None, sample_weight=None):
        self.prepared += 1
        if self.prepares:
            x = tokenized(x.numpy() if hasattr(x, "numpy") else x)
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def _all(self, x, y=None, sample_weight=None):
        if isinstance(x, keras.utils.PyDataset):
            raise ValueError("setting an array element with a sequence")
        return keras.utils.unpack_x_y_sample_weight(
            self.preprocess_samples(x, y, sample_weight)
        )

    def fit(self, x=None, y=None, batch_size=None, sample_weight=None, **kwargs):
        x, y, sample_weight = self._all(x, y, sample_weight)
        validation = kwargs.pop("validation_data", None)
        if validation is not None:
            kwargs["validation_data"] = self._all(*validation)
        kwargs.update(batch_size=batch_size, sample_weight=sample_weight)
        return super().fit(x, y, **kwargs)

    def evaluate(self, x=None, y=None, batch_size=None, sample_weight=None, **kwargs):
        if not kwargs.get("_use_cached_eval_dataset"):
            x, y, sample_weight = self._all(x, y, sample_weight)
        kwargs.update(batch_size=batch_size, sample_weight=sample_weight)
        return super().evaluate(x, y, **kwargs)

    def predict(self, x, **kwargs):
        return super().predict(self._all(x)[0], **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        return super().test_on_batch(*self._all(x, y, sample_weight), **kwargs)

    def predict_on_batch(self, x):
        return super().predict_on_batch(self._all(x)[0])


def build(prepares=None, loss=None):
    """Return a task, or, for None, the network in it as a plain model."""
    keras.utils.set_random_seed(1)
    ids = keras.Input((LENGTH,), dtype="int32", name="token_ids")
    mask = keras.Input((LENGTH,), dtype="bool", name="padding_mask")
    inputs = {"token_ids": ids, "padding_mask": mask}
    z = keras.layers.Embedding(len(WORDS) + 2, 4)(ids)
    z = keras.layers.GlobalAveragePooling1D()(z, mask=mask)
    outputs = keras.layers.Dense(CLASSES, activation="softmax")(z)
    if prepares is None:
        model = keras.Model(inputs, outputs)
    else:
        model = Task(inputs, outputs, prepares=prepares)
    model.compile(keras.optimizers.SGD(0.5), loss or "sparse_categorical_crossentropy")
    return model


PREPARED = tokenized(TEXTS)
KINDS = pytest.mark.parametrize(
    ("prepares", "x"),
    [(True, TEXTS), (False, PREPARED)],
    ids=["texts", "prepared before"],
)


@KINDS
@pytest.mark.parametrize("collect", ["pass", "on_the_fly"])
def test_self_evolution(tmp_path, prepares, x, collect):
    def evolve(x, prepares, storage=None, rounds=2):
        evolution = SelfEvolution(
            lambda: build(prepares, "categorical_crossentropy"),
            rounds=rounds, collect=collect, storage=storage,
        )  # fmt: skip
        validation = (x, np.eye(CLASSES)[Y])
        return evolution.fit(
            x, Y, epochs=EPOCHS, batch_size=BATCH, verbose=0, validation_data=validation
        )

    expected = evolve(PREPARED, None)
    found = evolve(x, prepares)
    np.testing.assert_array_equal(found.soft_labels, expected.soft_labels)
    for logs, others in zip(found.histories, expected.histories, strict=True):
        for name, values in others.items():
            np.testing.assert_allclose(logs[name], values, rtol=1e-5)
    evolve(x, prepares, tmp_path, rounds=1)
    continued = evolve(x, prepares, tmp_path)
    np.testing.assert_array_equal(continued.soft_labels, expected.soft_labels)


@KINDS
def test_pipeline(prepares, x):
    weights = np.linspace(0.1, 2, len(Y)).astype("float32")

    def train(x, prepares):
        model, seal = build(prepares), SEALOnTheFly(len(Y))
        data = seal.pipeline(model, x, Y, weights, batch_size=BATCH)
        history = model.fit(
            data, epochs=EPOCHS, verbose=0, callbacks=[seal], shuffle=False,
            validation_data=(x, Y),
        ).history  # fmt: skip
        return seal.soft_labels, history, model.evaluate(x, Y, verbose=0)

    expected, history, loss = train(PREPARED, None)
    found, found_history, found_loss = train(x, prepares)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found_history["loss"], history["loss"], rtol=1e-5)
    np.testing.assert_allclose(
        found_history["val_loss"], history["val_loss"], rtol=1e-5
    )
    assert found_loss == pytest.approx(loss, rel=1e-5)


def test_a_loss_with_sample_ids():
    def train(x, prepares):
        model = build(prepares, losses.EarlyLearningRegularization())
        targets = callbacks.EarlyLearningTargets(len(Y))
        data = targets.pipeline(model, x, Y, batch_size=BATCH)
        return model.fit(
            data, epochs=EPOCHS, verbose=0, callbacks=[targets], shuffle=False
        ).history["loss"]

    np.testing.assert_allclose(train(TEXTS, True), train(PREPARED, None), rtol=1e-5)


def test_fit_prepares_as_before_after_pipeline():
    """Data of the user's own still go through the model's own `fit`."""
    plain, model = build(None), build(True)
    SEALOnTheFly(len(Y)).pipeline(model, TEXTS, Y)
    SEALOnTheFly(len(Y)).pipeline(model, TEXTS, Y)
    before = model.prepared
    expected = plain.evaluate(PREPARED, Y, verbose=0)
    assert model.evaluate(TEXTS, Y, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert model.prepared == before + 1


def test_seal_and_its_pass():
    plain, model = build(None), build(True)
    expected, seal = SEAL(PREPARED), SEAL(TEXTS)
    arguments = {"epochs": 2, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    plain.fit(PREPARED, Y, callbacks=[expected], **arguments)
    model.fit(TEXTS, Y, callbacks=[seal], **arguments)
    np.testing.assert_allclose(seal.soft_labels, expected.soft_labels, rtol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a map in TensorFlow's graph")
def test_a_data_set_with_ids():
    import tensorflow as tf

    table = tf.keras.layers.TextVectorization(
        vocabulary=WORDS, output_sequence_length=LENGTH
    )

    class Mapped(Task):
        def preprocess_samples(self, x, y=None, sample_weight=None):
            ids = table(x)
            x = {"token_ids": ids, "padding_mask": ids != 0}
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

        def fit(self, x=None, y=None, **kwargs):
            if isinstance(x, tf.data.Dataset):
                return keras.Model.fit(self, x.map(self.preprocess_samples), **kwargs)
            return super().fit(x, y, **kwargs)

    def train(kind, data_of):
        network = build(None)
        model = kind(network.input, network.output)
        model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
        seal = SEALOnTheFly(len(Y))
        data = tf.data.Dataset.from_tensor_slices((data_of, Y))
        data = callbacks.with_sample_ids(data).batch(BATCH)
        data = seal.pipeline(model, data)
        model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[seal])
        return seal.soft_labels

    ids = table(tf.constant(TEXTS)).numpy()
    prepared = {"token_ids": ids, "padding_mask": ids != 0}
    expected = train(keras.Model, prepared)
    np.testing.assert_allclose(train(Mapped, TEXTS), expected, rtol=1e-5)


def test_validation_data_of_another_kind_is_an_error():
    model, seal = build(True), SEALOnTheFly(len(Y))
    data = seal.pipeline(model, TEXTS, Y)
    with pytest.raises(TypeError, match=r"Task: `validation_data` must be arrays, or"):
        model.fit(data, validation_data=data, verbose=0, callbacks=[seal])
