"""What a diagnosis says in words and small tables."""

import numpy as np

from keras_noisy._checks.labels import UNVERIFIED

_SHOWN = 5


def agreed(suspects, distributions):
    """Return of how many suspects each source alone would say that they are wrong.

    Args:
        suspects: `Suspects`.
        distributions: Arrays `(n, num_classes)` by the names of the sources.

    Returns:
        The number of suspects that all sources hold for wrong.
    """
    rows = suspects.sample_id[suspects.is_suspect]
    given = suspects.given_label[suspects.is_suspect].astype(int)
    doubted = np.ones(len(rows), bool)
    for values in distributions.values():
        doubted &= np.asarray(values[rows]).argmax(axis=1) != given
    return int(doubted.sum())


def is_informative(distribution, labels):
    """Whether distributions that have not seen the labels fit them better than chance.

    By chance, all examples look like the most frequent class, or like random ones.

    Args:
        distribution: `(n, num_classes)`.
        labels: Class ids `(n,)`, -1 where there is no label.
    """
    known = labels != UNVERIFIED
    predicted, given = distribution[known].argmax(axis=1), labels[known]
    width, size = distribution.shape[1], len(given)
    shares = [np.bincount(ids, minlength=width) / size for ids in (predicted, given)]
    by_chance = float(shares[0] @ shares[1])
    error = np.sqrt(by_chance * (1 - by_chance) / size)
    return bool((predicted == given).mean() > by_chance + 2 * error)


def notes_on_groups(names):
    """Return sentences on classes, by their names, that lie in one group each."""
    if not names:
        return []
    shown = ", ".join(map(repr, names[:_SHOWN])) + (", ..." if names[_SHOWN:] else "")
    which = "class lies" if len(names) == 1 else "classes lie"
    each = "" if len(names) == 1 else " each"
    return [
        f"{len(names)} {which} in one group{each} ({shown}): no example of another "
        "group can vouch for these labels, so that none of them is a suspect."
    ]


def notes_on_sources(names):
    """Return sentences on sources, by their names, that were left out."""
    return [
        f"The {name} were left out: they fit the labels much worse than another source."
        for name in sorted(names)
    ]


def per_class(suspects, rate):
    """Return a table of the classes, columns by their names.

    Args:
        suspects: `Suspects` with names of classes.
        rate: `NoiseRate`.
    """
    names = suspects.class_names
    has_label = suspects.given_label != UNVERIFIED
    wrong = suspects.is_suspect
    given = np.bincount(suspects.given_label[has_label], minlength=len(names))
    doubted = np.bincount(suspects.given_label[wrong], minlength=len(names))
    proposed = np.bincount(suspects.proposed_label[wrong], minlength=len(names))
    table = {
        "class": names,
        "labels": given,
        "suspects": doubted,
        "suspect_share": doubted / np.maximum(given, 1),
        "proposed": proposed,
    }
    if rate.per_class is not None:
        table["noise_rate"] = np.asarray(rate.per_class)
    return table


