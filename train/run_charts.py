"""Line charts as SVG that takes its colours from the page: see `CHART_STYLE`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

Points = Sequence[tuple[float, float]]

WIDTH: Final = 360  # of the drawing; the page scales it
HEIGHT: Final = 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24  # margins around the plot
MOST_POINTS: Final = 300  # of a line; longer ones are averaged
MOST_DOTS: Final = 50  # points up to which each is marked

CHART_STYLE: Final = """
svg.chart { display: block; width: 100%; height: auto; }
svg.chart text { fill: var(--faint); font: 11px system-ui, sans-serif; }
svg.chart line { stroke: var(--line); }
svg.chart polyline { fill: none; stroke: var(--curve); stroke-width: 1.6; stroke-linejoin: round; }
svg.chart circle { fill: var(--curve); }
"""
"""The page defines --faint (text), --line (grid) and --curve."""


def chart(title: str, points: Points, steps: int) -> str:
    """A line of (x, y), finite, over the steps 0 to `steps`; logarithmic where the values are positive and
    differ by more than a decade. "" without a point.
    """
    points = _thinned(points)
    if not points:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    log = low > 0 and high > 10 * low
    marks = _decades(low, high) if log else even_ticks(low, high, 4)
    scale = math.log10 if log else float
    bottom, top = scale(min(low, marks[0])), scale(max(high, marks[-1]))
    right, ground = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(x: float, y: float) -> tuple[str, str]:
        across, up = x / max(1, steps), (scale(y) - bottom) / (top - bottom)
        return f"{LEFT + (right - LEFT) * across:.1f}", f"{ground - (ground - TOP) * up:.1f}"

    parts = []
    for mark in marks:
        _, y = place(0, mark)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y}" dy="4" text-anchor="end">{_number(mark)}</text>')
    for mark in even_ticks(0, max(1, steps), 4):
        if mark <= steps:
            x, _ = place(mark, high)
            anchor = "end" if mark > 0.95 * steps else "middle"
            parts.append(f'<text x="{x}" y="{HEIGHT - 7}" text-anchor="{anchor}">{_number(mark)}</text>')
    line = [place(x, y) for x, y in points]
    parts.append(f'<polyline points="{" ".join(",".join(point) for point in line)}"/>')
    if len(line) <= MOST_DOTS:
        parts += [f'<circle cx="{x}" cy="{y}" r="2"/>' for x, y in line]
    note = ' <span class="note">log scale</span>' if log else ""
    return (
        f"<figure><figcaption>{escape(title)}{note}</figcaption>"
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def even_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers, 1, 2 or 5 times a power of ten apart, that enclose low ... high."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(f * power for f in (1, 2, 5, 10) if f * power * count >= span * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """At most about five powers of ten around low ... high; where they are few, with 3 between them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, math.ceil((last - first) / 5))
    powers = [10.0**i for i in range(first, last + stride, stride)]
    marks = sorted(powers + [3 * p for p in powers[:-1]]) if len(powers) <= 3 else powers
    inner = [i for i, mark in enumerate(marks) if low <= mark <= high]
    return marks[max(0, inner[0] - 1) : inner[-1] + 2] if inner else marks


def _thinned(points: Points) -> Points:
    """At most MOST_POINTS, each the mean of its neighbours."""
    width = math.ceil(len(points) / MOST_POINTS)
    if width <= 1:
        return points
    groups = [points[i : i + width] for i in range(0, len(points), width)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _number(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.6g}" if abs(value) < 1e4 else f"{value:,.0f}"
