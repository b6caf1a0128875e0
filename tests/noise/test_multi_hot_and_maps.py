"""Noise of examples that have several labels: multi-hot ones, and maps of pixels."""

import importlib.util

import numpy as np
import pytest

from keras_noisy.noise import (
    LabelNoise,
    NoisyLabels,
    corrupt_labels,
    independent_flips,
    move_borders,
    symmetric,
)

has_tensorflow = importlib.util.find_spec("tensorflow") is not None
rng = np.random.default_rng(0)
LABELS = (rng.random((4000, 3)) < [0.5, 0.25, 0.1]).astype("int32")
FLIPS = independent_flips(3, one_to_zero=[0.4, 0.2, 0.0], zero_to_one=[0.0, 0.1, 0.3])


def test_matrices():
    expected = [[[1, 0], [0.4, 0.6]], [[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0, 1]]]
    np.testing.assert_allclose(FLIPS, expected)
    np.testing.assert_array_equal(independent_flips(2), [np.eye(2)] * 2)


@pytest.mark.parametrize("exact", [True, False])
def test_rates_of_each_label(exact):
    result = corrupt_labels(LABELS, FLIPS, seed=1, exact=exact)
    assert result.noisy.shape == LABELS.shape and result.noisy.dtype == "int32"
    np.testing.assert_array_equal(result.clean, LABELS)
    # Counts are rounded, or binomial.
    tolerance = 0.5 / LABELS.sum(axis=0).min() + 1e-9 if exact else 0.05
    np.testing.assert_allclose(result.transition_matrices, FLIPS, atol=tolerance)
    assert not result.is_corrupted[:, 0][LABELS[:, 0] == 0].any()
    assert result.rate == result.is_corrupted.mean()


def test_labels_flip_independently():
    labels = np.ones((4000, 2), "int64")
    flips = independent_flips(2, one_to_zero=0.5)
    lost = corrupt_labels(labels, flips, seed=0, exact=False).is_corrupted
    assert abs(np.corrcoef(lost.T)[0, 1]) < 0.05


def test_a_lower_rate_flips_some_of_the_same():
    low, high = (
        corrupt_labels(LABELS, independent_flips(3, one_to_zero=rate), seed=0)
        for rate in (0.2, 0.5)
    )
    assert not (low.is_corrupted & ~high.is_corrupted).any()


def test_sample_ids_follow_a_shuffle():
    order = np.random.default_rng(1).permutation(len(LABELS))
    for exact in (True, False):
        whole = corrupt_labels(LABELS, FLIPS, seed=3, exact=exact)
        part = corrupt_labels(
            LABELS[order], FLIPS, seed=3, exact=exact, sample_ids=order
        )
        np.testing.assert_array_equal(part.noisy, whole.noisy[order])


def test_the_layer_draws_the_same():
    expected = corrupt_labels(LABELS, FLIPS, seed=5, exact=False).noisy
    layer = LabelNoise(FLIPS, seed=5)
    ids = np.arange(len(LABELS))
    np.testing.assert_array_equal(layer(ids, LABELS), expected)
    np.testing.assert_array_equal(layer(7, LABELS[7]), expected[7])
    copy = LabelNoise.from_config(layer.get_config())
    np.testing.assert_array_equal(copy(ids[::-1], LABELS[::-1]), expected[::-1])


@pytest.mark.skipif(not has_tensorflow, reason="needs tf.data")
def test_the_layer_draws_the_same_in_a_graph():
    import tensorflow as tf

    expected = corrupt_labels(LABELS, FLIPS, seed=5, exact=False).noisy
    layer = LabelNoise(FLIPS, seed=5)
    dataset = tf.data.Dataset.from_tensor_slices(LABELS).enumerate().batch(512)
    found = np.concatenate([batch.numpy() for batch in dataset.map(layer)])
    np.testing.assert_array_equal(found, expected)
    bad = tf.data.Dataset.from_tensors((np.arange(2), np.full((2, 3), 2))).map(layer)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be 0 or 1"):
        next(iter(bad))


def test_saved_and_loaded(tmp_path):
    result = corrupt_labels(LABELS, FLIPS, seed=1)
    result.save(tmp_path / "noisy.npz")
    loaded = NoisyLabels.load(tmp_path / "noisy.npz")
    np.testing.assert_array_equal(loaded.noisy, result.noisy)
    assert loaded.digest == result.digest
    maps = corrupt_labels(np.zeros((2, 3, 4), int), symmetric(3, 0.5), seed=0)
    maps.save(tmp_path / "maps.npz")
    assert NoisyLabels.load(tmp_path / "maps.npz").noisy.shape == (2, 3, 4)


