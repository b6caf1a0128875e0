"""What every public class and function must do, by one table.

To add a loss, add its class to `CLASSES`; the tests find every public name and fail
for one that has no entry. Whatever is not a loss names the file that tests it, in
`ELSEWHERE`.
"""

import ast
import dataclasses
import doctest
import functools
import importlib
import importlib.util
import inspect
import json
import math
import os
import pathlib
import pkgutil
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_noisy
from keras_noisy import callbacks, losses

from .helpers import PUBLIC
from .losses import reference as ref

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = pathlib.Path(keras_noisy.__file__).parent
NAN, INF = math.nan, math.inf


def widened(function, y_pred):
    """Return predictions with the additional outputs that a loss needs."""
    if function not in WITH_ABSTENTION:
        return y_pred
    # Relative to the others it is the same in logits and in probabilities.
    return ops.concatenate([y_pred, y_pred[..., :1]], axis=-1)


# Losses that need an output besides the classes.
WITH_ABSTENTION = {"deep_abstention"}


@dataclasses.dataclass
class Case:
    """How the tests call a loss class.

    Attributes:
        function: Name of the function that goes with the class.
        arguments: A value for every own argument, none of them the default.
        bad: Values to be refused, by argument.
        function_arguments: What the function must be called with to agree with
            the class, where that is not `arguments`.
        callbacks: Makes the callbacks that `fit` needs.
    """

    function: str
    arguments: dict
    bad: dict
    function_arguments: dict | None = None
    callbacks: object = list

    def make(self, cls, **kwargs):
        return cls(**{"from_logits": True, **self.arguments, **kwargs})

    @property
    def logits(self):
        """`ref.LOGITS` with as many outputs as the loss needs."""
        return ops.convert_to_numpy(widened(self.function, ref.LOGITS))

    def call_function(self, *args, **kwargs):
        arguments = self.function_arguments or self.arguments
        function = getattr(losses, self.function)
        return function(*args, **{"from_logits": True, **arguments, **kwargs})


@keras.saving.register_keras_serializable(package="tests")
def uncertain(q, p):
    """A target of every kind of term."""
    e = 0.3 * p.local_trust()
    return (0.9 - e) * q + e * p + 0.06 * p.uniform() + 0.04 * p.argmax()


def uncertain_in_time(q, p, progress):
    return (1 - progress) * q + progress * uncertain(q, p)


WEIGHTS = [-0.1, 1.1, NAN, INF, "0.3", None, True]
EXPONENTS = [0, -0.1, 1.1, NAN, INF, "0.7", None, True]
FACTORS = [-0.1, NAN, INF, "1", None, True]
# No two rates of a class alike: others take no matrix product.
IGNORED_CLASSES = [1.5, "255", NAN, True, [255], 2**31]
MATRIX = [
    [[0.6, 0.05, 0.08, 0.12, 0.15][(j - i) % 5] for j in range(5)] for i in range(5)
]
BAD_MATRICES = [
    np.roll(np.tri(5) / np.arange(1, 6)[:, None], 1, axis=0).T,  # Transposed.
    -np.eye(5),
    np.eye(5)[:4],
    np.full((5, 5), NAN),
    "symmetric",
    None,
]
LOG_ZEROS = [0, 1, NAN, -INF, "-4", None, True]
EPSILON = Case("", {"epsilon": 0.3}, {"epsilon": WEIGHTS})

