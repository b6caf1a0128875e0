"""Recipes: what a paper's table was made with, as data.

A recipe is a TOML file in this folder: data set, network, training, the definitions of
the noise, the methods with their hyperparameters, and the figures that the paper
reports. `benchmarks/run.py` trains what they say. The keys are those of the classes
below; where a paper is silent, a comment in the file says what was chosen.
"""

import copy
import dataclasses
import inspect
import pathlib

import keras

from keras_noisy import callbacks, losses, training

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

FOLDER = pathlib.Path(__file__).parent

# What the noise is, in the words that stand under a table.
DEFINITIONS = {
    "symmetric": "one of the other classes, uniformly, with the stated probability",
    "symmetric_included": "one of all classes, the true one included, uniformly, with "
    "the stated probability",
    "pair_flip": "the next class, with the stated probability",
    "class_pairs_two_way": "CIFAR-10's pairs truck <-> automobile, bird <-> airplane, "
    "deer <-> horse, cat <-> dog, both ways, with the stated probability; two classes "
    "keep their labels",
    "digit_pairs_two_way": "the pairs 1 <-> 7, 3 <-> 8, 4 <-> 9, 5 <-> 6, both ways, "
    "with the stated probability; 0 and 2 keep their labels",
    "superclass_pairs": "two classes of each superclass, chosen by the seed, flip to "
    "each other with the stated probability; the other classes keep their labels",
    "instance_dependent": "the examples that a network trained on clean labels "
    "confuses most (Algorithm 1 of Chen et al. 2021) get the class that it takes "
    "them for; the stated share of all examples",
    "as_given": "the labels of the data set as they are",
}
REPORTED = ("last", "best", "best validation")
WORDS = {
    "rate": "rate of the noise",
    "true": "matrix that the noise was made with",
    "true transitions": "which entries of that are positive",
    "estimated": "matrix that `estimate` found",
    "examples": "number of training examples",
    "iterations": "number of training steps",
    "inputs": "inputs of the training set",
    "network": "another network of the recipe",
    "augmentation": "augmentation of the recipe, which its networks then are without",
}
# Arguments that are numbers of epochs, and the least that a budget leaves of each.
EPOCHS = {
    "warmup_epochs": 1,
    "annealing_epochs": 1,
    "num_gradual": 1,
    "window": 1,
    "bootstrap_delay": 0,
    "ramp_epochs": 0,
}


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of a table.

    In the arguments of a loss, a callback or a model, a word of `WORDS` stands for what
    is known only when a run begins, and arguments of `EPOCHS` are numbers of epochs,
    which `--budget` shortens.

    Attributes:
        name: As in the table.
        loss: Name of a loss of this package or of Keras.
        arguments: Its arguments. A loss within a loss is a `loss` with its `arguments`.
        by_noise: Arguments that replace these under one noise: "symmetric 0.2".
        preset: Name of a preset of the loss instead.
        callback: Arguments of the loss's `companion`; with a `name` of another
            callback of this package.
        extra_outputs: Outputs that the network has besides the classes: 1 for deep
            abstention.
        model: `name` of a model of `keras_noisy.training` that trains the network,
            and its arguments.
        network: Arguments of the network besides the recipe's.
        epochs: Instead of the recipe's.
        learning_rate: Instead of the recipe's; with `first_loss` of that round only.
        schedule: Likewise, as in `Training`.
        smoothing: Weight of the uniform distribution in the labels; by default none.
        start: Loss and epochs of a training before, with whose weights this one
            begins.
        estimate: Epochs of the network that the matrix is estimated from, and the
            quantile that counts as an anchor; without one, the network's confusion.
            With `keep_structure` only transitions of the true matrix are kept, with
            `keep_weights` the training begins with the weights of that network.
        second: Epochs, and learning rate if it is another one, of a training of a fresh
            network on the labels that the callback ends with.
        self_evolution: Arguments of `training.SelfEvolution`, such as `rounds`.
        first_loss: Loss of the first of its rounds.
    """

    name: str
    loss: str
    arguments: dict = dataclasses.field(default_factory=dict)
    by_noise: dict = dataclasses.field(default_factory=dict)
    preset: str | None = None
    callback: dict | None = None
    extra_outputs: int = 0
    model: dict | None = None
    network: dict = dataclasses.field(default_factory=dict)
    epochs: int | None = None
    learning_rate: float | None = None
    schedule: dict | None = None
    smoothing: float | None = None
    start: dict | None = None
    estimate: dict | None = None
    second: dict | None = None
    self_evolution: dict | None = None
    first_loss: str | None = None

    def arguments_under(self, noise, rate):
        """Return the arguments of the loss for one noise."""
        special = self.by_noise.get(noise if rate is None else f"{noise} {rate:g}", {})
        return {**copy.deepcopy(self.arguments), **special}

    @property
    def augments_itself(self):
        """Whether its model augments examples, not the network in it."""
        return "augmentation" in (self.model or {}).values()

    def needs_true_matrix(self):
        """Whether it cannot run under noise that no matrix describes."""
        parts = (self.arguments, self.callback or {}, self.model or {})
        words = [word for part in parts for word in part.values()]
        keeps = (self.estimate or {}).get("keep_structure", False)
        return keeps or "true" in words or "true transitions" in words


@dataclasses.dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        batch_size: Examples of a step, over all devices.
        optimizer: Name of a Keras optimizer, and its arguments. The papers' weight
            decay is an argument of the network: the optimizers' is another one.
        epochs: Number of epochs, or
        iterations: of steps.
        schedule: None for a constant learning rate, or `kind` "steps" (`at`, in
            epochs or iterations, and `factor`), "cosine" or "polynomial" (`power`).
        augmentation: None; "crop_flip", 4 pixels of border; or `cut`, the side of the
            square that is cut out of an image, and `train`: "random" (and flipped) or
            "middle".
    """

    batch_size: int
    optimizer: dict
    epochs: int | None = None
    iterations: int | None = None
    schedule: dict | None = None
    augmentation: str | dict | None = None

    @property
    def length(self):
        """Epochs or iterations, whichever the recipe states."""
        return self.epochs or self.iterations


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A table as data.

    Attributes:
        name: Path below this folder, without the suffix.
        title: One line.
        data: `name` of the data set; for one that is streamed also `image_size`.
        network: `name` of a function of `keras_noisy.models`, or "dense", and its
            arguments.
        training: `Training`.
        noise: For each name of a noise its `kind` and `rates`.
        methods: `Method` for each name.
        expected: The paper's figures: `source`, `noise`, `rates`, `epoch` (which one
            they are of), `iterations` (of SEAL, as the paper states them), `figures`
            and `not_run` (of methods that the recipe does not train, such as those
            that the paper quotes), in percent for each rate.
        mean: The paper's means over all noises and rates: `source`, and `figures` of
            the methods.
        dynamics: What is recorded of the training beside the accuracies, at the end of
            epochs: arguments of `callbacks.LearningDynamics`, and for
            `critical_sample_ratio` those of that function.
        search: The values of hyperparameters that `benchmarks.search` tries; see there.
        paper: What the recipe follows.
        seeds: How many the paper has, or else three.
    """

    name: str
    title: str
    data: dict
    network: dict
    training: Training
    noise: dict
    methods: dict
    expected: list = dataclasses.field(default_factory=list)
    mean: dict | None = None
    dynamics: dict | None = None
    search: dict | None = None
    paper: str | None = None
    seeds: int = 3

    def expected_figure(self, method, noise, rate):
        """Return `(percent, spread or None, which epoch)` of the paper, or None."""
        for table in self.expected:
            figures = table["figures"].get(method)
            if figures is None or table["noise"] != noise:
                continue
            if (rate or 0.0) not in table["rates"]:
                continue
            column = table["rates"].index(rate or 0.0)
            spreads = table.get("spreads", {}).get(method)
            spread = None if spreads is None else spreads[column]
            return figures[column], spread, table["epoch"]
        return None


class UnknownNameError(ValueError):
    """A name that nothing has; the message lists those that exist."""

    def __init__(self, what, name, known):
        known = ", ".join(str(other) for other in known)
        super().__init__(f"Unknown {what} {str(name)!r}. Known: {known}.")


def names():
    """Return the names of all recipes."""
    files = FOLDER.rglob("*.toml")
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in files)


def load(name):
    """Return the recipe of this name.

    Args:
        name: One of `names()`, or the path of a TOML file of one's own.

    Raises:
        UnknownNameError: If there is no such recipe.
        ValueError: If the file says something that makes no sense.
    """
    path = FOLDER / f"{name}.toml"
    if str(name).endswith(".toml"):
        path, name = pathlib.Path(name), pathlib.Path(name).stem
    if not path.is_file():
        raise UnknownNameError("recipe", name, names())
    with path.open("rb") as file:
        content = tomllib.load(file)
    try:
        return _recipe(name, content)
    except TypeError as error:
        # A key that is missing or that no class has.
        raise ValueError(f"Recipe {name}: {error}") from None


def _recipe(name, content):
    methods = {
        key: Method(name=key, **_with_companion(value))
        for key, value in content["methods"].items()
    }
    recipe = Recipe(
        **{
            **content,
            "name": name,
            "methods": methods,
            "training": Training(**content["training"]),
        }
    )
    if bool(recipe.training.epochs) == bool(recipe.training.iterations):
        raise ValueError(f"Recipe {name}: `training` needs epochs or iterations.")
    for entry in recipe.noise.values():
        if entry["kind"] not in DEFINITIONS:
            raise UnknownNameError("kind of noise", entry["kind"], DEFINITIONS)
    for method in methods.values():
        _check_method(method)
    for table in recipe.expected:
        _check_expected(recipe, table)
    for name in [*(recipe.mean or {}).get("figures", {}), *_searched(recipe)]:
        if name not in recipe.methods:
            raise UnknownNameError("method", name, recipe.methods)
    return recipe


def _searched(recipe):
    """Return the methods whose hyperparameters are searched."""
    search = recipe.search or {}
    shared = search.get("shared")
    return [*search.get("methods", {}), *([shared["method"]] if shared else [])]


def _with_companion(entry):
    """Return a method's fields with the callback that its loss works with."""
    companion = getattr(loss_class(entry["loss"]), "companion", None)
    if companion is None:
        return entry
    name = companion.rpartition(".")[2]
    return {**entry, "callback": {"name": name, **entry.get("callback", {})}}


