"""What a data set says of an image, as results of a model that makes no mistake; for drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.results import (
    AnomalyMap,
    Classification,
    DenseMap,
    Detections,
    Instances,
    Keypoints,
    LabelMap,
    NormalMap,
    PanopticMap,
    Result,
    Segment,
)
from argus_edge.runtime.persons import PERSON
from argus_edge.tasks import TASKS, get_task
from argus_edge.train.data.example import IGNORE, Example


def true_result(task: str, example: Example, names: Sequence[str]) -> Result | None:
    """The truth of a task as a perfect model would give it, with scores of 1, to be drawn.

    `names` are the task's classes. None where the example says nothing about the task. Where it does not know
    a pixel's depth, the greatest of the image is shown.
    """
    if task not in TASKS:
        return _custom(task, example.custom.get(task), names)
    match task:
        case "det" | "inst" if example.objects is not None:
            return _objects(example, names, masks=task == "inst")
        case "seg" if example.labels is not None:
            return LabelMap(example.labels, tuple(names))
        case "parse" if example.parts is not None:
            return LabelMap(example.parts, tuple(names))
        case "sal" if example.saliency is not None:
            return _binary(example.saliency)
        case "edge" if example.edges is not None:
            return _binary(example.edges)
        case "depth" if example.depth is not None:
            known = example.depth > 0
            return DenseMap(np.where(known, example.depth, example.depth.max(initial=0)), "m")
        case "normal" if example.normals is not None:
            return NormalMap(example.normals)
        case "pan" if example.panoptic is not None:
            return _panoptic(example, names)
        case "pose" if example.objects is not None:
            return _people(example)
        case "cls" if example.image_class is not None:
            return Classification(np.ones(1, np.float32), (names[example.image_class],))
        case "anom" if example.anomaly is not None:
            mask = np.asarray(example.anomaly.mask) != 0
            levels = np.where(mask, np.float32(0.5), np.float32(-0.5))
            return AnomalyMap(levels[None], np.array([mask.any()], np.float32), (example.anomaly.category,))
    return None


def _custom(task: str, label: Any, names: Sequence[str]) -> Result | None:
    """The label of a task from outside, as `SceneLabel` has it."""
    if label is None:
        return None
    match get_task(task).kind:
        case "label_map":
            return LabelMap(label, tuple(names))
        case "dense_map":
            known = np.isfinite(label)
            greatest = label[known].max(initial=0)
            return DenseMap(np.where(known, label, greatest).astype(np.float32), get_task(task).unit)
        case "normal_map":
            return NormalMap(label)
        case "scores":
            return Classification(np.ones(1, np.float32), (names[int(label)],))
    return None


def _objects(example: Example, names: Sequence[str], masks: bool) -> Detections:
    things = [o for o in example.objects or () if not masks or o.mask is not None]
    height, width = example.image.shape[:2]
    limits = np.array([width, height, width, height], np.float32)
    boxes = np.clip(np.array([o.box for o in things], np.float32).reshape(-1, 4), 0, limits)
    scores, classes = np.ones(len(things), np.float32), np.array([o.class_id for o in things], np.int32)
    if not masks:
        return Detections(boxes, scores, classes, tuple(names))
    masked = np.array([o.mask for o in things], np.bool_).reshape(-1, height, width)
    return Instances(boxes, scores, classes, tuple(names), masked)


def _people(example: Example) -> Keypoints:
    truth = example.people()
    seen = (truth.keypoints[..., 2] > 0).astype(np.float32)
    boxes, scores = truth.boxes.astype(np.float32), np.ones(len(seen), np.float32)
    return Keypoints(truth.keypoints[..., :2].astype(np.float32), seen, boxes, scores, KEYPOINT_NAMES)


def _panoptic(example: Example, names: Sequence[str]) -> PanopticMap:
    assert example.panoptic is not None
    ids = np.asarray(example.panoptic.segment_ids)
    # Ids may be as large as 2^24, and drawing makes a table of them: they are numbered anew, from 1.
    known = [s for s in example.panoptic.segments if (ids == s.id).any()]
    fresh = np.zeros(ids.shape, np.int32)
    segments = []
    for number, s in enumerate(known, 1):
        fresh[ids == s.id] = number
        area = int(np.count_nonzero(fresh == number))
        segments.append(Segment(number, s.class_id, names[s.class_id], s.is_thing, 1.0, area))
    return PanopticMap(fresh, tuple(segments))


def _binary(values: NDArray[np.uint8]) -> DenseMap:
    return DenseMap(np.where(values == IGNORE, 0, values).astype(np.float32), "")


def true_people(example: Example) -> Detections:
    """The boxes of the people with a labelled keypoint, none of them a crowd; scores are 1."""
    truth = example.people()
    crowds = truth.crowds if truth.crowds is not None else np.zeros(len(truth.boxes), bool)
    boxes = truth.boxes[(truth.keypoints[..., 2] > 0).any(axis=1) & ~crowds].astype(np.float32)
    count = len(boxes)
    return Detections(boxes, np.ones(count, np.float32), np.zeros(count, np.int32), (PERSON,))
