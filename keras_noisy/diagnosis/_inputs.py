"""What `find_wrong_labels` is given, in whatever form, as arrays for a network."""

import dataclasses
import os
from typing import Any

import numpy as np

from keras_noisy._checks.errors import Described, as_array, describe_array, message
from keras_noisy._checks.labels import UNVERIFIED
from keras_noisy._data import arrays, positions, predictions
from keras_noisy.analysis.suspects_table import as_column
from keras_noisy.diagnosis import _images, _labels, _tables, _texts

_PIECE = 1 << 14
# Columns are scaled one by one where the largest deviation is so far above the median.
_UNEVEN = 5.0
_READ_AGAIN = 3


@dataclasses.dataclass
class Examples:
    """Examples in the form that the rest works with.

    Attributes:
        kind: "features", "table", "images", "texts" or "custom".
        x: What a network takes, a structure of arrays.
        labels: Class ids `(n,)`, -1 where there is no label.
        class_names: What each id stands for, `(C,)`.
        features: Rows whose distances mean something, `(n, d)`, or None.
        names: Names, ids or paths `(n,)`, or None.
        notes: Sentences on what was done with the data.
        num_words: Of texts, the number of word ids.
        is_empty: Which examples have no features, `(n,)`, or None.
        shown: What a report shows of an example, arguments of `write_report`.
        folder: Where the files of `names` are, or None.
        encoder: What made `x` of a table or of texts, and does so with others.
    """

    kind: str
    x: Any
    labels: Any
    class_names: Any
    features: Any = None
    names: Any = None
    notes: list = dataclasses.field(default_factory=list)
    num_words: int = 0
    is_empty: Any = None
    shown: dict = dataclasses.field(default_factory=dict)
    folder: str | None = None
    encoder: Any = None

    @property
    def size(self):
        """Number of examples."""
        return len(self.labels)

    @property
    def compared(self):
        """What equal examples have in common, an array `(n, ...)`, or None."""
        if self.kind == "custom":
            return self.features
        return self.x


def read(
    owner,
    x,
    labels,
    *,
    class_names,
    ids,
    features,
    own_network,
    skip_broken,
    argument="labels",
):
    """Return `Examples`, or raise.

    Args:
        owner: Name of the public function, for errors.
        x: Arrays, a data frame, an image folder, a `tf.data.Dataset`, or texts.
        labels: Labels, the name of a column of a frame, or None.
        class_names: As of `_labels.as_classes`.
        ids: Names of the examples `(n,)`, or None.
        features: Rows for neighbours `(n, d)`, or None.
        own_network: Whether the user builds the network.
        skip_broken: Whether files that are no images are left out.
        argument: Name of the argument that labels came as.
    """
    if isinstance(x, str):
        expected = "data: arrays, a data frame, texts, or a folder as a pathlib.Path"
        mend = f"For a folder, pass pathlib.Path({x!r})."
        raise TypeError(message(owner, "x", expected, x, mend))
    names, notes, folder = ids, [], None
    if isinstance(x, os.PathLike):
        _check_no_labels(owner, "a folder", labels, argument)
        folder = os.fspath(x)
        x, labels, paths, notes = _images.read_folder(owner, folder, skip_broken)
        names = paths if ids is None else ids
    elif hasattr(x, "element_spec"):
        _check_no_labels(owner, "a tf.data.Dataset", labels, argument)
        x, labels = _read_dataset(owner, x)
    elif isinstance(labels, str):
        x, labels = _column(owner, x, labels, argument)
    elif labels is None:
        expected = "given, unless `x` is an image folder or a tf.data.Dataset"
        raise ValueError(message(owner, argument, expected, None))
    _check_same_index(owner, x, labels, argument)
    ids_of_classes, classes = _labels.as_classes(owner, labels, class_names, argument)
    notes = notes + _labels.notes_on(classes)
    fields = _read_inputs(owner, x, own_network)
    _check_length(owner, fields["x"], len(ids_of_classes))
    notes = notes + fields.pop("notes", [])
    unlabelled = int((ids_of_classes == UNVERIFIED).sum())
    if unlabelled:
        one = "example has no label and was"
        many = "examples have no label and were"
        notes.append(f"{unlabelled:,} {one if unlabelled == 1 else many} not judged.")
    if ids is not None:
        # Names are not paths below it.
        folder = None
    if names is not None:
        names = as_column(owner, "ids", names, len(ids_of_classes))
    examples = Examples(
        labels=ids_of_classes,
        class_names=classes,
        names=names,
        notes=notes,
        folder=folder,
        **fields,
    )
    if features is not None:
        examples.features = check_features(owner, "features", features, examples.size)
        examples.is_empty = None
    return examples