def test_maps_flip_pixel_by_pixel():
    maps = rng.integers(0, 4, (10, 12, 12)).astype("uint8")
    matrix = symmetric(4, 0.3)
    result = corrupt_labels(maps, matrix, seed=0)
    assert result.noisy.shape == maps.shape and result.noisy.dtype == "uint8"
    flat = corrupt_labels(maps.ravel(), matrix, seed=0)
    np.testing.assert_array_equal(result.noisy.ravel(), flat.noisy)
    assert abs(result.rate - 0.3) < 0.01
    order = np.arange(10)[::-1]
    turned = corrupt_labels(maps[order], matrix, seed=0, sample_ids=order)
    np.testing.assert_array_equal(turned.noisy, result.noisy[order])


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"labels": LABELS[:, :2]}, ValueError, r"multi-hot labels \(n, 3\)"),
        ({"labels": LABELS[:, 0]}, ValueError, r"multi-hot labels \(n, 3\)"),
        ({"labels": 2 * LABELS}, ValueError, r"labels 0 and 1.*\[0, 2\]"),
        ({"labels": LABELS - 1}, ValueError, "before labels go missing"),
        ({"labels": LABELS * 0.5}, TypeError, "an integer dtype"),
        ({"transition_matrix": FLIPS[:, :1]}, ValueError, r"or \(num_labels, 2, 2\)"),
        ({"transition_matrix": FLIPS * 2}, ValueError, "rows sum to one"),
        ({"sample_ids": np.arange(3)}, ValueError, r"of shape \(4000,\)"),
    ],
)
def test_bad_arguments(arguments, error, text):
    given = {"labels": LABELS, "transition_matrix": FLIPS, "seed": 0}
    with pytest.raises(error, match=rf"^corrupt_labels: .*{text}"):
        corrupt_labels(**{**given, **arguments})


def test_bad_rates():
    with pytest.raises(ValueError, match=r"`one_to_zero` must be in \[0, 1\]"):
        independent_flips(2, one_to_zero=1.5)
    with pytest.raises(ValueError, match=r"a number, or an array \(2,\)"):
        independent_flips(2, zero_to_one=[0.1] * 3)


# --- borders

SQUARE = np.zeros((1, 7, 7), "uint8")
SQUARE[0, 2:5, 2:5] = 1


def test_shrink_and_grow_by_hand():
    small = np.zeros((7, 7))
    small[3, 3] = 1
    shrunk = move_borders(SQUARE, 1, kind="shrink", seed=0)
    np.testing.assert_array_equal(shrunk.noisy[0], small)
    assert not move_borders(SQUARE, 2, kind="shrink", seed=0).noisy.any()
    rows, columns = np.indices((7, 7))
    distance = sum(np.maximum(abs(axis - 3) - 1, 0) for axis in (rows, columns))
    for steps in (1, 2, 50):
        grown = move_borders(SQUARE, steps, kind="grow", seed=0)
        np.testing.assert_array_equal(grown.noisy[0], distance <= steps)
    assert grown.noisy.dtype == "uint8" and grown.num_classes == 2


def test_shift_moves_all():
    many = np.repeat(SQUARE, 64, axis=0)
    moved = move_borders(many, 2, kind="shift", seed=0).noisy
    corners = {tuple(np.argwhere(mask)[0]) for mask in moved}
    assert corners == {(0, 0), (0, 4), (4, 0), (4, 4)}
    assert (moved.sum(axis=(1, 2)) == 9).all()
    assert not move_borders(SQUARE, 7, kind="shift", seed=0).noisy.any()


def test_the_seed_and_the_id_decide():
    many = np.repeat(SQUARE, 64, axis=0)
    sizes = move_borders(many, 1, seed=0).noisy.sum(axis=(1, 2))
    assert set(sizes) == {1, 21}
    assert 20 < (sizes == 1).sum() < 44
    order = np.arange(64)[::-1]
    again = move_borders(many, 1, seed=0, sample_ids=order).noisy.sum(axis=(1, 2))
    np.testing.assert_array_equal(again, sizes[order])


def test_pixels_far_from_a_border_stay():
    masks = np.kron(rng.integers(0, 3, (4, 4, 4)), np.ones((1, 8, 8), int))
    for kind in ("shrink", "grow"):
        result = move_borders(masks, 2, kind=kind, seed=0, background=2)
        inside = masks.reshape(4, 4, 8, 4, 8)[:, :, 2:6, :, 2:6]
        noisy = result.noisy.reshape(4, 4, 8, 4, 8)[:, :, 2:6, :, 2:6]
        np.testing.assert_array_equal(noisy, inside)
        assert result.num_classes == 3
        assert result.rate > 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"masks": SQUARE[0]}, r"`masks` must be class ids \(n, height, width\)"),
        ({"masks": SQUARE[:0]}, "of a pixel at least"),
        ({"distance": 0}, "`distance` must be a positive integer"),
        ({"kind": "blur"}, "`kind` must be one of"),
        ({"background": 2}, "`background` must be an integer of at most 1"),
        ({"num_classes": 1}, "`num_classes` must be"),
        ({"seed": None}, "`seed` must be"),
        ({"sample_ids": [0, 1]}, "`sample_ids` must be of shape"),
    ],
)
def test_bad_borders(arguments, text):
    given = {"masks": SQUARE, "distance": 1, "seed": 0}
    if "sample_ids" in arguments:
        arguments = {"sample_ids": np.array(arguments["sample_ids"])}
    with pytest.raises((ValueError, TypeError), match=f"^move_borders: .*{text}"):
        move_borders(**{**given, **arguments})


def test_floats_are_no_masks():
    with pytest.raises(TypeError, match="class ids of an integer dtype"):
        move_borders(SQUARE / 2, 1, seed=0)
