"""What all tests share: seeds, and what only TensorFlow can run."""

import importlib.util

import keras
import pytest

BACKEND = keras.backend.backend()


def pytest_addoption(parser):
    """Let one ask for the long form of tests that have a short one."""
    parser.addoption(
        "--full",
        action="store_true",
        help="run the notebooks with all of their epochs, as a reader would",
    )


def pytest_configure(config):
    """Give TensorFlow two logical CPUs, before anything initialises it."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        one = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [one, one])
        # On two cores the replicas' all-reduces can occupy every thread of the
        # default pool while they wait for each other.
        tf.config.threading.set_inter_op_parallelism_threads(8)


def pytest_collection_modifyitems(items):
    """Skip what this backend cannot run, or what needs a package that is not here."""
    reasons = {}
    if BACKEND != "tensorflow":
        reasons["tensorflow_only"] = f"needs TensorFlow, and the backend is {BACKEND}"
    if importlib.util.find_spec("tensorflow") is None:
        reasons["tf_data"] = "needs tf.data, and TensorFlow is not installed"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def backend():
    """Name of the Keras backend."""
    return BACKEND


@pytest.fixture(scope="session")
def strategy():
    """Return a `MirroredStrategy` of two logical CPUs, the same for all tests.

    TensorFlow numbers collective operations per strategy, and those of a second
    strategy in one process meet what is left of the first one's.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture(autouse=True)
def seed():
    """Start every test from the same random state."""
    keras.utils.set_random_seed(0)
