"""One labelled image of any data set: what every reader gives, and what training and evaluation take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.metrics import AnomalyTruth, InstanceTruth, PanopticTruth, PoseTruth

IGNORE: Final = 255
"""In maps of classes and of 0 and 1: the label does not say."""
PERSON_SHARE: Final = 0.53
"""Area of a person by that of its box, where no other is known: as xtcocotools (MMPose) and Ultralytics."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledObject:
    """One object to be found. A `crowd` stands for several that nobody told apart."""

    class_id: int  # index in the data set's classes of det and inst
    box: tuple[float, float, float, float]  # xyxy [px], maybe partly outside; pixel i covers [i, i + 1)
    area: float  # [px] of its mask, as its data set tells it; else of its box
    crowd: bool = False
    mask: NDArray[np.bool_] | None = None  # (H, W); None where not asked for or not labelled
    keypoints: NDArray[np.float32] | None = None  # (17, 3) xy [px], integers are pixel centres; 0, 1, 2
    area_known: bool = True  # False: the area is that of the box


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An image and what its data set says about it; None where it says nothing.

    All maps have the size of the image. Classes are indices in the data set's `classes` of the task, things
    before stuff for panoptic. `custom` has the labels of tasks from outside, by task: as `SceneLabel` has
    them.
    """

    name: str  # for messages and pictures: the image's path inside its data set, or "scene 17"
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    objects: tuple[LabelledObject, ...] | None = None  # det, inst, pose
    labels: NDArray[np.uint8] | None = None  # seg (H, W) classes, 255 = ignore
    parts: NDArray[np.uint8] | None = None  # parse (H, W) classes, 255 = ignore
    saliency: NDArray[np.uint8] | None = None  # sal (H, W) 0 or 1, 255 = ignore
    edges: NDArray[np.uint8] | None = None  # edge (H, W) 0 or 1, 255 = ignore
    depth: NDArray[np.float32] | None = None  # (H, W) [m] along the camera's z axis, 0 = unknown
    normals: NDArray[np.float32] | None = None  # (H, W, 3) unit, x right, y down, z forward; 0 = unknown
    panoptic: PanopticTruth | None = None
    image_class: int | None = None  # cls
    anomaly: AnomalyTruth | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)

    def people(self) -> PoseTruth:
        """The objects with keypoints, and crowds of people, as the metric of pose takes them.

        Where only the box tells of the area, it is `PERSON_SHARE` of the box's.
        """
        people = [o for o in self.objects or () if o.keypoints is not None]
        return PoseTruth(
            np.array([o.keypoints for o in people], np.float32).reshape(-1, len(KEYPOINT_NAMES), 3),
            np.array([o.area * (1 if o.area_known else PERSON_SHARE) for o in people], np.float64),
            np.array([o.box for o in people], np.float64).reshape(-1, 4),
            np.array([o.crowd for o in people], np.bool_),
        )

    def instances(self) -> InstanceTruth:
        """The objects as the metric of inst takes them.

        One without a mask stands as a crowd that fills its box: what is found of its class in there is
        neither right nor wrong. Where only the box tells of the area, it is that of the mask.
        """
        objects = self.objects or ()
        size = self.image.shape[0], self.image.shape[1]
        masks = np.array([_filled(o.box, size) if o.mask is None else o.mask for o in objects], np.bool_)
        masks = masks.reshape(-1, *size)
        told = zip(objects, masks, strict=True)
        return InstanceTruth(
            masks,
            np.array([o.class_id for o in objects], np.int64),
            np.array([o.area if o.area_known else np.count_nonzero(m) for o, m in told], np.float64),
            np.array([o.crowd or o.mask is None for o in objects], np.bool_),
        )


def _filled(box: tuple[float, float, float, float], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) that a box touches."""
    x0, y0, x1, y1 = box
    mask = np.zeros(size, np.bool_)
    mask[max(0, floor(y0)) : max(0, ceil(y1)), max(0, floor(x0)) : max(0, ceil(x1))] = True
    return mask


# What a task is judged by; None where the example does not say.
_TRUTHS: Final[Mapping[str, Callable[[Example], Any]]] = {
    "det": lambda e: e.objects,
    "inst": lambda e: None if e.objects is None else e.instances(),
    "pan": lambda e: e.panoptic,
    "seg": lambda e: e.labels,
    "parse": lambda e: e.parts,
    "sal": lambda e: e.saliency,
    "edge": lambda e: e.edges,
    "depth": lambda e: e.depth,
    "normal": lambda e: e.normals,
    "pose": lambda e: None if e.objects is None else e.people(),
    "cls": lambda e: e.image_class,
    "anom": lambda e: e.anomaly,
}


def truth_of(task: str, example: Example) -> Any:
    """What the metric of `task` compares with; None where the example says nothing about it."""
    return _TRUTHS[task](example) if task in _TRUTHS else example.custom.get(task)
