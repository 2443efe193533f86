"""report.html of a package: what export measured, on one page that needs no network and no script.

Everything on it comes from the package's own description, so that it says what `argus-inspect` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from argus_edge.export.ranges import ActivationRange
from argus_edge.package import parity_rows
from argus_edge.spec import JsonValue, PackageSpec, Precision
from argus_edge.train.html import facts, grid, page, table, text

__all__ = ["WORST", "ranges_to_json", "render"]

WORST: Final = 10  # layers whose activations are drawn
MIB: Final = 2**20
WIDTH, HEIGHT = 360, 120  # of a drawn histogram
FOOT: Final = 18  # below it, for the numbers

Sizes = Mapping[tuple[str, Precision], int]  # component, precision -> [bytes]


def render(spec: PackageSpec, sizes: Sizes) -> str:
    """The page of the package `spec`, whose graphs have `sizes`."""
    report = spec.report
    sections = (
        ("Accuracy", _accuracy(report)),
        ("Latency", _latency(report)),
        ("Graphs", _graphs(spec, sizes)),
        ("Against torch", _parity(report)),
        ("Activations that rounding changes most", _activations(report)),
        ("Tensors between the graphs", _boundary(spec)),
        ("Export", _made_by(report)),
    )
    size = f"{spec.input.width} x {spec.input.height} px"
    return page(spec.name, f"{', '.join(spec.tasks)} in {', '.join(spec.precisions)} at {size}", sections)


def ranges_to_json(ranges: Sequence[ActivationRange]) -> list[JsonValue]:
    """The `WORST` of these, as a package's report holds them under "activations", by component."""
    return [
        {
            "layer": each.grid.layer,
            "sqnr_db": round(each.sqnr_db, 1) if math.isfinite(each.sqnr_db) else None,
            "clipped": float(f"{each.clipped:.3g}"),
            "grid": [float(f"{limit:.6g}") for limit in each.grid.limits],
            "edges": [float(f"{edge:.6g}") for edge in each.edges],
            "counts": list(each.counts),
        }
        for each in ranges[:WORST]
    ]


def _dict(value: JsonValue) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _accuracy(report: Mapping[str, JsonValue]) -> str:
    """Tasks with their figure in each precision, and what was given up for it."""
    measured = _dict(report.get("accuracy"))
    tasks = _dict(measured.get("tasks"))
    if not tasks:
        return ""
    precisions = list(dict.fromkeys(p for row in tasks.values() for p in _dict(row.get("values"))))
    head = ["task", "figure", *precisions, *(f"drop of {p}" for p in precisions[1:])]
    rows = []
    for task, row in tasks.items():
        values = _dict(row.get("values"))
        cells = [f"{values[p]:.4f}" if p in values else "" for p in precisions]
        drops = _dict(row.get("drops"))
        falls = [f"{100 * drops[p]:.2f} %" if p in drops else "" for p in precisions[1:]]
        rows.append([task, row.get("figure", ""), *cells, *falls])
    note = measured.get("note")
    return (f'<p class="note">{text(note)}</p>' if note else "") + table(head, rows)


def _latency(report: Mapping[str, JsonValue]) -> str:
    """Components on the engines, in each precision [ms]."""
    measured = _dict(_dict(report.get("latency")).get("median_ms"))
    parts = []
    for engine, precisions in measured.items():
        names = list(precisions)
        components = dict.fromkeys(c for of in precisions.values() for c in _dict(of))
        rows = [
            [c, *(f"{precisions[p][c]:.2f}" if c in precisions[p] else "" for p in names)] for c in components
        ]
        sums = [sum(precisions[p].values()) for p in names]
        rows.append(["all, one after another", *(f"{total:.2f}" for total in sums)])
        parts.append(f"<h3>{text(engine)}</h3>" + table(["graph [ms]", *names], rows))
    if not parts:
        return ""
    machine = _dict(report.get("latency")).get("machine", "")
    return f'<p class="note">Median of a run on {text(machine)}.</p>' + "".join(parts)


