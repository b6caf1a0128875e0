"""What has no meaning as an argument is refused, by an error that says which one it is.

For each argument of each public callable the test puts bad values in the place of a
good one. A call is well answered by a `ValueError` or `TypeError` that names a public
callable and the argument. It fails for a public name or an argument without an entry.
"""

import functools
import importlib
import inspect
import re
import types
import warnings

import keras
import numpy as np
import pytest

import keras_noisy
from keras_noisy import analysis, callbacks, losses, noise, training

from . import test_contract as contract
from .helpers import PUBLIC
from .losses import reference as ref

# As many calls may be badly answered, of those to one package.
LIMIT = 0.03

LABELS = np.array([0, 1, 2, 1])
P = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
X = np.zeros((4, 3), "float32")
IMAGES = np.zeros((4, 8, 8, 3), "uint8")
MATRIX = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
RAGGED = [[0, 1], [1]]
ODD = {"an object": object(), "a dict": {}, "NaN": np.nan, "None": None}
NO_ARRAYS = {
    "an object": object(),
    "None": None,
    "a number": 3,
    "a text": "cat",
    "texts": ["cat", "dog", "cat", "cat"],
    "ragged": RAGGED,
    "complex": [1j, 0, 1, 1],
    "dicts": [{}, {}, {}, {}],
}
INTEGERS = {
    **ODD,
    "infinity": np.inf,
    "a negative one": -1,
    "a fraction": 1.5,
    "a text": "3",
    "a list": [3],
    "an empty list": [],
    "an array of one": np.array([3]),
    "an array of two": np.array([3, 4]),
    "a fraction in an array": np.array(1.5),
    "a flag": True,
    "a flag of NumPy": np.True_,
    "huge": 10**30,
}
PATHS = {
    **ODD,
    "a number": 3,
    "a list": ["a"],
    "bytes": b"a",
    "an array": np.array(["a", "b"]),
    "a zero in it": "a\0b",
}
BAD = {
    "count": {**INTEGERS, "a million million": 10**12},
    "seed": INTEGERS,
    "number": {
        **ODD,
        "infinity": np.inf,
        "a text": "0.5",
        "a text in an array": np.array("0.5"),
        "a list": [0.5],
        "an array of two": np.array([0.5, 0.5]),
        "a flag": True,
        "a flag of NumPy": np.True_,
        "complex": 1j,
    },
    "flag": {
        **ODD,
        "a text": "no",
        "one": 1,
        "a list": [],
        "a flag of NumPy": np.True_,
        "an array of two": np.array([True, False]),
    },
    "choice": {
        **ODD,
        "another text": "no such",
        "a number": 3,
        "a list": ["soft"],
        "an array of two": np.array(["soft", "hard"]),
        "a flag": True,
    },
    "path": PATHS,
    "labels": {
        **NO_ARRAYS,
        "fractions": [0.0, 0.5, 1.0, 1.0],
        "NaN": [0.0, np.nan, 1.0, 1.0],
        "flags": np.array([True, False, True, True]),
        "one-hot": np.eye(3)[LABELS],
        "below -1": [0, -2, 1, 1],
        "not verified": [0, -1, 1, 1],
        "an id with a gap": [0, 10**12, 1, 1],
        "another length": [0, 1, 1],
    },
    "distributions": {
        **NO_ARRAYS,
        "NaN": P * np.nan,
        "one column": P[:, :1],
        "one dimension": P[:, 0],
        "three dimensions": P[None],
        "negative": P - 0.5,
        "other sums": P * 2,
        "another length": P[1:],
    },
    "distribution": {
        **NO_ARRAYS,
        "NaN": [np.nan, 0.5, 0.5],
        "negative": [-0.5, 0.5, 1.0],
        "another sum": [0.5, 0.5, 0.5],
        "two dimensions": MATRIX,
    },
    "matrix": {
        **NO_ARRAYS,
        "NaN": np.full((3, 3), np.nan),
        "negative": -np.eye(3),
        "not square": np.eye(3)[:2],
        "other sums": np.eye(3) * 2,
        "three dimensions": np.eye(3)[None],
    },
    "numbers": {**NO_ARRAYS, "NaN": P[:, 0] * np.nan, "three dimensions": P[None]},
    "features": {**NO_ARRAYS, "NaN": P * np.nan, "three dimensions": P[None, None]},
    "groups": {"a number": 3, "an array": P, "another length": LABELS[1:]},
    "entries": {**NO_ARRAYS, "another length": LABELS[1:]},
    "arrays": {
        **ODD,
        "a number": 3,
        "a text": "cat",
        "an array of no dimension": np.array(3.0),
    },
    "model": {**ODD, "a number": 3, "a text": "cat"},
    "shape": {
        **ODD,
        "a number": 3,
        "a text": "abc",
        "two sides": (32, 32),
        "a fraction": (32.5, 32, 3),
        "a text in it": ("32", 32, 3),
        "negative": (-32, 32, 3),
        "huge": (10**12, 32, 3),
        "an array": np.ones((3, 2)),
    },
    "labels of a loss": {
        **{k: v for k, v in NO_ARRAYS.items() if k != "a number"},
        "NaN": [0.0, np.nan, 1.0, 1.0],
        "fractions": [0.0, 0.5, 1.0, 1.0],
        "not verified": [0, -1, 1, 1],
        "an id with a gap": [0, 10**6, 1, 1],
        "another length": [0, 1, 1],
    },
    "predictions of a loss": {
        **NO_ARRAYS,
        "one column": P[:, :1],
        "another length": P[1:],
    },
    "one each": {
        "an object": object(),
        "a number": 3,
        "a text": "cats",
        "a dict": {},
        "another length": ["a"],
        "two dimensions": np.zeros((4, 2)),
    },
    "columns": {
        "an object": object(),
        "a number": 3,
        "a text": "cat",
        "a list": ["a"],
        "another length": {"a": [1]},
        "two dimensions": {"a": np.zeros((4, 2))},
    },
    "sentences": {
        "an object": object(),
        "a number": 3,
        "a text": "cat",
        "numbers": [3],
    },
    "estimate": {"an object": object(), "a number": 0.3, "a text": "0.3", "a dict": {}},
    # Anything that can be shown, or called, does.
    "any": {},
}
# Kinds of arguments by their names; others follow from the annotation.
KINDS = {
    "labels": (
        "labels, noisy, clean, noisy_labels, clean_labels, y_train, y_test, y_true, "
        "test_labels, groups, label, checked"
    ),
    "distributions": (
        "soft_labels, predictions, held_out, mean_predictions, test_predictions"
    ),
    "predictions of a loss": "y_pred, teacher_pred, target",
    "matrix": "transition_matrix, structure",
    "distribution": "class_weights, prior",
    "features": "features",
    "numbers": (
        "losses, mean_losses, representations, trajectories, progress, label_weights"
    ),
    "class id": "ignore_class",
    "entries": (
        "y, sample_weight, sample_ids, sample_id, ids, file_ids, is_corrupted, "
        "train_ids, superclasses, is_marked"
    ),
    "arrays": (
        "x, images, dataset, x_train, x_test, histories, sources, flips, suspects, "
        "masks"
    ),
    "model": (
        "build_model, first_build_model, network, peer, teacher, model, loss, "
        "generator, active, passive, augment, augmentation, diagnosis"
    ),
    "path": (
        "path, file, storage, backup_dir, folder, label_file, source, weights, reviewed"
    ),
    "seed": "seed, start_id",
    "one each": "texts, names, titles",
    "columns": "table",
    "sentences": "findings, extra_columns",
    "estimate": "noise_rate",
    "shape": "input_shape, image_size, normalize, bounds",
    "choice": "split, order, key, save_freq, collect, warm_start, preset, candidates",
    "any": (
        "title, class_names, superclass_names, settings, monitor, quantities, layer, "
        "verbose, callbacks, rows, name, reduction, dtype"
    ),
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split(", ")}
BY_ANNOTATION = {
    "bool": "flag",
    "Literal": "choice",
    "LossThreshold": "choice",
    "NeighborMetric": "choice",
    "RankBy": "choice",
    "SelfTrust": "choice",
    "int": "count",
    "float": "number",
    "str": "choice",
}
# Where another kind stands under the name.
SPECIAL = {
    "analysis.plot_gradient_density: losses": "arrays",
    "analysis.plot_losses: losses": "arrays",
    **{
        f"{name}: groups": "groups"
        for name in (
            "analysis.find_suspects",
            "analysis.neighbor_votes",
            "analysis.noise_rate",
            "analysis.propose_checks",
            "noise.estimate_from_neighbors",
        )
    },
    "analysis.class_conditional_test: num_verified": "number of examples",
    "analysis.class_conditional_test: num_validation": "number of examples",
    "datasets.Dataset: noisy_labels": "arrays",
    "datasets.load: labels": "choice",
    "diagnosis.find_wrong_labels: features": "entries",
    "diagnosis.find_wrong_labels: groups": "entries",
    "choice.RobustClassifier.fit: groups": "entries",
    "choice.RobustClassifier.fit: y": "labels",
    "datasets.load: name": "choice",
    "datasets.training_pipeline: seed": "seeds",
    "analysis.find_suspect_parts: missing_label": "class id",
    "losses.MultiLabel: missing_label": "mark",
    "losses.multi_label: missing_label": "mark",
    "losses.TargetModification: target": "model",
    "losses.target_modification: progress": "number",
    "losses.target_modification: target": "model",
}
# An array of numbers is one for each class.
BAD["number of examples"] = {
    k: v for k, v in INTEGERS.items() if "an array" not in k and k != "huge"
}
BAD["class id"] = {k: v for k, v in INTEGERS.items() if k != "a negative one"}
# Any number but a probability.
BAD["mark"] = {k: v for k, v in INTEGERS.items() if not isinstance(v, (int, float))}
BAD["seeds"] = {k: v for k, v in INTEGERS.items() if k != "a list"}
# Values of the tables that mean something there.
MEANINGFUL = {
    **{
        f"{name}: labels": {"not verified"}
        for name in (
            "analysis.neighbor_votes",
            "analysis.noise_rate",
            "analysis.propose_checks",
            "noise.estimate_from_neighbors",
        )
    },
    "analysis.noise_rate: checked": {"not verified"},
    **{
        f"analysis.{name}: clean": {"not verified"}
        for name in (
            "label_distance",
            "plot_gradient_density",
            "plot_label_distance",
            "semantic_correction",
            "wrong_label_fit",
        )
    },
    "analysis.hold_out_class_conditional_test: clean_labels": {"not verified"},
    "analysis.calibration: labels": {"not verified"},
    "analysis.plot_reliability: labels": {"not verified"},
    # Their lengths, and numbers of classes, follow from these.
    "callbacks.LearningDynamics: noisy_labels": {"an id with a gap"},
    "callbacks.LearningDynamics: clean_labels": {"not verified", "an id with a gap"},
    "datasets.Dataset: y_train": {"an id with a gap"},
    "diagnosis.find_wrong_labels: labels": {"texts", "flags"},
    "choice.RobustClassifier.fit: y": {"texts", "flags"},
    "diagnosis.find_wrong_labels: ids": {"texts"},
    "datasets.Dataset: y_test": {"an id with a gap"},
    "datasets.read_label_file: clean_labels": {"an id with a gap"},
    "callbacks.AtomicBackupAndRestore: save_freq": {"a number"},
    "noise.asymmetric: flips": {"a dict"},
    "noise.estimate_from_anchors: predictions": {"another length"},
    "noise.corrupt_labels: labels": {"another length"},
    "noise.within_groups: groups": {"another length"},
    "analysis.plot_softmax_trajectories: trajectories": {"three dimensions", "NaN"},
    "analysis.plot_transition_matrix: transition_matrix": {
        "NaN",
        "negative",
        "other sums",
    },
    "analysis.BetaMixture.wrong_label_probability: losses": {
        "a number",
        "NaN",
        "three dimensions",
    },
    "analysis.find_suspects: soft_labels": {"other sums"},
    "analysis.normalized_entropy: predictions": {"another length"},
    # The rounds of SEAL.
    "analysis.write_report: soft_labels": {"other sums", "three dimensions"},
    "datasets.Dataset: superclasses": {"another length"},
    "datasets.Dataset.pipeline: labels": {"an id with a gap"},
    "datasets.StreamedDataset.pipeline: image_size": {"a number", "two sides"},
    "datasets.StreamedDataset.to_arrays: image_size": {"a number", "two sides"},
    # A model has what targets it likes.
    "datasets.training_pipeline: y": {"texts", "complex", "dicts"},
    "callbacks.SEALOnTheFly.pipeline: y": {"texts", "complex", "dicts"},
    "losses.abstains: y_pred": {"another length"},
    "losses.local_trust: y_pred": {"another length"},
    "losses.determinant_mutual_information: sample_weight": {"a number"},
    "losses.global_trust: progress": {"a number", "NaN", "three dimensions"},
    # Of logits and weights.
    **{
        f"analysis.{name}: predictions": {"negative", "other sums"}
        for name in ("semantic_correction", "wrong_label_fit")
    },
    **{
        f"analysis.{name}: soft_labels": {"negative", "other sums", "three dimensions"}
        for name in ("label_distance", "correction_candidates", "plot_label_distance")
    },
}
# What the package makes, and hands out with checked values.
RESULTS = {
    "analysis.BetaMixture",
    "analysis.Calibration",
    "analysis.ClassConditionalTest",
    "analysis.GradientDensity",
    "analysis.NoiseRate",
    "analysis.SuspectParts",
    "analysis.Suspects",
    "diagnosis.Diagnosis",
    "datasets.StreamedDataset",
    "datasets.TrainingPipeline",
}


