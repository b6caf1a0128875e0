"""Soft labels of SEAL's rounds: what is trained on, and what they have changed."""

import numpy as np

from keras_noisy import analysis
from keras_noisy._data import mean_predictions


def sharpened(soft_labels, temperature):
    """Return labels to the power `1 / temperature`, normalised."""
    soft_labels = np.asarray(soft_labels)
    if temperature == 1:
        return soft_labels
    with np.errstate(divide="ignore"):
        logits = np.log(soft_labels) / np.float32(temperature)
    return mean_predictions.softmax(logits)


def largest(soft_labels):
    """Return the largest class of each row."""
    parts = mean_predictions.parts_of(soft_labels)
    return np.concatenate([part.argmax(axis=1) for _, part in parts])


def report(labels, previous, given, clean):
    """Return how many labels a round has changed, and how well.

    Args:
        labels: Soft labels of the round.
        previous: Those that it trained on, or None for the given ones.
        given: Class of each given label.
        clean: True classes, or None.
    """
    classes = largest(labels)
    before = given if previous is None else largest(previous)
    result = {
        "changed_labels": int(np.count_nonzero(classes != before)),
        "changed_from_given": int(np.count_nonzero(classes != given)),
    }
    if clean is not None:
        distances = [
            analysis.label_distance(part, given[rows], clean[rows])
            for rows, part in mean_predictions.parts_of(labels)
        ]
        distance = np.concatenate(distances)[given != clean]
        result["label_accuracy"] = float(np.mean(classes == clean))
        result["label_distance"] = (
            float(distance.mean()) if distance.size else float("nan")
        )
    return result


def sentence(report, num_examples):
    """Return a report in words."""
    text = f"{report['changed_labels']} of {num_examples} labels changed"
    if "label_accuracy" in report:
        text += (
            f"; {report['label_accuracy']:.4f} of them are right, distance of wrong "
            f"ones to the truth {report['label_distance']:.4f}"
        )
    return text
