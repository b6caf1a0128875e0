"""Published noisy labels, joined to a data set by id."""

from __future__ import annotations

import csv
import os
import pathlib
import re

import numpy as np
import numpy.typing as npt

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_labels, check_sample_ids
from keras_noisy._data import npz
from keras_noisy.datasets import _safe_pickle, _shared
from keras_noisy.datasets.dataset import Dataset
from keras_noisy.noise.noisy_labels import NoisyLabels

_OWNER = "read_label_file"
_ID_NAME = re.compile(
    r"(unnamed: ?0|row|((sample|example|image|img|row|instance|item|data|train)[\W_]*)?"
    r"(ids?|idx|index|indices))?",
    re.IGNORECASE,
)
_COARSE = "coarse"
_MAX_COLUMNS = 1000
# Short names of CIFAR-N's label sets, and what its files call them.
LABEL_SETS = {
    "aggre": ("aggre_label",),
    "worst": ("worse_label",),
    "random1": ("random_label1",),
    "random2": ("random_label2",),
    "random3": ("random_label3",),
    "noisy_fine": ("noisy_label", "noise_label"),
    "noisy_coarse": ("noisy_coarse_label",),
}
_SAME = "same"
_TORCHVISION = "torchvision"
# Below it chance agreement is not told apart from noise.
_MIN_FOR_CHANCE = 1000
# A wrong order passes for the right one with a probability of exp(-10).
_CHANCE_EXPONENT = 10


def read_label_file(
    path: str | os.PathLike[str],
    clean_labels: npt.ArrayLike | Dataset,
    *,
    key: str | None = None,
    ids: npt.ArrayLike | None = None,
    file_ids: npt.ArrayLike | None = None,
    order: str | None = None,
    num_classes: int | None = None,
) -> NoisyLabels:
    r"""Read published noisy labels, and join them to a data set.

    Each row of a label file must belong to the right example. Such files have the order
    of `keras.datasets` and torchvision, and TFDS uses another; with labels in a wrong
    order every method fails. Rows are therefore joined by id, and all clean labels of
    the file are compared with those of the data set. A file without clean labels needs
    `order`, and is an error if its labels agree with the clean ones no better than by
    chance.

    Formats, by the end of the name:

    - `.csv` with a header, such as the SEAL authors' `label,label_noisy`;
    - `.pt` and `.npy` of CIFAR-10N and CIFAR-100N: pickles, read by a parser that
      takes plain arrays and runs nothing, without torch;
    - `.npz`, also as `"file.npz:key"`, and `.npy` with one array of labels;
    - `.npz` of `noise.NoisyLabels.save`.

    Clean labels are under `label` or a name that contains "clean" or "true", such as
    `clean_label` (for CIFAR-100N's coarse labels `clean_coarse_label`); if there are
    several, all are compared. Ids are under `id`, `idx`, `index`, `sample_id`,
    `image_id` or similar, in small or capital letters, or without a name.

    Args:
        path: The file.
        clean_labels: The labels of the data set, class ids `(n,)`; or a `Dataset`,
            for its training examples.
        key: Which label set, if the file has several; for CIFAR-N also "aggre",
            "worst", "random1" to "random3", "noisy_fine", "noisy_coarse".
        ids: Ids of the examples of `clean_labels`, `(n,)`. Without them a `Dataset` has
            its own, and for an array they are positions.
        file_ids: Ids of the rows of the file, `(m,)`; without them those of the file,
            or the position. CIFAR-N's `_human_ordered.npy` files, which are in TFDS's
            order, go with the authors' `image_order_c10.npy` here.
        order: For a file without clean labels, the order of its rows: "keras.datasets"
            (or "torchvision"), "tfds", "file", "scikit-learn", or "same" for that of
            the data set.
        num_classes: Number of classes; without it that of the `Dataset` or of the
            file, or one more than the greatest clean label.

    Returns:
        `noise.NoisyLabels` in the order of `clean_labels`.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If labels or ids are not integers.
        ValueError: If the file is damaged, in another format, or a pickle of anything
            but plain arrays, or claims more bytes than it has; if it lacks `key` or
            some ids, has a column twice, contains labels out of range, or disagrees
            with `clean_labels`; or if its order is unknown.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "noisy.csv")
        >>> _ = path.write_text("label,label_noisy\n0,0\n1,2\n2,2\n")
        >>> labels = read_label_file(path, [0, 1, 2])
        >>> labels.noisy.tolist(), round(labels.rate, 2)
        ([0, 2, 2], 0.33)
    """
    path, key = _split_key(path, key)
    clean, ids, num_classes, own_order = _describe(clean_labels, ids, num_classes)
    _check_order_name(order)
    columns = _read(path)
    if num_classes is None:
        num_classes = _file_num_classes(path, columns, clean)
    key = _choose(path, columns, key)
    noisy = _class_ids(columns, key)
    clean_names = _clean_names(path, columns, key)
    if file_ids is None:
        file_ids = _named_ids(path, columns, bool(clean_names))
        if file_ids is None and not clean_names:
            _check_unknown_ids(path, columns, key, num_classes)
    rows, ids = _rows(path, file_ids, len(noisy), ids, len(clean))
    noisy = noisy[rows]
    for name in clean_names:
        _check_clean(path, name, _class_ids(columns, name)[rows], clean, ids)
    if not clean_names:
        _check_order(path, order, own_order)
    _check_range(path, key, noisy, clean, num_classes)
    if not clean_names:
        _check_agreement(path, noisy, clean)
    return NoisyLabels(noisy, clean, num_classes)


