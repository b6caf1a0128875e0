"""Tables of suspects in the formats of other tools."""

import json
import os

import numpy as np

from keras_noisy._checks.errors import message
from keras_noisy._data import files
from keras_noisy.version import __version__


def write_json(path, content):
    """Write content to a JSON file that appears when it is complete."""
    with files.atomic_writer(path) as file:
        text = json.dumps(content, ensure_ascii=False, indent=1)
        # Half of a surrogate pair, as names of files may have, is escaped.
        file.write(text.encode(errors="backslashreplace"))


def label_studio(suspects, shown, are_images, url_prefix):
    """Return tasks of Label Studio with a prediction each, a list.

    The labelling interface needs a control `<Choices name="label" toName="example">`.
    Each task has the example as `$image`, `$text` or, of other data, `$row`, which an
    object `<Table>` shows.

    Args:
        suspects: `Suspects`.
        shown: What a report shows of the examples, as in `Examples`.
        are_images: Whether the names of the examples are those of images.
        url_prefix: What stands before these names.
    """
    texts, table = shown.get("texts"), shown.get("table", {})
    rows = np.flatnonzero(suspects.is_suspect)
    columns = {name: c[rows].tolist() for name, c in suspects.columns().items()}
    tasks = []
    for number, sample_id in enumerate(columns["sample_id"]):
        row = {name: values[number] for name, values in columns.items()}
        score = round(float(row.pop("confidence")), 6)
        row.pop("is_suspect")
        proposed = str(row["proposed_label"])
        choice = {
            "from_name": "label",
            "to_name": "example",
            "type": "choices",
            "value": {"choices": [proposed]},
        }
        if texts is not None:
            row["text"] = str(texts[sample_id])
        elif are_images and "name" in row:
            row["image"] = f"{url_prefix}{row['name']}"
        else:
            row["row"] = {str(n): str(values[sample_id]) for n, values in table.items()}
        version = f"keras-noisy {__version__}"
        prediction = {"model_version": version, "score": score, "result": [choice]}
        tasks.append({"data": row, "predictions": [prediction]})
    return tasks


def fiftyone(owner, suspects, folder):
    """Return labels for a `FiftyOneImageClassificationDataset`, a dict.

    A key is the path of an image below the folder, without its suffix. Attributes
    say what was given, and how suspicious that is.
    """
    if folder is None:
        expected = "of an image folder"
        raise ValueError(
            message(owner, "diagnosis", expected, "other data", "Use to_csv.")
        )
    columns = {name: c.tolist() for name, c in suspects.columns().items()}
    labels = {}
    for name, given, proposed, confidence, is_suspect in zip(
        columns["name"],
        columns["given_label"],
        columns["proposed_label"],
        columns["confidence"],
        columns["is_suspect"],
        strict=True,
    ):
        key = os.path.splitext(os.path.relpath(name, folder))[0].replace(os.sep, "/")
        labels[key] = {
            "label": given,
            "attributes": {
                "proposed_label": proposed,
                "suspicion": round(float(confidence), 6),
                "is_suspect": is_suspect,
            },
        }
    return {"labels": labels}
