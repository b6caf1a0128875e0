"""The rule that chooses, and how sure it is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_noisy._typing import FloatArray
from keras_noisy.choice._candidates import CANDIDATES, DEFAULT

# Differences of so many standard errors are told from chance.
_SURE = 2.0
# Candidates so many standard errors behind the best one predict beside it.
_NEAR = 1.0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Choice:
    """What was tried, how good it was on held-out labels, and what was taken.

    `print(choice)` shows the table and the sentence. All scores are on held-out labels
    that are as noisy as the others, and are lower than accuracy on clean labels.

    Attributes:
        names: The candidates, in the order in which they were trained.
        scores: Accuracy on held-out labels, the mean over the last five epochs before
            each stopped; NaN where one diverged.
        standard_errors: Of the difference from the best score, over the held-out
            examples in pairs; 0 for the best one.
        balanced: Mean over the classes of `recalls`.
        recalls: Share of each class's held-out labels that is predicted,
            `(candidates, num_classes)`, NaN where none is held out.
        epochs: The epochs whose weights were taken, counted from 1; 0 where a
            candidate diverged.
        costs: Trainings that each candidate is.
        chosen: Names of those whose mean predicts.
        weights: Weight of each of these in the mean.
        certainty: `"sure"`, `"cannot tell"` (too few held-out labels to tell the
            candidates apart) or `"cannot know"` (noise may depend on the example, and
            then held-out labels are wrong in the same way).
        sentence: The same in plain words.
        notes: Sentences on what was done with the data.
        class_names: What the columns of `recalls` stand for.
        num_held_out: Number of held-out labels.
    """

    names: list[str]
    scores: FloatArray
    standard_errors: FloatArray
    balanced: FloatArray
    recalls: FloatArray
    epochs: list[int]
    costs: list[float]
    chosen: list[str]
    weights: list[float]
    certainty: str
    sentence: str
    notes: list[str]
    class_names: Any
    num_held_out: int

    def columns(self) -> dict[str, Any]:
        """Return the table as columns by their names, for `pandas.DataFrame`."""
        return {
            "candidate": list(self.names),
            "weight": [self._weight(name) for name in self.names],
            "score": self.scores.tolist(),
            "standard_error": self.standard_errors.tolist(),
            "balanced_accuracy": self.balanced.tolist(),
            "epochs": list(self.epochs),
            "cost": list(self.costs),
            **{
                f"recall of {name}": self.recalls[:, index].tolist()
                for index, name in enumerate(self.class_names)
            },
        }

    def _weight(self, name: str) -> float:
        return dict(zip(self.chosen, self.weights, strict=True)).get(name, 0.0)

    def __repr__(self) -> str:
        return f"Choice({' + '.join(self.chosen)}, {self.certainty!r})"

    def __str__(self) -> str:
        lines = [
            f"{'candidate':<37} weight {'score':>6} "
            f"{'± s.e.':>7} {'balanced':>8} epochs"
        ]
        for index, name in enumerate(self.names):
            mark = "*" if name in self.chosen else " "
            lines.append(
                f"{mark} {name:<35} {self._weight(name):6.2f} "
                f"{_percent(self.scores[index])} "
                f"{_percent(self.standard_errors[index]):>7} "
                f"{_percent(self.balanced[index]):>8} {self.epochs[index]:>6}"
            )
        return "\n".join([*lines, self.sentence, *self.notes])


@dataclasses.dataclass
class Tried:
    """A candidate that was trained.

    Attributes:
        name: Its name.
        score: Smoothed accuracy on held-out labels, NaN where it diverged.
        held: Its predictions on held-out examples.
        epoch: Number of epochs that its weights were trained for.
    """

    name: str
    score: float
    held: np.ndarray
    epoch: int


def smoothed(curve, epoch, window):
    """Return the mean of a curve over the last epochs up to one of them."""
    return float(np.mean(curve[max(0, epoch + 1 - window) : epoch + 1]))


def take(tried, labels, verdict, combine):
    """Return which candidates predict, and their weights in the mean, a dict.

    Where held-out labels can be relied on, because wrong ones depend on the class
    alone, all candidates that are at most a standard error behind the best one, with
    equal weights. Otherwise the default, early-learning regularisation, has half of the
    weight, and the others that are near to the best of them share the rest: held-out
    labels may reward fitting wrong ones.

    Args:
        tried: `Tried`s.
        labels: Held-out class ids `(m,)`.
        verdict: That of `analysis.noise_rate`.
        combine: Whether several may be taken. Of one network that is the default, or
            the best one where labels can be relied on and it is ahead by more than a
            standard error.
    """
    alive = [each for each in tried if np.isfinite(each.score)]
    if not alive:
        return {DEFAULT: 1.0}
    names = [each.name for each in alive]
    near = _near(alive, labels)
    # Of equal scores the first.
    best = max(alive, key=lambda each: each.score)
    is_reliable = verdict == "class-conditional"
    takes_default = DEFAULT in (near if is_reliable else names)
    if not combine:
        return {DEFAULT if takes_default else best.name: 1.0}
    others = [each for each in alive if each.name != DEFAULT]
    if is_reliable or not takes_default or not others:
        return _evenly(near, 1.0)
    return {DEFAULT: 0.5, **_evenly(_near(others, labels), 0.5)}


def _near(alive, labels):
    """Return the names of the best candidate and of those that are near to it."""
    best = max(alive, key=lambda each: each.score)
    right = [each.held.argmax(axis=-1) == labels for each in alive]
    of_best = best.held.argmax(axis=-1) == labels
    return [
        each.name
        for each, row in zip(alive, right, strict=True)
        if each is best
        or best.score - each.score <= _NEAR * standard_error(row, of_best)
    ]


def _evenly(names, total):
    return dict.fromkeys(names, total / len(names))


def choice_of(tried, chosen, labels, class_names, verdict, notes):
    """Return the `Choice` that follows from held-out labels.

    Args:
        tried: `Tried`s.
        chosen: Weights of those that are taken, by name.
        labels: Held-out class ids `(m,)`.
        class_names: What each id stands for.
        verdict: That of `analysis.noise_rate`.
        notes: Sentences on what was done with the data.
    """
    num_classes = len(class_names)
    predicted = [each.held.argmax(axis=-1) for each in tried]
    scores = np.array([each.score for each in tried])
    recalls = np.array([_recalls(p, labels, num_classes) for p in predicted])
    recalls[np.isnan(scores)] = np.nan
    best = int(np.nanargmax(scores))
    right = [p == labels for p in predicted]
    errors = np.array([standard_error(row, right[best]) for row in right])
    errors[best], errors[np.isnan(scores)] = 0, np.nan
    certainty, sentence = _judge(tried, chosen, scores, errors, len(labels), verdict)
    seen = np.bincount(labels, minlength=num_classes) > 0
    given_up = _given_up(tried, chosen, predicted, seen, class_names)
    return Choice(
        names=[each.name for each in tried],
        scores=scores,
        standard_errors=errors,
        balanced=recalls[:, seen].mean(axis=1),
        recalls=recalls,
        epochs=[each.epoch for each in tried],
        costs=[1.0] * len(tried),
        chosen=[*chosen],
        weights=[*chosen.values()],
        certainty=certainty,
        sentence=sentence,
        notes=[*notes, *_diverged(tried), *given_up],
        class_names=class_names,
        num_held_out=len(labels),
    )


def _recalls(predicted, labels, num_classes):
    counts = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


def standard_error(right, other):
    """Return the standard error of the difference of two accuracies, in pairs.

    That of the adjusted Wald interval (Bonett and Price 2012), which counts one
    example more in favour of each: two candidates that agree on all of the few
    held-out examples may differ on others.

    Args:
        right: Whether a candidate is right, booleans `(m,)`.
        other: The same of another one.
    """
    size = len(right) + 2
    more = ((right & ~other).sum() + 1) / size
    less = ((~right & other).sum() + 1) / size
    return float(np.sqrt((more + less - (more - less) ** 2) / size))


def _judge(tried, chosen, scores, errors, size, verdict):
    """Return how sure the choice is, in one word and in a sentence."""
    *names, last = (CANDIDATES[name].title for name in chosen)
    taken = " and ".join([", ".join(names), last] if names else [last])
    taken = f"The mean of {taken}" if len(chosen) > 1 else taken.capitalize()
    if len(tried) == 1:
        return "cannot tell", f"{taken} was the only candidate: nothing was compared."
    if verdict == "cannot tell":
        return (
            "cannot know",
            f"{taken} was taken. Which candidate is best cannot be known: classes "
            "overlap, or wrong labels depend on the example, and then the held-out "
            "labels reward fitting them. Labels verified by hand would tell.",
        )
    order = np.argsort(np.where(np.isnan(scores), -1, -scores), kind="stable")
    order = [index for index in order if not np.isnan(scores[index])]
    if len(order) < 2:
        return "cannot tell", f"{taken} alone did not diverge."
    first, second = order[0], order[1]
    gap = scores[first] - scores[second]
    error = errors[second]
    told = (
        f"{CANDIDATES[tried[first].name].title} has {100 * scores[first]:.1f} % on "
        f"{size} held-out labels, {CANDIDATES[tried[second].name].title} "
        f"{100 * scores[second]:.1f} % (difference {100 * gap:.1f} ± {100 * error:.1f} "
        "points)"
    )
    if gap > _SURE * error:
        return "sure", f"{taken} was taken: {told}."
    return (
        "cannot tell",
        f"{taken} was taken. The held-out labels are too few to tell the best: {told}.",
    )


def _given_up(tried, chosen, predicted, seen, class_names):
    """Return a sentence on classes that a method taken never predicts."""
    notes = []
    by_name = {
        each.name: set(p.tolist()) for each, p in zip(tried, predicted, strict=True)
    }
    everyone = set().union(*by_name.values())
    for name in chosen:
        gone = [
            str(class_names[index])
            for index in sorted(everyone - by_name[name])
            if seen[index]
        ]
        if gone:
            notes.append(
                f"{CANDIDATES[name].title.capitalize()} predicts {', '.join(gone)} for "
                "no held-out example, and other candidates do: look at `recalls` "
                "before you use it."
            )
    return notes


def _diverged(tried):
    gone = [CANDIDATES[each.name].title for each in tried if np.isnan(each.score)]
    if not gone:
        return []
    return [f"{', '.join(gone)} diverged. Scale the inputs, or lower the rate."]


def _percent(share):
    return "   nan" if np.isnan(share) else f"{100 * share:6.1f}"
