"""Training of the study of choice: the noises of a data set as one JAX program.

`benchmarks/choice.py` trains thousands of small networks. They are those that
`find_wrong_labels` builds for features, one hidden layer of 256 units, trained by
Adam. All kinds of noise of one data set and seed have the same inputs and order of
examples, and of one candidate the same initial weights, and differ in labels alone:
`jax.vmap` over the labels makes one program of them, and `jax.lax.scan` over epochs
leaves Python out of it. The losses are the package's, on Keras's JAX backend.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from keras_noisy import losses

HIDDEN = 256
LEARNING_RATE = 1e-3


def _through_matrix(q, logits, matrix):
    # `losses.forward_correction` takes constants, which would be a program for each.
    p = jax.nn.softmax(logits) @ matrix
    return -jnp.sum(q * jnp.log(jnp.maximum(p, 1e-7)), axis=-1)


def _cross_entropy(q, logits):
    return losses.label_smoothing(q, logits, epsilon=0.0, from_logits=True)


# Loss of each candidate, of labels, logits, progress of the training and matrix. All
# settings are those of the papers or of the package, none was searched for.
LOSSES = {
    "cross-entropy": lambda q, z, t, m: _cross_entropy(q, z),
    "label smoothing": lambda q, z, t, m: losses.label_smoothing(
        q, z, epsilon=0.1, from_logits=True
    ),
    "GCE": lambda q, z, t, m: losses.generalized_cross_entropy(q, z, from_logits=True),
    "SCE": lambda q, z, t, m: losses.symmetric_cross_entropy(
        q, z, alpha=0.1, beta=1.0, from_logits=True
    ),
    "Equal Loss": lambda q, z, t, m: losses.equal_loss(
        q, z, epsilon=0.3, from_logits=True
    ),
    "ProSelfLC": lambda q, z, t, m: losses.proselflc(
        q, z, global_trust=losses.global_trust(t), from_logits=True
    ),
    "bootstrap": lambda q, z, t, m: losses.bootstrap_hard(
        q, z, epsilon=0.2, from_logits=True
    ),
    "forward": lambda q, z, t, m: _through_matrix(q, z, m),
    "soft labels": lambda q, z, t, m: _cross_entropy(q, z),
    "clean, then train": lambda q, z, t, m: _cross_entropy(q, z),
}
# Whether inputs are mixed, and whether cross-entropy is that through the matrix, of
# early-learning regularisation.
WEIGHT, MOMENTUM = 3.0, 0.7
ELR = {
    "ELR": (False, False),
    "ELR, mixup": (True, False),
    "forward ELR, mixup": (True, True),
}
# Second word of the seed of a candidate's initial weights.
SEEDS = dict(zip((*LOSSES, *ELR), (*range(len(LOSSES)), 10, 30, 31), strict=True))
# Trainings that a candidate costs beside that of cross-entropy, which all runs have.
EXTRA = ("soft labels", "clean, then train")


class Data(NamedTuple):
    """What the runs of a program share.

    Attributes:
        x: Training inputs `(n, d)`.
        x_watched: Inputs of validation and test, one after the other.
        orders: Rows of each batch, `(epochs, steps, batch)`.
        mixing: Weight of the first input where two are mixed, `(epochs, steps)`.
        scale: What inputs are divided by after `shift` is subtracted, `(d,)`.
        shift: `(d,)`.
    """

    x: Any
    x_watched: Any
    orders: Any
    mixing: Any
    shift: Any
    scale: Any


def initial_weights(num_features, num_classes, seed):
    """Return the weights that Keras's default initializers give, one dict."""
    generator = np.random.default_rng(seed)

    def glorot(rows, columns):
        limit = np.sqrt(6 / (rows + columns))
        return generator.uniform(-limit, limit, (rows, columns)).astype("float32")

    return {
        "w1": glorot(num_features, HIDDEN),
        "b1": np.zeros(HIDDEN, "float32"),
        "w2": glorot(HIDDEN, num_classes),
        "b2": np.zeros(num_classes, "float32"),
    }


def _logits(weights, x):
    hidden = jax.nn.relu(x @ weights["w1"] + weights["b1"])
    return hidden @ weights["w2"] + weights["b2"]


def _adam(weights, gradient, moments, step):
    first, second = moments
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    weights = jax.tree.map(
        lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), weights, first, second
    )
    return weights, (first, second)


