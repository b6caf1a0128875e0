"""Recording the predictions of training steps, for SEAL on the fly."""

import numpy as np
from keras import ops

from keras_noisy._step import sample_ids, tables

ATTRIBUTE = "_keras_noisy_recorder"
OWNER = "SEALOnTheFly"


class Recorder(sample_ids.Recorder):
    """Sums of predictions per example since the last epoch, on the device.

    The variable has a row more than there are examples, for ids out of range, and a
    column more than there are classes, for the number of predictions.
    """

    def __init__(self, num_examples, num_classes):
        super().__init__(OWNER, "keras_noisy_recorder", num_examples, num_classes)
        self.from_logits = False
        self.sums = tables.create((num_examples + 1, num_classes + 1), "sums")

    def record(self, ids, y_pred):
        """Add the predictions of the step that is being run or traced."""
        self.check_predictions(y_pred)
        p = ops.cast(ops.stop_gradient(y_pred), "float32")
        if self.from_logits:
            p = ops.softmax(p)
        rows = ops.concatenate([p, ops.ones_like(p[:, :1])], axis=1)
        tables.add(self.sums, self.rows_of(ids), rows)

    def take(self):
        """Return what was added since the last call, float32, and set it to zero."""
        sums = np.array(ops.convert_to_numpy(self.sums))
        self.sums.assign(ops.zeros(self.sums.shape, "float32"))
        return sums

    def save_own_variables(self, store):
        """Save nothing: the sums of half an epoch are of no use in a file."""

    def load_own_variables(self, store):
        """Load nothing."""


def attach(model, num_examples, num_classes):
    """Return the recorder of `model`, giving it one if it has none that fits."""
    return sample_ids.attach(
        model, ATTRIBUTE, num_examples, lambda: Recorder(num_examples, num_classes)
    )
