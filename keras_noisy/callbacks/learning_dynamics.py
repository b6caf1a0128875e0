"""Watch what wrong labels do to a network while it trains."""

import keras
import numpy as np
from keras import ops

from keras_noisy import _errors, analysis


class LearningDynamics(keras.callbacks.Callback):
    """Logs how far wrong labels are fitted and corrected, epoch by epoch.

    For experiments, where the true labels are known. At the end of each epoch the
    model predicts `x` in inference mode, and the logs (and with them progress bar,
    `History` and `CSVLogger`) get

    - `wrong_label_fit`: share of corrupted examples predicted as the wrong label,
    - `semantic_correction`: share of them predicted as the true label,
    - `entropy_clean`, `entropy_corrupted`: mean `H(p) / H(u)` of both subsets.

    A subset without examples has NaN. The cost is one pass over `x`; pass a random
    part of the data to lower it.

    Args:
        x: Inputs, an array of `n` examples or what else `model.predict` takes.
        noisy_labels: Given labels, class ids `(n,)`.
        clean_labels: True labels, class ids `(n,)`.
        batch_size: Batch size of the pass, as in `model.predict`.
        from_logits: Whether the model's output holds logits.

    Raises:
        ValueError: If the labels differ in length or are not one-dimensional.

    Example:
        >>> from keras_noisy import callbacks
        >>> x, noisy, clean = [[0.0], [1.0]], [0, 0], [0, 1]
        >>> dynamics = callbacks.LearningDynamics(x, noisy, clean)

    Reference:
        Fig. 3 of Wang et al., "ProSelfLC", CVPR 2021.
    """

    def __init__(
        self, x, noisy_labels, clean_labels, *, batch_size=None, from_logits=False
    ):
        super().__init__()
        self.noisy_labels = _check_labels("noisy_labels", noisy_labels)
        self.clean_labels = _check_labels("clean_labels", clean_labels)
        if len(self.noisy_labels) != len(self.clean_labels):
            raise ValueError(
                "LearningDynamics: `clean_labels` must have the length of "
                f"noisy_labels, {len(self.noisy_labels)}. Received: "
                f"len(clean_labels)={len(self.clean_labels)}."
            )
        self.x = np.asarray(x) if isinstance(x, list) else x
        self.batch_size = batch_size
        self.from_logits = from_logits

    def on_epoch_end(self, epoch, logs=None):
        """Predict and add the quantities to the logs."""
        predictions = self.model.predict(
            self.x, batch_size=self.batch_size, verbose=0
        ).astype("float32")
        if self.from_logits:
            predictions = ops.convert_to_numpy(ops.softmax(predictions))
        is_corrupted = self.noisy_labels != self.clean_labels
        entropy = analysis.normalized_entropy(predictions)
        labels = (self.noisy_labels, self.clean_labels)
        if logs is not None:
            logs.update(
                wrong_label_fit=analysis.wrong_label_fit(predictions, *labels),
                semantic_correction=analysis.semantic_correction(predictions, *labels),
                entropy_clean=_mean(entropy[~is_corrupted]),
                entropy_corrupted=_mean(entropy[is_corrupted]),
            )


def _check_labels(argument, labels):
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(
            _errors.message(
                "LearningDynamics", f"{argument}.shape", "(n,)", labels.shape
            )
        )
    return labels


def _mean(values):
    return float(values.mean()) if values.size else float("nan")
