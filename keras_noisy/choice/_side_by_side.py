"""Networks side by side, each trained by a method of its own, as one program."""

import keras
from keras import ops

from keras_noisy._checks.distributions import by_class
from keras_noisy._step import replicas
from keras_noisy.choice._candidates import Moment, averages_after
from keras_noisy.losses.early_learning_regularization import Targets
from keras_noisy.training import _around, _mixup


class SideBySide(keras.Model):
    """Networks that take the same batches, and share nothing else.

    The loss is the sum of theirs, so that the gradient of each is that of a training
    of its own; an optimizer that looks at one variable at a time makes the same steps.
    A step is compiled once for all of them.

    Labels `(batch, 2)` hold the class of each example and its number.

    Args:
        owner: Name of the public class, for errors.
        networks: The networks, one for each candidate.
        candidates: `Candidate`s.
        matrix: Transition matrix, or None where none of them takes one.
        from_logits: Whether outputs are logits.
        num_examples: Number of training examples.
        num_classes: Number of classes.
        num_steps: Steps of the whole training.
        seeds: Integers that the mixing of each follows from.

    Attributes:
        averages: Moving averages of predictions, of candidates that have some.
    """

    def __init__(
        self, owner, networks, candidates, matrix, *, from_logits, num_examples,
        num_classes, num_steps, seeds,
    ):  # fmt: skip
        super().__init__()
        # The networks cast their inputs.
        self.autocast = False
        self.networks, self._candidates = list(networks), list(candidates)
        self._matrix, self.from_logits = matrix, from_logits
        self._num_classes, self._num_steps = num_classes, num_steps
        self.averages = [
            Targets(owner, num_examples, num_classes) if each.has_averages else None
            for each in candidates
        ]
        self._steps = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name="steps",
        )
        self._shares = [keras.random.SeedGenerator(seed) for seed in seeds]
        self.built = True

    def call(self, inputs, training=False):
        """Return outputs `(batch, networks, num_classes)`, in training a list."""
        found = [
            # Those of mixed inputs are made by the loss.
            network(inputs, training=training and not candidate.is_mixed)
            for network, candidate in zip(self.networks, self._candidates, strict=True)
        ]
        found = [by_class(each, self.from_logits, ops) for each in found]
        return found if training else ops.stack(found, axis=1)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Return the sum of the candidates' losses."""
        ids = y[:, 1]
        q = ops.one_hot(y[:, 0], self._num_classes, dtype="float32")
        progress = self._steps.value / self._num_steps
        loss = sum(
            ops.mean(
                ops.cast(self._loss(number, x, q, output, ids, progress), "float32")
            )
            for number, output in enumerate(y_pred)
        )
        self._steps.assign_add(1)
        # Keras adds up what the replicas return.
        loss = loss / replicas.num_replicas()
        return loss + _around.penalties(self, loss.dtype)

    def _loss(self, number, x, q, output, ids, progress):
        """Return a candidate's loss of each example of a batch."""
        candidate, table = self._candidates[number], self.averages[number]
        target = None
        if table is not None:
            rows = table.rows_of(ids)
            old = table.take(table.averages, rows)
            target = averages_after(old, output, self.from_logits)
            table.move(table.averages, rows, target)
        if candidate.is_mixed:
            share = keras.random.uniform((1,), seed=self._shares[number])
            x = keras.tree.map_structure(lambda leaf: _mixed(leaf, share), x)
            q = _mixed(q, share)
            target = None if target is None else _mixed(target, share)
            output = self.networks[number](x, training=True)
            output = by_class(output, self.from_logits, ops)
        at = Moment(self.from_logits, progress, self._matrix, target)
        return candidate.loss(q, output, at)


def _mixed(values, share):
    """Return each row mixed with the one before; batches are in random order."""
    values = _mixup.as_floats(values)
    return _mixup.between(values, ops.roll(values, 1, axis=0), share)
