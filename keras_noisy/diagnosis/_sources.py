"""Where suspicion comes from: short trainings, and neighbours of two kinds.

No label vouches for itself: networks judge examples that they were not trained on, and
only others vote. Otherwise a network that learns its data by heart finds nothing.
"""

import functools

import keras
import numpy as np

from keras_noisy._checks.errors import Described, message
from keras_noisy._checks.labels import UNVERIFIED
from keras_noisy._data import arrays, mean_predictions, outputs
from keras_noisy.analysis import _units
from keras_noisy.analysis.features import features as hidden_features
from keras_noisy.analysis.neighbor_votes import find_neighbors, neighbor_votes
from keras_noisy.callbacks import atomic_backup_and_restore
from keras_noisy.callbacks.seal import SEALOnTheFly
from keras_noisy.diagnosis import _networks

TRAININGS = 3
AVERAGES = "averages of trainings"
NEIGHBORS = "neighbors in features"
# Neighbours are left out where their majority agrees so much more seldom with the
# given labels than another source.
_WORSE = 0.1
# With more examples, neighbours are looked for in the features alone.
HIDDEN_ROWS = 50_000


class Trainings:
    """Short trainings, each without a fold of the examples, which it judges.

    Args:
        owner: Name of the public function, for errors.
        examples: `Examples`.
        steps: `Steps` that keep what is computed.
        build_model: Function that returns a compiled model.
        epochs: Epochs of each training, or None.
        batch_size: Its batch size, or None.
        fold: Which training does not train on an example, `(n,)`.
        group: Ids `(n,)` of examples that do not vouch for each other.
        seed: Integer.
        verbose: Of `fit`; "auto" prints a line for each training, 0 nothing.
    """

    def __init__(
        self, owner, examples, steps, *, build_model, epochs, batch_size, fold, group,
        seed, verbose,
    ):  # fmt: skip
        self._owner, self._examples, self._steps = owner, examples, steps
        self._build, self._fold, self._group = build_model, fold, group
        self._seed, self._verbose = seed, verbose
        self.batch_size = batch_size or _networks.default_batch_size(examples.size)
        self.epochs = epochs or _networks.default_epochs(
            examples.size, self.batch_size, examples.kind
        )
        is_small = examples.size <= HIDDEN_ROWS
        self.with_neighbors = examples.features is None or is_small

    def distributions(self):
        """Return distributions `(n, num_classes)` by the names of their sources.

        The mean prediction on each example over the epochs of the training that did
        not see it, and the votes of its neighbours in a hidden layer of that network.
        """
        num_classes = len(self._examples.class_names)
        names = [AVERAGES, *(["neighbors in a hidden layer"] * self.with_neighbors)]
        total = {
            name: np.zeros((self._examples.size, num_classes), "float32")
            for name in names
        }
        for number in range(TRAININGS):
            found = self._steps.get(f"training_{number}", lambda n=number: self._run(n))
            averages, backup = self._folders(number)
            if averages is not None:
                mean_predictions.delete(averages)
                atomic_backup_and_restore.delete(backup)
            rows = np.flatnonzero(self._fold == number)
            parts = np.split(found, len(names), axis=1)
            for name, part in zip(names, parts, strict=True):
                total[name][rows] = part
        return total

    def _folders(self, number):
        """Return folders of a training while it lasts: averages, and its state."""
        return [
            self._steps.folder(f"training_{number}_{what}")
            for what in ("averages", "backup")
        ]

    def _run(self, number):
        """Train a network, and return its distributions on its fold side by side."""
        examples = self._examples
        if self._verbose:
            epochs = f"{self.epochs} epoch{'s' * (self.epochs > 1)}"
            print(f"Training {number + 1} of {TRAININGS}, {epochs}", flush=True)
        words = np.random.SeedSequence([self._seed, number]).generate_state(2)
        keras.utils.set_random_seed(int(words[0]))
        model = self._build()
        width = self._check(model)
        from_logits = bool(outputs.takes_logits(model.loss))
        averages, backup = self._folders(number)
        seal = SEALOnTheFly(examples.size, storage=averages, from_logits=from_logits)
        callbacks = [seal]
        if backup is not None:
            # Last, as an epoch counts when its averages are on the disk; and kept when
            # `fit` has ended, because its network is still needed.
            callbacks.append(
                atomic_backup_and_restore.AtomicBackupAndRestore(
                    backup, delete_checkpoint=False
                )
            )
        batches = seal.pipeline(
            model,
            examples.x,
            self._targets(model, width),
            sample_weight=self._weights(number),
            batch_size=self.batch_size,
            seed=int(words[1]),
        )
        model.fit(
            batches,
            epochs=self.epochs,
            shuffle=False,
            verbose=0 if self._verbose == "auto" else self._verbose,
            callbacks=callbacks,
        )
        rows = np.flatnonzero(self._fold == number)
        found = [seal.soft_labels[rows]]
        if self.with_neighbors:
            hidden = hidden_features(model, examples.x).astype("float32")
            self._check_finite(hidden, number)
            found.append(self._votes(hidden)[rows])
        return np.hstack(found)

    def _check_finite(self, hidden, number):
        """Raise if the layer gives no numbers; `SEALOnTheFly` looks at predictions."""
        if np.isfinite(hidden).all():
            return
        expected = "a function whose model gives finite numbers after training"
        received = Described(
            f"NaN or infinity in a hidden layer, training {number + 1}"
        )
        mend = "Scale `x`, or lower the learning rate of the model's optimizer."
        raise ValueError(message(self._owner, "build_model", expected, received, mend))

    def _votes(self, rows):
        num_classes = len(self._examples.class_names)
        labels = self._examples.labels
        return neighbor_votes(rows, labels, num_classes=num_classes, groups=self._group)

    def _check(self, model):
        """Return the number of outputs of a model, or raise if they do not fit."""
        if not isinstance(model, keras.Model) or not model.compiled:
            expected = "a function that returns a compiled keras.Model"
            mend = "Call `model.compile` in it."
            raise TypeError(message(self._owner, "build_model", expected, model, mend))
        num_classes = len(self._examples.class_names)
        one = arrays.batch_of(self._examples.x, slice(0, 1))
        found = keras.tree.flatten(model(keras.tree.map_structure(_tensor, one)))
        shapes = [tuple(output.shape) for output in found]
        fits = [(1, num_classes)], *([[(1, 1)], [(1,)]] * (num_classes == 2))
        if shapes not in fits:
            expected = f"a function whose model has {num_classes} outputs, one a class"
            if num_classes == 2:
                expected += ", or one sigmoid output"
            received = Described(f"a model with outputs of shape {shapes}")
            raise ValueError(message(self._owner, "build_model", expected, received))
        return num_classes if shapes == fits[0] else 1

    def _targets(self, model, width):
        labels = np.maximum(self._examples.labels, 0)
        loss = model.loss
        name = loss if isinstance(loss, str) else type(loss).__name__
        if name.lower().startswith("sparse"):
            return labels
        targets = np.eye(len(self._examples.class_names), dtype="float32")[labels]
        return outputs.of_form(targets, width)

    def _weights(self, number):
        """Return weights that leave out what a training must not see."""
        seen = (self._examples.labels >= 0) & (self._fold != number)
        return seen.astype("float32")


