"""Panoptic maps: every pixel belongs to one segment, a countable thing or a region of stuff, or to none.

Source: the inference of Mask2Former (arXiv 2112.01527, appendix) with its published thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.geometry import Letterbox
from argus_edge.results import PanopticMap, Segment
from argus_edge.runtime.decode.candidates import check_classes, finite
from argus_edge.runtime.decode.masks import logits_to_image

SCORE_THRESHOLD: Final = 0.8
OVERLAP_THRESHOLD: Final = 0.8


def decode_panoptic(
    outputs: Mapping[str, NDArray[Any]],
    letterbox: Letterbox,
    class_names: Sequence[str],
    things: int,
    score_threshold: float = SCORE_THRESHOLD,
    overlap_threshold: float = OVERLAP_THRESHOLD,
) -> PanopticMap:
    """A panoptic segmenter's outputs -> the segments of the original image.

    Queries above `score_threshold` compete for every pixel with score x mask probability. One that wins less
    than `overlap_threshold` of the area of its own mask is hidden behind others and dropped; the rest keep
    what they won inside their masks. Stuff of one class becomes one segment, with the best of its scores.

    Args:
        outputs: `scores` (1, Q) float32 in [0, 1], `classes` (1, Q) int32 indices of `class_names`, or their
            number for "no object", `masks` (1, Q, h, w) float32 logits over the whole network input.
        letterbox: how the image was placed in the network input.
        class_names: names in the order of the class indices, things first.
        things: how many of the first classes are countable.
        score_threshold: a query counts above it.
        overlap_threshold: in [0, 1].

    Returns segments in the order of the queries, with ids from 1; 0 is void. Queries with a number that is
    not finite are left out. Raises EngineError for a class without a name.
    """
    scores, classes, logits = outputs["scores"][0], outputs["classes"][0], outputs["masks"][0]
    with np.errstate(invalid="ignore"):
        candidates = np.flatnonzero((classes != len(class_names)) & (scores > score_threshold))
    chosen = finite(candidates, scores, logits)
    check_classes(classes[chosen], len(class_names))
    winners, inside, areas = _compete(logits, scores, chosen, letterbox)

    # How many pixels each query won, and how many of them lie inside its mask. The published merge compares
    # all that it won with its mask, and keeps what lies inside.
    won = np.bincount(winners.ravel(), minlength=len(chosen) + 1)
    kept = np.bincount(winners[inside], minlength=len(chosen) + 1)
    ids = np.zeros(len(chosen) + 1, np.int32)
    segments: dict[int, Segment] = {}
    regions: dict[int, int] = {}  # stuff class -> its segment
    for place, index in enumerate(chosen, 1):
        if kept[place] == 0 or won[place] < overlap_threshold * areas[place]:
            continue
        class_id, score, area = int(classes[index]), float(scores[index]), int(kept[place])
        is_thing = class_id < things
        segment = len(segments) + 1 if is_thing else regions.setdefault(class_id, len(segments) + 1)
        if segment in segments:
            score, area = max(score, segments[segment].score), area + segments[segment].area
        segments[segment] = Segment(segment, class_id, class_names[class_id], is_thing, score, area)
        ids[place] = segment
    segment_ids = np.where(inside, ids[winners], np.int32(0))
    return PanopticMap(segment_ids, tuple(segments.values()))


def _compete(
    logits: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    chosen: NDArray[np.intp],
    letterbox: Letterbox,
) -> tuple[NDArray[np.int32], NDArray[np.bool_], list[int]]:
    """For every pixel (H, W) the query with the highest score x probability, as its place in `chosen` counted
    from 1, and whether the pixel lies inside that query's mask; for every place, 0 included, the mask's area.

    One mask at a time, so that memory does not grow with their number.
    """
    size = (letterbox.image_height, letterbox.image_width)
    best = np.full(size, -1, np.float32)
    winners, inside = np.zeros(size, np.int32), np.zeros(size, np.bool_)
    areas = [0]
    for place, index in enumerate(chosen, 1):
        mask = logits_to_image(logits[index], letterbox)
        positive = mask >= 0  # a probability of at least one half
        areas.append(int(np.count_nonzero(positive)))
        claim = _sigmoid(mask)
        claim *= scores[index]
        better = claim > best
        np.copyto(best, claim, where=better)
        np.copyto(winners, place, where=better)
        np.copyto(inside, positive, where=better)
    return winners, inside, areas


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """In place."""
    np.negative(x, out=x)
    with np.errstate(over="ignore"):  # infinity becomes the 0 it stands for
        np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)
