"""Transition matrix and noise rate from the most typical examples of each class."""

from __future__ import annotations

import dataclasses

import numpy as np

_SHARES = np.array([0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
# Examples of the pooled diagonal that each row is shrunk by.
_PRIOR_SIZE = 5.0


@dataclasses.dataclass(frozen=True)
class Core:
    """What the most typical examples of each class say."""

    rate: float
    low: float
    high: float
    matrix: np.ndarray
    prior: np.ndarray
    per_class: np.ndarray
    is_flat: bool
    share: float


def adaptive_core(scores, labels):
    """Return the `Core` of scores `(n, num_classes)` and labels `(n,)`."""
    num_classes = scores.shape[1]
    predicted = scores.argmax(axis=1)
    top = scores.max(axis=1)
    # Place of each example among those of its predicted class, in (0, 1].
    order = np.lexsort((-top, predicted))
    counts = np.bincount(predicted, minlength=num_classes)
    place = np.empty(len(labels))
    ranks = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    place[order] = (ranks + 1) / np.repeat(counts, counts)
    profile = []
    for share in _SHARES:
        rows = place <= share
        right = (labels[rows] == predicted[rows]).mean() if rows.any() else 1.0
        profile.append((right, max(1, rows.sum())))
    chosen = 0
    for index in range(1, len(_SHARES)):
        right, size = profile[index]
        if not all(
            abs(right - before) <= 2 * np.sqrt(max(right * (1 - right), 1e-4) / least)
            for before, least in profile[:index]
        ):
            break
        chosen = index
    rows = place <= _SHARES[chosen]
    matrix = transition(predicted[rows], labels[rows], num_classes)
    prior = class_prior(matrix, np.bincount(labels, minlength=num_classes))
    rate = float(1 - prior @ np.diag(matrix))
    given = prior @ matrix
    per_class = 1 - prior * np.diag(matrix) / np.maximum(given, 1e-12)
    right, size = profile[chosen]
    error = 1.645 * np.sqrt(max(right * (1 - right), 1e-4) / size)
    gap = abs(profile[-1][0] - right)
    half = error + 0.3 * gap
    return Core(
        rate, max(0.0, rate - half), min(1.0, rate + half), matrix, prior, per_class,
        bool(_SHARES[chosen] >= 0.3), float(_SHARES[chosen]),
    )  # fmt: skip


def transition(classes, labels, num_classes):
    """Return the labels of each class as shares, drawn to what all classes share."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (classes, labels), 1)
    right = np.trace(counts) / max(1, counts.sum())
    wrong = (1 - right) / max(1, num_classes - 1)
    pooled = np.full((num_classes, num_classes), wrong)
    np.fill_diagonal(pooled, right)
    counts += _PRIOR_SIZE * pooled
    return counts / counts.sum(axis=1, keepdims=True)


def class_prior(matrix, counts):
    """Return the shares of the true classes that make the given labels likeliest."""
    prior = np.full(len(matrix), 1 / len(matrix))
    shares = counts / counts.sum()
    for _ in range(1000):
        before = prior
        expected = np.maximum(prior @ matrix, 1e-12)
        prior = prior * (matrix @ (shares / expected))
        if np.abs(prior - before).max() < 1e-8:
            break
    return prior
