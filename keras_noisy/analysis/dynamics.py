"""How far a network has fitted, or corrected, wrong labels."""

from __future__ import annotations

import numpy as np

from keras_noisy._checks.distributions import (
    as_numbers,
    as_predictions,
    check_rows,
    pieces,
)
from keras_noisy._checks.errors import describe_array, message
from keras_noisy._checks.labels import check_labels, is_wrong, labels_of
from keras_noisy._typing import ArrayLike, FloatArray
from keras_noisy.analysis import _rows


def wrong_label_fit(
    predictions: ArrayLike, noisy: ArrayLike, clean: ArrayLike
) -> float:
    """Share of the corrupted examples whose prediction is the wrong label.

    Args:
        predictions: Probabilities or logits `(n, num_classes)`, or predicted
            class ids `(n,)`.
        noisy: Given labels, class ids `(n,)`.
        clean: True labels, class ids `(n,)`. An example is corrupted where the
            two differ; one with -1, whose label is not verified, is left out.

    Returns:
        A float in [0, 1]; NaN where no example is corrupted.

    Raises:
        TypeError: If labels are no integers, or predictions no numbers.
        ValueError: If lengths or shapes do not fit, or predictions are not
            finite.

    Example:
        >>> from keras_noisy import analysis
        >>> analysis.wrong_label_fit([0, 1, 2, 2], [0, 1, 1, 2], [0, 0, 2, 0])
        0.6666666666666666

    Reference:
        Fig. 3b of Wang et al., "ProSelfLC", CVPR 2021.
    """
    classes, noisy, clean = _check("wrong_label_fit", predictions, noisy, clean)
    return _share(classes == noisy, is_wrong(noisy, clean))


def semantic_correction(
    predictions: ArrayLike, noisy: ArrayLike, clean: ArrayLike
) -> float:
    """Share of the corrupted examples whose prediction is the true label.

    Of targets, such as those of `losses.ProSelfLC.modified_targets`, it is the share
    whose semantic class, the largest entry, is the true label.

    Args:
        predictions: Probabilities or logits `(n, num_classes)`, or predicted
            class ids `(n,)`; or targets.
        noisy: Given labels, class ids `(n,)`.
        clean: True labels, class ids `(n,)`. An example is corrupted where the
            two differ; one with -1, whose label is not verified, is left out.

    Returns:
        A float in [0, 1]; NaN where no example is corrupted.

    Raises:
        TypeError: If labels are no integers, or predictions no numbers.
        ValueError: If lengths or shapes do not fit, or predictions are not
            finite.

    Example:
        >>> from keras_noisy import analysis
        >>> analysis.semantic_correction([0, 1, 2, 2], [0, 1, 1, 2], [0, 0, 2, 0])
        0.3333333333333333

    Reference:
        Fig. 3c of Wang et al., "ProSelfLC", CVPR 2021.
    """
    classes, noisy, clean = _check("semantic_correction", predictions, noisy, clean)
    return _share(classes == clean, is_wrong(noisy, clean))


def normalized_entropy(predictions: ArrayLike) -> FloatArray:
    """Entropy of each prediction as a share of that of the uniform one.

    Args:
        predictions: Probabilities `(n, num_classes)` that sum to one.

    Returns:
        `H(p) / H(u)` per example, float64 `(n,)` in [0, 1].

    Raises:
        ValueError: If the predictions are not distributions over at least two
            classes.

    Example:
        >>> from keras_noisy import analysis
        >>> analysis.normalized_entropy([[0.5, 0.5], [1.0, 0.0]]).tolist()
        [1.0, 0.0]

    Reference:
        Fig. 3d and 3e of Wang et al., "ProSelfLC", CVPR 2021.
    """
    owner = "normalized_entropy"
    predictions = as_predictions(owner, "predictions", predictions)
    entropy = np.empty(len(predictions))
    for rows in pieces(predictions):
        p = np.asarray(predictions[rows], dtype="float64")
        check_rows(owner, "predictions", p)
        entropy[rows] = _entropy(p)
    return np.clip(entropy / np.log(predictions.shape[1]), 0.0, 1.0)


def _entropy(p):
    positive = np.where(p > 0, p, 1.0)
    # From zero, because the negative of a sum of zeros prints as -0.
    return 0.0 - (p * np.log(positive)).sum(axis=1)


def _check(owner, predictions, noisy, clean):
    """Return predicted classes and labels, or raise."""
    predictions = labels_of(as_numbers(owner, "predictions", predictions))
    if predictions.ndim not in (1, 2):
        expected = "of shape (n, num_classes) or (n,)"
        received = describe_array(predictions)
        raise ValueError(message(owner, "predictions", expected, received))
    classes = np.empty(len(predictions), np.int64)
    for rows in pieces(predictions):
        part = predictions[rows]
        _rows.check_largest(owner, "predictions", part.reshape(len(part), -1))
        classes[rows] = part.argmax(axis=1) if part.ndim == 2 else part
        if part.ndim == 1 and ((classes[rows] != part) | (part < 0)).any():
            expected = "(n, num_classes), or whole numbers, the classes predicted"
            mend = "A classifier of one output predicts `(p > 0.5).astype(int)`."
            received = describe_array(predictions)
            raise ValueError(message(owner, "predictions", expected, received, mend))
    size, num_classes = (*predictions.shape, None)[:2]
    fit = {"size": size, "num_classes": num_classes}
    noisy = check_labels(owner, "noisy", noisy, **fit)
    return classes, noisy, check_labels(owner, "clean", clean, unverified=True, **fit)


def _share(hits, among):
    return float(hits[among].mean()) if among.any() else float("nan")
