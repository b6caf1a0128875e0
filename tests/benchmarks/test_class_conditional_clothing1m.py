"""The test of Clothing1M on made folders of its layout."""

import numpy as np
import pytest

from benchmarks import class_conditional_clothing1m

pytestmark = pytest.mark.tensorflow_only

NUM_CLASSES, EACH, NUM_PAIRS = 14, 40, 140


def write(root, noisy_label):
    """Write images of their class's colour, a random half of them with a bright edge.

    The label is wrong for about half of them; `noisy_label(clean, is_bright, coin)`
    says for which.
    """
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    noisy, clean = {}, {}
    for number in range(NUM_CLASSES * EACH):
        label, bright, coin = number % NUM_CLASSES, *rng.integers(0, 2, 2)
        pixels = np.full((28, 28, 3), 12 * label + 20, "uint8")
        pixels[:, : 2 * label] = 0
        pixels[:8] = 255 * bright
        key = f"images/{number}.png"
        image.fromarray(pixels).save(root / key)
        noisy[key] = noisy_label(label, bright, coin)
        clean[key] = label
    keys = list(noisy)
    pairs = keys[:NUM_PAIRS]
    lists = {
        "noisy_label_kv.txt": [f"{key} {noisy[key]}" for key in keys],
        "clean_label_kv.txt": [f"{key} {clean[key]}" for key in pairs],
        "noisy_train_key_list.txt": keys,
        "clean_train_key_list.txt": pairs[:70],
        "clean_val_key_list.txt": pairs[70:],
        "clean_test_key_list.txt": pairs[70:],
    }
    for name, lines in lists.items():
        (root / name).write_text("\n".join(lines) + "\n")
    return root


def verdict(folder, out, capsys, held_out=200):
    class_conditional_clothing1m.main(
        f"{folder} --out {out} --held-out {held_out} --image-size 28 --cut 28 "
        "--network mnist_cnn --weights none --epochs 15 --batch 20 "
        "--learning-rate 0.02".split()
    )
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line[:5] == "| the"]
    assert "140 pairs" in printed
    return printed, [row[-1].rstrip(" |") for row in rows]


def test_noise_that_the_image_decides_is_rejected(tmp_path, capsys):
    folder = write(tmp_path / "data", lambda y, bright, coin: (y + bright) % 14)
    printed, verdicts = verdict(folder, tmp_path / "out", capsys)
    assert verdicts == ["True", "True"]
    # A finished command only prints.
    again, _ = verdict(folder, tmp_path / "out", capsys)
    assert again.splitlines()[-8:] == printed.splitlines()[-8:]


def test_noise_that_the_class_decides_is_not(tmp_path, capsys):
    folder = write(tmp_path / "data", lambda y, bright, coin: (y + coin) % 14)
    _, verdicts = verdict(folder, tmp_path / "out", capsys)
    assert verdicts == ["False", "False"]


def test_images_with_a_clean_label_are_not_held_out(tmp_path):
    from keras_noisy import datasets

    folder = write(tmp_path, lambda y, bright, coin: y)
    dataset = datasets.load("clothing1m", source=folder)
    held_out, rest = class_conditional_clothing1m.choose(dataset, 420, seed=0)
    assert held_out.min() >= NUM_PAIRS
    np.testing.assert_array_equal(np.sort([*held_out, *rest]), np.arange(560))
    with pytest.raises(ValueError, match="--held-out must leave images to train on"):
        class_conditional_clothing1m.choose(dataset, 421, seed=0)
