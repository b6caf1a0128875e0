"""Published noisy labels, joined to a data set by id."""

from __future__ import annotations

import csv
import os
import pathlib
import zipfile

import numpy as np
import numpy.typing as npt

from keras_noisy._errors import message
from keras_noisy.datasets import _checks, _safe_pickle
from keras_noisy.datasets.dataset import Dataset
from keras_noisy.noise._checks import Described, check_sample_ids
from keras_noisy.noise.noisy_labels import NoisyLabels

_OWNER = "read_label_file"
_CLEAN_NAMES = ("clean_label", "clean_labels", "clean", "label")
_ID_NAMES = ("sample_id", "id", "index", "")
_COARSE = "coarse"
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
    r"""Read noisy labels that somebody published, and join them to a data set.

    Label files have rows, and everything depends on which example a row belongs to:
    TFDS's order is not that of `keras.datasets` and torchvision, in which such files
    are published, and with labels in a wrong order every method fails alike. Rows are
    therefore joined by id, and the clean labels of the file are compared with those of
    the data set, all of them. A file without clean labels is taken only with `order`,
    and not if its labels agree with the clean ones no better than by chance.

    Formats, told by the end of the name:

    - `.csv` with a header, such as the SEAL authors' `label,label_noisy`;
    - `.pt` and `.npy` of CIFAR-10N and CIFAR-100N: pickles, read by a parser that
      takes plain arrays and runs nothing, without torch;
    - `.npz`, also as `"file.npz:key"`, and `.npy` with one array of labels;
    - `.npz` of `noise.NoisyLabels.save`.

    Clean labels are found under `clean_label`, `clean_labels`, `clean` or `label` (for
    CIFAR-100N's coarse labels `clean_coarse_label`), ids under `sample_id`, `id`,
    `index` or without a name.

    Args:
        path: The file.
        clean_labels: The labels of the data set, class ids `(n,)`; or a `Dataset`,
            for its training examples.
        key: Which label set, where the file has several; for CIFAR-N also "aggre",
            "worst", "random1" to "random3", "noisy_fine", "noisy_coarse".
        ids: Ids of the examples of `clean_labels`, `(n,)`. Without them a `Dataset`
            has its own, and for an array the position counts.
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
            but plain arrays; lacks `key` or some ids; holds labels out of range; does
            not agree with `clean_labels`; or nothing says what order it is in.

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
    columns = _read(path)
    if num_classes is None:
        num_classes = _file_num_classes(columns, clean)
    key, noisy = _choose(path, columns, key)
    file_clean = _clean_column(path, columns, key, len(noisy))
    rows, ids = _rows(path, columns, len(noisy), ids, file_ids, len(clean))
    noisy = noisy[rows]
    if file_clean is None:
        _check_order(path, order, own_order)
        _check_range(path, key, noisy, num_classes)
        _check_agreement(path, noisy, clean)
    else:
        _check_clean(path, file_clean[rows], clean, ids)
        _check_range(path, key, noisy, num_classes)
    return NoisyLabels(noisy, clean, num_classes)


# --- what the caller has


def _split_key(path, key):
    """Return path and key; the path may hold both, as `file.npz:key`."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(message(_OWNER, "path", "a path", path))
    path = os.fspath(path)
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
    if isinstance(clean_labels, Dataset):
        dataset, clean_labels = clean_labels, clean_labels.y_train
        order = dataset.order
        ids = dataset.train_ids if ids is None else ids
        num_classes = dataset.num_classes if num_classes is None else num_classes
    clean = _checks.as_class_ids(_OWNER, "clean_labels", clean_labels, num_classes)
    if ids is not None:
        ids = _as_ids("ids", ids, len(clean))
    return clean, ids, num_classes, order


def _as_ids(argument, ids, size):
    ids = np.asarray(ids)
    check_sample_ids(_OWNER, argument, ids)
    if ids.shape != (size,):
        expected = f"of shape ({size},), one for each label"
        received = Described(f"array of shape {ids.shape}")
        raise ValueError(message(_OWNER, argument, expected, received))
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


def _read_csv(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise ValueError("it is empty")
    header, *rows = rows
    header = [name.strip() for name in header]
    if any(name.isdecimal() for name in header):
        raise ValueError("the first line must name the columns")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} of {len(header)} values")
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return {
        name: _as_integers(column) for name, column in zip(header, columns, strict=True)
    }


def _as_integers(texts):
    """Return the numbers in a column of text; of other text, the text."""
    try:
        return np.array([int(text) for text in texts], np.int64)
    except ValueError:
        return np.array(texts)


def _read_npy(path):
    with open(path, "rb") as file:
        return _as_columns(_safe_pickle.read_npy(file))


def _read_torch(path):
    with open(path, "rb") as file:
        return _as_columns(_safe_pickle.read_torch(file))


def _read_npz(path):
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a zip file")
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        if {"format", "clean_digest"} <= set(names):
            labels = NoisyLabels.load(path)
            return {
                "noisy": labels.noisy,
                "clean": labels.clean,
                "num_classes": np.array(labels.num_classes),
            }
        return {name: archive[name] for name in names}


