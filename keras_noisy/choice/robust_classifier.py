"""A classifier that chooses its method, and says how sure the choice is."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from keras_noisy._checks.errors import (
    Described,
    check_bool,
    check_count,
    check_path,
    check_seed,
    describe_array,
    message,
)
from keras_noisy._checks.labels import UNVERIFIED
from keras_noisy._checks.numbers import Interval, optional
from keras_noisy._data import arrays
from keras_noisy._typing import ArrayLike, BuildModel, Data, FilePath, FloatArray, Self
from keras_noisy.analysis._sources import read
from keras_noisy.analysis.noise_rate import NoiseRate, noise_rate, rate_of
from keras_noisy.analysis.suspects import find_suspects
from keras_noisy.choice import _hold_out, _rule, _trainings
from keras_noisy.choice._candidates import AUTO, CANDIDATES, DEFAULT
from keras_noisy.choice._mean_of_models import MeanOfModels
from keras_noisy.diagnosis import _images, _inputs, _networks, _sources, _tables
from keras_noisy.diagnosis._steps import Steps
from keras_noisy.training import _mixup

_OWNER = "RobustClassifier"
_FORM = "keras_noisy.RobustClassifier/2"
_EPOCHS = 40
_VERBOSE = ("auto", 0, 1, 2)
_SHARE = Interval(0, 1, "neither", "0.1 holds a tenth of the labels out.")
_BUDGET = Interval(1, 1000, mend="It is a number of trainings.")


class RobustClassifier:
    """A classifier for noisy labels that chooses its method without clean ones.

        classifier = keras_noisy.RobustClassifier()
        classifier.fit(x, labels)
        classifier.predict(x_new)

    A part of the labels is held out. Each candidate is trained on the others, and gets
    the weights of the epoch with the best accuracy on held-out labels, averaged over
    five epochs; weights are moving averages over an epoch. Predictions are the mean of
    several networks: of all that are at most a standard error behind the best one on
    held-out labels, where these can be relied on, because `noise_rate_` finds that
    wrong labels depend on the class. Otherwise the one with early-learning
    regularisation has half of the weight, and the others that are near to the best of
    them share the rest. Held-out labels have no part in the training, or in what is
    estimated for it.

    Small networks are trained as one program, side by side; networks of more than a
    million weights one after the other. Keras's own step trains them: a `train_step` of
    the model itself is not called.

    Held-out labels are as noisy as the others. If wrong labels depend on the class
    alone, they still order candidates correctly where there are enough of them. If
    they depend on the example they do not, whatever their number. `choice_` says which
    of these it is.

    The interface is that of scikit-learn, which is not needed: it works in
    `cross_val_score`, `GridSearchCV`, `clone` and cleanlab's `CleanLearning`.

    Args:
        build_model: Function without arguments that returns a fresh model with an
            output for each class, in the order of the sorted labels: logits or
            probabilities. Of two classes it may have one, that of the second. It need
            not be compiled. If it is, its optimizer is used, and its loss replaced. By
            default a small network for the kind of data, as in `find_wrong_labels`.
        candidates: Names of the methods to try, or `"auto"` for those of the study
            (`keras_noisy.choice` in the docs). Known are `"cross_entropy"`,
            `"generalized_cross_entropy"`, `"symmetric_cross_entropy"`, `"equal_loss"`,
            `"label_smoothing"`, `"bootstrap_hard"`, `"proselflc"`,
            `"forward_correction"`, `"early_learning_regularization"`,
            `"early_learning_regularization_mixup"` and
            `"forward_early_learning_mixup"`. The last two mix examples in pairs, and
            are left out where inputs are ids of words.
        validation: Share of the labels of each class that is held out, in (0, 1).
        epochs: Epochs of each training, 40 by default.
        batch_size: Batch size of the trainings; by default it grows with the data.
        budget: Most trainings, 1 to 1000; by default all candidates are trained.
        storage: Folder of the run. When the same program is started again after it was
            killed, the trainings that are finished are read from there.
        seed: Integer that the hold-out, initial weights and orders of examples follow
            from.
        verbose: `"auto"` prints the plan and a line for each training, 0 nothing, and 1
            and 2 are those of `fit`.
        combine: Whether several networks may predict. With False it is the one with
            early-learning regularisation, or the best one where held-out labels can be
            relied on and it is ahead by more than a standard error.

    Attributes:
        classes_: The sorted labels, `(C,)`.
        model_: A Keras model that takes what `x` was made into and returns
            probabilities; with one network the user's own model, which may return
            logits.
        choice_: The table of candidates, and how sure the choice is. Its attributes are
            `names`, `scores`, `standard_errors`, `balanced`, `recalls`, `epochs`,
            `costs`, `chosen`, `weights`, `certainty`, `sentence` and `notes`;
            `columns()` is for `pandas.DataFrame`, and `print` shows all.
        suspects_: Labels from the most to the least suspicious,
            `analysis.Suspects`: a by-product of the trainings. `find_wrong_labels`
            looks more closely.
        noise_rate_: How many labels are wrong, `analysis.NoiseRate`.
        n_features_in_: Number of columns, where `x` has columns.

    Raises:
        TypeError: In `fit`, if an argument has the wrong type.
        ValueError: In `fit`, if an argument has a wrong value, `build_model` returns a
            model of another number of outputs, a trained one or the same one twice, no
            label can be held out, all candidates diverge, or `storage` holds another
            run.

    Example:
        >>> import numpy as np
        >>> import keras_noisy
        >>> rng = np.random.default_rng(0)
        >>> truth = np.repeat(["cat", "dog"], 100)
        >>> x = rng.normal(0, 1, (200, 5)) + 4 * (truth == "dog")[:, None]
        >>> labels = truth.copy()
        >>> labels[::10] = "cat"
        >>> classifier = keras_noisy.RobustClassifier(epochs=10, budget=2, verbose=0)
        >>> classifier.fit(x, labels).score(x, truth) > 0.95
        True
        >>> classifier.choice_.names
        ['forward_correction', 'early_learning_regularization']

    Reference:
        Early-learning regularisation is that of Liu et al., NeurIPS 2020. That noisy
        held-out labels order classifiers under class-conditional noise: Chen et al.,
        "Robustness of Accuracy Metric and its Inspirations in Learning with Noisy
        Labels", AAAI 2021.
    """

    def __init__(
        self,
        build_model: BuildModel | None = None,
        *,
        candidates: Literal["auto"] | Sequence[str] = "auto",
        validation: float = 0.1,
        epochs: int | None = None,
        batch_size: int | None = None,
        budget: float | None = None,
        storage: FilePath | None = None,
        seed: int = 0,
        verbose: Literal["auto", 0, 1, 2] = "auto",
        combine: bool = True,
    ) -> None:
        # Checked in `fit`: scikit-learn's `clone` compares arguments by identity.
        self.build_model = build_model
        self.candidates = candidates
        self.validation = validation
        self.epochs = epochs
        self.batch_size = batch_size
        self.budget = budget
        self.storage = storage
        self.seed = seed
        self.verbose = verbose
        self.combine = combine

    # --- arguments, as scikit-learn has them

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by their names.

        Args:
            deep: As in scikit-learn; no argument has arguments of its own.
        """
        check_bool(_OWNER, "deep", deep)
        return {name: getattr(self, name) for name in _arguments()}

    def set_params(self, **arguments: Any) -> Self:
        """Set arguments, and return the classifier.

        Args:
            **arguments: Arguments by their names.

        Raises:
            ValueError: If there is no such argument.
        """
        for name, value in arguments.items():
            if name not in _arguments():
                expected = f"one of {', '.join(_arguments())}"
                raise ValueError(message(_OWNER, "set_params", expected, name))
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = _arguments()
        given = {
            name: value
            for name, value in self.get_params().items()
            if value is not defaults[name].default
        }
        inside = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return f"{_OWNER}({inside})"

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn wants to know of a classifier."""
        utils = importlib.import_module("sklearn.utils")
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags(),
            input_tags=utils.InputTags(sparse=True, string=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    # --- training

    def fit(self, x: Data, y: Any = None, *, groups: ArrayLike | None = None) -> Self:
        """Train the candidates, and choose.

        Args:
            x: The `n` examples, in each form of `find_wrong_labels`.
            y: Labels `(n,)`: strings, integers or bools, as `labels` there. Examples
                without a label are not trained on.
            groups: Ids `(n,)`: frames of one video, pictures of one patient. A group is
                held out as a whole. Equal examples are one group, unless most have an
                equal one.

        Returns:
            The classifier.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: See the class.
        """
        settings = self._checked()
        examples = _inputs.read(
            _OWNER,
            x,
            y,
            class_names=None,
            ids=None,
            features=None,
            own_network=self.build_model is not None,
            skip_broken=False,
            argument="y",
        )
        group, _ = _sources.find_groups(_OWNER, examples, groups)
        held, notes = _hold_out.choose(
            _OWNER,
            group,
            examples.labels,
            examples.class_names,
            settings["validation"],
            settings["seed"],
        )
        examples.notes += notes
        trainings = _trainings.Trainings(
            _OWNER,
            x=examples.x,
            labels=examples.labels,
            trained=np.flatnonzero(~held & (examples.labels != UNVERIFIED)),
            held=np.flatnonzero(held),
            num_classes=len(examples.class_names),
            build_model=self.build_model or _networks.builder(examples),
            epochs=settings["epochs"],
            batch_size=settings["batch_size"]
            or _networks.default_batch_size(examples.size),
            seed=settings["seed"],
            verbose=self.verbose,
        )
        names = _plan(settings, examples)
        sources = _look(names, examples, group, held, settings["seed"])
        matrix = None if sources is None else sources.core().matrix
        identity = functools.partial(_identity, trainings, examples, group, settings)
        kept = self._train(names, trainings, matrix, settings["storage"], identity)
        tried = _tried(names, kept)
        self._input = _Input.of(examples)
        self._from_logits = trainings.from_logits
        self.classes_ = examples.class_names
        if self._input.width is not None:
            self.n_features_in_ = self._input.width
        self.noise_rate_ = _rate(examples, group, tried, trainings.held, sources)
        labels, verdict = examples.labels[trainings.held], self.noise_rate_.verdict
        chosen = _rule.take(tried, labels, verdict, self.combine)
        self._combine(chosen, dict(zip(names, kept, strict=True)), trainings)
        self.choice_ = _rule.choice_of(
            tried, chosen, labels, examples.class_names, verdict, examples.notes
        )
        soft = _soft_labels(self._predict(examples.x), tried, kept, trainings)
        self.suspects_ = _suspects(examples, group, soft, settings["seed"])
        if self.verbose:
            print(self.choice_, flush=True)
        return self

    def _checked(self):
        """Return arguments that were checked, with the defaults of numbers."""
        _check_build_model(self.build_model)
        _check_candidates(self.candidates)
        optional(check_count)(_OWNER, "batch_size", self.batch_size)
        check_bool(_OWNER, "combine", self.combine)
        is_known = isinstance(self.verbose, (int, str))
        if not is_known or isinstance(self.verbose, bool) or (
            self.verbose not in _VERBOSE
        ):  # fmt: skip
            expected = "one of 'auto', 0, 1, 2"
            raise ValueError(message(_OWNER, "verbose", expected, self.verbose))
        return {
            "validation": _SHARE(_OWNER, "validation", self.validation),
            "epochs": optional(check_count)(_OWNER, "epochs", self.epochs) or _EPOCHS,
            "batch_size": self.batch_size,
            "budget": optional(_BUDGET)(_OWNER, "budget", self.budget),
            "storage": optional(check_path)(_OWNER, "storage", self.storage),
            "seed": check_seed(_OWNER, self.seed),
            "candidates": AUTO if _is_auto(self.candidates) else self.candidates,
        }

    def _train(self, names, trainings, matrix, storage, identity):
        """Return what each candidate's training left, dicts of arrays."""
        steps = Steps(_OWNER, storage, identity, _FORM)
        if self.verbose:
            print(
                f"{_OWNER}: {len(names)} trainings of {trainings.epochs} epochs on "
                f"{len(trainings.trained)} labels; {len(trainings.held)} are held out.",
                flush=True,
            )
        kept = {}
        with steps.opened():
            for group in trainings.groups(names):
                found = steps.get_all(
                    _trainings.file_of(group),
                    lambda g=group: trainings.run(g, matrix),
                )
                for name in group:
                    kept[name] = _trainings.of_candidate(found, name)
                    if self.verbose:
                        _print_trained(name, kept[name], names)
        return [kept[name] for name in names]

    def _combine(self, chosen, kept, trainings):
        """Make the model that predicts."""
        models = [
            trainings.with_weights(_trainings.weights_of(kept[name])) for name in chosen
        ]
        self._is_mean = len(models) > 1
        self.model_ = models[0]
        if self._is_mean:
            self.model_ = MeanOfModels(models, chosen.values(), self._from_logits)

    # --- prediction

    def predict_proba(self, x: Data) -> FloatArray:
        """Return probabilities, float32 `(m, C)`, in the order of `classes_`.

        Args:
            x: Examples in the form of those of `fit`; of a folder or a
                `tf.data.Dataset` the images or arrays.

        Raises:
            ValueError: Before `fit`, or if the examples have another form.
        """
        self._check_fitted()
        return self._predict(self._input.read(x))

    def predict(self, x: Data) -> np.ndarray:
        """Return the most probable label of each example, `(m,)`.

        Args:
            x: As for `predict_proba`.
        """
        p = self.predict_proba(x)
        return self.classes_[p.argmax(axis=-1)]

    def score(
        self, x: Data, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the share of labels that are predicted.

        Args:
            x: As for `predict_proba`.
            y: Labels `(m,)`.
            sample_weight: Weights `(m,)`, or None.
        """
        right = self.predict(x) == np.asarray(y).reshape(-1)
        weights = None if sample_weight is None else np.asarray(sample_weight, float)
        return float(np.average(right, weights=weights))

    def _predict(self, x):
        is_logits = self._from_logits and not self._is_mean
        return _trainings.predict(_OWNER, self.model_, x, is_logits)

    def _check_fitted(self):
        if not self.__sklearn_is_fitted__():
            text = f"{_OWNER}: it is not fitted. Call `fit` before."
            exceptions = sys.modules.get("sklearn.exceptions")
            raise getattr(exceptions, "NotFittedError", ValueError)(text)


def _arguments():
    """Return the arguments of the classifier by their names."""
    found = inspect.signature(RobustClassifier).parameters
    return dict(found)


def _is_auto(candidates):
    return isinstance(candidates, str) and candidates == "auto"


def _check_build_model(build_model):
    if build_model is not None and (
        not callable(build_model) or isinstance(build_model, keras.Model)
    ):
        expected = "a function that returns a fresh model"
        mend = "A model itself cannot be trained from scratch again."
        raise TypeError(message(_OWNER, "build_model", expected, build_model, mend))


def _check_candidates(candidates):
    expected = f"'auto', or a list of different names among {', '.join(CANDIDATES)}"
    if _is_auto(candidates):
        return
    if not isinstance(candidates, (list, tuple)):
        raise TypeError(message(_OWNER, "candidates", expected, candidates))
    known = [isinstance(each, str) and each in CANDIDATES for each in candidates]
    if not known or not all(known) or len(set(candidates)) < len(candidates):
        raise ValueError(message(_OWNER, "candidates", expected, candidates))


def _plan(settings, examples):
    """Return the names of the candidates that are trained, in their order."""
    names = list(settings["candidates"])
    if examples.features is None:
        names = _without(names, "takes_matrix", examples, "no features for its matrix")
    if not _mixup.are_mixable(examples.x):
        names = _without(names, "is_mixed", examples, "ids of words cannot be mixed")
    if not names:
        expected = "one that these inputs allow"
        received = settings["candidates"]
        mend = " ".join(examples.notes)
        raise ValueError(message(_OWNER, "candidates", expected, received, mend))
    most = len(names) if settings["budget"] is None else int(settings["budget"])
    # The default is trained in any case, and the others as far as the budget goes.
    order = sorted(names, key=lambda name: name != DEFAULT)[:most]
    return [name for name in names if name in order]


def _without(names, attribute, examples, reason):
    """Return the candidates without those that have an attribute, and take a note."""
    gone = [name for name in names if getattr(CANDIDATES[name], attribute)]
    if gone:
        titles = " and ".join(CANDIDATES[name].title for name in gone).capitalize()
        examples.notes.append(f"Left out: {titles}: {reason}.")
    return [name for name in names if name not in gone]


def _look(names, examples, group, held, seed):
    """Return what features say of the labels that are trained on, or None.

    Held-out labels have no part in it: they choose.
    """
    takes_matrix = any(CANDIDATES[name].takes_matrix for name in names)
    if _features(examples) is None and not takes_matrix:
        return None
    labels = examples.labels.copy()
    labels[held] = UNVERIFIED
    return read(_OWNER, labels, features=examples.features, groups=group, seed=seed)


def _print_trained(name, found, names):
    """Say how good a candidate is."""
    (tried,) = _tried([name], [found], check=False)
    print(
        f"Training {names.index(name) + 1} of {len(names)}, {name}: "
        f"{100 * tried.score:.1f} % of the held-out labels after {tried.epoch} epochs",
        flush=True,
    )


def _identity(trainings, examples, group, settings):
    """Return what the trainings depend on."""
    return {
        "backend": keras.backend.backend(),
        "x": arrays.digest(examples.x),
        "labels": arrays.digest(examples.labels),
        "groups": arrays.digest(group),
        "model": trainings.description(),
        "batch_size": trainings.batch_size,
        **{key: settings[key] for key in ("validation", "epochs", "seed")},
    }


def _tried(names, kept, check=True):
    """Return a `_rule.Tried` of each candidate, or raise if all diverged."""
    tried = []
    for name, found in zip(names, kept, strict=True):
        epoch = int(found["epoch"])
        score = np.nan
        if epoch != _trainings.NO_EPOCH:
            score = _rule.smoothed(found["curve"], epoch, _trainings.WINDOW)
        tried.append(_rule.Tried(name, score, found["held"], epoch + 1))
    if check and all(np.isnan(each.score) for each in tried):
        expected = "such that a candidate gives finite predictions"
        received = Described("NaN or infinity from all of them")
        mend = "Scale the inputs, or compile the model with a lower learning rate."
        raise ValueError(message(_OWNER, "build_model", expected, received, mend))
    return tried


def _soft_labels(predicted, tried, kept, trainings):
    """Return distributions of all examples, `(n, C)`.

    What is `predicted`; and of examples that early-learning regularisation was trained
    on, its moving averages, which hardly learn wrong labels.
    """
    soft = predicted
    for each, found in zip(tried, kept, strict=True):
        if each.name == DEFAULT and not np.isnan(each.score):
            averages = found["averages"]
            soft[trainings.trained] = averages / averages.sum(axis=1, keepdims=True)
    return soft


def _features(examples):
    is_small = examples.size <= _sources.HIDDEN_ROWS
    return examples.features if is_small else None


def _rate(examples, group, tried, held, sources):
    """Return the noise rate: from features, or from predictions on held-out labels."""
    if sources is not None:
        return rate_of(sources)
    if len(np.unique(examples.labels[held])) < 2:
        explanation = "Held-out labels of two classes would be needed."
        return NoiseRate(None, 0.0, 1.0, None, {}, "cannot tell", None, explanation)
    alive = [each.held for each in tried if not np.isnan(each.score)]
    return noise_rate(
        examples.labels[held], predictions=np.mean(alive, axis=0), groups=group[held]
    )


def _suspects(examples, group, soft, seed):
    """Return the labelled examples, from the most to the least suspicious."""
    known = np.flatnonzero(examples.labels != UNVERIFIED)
    features = _features(examples)
    found = find_suspects(
        examples.labels[known],
        soft[known],
        features=None if features is None else features[known],
        groups=group[known],
        seed=seed,
    )
    found = dataclasses.replace(found, sample_id=known[found.sample_id])
    return found.named(None, examples.class_names)


@dataclasses.dataclass
class _Input:
    """The form of the examples, which later ones must have.

    Attributes:
        kind: As of `Examples`.
        encoder: What makes numbers of tables and texts, or None.
        shape: Of one example, where `x` is an array.
    """

    kind: str
    encoder: Any
    shape: tuple | None

    @classmethod
    def of(cls, examples):
        """Return the form of `Examples`."""
        if examples.kind == "texts":
            examples.encoder.forget()
        shape = getattr(examples.x, "shape", None)
        return cls(examples.kind, examples.encoder, shape and tuple(shape[1:]))

    @property
    def width(self):
        """Number of columns, None of what has none."""
        return self.shape[0] if self.kind == "features" else None

    def read(self, x):
        """Return examples as the networks take them, or raise."""
        if self.kind == "table":
            if not _tables.is_frame(x):
                expected = "a data frame, or a dict of columns, as in `fit`"
                raise TypeError(message(_OWNER, "x", expected, type(x)))
            return self.encoder.encode(_OWNER, _tables.columns_of(_OWNER, x))
        if self.kind == "texts":
            if isinstance(x, str) or not all(isinstance(text, str) for text in x):
                expected = "a list of texts, as in `fit`"
                raise TypeError(message(_OWNER, "x", expected, type(x)))
            return self.encoder.encode(list(x))
        if isinstance(x, os.PathLike):
            x = _images.read_folder(_OWNER, os.fspath(x), False)[0]
        x = arrays.as_arrays(_OWNER, "x", x)
        if self.shape is None or not hasattr(x, "shape"):
            return x
        x = arrays.dense(x)
        x = x if isinstance(x, np.ndarray) else arrays.to_numpy(x)
        self._check(x)
        return x

    def _check(self, x):
        if tuple(x.shape[1:]) != self.shape or len(x.shape) < 2:
            expected = f"of shape (m, {', '.join(map(str, self.shape))}), as in `fit`"
            received = describe_array(x)
            if len(self.shape) == 1 and len(x.shape) == 2:
                # In the words that scikit-learn looks for.
                received = Described(
                    f"X has {x.shape[1]} features, but {_OWNER} is expecting "
                    f"{self.shape[0]} features as input"
                )
            mend = "Reshape your data: one example is a row." if x.ndim == 1 else ""
            raise ValueError(message(_OWNER, "x", expected, received, mend))
        if not len(x):
            raise ValueError(
                message(_OWNER, "x", "one example at least", Described("none"))
            )
        if x.dtype.kind in "iufb":
            _inputs.check_finite(_OWNER, "x", x)
