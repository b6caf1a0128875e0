"""Does the test of class-conditional noise reject what it should, and only that?

Trains on half of MNIST with noisy labels and tests on the other half (Theorem 1 of the
SEAL paper). Class-conditional noise, among it noise with the very transition matrix of
the instance-dependent labels, must not be rejected; the labels themselves must be. For
these it also says how often they are with few verified examples.

    python benchmarks/class_conditional_test.py --npz mnist.npz \
        --labels idn_labels.npz:mnist_idn_20 idn_labels.npz:mnist_idn_40
"""

import argparse
import os
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_noisy import analysis, noise


def build_model():
    """Return the CNN of SEAL's Appendix A."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        jit_compile=False,  # On a CPU XLA is slower for convolutions.
    )
    return model


def realised_matrix(clean, noisy):
    """Return the transition matrix that turned one into the other."""
    counts = np.zeros((10, 10))
    np.add.at(counts, (clean, noisy), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def noises(clean, sources, seed):
    """Yield name, noisy labels and whether they are class-conditional."""
    matrices = {
        "symmetric 0.4": noise.symmetric(10, 0.4),
        "pair flip 0.4": noise.pair_flip(10, 0.4),
    }
    for source in sources:
        path, _, key = source.partition(":")
        with np.load(path) as archive:
            noisy = archive[key].astype("int64")
        yield f"`{key}`, instance-dependent", noisy, False
        matrices[f"class-conditional with the matrix of `{key}`"] = realised_matrix(
            clean, noisy
        )
    for name, matrix in matrices.items():
        labels = noise.corrupt_labels(clean, matrix, seed=seed, exact=False)
        yield name, labels.noisy, True


def power(test, clean, noisy, num_verified, repeats, seed):
    """Return how often random verified examples would have rejected.

    A few of them are held out too, too few to matter beside all that are.
    """
    generator = np.random.default_rng([seed, num_verified])
    rejected = 0
    for _ in range(repeats):
        chosen = generator.choice(len(clean), num_verified, replace=False)
        counts = np.zeros((10, 10))
        np.add.at(counts, (clean[chosen], noisy[chosen]), 1)
        sizes = counts.sum(axis=1)
        again = analysis.class_conditional_test(
            np.where(sizes[:, None] > 0, counts, np.eye(10))
            / np.maximum(sizes, 1)[:, None],
            sizes / num_verified,
            error=test.error,
            num_validation=test.num_validation,
            num_verified=num_verified,
        )
        rejected += again.rejects()
    return rejected / repeats


def main():
    """Train, test and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npz", required=True, help="MNIST")
    parser.add_argument("--labels", nargs="*", default=[], metavar="FILE:KEY")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--verified", type=int, nargs="+", default=[100, 200, 300, 400, 500, 600, 800]
    )
    parser.add_argument("--repeats", type=int, default=1000)
    args = parser.parse_args()
    with np.load(args.npz) as data:
        x = data["x_train"][..., None] / np.float32(255)
        clean = data["y_train"].astype("int64")
    print(
        "| noise | seed | error on held-out labels | least error under class-"
        "conditional noise | epsilon | log10 of the bound | rejected | as it should |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    lines = []
    for seed in args.seeds:
        for name, noisy, is_class_conditional in noises(clean, args.labels, seed):
            keras.utils.set_random_seed(seed)
            test = analysis.hold_out_class_conditional_test(
                build_model,
                x,
                noisy,
                clean,
                seed=seed,
                epochs=args.epochs,
                batch_size=64,
                verbose=0,
            )
            print(
                f"| {name} | {seed} | {test.error:.4f} | {test.least_error:.4f} | "
                f"{test.epsilon:.4f} | {test.log10_bound:.4g} | {test.rejects()} | "
                f"{test.rejects() != is_class_conditional} |",
                flush=True,
            )
            if not is_class_conditional:
                shares = (
                    power(test, clean, noisy, count, args.repeats, seed)
                    for count in args.verified
                )
                cells = " | ".join(f"{share:.1%}" for share in shares)
                lines.append(f"| {name} | {seed} | {cells} |")
    heads = " | ".join(map(str, args.verified))
    print(
        f"\nRejected at 5 %, in {args.repeats} draws of so many verified examples:\n\n"
        f"| noise | seed | {heads} |\n|---|---|{'---|' * len(args.verified)}"
    )
    print(*lines, sep="\n")
    print(
        f"\n{args.epochs} epochs, {os.cpu_count()}-core {platform.machine()} CPU, "
        f"Keras {keras.__version__} ({keras.backend.backend()})."
    )


if __name__ == "__main__":
    main()