CLASSES = {
    "ActiveNegative": Case(
        "active_negative",
        {"alpha": 2.0, "beta": 0.5, "min_probability": 1e-4},
        {"alpha": FACTORS, "beta": FACTORS, "min_probability": [0, 1, *WEIGHTS]},
    ),
    "ActivePassive": Case(
        "active_passive",
        {
            "active": losses.NormalizedFocal(gamma=0.3),
            "passive": losses.ReverseCrossEntropy(log_zero=-2.0),
            "alpha": 2.0,
            "beta": 0.5,
        },
        {
            "active": ["nce", None, losses.normalized_focal, losses.ProSelfLC()],
            "passive": [0.3, keras.losses.MeanAbsoluteError()],
            "alpha": FACTORS,
            "beta": FACTORS,
        },
    ),
    "AsymmetricExponential": Case(
        "asymmetric_exponential", {"a": 1.5}, {"a": [0, *FACTORS]}
    ),
    "AsymmetricGeneralizedCrossEntropy": Case(
        "asymmetric_generalized_cross_entropy",
        {"a": 1.5, "q": 2.5},
        {"a": [0, *FACTORS], "q": [0, *FACTORS]},
    ),
    "AsymmetricUnhinged": Case(
        "asymmetric_unhinged",
        {"a": 4.5, "q": 2.5},
        {"a": [1, 0, *FACTORS], "q": [0, *FACTORS]},
    ),
    "BackwardCorrection": Case(
        "backward_correction",
        {"transition_matrix": MATRIX},
        {"transition_matrix": [np.full((5, 5), 0.2), *BAD_MATRICES]},
    ),
    "BiTemperedLogistic": Case(
        "bi_tempered_logistic",
        {"t1": 0.4, "t2": 2.4},
        {"t1": WEIGHTS, "t2": [0.9, 11, NAN, INF, "1.2", None, True]},
    ),
    "BootstrapHard": dataclasses.replace(EPSILON, function="bootstrap_hard"),
    "BootstrapSoft": dataclasses.replace(EPSILON, function="bootstrap_soft"),
    "ConfidencePenalty": dataclasses.replace(EPSILON, function="confidence_penalty"),
    "DeepAbstention": Case("deep_abstention", {"alpha": 0.3}, {"alpha": FACTORS}),
    "DerivativeManipulation": Case(
        "derivative_manipulation",
        {"beta": 4.0, "lambda_": 0.5},
        {"beta": [51, *FACTORS], "lambda_": FACTORS},
    ),
    "DimensionalityDriven": Case(
        "dimensionality_driven", {"alpha": 0.7}, {"alpha": WEIGHTS}
    ),
    "EpsilonSoftmax": Case(
        "epsilon_softmax",
        {"m": 3.0, "alpha": 2.0, "beta": 0.5},
        {"m": FACTORS, "alpha": FACTORS, "beta": FACTORS},
    ),
    "EqualLoss": Case(
        "equal_loss", {"epsilon": 1.7}, {"epsilon": [-0.1, NAN, INF, "0.3", None]}
    ),
    "ForwardCorrection": Case(
        "forward_correction",
        {"transition_matrix": MATRIX},
        {"transition_matrix": BAD_MATRICES},
    ),
    "GeneralizedCrossEntropy": Case(
        "generalized_cross_entropy",
        {"q": 0.4, "truncation": 0.2},
        {"q": EXPONENTS, "truncation": [0, 1, *WEIGHTS[:5], True]},
    ),
    "GeneralizedLabelSmoothing": Case(
        "generalized_label_smoothing",
        {"smooth_rate": -0.8},
        {"smooth_rate": [1.1, NAN, INF, -INF, "0.1", None, True]},
    ),
    "IMAE": Case("imae", {"temperature": 4.0}, {"temperature": [51, *FACTORS]}),
    "JointOptimization": Case(
        "joint_optimization",
        {"alpha": 0.7, "beta": 0.3, "prior": [0.3, 0.1, 0.2, 0.15, 0.25]},
        {
            "alpha": FACTORS,
            "beta": FACTORS,
            "prior": [np.full(5, NAN), np.ones(5), [1.2, -0.2], [1.0], "uniform"],
        },
    ),
    "LabelSmoothing": dataclasses.replace(EPSILON, function="label_smoothing"),
    "MeanAbsoluteError": Case("mean_absolute_error", {}, {}),
    "NormalizedCrossEntropy": Case("normalized_cross_entropy", {}, {}),
    "NormalizedFocal": Case("normalized_focal", {"gamma": 4.0}, {"gamma": FACTORS}),
    "NormalizedGeneralizedCrossEntropy": Case(
        "normalized_generalized_cross_entropy", {"q": 0.4}, {"q": EXPONENTS}
    ),
    "NormalizedNegativeCrossEntropy": Case(
        "normalized_negative_cross_entropy",
        {"min_probability": 1e-4},
        {"min_probability": [0, 1, *WEIGHTS]},
    ),
    "ProSelfLC": Case(
        "proselflc",
        {
            "exp_base": 3.0,
            "transit_time_ratio": 0.1,
            "trust": "global",
            "stop_target_gradient": True,
        },
        {
            "exp_base": [0, -1, NAN, INF, "8", None],
            "transit_time_ratio": WEIGHTS,
            "trust": ["fixed", None, True, -0.1, 1.5, NAN],
            "stop_target_gradient": ["yes", 1, None],
        },
        function_arguments={
            "global_trust": 1 / (1 + math.exp(3.0 * 0.1)),
            "trust": "global",
            "stop_target_gradient": True,
        },
        callbacks=lambda: [callbacks.GlobalTrust(total_iterations=4)],
    ),
    "ReverseCrossEntropy": Case(
        "reverse_cross_entropy", {"log_zero": -3.0}, {"log_zero": LOG_ZEROS}
    ),
    "SymmetricCrossEntropy": Case(
        "symmetric_cross_entropy",
        {"alpha": 0.4, "beta": 1.5, "log_zero": -3.0},
        {"alpha": FACTORS, "beta": FACTORS, "log_zero": LOG_ZEROS},
    ),
    "TargetModification": Case(
        "target_modification",
        {"target": uncertain},
        {"target": [None, 0.3, "proselflc"]},
    ),
}

# Classes to be derived from; their subclasses stand in the table.
BASES = {"NoisyLabelLoss"}

# Functions of labels and predictions, with arguments to call them with: those of the
# class, or others.
FUNCTIONS = {
    **{case.function: case.arguments for case in CLASSES.values()},
    "asymmetric_generalized_cross_entropy": {"a": 0.5, "q": 0.5},
    "asymmetric_unhinged": {"a": 1.5, "q": 0.5},
    "early_learning_regularization": {"weight": 3.0},
    "epsilon_softmax": {"m": 100.0, "alpha": 0.5, "beta": 2.0},
    "equal_loss": {"epsilon": 0.3},
    "generalized_cross_entropy": {"q": 0.4},
    "joint_optimization": {"alpha": 0.7, "beta": 0.3},
    "knowledge_distillation": {"epsilon": 0.3, "temperature": 2.0},
    "normalized_focal": {"gamma": 0.5},
    "proselflc": {"global_trust": 0.7},
    "reverse_cross_entropy": {},
    "symmetric_cross_entropy": {"alpha": 0.4, "beta": 1.5},
    "target_modification": {"target": uncertain_in_time, "progress": 0.75},
}

# Losses whose value jumps where a label is fitted exactly, because they divide by the
# size of the derivative; nearly one-hot labels are another matter there.
JUMPS = {"derivative_manipulation", "imae"}

# Arguments of the shape of `y_pred`, made from it.
LIKE_PREDICTIONS = {
    "early_learning_regularization": {
        "target": lambda y_pred: 0.125 * ops.ones_like(y_pred)
    },
    "knowledge_distillation": {"teacher_pred": lambda y_pred: y_pred},
}

