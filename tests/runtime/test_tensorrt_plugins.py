"""Our plugins of TensorRT: their kernels' own source, which its stand-in puts into a plan and runs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

from argus_edge.errors import EngineError, EngineMissingError
from argus_edge.runtime.engines import open_engine
from argus_edge.runtime.engines.cuda_kernels import compile_kernel
from argus_edge.runtime.engines.tensorrt_builder import build_engine
from argus_edge.runtime.engines.tensorrt_options import VARIABLE, BuildOptions
from tests.runtime.references.norm_and_samples import exact, norm_and_samples, some_inputs

pytest.importorskip("torch")  # which the export's folder imports
from argus_edge.export.precision import to_fp16
from argus_edge.export.targets import TENSORRT
from argus_edge.export.targets.plugins import call_plugins

PLUGINS_ON = BuildOptions(plugins=True)
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="needs g++, which compiles the kernels for this machine"
)


@needs_compiler
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("fp16", 2e-3)])
@pytest.mark.parametrize("sides", [(6, 10), (5, 7), (16, 64)], ids=["packed by 4", "odd", "large"])
def test_kernels_in_the_plan_come_near_the_exact_answer(
    sides: tuple[int, int],
    precision: Any,
    bound: float,
    fake_cuda: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", "10.14.1")
    traced = norm_and_samples(*sides)
    spelled = TENSORRT.spell(traced)
    file = tmp_path / "called.onnx"
    onnx.save(call_plugins(to_fp16(spelled) if precision == "fp16" else spelled), file)
    inputs = some_inputs(*sides)
    expected = exact(traced, inputs)
    monkeypatch.setenv(VARIABLE, "plugins=1")
    engine = open_engine("tensorrt", file, threads=1, precision=precision)
    assert np.abs(engine.run(inputs)["y"] - expected).max() / np.abs(expected).max() <= bound
    engine.close()


@needs_compiler
def test_a_plan_has_kernels_where_they_are_asked_for(
    fake_cuda: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", "10.14.1")
    file = tmp_path / "called.onnx"
    onnx.save(call_plugins(to_fp16(TENSORRT.spell(norm_and_samples(16, 64)))), file)
    kernels = kernels_of(build_engine(file, "fp16", PLUGINS_ON))
    assert [kernel["kernel"] for kernel in kernels] == ["group_norm", "sample"]
    assert all("HALF" in kernel["macros"] for kernel in kernels)
    assert kernels[0]["grid"] == [4, 1]  # a block for each group
    assert kernels_of(build_engine(file, "fp16", BuildOptions())) == []


def kernels_of(plan: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = list(json.loads(plan.split(b"\n")[1])["kernels"].values())
    return found


@needs_compiler
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"FAKE_TENSORRT_VERSION": "10.3.0"}, r"tensorrt\.plugin does not load"),
        (
            {"FAKE_TENSORRT_VERSION": "10.8.0"},
            r"no ahead-of-time Python plugins.* plugins=1 out of ARGUS_TEN",
        ),
        (
            {"FAKE_TENSORRT_VERSION": "10.14.1", "FAKE_TENSORRT_FAULT": "functions-first"},
            "took the standard spelling and not the plugins",
        ),
    ],
)
def test_what_cannot_be_is_told(
    settings: dict[str, str],
    expected: str,
    fake_cuda: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "called.onnx"
    onnx.save(call_plugins(TENSORRT.spell(norm_and_samples(6, 10))), file)
    with pytest.raises(EngineError, match=expected):
        build_engine(file, "fp32", PLUGINS_ON)
    assert build_engine(file, "fp32", BuildOptions())
    # A graph that calls nothing does not ask for anything.
    onnx.save(TENSORRT.spell(norm_and_samples(6, 10)), file)
    if os.environ["FAKE_TENSORRT_VERSION"] == "10.14.1":
        assert build_engine(file, "fp32", PLUGINS_ON)


@pytest.mark.parametrize("capability", ["8.7", "9.0"], ids=["Orin", "H100"])
@pytest.mark.parametrize(
    ("source", "macros"),
    [
        ("group_norm.cu", ["THREADS=1024", "PACK=8", "EPSILON=1e-05F", "HALF"]),
        ("group_norm.cu", ["THREADS=1024", "PACK=4", "EPSILON=1e-05F"]),
        ("sample.cu", ["HALF"]),
        ("sample.cu", []),
    ],
)
def test_cudas_own_compiler_takes_the_kernels(source: str, macros: list[str], capability: str) -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs cuda-bindings")
    try:
        code = compile_kernel(source, capability, "PTX", "tensorrt", macros)
    except EngineMissingError as error:
        pytest.skip(str(error))
    assert f".entry {source.removesuffix('.cu')}(".encode() in code
    assert f".target sm_{capability.replace('.', '')}".encode() in code
    assert (b"ld.global.nc.v4" in code) == (source == "group_norm.cu")  # 16 bytes at once
