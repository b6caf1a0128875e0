"""SEAL: the averages against an oracle, in every way that predictions come in."""

import os

import keras
import numpy as np
import pytest

from keras_noisy import callbacks, losses
from keras_noisy._data import predictions
from keras_noisy.callbacks import SEAL, GlobalTrust, SEALOnTheFly, with_sample_ids
from tests.helpers import ids_of_epochs, softmax

BACKEND = keras.backend.backend()
N, FEATURES, CLASSES, BATCH, EPOCHS = 22, 6, 4, 8, 3
LEARNING_RATE = 0.5

rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)
KERNEL = rng.normal(size=(FEATURES, CLASSES)).astype("float32")


def make_model(activation="softmax", cls=keras.Model, **compile_args):
    inputs = keras.Input((FEATURES,))
    layer = keras.layers.Dense(CLASSES, activation, use_bias=False)
    model = cls(inputs, layer(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    arguments = {"optimizer": keras.optimizers.SGD(LEARNING_RATE), "loss": loss}
    model.compile(**{**arguments, **compile_args})
    model.set_weights([KERNEL])
    return model


def train_by_hand(orders, batch=BATCH):
    """Train the softmax regression in float64 NumPy.

    `N` leaves a last batch of 6, which two replicas share evenly: Keras averages over
    replicas and not over examples.

    Returns:
        The mean of the predictions of the steps on each example, and the mean of the
        predictions on all examples after each epoch.
    """
    kernel = KERNEL.astype("float64")
    in_steps, after = np.zeros((N, CLASSES)), np.zeros((N, CLASSES))
    counts = np.zeros(N)
    for order in orders:
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            p = softmax(X[rows] @ kernel)
            np.add.at(in_steps, rows, p)
            np.add.at(counts, rows, 1)
            error = (p - np.eye(CLASSES)[Y[rows]]) / len(rows)
            kernel -= LEARNING_RATE * X[rows].T @ error
        after += softmax(X @ kernel)
    return in_steps / counts[:, None], after / len(orders)


IN_ORDER = [np.arange(N)] * EPOCHS


def fit(model, seal, x=X, y=Y, **kwargs):
    settings = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, "verbose": 0}
    return model.fit(x, y, callbacks=[seal], **{**settings, **kwargs})


def record(model, seal, epochs=EPOCHS, data=None, **kwargs):
    if data is None:
        data = seal.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    return model.fit(
        data, epochs=epochs, callbacks=[seal], verbose=0, shuffle=False, **kwargs
    )


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    assert actual.dtype == "float32"
    np.testing.assert_allclose(actual.sum(axis=1), 1, atol=1e-5)


# --- a pass at the end of each epoch


@pytest.mark.parametrize("activation", ["softmax", None])
def test_pass(activation):
    seal = SEAL(X, batch_size=5, from_logits=activation is None)
    fit(make_model(activation), seal)
    assert_close(seal.soft_labels, train_by_hand(IN_ORDER)[1])
    assert seal.epochs_seen == EPOCHS
    assert seal.counts.tolist() == [EPOCHS] * N


def test_pass_in_pieces(monkeypatch):
    seal = SEAL(X, batch_size=4)
    monkeypatch.setattr(predictions, "_piece", lambda model, batch_size: 8)
    fit(make_model(), seal)
    assert_close(seal.soft_labels, train_by_hand(IN_ORDER)[1])


def test_pass_over_a_list_and_a_dict():
    lists, dicts = SEAL(X.tolist()), SEAL({"a": X})
    fit(make_model(), lists)
    inputs = {"a": keras.Input((FEATURES,), name="a")}
    layer = keras.layers.Dense(CLASSES, "softmax", use_bias=False)
    model = keras.Model(inputs, layer(inputs["a"]))
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE), "sparse_categorical_crossentropy"
    )
    model.set_weights([KERNEL])
    fit(model, dicts, {"a": X})
    assert_close(lists.soft_labels, train_by_hand(IN_ORDER)[1])
    assert_close(dicts.soft_labels, train_by_hand(IN_ORDER)[1])


