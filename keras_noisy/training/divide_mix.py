"""DivideMix: two networks that divide the data for each other."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.distributions import is_one_output
from keras_noisy._checks.numbers import Interval, at_least_zero
from keras_noisy._data import arrays, outputs, predictions
from keras_noisy._step import replicas, seam
from keras_noisy._typing import ArrayLike, BoolArray, FloatArray, Logs, Self, Tensor
from keras_noisy.losses import _labels, _prediction, _prior
from keras_noisy.training import (
    _around,
    _callbacks,
    _gaussian_mixture,
    _mixup,
    _planned,
    _random,
)

_OWNER = "DivideMix"
_OWN_ARGUMENTS = (
    "warmup_epochs",
    "num_augmentations",
    "temperature",
    "mixup_alpha",
    "clean_threshold",
    "unlabeled_weight",
    "ramp_epochs",
    "prior_weight",
    "confidence_penalty",
    "seed",
)
_GUESSED = "Targets are refined or guessed, and batches are mixed: weights of {} \
have no meaning there. Leave them out."
_REFUSED = {
    "sample_weight": _GUESSED.format("examples"),
    "class_weight": _GUESSED.format("classes"),
}
_LOG_2 = float(np.log(2))
# Of a group of four rows: an example that `network` takes for labelled, one that it
# takes for unlabelled, and the two of `peer`.
_GROUP = 4
_PRESETS = {
    f"{data}, {noise}": {"warmup_epochs": warmup, "unlabeled_weight": weight, **more}
    for data, warmup, noise, weight, more in (
        ("cifar10", 10, "symmetric 20 %", 0.0, {}),
        ("cifar10", 10, "symmetric 50 %", 25.0, {}),
        ("cifar10", 10, "symmetric 80 %", 25.0, {}),
        ("cifar10", 10, "symmetric 90 %", 50.0, {"clean_threshold": 0.6}),
        ("cifar10", 10, "asymmetric 40 %", 0.0, {"confidence_penalty": 1.0}),
        ("cifar100", 30, "symmetric 20 %", 25.0, {}),
        ("cifar100", 30, "symmetric 50 %", 150.0, {}),
        ("cifar100", 30, "symmetric 80 %", 150.0, {}),
        ("cifar100", 30, "symmetric 90 %", 150.0, {"clean_threshold": 0.6}),
    )
}
_REAL = {"warmup_epochs": 1, "unlabeled_weight": 0.0, "mixup_alpha": 0.5}
_PRESETS["clothing1m"] = {**_REAL, "confidence_penalty": 1.0}
_PRESETS["webvision"] = _REAL


@keras.saving.register_keras_serializable(package="keras_noisy")
class DivideMix(_around.AroundNetworks):
    """Two networks that say which labels to use, and train on all examples.

    After some epochs of warm-up, before every epoch, a mixture of two normal
    distributions is fitted to the losses of each network on all training examples,
    scaled to [0, 1]. The probability `w` that a loss is of the smaller component
    divides the examples for the *other* network: those with `w >= clean_threshold`
    keep their labels, the others are unlabelled. A step has as many of both, in
    `num_augmentations` random views each. With the means of predictions `p` over the
    views, of the network, and `r` of both networks, targets are

        labelled:    sharpen(w q + (1 - w) p)       (co-refinement)
        unlabelled:  sharpen(r)                     (co-guessing)

    with `sharpen(t) = t^(1 / temperature)`, normalised. Views of both kinds are mixed
    in pairs, `x' = s x_i + (1 - s) x_j` and targets alike, with `s` of the distribution
    beta(`mixup_alpha`, `mixup_alpha`) and one half at least. Each network has the loss

        mean over labelled x' of H(t', p(x'))
        + unlabeled_weight ramp  mean over unlabelled x' and classes of (t' - p(x'))^2
        + prior_weight KL(prior || mean p(x'))

    where `ramp` grows from 0 to 1 in `ramp_epochs`. In the warm-up both train with the
    compiled loss on augmented examples, less `confidence_penalty` times the entropy of
    the prediction.

    It is compiled and trained as any model of Keras, on arrays; the compiled loss is
    the warm-up's, and says whether outputs are logits. `predict`, `evaluate`, metrics
    of validation data and `export` are those of both networks together, the mean of
    their probabilities (of logits its logarithm, or its logit). Logs show the sum of
    both losses, and the shares of labels that each network calls right, `clean_share`
    and `peer_clean_share`, NaN in the warm-up.

    Args:
        network: A model with one output, class probabilities or logits `(batch,
            num_classes)`, or one sigmoid `(batch, 1)` or `(batch,)`.
        peer: A second one, of other weights.
        warmup_epochs: Epochs with the compiled loss, at least 1: as many as it takes
            until right labels have smaller losses than wrong ones.
        augmentation: A layer that changes examples at random in training and keeps
            their shape, such as `models.RandomCropFlip` or a `keras.layers.Pipeline`.
            None, for tables and features: one view, and mixing alone. Not a part of
            the networks, which would augment mixed examples.
        num_augmentations: Views of each example, `M`.
        temperature: Of sharpening, in (0, 1].
        mixup_alpha: Both parameters of the distribution of shares; 0 mixes nothing, and
            neither are integers with a sign mixed, which are ids of words.
        clean_threshold: Least probability of a right label, in (0, 1).
        unlabeled_weight: Weight of the unlabelled examples in the end, at least 0.
        ramp_epochs: Epochs in which it grows, after the warm-up; 0 for at once.
        prior_weight: Weight of the divergence from the prior, at least 0.
        prior: How often each class occurs, `(num_classes,)`, summing to one; by default
            all alike.
        confidence_penalty: Weight of the entropy in the warm-up; the paper has 1 for
            asymmetric noise and 0 for others.
        seed: Seed of the order of examples, pairs, shares and augmentation, which
            follow from it and the number of the epoch; by default a random one.
        **kwargs: `name`, `trainable` and `dtype`, as in `keras.Model`.

    Attributes:
        network: The first network.
        peer: The second one.
        ensemble: Both as one model, which makes the predictions.
        presets: Arguments by data set and noise, the paper's.
        clean_probabilities: How probable it is that each label is right, for `network`
            and `peer`, `(2, n)`; None before the first division.

    Raises:
        TypeError: If `network`, `peer` or `augmentation` has the wrong type; in `fit`,
            if the data are no arrays.
        ValueError: If an argument is out of range, or the two networks share variables;
            in `fit`, if they have the same weights or other outputs, if
            `augmentation` changes shapes, or for weights of examples or classes.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import training
        >>> keras.utils.set_random_seed(0)
        >>> networks = [
        ...     keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        ...     for _ in range(2)
        ... ]
        >>> model = training.DivideMix(*networks, warmup_epochs=9, seed=0)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile(keras.optimizers.SGD(0.1), loss)
        >>> y = np.repeat([0, 1], 40)
        >>> x = np.random.default_rng(0).normal(4 * y[:, None], 1, (80, 4))
        >>> y[::8] = 1 - y[::8]
        >>> history = model.fit(x, y, epochs=10, verbose=0)
        >>> len(history.history["clean_share"]), model.predict(x, verbose=0).shape
        (10, (80, 2))

    Note:
        Both networks take a step together, with one optimizer, where Algorithm 1 trains
        one for an epoch and then the other. An epoch has as many steps as one over all
        examples in batches of `batch_size`, of which half are labelled. The squared
        error is a mean over the classes too, as in MixMatch and in the authors' code,
        which the paper's weights belong to; the paper's text has a sum. Predictions for
        targets are made in inference mode. An epoch whose division leaves nothing on
        one side takes all examples for labelled, with their `w`, and warns.

    Reference:
        Li, Socher, Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised
        Learning", ICLR 2020: Algorithm 1.
    """

    _networks = ("network", "peer")
    peer: keras.Model
    presets = _PRESETS

    def __init__(
        self,
        network: keras.Model,
        peer: keras.Model,
        *,
        warmup_epochs: int = 10,
        augmentation: keras.Layer | None = None,
        num_augmentations: int = 2,
        temperature: float = 0.5,
        mixup_alpha: float = 4.0,
        clean_threshold: float = 0.5,
        unlabeled_weight: float = 25.0,
        ramp_epochs: int = 16,
        prior_weight: float = 1.0,
        prior: ArrayLike | None = None,
        confidence_penalty: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, peer, **kwargs)
        _around.check_apart(_OWNER, network, peer)
        # Examples are mixed as they are; the networks cast them.
        self.autocast = False
        count, weight = errors.check_count, at_least_zero()
        self.warmup_epochs = count(_OWNER, "warmup_epochs", warmup_epochs)
        self.augmentation = _around.check_augmentation(_OWNER, augmentation)
        self.num_augmentations = count(
            _OWNER, "num_augmentations", num_augmentations, high=1000
        )
        self.temperature = Interval(0, 1, "right")(_OWNER, "temperature", temperature)
        self.mixup_alpha = Interval(0, 1e6)(_OWNER, "mixup_alpha", mixup_alpha)
        self.clean_threshold = Interval(0, 1, "neither")(
            _OWNER, "clean_threshold", clean_threshold
        )
        self.unlabeled_weight = weight(_OWNER, "unlabeled_weight", unlabeled_weight)
        self.ramp_epochs = count(_OWNER, "ramp_epochs", ramp_epochs, low=0)
        self.prior_weight = weight(_OWNER, "prior_weight", prior_weight)
        self.prior = _prior.check(_OWNER, "prior", prior)
        self.confidence_penalty = weight(
            _OWNER, "confidence_penalty", confidence_penalty
        )
        self.seed = _random.check_seed(_OWNER, seed)
        self._own_seed: int = _random.own_seed(self.seed)
        self.ensemble = _Ensemble(network, peer)
        self._ramped = self._scheduled("ramped_weight", "zeros")
        # Which of two programs a step is; `fit` has it traced anew.
        self._is_divided = False
        self.clean_probabilities: FloatArray | None = None

    @classmethod
    def from_preset(
        cls, preset: str, network: keras.Model, peer: keras.Model, **kwargs: Any
    ) -> Self:
        """Return a model with the values that the paper gives for data and noise.

        Args:
            preset: A key of `presets`.
            network: The first network.
            peer: The second one.
            **kwargs: Other arguments; they go before the preset's.

        Raises:
            ValueError: If there is no such preset.
        """
        errors.check_choice(_OWNER, "preset", preset, tuple(cls.presets))
        return cls(network, peer, **{**cls.presets[preset], **kwargs})

    def takes_logits(self) -> bool:
        """Return whether outputs are logits: the compiled loss says so."""
        return bool(outputs.takes_logits(getattr(self, "loss", None)))

    @property
    def _num_views(self):
        return 1 if self.augmentation is None else self.num_augmentations

    def set_epoch(self, epoch: int) -> None:
        """Set the weight of unlabelled examples and the random state of an epoch."""
        epoch = errors.check_count(_OWNER, "epoch", epoch, low=0)
        since = max(epoch - self.warmup_epochs, 0)
        ramp = min(since / self.ramp_epochs, 1.0) if self.ramp_epochs else 1.0
        self._ramped.assign(self.unlabeled_weight * ramp)
        _random.begin_epoch_of_layers(self, self._own_seed, epoch)

    def divide(self, is_divided: bool) -> None:
        """Let the steps to come be those of the warm-up, or those after it."""
        if errors.check_bool(_OWNER, "is_divided", is_divided) != self._is_divided:
            self._is_divided = is_divided
            # On JAX the old trace would be found under the old step.
            seam.install(self)
            self.make_train_function(force=True)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the output of both networks; in training what a step needs."""
        x, plan = _planned.split(inputs)
        if not training:
            # Not in `compile`: models with one of their own are loaded without it.
            self.ensemble.from_logits = self.takes_logits()
            return self.ensemble(x)
        if self._is_divided and plan is not None:
            return self._guesses(x)
        x = self._augmented(x)
        return self.network(x, training=True), self.peer(x, training=True)

    def _augmented(self, x):
        if self.augmentation is None:
            return x
        return self.augmentation(x, training=True)

    def _guesses(self, x):
        """Return views of a batch, and what the networks predict of them.

        Returns:
            A dict: `views`, of each input `(groups, 4, views, ...)`; `outputs`, of each
            network those of its own rows and of the unlabelled ones of the other,
            `(groups, 3, views, num_classes)`.
        """
        views = [self._augmented(x) for _ in range(self._num_views)]
        views = keras.tree.map_structure(_stacked, *views)

        def outputs_of(network, kinds):
            rows = keras.tree.map_structure(lambda leaf: _flat(leaf, kinds), views)
            found = network(rows, training=False)
            width = _shape(found)[1:] or (1,)
            shape = (-1, len(kinds), self._num_views, *width)
            return ops.stop_gradient(ops.reshape(found, shape))

        own = outputs_of(self.network, [0, 1, 3])
        return {"views": views, "outputs": (own, outputs_of(self.peer, [2, 3, 1]))}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the loss of both networks; in an evaluation the compiled one."""
        if isinstance(y_pred, dict):
            loss = self._divided_loss(_planned.split(x)[1], y, y_pred)
        elif isinstance(y_pred, (tuple, list)):
            loss = sum(self._warmup_loss(y, output) for output in y_pred)
        else:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + _around.penalties(self, loss.dtype)

    def _warmup_loss(self, y, output):
        loss = ops.mean(_around.loss_per_example(_OWNER, self.loss, y, output))
        if self.confidence_penalty:
            p = _prediction.read(_OWNER, output, self.takes_logits())
            loss -= self.confidence_penalty * ops.mean(p.entropy())
        # Keras adds up what the replicas return.
        return loss / replicas.num_replicas()

    def _divided_loss(self, plan, y, y_pred):
        from_logits = self.takes_logits()
        predicted = [
            outputs.probabilities(each, from_logits) for each in y_pred["outputs"]
        ]
        num_classes = predicted[0].shape[-1]
        is_binary = is_one_output(y_pred["outputs"][0].shape)
        shape = (None, num_classes)
        q = _labels.read(_OWNER, y, shape, "float32", is_binary=is_binary).q
        of_rows = keras.tree.map_structure(_by_group, {"q": q, **plan})
        loss = 0.0
        for number, name in enumerate(self._networks):
            kinds = slice(2 * number, 2 * number + 2)
            views, rows = keras.tree.map_structure(
                lambda leaf, kinds=kinds: leaf[:, kinds], (y_pred["views"], of_rows)
            )
            targets = _targets(
                rows, predicted[number], predicted[1 - number], self.temperature
            )
            loss += self._mixed_loss(getattr(self, name), views, targets, rows)
        return loss

    def _mixed_loss(self, network, views, targets, rows):
        """Return the loss of a network on its part of a batch.

        Args:
            network: The network.
            views: Of each input, `(groups, 2, views, ...)`.
            targets: Of the examples, `(groups, 2, num_classes)`.
            rows: What the plan says of them.
        """
        x = keras.tree.map_structure(lambda leaf: _merged(leaf, 3), views)
        targets, is_labeled, share = (
            ops.repeat(_merged(each, 2), self._num_views, axis=0)
            for each in (targets, rows["labeled"], rows["share"])
        )
        x, targets = self._mixed(x, targets, _merged(rows["partner"], 3), share)
        output = network(x, training=True)
        p = _prediction.read(_OWNER, output, self.takes_logits())
        error = ops.mean((targets - p.probabilities) ** 2, axis=-1)
        loss = _mean_over(is_labeled, p.cross_entropy(targets))
        loss += self._ramped.value * _mean_over(1 - is_labeled, error)
        divergence = _prior.divergence_of_mean(_OWNER, p, self.prior)
        # Keras adds up what the replicas return.
        return loss + self.prior_weight * divergence / replicas.num_replicas()

    def _mixed(self, x, targets, partner, share):
        """Return inputs and targets, mixed with their partners on all replicas."""
        leaves = keras.tree.flatten(x)
        if not self.mixup_alpha or not _mixup.are_mixable(leaves):
            return x, targets
        values = [_mixup.as_floats(leaf) for leaf in (*leaves, targets)]
        mixed = [
            _mixup.between(own, ops.take(of_all, partner, axis=0), share)
            for own, of_all in zip(values, replicas.gathered(values), strict=True)
        ]
        return keras.tree.pack_sequence_as(x, mixed[:-1]), mixed[-1]

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Return the metrics; in training those of `network` on its examples."""
        if isinstance(y_pred, dict):
            output = y_pred["outputs"][0][:, :2, 0]
            y, y_pred = _merged(_by_group(y)[:, :2], 2), _merged(output, 2)
        elif isinstance(y_pred, (tuple, list)):
            y_pred = y_pred[0]
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train both networks, with the arguments of `keras.Model.fit`.

        Data are arrays, a tuple or dict of them too (memory maps as well), and labels
        class ids or distributions. Half of the examples of a batch are labelled, so
        that `batch_size` is 2 at least, and an odd one is rounded down.
        """
        arguments = _callbacks.arguments_with(self, self._schedule, args, kwargs)
        return super().fit(**arguments)

    def _schedule(self, arguments):
        """Return the callback of a training, and put its batches into the arguments."""
        examples = _planned.take_examples(_OWNER, arguments, _REFUSED, least_batch=2)
        examples = self._check(examples)
        schedule = _Schedule(examples, self._own_seed, self._num_views)
        arguments.update(x=schedule.batches, shuffle=False)
        return schedule

    def _check(self, examples):
        """Return examples for the networks' outputs, or raise."""
        _around.check_different(_OWNER, self.network, self.peer)
        one = arrays.batch_of(examples.x, slice(0, 1))
        both = [
            predictions.on_batch(_OWNER, network, one)
            for network in (self.network, self.peer)
        ]
        _check_alike(both)
        is_binary = is_one_output(_shape(both[0]))
        if is_binary:
            _around.check_loss_of_outputs(_OWNER, self.loss, is_binary)
        num_classes = outputs.num_classes(_OWNER, _shape(both[0]))
        _planned.check_outputs(_OWNER, examples, num_classes)
        for rows in (examples.batch_size, examples.batch_size // 2):
            _planned.check_replicas(_OWNER, self, rows)
        _around.check_shapes(_OWNER, self.augmentation, one)
        # By inputs as they are; a batch of the training has a plan too.
        self(keras.tree.map_structure(ops.convert_to_tensor, one))
        self.built = True
        return _planned.of_one_output(examples) if is_binary else examples

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Export `ensemble`, which makes the predictions, as `keras.Model.export`."""
        self.ensemble.export(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in _OWN_ARGUMENTS},
            "augmentation": _around.serialized(self.augmentation),
            "prior": None if self.prior is None else self.prior.tolist(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Return a model from the constructor arguments."""
        layer = _around.deserialized(config["augmentation"], custom_objects)
        return super().from_config({**config, "augmentation": layer}, custom_objects)


class _Ensemble(keras.Model):
    """The mean of the probabilities of two networks, of logits its logarithm."""

    def __init__(self, network, peer):
        super().__init__(name="ensemble")
        self.network, self.peer = network, peer
        self.autocast = False
        self.from_logits = False

    def call(self, inputs):
        both = self.network(inputs, training=False), self.peer(inputs, training=False)
        _check_alike(both)
        first, second = (ops.cast(output, "float32") for output in both)
        if not self.from_logits:
            return (first + second) / 2
        if is_one_output(first.shape):
            # Twice the mean probability of each class; the factor goes out.
            no = ops.logaddexp(-ops.softplus(first), -ops.softplus(second))
            return ops.logaddexp(-ops.softplus(-first), -ops.softplus(-second)) - no
        return ops.logaddexp(ops.log_softmax(first), ops.log_softmax(second)) - _LOG_2


class _Schedule(_planned.Schedule):
    """Divides the data before each epoch, and logs how."""

    def __init__(self, examples, seed, num_views):
        super().__init__(_OWNER, examples, seed)
        self._num_views = num_views
        # Keras looks at the first batches before it begins.
        self.plan_warmup(None)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.model.clean_probabilities = None
        super().on_epoch_begin(epoch, logs)
        self.model.divide(self.model.clean_probabilities is not None)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is None:
            return
        probabilities = self.model.clean_probabilities
        for number, name in enumerate(("clean_share", "peer_clean_share")):
            logs[name] = float("nan")
            if probabilities is not None:
                is_clean = probabilities[number] >= self.model.clean_threshold
                logs[name] = float(is_clean.mean())

    def plan_warmup(self, generator: np.random.Generator | None) -> None:
        """Let both networks see all examples, in one order."""
        rows = self.batches.rows = self.all_rows(generator)
        ones = np.ones(rows.shape, "float32")
        partner = np.zeros((*rows.shape, self._num_views), "int32")
        self.batches.plan = {
            **dict.fromkeys(("clean", "labeled", "share"), ones),
            "partner": partner,
        }

    def plan(self, generator: np.random.Generator, epoch: int) -> None:
        """Draw the labelled and unlabelled examples of each network."""
        examples, model = self.examples, self.model
        model.clean_probabilities = self._clean_probabilities()
        steps, groups = examples.steps, examples.batch_size // 2
        rows = np.empty((steps, groups, _GROUP), "int64")
        clean, labeled, share = np.empty((3, *rows.shape), "float32")
        partner = np.empty((*rows.shape, self._num_views), "int32")
        for number, name in enumerate(model._networks):
            kinds = slice(2 * number, 2 * number + 2)
            # By the other network.
            probability = model.clean_probabilities[1 - number]
            is_labeled = self.division(probability, name, epoch)
            sides = (np.flatnonzero(side) for side in (is_labeled, ~is_labeled))
            for kind, side in enumerate(sides):
                # Without any all are labelled ones.
                side = side if len(side) else np.arange(len(examples))
                drawn = self.cycled(side, steps * groups, generator)
                rows[:, :, 2 * number + kind] = drawn.reshape(steps, groups)
            own = rows[:, :, kinds]
            clean[:, :, kinds], labeled[:, :, kinds] = probability[own], is_labeled[own]
            size = groups * 2 * self._num_views
            order, shares = _planned.partners(generator, steps, size, model.mixup_alpha)
            partner[:, :, kinds] = order.reshape(steps, groups, 2, -1)
            share[:, :, kinds] = shares[:, None, None]
        self.batches.rows = rows.reshape(steps, -1)
        plan = {"clean": clean, "labeled": labeled, "share": share, "partner": partner}
        self.batches.plan = {
            name: values.reshape(steps, groups * _GROUP, *values.shape[3:])
            for name, values in plan.items()
        }

    def _clean_probabilities(self):
        """Return how probable right labels are by both networks, `(2, n)`."""
        examples, model = self.examples, self.model
        losses = [
            _around.cross_entropies(
                _OWNER, network, examples.x, examples.y, model.takes_logits()
            )
            for network in (model.network, model.peer)
        ]
        return np.stack([*map(_gaussian_mixture.small_probability, losses)])

    def division(self, probability: FloatArray, name: str, epoch: int) -> BoolArray:
        """Return which examples are labelled for a network, `(n,)`."""
        is_labeled = probability >= self.model.clean_threshold
        if is_labeled.all() or not is_labeled.any():
            self.tell(
                name,
                f"the division for `{name}` takes every label for "
                f"{'right' if is_labeled.any() else 'wrong'} in epoch {epoch}: all "
                "examples are labelled ones there. Pass another `warmup_epochs`, until "
                "right labels have smaller losses than wrong ones.",
            )
            return np.ones_like(is_labeled)
        lost, counts = self.lost_classes(self.examples.classes, is_labeled)
        if lost:
            self.tell(
                (name, *lost),
                f"the division for `{name}` keeps few labels of some classes, or "
                f"none, in epoch {epoch}: {counts}. Rare classes have "
                "large losses; pass more `warmup_epochs`, and `prior`, or see "
                "`clean_probabilities`.",
            )
        return is_labeled


def _targets(rows, own, other, temperature):
    """Return refined and guessed targets, `(groups, 2, num_classes)`.

    Args:
        rows: Of the plan: labels `q`, `clean`, `labeled`.
        own: Probabilities of the network of its two kinds, and of the unlabelled
            examples of the other network, `(groups, 3, views, num_classes)`.
        other: The same of the other network.
        temperature: Of sharpening.
    """
    own_mean, other_mean = ops.mean(own[:, :2], axis=2), ops.mean(other[:, 2:], axis=2)
    clean, is_labeled = rows["clean"][..., None], rows["labeled"][..., None]
    refined = clean * rows["q"] + (1 - clean) * own_mean
    # The other network has seen the unlabelled ones alone, which the rest is not.
    guessed = (own_mean + other_mean) / 2
    targets = is_labeled * refined + (1 - is_labeled) * guessed
    return ops.stop_gradient(_sharpened(targets, temperature))


def _sharpened(targets, temperature):
    powers = targets ** (1 / temperature)
    return powers / ops.sum(powers, axis=-1, keepdims=True)


def _mean_over(chosen, values):
    """Return this replica's part of the mean of chosen values over all of them."""
    count = replicas.sum_over_replicas(_OWNER, ops.sum(chosen))
    return ops.sum(chosen * values) / ops.maximum(count, 1)


def _by_group(values):
    """Return rows as `(groups, 4, ...)`."""
    return ops.reshape(values, (-1, _GROUP, *values.shape[1:]))


def _stacked(*views):
    """Return views of rows as `(groups, 4, views, ...)`."""
    return _by_group(ops.stack(views, axis=1))


def _flat(views, kinds):
    """Return views of some kinds of rows as rows."""
    return _merged(ops.take(views, ops.convert_to_tensor(kinds), axis=1), 3)


def _merged(values, count):
    """Return values with the first dimensions merged into one."""
    return ops.reshape(values, (-1, *values.shape[count:]))


def _shape(found):
    """Return the shape of outputs, or raise unless they are those of a classifier."""
    shape = tuple(getattr(found, "shape", ()))
    outputs.num_classes(_OWNER, shape)
    return shape


def _check_alike(both):
    """Raise unless the outputs of the two networks have the same shape."""
    first, second = (_shape(each)[1:] for each in both)
    if first != second:
        expected = f"a model with outputs of shape {('batch', *first)}, as `network`"
        received = errors.Described(str(("batch", *second)))
        raise ValueError(errors.message(_OWNER, "peer", expected, received))
