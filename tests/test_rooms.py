"""How the package is built: which module may import what, and use what of Keras."""

import ast
import functools
import pathlib
import re
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_noisy
from keras_noisy import _keras, losses

from .losses import reference as ref

PACKAGE = pathlib.Path(keras_noisy.__file__).parent
CONTRIBUTING = pathlib.Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"

# From the ground up, line by line as in CONTRIBUTING's picture; rooms of one floor do
# not know of each other.
FLOORS = (
    {"version", "_typing"},
    {"_checks", "_keras"},
    {"_data"},
    {"_step"},
    {"losses", "models"},
    {"analysis"},
    {"noise"},
    {"datasets", "callbacks"},
    {"training"},
    {"diagnosis"},
    {"choice"},
    {"__main__"},
)

# The modules that import a framework themselves; all others use `keras.ops` and NumPy.
FRAMEWORKS = {
    "tensorflow": {
        "_data/arrays.py",
        "_data/positions.py",
        "_data/tf_batches.py",
        "_step/replicas.py",
        "_step/rows.py",
        "analysis/_gradients.py",
        "noise/_alias_tables.py",
        "noise/_hashing.py",
        "noise/label_noise.py",
    },
    "jax": {
        "_data/arrays.py",
        "_step/rows.py",
        "analysis/_gradients.py",
        "losses/_tensors.py",
        "noise/label_noise.py",
    },
    "torch": {
        "_step/replicas.py",
        "analysis/_gradients.py",
        "losses/_tensors.py",
        "noise/label_noise.py",
    },
    "tensorflow_datasets": {"datasets/_tfds.py"},
}

# Names of Keras that it does not document; `keras_noisy/_keras.py` alone has them.
UNDOCUMENTED = {
    "_keras_logits",
    "_keras_mask",
    "keras.src",
    "_tracker",
    "_flatten_layers",
    "_initial_epoch",
    "distribute_strategy",
}


@functools.cache
def sources():
    """Return the text of every module, by its path in the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
    }


@functools.cache
def trees():
    """Return the syntax tree of every module, by its path in the package."""
    return {path: ast.parse(text) for path, text in sources().items()}


def name_of(path):
    """Return the dotted name of a module without the package's."""
    return (
        path.removesuffix(".py").removesuffix("__init__").strip("/").replace("/", ".")
    )


MODULES = {name_of(path) for path in sources()}


def imports(tree):
    """Yield `(module, name or None)` for each import, the package's name included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            for alias in node.names:
                yield node.module, alias.name


def own_imports(tree):
    """Yield `(module, name or None)` for imports of this package, without its name."""
    for module, name in imports(tree):
        if module.partition(".")[0] != "keras_noisy":
            continue
        inside = module.partition(".")[2]
        whole = f"{inside}.{name}".strip(".")
        yield (whole, None) if whole in MODULES else (inside, name)


def floor_of(room):
    """Return the number of a room's floor."""
    (number,) = (n for n, rooms in enumerate(FLOORS) if room in rooms)
    return number


def test_no_import_goes_up():
    wrong = []
    for path, tree in trees().items():
        room = name_of(path).partition(".")[0]
        if not room:
            continue
        for module, _ in own_imports(tree):
            other = module.partition(".")[0]
            if other != room and floor_of(other) >= floor_of(room):
                wrong.append(f"{path}: {module}")
    assert not wrong


def test_every_room_has_a_floor_and_stands_in_the_picture():
    rooms = {name_of(path).partition(".")[0] for path in sources()} - {""}
    assert rooms == set().union(*FLOORS)
    text = CONTRIBUTING.read_text(encoding="utf-8")
    picture = re.search(r"```\nkeras_noisy/\n(.*?)```", text, re.S)[1]
    lines = [re.findall(r"(\w+)(?:/|\.py)", line) for line in picture.splitlines()]
    lines = [set(line) for line in lines if line]
    assert lines == [set(rooms) for rooms in FLOORS]


def test_no_module_imports_a_private_name_of_another():
    wrong = [
        f"{path}: {module}.{name}"
        for path, tree in trees().items()
        for module, name in own_imports(tree)
        if name and name.startswith("_") and not name.startswith("__")
    ]
    assert not wrong


def defined(tree):
    """Return the names that a module gives to functions, classes and attributes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def private_uses(tree):
    """Yield `(owner, name)` for each attribute with an underscore."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_(?!_)", node.attr):
            yield ast.unparse(node.value), node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            name = node.args[1]
            if isinstance(name, ast.Constant) and re.match(r"_(?!_)", name.value):
                yield ast.unparse(node.args[0]), name.value