def _loss_of(candidate):
    """Return a function of weights and a batch: mean loss, and new averages."""

    def plain(weights, x, q, averages, weight, mixing, progress, matrix):
        loss = LOSSES[candidate](q, _logits(weights, x), progress, matrix)
        return jnp.sum(loss * weight) / jnp.maximum(jnp.sum(weight), 1), averages

    def with_averages(weights, x, q, averages, weight, mixing, progress, matrix):
        is_mixed, is_forward = ELR[candidate]
        logits = _logits(weights, x)
        new = losses.updated_target(
            averages, logits, momentum=MOMENTUM, from_logits=True
        )
        target = new
        if is_mixed:
            # As in ELR+, labels and averages are mixed as the inputs are.
            x, q, target = (
                mixing * each + (1 - mixing) * jnp.roll(each, 1, axis=0)
                for each in (x, q, new)
            )
            logits = _logits(weights, x)
        loss = losses.early_learning_regularization(
            q, logits, target=target, weight=WEIGHT, from_logits=True
        )
        if is_forward:
            loss += _through_matrix(q, logits, matrix) - _cross_entropy(q, logits)
        return jnp.mean(loss), new

    return plain if candidate in LOSSES else with_averages


@functools.partial(jax.jit, static_argnums=0)
def train(candidate, data, weights, labels, example_weights, matrices):
    """Train one network for each row of `labels`.

    Args:
        candidate: A key of `LOSSES` or `ELR`.
        data: `Data`.
        weights: Initial weights.
        labels: Distributions `(runs, n, num_classes)`.
        example_weights: `(runs, n)`, zero where an example is left out.
        matrices: Transition matrices `(runs, num_classes, num_classes)`.

    Returns:
        A dict: `loss` and `changes` `(runs, epochs)`, the share of training examples
        whose predicted class is another than an epoch before; `watched`
        `(runs, epochs, 2, m, num_classes)`, predictions on `x_watched` in half
        precision, with the weights and with their moving averages over an epoch; and
        `averages` `(runs, n, num_classes)`, mean predictions on the training data.
    """
    x = (data.x - data.shift) / data.scale
    x_watched = (data.x_watched - data.shift) / data.scale
    num_epochs, num_steps = data.orders.shape[:2]
    loss_of = jax.value_and_grad(_loss_of(candidate), has_aux=True)
    most_momentum = jnp.exp(-1.0 / num_steps)

    def one(labels, example_weights, matrix):
        def step(state, batch):
            weights, moments, table, count, mean = state
            rows, mixing = batch
            progress = count / (num_epochs * num_steps)
            (loss, averages), gradient = loss_of(
                weights,
                x[rows],
                labels[rows],
                table[rows],
                example_weights[rows],
                mixing,
                progress,
                matrix,
            )
            weights, moments = _adam(weights, gradient, moments, count + 1)
            table = table.at[rows].set(averages) if candidate in ELR else table
            momentum = jnp.minimum(most_momentum, count / (count + 1))
            mean = jax.tree.map(
                lambda old, new: momentum * old + (1 - momentum) * new, mean, weights
            )
            return (weights, moments, table, count + 1, mean), loss

        def epoch(state, batches):
            inner, classes, total = state
            inner, loss = jax.lax.scan(step, inner, batches)
            p = jax.nn.softmax(_logits(inner[0], x))
            new = p.argmax(axis=-1)
            watched = [
                jax.nn.softmax(_logits(each, x_watched))
                for each in (inner[0], inner[4])
            ]
            watched = jnp.stack(watched)
            logs = (loss.mean(), jnp.mean(new != classes), watched.astype("float16"))
            return (inner, new, total + p), logs

        zeros = jax.tree.map(jnp.zeros_like, weights)
        inner = (weights, (zeros, zeros), jnp.zeros_like(labels), 0.0, zeros)
        start = (inner, jnp.full(len(x), -1), jnp.zeros_like(labels))
        (_, _, total), (loss, changes, watched) = jax.lax.scan(
            epoch, start, (data.orders, data.mixing)
        )
        return {
            "loss": loss,
            "changes": changes,
            "watched": watched,
            "averages": total / num_epochs,
        }

    return jax.vmap(one)(labels, example_weights, matrices)
