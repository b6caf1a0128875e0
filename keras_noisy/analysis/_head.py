"""A multinomial logistic regression on features, and its out-of-fold predictions."""

from __future__ import annotations

import numpy as np

from keras_noisy._checks.distributions import pieces
from keras_noisy._data.mean_predictions import softmax

# Strengths of the penalty that are tried, per example.
_PENALTIES = (1e-3, 1e-2, 1e-1)
_MOST_STEPS = 60
_TOLERANCE = 1e-3
# Of more examples a random part is enough to train on.
_MOST_ROWS = 50_000


def out_of_fold(features, labels, num_classes, group, seed, *, num_folds=5):
    """Return probabilities of a regression that has not seen the example or its group.

    Args:
        features: `(n, d)`, finite; a memory map is read in parts.
        labels: int64 `(n,)`, -1 where there is none.
        num_classes: Number of classes.
        group: Group of each example, integers `(n,)`.
        seed: Of the folds.
        num_folds: How many parts are held out in turn.

    Returns:
        float32 `(n, num_classes)`.
    """
    generator = np.random.default_rng(seed)
    fold_of = generator.permutation(group.max(initial=0) + 1)[group] % num_folds
    probabilities = np.empty((len(labels), num_classes), "float32")
    penalty = None
    for fold in range(num_folds):
        rows = np.flatnonzero((fold_of != fold) & (labels >= 0))
        rows = np.sort(generator.permutation(rows)[:_MOST_ROWS])
        held_out = fold_of == fold
        if penalty is None:
            watched = np.flatnonzero(held_out & (labels >= 0))[:_MOST_ROWS]
            penalty = _best_penalty(features, labels, num_classes, rows, watched)
        head = _Head(features, labels, num_classes, rows, penalty)
        for part in pieces(features):
            inside = part.start + np.flatnonzero(held_out[part])
            probabilities[inside] = head(features[inside])
    return probabilities


def _best_penalty(features, labels, num_classes, rows, watched):
    """Return the penalty whose regression finds the labels of other rows likeliest."""
    losses = []
    for penalty in _PENALTIES:
        head = _Head(features, labels, num_classes, rows, penalty)
        found = head(features[watched])[np.arange(len(watched)), labels[watched]]
        losses.append(-np.log(np.maximum(found, 1e-9)).mean() if len(found) else 0)
    return _PENALTIES[int(np.argmin(losses))]


class _Head:
    """Softmax of a linear function of standardised features.

    It minimises mean cross-entropy plus half the penalty times the squared weights,
    by steps with the bound of Böhning on the curvature, which need no step size, and
    Nesterov's momentum (Böhning, "Multinomial logistic regression algorithm", 1992).
    """

    def __init__(self, features, labels, num_classes, rows, penalty):
        x = np.asarray(features[rows], "float32")
        self.mean = x.mean(axis=0, dtype="float64").astype("float32")
        scale = x.std(axis=0, dtype="float64").astype("float32")
        self.scale = np.where(scale > 1e-6 * np.abs(self.mean), scale, np.inf)
        x = self._standard(x)
        size = max(1, len(x))
        target = np.zeros((len(x), num_classes), "float32")
        target[np.arange(len(x)), labels[rows]] = 1
        penalties = np.full(x.shape[1], penalty, "float32")
        penalties[-1] = 1e-6  # The bias is free.
        curvature = x.T @ x / (2 * size) + np.diag(penalties)
        inverse = np.linalg.inv(curvature.astype("float64")).astype("float32")
        weights = ahead = np.zeros((x.shape[1], num_classes), "float32")
        for step in range(_MOST_STEPS):
            error = softmax(x @ ahead) - target
            gradient = x.T @ error / size + penalties[:, None] * ahead
            move = inverse @ gradient
            before, weights = weights, ahead - move
            # Momentum that goes uphill is dropped.
            uphill = (gradient * (weights - before)).sum() > 0
            momentum = 0.0 if uphill else step / (step + 3)
            ahead = weights + momentum * (weights - before)
            if np.abs(weights - before).max(initial=0) < _TOLERANCE:
                break
        self.weights = weights

    def __call__(self, features):
        """Return probabilities `(n, num_classes)`."""
        return softmax(self._standard(np.asarray(features, "float32")) @ self.weights)

    def _standard(self, x):
        x = (x - self.mean) / self.scale
        return np.hstack([x, np.ones((len(x), 1), "float32")])
