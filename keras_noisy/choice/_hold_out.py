"""The labels that validate: some of each class, and no group in part."""

import warnings

import numpy as np

from keras_noisy._checks.errors import Described, message
from keras_noisy._checks.labels import UNVERIFIED

_FEW = 100


def choose(owner, group, labels, class_names, share, seed):
    """Return which examples are held out, `(n,)`, and sentences on what could not be.

    Of each class about a `share` of the labels is held out, and at least one where
    the class has two groups, one of which is trained on.

    Args:
        owner: Name of the public class, for errors.
        group: Ids `(n,)` of examples that are held out together or not at all.
        labels: Class ids `(n,)`, -1 where there is no label.
        class_names: What each id stands for.
        share: Between 0 and 1.
        seed: Integer.
    """
    generator = np.random.default_rng(seed)
    known = np.flatnonzero(labels != UNVERIFIED)
    groups, first, sizes = np.unique(
        group[known], return_index=True, return_counts=True
    )
    class_of = labels[known][first]
    chosen = [
        _of_class(np.flatnonzero(class_of == index), sizes, share, generator)
        for index in range(len(class_names))
    ]
    held = np.isin(group, groups[np.concatenate(chosen)]) & (labels != UNVERIFIED)
    held = _without_last(held, group, labels)
    if not held.any():
        expected = "a share that holds a label of some class out"
        received = Described(f"{share!r} of {len(known)} labels, none of which can be")
        mend = "A class needs two examples, and two groups where there are groups."
        raise ValueError(message(owner, "validation", expected, received, mend))
    if len(known) < _FEW:
        warnings.warn(
            f"{owner}: {int(held.sum())} of {len(known)} labels are held out, which "
            "cannot tell methods apart. With less than 100 labels the choice is luck.",
            stacklevel=3,
        )
    return held, _notes(held, labels, class_names)


def _of_class(rows, sizes, share, generator):
    """Return those of a class's groups, by number, that are held out."""
    target = share * sizes[rows].sum()
    rows = generator.permutation(rows)[: max(len(rows) - 1, 0)]
    # The nearest number of examples, and one group at least.
    return rows[: max(1, int((np.cumsum(sizes[rows]) < target + 0.5).sum()))]


def _without_last(held, group, labels):
    """Return what is held out without groups that have the last of a class."""
    trained = labels[~held & (labels != UNVERIFIED)]
    is_last = held & ~np.isin(labels, trained)
    return held & ~np.isin(group, group[is_last])


def _notes(held, labels, class_names):
    gone = np.setdiff1d(np.unique(labels[labels != UNVERIFIED]), labels[held])
    if not len(gone):
        return []
    names = ", ".join(map(str, class_names[gone][:10].tolist()))
    more = f" and {len(gone) - 10} more" if len(gone) > 10 else ""
    return [f"No label of {names}{more} could be held out: nothing is known of them."]
