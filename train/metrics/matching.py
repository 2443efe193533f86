"""The largest one-to-one matching of the pixels of two binary maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
NONE = -1


class Matcher:
    """Pairs the pixels of masks, one mask after another, with those of one true mask (H, W).

    Pairs are one to one and `distance` [px] apart at most; as many as can be are made. That is the count of
    the BSDS benchmark's correspondPixels: leaving a pixel out costs there a hundred times what the longest
    pair costs, so that no pair is given up for shorter ones. Exact, by shortest augmenting paths from all
    unmatched pixels at once (Azad, Buluc and Pothen, "Computing Maximum Cardinality Matchings in Parallel on
    Bipartite Graphs via Tree-Grafting", TPDS 2017). The search begins with the pairs of the mask before,
    which saves most of it where masks differ little.
    """

    def __init__(self, true: NDArray[Any], distance: float) -> None:
        true = np.asarray(true, bool)
        self._reach = int(distance)
        steps = np.arange(-self._reach, self._reach + 1)
        y, x = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
        squares = y * y + x * x
        order = np.argsort(squares, kind="stable")
        order = order[squares[order] <= distance * distance]
        self._true_count = int(np.count_nonzero(true))
        # The number of each true pixel, with a border so that no offset leaves the array.
        numbers = np.full(np.add(true.shape, 2 * self._reach), NONE, np.int32)
        rows, columns = np.nonzero(true)
        numbers[rows + self._reach, columns + self._reach] = np.arange(self._true_count)
        self._width = true.shape[1] + 2 * self._reach
        self._numbers = numbers.ravel()
        self._offsets = (y[order] * self._width + x[order]).astype(np.intp)
        self._partners = np.full(true.shape, NONE, np.int32)  # of the last mask's pixels

    def count(self, found: NDArray[Any]) -> int:
        """How many pixels of a mask (H, W) can be paired."""
        found = np.asarray(found, bool)
        near = self._neighbours(found)
        of_found = self._partners[found]
        of_true = np.full(self._true_count, NONE, np.int32)
        kept = np.flatnonzero(of_found != NONE)
        of_true[of_found[kept]] = kept
        _greedy(near, of_found, of_true)
        while _augment(near, of_found, of_true):
            pass
        self._partners.fill(NONE)
        self._partners[found] = of_found
        return int(np.count_nonzero(of_found != NONE))

    def _neighbours(self, found: NDArray[np.bool_]) -> Ids:
        """Mask (H, W) -> for each found pixel the true ones in reach, nearest first, then NONE."""
        rows, columns = np.nonzero(found)
        places = (rows + self._reach) * self._width + columns + self._reach
        wide = self._numbers.take(places[:, None] + self._offsets)
        pixels, offsets = _places(wide != NONE)
        counts = np.bincount(pixels, minlength=len(wide))
        first = counts.cumsum() - counts
        near = np.full((len(wide), counts.max(initial=0)), NONE, np.int32)
        near[pixels, np.arange(pixels.size) - first[pixels]] = wide[pixels, offsets]
        return near


def count_matches(found: NDArray[Any], true: NDArray[Any], distance: float) -> int:
    """How many pixels of two masks (H, W) can be paired one to one, `distance` [px] apart at most."""
    return Matcher(true, distance).count(found)


def _greedy(near: Ids, of_found: Ids, of_true: Ids) -> None:
    """Pair in place what is free, nearest first. The partner of each found and true pixel, or NONE."""
    pixels = np.flatnonzero(of_found == NONE)
    for column in near.T:
        pixels = pixels[column[pixels] != NONE]
        wanted = column[pixels]
        free = np.flatnonzero(of_true[wanted] == NONE)
        chosen, first = np.unique(wanted[free], return_index=True)
        of_true[chosen] = pixels[free[first]]
        of_found[pixels[free[first]]] = chosen
        pixels = pixels[of_found[pixels] == NONE]


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
        rows, columns = _places((targets != NONE) & (parent[targets] == NONE))
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


def _places(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mask (N, M) -> rows and columns of what is set; np.nonzero takes three times as long over two axes."""
    rows, columns = np.divmod(np.flatnonzero(mask), max(mask.shape[1], 1))
    return rows, columns
