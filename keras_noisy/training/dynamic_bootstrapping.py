"""Dynamic bootstrapping: trust in each label by a mixture model of the loss."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors
from keras_noisy._checks.numbers import at_least_zero, optional
from keras_noisy._data import arrays, batch_statistics, outputs, predictions
from keras_noisy._step import replicas
from keras_noisy._typing import ArrayLike, Logs, Tensor
from keras_noisy.analysis.beta_mixture import BetaMixture, beta_mixture, loss_range
from keras_noisy.losses import _formula, _prediction, _prior
from keras_noisy.training import _around, _callbacks, _mixup, _random

_OWNER = "DynamicBootstrapping"
_MIXUPS = ("static", "dynamic", "none")
_BOOTSTRAPS = ("hard", "soft", "soft_to_hard")
# But for the prior, which JSON cannot hold as it is.
_OWN_ARGUMENTS = (
    "warmup_epochs",
    "bootstrap",
    "mixup",
    "mixup_alpha",
    "bootstrap_delay",
    "annealing_epochs",
    "prior_weight",
    "iterations",
    "seed",
)
# As little is a label wrong, or right, at least.
LEAST_PROBABILITY = 1e-4
LAST_TEMPERATURE = 1e-3


@keras.saving.register_keras_serializable(package="keras_noisy")
class DynamicBootstrapping(_around.AroundNetworks):
    """A network whose labels are trusted as far as their loss allows (M-DYR-H and kin).

    Wrong labels have larger losses than right ones. Before every epoch a mixture of two
    beta distributions is fitted to the losses of all training examples,
    `keras_noisy.analysis.beta_mixture`; in every step it gives the probability `w_i`
    that a label is wrong, and the example gets as its target

        t_i = (1 - w_i) q_i + w_i z_i

    with `z` the prediction: its class (`"hard"`), or its distribution (`"soft"`).
    Examples are mixed in pairs, which keeps the network from memorising single ones:

        x = d_i x_i + d_j x_j,    loss = H(d_i t_i + d_j t_j, p(x))
                                         + prior_weight KL(prior || mean p(x))

    Shares `d_i + d_j = 1` are drawn for the batch from a beta distribution
    (`"static"`), or follow from the labels, `d_i = (1 - w_i) / ((1 - w_i) + (1 - w_j))`
    (`"dynamic"`; targets are then mixed half and half). The first `warmup_epochs`
    epochs have static mixing, the labels as they are, and no prior. With
    `mixup="none"` examples stay as they are: ids of words cannot be mixed.

    | name in the paper | arguments |
    |---|---|
    | M-DYR-H | the defaults |
    | M-DYR-S | `bootstrap="soft"` |
    | MD-DYR-SH | `mixup="dynamic", bootstrap="soft_to_hard", bootstrap_delay=5` |
    | DY-H | `mixup="none", prior_weight=0` |
    | DY-S | `mixup="none", prior_weight=0, bootstrap="soft"` |
    | DYR-H | `mixup="none"` |

    It is compiled and trained as any model of Keras, with categorical cross-entropy of
    either kind. `predict`, `evaluate`, metrics and validation are the network's. The
    logs show `wrong_label_share`, the weight of the mixture's second part, a rough
    estimate of the noise rate; NaN in the warm-up.

    Args:
        network: A model with one output, class probabilities or logits `(batch,
            num_classes)`; the compiled loss says which.
        warmup_epochs: Epochs before the mixture is used, at least 1: as many as it
            takes until right labels have smaller losses than wrong ones.
        bootstrap: `"hard"`, `"soft"`, or `"soft_to_hard"`: a softmax whose temperature
            falls from 1 to 0.001.
        mixup: How inputs are mixed after the warm-up, `"static"` or `"dynamic"`; or
            `"none"`, also in the warm-up.
        mixup_alpha: Both parameters of the beta distribution that shares are drawn
            from, a positive integer.
        bootstrap_delay: Epochs after the warm-up in which labels are kept, at least 0.
        annealing_epochs: Epochs in which the temperature falls, at least 1.
        prior_weight: Weight of the divergence from the prior, at least 0 and finite.
        prior: How often each class occurs, `(num_classes,)`, summing to one; by default
            all alike.
        iterations: Steps in which the mixture is fitted, from the start anew in every
            epoch; the paper's ten by default. None fits to convergence.
        seed: Seed of the pairs and shares, which follow from it and the number of the
            epoch; by default a random one.
        **kwargs: `name`, `trainable` and `dtype`, as in `keras.Model`.

    Attributes:
        network: The network.
        mixture: The `BetaMixture` of the latest epoch, None before there is one.

    Raises:
        TypeError: If `network` is no model.
        ValueError: If an argument is out of range; in `fit`, if the loss is another
            one, if the labels do not fit, if inputs to be mixed are strings or signed
            integers, or if the data are a generator, which cannot be read twice.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import training
        >>> layers = [keras.Input((4,)), keras.layers.Dense(2)]
        >>> network = keras.Sequential(layers)
        >>> model = training.DynamicBootstrapping(network, warmup_epochs=2)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss)
        >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
        >>> history = model.fit(x, y, epochs=4, verbose=0)
        >>> len(history.history["wrong_label_share"]), model.predict(x, verbose=0).shape
        (4, (4, 2))

    Note:
        A step predicts the batch as it is once, in inference mode, for `w`, `z` and the
        metrics, and mixed once, in training mode. The authors' code has a third pass,
        in training mode, for `z`; it looks the probability up in a table of 100, and
        mixes the two losses half and half in soft variants. Pairs are those of one
        replica.

    Reference:
        Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML
        2019.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        warmup_epochs: int = 105,
        bootstrap: Literal["hard", "soft", "soft_to_hard"] = "hard",
        mixup: Literal["static", "dynamic", "none"] = "static",
        mixup_alpha: int = 32,
        bootstrap_delay: int = 0,
        annealing_epochs: int = 90,
        prior_weight: float = 1.0,
        prior: ArrayLike | None = None,
        iterations: int | None = 10,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, **kwargs)
        choice, count = errors.check_choice, errors.check_count
        self.bootstrap = choice(_OWNER, "bootstrap", bootstrap, _BOOTSTRAPS)
        self.mixup = choice(_OWNER, "mixup", mixup, _MIXUPS)
        self.warmup_epochs = count(_OWNER, "warmup_epochs", warmup_epochs)
        self.mixup_alpha = count(_OWNER, "mixup_alpha", mixup_alpha)
        self.bootstrap_delay = count(_OWNER, "bootstrap_delay", bootstrap_delay, low=0)
        self.annealing_epochs = count(_OWNER, "annealing_epochs", annealing_epochs)
        self.prior_weight = at_least_zero()(_OWNER, "prior_weight", prior_weight)
        self.prior = _prior.check(_OWNER, "prior", prior)
        self.iterations = optional(count)(_OWNER, "iterations", iterations)
        self.seed = _random.check_seed(_OWNER, seed)
        self._own_seed: int = _random.own_seed(self.seed)
        self._random = keras.random.SeedGenerator(self._own_seed)
        # What of the mixture a compiled step needs.
        self._log_odds = self._add_state("log_odds", 3)
        self._bounds = self._add_state("bounds", 4)
        # Whether labels are moved and inputs mixed by it, and the temperature.
        self._phase = self._add_state("phase", 3)
        self.mixture: BetaMixture | None
        self.set_mixture(None)

    def _add_state(self, name, size):
        return self.add_weight(
            shape=(size,),
            initializer="zeros",
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )

    def set_mixture(self, mixture: BetaMixture | None) -> None:
        """Take a mixture for the steps to come; None takes every label for right."""
        self.mixture = mixture
        if mixture is None:
            # Log-odds of -50, and a scale that is not used.
            self._log_odds.assign([-50.0, 0.0, 0.0])
            self._bounds.assign([0.0, 1.0, 0.25, 0.75])
            return
        self._log_odds.assign(mixture.log_odds())
        self._bounds.assign([mixture.low, mixture.high, *mixture.turning_points()])

    def set_epoch(self, epoch: int) -> None:
        """Set what an epoch from 0 on does; for a training loop of your own."""
        epoch = errors.check_count(_OWNER, "epoch", epoch, low=0)
        since = epoch - self.warmup_epochs
        moves = since >= self.bootstrap_delay
        done = min(max(since - self.bootstrap_delay, 0) / self.annealing_epochs, 1.0)
        temperature = 1.0
        if self.bootstrap == "soft_to_hard":
            temperature += (LAST_TEMPERATURE - 1) * done
        mixes = since >= 0 and self.mixup == "dynamic"
        self._phase.assign([float(moves), float(mixes), temperature])
        _random.begin_epoch(self._random, self._own_seed, epoch)

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        """Return the output of `network`, in inference mode even in training."""
        output = self.network(inputs, training=False)
        return ops.stop_gradient(output) if training else output

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train the network, with the arguments of `keras.Model.fit`."""
        arguments = _callbacks.arguments_with(self, _Schedule.of, args, kwargs)
        return super().fit(**arguments)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the loss of mixed examples; in an evaluation the compiled one."""
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        from_logits = _takes_logits(self)
        outputs.num_classes(_OWNER, tuple(getattr(y_pred, "shape", ())))
        targets, wrong, plain = self._targets(y, y_pred, from_logits)
        if sample_weight is not None:
            weight = ops.reshape(ops.cast(sample_weight, targets.dtype), (-1, 1))
            targets = targets * weight
        if self.mixup != "none":
            x, targets = self._mixed(x, targets, wrong)
        p = _prediction.read(_OWNER, self.network(x, training=True), from_logits)
        loss = ops.mean(p.cross_entropy(targets))
        divergence = _prior.divergence_of_mean(_OWNER, p, self.prior)
        loss += self.prior_weight * self._phase.value[0] * divergence
        for other in self.losses:
            loss += ops.sum(ops.cast(other, loss.dtype))
        # NaN where a class id is out of range, without a gradient.
        loss += 0 * ops.stop_gradient(ops.sum(plain))
        # Keras adds up what the replicas return.
        return loss / replicas.num_replicas()

    def _targets(self, y, y_pred, from_logits):
        """Return targets, probabilities of wrong labels, and losses as they are."""
        moves, _, temperature = ops.unstack(self._phase.value, 3)
        labels, p = _formula.read(_OWNER, y, y_pred, from_logits)
        loss = _formula.finish(labels, p.cross_entropy(labels.q))
        finite = ops.where(ops.isfinite(loss), loss, ops.zeros_like(loss))
        wrong = self._wrong_label_probability(finite)
        weight = (moves * wrong)[:, None]
        if self.bootstrap == "hard":
            predicted = p.argmax_one_hot()
        else:
            predicted = ops.softmax(p.shifted / temperature, axis=-1)
        targets = (1 - weight) * labels.q + weight * predicted
        return ops.stop_gradient(targets), ops.stop_gradient(wrong), loss

    def _wrong_label_probability(self, loss):
        """As `BetaMixture.wrong_label_probability`, for a batch in a compiled step."""
        constant, slope_low, slope_high = ops.unstack(self._log_odds.value, 3)
        low, high, first, last = ops.unstack(self._bounds.value, 4)
        x = ops.clip((loss - low) / (high - low), first, last)
        log_odds = constant + slope_low * ops.log(x) + slope_high * ops.log1p(-x)
        return ops.clip(ops.sigmoid(log_odds), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)

    def _mixed(self, x, targets, wrong):
        """Return inputs and targets, mixed in pairs."""
        keras.tree.map_structure(_check_mixable, x)
        partner, share, target_share = self._pairs(wrong)
        x = keras.tree.map_structure(lambda leaf: _mix(leaf, partner, share), x)
        return x, _mix(targets, partner, target_share)

    def _pairs(self, wrong):
        """Return the partner of each example, and its shares in input and target."""
        size = ops.shape(wrong)[0]
        partner = ops.argsort(keras.random.uniform((size,), seed=self._random))
        # The middle one of 2 alpha - 1 uniform numbers has the distribution
        # beta(alpha, alpha), for which XLA has no generator.
        numbers = keras.random.uniform((2 * self.mixup_alpha - 1,), seed=self._random)
        static = ops.ones_like(wrong) * ops.sort(numbers)[self.mixup_alpha - 1]
        right = 1 - wrong
        dynamic = right / (right + ops.take(right, partner, axis=0))
        follows = self._phase.value[1] > 0
        half = ops.full_like(static, 0.5)
        share = ops.where(follows, dynamic, static)
        return partner, share, ops.where(follows, half, static)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in _OWN_ARGUMENTS},
            "prior": None if self.prior is None else self.prior.tolist(),
        }


