"""The pieces a body is built from, the parts that labels know, and where keypoints lie in them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.keypoints import KEYPOINT_NAMES
from argus_edge.train.data.scenes.scene import PART_CLASSES


class Part(IntEnum):
    """Piece of a thing. Things without parts are WHOLE."""

    WHOLE = 0
    HEAD = 1
    HAIR = 2
    NECK = 3
    TORSO = 4
    HIPS = 5
    UPPER_ARM = 6
    FOREARM = 7
    HAND = 8
    THIGH = 9
    SHIN = 10
    FOOT = 11
    SKIRT = 12


def _part_labels() -> NDArray[np.uint8]:
    """Divided as in PASCAL-Person-Part: the neck is of the torso, hands and feet are of the lower limbs.

    A skirt is of the thighs that it covers.
    """
    pieces = {
        "background": [Part.WHOLE],
        "head": [Part.HEAD, Part.HAIR],
        "torso": [Part.NECK, Part.TORSO, Part.HIPS],
        "upper arm": [Part.UPPER_ARM],
        "lower arm": [Part.FOREARM, Part.HAND],
        "upper leg": [Part.THIGH, Part.SKIRT],
        "lower leg": [Part.SHIN, Part.FOOT],
    }
    table = np.zeros(len(Part), np.uint8)
    for label, name in enumerate(PART_CLASSES):
        table[pieces[name]] = label
    return table


PART_LABELS: Final = _part_labels()
"""Index in PART_CLASSES of each Part (13,)."""

_DEPTHS: Final[dict[str, tuple[float, tuple[str, ...]]]] = {
    "nose": (0.02, ("head",)),
    "eye": (0.02, ("head",)),
    "ear": (0.035, ("head",)),
    "shoulder": (0.06, ("torso", "upper arm")),
    "elbow": (0.05, ("upper arm", "lower arm")),
    "wrist": (0.05, ("lower arm",)),
    "hip": (0.1, ("torso", "upper leg")),
    "knee": (0.06, ("upper leg", "lower leg")),
    "ankle": (0.05, ("lower leg",)),
}


def _cover_table() -> NDArray[np.float64]:
    """_DEPTHS as a table (17, 7)."""
    table = np.zeros((len(KEYPOINT_NAMES), len(PART_CLASSES)))
    for row, name in zip(table, KEYPOINT_NAMES, strict=True):
        depth, parts = _DEPTHS[name.split("_")[-1]]
        row[[PART_CLASSES.index(part) for part in parts]] = depth
    return table


COVER: Final = _cover_table()
"""How deep a keypoint may lie under a part of its own body, with its clothes or hair, and count as visible.

(17, 7) [body heights] for KEYPOINT_NAMES under PART_CLASSES. 0: that part hides it whenever it is before it.
"""
