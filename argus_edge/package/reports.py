"""Reading what export measured: the parts of a package's report that tables show.

A report is anybody's JSON: what does not have the form that this version knows is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from argus_edge.spec import JsonValue

__all__ = ["AccuracyRow", "ParityRow", "accuracy_rows", "failure_lines", "gate_lines", "parity_rows"]

ParityRow: TypeAlias = tuple[str, str, str, float, float | None]
AccuracyRow: TypeAlias = tuple[str, str, str, str, float]


def parity_rows(report: Mapping[str, JsonValue]) -> Iterator[ParityRow]:
    """(precision, engine, output, error, SQNR [dB] or None) of each output that was compared with torch."""
    for precision, engines in _items(report.get("parity")):
        for engine, rows in _items(engines):
            for output, row in _items(rows):
                if isinstance(row, dict) and isinstance(error := row.get("error"), int | float):
                    yield precision, engine, output, float(error), _number(row.get("sqnr_db"))


def accuracy_rows(report: Mapping[str, JsonValue]) -> Iterator[AccuracyRow]:
    """(precision, engine, task, figure, value) of the tasks whose metric the gate took, fp32 among them."""
    for precision, found in _items(report.get("gate")):
        for task, row in _items(found.get("tasks") if isinstance(found, dict) else None):
            if isinstance(row, dict):
                values = {"fp32": _number(row.get("fp32")), precision: _number(row.get("value"))}
                for measured, value in values.items():
                    if value is not None and None not in values.values():
                        yield measured, _text(row.get("engine")), task, _text(row.get("figure")), value


def gate_lines(report: Mapping[str, JsonValue]) -> Iterator[str]:
    """What the gate found in each precision, and what was chosen, for people."""
    gate = report.get("gate")
    if isinstance(gate, dict) and "note" in gate:
        yield f"  {_text(gate['note'])}"
    for precision, found in _items(report.get("gate")):
        tasks = list(_items(found.get("tasks") if isinstance(found, dict) else None))
        if tasks:
            yield f"  {precision + ' lost':16}{'engine':14}{'loss':>10}{'limit':>10}  figure"
        for task, row in tasks:
            loss, limit = (
                _number(row.get(key)) if isinstance(row, dict) else None for key in ("loss", "limit")
            )
            if isinstance(row, dict) and loss is not None and limit is not None:
                values = [_number(row.get(key)) for key in ("fp32", "value")]
                told = "" if None in values else " " + " to ".join(f"{value:.4f}" for value in values)
                yield (
                    f"  {task:16}{_text(row.get('engine')):14}{loss:>10.4f}{limit:>10.4f}  "
                    f"{_text(row.get('figure'))}{told}"
                )
        if isinstance(found, dict) and isinstance(layers := found.get("returned_to_float"), list):
            costs = (f"{component} {_number(r) or 0:.2f}" for component, r in _items(found.get("time_ratio")))
            yield f"  {len(layers)} layers returned to float; times by those before: {', '.join(costs)}"
            yield from (f"    {_text(layer)}" for layer in layers)
    choice = report.get("choice")
    if isinstance(choice, dict):
        times = (f"{precision} {_number(t) or 0:.2f}" for precision, t in _items(choice.get("frame_ms")))
        where = f"{_text(choice.get('precision'))} on {_text(choice.get('engine'))}"
        yield f"  fastest: {where}; whole frames [ms]: {', '.join(times)}"


def failure_lines(report: Mapping[str, JsonValue]) -> Iterator[str]:
    """What missed a bound and was written all the same."""
    failures = report.get("failures")
    yield from map(_text, failures if isinstance(failures, list) else ())
    for size, found in _items(report.get("other_sizes")):
        if isinstance(found, dict):
            yield from (f"{line} at {_text(size)} px" for line in failure_lines(found))


def _items(value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    yield from value.items() if isinstance(value, dict) else ()


def _text(value: JsonValue) -> str:
    """One line that a terminal can show."""
    return "".join(c if c.isprintable() else "?" for c in str(value))[:200]


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None
