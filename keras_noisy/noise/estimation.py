"""Estimates of the transition matrix, for those who do not know it."""

from __future__ import annotations

import warnings

import numpy as np

from keras_noisy._checks import matrices
from keras_noisy._checks.distributions import as_predictions, check_rows
from keras_noisy._checks.errors import check_seed
from keras_noisy._checks.labels import check_labels
from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import ArrayLike, FloatArray
from keras_noisy.analysis.noise_rate import core_of_features


def estimate_from_anchors(
    predictions: ArrayLike, *, quantile: float = 1.0
) -> FloatArray:
    """Estimate the transition matrix from the most typical example of each class.

    A network that was trained with cross-entropy on the noisy labels predicts
    `P(noisy | x)`. For an example that certainly belongs to class `i`, an anchor,
    that is row `i` of the matrix. The anchor of a class is the example that the
    network finds most probable to be labelled with it.

    Args:
        predictions: `P(noisy | x)` of many examples, probabilities `(n, num_classes)`
            from a network that has not fitted the noise (stop early, or use examples
            that it was not trained on). Labels are not needed.
        quantile: Which of the examples, ranked by the probability of the class, is the
            anchor, in (0, 1]: 1 takes the highest. The authors' code takes 0.97,
            because the highest few are outliers, and the highest on CIFAR-100.
            Below the examples of a class there are those of others: of the class that
            is predicted least often, the anchor is in the upper half at least. A
            lower quantile is raised to that, with a warning.

    Returns:
        Transition matrix `T[i, j] = P(noisy = j | clean = i)`, float64 array
        `(num_classes, num_classes)` whose rows sum to one. A warning names classes
        whose largest entry is off the diagonal.

    Raises:
        ValueError: If `predictions` are not probabilities or `quantile` is outside
            (0, 1].

    Example:
    >>> estimate_from_anchors([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]])
    array([[0.7, 0.3],
           [0.2, 0.8]])

    Reference:
        Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss
        Correction Approach", CVPR 2017.
    """
    owner = "estimate_from_anchors"
    predictions = _check_predictions(owner, predictions)
    quantile = Interval(0, 1, "right", "Try 0.97.")(owner, "quantile", quantile)
    index = _anchor_index(owner, predictions, quantile)
    highest = np.partition(predictions, index, axis=0)[index]
    ranked = np.where(predictions <= highest, predictions, -1.0)
    rows = predictions[np.argmax(ranked, axis=0)]
    return _matrix_of(owner, np.where(highest[:, None] > 0, rows, 0))


def _anchor_index(owner, predictions, quantile):
    """Return the place of the anchors in the ascending order of each class."""
    size = len(predictions)
    index = int(quantile * (size - 1))
    counts = np.bincount(predictions.argmax(axis=1))
    fewest = int(counts[counts > 0].min())
    lowest = size - (fewest + 1) // 2
    if index < lowest:
        warnings.warn(
            f"{owner}: quantile={quantile:g} looks beyond the examples of class "
            f"{int(np.flatnonzero(counts == fewest)[0])}, which is predicted for "
            f"{fewest} of {size}. It is raised to {lowest / max(size - 1, 1):.6g}. "
            "Pass a higher `quantile`, or 1.",
            stacklevel=3,
        )
    return max(index, lowest)


