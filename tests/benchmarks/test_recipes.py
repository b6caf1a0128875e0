"""Recipes parse, name what exists, and hold the papers' figures."""

import pathlib
import re

import keras
import numpy as np
import pytest

from benchmarks import _data, _methods, _networks, recipes, run
from keras_noisy import losses, models

PAPERS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "papers"
TEXTS = {
    "seal": ["002_aacfc688fc36a892.txt"],
    "proselflc": ["000_7afa5da514545ba0.txt", "001_550449d5051fc8cf.txt"],
    "equal_loss": ["004_b2b4d379c3c63628.txt"],
}
ALL = recipes.names()
OF_PAPERS = [name for name in ALL if name.partition("/")[0] in TEXTS]
# Of their figures the papers print no numbers.
OF_TABLES = [name for name in OF_PAPERS if "/figure" not in name]
each_recipe = pytest.mark.parametrize("name", ALL)

MATRIX = np.eye(10) * 0.6 + 0.04
WORDS = {
    "true": MATRIX,
    "true transitions": MATRIX > 0,
    "estimated": MATRIX,
    "examples": 1280,
    "iterations": 500,
    "inputs": np.zeros((1280, 2)),
    "augmentation": lambda: keras.layers.GaussianNoise(0.1),
    "network": lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(10)]),
}


def test_there_are_recipes_for_each_paper():
    found = {name.partition("/")[0] for name in ALL}
    assert found == {"digits", "divide_mix", "mnist", *TEXTS}


@each_recipe
def test_all_that_a_method_names_can_be_made(name):
    recipe = recipes.load(name)
    for method in recipe.methods.values():
        for noise, entry in recipe.noise.items():
            for rate in entry.get("rates", [None]):
                words = {**WORDS, "rate": rate}
                loss = _methods.make_loss(method, noise, words)
                assert isinstance(loss, keras.losses.Loss)
                if method.arguments.get("epsilon") == "rate":
                    assert loss.epsilon == rate
        made = _methods.make_callbacks(method, words, 100, 1.0)
        assert [type(each).__name__ for each in made] == (
            [method.callback["name"]] if method.callback else []
        )
        model = _methods.make_model(method, WORDS["network"](), words, 1.0)
        expected = (method.model or {"name": "Sequential"})["name"]
        assert type(model).__name__ == expected
        if method.first_loss:
            _methods.loss_by_name(method.first_loss)
        if method.start:
            _methods.loss_by_name(method.start["loss"])


@each_recipe
def test_hyperparameters_for_one_noise_are_of_a_noise_that_exists(name):
    recipe = recipes.load(name)
    known = {
        f"{noise} {rate:g}"
        for noise, entry in recipe.noise.items()
        for rate in entry.get("rates", [])
    }
    for method in recipe.methods.values():
        assert set(method.by_noise) <= known


@each_recipe
def test_network_and_optimizer_exist(name):
    recipe = recipes.load(name)
    network = recipe.network["name"]
    assert network == "dense" or callable(getattr(models, network))
    optimizer = _networks.make_optimizer(recipe.training, 1000)
    assert isinstance(optimizer, keras.optimizers.Optimizer)
    rate = float(optimizer.learning_rate)
    assert rate == pytest.approx(recipe.training.optimizer["learning_rate"])


def test_words_stand_for_what_a_run_has_and_epochs_follow_the_budget():
    methods = recipes.load("digits/losses").methods
    words = {**WORDS, "rate": 0.4}
    network = WORDS["network"]()
    model = _methods.make_model(methods["Co-teaching"], network, words, 0.5)
    assert (model.forget_rate, model.num_gradual) == (0.4, 3)
    assert model.network is network and model.peer is not network
    (elr,) = _methods.make_callbacks(methods["ELR(3, 0.7)"], words, 30, 1.0)
    assert elr.num_examples == 1280
    # Six of 30 epochs, but never all of them.
    for epochs, budget, warmup in ((15, 0.5, 3), (1, 0.03, 1), (2, 1.0, 1)):
        (dac,) = _methods.make_callbacks(methods["DAC"], words, epochs, budget)
        assert dac.warmup_epochs == warmup
    words["true"] = None
    with pytest.raises(
        ValueError, match="ForwardCorrection: 'true', the matrix that t"
    ):
        _methods.make_loss(methods["Forward(true T)"], "symmetric", words)


