"""The pictures of the papers, of one's own run. Needs Matplotlib.

Every function returns a `matplotlib.figure.Figure` that belongs to no window:
`figure.savefig("picture.png")` writes it, and a notebook shows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import as_numbers, as_predictions
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_labels, is_wrong
from keras_noisy._data import outputs
from keras_noisy._typing import ArrayLike, Histories, Images, SoftLabels
from keras_noisy.analysis import _rows
from keras_noisy.analysis.calibration import MOST_BINS, calibration
from keras_noisy.analysis.gradient_density import (
    gradient_density,
    gradient_norms,
    inputs_of,
)
from keras_noisy.analysis.label_correction import label_distance
from keras_noisy.analysis.suspects_table import Suspects

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers; dashes help in print.
COLOURS = (
    "#000000", "#E69F00", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#56B4E9",
)  # fmt: skip
DASHES = ("-", "--", "-.", ":")
AXIS_LABELS = {
    "accuracy": "accuracy on the given labels",
    "val_accuracy": "accuracy on validation data",
    "test_accuracy": "accuracy on test data",
    "loss": "training loss",
    "val_loss": "validation loss",
    "loss_clean": "loss, right labels",
    "loss_corrupted": "loss, wrong labels",
    "wrong_label_fit": "share of wrong labels fitted",
    "semantic_correction": "share of wrong labels corrected",
    "target_correction": "share of targets corrected",
    "target_agreement": "share of targets with the given class",
    "entropy": "normalised entropy",
    "entropy_clean": "normalised entropy, right labels",
    "entropy_corrupted": "normalised entropy, wrong labels",
    "global_trust": "global trust g",
    "trust_clean": "trust e, right labels",
    "trust_corrupted": "trust e, wrong labels",
    "critical_sample_ratio": "critical sample ratio",
}
SHARES = set(AXIS_LABELS) - {"loss", "val_loss", "loss_clean", "loss_corrupted"}


def plot_learning_dynamics(
    histories: Histories,
    *,
    quantities: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Curves over the epochs, one panel per quantity (ProSelfLC Fig. 2, 3 and 5).

    Args:
        histories: A dict from names to histories of `fit` (or their `.history`
            dicts), or one history. A list of them, such as
            `SelfEvolution.histories`, is one training in rounds: its curve has a
            line where each round begins.
        quantities: Names in the logs; by default all known ones that occur.
        title: Title of the picture, or None.

    Returns:
        A Matplotlib figure.

    Raises:
        ImportError: If Matplotlib is missing.
        ValueError: If no quantity occurs in the histories.

    Example:
        >>> from keras_noisy import analysis
        >>> history = {"wrong_label_fit": [0.1, 0.3], "semantic_correction": [0.5, 0.4]}
        >>> figure = analysis.plot_learning_dynamics({"cross-entropy": history})
    """
    rounds = _named_histories(histories)
    histories = {name: _joined(each) for name, each in rounds.items()}
    starts = set(itertools.chain(*map(_starts, rounds.values())))
    logged = set().union(*histories.values())
    names = [n for n in (quantities or AXIS_LABELS) if n in logged]
    if not names:
        expected = f"histories that hold one of {list(quantities or AXIS_LABELS)}"
        received = sorted(logged)
        raise ValueError(
            message("plot_learning_dynamics", "histories", expected, received)
        )
    figure, axes = _panels(len(names))
    for axis, name in zip(axes, names, strict=True):
        for number, (label, history) in enumerate(histories.items()):
            if name not in history:
                continue
            values = np.asarray(history[name], dtype="float64")
            # Quantities that are not measured in every epoch are NaN in between.
            epochs = 1 + np.flatnonzero(~np.isnan(values))
            axis.plot(epochs, values[epochs - 1], label=label, **_style(number))
        for start in starts:
            axis.axvline(start + 0.5, color="grey", linewidth=0.8)
        axis.set(xlabel="epoch", ylabel=AXIS_LABELS.get(name, name))
        if name in SHARES:
            axis.set_ylim(-0.02, 1.02)
    _legend(figure, axes[0], len(histories))
    _title(figure, title)
    return figure


