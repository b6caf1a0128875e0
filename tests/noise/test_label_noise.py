import json
import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_noisy import noise

CLASSES = 10
COUNT = 3000
MATRIX = np.random.default_rng(1).dirichlet(np.full(CLASSES, 0.5), size=CLASSES)
LABELS = np.random.default_rng(0).integers(0, CLASSES, COUNT)
IDS = np.arange(COUNT)
EXPECTED = noise.corrupt_labels(LABELS, MATRIX, seed=3, exact=False).noisy


@pytest.fixture
def layer():
    return noise.LabelNoise(MATRIX, seed=3)


def run_python(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        env=dict(os.environ, **environment),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


# Arrays and eager tensors, on every backend.


def test_arrays_give_what_corrupt_labels_gives(layer):
    noisy = layer(IDS, LABELS)
    assert isinstance(noisy, np.ndarray)
    np.testing.assert_array_equal(noisy, EXPECTED)


def test_order_and_grouping_do_not_matter(layer):
    order = np.random.default_rng(2).permutation(COUNT)
    for size in (1, 7, 128):
        for ids in np.array_split(order[:500], 500 // size):
            np.testing.assert_array_equal(layer(ids, LABELS[ids]), EXPECTED[ids])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "uint32", "uint64"])
def test_dtype_of_the_label_is_kept(layer, dtype):
    noisy = layer(IDS.astype("int32"), LABELS.astype(dtype))
    assert noisy.dtype == dtype
    np.testing.assert_array_equal(noisy, EXPECTED)


def test_shapes(layer):
    np.testing.assert_array_equal(
        layer(IDS.reshape(2, 3, 500), LABELS.reshape(2, 3, 500)),
        EXPECTED.reshape(2, 3, 500),
    )
    np.testing.assert_array_equal(layer(IDS, LABELS[:, None]), EXPECTED[:, None])
    assert layer(IDS[:0], LABELS[:0]).shape == (0,)


def test_scalars(layer):
    for index in range(20):
        noisy = layer(index, int(LABELS[index]))
        assert type(noisy) is int and noisy == EXPECTED[index]
    assert isinstance(layer(IDS[5], LABELS[5]), np.int64)


def test_large_ids(layer):
    ids = np.array([2**31, 2**40, 2**63 - 1])
    expected = noise.corrupt_labels(
        [1, 2, 3], MATRIX, seed=3, exact=False, sample_ids=ids
    ).noisy
    np.testing.assert_array_equal(layer(ids, np.array([1, 2, 3])), expected)


def test_tensors_of_the_backend(layer):
    ids = keras.ops.convert_to_tensor(IDS.astype("int32"))
    labels = keras.ops.convert_to_tensor(LABELS.astype("int32"))
    noisy = layer(ids, labels)
    assert type(noisy) is type(labels)
    assert keras.backend.standardize_dtype(noisy.dtype) == "int32"
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(noisy), EXPECTED)


def test_round_trip_through_json():
    layer = noise.LabelNoise(MATRIX, seed=2**60 + 1, name="annotators")
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    copy = keras.saving.deserialize_keras_object(json.loads(text))
    assert isinstance(copy, noise.LabelNoise)
    assert copy.name == "annotators"
    assert copy.seed == layer.seed == 2**60 + 1
    np.testing.assert_array_equal(copy.transition_matrix, MATRIX)
    np.testing.assert_array_equal(copy(IDS, LABELS), layer(IDS, LABELS))
    assert keras.saving.get_registered_name(noise.LabelNoise) == (
        "keras_noisy>LabelNoise"
    )


def test_round_trip_through_pickle(layer):
    """Data loaders send the layer to their worker processes."""
    copy = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(copy(IDS, LABELS), EXPECTED)


