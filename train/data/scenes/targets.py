"""What else a scene tells: boundaries, what stands out, the class of the picture, panoptic segments, masks.

Each rule works on plain maps, so that it can be asked of a crop or a resized picture as well, and each has a
short form for a whole scene.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from argus_edge.train.data.scenes.scene import DET_CLASSES, FIRST_THING, PART_CLASSES, SEG_CLASSES, Scene

__all__ = [
    "IMAGE_CLASSES",
    "PANOPTIC_CLASSES",
    "PART_CLASSES",
    "PanopticSegment",
    "edge_map",
    "edges",
    "image_class",
    "image_class_of",
    "instance_masks",
    "panoptic",
    "saliency",
    "saliency_map",
]

Mask = NDArray[np.bool_]

IMAGE_CLASSES: Final = (*DET_CLASSES, "empty")
PANOPTIC_CLASSES: Final = (*DET_CLASSES, *SEG_CLASSES[:FIRST_THING])
"""Things first: classes below len(DET_CLASSES) can be counted."""

DEPTH_STEP: Final = 0.04  # an edge hides at least this share of the distance
EMPTY_BELOW: Final = 0.02  # a class that covers less of the picture is not what it shows


class PanopticSegment(NamedTuple):
    """One segment of a panoptic map."""

    id: int  # its value in the map
    class_id: int  # index in PANOPTIC_CLASSES
    is_thing: bool


def edges(scene: Scene) -> NDArray[np.uint8]:
    """Boundaries (H, W) of a scene, 1 on them: see edge_map."""
    return edge_map(scene.instances, scene.depth)


def edge_map(instances: NDArray[np.int32], depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Boundaries between things, and where one surface hides another: (H, W), 1 on lines one pixel thin.

    Two neighbours, beside or below each other, have a boundary between them if they are of different
    instances, if only one of them is sky, or if inverse depth jumps: by DEPTH_STEP of the nearer one's more
    than it changes over two pixels beside and across the jump. The inverse depth of a plane is linear in the
    picture, so neither a slanted floor nor a crease is a boundary, even in a map that was resized to between
    half and twice its size by taking nearest pixels. The line runs along the inner side of what is in front:
    of a thing against what is no thing, else of the nearer surface.

    Args:
        instances: (H, W) instance ids, 0 = no thing.
        depth: (H, W) [m], 0 where there is no surface.
    """
    near = np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0)
    found = np.zeros(depth.shape, np.uint8)
    _mark_rows(instances, near, found)
    _mark_rows(instances.T, near.T, found.T)
    return found


def _mark_rows(instances: NDArray[np.int32], near: NDArray[np.float32], found: NDArray[np.uint8]) -> None:
    """Marks in `found` the boundaries between neighbours in a row; `near` is inverse depth [1/m]."""
    step = np.diff(near, axis=1)
    sign = np.sign(step)
    wide = np.pad(near, ((0, 0), (2, 2)), mode="edge")
    along = wide[:, 2:] - wide[:, :-2]  # (H, W + 2), from two pixels before each to itself
    tall = np.pad(near, ((2, 2), (0, 0)), mode="edge")
    down = np.abs(tall[2:] - tall[:-2])
    across = np.minimum(down[:-2], down[2:])  # along an edge one of them stays on the same surface
    usual = np.maximum(np.maximum(sign * along[:, :-3], sign * along[:, 3:]), 0)
    usual += np.maximum(across[:, :-1], across[:, 1:])
    left, right = instances[:, :-1], instances[:, 1:]
    jump = np.abs(step) - usual > DEPTH_STEP * np.maximum(near[:, :-1], near[:, 1:])
    boundary = (left != right) | jump | ((near[:, :-1] > 0) != (near[:, 1:] > 0))
    in_front = np.where((left > 0) == (right > 0), step <= 0, left > 0)
    found[:, :-1][boundary & in_front] = 1
    found[:, 1:][boundary & ~in_front] = 1


def saliency(scene: Scene) -> NDArray[np.uint8]:
    """What stands out in a scene (H, W), 1 on it: see saliency_map."""
    return saliency_map(scene.image, scene.instances, [thing.instance_id for thing in scene.objects])


