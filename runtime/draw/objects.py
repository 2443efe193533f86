"""What is drawn around and upon things: masks with outlines, labelled boxes, skeletons."""

from __future__ import annotations

from typing import Final

import numpy as np

from argus_edge.results import Detections, Instances, Keypoints
from argus_edge.runtime.draw.colors import Color, Colors, Pixels
from argus_edge.runtime.draw.strokes import draw_outline, draw_text, line_width

FILL: Final = 0.45  # opacity of a mask
VISIBLE: Final = 0.2  # keypoints below this score are not drawn
LEFT: Final = (255, 152, 0)  # the person's own left
RIGHT: Final = (41, 182, 246)
MIDDLE: Final = (124, 220, 90)
RIM: Final = (0, 0, 0)


def draw_masks(canvas: Pixels, result: Instances, colors: Colors, least: float, fill: bool) -> None:
    """Outline the masks, and fill them thinly unless they lie on a tint; the best are on top."""
    import cv2

    width = max(1, round(line_width(canvas) * 0.7))
    for index in reversed(range(len(result))):
        if result.scores[index] < least:
            continue
        mask, color = result.masks[index].view(np.uint8), colors[result.class_names[result.classes[index]]]
        if fill:
            left, top, wide, high = cv2.boundingRect(mask)
            window = np.s_[top : top + high, left : left + wide]
            tinted = canvas[window] * np.float32(1 - FILL) + np.array(color, np.float32) * np.float32(FILL)
            np.copyto(canvas[window], tinted.astype(np.uint8), where=result.masks[index][window][..., None])
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, color, width)


def draw_boxes(canvas: Pixels, result: Detections, colors: Colors, least: float) -> None:
    """Outline the boxes, the best on top, each with "class score" above it, or inside for want of room.

    Where they were tracked it is "class #track score".
    """
    width = 1 if isinstance(result, Instances) else line_width(canvas)
    for index in reversed(range(len(result))):
        if result.scores[index] < least:
            continue
        name = result.class_names[result.classes[index]]
        left, top, right, bottom = (round(float(side)) for side in result.boxes[index])
        draw_outline(canvas, left, top, max(right, left + 1), max(bottom, top + 1), width, colors[name])
        track = "" if result.track_ids is None else f"#{result.track_ids[index]} "
        draw_text(canvas, f"{name} {track}{result.scores[index]:.2f}", left, top, colors[name])


def draw_skeletons(canvas: Pixels, result: Keypoints, least: float, numbered: bool) -> None:
    """Draw limbs and joints that are visible, left, right and middle each in its colour, on a dark rim.

    Where they were tracked and `numbered` asks for it, "#track" stands at the upper left of each.
    """
    import cv2

    height, width = canvas.shape[:2]
    sides = [_side(name) for name in result.names]
    for index, (points, scores) in enumerate(zip(result.points, result.scores, strict=True)):
        visible = scores >= VISIBLE
        if result.person_scores[index] < least or not visible.any():
            continue
        places = np.clip(np.round(points), -width - height, 2 * (width + height)).astype(int).tolist()
        # A line must not be wider than a small person's limbs.
        extent = float(np.ptp(points[visible], axis=0).max())
        stroke = max(1, min(line_width(canvas), round(extent / 50)))
        limbs = [(a, b) for a, b in result.skeleton if visible[a] and visible[b]]
        for a, b in limbs:
            cv2.line(canvas, places[a], places[b], RIM, stroke + 2, cv2.LINE_AA)
        for a, b in limbs:
            color = sides[a] if sides[a] == sides[b] else MIDDLE
            cv2.line(canvas, places[a], places[b], color, stroke, cv2.LINE_AA)
        for joint in np.flatnonzero(visible):
            cv2.circle(canvas, places[joint], stroke + 1, RIM, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(canvas, places[joint], stroke, sides[joint], cv2.FILLED, cv2.LINE_AA)
        if numbered and result.track_ids is not None:
            left, top = (round(float(side)) for side in result.boxes[index, :2])
            draw_text(canvas, f"#{result.track_ids[index]}", left, top, MIDDLE)


def _side(name: str) -> Color:
    return LEFT if name.startswith("left_") else RIGHT if name.startswith("right_") else MIDDLE