def _as_columns(content):
    if isinstance(content, dict):
        return {str(name): np.asarray(value) for name, value in content.items()}
    return {"noisy": np.asarray(content)}


# --- which labels, in which rows


def _choose(path, columns, key):
    """Return name and values of the label set that is asked for."""
    names = [name for name, column in columns.items() if column.ndim == 1]
    others = [
        name
        for name in names
        if name not in (*_CLEAN_NAMES, *_ID_NAMES) and not name.startswith("clean_")
    ]
    if key is None and len(others) == 1:
        key = others[0]
    candidates = [key, *LABEL_SETS.get(key, ())]
    found = [name for name in candidates if name in names]
    if not found:
        expected = f"one of the label sets of the file, {', '.join(map(repr, others))}"
        mend = f"The file is {str(path)!r}."
        raise ValueError(message(_OWNER, "key", expected, key, mend))
    noisy = _checks.as_class_ids(_OWNER, f"path[{found[0]!r}]", columns[found[0]])
    return found[0], noisy


def _clean_column(path, columns, key, size):
    """Return the clean labels beside the label set `key`, or None."""
    names = ("clean_coarse_label",) if _COARSE in key else _CLEAN_NAMES
    found = [name for name in names if name in columns and name != key]
    if not found:
        return None
    clean = _checks.as_class_ids(_OWNER, f"path[{found[0]!r}]", columns[found[0]])
    if len(clean) != size:
        expected = f"a file with as many labels under {found[0]!r} as under {key!r}"
        mend = f"They are {len(clean)} and {size}."
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))
    return clean


def _file_num_classes(columns, clean):
    if "num_classes" in columns:
        return int(columns["num_classes"])
    return max(2, int(clean.max(initial=0)) + 1)


def _check_range(path, key, noisy, num_classes):
    high = int(noisy.max(initial=0))
    if high >= num_classes:
        expected = f"a file with class ids in [0, {num_classes}) under {key!r}"
        mend = f"It holds {high}. Pass `num_classes` if there are more classes."
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))


def _rows(path, columns, size, ids, file_ids, num_examples):
    """Return the row of the file for each example, and the ids that say so."""
    if file_ids is None:
        named = [columns[name] for name in _ID_NAMES if name in columns]
        file_ids = named[0] if named else np.arange(size)
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
        received = Described(f"{size} ids, some of them twice")
        raise ValueError(message(_OWNER, "file_ids", "unique", received))
    places = np.searchsorted(ranked, ids)
    is_there = places < size
    is_there[is_there] = ranked[places[is_there]] == ids[is_there]
    if not is_there.all():
        missing = ids[~is_there]
        expected = "a file with a row for each id of the data set"
        mend = f"{len(missing)} of {len(ids)} ids have none, first {_first(missing)}."
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))
    return by_id[places], ids


def _first(ids):
    return ", ".join(str(i) for i in ids[:5])


# --- whether the rows belong to the examples


def _check_clean(path, file_clean, clean, ids):
    """Raise unless the clean labels of file and data set agree, example by example."""
    differs = file_clean != clean
    count = int(np.count_nonzero(differs))
    if count:
        expected = "a file whose clean labels agree with those of the data set"
        mend = (
            f"{count} of {len(clean)} differ, first at ids {_first(ids[differs])}. "
            "Mostly the order is another one: label files follow torchvision's, which "
            "is that of keras.datasets and not that of TFDS. Load the data set with "
            "`datasets.load`, or pass `ids`."
        )
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))


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
    known = (*_checks.ORDERS, _TORCHVISION, _SAME)
    if order not in known:
        expected = f"one of {', '.join(map(repr, known))}"
        raise ValueError(message(_OWNER, "order", expected, order))
    order = _checks.KERAS if order == _TORCHVISION else order
    if own_order is not None and order not in (_SAME, own_order):
        expected = f"that of the data set, {own_order!r}"
        mend = "Pass `file_ids`, or load the data set from another source."
        raise ValueError(message(_OWNER, "order", expected, order, mend))


def _check_agreement(path, noisy, clean):
    """Raise if the labels agree with the clean ones no better than shuffled ones."""
    size = len(clean)
    if size < _MIN_FOR_CHANCE:
        return
    agreement = float(np.mean(noisy == clean))
    length = int(max(noisy.max(), clean.max())) + 1
    shares = (np.bincount(labels, minlength=length) / size for labels in (noisy, clean))
    chance = float(np.dot(*shares))
    if agreement < chance + 5 * np.sqrt(chance * (1 - chance) / size):
        expected = "a file with labels of this data set, in its order"
        mend = (
            f"{agreement:.1%} agree with the clean labels, and {chance:.1%} would by "
            "chance. If they are right, noise.NoisyLabels(noisy, clean, num_classes) "
            "takes them."
        )
        raise ValueError(message(_OWNER, "path", expected, str(path), mend))