def saliency_map(
    image: NDArray[np.uint8], instances: NDArray[np.int32], things: list[int]
) -> NDArray[np.uint8]:
    """The one thing that stands out most: (H, W), 1 on its pixels; all 0 if there are no things.

    It has the greatest product of size, centrality and contrast. Size is its share of the picture. Centrality
    is the mean over its pixels of exp(-4 d^2), where d is the distance from the middle in units of the
    picture's sides, so that it falls to 1/e half a side away. Contrast is the distance between its mean
    colour and that of the rest of its box, grown by half its height and width on each side, as RGB in 0..1,
    plus 0.1, so that a thing coloured as its surroundings still counts. Of equals, the first in `things` is
    taken.

    Args:
        image: (H, W, 3) RGB.
        instances: (H, W) instance ids.
        things: the ids that may stand out.
    """
    height, width = instances.shape
    y, x = (((np.arange(n) + 0.5) / n - 0.5) for n in (height, width))
    middle = np.exp(-4 * y * y)[:, None] * np.exp(-4 * x * x)
    best, chosen = -1.0, np.zeros(instances.shape, np.uint8)
    for thing in things:
        mask = instances == thing
        size = int(mask.sum())
        if size == 0:
            continue
        score = float(middle[mask].sum()) / mask.size * (0.1 + _contrast(image, mask))
        if score > best:
            best, chosen = score, mask.astype(np.uint8)
    return chosen


def _contrast(image: NDArray[np.uint8], mask: Mask) -> float:
    """Distance of the mean colour of a mask from that around it, RGB in 0..1."""
    window = tuple(_grown(np.flatnonzero(mask.any(axis=axis)), mask.shape[1 - axis]) for axis in (1, 0))
    inside, pixels = mask[window], image[window]
    if inside.all():
        return 0.0
    return float(np.linalg.norm(pixels[inside].mean(axis=0) - pixels[~inside].mean(axis=0))) / 255


def _grown(places: NDArray[np.intp], limit: int) -> slice:
    """The span of sorted places, grown by half its length at both ends, within 0..limit."""
    low, high = int(places[0]), int(places[-1]) + 1
    half = (high - low + 1) // 2
    return slice(max(low - half, 0), min(high + half, limit))


def image_class(scene: Scene) -> int:
    """What a scene shows, as index in IMAGE_CLASSES: see image_class_of."""
    return image_class_of(scene.labels)


def image_class_of(labels: NDArray[np.uint8]) -> int:
    """The class of things that covers most of the picture, as index in IMAGE_CLASSES.

    "empty" if none covers EMPTY_BELOW of it. Of equals, the first class is taken.

    Args:
        labels: (H, W) index in SEG_CLASSES; other values belong to no class.
    """
    cover = np.bincount(labels.ravel(), minlength=len(SEG_CLASSES))[FIRST_THING : len(SEG_CLASSES)]
    first = int(cover.argmax())
    return first if cover[first] >= EMPTY_BELOW * labels.size else IMAGE_CLASSES.index("empty")


def panoptic(scene: Scene) -> tuple[NDArray[np.int32], list[PanopticSegment]]:
    """Segment ids (H, W) that cover the picture, and the segments in it.

    Things keep their instance ids; each class of stuff that can be seen is one segment, with ids above them.
    Pixels of things too small to be among the objects are void, 0.
    """
    kept = [PanopticSegment(thing.instance_id, thing.class_id, True) for thing in scene.objects]
    ids = np.where(np.isin(scene.instances, [s.id for s in kept]), scene.instances, 0).astype(np.int32)
    first = int(scene.instances.max()) + 1
    for label in np.unique(scene.labels[scene.labels < FIRST_THING]).tolist():
        ids[scene.labels == label] = first + label
        kept.append(PanopticSegment(first + label, len(DET_CLASSES) + label, False))
    return ids, kept


def instance_masks(scene: Scene) -> Mask:
    """Masks (N, H, W) of the objects, in their order."""
    ids = np.array([thing.instance_id for thing in scene.objects], np.int32)
    masks: Mask = scene.instances[None] == ids[:, None, None]
    return masks
