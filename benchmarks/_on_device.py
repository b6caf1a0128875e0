"""Training with the data on the device: an epoch and its test are one call of it.

Keras's `fit` returns to Python after every step, and a small network is done before
the next step is launched. Here `jax.lax.scan` runs the model's own `train_step` over an
epoch. Several runs can be one program too: dense networks as one, `jax.vmap` of that
step over their variables, and networks with convolutions beside each other, because
their convolutions would become grouped ones, which are slow. Every run has the initial
weights, the order of examples, the augmentation and the loss that it has in `fit`, and
so its curve is the same within float error (`tests/benchmarks/test_on_device.py`).
"""

import time

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras import ops

from benchmarks import _training, recipes
from keras_noisy import callbacks, losses
from keras_noisy._data.arrays import epoch_order
from keras_noisy._step.clock import attach
from keras_noisy.training import _random

# An epoch takes seconds, and so does writing the state of all runs.
SECONDS_BETWEEN_CHECKPOINTS = 60


class OneOf(keras.losses.Loss):
    """One of several losses, the one that the labels name.

    Runs that share a program differ in nothing but data, so it holds all their losses.

    Args:
        choices: The losses; each has one value per example.
    """

    def __init__(self, choices):
        super().__init__(name="one_of")
        self.choices = choices

    def call(self, y_true, y_pred):
        """Return one loss per example.

        Args:
            y_true: `(batch, 2)`, class ids and the number of the loss.
            y_pred: Logits `(batch, num_classes)`.
        """
        # `Loss.__call__` makes float32 of them.
        y_true = ops.cast(y_true, "int32")
        ids, number = y_true[:, 0], y_true[0, 1]
        values = [choice.call(ids, y_pred) for choice in self.choices]
        return ops.take(ops.stack(values), number, axis=0)


def why_not(method, data):
    """Return why the runs of a method cannot be trained here, or None."""
    if data.x_validation is not None:
        return "its data set is read from a file"
    if method.self_evolution or method.start or method.estimate or method.second:
        return "it is more than one training"
    if method.model:
        return "it trains the network in a way of its own"
    if method.smoothing:
        return "its labels are distributions"
    if recipes.loss_class(method.loss) is losses.DeterminantMutualInformation:
        return "its loss is one value for a whole batch"
    # The clock of ProSelfLC runs here too.
    if method.callback and method.callback["name"] != callbacks.GlobalTrust.__name__:
        return "its loss needs a callback"
    return None


