"""From a method of a recipe to losses, stages and callbacks."""

import dataclasses

from benchmarks import recipes
from keras_noisy import callbacks, losses, training

CROSS_ENTROPY = "SparseCategoricalCrossentropy"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One of the trainings that a method consists of.

    Attributes:
        loss: Name of the loss; None for the method's own with its arguments.
        epochs: Number of epochs.
        learning_rate: Instead of the recipe's.
        continues: Whether it begins with the weights of the stage before.
        estimates: Whether the transition matrix is estimated at its end.
        relabels: Whether the next stage trains on the labels that it ends with.
    """

    loss: str | None
    epochs: int
    learning_rate: float | None = None
    continues: bool = False
    estimates: bool = False
    relabels: bool = False

    @property
    def is_own(self):
        """Whether it is the training that the method is about."""
        return self.loss is None


def stages_of(method, epochs, budget):
    """Return the stages of a method, one of them with the method's own loss.

    Args:
        method: `recipes.Method`.
        epochs: Epochs of the recipe, already shortened.
        budget: Share of a method's own epochs to train.
    """
    if method.epochs is not None:
        epochs = shortened(method.epochs, budget)
    before, after = [], []
    if method.start is not None:
        start = method.start
        before = [Stage(start["loss"], shortened(start["epochs"], budget))]
    elif method.estimate is not None:
        length = shortened(method.estimate["epochs"], budget)
        before = [Stage(CROSS_ENTROPY, length, estimates=True)]
    if method.second is not None:
        length = shortened(method.second["epochs"], budget)
        rate = method.second.get("learning_rate")
        after = [Stage("CategoricalCrossentropy", length, learning_rate=rate)]
    own = Stage(
        None,
        epochs,
        learning_rate=method.learning_rate,
        continues=method.start is not None or method.learns_matrix,
        relabels=method.second is not None,
    )
    return [*before, own, *after]


def shortened(epochs, budget):
    """Return a share of `epochs`, at least one."""
    return max(1, int(epochs * budget + 0.5))


def make_loss(method, noise, rate, matrices):
    """Return the loss of a method under one noise.

    Args:
        method: `recipes.Method`.
        noise: Name of the noise.
        rate: Its rate.
        matrices: The transition matrices that "true" and "estimated" stand for, None
            where there is none.

    Raises:
        ValueError: If the noise has no such matrix.
    """
    arguments = method.arguments_under(noise, rate)
    return _build(method.loss, method.preset, arguments, rate, matrices)


def loss_by_name(name):
    """Return a loss without arguments of its own."""
    return recipes.loss_class(name)(from_logits=True)


def _build(name, preset, arguments, rate, matrices):
    resolved = {
        key: _resolve(name, key, value, rate, matrices)
        for key, value in arguments.items()
    }
    found = recipes.loss_class(name)
    if preset is not None:
        return found.from_preset(preset, **resolved, from_logits=True)
    return found(**resolved, from_logits=True)


def _resolve(owner, key, value, rate, matrices):
    """Return an argument with the recipe's words replaced by what they stand for."""
    if value == "rate":
        if rate is None:
            raise ValueError(f"{owner}: the rate of this noise is not known.")
        return rate
    if isinstance(value, dict):
        arguments = value.get("arguments", {})
        return _build(value["loss"], value.get("preset"), arguments, rate, matrices)
    if key != "transition_matrix":
        return value
    if matrices[value] is None:
        raise ValueError(f"{owner}: this noise has no {value} transition matrix.")
    return matrices[value]


def needs_true_matrix(method):
    """Whether a method cannot run under noise that no matrix describes."""
    is_told = method.arguments.get("transition_matrix") == "true"
    keeps = (method.estimate or {}).get("keep_structure", False)
    return is_told or keeps or method.masking


def co_teaching(method, rate, budget, network, peer):
    """Return the model that trains two networks for each other.

    Args:
        method: `recipes.Method`.
        rate: Rate of the noise.
        budget: Share of the epochs to train.
        network: The network that is tested.
        peer: The other one.
    """
    arguments = {
        key: _resolve(method.name, key, value, rate, {})
        for key, value in method.co_teaching.items()
    }
    arguments["num_gradual"] = shortened(arguments["num_gradual"], budget)
    return training.CoTeaching(network, peer, **arguments)


def dynamic_bootstrapping(method, budget, network):
    """Return the model that trusts labels by their loss.

    Args:
        method: `recipes.Method`.
        budget: Share of the epochs to train.
        network: The network.
    """
    arguments = dict(method.dynamic_bootstrapping)
    for name in ("warmup_epochs", "annealing_epochs"):
        if name in arguments:
            arguments[name] = shortened(arguments[name], budget)
    if "bootstrap_delay" in arguments:
        arguments["bootstrap_delay"] = int(arguments["bootstrap_delay"] * budget + 0.5)
    return training.DynamicBootstrapping(network, **arguments)


def through_matrix(method, network, estimate, true):
    """Return the model that learns the matrix with the network.

    Args:
        method: `recipes.Method`.
        network: The network.
        estimate: The matrix to begin with.
        true: The matrix that the noise was made with.
    """
    arguments = {"transition_matrix": estimate, "from_logits": True}
    if method.masking:
        return training.Masking(network, structure=true > 0, **arguments)
    return training.NoiseAdaptation(network, **arguments)


def num_outputs(method, num_classes):
    """Return the number of outputs: deep abstention has one more."""
    return num_classes + (method.loss == losses.DeepAbstention.__name__)


def callbacks_of(method, epochs, budget, x):
    """Return what a method needs besides its loss.

    Args:
        method: `recipes.Method`.
        epochs: Epochs of its training.
        budget: Share of the recipe's epochs that they are.
        x: Inputs of the training set.
    """
    if method.loss == losses.ProSelfLC.__name__:
        return [callbacks.GlobalTrust()]
    if method.loss == losses.DeepAbstention.__name__:
        warmup = min(shortened(method.warmup_epochs, budget), epochs - 1)
        return [callbacks.AbstentionSchedule(warmup_epochs=max(1, warmup))]
    if method.loss == losses.DimensionalityDriven.__name__:
        warmup = int(method.warmup_epochs * budget + 0.5)
        return [callbacks.DimensionalitySchedule(x, warmup_epochs=warmup)]
    if method.loss == losses.EarlyLearningRegularization.__name__:
        return [callbacks.EarlyLearningTargets(len(x))]
    if method.loss == losses.JointOptimization.__name__:
        warmup = shortened(method.warmup_epochs, budget)
        window = shortened(method.window, budget)
        return [
            callbacks.JointOptimizationLabels(
                len(x), warmup_epochs=warmup, window=window
            )
        ]
    return []
