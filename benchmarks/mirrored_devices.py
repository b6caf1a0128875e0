"""See that training on several devices of TensorFlow gives what one device gives.

    python -m benchmarks.mirrored_devices

Trains the same network on one device and under `MirroredStrategy`, with everything of
this package that keeps something during a training: the clock of ProSelfLC, the targets
of early-learning regularization, the averages of SEAL on the fly. A single GPU is split
into two logical devices; `--cpu` does the same with the CPU. Ends with 1 if weights or
averages differ, and with 2 where there is no GPU.
"""

import argparse
import sys

import keras
import numpy as np

from keras_noisy import callbacks, losses

CLASSES, EXAMPLES, EPOCHS, BATCH = 5, 320, 3, 32
# Sums are taken in another order.
TOLERANCE = 1e-4


def main(arguments=None):
    """Compare one device with several, and say what came out."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mirrored_devices",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--cpu", action="store_true", help="two halves of the CPU")
    args = parser.parse_args(arguments)
    if keras.backend.backend() != "tensorflow":
        sys.exit("error: MirroredStrategy needs KERAS_BACKEND=tensorflow.")
    devices = find_devices("CPU" if args.cpu else "GPU")
    if len(devices) < 2:
        print("error: TensorFlow sees no GPU here. --cpu tries the CPU.")
        sys.exit(2)
    import tensorflow as tf

    differences = compare(tf.distribute.MirroredStrategy(devices))
    print(f"{', '.join(devices)} against one device, {EPOCHS} epochs:")
    for what, difference in differences.items():
        print(f"  {what:45} differ by at most {difference:.1e}")
    if max(differences.values()) > TOLERANCE:
        sys.exit(f"error: more than {TOLERANCE:g}.")
    print(f"All within {TOLERANCE:g}.")


def find_devices(kind):
    """Return the names of TensorFlow's logical devices of a kind."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices(kind)]


def split_single_devices():
    """Make two logical devices of a kind of which there is one."""
    import tensorflow as tf

    for kind, memory in (("CPU", {}), ("GPU", {"memory_limit": 2048})):
        physical = tf.config.list_physical_devices(kind)
        if len(physical) == 1:
            half = tf.config.LogicalDeviceConfiguration(**memory)
            tf.config.set_logical_device_configuration(physical[0], [half, half])
    # Replicas on one small CPU wait for each other.
    tf.config.threading.set_inter_op_parallelism_threads(8)


def compare(strategy):
    """Return how far results of a strategy are from those of one device."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, 16)).astype("float32")
    y = rng.integers(0, CLASSES, EXAMPLES)
    found = {}
    for name, loss, callback in (
        ("ProSelfLC, weights", losses.ProSelfLC(from_logits=True), None),
        (
            "ELR, weights",
            losses.EarlyLearningRegularization(from_logits=True),
            callbacks.EarlyLearningTargets,
        ),
        (
            "SEAL on the fly, weights",
            losses.GeneralizedCrossEntropy(from_logits=True),
            callbacks.SEALOnTheFly,
        ),
    ):
        one, one_more = train(x, y, loss, callback)
        with strategy.scope():
            several, several_more = train(x, y, loss, callback)
        found[name] = max(
            float(np.max(np.abs(a - b))) for a, b in zip(one, several, strict=True)
        )
        if one_more is not None:
            what = name.replace("weights", "averages")
            found[what] = float(np.max(np.abs(one_more - several_more)))
    return found


def train(x, y, loss, callback):
    """Return the weights after a training, and the averages where there are any."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(CLASSES),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        type(loss).from_config(loss.get_config()),
    )
    arguments = {"epochs": EPOCHS, "verbose": 0, "shuffle": False}
    if callback is None:
        model.fit(
            x, y, batch_size=BATCH, callbacks=[callbacks.GlobalTrust()], **arguments
        )
        return model.get_weights(), None
    more = {"from_logits": True} if callback is callbacks.SEALOnTheFly else {}
    recorder = callback(num_examples=len(x), **more)
    data = recorder.pipeline(model, x, y, batch_size=BATCH, shuffle=False)
    model.fit(data, callbacks=[recorder], **arguments)
    return model.get_weights(), getattr(recorder, "soft_labels", None)


if __name__ == "__main__":
    if keras.backend.backend() == "tensorflow":
        split_single_devices()
    main()
