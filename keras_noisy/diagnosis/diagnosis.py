"""What `find_wrong_labels` found: numbers, suspects, sentences, files."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import UNVERIFIED
from keras_noisy._data import files, npz
from keras_noisy._typing import BoolArray, FilePath, FloatArray, IntArray, Self
from keras_noisy.analysis import suspects_table
from keras_noisy.analysis.noise_rate import NoiseRate, noise_rate, propose_checks
from keras_noisy.analysis.report import write_report
from keras_noisy.analysis.suspects_table import Suspects
from keras_noisy.diagnosis import _exports, _findings, _review

_FORMAT = "keras_noisy.Diagnosis/1"
_PLAIN = (
    "num_agreed", "num_sources", "contradictions", "notes", "folder",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """Which labels are wrong, how many, and how sure that is.

    `print(diagnosis)` shows the most important of it.

    Attributes:
        noise_rate: How many labels are wrong, `analysis.NoiseRate`.
        suspects: All examples from the most to the least suspicious, with their names
            and classes, `analysis.Suspects`.
        soft_labels: Mean of the distributions that the sources have made, float32
            `(n, num_classes)`, in the order of `suspects.class_names`.
        num_agreed: How many suspects each source alone would doubt.
        num_sources: Number of sources.
        contradictions: Sets of equal examples with different labels, lists of
            positions.
        notes: Sentences on what was done with the data.
        folder: The image folder, or None.
        shown: What a report shows of the examples; empty after `load`.
    """

    noise_rate: NoiseRate
    suspects: Suspects
    soft_labels: FloatArray
    num_agreed: int
    num_sources: int
    contradictions: list[list[int]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    folder: str | None = None
    shown: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Diagnosis({self.num_suspects} suspects among {self.num_labels} labels, "
            f"noise_rate={self.noise_rate.estimate!r})"
        )

    def __str__(self) -> str:
        return _findings.as_text(self)

    @property
    def num_labels(self) -> int:
        """Number of examples that have a label."""
        return int((self.suspects.given_label != UNVERIFIED).sum())

    @property
    def num_suspects(self) -> int:
        """Number of labels that are held for wrong."""
        return int(self.suspects.is_suspect.sum())

    @functools.cached_property
    def is_informative(self) -> bool:
        """Whether the labels can be predicted better than by chance."""
        labels = np.empty(len(self.suspects), np.int64)
        labels[self.suspects.sample_id] = self.suspects.given_label
        return _findings.is_informative(self.soft_labels, labels)

    @functools.cached_property
    def per_class(self) -> dict[str, np.ndarray]:
        """A table of the classes, for `pandas.DataFrame`: columns by their names.

        `class`, `labels`, `suspects`, `suspect_share`, `proposed` (how often the class
        is proposed for a suspect) and, where it is known, `noise_rate`.
        """
        return _findings.per_class(self.suspects, self.noise_rate)

    @functools.cached_property
    def confusions(self) -> list[tuple[Any, Any, int]]:
        """Given label, proposed label and number of suspects, most frequent first."""
        return _findings.confusions(self.suspects)

    @property
    def verdict(self) -> str:
        """Three sentences: how many labels are wrong, which ones, and how sure."""
        return _findings.verdict(self)

    @property
    def next_steps(self) -> list[str]:
        """What to know and to do next, sentences."""
        return _findings.next_steps(self)

    def cleaned_labels(self) -> np.ndarray:
        """Return labels `(n,)` as they were given, suspects replaced.

        Examples without a label have None, or -1 where labels are integers. A class of
        which nothing is left is a warning.
        """
        return self.suspects.cleaned_labels()

    def keep_mask(self) -> BoolArray:
        """Return a mask `(n,)` of the labels to train on: present, and no suspects."""
        return self.suspects.keep_mask()

    def to_check(self, count: int = 200) -> IntArray:
        """Return positions of labels to verify by hand, for an unbiased noise rate.

        They are drawn over the whole range of suspicion, not its top alone, which
        `rate_of_checks` takes into account.

        Args:
            count: How many.
        """
        return propose_checks(self._ids(), count=count, soft_labels=self.soft_labels)

    def rate_of_checks(self, truth: Sequence[Any]) -> NoiseRate:
        """Return the noise rate that follows from labels that somebody verified.

        Args:
            truth: True labels `(n,)` of the examples of `to_check`, and None (or -1,
                where labels are integers) elsewhere.
        """
        names = np.asarray(self.suspects.class_names)
        ids = {name: number for number, name in enumerate(names.tolist())}
        truth = np.asarray(truth, object).tolist()
        if not isinstance(truth, list) or len(truth) != len(self.suspects):
            expected = f"one label for each of the {len(self.suspects)} examples"
            received = errors.Described(f"{len(truth)} labels")
            raise ValueError(message("Diagnosis", "truth", expected, received))
        unknown = {*truth} - {*ids, None, UNVERIFIED}
        if unknown:
            expected = f"of the classes {[*ids][:20]}"
            received = errors.Described(repr(sorted(map(str, unknown))[:5]))
            raise ValueError(message("Diagnosis", "truth", expected, received))
        checked = np.array([ids.get(label, UNVERIFIED) for label in truth])
        return noise_rate(self._ids(), soft_labels=self.soft_labels, checked=checked)

    def _ids(self):
        """Return the given class ids in the order of the data."""
        return self.suspects.given_label[np.argsort(self.suspects.sample_id)]

    # --- files

    def to_frame(self, *, all_examples: bool = True) -> Any:
        """Return the suspects, or all examples, as a `pandas.DataFrame`.

        Args:
            all_examples: Whether to have all examples, or the suspects alone.
        """
        return self.suspects.to_frame(all_examples=all_examples)

    def to_csv(self, path: FilePath, *, all_examples: bool = False) -> None:
        """Write the suspects, or all examples, to a CSV file for review.

        It has two empty columns. Write yes into `confirmed` where the proposed label is
        right and no where the given one is, or the true label into `corrected_label`,
        and pass the file to `find_wrong_labels` as `reviewed`.

        Args:
            path: The file, which appears when it is complete.
            all_examples: Whether to write all examples.
        """
        self.suspects.to_csv(
            path, all_examples=all_examples, extra_columns=_review.COLUMNS
        )

    def report(self, path: FilePath, **more: Any) -> FilePath:
        """Write an HTML page with all findings. Needs Jinja2, and Pillow for images.

        Args:
            path: The file, which appears when it is complete.
            **more: Further arguments of `analysis.write_report`.

        Returns:
            `path`.
        """
        back = np.argsort(self.suspects.sample_id)
        names = self.suspects.names
        arguments = {
            "suspects": self.suspects,
            "class_names": [str(c) for c in self.suspects.class_names],  # type: ignore[union-attr]
            "names": None if names is None else names[back].tolist(),
            "findings": _findings.for_report(self),
            "noise_rate": self.noise_rate,
            **self.shown,
            **more,
        }
        return write_report(path, self._ids(), **arguments)

    def to_datalab(self) -> dict[str, np.ndarray]:
        """Return columns like those of cleanlab's `Datalab.get_issues("label")`."""
        return self.suspects.to_datalab()

    def to_label_studio(self, path: FilePath, *, url_prefix: str = "") -> None:
        """Write the suspects as tasks for Label Studio, a JSON file to import.

        Its labelling interface needs `<Choices name="label" toName="example">`. The
        proposed label is the prediction, and the example is `$text`, or `$image`, its
        name after `url_prefix`, or of other data `$row`, for `<Table>`.

        Args:
            path: The file, which appears when it is complete.
            url_prefix: What stands before the names of images, for instance
                `"/data/local-files/?d="`.
        """
        path = errors.check_path("Diagnosis", "path", path)
        if not isinstance(url_prefix, str):
            raise TypeError(message("Diagnosis", "url_prefix", "a string", url_prefix))
        are_images = self.folder is not None or "images" in self.shown
        tasks = _exports.label_studio(self.suspects, self.shown, are_images, url_prefix)
        _exports.write_json(path, tasks)

    def to_fiftyone(self, path: FilePath) -> None:
        """Write the labels of an image folder for FiftyOne, a JSON file.

        `fiftyone.Dataset.from_dir(dataset_type=fiftyone.types.
        FiftyOneImageClassificationDataset, data_path=FOLDER, labels_path=PATH)` reads
        it. Each given label has the attributes `proposed_label`, `suspicion` and
        `is_suspect`.

        Args:
            path: The file, which appears when it is complete.
        """
        path = errors.check_path("Diagnosis", "path", path)
        content = _exports.fiftyone("Diagnosis", self.suspects, self.folder)
        _exports.write_json(path, content)

    def save(self, path: FilePath) -> None:
        """Write everything but the examples to a compressed `.npz` without pickles."""
        path = errors.check_path("Diagnosis", "path", path)
        rate = dataclasses.asdict(self.noise_rate)
        content = {name: getattr(self, name) for name in _PLAIN}
        content["noise_rate"] = {name: _plain(value) for name, value in rate.items()}
        text = json.dumps({"format": _FORMAT, **content}).encode()
        arrays = {
            "diagnosis": np.frombuffer(text, np.uint8),
            "soft_labels": np.asarray(self.soft_labels),
            **suspects_table.to_arrays(self.suspects),
        }
        with files.atomic_writer(path) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: FilePath) -> Self:
        """Read what `save` wrote. The examples are not in the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or is something else.
        """
        path = errors.check_path("Diagnosis", "path", path)
        with open(path, "rb") as file:
            try:
                archive = npz.Npz(file)
                content = json.loads(archive["diagnosis"].tobytes())
                if content["format"] != _FORMAT:
                    raise ValueError(f"its format is {content['format']!r}")
                rate = content.pop("noise_rate")
                for name in ("per_class", "transition_matrix"):
                    rate[name] = rate[name] and np.array(rate[name])
                return cls(
                    noise_rate=NoiseRate(**rate),
                    suspects=Suspects(**suspects_table.from_arrays(archive)),
                    soft_labels=archive["soft_labels"],
                    **{name: content[name] for name in _PLAIN},
                )
            except MemoryError:
                raise
            # zipfile, zlib and NumPy raise half a dozen types on damaged bytes.
            except Exception as error:
                expected = "an undamaged file that `Diagnosis.save` wrote"
                mend = f"({type(error).__name__}: {error})"
                text = message("Diagnosis", "path", expected, path, mend)
                raise ValueError(text) from error


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else value