class Group:
    """Runs of one recipe and data set that are one program.

    Args:
        runs: `_training.Run`s of methods that `why_not` has nothing against, all of
            the same number of epochs.
        folder: What is needed to continue.
        verbose: Whether to print a line per epoch.
    """

    def __init__(self, runs, folder, verbose=False):
        self.runs, self.verbose = runs, verbose
        first = runs[0]
        (self.epochs,) = {run.epochs for run in runs}
        self.data = first.data
        self.batch_size = first.recipe.training.batch_size
        self.num_steps = -(-len(self.data.y_train) // self.batch_size)
        # Runs whose variables are stacked; the stacks are beside each other.
        size = len(runs) if first.recipe.network["name"] == "dense" else 1
        starts = range(0, len(runs), size)
        self.stacks = [slice(start, start + size) for start in starts]
        self.folder = _training.folder_of(folder)

    def train(self):
        """Train what is left, and return the curves and costs of each run."""
        began = last_kept = time.perf_counter()
        self.model, states = self._build()
        kept = _training.open_run(self.folder, ("epoch",))
        if kept is None:
            kept = {"epoch": 0}
            self.folder.write(**kept)
        epoch = old = kept["epoch"]
        before = kept.get("seconds", 0.0)
        curves = kept.get("curves") or [_empty_curve() for _ in self.runs]
        if epoch:
            states = self._load(epoch, states)
        train_epoch = jax.jit(self._train_epoch, donate_argnums=0)
        arrays = self._put_arrays()
        while epoch < self.epochs:
            states, loss, correct = train_epoch(states, self._orders(epoch), *arrays)
            epoch += 1
            self._note(curves, loss, correct)
            now = time.perf_counter()
            seconds = before + now - began
            if self.verbose:
                self._print(epoch, curves, seconds)
            if now - last_kept > SECONDS_BETWEEN_CHECKPOINTS and epoch < self.epochs:
                more = {"curves": curves, "seconds": seconds}
                self._keep(states, epoch, old, more)
                last_kept, old = now, epoch
        share = round((before + time.perf_counter() - began) / len(self.runs), 2)
        together = len(self.runs)
        return [
            {"curve": curve, "stages": [], "seconds": share, "together": together}
            for curve in curves
        ]

    def _note(self, curves, loss, correct):
        """Add what an epoch gave to the curves of all runs."""
        for curve, one_loss, count in zip(
            curves, np.asarray(loss), np.asarray(correct), strict=True
        ):
            curve["loss"].append(_training.plain(one_loss))
            accuracy = int(count) / len(self.data.y_test)
            curve[_training.TEST_ACCURACY].append(accuracy)

    def _build(self):
        """Return a model, and the state of each stack with a leading axis of runs."""
        loss, states = OneOf([run.own_loss() for run in self.runs]), {}
        for run in self.runs:
            if run.seed not in states:
                keras.utils.set_random_seed(_random.derive_seed(run.seed, 0))
                # Keras makes the variables of other metrics in the first step.
                model = run.build(0, loss, metrics=())
                clock = attach(model)
                clock.total.assign(self.num_steps * self.epochs)
                states[run.seed] = [
                    [variable.value for variable in variables]
                    for variables in _state_variables(model)
                ]
        chosen = [states[run.seed] for run in self.runs]
        return model, [
            jax.tree.map(lambda *values: jnp.stack(values), *chosen[stack])
            for stack in self.stacks
        ]

    def _put_arrays(self):
        """Return labels with the number of the loss, images, and those of the test."""
        labels = [
            np.stack([run.labels.noisy, np.full(len(run.labels.noisy), number)], axis=1)
            for number, run in enumerate(self.runs)
        ]
        test = [self.data.x_test, self.data.y_test.astype("int32")]
        arrays = [np.stack(labels).astype("int32"), self.data.x_train, *test]
        return [jnp.asarray(array) for array in arrays]

    def _orders(self, epoch):
        """Return the examples of an epoch in the order of each run, `(n, runs)`."""
        by_seed = {
            seed: epoch_order(len(self.data.y_train), [seed, 0], epoch)
            for seed in {run.seed for run in self.runs}
        }
        orders = [by_seed[run.seed] for run in self.runs]
        return jnp.asarray(np.stack(orders, axis=1).astype("int32"))

    def _train_epoch(self, states, orders, labels, x_train, x_test, y_test):
        """Return the states after an epoch, and each run's loss and correct answers."""

        def one_step(state, labels, rows):
            logs, state = self.model.train_step(state, (x_train[rows], labels[rows]))
            return list(state), logs["loss"]

        def step(carry, rows):
            done = [
                jax.vmap(one_step)(state, labels[stack], rows.T[stack])
                for state, stack in zip(carry[0], self.stacks, strict=True)
            ]
            states, losses_ = zip(*done, strict=True)
            return list(states), jnp.concatenate(losses_)

        def one_test(state, x, y):
            logits, _ = self.model.stateless_call(*state[:2], x, training=False)
            return jnp.sum(jnp.argmax(logits, axis=-1) == y)

        def test(correct, batch):
            of_stack = jax.vmap(one_test, in_axes=(0, None, None))
            counts = [of_stack(state, *batch) for state in states]
            return correct + jnp.concatenate(counts)

        states = [self._with_metrics_reset(state) for state in states]
        zeros = jnp.zeros(len(self.runs))
        states, loss = _in_pieces(step, (states, zeros), orders, self.batch_size)
        batches, size = (x_test, y_test), _training.PREDICT_BATCH_SIZE
        correct = _in_pieces(test, zeros.astype("int32"), batches, size)
        return states, loss, correct

    def _with_metrics_reset(self, state):
        """Return the state with Keras's metrics, but not the clock, at zero."""
        *others, values = state
        kept = {id(v) for v in attach(self.model).variables}
        values = [
            value if id(variable) in kept else jnp.zeros_like(value)
            for variable, value in zip(
                self.model.metrics_variables, values, strict=True
            )
        ]
        return [*others, values]

    def _keep(self, states, epoch, old, more):
        """Write what is needed to continue; the file that names the state last."""
        arrays = {
            f"{number:06d}": np.asarray(value)
            for number, value in enumerate(jax.tree.leaves(states))
        }
        with self.folder.writer(f"state-{epoch}.npz") as file:
            np.savez(file, **arrays)
        self.folder.write(epoch=epoch, **more)
        self.folder.remove(f"state-{old}.npz")

    def _load(self, epoch, like):
        with (
            self.folder.reading(f"state-{epoch}.npz") as path,
            np.load(path) as archive,
        ):
            values = [jnp.asarray(archive[name]) for name in sorted(archive.files)]
        return jax.tree.unflatten(jax.tree.structure(like), values)

    def _print(self, epoch, curves, seconds):
        accuracies = ", ".join(
            f"{curve[_training.TEST_ACCURACY][-1]:.2%}" for curve in curves
        )
        print(
            f"  epoch {epoch}/{self.epochs}: {accuracies} ({seconds:.1f} s)", flush=True
        )


def _empty_curve():
    return {"loss": [], _training.TEST_ACCURACY: []}


def _state_variables(model):
    """Return the variables that Keras's `train_step` on JAX takes and returns."""
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def _in_pieces(function, carry, arrays, size):
    """Fold a function over `size` rows of arrays at a time; the last may be fewer."""
    count = len(jax.tree.leaves(arrays)[0])
    whole = count // size

    def head(array):
        return array[: whole * size].reshape(whole, size, *array.shape[1:])

    pieces = jax.tree.map(head, arrays)
    carry, _ = jax.lax.scan(lambda c, p: (function(c, p), None), carry, pieces)
    if count % size:
        carry = function(carry, jax.tree.map(lambda a: a[whole * size :], arrays))
    return carry