# What follows another contract, and the file that tests it.
ELSEWHERE = {
    "analysis.correction_candidates": "analysis/test_label_correction.py",
    "analysis.label_distance": "analysis/test_label_correction.py",
    "callbacks.SEAL": "callbacks/test_seal.py",
    "callbacks.SEALOnTheFly": "callbacks/test_seal.py",
    "callbacks.with_sample_ids": "callbacks/test_seal.py",
    "noise.independent_flips": "noise/test_multi_hot_and_maps.py",
    "noise.instance_dependent": "noise/test_instance_dependent.py",
    "noise.move_borders": "noise/test_multi_hot_and_maps.py",
    "training.CoTeaching": "training/test_co_teaching.py",
    "training.Distillation": "training/test_distillation.py",
    "training.DivideMix": "training/test_divide_mix.py",
    "training.SSR": "training/test_ssr.py",
    "training.DynamicBootstrapping": "training/test_dynamic_bootstrapping.py",
    "training.Masking": "training/test_masking.py",
    "training.NoiseAdaptation": "training/test_noise_adaptation.py",
    "training.SelfEvolution": "training/test_self_evolution.py",
    "training.self_distillation": "training/test_distillation.py",
    "training.generate_instance_dependent_noise": (
        "training/test_instance_dependent_noise.py"
    ),
    "analysis.BetaMixture": "analysis/test_beta_mixture.py",
    "analysis.beta_mixture": "analysis/test_beta_mixture.py",
    "analysis.Calibration": "analysis/test_calibration.py",
    "analysis.ClassConditionalTest": "analysis/test_class_conditional_test.py",
    "analysis.GradientDensity": "analysis/test_gradient_density.py",
    "analysis.Suspects": "analysis/test_suspects.py",
    "analysis.calibration": "analysis/test_calibration.py",
    "analysis.class_conditional_test": "analysis/test_class_conditional_test.py",
    "analysis.critical_sample_ratio": "analysis/test_critical_sample_ratio.py",
    "analysis.NoiseRate": "analysis/test_noise_rate.py",
    "analysis.features": "analysis/test_features.py",
    "analysis.SuspectParts": "analysis/test_suspects_of_parts.py",
    "analysis.find_suspect_parts": "analysis/test_suspects_of_parts.py",
    "analysis.find_suspects": "analysis/test_suspects.py",
    "analysis.neighbor_votes": "analysis/test_neighbor_votes.py",
    "analysis.noise_rate": "analysis/test_noise_rate.py",
    "analysis.propose_checks": "analysis/test_noise_rate.py",
    "analysis.gradient_density": "analysis/test_gradient_density.py",
    "analysis.hold_out_class_conditional_test": (
        "analysis/test_class_conditional_test.py"
    ),
    "analysis.plot_gradient_density": "analysis/test_plots.py",
    "analysis.plot_images": "analysis/test_plots.py",
    "analysis.plot_label_distance": "analysis/test_plots.py",
    "analysis.plot_learning_dynamics": "analysis/test_plots.py",
    "analysis.plot_losses": "analysis/test_plots.py",
    "analysis.plot_reliability": "analysis/test_plots.py",
    "analysis.plot_softmax_trajectories": "analysis/test_plots.py",
    "analysis.plot_suspects": "analysis/test_plots.py",
    "analysis.plot_transition_matrix": "analysis/test_plots.py",
    "analysis.write_report": "analysis/test_report.py",
    "analysis.local_intrinsic_dimensionality": (
        "analysis/test_local_intrinsic_dimensionality.py"
    ),
    "analysis.normalized_entropy": "analysis/test_dynamics.py",
    "analysis.semantic_correction": "analysis/test_dynamics.py",
    "analysis.wrong_label_fit": "analysis/test_dynamics.py",
    "callbacks.AbstentionSchedule": "callbacks/test_abstention_schedule.py",
    "callbacks.AtomicBackupAndRestore": "callbacks/test_atomic_backup_and_restore.py",
    "callbacks.DimensionalitySchedule": "callbacks/test_dimensionality_schedule.py",
    "callbacks.GlobalTrust": "callbacks/test_global_trust.py",
    "callbacks.LabelWave": "callbacks/test_label_wave.py",
    "callbacks.SmoothedEarlyStopping": "callbacks/test_smoothed_early_stopping.py",
    "callbacks.LearningDynamics": "callbacks/test_learning_dynamics.py",
    "callbacks.EarlyLearningTargets": "callbacks/test_early_learning_targets.py",
    "callbacks.JointOptimizationLabels": "callbacks/test_joint_optimization_labels.py",
    "datasets.Dataset": "datasets/test_dataset.py",
    "datasets.StreamedDataset": "datasets/test_streamed_dataset.py",
    "datasets.load": "datasets/test_load.py",
    "choice.RobustClassifier": "choice/test_robust_classifier.py",
    "choice.advise": "choice/test_advise.py",
    "diagnosis.Diagnosis": "diagnosis/test_diagnosis.py",
    "diagnosis.find_wrong_labels": "diagnosis/test_find_wrong_labels.py",
    "datasets.read_label_file": "datasets/test_read_label_file.py",
    "losses.DeterminantMutualInformation": (
        "losses/test_determinant_mutual_information.py"
    ),
    "losses.EarlyLearningRegularization": "callbacks/test_early_learning_targets.py",
    "losses.MultiLabel": "losses/test_multi_label.py",
    "losses.abstains": "losses/test_deep_abstention.py",
    "losses.determinant_mutual_information": (
        "losses/test_determinant_mutual_information.py"
    ),
    "losses.global_trust": "losses/test_proselflc.py",
    "losses.local_trust": "losses/test_proselflc.py",
    "losses.multi_label": "losses/test_multi_label.py",
    "losses.updated_target": "losses/test_early_learning_regularization.py",
    "datasets.TrainingPipeline": "datasets/test_pipeline.py",
    "datasets.crop_flip": "datasets/test_pipeline.py",
    "datasets.training_pipeline": "datasets/test_pipeline.py",
    "models.RandomCropFlip": "models/test_random_crop_flip.py",
    "models.eight_layer_cnn": "models/test_models.py",
    "models.mnist_cnn": "models/test_models.py",
    "models.resnet": "models/test_models.py",
    "models.resnet101": "models/test_models.py",
    "models.preact_resnet18": "models/test_models.py",
    "models.resnet18": "models/test_models.py",
    "models.resnet44": "models/test_models.py",
    "models.resnet50": "models/test_models.py",
    "models.wide_resnet": "models/test_models.py",
    "models.wide_resnet_28_10": "models/test_models.py",
    "noise.CIFAR10_FLIPS_ONE_WAY": "noise/test_transition_matrices.py",
    "noise.CIFAR10_FLIPS_TWO_WAY": "noise/test_transition_matrices.py",
    "noise.LabelNoise": "noise/test_label_noise.py",
    "noise.NoisyLabels": "noise/test_noisy_labels.py",
    "noise.add_label_noise": "noise/test_label_noise.py",
    "noise.asymmetric": "noise/test_transition_matrices.py",
    "noise.corrupt_labels": "noise/test_corrupt_labels.py",
    "noise.estimate_from_anchors": "noise/test_estimation.py",
    "noise.estimate_from_confusion": "noise/test_estimation.py",
    "noise.estimate_from_neighbors": "noise/test_estimation.py",
    "noise.keep_structure": "noise/test_estimation.py",
    "noise.estimate_with_cleanlab": "noise/test_estimation.py",
    "noise.pair_flip": "noise/test_transition_matrices.py",
    "noise.symmetric": "noise/test_transition_matrices.py",
    "noise.within_groups": "noise/test_transition_matrices.py",
}

