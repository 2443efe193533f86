"""Outlines and lettering, in sizes that suit the picture."""

from __future__ import annotations

from argus_edge.runtime.draw.colors import Color, Pixels, ink_on


def line_width(canvas: Pixels) -> int:
    """Width of a line that is seen, but hides little [px]."""
    shorter: int = min(canvas.shape[:2])
    return max(1, round(shorter / 180))


def draw_outline(
    canvas: Pixels, left: int, top: int, right: int, bottom: int, width: int, color: Color
) -> None:
    """Colour the outermost `width` pixels of those in [left, right) x [top, bottom)."""
    inner_top, inner_bottom = min(top + width, bottom), max(bottom - width, top)
    canvas[top:inner_top, left:right] = color
    canvas[inner_bottom:bottom, left:right] = color
    canvas[top:bottom, left : min(left + width, right)] = color
    canvas[top:bottom, max(right - width, left) : right] = color


def plate_size(canvas: Pixels, text: str) -> tuple[int, int]:
    """(width, height) [px] of what `draw_text` would cover."""
    import cv2

    scale, weight, pad = _lettering(canvas)
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)
    return width + 2 * pad, height + baseline + pad


def draw_text(
    canvas: Pixels,
    text: str,
    left: int,
    edge: int,
    background: Color,
    *,
    below: bool = False,
    width: int | None = None,
) -> int:
    """Write on a plate that stands on the line `edge` [px], or hangs below it.

    It is moved to stay in the image; a plate that would hang out above it hangs below the line. With `width`
    [px] the letters shrink to fit into it. Returns the plate's other edge [px].
    """
    import cv2

    canvas_height, canvas_width = canvas.shape[:2]
    scale, weight, pad = _lettering(canvas)
    if width is not None:
        scale = max(0.25, scale * min(1.0, width / plate_size(canvas, text)[0]))
    (text_width, text_height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)
    plate_width, plate_height = text_width + 2 * pad, text_height + baseline + pad
    left = max(0, min(left, canvas_width - plate_width))
    top = edge if below else edge - plate_height
    if top < 0:
        top = min(edge, max(0, canvas_height - plate_height))
    corner = (left + plate_width - 1, top + plate_height - 1)
    cv2.rectangle(canvas, (left, top), corner, background, cv2.FILLED)
    origin = left + pad, top + text_height + pad
    ink = ink_on(background)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, weight, cv2.LINE_AA)
    return top + plate_height if below else top


def _lettering(canvas: Pixels) -> tuple[float, int, int]:
    """Scale of the font, weight of its strokes [px], margin around the text [px]."""
    scale = max(0.3, min(canvas.shape[:2]) / 750)
    return scale, max(1, round(scale * 1.6)), max(1, round(scale * 4))
