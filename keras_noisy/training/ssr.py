"""SSR: examples chosen by their neighbours, and labels that the network replaces."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import is_one_output
from keras_noisy._checks.numbers import Interval
from keras_noisy._data import arrays, outputs, predictions
from keras_noisy._step import replicas
from keras_noisy._typing import BoolArray, FloatArray, IntArray, Logs, Self, Tensor
from keras_noisy.analysis.features import hidden_model, rows_in_pieces
from keras_noisy.analysis.neighbor_votes import neighbor_votes
from keras_noisy.losses import _labels, _prediction
from keras_noisy.training import _around, _callbacks, _mixup, _planned, _random

_OWNER = "SSR"
_OWN_ARGUMENTS = (
    "warmup_epochs",
    "relabel_threshold",
    "selection_threshold",
    "num_neighbors",
    "mixup_alpha",
    "layer",
    "seed",
)
_REASON = "Examples are chosen, and classes balanced, by the method itself."
_REFUSED = {"sample_weight": _REASON, "class_weight": _REASON}
# Votes are float32 means.
_TOLERANCE = 1e-5


@keras.saving.register_keras_serializable(package="keras_noisy")
class SSR(_around.AroundNetworks):
    """A network that chooses what it learns from by neighbours, and relabels (SSR).

    Before every epoch after a warm-up the network looks at all training examples. It
    replaces the given label of those that it is sure of,

        y'_i = argmax p_i  where  max p_i > relabel_threshold,  else the given one

    and asks the nearest neighbours of each example, by the angle between rows of the
    last hidden layer, for their `y'`. The shares of votes `v_i` are divided by how
    frequent each class is in `y'`, and examples are selected whose label the
    neighbours agree with:

        c_i = v_i(y'_i) / max_k v_i(k) >= selection_threshold

    The epoch trains on the selected examples alone, all classes of them equally often,
    with cross-entropy to `y'` of examples mixed in pairs: `x' = s x_i + (1 - s) x_j`
    and labels alike, `s` of the distribution beta(`mixup_alpha`, `mixup_alpha`) and one
    half at least. The warm-up trains on all examples and given labels, unmixed.

    It is compiled and trained as any model of Keras, on arrays, with categorical
    cross-entropy of either kind, or the binary one of one sigmoid output. `predict`,
    `evaluate` and validation are the network's; metrics of the training are those of
    mixed examples. Logs show `selected_share` and `relabeled_share`, the share of
    labels that are not the given ones, NaN in the warm-up.

    Args:
        network: A model with one output, class probabilities or logits `(batch,
            num_classes)`, or one sigmoid `(batch, 1)` or `(batch,)`; the compiled loss
            says which.
        warmup_epochs: Epochs on all examples, at least 1.
        augmentation: A layer that changes examples at random in training and keeps
            their shape, such as `models.RandomCropFlip`; None for mixing alone. Not a
            part of the network, which would augment mixed examples.
        relabel_threshold: Above which probability a label is replaced, in [0, 1]; 1
            replaces none.
        selection_threshold: Least agreement of the neighbours, in (0, 1]; 1 takes
            labels that no other class outvotes.
        num_neighbors: How many vote; at most as many as a class has examples on
            average.
        mixup_alpha: Both parameters of the distribution of shares; 0 mixes nothing, and
            neither are integers with a sign mixed, which are ids of words.
        layer: The layer whose outputs say who is a neighbour, by name or position; by
            default the input of the last layer that has weights.
        seed: Seed of the order of examples, pairs, shares and augmentation, which
            follow from it and the number of the epoch; by default a random one.
        **kwargs: `name`, `trainable` and `dtype`, as in `keras.Model`.

    Attributes:
        labels: Class ids `(n,)` that the epoch trains on; None in the warm-up.
        selected: Which examples it trains on, boolean `(n,)`; None in the warm-up.

    Raises:
        TypeError: If `network` or `augmentation` has the wrong type; in `fit`, if the
            data are no arrays.
        ValueError: If an argument is out of range; in `fit`, if the loss is no
            cross-entropy, `augmentation` changes shapes, or for weights of examples or
            classes.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import training
        >>> network = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)]
        ... )
        >>> model = training.SSR(network, warmup_epochs=2, seed=0)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> x = np.random.default_rng(0).normal(size=(12, 4))
        >>> history = model.fit(x, np.arange(12) % 2, epochs=3, verbose=0)
        >>> len(history.history["selected_share"]), model.selected.shape
        (3, (12,))

    Note:
        An epoch has as many steps as one over all examples. An example never votes for
        itself, and copies of it neither (`analysis.neighbor_votes`). An epoch that
        selects nothing trains on all examples, and warns. The consistency of features
        that SSR+ adds is not part of this.

    Reference:
        Feng, Tzimiropoulos, Patras, "SSR: An Efficient and Robust Framework for
        Learning with Unknown Label Noise", BMVC 2022.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        warmup_epochs: int = 10,
        augmentation: keras.Layer | None = None,
        relabel_threshold: float = 0.9,
        selection_threshold: float = 1.0,
        num_neighbors: int = 200,
        mixup_alpha: float = 4.0,
        layer: str | int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, **kwargs)
        # Examples are mixed as they are; the network casts them.
        self.autocast = False
        count = errors.check_count
        self.warmup_epochs = count(_OWNER, "warmup_epochs", warmup_epochs)
        self.augmentation = _around.check_augmentation(_OWNER, augmentation)
        self.relabel_threshold = Interval(0, 1)(
            _OWNER, "relabel_threshold", relabel_threshold
        )
        self.selection_threshold = Interval(0, 1, "right")(
            _OWNER, "selection_threshold", selection_threshold
        )
        self.num_neighbors = count(_OWNER, "num_neighbors", num_neighbors)
        self.mixup_alpha = Interval(0, 1e6)(_OWNER, "mixup_alpha", mixup_alpha)
        self.layer = layer
        self.seed = _random.check_seed(_OWNER, seed)
        self._own_seed: int = _random.own_seed(self.seed)
        self.labels: IntArray | None = None
        self.selected: BoolArray | None = None

    def takes_logits(self) -> bool:
        """Return whether outputs are logits: the compiled loss says so."""
        return _around.cross_entropy_takes_logits(_OWNER, self.loss, binary=True)

    def set_epoch(self, epoch: int) -> None:
        """Set the random state of an epoch."""
        epoch = errors.check_count(_OWNER, "epoch", epoch, low=0)
        _random.begin_epoch_of_layers(self, self._own_seed, epoch)

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        """Return the output of `network`, in training of mixed examples."""
        x, plan = _planned.split(inputs)
        if not training:
            return self.network(x, training=False)
        if self.augmentation is not None:
            x = self.augmentation(x, training=True)
        if plan is not None and self._mixes(x):
            x = keras.tree.map_structure(lambda leaf: _mixed(leaf, plan), x)
        return self.network(x, training=True)

    def _mixes(self, x):
        return self.mixup_alpha and _mixup.are_mixable(x)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train the network, with the arguments of `keras.Model.fit`.

        Data are arrays, a tuple or dict of them too (memory maps as well), and labels
        class ids or distributions, of which the largest class counts after the warm-up.
        """
        arguments = _callbacks.arguments_with(self, self._schedule, args, kwargs)
        return super().fit(**arguments)

    def _schedule(self, arguments):
        """Return the callback of a training, and put its batches into the arguments."""
        examples = _planned.take_examples(_OWNER, arguments, _REFUSED, least_batch=2)
        self.takes_logits()
        one = arrays.batch_of(examples.x, slice(0, 1))
        found = predictions.on_batch(_OWNER, self.network, one)
        shape = tuple(getattr(found, "shape", ()))
        num_classes = outputs.num_classes(_OWNER, shape)
        is_binary = is_one_output(shape)
        _around.check_loss_of_outputs(_OWNER, self.loss, is_binary)
        _planned.check_outputs(_OWNER, examples, num_classes)
        examples = _planned.of_one_output(examples) if is_binary else examples
        _planned.check_replicas(_OWNER, self, examples.batch_size)
        _around.check_shapes(_OWNER, self.augmentation, one)
        schedule = _Schedule(examples, self._own_seed, num_classes)
        arguments.update(x=schedule.batches, shuffle=False)
        return schedule

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the loss of mixed examples; in an evaluation the compiled one."""
        inputs, plan = _planned.split(x)
        if not training or plan is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        p = _prediction.read(_OWNER, y_pred, self.takes_logits())
        shape, dtype = p.shifted.shape, p.shifted.dtype
        q = _labels.read(_OWNER, y, shape, dtype, is_binary=p.is_binary).q
        if self._mixes(inputs):
            q = _mixed(q, plan)
        # Keras adds up what the replicas return.
        loss = ops.mean(p.cross_entropy(q)) / replicas.num_replicas()
        return loss + _around.penalties(self, loss.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in _OWN_ARGUMENTS},
            "augmentation": _around.serialized(self.augmentation),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Return a model from the constructor arguments."""
        layer = _around.deserialized(config["augmentation"], custom_objects)
        return super().from_config({**config, "augmentation": layer}, custom_objects)


class _Schedule(_planned.Schedule):
    """Relabels and selects examples before each epoch, and logs how many."""

    def __init__(self, examples, seed, num_classes):
        super().__init__(_OWNER, examples, seed)
        self._num_classes = num_classes
        self._hidden = None
        # Keras looks at the first batches before it begins.
        self.plan_warmup(None)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.model.labels = self.model.selected = None
        super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is None:
            return
        selected, labels = self.model.selected, self.model.labels
        logs["selected_share"] = logs["relabeled_share"] = float("nan")
        if selected is not None:
            logs["selected_share"] = float(selected.mean())
            logs["relabeled_share"] = float(np.mean(labels != self.examples.classes))

    def plan_warmup(self, generator: np.random.Generator | None) -> None:
        """Take all examples, with their labels and unmixed."""
        rows = self.batches.rows = self.all_rows(generator)
        self.batches.y = self.examples.y
        self.batches.plan = {
            "partner": np.zeros(rows.shape, "int32"),
            "share": np.ones(rows.shape, "float32"),
        }

    def plan(self, generator: np.random.Generator, epoch: int) -> None:
        """Take the selected examples, each class equally often."""
        examples, model = self.examples, self.model
        steps, size = examples.steps, examples.batch_size
        model.labels = relabeled(
            self._probabilities(), examples.classes, model.relabel_threshold
        )
        model.selected = self._selection(model.labels, epoch)
        rows = self._balanced(np.flatnonzero(model.selected), steps * size, generator)
        self.batches.rows = rows.reshape(steps, size)
        self.batches.y = _planned.in_form(model.labels, examples.y)
        partner, share = _planned.partners(generator, steps, size, model.mixup_alpha)
        share = np.repeat(share[:, None], size, axis=1)
        self.batches.plan = {"partner": partner, "share": share}

    def _probabilities(self):
        """Return what the network predicts of all examples."""
        parts = predictions.in_pieces(_OWNER, self.model.network, self.examples.x)
        p = outputs.probabilities(np.concatenate([*parts]), self.model.takes_logits())
        if not np.isfinite(p).all():
            received = errors.Described("NaN")
            mend = "The training has diverged; lower the learning rate."
            text = errors.message(_OWNER, "predictions", "numbers", received, mend)
            raise ValueError(text)
        return p

    def _features(self):
        """Return what the network makes of all examples, `(n, d)`."""
        if self._hidden is None:
            # One for the training: each is compiled anew.
            model = self.model
            self._hidden = hidden_model(_OWNER, model.network, model.layer)
        pieces = rows_in_pieces(_OWNER, self._hidden, self.examples.x)
        return np.concatenate([*pieces])

    def _selection(self, labels, epoch):
        """Return which examples' labels their neighbours agree with, or all."""
        model = self.model
        votes = neighbor_votes(
            self._features(),
            labels,
            num_neighbors=max(
                1, min(model.num_neighbors, len(labels) // self._num_classes)
            ),
            num_classes=self._num_classes,
        )
        is_selected = agrees(votes, labels, model.selection_threshold)
        if not is_selected.any():
            self.tell(
                "none",
                f"no label has the votes of its neighbours in epoch {epoch}, so that "
                "all examples are selected. Pass a smaller `selection_threshold` or "
                "more `warmup_epochs`.",
            )
            return np.ones_like(is_selected)
        lost, counts = self.lost_classes(labels, is_selected)
        gone = np.setdiff1d(self.examples.classes, labels).tolist()
        if lost or gone:
            counts += "".join(f"; class {c} was relabelled away" for c in gone)
            self.tell(
                (*lost, *gone),
                f"the selection of epoch {epoch} keeps few examples of some classes, "
                f"or none: {counts.lstrip('; ')}. Pass a "
                "smaller `num_neighbors` or `selection_threshold`, a larger "
                "`relabel_threshold`, or see `selected`.",
            )
        return is_selected

    def _balanced(self, rows, count, generator):
        """Return `count` of the rows, of each class equally many, in random order."""
        classes = self.model.labels[rows]
        present = np.unique(classes)
        sizes = [len(part) for part in np.array_split(np.arange(count), len(present))]
        # Of two numbers that differ by one, by chance which classes have more.
        present = generator.permutation(present)
        drawn = np.concatenate(
            [
                self.cycled(rows[classes == c], size, generator)
                for c, size in zip(present, sizes, strict=True)
            ]
        )
        return generator.permutation(drawn)


def relabeled(p: FloatArray, given: IntArray, threshold: float) -> IntArray:
    """Return the class of each example, the given one unless another one is sure.

    Args:
        p: Probabilities `(n, num_classes)`.
        given: Class ids `(n,)`.
        threshold: Above which probability a label is replaced.
    """
    return np.where(p.max(axis=1) > threshold, p.argmax(axis=1), given)


def agrees(votes: FloatArray, labels: IntArray, threshold: float) -> BoolArray:
    """Return for which examples neighbours vote for the label, with balanced classes.

    Args:
        votes: Shares of the neighbours' labels, `(n, num_classes)`.
        labels: Class ids `(n,)`, which the neighbours voted with.
        threshold: Least votes for the label, as a share of those for the first class.
    """
    frequency = np.bincount(labels, minlength=votes.shape[1]) / len(labels)
    balanced = votes / np.where(frequency > 0, frequency, 1)
    own = balanced[np.arange(len(labels)), labels]
    return own >= (threshold - _TOLERANCE) * balanced.max(axis=1)


def _mixed(values, plan):
    """Return rows mixed with their partners on all replicas."""
    values = _mixup.as_floats(values)
    (of_all,) = replicas.gathered([values])
    partner = ops.take(of_all, plan["partner"], axis=0)
    return _mixup.between(values, partner, plan["share"])