every_class = pytest.mark.parametrize("name", CLASSES)
every_function = pytest.mark.parametrize("name", FUNCTIONS)


# --- the table is complete


def module_names():
    """Names of all modules of the package, without importing them."""
    found = pkgutil.walk_packages(keras_noisy.__path__, "keras_noisy.")
    return ["keras_noisy", *(module.name for module in found)]


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_is_tested(package):
    module = importlib.import_module(f"keras_noisy.{package}")
    for name in module.__all__:
        if package == "losses" and (
            name in CLASSES or name in FUNCTIONS or name in BASES
        ):
            continue
        key = f"{package}.{name}"
        assert key in ELSEWHERE, f"{key} has no entry in tests/test_contract.py"
        tests = ROOT / "tests" / ELSEWHERE[key]
        assert tests.exists(), f"{key} has no tests in {tests}"
        assert name in tests.read_text(), f"{tests} does not test {name}"


@pytest.mark.parametrize("package", PUBLIC)
def test_all_is_sorted_and_holds_every_import(package):
    module = importlib.import_module(f"keras_noisy.{package}")
    imported = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert imported == set(module.__all__)


def test_the_table_holds_nothing_else():
    public = set(losses.__all__)
    assert public >= {*CLASSES, *FUNCTIONS, *BASES}
    assert {case.function for case in CLASSES.values()} <= set(FUNCTIONS)


@every_class
def test_arguments_are_not_the_defaults(name):
    cls, case = getattr(losses, name), CLASSES[name]
    parameters = {
        key: parameter
        for key, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
        and key not in ("from_logits", "ignore_class", "reduction", "name", "dtype")
    }
    assert set(case.arguments) == set(parameters) == set(cls.hyperparameters)
    assert set(case.bad) == set(parameters)
    for key, parameter in parameters.items():
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert case.arguments[key] != parameter.default


@every_class
def test_function_and_class_have_one_name(name):
    cls, case = getattr(losses, name), CLASSES[name]
    assert cls.function is getattr(losses, case.function)
    assert case.function.replace("_", "") == name.lower()
    assert cls(**case.arguments).name == case.function
    assert importlib.import_module(f"keras_noisy.losses.{case.function}")
    assert (ROOT / "tests" / "losses" / f"test_{case.function}.py").exists()


# --- documentation


@every_class
def test_class_docstring(name):
    """It points to the function, which describes the arguments that both have."""
    function = CLASSES[name].function
    text = inspect.getdoc(getattr(losses, name))
    assert f"`keras_noisy.losses.{function}`" in text
    text += inspect.getdoc(getattr(losses, function))
    for argument in CLASSES[name].arguments:
        assert f"\n    {argument}: " in text


@pytest.mark.parametrize(
    "name",
    [*FUNCTIONS, *(k[7:] for k in ELSEWHERE if re.match(r"losses\.[a-z]", k))],
)
def test_function_docstring(name):
    function = getattr(losses, name)
    text = inspect.getdoc(function)
    for section in ("Args", "Returns", "Raises", "Example", "Reference"):
        assert f"\n\n{section}:\n" in text
    for argument in inspect.signature(function).parameters:
        assert f"\n    {argument}: " in text


@pytest.mark.dealt
@pytest.mark.parametrize("name", module_names())
def test_doctests(name):
    module = importlib.import_module(name)
    # An example may use the names of its package without importing them.
    package = importlib.import_module(".".join(name.split(".")[:2]))
    names = {key: getattr(package, key) for key in getattr(package, "__all__", ())}
    result = doctest.testmod(module, extraglobs=names)
    assert result.failed == 0
    stem = name.rpartition(".")[2]
    if stem in FUNCTIONS:
        assert result.attempted >= 2


# --- imports


def imports_at_the_top(path):
    """Names of the packages that importing a file imports."""
    waiting = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(node))


def test_no_module_imports_a_backend():
    for path in PACKAGE.rglob("*.py"):
        backends = {"tensorflow", "tensorflow_datasets", "jax", "torch"}
        assert not backends & set(imports_at_the_top(path)), path


def test_importing_the_package_does_not_import_tensorflow():
    others = [name for name in ("jax", "torch") if importlib.util.find_spec(name)]
    if not others:
        pytest.skip("needs JAX or torch")
    code = (
        "import importlib, sys, keras\n"
        "before = 'tensorflow' in sys.modules\n"
        f"for name in {module_names()}: importlib.import_module(name)\n"
        "assert before or 'tensorflow' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "KERAS_BACKEND": others[0],
            "PYTHONPATH": str(PACKAGE.parent),
        },
        check=True,
    )


