"""Which object continues which track: ByteTrack's rounds of matching by overlap."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from argus_edge.runtime.tracking.motion import Floats, Tracks, to_boxes

Indices: TypeAlias = NDArray[np.intp]

SAME_OBJECT: Final = 0.7  # boxes of two tasks that overlap so much are of one object [IoU]
LEAST_OVERLAP: Final = (0.2, 0.5, 0.3)  # with the predicted box, in the three rounds [IoU]


class Objects(NamedTuple):
    """What the tasks of one frame have found."""

    boxes: Floats  # (N, 4) xyxy [px]
    scores: Floats  # (N,)
    class_ids: NDArray[np.int64]  # (N,)


def associate(tracks: Tracks, objects: Objects, low: float, high: float) -> tuple[Indices, Indices]:
    """Indices of tracks, and of the objects that continue them; scores count as high or low from these on."""
    overlap = iou(to_boxes(tracks["place"]), objects.boxes)
    overlap[tracks["class_id"][:, None] != objects.class_ids] = 0
    certain = objects.scores >= high
    doubtful = ~certain & (objects.scores >= low)
    confirmed, lost = tracks["confirmed"], tracks["lost"]
    rounds = ((confirmed, certain), (confirmed & ~lost, doubtful), (~confirmed, certain))
    free_rows, free_columns = np.ones(len(tracks), np.bool_), np.ones(len(certain), np.bool_)
    rows, columns = np.zeros(0, np.intp), np.zeros(0, np.intp)
    for (of_tracks, of_objects), least in zip(rounds, LEAST_OVERLAP, strict=True):
        allowed = (of_tracks & free_rows)[:, None] & (of_objects & free_columns)
        more_rows, more_columns = _match(np.where(allowed, overlap, 0), least)
        free_rows[more_rows] = free_columns[more_columns] = False
        rows, columns = np.append(rows, more_rows), np.append(columns, more_columns)
    return rows, columns


def merged(objects: Objects, more: Objects) -> tuple[Objects, Indices]:
    """Objects with those of one more task, and where among them these are; of one object seen twice, the
    higher score counts.
    """
    overlap = iou(objects.boxes, more.boxes)
    overlap[objects.class_ids[:, None] != more.class_ids] = 0
    rows, columns = _match(overlap, SAME_OBJECT)
    places = np.full(len(more.boxes), -1)
    places[columns] = rows
    new = places < 0
    places[new] = len(objects.boxes) + np.arange(np.count_nonzero(new))
    joined = Objects(*(np.concatenate([old, added[new]]) for old, added in zip(objects, more, strict=True)))
    np.maximum.at(joined.scores, places, more.scores)
    return joined, places


def _match(overlap: Floats, least: float) -> tuple[Indices, Indices]:
    """Pair rows with columns, greatest overlap first, down to `least`: those that are each other's best."""
    left = np.where(overlap >= least, overlap, 0)
    rows, columns = np.zeros(0, np.intp), np.zeros(0, np.intp)
    while left.any():
        best = left.argmax(axis=1)
        mutual = (left.argmax(axis=0)[best] == np.arange(len(left))) & left.any(axis=1)
        pairs = np.flatnonzero(mutual), best[mutual]
        left[pairs[0]] = 0
        left[:, pairs[1]] = 0
        rows, columns = np.append(rows, pairs[0]), np.append(columns, pairs[1])
    return rows, columns


def iou(boxes: NDArray[Any], others: NDArray[Any]) -> Floats:
    """Intersection over union (N, M) of xyxy boxes (N, 4) and (M, 4)."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    inner = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(np.clip(side[:, 2:] - side[:, :2], 0, None), axis=-1) for side in (boxes, others)]
    shares: Floats = inner / np.maximum(areas[0][:, None] + areas[1] - inner, 1e-9)
    return shares
