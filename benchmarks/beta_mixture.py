"""Which noise rates does a mixture of two beta distributions recover?

Losses are drawn from beta(2, 8) for right labels and beta(8, 2) for wrong ones; from
beta(2, 5) and beta(5, 2), which overlap; and from a gamma distribution of each.

    python benchmarks/beta_mixture.py
"""

import argparse

import numpy as np

from keras_noisy import analysis

KINDS = {
    "beta(2, 8), beta(8, 2)": lambda draw, n, m: (
        draw.beta(2, 8, n),
        draw.beta(8, 2, m),
    ),
    "beta(2, 5), beta(5, 2)": lambda draw, n, m: (
        draw.beta(2, 5, n),
        draw.beta(5, 2, m),
    ),
    "gamma(1, 0.2), gamma(9, 0.4)": lambda draw, n, m: (
        draw.gamma(1.0, 0.2, n),
        draw.gamma(9.0, 0.4, m),
    ),
}


def main():
    """Draw, fit and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=5000)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    args = parser.parse_args()
    kinds = [f"{kind}, {how}" for kind in KINDS for how in ("ten steps", "converged")]
    print(f"| wrong labels | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for share in (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 0.95):
        wrong = round(share * args.size)
        cells = []
        for make in KINDS.values():
            for iterations in (10, None):
                found = []
                for seed in args.seeds:
                    draw = np.random.default_rng(seed)
                    losses = np.concatenate(make(draw, args.size - wrong, wrong))
                    mixture = analysis.beta_mixture(losses, iterations=iterations)
                    found.append(mixture.weights[1])
                cells.append(f"{np.mean(found):.3f} ± {np.std(found):.3f}")
        print(f"| {share} | {' | '.join(cells)} |", flush=True)
    print(f"\n{args.size} losses, seeds {args.seeds}, NumPy {np.__version__}.")


if __name__ == "__main__":
    main()