def estimate_from_confusion(labels: ArrayLike, predictions: ArrayLike) -> FloatArray:
    """Estimate the transition matrix by counting labels for each prediction.

        T_ij = sum_{t: label_t = j} p_i(x_t) / sum_t p_i(x_t)

    as if the predictions `p` were right. What the network has fitted of the noise,
    and its errors, are missing in it or added to it; as the start of a matrix that is
    learnt, `keras_noisy.training.NoiseAdaptation`, that is good enough.

    Args:
        labels: Noisy class ids `(n,)`.
        predictions: Class probabilities of the same examples, `(n, num_classes)`, from
            a network that has not fitted the noise.

    Returns:
        Transition matrix `T[i, j] = P(noisy = j | clean = i)`, float64 array
        `(num_classes, num_classes)` whose rows sum to one. The row of a class that
        nothing is predicted as is that of the identity, with a warning, and another
        warning names classes whose largest entry is off the diagonal.

    Raises:
        ValueError: If `predictions` are not probabilities, or do not fit `labels`.

    Example:
    >>> estimate_from_confusion([0, 0, 1, 1], [[1, 0], [0, 1], [0, 1], [0, 1]])
    array([[1.        , 0.        ],
           [0.33333333, 0.66666667]])

    Reference:
        Goldberger & Ben-Reuven, "Training Deep Neural-networks Using a Noise Adaptation
        Layer", ICLR 2017.
    """
    owner = "estimate_from_confusion"
    labels, predictions = _check_pair(owner, labels, predictions)
    num_classes = predictions.shape[1]
    counts = np.zeros((num_classes, num_classes))
    # A row for each label; adds without a matrix of one-hot rows.
    np.add.at(counts, labels, predictions)
    return _matrix_of(owner, counts.T)


