"""Line charts and histograms as SVG that takes its colours from the page: see `CHART_STYLE`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

Points = Sequence[tuple[float, float]]

WIDTH: Final = 360  # of the drawing; the page scales it
HEIGHT: Final = 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24  # margins around the plot
THOUSAND: Final = 1000
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
BARS: Final = 120  # height of a histogram
FOOT: Final = 18  # below it, for the numbers
CAPTION: Final = 20  # height of a line of text in a picture of curves
COLOURS: Final = ("#0b62c4", "#d1495b", "#2e8b57", "#b8860b", "#7b4fb5", "#444b54", "#d2691e", "#008b8b")
PICTURE_STYLE: Final = (
    "text { fill: #444b54; font: 11px system-ui, sans-serif; } text[font-weight] { font-size: 13px; "
    "font-weight: 600; } line { stroke: #d8dde3; } polyline { fill: none; stroke-width: 1.6; "
    "stroke-linejoin: round; } "
    + " ".join(f".c{i} {{ stroke: {c}; }} circle.c{i} {{ fill: {c}; }}" for i, c in enumerate(COLOURS))
)


def in_short(value: float) -> str:
    """With four digits, or all of those before the point: 0.1234, 12.3, 10248."""
    return f"{value:.4g}" if abs(value) < THOUSAND else f"{value:.0f}"


def chart(title: str, points: Points, steps: int) -> str:
    """A line of (x, y), finite, over the steps 0 to `steps`; logarithmic where the values are positive and
    differ by more than a decade. "" without a point.
    """
    points = _thinned(points)
    if not points:
        return ""
    parts, log = _drawing([points], steps)
    note = ' <span class="note">log scale</span>' if log else ""
    return (
        f"<figure><figcaption>{escape(title)}{note}</figcaption>"
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def histogram(
    title: str, note: str, edges: tuple[float, float], counts: Sequence[int], marks: Sequence[float]
) -> str:
    """Counts of equal bins over `edges`, on a logarithmic scale, with a line at each of `marks`."""
    (low, high), most = edges, math.log1p(max(counts)) or 1.0
    width = WIDTH / len(counts)
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{BARS * (1 - math.log1p(count) / most):.1f}" '
        f'width="{width * 0.9:.1f}" height="{BARS * math.log1p(count) / most:.1f}" fill="var(--curve)"/>'
        for i, count in enumerate(counts)
        if count
    )
    drawn = "".join(_mark(value, WIDTH * (value - low) / ((high - low) or 1)) for value in marks)
    name = escape(title)
    return (
        f'<figure><figcaption>{name} <span class="note">{escape(note)}</span></figcaption>'
        f'<svg class="chart" viewBox="0 0 {WIDTH} {BARS + FOOT}" role="img" aria-label="{name}">'
        f"{bars}{drawn}</svg></figure>"
    )


def picture_of_curves(panels: Mapping[str, Mapping[str, Points]], steps: int) -> str:
    """An SVG file of its own: title of a panel -> name of a line -> its points, over the steps 0 to `steps`.

    A line has the same colour in every panel; panels without a point are left out.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    drawn = []
    for title, lines in panels.items():
        colours = [i for i, name in enumerate(names) if lines.get(name)]
        if colours:
            parts, log = _drawing([_thinned(lines[names[i]]) for i in colours], steps, colours)
            drawn.append((title + (", log scale" if log else ""), parts))
    columns, row = min(2, max(1, len(drawn))), HEIGHT + CAPTION
    key = TOP + CAPTION * len(names)
    width, height = columns * WIDTH, key + math.ceil(len(drawn) / columns) * row
    body = []
    for i, name in enumerate(names):
        y = TOP + CAPTION * i + CAPTION // 2
        body.append(f'<polyline class="c{i % len(COLOURS)}" points="{LEFT},{y} {LEFT + 24},{y}"/>')
        body.append(f'<text x="{LEFT + 32}" y="{y}" dy="4">{escape(name)}</text>')
    for i, (title, parts) in enumerate(drawn):
        x, y = i % columns * WIDTH, key + i // columns * row
        body.append(f'<text x="{x + LEFT}" y="{y + 14}" font-weight="bold">{escape(title)}</text>')
        body.append(
            f'<svg x="{x}" y="{y + CAPTION}" width="{WIDTH}" height="{HEIGHT}">{"".join(parts)}</svg>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
        f'<style>{PICTURE_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n'
    )


def _drawing(
    lines: Sequence[Points], steps: int, colours: Sequence[int] | None = None
) -> tuple[list[str], bool]:
    """Axes and lines, none of which is empty, as elements of an SVG of WIDTH x HEIGHT; whether the values'
    scale is logarithmic. `colours`: numbers of the classes that colour the lines.
    """
    values = [y for points in lines for _, y in points]
    low, high = min(values), max(values)
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
    for number, points in enumerate(lines):
        kind = "" if colours is None else f'class="c{colours[number] % len(COLOURS)}" '
        line = [place(x, y) for x, y in points]
        parts.append(f'<polyline {kind}points="{" ".join(",".join(point) for point in line)}"/>')
        if len(line) <= MOST_DOTS:
            parts += [f'<circle {kind}cx="{x}" cy="{y}" r="2"/>' for x, y in line]
    return parts, log


def _mark(value: float, x: float) -> str:
    anchor = "start" if x < WIDTH / 2 else "end"
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{BARS}"/>'
        f'<text x="{x:.1f}" y="{BARS + FOOT - 5}" text-anchor="{anchor}">{in_short(value)}</text>'
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