@pytest.mark.parametrize(
    ("ids", "labels", "error", "text"),
    [
        ([0], [10], ValueError, r"`label` must be class ids in \[0, 10\).*in \[10, 10"),
        ([0], [-1], ValueError, r"`label` must be class ids in \[0, 10\)"),
        ([-1], [0], ValueError, "`sample_id` must be non-negative integers.* -1"),
        ([0.0], [0], TypeError, "`sample_id` must be non-negative integers.*enumerate"),
        ([0], [0.0], TypeError, "`label` must be class ids of an integer dtype"),
        ([0, 1], [0, 1, 2], ValueError, r"`label` must be of the shape of `sample_id`"),
        ([0, 1], np.eye(2, dtype=int), ValueError, "one-hot labels"),
        ([[0], [1]], [0, 1], ValueError, r"`sample_id`, \(2, 1\), or with a last 1"),
    ],
)
def test_errors_of_calls(layer, ids, labels, error, text):
    with pytest.raises(error, match="LabelNoise: .*" + text):
        layer(np.array(ids), np.array(labels))


def test_a_dtype_that_is_too_small():
    layer = noise.LabelNoise(noise.symmetric(300, 0.1), seed=0)
    with pytest.raises(ValueError, match="of a dtype that can hold class 299"):
        layer(np.zeros(3, int), np.zeros(3, "uint8"))


def test_symbolic_inputs_are_refused(layer):
    symbolic = keras.Input((), dtype="int32")
    with pytest.raises(TypeError, match=r"`label` must be .*in the data pipeline"):
        layer(IDS, symbolic)
    with pytest.raises(TypeError, match=r"`sample_id` must be .*in the data pipeline"):
        layer(symbolic, symbolic)


@pytest.mark.parametrize(
    ("seed", "error"), [(None, TypeError), (1.5, TypeError), (-1, ValueError)]
)
def test_seed(seed, error):
    with pytest.raises(error, match=r"LabelNoise: `seed` must be.*pass seed=0\."):
        noise.LabelNoise(MATRIX, seed=seed)


def test_missing_seed():
    with pytest.raises(TypeError, match="Label noise must be reproducible"):
        noise.LabelNoise(MATRIX)


def test_matrix():
    with pytest.raises(ValueError, match="LabelNoise: `transition_matrix` must be"):
        noise.LabelNoise(2 * MATRIX, seed=0)


def test_import_does_not_import_tensorflow():
    backend = keras.backend.backend()
    if backend == "tensorflow":
        # Only Keras itself may import it, and does.
        program = (
            "import sys, types, keras\n"
            "for name in [n for n in sys.modules if n.startswith('tensorflow')]:\n"
            "    del sys.modules[name]\n"
            "import keras_noisy.noise\n"
            "print('tensorflow' in sys.modules)\n"
        )
    else:
        program = (
            "import sys, keras_noisy.noise as noise\n"
            "noise.LabelNoise(noise.symmetric(3, 0.1), seed=0)(1, 1)\n"
            "noise.corrupt_labels([1, 2], noise.symmetric(3, 0.1), seed=0)\n"
            "print('tensorflow' in sys.modules)\n"
        )
    assert run_python(program)[-1] == "False"


# tf.data.


@pytest.fixture
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture
def numbered(tf):
    return tf.data.Dataset.from_tensor_slices(LABELS).enumerate()


def collect(dataset):
    """Return the noisy labels of a data set of (id, label), in the order of ids."""
    pairs = [
        (np.reshape(i, -1), np.reshape(label, -1))
        for i, label in dataset.as_numpy_iterator()
    ]
    ids, labels = map(np.concatenate, zip(*pairs, strict=True))
    order = np.argsort(ids, kind="stable")
    return ids[order], labels[order]


@pytest.mark.tf_data
@pytest.mark.parametrize("batch_size", [None, 1, 7, 256])
def test_batch_size(layer, numbered, batch_size):
    dataset = numbered.batch(batch_size) if batch_size else numbered
    dataset = dataset.map(lambda i, label: (i, layer(i, label)))
    np.testing.assert_array_equal(collect(dataset)[1], EXPECTED)


@pytest.mark.tf_data
def test_chi_square_in_the_pipeline(layer, numbered):
    noisy = np.concatenate(list(numbered.batch(100).map(layer).as_numpy_iterator()))
    counts = np.zeros((CLASSES, CLASSES))
    np.add.at(counts, (LABELS, noisy), 1)
    expected = MATRIX * counts.sum(axis=1, keepdims=True)
    seen = expected > 5
    statistic = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
    degrees = seen.sum() - CLASSES
    assert statistic < degrees + 4.5 * np.sqrt(2 * degrees)


