"""The largest one-to-one matching of the pixels of two binary maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
NONE = -1


def count_matches(found: NDArray[Any], true: NDArray[Any], distance: float) -> int:
    """How many pixels of two masks (H, W) can be paired one to one, `distance` [px] apart at most.

    The count of the BSDS benchmark's correspondPixels: leaving a pixel out costs there a hundred times what
    the longest pair costs, so that no pair is given up for shorter ones. Exact, by shortest augmenting paths
    from all unmatched pixels at once (Azad, Buluc and Pothen, "Computing Maximum Cardinality Matchings in
    Parallel on Bipartite Graphs via Tree-Grafting", TPDS 2017).
    """
    found, true = np.asarray(found, bool), np.asarray(true, bool)
    if not (found.any() and true.any()):
        return 0
    near = _neighbours(found, true, distance)
    of_found, of_true = _greedy(near, int(np.count_nonzero(true)))
    while _augment(near, of_found, of_true):
        pass
    return int(np.count_nonzero(of_found != NONE))


def _neighbours(found: NDArray[np.bool_], true: NDArray[np.bool_], distance: float) -> Ids:
    """Found pixels x offsets within `distance`, nearest first -> index of the true pixel there or NONE."""
    reach = int(distance)
    steps = np.arange(-reach, reach + 1)
    y, x = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    squares = y * y + x * x
    order = np.argsort(squares, kind="stable")
    order = order[squares[order] <= distance * distance]
    index = np.full(np.add(true.shape, 2 * reach), NONE)
    index[reach : reach + true.shape[0], reach : reach + true.shape[1]][true] = np.arange(true.sum())
    rows, columns = np.nonzero(found)
    near: Ids = index[rows[:, None] + (y[order] + reach), columns[:, None] + (x[order] + reach)]
    return near


def _greedy(near: Ids, true_count: int) -> tuple[Ids, Ids]:
    """Pair what is free, nearest first -> partner of each found and of each true pixel, or NONE."""
    of_found, of_true = np.full(len(near), NONE), np.full(true_count, NONE)
    for column in near.T:
        # One offset moves no two pixels to the same place: its pairs never compete.
        pixels = np.flatnonzero((of_found == NONE) & (column != NONE))
        pixels = pixels[of_true[column[pixels]] == NONE]
        of_found[pixels] = column[pixels]
        of_true[column[pixels]] = pixels
    return of_found, of_true


def _augment(near: Ids, of_found: Ids, of_true: Ids) -> bool:
    """Lengthen the matching in place along disjoint paths; False if there is none, so that it is largest.

    A tree of alternating paths grows from every unmatched found pixel, level by level. No two trees share a
    pixel, so each of those that reach an unmatched true pixel gives one path.
    """
    root = np.where(of_found == NONE, np.arange(len(of_found)), NONE)  # of each found pixel
    parent = np.full(len(of_true), NONE)  # of each true pixel, a found one
    end = np.full(len(of_found), NONE)  # of each root, the true pixel where its path ends
    frontier = np.flatnonzero(root != NONE)
    while frontier.size:
        targets = near[frontier]
        rows, columns = np.nonzero((targets != NONE) & (parent[targets] == NONE))
        reached, first = np.unique(targets[rows, columns], return_index=True)
        parent[reached] = frontier[rows[first]]
        roots = root[parent[reached]]
        free = of_true[reached] == NONE
        end[roots[free]] = reached[free]
        following = of_true[reached[~free]]
        root[following] = roots[~free]
        frontier = following[end[roots[~free]] == NONE]
    place = end[end != NONE]
    augmented = bool(place.size)
    while place.size:
        pixels = parent[place]
        previous = of_found[pixels]
        of_found[pixels], of_true[place] = place, pixels
        place = previous[previous != NONE]
    return augmented
