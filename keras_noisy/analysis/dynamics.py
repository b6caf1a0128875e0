"""How far a network has fitted, or corrected, wrong labels."""

from __future__ import annotations

import numpy as np

from keras_noisy._checks.errors import describe_array, message
from keras_noisy._data.arrays import labels_of
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
            two differ.

    Returns:
        A float in [0, 1]; NaN where no example is corrupted.

    Raises:
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
    return _share(classes == noisy, noisy != clean)


def semantic_correction(
    predictions: ArrayLike, noisy: ArrayLike, clean: ArrayLike
) -> float:
    """Share of the corrupted examples whose prediction is the true label.

    Args:
        predictions: Probabilities or logits `(n, num_classes)`, or predicted
            class ids `(n,)`.
        noisy: Given labels, class ids `(n,)`.
        clean: True labels, class ids `(n,)`. An example is corrupted where the
            two differ.

    Returns:
        A float in [0, 1]; NaN where no example is corrupted.

    Raises:
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
    return _share(classes == clean, noisy != clean)


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
    predictions = _rows.as_array(predictions)
    if predictions.ndim != 2 or predictions.shape[1] < 2:
        raise ValueError(
            "normalized_entropy: `predictions` must have shape (n, num_classes) with "
            f"at least two classes. Received: predictions.shape={predictions.shape}."
        )
    entropy = np.empty(len(predictions))
    for rows in _rows.chunks(predictions):
        entropy[rows] = _entropy(np.asarray(predictions[rows], dtype="float64"))
    return np.clip(entropy / np.log(predictions.shape[1]), 0.0, 1.0)


def _entropy(p):
    # A softmax in half precision sums to one within about a hundredth.
    if not (np.all(p >= 0) and np.all(np.abs(p.sum(axis=1) - 1) < 0.02)):
        raise ValueError(
            "normalized_entropy: `predictions` must be distributions: non-negative "
            "rows that sum to one. Received rows that are not. Apply a softmax to "
            "logits first."
        )
    positive = np.where(p > 0, p, 1.0)
    # From zero, because the negative of a sum of zeros prints as -0.
    return 0.0 - (p * np.log(positive)).sum(axis=1)


def _check(owner, predictions, noisy, clean):
    """Return predicted classes, noisy and clean labels of one length."""
    predictions = labels_of(_rows.as_array(predictions))
    if predictions.ndim not in (1, 2):
        raise ValueError(
            f"{owner}: `predictions` must have shape (n, num_classes) or (n,). "
            f"Received: predictions.shape={predictions.shape}."
        )
    classes = np.empty(len(predictions), np.int64)
    for rows in _rows.chunks(predictions):
        part = predictions[rows]
        _rows.check_largest(owner, "predictions", part.reshape(len(part), -1))
        classes[rows] = part.argmax(axis=1) if part.ndim == 2 else part
        if part.ndim == 1 and (classes[rows] != part).any():
            expected = "(n, num_classes), or whole numbers, the classes predicted"
            mend = "A classifier of one output predicts `(p > 0.5).astype(int)`."
            received = describe_array(predictions)
            raise ValueError(message(owner, "predictions", expected, received, mend))
    labels = {"noisy": labels_of(noisy), "clean": labels_of(clean)}
    for argument, values in labels.items():
        if values.ndim != 1 or classes.shape != values.shape:
            raise ValueError(
                message(
                    owner,
                    f"{argument}.shape",
                    f"(n,), with n the number of predictions, {len(classes)}",
                    values.shape,
                )
            )
    return classes, labels["noisy"], labels["clean"]


def _share(hits, among):
    return float(hits[among].mean()) if among.any() else float("nan")