def confusions(suspects):
    """Return given label, proposed label and number of suspects, most frequent first.

    Args:
        suspects: `Suspects` with names of classes.
    """
    names, wrong = suspects.class_names, suspects.is_suspect
    given = suspects.given_label[wrong].astype("int64")
    proposed = suspects.proposed_label[wrong].astype("int64")
    pairs, counts = np.unique(given * len(names) + proposed, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [
        (*names[[*divmod(int(pairs[i]), len(names))]].tolist(), int(counts[i]))
        for i in order
    ]


def verdict(diagnosis):
    """Return three sentences: how many labels are wrong, which ones, and how sure."""
    return " ".join([_how_many(diagnosis), _which(diagnosis), _how_sure(diagnosis)])


def _how_many(diagnosis):
    rate, size = diagnosis.noise_rate, diagnosis.num_labels
    if rate.estimate is None:
        return (
            f"How many of the {size:,} labels are wrong cannot be told from the data "
            "alone: classes that overlap and wrong labels of hard examples look alike."
        )
    return (
        f"About {rate.estimate:.1%} of the {size:,} labels are wrong (90 % interval "
        f"{rate.low:.1%} to {rate.high:.1%})."
    )


def _which(diagnosis):
    count = diagnosis.num_suspects
    if not count:
        return "None of them is a suspect."
    given, proposed, most = diagnosis.confusions[0]
    if count == 1:
        return f"One is a suspect: {given!r}, where {proposed!r} fits better."
    often = "once" if most == 1 else f"{most:,} times"
    return (
        f"{count:,} are suspects; most often {given!r} is given where {proposed!r} "
        f"fits better ({often})."
    )


def _how_sure(diagnosis):
    count = diagnosis.num_suspects
    if not diagnosis.is_informative:
        return (
            "The labels cannot be predicted from these data better than by chance, so "
            "the order of the examples means little. Pass features that tell the "
            "classes apart."
        )
    if not count and diagnosis.noise_rate.low > 0:
        return "Which ones they are cannot be told from the data."
    if not count:
        return "All sources of evidence fit the labels on the whole."
    agreed, sources = diagnosis.num_agreed, diagnosis.num_sources
    which = f"Each of the {sources} sources alone"
    which = which if sources > 1 else "The only source of evidence"
    if agreed == count:
        return f"{which} doubts all of the suspects."
    return (
        f"{which} doubts {agreed:,} of the suspects "
        f"({agreed / count:.0%}); look at the others before you believe them."
    )


IN_PYTHON = {
    "decide": " (`contradictions`)",
    "look": "`report('report.html')`",
    "review": "`to_csv('suspects.csv')`, fill in `confirmed` or `corrected_label`, and "
    "pass `reviewed='suspects.csv'` the next time",
    "check": "To learn how many are wrong, verify the labels of `to_check()` and pass "
    "what you find to `rate_of_checks`.",
    "train": "Train on `cleaned_labels()`, or on the examples of `keep_mask()` alone.",
}


def next_steps(diagnosis, how=IN_PYTHON):
    """Return what a reader does next, a list of sentences.

    Args:
        diagnosis: `Diagnosis`.
        how: By what the reader does it, parts of these sentences; None for a step that
            is left out.
    """
    steps = list(diagnosis.notes)
    if diagnosis.contradictions:
        steps += [_contradictions(diagnosis, how["decide"])]
    if not diagnosis.num_suspects:
        return [*steps, "Train as you are: there is nothing to clean."]
    if how["look"] is not None:
        steps.append(f"Look at the suspects: {how['look']}.")
    steps.append(f"Have them reviewed: {how['review']}.")
    if diagnosis.noise_rate.estimate is None:
        steps.append(f"Do not clean unseen. {how['check']}")
    else:
        steps.append(how["train"])
    return steps


def _contradictions(diagnosis, where):
    """Return a sentence that names equal examples with different labels."""
    sets, suspects = diagnosis.contradictions, diagnosis.suspects
    back = np.argsort(suspects.sample_id)

    def described(position):
        row = back[position]
        name = f"example {position}" if suspects.names is None else suspects.names[row]
        return f"{name} ({suspects.class_names[suspects.given_label[row]]})"

    shown = [
        " = ".join(map(described, each[:_SHOWN])) + (" = ..." if each[_SHOWN:] else "")
        for each in sets[:_SHOWN]
    ]
    one = len(sets) == 1
    return (
        f"{len(sets):,} {'set' if one else 'sets'} of equal examples "
        f"{'has' if one else 'have'} different labels{where}; decide on one label for "
        f"each: {'; '.join(shown)}{'; ...' if sets[_SHOWN:] else ''}."
    )


def for_report(diagnosis, how=IN_PYTHON):
    """Return what a report begins with: the verdict, and what to know and to do.

    Arguments are those of `next_steps`.
    """
    # A page need not say that one looks at it.
    return [verdict(diagnosis), *next_steps(diagnosis, {**how, "look": None})]


def as_text(diagnosis, how=IN_PYTHON):
    """Return verdict, classes, confusions and next steps for a terminal.

    Arguments are those of `next_steps`.
    """
    lines = [diagnosis.verdict, "", "Classes with most suspects:"]
    table = diagnosis.per_class
    order = np.argsort(-table["suspects"], kind="stable")
    shown = order[table["suspects"][order] > 0][:_SHOWN]
    lines += [
        f"  {table['class'][i]}: {table['suspects'][i]:,} of {table['labels'][i]:,} "
        f"({table['suspect_share'][i]:.0%})"
        for i in shown
    ] or ["  none"]
    lines += ["", "Given label -> proposed label:"]
    lines += [f"  {g} -> {p}: {n:,}" for g, p, n in diagnosis.confusions[:_SHOWN]]
    lines += ["", "Next:", *(f"  - {step}" for step in next_steps(diagnosis, how))]
    return "\n".join(lines)
