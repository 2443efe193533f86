"""The page of a package: what it says, nothing from outside taken for HTML, no network needed."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from argus_edge.export.ranges import BINS, ActivationRange, Grid
from argus_edge.export.report_page import WORST, ranges_to_json, render
from argus_edge.package import ModelPackage
from argus_edge.spec import PackageSpec


class Tags(HTMLParser):
    """The tags of a page; fails where they do not close as they open."""

    VOID = ("meta", "line", "rect", "img", "circle")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def activation(layer: str, sqnr: float) -> ActivationRange:
    grid = Grid("x", layer, 0.5, 128, 0, 255)
    return ActivationRange(grid, sqnr, 0.001, (-96.0, 95.5), tuple(range(BINS)))


REPORT: dict[str, Any] = {
    "command": "argus-export --precision fp32,int8 <script>",
    "tools": {"torch": "2.13.0"},
    "parity": {"fp32": {"openvino": {"det.boxes": {"error": 1.5e-6, "sqnr_db": 112.5}}}},
    "int8_layers": {"det": {"int8": 30, "all": 44}},
    "gate": {
        "note": "on 200 scenes",
        "int8": {
            "tasks": {
                "det": {
                    "engine": "onnxruntime",
                    "figure": "AP",
                    "fp32": 0.5,
                    "value": 0.496,
                    "loss": 0.008,
                    "limit": 0.01,
                },
                "depth": {"engine": "openvino", "figure": "relative difference", "loss": 0.05, "limit": 0.1},
            },
            "returned_to_float": ["det: encoder.layers.0/MatMul_7"],
            "time_ratio": {"det": 1.07},
        },
    },
    "failures": ["int8: seg loses too much"],
    "latency": {
        "machine": {"cpu": "two cores"},
        "median_ms": {
            "openvino": {"fp32": {"backbone": 40.0, "det": 10.0}, "int8": {"backbone": 20.0, "det": 9.0}}
        },
    },
    "activations": {
        "det": ranges_to_json([activation(f"layer{i}/MatMul", 20.0 + i) for i in range(WORST + 3)])
    },
}


@pytest.fixture
def spec(tiny_package: ModelPackage) -> PackageSpec:
    return dataclasses.replace(tiny_package.spec, report=REPORT)


def test_figures_are_on_the_page(spec: PackageSpec) -> None:
    page = render(spec, {("det", "fp32"): 3 * 2**20})
    for wanted in (
        *("0.5000", "0.4960", "0.80 %", "on 200 scenes", "det 1.07", "seg loses too much"),  # accuracy
        *("40.00", "29.00", "two cores"),  # latency: single and summed
        *("3.00", "30 of 44", "encoder.layers.0/MatMul_7"),  # graphs
        *("112.5", "1.5e-06", "det.boxes"),  # parity
        *("layer0/MatMul", "20.0 dB", "torch", "2.13.0"),
    ):
        assert wanted in page, wanted
    assert page.count('<svg class="chart"') == WORST


def test_the_page_is_whole_and_alone(spec: PackageSpec) -> None:
    page = render(spec, {})
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert not [tag for tag, _ in tags.seen if tag in ("script", "link", "iframe")]
    assert not [a for _, attributes in tags.seen for a in attributes if a in ("src", "href")]
    assert not re.search(r"https?://|url\(", page)
    assert "&lt;script&gt;" in page


def test_a_package_that_tells_nothing_has_a_page(tiny_package: ModelPackage) -> None:
    page = render(dataclasses.replace(tiny_package.spec, report={}), {})
    assert "Tensors between the graphs" in page
    assert "Accuracy" not in page
    assert "Latency" not in page


def test_layers_without_a_loss_are_not_drawn(spec: PackageSpec) -> None:
    rows = ranges_to_json([activation("exact/MatMul", float("inf"))])
    page = render(dataclasses.replace(spec, report={"activations": {"det": rows}}), {})
    assert "exact/MatMul" not in page
