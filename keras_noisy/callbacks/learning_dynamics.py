"""Watch what wrong labels do to a network while it trains."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_noisy import analysis
from keras_noisy._checks import errors, labels
from keras_noisy._checks.numbers import optional
from keras_noisy._data import arrays, batch_statistics, outputs, predictions
from keras_noisy._typing import ArrayLike, Data, Logs
from keras_noisy.analysis.gradient_density import inputs_of
from keras_noisy.callbacks import _attached, seal

_NAN = float("nan")
_OWNER = "LearningDynamics"
_CURE = (
    "Give the layers a lower momentum, or pass a `callbacks.SEAL` with "
    "`recompute_statistics=True`, or a `callbacks.SEALOnTheFly`, as `x`."
)


class LearningDynamics(_attached.Attached):
    """Logs how far wrong labels are fitted and corrected, epoch by epoch.

    At the end of an epoch the model predicts `x` in inference mode, and the logs (and
    with them progress bar, `History`, `CSVLogger` and TensorBoard) get, where the true
    labels are known,

    - `wrong_label_fit`: share of corrupted examples predicted as the wrong label,
    - `semantic_correction`: share of them predicted as the true label,
    - `entropy_clean`, `entropy_corrupted`: mean `H(p) / H(u)` of both subsets; one
      minus it is the mean local trust `l`,
    - `loss_clean`, `loss_corrupted`: mean training loss with the given labels; NaN if
      the model has several losses or one that is defined on a batch,
    - `target_correction`: share of corrupted examples whose target `q~` has the true
      label for its semantic class, the largest entry, where the loss modifies targets
      (`ProSelfLC`, `TargetModification`, `BootstrapSoft`, `BootstrapHard`,
      `LabelSmoothing`, `ConfidencePenalty`),
    - `trust_clean`, `trust_corrupted`: mean weight `e` of the prediction in the target,
      `g l` with `callbacks.GlobalTrust` in the same `fit`, or what the argument
      `trust` of `ProSelfLC` makes it.

    Without them it logs `label_agreement`, the share of examples predicted as the
    given label, `target_agreement`, the share whose target has that class, and
    `entropy`, `given_loss` and `trust` over all examples. What is not measured in an
    epoch, or is a mean over no example, is NaN.

    The cost is one pass over `x` in each epoch that is measured, a fifth to a half of
    a training epoch; `num_examples` and `every` lower it. Predictions are not held:
    memory does not grow with the data.

    Args:
        x: Inputs, an array or a structure of arrays of `n` examples; or a data set of
            batches of inputs, or of tuples that begin with them, in the order of the
            labels; or the `callbacks.SEAL` or `callbacks.SEALOnTheFly` that stands
            before this callback in the same `fit`, whose predictions are used then,
            so that there is no other pass.
        noisy_labels: Given labels, class ids `(n,)`.
        clean_labels: True labels, class ids `(n,)`, -1 where they are not verified: in
            none of the two subsets. Or None.
        batch_size: Batch size of the pass, as in `model.predict`.
        from_logits: Whether outputs are logits. By default the model's loss says so.
        num_examples: Measure on a fixed random part of so many examples, where `x` is
            arrays; None takes all.
        every: Measure in every so many epochs, beginning with the first, and in the
            last one.
        seed: Seed of the random part.

    Raises:
        TypeError: If labels are no integers.
        ValueError: If labels differ in length, have two dimensions or are negative, or
            `num_examples` or `every` is not a positive integer. In `fit`, if there are
            fewer classes than labels say, outputs are not distributions, or a data set
            comes in another order than before, or with labels that are neither of those
            given.

    Example:
        >>> from keras_noisy import callbacks
        >>> x, noisy, clean = [[0.0], [1.0]], [0, 0], [0, 1]
        >>> dynamics = callbacks.LearningDynamics(x, noisy, clean)

    Reference:
        Fig. 2, 3 and 5 of Wang et al., "ProSelfLC", CVPR 2021.
    """

    def __init__(
        self,
        x: Data,
        noisy_labels: ArrayLike,
        clean_labels: ArrayLike | None = None,
        *,
        batch_size: int | None = None,
        from_logits: bool | None = None,
        num_examples: int | None = None,
        every: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.x = arrays.standard(x)
        self.noisy_labels = labels.check_labels(_OWNER, "noisy_labels", noisy_labels)
        self.clean_labels: np.ndarray | None = None
        if clean_labels is not None:
            self.clean_labels = labels.check_labels(
                _OWNER,
                "clean_labels",
                clean_labels,
                size=len(self.noisy_labels),
                unverified=True,
            )
        count = optional(errors.check_count)
        self.batch_size = count(_OWNER, "batch_size", batch_size)
        self.from_logits = outputs.check_from_logits(_OWNER, from_logits)
        self.every = errors.check_count(_OWNER, "every", every)
        self._sums: Any = None
        self._statistics = batch_statistics.Statistics(_OWNER)
        self._is_listening = isinstance(x, (seal.SEAL, seal.SEALOnTheFly))
        if self._is_listening:
            x.listeners.append(self._listen)
        if num_examples is not None:
            self._keep_part(
                count(_OWNER, "num_examples", num_examples),
                errors.check_seed(_OWNER, seed, bits=63),
            )
        self._check_length()
        self._order = predictions.SameOrder(_OWNER, **self._given())
        if not self._is_listening:
            self._shared = ("x",)

    def _given(self):
        """Return the labels by the names of their arguments."""
        given = {"noisy_labels": self.noisy_labels, "clean_labels": self.clean_labels}
        return {name: labels for name, labels in given.items() if labels is not None}

    def _check_length(self):
        """Raise if the number of predictions is known, and not that of labels."""
        if self._is_listening:
            size = self.x.num_examples
        elif arrays.is_arrays(self.x):
            size = arrays.length(_OWNER, "x", self.x)
        else:
            predictions.check_data_set(_OWNER, self.x)
            return
        if size not in (None, len(self.noisy_labels)):
            raise ValueError(self._length_message(size))

    def _keep_part(self, num_examples, seed):
        if self._is_listening or not arrays.is_arrays(self.x):
            raise ValueError(
                f"{_OWNER}: `num_examples` must be None where `x` is not "
                f"arrays. Received: num_examples={num_examples}. Of a tf.data data "
                "set `take` gives a part."
            )
        self._check_length()
        size = len(self.noisy_labels)
        generator = np.random.Generator(np.random.PCG64(seed))
        rows = np.sort(generator.permutation(size)[:num_examples])
        self.x = arrays.take(self.x, rows)
        self.noisy_labels = self.noisy_labels[rows]
        if self.clean_labels is not None:
            self.clean_labels = self.clean_labels[rows]

    def on_train_begin(self, logs: Logs = None) -> None:
        """Find out whether the model's output is logits."""
        if self.from_logits is None and not self._is_listening:
            self.from_logits = outputs.are_logits(_OWNER, self.model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Begin new sums, if this epoch is measured."""
        outputs.check_not_labels(_OWNER, self.model)
        self._statistics.begin(self.model)
        is_last = epoch + 1 == self.params.get("epochs")
        self._sums = _Sums() if epoch % self.every == 0 or is_last else None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Add the quantities to the logs."""
        if self._sums is not None:
            if not self._is_listening:
                self._predict(epoch)
            self._check_all_seen()
            if isinstance(self.x, seal.SEALOnTheFly):
                seen = self.x.labels_seen()
                if seen is not None:
                    predictions.check_given(_OWNER, seen, self._given())
            if not self._is_listening:
                size = len(self.noisy_labels)
                self._statistics.compare(self.model, self.x, size, self.from_logits)
        if logs is None:
            return
        if self.clean_labels is None:
            logs.update(self._without_truth(logs))
        else:
            logs.update(self._with_truth(logs))

    def on_train_end(self, logs: Logs = None) -> None:
        """Warn if batch normalisation has made predictions those of another network."""
        self._statistics.warn(self.params.get("steps"), _CURE)

    def _predict(self, epoch):
        start = 0
        for found in predictions.in_pieces(
            _OWNER, self.model, self._order.read(self.x), batch_size=self.batch_size
        ):
            rows = slice(start, start + len(found))
            start = rows.stop
            p = outputs.probabilities(found, self.from_logits)
            outputs.check_probabilities(_OWNER, p, epoch, self.from_logits)
            self._add(rows, p, found if self.from_logits else None)

    def _listen(self, rows, probabilities):
        """Take the predictions that SEAL has collected."""
        if self._sums is not None:
            self._add(rows, np.asarray(probabilities, "float32"))

    def _check_all_seen(self):
        count, expected = self._sums.seen, len(self.noisy_labels)
        if not count and self._is_listening:
            raise ValueError(
                f"{_OWNER}: `x` must stand before this callback in `fit`, "
                f"because it is a {type(self.x).__name__}. Received no predictions."
            )
        # An example that SEAL on the fly has not seen is not counted.
        if count < expected and not self._is_listening:
            raise ValueError(self._length_message(count))

    def _length_message(self, count):
        return (
            f"{_OWNER}: `noisy_labels` must be of shape (n,), with n the number of "
            f"predictions, {count}. Received: "
            f"noisy_labels.shape={self.noisy_labels.shape}."
        )

    def _add(self, rows, p, logits=None):
        self._sums.seen += len(p)
        # At once: a data set may have no end and not say so.
        if self._sums.seen > len(self.noisy_labels):
            raise ValueError(self._length_message(f"{self._sums.seen} or more"))
        noisy = self.noisy_labels[rows]
        labels.check_range(_OWNER, "noisy_labels", noisy, p.shape[1])
        classes = p.argmax(axis=1)
        values = {
            "entropy": analysis.normalized_entropy(p),
            "label_agreement": classes == noisy,
            **self._of_loss(noisy, p, logits),
        }
        target_classes = values.pop("target_class", None)
        if target_classes is not None:
            values["target_agreement"] = target_classes == noisy
        if self.clean_labels is None:
            self._sums.add("all", values, np.ones(len(noisy), bool))
            return
        clean = self.clean_labels[rows]
        labels.check_range(_OWNER, "clean_labels", clean, p.shape[1], unverified=True)
        values["semantic_correction"] = classes == clean
        if target_classes is not None:
            values["target_correction"] = target_classes == clean
        self._sums.add("clean", values, noisy == clean)
        self._sums.add("corrupted", values, labels.is_wrong(noisy, clean))

    def _of_loss(self, noisy, p, logits):
        """Return what the model's loss says of each example, as far as it can."""
        loss = self.model.loss
        loss = keras.losses.get(loss) if isinstance(loss, str) else loss
        function = loss.call if isinstance(loss, keras.losses.Loss) else loss
        if not callable(function):
            return {}
        y_pred = p if logits is None else outputs.logits(logits, from_logits=True)
        if outputs.takes_logits(loss) and logits is None:
            y_pred = outputs.logits(p, from_logits=False)
        y_pred = ops.convert_to_tensor(y_pred)
        targets, y_pred = inputs_of(loss, noisy, y_pred)
        targets = ops.convert_to_tensor(targets)
        found = {"loss": function(targets, y_pred)}
        if hasattr(loss, "modified_targets"):
            modified = loss.modified_targets(targets, y_pred)
            found["target_class"] = ops.argmax(modified, axis=-1)
        if hasattr(loss, "self_trust"):
            found["trust"] = loss.self_trust(y_pred)
        found = {name: ops.convert_to_numpy(each) for name, each in found.items()}
        return {k: each for k, each in found.items() if each.shape == noisy.shape}

    def _with_truth(self, logs):
        mean = self._sums or _NoMeans()
        result = {
            "wrong_label_fit": mean("corrupted", "label_agreement"),
            "semantic_correction": mean("corrupted", "semantic_correction"),
        }
        if self._modifies_targets():
            result["target_correction"] = mean("corrupted", "target_correction")
        for part in ("clean", "corrupted"):
            result[f"entropy_{part}"] = mean(part, "entropy")
        for part in ("clean", "corrupted"):
            result[f"loss_{part}"] = mean(part, "loss")
        for part in ("clean", "corrupted"):
            result.update(self._trust(f"trust_{part}", mean, part, logs))
        return result

    def _without_truth(self, logs):
        mean = self._sums or _NoMeans()
        result = {"label_agreement": mean("all", "label_agreement")}
        if self._modifies_targets():
            result["target_agreement"] = mean("all", "target_agreement")
        result["entropy"] = mean("all", "entropy")
        result["given_loss"] = mean("all", "loss")
        return {**result, **self._trust("trust", mean, "all", logs)}

    def _modifies_targets(self):
        return hasattr(self.model.loss, "modified_targets")

    def _trust(self, name, mean, part, logs):
        """Return the mean weight `e` of the predictions under `name`, if there is one.

        Of a loss within another one, or of several, `g l` with the clock's `g`.
        """
        if hasattr(self.model.loss, "self_trust"):
            return {name: mean(part, "trust")}
        g = logs.get("global_trust")
        return {} if g is None else {name: float(g) * (1 - mean(part, "entropy"))}


class _Sums:
    """Sums of quantities over parts of the data; called, it returns their means."""

    def __init__(self):
        self.seen = 0
        self._sums = {}
        self._counts = {}

    def add(self, part, values, mask):
        self._counts[part] = self._counts.get(part, 0) + int(mask.sum())
        for name, each in values.items():
            key = (part, name)
            self._sums[key] = self._sums.get(key, 0.0) + float(each[mask].sum())

    def __call__(self, part, name):
        count = self._counts.get(part, 0)
        return self._sums.get((part, name), _NAN) / count if count else _NAN


class _NoMeans:
    """Stands for the means of an epoch that is not measured."""

    def __call__(self, part, name):
        return _NAN
