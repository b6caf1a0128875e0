"""What `SelfEvolution.fit` is given with an entry per example."""

import numpy as np

from keras_noisy._checks.distributions import as_numbers
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_labels, labels_of
from keras_noisy._data import arrays

_OWNER = "SelfEvolution"


class Given:
    """Inputs, labels and weights, checked."""

    def __init__(self, x, y, sample_weight, clean_labels):
        self.x = arrays.as_arrays(_OWNER, "x", x)
        self.num_examples = arrays.length(_OWNER, "x", self.x)
        self.y = labels_of(y)
        if self.y.ndim == 2:
            self.y = self._check("y", self.y)
        else:
            self.y = check_labels(_OWNER, "y", self.y, size=self.num_examples)
        self.sample_weight = self.clean_labels = None
        if sample_weight is not None:
            self.sample_weight = self._check("sample_weight", sample_weight)
        if clean_labels is not None:
            self.clean_labels = check_labels(
                _OWNER, "clean_labels", clean_labels, size=self.num_examples
            )

    def _check(self, argument, values):
        values = as_numbers(_OWNER, argument, labels_of(values))
        size = len(np.atleast_1d(values))
        if size != self.num_examples:
            expected = f"{self.num_examples}, the number of examples in `x`"
            raise ValueError(message(_OWNER, f"len({argument})", expected, size))
        return values

    def given(self):
        """Return the class of each given label."""
        return self.y if self.y.ndim == 1 else self.y.argmax(axis=1)

    def check_classes(self, num_classes):
        """Raise unless the labels fit the outputs of a model."""
        for argument, labels in (("y", self.y), ("clean_labels", self.clean_labels)):
            if labels is None:
                continue
            if labels.ndim == 2:
                fits, shown = labels.shape[1] == num_classes, f"shape {labels.shape}"
            else:
                low, high = int(labels.min()), int(labels.max())
                fits, shown = low >= 0 and high < num_classes, f"values {low} to {high}"
            if not fits:
                expected = f"labels of the {num_classes} classes of the model"
                raise ValueError(message(_OWNER, argument, expected, shown))
