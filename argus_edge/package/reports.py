"""Reading what export measured: the parts of a package's report that tables show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from argus_edge.spec import JsonValue

__all__ = ["ParityRow", "parity_rows"]

ParityRow: TypeAlias = tuple[str, str, str, float, float | None]


def parity_rows(report: Mapping[str, JsonValue]) -> Iterator[ParityRow]:
    """(precision, engine, output, error, SQNR [dB] or None) of each output that was compared with torch.

    A report is anybody's JSON: what does not have this form is passed over.
    """
    measured = report.get("parity")
    for precision, engines in (measured if isinstance(measured, dict) else {}).items():
        for engine, rows in (engines if isinstance(engines, dict) else {}).items():
            for output, row in (rows if isinstance(rows, dict) else {}).items():
                if isinstance(row, dict) and isinstance(error := row.get("error"), int | float):
                    sqnr = row.get("sqnr_db")
                    yield precision, engine, output, float(error), _number(sqnr)


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None
