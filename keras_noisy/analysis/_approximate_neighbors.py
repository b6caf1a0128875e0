"""Neighbours of a million examples, with usearch, which may miss some."""

from __future__ import annotations

import importlib.util

import keras
import numpy as np

from keras_noisy.analysis import _exact_neighbors

_ROWS = 20_000
# Neighbours to look for beyond those needed: the example itself is among them.
_SPARE = 16
_CONNECTIVITY = 16
_EXPANSION = 64


def is_installed() -> bool:
    """Whether usearch can be imported."""
    return importlib.util.find_spec("usearch") is not None


def nearest(features, units, is_voter, count, metric, *, verbose=False):
    """Return what `_exact_neighbors.nearest` does, for all units, approximately.

    Units that find too few neighbours outside of their group look for them exactly.
    """
    from usearch.index import Index

    voters = np.flatnonzero(is_voter)
    wanted = count + _SPARE
    # Eight bits are enough for unit vectors.
    is_cosine = metric == "cosine"
    graph = Index(
        ndim=features.shape[1],
        metric="ip" if is_cosine else "l2sq",
        dtype="i8" if is_cosine else "f16",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION,
        expansion_search=max(_EXPANSION, wanted),
    )
    frame = _exact_neighbors.center_of(features, units, metric)
    steps = -(-len(voters) // _ROWS) + -(-len(units) // _ROWS)
    progress = keras.utils.Progbar(steps) if verbose else None
    for start in range(0, len(voters), _ROWS):
        members = voters[start : start + _ROWS]
        points, _ = _exact_neighbors.prepared(
            features, units.first[members], metric, frame
        )
        # Several threads would build another graph each time.
        graph.add(members, points, threads=1)
        if progress is not None:
            progress.add(1)
    index = np.zeros((len(units), count), "int32")
    for start in range(0, len(units), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(units)))
        points, _ = _exact_neighbors.prepared(
            features, units.first[rows], metric, frame
        )
        found = graph.search(points, wanted).keys.astype(np.int64)
        index[rows] = _first_of_others(found, rows, units, count)
        if progress is not None:
            progress.add(1)
    missing = np.flatnonzero(index[:, -1] < 0)
    if missing.size:
        index[missing] = _exact_neighbors.nearest(
            features, units, is_voter, count, metric, queries=missing
        )
    return index


def _first_of_others(found, rows, units, count):
    """Return the first neighbours of another group, -1 where there are too few."""
    found = found.reshape(len(rows), -1)
    is_known = (found >= 0) & (found < len(units))
    found = np.where(is_known, found, 0)
    is_other = is_known & (units.group[found] != units.group[rows, None])
    # Those of other groups first, in their order.
    order = np.argsort(~is_other, axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(found, order, 1)
    return np.where(np.take_along_axis(is_other, order, 1), chosen, -1)