# --- arguments and configuration


def bad_arguments():
    for name, case in CLASSES.items():
        for argument, values in case.bad.items():
            for value in values:
                # The same in every process: no addresses.
                shown = type(value).__name__ if callable(value) else value
                yield pytest.param(
                    name, argument, value, id=f"{name}-{argument}-{shown}"
                )


@pytest.mark.parametrize(("name", "argument", "value"), [*bad_arguments()])
def test_bad_arguments(name, argument, value):
    case = CLASSES[name]
    expected = rf"^{name}: `{argument}` must be .*\. Received: {argument}=.*\."
    with pytest.raises((ValueError, TypeError), match=expected):
        case.make(getattr(losses, name), **{argument: value})
    function = inspect.signature(getattr(losses, case.function)).parameters
    if argument in function and argument != "stop_target_gradient":
        expected = expected.replace(name, case.function, 1)
        with pytest.raises((ValueError, TypeError), match=expected):
            case.call_function(ref.IDS, case.logits, **{argument: value})


def comparable(value):
    """A value whose `==` says whether two arguments mean the same."""
    if isinstance(value, losses.NoisyLabelLoss):
        return value.get_config()
    return value.tolist() if isinstance(value, np.ndarray) else value


def attributes(loss):
    """What defines a loss, policies compared by name."""
    return {
        **{name: comparable(getattr(loss, name)) for name in loss.hyperparameters},
        "from_logits": loss.from_logits,
        "reduction": loss.reduction,
        "name": loss.name,
        "dtype": loss.dtype,
    }


@every_class
@pytest.mark.parametrize(
    "round_trip",
    [
        lambda loss: type(loss).from_config(json.loads(json.dumps(loss.get_config()))),
        lambda loss: keras.saving.deserialize_keras_object(
            json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
        ),
        lambda loss: keras.losses.deserialize(keras.losses.serialize(loss)),
    ],
    ids=["config", "saving", "losses"],
)
def test_config_round_trip(name, round_trip):
    cls, case = getattr(losses, name), CLASSES[name]
    shared = {"reduction": "sum", "name": "mine", "dtype": "mixed_bfloat16"}
    loss = case.make(cls, **shared)
    again = round_trip(loss)
    assert type(again) is cls
    assert attributes(again) == attributes(loss)
    arguments = {key: comparable(value) for key, value in case.arguments.items()}
    assert attributes(again) == {
        **arguments, **shared, "from_logits": True, "dtype": "float32"
    }  # fmt: skip
    assert again.get_config() == loss.get_config()
    assert keras.saving.get_registered_name(cls) == f"keras_noisy>{name}"


@every_class
def test_presets(name):
    cls = getattr(losses, name)
    for preset, arguments in cls.presets.items():
        loss = cls.from_preset(preset, from_logits=True)
        given = {key: comparable(value) for key, value in arguments.items()}
        assert attributes(loss).items() >= given.items()
        assert np.isfinite(float(loss(ref.IDS, CLASSES[name].logits)))
    with pytest.raises(ValueError, match=f"^{name}: `preset` must be .*Received"):
        cls.from_preset("cifar1000")


# --- values


@every_class
@pytest.mark.parametrize("from_logits", [False, True])
def test_function_and_class_agree(name, from_logits):
    cls, case = getattr(losses, name), CLASSES[name]
    logits = case.logits
    y_pred = logits if from_logits else ref.softmax(logits).astype("float32")
    expected = case.call_function(ref.IDS, y_pred, from_logits=from_logits)
    loss = case.make(cls, from_logits=from_logits, reduction=None)
    ref.assert_close(loss(ref.IDS, y_pred), ref.to_numpy(expected))
    loss = case.make(cls, from_logits=from_logits)
    mean = ref.to_numpy(expected).mean()
    assert float(loss(ref.IDS, y_pred)) == pytest.approx(mean, rel=1e-5)


@every_class
def test_arguments_have_an_effect(name):
    cls, case = getattr(losses, name), CLASSES[name]
    default = {k: v for k, v in case.arguments.items() if type(v) is float}
    value = float(case.make(cls)(ref.IDS, case.logits))
    for argument, old in default.items():
        other = float(case.make(cls, **{argument: old / 2})(ref.IDS, case.logits))
        assert abs(other - value) > 1e-4


@every_class
def test_sample_weights(name):
    cls, case = getattr(losses, name), CLASSES[name]
    weights = np.linspace(0, 2, 16).astype("float32")
    each = ref.to_numpy(case.call_function(ref.IDS, case.logits))
    actual = case.make(cls)(ref.IDS, case.logits, sample_weight=weights)
    assert float(actual) == pytest.approx((weights * each).mean(), rel=1e-5)
    actual = case.make(cls, reduction="sum")(ref.IDS, case.logits, weights)
    assert float(actual) == pytest.approx((weights * each).sum(), rel=1e-5)


def call(name, y_true, y_pred, **kwargs):
    """Call a function of the table, on logits of the classes."""
    y_pred = widened(name, y_pred)
    made = {k: make(y_pred) for k, make in LIKE_PREDICTIONS.get(name, {}).items()}
    arguments = {**FUNCTIONS[name], **made, "from_logits": True, **kwargs}
    return getattr(losses, name)(y_true, y_pred, **arguments)


@every_function
def test_label_forms(name):
    expected = ref.to_numpy(call(name, ref.IDS, ref.LOGITS))
    assert expected.shape == ref.IDS.shape
    for labels in (
        ref.IDS[:, None],
        ref.IDS.tolist(),
        ref.IDS.astype("uint8"),
        ref.IDS.astype("float32"),
        ops.convert_to_tensor(ref.IDS),
        ref.ONE_HOT,
        ref.ONE_HOT.astype("int32"),
        *([] if name in JUMPS else [0.999999 * ref.ONE_HOT + 0.000001 / 5]),
    ):
        loss = ref.to_numpy(call(name, labels, ref.LOGITS))
        np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-4)


