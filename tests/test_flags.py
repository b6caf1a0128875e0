"""Every flag of every public name is True or False, and nothing that Python counts so.

The test finds the arguments that are annotated as flags, and fails for one that has no
entry in the table.
"""

import importlib
import inspect
import math

import keras
import numpy as np
import pytest

from keras_noisy import (
    RobustClassifier,
    analysis,
    callbacks,
    diagnosis,
    find_wrong_labels,
    losses,
    noise,
    training,
)

from . import test_contract as contract
from .helpers import PUBLIC
from .losses import reference as ref

BAD = ["no", "", 1, 0, 1.0, math.nan, [], np.True_, np.array(True)]
IDS = np.array([0, 1])
X = np.zeros((2, 3), "float32")
P = np.full((2, 2), 0.5)


def build_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def diagnosed():
    rate = analysis.NoiseRate(None, 0.0, 1.0, None, {}, "cannot tell", None, "")
    suspects = analysis.find_suspects(IDS, P)
    return diagnosis.Diagnosis(rate, suspects, P, num_agreed=0, num_sources=1)


def data(x=X, labels=IDS):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, labels))


def add_label_noise(batched):
    return noise.add_label_noise(data(), np.eye(2), seed=0, batched=batched)


def training_pipeline(**kwargs):
    pytest.importorskip("tensorflow")
    from keras_noisy import datasets

    images = np.zeros((2, 4, 4, 3), "uint8")
    return datasets.training_pipeline(images, IDS, batch_size=2, seed=0, **kwargs)


def streamed(shuffle):
    pytest.importorskip("tensorflow")
    from keras_noisy import datasets

    dataset = datasets.StreamedDataset("mine", {"train": None}, ("a", "b"))
    return dataset.pipeline(shuffle=shuffle)


def fit(**kwargs):
    return training.SelfEvolution(build_model).fit(X, IDS, epochs=1, **kwargs)


def generate(**kwargs):
    return training.generate_instance_dependent_noise(
        build_model, X, IDS, rate=0.5, epochs=1, **kwargs
    )


def recorded(recorder, shuffle):
    return recorder.pipeline(build_model(), X, IDS, shuffle=shuffle)


