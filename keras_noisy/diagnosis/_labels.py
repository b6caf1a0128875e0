"""Labels as people have them, strings or numbers with gaps, as class ids."""

import collections

import numpy as np

from keras_noisy._checks.errors import Described, as_array, describe_array, message
from keras_noisy._checks.labels import UNVERIFIED, labels_of

_NO_WORDS = ("-1", "n/a", "na", "nan", "none", "null", "unknown")


def as_classes(owner, labels, class_names=None, argument="labels"):
    """Return class ids `(n,)`, and what each stands for, `(C,)`.

    Args:
        owner: Name of the public function, for errors.
        labels: Strings, integers or bools `(n,)`. -1, None, NaN and the empty string
            mark an example without a label.
        class_names: Names of the classes where labels are integers from 0 on, or None.
        argument: Name of the argument that they came as.

    Returns:
        Ids, int64, -1 where there is no label; and the sorted labels that occur.
    """
    values, has_label = _values_of(owner, labels, argument)
    if class_names is not None:
        values = _named(owner, values, has_label, class_names, argument)
    classes, ids = np.unique(values[has_label], return_inverse=True)
    _check_classes(owner, classes, int(has_label.sum()), argument)
    result = np.full(len(values), UNVERIFIED, np.int64)
    result[has_label] = ids
    if class_names is not None:
        # In the order of the names that the user has given.
        order = [list(class_names).index(name) for name in classes.tolist()]
        ranks = np.argsort(np.argsort(order))
        result[has_label] = ranks[ids]
        classes = classes[np.argsort(order)]
    return result, classes


def notes_on(classes):
    """Return sentences on classes whose names look like a mistake."""
    notes, words = [], [name for name in classes.tolist() if isinstance(name, str)]
    odd = [name for name in words if name.lower() in _NO_WORDS]
    if odd:
        notes.append(
            f"{', '.join(map(repr, odd))} was taken for a class; pass None or an empty "
            "string where there is no label."
        )
    alike = collections.defaultdict(list)
    for name in words:
        alike[" ".join(name.casefold().split())].append(name)
    groups = [" and ".join(map(repr, names)) for names in alike.values() if names[1:]]
    if groups:
        notes.append(
            "Classes have names that differ in case or blanks alone, and are likely to "
            f"be one: {'; '.join(groups[:5])}{'; ...' if groups[5:] else ''}."
        )
    return notes


def _values_of(owner, labels, argument):
    """Return labels as strings, integers or bools, and which of them are labels."""
    if isinstance(labels, (list, tuple)) and any(isinstance(v, str) for v in labels):
        # NumPy would make strings of all of them.
        labels = np.array(labels, object)
    array = labels_of(labels)
    if array.ndim != 1 or not len(array):
        expected = "one label for each example, of shape (n,)"
        mend = "Turn one-hot labels into class ids with labels.argmax(axis=-1)."
        received = describe_array(array)
        mend = mend if array.ndim > 1 else ""
        raise ValueError(message(owner, argument, expected, received, mend))
    if array.dtype.kind in "OT":
        return _of_objects(owner, array, argument)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.dtype.kind == "f":
        return _of_floats(owner, array, argument)
    if array.dtype.kind == "U":
        return array, np.char.strip(array) != ""
    if array.dtype.kind == "b":
        return array, np.ones(len(array), bool)
    if array.dtype.kind not in "iu":
        expected = "strings, integers or bools"
        received = describe_array(array)
        raise TypeError(message(owner, argument, expected, received))
    if array.dtype.kind == "i" and array.min() < UNVERIFIED:
        expected = "integers from 0 on, or -1 where there is no label"
        received = Described(f"a label {array.min()}")
        mend = "Pass strings where classes have such names."
        raise ValueError(message(owner, argument, expected, received, mend))
    return array, array != UNVERIFIED


def _of_objects(owner, array, argument):
    has_label = np.array([not is_missing(value) for value in array.tolist()])
    known = array[has_label].tolist()
    kinds = {type(value) for value in known}
    if kinds <= {bytes}:
        known = [value.decode() for value in known]
    elif not all(isinstance(value, str) for value in known):
        numbers = as_array(known)
        if kinds and numbers.dtype.kind in "iufb" and str not in kinds:
            values = np.full(len(array), UNVERIFIED, numbers.dtype)
            values[has_label] = numbers
            found, is_number = _values_of(owner, values, argument)
            return found, has_label & is_number
        expected = "strings alone, or integers alone"
        received = Described(" and ".join(sorted(kind.__name__ for kind in kinds)))
        raise TypeError(message(owner, argument, expected, received))
    values = np.array([""] * len(array), object)
    values[has_label] = known
    values = values.astype(str)
    return values, has_label & (np.char.strip(values) != "")


def is_missing(value):
    """Whether a value of a list or a frame stands for none."""
    # NaN, and pandas' NA and NaT, are unequal to themselves, or say neither.
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (
        isinstance(value, float) and value != value
    )  # fmt: skip


def _of_floats(owner, array, argument):
    """Return whole numbers as integers, as a frame with missing ones has them."""
    has_label = ~np.isnan(array)
    known = array[has_label]
    if not (np.isfinite(known).all() and (known == np.rint(known)).all()):
        expected = "classes: strings or integers"
        received = Described("fractions")
        mend = "A number to predict is no class; bins of it are, e.g. numpy.digitize."
        raise TypeError(message(owner, argument, expected, received, mend))
    values = np.full(len(array), UNVERIFIED, np.int64)
    values[has_label] = known
    return values, has_label & (values != UNVERIFIED)


def _named(owner, values, has_label, class_names, argument):
    """Return integers as the names that they stand for; names as they are."""
    names = as_array(list(class_names))
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(class_names)) < len(names):
        expected = "a list of different strings"
        raise ValueError(message(owner, "class_names", expected, class_names))
    known = values[has_label]
    if values.dtype.kind == "U":
        unknown = sorted(set(known.tolist()) - set(class_names))
        if unknown:
            expected = "the names of all classes"
            mend = f"Labels also have {unknown[:5]}."
            received = list(class_names)[:10]
            raise ValueError(message(owner, "class_names", expected, received, mend))
        return values
    if len(known) and not 0 <= known.min() <= known.max() < len(names):
        expected = f"class ids in [0, {len(names)}), as there are that many names"
        low, high = int(known.min()), int(known.max())
        received = Described(f"values in [{low}, {high}]")
        raise ValueError(message(owner, argument, expected, received))
    named = np.full(len(values), "", names.dtype)
    named[has_label] = names[known.astype(int)]
    return named


def _check_classes(owner, classes, count, argument):
    received = Described(f"{len(classes)} different labels of {count} examples")
    if len(classes) < 2:
        expected = "of at least two classes"
        mend = "A label can only be wrong where there is another one; -1 is none."
        raise ValueError(message(owner, argument, expected, received, mend))
    if count < 2 * len(classes):
        expected = "classes, with two examples or more on average"
        mend = "Is this a column of ids or of numbers to predict? Pass that of classes."
        raise ValueError(message(owner, argument, expected, received, mend))
