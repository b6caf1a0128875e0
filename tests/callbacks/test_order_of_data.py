"""Data sets that come in another order each time that they are read are refused."""

import functools
import time

import keras
import numpy as np
import pytest

from keras_noisy import callbacks, losses, noise

N, FEATURES, CLASSES, BATCH = 64, 5, 4, 16
rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
Y = rng.integers(0, CLASSES, N)


def make_model(loss=None, **kwargs):
    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])
    default = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss or default, **kwargs)
    return model


def record(callback, data, *args, model=None, epochs=2):
    model = model or make_model()
    data = callback.pipeline(model, data, *args)
    model.fit(data, epochs=epochs, verbose=0, callbacks=[callback], shuffle=False)


def in_order(tf):
    return tf.data.Dataset.from_tensor_slices((X, Y))


def generator(tf):
    numbers = np.random.default_rng(1)

    def permuted():
        for row in numbers.permutation(N):
            yield X[row], Y[row]

    spec = tf.TensorSpec((FEATURES,), "float32"), tf.TensorSpec((), "int64")
    return tf.data.Dataset.from_generator(permuted, output_signature=spec)


def scanned(tf):
    """As `datasets.Dataset.to_tf_dataset(shuffle=True)` does it."""
    numbers = np.random.default_rng(4)

    def shuffle(seed, row):
        fresh = tf.numpy_function(lambda: numbers.integers(2**30, size=2), [], tf.int64)
        fresh = tf.ensure_shape(fresh, (2,))
        seed = tf.where(seed < 0, fresh, seed)
        row = tf.random.experimental.index_shuffle(row, tf.cast(seed, tf.int32), N - 1)
        return seed, row

    rows = tf.data.Dataset.range(N).scan(
        tf.fill([2], tf.constant(-1, tf.int64)), shuffle
    )
    return rows.map(lambda row: (tf.gather(X, row), tf.gather(Y, row)))


def not_deterministic(tf):
    numbers = np.random.default_rng(2)

    def slow(label):
        time.sleep(numbers.choice([0, 0.03]))
        return label

    def map_one(x, y):
        y = tf.ensure_shape(tf.numpy_function(slow, [y], tf.int64), ())
        return x, y

    data = in_order(tf).map(map_one, num_parallel_calls=8, deterministic=False)
    # Fused with `batch`, it would come in order.
    return data.prefetch(1)


def interleaved(tf):
    numbers = np.random.default_rng(3)

    def slow(row):
        time.sleep(numbers.choice([0, 0.03]))
        return row

    def file(start):
        rows = tf.data.Dataset.range(start, start + 8)
        rows = rows.map(lambda row: tf.numpy_function(slow, [row], tf.int64))
        return rows.map(lambda row: (tf.gather(X, row), tf.gather(Y, row)))

    files = tf.data.Dataset.range(0, N, 8)
    options = {"num_parallel_calls": 8, "deterministic": False}
    data = files.interleave(file, cycle_length=8, **options)
    shapes = (FEATURES,), ()
    return data.map(
        lambda x, y: (tf.ensure_shape(x, shapes[0]), tf.ensure_shape(y, ()))
    )


def sampled(tf):
    halves = [in_order(tf).shard(2, part) for part in range(2)]
    return tf.data.Dataset.sample_from_datasets(
        halves, rerandomize_each_iteration=True, seed=0
    )


KINDS = pytest.mark.parametrize(
    "kind", [generator, scanned, not_deterministic, interleaved, sampled]
)


def numbered(tf, kind):
    # Keras asks for the size.
    data = kind(tf).apply(tf.data.experimental.assert_cardinality(N))
    return callbacks.with_sample_ids(data).batch(BATCH)


@pytest.mark.tf_data
@KINDS
def test_ids_of_data_in_another_order(kind):
    import tensorflow as tf

    seal = callbacks.SEALOnTheFly(N, from_logits=True)
    match = r"SEALOnTheFly: `sample_id` must be that of one example.*in epoch 1 are not"
    with pytest.raises(ValueError, match=match):
        record(seal, numbered(tf, kind))
    assert seal.epochs_seen == 1


@pytest.mark.tf_data
@pytest.mark.parametrize(
    ("loss", "callback"),
    [
        (losses.EarlyLearningRegularization, callbacks.EarlyLearningTargets(N)),
        (
            losses.JointOptimization,
            callbacks.JointOptimizationLabels(N, warmup_epochs=1),
        ),
    ],
)
def test_callbacks_of_losses(loss, callback):
    import tensorflow as tf

    for kind in (in_order, generator):
        model = make_model(loss(from_logits=True))
        data = numbered(tf, kind)
        if kind is in_order:
            record(callback, data, model=model)
            continue
        with pytest.raises(ValueError, match=r"in epoch 1 are not those that came"):
            record(callback, data, model=model)


@pytest.mark.tf_data
@KINDS
def test_given_labels_are_looked_at_in_the_first_epoch(kind):
    import tensorflow as tf

    seal = callbacks.SEALOnTheFly(N, from_logits=True)
    with pytest.raises(ValueError, match=r"in epoch 0 are not those that came"):
        record(seal, numbered(tf, kind), Y, epochs=1)
    assert seal.epochs_seen == 0


