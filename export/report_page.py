"""report.html of a package: what export measured, on one page that needs no network and no script.

Everything on it comes from the package's own description, so that it says what `argus-inspect` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from argus_edge.errors import shown
from argus_edge.export.ranges import ActivationRange
from argus_edge.package import parity_rows
from argus_edge.runtime.charts import histogram
from argus_edge.runtime.html import facts, grid, page, table, text
from argus_edge.spec import JsonValue, PackageSpec, Precision

__all__ = ["WORST", "ranges_to_json", "render"]

WORST: Final = 10  # layers whose activations are drawn
MIB: Final = 2**20

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
    """What the gate found: each task's figure in a precision against that in fp32, or how far answers are."""
    gate = _dict(report.get("gate"))
    rows = []
    for precision, found in gate.items():
        for task, row in _dict(_dict(found).get("tasks")).items():
            values = [
                f"{row[key]:.4f}" if isinstance(row.get(key), float | int) else ""
                for key in ("fp32", "value")
            ]
            shares = [f"{100 * row[key]:.2f} %" for key in ("loss", "limit")]
            rows.append([task, precision, row.get("engine", ""), row.get("figure", ""), *values, *shares])
    note = f'<p class="note">{text(gate["note"])}</p>' if "note" in gate else ""
    missed = report.get("failures")
    failures = "".join(
        f'<p class="bad">{text(line)}</p>' for line in (missed if isinstance(missed, list) else ())
    )
    head = ["task", "precision", "engine", "figure", "in fp32", "here", "lost", "allowed"]
    shown = failures + (note if rows else "") + table(head, rows)
    return shown + "".join(_returned(precision, _dict(found)) for precision, found in gate.items())


def _returned(precision: str, found: Mapping[str, Any]) -> str:
    """The layers that were returned to float so that the gate holds."""
    layers = found.get("returned_to_float")
    if not isinstance(layers, list) or not layers:
        return ""
    costs = ", ".join(f"{name} {ratio:.2f}" for name, ratio in _dict(found.get("time_ratio")).items())
    return (
        f"<details><summary>{text(precision)}: {len(layers)} layers returned to float, times by those "
        f"before: {text(costs)}</summary><pre>{text(chr(10).join(map(str, layers)))}</pre></details>"
    )


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
    machine = _dict(_dict(report.get("latency")).get("machine"))
    told = [(key, ", ".join(v) if isinstance(v, list) else v) for key, v in machine.items()]
    return '<p class="note">Median time of a run, on</p>' + facts(told) + "".join(parts)


def _graphs(spec: PackageSpec, sizes: Sizes) -> str:
    layers = _dict(spec.report.get("int8_layers"))
    rows = []
    for name in spec.components:
        done = _dict(layers.get(name))
        share = f"{done['int8']} of {done['all']}" if {"int8", "all"} <= done.keys() else ""
        each = (f"{sizes[name, p] / MIB:.2f}" if (name, p) in sizes else "" for p in spec.precisions)
        rows.append([name, *each, share])
    return table(["graph", *(f"{p} [MiB]" for p in spec.precisions), "products in int8"], rows)


def _parity(report: Mapping[str, JsonValue]) -> str:
    """Each output in each precision, the engines side by side."""
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    engines: dict[str, None] = {}
    for precision, engine, output, error, sqnr in parity_rows(report):
        cells = [f"{error:.1e}", "" if sqnr is None else f"{sqnr:.1f}"]
        found.setdefault(precision, {}).setdefault(output, {})[engine] = cells
        engines[engine] = None
    head = ["output", *(f"{engine}: {what}" for engine in engines for what in ("error", "SQNR [dB]"))]
    tables = [
        f"<h3>{text(precision)}</h3>"
        + table(
            head,
            [[name, *(c for e in engines for c in of.get(e, ["", ""]))] for name, of in outputs.items()],
        )
        for precision, outputs in found.items()
    ]
    note = "Error: largest difference by largest value; of labels and classes the share that differs."
    return f'<p class="note">{note}</p>' + "".join(tables) if tables else ""


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
    note = "Of four images at most. Counts on a logarithmic scale; between the lines lie the 256 values."
    return (f'<p class="note">{note}</p>' + grid("charts", drawn)) if drawn else ""


def _histogram(component: str, row: Mapping[str, Any]) -> str:
    clipped = f", {100 * row['clipped']:.2g} % outside" if row["clipped"] else ""
    title = shown(f"{component}: {row['layer']}")
    return histogram(title, f"{row['sqnr_db']:.1f} dB{clipped}", row["edges"], row["counts"], row["grid"])


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