def test_digits_has_every_loss():
    recipe = recipes.load("digits/losses")
    used = {method.loss for method in recipe.methods.values()}
    base = {"NoisyLabelLoss", "TargetModification", "MultiLabel"}
    classes = {name for name in losses.__all__ if name[0].isupper()} - base
    assert classes <= used


@pytest.mark.parametrize("name", OF_TABLES)
def test_expected_figures_are_the_papers(name):
    paths = [PAPERS / file for file in TEXTS[name.partition("/")[0]]]
    if not paths[0].is_file():
        pytest.skip("the papers' texts are not here")
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    recipe = recipes.load(name)
    assert recipe.expected
    digits = 1 if name.startswith("proselflc") else 2
    for table in recipe.expected:
        others = table.get("not_run", {})
        for figures in [*table["figures"].values(), *others.values()]:
            row = [re.escape(f"{figure:.{digits}f}") for figure in figures]
            # In this order, near each other.
            assert re.search(r"[^\n]{0,160}".join(row), text.replace("\n", " ")), row
        for spreads in table.get("spreads", {}).values():
            assert all(f"{spread:.2f}" in text for spread in spreads)


@pytest.mark.parametrize(
    "name", ["equal_loss/table1_cifar10", "equal_loss/table1_cifar100"]
)
def test_means_are_the_papers_and_of_its_figures(name):
    recipe = recipes.load(name)
    path = PAPERS / TEXTS["equal_loss"][0]
    text = path.read_text(encoding="utf-8") if path.is_file() else None
    assert set(recipe.mean["figures"]) == set(recipe.methods)
    for method, figure in recipe.mean["figures"].items():
        row = [each for table in recipe.expected for each in table["figures"][method]]
        assert figure == pytest.approx(np.mean(row), abs=0.006)
        assert text is None or f"{figure:.2f}" in text


PROSELFLC = {
    "iterations": 30_000,
    "batch_size": 256,
    "optimizer": ("SGD", 0.1, 0.9),
    "weight_decay": 5e-4,
    "changes": {15_000: 0.01, 22_000: 0.001},
    "augmentation": "crop_flip",
}
EQUAL_LOSS = {
    "optimizer": ("SGD", 0.1, 0.9),
    "nesterov": True,
    "weight_decay": 5e-3,
    "kind": "cosine",
    "augmentation": "crop_flip",
}
LARGE = {
    "batch_size": 2048,
    "optimizer": ("SGD", 0.8, 0.9),
    "weight_decay": 1e-4,
    "kind": "cosine",
    "cut": 224,
}
# What the papers state: ProSelfLC, Section 5.1 and 5.2; SEAL, Appendix A; Equal Loss,
# Section 3. What they do not state is not here. Changes of the learning rate are in
# the unit of the length.
STATEMENTS = {
    "proselflc/table3_cifar100": {**PROSELFLC, "network": "resnet44"},
    "proselflc/table3_imagenet": {
        "batch_size": 64,
        "optimizer": ("SGD", 2e-3, 0.95),
        "weight_decay": 1e-4,
        "kind": "polynomial",
        "network": "resnet50",
    },
    "proselflc/table4": {**PROSELFLC, "network": "resnet44"},
    "proselflc/table5": {**PROSELFLC, "network": "resnet44"},
    "proselflc/table6": {
        "iterations": 10_000,
        "batch_size": 256,
        "optimizer": ("SGD", 0.01, 0.9),
        "weight_decay": 5e-4,
        "network": "resnet50",
    },
    "equal_loss/table1_cifar10": {**EQUAL_LOSS, "network": "eight_layer_cnn"},
    "equal_loss/table1_cifar100": {**EQUAL_LOSS, "network": "resnet44"},
    "equal_loss/table2": {**LARGE, "network": "resnet50"},
    "equal_loss/table2_resnet101": {**LARGE, "network": "resnet101"},
    "seal/table1": {
        "epochs": 50,
        "batch_size": 64,
        "optimizer": ("SGD", 0.01, 0.5),
        "weight_decay": 0.0,
        "network": "mnist_cnn",
        "augmentation": None,
    },
    "seal/table2": {
        "epochs": 150,
        "batch_size": 128,
        "optimizer": ("SGD", 0.1, 0.9),
        "weight_decay": 5e-4,
        "changes": {60: 0.02, 120: 0.004},
        "augmentation": "crop_flip",
        "network": "wide_resnet_28_10",
    },
    "seal/table3": {
        "epochs": 10,
        "batch_size": 256,
        "optimizer": ("SGD", 1e-3, 0.9),
        "weight_decay": 1e-3,
        "changes": {5: 1e-4},
        "cut": 224,
        "network": "resnet50",
    },
}
STATEMENTS["seal/table1_unit_scale"] = STATEMENTS["seal/table1"]
STATEMENTS["seal/figure4"] = STATEMENTS["seal/table1"]
for figure in ("proselflc/figure2", "proselflc/figure3"):
    STATEMENTS[figure] = STATEMENTS["proselflc/table4"]
