"""What a report says, as lines: a report is anybody's JSON, and nothing in it may end a command."""

from __future__ import annotations

from typing import Any

import pytest

from argus_edge.package import accuracy_rows, failure_lines, gate_lines, parity_rows

ROW = {
    "figure": "AP",
    "engine": "openvino",
    "holds": True,
    "fp32": 0.3,
    "value": 0.299,
    "loss": 0.0033,
    "limit": 0.01,
}
REPORT = {
    "gate": {
        "max_drop": 0.01,
        "note": "seg: no labels",
        "int8": {
            "tasks": {"det": ROW, "seg": {**ROW, "fp32": None, "figure": "share of pixels"}},
            "returned_to_float": ["backbone: a/Conv_1", "det: b/MatMul_2"],
            "time_ratio": {"backbone": 1.034, "det": 1.0},
        },
    },
    "choice": {"precision": "int8", "engine": "openvino", "frame_ms": {"fp32": 41.5, "int8": 20.25}},
    "failures": ["fp16: too far", "two\nlines"],
}


def test_losses_layers_and_times_are_told() -> None:
    text = "\n".join(gate_lines(REPORT))  # type: ignore[arg-type]
    for part in (
        "seg: no labels", "int8 lost", "AP 0.3000 to 0.2990", "share of pixels\n", "det: b/MatMul_2",
        "2 layers returned to float", "backbone 1.03, det 1.00", "fastest: int8 on openvino",
        "fp32 41.50, int8 20.25",
    ):  # fmt: skip
        assert part in text
    assert list(failure_lines(REPORT)) == ["fp16: too far", "two?lines"]  # type: ignore[arg-type]


def test_figures_are_those_of_metrics_alone() -> None:
    """seg has none in fp32: what it was judged by is a share of equal pixels."""
    assert list(accuracy_rows(REPORT)) == [  # type: ignore[arg-type]
        ("fp32", "openvino", "det", "AP", 0.3),
        ("int8", "openvino", "det", "AP", 0.299),
    ]


@pytest.mark.parametrize(
    "odd", [None, 3, "x", [], [1, {}], {"int8": 3}, {"int8": {"tasks": [1]}}, {"a": {"b": {}}}]
)
def test_what_has_another_form_is_passed_over(odd: Any) -> None:
    report = {"parity": odd, "gate": odd, "choice": odd, "failures": odd}
    assert not list(parity_rows(report))
    assert not list(accuracy_rows(report))
    assert all(isinstance(line, str) for line in (*gate_lines(report), *failure_lines(report)))
    odd_rows: Any = {"gate": {"int8": {"tasks": {"det": odd}, "returned_to_float": odd, "time_ratio": odd}}}
    assert all(isinstance(line, str) for line in gate_lines(odd_rows))