def _check_same_index(owner, x, labels, argument):
    """Raise if a frame and a series name their rows, and in another order."""
    index, other = getattr(x, "index", None), getattr(labels, "index", None)
    if not (hasattr(index, "equals") and hasattr(other, "equals")):
        return
    if len(index) == len(other) and not index.equals(other):
        expected = "with the index of `x`"
        mend = (
            "If they are in the same order all the same, pass "
            f"`{argument}.to_numpy()`; if not, `{argument}.loc[x.index]`."
        )
        received = Described("another index")
        raise ValueError(message(owner, argument, expected, received, mend))


def _check_no_labels(owner, what, labels, argument):
    if labels is not None:
        expected = f"None where `x` is {what}, which has its own"
        raise ValueError(message(owner, argument, expected, type(labels).__name__))


def _column(owner, x, name, argument):
    """Return a frame without the column of labels, and that column."""
    if not _tables.is_frame(x):
        expected = "labels, or the name of a column where `x` is a data frame"
        raise ValueError(message(owner, argument, expected, name))
    columns = _tables.columns_of(owner, x)
    if name not in columns:
        expected = f"one of the columns {list(columns)[:20]}"
        raise ValueError(message(owner, argument, expected, name))
    found = columns.pop(name)
    if not columns:
        expected = f"a frame with columns beside {name!r}"
        raise ValueError(message(owner, "x", expected, Described("none")))
    return columns, found


def _read_inputs(owner, x, own_network):
    """Return the fields of `Examples` that follow from `x` alone."""
    if _tables.is_frame(x):
        return _read_frame(owner, x)
    if _texts.are_texts(x):
        return _read_texts(owner, x, own_network)
    _texts.check_strings(owner, x)
    x = arrays.as_arrays(owner, "x", x)
    if not hasattr(x, "shape"):
        if not own_network:
            expected = "one array where there is no `build_model`"
            mend = "Pass a function that builds a model of several inputs."
            raise TypeError(message(owner, "x", expected, type(x), mend))
        return {"kind": "custom", "x": x}
    x = x if isinstance(x, np.ndarray) else arrays.to_numpy(x)
    if x.dtype.kind not in "iufb" and x.dtype.name != "bfloat16":
        received = describe_array(x)
        raise TypeError(message(owner, "x", "numbers, or texts", received))
    if _images.are_images(x):
        check_finite(owner, "x", x)
        rows = _images.pixels(x)
        return {"kind": "images", "x": x, "features": rows, "shown": {"images": x}}
    if len(x.shape) == 2 and x.shape[1]:
        check_finite(owner, "x", x)
        return {"kind": "features", "x": x, "features": even(x)}
    if own_network and len(x.shape) > 1:
        return {"kind": "custom", "x": x}
    expected = "of shape (n, features), (n, height, width) or with channels last"
    mend = "Pass `build_model` for inputs of another form."
    received = Described(f"array of shape {tuple(x.shape)}")
    raise ValueError(message(owner, "x", expected, received, mend))


def _read_frame(owner, x):
    columns = _tables.columns_of(owner, x)
    (first, *others) = columns.values()
    if not others and first.dtype.kind in "OUT" and _texts.look_like_texts(first):
        return _read_texts(owner, ["" if _tables.is_missing_value(v) else str(v)
                                   for v in first.tolist()], False)  # fmt: skip
    encoder = _tables.Encoder(owner, columns)
    rows = encoder.encode(owner, columns)
    return {
        "kind": "table",
        "x": rows,
        "features": rows,
        "notes": encoder.notes,
        "shown": {"table": columns},
        "encoder": encoder,
    }


def _read_texts(owner, x, own_network):
    shown = {"texts": as_array(list(x))}
    if own_network:
        return {"kind": "custom", "x": shown["texts"], "shown": shown}
    texts = _texts.Texts(owner, x)
    empty = np.flatnonzero(texts.is_empty)
    notes = []
    if len(empty):
        rows = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        notes = [
            f"{len(empty)} {'text has' if len(empty) == 1 else 'texts have'} no words "
            f"(rows {rows}): that such a label is a suspect or not means little."
        ]
    return {
        "kind": "texts",
        "x": texts.sequences,
        "features": texts.coordinates(),
        "num_words": texts.num_words,
        "is_empty": texts.is_empty if len(empty) else None,
        "notes": notes,
        "shown": shown,
        "encoder": texts,
    }


def _check_length(owner, x, size):
    found = arrays.length(owner, "x", x)
    if found != size:
        expected = f"as many examples as the {size} labels"
        raise ValueError(message(owner, "len(x)", expected, found))


