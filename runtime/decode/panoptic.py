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
from argus_edge.runtime import _native
from argus_edge.runtime.decode.candidates import check_classes, finite
from argus_edge.runtime.decode.sides import sides

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
    winners, shares = compete(logits, scores, chosen, letterbox)

    # The published merge compares all that a query won with its mask, and keeps what lies inside.
    ids = np.zeros(2 * len(chosen) + 1, np.int32)  # winners outside of their masks count from its end: void
    segments: dict[int, Segment] = {}
    regions: dict[int, int] = {}  # stuff class -> its segment
    for place, (index, (own, won, kept)) in enumerate(zip(chosen, shares.tolist(), strict=True), 1):
        if kept == 0 or won < overlap_threshold * own:
            continue
        class_id, score, area = int(classes[index]), float(scores[index]), kept
        is_thing = class_id < things
        segment = len(segments) + 1 if is_thing else regions.setdefault(class_id, len(segments) + 1)
        if segment in segments:
            score, area = max(score, segments[segment].score), area + segments[segment].area
        segments[segment] = Segment(segment, class_id, class_names[class_id], is_thing, score, area)
        ids[place] = segment
    return PanopticMap(ids[winners], tuple(segments.values()))


def compete(
    logits: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    chosen: NDArray[np.intp],
    letterbox: Letterbox,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Give every pixel to the mask with the highest score x probability.

    Args:
        logits: (Q, h, w) over the network input, which reach the image as in `masks_to_image`.
        scores: (Q,).
        chosen: (N,) which of the Q compete; their numbers are finite.
        letterbox: how the image was placed in the network input.

    Returns for every pixel (image_height, image_width) the winner's place in `chosen`, counted from 1, and
    negative where the winner's probability is below one half, 0 when N is 0; and (N, 3) how many pixels have
    a probability of at least one half, were won, and both.
    """
    winners = np.empty((letterbox.image_height, letterbox.image_width), np.int32)
    shares = np.empty((len(chosen), 3), np.int64)
    logits, scores = (np.ascontiguousarray(values, np.float32) for values in (logits, scores))
    _native.compete(logits, scores, chosen.astype(np.int64), *sides(letterbox), winners, shares)
    return winners, shares
