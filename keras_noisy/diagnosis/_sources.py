"""Where suspicion comes from: short trainings, and neighbours of two kinds."""

import warnings

import keras
import numpy as np

from keras_noisy._checks.errors import Described, message
from keras_noisy._data import arrays, outputs
from keras_noisy.analysis.features import features as hidden_features
from keras_noisy.analysis.neighbor_votes import neighbor_votes
from keras_noisy.callbacks.seal import SEALOnTheFly
from keras_noisy.diagnosis import _networks

TRAININGS = 3
# A kind of neighbours is left out where its majority agrees so much more seldom with
# the given labels than that of another kind: pixels of photographs say little.
_WORSE = 0.1


class Trainings:
    """Several short trainings with different seeds, averaged.

    Args:
        owner: Name of the public function, for errors.
        examples: `Examples`.
        steps: `Steps` that keep what is computed.
        build_model: Function that returns a compiled model.
        epochs: Epochs of each training, or None.
        batch_size: Its batch size, or None.
        fold: Which training does not train on an example, `(n,)`, or None.
        seed: Integer.
        verbose: Of `fit`; 0 says nothing.
    """

    def __init__(
        self, owner, examples, steps, *, build_model, epochs, batch_size, fold, seed,
        verbose,
    ):  # fmt: skip
        self._owner, self._examples, self._steps = owner, examples, steps
        self._build, self._fold, self._seed = build_model, fold, seed
        self.batch_size = batch_size or _networks.default_batch_size(examples.size)
        self.epochs = epochs or _networks.default_epochs(examples.size, self.batch_size)
        self._verbose, self._model = verbose, None

    def probabilities(self):
        """Return the mean prediction on each example, float32 `(n, num_classes)`.

        Where examples have folds it is that of the training without theirs.
        """
        total = None
        for number in range(TRAININGS):
            found = self._steps.get(f"training_{number}", lambda n=number: self._run(n))
            if total is None:
                total = np.zeros(found.shape, "float32")
            if self._fold is None:
                total += found / np.float32(TRAININGS)
            else:
                rows = np.flatnonzero(self._fold == number)
                total[rows] = found[rows]
        return total

    def hidden(self):
        """Return what the last hidden layer of the first network computes, `(n, d)`."""

        def make():
            if self._model is None:
                self._run(0)
            return hidden_features(self._model, self._examples.x).astype("float32")

        return self._steps.get("hidden", make)

    def _run(self, number):
        """Train a network, and return its average predictions."""
        examples = self._examples
        if self._verbose:
            print(f"Training {number + 1}/{TRAININGS}, {self.epochs} epochs", flush=True)
        words = np.random.SeedSequence([self._seed, number]).generate_state(2)
        keras.utils.set_random_seed(int(words[0]))
        model = self._build()
        self._check(model)
        from_logits = bool(outputs.takes_logits(model.loss))
        seal = SEALOnTheFly(examples.size, from_logits=from_logits)
        batches = seal.pipeline(
            model,
            examples.x,
            self._targets(model),
            sample_weight=self._weights(number),
            batch_size=self.batch_size,
            seed=int(words[1]),
        )
        model.fit(
            batches,
            epochs=self.epochs,
            shuffle=False,
            verbose=self._verbose,
            callbacks=[seal],
        )
        if number == 0:
            self._model = model
        return seal.soft_labels

    def _check(self, model):
        if not isinstance(model, keras.Model) or not model.compiled:
            expected = "a function that returns a compiled keras.Model"
            mend = "Call `model.compile` in it."
            raise TypeError(message(self._owner, "build_model", expected, model, mend))
        num_classes = len(self._examples.class_names)
        one = arrays.batch_of(self._examples.x, slice(0, 1))
        found = np.shape(keras.ops.convert_to_numpy(model.predict_on_batch(one)))
        if found != (1, num_classes):
            expected = f"a function whose model has {num_classes} outputs, one a class"
            received = Described(f"outputs of shape {found[1:]}")
            raise ValueError(message(self._owner, "build_model", expected, received))

    def _targets(self, model):
        labels = np.maximum(self._examples.labels, 0)
        loss = model.loss
        name = loss if isinstance(loss, str) else type(loss).__name__
        if name.lower().startswith("sparse"):
            return labels
        return np.eye(len(self._examples.class_names), dtype="float32")[labels]

    def _weights(self, number):
        """Return weights that leave out what a training must not see."""
        seen = self._examples.labels >= 0
        if self._fold is not None:
            seen &= self._fold != number
        return None if seen.all() else seen.astype("float32")


def group_folds(owner, groups, seed):
    """Return a fold for each example, the same within a group, or raise."""
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < TRAININGS:
        expected = f"of at least {TRAININGS} groups"
        raise ValueError(message(owner, "groups", expected, Described(f"{len(names)}")))
    # The largest first, each into the fold that has least, and ties by chance.
    generator = np.random.default_rng(seed)
    sizes = np.bincount(group)
    order = np.lexsort((generator.random(len(names)), -sizes))
    fold_of, filled = np.empty(len(names), int), np.zeros(TRAININGS)
    for index in order:
        fold_of[index] = filled.argmin()
        filled[fold_of[index]] += sizes[index]
    return fold_of[group]


def neighbors(steps, features, hidden, labels, num_classes, groups):
    """Return votes of neighbours by the name of their kind.

    Args:
        steps: `Steps` that keep what is computed.
        features: Rows whose distances mean something, `(n, d)`, or None.
        hidden: Function that returns the rows of a hidden layer.
        labels: Class ids `(n,)`, -1 where there is no label.
        num_classes: Number of classes.
        groups: Ids `(n,)`, or None.
    """
    more = {"num_classes": num_classes, "groups": groups}
    kinds = {"neighbors in a hidden layer": ("votes_hidden", hidden)}
    if features is not None:
        kinds["neighbors in features"] = ("votes_features", lambda: features)
    found = {
        kind: steps.get(name, lambda rows=rows: neighbor_votes(rows(), labels, **more))
        for kind, (name, rows) in kinds.items()
    }
    known = np.flatnonzero(labels >= 0)
    agreement = {
        kind: float((votes[known].argmax(axis=1) == labels[known]).mean())
        for kind, votes in found.items()
    }
    least = max(agreement.values()) - _WORSE
    return {kind: votes for kind, votes in found.items() if agreement[kind] >= least}


def mean(distributions):
    """Return the mean of distributions `(n, num_classes)`, float32."""
    total = np.zeros(distributions[0].shape, "float32")
    for each in distributions:
        total += each
    total /= len(distributions)
    return total


def contradictions(x, labels):
    """Return rows of equal examples with different labels, a list of arrays.

    Args:
        x: Array of examples, or None.
        labels: Class ids `(n,)`, -1 where there is no label.
    """
    if x is None:
        return []
    rows_of = {}
    for row in range(len(x)):
        if labels[row] >= 0:
            content = np.ascontiguousarray(x[row]).tobytes()
            rows_of.setdefault(hash(content), []).append(row)
    found = []
    for rows in rows_of.values():
        if len(rows) > 1 and len(set(labels[rows].tolist())) > 1:
            # Of equal hashes nearly all are of equal examples.
            same = [row for row in rows if np.array_equal(x[row], x[rows[0]])]
            if len(set(labels[same].tolist())) > 1:
                found.append(np.array(same))
    return found