DIVIDE_MIX = {
    "epochs": 300,
    "batch_size": 128,
    "optimizer": ("SGD", 0.02, 0.9),
    "weight_decay": 5e-4,
    "changes": {150: 0.002},
    "augmentation": "crop_flip",
    "network": "preact_resnet18",
}
for data in ("cifar10", "cifar100"):
    STATEMENTS[f"divide_mix/table1_{data}"] = DIVIDE_MIX
STATEMENTS["equal_loss/figure1"] = {**EQUAL_LOSS, "network": "resnet18"}


@pytest.mark.parametrize("name", OF_PAPERS)
def test_a_dry_run_says_what_the_paper_states(name, tmp_path, capsys):
    recipe, stated = recipes.load(name), STATEMENTS[name]
    run.main([name, "--dry-run", "--seeds", "1", "--out", str(tmp_path)])
    *runs, last = capsys.readouterr().out.splitlines()
    rates = {
        noise: len(entry.get("rates", [None])) for noise, entry in recipe.noise.items()
    }
    assert len(runs) == len(recipe.methods) * sum(rates.values())
    unit = "epochs" if recipe.training.epochs else "iterations"
    length = stated.get(unit, recipe.training.length)
    assert last.startswith(f"{len(runs)} runs of {length} {unit}, budget 1;")
    assert recipe.training.batch_size == stated.get(
        "batch_size", recipe.training.batch_size
    )
    optimizer = recipe.training.optimizer
    found = [optimizer[key] for key in ("name", "learning_rate", "momentum")]
    assert tuple(found) == stated["optimizer"]
    assert optimizer.get("nesterov", False) == stated.get("nesterov", False)
    assert recipe.network["name"] == stated["network"]
    assert recipe.network.get("weight_decay", 0.0) == stated["weight_decay"]
    if "augmentation" in stated:
        assert recipe.training.augmentation == stated["augmentation"]
    if "cut" in stated:
        assert recipe.training.augmentation["cut"] == stated["cut"]
    if "kind" in stated:
        assert recipe.training.schedule["kind"] == stated["kind"]
    schedule = _networks.make_optimizer(recipe.training, 100 * length)._learning_rate
    for at, rate in stated.get("changes", {}).items():
        assert float(schedule(100 * at)) == pytest.approx(rate)
        assert float(schedule(100 * at - 1)) > 1.5 * rate


