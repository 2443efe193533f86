"""What is sent back from a device: whole, honest about what failed, and without names of people."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from argus_edge.package import ModelPackage
from argus_edge.runtime.commands.verify_tensorrt import run
from argus_edge.runtime.engines import tensorrt_engine
from argus_edge.runtime.engines.tensorrt_builder import build_in_process
from argus_edge.runtime.numerics import relative_error, sqnr_db
from argus_edge.runtime.verification import verify


def verified(package: Path, out: Path, *options: str, code: int) -> dict[str, Any]:
    assert run([str(package), "--out", str(out), "--frames", "3", *options]) == code
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_a_row_has_everything(
    fake_cuda: ModuleType, tiny_package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_engine, "build_engine", build_in_process)
    row = verify(tiny_package, "tensorrt", "fp32", 3)
    assert (row["engine"], row["precision"]) == ("tensorrt", "fp32")
    assert list(row["components"]) == ["backbone", "det", "seg", "depth"]
    for name, component in row["components"].items():
        assert component["open_s"] >= component["build_s"] >= 0
        assert component["plan_bytes"] > tiny_package.model_file(name, "fp32").stat().st_size  # and a head
        assert all(parity["relative_error"] <= 1e-5 for parity in component["parity"].values())
    assert row["components"]["backbone"]["parity"]["f0"]["sqnr_db"] > 100
    assert list(row["latency_ms"]) == ["all", "det", "seg", "depth", "det+seg+depth"]
    stages = row["latency_ms"]["det"]["stages"]
    assert {"preprocess", "backbone", "det", "det.decode", "total"} <= stages.keys()
    assert stages["total"]["p99"] >= stages["total"]["p50"] > 0
    again = verify(tiny_package, "tensorrt", "fp32", 3)
    assert again["components"]["det"]["build_s"] is None
    assert not fake_cuda.live


def test_a_failing_variant_costs_its_row(
    fake_cuda: ModuleType, tiny_package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home of somebody"
    monkeypatch.setenv("HOME", str(home))
    package = Path(shutil.copytree(tiny_package.path, home / "tiny.argus"))
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "no-engine")
    out = tmp_path / "out.json"
    found = verified(package, out, "--engines", "tensorrt,onnxruntime", code=1)
    broken, sound = found["rows"]
    told = broken["components"]["backbone"]["error"]
    assert told.startswith(
        "tiny.argus/models/backbone/fp32/model.onnx: TensorRT 10.3.0 built no engine: Could"
    )
    assert broken["latency_ms"]["det"]["error"] == "not measured, as backbone, det failed"
    assert sound["components"]["depth"]["parity"]["depth"]["relative_error"] <= 1e-5
    assert found["device"] == {"name": "Orin (nvgpu)", "compute_capability": "8.7", "driver": "CUDA 12.6"}
    assert found["package"]["sha256"] == tiny_package.sha256
    assert "somebody" not in out.read_text()


def test_a_crash_costs_its_row(
    fake_cuda: ModuleType, tiny_package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "crash-when-loaded")
    found = verified(tiny_package.path, tmp_path / "out.json", "--engines", "tensorrt", code=1)
    assert found["rows"] == [{"engine": "tensorrt", "precision": "fp32", "error": "ended by SIGSEGV"}]


def test_without_a_device_the_file_says_so(tiny_package: ModelPackage, tmp_path: Path) -> None:
    found = verified(tiny_package.path, tmp_path / "out.json", "--engines", "tensorrt", code=1)
    assert isinstance(found["device"], str)
    assert "tensorrt is not installed" in found["rows"][0]["error"]


def test_wrong_arguments(tiny_package: ModelPackage, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run([str(tiny_package.path), "--out", str(tmp_path / "o"), "--engines", "coreml"])


def test_errors_of_known_size() -> None:
    reference = np.array([3.0, -4.0], np.float32)
    assert relative_error(reference, np.array([3.0, -3.0], np.float32)) == 0.25
    assert relative_error(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == 0.25
    assert sqnr_db(reference, reference * np.float32(1.1)) == pytest.approx(20, abs=1e-3)
    assert sqnr_db(reference, reference) is None
    assert sqnr_db(reference, np.array([np.nan, 0])) is None
