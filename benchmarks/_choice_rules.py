"""Rules that choose among the runs of `benchmarks/choice.py`, and how good they are."""

import json

import numpy as np

from benchmarks._choice import CANDIDATES
from benchmarks.early_stopping import chosen

WINDOW = 5


def stops(validation, changes):
    """Return the epochs that rules of stopping take, counted from 0, by their names."""
    epochs = len(validation)
    return {
        "last": epochs - 1,
        "raw": int(np.argmax(validation)),
        "smoothed": int(chosen(-validation, WINDOW, epochs)),
        "wave": int(chosen(changes, 3, 10)),
    }


def path_of(folder, name, seed, candidate):
    """Return the file of the predictions of a candidate's runs."""
    plain = candidate.replace(" ", "_").replace(",", "")
    return folder / "predictions" / f"{name}-{seed}-{plain}.npz"


def save(folder, condition, candidate, kept):
    """Keep predictions at the epochs of `stops`, for all kinds of noise."""
    path = path_of(folder, condition.name, condition.seed, candidate)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{number}_{key}": value
        for number, entry in enumerate(kept)
        for key, value in entry.items()
    }
    train, held_out, test = condition.rows
    arrays["noisy"] = condition.labels[:, held_out]
    arrays["clean_validation"] = condition.y[held_out]
    arrays["clean"] = condition.y[test]
    arrays["noises"] = np.array(condition.noises)
    np.savez(path, **arrays)


class Condition:
    """The runs of one data set, kind of noise and seed.

    Args:
        lines: Their lines of `runs.jsonl`, one for each candidate.
        verdict: Their line of `verdicts.jsonl`.
        folder: Where the predictions are.

    Attributes:
        validation: Accuracy on held-out labels in each epoch, by candidate.
        right: Which held-out labels a candidate that was stopped predicts.
        stops: Epochs that rules of stopping take, by candidate.
        clean: Classes of the test data.
    """

    def __init__(self, lines, verdict, folder):
        self.verdict = verdict["verdict"]
        first = lines[0]
        self.data, self.noise, self.seed = (
            first[key] for key in ("data", "noise", "seed")
        )
        self.size = first["labelled"]
        self.validation = {line["candidate"]: line["validation"] for line in lines}
        self.stops = {line["candidate"]: line["stops"] for line in lines}
        self._test = np.array([line["test"] for line in lines])
        self._predictions, self.right = {}, {}
        for line in lines:
            name = line["candidate"]
            with np.load(path_of(folder, self.data, self.seed, name)) as file:
                number = file["noises"].tolist().index(self.noise)
                at = file[f"{number}_at"].tolist()
                found = file[f"{number}_test"].astype("float32")
                held = file[f"{number}_validation"][at.index(line["stops"]["smoothed"])]
                self.right[name] = held.argmax(axis=-1) == file["noisy"][number]
                self._predictions[name] = dict(zip(at, found, strict=True))
                self.clean = file["clean"]

    @property
    def kind(self):
        """The kind of noise: none, symmetric, pair flip, instance or real."""
        return self.noise.rpartition(" ")[0]

    def score(self, name):
        """Return the accuracy on held-out labels that a candidate was stopped at."""
        end = self.stops[name]["smoothed"] + 1
        return float(np.mean(self.validation[name][end - WINDOW : end]))

    def ranked(self, names):
        """Return candidates, the best on smoothed held-out accuracy first."""
        return sorted(names, key=self.score, reverse=True)

    def predictions(self, name, stop="smoothed"):
        """Return predictions on the test data of a candidate that was stopped."""
        return self._predictions[name][self.stops[name][stop]]

    def accuracy(self, predictions):
        """Return accuracy in percent on both halves of the test data."""
        right = 100.0 * (predictions.argmax(axis=-1) == self.clean)
        return np.array([right[half::2].mean() for half in (0, 1)])

    def regret(self, predictions):
        """Return how far predictions are behind the best in hindsight, in points.

        The best candidate and epoch on one half of the test data, on the other half.
        """
        curves = 100 * self._test.swapaxes(0, 1).reshape(2, -1)
        best = [curves[1 - half, curves[half].argmax()] for half in (0, 1)]
        return float(np.mean(best - self.accuracy(predictions)[::-1]))


def mean_of(condition, names):
    """Return the mean of candidates' predictions, each stopped on smoothed accuracy."""
    return np.mean([condition.predictions(name) for name in names], axis=0)


def verdicts(folder):
    """Return the lines of what is said of the noise of each condition."""
    path = folder / "verdicts.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def read(folder):
    """Return all conditions whose runs are complete."""
    lines = (folder / "runs.jsonl").read_text().splitlines()
    found = {(v["data"], v["noise"], v["seed"]): v for v in verdicts(folder)}
    groups = {}
    for line in map(json.loads, lines):
        key = line["data"], line["noise"], line["seed"]
        groups.setdefault(key, {})[line["candidate"]] = line
    return [
        Condition([*group.values()], found[key], folder)
        for key, group in groups.items()
        if len(group) == len(CANDIDATES) and key in found
    ]