class _Schedule(_callbacks.SetEpoch):
    """Fits the mixture before each epoch that needs one, and logs its weight."""

    def __init__(self, x, y, steps):
        super().__init__()
        if hasattr(x, "__next__"):
            expected = "arrays, or a data set that can be read again"
            mend = "The losses of all examples are looked at before every epoch."
            raise ValueError(errors.message(_OWNER, "x", expected, x, mend))
        self.x, self.y, self.steps = x, y, steps
        self._statistics = batch_statistics.Statistics(_OWNER)

    @classmethod
    def of(cls, arguments):
        """Return the schedule of a training, given the arguments of `fit`."""
        x, y = (arrays.standard(arguments.get(name)) for name in ("x", "y"))
        steps = arguments.get("steps_per_epoch")
        share = arguments.get("validation_split")
        if share and arrays.is_arrays(x):
            # Keras holds the last examples out; their losses are not to be looked at.
            kept = math.floor(arrays.length(_OWNER, "x", x) * (1 - share))
            x, y = (arrays.take(data, slice(0, kept)) for data in (x, y))
        return cls(x, y, steps)

    def on_train_begin(self, logs: Logs = None) -> None:
        errors.warn_of_warmup(
            _OWNER,
            self.params["epochs"],
            "labels will stay as they are",
            warmup_epochs=self.model.warmup_epochs,
            bootstrap_delay=self.model.bootstrap_delay,
        )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        model = self.model
        if epoch >= model.warmup_epochs:
            losses = np.concatenate(list(_losses(model, self.x, self.y, self.steps)))
            low, high = loss_range(losses, model.iterations)
            # With equal losses nothing says that a label is wrong.
            differ = high > low
            iterations = model.iterations
            model.set_mixture(
                beta_mixture(losses, iterations=iterations) if differ else None
            )
            from_logits = _takes_logits(model)
            self._statistics.compare(model, self.x, len(losses), from_logits)
        self._statistics.begin(model)

    def on_train_end(self, logs: Logs = None) -> None:
        cure = "Pass more `warmup_epochs`, or give the layers a lower momentum."
        self._statistics.warn(self.params.get("steps"), cure)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        mixture = self.model.mixture
        if logs is not None:
            share = float("nan") if mixture is None else mixture.weights[1]
            # Its last digits depend on where arrays lie.
            logs["wrong_label_share"] = float(np.float32(share))