# --- what the caller has


def _split_key(path, key):
    """Return path and key; the path may hold both, as `file.npz:key`."""
    if key is not None and not isinstance(key, str):
        raise TypeError(message(_OWNER, "key", "a name in the file, or None", key))
    path = errors.check_path(_OWNER, "path", path)
    file, colon, name = path.rpartition(":")
    if colon and file.endswith(".npz") and not os.path.exists(path):
        if key is not None:
            expected = f"None where `path` names the key {name!r}"
            raise ValueError(message(_OWNER, "key", expected, key))
        path, key = file, name
    return pathlib.Path(path), key


def _describe(clean_labels, ids, num_classes):
    """Return labels, ids, number of classes and order of the data set."""
    order = None
    if num_classes is not None:
        num_classes = errors.check_count(_OWNER, "num_classes", num_classes, low=2)
    if isinstance(clean_labels, Dataset):
        dataset, clean_labels = clean_labels, clean_labels.y_train
        order = dataset.order
        ids = dataset.train_ids if ids is None else ids
        num_classes = dataset.num_classes if num_classes is None else num_classes
    clean = check_labels(_OWNER, "clean_labels", clean_labels, num_classes=num_classes)
    clean = clean.astype(np.int64)
    if ids is not None:
        ids = _as_ids("ids", ids, len(clean))
    return clean, ids, num_classes, order


def _as_ids(argument, ids, size):
    ids = check_sample_ids(_OWNER, argument, errors.as_array(ids), (size,))
    return ids.astype(np.int64)


# --- the formats


def _read(path):
    """Return the arrays of a file by name."""
    readers = {
        ".csv": _read_csv,
        ".npy": _read_npy,
        ".npz": _read_npz,
        ".pt": _read_torch,
        ".pth": _read_torch,
    }
    if path.suffix not in readers:
        expected = f"a file that ends in {', '.join(readers)}"
        raise ValueError(message(_OWNER, "path", expected, str(path)))
    if not path.is_file():
        text = message(_OWNER, "path", "an existing file", str(path))
        raise FileNotFoundError(text)
    try:
        columns = readers[path.suffix](path)
        _check_columns(columns)
    except MemoryError:
        raise
    except _safe_pickle.Refused as error:
        expected = "a pickle of plain arrays"
        mend = f"It names {error}, which is not allowed; nothing of it was run."
        text = message(_OWNER, "path", expected, str(path), mend)
        raise ValueError(text) from error
    # zipfile, zlib, pickle and NumPy raise half a dozen types on damaged bytes.
    except Exception as error:
        expected = "an undamaged label file"
        mend = f"({type(error).__name__}: {error}) Copy or download it again."
        text = message(_OWNER, "path", expected, str(path), mend)
        raise ValueError(text) from error
    return columns


def _check_columns(columns):
    if len(columns) > _MAX_COLUMNS:
        raise ValueError(f"it has more than {_MAX_COLUMNS} columns")
    if not any(map(_is_column, columns.values())):
        found = [f"{name!r} is {_what(column)}" for name, column in columns.items()]
        raise ValueError(f"it holds no labels: {', '.join(found[:5]) or 'nothing'}")


