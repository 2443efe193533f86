"""Results painted on the image they came from.

colors.py has the colour of each class, strokes.py lines and lettering, maps.py what covers an area,
objects.py what is drawn around things and people. Here is what goes where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from argus_edge.errors import ImageError
from argus_edge.results import Classification, DenseMap, Detections, Frame, Instances, Keypoints
from argus_edge.runtime.draw.colors import PALETTE, Colors, Pixels, class_colors
from argus_edge.runtime.draw.maps import Layer, layers, paint, shrunk, write_names
from argus_edge.runtime.draw.objects import draw_boxes, draw_masks, draw_skeletons
from argus_edge.runtime.draw.strokes import draw_outline, draw_text, line_width
from argus_edge.runtime.preprocess import check_image

__all__ = ["PALETTE", "draw", "draw_apart"]

INSETS: Final = ((3, 0.30), (8, 0.22))  # up to how many, and the side of each as a share of the image's
MARGIN: Final = 0.015  # around an inset, as a share of the image's shorter side
NOTES: Final = 3  # classes of the image as a whole that are written down
WHITE: Final = (255, 255, 255)


def draw(image: Pixels, frame: Frame, min_score: float = 0.35) -> Pixels:
    """Paint the results of `frame` on a copy of the image they came from.

    One map tints the picture: the first of those that leave the image visible (labels, segments,
    probabilities, anomalies). The others, and depth and normals always, are insets from the lower right
    corner, as many as there is room for. Instances, boxes and people lie over the tint, the classes of the
    whole image are written in the upper left corner.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        frame: results of that image. A class has the same colour in each of them. Boxes that instances have
            as well are drawn once.
        min_score: boxes, instances and persons below it are not drawn.

    Returns (H, W, 3) uint8 RGB. Raises ImageError when the image is not one, or not the size of the frame.
    """
    _check(image, frame)
    colors = class_colors(frame)
    maps = [layer for task, result in frame.results.items() for layer in layers(task, result)]
    tint = next((layer for layer in maps if not layer.opaque), None)
    canvas = np.array(image, order="C")
    # Tints first and insets last, whatever the order of the tasks: boxes must not vanish under a tint.
    if tint is not None:
        paint(canvas, tint, colors)
    _draw_marks(canvas, frame, colors, min_score, tint)
    _draw_notes(canvas, frame, colors, tint)
    _draw_insets(canvas, image, [layer for layer in maps if layer is not tint], colors)
    return canvas


def draw_apart(
    image: Pixels, frame: Frame, min_score: float = 0.35, span: tuple[float, float] | None = None
) -> list[tuple[str, Pixels]]:
    """Paint each result on its own copy of the image: [(caption, (H, W, 3) uint8 RGB), ...].

    Maps fill the picture; one of anomalies gives a picture for each category. Arguments and errors as for
    `draw`; `span` is what the colours of depth [m] stand for, by default nearly all of the map's values.
    """
    _check(image, frame)
    colors = class_colors(frame)
    pictures = []
    for task, result in frame.results.items():
        alone = replace(frame, results={task: result})
        for layer in layers(task, result, span):
            canvas = np.array(image, order="C")
            paint(canvas, layer, colors)
            write_names(canvas, layer, colors, ())
            pictures.append((layer.caption, canvas))
        if isinstance(result, Detections | Keypoints | Classification):
            canvas = np.array(image, order="C")
            _draw_marks(canvas, alone, colors, min_score, None)
            _draw_notes(canvas, alone, colors, None)
            pictures.append((task, canvas))
    return pictures


def _check(image: Pixels, frame: Frame) -> None:
    check_image(image)
    if image.shape[:2] != (frame.image_height, frame.image_width):
        raise ImageError(
            f"image is {image.shape[1]} x {image.shape[0]} px, but the results belong to one of "
            f"{frame.image_width} x {frame.image_height} px"
        )


def _draw_marks(canvas: Pixels, frame: Frame, colors: Colors, min_score: float, tint: Layer | None) -> None:
    """Draw what has a place: names on the tint, masks and boxes, people."""
    results = list(frame.results.values())
    instances = [result for result in results if isinstance(result, Instances)]
    detections: Sequence[Detections] = instances or [r for r in results if isinstance(r, Detections)]
    if tint is not None:
        write_names(canvas, tint, colors, [name for boxes in detections for name in boxes.class_names])
    for found in instances:
        draw_masks(canvas, found, colors, min_score, fill=tint is None)
    for boxes in detections:
        draw_boxes(canvas, boxes, colors, min_score)
    for result in results:
        if isinstance(result, Keypoints):
            draw_skeletons(canvas, result, min_score, numbered=not detections)


def _draw_notes(canvas: Pixels, frame: Frame, colors: Colors, tint: Layer | None) -> None:
    """Write what holds for the whole image under one another, from the upper left corner."""
    notes = [(tint.caption, WHITE)] if tint is not None and isinstance(tint.map, DenseMap) else []
    for result in frame.results.values():
        if isinstance(result, Classification):
            notes += [(f"{name} {probability:.2f}", colors[name]) for name, probability in result.top(NOTES)]
    bottom = 0
    for text, color in notes:
        bottom = draw_text(canvas, text, 0, bottom, color, below=True)


def _draw_insets(canvas: Pixels, image: Pixels, maps: list[Layer], colors: Colors) -> None:
    """Put small pictures from the lower right corner to the left, then in a row above."""
    import cv2

    height, width = canvas.shape[:2]
    share = next((share for count, share in INSETS if len(maps) <= count), INSETS[-1][1])
    inset_width, inset_height = max(1, round(width * share)), max(1, round(height * share))
    margin = max(1, round(min(height, width) * MARGIN))
    columns = max(1, (width - margin) // (inset_width + margin))
    for number, layer in enumerate(maps):
        row, column = divmod(number, columns)
        left = width - (column + 1) * (inset_width + margin)
        top = height - (row + 1) * (inset_height + margin)
        if left < 0 or top < height // 3:
            return
        size = (inset_width, inset_height)
        picture = np.array(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        paint(picture, shrunk(layer, size), colors)
        canvas[top : top + inset_height, left : left + inset_width] = picture
        draw_outline(canvas, left, top, left + inset_width, top + inset_height, line_width(canvas), WHITE)
        draw_text(canvas, layer.caption, left, top, WHITE, below=True, width=inset_width)