def test_no_module_uses_a_private_attribute_of_another():
    """`self` may have one that a class of this package defines below or above it."""
    everywhere = set().union(*map(defined, trees().values()))
    wrong = set()
    for path, tree in trees().items():
        known = defined(tree)
        for owner, name in private_uses(tree):
            is_own = owner in ("self", "cls", "super()", "type(self)")
            if name not in (everywhere if is_own else known):
                wrong.add(f"{path}: {owner}.{name}")
    wrong = {each for each in wrong if not each.startswith("_keras.py")}
    assert wrong == OF_TENSORFLOW


# What tf.data does not say otherwise; where it goes, the module says.
OF_TENSORFLOW = {"_data/positions.py: current._inputs"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_modules_that_import_a_framework(framework):
    found = {
        path
        for path, tree in trees().items()
        if any(module.partition(".")[0] == framework for module, _ in imports(tree))
    }
    assert found == FRAMEWORKS[framework]


def test_no_framework_but_keras_is_imported_with_the_package():
    for path, tree in trees().items():
        for node in tree.body:
            for module, _ in imports(ast.Module([node], [])) if is_import(node) else ():
                assert module.partition(".")[0] not in FRAMEWORKS, path


def is_import(node):
    """Whether a statement is an import."""
    return isinstance(node, (ast.Import, ast.ImportFrom))


def test_undocumented_names_of_keras_stand_in_one_module():
    for path, text in sources().items():
        found = {name for name in UNDOCUMENTED if re.search(rf"{name}\b", text)}
        assert found == (UNDOCUMENTED if path == "_keras.py" else set()), path
    for name in UNDOCUMENTED:
        # The table says what each is for, and what happens if it goes.
        rows = re.findall(rf"^\|.*{name}.*\|$", _keras.__doc__, re.M)
        assert rows and all(row.count("|") == 4 for row in rows)


# --- what happens if one of them goes


@pytest.fixture
def fresh():
    """Look again for what has been found in this process."""
    caches = (_keras.miss_logits, _keras.miss_masks)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_nothing_is_missed_with_this_keras():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _keras.miss_logits()
        _keras.miss_masks()


@pytest.mark.usefixtures("fresh")
@pytest.mark.skipif(ref.BACKEND == "jax", reason="JAX does not keep the logits")
def test_logits_that_keras_keeps_elsewhere_are_missed(monkeypatch):
    monkeypatch.setattr(_keras, "LOGITS", "_gone")
    p = keras.activations.softmax(ref.tensor(np.array([[300.0, -300.0]])))
    with pytest.warns(UserWarning, match="does not leave the input of a softmax"):
        losses.mean_absolute_error([0], p)
    # Once in a process, and not for logits.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses.mean_absolute_error([0], p)


@pytest.fixture
def no_masks(monkeypatch):
    """Let no mask be where it is looked for."""
    masking = "keras.src.backend.common.masking"
    monkeypatch.setitem(sys.modules, masking, None)
    monkeypatch.setattr(_keras, "MASK", "_gone")


@pytest.mark.usefixtures("fresh", "no_masks")
def test_masks_that_keras_keeps_elsewhere_are_missed():
    p = ref.softmax(ref.LOGITS).astype("float32")
    with pytest.warns(UserWarning, match="does not leave masks of layers"):
        losses.DeterminantMutualInformation()(ref.IDS, p)


@pytest.mark.usefixtures("fresh", "no_masks")
@pytest.mark.skipif(ref.BACKEND == "jax", reason="JAX does not keep the logits")
def test_a_mask_that_a_cast_would_lose_is_missed():
    y_pred = keras.activations.softmax(ops.ones((1, 2), "float16"))
    with pytest.warns(UserWarning, match="does not leave masks of layers"):
        _keras.cast_with_logits(y_pred, "float32")


def test_without_knowing_made_up_tensors_none_is_looked_at(monkeypatch):
    name = "keras.src.backend.common.stateless_scope"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.warns(UserWarning, match="which tensors are made up"):
        assert _keras.is_made_up()


def test_fit_that_cannot_be_told_where_to_begin_is_an_error():
    with pytest.raises(RuntimeError, match="Pass `initial_epoch=3` to `fit`"):
        _keras.begin_at(object(), 3)


def test_a_built_model_takes_new_state():
    class Built(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = keras.layers.Dense(2)

        def call(self, x):
            return self.layer(x)

    model = Built()
    model(np.ones((1, 2), "float32"))
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        model.metric = keras.metrics.Mean()
    with _keras.unlocked(model):
        model.metric = keras.metrics.Mean()
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        model.other = keras.metrics.Mean()
