"""What a report says before it shows examples: sentences, classes, confusions."""

import numpy as np

MOST_CLASSES = 20
MOST_PAIRS = 30


def of_rate(rate):
    """Return sentences about an estimate of how many labels are wrong."""
    # From nothing to all is no interval.
    has_interval = None not in (rate.low, rate.high) and rate.high - rate.low < 1
    if rate.estimate is not None:
        text = f"About {rate.estimate:.1%} of the labels are wrong"
        if has_interval:
            text += f" (90% interval: {rate.low:.1%} to {rate.high:.1%})"
        sentences = [f"{text}."]
    else:
        text = "How many labels are wrong cannot be told from these data"
        if has_interval:
            text += f": between {rate.low:.1%} and {rate.high:.1%}"
        sentences = [f"{text}."]
    explanation = getattr(rate, "explanation", None)
    return [*sentences, str(explanation)] if explanation else sentences


def of_suspects(suspects, has_label):
    """Return sentences with the number of suspects, and of those without a label."""
    count, num_labels = int(suspects.is_suspect.sum()), int(has_label.sum())
    share = f" ({count / num_labels:.1%})" if num_labels else ""
    verb = "is" if count == 1 else "are"
    sentences = [
        f"{count:,} of {num_labels:,} labels{share} {verb} suspicious "
        f"(source: {suspects.source})."
    ]
    missing = len(has_label) - num_labels
    verb = "example has" if missing == 1 else "examples have"
    return [*sentences, f"{missing:,} {verb} no label."] if missing else sentences


def of_truth(labels, truth, suspects):
    """Return a sentence that compares the labels there are with the true ones."""
    has_label = labels >= 0
    wrong = has_label & (labels != truth)
    cleaned = labels.copy()
    rows = suspects.sample_id[suspects.is_suspect]
    cleaned[rows] = suspects.proposed_label[suspects.is_suspect]
    left = has_label & (cleaned != truth)
    result = suspects.precision_and_recall(wrong)
    count = has_label.sum()
    return (
        f"{wrong.sum() / count:.1%} of the labels are wrong. Of the suspects "
        f"{result['precision']:.1%} are wrong (precision), and of the wrong labels "
        f"{result['recall']:.1%} are suspects (recall); average precision of the "
        f"order {result['average_precision']:.3f}. Replacing the suspects leaves "
        f"{left.sum() / count:.1%} wrong."
    )


def pairs(suspects):
    """Return `(given, proposed, count)` of the suspects, the most frequent first.

    Suspects of a source that proposes no other label are in none.
    """
    changed = suspects.is_suspect & (suspects.given_label != suspects.proposed_label)
    both = np.stack([suspects.given_label, suspects.proposed_label])[:, changed]
    found, counts = np.unique(both.astype(np.int64), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(*found[:, i].tolist(), int(counts[i])) for i in order]


def classes(labels, suspects, found, names, per_class):
    """Return the rows of the table of classes, those with most suspects first.

    Args:
        labels: Given labels `(n,)`.
        suspects: The suspects.
        found: What `pairs` returned.
        names: Function that returns the name of a class.
        per_class: Estimated share of wrong labels of each class, or None.
    """
    sizes = np.bincount(labels.astype(np.int64))
    given = suspects.given_label[suspects.is_suspect].astype(np.int64)
    counts = np.bincount(given, minlength=len(sizes))
    order = [k for k in np.argsort(-counts, kind="stable").tolist() if sizes[k]]
    most = {}
    for given, proposed, count in found:
        most.setdefault(given, (proposed, count))
    rows = []
    for k in order[:MOST_CLASSES]:
        proposed, count = most.get(k, (None, 0))
        rate = per_class[k] if per_class is not None and k < len(per_class) else None
        rows.append(
            {
                "name": names(k),
                "labels": f"{sizes[k]:,}",
                "suspects": f"{counts[k]:,}",
                "share": f"{counts[k] / sizes[k]:.1%}",
                "proposed": ""
                if proposed is None
                else f"{names(proposed)} ({count:,})",
                "rate": "" if rate is None or np.isnan(rate) else f"{rate:.1%}",
            }
        )
    return {
        "rows": rows,
        "total": len(order),
        "has_rates": per_class is not None,
        "worst": order[0] if order and counts[order[0]] else None,
    }


def of_classes(table, found, names):
    """Return sentences that name the classes with most suspects."""
    if table["worst"] is None:
        return []
    worst = table["rows"][0]
    sentences = [
        f"Most suspects are among the labels {worst['name']}: {worst['suspects']} of "
        f"{worst['labels']} ({worst['share']})."
    ]
    if found:
        texts = [
            f"{names(given)} → {names(proposed)} ({count:,})"
            for given, proposed, count in found[:3]
        ]
        sentences.append(f"Most frequent proposals: {', '.join(texts)}.")
    return sentences


def matrix(found, names):
    """Return the matrix of given and proposed labels, or None where classes are many.

    A cell has the two class ids, the count and its shade, 0 to 5.
    """
    involved = sorted({k for given, proposed, _ in found for k in (given, proposed)})
    if not found or len(involved) > MOST_CLASSES:
        return None
    counts = {(given, proposed): count for given, proposed, count in found}
    largest = found[0][2]
    rows = []
    for given in involved:
        cells = []
        for proposed in involved:
            count = counts.get((given, proposed), 0)
            shade = -(-5 * count // largest)
            cells.append((proposed, count, shade))
        rows.append({"id": given, "name": names(given), "cells": cells})
    return {"names": [names(k) for k in involved], "rows": rows}