def _check_method(method):
    loss_class(method.loss)
    find(callbacks, method.callback)
    find(training, method.model)
    if method.self_evolution:
        find(training, {"name": "SelfEvolution", **method.self_evolution})
    abstains = method.loss == losses.DeepAbstention.__name__
    if method.extra_outputs != abstains:
        # It would take the last class for abstention, in silence.
        raise ValueError(
            f"Recipe: `extra_outputs` of {method.name} must be {abstains:d} with the "
            f"loss {method.loss}. Received: extra_outputs={method.extra_outputs}."
        )


def _check_expected(recipe, table):
    if table["noise"] not in recipe.noise:
        raise UnknownNameError("noise", table["noise"], recipe.noise)
    if table["epoch"] not in REPORTED:
        raise UnknownNameError("epoch", table["epoch"], REPORTED)
    for method in table.get("iterations", {}):
        if method not in recipe.methods:
            raise UnknownNameError("method", method, recipe.methods)
    for part in ("figures", "spreads", "not_run"):
        for method, figures in table.get(part, {}).items():
            if part != "not_run" and method not in recipe.methods:
                raise UnknownNameError("method", method, recipe.methods)
            if len(figures) != len(table["rates"]):
                raise ValueError(
                    f"Recipe {recipe.name}: {method} has {len(figures)} {part} for "
                    f"{len(table['rates'])} rates."
                )


def find(module, entry):
    """Return the class of this package and the arguments that a recipe names, or None.

    Raises:
        UnknownNameError: If the module has no such class.
        TypeError: If it has no such argument.
    """
    if entry is None:
        return None
    arguments = dict(entry)
    name = arguments.pop("name", None)
    if name not in module.__all__:
        raise UnknownNameError(module.__name__, name, module.__all__)
    found = getattr(module, name)
    inspect.signature(found.__init__).bind_partial(**arguments)
    return found, arguments


def loss_class(name):
    """Return the class of a loss of this package or of Keras."""
    for module in (losses, keras.losses):
        found = getattr(module, name, None)
        if isinstance(found, type) and issubclass(found, keras.losses.Loss):
            return found
    known = [key for key in losses.__all__ if key[0].isupper()]
    raise UnknownNameError("loss", name, known)