def estimate_from_neighbors(
    labels: ArrayLike,
    features: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> FloatArray:
    """Estimate the transition matrix from features, without anchors or a network.

    Each example is ranked in the class that its neighbours and a regression on the
    other folds predict. The most typical ones of each class are taken, as many as
    disagree with the prediction no more often than fewer of them do, and their labels
    are counted. The rows, drawn to what all classes have in common, are scaled to the
    rate that `keras_noisy.analysis.noise_rate` finds.

    Args:
        labels: Noisy class ids `(n,)`, -1 where there is none.
        features: `(n, d)`, for instance of a pre-trained network, or
            `analysis.features(model, x)`.
        groups: Ids `(n,)` of examples that do not vouch for each other, as for
            `keras_noisy.analysis.neighbor_votes`.
        seed: Of the folds.

    Returns:
        Transition matrix `T[i, j] = P(noisy = j | clean = i)`, float64 array
        `(num_classes, num_classes)` whose rows sum to one. A warning says if the noise
        does not look class-conditional, so that no matrix describes it.

    Raises:
        TypeError: If labels are no integers, or features no numbers.
        ValueError: If lengths do not fit, features are not finite, or labels have one
            class.

    Example:
    >>> import numpy as np
    >>> generator = np.random.default_rng(0)
    >>> classes = np.arange(900) % 3
    >>> features = np.eye(3)[classes] + generator.normal(0, 0.1, (900, 3))
    >>> estimate_from_neighbors(classes, features).round(2)
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])

    Reference:
        The question is that of Zhu et al., "Clusterability as an Alternative to Anchor
        Points When Learning with Noisy Labels", ICML 2021; the answer is another.
    """
    owner = "estimate_from_neighbors"
    seed = check_seed(owner, seed)
    core = core_of_features(owner, labels, features, groups, seed)
    if not core.is_class_conditional:
        warnings.warn(
            f"{owner}: the noise does not look class-conditional, or classes overlap: "
            f"{core.disagreement:.1%} of the labels are not what their examples look "
            "like, and more near the boundaries of classes. The matrix is that of "
            "typical examples.",
            stacklevel=2,
        )
    return core.matrix


def keep_structure(transition_matrix: ArrayLike, structure: ArrayLike) -> FloatArray:
    """Take transitions that cannot be out of an estimated matrix.

    People often know which classes are never taken for each other; what an estimate
    says of those is its error:

        T_ij M_ij / sum_k T_ik M_ik

    Args:
        transition_matrix: Array `(num_classes, num_classes)` whose rows sum to one.
        structure: `M`, which class can show which label: array `(num_classes,
            num_classes)` of booleans, true on the diagonal.

    Returns:
        Transition matrix, float64 array `(num_classes, num_classes)` whose rows sum to
        one. A row that has nothing left is the same for all labels that the class can
        show.

    Raises:
        TypeError: If an argument is no array of numbers.
        ValueError: If `transition_matrix` is no transition matrix or `structure` no
            structure.

    Example:
    >>> keep_structure([[0.6, 0.4], [0.1, 0.9]], [[1, 1], [0, 1]])
    array([[0.6, 0.4],
           [0. , 1. ]])

    Reference:
        Han et al., "Masking: A New Perspective of Noisy Supervision", NeurIPS 2018, has
        such structures.
    """
    owner = "keep_structure"
    matrix = matrices.check_transition_matrix(owner, transition_matrix)
    structure = matrices.check_structure(owner, structure, len(matrix))
    kept = matrix * structure
    has_none = kept.sum(axis=1, keepdims=True) == 0
    kept = np.where(has_none, structure, kept)
    return kept / kept.sum(axis=1, keepdims=True)


def estimate_with_cleanlab(labels: ArrayLike, predictions: ArrayLike) -> FloatArray:
    """Estimate the transition matrix by confident learning.

    Examples are counted by their label and by the class that the network confidently
    gives them. Needs cleanlab (`pip install keras-noisy[cleanlab]`), whose noise matrix
    is the transpose of ours; this function returns ours.

    Args:
        labels: Noisy class ids `(n,)`.
        predictions: `P(noisy | x)` of the same examples, probabilities
            `(n, num_classes)`, from a network that was not trained on them, such as
            those of cross-validation.

    Returns:
        Transition matrix `T[i, j] = P(noisy = j | clean = i)`, float64 array
        `(num_classes, num_classes)` whose rows sum to one. The row of a class that no
        example has is that of the identity, with a warning, and another warning names
        classes whose largest entry is off the diagonal.

    Raises:
        ImportError: If cleanlab is not installed.
        ValueError: If `predictions` are not probabilities, or do not fit `labels`.

    Example:
    >>> from keras_noisy import noise
    >>> estimate = noise.estimate_with_cleanlab  # (noisy_labels, predictions)

    Reference:
        Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset
        Labels", JAIR 2021.
    """
    owner = "estimate_with_cleanlab"
    labels, predictions = _check_pair(owner, labels, predictions)
    try:
        from cleanlab import count
    except ImportError as error:
        raise ImportError(
            f"{owner}: cleanlab must be installed. Received: {error}. Run "
            "`pip install keras-noisy[cleanlab]`, or use `estimate_from_anchors`."
        ) from error
    _, matrix, _, _ = count.estimate_py_and_noise_matrices_from_probabilities(
        labels, predictions
    )
    return _matrix_of(owner, np.asarray(matrix, "float64").T)


def _matrix_of(owner, rows):
    """Return rows divided by their sums, and warn of those that are no estimate."""
    sums = rows.sum(axis=1, keepdims=True)
    is_known = sums > 0
    matrix = np.where(is_known, rows, np.eye(len(rows))) / np.where(is_known, sums, 1)
    unknown = np.flatnonzero(~is_known)
    if unknown.size:
        warnings.warn(
            f"{owner}: nothing is known of classes {_listed(unknown)}, which never "
            "occur; their labels are taken for right.",
            stacklevel=3,
        )
    largest = matrix.max(axis=1)
    odd = np.flatnonzero(np.diag(matrix) < largest)
    if odd.size:
        warnings.warn(
            f"{owner}: the largest entry is off the diagonal in rows {_listed(odd)}: "
            "most labels of these classes would be wrong. More likely the network "
            "does not know them; look at its predictions, or train it for longer.",
            stacklevel=3,
        )
    return matrix


def _listed(classes):
    """Return the first class ids as words."""
    rest = len(classes) - 10
    return ", ".join(map(str, classes[:10])) + (f" and {rest} more" if rest > 0 else "")


def _check_pair(owner, labels, predictions):
    """Return both as arrays, or raise unless they are of the same examples."""
    predictions = _check_predictions(owner, predictions)
    return check_labels(owner, "labels", labels, like=predictions), predictions


def _check_predictions(owner, predictions):
    """Return `predictions` as float64, or raise unless rows are distributions."""
    predictions = as_predictions(owner, "predictions", predictions, least=1)
    check_rows(owner, "predictions", predictions)
    return predictions.astype("float64")
