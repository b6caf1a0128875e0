"""A multinomial logistic regression on features, and its out-of-fold predictions."""

from __future__ import annotations

import functools

import keras
import numpy as np

from keras_noisy._checks.distributions import pieces
from keras_noisy._data.mean_predictions import softmax

# Strengths of the penalty that are tried, per example.
_PENALTIES = (1e-3, 1e-2, 1e-1)
_MOST_STEPS = 60
_TOLERANCE = 1e-3
# Numbers of features, times classes, that a regression is trained on, which bounds the
# work of a step. Of more examples a random part is enough; ...
_MOST_WORK = 2e9
_MOST_ROWS = 50_000
# ... of many classes, so many examples each.
_LEAST_OF_CLASS = 20


def out_of_fold(features, labels, num_classes, fold_of, seed, *, verbose=False):
    """Return probabilities of a regression that has not seen the example's fold.

    Args:
        features: `(n, d)`, finite; a memory map is read in parts.
        labels: int64 `(n,)`, -1 where there is none.
        num_classes: Number of classes.
        fold_of: Fold of each example `(n,)`, from 0 on: the parts held out in turn.
        seed: Of the examples to train on, where they are too many.
        verbose: Whether to show progress.

    Returns:
        float32 `(n, num_classes)`.
    """
    generator = np.random.default_rng(seed)
    num_folds = int(fold_of.max(initial=0)) + 1
    most = _most_rows(features.shape[1], num_classes)
    steps = num_folds + len(_PENALTIES) - 1
    progress = keras.utils.Progbar(steps + num_folds, verbose=int(verbose))
    penalty, heads = None, []
    for fold in range(num_folds):
        rows = np.flatnonzero((fold_of != fold) & (labels >= 0))
        rows = np.sort(generator.permutation(rows)[:most])
        train = functools.partial(_Head, features, labels, num_classes, rows)
        if penalty is None:
            watched = np.flatnonzero((fold_of == fold) & (labels >= 0))[:most]
            tried = {}
            for penalty in _PENALTIES:
                tried[penalty] = train(penalty)
                progress.add(1)
            penalty = _best_penalty(tried, features, labels, watched)
            heads.append(tried[penalty])
        else:
            heads.append(train(penalty))
            progress.add(1)
    probabilities = np.empty((len(labels), num_classes), "float32")
    # One reading of the features for all folds.
    for part in pieces(features):
        block = np.asarray(features[part], "float32")
        for fold, head in enumerate(heads):
            inside = np.flatnonzero(fold_of[part] == fold)
            probabilities[part.start + inside] = head(block[inside])
    progress.add(num_folds)
    return probabilities


def _most_rows(num_columns, num_classes):
    """Return on how many examples a regression is trained."""
    rows = int(_MOST_WORK / (num_columns * num_classes))
    return min(_MOST_ROWS, max(rows, _LEAST_OF_CLASS * num_classes))


def _best_penalty(heads, features, labels, watched):
    """Return the penalty whose regression finds the labels of other rows likeliest."""
    if not len(watched):
        return next(iter(heads))
    x, given = features[watched], (np.arange(len(watched)), labels[watched])
    losses = {
        penalty: -np.log(np.maximum(head(x)[given], 1e-9)).mean()
        for penalty, head in heads.items()
    }
    return min(losses, key=losses.get)


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
