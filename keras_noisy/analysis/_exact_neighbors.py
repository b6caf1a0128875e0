"""Nearest neighbours, exactly, in blocks on the device that Keras has."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

_QUERIES = 512
_POINTS = 1 << 16


def nearest(features, units, is_voter, count, metric, *, queries=None, verbose=False):
    """Return the voters nearest to units, none of their group, `(queries, count)`.

    Args:
        features: `(n, d)`; a memory map is read in parts.
        units: `Units` of the features.
        is_voter: Mask of units.
        count: How many; each unit has as many voters outside of its group.
        metric: `"cosine"` or `"euclidean"`.
        queries: Units that look for neighbours, all by default.
        verbose: Whether to show progress.
    """
    queries = np.arange(len(units)) if queries is None else queries
    voters = np.flatnonzero(is_voter)
    frame = center_of(features, units, metric)
    best = np.full((len(queries), count), -np.inf, "float32")
    index = np.zeros((len(queries), count), "int32")
    steps = -(-len(voters) // _POINTS) * -(-len(queries) // _QUERIES)
    progress = keras.utils.Progbar(steps) if verbose else None
    for start in range(0, len(voters), _POINTS):
        members = voters[start : start + _POINTS]
        points, offset = prepared(features, units.first[members], metric, frame)
        points = ops.transpose(ops.convert_to_tensor(points))
        offset = ops.convert_to_tensor(offset)
        of_points = ops.convert_to_tensor(units.group[members].astype("int32"))
        kept = min(count, len(members))
        for begin in range(0, len(queries), _QUERIES):
            part = slice(begin, begin + _QUERIES)
            rows, _ = prepared(features, units.first[queries[part]], metric, frame)
            closeness = ops.matmul(ops.convert_to_tensor(rows), points) - offset
            group = units.group[queries[part], None].astype("int32")
            is_own = ops.convert_to_tensor(group) == of_points
            values, places = ops.top_k(ops.where(is_own, -np.inf, closeness), kept)
            values = np.hstack([best[part], ops.convert_to_numpy(values)])
            places = members[ops.convert_to_numpy(places)].astype("int32")
            places = np.hstack([index[part], places])
            order = np.argsort(-values, axis=1, kind="stable")[:, :count]
            best[part] = np.take_along_axis(values, order, 1)
            index[part] = np.take_along_axis(places, order, 1)
            if progress is not None:
                progress.add(1)
    return index


def center_of(features, units, metric):
    """Return the mean of the units and their size; so squares keep their digits.

    Cosines need neither: each point is divided by its own size.
    """
    if metric == "cosine":
        return np.float32(0), np.float32(1)
    rows = units.first[:: max(1, len(units) // 10_000)]
    points = np.asarray(features[rows], "float64")
    center = points.mean(axis=0)
    scale = np.abs(points - center).max()
    dtype = np.result_type(features.dtype, np.float32)
    return center.astype(dtype), dtype.type(scale if scale > 0 else 1)


def prepared(features, rows, metric, frame):
    """Return points whose product, less the offset, is larger where they are nearer.

    Args:
        features: `(n, d)`.
        rows: Which of them.
        metric: `"cosine"` or `"euclidean"`.
        frame: What `center_of` has returned.
    """
    center, scale = frame
    points = np.asarray(features[rows], np.result_type(features.dtype, np.float32))
    if metric == "euclidean":
        points = ((points - center) / scale).astype("float32")
        return points, (points * points).sum(axis=1) / 2
    size = np.abs(points).max(axis=1, keepdims=True)
    points = (points / np.where(size > 0, size, 1)).astype("float32")
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.where(norms > 0, norms, 1), np.float32(0)