@every_function
def test_leading_dimensions(name):
    expected = ref.to_numpy(call(name, ref.IDS, ref.LOGITS))
    for shape in ((4, 4), (2, 2, 4), (1, 16), (16, 1)):
        loss = call(name, ref.IDS.reshape(shape), ref.LOGITS.reshape(*shape, 5))
        assert tuple(loss.shape) == shape
        np.testing.assert_allclose(
            ref.to_numpy(loss), expected.reshape(shape), rtol=1e-6, atol=1e-6
        )


@every_function
def test_shifted_logits_and_probabilities_agree(name):
    expected = ref.to_numpy(call(name, ref.SOFT, ref.LOGITS))
    ref.assert_close(call(name, ref.SOFT, ref.LOGITS + 7), expected)
    p = ref.softmax(ref.LOGITS).astype("float32")
    ref.assert_close(call(name, ref.SOFT, p, from_logits=False), expected)


@every_function
def test_from_logits_is_false_by_default(name):
    assert (
        inspect.signature(getattr(losses, name)).parameters["from_logits"].default
        is False
    )


@pytest.mark.dealt
@every_function
def test_compiled_agrees_with_eager(name):
    for labels in (ref.tensor(ref.IDS), ref.tensor(ref.SOFT, "float32")):
        eager = ref.to_numpy(call(name, labels, ref.tensor(ref.LOGITS)))
        function = ref.compiled(lambda y_true, y_pred: call(name, y_true, y_pred))
        compiled = function(labels, ref.tensor(ref.LOGITS))
        ref.assert_close(compiled, eager)


@every_function
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(name, dtype):
    z = ops.cast(ops.convert_to_tensor(ref.LOGITS), dtype)
    loss = call(name, ref.IDS, z)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    expected = ref.to_numpy(call(name, ref.IDS, ops.cast(z, "float32")))
    ref.assert_close(loss, expected)


@every_function
def test_bad_labels(name):
    with pytest.raises(ValueError, match=f"^{name}: `y_true` must hold class ids"):
        call(name, ref.IDS + 1, ref.LOGITS)
    with pytest.raises(ValueError, match=f"^{name}: `y_true` must hold class ids"):
        call(name, ref.SOFT[:, :4], ref.LOGITS)
    with pytest.raises(ValueError, match=f"^{name}: `y_pred` must have"):
        call(name, ref.IDS, ref.LOGITS[:, :0])
    with pytest.raises(ValueError, match=f"^{name}: `y_pred` must hold"):
        call(name, ref.IDS[:0], ref.LOGITS[:0])


# --- kinds of outputs: one sigmoid

# The logit of the second class, and the same as two outputs.
ONE = np.array([-1e4, -88, -30, -3, -0.5, 0, 0.5, 3, 30, 88, 1e4, 1.2], "float32")
TWO = np.stack([np.zeros_like(ONE), ONE], axis=-1)
SHARES = {
    "hard": np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0], "float32"),
    "soft": np.linspace(0, 1, 12, dtype="float32"),
}
# Arguments that must fit two classes.
OF_TWO_CLASSES = {
    "transition_matrix": [[0.8, 0.2], [0.4, 0.6]],
    "prior": [0.3, 0.7],
}
with_one_output = pytest.mark.parametrize(
    "name", sorted({*FUNCTIONS} - WITH_ABSTENTION)
)


def call_of_two_classes(name, y_true, y_pred, from_logits=True):
    """Call a function of the table on one output or two."""
    like = y_pred
    if name == "early_learning_regularization":
        like = np.zeros((len(y_true), 2), "float32")
    made = {k: make(like) for k, make in LIKE_PREDICTIONS.get(name, {}).items()}
    arguments = {
        key: OF_TWO_CLASSES.get(key, value) for key, value in FUNCTIONS[name].items()
    }
    function = getattr(losses, name)
    return function(y_true, y_pred, **arguments, **made, from_logits=from_logits)


@with_one_output
@pytest.mark.parametrize("labels", SHARES)
def test_one_logit_is_two_classes(name, labels):
    share = SHARES[labels]
    both = np.stack([1 - share, share], axis=-1)
    two = ref.to_numpy(call_of_two_classes(name, both, ref.tensor(TWO)))
    slope = ref.gradient(lambda z: call_of_two_classes(name, both, z), TWO)[:, 1]
    for one, y_true in ((ONE, share), (ONE[:, None], share[:, None]), (ONE, both)):
        loss = call_of_two_classes(name, y_true, ref.tensor(one))
        assert tuple(loss.shape) == (12,)
        np.testing.assert_allclose(ref.to_numpy(loss), two, rtol=2e-6, atol=2e-7)
        # `y_true` is bound: the loop goes on.
        found = ref.gradient(lambda z, y=y_true: call_of_two_classes(name, y, z), one)
        assert found.shape == one.shape
        np.testing.assert_allclose(found.ravel(), slope, rtol=2e-6, atol=2e-7)


@with_one_output
def test_one_probability_is_two_classes(name):
    p = ref.softmax(TWO)[:, 1].astype("float32")
    both, share = np.stack([1 - p, p], axis=-1), SHARES["soft"]
    assert p.min() == 0 and p.max() == 1
    two = call_of_two_classes(name, np.stack([1 - share, share], -1), both, False)
    one = call_of_two_classes(name, share, p[:, None], False)
    ref.assert_close(one, ref.to_numpy(two))
    slope = ref.gradient(lambda p: call_of_two_classes(name, share, p, False), p)
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("shape", [(12, 1), (12,)])
def test_one_output_cannot_abstain(shape):
    with pytest.raises(ValueError, match="leaves none to abstain with: give a binary"):
        losses.deep_abstention(SHARES["hard"], ONE.reshape(shape), alpha=1.0)