def _tensor(array):
    return keras.ops.convert_to_tensor(array)


def find_groups(owner, examples, groups):
    """Return two ids for each example, `(n,)`: its group, and what equals it; or raise.

    Equal examples are of one group.

    Args:
        owner: Name of the public function, for errors.
        examples: `Examples`.
        groups: Ids `(n,)` that the user has given, or None.
    """
    groups = _units.check_groups(owner, groups, examples.size)
    rows = examples.compared
    if rows is None:
        alone = np.arange(examples.size)
        return alone if groups is None else groups, alone
    units = _units.find_units(rows.reshape(len(rows), -1), groups)
    group = units.group[units.of_row]
    number = min(len(np.unique(group)), units.num_distinct)
    if number < TRAININGS:
        argument = "x" if groups is None else "groups"
        expected = f"of {TRAININGS} different examples or groups at least"
        received = Described(f"{number}, equal examples being one group")
        raise ValueError(message(owner, argument, expected, received))
    return group, units.of_row


def classes_of_one_group(group, labels):
    """Return ids of classes whose examples all belong to one group.

    Args:
        group: Ids `(n,)`.
        labels: Class ids `(n,)`, -1 where there is no label.
    """
    known = labels != UNVERIFIED
    pairs = np.unique(np.stack([labels[known], group[known]]), axis=1)
    classes, counts = np.unique(pairs[0], return_counts=True)
    return classes[counts == 1]


