"""Class-conditional noise: the matrix `T[i, j] = P(noisy = j | clean = i)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_labels
from keras_noisy._checks.matrices import MOST_CLASSES
from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import ArrayLike, FloatArray
from keras_noisy.noise._hashing import (
    STREAM_GROUPS,
    check_seed,
    derive_keys,
    hash_numpy,
)

# Class ids as torchvision and keras.datasets order them: 0 airplane, 1 automobile,
# 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse, 8 ship, 9 truck.
CIFAR10_FLIPS_TWO_WAY = {9: 1, 1: 9, 2: 0, 0: 2, 4: 7, 7: 4, 3: 5, 5: 3}
CIFAR10_FLIPS_ONE_WAY = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}


_RATE = Interval(0, 1)


def symmetric(
    num_classes: int, rate: float, *, include_original: bool = False
) -> FloatArray:
    """Noise that goes to every class alike.

    With `include_original=False` a label changes with probability `rate`, to one of
    the other `C - 1` classes: `T[i, i] = 1 - rate`, `T[i, j] = rate / (C - 1)`. The
    ProSelfLC and Equal Loss papers, forward and backward correction (Patrini et al.)
    and the active-passive losses (Ma et al.) define it so.

    With `include_original=True` the label is replaced with probability `rate` by one
    of all `C` classes, its own among them: `T[i, i] = 1 - rate + rate / C`,
    `T[i, j] = rate / C`. Only `rate * (C - 1) / C` of the labels are wrong then.
    DivideMix, ELR and SOP define it so: their 50 % on CIFAR-10 is 45 % here.

    Args:
        num_classes: Number of classes `C`, at least 2.
        rate: Probability in [0, 1].
        include_original: Whether the original class is among those drawn from.

    Returns:
        Transition matrix, float64 array `(C, C)` whose rows sum to one.

    Example:
    >>> symmetric(3, 0.5)
    array([[0.5 , 0.25, 0.25],
           [0.25, 0.5 , 0.25],
           [0.25, 0.25, 0.5 ]])
    """
    num_classes = _check_num_classes("symmetric", num_classes)
    rate = _RATE("symmetric", "rate", rate)
    if errors.check_bool("symmetric", "include_original", include_original):
        matrix = np.full((num_classes, num_classes), rate / num_classes)
        np.fill_diagonal(matrix, 1.0 - rate + rate / num_classes)
    else:
        matrix = np.full((num_classes, num_classes), rate / (num_classes - 1))
        np.fill_diagonal(matrix, 1.0 - rate)
    return matrix


def pair_flip(num_classes: int, rate: float) -> FloatArray:
    """Noise that turns every class into the next one: `i -> (i + 1) mod C`.

    The pair noise of Co-teaching (Han et al. 2018). The realised rate is `rate`; from
    0.5 on, the wrong class is more frequent than the right one.

    Args:
        num_classes: Number of classes `C`, at least 2.
        rate: Probability in [0, 1] that a label flips.

    Returns:
        Transition matrix, float64 array `(C, C)` whose rows sum to one.

    Example:
    >>> pair_flip(3, 0.25)
    array([[0.75, 0.25, 0.  ],
           [0.  , 0.75, 0.25],
           [0.25, 0.  , 0.75]])
    """
    num_classes = _check_num_classes("pair_flip", num_classes)
    rate = _RATE("pair_flip", "rate", rate)
    classes = np.arange(num_classes)
    return _flip_matrix(num_classes, classes, (classes + 1) % num_classes, rate)


def asymmetric(num_classes: int, flips: Mapping[int, int], rate: float) -> FloatArray:
    """Noise along a map from classes to the classes they are mistaken for.

    All flips happen at once and one way, as written: a label is looked up once, so
    `{3: 5, 5: 3}` never turns a cat into a dog and back. Classes that `flips` does not
    name keep their labels, so the realised rate is `rate` times their share: with
    balanced CIFAR-10, `0.8 * rate` for `CIFAR10_FLIPS_TWO_WAY` (the Equal Loss paper)
    and `0.5 * rate` for `CIFAR10_FLIPS_ONE_WAY` (Patrini et al. 2017 and most others).

    Args:
        num_classes: Number of classes `C`, at least 2.
        flips: Mapping from a class id to the class id it flips to.
        rate: Probability in [0, 1] that a label of a class in `flips` flips.

    Returns:
        Transition matrix, float64 array `(C, C)` whose rows sum to one.

    Example:
    >>> asymmetric(3, {2: 0}, 0.25)
    array([[1.  , 0.  , 0.  ],
           [0.  , 1.  , 0.  ],
           [0.25, 0.  , 0.75]])
    """
    num_classes = _check_num_classes("asymmetric", num_classes)
    rate = _RATE("asymmetric", "rate", rate)
    if not isinstance(flips, Mapping):
        expected = "a mapping from class ids to class ids"
        mend = "For CIFAR-10 pass CIFAR10_FLIPS_ONE_WAY or CIFAR10_FLIPS_TWO_WAY."
        raise TypeError(message("asymmetric", "flips", expected, flips, mend))
    for source, target in flips.items():
        received = {source: target}
        if errors.as_integer(source) is None or errors.as_integer(target) is None:
            expected = "a mapping from class ids to class ids"
            raise TypeError(message("asymmetric", "flips", expected, received))
        if not (0 <= source < num_classes and 0 <= target < num_classes):
            expected = f"a mapping between class ids in [0, {num_classes})"
            raise ValueError(message("asymmetric", "flips", expected, received))
        if source == target:
            expected = "a mapping from each class to another class"
            mend = "Leave out a class that keeps its labels."
            raise ValueError(message("asymmetric", "flips", expected, received, mend))
    sources = np.fromiter(flips.keys(), dtype=np.int64, count=len(flips))
    targets = np.fromiter(flips.values(), dtype=np.int64, count=len(flips))
    return _flip_matrix(num_classes, sources, targets, rate)


def within_groups(
    groups: ArrayLike,
    rate: float,
    *,
    kind: Literal["pair", "cyclic"] = "pair",
    seed: int | None = None,
) -> FloatArray:
    """Noise inside groups of similar classes, such as CIFAR-100's superclasses.

    Published "asymmetric CIFAR-100" results follow three definitions, which this
    function covers with `coarse`, the superclass of every fine class:

    *   `within_groups(coarse, rate, kind="pair", seed=0)`: two classes of each group,
        chosen by the seed, flip to each other (ProSelfLC, the symmetric cross-entropy
        paper, Equal Loss). The other classes keep their labels: with groups of five
        the realised rate is `0.4 * rate`.
    *   `within_groups(coarse, rate, kind="cyclic")`: every class flips to the next id
        of its group, the last to the first. The realised rate is `rate`.
    *   `within_groups(np.arange(100) // 5, rate, kind="cyclic")`: the same in blocks
        of five consecutive fine ids, as much public code has it. Fine ids are in
        alphabetical order, so these blocks are not superclasses and the classes of a
        block are hardly similar.

    Args:
        groups: Group of each class, integers of shape `(C,)`.
        rate: Probability in [0, 1] that a label of a class that takes part flips.
        kind: `"pair"` or `"cyclic"`.
        seed: Integer that chooses the pairs. Needed for `"pair"`; `"cyclic"` has
            nothing to choose and does not use it.

    Returns:
        Transition matrix, float64 array `(C, C)` whose rows sum to one.

    Raises:
        ValueError: If a group has a single class: it could not flip to another.

    Example:
    >>> within_groups([0, 1, 0, 1], 0.25, kind="cyclic")
    array([[0.75, 0.  , 0.25, 0.  ],
           [0.  , 0.75, 0.  , 0.25],
           [0.25, 0.  , 0.75, 0.  ],
           [0.  , 0.25, 0.  , 0.75]])
    """
    rate = _RATE("within_groups", "rate", rate)
    groups = check_labels("within_groups", "groups", groups)
    num_classes = len(groups)
    errors.check_choice("within_groups", "kind", kind, ("pair", "cyclic"))
    names, sizes = np.unique(groups, return_counts=True)
    if num_classes == 0 or np.any(sizes < 2):
        expected = "groups of at least two classes"
        alone = names[sizes < 2].tolist()
        mend = (
            f"Groups of one class: {alone}. Merge each with another group, or name "
            "the flips with `asymmetric`."
        )
        received = errors.describe_array(groups)
        raise ValueError(message("within_groups", "groups", expected, received, mend))
    sources, targets = [], []
    if kind == "pair":
        keys = derive_keys(check_seed("within_groups", seed), STREAM_GROUPS)
        lottery = hash_numpy(np.arange(num_classes), keys)
    for name in names:
        members = np.flatnonzero(groups == name)
        if kind == "pair":
            members = members[np.argsort(lottery[members])[:2]]
        sources.append(members)
        targets.append(np.roll(members, -1))
    return _flip_matrix(
        num_classes, np.concatenate(sources), np.concatenate(targets), rate
    )


def independent_flips(
    num_labels: int,
    *,
    one_to_zero: float | ArrayLike = 0.0,
    zero_to_one: float | ArrayLike = 0.0,
) -> FloatArray:
    """Flips of multi-hot labels, each label by itself.

    Missing positives, the usual error of people who list what is in a picture, are
    `one_to_zero` alone.

    Args:
        num_labels: Number of labels `L`.
        one_to_zero: Share of the ones that become zeros, in [0, 1]; a number, or one
            for each label, `(L,)`.
        zero_to_one: Share of the zeros that become ones, likewise.

    Returns:
        Transition matrices, float64 array `(L, 2, 2)`, for `corrupt_labels`,
        `LabelNoise` and `losses.MultiLabel`.

    Raises:
        ValueError: If a rate is outside of [0, 1], or there is not one for each label.

    Example:
    >>> independent_flips(1, one_to_zero=0.25)
    array([[[1.  , 0.  ],
            [0.25, 0.75]]])
    """
    owner = "independent_flips"
    num_labels = errors.check_count(
        owner, "num_labels", num_labels, high=MOST_CLASSES // 2
    )
    matrices = np.tile(np.eye(2), (num_labels, 1, 1))
    rates = {"zero_to_one": zero_to_one, "one_to_zero": one_to_zero}
    for source, (argument, given) in enumerate(rates.items()):
        rate = as_numbers(owner, argument, given).astype("float64")
        if rate.shape not in ((), (num_labels,)):
            expected = f"a number, or an array ({num_labels},)"
            received = errors.describe_array(rate)
            raise ValueError(message(owner, argument, expected, received))
        if not ((rate >= 0) & (rate <= 1)).all():
            expected = "in [0, 1]"
            raise ValueError(message(owner, argument, expected, rate.tolist()))
        matrices[:, source, source] = 1 - rate
        matrices[:, source, 1 - source] = rate
    return matrices


def _check_num_classes(owner, num_classes):
    return errors.check_count(
        owner, "num_classes", num_classes, low=2, high=MOST_CLASSES
    )


def _flip_matrix(num_classes, sources, targets, rate):
    matrix = np.eye(num_classes)
    matrix[sources, sources] = 1.0 - rate
    matrix[sources, targets] = rate
    return matrix
