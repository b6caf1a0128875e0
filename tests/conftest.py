"""What all tests share: seeds, who runs what, and what compiled code costs."""

import collections
import importlib.util
import inspect
import os
import pathlib
import tempfile
import zlib

import keras
import pytest

BACKEND = keras.backend.backend()
BACKENDS = ("tensorflow", "jax", "torch")
# Where every case is a training or several, or is about files and processes, and
# what it varies is Python's or NumPy's more than the backend's. What is about a backend
# all the same, as a training by hand, is marked `every_backend`.
DEALT = ("_data", "benchmarks", "callbacks", "choice", "datasets", "diagnosis")
DEALT += ("models", "training")
# Parameters whose values are the backend's own.
ITS_OWN = {"backend", "compiled", "jit_compile", "mode", "policy", "settings"}
ITS_OWN |= {"steps_per_execution"}


def pytest_addoption(parser):
    """Let one ask for the long form of tests that have a short one."""
    parser.addoption(
        "--full",
        action="store_true",
        help="run every case on this backend, with XLA's default optimisation, and "
        "the notebooks with all of their epochs, as a reader would",
    )


def pytest_report_header(config):
    """Say which part of the cases this is."""
    if not config.getoption("full"):
        return f"dear cases dealt out among {', '.join(BACKENDS)}: --full runs all"


def pytest_configure(config):
    """Set up the backend, before anything initialises it."""
    use_one_thread()
    if BACKEND == "jax" and not config.getoption("full"):
        compile_at_little_cost(config)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        one = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [one, one])
        # On two cores the replicas' all-reduces can occupy every thread of the
        # default pool while they wait for each other.
        tf.config.threading.set_inter_op_parallelism_threads(8)


def use_one_thread():
    """Compute on one core: the arrays are too small to share, and waiting costs more.

    On two cores torch took four times as long with two threads.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # For the processes of tests.
    if BACKEND == "torch":
        import torch

        torch.set_num_threads(1)


def compile_at_little_cost(config):
    """Let JAX compile a program once a session, with few of LLVM's passes.

    Nearly all time of the tests is compilation, of the same few models again and again.
    XLA's own passes, which reorder and fuse, are those of every user.
    """
    import jax

    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0".strip()
    folder = tempfile.TemporaryDirectory(prefix="jax-programs-")
    config.add_cleanup(folder.cleanup)
    # Not in the environment: a process that a test kills may leave half a file.
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what another backend runs, and skip what cannot run here."""
    if not config.getoption("full"):
        others = set(dealt_to_others(items))
        config.hook.pytest_deselected(items=[i for i in items if i in others])
        items[:] = [item for item in items if item not in others]
    skip_what_cannot_run(items)


def dealt_to_others(items):
    """Return the cases of dear tests that another backend runs.

    Each case runs on one backend, by a hash of its name, so that no argument goes with
    a backend; three cases of a test run on three.
    """
    tests = collections.defaultdict(list)
    for item in filter(_is_dealt, items):
        tests[item.nodeid.partition("[")[0]].append(item)
    for name, cases in tests.items():
        cases.sort(key=lambda item: _hash(item.nodeid))
        for number, item in enumerate(cases, start=_hash(name)):
            if BACKENDS[number % len(BACKENDS)] != BACKEND:
                yield item


def _folder(item):
    return item.path.relative_to(pathlib.Path(__file__).parent).parts[0]


def _is_dealt(item):
    """Whether a case is dear, and every backend has it and can run it."""
    if _folder(item) not in DEALT and not item.get_closest_marker("dealt"):
        return False
    if ITS_OWN & {*item.fixturenames}:
        return False
    bound = ("every_backend", "skipif", "tensorflow_only", "tf_data")
    return not any(map(item.get_closest_marker, bound)) and not _may_skip(item)


def _may_skip(item):
    """Whether a test skips itself where a package is missing."""
    code = inspect.getsource(item.function)
    return "importorskip" in code or "pytest.skip" in code


def _hash(text):
    return zlib.crc32(text.encode())


def skip_what_cannot_run(items):
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