def robust_classifier(**arguments):
    """Fit a classifier, which checks its arguments only then, as in scikit-learn."""
    classifier = keras_noisy.RobustClassifier(**{"verbose": 0, **arguments})
    return classifier.fit(np.eye(6, 3), [0, 1, 2] * 2)


robust_classifier.__signature__ = inspect.signature(keras_noisy.RobustClassifier)


def network():
    layers = [keras.Input((3,)), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential(layers)
    model.compile("sgd", "categorical_crossentropy")
    return model


def public(name):
    package, attribute = name.split(".")
    return getattr(importlib.import_module(f"keras_noisy.{package}"), attribute)


def of_tensorflow():
    """Return the cases that need it."""
    import tensorflow as tf

    from keras_noisy import datasets

    data = {"dataset": tf.data.Dataset.from_tensor_slices((X, LABELS))}
    memory = datasets.Dataset("mine", IMAGES, LABELS, IMAGES, LABELS)
    streamed = datasets.StreamedDataset("mine", {"train": None}, ("a", "b"))
    return {
        "callbacks.with_sample_ids": {**data, "start_id": 0, "batched": False},
        "noise.add_label_noise": {
            **data,
            "transition_matrix": MATRIX,
            "seed": 0,
            "start_id": 0,
            "batched": False,
        },
        "datasets.Dataset": {
            "name": "mine",
            "x_train": IMAGES,
            "y_train": LABELS,
            "x_test": IMAGES,
            "y_test": LABELS,
            "superclasses": [0, 0, 1],
            "order": "file",
            "train_ids": np.arange(4),
            "noisy_labels": noise.NoisyLabels(LABELS, LABELS, 3),
        },
        "datasets.Dataset.pipeline": (
            memory.pipeline,
            {"split": "train", "labels": LABELS},
        ),
        "datasets.StreamedDataset.pipeline": (
            streamed.pipeline,
            {"split": "train", "image_size": 8, "shuffle": False, "seed": 0},
        ),
        "datasets.StreamedDataset.to_arrays": (
            streamed.to_arrays,
            {"folder": "folder", "image_size": 8},
        ),
        "datasets.crop_flip": {
            "images": IMAGES,
            "generator": np.random.default_rng(0),
            "padding": 2,
        },
        "datasets.load": {
            "name": "digits",
            "source": None,
            "label_file": None,
            "labels": None,
        },
        "datasets.read_label_file": {
            "path": "labels.npz",
            "clean_labels": LABELS,
            "key": None,
            "ids": np.arange(4),
            "file_ids": np.arange(4),
            "order": None,
            "num_classes": 3,
        },
        "datasets.training_pipeline": {
            "x": IMAGES,
            "y": LABELS,
            "batch_size": 2,
            "augment": "crop_flip",
            "sample_weight": np.ones(4),
            "sample_ids": True,
            "shuffle": False,
            "drop_remainder": False,
            "seed": 0,
        },
    }


def cases():
    """Return the good arguments of each public callable, by its name.

    Of methods, with the method: `(function, arguments)`.
    """
    mae = {"a loss": losses.MeanAbsoluteError()}
    suspects = analysis.find_suspects(LABELS, P)
    dirty = {"noisy": LABELS, "clean": LABELS[::-1].copy()}
    build = {"build_model": network, "x": X}
    test = analysis.class_conditional_test(
        MATRIX, [0.2, 0.3, 0.5], error=0.1, num_validation=10
    )
    labels = noise.NoisyLabels(LABELS, LABELS, 3)
    mixture = analysis.beta_mixture(np.arange(9.0))
    found = {
        "analysis.BetaMixture.wrong_label_probability": (
            mixture.wrong_label_probability,
            {"losses": [1.0]},
        ),
        "analysis.ClassConditionalTest.rejects": (test.rejects, {"significance": 0.1}),
        "analysis.Suspects.precision_and_recall": (
            suspects.precision_and_recall,
            {"is_corrupted": [True, False, True, False]},
        ),
        "analysis.Suspects.save_cleaned_labels": (
            suspects.save_cleaned_labels,
            {"path": "labels.npy"},
        ),
        "analysis.Suspects.to_csv": (
            suspects.to_csv,
            {
                "path": "suspects.csv",
                "all_examples": True,
                "extra_columns": ["confirmed"],
            },
        ),
        "analysis.Suspects.top": (suspects.top, {"count": 1}),
        "analysis.beta_mixture": {"losses": np.arange(9.0), "iterations": 3},
        "analysis.calibration": {"predictions": P, "labels": LABELS, "bins": 3},
        "analysis.class_conditional_test": {
            "transition_matrix": MATRIX,
            "class_weights": [0.2, 0.3, 0.5],
            "error": 0.1,
            "num_validation": 10,
            "num_verified": 10,
        },
        "analysis.correction_candidates": {"soft_labels": P, "labels": LABELS},
        "analysis.critical_sample_ratio": {
            "model": network(),
            "x": X,
            "radius": 0.1,
            "step_size": 0.1,
            "noise_scale": 0.1,
            "max_steps": 1,
            "bounds": (0.0, 1.0),
            "from_logits": False,
            "batch_size": 2,
            "seed": 0,
        },
        "analysis.features": {
            "model": network(),
            "x": X,
            "layer": 0,
            "batch_size": 2,
            "file": "features.npy",
        },
        "analysis.neighbor_votes": {
            "features": P,
            "labels": LABELS,
            "num_neighbors": 2,
            "metric": "cosine",
            "num_classes": 3,
            "groups": [0, 1, 2, 3],
            "approximate": False,
            "verbose": False,
        },
        **{
            f"analysis.{name}": {
                "labels": LABELS,
                "features": P,
                "soft_labels": P,
                "predictions": P,
                "groups": [0, 1, 2, 3],
                "seed": 0,
                **more,
            }
            for name, more in (
                ("noise_rate", {"checked": [0, 1, 1, -1], "verbose": False}),
                ("propose_checks", {"count": 2}),
            )
        },
        "analysis.find_suspect_parts": {
            "labels": np.array([[0, 1], [1, 0], [1, 1], [0, 0]]),
            "soft_labels": P[:, :2],
            "missing_label": -1,
        },
        "analysis.find_suspects": {
            "labels": LABELS,
            "soft_labels": P,
            "features": P,
            "groups": [0, 1, 2, 3],
            "metric": "cosine",
            "seed": 0,
            "rank_by": "margin",
            "threshold": "deviation",
            "iterations": 3,
            "verbose": False,
        },
        "analysis.gradient_density": {
            "loss": losses.MeanAbsoluteError(),
            "y_true": LABELS,
            "y_pred": P,
            "from_logits": False,
            "bins": 3,
        },
        "analysis.hold_out_class_conditional_test": {
            **build,
            "noisy_labels": LABELS,
            "clean_labels": LABELS,
            "class_weights": [0.2, 0.3, 0.5],
            "hold_out": 0.5,
            "seed": 0,
        },
        "analysis.label_distance": {"soft_labels": P, **dirty},
        "analysis.local_intrinsic_dimensionality": {"representations": P, "k": 2},
        "analysis.normalized_entropy": {"predictions": P},
        "analysis.plot_gradient_density": {
            "losses": mae,
            "y_true": LABELS,
            "y_pred": P,
            "clean": LABELS,
            "from_logits": False,
            "bins": 3,
        },
        "analysis.plot_images": {
            "images": IMAGES,
            "titles": [str(label) for label in LABELS],
            "is_marked": np.arange(len(LABELS)) < 2,
            "columns": 3,
        },
        "analysis.plot_label_distance": {"soft_labels": P, **dirty, "bins": 3},
        "analysis.plot_learning_dynamics": {"histories": {"loss": [1.0]}},
        "analysis.plot_losses": {"losses": mae, "num_classes": 3},
        "analysis.plot_reliability": {"predictions": P, "labels": LABELS, "bins": 3},
        "analysis.plot_softmax_trajectories": {"trajectories": P[None], **dirty},
        "analysis.plot_suspects": {
            "images": IMAGES,
            "suspects": suspects,
            "count": 2,
            "start": 1,
        },
        "analysis.plot_transition_matrix": {"transition_matrix": MATRIX},
        "choice.RobustClassifier": (
            robust_classifier,
            {
                "build_model": network,
                "candidates": ["cross_entropy"],
                "validation": 0.5,
                "epochs": 1,
                "batch_size": 4,
                "budget": 1,
                "seed": 0,
                "combine": True,
            },
        ),
        "choice.RobustClassifier.fit": (
            keras_noisy.RobustClassifier(epochs=1, verbose=0).fit,
            {"x": np.eye(4, 3), "y": [0, 1, 0, 1], "groups": [0, 1, 2, 2]},
        ),
        "choice.advise": {"diagnosis": None},
        "diagnosis.find_wrong_labels": {
            "x": np.eye(4, 3),
            "labels": [0, 1, 0, 1],
            "build_model": network,
            "features": np.eye(4, 3),
            "ids": [1, 2, 3, 4],
            "groups": [0, 1, 2, 2],
            "epochs": 1,
            "batch_size": 4,
            "seed": 0,
            "skip_broken": False,
        },
        "analysis.semantic_correction": {"predictions": P, **dirty},
        "analysis.wrong_label_fit": {"predictions": P, **dirty},
        "analysis.write_report": {
            "path": "report.html",
            "labels": LABELS,
            "soft_labels": P,
            "clean_labels": LABELS,
            "num_suspects": 2,
            "images": IMAGES,
            "texts": ["a", "b", "c", "d"],
            "table": {"a": [1, 2, 3, 4]},
            "names": ["a", "b", "c", "d"],
            "findings": ["a"],
            "noise_rate": types.SimpleNamespace(estimate=0.5, low=0.1, high=0.9),
        },
        "callbacks.AbstentionSchedule": {
            "warmup_epochs": 1,
            "initial_factor": 2.0,
            "final_alpha": 1.0,
        },
        "callbacks.AtomicBackupAndRestore": {
            "backup_dir": "backup",
            "save_freq": "epoch",
            "double_checkpoint": True,
            "delete_checkpoint": True,
        },
        "callbacks.LabelWave": {
            "x": X,
            "batch_size": 2,
            "window": 2,
            "patience": 1,
            "restore_best_weights": True,
        },
        "callbacks.SmoothedEarlyStopping": {
            "monitor": "val_loss",
            "window": 2,
            "min_delta": 0.1,
            "patience": 1,
            "mode": "min",
            "baseline": 0.5,
            "restore_best_weights": True,
            "start_from_epoch": 1,
        },
        "callbacks.DimensionalitySchedule": {
            "x": X,
            "warmup_epochs": 1,
            "window": 2,
            "num_neighbors": 2,
            "batch_size": 3,
            "num_batches": 1,
            "roll_back": True,
            "seed": 0,
        },
        "callbacks.EarlyLearningTargets": {"num_examples": 4},
        "callbacks.GlobalTrust": {"total_iterations": 4},
        "callbacks.JointOptimizationLabels": {
            "num_examples": 4,
            "warmup_epochs": 1,
            "window": 2,
            "kind": "soft",
        },
        "callbacks.LearningDynamics": {
            "x": X,
            "noisy_labels": LABELS,
            "clean_labels": LABELS,
            "batch_size": 2,
            "from_logits": False,
            "num_examples": 3,
            "every": 1,
            "seed": 0,
        },
        "callbacks.SEAL": {
            "x": X,
            "batch_size": 2,
            "storage": "storage",
            "from_logits": False,
            "recompute_statistics": False,
        },
        "callbacks.SEALOnTheFly": {
            "num_examples": 4,
            "storage": "storage",
            "from_logits": False,
        },
        "callbacks.SEALOnTheFly.pipeline": (
            callbacks.SEALOnTheFly(4).pipeline,
            {
                "model": network(),
                "x": X,
                "y": np.eye(3)[LABELS],
                "sample_weight": np.ones(4),
                "batch_size": 2,
                "shuffle": True,
                "seed": 0,
            },
        ),
        "models.RandomCropFlip": {"padding": 2, "seed": 0},
        **{
            f"models.{name}": {
                "num_classes": 3,
                "weight_decay": 0.0,
                "normalize": "scale",
                **own,
            }
            for name, own in {
                "eight_layer_cnn": {"input_shape": (8, 8, 3)},
                "mnist_cnn": {"input_shape": (16, 16, 1)},
                "resnet": {"depth": 8, "input_shape": (8, 8, 3)},
                "resnet101": {"input_shape": (32, 32, 3), "weights": None},
                "preact_resnet18": {"input_shape": (8, 8, 3)},
                "resnet18": {"input_shape": (8, 8, 3)},
                "resnet44": {"input_shape": (8, 8, 3)},
                "resnet50": {"input_shape": (32, 32, 3), "weights": None},
                "wide_resnet": {
                    "depth": 10,
                    "width": 1,
                    "dropout": 0.0,
                    "input_shape": (8, 8, 3),
                },
                "wide_resnet_28_10": {"dropout": 0.0, "input_shape": (8, 8, 3)},
            }.items()
        },
        "noise.LabelNoise": {"transition_matrix": MATRIX, "seed": 0},
        "noise.LabelNoise.call": (
            noise.LabelNoise(MATRIX, seed=0).call,
            {"sample_id": np.arange(4), "label": LABELS},
        ),
        "noise.NoisyLabels": {**dirty, "num_classes": 3},
        "noise.NoisyLabels.load": (noise.NoisyLabels.load, {"path": "labels.npz"}),
        "noise.NoisyLabels.save": (labels.save, {"path": "labels.npz"}),
        "noise.asymmetric": {"num_classes": 3, "flips": {0: 1}, "rate": 0.5},
        "noise.corrupt_labels": {
            "labels": LABELS,
            "transition_matrix": MATRIX,
            "seed": 0,
            "exact": False,
            "sample_ids": np.arange(4),
        },
        "noise.estimate_from_anchors": {"predictions": P, "quantile": 1.0},
        "noise.estimate_from_confusion": {"labels": LABELS, "predictions": P},
        "noise.estimate_from_neighbors": {
            "labels": LABELS,
            "features": P,
            "groups": [0, 1, 2, 3],
            "seed": 0,
        },
        "noise.estimate_with_cleanlab": {"labels": LABELS, "predictions": P},
        "noise.instance_dependent": {
            "mean_predictions": P,
            "labels": LABELS,
            "rate": 0.5,
        },
        "noise.keep_structure": {
            "transition_matrix": MATRIX,
            "structure": np.eye(3),
        },
        "noise.pair_flip": {"num_classes": 3, "rate": 0.5},
        "noise.independent_flips": {
            "num_labels": 3,
            "one_to_zero": 0.5,
            "zero_to_one": 0.1,
        },
        "noise.move_borders": {
            "masks": np.zeros((4, 3, 3), int),
            "distance": 1,
            "kind": "shrink",
            "num_classes": 2,
            "background": 0,
            "seed": 0,
            "sample_ids": np.arange(4),
        },
        "noise.symmetric": {"num_classes": 3, "rate": 0.5, "include_original": True},
        "noise.within_groups": {
            "groups": [0, 0, 1, 1],
            "rate": 0.5,
            "kind": "pair",
            "seed": 0,
        },
        "training.CoTeaching": {
            "network": network(),
            "peer": network(),
            "forget_rate": 0.5,
            "num_gradual": 2,
            "exponent": 1.0,
        },
        "training.Distillation": {
            "network": network(),
            "teacher": network(),
            "epsilon": 0.5,
            "temperature": 2.0,
            "from_logits": True,
        },
        "training.DivideMix": {
            "network": network(),
            "peer": network(),
            "warmup_epochs": 1,
            "augmentation": keras.layers.GaussianNoise(0.1),
            "num_augmentations": 2,
            "temperature": 0.5,
            "mixup_alpha": 4.0,
            "clean_threshold": 0.5,
            "unlabeled_weight": 1.0,
            "ramp_epochs": 1,
            "prior_weight": 1.0,
            "prior": [0.2, 0.3, 0.5],
            "confidence_penalty": 0.5,
            "seed": 0,
        },
        "training.DynamicBootstrapping": {
            "network": network(),
            "warmup_epochs": 1,
            "bootstrap": "hard",
            "mixup": "none",
            "mixup_alpha": 2,
            "bootstrap_delay": 1,
            "annealing_epochs": 1,
            "prior_weight": 1.0,
            "prior": [0.2, 0.3, 0.5],
            "iterations": 2,
            "seed": 0,
        },
        "training.Masking": {
            "network": network(),
            "structure": np.eye(3),
            "transition_matrix": MATRIX,
            "from_logits": False,
            "structure_weight": 1.0,
            "threshold": 0.1,
            "temperature": 0.1,
            "units": 2,
            "seed": 0,
        },
        "training.NoiseAdaptation": {
            "network": network(),
            "transition_matrix": MATRIX,
            "from_logits": False,
        },
        "training.SSR": {
            "network": network(),
            "warmup_epochs": 1,
            "augmentation": keras.layers.GaussianNoise(0.1),
            "relabel_threshold": 0.9,
            "selection_threshold": 1.0,
            "num_neighbors": 5,
            "mixup_alpha": 4.0,
            "seed": 0,
        },
        "training.SelfEvolution": {
            "build_model": network,
            "rounds": 1,
            "storage": "storage",
            "first_build_model": network,
            "collect": "pass",
            "warm_start": False,
            "temperature": 1.0,
            "seed": 0,
            "from_logits": False,
            "recompute_statistics": False,
        },
        "training.SelfEvolution.fit": (
            training.SelfEvolution(network, rounds=1).fit,
            {
                "x": X,
                "y": LABELS,
                "epochs": 1,
                "batch_size": 4,
                "sample_weight": np.ones(4),
                "shuffle": False,
                "clean_labels": LABELS,
                "predict_batch_size": 4,
                "resume": True,
                "verbose": 0,
            },
        ),
        "training.self_distillation": {
            "build_model": network,
            "epsilon": 0.5,
            "temperature": 2.0,
            "from_logits": False,
        },
        "training.generate_instance_dependent_noise": {
            **build,
            "labels": LABELS,
            "rate": 0.5,
            "epochs": 1,
            "batch_size": 4,
            "storage": None,
            "collect": "pass",
            "seed": 0,
            "from_logits": False,
            "recompute_statistics": False,
            "return_mean_predictions": False,
        },
    }
    found.update(of_tensorflow())
    return {**found, **of_losses()}


MULTI_LABEL = {
    "loss": losses.MeanAbsoluteError(),
    "missing_label": -1,
    "label_weights": [1.0, 2.0, 0.5],
    "transition_matrix": [[[0.9, 0.1], [0.2, 0.8]]] * 3,
    "from_logits": False,
}


def of_losses():
    """Return the cases of the loss classes and functions, from their table."""
    found = {
        "losses.DeterminantMutualInformation": {
            "from_logits": False,
            "ignore_class": 255,
        },
        "losses.MultiLabel": MULTI_LABEL,
        "losses.multi_label": {
            **MULTI_LABEL,
            "y_true": np.array([[0, 1, -1], [1, 0, 1], [1, 1, 0], [0, 0, 0]]),
            "y_pred": P,
        },
        "losses.EarlyLearningRegularization": {
            "weight": 3.0,
            "momentum": 0.7,
            "from_logits": False,
            "ignore_class": 255,
        },
        "losses.abstains": {"y_pred": P},
        "losses.determinant_mutual_information": {
            "y_true": LABELS,
            "y_pred": P,
            "sample_weight": np.ones(4),
            "from_logits": False,
        },
        "losses.global_trust": {
            "progress": 0.5,
            "exp_base": 10.0,
            "transit_time_ratio": 0.5,
        },
        "losses.local_trust": {"y_pred": P, "from_logits": False},
        "losses.updated_target": {
            "target": P,
            "y_pred": P,
            "momentum": 0.7,
            "from_logits": False,
        },
    }
    for name, case in contract.CLASSES.items():
        shared = {"from_logits": True, "ignore_class": 255}
        found[f"losses.{name}"] = {**shared, **case.arguments}
    of_classes = {case.function: case.arguments for case in contract.CLASSES.values()}
    three = {"transition_matrix": MATRIX, "prior": [0.2, 0.3, 0.5]}
    for name, arguments in contract.FUNCTIONS.items():
        own = {**of_classes.get(name, {}), **arguments, **three}
        known = inspect.signature(getattr(losses, name)).parameters
        y_pred = contract.widened(name, ref.tensor(P, "float32"))
        made = contract.LIKE_PREDICTIONS.get(name, {})
        found[f"losses.{name}"] = {
            "y_true": LABELS,
            "y_pred": ref.to_numpy(y_pred),
            "from_logits": False,
            **{key: own[key] for key in own.keys() & known},
            **{key: ref.to_numpy(make(y_pred)) for key, make in made.items()},
        }
    return found


def kind_of(name, argument, parameter):
    """Return what kind of argument a parameter takes."""
    special = SPECIAL.get(f"{name}: {argument}")
    if special:
        return special
    if name.startswith("losses.") and argument == "y_true":
        return "labels of a loss"
    if argument in KIND_OF:
        return KIND_OF[argument]
    annotation = str(parameter.annotation)
    kinds = [kind for text, kind in BY_ANNOTATION.items() if text in annotation]
    assert kinds, f"{name}: `{argument}` has no kind in tests/test_bad_arguments.py"
    return kinds[0]


def bad_values(name, argument, parameter):
    """Yield the names of bad values of an argument, and the values."""
    is_optional = parameter.default is None or "None" in str(parameter.annotation)
    means = MEANINGFUL.get(f"{name}: {argument}", ())
    for what, value in BAD[kind_of(name, argument, parameter)].items():
        if what not in means and not (is_optional and value is None):
            yield what, value


@functools.cache
def owners():
    """Return a pattern of how an error names a public callable."""
    names = [
        name
        for package in PUBLIC
        for name in importlib.import_module(f"keras_noisy.{package}").__all__
    ]
    return re.compile(rf"({'|'.join(names)})(\.\w+)?: ")


def answer(function, arguments, argument, what=""):
    """Return what is wrong with the answer to a call, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**arguments)
    except (TypeError, ValueError) as error:
        text = str(error)
        # Where lengths differ, another argument is not right either.
        names = arguments if what == "another length" else [argument]
        named = any(re.search(rf"`[^`]*\b{name}\b", text) for name in names)
        if named and owners().match(text):
            return None
        return f"{type(error).__name__}: {text[:100]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]}"
    return "accepted"


def parameters_of(name, case):
    """Return parameters, function and good arguments of a case."""
    function, good = case if isinstance(case, tuple) else (public(name), case)
    return inspect.signature(function).parameters, function, good


@pytest.fixture(scope="module")
def table():
    return cases()


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_callable_has_good_arguments(package, table):
    module = importlib.import_module(f"keras_noisy.{package}")
    for name in module.__all__:
        key = f"{package}.{name}"
        if callable(getattr(module, name)) and name not in contract.BASES:
            assert key in table or key in RESULTS, f"{key} has no good arguments"


# Tried elsewhere, in place of others or of files.
IN_PLACE = {
    "choice.RobustClassifier": {"storage"},
    "diagnosis.find_wrong_labels": {"reviewed", "storage"},
    "datasets.StreamedDataset.pipeline": {"labels"},
    "datasets.StreamedDataset.to_arrays": {"splits"},
    "analysis.find_suspects": {"predictions", "held_out", "mean_losses"},
    "analysis.hold_out_class_conditional_test": {"transition_matrix"},
    "analysis.write_report": {
        "suspects",
        "histories",
        "test_predictions",
        "test_labels",
    },
}


@pytest.mark.tensorflow_only
def test_every_argument_has_a_good_value(table):
    missing = [
        f"{name}: {argument}"
        for name, case in table.items()
        for argument, parameter in parameters_of(name, case)[0].items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and BAD[kind_of(name, argument, parameter)]
        and argument not in {*parameters_of(name, case)[2], *IN_PLACE.get(name, ())}
    ]
    assert not missing


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("package", PUBLIC)
def test_bad_arguments_are_refused(package, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise.NoisyLabels(LABELS, LABELS, 3).save("labels.npz")
    badly, count = [], 0
    for name, case in table.items():
        if not name.startswith(f"{package}."):
            continue
        parameters, function, good = parameters_of(name, case)
        for argument in good.keys() & parameters.keys():
            parameter = parameters[argument]
            for what, value in bad_values(name, argument, parameter):
                count += 1
                found = answer(function, {**good, argument: value}, argument, what)
                if found:
                    badly.append(f"{name}: {argument} is {what}: {found}")
    listed = "\n".join(badly)
    assert len(badly) < LIMIT * count, f"{len(badly)} of {count}:\n{listed}"
