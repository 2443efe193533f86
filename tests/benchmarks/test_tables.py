"""benchmarks/tables.py: the tables of README and docs are what the files of results give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from argus_edge.errors import InputError


@pytest.fixture(scope="module")
def tables(script: Callable[[str], ModuleType]) -> ModuleType:
    """The script as a module."""
    return script("tables")


def test_tables_are_as_the_results_have_them(tables: ModuleType) -> None:
    late = [str(path) for path, _ in tables.changed(tables.ROOT, tables.RESULTS)]
    assert late == [], "run: make tables"


def test_every_table_of_the_project_is_marked(tables: ModuleType) -> None:
    text = "".join((tables.ROOT / name).read_text(encoding="utf-8") for name in tables.FILES)
    assert {match[1] for match in tables.BLOCK.findall(text)} == set(tables.TABLES)


def test_markdown_has_text_first_and_numbers_after(tables: ModuleType) -> None:
    rows = [["a", "x", "1"], ["b", "y", "2"]]
    assert tables.markdown(["t", "f", "n"], rows, text=2) == (
        "| t | f | n |\n|---|---|---:|\n| a | x | 1 |\n| b | y | 2 |\n"
    )


def test_only_what_is_marked_is_replaced(tables: ModuleType, tmp_path: Path) -> None:
    machine = {"cpu": "CPU", "cores": 2, "features": ["avx2"]}
    found = {
        "machine": machine, "engines": {"openvino": "1"}, "threads": 2, "rounds": 9,
        "noise": ["it was noisy"],
        "peaks": {"openvino": {"int8": 250.04}}, "copy_gb_s": 9.96,
    }  # fmt: skip
    (tmp_path / "limits.json").write_text(json.dumps(found))
    text = "before\n<!-- table: peak -->\nold\n<!-- end of table -->\nafter <!-- end of table -->\n"
    assert tables.filled(text, tmp_path) == (
        "before\n<!-- table: peak -->\n| what | peak |\n|---|---:|\n"
        "| matrix product, int8, OpenVINO | 250 GFLOP/s |\n"
        "| copy in memory, read and written | 10.0 GB/s |\n\n"
        "CPU, 2 of 2 cores (avx2), OpenVINO 1, medians of 9 rounds in turn. "
        "But it was noisy.\n"
        "<!-- end of table -->\nafter <!-- end of table -->\n"
    )


def test_tables_that_nobody_knows_or_has_measured_are_refused(tables: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="table 'speed' is unknown"):
        tables.filled("<!-- table: speed -->\n<!-- end of table -->", tmp_path)
    with pytest.raises(InputError, match="cannot be read as JSON"):
        tables.filled("<!-- table: peak -->\n<!-- end of table -->", tmp_path)