def _losses(model, x, y, steps):
    """Yield the cross-entropy of all training examples, in pieces."""
    from_logits = _takes_logits(model)

    def losses_of(labels, found):
        return _around.loss_of_outputs(_OWNER, labels, found, from_logits)

    if y is not None:
        start = 0
        for found in predictions.in_pieces(_OWNER, model, x):
            stop = start + len(found)
            yield losses_of(arrays.to_numpy(y[start:stop]), found)
            start = stop
        return
    # As many batches as an epoch has.
    for batch in itertools.islice(x, steps):
        batch = arrays.of_backend(tuple(batch))
        inputs, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
        found = predictions.on_batch(_OWNER, model, inputs)
        yield losses_of(arrays.to_numpy(labels), found)


def _check_mixable(array):
    """Raise for what is likely no quantity, such as ids of words."""
    if not _mixup.is_mixable(array):
        dtype = keras.backend.standardize_dtype(array.dtype)
        expected = "floating-point, or unsigned integers as in images, to be mixed"
        mend = "Cast quantities to float32; for ids, of words or others, mixup='none'."
        raise ValueError(errors.message(_OWNER, "x.dtype", expected, dtype, mend))


def _mix(values, partner, share):
    """Return rows mixed with their partners'."""
    values = _mixup.as_floats(values)
    return _mixup.between(values, ops.take(values, partner, axis=0), share)


def _takes_logits(model):
    return _around.cross_entropy_takes_logits(_OWNER, model.loss, binary=True)