def _read_csv(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(filter(None, reader), [])]
        _check_header(header)
        rows = []
        for row in filter(None, reader):
            if len(row) != len(header):
                extra = " A comma at the end adds one." if row[-1] == "" else ""
                raise ValueError(
                    f"line {reader.line_num} has {len(row)} of {len(header)} "
                    f"values.{extra}"
                )
            rows.append(row)
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    if header[-1] == "" and not any(map(str.strip, columns[-1])):
        raise ValueError("its lines end in a comma, which adds a column without values")
    columns = zip(header, columns, strict=True)
    return {name: _as_integers(texts) for name, texts in columns}


def _check_header(header):
    if not header:
        raise ValueError("it is empty")
    if any(name.isdecimal() for name in header):
        raise ValueError("the first line must name the columns")
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and separator in header[0]:
            raise ValueError(f"its values are separated by {name}, not by commas")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"it has more than one column {twice[0]!r}")


def _as_integers(texts):
    """Return the numbers in a column of text; with other text, objects."""
    # Python's `int` takes more: "1_0", and digits of any script.
    is_integer = re.compile(r"\s*[+-]?[0-9]{1,18}\s*").fullmatch
    if all(map(is_integer, texts)):
        return np.array(list(map(int, texts)), np.int64)
    return _shared.as_column(
        int(text) if is_integer(text) else text.strip() for text in texts
    )


def _read_npy(path):
    with open(path, "rb") as file:
        return _as_columns(_safe_pickle.read_npy(file))


def _read_torch(path):
    with open(path, "rb") as file:
        return _safe_pickle.read_torch(file)


def _read_npz(path):
    with open(path, "rb") as file:
        archive = npz.Npz(file)
        if not {"format", "clean_digest"} <= set(archive.names):
            return {name: _read_member(archive, name) for name in archive.names}
    labels = NoisyLabels.load(path)
    num_classes = np.array(labels.num_classes)
    return {"noisy": labels.noisy, "clean": labels.clean, "num_classes": num_classes}


def _read_member(archive, name):
    """Return what can be labels, `(n,)` or a number; of other things what they are."""
    header = archive.header(name)
    if header is None:
        return "no array"
    shape, dtype = header
    if dtype.hasobject:
        return "an array of Python objects, which are not read"
    if len(shape) > 1 and shape[1:] != (1,):
        return f"an array with {len(shape)} axes"
    array = archive[name]
    return array[:, 0] if array.ndim == 2 else array


def _as_columns(content):
    return content if isinstance(content, dict) else {"noisy": content}


# --- which labels, in which rows


def _is_clean(name):
    """Whether labels of this name are clean ones, by convention."""
    parts = re.split(r"[\W_]+", name.lower())
    return name.lower() == "label" or not {"clean", "true"}.isdisjoint(parts)


def _choose(path, columns, key):
    """Return the name of the label set that is asked for."""
    names = [name for name, column in columns.items() if _is_column(column)]
    others = [
        name for name in names if not (_is_clean(name) or _ID_NAME.fullmatch(name))
    ]
    if key is None and len(others) == 1:
        key = others[0]
    candidates = [key, *LABEL_SETS.get(key, ())]
    found = [name for name in candidates if name in names]
    if not found:
        expected = f"one of the label sets of the file, {', '.join(map(repr, others))}"
        mend = f"The file is {str(path)!r}."
        wrong = [name for name in candidates if name in columns]
        if wrong:
            mend += f" Its {wrong[0]!r} is {_what(columns[wrong[0]])}."
        raise ValueError(message(_OWNER, "key", expected, key, mend))
    return found[0]


def _is_column(column):
    return isinstance(column, np.ndarray) and column.ndim == 1


def _what(column):
    """Say what a column is that is not one of class ids."""
    if isinstance(column, str):
        return column
    if column.ndim == 1 and column.dtype.hasobject:
        wrong = (i for i, value in enumerate(column) if type(value) is not int)
        row = next(wrong, 0)
        return f"no column of integers: row {row} of {len(column)} is {column[row]!r}"
    return f"an array of shape {column.shape} and dtype {column.dtype}"