def make_folds(group, labels, seed):
    """Return a fold for each example, the same within a group, of all classes.

    Args:
        group: Ids `(n,)`.
        labels: Class ids `(n,)`, -1 where there is no label.
        seed: Integer.
    """
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    sizes = np.bincount(group)
    chance = np.random.default_rng(seed).random(len(sizes))
    # The largest first, each into the fold that has least; of equal ones those of a
    # class in turn.
    order = np.lexsort((chance, labels[first], -sizes))
    fold_of, filled = np.empty(len(sizes), int), [0] * TRAININGS
    for index in order:
        fold_of[index] = filled.index(min(filled))
        filled[fold_of[index]] += int(sizes[index])
    return fold_of[group]


def neighbors(steps, examples, group, verbose):
    """Return `Neighbors` in the features, None without features.

    Examples that are empty do not vote.
    """
    if examples.features is None:
        return None
    labels = examples.labels
    if examples.is_empty is not None:
        labels = np.where(examples.is_empty, UNVERIFIED, labels)
    features = _units.check_features("find_wrong_labels", "features", examples.features)
    find = functools.partial(
        find_neighbors,
        "find_wrong_labels",
        features,
        labels,
        len(examples.class_names),
        _units.find_units(features, group),
    )
    return find(index=steps.get("neighbors", lambda: find(verbose=verbose).index))


def votes(found, examples, predicted):
    """Return the votes of `Neighbors`, a dict, empty if there are none.

    Empty examples receive what the trainings have `predicted`, `(n, num_classes)`.
    """
    if found is None:
        return {}
    by_neighbors = found.votes()
    if examples.is_empty is not None:
        by_neighbors = np.where(examples.is_empty[:, None], predicted, by_neighbors)
    return {NEIGHBORS: by_neighbors}


def without_weak(distributions, labels):
    """Return distributions, but none of neighbours that know the classes much worse.

    Neighbours among pixels of photographs say little. All of these distributions are
    made without the example's own label, so that agreement with it can be compared.
    """
    known = np.flatnonzero(labels >= 0)
    agreement = {
        name: float((values[known].argmax(axis=1) == labels[known]).mean())
        for name, values in distributions.items()
    }
    least = max(agreement.values()) - _WORSE
    return {
        name: values
        for name, values in distributions.items()
        if agreement[name] >= least or name == AVERAGES
    }


def contradictions(equal, labels):
    """Return sets of equal examples with different labels, lists of their positions.

    Args:
        equal: Ids `(n,)`, those of equal examples being the same.
        labels: Class ids `(n,)`, -1 where there is no label.
    """
    rows = np.flatnonzero(labels >= 0)
    rows = rows[np.argsort(equal[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(equal[rows], prepend=-1))
    low, high = (
        compare.reduceat(labels[rows], starts) for compare in (np.minimum, np.maximum)
    )
    sets = np.split(rows, starts[1:])
    return [sets[number].tolist() for number in np.flatnonzero(low < high)]
