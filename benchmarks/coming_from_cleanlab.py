"""Both calls of `docs/guides/coming_from_cleanlab.md` on the same wrong labels.

    python benchmarks/coming_from_cleanlab.py --seeds 0 1 2

prints the page's table: scikit-learn's digits with known wrong labels, Datalab
as its documentation calls it (features, and out-of-sample probabilities of a logistic
regression, five-fold), and `find_wrong_labels` with its defaults. Each line of
`--runs` is a run, and the same command continues there. Needs scikit-learn, and
cleanlab with `datasets`.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import sklearn.datasets
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

import keras_noisy
from keras_noisy import noise

SETTINGS = {
    "symmetric, 10 %": (noise.symmetric, 0.1),
    "symmetric, 40 %": (noise.symmetric, 0.4),
    "pair flips, 40 %": (noise.pair_flip, 0.4),
}


def with_cleanlab(features, labels):
    """Return how suspicious each label is, the verdict on it, and no interval."""
    from cleanlab import Datalab

    model = LogisticRegression(max_iter=1000)
    predicted = cross_val_predict(model, features, labels, cv=5, method="predict_proba")
    with contextlib.redirect_stdout(io.StringIO()):
        lab = Datalab({"label": labels}, label_name="label")
        lab.find_issues(features=features, pred_probs=predicted)
    issues = lab.get_issues("label")
    wrong = issues["is_label_issue"].to_numpy()
    return 1 - issues["label_score"].to_numpy(), wrong, [wrong.mean(), None, None]


def with_keras_noisy(features, labels):
    """Return the same by `find_wrong_labels`, with its estimate and interval."""
    diagnosis = keras_noisy.find_wrong_labels(features, labels, verbose=0)
    issues, rate = diagnosis.to_datalab(), diagnosis.noise_rate
    said = [rate.estimate, rate.low, rate.high]
    return 1 - issues["label_score"], issues["is_label_issue"], said


TOOLS = {"cleanlab": with_cleanlab, "keras-noisy": with_keras_noisy}


def run(setting, seed, tool):
    """Return what a tool finds, a dict."""
    features, truth = sklearn.datasets.load_digits(return_X_y=True)
    matrix, rate = SETTINGS[setting]
    labels = noise.corrupt_labels(truth, matrix(10, rate), seed=seed).noisy
    is_wrong = labels != truth
    score, verdict, said = TOOLS[tool](features, labels)
    right = int((verdict & is_wrong).sum())
    return {
        "setting": setting,
        "seed": seed,
        "tool": tool,
        "wrong": float(is_wrong.mean()),
        "average_precision": float(average_precision_score(is_wrong, score)),
        "precision": right / max(int(verdict.sum()), 1),
        "recall": right / int(is_wrong.sum()),
        "said": [None if value is None else float(value) for value in said],
    }


def table(runs):
    """Return a Markdown table of means over the seeds."""
    lines = [
        "| wrong labels | tool | average precision | suspects that are wrong | wrong "
        "labels that are suspects | says that are wrong |",
        "|---|---|---|---|---|---|",
    ]
    for setting in SETTINGS:
        for tool in TOOLS:
            found = [r for r in runs if (r["setting"], r["tool"]) == (setting, tool)]
            if not found:
                continue
            means = [
                np.mean([r[name] for r in found])
                for name in ("average_precision", "precision", "recall", "wrong")
            ]
            rates = "; ".join(map(_said, found))
            lines.append(
                f"| {setting} (in fact {means[3]:.1%}) | {tool} | {means[0]:.3f} | "
                f"{means[1]:.1%} | {means[2]:.1%} | {rates} |"
            )
    return "\n".join(lines)


def _said(found):
    estimate, low, high = found["said"]
    if estimate is None:
        return "cannot tell"
    if low is None:
        return f"{estimate:.1%}"
    return f"{estimate:.1%} ({low:.1%} to {high:.1%})"


def main():
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--runs", type=pathlib.Path, default="runs/coming_from_cleanlab.jsonl"
    )
    options = parser.parse_args()
    runs = []
    if options.runs.exists():
        runs = [json.loads(line) for line in options.runs.read_text().splitlines()]
    done = {(r["setting"], r["seed"], r["tool"]) for r in runs}
    options.runs.parent.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for setting in SETTINGS:
            for tool in TOOLS:
                if (setting, seed, tool) in done:
                    continue
                runs.append(run(setting, seed, tool))
                with options.runs.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
                print(runs[-1], flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()