class Parts(keras.utils.PyDataset):
    """The data in batches of five."""

    def __len__(self):
        return -(-N // 5)

    def __getitem__(self, index):
        rows = slice(5 * index, 5 * index + 5)
        return X[rows], Y[rows]


class Shuffled(keras.utils.PyDataset):
    """Batches in another order whenever they are read, as `shuffle` makes them."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays
        self.order = np.random.default_rng(0)

    def __len__(self):
        return -(-len(self.arrays[0]) // BATCH)

    def __getitem__(self, index):
        if index == 0:
            self.rows = self.order.permutation(len(self.arrays[0]))
        rows = self.rows[index * BATCH : (index + 1) * BATCH]
        batch = tuple(array[rows] for array in self.arrays)
        return batch if len(batch) > 1 else batch[0]


@pytest.mark.parametrize("watch", ["SEAL", "LearningDynamics"])
def test_a_data_set_in_another_order(watch):
    """Averages of one example's prediction and another's would mean nothing."""

    def callback(*arrays):
        labels = () if watch == "SEAL" else (Y,)
        return getattr(callbacks, watch)(Shuffled(*arrays), *labels)

    match = "^LearningDynamics: `x` must be .* in the order of `noisy_labels`"
    if watch == "SEAL":
        # It counts the examples before it predicts them.
        match = "^SEAL: `x` must be .* same order"
    with pytest.raises(ValueError, match=match):
        fit(make_model(), callback(X, Y), epochs=1)
    with pytest.warns(UserWarning, match=f"^{watch}: the first inputs of `x`"):
        fit(make_model(), callback(X))


def test_pass_over_a_data_set():
    seal = SEAL(Parts())
    fit(make_model(), seal)
    assert_close(seal.soft_labels, train_by_hand(IN_ORDER)[1])


@pytest.mark.tf_data
def test_pass_over_tf_data():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    for x in (dataset, with_sample_ids(dataset, batched=True)):
        seal = SEAL(x)
        fit(make_model(), seal)
        assert_close(seal.soft_labels, train_by_hand(IN_ORDER)[1])
    with pytest.raises(ValueError, match=r"SEAL: `x` must be a finite data set"):
        fit(make_model(), SEAL(dataset.repeat()))


def test_torch_data_loaders():
    torch = pytest.importorskip("torch")
    pairs = [({"x": X[i], "sample_id": i}, Y[i]) for i in range(N)]
    loader = torch.utils.data.DataLoader(pairs, batch_size=BATCH)
    on_the_fly, after = train_by_hand(IN_ORDER)
    model, seal = make_model(), SEALOnTheFly(N)
    record(model, seal, data=seal.pipeline(model, loader))
    assert_close(seal.soft_labels, on_the_fly)
    seal = SEAL(loader)
    fit(make_model(), seal)
    assert_close(seal.soft_labels, after)


def test_pass_works_where_the_model_is_built_by_fit():
    model = keras.Sequential([keras.layers.Dense(CLASSES, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    seal = SEAL(X)
    fit(model, seal, epochs=1)
    assert_close(seal.soft_labels, model.predict(X, verbose=0))


def test_pass_predicts_in_inference_mode():
    inputs = keras.Input((FEATURES,))
    x = keras.layers.Dropout(0.5)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax")(x))
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    seal = SEAL(X)
    fit(model, seal)
    assert_close(seal.soft_labels, model.predict(X, verbose=0))


def test_second_fit_starts_again_and_initial_epoch_continues():
    seal, model = SEAL(X), make_model()
    fit(model, seal)
    model.set_weights([KERNEL])
    fit(model, seal, epochs=1)
    assert seal.epochs_seen == 1
    fit(model, seal, initial_epoch=1)
    assert seal.epochs_seen == EPOCHS
    assert_close(seal.soft_labels, train_by_hand(IN_ORDER)[1])
    with pytest.raises(ValueError, match=r"SEAL: `fit` must start at epoch 3"):
        fit(model, seal, initial_epoch=5, epochs=6)


def test_averaging_may_begin_late():
    seal, model = SEAL(X), make_model()
    fit(model, seal, initial_epoch=2)
    assert seal.epochs_seen == 1
    assert_close(seal.soft_labels, model.predict(X, verbose=0))


class Crash(keras.callbacks.Callback):
    def __init__(self, epoch, when):
        super().__init__()
        self.epoch, self.when = epoch, when

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, self.when) == (self.epoch, "batch"):
            raise RuntimeError("crash")

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, self.when) == (self.epoch, "epoch"):
            raise RuntimeError("crash")


@pytest.mark.every_backend
@pytest.mark.parametrize("on_the_fly", [False, True])
@pytest.mark.parametrize("when", ["batch", "epoch"])
def test_backup_and_restore(tmp_path, when, on_the_fly):
    """Crashed at "epoch", SEAL has recorded the epoch and the backup has not."""

    def train(*callbacks):
        model = make_model()
        storage = tmp_path / "averages"
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        if on_the_fly:
            seal = SEALOnTheFly(N, storage=storage)
            data = seal.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
        else:
            seal = SEAL(X, storage=storage)
            data = Parts8()
        model.fit(
            data, epochs=EPOCHS, verbose=0, shuffle=False,
            callbacks=[seal, *callbacks, backup],
        )  # fmt: skip
        return seal

    with pytest.raises(RuntimeError, match=r"crash"):
        train(Crash(1, when))
    seal = train()
    assert_close(seal.soft_labels, train_by_hand(IN_ORDER)[0 if on_the_fly else 1])
    assert seal.counts.tolist() == [EPOCHS] * N


class Parts8(Parts):
    def __len__(self):
        return -(-N // BATCH)

    def __getitem__(self, index):
        rows = slice(BATCH * index, BATCH * (index + 1))
        return X[rows], Y[rows]


def test_storage_of_other_data_is_refused(tmp_path):
    fit(make_model(), SEAL(X, storage=tmp_path))
    with pytest.raises(ValueError, match=r"SEAL: `storage` must be a folder of this"):
        fit(make_model(), SEAL(X + 1, storage=tmp_path))
    # Without a restored model, the same fit would be averaged twice.
    with pytest.raises(ValueError, match=r"SEAL: `fit` must start at epoch 3"):
        fit(make_model(), SEAL(X, storage=tmp_path))


def test_soft_labels_in_storage_are_a_memory_map(tmp_path):
    seal, memory = SEAL(X, storage=tmp_path), SEAL(X)
    fit(make_model(), seal)
    fit(make_model(), memory)
    assert isinstance(seal.soft_labels, np.memmap)
    np.testing.assert_array_equal(seal.soft_labels, memory.soft_labels)
    np.testing.assert_array_equal(
        np.load(tmp_path / "soft_labels.npy"), memory.soft_labels
    )


# --- recording


MODES = {
    "graph": {},
    "eager": {"run_eagerly": True},
    "jit": {"jit_compile": True},
    "no jit": {"jit_compile": False},
    "executions of 3": {"steps_per_execution": 3},
    "metrics": {"metrics": ["accuracy"]},
}
if BACKEND == "torch":
    MODES = {k: v for k, v in MODES.items() if "exec" not in k and k != "jit"}


@pytest.mark.parametrize("activation", ["softmax", None])
@pytest.mark.parametrize("mode", MODES)
def test_on_the_fly(mode, activation):
    seal = SEALOnTheFly(N, from_logits=activation is None)
    record(make_model(activation, **MODES[mode]), seal)
    assert_close(seal.soft_labels, train_by_hand(IN_ORDER)[0])
    assert seal.counts.tolist() == [EPOCHS] * N
    assert seal.epochs_seen == EPOCHS


@pytest.mark.every_backend
def test_on_the_fly_shuffled():
    seal = SEALOnTheFly(N)
    model = make_model()
    data = seal.pipeline(model, X, Y, batch_size=BATCH, seed=3)
    orders = ids_of_epochs(seal, data, EPOCHS)
    for order in orders:
        assert sorted(order) == list(range(N))
    assert not np.array_equal(orders[0], orders[1])
    record(model, seal, data=data)
    assert_close(seal.soft_labels, train_by_hand(orders)[0])


class Stream(keras.utils.PyDataset):
    """Batches with the ids given."""

    def __init__(self, batches, dtype="int64"):
        super().__init__()
        self.batches = [np.asarray(ids) for ids in batches]
        self.dtype = dtype

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        ids = self.batches[index]
        rows = ids.astype(int) % N
        return {"x": X[rows], "sample_id": ids.astype(self.dtype)}, Y[rows]


def stream(model, seal, batches, epochs=1, **kwargs):
    data = seal.pipeline(model, Stream(batches, **kwargs))
    return record(model, seal, epochs, data)


def test_examples_seen_twice_count_twice():
    order = [*range(N), 3, 3, 5]
    seal = SEALOnTheFly(N)
    stream(make_model(), seal, [order[:10], order[10:]], epochs=2)
    counts = np.full(N, 2)
    counts[[3, 5]] = [6, 4]
    assert seal.counts.tolist() == counts.tolist()
    assert seal.epochs_seen == 2


def test_two_of_one_example_in_a_batch_are_both_recorded():
    seal = SEALOnTheFly(N)
    stream(make_model(), seal, [[*range(N), 3, 3, 5]])
    expected = softmax(X @ KERNEL)
    assert_close(seal.soft_labels, expected)
    assert seal.counts[3] == 3


def test_unseen_examples_warn_and_have_no_soft_labels():
    seal = SEALOnTheFly(N)
    with pytest.warns(UserWarning, match=r"2 of 22 examples were never seen"):
        stream(make_model(), seal, [np.arange(1, N - 1)])
    with pytest.raises(
        ValueError, match=r"2 of 22 have none, the first ids are \[0, 2"
    ):
        _ = seal.soft_labels
    assert seal.counts.tolist() == [0, *[1] * (N - 2), 0]


@pytest.mark.parametrize("bad", [[-1], [N], [N + 5, -7]])
def test_ids_out_of_range_are_refused(bad):
    seal = SEALOnTheFly(N)
    expected = rf"`sample_id` must be in \[0, 22\).*Received {len(bad)} ids outside"
    with pytest.raises(ValueError, match=expected):
        stream(make_model(), seal, [np.arange(N), bad])


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_ids_of_any_integer_dtype(dtype):
    seal = SEALOnTheFly(N)
    stream(make_model(), seal, [np.arange(N)], dtype=dtype)
    assert_close(seal.soft_labels, softmax(X @ KERNEL))


def test_ids_of_another_dtype_are_refused():
    with pytest.raises(
        TypeError, match=r"`sample_id` must be of an integer dtype.*float"
    ):
        stream(make_model(), SEALOnTheFly(N), [np.arange(N)], dtype="float32")


def test_data_without_ids_is_refused():
    model, seal = make_model(), SEALOnTheFly(N)
    with pytest.raises(ValueError, match=r"data of `fit` must carry sample ids"):
        seal.pipeline(model, Parts())
    seal.pipeline(model, X, Y)
    with pytest.raises(ValueError, match=r"data of `fit` must carry sample ids"):
        fit(model, seal)


def test_model_that_is_not_prepared_is_refused():
    seal = SEALOnTheFly(N)
    with pytest.raises(ValueError, match=r"Pass what `pipeline\(model"):
        fit(make_model(), seal)
    seal.pipeline(make_model(), X, Y)
    with pytest.raises(ValueError, match=r"Pass what `pipeline\(model"):
        fit(make_model(), seal)
    model = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"Call `model.compile` before `pipeline`"):
        seal.pipeline(model, X, Y)


def test_lengths_must_agree():
    seal, model = SEALOnTheFly(N), make_model()
    for argument, data in (("x", (X[1:], Y)), ("y", (X, Y[1:])), ("y", (X, None))):
        with pytest.raises(ValueError, match=f"SEALOnTheFly: `.*{argument}.*` must be"):
            seal.pipeline(model, *data)
    with pytest.raises(ValueError, match=r"`len\(sample_weight\)` must be"):
        seal.pipeline(model, X, Y, Y[1:])


def test_recording_changes_nothing_else():
    plain, model = make_model(metrics=["accuracy"]), make_model(metrics=["accuracy"])
    expected = fit(plain, SEAL(X), validation_data=(X, Y)).history
    seal = SEALOnTheFly(N)
    # Validation data has no ids.
    history = record(model, seal, validation_data=(X, Y)).history
    assert set(history) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        model.get_weights()[0], plain.get_weights()[0], atol=1e-6
    )
    assert seal.counts.tolist() == [EPOCHS] * N


def test_evaluate_and_predict_take_data_with_ids_and_record_nothing():
    model, seal = make_model(), SEALOnTheFly(N)
    data = seal.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    record(model, seal, data=data)
    assert model.evaluate(data, verbose=0) == pytest.approx(
        model.evaluate(X, Y, verbose=0), rel=1e-5
    )
    np.testing.assert_allclose(
        model.predict(data, verbose=0), model.predict(X, verbose=0), atol=1e-6
    )
    record(model, seal, EPOCHS + 1, data, initial_epoch=EPOCHS)
    assert seal.counts.tolist() == [EPOCHS + 1] * N


def test_sample_weights():
    model, seal = make_model(), SEALOnTheFly(N)
    weights = np.zeros(N, "float32")
    data = seal.pipeline(model, X, Y, weights, batch_size=BATCH)
    record(model, seal, data=data)
    assert_close(seal.soft_labels, softmax(X @ KERNEL))


def test_class_weights():
    weights = {0: 1.0, 1: 0.5, 2: 2.0, 3: 0.0}
    model, plain = make_model(), make_model()
    fit(plain, SEAL(X), class_weight=weights)
    seal = SEALOnTheFly(N)
    record(model, seal, class_weight=weights)
    np.testing.assert_allclose(
        model.get_weights()[0], plain.get_weights()[0], atol=1e-6
    )
    assert seal.counts.tolist() == [EPOCHS] * N


def test_batches_of_a_user_are_data_of_fit_evaluate_and_predict():
    model, seal, data = make_model(), SEALOnTheFly(N), Stream([range(N)])
    seal.pipeline(model, data)
    # As they are, and not what `pipeline` returns.
    record(model, seal, 1, data, validation_data=data)
    assert seal.counts.tolist() == [1] * N
    expected = model.evaluate(X, Y, verbose=0)
    assert model.evaluate(data, verbose=0) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        model.predict(data, verbose=0), model.predict(X, verbose=0), atol=1e-6
    )


def test_dropout_is_part_of_what_is_recorded():
    inputs = keras.Input((FEATURES,))
    x = keras.layers.Dropout(0.5, seed=1)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax")(x))
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    seal = SEALOnTheFly(N)
    record(model, seal)
    difference = np.abs(seal.soft_labels - model.predict(X, verbose=0)).max()
    assert difference > 0.01


@pytest.mark.parametrize("trust_first", [False, True])
def test_together_with_the_training_clock(trust_first):
    def model_with_clock():
        loss = losses.ProSelfLC(exp_base=8.0)
        return make_model(loss=loss)

    plain = model_with_clock()
    clock = GlobalTrust()
    plain.fit(X, Y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0,
              callbacks=[clock])  # fmt: skip
    model, seal = model_with_clock(), SEALOnTheFly(N)
    if trust_first:
        model.fit(X, Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0,
                  callbacks=[GlobalTrust()])  # fmt: skip
        model.set_weights([KERNEL])
    data = seal.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    model.fit(data, epochs=EPOCHS, verbose=0, shuffle=False,
              callbacks=[GlobalTrust(), seal])  # fmt: skip
    np.testing.assert_allclose(
        model.get_weights()[0], plain.get_weights()[0], atol=1e-6
    )
    assert seal.counts.tolist() == [EPOCHS] * N


def test_files_do_not_hold_the_sums(tmp_path):
    model, seal = make_model(), SEALOnTheFly(N)
    record(model, seal)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
    model.save_weights(tmp_path / "model.weights.h5")
    plain = make_model()
    plain.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(plain.get_weights()[0], model.get_weights()[0])
    plain.save_weights(tmp_path / "plain.weights.h5")
    model.load_weights(tmp_path / "plain.weights.h5")


class Replace(keras.callbacks.Callback):
    """Takes the package out of the training step, as a step of a user may do."""

    def on_train_begin(self, logs=None):
        del self.model.compute_loss
        self.model.make_train_function(force=True)


def test_train_step_that_records_nothing_is_refused():
    model, seal = make_model(), SEALOnTheFly(N)
    data = seal.pipeline(model, X, Y)
    with pytest.raises(RuntimeError, match=r"no prediction was recorded in epoch 0"):
        model.fit(data, shuffle=False, verbose=0, callbacks=[seal, Replace()])


def test_a_compute_loss_that_is_replaced_later_is_recorded():
    model, seal = make_model(), SEALOnTheFly(N)
    data = seal.pipeline(model, X, Y, batch_size=BATCH, shuffle=False)
    own = model.compute_loss
    # Without `training`, as a user's function may be.
    model.compute_loss = lambda x, y, y_pred, sample_weight=None, **kwargs: own(
        x, y, y_pred, sample_weight
    )
    record(model, seal, data=data, validation_data=(X, Y))
    assert_close(seal.soft_labels, train_by_hand(IN_ORDER)[0])


def test_second_recording_of_one_model():
    model, first, second = make_model(), SEALOnTheFly(N), SEALOnTheFly(N)
    record(model, first)
    model.set_weights([KERNEL])
    record(model, second)
    np.testing.assert_allclose(first.soft_labels, second.soft_labels, atol=1e-6)
    with pytest.raises(ValueError, match=r"`num_examples` must be 22"):
        SEALOnTheFly(N - 1).pipeline(model, X[1:], Y[1:])


@pytest.mark.parametrize("value", [0, -1, 2.5, True, None, 2**31])
def test_bad_num_examples(value):
    with pytest.raises(ValueError, match=r"SEALOnTheFly: `num_examples` must be"):
        SEALOnTheFly(value)


# --- tf.data


@pytest.mark.tf_data
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_with_sample_ids(batched, weights):
    import tensorflow as tf

    arrays = (X, Y, np.ones(N, "float32"))[: 3 if weights else 2]
    dataset = tf.data.Dataset.from_tensor_slices(arrays)
    if batched:
        dataset = with_sample_ids(dataset.batch(5), start_id=100, batched=True)
        dataset = dataset.unbatch()
    else:
        dataset = with_sample_ids(dataset, start_id=100)
    elements = list(dataset.as_numpy_iterator())
    assert [int(e[0]["sample_id"]) for e in elements] == list(range(100, 100 + N))
    np.testing.assert_array_equal([e[0]["x"] for e in elements], X)
    assert {len(e) for e in elements} == {3 if weights else 2}


@pytest.mark.tf_data
def test_tf_data_shuffled_and_repeated():
    import tensorflow as tf

    dataset = with_sample_ids(tf.data.Dataset.from_tensor_slices((X, Y)))
    dataset = dataset.shuffle(N, seed=0).repeat(2).batch(BATCH)
    model, seal = make_model(), SEALOnTheFly(N)
    record(model, seal, epochs=1, data=seal.pipeline(model, dataset))
    assert seal.counts.tolist() == [2] * N
    endless, seal = dataset.repeat(), SEALOnTheFly(N)
    model = make_model()
    record(model, seal, epochs=4, data=seal.pipeline(model, endless), steps_per_epoch=6)
    assert seal.counts.sum() >= 4 * 6 * BATCH - 8 * BATCH
    assert seal.counts.min() >= 6


@pytest.mark.tf_data
def test_with_sample_ids_refuses():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    with pytest.raises(ValueError, match=r"`dataset` must be in its original order"):
        with_sample_ids(dataset.shuffle(3))
    with pytest.raises(ValueError, match=r"`dataset` must be in its original order"):
        with_sample_ids(dataset.repeat())
    with pytest.raises(ValueError, match=r"single examples.*Pass batched=True for one"):
        with_sample_ids(dataset.batch(4))
    # Whose size of a batch is known, as a vector of labels is.
    for numbered in (dataset, dataset.batch(2, drop_remainder=True)):
        with pytest.raises(ValueError, match=r"`sample_id.shape` must be \(batch,\)"):
            SEALOnTheFly(N).pipeline(make_model(), with_sample_ids(numbered))
    with pytest.raises(
        TypeError, match=r"`dataset` must be a tf.data.Dataset of \(x, y"
    ):
        with_sample_ids(dataset.map(lambda x, y: x))
    with pytest.raises(TypeError, match=r"`dataset` must be a tf.data.Dataset"):
        with_sample_ids((X, Y))


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("on_the_fly", [False, True])
def test_two_replicas(on_the_fly, strategy):
    with strategy.scope():
        model = make_model()
    if on_the_fly:
        seal = SEALOnTheFly(N)
        record(model, seal)
    else:
        seal = SEAL(X, batch_size=5)
        fit(model, seal)
    assert_close(seal.soft_labels, train_by_hand(IN_ORDER)[0 if on_the_fly else 1])
    assert seal.counts.tolist() == [EPOCHS] * N


# --- outputs


BOTH = pytest.mark.parametrize("on_the_fly", [False, True])


def train(model, on_the_fly, y=Y, **kwargs):
    if not on_the_fly:
        return fit(model, SEAL(X, **kwargs), y=y)
    seal = SEALOnTheFly(N, **kwargs)
    data = seal.pipeline(model, X, y, batch_size=BATCH)
    return record(model, seal, data=data)


@BOTH
def test_logits_are_found_out_and_said_once(on_the_fly):
    with pytest.warns(UserWarning, match=r"loss takes logits, so a softmax") as caught:
        train(make_model(None), on_the_fly)
    assert len([w for w in caught if "logits" in str(w.message)]) == 1


@BOTH
def test_outputs_that_are_not_distributions_are_refused(on_the_fly):
    model = make_model("sigmoid")
    with pytest.raises(ValueError, match=r"must be distributions: .*Pass from_l"):
        train(model, on_the_fly)
    model = make_model(None, loss="mse")
    with pytest.raises(ValueError, match=r"`predictions at epoch 0` must be dist"):
        train(model, on_the_fly, y=KERNEL[np.arange(N) % FEATURES])


@BOTH
def test_nan_is_refused(on_the_fly):
    model = make_model()
    model.set_weights([np.full_like(KERNEL, np.nan)])
    with pytest.raises(ValueError, match=r"epoch 0` must be finite numbers.*diverged"):
        train(model, on_the_fly)


@BOTH
def test_several_outputs_are_refused(on_the_fly):
    inputs = keras.Input((FEATURES,))
    heads = [keras.layers.Dense(CLASSES, "softmax")(inputs) for _ in range(2)]
    model = keras.Model(inputs, heads)
    model.compile("sgd", ["sparse_categorical_crossentropy"] * 2)
    with pytest.raises(
        ValueError, match=r"`model` must be a classifier with one output"
    ):
        if on_the_fly:
            SEALOnTheFly(N).pipeline(model, X, (Y, Y))
        else:
            fit(model, SEAL(X), y=[Y, Y])


@BOTH
def test_mixed_precision(on_the_fly):
    inputs = keras.Input((FEATURES,))
    layer = keras.layers.Dense(
        CLASSES, "softmax", use_bias=False, dtype="mixed_bfloat16"
    )
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    model.set_weights([KERNEL])
    if on_the_fly:
        seal = SEALOnTheFly(N)
        record(model, seal)
    else:
        seal = SEAL(X)
        fit(model, seal)
    np.testing.assert_allclose(seal.soft_labels, softmax(X @ KERNEL), atol=0.02)
    assert seal.soft_labels.dtype == "float32"


# --- arguments


def test_nothing_recorded_yet():
    for seal in (SEAL(X), SEALOnTheFly(N)):
        assert seal.epochs_seen == 0
        with pytest.raises(ValueError, match=r"nothing is recorded yet"):
            _ = seal.soft_labels


@pytest.mark.parametrize("value", [0, -2, 1.5, "8", True])
def test_bad_batch_size(value):
    with pytest.raises(ValueError, match=r"SEAL: `batch_size` must be a positive"):
        SEAL(X, batch_size=value)


def test_bad_from_logits():
    with pytest.raises(TypeError, match=r"SEAL: `from_logits` must be"):
        SEAL(X, from_logits="yes")


def test_inputs_of_several_lengths_are_refused():
    with pytest.raises(ValueError, match=r"SEAL: `x` must be arrays of one length"):
        SEAL((X, X[1:]))


def test_storage_holds_nothing_unfinished(tmp_path):
    seal = SEAL(X, storage=tmp_path / "new" / "folder")
    fit(make_model(), seal)
    assert not [n for n in os.listdir(seal.storage) if n.endswith(".tmp")]