def _graphs(spec: PackageSpec, sizes: Sizes) -> str:
    layers = _dict(spec.report.get("int8_layers"))
    kept = _dict(spec.report.get("kept_float"))
    rows = []
    for name in spec.components:
        done = _dict(layers.get(name))
        share = f"{done['int8']} of {done['all']}" if {"int8", "all"} <= done.keys() else ""
        each = (f"{sizes[name, p] / MIB:.2f}" if (name, p) in sizes else "" for p in spec.precisions)
        rows.append([name, *each, share])
    lists = "".join(
        f"<details><summary>{text(component)}: {len(names)} layers returned to float for the gate</summary>"
        f"<pre>{text(chr(10).join(map(str, names)))}</pre></details>"
        for component, names in kept.items()
        if names
    )
    return table(["graph", *(f"{p} [MiB]" for p in spec.precisions), "products in int8"], rows) + lists


def _parity(report: Mapping[str, JsonValue]) -> str:
    rows = [
        [output, precision, engine, f"{error:.1e}", "" if sqnr is None else f"{sqnr:.1f}"]
        for precision, engine, output, error, sqnr in parity_rows(report)
    ]
    return table(["output", "precision", "engine", "worst element", "SQNR [dB]"], rows)


def _activations(report: Mapping[str, JsonValue]) -> str:
    """The worst ten of all graphs: how the values are spread, and the grid that they are rounded to."""
    rows = [
        (component, row)
        for component, rows in _dict(report.get("activations")).items()
        for row in rows
        if isinstance(row, dict) and row.get("sqnr_db") is not None
    ]
    rows.sort(key=lambda item: item[1]["sqnr_db"])
    drawn = [_histogram(component, row) for component, row in rows[:WORST]]
    note = "Counts on a logarithmic scale; between the two lines lies the grid of 256 values."
    return (f'<p class="note">{note}</p>' + grid("charts", drawn)) if drawn else ""


def _histogram(component: str, row: Mapping[str, Any]) -> str:
    (low, high), counts = row["edges"], row["counts"]
    most = math.log1p(max(counts)) or 1.0
    width = WIDTH / len(counts)
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{HEIGHT * (1 - math.log1p(count) / most):.1f}" '
        f'width="{width * 0.9:.1f}" height="{HEIGHT * math.log1p(count) / most:.1f}" fill="var(--curve)"/>'
        for i, count in enumerate(counts)
        if count
    )
    marks = "".join(_mark(value, WIDTH * (value - low) / ((high - low) or 1)) for value in row["grid"])
    title = text(f"{component}: {row['layer']}")
    clipped = f", {100 * row['clipped']:.2g} % outside" if row["clipped"] else ""
    return (
        f'<figure><figcaption>{title} <span class="note">{row["sqnr_db"]:.1f} dB{clipped}</span></figcaption>'
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" role="img" aria-label="{title}">'
        f"{bars}{marks}</svg></figure>"
    )


def _mark(value: float, x: float) -> str:
    anchor = "start" if x < WIDTH / 2 else "end"
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>'
        f'<text x="{x:.1f}" y="{HEIGHT + FOOT - 5}" text-anchor="{anchor}">{value:.4g}</text>'
    )


def _boundary(spec: PackageSpec) -> str:
    rows = [
        [tensor.name, name, tensor.dtype, " x ".join(map(str, tensor.shape)), tensor.layout]
        for name, component in spec.components.items()
        for tensor in component.outputs
    ]
    return table(["tensor", "of", "type", "shape", "layout"], rows)


def _made_by(report: Mapping[str, JsonValue]) -> str:
    command = report.get("command")
    told = f"<pre>{text(command)}</pre>" if command else ""
    return told + facts(_lines(report))


def _lines(report: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    for name, version in _dict(report.get("tools")).items():
        yield name, str(version)
    calibrated = _dict(report.get("calibration"))
    for name, value in calibrated.items():
        yield f"calibration {name}", str(value)
