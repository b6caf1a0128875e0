"""The segmentation example runs, and its parts do what they say."""

import importlib.util
import pathlib

import numpy as np
import pytest

PATH = pathlib.Path(__file__).resolve().parents[2] / "examples" / "segmentation.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("segmentation", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_masks(example):
    x, clean = example.make_shapes(40, 0)
    noisy = example.wrong_masks(clean, 0)
    assert x.shape == (40, 32, 32, 1) and set(np.unique(clean)) == {0, 1, 2}
    assert (noisy[:, :6, :6] == example.IGNORED).all()
    known = noisy != example.IGNORED
    wrong = ((noisy != clean) & known).any(axis=(1, 2))
    assert 10 < wrong.sum() < 30


@pytest.mark.dealt
def test_it_runs(example, capsys):
    example.main(["--images", "16", "--epochs", "1"])
    text = capsys.readouterr().out
    assert text.count("mean IoU") == 2 and "largest share of suspect pixels" in text
