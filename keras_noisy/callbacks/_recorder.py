"""Recording the predictions of training steps, for SEAL on the fly."""

from keras import ops

from keras_noisy._data import outputs
from keras_noisy._step import rows


class Sums(rows.Rows):
    """Sums of predictions per example since the last epoch, on the device.

    They have a column more than there are classes, for the number of predictions.

    Attributes:
        are_labels: Whether each output is that of a label of its own.
    """

    def __init__(self, owner, num_examples, num_classes):
        super().__init__(owner, "keras_noisy_recorder", num_examples, num_classes)
        self.are_labels = False
        self.sums = self.add_table("sums", num_classes + 1)

    def record(self, step, y_pred):
        """Add the predictions of the step that is being run or traced."""
        p = outputs.probabilities(
            ops.stop_gradient(y_pred), self.from_logits, self.are_labels
        )
        p = ops.concatenate([p, ops.ones_like(p[:, :1])], axis=1)
        self.add_to(self.sums, self.rows_of(step.ids), p)

    def drain(self):
        """Return what was added since the last call, float32, and set it to zero."""
        sums = self.read(self.sums)
        self.write(self.sums, 0)
        return sums

    def save_own_variables(self, store):
        """Save nothing: the sums of half an epoch are of no use in a file."""

    def load_own_variables(self, store):
        """Load nothing."""