def _class_ids(columns, name):
    """Return class ids, int64 `(n,)`, or raise that a column holds something else."""
    column, argument = columns[name], f"path[{name!r}]"
    if not _is_column(column) or column.dtype.hasobject:
        expected = "class ids of an integer dtype"
        received = errors.Described(_what(column))
        raise TypeError(message(_OWNER, argument, expected, received))
    return check_labels(_OWNER, argument, column).astype(np.int64)


def _clean_names(path, columns, key):
    """Return the names of the clean labels beside the label set `key`."""
    names = [
        name
        for name in columns
        if _is_clean(name) and name != key and (_COARSE in name) == (_COARSE in key)
    ]
    # Names of classes may stand beside their ids.
    ids = [n for n in names if _is_column(columns[n]) and columns[n].dtype.kind in "iu"]
    size = len(columns[key])
    for name in ids or names:
        count = len(_class_ids(columns, name))
        if count != size:
            expected = f"a file with as many labels under {name!r} as under {key!r}"
            mend = f"They are {count} and {size}."
            raise ValueError(message(_OWNER, "path", expected, str(path), mend))
    return ids


def _file_num_classes(path, columns, clean):
    found = columns.get("num_classes")
    if found is None or _is_column(found):
        return max(2, int(clean.max(initial=0)) + 1)
    if isinstance(found, str) or found.dtype.kind not in "iu" or found.size != 1:
        expected = "a file whose 'num_classes' is an integer"
        mend = f"It is {_what(found)}. Pass `num_classes`."
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))
    return int(found)


def _check_range(path, key, noisy, clean, num_classes):
    high = int(noisy.max(initial=0))
    mend = f"It holds {high}. Pass `num_classes` if there are more classes."
    count_from_one = False
    if noisy.size and noisy.min() == 1 and clean.min() == 0 and high <= clean.max() + 1:
        count_from_one = np.mean(noisy - 1 == clean) > np.mean(noisy == clean)
        mend = (
            "Its labels seem to count from 1: subtract 1." if count_from_one else mend
        )
    if high >= num_classes or count_from_one:
        expected = f"a file with class ids in [0, {num_classes}) under {key!r}"
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))


def _named_ids(path, columns, has_clean):
    """Return the ids in a file, or None where it has none."""
    names = sorted(filter(_ID_NAME.fullmatch, columns), key=len, reverse=True)
    found = []
    for name in names:
        column = columns[name]
        if _is_column(column) and column.dtype.kind in "iu":
            found.append(name)
        elif not has_clean:
            expected = f"a file with integers under {name!r}"
            mend = f"It is {_what(column)}. Pass `file_ids`, the ids of its rows."
            raise TypeError(message(_OWNER, "path", expected, str(path), mend))
    # Pandas writes the numbers of the rows without a name.
    found = [name for name in found if name and name[:7] != "Unnamed"] or found
    if any(not np.array_equal(columns[name], columns[found[0]]) for name in found):
        expected = "a file with one column of ids"
        mend = f"They differ under {', '.join(map(repr, found))}. Pass `file_ids`."
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))
    return columns[found[0]] if found else None


def _check_unknown_ids(path, columns, key, num_classes):
    """Raise if a column can only be ids, and would be passed over."""
    for name, column in columns.items():
        is_other = name != key and _is_column(column) and column.dtype.kind in "iu"
        # As many numbers as rows, more than there are classes.
        if not is_other or len(np.unique(column)) < max(len(column), num_classes + 1):
            continue
        if (np.diff(column.astype(np.int64)) != 1).any():
            expected = "a file whose ids have a known name, such as 'id'"
            mend = (
                f"{name!r} has another number in every row. Pass it as `file_ids` if "
                "these are ids, or else the positions, np.arange(number of rows)."
            )
            raise ValueError(message(_OWNER, "path", expected, str(path), mend))


