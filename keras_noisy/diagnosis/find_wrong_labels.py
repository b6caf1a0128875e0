"""Which labels are wrong, how many, and how sure: one call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from keras_noisy._checks.errors import (
    check_bool,
    check_count,
    check_path,
    check_seed,
    message,
)
from keras_noisy._checks.labels import UNVERIFIED
from keras_noisy._checks.numbers import optional
from keras_noisy._data import arrays
from keras_noisy._typing import ArrayLike, BuildModel, Data, FilePath
from keras_noisy.analysis._sources import mean as mean_of
from keras_noisy.analysis._sources import read
from keras_noisy.analysis.noise_rate import NoiseRate, noise_rate, rate_of
from keras_noisy.analysis.suspects import find_suspects
from keras_noisy.analysis.suspects_table import Suspects
from keras_noisy.diagnosis import _findings, _inputs, _networks, _review, _sources
from keras_noisy.diagnosis._steps import Steps
from keras_noisy.diagnosis.diagnosis import Diagnosis
from keras_noisy.training import _checkpoint

_OWNER = "find_wrong_labels"
_VERBOSE = ("auto", 0, 1, 2)


def find_wrong_labels(
    x: Data,
    labels: Any = None,
    *,
    build_model: BuildModel | None = None,
    features: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    ids: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    verbose: Literal["auto", 0, 1, 2] = "auto",
    storage: FilePath | None = None,
    seed: int = 0,
    reviewed: FilePath | None = None,
    skip_broken: bool = False,
) -> Diagnosis:
    """Find the labels that are wrong, and say how many there are and how sure that is.

    Three short trainings, each without a third of the examples, average their
    predictions on these over the epochs, in the steps that they make anyway
    (`callbacks.SEALOnTheFly`). Nearest neighbours vote, in `features` or in the data
    themselves, and in a hidden layer of the network that did not see the example
    (`analysis.neighbor_votes`). The mean of these distributions judges the labels
    (`analysis.find_suspects`): none of them has seen the label that it judges.

    Args:
        x: The `n` examples, as one of

            - an array `(n, d)` of features, for instance embeddings of a pre-trained
              network; memory maps are read in parts;
            - images `(n, height, width)` or with 1, 3 or 4 channels last;
            - a data frame, or a dict of columns: numbers are scaled, strings,
              categories and bools one-hot, missing values filled;
            - a list or array of texts;
            - an image folder as a `pathlib.Path`, with a sub folder for each class. A
              string is a text and never a path. Images are made 64 x 64;
            - a finite `tf.data.Dataset` of `(x, y)` in a fixed order, which is read
              into memory;
            - with `build_model`, whatever its model takes: a tuple or dict of arrays.
        labels: Labels `(n,)`: strings, integers (gaps are no matter) or bools; or the
            name of a column of a data frame. -1, None, NaN and the empty string mark
            examples without a label, which are not judged. None for a folder or a
            data set, which have their own.
        build_model: Function without arguments that returns a fresh, compiled model
            with an output for each class, in the order of `class_names`, or of the
            sorted labels. By default a small network for the kind of data: dense,
            convolutional, or pooled word embeddings.
        features: Rows `(n, d)` in which neighbours are looked for. By default `x`
            where it is a table, features or pixels, or TF-IDF of texts.
        class_names: Names of the classes, where labels are integers from 0 on.
        ids: Names of the examples `(n,)`, strings or integers, for tables and files.
            Those of a folder are the paths of its files.
        groups: Ids `(n,)`: frames of one video, pictures of one patient. Examples of a
            group do not vouch for each other: a training sees all of them or none,
            and neighbours are those of other groups. Equal examples are one group,
            unless most have an equal one. Labels of a class that lies in one group are
            no suspects, because nobody could vouch for them.
        epochs: Epochs of each training; by default as many as make 1500 steps, 600 on
            images, within 6 and 60.
        batch_size: Batch size of the trainings; by default it grows with the data.
        verbose: `"auto"` prints a line for each training, 0 nothing, and 1 and 2 are
            those of `fit`, and show the progress of what follows. With more than
            50,000 examples `"auto"` does too.
        storage: Folder of the run. When the same program is started again after it was
            killed, it goes on after the last finished epoch, and looks again at most
            for the neighbours that it was looking for. It keeps the network and its
            averages, `16 n num_classes` bytes, while a training lasts.
        seed: Integer that initial weights and orders of examples follow from.
        reviewed: CSV file like that of `Diagnosis.to_csv`, filled in: where `confirmed`
            is yes the proposed label is right, where it is no the given one, and
            `corrected_label` is the true label. The trainings use these labels, and
            they are not questioned again.
        skip_broken: Whether files of a folder that are no images are left out; by
            default they are an error that names them.

    Returns:
        A `Diagnosis`.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ImportError: If a folder is given and Pillow is missing.
        TypeError: If an argument has the wrong type.
        ValueError: If features are not finite, lengths differ, there is one class or
            nearly as many as examples, a file of a folder is broken, or `storage` holds
            another run, is damaged, or is in use by another process.

    Example:
        >>> import numpy as np
        >>> import keras_noisy
        >>> rng = np.random.default_rng(0)
        >>> truth = np.repeat(["cat", "dog"], 100)
        >>> x = rng.normal(0, 1, (200, 5)) + 4 * (truth == "dog")[:, None]
        >>> labels = truth.copy()
        >>> labels[[3, 50, 150]] = "dog", "dog", "cat"
        >>> diagnosis = keras_noisy.find_wrong_labels(x, labels, epochs=10, verbose=0)
        >>> sorted(diagnosis.suspects.top(3).sample_id.tolist())
        [3, 50, 150]
        >>> bool((diagnosis.cleaned_labels() == truth).all())
        True

    Reference:
        Algorithm 2 and Eq. 10 of Chen et al., "Beyond Class-Conditional Assumption",
        AAAI 2021, and the votes of neighbours, combined.
    """
    _check_arguments(build_model, epochs, batch_size, verbose, seed, skip_broken)
    storage = optional(check_path)(_OWNER, "storage", storage)
    reviewed = optional(check_path)(_OWNER, "reviewed", reviewed)
    examples = _inputs.read(
        _OWNER,
        x,
        labels,
        class_names=class_names,
        ids=ids,
        features=features,
        own_network=build_model is not None,
        skip_broken=skip_broken,
    )
    given = examples.labels
    truth = None if reviewed is None else _review.read(_OWNER, reviewed, examples)
    if truth is not None:
        examples.labels = np.where(truth == UNVERIFIED, given, truth)
    group, equal = _sources.find_groups(_OWNER, examples, groups)
    alone = []
    if groups is not None:
        alone = _sources.classes_of_one_group(group, examples.labels)
    examples.notes += _findings.notes_on_groups(examples.class_names[alone].tolist())
    build = build_model or _networks.builder(examples)
    is_long = examples.size > _sources.HIDDEN_ROWS
    shows_progress = bool(verbose) if is_long else verbose in (1, 2)
    settings = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    fold = _sources.make_folds(group, examples.labels, seed)
    steps = Steps(_OWNER, storage, lambda: _identity(examples, group, build, settings))
    trainings = _sources.Trainings(
        _OWNER,
        examples,
        steps,
        build_model=build,
        fold=fold,
        group=group,
        verbose=verbose,
        **settings,
    )
    with steps.opened():
        found = trainings.distributions()
        neighbors = _sources.neighbors(steps, examples, group, shows_progress)
        found |= _sources.votes(neighbors, examples, found[_sources.AVERAGES])
    used = _sources.without_weak(found, examples.labels)
    examples.notes += _findings.notes_on_sources([*(found.keys() - used.keys())])
    rate = functools.partial(
        _rate,
        examples,
        neighbors=neighbors,
        group=group,
        fold=fold,
        seed=seed,
        verbose=shows_progress,
    )
    result = _diagnose(examples, given, truth, used, alone, seed, rate)
    contradictions = _sources.contradictions(equal, given)
    return dataclasses.replace(result, contradictions=contradictions)


def _check_arguments(build_model, epochs, batch_size, verbose, seed, skip_broken):
    if build_model is not None and (
        not callable(build_model) or isinstance(build_model, keras.Model)
    ):
        expected = "a function that returns a compiled model"
        mend = "A model itself cannot be trained from scratch again."
        raise TypeError(message(_OWNER, "build_model", expected, build_model, mend))
    optional(check_count)(_OWNER, "epochs", epochs)
    optional(check_count)(_OWNER, "batch_size", batch_size)
    check_seed(_OWNER, seed)
    check_bool(_OWNER, "skip_broken", skip_broken)
    is_known = isinstance(verbose, (int, str)) and not isinstance(verbose, bool)
    if not is_known or verbose not in _VERBOSE:
        expected = "one of 'auto', 0, 1, 2"
        raise ValueError(message(_OWNER, "verbose", expected, verbose))


def _identity(examples, group, build_model, settings):
    """Return what the steps of a run depend on."""
    model = build_model()
    is_model = isinstance(model, keras.Model) and model.compiled
    return {
        "backend": keras.backend.backend(),
        "x": arrays.digest(examples.x),
        "labels": arrays.digest(examples.labels),
        "features": None
        if examples.features is None
        else arrays.digest(examples.features),
        "groups": arrays.digest(group),
        "model": _checkpoint.describe(model) if is_model else None,
        **settings,
    }


def _diagnose(examples, given, truth, found, alone, seed, rate):
    """Return the `Diagnosis` that follows from distributions by their sources.

    No example of the classes `alone` is a suspect, as none could vouch for it. `rate`
    is `_rate` with what does not depend on the distributions.
    """
    known = np.flatnonzero(examples.labels != UNVERIFIED)
    mean = mean_of(found.values())
    suspects = find_suspects(examples.labels[known], held_out=mean[known], seed=seed)
    # Guesses would doubt half of the labels.
    doubted = suspects.is_suspect & _findings.is_informative(mean, examples.labels)
    doubted &= ~np.isin(suspects.given_label, alone)
    suspects = dataclasses.replace(suspects, is_suspect=doubted)
    suspects = _whole(suspects, known, examples.labels, mean, len(found))
    if truth is not None:
        suspects = _respecting(suspects, given, truth)
    cannot_be_judged = np.isin(given, alone)
    if examples.is_empty is not None:
        cannot_be_judged |= examples.is_empty
    judged = np.where(cannot_be_judged, UNVERIFIED, given)
    return Diagnosis(
        noise_rate=rate(judged, found, mean),
        suspects=suspects.named(examples.names, examples.class_names),
        soft_labels=mean,
        num_agreed=_findings.agreed(suspects, found),
        num_sources=len(found),
        notes=examples.notes,
        folder=examples.folder,
        shown=examples.shown,
    )


def _rate(examples, given, found, mean, *, neighbors, group, fold, seed, verbose):
    """Return the noise rate of the given labels, -1 where none can be judged.

    The neighbours that were found for the votes serve here too, and a regression is
    added that has not seen the folds of the trainings either.
    """
    if len(np.unique(given[given != UNVERIFIED])) < 2:
        explanation = "There are no labels of two classes that could be judged."
        return NoiseRate(None, 0.0, 1.0, None, {}, "cannot tell", None, explanation)
    if _sources.NEIGHBORS not in found:
        return noise_rate(given, predictions=mean, groups=group, seed=seed)
    has_voted = examples.labels != UNVERIFIED
    if examples.is_empty is not None:
        has_voted &= ~examples.is_empty
    is_same = np.array_equal(given != UNVERIFIED, has_voted)
    sources = read(
        _OWNER,
        given,
        features=examples.features,
        predictions=found[_sources.AVERAGES],
        groups=group,
        seed=seed,
        fold_of=fold,
        neighbors=neighbors.of_labels(given) if is_same else None,
        verbose=verbose,
    )
    return rate_of(sources)


def _whole(suspects, known, labels, mean, num_sources):
    """Return suspects among some rows as a table of all of them.

    Those without a label come last, and the class that they have most probably is
    proposed.
    """
    others = np.flatnonzero(labels == UNVERIFIED)
    dtype = suspects.given_label.dtype
    columns = {
        "sample_id": (known[suspects.sample_id], others),
        "given_label": (suspects.given_label, labels[others]),
        "proposed_label": (suspects.proposed_label, mean[others].argmax(axis=1)),
        "confidence": (suspects.confidence, np.zeros(len(others))),
        "is_suspect": (suspects.is_suspect, np.zeros(len(others), bool)),
    }
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    for name in ("given_label", "proposed_label"):
        joined[name] = joined[name].astype(dtype)
    return Suspects(**joined, source=f"mean of {num_sources} sources")


def _respecting(suspects, given, truth):
    """Return suspects as a person has decided on them, in the order that follows."""
    rows = suspects.sample_id
    given, truth = given[rows], truth[rows]
    is_reviewed = truth != UNVERIFIED
    is_wrong = is_reviewed & (truth != given)
    confidence = np.where(is_reviewed, is_wrong.astype(float), suspects.confidence)
    order = np.argsort(-confidence, kind="stable")
    return dataclasses.replace(
        suspects,
        sample_id=rows[order],
        given_label=given[order],
        proposed_label=np.where(is_wrong, truth, suspects.proposed_label)[order],
        confidence=confidence[order],
        is_suspect=np.where(is_reviewed, is_wrong, suspects.is_suspect)[order],
    )
