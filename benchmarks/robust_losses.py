"""Test accuracy of every loss under symmetric and asymmetric label noise.

Trains one small network per loss, noise and seed on labels that are partly wrong,
and tests it on clean data after every epoch. The networks of a loss are trained side
by side in one model, which takes a fifth of the time. By default the data are
scikit-learn's handwritten digits; `--npz` takes arrays `x_train, y_train, x_test,
y_test`, such as MNIST's:

    python benchmarks/robust_losses.py --out benchmarks/results/robust_losses.md
    python benchmarks/robust_losses.py --npz mnist.npz --epochs 5

Every run is a line of the file `--runs`; the same command continues where it was
stopped, and `--table-only` makes the table of what is there.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_noisy
from keras_noisy import callbacks, losses, noise

# The classes that are mistaken for each other, two-way.
FLIPS = {1: 7, 7: 1, 3: 8, 8: 3, 4: 9, 9: 4, 5: 6, 6: 5}
ON = dict(from_logits=True)


def pair(passive, alpha, beta):
    """Return an active-passive pair with normalized cross-entropy."""
    return losses.ActivePassive(
        active=losses.NormalizedCrossEntropy(),
        passive=passive,
        alpha=alpha,
        beta=beta,
        **ON,
    )


class EachNetwork(keras.losses.Loss):
    """The mean over networks of a loss that is defined on a whole batch."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def call(self, y_true, y_pred):
        """Return the mean, a scalar."""
        count = y_pred.shape[1]
        return sum(self.loss(y_true[:, i], y_pred[:, i]) for i in range(count)) / count


# Arguments are the papers' for CIFAR-10, the data set with ten classes that most of
# them have; where a paper sets one by the noise, `noise` gives it.
LOSSES = {
    "CE": lambda noise: keras.losses.SparseCategoricalCrossentropy(**ON),
    "LS(0.1)": lambda noise: losses.LabelSmoothing(epsilon=0.1, **ON),
    "GLS(-0.5)": lambda noise: losses.GeneralizedLabelSmoothing(smooth_rate=-0.5, **ON),
    "CP(0.1)": lambda noise: losses.ConfidencePenalty(epsilon=0.1, **ON),
    "Boot-soft(0.3)": lambda noise: losses.BootstrapSoft(epsilon=0.3, **ON),
    "Boot-hard(0.2)": lambda noise: losses.BootstrapHard(epsilon=0.2, **ON),
    "ProSelfLC(B=10)": lambda noise: losses.ProSelfLC(exp_base=10.0, **ON),
    "EqualLoss(rate)": lambda noise: losses.EqualLoss(epsilon=noise.rate, **ON),
    "MAE": lambda noise: losses.MeanAbsoluteError(**ON),
    "GCE(0.7)": lambda noise: losses.GeneralizedCrossEntropy(**ON),
    "RCE": lambda noise: losses.ReverseCrossEntropy(**ON),
    "SL(0.1, 1)": lambda noise: losses.SymmetricCrossEntropy(alpha=0.1, beta=1.0, **ON),
    "NCE": lambda noise: losses.NormalizedCrossEntropy(**ON),
    "NFL(0.5)": lambda noise: losses.NormalizedFocal(**ON),
    "NGCE(0.7)": lambda noise: losses.NormalizedGeneralizedCrossEntropy(**ON),
    "NCE+MAE": lambda noise: losses.ActivePassive.from_preset("nce+mae, cifar10", **ON),
    "NCE+RCE": lambda noise: losses.ActivePassive.from_preset("nce+rce, cifar10", **ON),
    "AGCE(0.6, 0.6)": lambda noise: losses.AsymmetricGeneralizedCrossEntropy(
        a=0.6, q=0.6, **ON
    ),
    "AUL(5.5, 3)": lambda noise: losses.AsymmetricUnhinged(a=5.5, q=3.0, **ON),
    "AEL(2.5)": lambda noise: losses.AsymmetricExponential(a=2.5, **ON),
    "NCE+AGCE": lambda noise: pair(
        losses.AsymmetricGeneralizedCrossEntropy(a=6.0, q=1.5), 1.0, 4.0
    ),
    "NNCE": lambda noise: losses.NormalizedNegativeCrossEntropy(**ON),
    "ANL-CE, no L1": lambda noise: losses.ActiveNegative.from_preset("cifar10", **ON),
    "CE-eps+MAE": lambda noise: losses.EpsilonSoftmax.from_preset(
        "cifar10, symmetric", **ON
    ),
    "Forward(true T)": lambda noise: losses.ForwardCorrection(
        transition_matrix=noise.matrix, **ON
    ),
    "Backward(true T)": lambda noise: losses.BackwardCorrection(
        transition_matrix=noise.matrix, **ON
    ),
    "Bi-tempered(0.8, 1.2)": lambda noise: losses.BiTemperedLogistic(
        t1=0.8, t2=1.2, **ON
    ),
    "DAC": lambda noise: losses.DeepAbstention(**ON),
    # After cross-entropy for half of the epochs.
    "DMI": lambda noise: EachNetwork(losses.DeterminantMutualInformation(**ON)),
    "DM(8, 0.5)": lambda noise: losses.DerivativeManipulation(
        beta=8.0, lambda_=0.5, **ON
    ),
    "IMAE(8)": lambda noise: losses.IMAE(temperature=8.0, **ON),
    "ELR(3, 0.7)": lambda noise: losses.EarlyLearningRegularization.from_preset(
        "cifar10", **ON
    ),
}
# Those that have to be made anew for every noise, or have a state that depends on it.
NEED_NOISE = {"EqualLoss(rate)", "Forward(true T)", "Backward(true T)", "DAC", "DMI"}
ABSTAINING = losses.DeepAbstention
# A loss that keeps something for every example, of one network.
ALONE = {"ELR(3, 0.7)"}
HIDDEN = 128