@with_one_output
def test_bad_labels_of_one_output(name):
    for labels in (SHARES["hard"] + 1, 2 * SHARES["hard"] - 1, SHARES["soft"] * NAN):
        with pytest.raises(ValueError, match=f"^{name}: `y_true` must hold labels 0"):
            call_of_two_classes(name, labels, ONE[:, None])
    with pytest.raises(ValueError, match=r"_pred` must be probabilities.*=True if "):
        call_of_two_classes(name, SHARES["hard"], 1 + abs(ONE), from_logits=False)


# --- kinds of outputs: a class that is ignored

IGNORED = np.arange(16) % 3 == 1


without_clock = pytest.mark.filterwarnings("ignore:ProSelfLC is being trained")


@without_clock
@every_class
@pytest.mark.parametrize("ignored", [255, -1, 2])
def test_ignored_class(name, ignored):
    cls, case = getattr(losses, name), CLASSES[name]
    ids = np.where(IGNORED, ignored, np.where(ref.IDS == 2, 3, ref.IDS))
    kept = ~IGNORED
    arguments = {"ignore_class": ignored, "from_logits": True}
    each = ref.to_numpy(case.call_function(ids[kept], case.logits[kept]))
    loss = case.make(cls, **arguments)
    for labels in (ids, ids[:, None], ids.astype("float32")):
        assert float(loss(labels, case.logits)) == pytest.approx(each.mean(), rel=1e-5)
    values = case.make(cls, reduction=None, **arguments)(ids, case.logits)
    np.testing.assert_allclose(ref.to_numpy(values)[kept], each, rtol=1e-5, atol=1e-6)
    assert not ref.to_numpy(values)[IGNORED].any()
    slope = ref.gradient(lambda z: loss(ids, z), case.logits)
    expected = ref.gradient(lambda z: case.make(cls)(ids[kept], z), case.logits[kept])
    np.testing.assert_allclose(slope[kept], expected, rtol=1e-4, atol=1e-6)
    assert not slope[IGNORED].any()


@without_clock
@every_class
def test_everything_ignored(name):
    loss = CLASSES[name].make(getattr(losses, name), ignore_class=255)
    ids, logits = np.full(16, 255), CLASSES[name].logits
    assert float(loss(ids, logits)) == 0
    slope = ref.gradient(lambda z: loss(ids, z), logits)
    assert not slope.any() and np.isfinite(slope).all()


# --- kinds of outputs: many sigmoids


# Losses that need their own callback, or an output more.
NOT_OF_LABELS = {"DeepAbstention", "DimensionalityDriven", "JointOptimization"}


@without_clock
@pytest.mark.parametrize("name", sorted({*CLASSES} - NOT_OF_LABELS))
@pytest.mark.parametrize("from_logits", [True, False])
def test_multi_label(name, from_logits):
    case, shape = CLASSES[name], (3, 4)
    two_classes = {k: OF_TWO_CLASSES[k] for k in case.arguments if k in OF_TWO_CLASSES}
    y_pred = ONE / 1e4 if from_logits else ref.softmax(TWO)[:, 1].astype("float32")
    is_known = np.arange(12) % 3 > 0
    of_labels = np.zeros(12)
    of_labels[is_known] = ref.to_numpy(
        case.call_function(
            SHARES["soft"][is_known], y_pred[is_known],
            **{**two_classes, "from_logits": from_logits},
        )
    )  # fmt: skip
    labels = np.where(is_known, SHARES["soft"], -1).reshape(shape)
    loss = losses.MultiLabel(
        case.make(getattr(losses, name), **two_classes), from_logits=from_logits
    )
    y_pred = y_pred.reshape(shape)
    expected, count = of_labels.reshape(shape), is_known.reshape(shape).sum(axis=1)
    ref.assert_close(loss.of_labels(labels, y_pred), expected)
    ref.assert_close(loss.call(labels, y_pred), expected.sum(axis=1) / count)


@pytest.mark.parametrize("name", sorted(NOT_OF_LABELS))
def test_not_for_many_labels(name):
    with pytest.raises(TypeError, match="`loss` must be a loss object of keras_noisy"):
        losses.MultiLabel(CLASSES[name].make(getattr(losses, name)))


# --- gradients at the extremes

FAR = np.array(
    [
        [100, -100, 0, 50, -100],
        [-100, 100, 100, -100, 0],
        [0, 0, 0, 0, 0],
        [100, 100, 100, 100, 100],
        [-100, -100, -100, -100, -100],
        [0, -1e4, 1e4, 0, 0],
        [0, -88, -104, -87, -103],
    ],
    "float32",
)


# Every label with every row.
EVERY_LABEL = {
    "hard": (np.arange(5).repeat(len(FAR)), np.tile(FAR, (5, 1))),
    "soft": (np.full(FAR.shape, 0.2), FAR),
}
every_label = pytest.mark.parametrize("labels", EVERY_LABEL)


@every_function
@every_label
def test_finite_at_extreme_logits(name, labels):
    y, far = EVERY_LABEL[labels]
    assert np.all(np.isfinite(ref.to_numpy(call(name, y, far))))
    assert np.all(np.isfinite(ref.gradient(lambda z: call(name, y, z), far)))


@every_function
@every_label
def test_finite_at_extreme_probabilities(name, labels):
    y, far = EVERY_LABEL[labels]
    p = ref.softmax(far).astype("float32")
    assert np.any(p == 0) and np.any(p == 1)
    assert np.all(np.isfinite(ref.to_numpy(call(name, y, p, from_logits=False))))
    gradient = ref.gradient(lambda p: call(name, y, p, from_logits=False), p)
    assert np.all(np.isfinite(gradient))


# --- models

X = np.random.default_rng(3).normal(size=(16, 6)).astype("float32")


