"""What the classes of each task are called in rendered scenes and surfaces."""

from typing import Final

from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES
from argus_edge.train.data.scenes.targets import IMAGE_CLASSES, PANOPTIC_CLASSES, PART_CLASSES
from argus_edge.train.data.surfaces import SURFACE_CATEGORIES

SCENE_CLASSES: Final[dict[str, tuple[str, ...]]] = {
    "det": DET_CLASSES,
    "inst": DET_CLASSES,
    "pan": PANOPTIC_CLASSES,
    "seg": SEG_CLASSES,
    "parse": PART_CLASSES,
    "pose": KEYPOINT_NAMES,
    "cls": IMAGE_CLASSES,
    "anom": SURFACE_CATEGORIES,
}
THINGS: Final = len(DET_CLASSES)
"""How many of the panoptic classes, the first ones, are countable."""
