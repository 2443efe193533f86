"""The model package on disk: a folder `NAME.argus/` (docs/package-format.md)."""

from __future__ import annotations

from argus_edge.package.format import model_path
from argus_edge.package.reader import GoldenSample, ModelPackage
from argus_edge.package.reports import accuracy_rows, failure_lines, gate_lines, parity_rows
from argus_edge.package.writer import golden_files, write_package

__all__ = [
    "GoldenSample",
    "ModelPackage",
    "accuracy_rows",
    "failure_lines",
    "gate_lines",
    "golden_files",
    "model_path",
    "parity_rows",
    "write_package",
]