def _rows(path, file_ids, size, ids, num_examples):
    """Return the row of the file for each example, and the ids that say so."""
    file_ids = np.arange(size) if file_ids is None else file_ids
    file_ids = _as_ids("file_ids", file_ids, size)
    if ids is None:
        if size != num_examples:
            expected = f"a file with as many labels as the data set, {num_examples}"
            mend = f"It has {size}. Pass `ids` for a part of a data set."
            raise ValueError(message(_OWNER, "path", expected, str(path), mend))
        ids = np.arange(num_examples)
    by_id = np.argsort(file_ids, kind="stable")
    ranked = file_ids[by_id]
    if (ranked[1:] == ranked[:-1]).any():
        received = errors.Described(f"{size} ids, some of them twice")
        raise ValueError(message(_OWNER, "file_ids", "unique", received))
    places = np.searchsorted(ranked, ids)
    is_there = places < size
    is_there[is_there] = ranked[places[is_there]] == ids[is_there]
    if not is_there.all():
        missing = ids[~is_there]
        expected = "a file with a row for each id of the data set"
        mend = f"{len(missing)} of {len(ids)} ids have none, first {_first(missing)}."
        if np.array_equal(np.sort(ids) + 1, ranked):
            mend += " The file counts its rows from 1: pass `file_ids`, less by 1."
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))
    return by_id[places], ids


def _first(ids):
    return ", ".join(str(i) for i in ids[:5])


# --- whether the rows belong to the examples


def _check_clean(path, name, file_clean, clean, ids):
    """Raise unless the clean labels of file and data set agree, example by example."""
    differs = file_clean != clean
    count = int(np.count_nonzero(differs))
    if count:
        expected = "a file whose clean labels agree with those of the data set"
        why = (
            "Mostly the order is another one: label files follow torchvision's, which "
            "is that of keras.datasets and not that of TFDS. Load the data set with "
            "`datasets.load`, or pass `ids`."
        )
        if np.array_equal(file_clean - 1, clean):
            why = "The labels of the file count from 1: subtract 1."
        mend = (
            f"{count} of {len(clean)} differ, first at ids {_first(ids[differs])}. "
            f"{why} They are under {name!r}."
        )
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))


def _check_order_name(order):
    if order is not None:
        known = (*_shared.ORDERS, _TORCHVISION, _SAME)
        errors.check_choice(_OWNER, "order", order, known)


def _check_order(path, order, own_order):
    """Raise unless the caller says that file and data set have one order."""
    if order is None:
        mend = (
            f"{path.name} has no clean labels that could show which example a row "
            "belongs to. Pass order='same' if you know that it is that of the data "
            "set."
        )
        expected = "given for this file"
        raise ValueError(message(_OWNER, "order", expected, order, mend))
    order = _shared.KERAS if order == _TORCHVISION else order
    if own_order is not None and order not in (_SAME, own_order):
        expected = f"that of the data set, {own_order!r}"
        mend = "Pass `file_ids`, or load the data set from another source."
        raise ValueError(message(_OWNER, "order", expected, order, mend))


def _check_agreement(path, noisy, clean):
    """Raise if the labels agree with the clean ones no better than shuffled ones."""
    size = len(clean)
    if size < _MIN_FOR_CHANCE:
        return
    agree = int(np.count_nonzero(noisy == clean))
    mean, variance = _chance_agreement(noisy, clean)
    if _chance_exponent(agree - mean, variance) < _CHANCE_EXPONENT:
        expected = "a file with labels of this data set, in its order"
        mend = (
            f"{agree} of {size} agree with the clean labels, and {mean:.1f} would by "
            "chance. If they are right, noise.NoisyLabels(noisy, clean, num_classes) "
            "takes them."
        )
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))


def _chance_agreement(noisy, clean):
    """Return mean and variance of the number that agree in a random order.

    The sums over all pairs of Hoeffding, "A Combinatorial Central Limit Theorem",
    Annals of Mathematical Statistics 1951, in counts of the classes.
    """
    size = len(clean)
    length = int(max(noisy.max(), clean.max())) + 1
    given, true = (
        np.bincount(y, minlength=length).astype(float) for y in (noisy, clean)
    )
    pairs = given @ true
    pairs_by_row = given @ true**2 + given**2 @ true
    spread = pairs - pairs_by_row / size + (pairs / size) ** 2
    return pairs / size, max(0.0, spread / (size - 1))


def _chance_exponent(excess, variance):
    """Return Bennett's bound `x`: by chance the excess has a probability of `exp(-x)`.

    For many that agree it is that of a normal distribution, for few of a Poisson one.
    """
    if excess <= 0 or variance == 0:
        return 0.0
    # Two examples that change places change the number by up to two.
    step = 2
    u = step * excess / variance
    return variance / step**2 * ((1 + u) * np.log1p(u) - u)