class Noise:
    """One kind of label noise: its name, rate and transition matrix."""

    def __init__(self, kind, rate):
        self.kind, self.rate = kind, rate
        self.name = f"{kind} {rate:.0%}"
        if kind == "symmetric":
            self.matrix = noise.symmetric(10, rate)
        else:
            self.matrix = noise.asymmetric(10, FLIPS, rate)


NOISES = [
    *(Noise("symmetric", rate) for rate in (0.2, 0.4, 0.6, 0.8)),
    *(Noise("asymmetric", rate) for rate in (0.2, 0.4, 0.6, 0.8)),
]


def load_data(path):
    """Return `x_train, y_train, x_test, y_test` with flat features in [0, 1]."""
    if path:
        with np.load(path) as data:
            x_train, x_test = data["x_train"] / 255, data["x_test"] / 255
            y_train, y_test = data["y_train"], data["y_test"]
    else:
        import sklearn.datasets
        import sklearn.model_selection

        x, y = sklearn.datasets.load_digits(return_X_y=True)
        x_train, x_test, y_train, y_test = sklearn.model_selection.train_test_split(
            x / 16, y, test_size=0.25, random_state=0, stratify=y
        )
    x_train, x_test = (
        x.reshape(len(x), -1).astype("float32") for x in (x_train, x_test)
    )
    return x_train, y_train.astype("int32"), x_test, y_test.astype("int32")


def make_network(num_features, num_outputs):
    """Return a network with two hidden layers that can fit every wrong label."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((num_features,)),
            layers.Dense(HIDDEN, activation="relu"),
            layers.Dense(HIDDEN, activation="relu"),
            layers.Dense(num_outputs),
        ]
    )


def make_networks(num_networks, num_features, num_outputs):
    """Return that network many times over, side by side, `(batch, network, output)`."""
    inputs = keras.Input((num_features,))
    x = keras.layers.RepeatVector(num_networks)(inputs)
    for units, activation in (
        (HIDDEN, "relu"), (HIDDEN, "relu"), (num_outputs, None)
    ):  # fmt: skip
        x = keras.layers.EinsumDense(
            "bnf,nfu->bnu",
            (num_networks, units),
            bias_axes="nu",
            activation=activation,
        )(x)
    return keras.Model(inputs, x)


class TestAccuracy(keras.callbacks.Callback):
    """Collects every network's accuracy on clean test data after every epoch."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y, self.values = x, y, []

    def on_epoch_end(self, epoch, logs=None):
        """Test, without the abstention output where there is one."""
        logits = keras.ops.convert_to_numpy(self.model(self.x))
        logits = logits.reshape(len(self.x), -1, logits.shape[-1])[..., :10]
        right = logits.argmax(axis=-1) == self.y[:, None]
        self.values.append(right.mean(axis=0))


