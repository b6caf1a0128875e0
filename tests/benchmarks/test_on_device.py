"""Epochs as one call of the device: the numbers of `fit`, resuming, what it refuses."""

import keras
import pytest

from benchmarks import _records, run
from tests.benchmarks.conftest import stable, write_recipe

needs_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="it is `jax.lax.scan` and `jax.vmap`"
)

# Images, so that convolutions, batch normalisation and random crops take part, and 44
# examples, so that the last batch of an epoch is smaller than the others.
RECIPE = """
title = "Tiny images"

[data]
name = "custom"

[network]
name = "resnet"
depth = 8
normalize = "scale"
weight_decay = 1e-3

[training]
epochs = 2
batch_size = 16
optimizer = { name = "SGD", learning_rate = 0.05, momentum = 0.9, nesterov = true }
schedule = { kind = "cosine" }
augmentation = "crop_flip"

[noise.symmetric]
kind = "symmetric"
rates = [0.4]

[methods.CE]
loss = "SparseCategoricalCrossentropy"

[methods.ProSelfLC]
loss = "ProSelfLC"
arguments = { exp_base = 8.0 }

"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return the paths of the recipe and of a data set for it."""
    folder = tmp_path_factory.mktemp("images")
    return write_recipe(folder, RECIPE, counts=(44, 30), shape=(8, 8, 3), classes=3)


def start(data, out, *arguments):
    """Run the runner and return its records by method and seed."""
    recipe, source = data
    run.main([recipe, "--source", source, "--out", str(out), *arguments])
    records = _records.read(out / run.RUNS)
    return {(record["method"], record["seed"]): record for record in records}


@pytest.fixture(scope="module")
def by_fit(images, tmp_path_factory):
    """Return the records of two methods with two seeds, trained by `fit`."""
    return start(images, tmp_path_factory.mktemp("fit"), "--seeds", "2")


@needs_jax
@pytest.mark.parametrize(
    ("together", "sizes", "some"),
    [
        (1, {1}, ["--seeds", "1", "--method", "ProSelfLC"]),
        (3, {1, 3}, ["--seeds", "2"]),
    ],
)
def test_curves_are_those_of_fit(images, by_fit, tmp_path, together, sizes, some):
    arguments = [*some, "--on-device", "--together", str(together)]
    found = start(images, tmp_path, *arguments)
    assert list(found) == (list(by_fit) if together > 1 else [("ProSelfLC", 0)])
    assert len(by_fit) == 4
    for key, record in found.items():
        curve, expected = record["curve"], by_fit[key]["curve"]
        assert curve["loss"] == pytest.approx(expected["loss"], rel=1e-3)
        # One of 30 test images may be on the edge.
        assert curve["test_accuracy"] == pytest.approx(
            expected["test_accuracy"], abs=0.034
        )
        assert record["settings_digest"] == by_fit[key]["settings_digest"]
    assert {record["together"] for record in found.values()} == sizes
    curves = {tuple(record["curve"]["loss"]) for record in found.values()}
    assert len(curves) == len(found)


@needs_jax
# After one epoch some class is predicted for three examples only.
@pytest.mark.filterwarnings("ignore:estimate_from_anchors. quantile")
def test_what_cannot_run_on_the_device_is_trained_by_fit(tiny, tmp_path, capsys):
    methods = ["CE", "DMI", "ELR", "DAC", "Co-teaching", "SEAL", "Forward", "ProSelfLC"]
    # Two epochs: deep abstention begins after the first.
    some = ["--noise", "symmetric", "--rate", "0.4", "--seeds", "1", "--budget", "0.5"]
    found = start(tiny, tmp_path, *some, "--together", "8", "--method", *methods)
    on_device = {method for (method, _), r in found.items() if "together" in r}
    assert on_device == {"CE", "ProSelfLC"} and len(found) == len(methods)
    out = capsys.readouterr().out
    assert (
        "SEAL, symmetric 40%, seed 0: trained by Keras's fit, because it is mo" in out
    )
    assert "ELR, symmetric 40%, seed 0: trained by Keras's fit, because its loss" in out
    again = start(tiny, tmp_path, *some, "--on-device", "--method", "CE")
    assert again == found
    assert "CE, symmetric 40%, seed 0: done before" in capsys.readouterr().out


@needs_jax
def test_a_killed_program_ends_with_the_same_lines(tiny, tmp_path, die_at, monkeypatch):
    from benchmarks import _on_device

    some = ["--noise", "symmetric", "--seeds", "1", "--method", "CE", "ProSelfLC"]
    some += ["--together", "4", "--verbose"]
    whole = start(tiny, tmp_path / "whole", *some)
    monkeypatch.setattr(_on_device, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    # Each of the four runs and the program of all begin with a write.
    with die_at(5 + 3):
        start(tiny, tmp_path / "killed", *some)
    (kept,) = (tmp_path / "killed" / "state").rglob("state-2.npz")
    assert not (tmp_path / "killed" / run.RUNS).exists()
    found = start(tiny, tmp_path / "killed", *some)
    assert {key: stable(r) for key, r in found.items()} == {
        key: stable(r) for key, r in whole.items()
    }
    assert not kept.exists()


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has it")
def test_other_backends_refuse(tiny, tmp_path):
    for arguments in (["--on-device"], ["--together", "2"]):
        with pytest.raises(SystemExit, match=r"one device on JAX\. Received"):
            start(tiny, tmp_path, *arguments)