def test_settings_of_the_papers():
    seal = recipes.load("seal/table2")
    schedule = _networks.make_optimizer(seal.training, 150 * 391)._learning_rate
    values = [float(schedule(391 * step)) for step in (59.9, 60, 120)]
    assert values == pytest.approx([0.1, 0.02, 0.004])
    proselflc = recipes.load("proselflc/table4")
    steps = 153 * 196
    schedule = _networks.make_optimizer(proselflc.training, steps)._learning_rate
    values = [float(schedule(step)) for step in (0, 15_200, 22_200, steps - 1)]
    assert values == pytest.approx([0.1, 0.01, 0.001, 0.001])
    dmi = recipes.load("seal/table3")
    method = dmi.methods["DMI"]
    optimizer = _networks.make_optimizer(
        dmi.training, 1000, method.learning_rate, method.schedule
    )
    values = [float(optimizer._learning_rate(step)) for step in (499, 500)]
    assert values == pytest.approx([1e-6, 0.5e-6])
    equal = recipes.load("equal_loss/table1_cifar10")
    schedule = _networks.make_optimizer(equal.training, 1000)._learning_rate
    assert float(schedule(500)) == pytest.approx(0.05)
    assert float(schedule(1000)) == pytest.approx(0.0, abs=1e-7)


def test_noise_is_as_the_recipes_define_it():
    class Data:
        num_classes = 100
        superclasses = np.arange(100) // 5
        y_train = np.arange(1000) % 100

    asymmetric = recipes.load("proselflc/table4").noise["asymmetric"]
    labels = _data.corrupt(asymmetric, 0.4, Data, seed=1)
    assert labels.rate == pytest.approx(0.16)
    symmetric = recipes.load("proselflc/table4").noise["symmetric"]
    assert _data.corrupt(symmetric, 0.4, Data, seed=1).rate == pytest.approx(0.4)
    given = recipes.load("seal/table3").noise["as_given"]
    assert _data.corrupt(given, None, Data, seed=1).rate == 0
    assert _data.transition_matrix(given, None, Data, seed=1) is None


@pytest.mark.parametrize("training", [False, True])
def test_cut_flip_takes_windows_of_the_image(training):
    images = np.arange(5 * 8 * 9).reshape(5, 8, 9, 1).astype("uint8")
    layer = _networks.CutFlip(6)
    cut = keras.ops.convert_to_numpy(layer(images, training=training))
    assert cut.shape == (5, 6, 6, 1)
    for image, part in zip(images, cut, strict=True):
        places = np.ndindex(3, 4) if training else [(1, 1)]
        windows = [image[t : t + 6, w : w + 6] for t, w in places]
        if training:
            windows += [window[:, ::-1] for window in windows]
        assert any(np.array_equal(part, window) for window in windows)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("SGD", "SGD"), None),
        (('"symmetric"\nrates', '"uniform"\nrates'), "Unknown kind of noise 'uniform'"),
        (
            ('"ProSelfLC"', '"ProSelfL"'),
            "Unknown loss 'ProSelfL'. Known: .*ProSelfLC",
        ),
        (("\nepochs = 4", "\n"), "needs epochs or iterations"),
        (("{ rounds = 2 }", "{ round = 2 }"), "unexpected keyword argument 'round'"),
        (
            ("extra_outputs = 1", "extra_outputs = 0"),
            "of DAC must be 1 with the loss D",
        ),
        (("second = {", "seconds = {"), "unexpected keyword argument 'seconds'"),
        (("{ warmup", "{ warm_up"), "argument 'warm_up_epochs'"),
        (
            ("{ warmup", '{ name = "GlobalTrus", warmup'),
            "Unknown keras_noisy.callbacks 'GlobalTrus'",
        ),
        (('noise = "symmetric"', 'noise = "pairs"'), "Unknown noise 'pairs'"),
        (("[50.0]", "[50.0, 40.0]"), "CE has 2 figures for 1 rates"),
        (("figures.CE", "figures.CCE"), "Unknown method 'CCE'"),
        (('epoch = "last"', 'epoch = "first"'), "Unknown epoch 'first'. Known: last"),
    ],
)
def test_what_a_recipe_of_ones_own_can_have_wrong(tiny, tmp_path, change, text):
    path = tmp_path / "own.toml"
    path.write_text(pathlib.Path(tiny[0]).read_text().replace(*change))
    if text is None:
        assert recipes.load(str(path)).name == "own"
        return
    with pytest.raises(ValueError, match=text):
        recipes.load(str(path))


def test_unknown_recipe():
    with pytest.raises(recipes.UnknownNameError, match="Known: digits/joint_opt"):
        recipes.load("seal/table9")
