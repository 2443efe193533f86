"""What a rendered scene is: an image and every exact label of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.camera import Camera

DET_CLASSES: Final = ("box", "sphere", "cylinder", "cone", "person")
SEG_CLASSES: Final = ("sky", "ground", "wall", "ceiling", *DET_CLASSES)
PART_CLASSES: Final = (
    "background",
    "head",
    "torso",
    "upper arm",
    "lower arm",
    "upper leg",
    "lower leg",
)
SKY: Final = SEG_CLASSES.index("sky")
GROUND: Final = SEG_CLASSES.index("ground")
WALL: Final = SEG_CLASSES.index("wall")
CEILING: Final = SEG_CLASSES.index("ceiling")
FIRST_THING: Final = SEG_CLASSES.index(DET_CLASSES[0])

MIN_VISIBLE_PIXELS: Final = 16


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One thing that can be seen.

    `box` is (x0, y0, x1, y1) [px], tight around the visible pixels: pixel i covers [i, i + 1), so a single
    pixel in the corner has the box (0, 0, 1, 1).
    """

    instance_id: int  # its value in Scene.instances, from 1
    class_id: int  # index in DET_CLASSES
    class_name: str
    box: tuple[float, float, float, float]
    visible_pixels: int


@dataclass(frozen=True, slots=True, eq=False)
class ScenePerson:
    """The pose of one person among the objects.

    `keypoints` (17, 3) are x, y and visibility, in the order of argus_edge.keypoints. x and y [px] are in the
    frame of the boxes: the centre of pixel i is i + 0.5. Visibility is 2 for visible, 1 for hidden by
    something, 0 (with x = y = 0, as in COCO) for outside the image.
    """

    instance_id: int  # its value in Scene.instances
    keypoints: NDArray[np.float32]  # (17, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One picture and its labels, all (H, W).

    Things of fewer than 16 visible pixels are in the maps but not in `objects`.
    """

    seed: int
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    depth: NDArray[np.float32]  # (H, W) distance along the camera's z axis [m], 0 where there is only sky
    normals: NDArray[
        np.float32
    ]  # (H, W, 3) unit, camera frame (x right, y down, z forward), 0 for sky; or (0, 0, 3)
    instances: NDArray[np.int32]  # (H, W) 0 = no thing, else 1..N
    labels: NDArray[np.uint8]  # (H, W) index in SEG_CLASSES
    parts: NDArray[np.uint8]  # (H, W) index in PART_CLASSES, 0 where there is no person
    objects: tuple[SceneObject, ...]
    people: tuple[ScenePerson, ...]  # those among the objects, in the same order
    camera: Camera

    @property
    def height(self) -> int:
        """Image height [px]."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Image width [px]."""
        return int(self.image.shape[1])

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Boxes of all objects (N, 4) xyxy [px]."""
        return np.array([thing.box for thing in self.objects], np.float32).reshape(-1, 4)

    @property
    def classes(self) -> NDArray[np.int64]:
        """Classes of all objects (N,), index in DET_CLASSES."""
        return np.array([thing.class_id for thing in self.objects], np.int64)


def find_objects(instances: NDArray[np.int32], classes: dict[int, int]) -> tuple[SceneObject, ...]:
    """The visible things of an instance map (H, W); `classes` maps instance ids to indices in DET_CLASSES."""
    counts = np.bincount(instances.ravel(), minlength=max(classes, default=0) + 1)
    found = []
    for instance, class_id in classes.items():
        if counts[instance] < MIN_VISIBLE_PIXELS:
            continue
        mask = instances == instance
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        found.append(SceneObject(instance, class_id, DET_CLASSES[class_id], box, int(counts[instance])))
    return tuple(found)
