"""Who is who from frame to frame: numbers for boxes, instances and people that stay with the object.

    tracker = Tracker()
    for item in source:
        frame = tracker(runtime(item.image), item.capture_time)
        frame.det.track_ids

The association is ByteTrack's (Zhang et al., ECCV 2022, arXiv 2110.06864): boxes with high scores are matched
first, then those with low scores to tracks that would else be lost. It departs from it in three points. Time
counts, not frames: a task runs at its own rate, and rates change. The motion model is a Kalman filter with
white noise as acceleration, in which centre and size (x, y, w, h) are independent of one another. Pairs are
taken best first, not as the best sum, so that no solver is needed. Libraries that track (trackers,
supervision, norfair) count frames, and bring scipy and matplotlib.
"""

from __future__ import annotations

import math
import time as clock
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import Detections, Frame, Instances, Keypoints
from argus_edge.runtime.persons import PERSON
from argus_edge.runtime.tracking.association import Indices, Objects, associate, merged
from argus_edge.runtime.tracking.motion import TRACK, Tracks, correct, predict, start, to_places

__all__ = ["LOW", "Tracker"]

LOW: Final = 0.1
"""Scores below it are of no use to a track."""


_BOXES: Final = ("boxes", "scores", "classes")
_PEOPLE: Final = ("points", "scores", "boxes", "person_scores")


class Tracker:
    """Gives the objects of consecutive frames numbers that stay with them, across det, inst and pose.

    Args:
        high: boxes from this score on start and continue tracks, in [0, 1].
        low: boxes from this score on continue tracks that were seen last time, in [0, high]. The runtime's
            `score_threshold` must be as low for them to be there.
        keep: an object out of sight for longer has a new number when it comes back [s].

    A box continues tracks of its own class only. Boxes of several tasks that are on one object have one
    number. Boxes that neither start nor continue a track are left out of the results.

    Raises InputError for thresholds that are not such.
    """

    def __init__(self, high: float = 0.5, low: float = LOW, keep: float = 1.0) -> None:
        if not 0 <= low <= high <= 1:
            raise InputError(f"expected 0 <= low <= high <= 1, got low {low} and high {high}")
        if not 0 <= keep < math.inf:
            raise InputError(f"keep must be 0 s or more, got {keep}")
        self._high, self._low, self._keep = high, low, keep
        self._tracks: Tracks = np.zeros(0, TRACK)
        self._time = -math.inf
        self._last_id = 0
        self._class_ids: dict[str, int] = {}

    def __call__(self, frame: Frame, time: float | None = None) -> Frame:
        """Number the objects of the next frame.

        Args:
            frame: results; those without objects stay as they are. A task that was not due is not missed.
            time: when the image was taken [s], on any clock that does not go back; by default now.

        Returns the frame with `track_ids` in the results of det, inst and pose. Raises InputError when time
        goes back or is no number.
        """
        time = clock.monotonic() if time is None else time
        if not self._time <= time < math.inf:
            raise InputError(f"frames must come in the order of time, got {time} s after {self._time} s")
        objects, places, looked_for = self._objects(frame)
        if not places:
            return frame
        ids = self._update(objects, looked_for, time)
        numbered = {task: _numbered(frame[task], ids[place]) for task, place in places.items()}
        return replace(frame, results={**frame.results, **numbered})

    def _objects(self, frame: Frame) -> tuple[Objects, dict[str, Indices], NDArray[np.int64]]:
        """Objects of all tasks, where among them those of each task are, and the classes looked for."""
        objects = Objects(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
        places: dict[str, Indices] = {}
        looked_for: set[int] = set()
        for task, result in frame.results.items():
            if isinstance(result, Detections):
                class_ids, scores = self._number(result.class_names), result.scores
                found = class_ids[result.classes]
            elif isinstance(result, Keypoints):
                class_ids, scores = self._number((PERSON,)), result.person_scores
                found = np.repeat(class_ids, len(result))
            else:
                continue
            looked_for.update(class_ids.tolist())
            objects, places[task] = merged(
                objects, Objects(result.boxes.astype(np.float64), scores.astype(np.float64), found)
            )
        return objects, places, np.array(sorted(looked_for))

    def _number(self, names: tuple[str, ...]) -> NDArray[np.int64]:
        return np.array([self._class_ids.setdefault(name, len(self._class_ids)) for name in names], np.int64)

    def _update(self, objects: Objects, looked_for: NDArray[np.int64], time: float) -> NDArray[np.int64]:
        """Match objects with tracks, and bring these up to date: the objects' ids (N,), 0 for no track."""
        tracks = self._tracks[~(self._tracks["lost"] & (time - self._tracks["seen"] > self._keep))]
        predict(tracks, time - self._time if len(tracks) else 0.0)
        rows, columns = associate(tracks, objects, self._low, self._high)
        correct(tracks, rows, to_places(objects.boxes[columns]))
        tracks["seen"][rows], tracks["lost"][rows], tracks["confirmed"][rows] = time, False, True
        missed = np.isin(tracks["class_id"], looked_for)
        missed[rows] = False
        tracks["lost"] |= missed
        ids = np.zeros(len(objects.boxes), np.int64)
        ids[columns] = tracks["id"][rows]
        new = np.flatnonzero((ids == 0) & (objects.scores >= self._high))
        ids[new] = self._last_id + 1 + np.arange(len(new))
        self._last_id += len(new)
        started = start(ids[new], objects.class_ids[new], objects.boxes[new], time)
        # An object seen once and not again was none.
        self._tracks = np.concatenate([tracks[~missed | tracks["confirmed"]], started])
        self._time = time
        return ids


def _numbered(result: Any, ids: NDArray[np.int64]) -> Detections | Keypoints:
    """What is in a track, of one task's result."""
    kept = ids > 0
    names = _BOXES if isinstance(result, Detections) else _PEOPLE
    arrays = {name: getattr(result, name)[kept] for name in names}
    if isinstance(result, Instances):
        arrays["masks"] = result.masks[kept]
    numbered: Detections | Keypoints = replace(result, **arrays, track_ids=ids[kept])
    return numbered