def make_model(names, policy="float32", **compile_args):
    """Return a model with an output of its own for each loss, all on one input.

    To trace and compile one step of all losses takes as long as that of three or four.
    No output shares a weight with another, so each is trained as if it were alone.
    """
    inputs, outputs = keras.Input((6,)), []
    for name in names:
        width = ref.NUM_CLASSES + (CLASSES[name].function in WITH_ABSTENTION)
        outputs.append(keras.layers.Dense(width, dtype=policy, name=name)(inputs))
    model = keras.Model(inputs, outputs)
    for name in names:
        layer = model.get_layer(name)
        generator = np.random.default_rng(4)
        layer.kernel.assign(generator.normal(size=layer.kernel.shape))
    made = [CLASSES[name].make(getattr(losses, name)) for name in names]
    model.compile(keras.optimizers.SGD(0.1), made, **compile_args)
    return model


def fit(model, labels=ref.IDS, **kwargs):
    """Train two steps an epoch, and return the first value of each loss."""
    names = model.output_names
    made = [callback for name in names for callback in CLASSES[name].callbacks()]
    history = model.fit(
        X, [labels] * len(names), batch_size=8, shuffle=False, verbose=0,
        callbacks=made, **kwargs,
    ).history  # fmt: skip
    keys = ["loss"] if len(names) == 1 else [f"{name}_loss" for name in names]
    return {name: history[key][0] for name, key in zip(names, keys, strict=True)}


def weights(model):
    """Return the weights of each output: kernel and bias."""
    return {name: model.get_layer(name).get_weights() for name in model.output_names}


def run(names=tuple(CLASSES), labels=ref.IDS, policy="float32", **compile_args):
    """Return the weights of each output after a training, by default uncompiled."""
    model = make_model(names, policy, **{"run_eagerly": True, **compile_args})
    fit(model, labels)
    return weights(model)


# What several tests look at is trained once.
trained = functools.cache(run)


def assert_trained_alike(actual, expected, **tolerance):
    for value, weight in zip(actual, expected, strict=True):
        assert value.dtype == "float32"
        np.testing.assert_allclose(value, weight, **tolerance)


# torch.compile needs a C++ toolchain.
JIT = [False] if ref.BACKEND == "torch" else [False, True]


@every_class
@pytest.mark.parametrize("jit_compile", JIT)
def test_modes_of_fit_agree(name, jit_compile):
    expected = trained()[name]
    actual = trained(run_eagerly=False, jit_compile=jit_compile)[name]
    assert_trained_alike(actual, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected[1]).max() > 1e-4


@pytest.mark.parametrize("name", ["EqualLoss", "ProSelfLC", "DerivativeManipulation"])
def test_an_output_among_others_is_trained_as_if_alone(name):
    # Of each kind one: per example, with a clock, of a whole batch.
    actual = run((name,), run_eagerly=False)[name]
    assert_trained_alike(actual, trained()[name], rtol=1e-4, atol=1e-5)


@functools.cache
def first_losses():
    model = make_model(tuple(CLASSES), run_eagerly=True)
    outputs = dict(zip(model.output_names, model(X[:8]), strict=True))
    labels = [ref.IDS[:8]] * len(outputs)
    made = [callback for case in CLASSES.values() for callback in case.callbacks()]
    history = model.fit(
        X[:8], labels, batch_size=8, verbose=0, callbacks=made
    ).history  # fmt: skip
    return {
        name: (history[f"{name}_loss"][0], ref.to_numpy(z))
        for name, z in outputs.items()
    }


@every_class
def test_first_loss_of_fit(name):
    loss, z = first_losses()[name]
    expected = ref.to_numpy(CLASSES[name].call_function(ref.IDS[:8], z)).mean()
    assert loss == pytest.approx(expected, rel=1e-4)


@functools.cache
def trained_on(form):
    labels = {"column": ref.IDS[:, None], "one-hot": ref.ONE_HOT.astype("float32")}
    return run(labels=labels[form])


@every_class
@pytest.mark.parametrize("form", ["column", "one-hot"])
def test_label_forms_in_fit(name, form):
    assert_trained_alike(trained_on(form)[name], trained()[name], rtol=1e-5, atol=1e-6)


@functools.cache
def trained_in(policy):
    model = make_model(tuple(CLASSES), policy, jit_compile=False)
    if policy == "mixed_float16":
        sgd = keras.optimizers.SGD(0.1)
        optimizer = keras.optimizers.LossScaleOptimizer(sgd, initial_scale=64.0)
        model.compile(optimizer, model.loss, jit_compile=False)
    fit(model)
    return weights(model)


@every_class
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(name, policy):
    assert_trained_alike(
        trained_in(policy)[name], trained()[name], rtol=0.05, atol=0.02
    )


@pytest.fixture(scope="module")
def saved_and_loaded(tmp_path_factory):
    """A trained model and what a file of it holds, with the losses of both."""
    model = make_model(tuple(CLASSES), run_eagerly=True)
    fit(model)
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    pair = model, keras.saving.load_model(path)
    labels = [ref.IDS] * len(CLASSES)
    return [
        (
            dict(zip(CLASSES, each.loss, strict=True)),
            each.evaluate(X, labels, verbose=0, return_dict=True),
        )
        for each in pair
    ]


@every_class
def test_save_and_load(name, saved_and_loaded):
    (loss, expected), (loaded, actual) = saved_and_loaded
    assert attributes(loaded[name]) == attributes(loss[name])
    assert actual[f"{name}_loss"] == pytest.approx(expected[f"{name}_loss"], rel=1e-6)


@pytest.fixture(scope="module")
def replicated(strategy):
    with strategy.scope():
        return run(run_eagerly=False, jit_compile=False)


@pytest.mark.tensorflow_only
@every_class
def test_two_replicas(name, replicated):
    assert_trained_alike(replicated[name], trained()[name], rtol=1e-4, atol=1e-5)