@pytest.mark.tf_data
@pytest.mark.parametrize("labels", [Y, Y[:, None], np.eye(CLASSES, dtype="float32")[Y]])
def test_data_in_order_and_shuffled_afterwards(labels):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, labels))
    data = callbacks.with_sample_ids(data).shuffle(N).batch(BATCH)
    loss = keras.losses.CategoricalCrossentropy if labels.shape == (N, 4) else None
    model = make_model(loss and loss(from_logits=True))
    seal = callbacks.SEALOnTheFly(N, from_logits=True)
    record(seal, data, labels, model=model, epochs=3)
    assert seal.labels_seen().tolist() == Y.tolist()
    assert seal.counts.tolist() == [3] * N
    # Other data of the same model.
    data = tf.data.Dataset.from_tensor_slices((X, labels[::-1]))
    record(seal, callbacks.with_sample_ids(data).batch(BATCH), model=model)
    # Arrays are in order, whatever was before.
    record(seal, X, labels, model=model)
    assert seal.labels_seen() is None


class Batches(keras.utils.PyDataset):
    """Ids that are positions, of data that is not in order."""

    def __init__(self, shuffles):
        super().__init__()
        self.shuffles, self.order = shuffles, np.arange(N)

    def __len__(self):
        return N // BATCH

    def __getitem__(self, index):
        ids = np.arange(N)[index * BATCH :][:BATCH]
        rows = self.order[ids]
        return {"x": X[rows], "sample_id": ids}, Y[rows]

    def on_epoch_end(self):
        if self.shuffles:
            self.order = rng.permutation(N)


def test_batches_of_a_user():
    seal = callbacks.SEALOnTheFly(N, from_logits=True)
    record(seal, Batches(shuffles=False))
    with pytest.raises(ValueError, match=r"are not those that came with the same ids"):
        record(seal, Batches(shuffles=True), epochs=3)


def test_given_labels_of_another_length_are_refused():
    seal = callbacks.SEALOnTheFly(N)
    with pytest.raises(ValueError, match=r"`len\(y\)` must be of length 64"):
        record(seal, Batches(shuffles=False), Y[1:])
    with pytest.raises(ValueError, match=r"`sample_weight` must be None where `x` is"):
        record(seal, Batches(shuffles=False), Y, Y)


# --- LearningDynamics


def watch(data, *labels):
    model = make_model()
    dynamics = callbacks.LearningDynamics(data, *labels, from_logits=True)
    model.fit(X, Y, verbose=0, callbacks=[dynamics])


@pytest.mark.tf_data
@KINDS
def test_labels_that_were_given_to_the_dynamics(kind):
    import tensorflow as tf

    match = r"LearningDynamics: `x` must be a data set in the order of `noisy_labels`"
    with pytest.raises(ValueError, match=match):
        watch(kind(tf).batch(BATCH), Y)


@pytest.mark.tf_data
def test_labels_of_the_dynamics_may_be_either():
    import tensorflow as tf

    data = in_order(tf).batch(BATCH)
    other = (Y + 1) % CLASSES
    unknown = np.where(np.arange(N) % 2, Y, -1)
    for labels in ((Y,), (other, Y), (Y, other), (other, unknown)):
        watch(data, *labels)
    watch(data.map(lambda x, y: x), other)
    with pytest.raises(
        ValueError, match=r"`noisy_labels` or `clean_labels`.*64 labels"
    ):
        watch(data, other, (Y + 2) % CLASSES)


@pytest.mark.tf_data
def test_dynamics_that_listen():
    import tensorflow as tf

    for kind in (in_order, generator):
        seal = callbacks.SEALOnTheFly(N, from_logits=True)
        model = make_model()
        data = seal.pipeline(model, numbered(tf, kind))
        dynamics = callbacks.LearningDynamics(seal, Y)
        fit = functools.partial(
            model.fit, data, verbose=0, shuffle=False, callbacks=[seal, dynamics]
        )
        if kind is in_order:
            fit()
            continue
        with pytest.raises(ValueError, match=r"in the order of `noisy_labels`"):
            fit()


# --- label noise by position


@pytest.mark.tf_data
@pytest.mark.parametrize("batched", [False, True])
@KINDS
def test_noise_by_position(kind, batched):
    import tensorflow as tf

    data = kind(tf).batch(5) if batched else kind(tf)
    noisy = noise.add_label_noise(
        data, noise.symmetric(CLASSES, 0.5), seed=0, start_id=7, batched=batched
    )
    assert len(list(noisy.unbatch() if batched else noisy)) == N
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"add_label_noise: `dataset` must be in the same order",
    ):
        list(noisy)


@pytest.mark.tf_data
def test_noise_of_data_in_order_is_the_same_again():
    import tensorflow as tf

    size = 5000
    labels = np.arange(size) % CLASSES
    data = tf.data.Dataset.from_tensor_slices((labels, labels))
    matrix = noise.symmetric(CLASSES, 0.5)
    noisy = noise.add_label_noise(data, matrix, seed=0)
    expected = noise.corrupt_labels(labels, matrix, seed=0, exact=False).noisy
    for _ in range(2):
        (_, found), *others = noisy.batch(size)
        np.testing.assert_array_equal(found, expected)
        assert not others