@pytest.mark.tf_data
@pytest.mark.parametrize("deterministic", [True, False])
def test_shuffle_parallelism_and_epochs(tf, layer, numbered, deterministic):
    dataset = numbered.shuffle(1000).batch(64)
    dataset = dataset.map(
        lambda i, label: (i, layer(i, label)),
        num_parallel_calls=4,
        deterministic=deterministic,
    ).prefetch(tf.data.AUTOTUNE)
    for _ in range(2):
        np.testing.assert_array_equal(collect(dataset)[1], EXPECTED)
    ids, noisy = collect(dataset.repeat(3))
    np.testing.assert_array_equal(ids, np.repeat(IDS, 3))
    np.testing.assert_array_equal(noisy, np.repeat(EXPECTED, 3))


@pytest.mark.tf_data
def test_shards_and_interleave(tf, layer, numbered):
    def shard(index):
        part = numbered.shard(4, index).batch(10)
        return part.map(lambda i, label: (i, layer(i, label)))

    dataset = tf.data.Dataset.range(4).interleave(
        shard, cycle_length=4, num_parallel_calls=4, deterministic=False
    )
    np.testing.assert_array_equal(collect(dataset)[1], EXPECTED)


@pytest.mark.tf_data
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint32", "uint64"])
def test_label_dtypes_in_the_pipeline(tf, layer, dtype):
    labels = LABELS.astype(dtype)
    dataset = tf.data.Dataset.from_tensor_slices((IDS.astype("uint64"), labels))
    dataset = dataset.batch(100).map(layer)
    assert dataset.element_spec.dtype == dtype
    noisy = np.concatenate(list(dataset.as_numpy_iterator()))
    np.testing.assert_array_equal(noisy, EXPECTED)


@pytest.mark.tf_data
def test_labels_with_a_last_axis(tf, layer):
    dataset = tf.data.Dataset.from_tensor_slices((IDS, LABELS[:, None]))
    for mapped, shape in (
        (dataset.map(layer), (1,)),
        (dataset.batch(50, drop_remainder=True).map(layer), (50, 1)),
    ):
        assert mapped.element_spec.shape == shape
        noisy = np.concatenate(list(mapped.as_numpy_iterator())).reshape(-1)
        np.testing.assert_array_equal(noisy, EXPECTED)


@pytest.mark.tf_data
def test_a_thousand_classes(tf):
    matrix = noise.symmetric(1000, 0.4)
    labels = np.arange(COUNT) % 1000
    expected = noise.corrupt_labels(labels, matrix, seed=0, exact=False).noisy
    layer = noise.LabelNoise(matrix, seed=0)
    dataset = tf.data.Dataset.from_tensor_slices(labels).enumerate().batch(100)
    noisy = np.concatenate(list(dataset.map(layer).as_numpy_iterator()))
    np.testing.assert_array_equal(noisy, expected)


@pytest.mark.tf_data
@pytest.mark.parametrize("jit_compile", [False, True])
def test_inside_tf_function(tf, layer, jit_compile):
    function = tf.function(layer, jit_compile=jit_compile)
    noisy = function(tf.constant(IDS), tf.constant(LABELS))
    np.testing.assert_array_equal(noisy.numpy(), EXPECTED)


@pytest.mark.tf_data
def test_eager_tensors_of_tensorflow(tf, layer):
    noisy = layer(tf.constant(IDS), tf.constant(LABELS))
    assert tf.is_tensor(noisy)
    np.testing.assert_array_equal(noisy.numpy(), EXPECTED)
    with pytest.raises(ValueError, match="LabelNoise: `label` must be class ids"):
        layer(tf.constant(0), tf.constant(10))


@pytest.mark.tf_data
@pytest.mark.parametrize(
    ("ids", "labels"),
    [([0, 1], [3, 10]), ([0, 1], [3, -1]), ([0, -1], [3, 3])],
)
def test_values_out_of_range_in_the_pipeline(tf, layer, ids, labels):
    dataset = tf.data.Dataset.from_tensors((np.array(ids), np.array(labels)))
    for mapped in (dataset.map(layer), dataset.unbatch().map(layer)):
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=r"LabelNoise: `label` must be class ids in \[0, 10\) and `sample_id` "
            "non-negative",
        ):
            list(mapped)