def _read_dataset(owner, dataset):
    """Return inputs and labels of a `tf.data.Dataset` as arrays."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        expected = "a tf.data.Dataset of (x, y)"
        raise TypeError(message(owner, "x", expected, spec))
    predictions.check_finite(owner, dataset)
    operation = positions.find_reordering(dataset)
    if operation:
        expected = f"a data set in a fixed order, without `{operation}`"
        raise ValueError(message(owner, "x", expected, spec))
    if not _is_batched(spec[1]):
        dataset = dataset.batch(256)
    parts = [(x, y) for x, y, *_ in dataset.as_numpy_iterator()]
    if not parts:
        raise ValueError(message(owner, "x", "a data set of examples", dataset))
    # What shuffles where tf.data does not see it is another one from the beginning.
    again = list(dataset.take(_READ_AGAIN).as_numpy_iterator())
    for (x, y), (new_x, new_y, *_) in zip(parts, again, strict=False):
        if arrays.digest((x, y)) != arrays.digest((new_x, new_y)):
            expected = "a data set that comes in the same order whenever it is read"
            received = Described("data that were others the second time")
            mend = "Leave out shuffling and augmentation."
            raise ValueError(message(owner, "x", expected, received, mend))
    inputs = _joined([x for x, _ in parts])
    labels = np.concatenate([y for _, y in parts])
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)
    if labels.dtype.kind in "OS":
        labels = np.array([bytes(label).decode() for label in labels.tolist()])
    return inputs, labels


def _joined(parts):
    if isinstance(parts[0], dict):
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    joined = np.concatenate(parts)
    if joined.dtype.kind in "OS":
        return [bytes(text).decode() for text in joined.tolist()]
    return joined


def _is_batched(spec):
    """Whether labels of an element of a data set are those of several examples."""
    rank = spec.shape.rank
    if rank == 1:
        # One-hot labels are floating point, of a known length.
        return spec.shape[0] is None or not spec.dtype.is_floating
    return bool(rank)


def check_features(owner, argument, features, size):
    """Return rows of finite numbers `(n, d)`, or raise; a memory map stays one."""
    rows = arrays.dense(arrays.as_arrays(owner, argument, features))
    is_right = len(getattr(rows, "shape", ())) == 2 and rows.shape[0] == size
    if not is_right or rows.shape[1] == 0:
        expected = f"of shape ({size}, d), a row for each label"
        received = Described(f"shape {getattr(rows, 'shape', type(rows))}")
        raise ValueError(message(owner, argument, expected, received))
    rows = rows if isinstance(rows, np.ndarray) else arrays.to_numpy(rows)
    if rows.dtype.kind not in "iufb":
        received = describe_array(rows)
        raise TypeError(message(owner, argument, "numbers", received))
    check_finite(owner, argument, rows)
    return rows


def check_finite(owner, argument, x):
    """Raise unless an array holds finite numbers; a memory map is read in parts."""
    count, first = 0, None
    for start in range(0, x.shape[0], _PIECE):
        part = np.asarray(x[start : start + _PIECE])
        if part.dtype.kind != "f":
            return
        is_bad = ~np.isfinite(part.reshape(len(part), -1)).all(axis=1)
        if first is None and is_bad.any():
            first = start + int(np.argmax(is_bad))
        count += int(is_bad.sum())
    if count:
        expected = "finite numbers"
        received = Described(
            f"NaN or infinity in {count} of {x.shape[0]} rows, the first in row {first}"
        )
        mend = (
            "Fill or drop missing values; in a data frame, or a dict of columns, they "
            "may be missing."
        )
        raise ValueError(message(owner, argument, expected, received, mend))


def moments(x):
    """Return mean and deviation of each column, over at most 100,000 rows."""
    step = max(1, x.shape[0] // 100_000)
    total, squares, count = 0.0, 0.0, 0
    shift = np.asarray(x[:1]).astype("float64")
    for start in range(0, x.shape[0], _PIECE * step):
        part = np.asarray(x[start : start + _PIECE * step : step]) - shift
        total, squares = total + part.sum(axis=0), squares + (part**2).sum(axis=0)
        count += len(part)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return (mean + shift).reshape(-1), deviation.reshape(-1)


def even(x):
    """Return rows whose columns are comparable: scaled where their scales are not.

    Embeddings and pixels have one scale, and stay as they are, memory maps too.
    """
    mean, deviation = moments(x)
    known = deviation[deviation > 0]
    if not len(known) or known.max() <= _UNEVEN * np.median(known):
        return x
    scale = np.where(deviation > 0, deviation, 1)
    rows = np.empty(x.shape, "float32")
    for start in range(0, len(rows), _PIECE):
        part = slice(start, start + _PIECE)
        rows[part] = (np.asarray(x[part]) - mean) / scale
    return rows
