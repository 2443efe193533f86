"""Results painted on the image they came from: tinted label maps, labelled boxes, dense maps as an inset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import ImageError
from argus_edge.results import DenseMap, Detections, Frame, LabelMap
from argus_edge.runtime.preprocess import check_image

__all__ = ["draw"]

Color: TypeAlias = tuple[int, int, int]
Pixels: TypeAlias = NDArray[np.uint8]
_R = TypeVar("_R")

PALETTE: Final[tuple[Color, ...]] = (
    (66, 165, 245), (124, 179, 66), (255, 167, 38), (171, 71, 188), (239, 83, 80), (0, 188, 172),
    (255, 235, 59), (121, 85, 72), (236, 64, 152), (92, 107, 192), (192, 202, 51), (0, 131, 143),
    (255, 138, 101), (149, 117, 205), (46, 125, 50), (176, 190, 197), (198, 40, 40), (129, 212, 250),
    (255, 204, 188), (40, 53, 147),
)  # fmt: skip
"""RGB, neighbours far apart in hue; classes beyond its length start again."""

TINT: Final = 0.42  # opacity of a label map
INSET: Final = 0.30  # side of a dense map's inset, as a share of the image's
MARGIN: Final = 0.015  # around the inset, as a share of the image's shorter side


def draw(image: Pixels, frame: Frame, min_score: float = 0.35) -> Pixels:
    """Paint the results of `frame` on a copy of the image they came from.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        frame: results of that image. A class has the same colour as a label and as a box.
        min_score: boxes below it are not drawn.

    Returns (H, W, 3) uint8 RGB. Raises ImageError when the image is not one, or not the size of the frame.
    """
    check_image(image)
    if image.shape[:2] != (frame.image_height, frame.image_width):
        raise ImageError(
            f"image is {image.shape[1]} x {image.shape[0]} px, but the results belong to one of "
            f"{frame.image_width} x {frame.image_height} px"
        )
    canvas = np.array(image, order="C")
    colors = _class_colors(frame)
    # Tints first and insets last, whatever the order of the tasks: boxes must not vanish under a tint.
    for labels in _results(frame, LabelMap):
        _draw_labels(canvas, labels, colors)
    for detections in _results(frame, Detections):
        _draw_boxes(canvas, detections, colors, min_score)
    for number, values in enumerate(_results(frame, DenseMap)):
        _draw_inset(canvas, values, number)
    return canvas


def _results(frame: Frame, kind: type[_R]) -> list[_R]:
    return [result for result in frame.results.values() if isinstance(result, kind)]


def _class_colors(frame: Frame) -> Mapping[str, Color]:
    named: list[LabelMap | Detections] = [*_results(frame, LabelMap), *_results(frame, Detections)]
    names = dict.fromkeys(name for result in named for name in result.class_names)
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}


def _draw_labels(canvas: Pixels, result: LabelMap, colors: Mapping[str, Color]) -> None:
    """Tint every pixel that has a class."""
    import cv2

    table = np.zeros((256, 3), np.uint8)
    table[: len(result.class_names)] = [colors[name] for name in result.class_names]
    tinted = cv2.addWeighted(canvas, 1 - TINT, table[result.labels], TINT, 0)
    np.copyto(canvas, tinted, where=(result.labels < len(result.class_names))[..., None])


def _draw_boxes(canvas: Pixels, result: Detections, colors: Mapping[str, Color], least: float) -> None:
    """Outline the boxes, the best on top, each with "class score" above it, or inside for want of room."""
    width = _line_width(canvas)
    for index in reversed(range(len(result))):
        if result.scores[index] < least:
            continue
        name = result.class_names[result.classes[index]]
        left, top, right, bottom = (round(float(side)) for side in result.boxes[index])
        _draw_outline(canvas, left, top, max(right, left + 1), max(bottom, top + 1), width, colors[name])
        _draw_text(canvas, f"{name} {result.scores[index]:.2f}", left, top, colors[name])


def _draw_outline(
    canvas: Pixels, left: int, top: int, right: int, bottom: int, width: int, color: Color
) -> None:
    """Colour the outermost `width` pixels of those in [left, right) x [top, bottom)."""
    inner_top, inner_bottom = min(top + width, bottom), max(bottom - width, top)
    canvas[top:inner_top, left:right] = color
    canvas[inner_bottom:bottom, left:right] = color
    canvas[top:bottom, left : min(left + width, right)] = color
    canvas[top:bottom, max(right - width, left) : right] = color


def _draw_inset(canvas: Pixels, result: DenseMap, number: int) -> None:
    """Put a small colour-mapped copy in the lower right corner, the next ones to its left; near is warm."""
    import cv2

    height, width = canvas.shape[:2]
    size = max(1, round(width * INSET)), max(1, round(height * INSET))
    values = cv2.resize(result.values, size, interpolation=cv2.INTER_AREA)
    low, high = (float(value) for value in np.percentile(values, (2, 98)))
    levels = np.clip((high - values) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    picture = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    margin = max(1, round(min(height, width) * MARGIN))
    left, top = width - (number + 1) * (size[0] + margin), height - size[1] - margin
    if left < 0 or top < 0:
        return
    canvas[top : top + size[1], left : left + size[0]] = picture
    white = (255, 255, 255)
    _draw_outline(canvas, left, top, left + size[0], top + size[1], _line_width(canvas), white)
    _draw_text(canvas, f"{low:.1f}-{high:.1f} {result.unit}".rstrip(), left, top, white)


def _draw_text(canvas: Pixels, text: str, left: int, bottom: int, background: Color) -> None:
    """Write on a plate whose lower left corner is at (left, bottom) [px], moved to stay in the image."""
    import cv2

    height, width = canvas.shape[:2]
    scale = max(0.3, min(height, width) / 750)
    weight = max(1, round(scale * 1.6))
    (text_width, text_height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)
    pad = max(1, round(scale * 4))
    plate_width, plate_height = text_width + 2 * pad, text_height + baseline + pad
    left = max(0, min(left, width - plate_width))
    top = bottom - plate_height
    if top < 0:
        top = min(bottom, max(0, height - plate_height))
    cv2.rectangle(
        canvas, (left, top), (left + plate_width - 1, top + plate_height - 1), background, cv2.FILLED
    )
    red, green, blue = ((level / 255) ** 2.2 for level in background)
    # Relative luminance 0.18 is where black and white stand out equally (WCAG 2, contrast ratio).
    ink = (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else (255, 255, 255)
    origin = left + pad, top + text_height + pad
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, weight, cv2.LINE_AA)


def _line_width(canvas: Pixels) -> int:
    shorter: int = min(canvas.shape[:2])
    return max(1, round(shorter / 180))
