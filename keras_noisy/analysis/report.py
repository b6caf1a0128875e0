"""One page that says what the noise did and which labels are suspicious."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from keras_noisy._checks.errors import check_count, check_path, message
from keras_noisy._checks.labels import check_labels
from keras_noisy._checks.matrices import MOST_CLASSES
from keras_noisy._data import files
from keras_noisy._typing import ArrayLike, FilePath, Histories, Images, SoftLabels
from keras_noisy.analysis import _rows, plots
from keras_noisy.analysis.suspects import find_suspects
from keras_noisy.analysis.suspects_table import Suspects
from keras_noisy.version import __version__

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 0 auto;
  padding: 1rem; color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
img { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.75rem; text-align: right; border-bottom: 1px solid #ddd; }
th { background: #f3f3f3; } td.text, th.text { text-align: left; }
pre { background: #f3f3f3; padding: 0.75rem; overflow-x: auto; }
""".strip()


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
    class_names: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    title: str = "Label noise report",
    num_suspects: int = 100,
) -> FilePath:
    """Write a self-contained HTML page about a run. Needs Matplotlib.

    What is given is shown: the numbers, the learning dynamics, the noise matrix and
    the distances to the truth where true labels are known, the reliability of
    predictions on test data, pictures and a table of the top suspects, and the
    settings. The page needs no network.

    Args:
        path: File to write, which appears when it is complete.
        labels: Given labels, class ids `(n,)`.
        suspects: What `find_suspects` returned; by default made from `soft_labels`.
        soft_labels: SEAL's soft labels `(n, num_classes)`, or a list of those of each
            round, the last one being the best; or None.
        clean_labels: True labels `(n,)`, or None.
        histories: A history of `fit` or a dict of named ones, or None.
        test_predictions: Probabilities `(m, num_classes)` on test data, or None.
        test_labels: Their true labels `(m,)`.
        images: Images `(n, height, width)` or with channels, or None.
        class_names: Names of the classes, or None.
        settings: Dict of what the run depended on, ready for JSON, or None.
        title: Title of the page.
        num_suspects: Number of rows in the table.

    Returns:
        `path`.

    Raises:
        ImportError: If Matplotlib is missing.
        ValueError: If there is neither `suspects` nor `soft_labels`, or lengths
            differ.

    Example:
        >>> import os, tempfile
        >>> from keras_noisy import analysis
        >>> path = os.path.join(tempfile.mkdtemp(), "report.html")
        >>> soft_labels = [[0.9, 0.1], [0.7, 0.3]]
        >>> _ = analysis.write_report(path, [0, 1], soft_labels=soft_labels)

    Reference:
        The pictures are those of `analysis.plot_learning_dynamics` and its siblings.
    """
    owner = "write_report"
    file_path = check_path(owner, "path", path)
    labels = check_labels(owner, "labels", labels, num_classes=MOST_CLASSES)
    num_suspects = check_count(owner, "num_suspects", num_suspects, low=0)
    rounds = (
        []
        if soft_labels is None
        else _rows.rounds_of(owner, "soft_labels", soft_labels)
    )
    if suspects is None and not rounds:
        raise ValueError(
            "write_report: `suspects` or `soft_labels` must be given. Received neither."
        )
    suspects = suspects or find_suspects(labels, rounds[-1])
    if not isinstance(suspects, Suspects):
        raise TypeError(message(owner, "suspects", "of find_suspects", suspects))
    if len(suspects) != len(labels):
        expected = f"of {len(labels)} examples, as `labels`"
        raise ValueError(message(owner, "suspects", expected, len(suspects)))
    truth = None
    if clean_labels is not None:
        truth = check_labels(
            owner,
            "clean_labels",
            clean_labels,
            size=len(labels),
            num_classes=MOST_CLASSES,
        )
    sections = [_numbers(labels, suspects, truth)]
    if histories is not None:
        figure = plots.plot_learning_dynamics(histories)
        sections.append(_section("Learning dynamics", _picture(figure)))
    if truth is not None:
        sections += _truth_sections(labels, truth, rounds, suspects, class_names)
    if test_predictions is not None:
        figure = plots.plot_reliability(test_predictions, cast(ArrayLike, test_labels))
        sections.append(_section("Reliability on test data", _picture(figure)))
    if images is not None:
        figure = plots.plot_suspects(images, suspects, class_names=class_names)
        text = "<p>Above each image the given label and, below, the proposed one.</p>"
        sections.append(_section("Top suspects", text + _picture(figure)))
    sections.append(_table(suspects.top(num_suspects), truth, class_names))
    sections.append(_settings(settings))
    page = _page(title, sections)
    with files.atomic_writer(file_path) as file:
        file.write(page.encode())
    return path


def _numbers(labels, suspects, truth):
    count = int(suspects.is_suspect.sum())
    text = (
        f"<p>{count} of {len(labels)} labels ({count / len(labels):.1%}) are "
        f"suspicious (source: {html.escape(suspects.source)}).</p>"
    )
    if truth is not None:
        wrong = labels != truth
        result = suspects.precision_and_recall(wrong)
        text += (
            f"<p>{wrong.mean():.1%} of the labels are wrong. Of the suspects "
            f"{result['precision']:.1%} are wrong (precision), and of the wrong labels "
            f"{result['recall']:.1%} are suspects (recall); average precision of the "
            f"order {result['average_precision']:.3f}. Replacing the suspects leaves "
            f"{(suspects.cleaned_labels() != truth).mean():.1%} wrong.</p>"
        )
    return _section("In numbers", text)


def _truth_sections(labels, truth, rounds, suspects, class_names):
    num_classes = int(max(labels.max(), truth.max(), suspects.proposed_label.max())) + 1
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (truth, labels), 1)
    with np.errstate(invalid="ignore"):
        matrix = counts / counts.sum(axis=1, keepdims=True)
    figure = plots.plot_transition_matrix(matrix, class_names=class_names)
    sections = [_section("Realised noise matrix", _picture(figure))]
    if rounds and np.any(labels != truth):
        figure = plots.plot_label_distance(rounds, labels, truth)
        text = "<p>0 is the true label, 1 the given, wrong one.</p>"
        sections.append(
            _section(
                "Distance of the soft labels to the truth", text + _picture(figure)
            )
        )
    return sections


def _table(suspects, truth, class_names):
    heads = ["sample id", "given label", "proposed label", "confidence"]
    heads += [] if truth is None else ["true label"]
    rows = []
    for i in range(len(suspects)):
        cells = [
            str(suspects.sample_id[i]),
            _name(class_names, suspects.given_label[i]),
            _name(class_names, suspects.proposed_label[i]),
            f"{suspects.confidence[i]:.3f}",
        ]
        if truth is not None:
            cells.append(_name(class_names, truth[suspects.sample_id[i]]))
        rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    return _section("Suspects", f'<div class="scroll">{table}</div>')


def _settings(settings):
    content = {"keras_noisy": __version__, **(settings or {})}
    text = json.dumps(content, indent=2, default=str)
    return _section("Settings", f"<pre>{html.escape(text)}</pre>")


def _picture(figure):
    data = base64.b64encode(figure.to_png(dpi=130)).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'


def _section(heading, content):
    content = content.replace('alt=""', f'alt="{html.escape(heading)}"')
    return f"<section><h2>{html.escape(heading)}</h2>\n{content}</section>"


def _page(title, sections):
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n"
        + "\n".join(sections)
        + "</body></html>\n"
    )


def _name(class_names, label):
    return str(label if class_names is None else class_names[label])
