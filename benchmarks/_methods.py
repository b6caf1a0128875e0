"""From a method of a recipe to its stages, loss, callbacks and models."""

import dataclasses

from benchmarks import recipes
from keras_noisy import callbacks, training


@dataclasses.dataclass(frozen=True)
class Stage:
    """One of the trainings that a method consists of.

    Attributes:
        loss: Name of the loss; None for the method's own with its arguments.
        epochs: Number of epochs.
        steps: Number of steps where they are no whole number of epochs: the last epoch
            ends with them.
        learning_rate: Instead of the recipe's.
        schedule: Instead of the recipe's.
        continues: Whether it begins with the weights of the stage before.
        estimates: Whether the transition matrix is estimated at its end.
        relabels: Whether the next stage trains on the labels that it ends with.
    """

    loss: str | None
    epochs: int
    steps: int | None = None
    learning_rate: float | None = None
    schedule: dict | None = None
    continues: bool = False
    estimates: bool = False
    relabels: bool = False

    @property
    def is_own(self):
        """Whether it is the training that the method is about."""
        return self.loss is None


def stages_of(method, epochs, budget, steps=None):
    """Return the stages of a method, one of them with the method's own loss.

    Args:
        method: `recipes.Method`.
        epochs: Epochs of the recipe, already shortened.
        budget: Share of a method's own epochs to train.
        steps: Steps of a recipe that is stated in iterations.
    """
    if method.epochs is not None:
        epochs, steps = shortened(method.epochs, budget), None
    before, after = [], []
    start, estimate, second = method.start, method.estimate, method.second
    if start is not None:
        before = [Stage(start["loss"], shortened(start["epochs"], budget))]
    elif estimate is not None:
        length = shortened(estimate["epochs"], budget)
        before = [Stage("SparseCategoricalCrossentropy", length, estimates=True)]
    if second is not None:
        length = shortened(second["epochs"], budget)
        rate = second.get("learning_rate")
        after = [Stage("CategoricalCrossentropy", length, learning_rate=rate)]
    own = Stage(
        None,
        epochs,
        steps=steps,
        learning_rate=method.learning_rate,
        schedule=method.schedule,
        continues=bool(start or (estimate or {}).get("keep_weights")),
        relabels=second is not None,
    )
    return [*before, own, *after]


def shortened(epochs, budget, least=1):
    """Return a share of `epochs`, at least `least`."""
    return max(least, int(epochs * budget + 0.5))


def make_loss(method, noise, words):
    """Return the loss of a method under one noise.

    Args:
        method: `recipes.Method`.
        noise: Name of the noise.
        words: What `recipes.WORDS` stand for, None where there is no such thing.

    Raises:
        ValueError: If a word of the method stands for nothing under this noise.
    """
    arguments = method.arguments_under(noise, words["rate"])
    return _build(method.loss, method.preset, arguments, words)


def loss_by_name(name):
    """Return a loss without arguments of its own."""
    return recipes.loss_class(name)(from_logits=True)


def make_callbacks(method, words, epochs, budget):
    """Return what a method needs besides its loss.

    Args:
        method: `recipes.Method`.
        words: As for `make_loss`.
        epochs: Epochs of its training.
        budget: Share of the recipe's epochs that they are.
    """
    if method.callback is None:
        return []
    found, arguments = recipes.find(callbacks, method.callback)
    arguments = _shorten(arguments, budget)
    if "warmup_epochs" in arguments:
        # At least an epoch comes after it.
        longest = max(1, epochs - 1)
        arguments["warmup_epochs"] = min(arguments["warmup_epochs"], longest)
    return [found(**_resolve_all(method.callback["name"], arguments, words))]


def make_model(method, network, words, budget):
    """Return the model that trains a network, or the network where none is named.

    Args:
        method: `recipes.Method`.
        network: The network.
        words: As for `make_loss`.
        budget: Share of the epochs to train.
    """
    if method.model is None:
        return network
    found, arguments = recipes.find(training, method.model)
    arguments = _shorten(arguments, budget)
    return found(network, **_resolve_all(method.model["name"], arguments, words))


def _shorten(arguments, budget):
    return {
        key: shortened(value, budget, recipes.EPOCHS[key])
        if key in recipes.EPOCHS
        else value
        for key, value in arguments.items()
    }


def _build(name, preset, arguments, words):
    resolved = _resolve_all(name, arguments, words)
    found = recipes.loss_class(name)
    if preset is not None:
        return found.from_preset(preset, **resolved, from_logits=True)
    return found(**resolved, from_logits=True)


def _resolve_all(owner, arguments, words):
    """Return arguments with the recipe's words replaced by what they stand for."""
    return {key: _resolve(owner, value, words) for key, value in arguments.items()}


def _resolve(owner, value, words):
    if isinstance(value, dict):
        arguments = value.get("arguments", {})
        return _build(value["loss"], value.get("preset"), arguments, words)
    if not isinstance(value, str) or value not in recipes.WORDS:
        return value
    found = words.get(value)
    if found is None:
        meaning = recipes.WORDS[value]
        raise ValueError(f"{owner}: {value!r}, the {meaning}, is not known here.")
    return found() if callable(found) else found
