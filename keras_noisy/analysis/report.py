"""One page that says how many labels are wrong, and which."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from keras_noisy._checks.errors import Described, check_count, check_path, message
from keras_noisy._checks.labels import check_labels
from keras_noisy._checks.matrices import MOST_CLASSES
from keras_noisy._checks.numbers import optional
from keras_noisy._data import files
from keras_noisy._typing import ArrayLike, FilePath, Histories, Images, SoftLabels
from keras_noisy.analysis import _report_examples, _report_findings, _rows, plots
from keras_noisy.analysis.suspects import find_suspects
from keras_noisy.analysis.suspects_table import COLUMNS, Suspects
from keras_noisy.version import __version__

_OWNER = "write_report"
# A page of more is slow to open and too much for many mail servers.
_MOST_BYTES = 20_000_000


def write_report(
    path: FilePath,
    labels: ArrayLike,
    *,
    suspects: Suspects | None = None,
    soft_labels: SoftLabels | None = None,
    clean_labels: ArrayLike | None = None,
    histories: Histories | None = None,
    test_predictions: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
    images: Images | None = None,
    texts: Sequence[str] | None = None,
    table: Any = None,
    names: Sequence[Any] | None = None,
    class_names: Sequence[str] | None = None,
    noise_rate: Any = None,
    findings: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    title: str = "Label noise report",
    num_suspects: int | None = None,
) -> FilePath:
    """Write a self-contained HTML page about the labels of a data set.

    It begins with the findings: how many labels are wrong, in which classes, and the
    twenty most suspicious examples. Then come a table of all suspects, to sort, to
    filter and to download as CSV, and how often each class is proposed in place of
    each given one. What else is given follows: the noise matrix and the distances to
    the truth where true labels are known, learning dynamics, reliability on test data,
    and the settings.

    The page is one file that needs no network; the table needs JavaScript, all else
    does not. It stays below 20 MB: of what does not fit, thumbnails first, the page
    says how much it shows.

    Args:
        path: File to write, which appears when it is complete.
        labels: Given labels, class ids `(n,)`; beside `suspects`, -1 where there is
            none.
        suspects: What `find_suspects` returned; by default made from `soft_labels`.
        soft_labels: SEAL's soft labels `(n, num_classes)`, or a list of those of each
            round, the last one being the best; or None.
        clean_labels: True labels `(n,)`, or None.
        histories: A history of `fit` or a dict of named ones, or None.
        test_predictions: Probabilities `(m, num_classes)` on test data, or None.
        test_labels: Their true labels `(m,)`.
        images: Pictures of the examples: `(n, height, width)` or with 1, 3 or 4
            channels; or a sequence of `n` such arrays of any sizes, or of
            `os.PathLike` objects of image files, of which those shown are read. uint8,
            or other numbers: in [0, 1], or else from the least to the greatest.
        texts: Texts of the examples, `n` strings, or None. Long ones are cut.
        table: Columns that describe the examples: a mapping from names to `n` values,
            or a data frame. The first 20 are shown.
        names: Names of the examples, `n` file paths or ids; by default those of
            `suspects`, or positions.
        class_names: Names of the classes; by default those of `suspects`, or numbers.
        noise_rate: An estimate of how many labels are wrong: an object with
            `estimate`, `low` and `high`, each a share or None, and, where it has
            them, `per_class` and `explanation`. Or None.
        findings: Sentences to show first, in place of those on `noise_rate` and on the
            number of suspects; those after the first one follow what is said about
            classes. `words` between grave accents are shown as code. Or None.
        settings: Dict of what the run depended on, ready for JSON, or None.
        title: Title of the page.
        num_suspects: Show at most so many suspects; None shows all.

    Returns:
        `path`.

    Raises:
        ImportError: If Pillow is missing and there are `images`, or Matplotlib and
            there is something to plot.
        TypeError: If `texts`, `names`, `findings` or a column is no sequence.
        ValueError: If there is neither `suspects` nor `soft_labels`, or lengths
            differ.

    Example:
        >>> import os, tempfile
        >>> from keras_noisy import analysis
        >>> path = os.path.join(tempfile.mkdtemp(), "report.html")
        >>> soft_labels = [[0.9, 0.1], [0.7, 0.3]]
        >>> _ = analysis.write_report(
        ...     path, [0, 1], soft_labels=soft_labels, texts=["a film", "a play"]
        ... )

    Reference:
        The pictures are those of `analysis.plot_learning_dynamics` and its siblings.
    """
    file_path = check_path(_OWNER, "path", path)
    labels = check_labels(
        _OWNER,
        "labels",
        labels,
        num_classes=MOST_CLASSES,
        unverified=suspects is not None,
    )
    num_suspects = optional(functools.partial(check_count, low=0))(
        _OWNER, "num_suspects", num_suspects
    )
    rounds = (
        []
        if soft_labels is None
        else _rows.rounds_of(_OWNER, "soft_labels", soft_labels)
    )
    suspects = _suspects(labels, suspects, rounds)
    truth = None
    if clean_labels is not None:
        truth = check_labels(
            _OWNER,
            "clean_labels",
            clean_labels,
            size=len(labels),
            num_classes=MOST_CLASSES,
        )
    _check_rate(noise_rate)
    highest = max(
        (int(each.max()) for each in (labels, suspects.proposed_label, truth)
         if each is not None and len(each)),
        default=0,
    )  # fmt: skip
    # Of a table that knows them, in its own order.
    if names is None and getattr(suspects, "names", None) is not None:
        names = suspects.names[np.argsort(suspects.sample_id)]
    if class_names is None:
        class_names = getattr(suspects, "class_names", None)
    class_name = _class_name(class_names, highest)
    shown = _the_suspects(suspects, num_suspects)
    examples = _report_examples.Examples(
        _OWNER,
        suspects=shown,
        size=len(labels),
        class_names=[class_name(k) for k in range(highest + 1)],
        has_names=class_names is not None,
        truth=truth,
        images=images,
        texts=texts,
        table=table,
        names=names,
    )
    content = {
        "title": _report_examples.shown(title),
        **_findings(
            labels, suspects, truth, noise_rate, class_name, _sentences(findings)
        ),
        "figures": [
            *_figures_of_truth(labels, truth, rounds, highest, class_names),
            *_figures(histories, test_predictions, test_labels),
        ],
        "settings": json.dumps(
            {"keras_noisy": __version__, **(settings or {})}, indent=2, default=str
        ),
        "truth": truth is not None,
        **examples.content(),
    }
    page = _render(content, examples)
    with files.atomic_writer(file_path) as file:
        file.write(page)
    return path


def _suspects(labels, suspects, rounds):
    if suspects is None and not rounds:
        raise ValueError(
            "write_report: `suspects` or `soft_labels` must be given. Received neither."
        )
    if suspects is None:
        suspects = find_suspects(labels, rounds[-1])
    if not isinstance(suspects, Suspects):
        raise TypeError(message(_OWNER, "suspects", "of find_suspects", suspects))
    if len(suspects) != len(labels):
        expected = f"of {len(labels)} examples, as `labels`"
        raise ValueError(message(_OWNER, "suspects", expected, len(suspects)))
    # Where there is no label, none is wrong.
    is_suspect = suspects.is_suspect & (suspects.given_label >= 0)
    return dataclasses.replace(suspects, is_suspect=is_suspect)


def _the_suspects(suspects, count):
    """Return those held for wrong, at most `count`."""
    rows = np.flatnonzero(suspects.is_suspect)[:count]
    fields = {name: getattr(suspects, name)[rows] for name in COLUMNS}
    return dataclasses.replace(suspects, **fields)


def _check_rate(rate):
    parts = ("estimate", "low", "high")
    if rate is not None and not all(hasattr(rate, part) for part in parts):
        expected = "an estimate with `estimate`, `low` and `high`"
        raise TypeError(message(_OWNER, "noise_rate", expected, rate))


def _sentences(findings):
    if findings is None:
        return []
    is_list = isinstance(findings, Sequence) and not isinstance(findings, (str, bytes))
    if not is_list or not all(isinstance(each, str) for each in findings):
        expected = "a list of sentences"
        raise TypeError(message(_OWNER, "findings", expected, findings))
    return [_report_examples.shown(each) for each in findings]


def _class_name(class_names, highest):
    """Return a function from class ids to names."""
    if class_names is None:
        return str
    if len(class_names) <= highest:
        expected = f"of at least {highest + 1} names, for all labels"
        received = Described(f"{len(class_names)} names")
        raise ValueError(message(_OWNER, "class_names", expected, received))
    return lambda label: _report_examples.shown(class_names[label])


def _findings(labels, suspects, truth, rate, class_name, given):
    found = _report_findings.pairs(suspects)
    per_class = getattr(rate, "per_class", None)
    has_label = labels >= 0
    classes = _report_findings.classes(
        labels[has_label], suspects, found, class_name, per_class
    )
    lead, sentences = given[:1], []
    if not given:
        sentences += [] if rate is None else _report_findings.of_rate(rate)
        sentences += _report_findings.of_suspects(suspects, has_label)
    sentences += _report_findings.of_classes(classes, found, class_name)
    if truth is not None and has_label.any():
        sentences.append(_report_findings.of_truth(labels, truth, suspects))
    return {
        "lead": lead,
        "findings": [*sentences, *given[1:]],
        "classes": classes,
        "matrix": _report_findings.matrix(found, class_name),
        "num_pairs": len(found),
        "pairs": [
            {
                "given": class_name(given),
                "proposed": class_name(proposed),
                "given_id": given,
                "proposed_id": proposed,
                "count": count,
            }
            for given, proposed, count in found[: _report_findings.MOST_PAIRS]
        ],
    }


@functools.cache
def _environment():
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_noisy.analysis"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _with_code
    return environment


def _with_code(sentence):
    """Return HTML of a sentence, in which `words` between grave accents are code."""
    from markupsafe import Markup, escape

    parts = sentence.split("`")
    if len(parts) % 2 == 0:
        return escape(sentence)
    html = (
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )
    return Markup().join(html)


def _render(content, examples):
    from markupsafe import Markup

    environment = _environment()
    parts = {}
    for name, suffix in (("style", "css"), ("script", "js")):
        source, *_ = environment.loader.get_source(environment, f"report.{suffix}")
        digest = hashlib.sha256(source.encode()).digest()
        parts[name] = Markup(source)
        parts[f"{name}_hash"] = base64.b64encode(digest).decode()
    template = environment.get_template("report.html")
    empty = template.render(**content, **parts, data="", notes=[])
    # What the notes take is far below this.
    room = _MOST_BYTES - len(empty.encode()) - 50_000
    data, notes = examples.data(room)
    page = template.render(**content, **parts, data=Markup(data), notes=notes)
    return page.encode()


def _figures(histories, test_predictions, test_labels):
    figures = []
    if histories is not None:
        figure = plots.plot_learning_dynamics(histories)
        figures.append(_figure("Learning dynamics", figure))
    if test_predictions is not None:
        figure = plots.plot_reliability(test_predictions, cast(ArrayLike, test_labels))
        figures.append(_figure("Reliability on test data", figure))
    return figures


def _figures_of_truth(labels, truth, rounds, highest, class_names):
    if truth is None or not (labels >= 0).any():
        return []
    if rounds:
        rounds = [soft[labels >= 0] for soft in rounds]
    labels, truth = labels[labels >= 0], truth[labels >= 0]
    counts = np.zeros((highest + 1, highest + 1))
    np.add.at(counts, (truth, labels), 1)
    with np.errstate(invalid="ignore"):
        matrix = counts / counts.sum(axis=1, keepdims=True)
    figure = plots.plot_transition_matrix(matrix, class_names=class_names)
    figures = [_figure("Realised noise matrix", figure)]
    if rounds and np.any(labels != truth):
        figure = plots.plot_label_distance(rounds, labels, truth)
        text = "0 is the true label, 1 the given, wrong one."
        heading = "Distance of the soft labels to the truth"
        figures.append(_figure(heading, figure, text))
    return figures


def _figure(heading, figure, text=""):
    data = base64.b64encode(figure.to_png(dpi=130)).decode()
    address = f"data:image/png;base64,{data}"
    return {"heading": heading, "text": text, "address": address}
