"""What a training sample is, and the augmentation of one rendered scene, which recipes of scenes replay.

Geometry changes image and labels alike; photometry only the image. Other data sets: `augment`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.runtime.persons import PERSON
from argus_edge.train.data.heatmaps import jitter_boxes, swap_sides
from argus_edge.train.data.scene_labels import maps_needed, with_custom
from argus_edge.train.data.scenes import Scene
from argus_edge.train.data.scenes.scene import ScenePerson, find_objects
from argus_edge.train.data.scenes.targets import edge_map, image_class_of, panoptic, saliency_map
from argus_edge.train.data.sensor import Lens, capture, random_lens, random_sensor

MIN_INSIDE: Final = 0.3  # of a box's area, for the object to count in a crop
DENSE: Final = ("seg", "depth")  # what boxes alone do not tell, by default

BOX_SPREAD: Final = 0.15  # of the scale of people's boxes
LENS_CHANCE: Final = 0.5  # that a sensor's lens bends the picture

Place = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Sample:
    """One training image with its labels, at the training size (H, W) [px].

    `maps` holds what the tasks asked for need: seg, parse (H, W) uint8 classes, 255 = ignore; depth (H, W)
    float32 [m], 0 = unknown; normal (H, W, 3) float32 unit vectors, 0 = unknown; sal, edge (H, W) uint8
    0 or 1, 255 = ignore; inst, pan (H, W) int32 ids, 0 = none; the labels of tasks from outside, as
    `SceneLabel` has them. Masks that may overlap are in `masks` instead of maps["inst"].
    """

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    boxes: NDArray[np.float32]  # (M, 4) cxcywh in [0, 1] of the objects well inside
    classes: NDArray[np.int64]  # (M,)
    instance_ids: NDArray[np.int64]  # (M,) in maps["inst"]
    # (P, 17, 3) x, y [px] and visibility 0, 1, 2 of the people in `boxes`, in order; as in boxes, pixel i
    # covers [i, i + 1)
    people: NDArray[np.float32]
    regions: NDArray[np.float32]  # (P, 4) xyxy [px] around them, as inexact as a detector's while training
    maps: Mapping[str, NDArray[Any]]
    segments: Mapping[int, int] = field(default_factory=dict)  # id in maps["pan"] -> class, things first
    image_class: int = 0
    name: str = ""  # of the image, for messages
    masks: NDArray[np.bool_] | None = None  # (M, H, W)


def make_sample(
    scene: Scene,
    size: int,
    rng: np.random.Generator | None,
    tasks: Collection[str] = DENSE,
    *,
    sensor: bool = False,
) -> Sample:
    """A square scene resized to `size`; cropped, flipped and coloured at random unless `rng` is None.

    Depth is told as the scene's own camera would see the resized picture: what is half as large is twice as
    far. So a model trained on small pictures is right on large ones.

    With `sensor` the picture is taken by a random camera: its exposure, blur and noise are in place of other
    colours, and in one of two pictures its lens bends everything before the crop.
    """
    if sensor and rng is not None and rng.random() < LENS_CHANCE:
        scene = bend_scene(scene, random_lens(rng, scene.height, scene.width))
    native = scene.image.shape[0]
    side, x, y = native, 0, 0
    if rng is not None and size < native:
        side = int(rng.integers(size, native + 1))
        x, y = (int(offset) for offset in rng.integers(0, native - side + 1, 2))
    flip = rng is not None and rng.random() < 0.5

    def place(map_: NDArray[Any], interpolation: int = cv2.INTER_NEAREST_EXACT) -> NDArray[Any]:
        cut = map_[y : y + side, x : x + side]
        if side != size:
            cut = np.asarray(cv2.resize(cut, (size, size), interpolation=interpolation), map_.dtype)
        return np.ascontiguousarray(cut[:, ::-1] if flip else cut)

    image = place(scene.image, cv2.INTER_AREA)
    maps = scene_maps(scene, image, place, maps_needed(tasks))
    if "depth" in maps:
        maps["depth"] = maps["depth"] * np.float32(side / size)
    if "normal" in maps and flip:
        maps["normal"] = maps["normal"] * np.array([-1, 1, 1], np.float32)
    maps = with_custom(maps, tasks)
    corners, kept = _crop_boxes(scene, x, y, side)
    if flip:
        corners = np.stack([1 - corners[:, 2], corners[:, 1], 1 - corners[:, 0], corners[:, 3]], axis=1)
    objects = [scene.objects[i] for i in np.flatnonzero(kept)]
    ids = [o.instance_id for o in objects]
    photo = image
    if rng is not None:
        photo = capture(image, random_sensor(rng), rng) if sensor else jitter(image, rng)
    return Sample(
        photo,
        centred(corners).astype(np.float32),
        np.array([o.class_id for o in objects], np.int64),
        np.array(ids, np.int64),
        _people(scene, ids, (x, y, side), size, flip),
        regions_of(
            (corners * size)[[o.class_name == PERSON for o in objects]], rng if "pose" in tasks else None
        ),
        maps,
        {s.id: s.class_id for s in panoptic(scene)[1]} if "pan" in tasks else {},
        image_class_of(place(scene.labels)) if "cls" in tasks else 0,
        name=f"scene {scene.seed}",
    )


def bend_scene(scene: Scene, lens: Lens) -> Scene:
    """A scene as seen through a lens of its size, labels and all; its camera stays the straight one.

    Boxes are those around what is now seen. What is hardly in the picture any more is no object, as in
    scenes.
    """
    instances = lens.labels(scene.instances)
    objects = find_objects(instances, {o.instance_id: o.class_id for o in scene.objects})
    seen = {o.instance_id for o in objects}
    people = []
    for person in scene.people:
        points = np.concatenate([lens.points(person.keypoints[:, :2]), person.keypoints[:, 2:]], axis=1)
        points = hide_outside(points[None], scene.height, scene.width)[0]
        points[points[:, 2] == 0] = 0
        people.append(ScenePerson(person.instance_id, points))
    return replace(
        scene,
        image=lens.image(scene.image),
        depth=lens.labels(scene.depth),
        normals=lens.labels(scene.normals) if scene.normals.size else scene.normals,
        instances=instances,
        labels=lens.labels(scene.labels),
        parts=lens.labels(scene.parts),
        objects=objects,
        people=tuple(person for person in people if person.instance_id in seen),
    )


def scene_maps(
    scene: Scene, image: NDArray[np.uint8], place: Place, tasks: Collection[str]
) -> dict[str, NDArray[Any]]:
    """The maps of `tasks`, each placed by `place`; `image` is the placed one, before its colours change."""
    sources: dict[str, Callable[[], NDArray[Any]]] = {
        "seg": lambda: place(scene.labels),
        "parse": lambda: place(scene.parts),
        "depth": lambda: place(scene.depth),
        "normal": lambda: place(scene.normals),
        "inst": lambda: place(scene.instances),
        "pan": lambda: place(panoptic(scene)[0]),
        "edge": lambda: edge_map(place(scene.instances), place(scene.depth)),
        "sal": lambda: saliency_map(image, place(scene.instances), [o.instance_id for o in scene.objects]),
    }
    return {task: source() for task, source in sources.items() if task in tasks}


def _crop_boxes(scene: Scene, x: int, y: int, side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Corners (M, 4) in [0, 1] of the window of the objects well inside it, and which those are."""
    boxes = np.array([o.box for o in scene.objects], np.float32).reshape(-1, 4)
    inside = (boxes - np.array([x, y, x, y], np.float32)).clip(0, side)
    area, whole = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (inside, boxes))
    kept = area > MIN_INSIDE * whole
    return inside[kept] / np.float32(side), kept