FLAGS = {
    "analysis.Suspects.columns: all_examples": lambda value: analysis.find_suspects(
        IDS, P
    ).columns(all_examples=value),
    "analysis.Suspects.to_frame: all_examples": lambda value: analysis.find_suspects(
        IDS, P
    ).to_frame(all_examples=value),
    "analysis.Suspects.to_csv: all_examples": lambda value: analysis.find_suspects(
        IDS, P
    ).to_csv("never written.csv", all_examples=value),
    **{
        f"analysis.neighbor_votes: {name}": lambda value, name=name: (
            analysis.neighbor_votes(P, IDS, **{name: value})
        )
        for name in ("approximate", "verbose")
    },
    "analysis.gradient_density: from_logits": lambda value: analysis.gradient_density(
        losses.MeanAbsoluteError(), IDS, P, from_logits=value
    ),
    "analysis.plot_gradient_density: from_logits": lambda value: (
        analysis.plot_gradient_density(
            {"MAE": losses.MeanAbsoluteError()}, IDS, P, from_logits=value
        )
    ),
    **{
        f"callbacks.AtomicBackupAndRestore: {name}": lambda value, name=name: (
            callbacks.AtomicBackupAndRestore("backup", **{name: value})
        )
        for name in ("double_checkpoint", "delete_checkpoint")
    },
    "analysis.critical_sample_ratio: from_logits": lambda value: (
        analysis.critical_sample_ratio(build_model(), X, radius=1.0, from_logits=value)
    ),
    "analysis.find_suspects: verbose": lambda value: analysis.find_suspects(
        IDS, P, verbose=value
    ),
    "analysis.noise_rate: verbose": lambda value: analysis.noise_rate(
        IDS, predictions=P, verbose=value
    ),
    "callbacks.DimensionalitySchedule: roll_back": lambda value: (
        callbacks.DimensionalitySchedule(X, roll_back=value)
    ),
    "callbacks.EarlyLearningTargets.pipeline: shuffle": lambda value: recorded(
        callbacks.EarlyLearningTargets(2), value
    ),
    "callbacks.JointOptimizationLabels.pipeline: shuffle": lambda value: recorded(
        callbacks.JointOptimizationLabels(2), value
    ),
    "callbacks.LabelWave: restore_best_weights": lambda value: callbacks.LabelWave(
        X, restore_best_weights=value
    ),
    "callbacks.SmoothedEarlyStopping: restore_best_weights": lambda value: (
        callbacks.SmoothedEarlyStopping(restore_best_weights=value)
    ),
    "callbacks.LearningDynamics: from_logits": lambda value: callbacks.LearningDynamics(
        X, IDS, IDS, from_logits=value
    ),
    "callbacks.SEAL: from_logits": lambda value: callbacks.SEAL(X, from_logits=value),
    "callbacks.SEAL: recompute_statistics": lambda value: callbacks.SEAL(
        X, recompute_statistics=value
    ),
    "callbacks.SEALOnTheFly.pipeline: shuffle": lambda value: recorded(
        callbacks.SEALOnTheFly(2), value
    ),
    "callbacks.SEALOnTheFly: from_logits": lambda value: callbacks.SEALOnTheFly(
        2, from_logits=value
    ),
    "callbacks.with_sample_ids: batched": lambda value: callbacks.with_sample_ids(
        data(), batched=value
    ),
    "diagnosis.Diagnosis.to_csv: all_examples": lambda value: diagnosed().to_csv(
        "suspects.csv", all_examples=value
    ),
    "diagnosis.Diagnosis.to_frame: all_examples": lambda value: diagnosed().to_frame(
        all_examples=value
    ),
    "choice.RobustClassifier: combine": lambda value: RobustClassifier(
        combine=value
    ).fit(P, IDS),
    "choice.RobustClassifier.get_params: deep": RobustClassifier().get_params,
    "diagnosis.find_wrong_labels: skip_broken": lambda value: find_wrong_labels(
        P, IDS, skip_broken=value
    ),
    "datasets.StreamedDataset.pipeline: shuffle": streamed,
    "datasets.training_pipeline: drop_remainder": lambda value: training_pipeline(
        drop_remainder=value
    ),
    "datasets.training_pipeline: sample_ids": lambda value: training_pipeline(
        sample_ids=value
    ),
    "datasets.training_pipeline: shuffle": lambda value: training_pipeline(
        shuffle=value
    ),
    "losses.NoisyLabelLoss: from_logits": lambda value: losses.MeanAbsoluteError(
        from_logits=value
    ),
    "losses.NoisyLabelLoss.without_reduction: from_logits": lambda value: (
        losses.MeanAbsoluteError().without_reduction(IDS, P, from_logits=value)
    ),
    "losses.NoisyLabelLoss.of_kept: from_logits": lambda value: (
        losses.MeanAbsoluteError().of_kept(IDS, P, None, from_logits=value)
    ),
    "losses.EarlyLearningRegularization.without_reduction: from_logits": (
        lambda value: losses.EarlyLearningRegularization().without_reduction(
            IDS, P, from_logits=value
        )
    ),
    "losses.multi_label: from_logits": lambda value: losses.multi_label(
        P, P, loss=losses.MeanAbsoluteError(), from_logits=value
    ),
    "losses.determinant_mutual_information: from_logits": lambda value: (
        losses.determinant_mutual_information(IDS, P, from_logits=value)
    ),
    "losses.local_trust: from_logits": lambda value: losses.local_trust(
        P, from_logits=value
    ),
    "losses.proselflc: stop_target_gradient": lambda value: losses.proselflc(
        IDS, P, global_trust=0.5, stop_target_gradient=value
    ),
    "losses.updated_target: from_logits": lambda value: losses.updated_target(
        P, P, from_logits=value
    ),
    **{
        f"losses.{name}: from_logits": lambda value, name=name: contract.call(
            name, ref.IDS, ref.LOGITS, from_logits=value
        )
        for name in contract.FUNCTIONS
    },
    "noise.add_label_noise: batched": add_label_noise,
    "noise.corrupt_labels: exact": lambda value: noise.corrupt_labels(
        IDS, np.eye(2), seed=0, exact=value
    ),
    "noise.symmetric: include_original": lambda value: noise.symmetric(
        3, 0.5, include_original=value
    ),
    "training.Distillation: from_logits": lambda value: training.Distillation(
        build_model(), build_model(), from_logits=value
    ),
    "training.self_distillation: from_logits": lambda value: training.self_distillation(
        build_model, X, IDS, from_logits=value
    ),
    "training.DivideMix.divide: is_divided": lambda value: training.DivideMix(
        build_model(), build_model(), warmup_epochs=1
    ).divide(value),
    "training.Masking: from_logits": lambda value: training.Masking(
        build_model(),
        structure=np.eye(2),
        transition_matrix=np.eye(2),
        from_logits=value,
    ),
    "training.NoiseAdaptation: from_logits": lambda value: training.NoiseAdaptation(
        build_model(), transition_matrix=np.eye(2), from_logits=value
    ),
    "training.SelfEvolution.fit: resume": lambda value: fit(resume=value),
    "training.SelfEvolution.fit: shuffle": lambda value: fit(shuffle=value),
    "training.SelfEvolution: from_logits": lambda value: training.SelfEvolution(
        build_model, from_logits=value
    ),
    "training.SelfEvolution: recompute_statistics": lambda value: (
        training.SelfEvolution(build_model, recompute_statistics=value)
    ),
    "training.generate_instance_dependent_noise: recompute_statistics": (
        lambda value: generate(recompute_statistics=value)
    ),
    "training.generate_instance_dependent_noise: from_logits": lambda value: generate(
        from_logits=value
    ),
    "training.generate_instance_dependent_noise: return_mean_predictions": (
        lambda value: generate(return_mean_predictions=value)
    ),
}


