"""Pictures of scenes for people: a contact sheet with every map, and clips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.keypoints import SKELETON
from argus_edge.train.data.scenes.scene import DET_CLASSES, FIRST_THING, PART_CLASSES, SEG_CLASSES, Scene
from argus_edge.train.data.scenes.targets import IMAGE_CLASSES, edges, image_class, panoptic, saliency

Picture = NDArray[np.uint8]  # (H, W, 3) RGB

SEG_COLOURS: Final = np.array(
    [(135, 190, 240), (150, 130, 90), (205, 200, 190), (240, 240, 235),
     (214, 69, 65), (52, 152, 219), (46, 170, 90), (240, 160, 30), (160, 80, 200)], np.uint8)  # fmt: skip


PART_COLOURS: Final = np.array(
    [(70, 70, 70), (240, 200, 60), (214, 69, 65), (52, 152, 219),
     (120, 220, 240), (46, 170, 90), (170, 230, 120)], np.uint8)  # fmt: skip
_WHITE: Final = np.full(3, 255, np.uint8)


def contact_sheet(scenes: Iterable[Scene]) -> Picture:
    """Two rows of five pictures for each scene, all of one size.

    RGB, depth, normals, instances with boxes, semantic labels; keypoints, body parts, boundaries, saliency
    with the image class, panoptic segments.
    """
    rows = [np.concatenate(row, axis=1) for scene in scenes for row in _rows(scene)]
    if not rows:
        raise InputError("a contact sheet needs at least one scene")
    return np.concatenate(rows, axis=0)


def _rows(s: Scene) -> tuple[list[Picture], list[Picture]]:
    return (
        [s.image, depth_picture(s), normal_picture(s), instance_picture(s), label_picture(s)],
        [people_picture(s), part_picture(s), edge_picture(s), saliency_picture(s), panoptic_picture(s)],
    )


def depth_picture(scene: Scene) -> Picture:
    """Near is warm, far is cool, in the logarithm of depth; no surface is black."""
    seen = scene.depth > 0
    level = np.zeros(scene.depth.shape, np.uint8)
    level[seen] = np.clip(255 * (1 - np.log(scene.depth[seen] / 0.5) / np.log(60 / 0.5)), 0, 255)
    picture = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    picture[~seen] = 0
    return np.asarray(picture, np.uint8)


def normal_picture(scene: Scene) -> Picture:
    """Red to the right, green up, blue towards the camera; no surface is grey."""
    picture: Picture = (scene.normals * np.array([127, -127, -127], np.float32) + 128).astype(np.uint8)
    return picture


def label_picture(scene: Scene) -> Picture:
    """Semantic labels over the shadow of the image, with a legend of the classes present."""
    return _legend(scene, scene.labels, SEG_CLASSES, SEG_COLOURS)


def part_picture(scene: Scene) -> Picture:
    """Body parts over the shadow of the image, with a legend of those present."""
    return _legend(scene, scene.parts, PART_CLASSES, PART_COLOURS)


def edge_picture(scene: Scene) -> Picture:
    """Boundaries, white on black."""
    return np.repeat(255 * edges(scene)[:, :, None], 3, axis=2)


def saliency_picture(scene: Scene) -> Picture:
    """What stands out, amid what does not in dark grey, and the class of the image."""
    grey = np.repeat(0.3 * scene.image.mean(axis=2, keepdims=True), 3, axis=2)
    picture = np.where(saliency(scene)[:, :, None] > 0, scene.image, grey).astype(np.uint8)
    write_text(picture, IMAGE_CLASSES[image_class(scene)], (3, 12), _WHITE)
    return picture


def panoptic_picture(scene: Scene) -> Picture:
    """Segments with dark rims: stuff in its class colour, things in shades of theirs; void is black."""
    ids, segments = panoptic(scene)
    picture = np.zeros_like(scene.image)
    for number, segment in enumerate(segments):
        stuff = segment.class_id - len(DET_CLASSES)
        colour = SEG_COLOURS[stuff] if stuff >= 0 else SEG_COLOURS[FIRST_THING + segment.class_id]
        picture[ids == segment.id] = colour * (0.6 + 0.1 * (number % 5) if segment.is_thing else 1.0)
    rim = np.zeros(ids.shape, bool)
    rim[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    rim[1:] |= ids[1:] != ids[:-1]
    picture[rim] //= 3
    return picture


def people_picture(scene: Scene) -> Picture:
    """Keypoints on the dimmed image: left is orange, right is blue, the nose white; hidden ones are rings."""
    picture = (0.6 * scene.image).astype(np.uint8)
    for person in scene.people:
        at = [(int(x), int(y)) for x, y, _ in person.keypoints]
        known = person.keypoints[:, 2] > 0
        for a, b in SKELETON:
            if known[a] and known[b]:
                cv2.line(picture, at[a], at[b], (200, 200, 200), 1, cv2.LINE_AA)
        for k in np.flatnonzero(known):
            colour = (255, 255, 255) if k == 0 else ((255, 140, 0), (60, 170, 255))[(k + 1) % 2]
            visible = person.keypoints[k, 2] == 2
            cv2.circle(picture, at[k], 2, colour, cv2.FILLED if visible else 1, cv2.LINE_AA)
    return picture


def instance_picture(scene: Scene) -> Picture:
    """Each thing in its own colour, with its box and class name."""
    colours = np.random.default_rng(7).integers(60, 256, (int(scene.instances.max()) + 1, 3)).astype(np.uint8)
    colours[0] = 40
    picture = colours[scene.instances]
    for thing in scene.objects:
        x0, y0, x1, y1 = (int(c) for c in thing.box)
        colour = tuple(int(c) for c in colours[thing.instance_id])
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), colour, 1)
    for thing in scene.objects:
        write_text(
            picture,
            thing.class_name,
            (int(thing.box[0]) + 2, int(thing.box[1]) + 11),
            _WHITE,
        )
    return picture


def write_picture(picture: Picture, out: Path) -> None:
    """Writes a PNG or JPEG.

    Raises:
        InputError: the folder does not exist or the ending is not a picture's.
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{out}: a picture's name ends in .png or .jpg")
    if not out.parent.is_dir() or not cv2.imwrite(str(out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise InputError(f"{out}: cannot be written; does the folder {out.parent} exist?")


def write_clip(pictures: Iterable[Picture], out: Path, rate: float) -> int:
    """Writes pictures of one size as an mp4 video (MPEG-4 part 2) at `rate` [1/s]; returns their number.

    Raises:
        InputError: the file cannot be written.
    """
    if out.suffix.lower() != ".mp4" or not out.parent.is_dir():
        raise InputError(f"{out}: expected a name ending in .mp4 in a folder that exists")
    writer: cv2.VideoWriter | None = None
    count = 0
    try:
        for picture in pictures:
            if writer is None:
                writer = cv2.VideoWriter(
                    str(out), cv2.VideoWriter.fourcc(*"mp4v"), rate, (picture.shape[1], picture.shape[0])
                )
                if not writer.isOpened():
                    raise InputError(f"{out}: this OpenCV cannot write mp4 video there")
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        if writer is not None:
            writer.release()
    return count


def _legend(scene: Scene, labels: Picture, names: tuple[str, ...], colours: Picture) -> Picture:
    """A label map (H, W) in colours over the shadow of the image, with the names of the labels in it."""
    grey = scene.image.mean(axis=2, keepdims=True)
    picture: Picture = (0.75 * colours[labels] + 0.25 * grey).astype(np.uint8)
    for row, label in enumerate(np.unique(labels)):
        write_text(picture, names[label], (3, 12 + 13 * row), colours[label])
    return picture


def write_text(picture: Picture, text: str, at: tuple[int, int], colour: Picture) -> None:
    """Text with a dark rim, readable on anything."""
    for shade, width in (((0, 0, 0), 3), (tuple(int(c) for c in colour), 1)):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, shade, width, cv2.LINE_AA)