def plot_softmax_trajectories(
    trajectories: ArrayLike,
    noisy: ArrayLike,
    clean: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Probability of the given and of the true class over the epochs (SEAL Fig. 3).

    Args:
        trajectories: Predictions after each epoch, `(epochs, n, num_classes)`, of the
            few examples to show.
        noisy: Given labels, class ids `(n,)`.
        clean: True labels, class ids `(n,)`.
        class_names: Names of the classes, or None.

    Returns:
        A Matplotlib figure, one panel per example.

    Raises:
        ImportError: If Matplotlib is missing.
        ValueError: If shapes do not fit.

    Example:
        >>> from keras_noisy import analysis
        >>> p = [[[0.2, 0.8]], [[0.6, 0.4]]]
        >>> figure = analysis.plot_softmax_trajectories(p, noisy=[0], clean=[1])
    """
    owner = "plot_softmax_trajectories"
    values = as_numbers(owner, "trajectories", trajectories).astype("float64")
    if values.ndim != 3 or not values.size:
        expected = "(epochs, n, num_classes), with epochs and examples"
        raise ValueError(message(owner, "trajectories.shape", expected, values.shape))
    noisy = check_labels(owner, "noisy", noisy, like=values[0])
    clean = check_labels(owner, "clean", clean, like=values[0])
    figure, axes = _panels(values.shape[1], height=2.6)
    epochs = np.arange(1, len(values) + 1)
    for i, axis in enumerate(axes):
        for number, (what, labels) in enumerate((("given", noisy), ("true", clean))):
            axis.plot(epochs, values[:, i, labels[i]], label=what, **_style(number))
        names = [_name(class_names, k) for k in (noisy[i], clean[i])]
        axis.set(xlabel="epoch", ylabel="probability", ylim=(-0.02, 1.02))
        axis.set_title(f"given {names[0]}, true {names[1]}", fontsize=9)
    _legend(figure, axes[0], 2)
    return figure


def plot_label_distance(
    soft_labels: SoftLabels, noisy: ArrayLike, clean: ArrayLike, *, bins: int = 20
) -> Figure:
    """Histogram per round of the distance to the truth (SEAL Fig. 5).

    Args:
        soft_labels: Soft labels `(n, num_classes)`, or a list of those of each round.
        noisy: Given labels, class ids `(n,)`.
        clean: True labels, class ids `(n,)`.
        bins: Number of bins.

    Returns:
        A Matplotlib figure.

    Raises:
        ImportError: If Matplotlib is missing.
        ValueError: If shapes do not fit or no label is wrong.

    Example:
        >>> from keras_noisy import analysis
        >>> figure = analysis.plot_label_distance([[0.3, 0.7]], [0], [1])
    """
    owner = "plot_label_distance"
    rounds = _rows.rounds_of(owner, "soft_labels", soft_labels)
    bins = errors.check_count(owner, "bins", bins, high=MOST_BINS)
    distances = [label_distance(soft, noisy, clean) for soft in rounds]
    distances = [distance[~np.isnan(distance)] for distance in distances]
    if not len(distances[0]):
        expected = "labels of which some differ from `clean`"
        raise ValueError(message(owner, "noisy", expected, errors.Described("none")))
    figure, axes = _panels(len(rounds))
    edges = np.linspace(0, 1, bins + 1)
    for number, (axis, distance) in enumerate(zip(axes, distances, strict=True), 1):
        weights = np.full(len(distance), 1 / len(distance))
        axis.hist(distance, edges, weights=weights, color=COLOURS[4])
        axis.axvline(distance.mean(), color=COLOURS[3], linestyle="--")
        axis.set(xlabel="distance to the true label", ylabel="share of wrong labels")
        axis.set_title(f"round {number}, mean {distance.mean():.2f}", fontsize=10)
    return figure


def plot_suspects(
    images: Images,
    suspects: Suspects,
    *,
    class_names: Sequence[str] | None = None,
    count: int = 20,
    start: int = 0,
) -> Figure:
    """Pictures of the most suspicious examples (SEAL Fig. 6).

    Args:
        images: All images `(n, height, width)` or `(n, height, width, channels)`,
            uint8 or floats in [0, 1].
        suspects: What `find_suspects` returned for them.
        class_names: Names of the classes; by default those of `suspects`.
        count: How many to show.
        start: How many of the most suspicious to leave out; at most all but one.

    Returns:
        A Matplotlib figure; above each image the given and the proposed label.

    Raises:
        ImportError: If Matplotlib is missing.
        ValueError: If there are no images for the suspects.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import analysis
        >>> suspects = analysis.find_suspects([0], [[0.1, 0.9]])
        >>> figure = analysis.plot_suspects(np.zeros((1, 8, 8)), suspects)
    """
    if not isinstance(suspects, Suspects):
        raise TypeError(
            message("plot_suspects", "suspects", "of find_suspects", suspects)
        )
    owner = "plot_suspects"
    count = errors.check_count(owner, "count", count)
    _check_images(owner, images, len(suspects), f"{len(suspects)} images")
    high = len(suspects) - 1
    start = errors.check_count(owner, "start", start, low=0, high=high)
    names = suspects.class_names if class_names is None else class_names
    rows = range(len(suspects))[start : start + count]
    figure, axes = _panels(
        len(rows), columns=min(10, len(rows)), width=1.15, height=1.5
    )
    for row, axis in zip(rows, axes, strict=True):
        labels = suspects.given_label[row], suspects.proposed_label[row]
        given, proposed = (_name(names, label) for label in labels)
        _draw(axis, images[suspects.sample_id[row]], f"{given}\n→ {proposed}")
    return figure


def plot_images(
    images: Images,
    titles: Sequence[str] | None = None,
    *,
    is_marked: ArrayLike | None = None,
    columns: int = 10,
) -> Figure:
    """Pictures in rows, with a title above each.

    Args:
        images: The images to show `(n, height, width)` or `(n, height, width,
            channels)`, uint8 or floats in [0, 1]; or a list of images of any sizes.
        titles: A text for each image, or None.
        is_marked: Mask `(n,)` of the images whose titles are in colour, or None.
        columns: Number of images in a row.

    Returns:
        A Matplotlib figure.

    Raises:
        ImportError: If Matplotlib is missing.
        ValueError: If there are no images, or not as many titles or marks as images.

    Example:
        >>> import numpy as np
        >>> from keras_noisy import analysis
        >>> figure = analysis.plot_images(np.zeros((2, 8, 8)), ["cat", "dog"])
    """
    owner = "plot_images"
    columns = errors.check_count(owner, "columns", columns)
    count = len(images) if hasattr(images, "__len__") else 0
    _check_images(owner, images, count, "one image or more")
    titles = [""] * count if titles is None else titles
    if isinstance(titles, str) or len(titles) != count:
        expected = f"{count} texts, one for each image"
        raise ValueError(message(owner, "titles", expected, titles))
    marks = np.zeros(count, bool)
    if is_marked is not None:
        marks = errors.as_array(is_marked)
        if marks.shape != (count,) or not np.isin(marks, (0, 1)).all():
            expected = f"a mask of shape ({count},)"
            received = errors.describe_array(marks)
            raise ValueError(message(owner, "is_marked", expected, received))
    figure, axes = _panels(count, columns=min(columns, count), width=1.15, height=1.5)
    for image, title, mark, axis in zip(images, titles, marks, axes, strict=True):
        _draw(axis, image, title, COLOURS[3] if mark else COLOURS[0])
    return figure


def _check_images(owner, images, count, what):
    """Check that there are as many images as there must be, each with two sides."""
    is_right = hasattr(images, "__len__") and len(images) == count > 0
    if is_right:
        is_right = all(np.ndim(image) in (2, 3) for image in images[:1])
    if not is_right:
        expected = f"{what}, (n, height, width) or with channels"
        received = errors.describe_array(errors.as_array(images))
        raise ValueError(message(owner, "images", expected, received))


def _draw(axis, image, title, colour=COLOURS[0]):
    image = np.asarray(image)
    image = image[..., 0] if image.shape[-1:] == (1,) else image
    axis.imshow(image, cmap="gray_r" if image.ndim == 2 else None)
    axis.axis("off")
    axis.set_title(title, fontsize=8, color=colour)


def plot_losses(
    losses: Mapping[str, keras.losses.Loss], *, num_classes: int = 10
) -> Figure:
    """Losses and their gradients as functions of `p_y` (Equal Loss Fig. 2 and 3).

    The other classes share the rest of the probability evenly.

    Args:
        losses: A dict from names to `keras.losses.Loss` objects.
        num_classes: Number of classes.

    Returns:
        A Matplotlib figure: the loss, and the L1 norm of its gradient in the logits.

    Raises:
        ImportError: If Matplotlib is missing.

    Example:
        >>> from keras_noisy import analysis, losses
        >>> figure = analysis.plot_losses({"Equal Loss": losses.EqualLoss(epsilon=0.4)})
    """
    owner = "plot_losses"
    num_classes = errors.check_count(
        owner, "num_classes", num_classes, low=2, high=10**5
    )
    losses = _named_losses(owner, losses)
    p = np.linspace(0.002, 0.998, 250)
    rest = (1 - p) / (num_classes - 1)
    logits = np.repeat(np.log(rest)[:, None], num_classes, axis=1)
    logits[:, 0] = np.log(p)
    logits = logits.astype("float32")
    labels = np.zeros(len(p), "int64")
    figure, axes = _panels(2)
    for number, (name, loss) in enumerate(losses.items()):
        is_logits = outputs.takes_logits(loss)
        inputs = logits if is_logits else np.exp(logits)
        inputs = ops.convert_to_tensor(inputs)
        values = loss.call(*inputs_of(loss, labels, inputs))
        style = _style(number)
        axes[0].plot(p, ops.convert_to_numpy(values), label=name, **style)
        axes[1].plot(p, gradient_norms(owner, loss, labels, logits)[1], **style)
    axes[0].set(xlabel="probability of the labelled class", ylabel="loss")
    axes[1].set(
        xlabel="probability of the labelled class",
        ylabel="L1 norm of the gradient",
    )
    _legend(figure, axes[0], len(losses))
    return figure


def plot_gradient_density(
    losses: Mapping[str, keras.losses.Loss],
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    clean: ArrayLike | None = None,
    from_logits: bool = False,
    bins: int = 50,
) -> Figure:
    """Density of `p_y`, and where gradients come from (Equal Loss Fig. 1).

    Args:
        losses: A dict from names to `keras.losses.Loss` objects.
        y_true: Given labels, class ids `(n,)`.
        y_pred: Probabilities, or logits with `from_logits=True`, `(n, num_classes)`.
        clean: True labels `(n,)`, to show right and wrong labels apart, or None.
        from_logits: Whether `y_pred` holds logits.
        bins: Number of bins.

    Returns:
        A Matplotlib figure.

    Raises:
        ImportError: If Matplotlib is missing.
        ValueError: As `gradient_density`.

    Example:
        >>> from keras_noisy import analysis, losses
        >>> named = {"Equal Loss": losses.EqualLoss(epsilon=0.4)}
        >>> p, y = [[0.1, 0.9], [0.9, 0.1]], [0, 0]
        >>> figure = analysis.plot_gradient_density(named, y, p)
    """
    owner = "plot_gradient_density"
    losses = _named_losses(owner, losses)
    errors.check_bool(owner, "from_logits", from_logits)
    y_pred = as_predictions(owner, "y_pred", y_pred, from_logits=from_logits)
    y_true = check_labels(owner, "y_true", y_true, like=y_pred)
    parts = {"all labels": np.ones(len(y_true), bool)}
    if clean is not None:
        clean = check_labels(owner, "clean", clean, like=y_pred, unverified=True)
        parts = {
            "right labels": y_true == clean,
            "wrong labels": is_wrong(y_true, clean),
        }
    arguments: dict[str, Any] = {"from_logits": from_logits, "bins": bins}
    figure, axes = _panels(2)
    any_loss = next(iter(losses.values()))
    for number, (name, rows) in enumerate(parts.items()):
        if rows.any():
            curve = gradient_density(any_loss, y_true[rows], y_pred[rows], **arguments)
            axes[0].plot(curve.probability, curve.density, label=name, **_style(number))
    axes[0].legend(frameon=False)
    axes[0].set(xlabel="probability of the given label", ylabel="density")
    for number, (name, loss) in enumerate(losses.items()):
        curve = gradient_density(loss, y_true, y_pred, **arguments)
        axes[1].plot(
            curve.probability, curve.gradient_density, label=name, **_style(number)
        )
    axes[1].legend(frameon=False)
    axes[1].set(xlabel="probability of the given label", ylabel="gradient density")
    return figure


def plot_transition_matrix(
    transition_matrix: ArrayLike | Mapping[str, ArrayLike],
    *,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """A noise matrix as a heat map with its numbers, or several side by side.

    Args:
        transition_matrix: `T (C, C)`; rows are true classes. NaN rows stay empty. Or a
            dict of matrices by their titles.
        class_names: Names of the classes, or None.
        title: Title, or None.

    Returns:
        A Matplotlib figure.

    Raises:
        ImportError: If Matplotlib is missing.
        ValueError: If a matrix is not square, or the dict is empty.

    Example:
        >>> from keras_noisy import analysis, noise
        >>> figure = analysis.plot_transition_matrix(noise.symmetric(10, 0.4))
    """
    owner, name = "plot_transition_matrix", "transition_matrix"
    is_one = not isinstance(transition_matrix, Mapping)
    named: Mapping[str, ArrayLike] = {"": transition_matrix}  # type: ignore[dict-item]
    if isinstance(transition_matrix, Mapping):
        named = transition_matrix
    if not named:
        expected = "a matrix, or a dict of matrices by their titles"
        raise ValueError(message(owner, name, expected, named))
    matrices = [_as_matrix(owner, name, each) for each in named.values()]
    side = {"width": 4.8, "height": 4.2} if is_one else {"width": 3.4, "height": 3.2}
    figure, axes = _panels(len(named), columns=min(len(named), 4), **side)
    for axis, heading, matrix in zip(axes, named, matrices, strict=True):
        image = axis.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
        _ticks_and_numbers(axis, matrix, class_names, small=not is_one)
        axis.grid(False)
        axis.set(xlabel="noisy label", ylabel="true class")
        axis.set_title(heading, fontsize=10)
    figure.colorbar(image, ax=axes, label="probability", shrink=1 if is_one else 0.6)
    _title(figure, title)
    return figure


def _as_matrix(owner, name, value):
    matrix = as_numbers(owner, name, value).astype("float64")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        expected = "of shape (num_classes, num_classes)"
        raise ValueError(message(owner, name, expected, errors.describe_array(matrix)))
    return matrix


def _ticks_and_numbers(axis, matrix, class_names, *, small):
    """Name the classes, as far as there is room, and write the probabilities."""
    size = len(matrix)
    if size > (10 if small else 20):
        for each in (axis.xaxis, axis.yaxis):
            each.get_major_locator().set_params(integer=True)
        return
    ticks = np.arange(size)
    names = [_name(class_names, k) for k in range(size)]
    axis.set_xticks(ticks, names, rotation=0 if class_names is None else 90)
    axis.set_yticks(ticks, names)
    if small and size > 4:
        return
    for i, j in itertools.product(range(size), repeat=2):
        if matrix[i, j] >= 0.005:
            colour = "white" if matrix[i, j] > 0.5 else "black"
            axis.text(
                j,
                i,
                f"{matrix[i, j]:.2f}",
                ha="center",
                va="center",
                color=colour,
                fontsize=7,
            )


def plot_reliability(
    predictions: ArrayLike,
    labels: ArrayLike,
    *,
    bins: int = 15,
    title: str | None = None,
) -> Figure:
    """Reliability diagram with the expected calibration error.

    Args:
        predictions: Probabilities `(n, num_classes)`.
        labels: True labels, class ids `(n,)`.
        bins: Number of bins.
        title: Title, or None.

    Returns:
        A Matplotlib figure: accuracy against confidence, and how many predictions
        have that confidence.

    Raises:
        ImportError: If Matplotlib is missing.
        ValueError: As `calibration`.

    Example:
        >>> from keras_noisy import analysis
        >>> figure = analysis.plot_reliability([[0.9, 0.1], [0.8, 0.2]], [0, 1])
    """
    result = calibration(predictions, labels, bins=bins)
    figure, axes = _panels(2)
    axes[0].plot([0, 1], [0, 1], color="grey", linestyle=":", label="calibrated")
    axes[0].plot(
        result.confidence,
        result.accuracy,
        marker="o",
        label=f"model, calibration error {result.error:.3f}",
        **_style(4),
    )
    axes[0].legend(frameon=False)
    axes[0].set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    centres = (np.arange(bins) + 0.5) / bins
    share = result.count / result.count.sum()
    axes[1].bar(centres, share, width=0.9 / bins, color=COLOURS[4])
    axes[1].set(xlabel="confidence", ylabel="share of predictions", xlim=(0, 1.02))
    _title(figure, title)
    return figure


def _panels(count, *, columns=None, width=4.2, height=3.2):
    """Return a figure and a list of `count` axes."""
    try:
        from keras_noisy.analysis._figure import Figure
    except ImportError as error:
        raise ImportError(
            "keras_noisy: plots need Matplotlib. Install it with "
            "`pip install keras-noisy[examples]`."
        ) from error
    columns = columns or min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.remove()
    for axis in axes[:count]:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def _style(number):
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
    }


def _legend(figure, axis, count):
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(count, 5), frameon=False
    )


def _title(figure, title):
    if title:
        figure.suptitle(title)


def _name(class_names, label):
    return str(label if class_names is None else class_names[label])


def _named_losses(owner, losses):
    if not isinstance(losses, Mapping) or not losses:
        expected = "a dict of losses by their names"
        raise TypeError(message(owner, "losses", expected, losses))
    for loss in losses.values():
        if not isinstance(loss, keras.losses.Loss):
            expected = "a dict of `keras.losses.Loss` objects"
            raise TypeError(message(owner, "losses", expected, losses))
    return losses


def _named_histories(histories):
    """Return the logs of each round of trainings, lists of dicts by names."""
    if isinstance(histories, keras.callbacks.History) or _are_rounds(histories):
        return {"run": _rounds(histories)}
    if not isinstance(histories, Mapping):
        expected = "a history of `fit`, a list of them, or a dict of them by names"
        owner = "plot_learning_dynamics"
        raise TypeError(message(owner, "histories", expected, histories))
    values = list(histories.values())
    is_named = not values or _is_history(values[0]) or _are_rounds(values[0])
    if not is_named:
        return {"run": [histories]}  # The `.history` of a single run.
    return {name: _rounds(history) for name, history in histories.items()}


def _is_history(value):
    return isinstance(value, (dict, keras.callbacks.History))


def _are_rounds(value):
    return isinstance(value, list) and bool(value) and all(map(_is_history, value))


def _rounds(history):
    rounds = history if isinstance(history, list) else [history]
    return [getattr(each, "history", each) for each in rounds]


def _joined(rounds):
    """Return one history of several rounds; what a round did not log is NaN there."""
    if len(rounds) == 1:
        return rounds[0]
    lengths = _lengths(rounds)
    return {
        name: np.concatenate(
            [
                np.asarray(each.get(name, [np.nan] * length), "float64")
                for each, length in zip(rounds, lengths, strict=True)
            ]
        )
        for name in dict.fromkeys(itertools.chain(*rounds))
    }


def _starts(rounds):
    """Return the number of epochs before each round but the first."""
    return list(itertools.accumulate(_lengths(rounds[:-1])))


def _lengths(rounds):
    """Return the number of epochs of each round."""
    return [max(map(len, each.values()), default=0) for each in rounds]
