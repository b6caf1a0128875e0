"""Several devices, threads, and what the machine is."""

import contextlib
import os
import platform

import keras

BACKEND = keras.backend.backend()


class Devices:
    """The devices of a process, chosen before its backend computes anything.

    TensorFlow trains under a `MirroredStrategy` and JAX under Keras's `DataParallel`;
    both divide a batch among the devices. Where there are fewer GPUs than asked for,
    the CPU is divided into logical devices, which saves no time but shows whether
    the numbers agree.

    Args:
        count: Number of devices.
        threads: Threads of TensorFlow's operations on the CPU, 0 for its own choice.

    Raises:
        ValueError: If the backend cannot do it.
    """

    def __init__(self, count=1, threads=0):
        self.count = count
        self._strategy = None
        if BACKEND == "tensorflow":
            self._configure_tensorflow(threads)
        elif threads:
            raise ValueError("--threads is for the TensorFlow backend only.")
        elif BACKEND == "jax" and count > 1:
            self._configure_jax()
        elif count > 1:
            raise ValueError(
                f"--devices {count} needs TensorFlow or JAX. Received: "
                f"KERAS_BACKEND={BACKEND}. Start one process per GPU instead."
            )

    def _configure_tensorflow(self, threads):
        import tensorflow as tf

        # Every run is a new model: that it is traced again is no news.
        tf.get_logger().setLevel("ERROR")
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        if self.count == 1:
            return
        gpus = tf.config.list_logical_devices("GPU") if _has_gpu() else []
        if len(gpus) < self.count:
            cpu = tf.config.list_physical_devices("CPU")[0]
            one = tf.config.LogicalDeviceConfiguration()
            tf.config.set_logical_device_configuration(cpu, [one] * self.count)
            if not threads:
                # Two replicas that wait for each other need a thread each.
                tf.config.threading.set_inter_op_parallelism_threads(4 * self.count)
        kind = "GPU" if len(gpus) >= self.count else "CPU"
        names = [f"{kind}:{index}" for index in range(self.count)]
        self._strategy = tf.distribute.MirroredStrategy(names)

    def _configure_jax(self):
        import jax

        # Ignored where there are other devices than the CPU.
        jax.config.update("jax_num_cpu_devices", self.count)
        devices = keras.distribution.list_devices()
        if len(devices) < self.count:
            raise ValueError(
                f"--devices must be at most {len(devices)}, the number of devices that "
                f"JAX sees. Received: --devices {self.count}."
            )
        data_parallel = keras.distribution.DataParallel(devices=devices[: self.count])
        keras.distribution.set_distribution(data_parallel)

    def scope(self):
        """Return the context that a model is built and compiled in."""
        if self._strategy is None:
            return contextlib.nullcontext()
        return self._strategy.scope()


def _has_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def has_accelerator():
    """Whether the backend computes on something else than the CPU."""
    if BACKEND == "tensorflow":
        return _has_gpu()
    if BACKEND == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import torch

    return torch.cuda.is_available()


def describe_machine():
    """Return what a reader should know of the machine."""
    name = f"{os.cpu_count()}-core {platform.machine()} CPU"
    if not has_accelerator():
        return name
    return f"{_accelerator_name()}, {name}"


def _accelerator_name():
    if BACKEND == "tensorflow":
        import tensorflow as tf

        gpu = tf.config.list_physical_devices("GPU")[0]
        return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
    if BACKEND == "jax":
        import jax

        return jax.devices()[0].device_kind
    import torch

    return torch.cuda.get_device_name()


def reset_peak_memory():
    """Begin to measure the peak of this process anew, where the system can."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory():
    """Return the peak of this process's main memory in MB, since the last reset."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    import resource

    # In kB on Linux and in bytes on macOS, and of the whole life of the process.
    unit = 1 << 20 if platform.system() == "Darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
