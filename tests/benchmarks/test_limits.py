"""benchmarks/limits.py: the arithmetic of the roofline, and a run on a tiny package."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType

import pytest

from argus_edge.export.operations import Work
from argus_edge.package import ModelPackage


@pytest.fixture(scope="module")
def limits(script: Callable[[str], ModuleType]) -> ModuleType:
    """The script as a module."""
    return script("limits")


def test_attainable_is_the_slower_of_computing_and_moving(limits: ModuleType) -> None:
    """100 GFLOP/s in fp32 and 200 in int8, 10 GB/s."""
    peaks = {"fp32": 100.0, "int8": 200.0}
    busy = limits.reached(Work(10**9, 4 * 10**9, 10**6), 60.0, peaks, 10.0, "int8")
    assert busy["attainable_ms"] == pytest.approx(10 + 20)
    assert busy["of_attainable"] == pytest.approx(0.5)
    assert busy["of_peak"] == pytest.approx(5 / 60 * 1e3 / 200, abs=1e-4)
    moving = limits.reached(Work(10**6, 0, 10**9), 200.0, peaks, 10.0, "fp32")
    assert (moving["attainable_ms"], moving["of_attainable"]) == (100.0, 0.5)


def test_profile_says_where_the_time_goes(limits: ModuleType) -> None:
    rows = [
        ("FullyConnected", "jit_gemm_I8", 15.0),
        ("Convolution", "jit_avx2_I8", 5.0),
        ("Convolution", "brgconv_avx2_f32", 20.0),
        ("Reorder", "jit_uni_I8", 10.0),
    ]
    assert limits.obstacles(rows, Work(10**9, 2 * 10**9, 0), 200.0) == [
        "products in int8: 20.0 ms, 40 % of the time, at 100 GFLOP/s, 50 % of the peak; "
        "FullyConnected jit_gemm_I8 takes 15.0 ms of it",
        "everything else: 30.0 ms, 60 % of the time",
    ]
    assert limits.obstacles(rows[2:], Work(10**9, 0, 0), 200.0) == [
        "everything else: 30.0 ms, 100 % of the time"
    ]


def test_every_stage_is_measured(
    limits: ModuleType,
    tiny_package: ModelPackage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(limits, "SIDE", 64)
    monkeypatch.setattr(limits, "COPIED", 2**16)
    assert limits.main([str(tiny_package.path), "--rounds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for engine in ("openvino", "onnxruntime"):
        assert found["peaks"][engine].keys() == {"fp32", "int8"}
        assert found["stages"][engine]["fp32"].keys() == tiny_package.spec.components.keys()
    backbone = found["stages"]["openvino"]["fp32"]["backbone"]
    assert backbone["gflop"] == pytest.approx(2 * 8 * 3 * 16 * 16**2 / 1e9, abs=1e-4)


def test_profile_of_openvino_names_its_operations(limits: ModuleType, tiny_package: ModelPackage) -> None:
    golden = tiny_package.golden()
    assert golden is not None
    file = tiny_package.model_file("backbone", "fp32")
    rows = limits.profiled(file, {"image": golden.image}, threads=1, runs=2)
    assert "Convolution" in {kind for kind, _, _ in rows}
    assert sorted(rows, key=lambda row: -row[2]) == rows