def _people(
    scene: Scene, ids: list[int], window: tuple[int, int, int], size: int, flip: bool
) -> NDArray[np.float32]:
    """Keypoints (P, 17, 3) of the people among the instances `ids`, in the `window` (x, y, side) resized to
    `size`. What is outside it has visibility 0.
    """
    x, y, side = window
    known = {person.instance_id: person.keypoints for person in scene.people}
    people = np.array([known[i] for i in ids if i in known], np.float32).reshape(-1, 17, 3)
    people[..., :2] = (people[..., :2] - np.array([x, y], np.float32)) * np.float32(size / side)
    if flip:
        people[..., 0] = size - people[..., 0]
        people = swap_sides_of(people)
    return hide_outside(people, size, size)


def swap_sides_of(people: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keypoints (P, 17, 3) with left and right exchanged, as in a mirrored picture."""
    swapped: NDArray[np.float32] = swap_sides(people.swapaxes(0, 1)).swapaxes(0, 1)
    return swapped


def hide_outside(people: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Keypoints (P, 17, 3) with visibility 0 where they lie outside of a picture (height, width) [px]."""
    xy: NDArray[np.float32] = people[..., :2]
    outside = np.any((xy < 0) | (xy >= np.array([width, height])), axis=-1)
    hidden: NDArray[np.float32] = people.copy()
    hidden[outside, 2] = 0
    return hidden


def centred(corners: NDArray[Any]) -> NDArray[Any]:
    """Boxes (N, 4) xyxy -> cxcywh, in the same unit."""
    low, high = corners[:, :2], corners[:, 2:]
    boxes: NDArray[Any] = np.concatenate([(low + high) / 2, high - low], axis=1)
    return boxes


def regions_of(people: NDArray[Any], rng: np.random.Generator | None) -> NDArray[np.float32]:
    """Boxes (P, 4) xyxy [px] of people, as inexact as a detector's unless `rng` is None."""
    boxes = people.reshape(-1, 4)
    return (boxes if rng is None else jitter_boxes(boxes, rng, BOX_SPREAD)).astype(np.float32)


def jitter(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random brightness, contrast, saturation, white balance and sensor noise of an RGB image."""
    x = image.astype(np.float32)
    grey = x.mean(axis=2, keepdims=True)
    mean = grey.mean()
    x = grey + (x - grey) * np.float32(rng.uniform(0.6, 1.4))
    x = (x - mean) * np.float32(rng.uniform(0.7, 1.3)) + mean * np.float32(rng.uniform(0.7, 1.3))
    x *= rng.uniform(0.9, 1.1, 3).astype(np.float32)
    if rng.random() < 0.5:
        x += rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(0, 8))
    coloured: NDArray[np.uint8] = np.clip(x, 0, 255).astype(np.uint8)
    return coloured