@pytest.mark.tf_data
@pytest.mark.parametrize(
    ("ids", "labels", "error", "text"),
    [
        ([0.0, 1.0], [0, 1], TypeError, "`sample_id` must be a tensor of an integer"),
        ([0, 1], [0.0, 1.0], TypeError, "`label` must be a tensor of an integer dtype"),
        ([0, 1], np.eye(2, dtype=int), ValueError, "one-hot labels"),
        ([0, 1, 2], [0, 1], ValueError, "of the shape of `sample_id`"),
    ],
)
def test_errors_while_tracing(tf, layer, ids, labels, error, text):
    dataset = tf.data.Dataset.from_tensors((np.array(ids), np.array(labels)))
    with pytest.raises(error, match="LabelNoise: .*" + text):
        dataset.map(layer)


@pytest.mark.tf_data
def test_a_dtype_that_is_too_small_while_tracing(tf):
    layer = noise.LabelNoise(noise.symmetric(300, 0.1), seed=0)
    dataset = tf.data.Dataset.from_tensors((0, np.uint8(0)))
    with pytest.raises(ValueError, match="of a dtype that can hold class 299"):
        dataset.map(layer)


@pytest.mark.tf_data
def test_shapes_that_differ_at_run_time(tf, layer):
    """One id for many labels is not broadcast in silence."""
    spec = tf.TensorSpec((None,), tf.int64)
    function = tf.function(layer, input_signature=(spec, spec))
    np.testing.assert_array_equal(function(IDS, LABELS).numpy(), EXPECTED)
    with pytest.raises(tf.errors.InvalidArgumentError):
        function(np.array([1]), np.array([1, 2, 3]))


@pytest.mark.tf_data
def test_two_replicas():
    """The labels that two replicas get are those that one gets."""
    program = (
        "import os\n"
        "os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\n"
        "import numpy as np, tensorflow as tf\n"
        "tf.config.set_logical_device_configuration(\n"
        "    tf.config.list_physical_devices('CPU')[0],\n"
        "    [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "from keras_noisy import noise\n"
        "labels = np.arange(100) % 10\n"
        "matrix = noise.symmetric(10, 0.4)\n"
        "expected = noise.corrupt_labels(labels, matrix, seed=0, exact=False).noisy\n"
        "layer = noise.LabelNoise(matrix, seed=0)\n"
        "strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
        "assert strategy.num_replicas_in_sync == 2\n"
        "dataset = tf.data.Dataset.from_tensor_slices(labels).enumerate()\n"
        "dataset = dataset.shuffle(100).batch(8)\n"
        "dataset = dataset.map(lambda i, label: (i, layer(i, label)))\n"
        "seen = {}\n"
        "for ids, noisy in strategy.experimental_distribute_dataset(dataset):\n"
        "    for i, n in zip(strategy.experimental_local_results(ids),\n"
        "                    strategy.experimental_local_results(noisy)):\n"
        "        seen.update(zip(i.numpy().tolist(), n.numpy().tolist()))\n"
        "print([seen[i] for i in range(100)] == expected.tolist())\n"
    )
    assert run_python(program)[-1] == "True"


# add_label_noise.


@pytest.fixture
def pairs(tf):
    return tf.data.Dataset.from_tensor_slices((IDS * 1.0, LABELS))


@pytest.mark.tf_data
def test_helper(pairs):
    dataset = noise.add_label_noise(pairs, MATRIX, seed=3)
    assert dataset.element_spec == pairs.element_spec
    assert dataset.cardinality() == COUNT
    np.testing.assert_array_equal(collect(dataset.shuffle(500).batch(9))[1], EXPECTED)


