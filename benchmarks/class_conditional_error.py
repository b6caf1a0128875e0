"""How often does the class-conditional test reject noise that is class-conditional?

The matrix is estimated on verified examples, and the classifier is the best there can
be: it knows the true class and predicts its most frequent label. Any network does
worse, and is rejected less often.

    python benchmarks/class_conditional_error.py
"""

import argparse

import numpy as np

from keras_noisy import analysis, noise


class BestClassifier:
    """Predicts the most frequent label of the true class, which is its input."""

    def __init__(self, matrix):
        self.rows = np.eye(len(matrix))[np.argmax(matrix, axis=1)]

    def fit(self, x, y, **arguments):
        """Nothing is left to learn."""

    def predict(self, x, **arguments):
        """Return one-hot rows."""
        return self.rows[x]


def equal(num_classes):
    """Return the shares of classes that are equally frequent."""
    return np.full(num_classes, 1 / num_classes)


def long_tail(num_classes, factor):
    """Return shares that fall geometrically, the last by `factor`."""
    shares = factor ** -np.linspace(0, 1, num_classes)
    return shares / shares.sum()


def settings():
    """Yield name, matrix, shares, size, verified, by class or not, and hold-out."""
    two, nine_to_one = noise.symmetric(2, 0.2), np.array([0.9, 0.1])
    uneven = np.array([[0.9, 0.1], [0.4, 0.6]])
    even = [(10, "symmetric", noise.symmetric), (10, "pair flip", noise.pair_flip)]
    yield "10 classes, symmetric 0.2", even[0][2](10, 0.2), equal(10), 300, False, 0.5
    yield "2 classes, symmetric 0.2", two, equal(2), 200, False, 0.5
    yield "2 classes 9:1, symmetric 0.2", two, nine_to_one, 50, True, 0.5
    yield "2 classes 9:1, symmetric 0.2", two, nine_to_one, 100, False, 0.5
    yield "2 classes 9:1, 0.1 and 0.4", uneven, nine_to_one, 50, True, 0.5
    yield "2 classes 9:1, 0.1 and 0.4", uneven, nine_to_one, 50, True, 0.1
    for num_classes, name, kind in even:
        matrix = kind(num_classes, 0.45)
        yield f"{num_classes} classes, {name} 0.45", matrix, equal(10), 300, False, 0.5
    yield (
        "2 classes, symmetric 0.48",
        noise.symmetric(2, 0.48),
        equal(2),
        200,
        False,
        0.5,
    )
    yield "3 classes, pair flip 0.1", noise.pair_flip(3, 0.1), equal(3), 30, False, 0.5
    hundred = noise.symmetric(100, 0.4)
    yield "100 classes, symmetric 0.4", hundred, equal(100), 500, False, 0.5
    yield (
        "100 classes 50:1, symmetric 0.4",
        hundred,
        long_tail(100, 50),
        500,
        False,
        0.5,
    )
    ten = noise.pair_flip(10, 0.3)
    yield "10 classes 50:1, pair flip 0.3", ten, long_tail(10, 50), 300, False, 0.5
    yield "10 classes 50:1, pair flip 0.3", ten, long_tail(10, 50), 30, True, 0.5
    yield "10 classes, pair flip 0.3", ten, equal(10), 300, False, 0.005
    yield "10 classes, pair flip 0.3", ten, equal(10), 10_000, False, 0.5


def rejections(matrix, shares, verified, by_class, hold_out, *, size, generator):
    """Return whether one draw is rejected, and whether by the published formula."""
    clean = generator.choice(len(shares), size, p=shares)
    limits = matrix.cumsum(axis=1)[clean]
    noisy = (generator.uniform(size=size)[:, None] > limits).sum(axis=1)
    noisy = np.minimum(noisy, len(shares) - 1)
    order = generator.permutation(size)
    if by_class:
        groups = (order[clean[order] == label] for label in range(len(shares)))
        chosen = np.concatenate([group[:verified] for group in groups])
    else:
        chosen = order[:verified]
    known = np.full(size, -1)
    known[chosen] = clean[chosen]
    test = analysis.hold_out_class_conditional_test(
        lambda: BestClassifier(matrix),
        clean,
        noisy,
        known,
        class_weights=shares if by_class else None,
        hold_out=hold_out,
        seed=int(generator.integers(2**31)),
    )
    # What the formula for a known matrix says of the estimated one.
    published = -2 * test.num_validation * max(test.epsilon, 0) ** 2 < np.log(0.05)
    return test.rejects(), published


def main():
    """Draw, test and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| noise | verified | share held out | rejected | as if `T` were known |")
    print("|---|---|---|---|---|")
    for number, (name, *setting) in enumerate(settings()):
        generator = np.random.default_rng([args.seed, number])
        found = [
            rejections(*setting, size=args.size, generator=generator)
            for _ in range(args.repeats)
        ]
        ours, published = np.mean(found, axis=0)
        _, _, verified, by_class, hold_out = setting
        how = f"{verified} of each class" if by_class else f"{verified:,} at random"
        print(
            f"| {name} | {how} | {hold_out} | {ours:.1%} | {published:.1%} |",
            flush=True,
        )
    print(
        f"\n{args.repeats} repeats of {args.size:,} examples, seed {args.seed}, "
        f"nominal level 5 %, NumPy {np.__version__}."
    )


if __name__ == "__main__":
    main()
