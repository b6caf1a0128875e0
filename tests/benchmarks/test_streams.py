"""Data sets that do not fit in memory: Clothing1M's layout, in small."""

import keras
import numpy as np
import pytest

from benchmarks import _data, _records, run
from keras_noisy import datasets

pytestmark = pytest.mark.tf_data

RECIPE = """
title = "Clothing1M in small"

[data]
name = "clothing1m"
image_size = 10

[network]
name = "dense"
units = [8]

[training]
epochs = 3
batch_size = 8
optimizer = { name = "SGD", learning_rate = 0.1 }
augmentation = { cut = 8, train = "random" }

[noise.as_given]
kind = "as_given"

[methods.SEAL]
loss = "CategoricalCrossentropy"
self_evolution = { rounds = 2, warm_start = "best" }
"""


@pytest.fixture
def clothing(tmp_path):
    pytest.importorskip("PIL")
    rng = np.random.default_rng(0)
    root = tmp_path / "clothing"
    keys = {"noisy": [], "clean": []}
    for number in range(40):
        kind = "noisy" if number < 24 else "clean"
        key, label = f"images/{number % 10}/{number}.png", number % 14
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(18 * label + rng.normal(0, 5, (12, 10, 3)), 0, 255)
        keras.utils.save_img(root / key, pixels, scale=False)
        keys[kind].append((key, label))
    for kind, pairs in keys.items():
        lines = [f"{key} {label}" for key, label in pairs]
        (root / f"{kind}_label_kv.txt").write_text("\n".join(lines))
    clean = [key for key, _ in keys["clean"]]
    lists = {
        "noisy_train": [key for key, _ in keys["noisy"]],
        "clean_train": clean[:2],
        "clean_val": clean[2:8],
        "clean_test": clean[8:],
    }
    for name, lines in lists.items():
        (root / f"{name}_key_list.txt").write_text("\n".join(lines))
    return root


def test_a_streamed_data_set_is_decoded_once_and_an_epoch_is_selected(
    clothing, tmp_path, monkeypatch
):
    recipe, out = tmp_path / "small.toml", tmp_path / "out"
    recipe.write_text(RECIPE)
    command = [
        str(recipe),
        "--source",
        str(clothing),
        "--out",
        str(out),
        "--seeds",
        "1",
    ]
    run.main(command)
    (record,) = _records.read(out / run.RUNS)
    curve = record["curve"]
    best = int(np.argmax(curve["validation_accuracy"]))
    assert record["selected"] == curve["test_accuracy"][best]
    assert record["noise"]["rate"] is None
    assert [len(stage["loss"]) for stage in record["stages"]] == [3]

    spec = {"name": "clothing1m", "image_size": 10}
    # It is done already.
    monkeypatch.setattr(datasets.StreamedDataset, "_stream", None)
    data = _data.load(spec, str(clothing), out / "data")
    assert data.x_train.shape == (24, 10, 10, 3)
    assert data.x_train.dtype == "uint8"
    assert data.y_train.tolist() == [number % 14 for number in range(24)]
    assert len(data.x_validation) == len(data.y_validation) == 6
    assert len(data.x_test) == 8
    # Images stay with their labels: brightness is the class.
    means = data.x_train.mean(axis=(1, 2, 3))
    assert means == pytest.approx(18 * data.y_train, abs=6)
