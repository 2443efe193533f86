"""One second of a camera, and accuracy against latency, as SVG in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np

from argus_edge.runtime.charts import COLOURS, even_ticks

__all__ = ["scatter", "time_line"]

WIDTH: Final = 960
LANE: Final = 26
LEFT: Final = 96
NARROW, HEIGHT = 360, 220  # of a scatter
MARGIN, TOP = 46, 22


def time_line(title: str, rate: float, span: float, shots: Sequence[Mapping[str, Any]]) -> str:
    """The first `span` [ms]: a lane of the camera's frames, and one for each stage. "" without a shot."""
    if not shots:
        return ""
    stages = dict.fromkeys(stage for shot in shots for stage in shot["stages_ms"])
    lanes = ["camera", *(each for each in stages if each != "total" and not each.endswith(".decode"))]
    scale = (WIDTH - LEFT - 10) / span
    height = LANE * len(lanes) + 22
    parts = []
    for tick in np.linspace(0, span, 6):
        x = LEFT + tick * scale
        anchor = "middle" if tick < span else "end"
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 20}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="{anchor}">{tick:.4g} ms</text>')
    for i, lane in enumerate(lanes):
        parts.append(f'<text x="0" y="{LANE * i + 17}">{escape(lane)}</text>')
    taken = {round(shot["captured_ms"] * rate / 1e3) for shot in shots}
    for number in range(math.ceil(span * rate / 1e3 - 1e-9)):
        x = LEFT + 1e3 * number / rate * scale
        colour = "var(--curve)" if number in taken else "var(--bad)"
        parts.append(f'<rect x="{x:.1f}" y="5" width="3" height="{LANE - 10}" fill="{colour}"/>')
    for shot in shots:
        parts += _boxes(shot, lanes, span, scale)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><div class="wide">'
        f'<svg class="chart" style="min-width:640px" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></div></figure>'
    )


def _boxes(shot: Mapping[str, Any], lanes: Sequence[str], span: float, scale: float) -> list[str]:
    """Each stage of one frame, a decoder with the making of its result; the stages follow one another."""
    boxes, begin = [], shot["begun_ms"]
    for stage, ms in shot["stages_ms"].items():
        lane = stage.removesuffix(".decode")
        if stage == "total" or begin >= span:
            continue
        width = max(0.5, (min(begin + ms, span) - begin) * scale)
        row = lanes.index(lane)
        boxes.append(
            f'<rect x="{LEFT + begin * scale:.1f}" y="{LANE * row + 4}" width="{width:.1f}" '
            f'height="{LANE - 8}" fill="{COLOURS[row % len(COLOURS)]}"/>'
        )
        begin += ms
    return boxes


def scatter(title: str, points: Mapping[str, tuple[float, float]]) -> str:
    """Name -> (x, y) as dots with their names; both axes start where the points do."""
    xs, ys = ([point[i] for point in points.values()] for i in (0, 1))
    across, up = even_ticks(0, max(xs), 4), even_ticks(min(ys), max(ys), 3)
    right, ground = NARROW - 12, HEIGHT - 24

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            MARGIN + (right - MARGIN) * (x - across[0]) / (across[-1] - across[0]),
            ground - (ground - TOP) * (y - up[0]) / (up[-1] - up[0]),
        )

    parts = []
    for tick in up:
        _, y = place(across[0], tick)
        parts.append(f'<line x1="{MARGIN}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{MARGIN - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for tick in across:
        x, _ = place(tick, up[0])
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 7}" text-anchor="middle">{tick:.4g}</text>')
    for i, (name, point) in enumerate(points.items()):
        x, y = place(*point)
        anchor = ("start", 7) if x < NARROW / 2 else ("end", -7)
        colour = COLOURS[i % len(COLOURS)]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" style="fill:{colour}"/>')
        parts.append(
            f'<text x="{x + anchor[1]:.1f}" y="{y - 6:.1f}" text-anchor="{anchor[0]}">{escape(name)}</text>'
        )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg class="chart" viewBox="0 0 {NARROW} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg></figure>"
    )