def callables(public, value):
    """Yield what a public name can be called by: itself, and its methods."""
    if not inspect.isclass(value):
        yield public, value
        return
    bases = [
        base for base in value.__mro__ if base.__module__.startswith("keras_noisy")
    ]
    # Losses have them from their base, which has an entry.
    for base in [value] if issubclass(value, keras.losses.Loss) else bases:
        for name, method in vars(base).items():
            if name == "__init__":
                yield public, method
            elif inspect.isfunction(method) and not name.startswith("_"):
                yield f"{public}.{name}", method


def flags():
    """Names of all arguments that are annotated as flags, Keras's own left out."""
    for package in PUBLIC:
        module = importlib.import_module(f"keras_noisy.{package}")
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value):
                continue
            for public, function in callables(f"{package}.{name}", value):
                for argument, kind in inspect.get_annotations(function).items():
                    if "bool" in str(kind) and argument not in ("training", "return"):
                        yield f"{public}: {argument}"


# `training_pipeline` makes it, and has checked its arguments.
MADE = {"datasets.TrainingPipeline: drop_remainder"}


def test_every_flag_has_an_entry():
    assert set(flags()) == {*FLAGS, *MADE}


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_are_bools(flag):
    names, argument = flag.split(": ")
    _, owner, *_ = names.split(".")
    for value in BAD:
        owners = "|".join([owner, *DELEGATES.get(owner, ())])
        expected = rf"^({owners})(\.\w+)?: `{argument}` must be .*Received: {argument}="
        with pytest.raises(TypeError, match=expected):
            FLAGS[flag](value)


# What does the work of another name, and says its own.
DELEGATES = {
    "Diagnosis": ("Suspects",),
    "NoisyLabelLoss": ("MeanAbsoluteError", "mean_absolute_error"),
    "generate_instance_dependent_noise": ("SelfEvolution",),
    "self_distillation": ("Distillation",),
}