@pytest.mark.tf_data
@pytest.mark.parametrize("drop_remainder", [True, False])
def test_helper_on_batches(pairs, drop_remainder):
    batches = pairs.batch(64, drop_remainder=drop_remainder)
    dataset = noise.add_label_noise(
        batches, MATRIX, seed=3, batched=True, num_parallel_calls=2
    )
    assert dataset.element_spec[0].shape == batches.element_spec[0].shape
    for _ in range(2):  # Positions start again with every epoch.
        noisy = collect(dataset)[1]
        np.testing.assert_array_equal(noisy, EXPECTED[: len(noisy)])


@pytest.mark.tf_data
def test_helper_on_batches_of_varying_size(pairs):
    batches = pairs.take(100).batch(7).concatenate(pairs.skip(100).batch(50))
    dataset = noise.add_label_noise(batches, MATRIX, seed=3, batched=True)
    np.testing.assert_array_equal(collect(dataset)[1], EXPECTED)


@pytest.mark.tf_data
@pytest.mark.parametrize("batched", [False, True])
def test_helper_start_id(pairs, batched):
    parts = []
    for part, start_id in ((pairs.take(1000), 0), (pairs.skip(1000), 1000)):
        part = part.batch(30) if batched else part
        parts.append(
            noise.add_label_noise(
                part, MATRIX, seed=3, start_id=start_id, batched=batched
            )
        )
    np.testing.assert_array_equal(
        np.concatenate([collect(part)[1] for part in parts]), EXPECTED
    )


@pytest.mark.tf_data
def test_helper_keeps_sample_weights(tf):
    dataset = tf.data.Dataset.from_tensor_slices(
        ({"image": IDS * 2.0}, LABELS[:, None], IDS * 3.0)
    )
    noisy = noise.add_label_noise(dataset, MATRIX, seed=3)
    assert noisy.element_spec == dataset.element_spec
    for index, (x, y, weight) in enumerate(noisy.take(50).as_numpy_iterator()):
        assert x["image"] == 2 * index
        assert weight == 3 * index
        assert y.tolist() == [EXPECTED[index]]


@pytest.mark.tf_data
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda d: d.shuffle(10), "shuffle"),
        (lambda d: d.shuffle(10).map(lambda x, y: (x, y)).prefetch(1), "shuffle"),
        (lambda d: d.repeat(2), "repeat"),
        (lambda d: d.repeat(), "repeat"),
        (lambda d: d.concatenate(d.shuffle(3)), "shuffle"),
    ],
)
def test_helper_after_shuffle_or_repeat(pairs, change, name):
    with pytest.raises(
        ValueError,
        match=f"add_label_noise: `dataset` must be in its original order. Received: "
        f"dataset=data set after `{name}`",
    ):
        noise.add_label_noise(change(pairs), MATRIX, seed=3)


@pytest.mark.tf_data
@pytest.mark.parametrize(
    ("change", "options", "error", "text"),
    [
        (lambda d: d.map(lambda x, y: y), {}, TypeError, r"tf\.data\.Dataset of \(x, "),
        (lambda d: [1, 2], {}, TypeError, r"`dataset` must be a tf\.data\.Dataset"),
        (lambda d: d.batch(4), {}, ValueError, "single samples.*Pass batched=True"),
        (lambda d: d, {"batched": True}, ValueError, "Leave out batched=True"),
        (
            lambda d: d.batch(4).map(lambda x, y: (x, y[:, None] * [[1, 2]])),
            {"batched": True},
            ValueError,
            "one-hot",
        ),
        (lambda d: d, {"start_id": -1}, ValueError, "`start_id` must be an integer in"),
        (lambda d: d, {"start_id": 1.0}, TypeError, "`start_id` must be an integer in"),
        (lambda d: d, {"seed": None}, TypeError, r"`seed` must be .*pass seed=0"),
    ],
)
def test_helper_errors(pairs, change, options, error, text):
    options = {"seed": 3, **options}
    with pytest.raises(error, match="add_label_noise: .*" + text):
        noise.add_label_noise(change(pairs), MATRIX, **options)


@pytest.mark.tf_data
def test_helper_checks_the_matrix_in_its_own_name(pairs):
    with pytest.raises(ValueError, match="add_label_noise: `transition_matrix` must"):
        noise.add_label_noise(pairs, 2 * MATRIX, seed=3)
