"""How often each class is to be predicted, for losses that hold a network to it."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import check_distribution
from keras_noisy._step import replicas
from keras_noisy._typing import ArrayLike, FloatArray
from keras_noisy.losses._prediction import LOG_ZERO


def check(owner: str, argument: str, prior: ArrayLike | None) -> FloatArray | None:
    """Return `prior` as a float64 array, or raise unless it is a distribution."""
    if prior is None:
        return None
    return check_distribution(owner, argument, prior)


def divergence_of_mean(owner, p, prior, is_kept=None):
    """Return `KL(prior || m)` for the mean prediction `m` of the global batch.

    Args:
        owner: Name of the loss, for errors.
        p: `Prediction`.
        prior: Distribution over the classes, or None for a uniform one.
        is_kept: Which predictions are in the mean, booleans `(...)`, or None for all.
    """
    if prior is not None and len(prior) != p.num_classes:
        expected = f"of length {p.num_classes}, the number of classes in y_pred"
        raise ValueError(errors.message(owner, "prior", expected, prior))
    log_p = ops.reshape(p.log_probabilities, (-1, p.num_classes))
    prior = np.full(p.num_classes, 1 / p.num_classes) if prior is None else prior
    constant = float(np.sum(prior * np.log(np.where(prior > 0, prior, 1))))
    prior = ops.convert_to_tensor(prior, dtype=log_p.dtype)
    weight = ops.ones_like(log_p[:, :1])
    if is_kept is not None:
        weight = ops.cast(ops.reshape(is_kept, (-1, 1)), log_p.dtype)
        log_p = ops.where(weight > 0, log_p, LOG_ZERO)
    return constant - ops.sum(prior * _log_mean(owner, log_p, weight))


def _log_mean(owner, log_p, weight):
    """Return the logarithm of the mean of `exp(log_p)` over rows of all replicas.

    As a sum relative to the largest of each class, which keeps a class that no example
    is predicted as finite and gives it a gradient.

    Args:
        owner: Name of the loss, for errors.
        log_p: Tensor `(n, num_classes)`, `LOG_ZERO` in rows that do not count.
        weight: Ones and zeros `(n, 1)`: which rows count.
    """
    largest = ops.max(ops.stop_gradient(log_p), axis=0, keepdims=True)
    (largest,) = replicas.gathered([largest])
    largest = ops.max(largest, axis=0)
    # One sum over the replicas for both; the last column counts.
    terms = ops.concatenate([ops.exp(log_p - largest), weight], axis=1)
    sums = replicas.sum_over_replicas(owner, ops.sum(terms, axis=0))
    # Not `ops.maximum` with a number, which on torch is computed in float32.
    count = ops.stop_gradient(sums[-1])
    count = ops.where(count > 0, count, ops.ones_like(count))
    return largest + ops.log(sums[:-1]) - ops.log(count)
