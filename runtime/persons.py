"""The people of an image, on their way from a detector to the pose decoder.

A person's region is the box widened to 3:4 (width to height) and then by a quarter, as ViTPose and HRNet take
it. How a region is laid over a grid of W x H samples follows UDP (Huang et al., CVPR 2020): sizes are counted
between the centres of the outermost samples, so that W samples span W - 1 steps. The region's width is W - 1
steps too, which makes the same formula serve the crop, the heatmaps and their targets, whatever their sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import TaskError
from argus_edge.geometry import Letterbox
from argus_edge.results import Detections

__all__ = [
    "ASPECT",
    "PERSON",
    "WIDENING",
    "Persons",
    "fill_slots",
    "find_persons",
    "grid_matrix",
    "grid_to_image",
    "person_index",
    "warp",
    "widen",
]

PERSON: Final = "person"
ASPECT: Final = 3 / 4
"""Width by height of a region."""
WIDENING: Final = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class Persons:
    """N people of one image, best first."""

    boxes: NDArray[np.float32]  # (N, 4) xyxy [px] of the image, continuous
    scores: NDArray[np.float32]  # (N,) of the detector
    regions: NDArray[np.float64]  # (N, 4) xyxy [px] that each one's heatmaps cover; may leave the image

    def __len__(self) -> int:
        return len(self.boxes)


def person_index(class_names: tuple[str, ...]) -> int:
    """Index of the class "person". Raises TaskError when a detector does not know it."""
    if PERSON not in class_names:
        raise TaskError(
            f"task 'pose' needs a detector of the class {PERSON!r}, but its classes are: "
            f"{', '.join(class_names) or 'none'}"
        )
    return class_names.index(PERSON)


def find_persons(detections: Detections, limit: int, letterbox: Letterbox | None = None) -> Persons:
    """The `limit` best people among the detections (or instances) of an image.

    Args:
        detections: of one image, best first.
        limit: persons beyond this number are left out.
        letterbox: how the image lies in the network input, where the graph cuts the regions out of the
            features: the input's sides are scaled a trifle differently. None where crops are taken from the
            image itself.

    Raises TaskError when the detector has no class "person".
    """
    index = person_index(detections.class_names)
    chosen = np.flatnonzero(detections.classes == index)[:limit]
    boxes, scores = detections.boxes[chosen], detections.scores[chosen]
    if letterbox is None:
        return Persons(boxes, scores, widen(boxes))
    scale = np.array([letterbox.scale_x, letterbox.scale_y] * 2, np.float64)
    return Persons(boxes, scores, widen(boxes * scale) / scale)


def fill_slots(persons: Persons, letterbox: Letterbox, slots: int) -> NDArray[np.float32]:
    """At most `slots` persons -> the graph's input `persons` (slots, 4) xyxy in [0, 1] of the network input.

    Slots left over hold the whole input: their answers are to be dropped.
    """
    values = np.tile(np.array([0, 0, 1, 1], np.float32), (slots, 1))
    values[: len(persons)] = letterbox.boxes_to_input(persons.boxes)
    return values


def widen(boxes: NDArray[np.floating[Any]], widening: float = WIDENING) -> NDArray[np.float64]:
    """Boxes (N, 4) xyxy [px] -> regions (N, 4) xyxy [px] of aspect 3:4 around the same centres."""
    exact = np.asarray(boxes, np.float64)
    centres, sizes = (exact[:, :2] + exact[:, 2:]) / 2, exact[:, 2:] - exact[:, :2]
    heights = np.maximum(sizes[:, 1], sizes[:, 0] / ASPECT) * widening
    halves = np.stack([heights * ASPECT, heights], axis=1) / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


def grid_matrix(
    region: NDArray[np.floating[Any]], height: int, width: int, angle: float = 0.0
) -> NDArray[np.float64]:
    """The affine map (2, 3) from points xy [px] of the image to points of a region's grid (height, width).

    In both frames integers are the centres of pixels. `angle` [deg] turns the region about its centre,
    clockwise as seen in the image.
    """
    x0, y0, x1, y1 = np.asarray(region, np.float64)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    scale = np.array([[(width - 1) / (x1 - x0)], [(height - 1) / (y1 - y0)]])
    turned = scale * np.array([[cos, sin], [-sin, cos]])
    # The centre of a continuous region is half a pixel off in the frame of pixel centres.
    centre = np.array([(x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.concatenate([turned, (middle - turned @ centre)[:, None]], axis=1)


def grid_to_image(
    points: NDArray[np.floating[Any]], regions: NDArray[np.floating[Any]], height: int, width: int
) -> NDArray[np.float64]:
    """Points (N, K, 2) xy of the grids (height, width) of N regions (N, 4) -> xy [px] of the image."""
    exact = np.asarray(regions, np.float64)
    step = (exact[:, 2:] - exact[:, :2]) / np.array([width - 1, height - 1], np.float64)
    return np.asarray(points, np.float64) * step[:, None] + exact[:, None, :2] - 0.5


def warp(
    image: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    height: int,
    width: int,
    pad_color: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """The crop (height, width, 3) of an image (H, W, 3) under `matrix` (`grid_matrix`), bilinear.

    What lies outside the image is `pad_color`.
    """
    import cv2

    crop = cv2.warpAffine(
        np.ascontiguousarray(image),  # OpenCV takes no reversed axes
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=pad_color,
    )
    return np.asarray(crop, np.uint8)
