"""Wrong borders of masks, which is how masks are wrong."""

from __future__ import annotations

from typing import Literal

import numpy as np

from keras_noisy._checks import errors
from keras_noisy._checks.errors import message
from keras_noisy._checks.labels import check_integers, check_range, check_sample_ids
from keras_noisy._typing import ArrayLike
from keras_noisy.noise._hashing import (
    STREAM_BORDERS,
    check_seed,
    derive_keys,
    hash_numpy,
)
from keras_noisy.noise.noisy_labels import NoisyLabels, of_fresh_arrays

_OWNER = "move_borders"
_KINDS = ("shrink", "grow", "shrink_or_grow", "shift")
# Where the neighbours of a pixel are.
_STEPS = ((-1, 0), (0, -1), (0, 1), (1, 0))


def move_borders(
    masks: ArrayLike,
    distance: int,
    *,
    kind: Literal["shrink", "grow", "shrink_or_grow", "shift"] = "shrink_or_grow",
    num_classes: int | None = None,
    background: int = 0,
    seed: int | None = None,
    sample_ids: ArrayLike | None = None,
) -> NoisyLabels:
    """Move the borders of objects in masks by some pixels.

    People draw outlines too narrow, too wide, or beside the object; pixels far from a
    border are right. For noise of single pixels see `corrupt_labels`.

    *   `"shrink"`: pixels within `distance` of another class become background.
    *   `"grow"`: pixels of the background within `distance` of an object become part
        of it; where several objects are as near, of the one above, then left, right,
        below.
    *   `"shrink_or_grow"`: one of the two for each mask, as the seed decides.
    *   `"shift"`: all of a mask moves by `distance` in each axis, up or down and left
        or right as the seed decides; the background comes in from the edge.

    Distances are counted in steps to one of four neighbours.

    Args:
        masks: Class ids `(n, height, width)` of any integer dtype.
        distance: Pixels, at least 1.
        kind: How borders move.
        num_classes: Number of classes; by default one more than the largest id.
        background: The class that objects lie on.
        seed: Integer in [0, 2**63).
        sample_ids: Non-negative integers `(n,)`, one for each mask; by default their
            positions. What the seed decides for a mask depends on its id alone.

    Returns:
        `NoisyLabels`, with arrays of the shape and dtype of `masks`.

    Raises:
        TypeError: If `masks` holds no integers.
        ValueError: If its shape is another, or an argument has a wrong value.

    Example:
    >>> mask = [[[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1]]]
    >>> move_borders(mask, 1, kind="shrink", seed=0).noisy.tolist()
    [[[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]]
    """
    clean = np.array(errors.as_array(masks))
    if clean.ndim != 3 or not clean.size:
        expected = "class ids (n, height, width), of a pixel at least"
        received = errors.describe_array(clean)
        raise ValueError(message(_OWNER, "masks", expected, received))
    check_integers(_OWNER, "masks", clean)
    if num_classes is None:
        num_classes = max(2, int(clean.max()) + 1)
    num_classes = errors.check_count(_OWNER, "num_classes", num_classes, low=2)
    check_range(_OWNER, "masks", clean, num_classes)
    distance = errors.check_count(_OWNER, "distance", distance)
    errors.check_choice(_OWNER, "kind", kind, _KINDS)
    errors.check_count(_OWNER, "background", background, low=0, high=num_classes - 1)
    bits = _bits(check_seed(_OWNER, seed), sample_ids, len(clean))
    noisy = clean.copy()
    for mask, first, second in zip(noisy, *bits, strict=True):
        if kind == "shift":
            mask[...] = _shifted(mask, distance, first, second, background)
        else:
            grows = kind == "grow" or (kind == "shrink_or_grow" and first)
            move = _grow if grows else _shrink
            for _ in range(min(distance, sum(mask.shape))):
                mask[...] = move(mask, background)
    return of_fresh_arrays(noisy, clean, num_classes)


def _bits(seed, sample_ids, size):
    """Return two random bits for each mask, booleans `(2, size)`."""
    ids = np.arange(size) if sample_ids is None else errors.as_array(sample_ids)
    check_sample_ids(_OWNER, "sample_ids", ids, (size,))
    words = hash_numpy(ids, derive_keys(seed, STREAM_BORDERS))
    return (
        np.stack([words >> np.uint64(63), (words >> np.uint64(62)) & np.uint64(1)]) == 1
    )


def _neighbors(mask):
    """Yield the class of a neighbour of each pixel; at the edge that of the pixel."""
    padded = np.pad(mask, 1, mode="edge")
    height, width = mask.shape
    for down, right in _STEPS:
        yield padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _shrink(mask, background):
    is_inside = np.all([other == mask for other in _neighbors(mask)], axis=0)
    return np.where(is_inside, mask, background)


def _grow(mask, background):
    result = mask.copy()
    for other in _neighbors(mask):
        result = np.where(result == background, other, result)
    return result


def _shifted(mask, distance, is_down, is_right, background):
    result = np.full_like(mask, background)
    height, width = mask.shape
    if distance < min(height, width):
        rows, columns = (
            (slice(distance, None), slice(None, -distance))[:: 1 if forward else -1]
            for forward in (is_down, is_right)
        )
        result[rows[0], columns[0]] = mask[rows[1], columns[1]]
    return result