def train(loss, seeds, noisy_labels, data, args):
    """Train one network per seed and column of labels, all in one model.

    They share nothing but the order of the examples, and the loss is the sum of
    their mean losses: each gets the gradient that it would get alone.

    Returns:
        Accuracies of shape `(epochs, networks)`.
    """
    x_train, x_test, y_test = data
    keras.utils.set_random_seed(seeds[0])
    num_features, count = x_train.shape[1], len(seeds)
    num_outputs = 11 if isinstance(loss, ABSTAINING) else 10
    networks = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        networks.append(make_network(num_features, num_outputs))
    model = make_networks(count, num_features, num_outputs)
    starts = zip(*(network.get_weights() for network in networks), strict=True)
    model.set_weights([np.stack(weights) for weights in starts])
    watch = [TestAccuracy(x_test, y_test)]
    if isinstance(loss, losses.ProSelfLC):
        watch.append(callbacks.GlobalTrust())
    if isinstance(loss, ABSTAINING):
        watch.append(callbacks.AbstentionSchedule(warmup_epochs=args.epochs // 5))
    # Whole batches only: a last batch of another size would be compiled again.
    steps = len(x_train) // args.batch_size
    used = slice(steps * args.batch_size)
    stages = [(loss, args.epochs)]
    if isinstance(loss, EachNetwork):
        stages = [(LOSSES["CE"](None), args.epochs // 2), (loss, args.epochs // 2)]
    for stage_loss, epochs in stages:
        model.compile(
            keras.optimizers.Adam(args.learning_rate),
            stage_loss,
            loss_weights=[float(count)],
            jit_compile=True,
            steps_per_execution=steps,
        )
        model.fit(
            x_train[used],
            noisy_labels[used],
            batch_size=args.batch_size,
            epochs=epochs,
            callbacks=watch,
            verbose=0,
        )
    return np.stack(watch[0].values)


def train_alone(loss, seeds, noisy_labels, data, args):
    """Train one network with early-learning regularisation, as `train` does many.

    Returns:
        Accuracies of shape `(epochs, 1)`.
    """
    x_train, x_test, y_test = data
    (seed,) = seeds
    keras.utils.set_random_seed(seed)
    model = make_network(x_train.shape[1], 10)
    # On TensorFlow XLA takes longer than the training; JAX has nothing else.
    jit_compile = keras.backend.backend() == "jax"
    optimizer = keras.optimizers.Adam(args.learning_rate)
    model.compile(optimizer, loss, jit_compile=jit_compile)
    used = slice(len(x_train) // args.batch_size * args.batch_size)
    x_train, labels = x_train[used], noisy_labels[used, 0]
    targets = callbacks.EarlyLearningTargets(len(x_train))
    batches = targets.pipeline(
        model, x_train, labels, batch_size=args.batch_size, seed=seed
    )
    watch = TestAccuracy(x_test, y_test)
    model.fit(
        batches,
        epochs=args.epochs,
        callbacks=[targets, watch],
        shuffle=False,
        verbose=0,
    )
    return np.stack(watch.values)


def settings_of(args):
    """Return what a run depends on, besides loss, noise and seed."""
    return {
        "data": pathlib.Path(args.npz).stem if args.npz else "digits",
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "versions": {
            "keras_noisy": keras_noisy.__version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "python": platform.python_version(),
        },
    }


def read_runs(path, settings):
    """Return the runs in `path` that were made with `settings`."""
    runs = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            run = json.loads(line)
            if run["settings"] == settings:
                runs[run["loss"], run["noise"], run["seed"]] = run
    return runs


def groups_of(name, seeds):
    """Yield the runs, pairs of noise and seed, that are trained in one model."""
    runs = list(itertools.product(NOISES, seeds))
    if name in ALONE:
        yield from ([run] for run in runs)
    elif name in NEED_NOISE:
        yield from ([(kind, seed) for seed in seeds] for kind in NOISES)
    else:
        yield runs


def run_all(args, settings):
    """Train what is missing."""
    x_train, y_train, x_test, y_test = load_data(args.npz)
    runs = read_runs(args.runs, settings)
    args.runs.parent.mkdir(parents=True, exist_ok=True)
    for name in args.losses:
        for group in groups_of(name, args.seeds):
            group = [run for run in group if (name, run[0].name, run[1]) not in runs]
            if not group:
                continue
            labels = [
                noise.corrupt_labels(y_train, kind.matrix, seed=seed)
                for kind, seed in group
            ]
            start = time.perf_counter()
            values = (train_alone if name in ALONE else train)(
                LOSSES[name](group[0][0]),
                [seed for _, seed in group],
                np.stack([label.noisy for label in labels], axis=-1),
                (x_train, x_test, y_test),
                args,
            )
            seconds = (time.perf_counter() - start) / len(group)
            records = [
                {
                    "loss": name,
                    "noise": kind.name,
                    "seed": seed,
                    "seconds": round(seconds, 2),
                    "realised_rate": label.rate,
                    "last": float(values[-1, i]),
                    "best": float(values[:, i].max()),
                    "settings": settings,
                }
                for i, ((kind, seed), label) in enumerate(
                    zip(group, labels, strict=True)
                )
            ]
            print(name, len(group), f"{seconds:.2f} s each", flush=True)
            with args.runs.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
            # Models and traces of the past only cost memory.
            keras.backend.clear_session()


def make_table(runs, names, quantity):
    """Return a Markdown table of means and standard deviations over the seeds."""
    lines = [
        "| loss | " + " | ".join(kind.name for kind in NOISES) + " |",
        "|---|" + "---|" * len(NOISES),
    ]
    for name in names:
        cells = []
        for kind in NOISES:
            values = [
                100 * run[quantity]
                for (loss, noise_name, _), run in runs.items()
                if loss == name and noise_name == kind.name
            ]
            mean = f"{np.mean(values):.1f} ± {np.std(values):.1f}" if values else ""
            cells.append(mean)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def make_report(args, settings):
    """Return the tables with everything that is needed to repeat them."""
    runs = read_runs(args.runs, settings)
    names = [name for name in LOSSES if any(key[0] == name for key in runs)]
    versions = ", ".join(f"{k} {v}" for k, v in settings["versions"].items())
    seeds = sorted({key[2] for key in runs})
    seconds = sum(run["seconds"] for run in runs.values())
    npz = " --npz mnist.npz" if args.npz else ""
    pairs = ", ".join(f"{a} <-> {b}" for a, b in FLIPS.items() if a < b)
    return f"""# Robust losses on {settings["data"]}

Accuracy in percent on clean test data, mean ± standard deviation over the seeds {seeds},
of a network with two hidden layers of 128 units trained for {args.epochs} epochs by Adam
({args.learning_rate}, batch {args.batch_size}) on labels that are partly wrong. "Best" is the
best epoch *on the test data*: an upper bound that nobody reaches without clean data.

Symmetric: `noise.symmetric(10, rate)`, the original class excluded. Asymmetric:
`noise.asymmetric(10, flips, rate)`, two-way between {pairs}; classes 0 and 2 keep their
labels, so the realised rate is 0.8 times the stated one, and above 50 % the wrong class
is the more frequent one. Labels are corrupted exactly (`corrupt_labels(..., seed=seed)`).

Arguments are the papers' for CIFAR-10, not tuned here; forward and backward correction are
given the true matrix, Equal Loss the stated rate; DMI follows half of the epochs of
cross-entropy. The networks of a loss are trained side by side in one model and share the
order of the examples; the batch of DM and IMAE, whose mean scales their weights, is that of
all of them. ELR, which keeps an average for every example, trains each network alone.

## Last epoch

{make_table(runs, names, "last")}

## Best epoch

{make_table(runs, names, "best")}

{len(runs)} runs, {seconds / 60:.0f} minutes of training. {os.cpu_count()}-core {platform.machine()} CPU; {versions}.

Command: `python benchmarks/robust_losses.py{npz} --epochs {args.epochs} --batch-size {args.batch_size} --out {args.out}`
"""  # noqa: E501


def main():
    """Train what is missing, then print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npz", help="x_train, y_train, x_test, y_test")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--runs", type=pathlib.Path, default="runs/robust_losses.jsonl")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--table-only", action="store_true")
    args = parser.parse_args()
    settings = settings_of(args)
    if not args.table_only:
        run_all(args, settings)
    report = make_report(args, settings)
    print(report)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
