"""TensorRT, stood in for: what is called, in which order, and what becomes of a failure."""

from __future__ import annotations

import importlib
import json
import logging
import shlex
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from argus_edge import Runtime
from argus_edge.errors import EngineError, EngineMissingError, InputError
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import choose_engine, engine_status, open_engine
from argus_edge.runtime.engines.tensorrt_builder import build_engine, build_in_process
from argus_edge.runtime.engines.tensorrt_options import (
    VARIABLE,
    BuildOptions,
    options_from_environment,
    trtexec_command,
)

DEFAULTS = BuildOptions()


def facts_of(plan: bytes) -> dict[str, object]:
    """What the stand-in writes at the head of an engine."""
    facts: dict[str, object] = json.loads(plan.split(b"\n")[1])
    return facts


def write_model(path: Path, operation: str = "Relu", domain: str = "") -> Path:
    inputs = ["x", "grid"] if operation == "GridSample" else ["x"]
    node = helper.make_node(operation, inputs, ["y"], "layer/Node_3", domain=domain)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 2, 2]) for name in (*inputs, "y")]
    graph = helper.make_graph([node], "small", values[:-1], values[-1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_builds_once_and_answers(
    version: str,
    fake_cuda: ModuleType,
    tiny_package: ModelPackage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", version)
    file = tiny_package.model_file("backbone", "fp32")
    golden = tiny_package.golden()
    assert golden is not None
    for _ in range(2):
        engine = open_engine("tensorrt", file, threads=1, precision="fp32")
        outputs = engine.run({"image": golden.image})
        assert list(outputs) == ["f0", "f1", "f2", "f3"]
        for name, expected in golden.outputs["backbone"].items():
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-5)
        engine.close()
        engine.close()
        assert not fake_cuda.live
        assert not fake_cuda.streams
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no engine was built for this graph yet" in caplog.text
    monkeypatch.setenv("FAKE_CUDA_DRIVER", "12080")
    open_engine("tensorrt", file, threads=1, precision="fp32").close()
    assert "driver was CUDA 12.6, is CUDA 12.8" in caplog.text


def test_wrong_inputs_and_a_closed_engine(fake_cuda: ModuleType, tmp_path: Path) -> None:
    engine = open_engine("tensorrt", write_model(tmp_path / "m.onnx"), threads=1, precision="fp16")
    x = np.array([[[[-1.0, 2.0], [3.0, -4.0]]] * 2], np.float32)
    for wrong in ({}, {"z": x}, {"x": x[0]}, {"x": x.astype(np.float64)}):
        with pytest.raises(EngineError, match=r"m\.onnx"):
            engine.run(wrong)
    np.testing.assert_array_equal(engine.run({"x": x})["y"], np.maximum(x, 0))
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run({"x": x})


def test_precision_and_options_reach_the_builder(
    fake_cuda: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "m.onnx")
    timing = tmp_path / "timing.cache"
    plain = facts_of(build_in_process(model, "fp32", DEFAULTS, timing))
    assert (plain["flags"], plain["workspace"]) == ([], 1024 << 20)
    assert timing.read_bytes() == b"timings of 10.3.0"
    timing.write_bytes(b"timings of 8.6.1")  # of another version: left aside
    assert facts_of(build_in_process(model, "int8", DEFAULTS, timing))["flags"] == ["TF32"]
    assert timing.read_bytes() == b"timings of 10.3.0"
    monkeypatch.setenv("FAKE_TENSORRT_DLA", "2")
    options = BuildOptions(workspace=64, version_compatible=True, hardware="ampere+", dla=1)
    facts = facts_of(build_in_process(model, "fp16", options, None))
    assert facts["flags"] == ["GPU_FALLBACK", "TF32", "VERSION_COMPATIBLE"]
    assert (facts["hardware"], facts["device"], facts["dla"]) == ("AMPERE_PLUS", "DLA", 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (BuildOptions(dla=0), "0 DLA cores"),
        (BuildOptions(hardware="sameComputeCapability"), "no hardware=sameComputeCapability"),
    ],
)
def test_what_a_device_or_version_lacks_is_told(
    options: BuildOptions, expected: str, fake_cuda: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=expected):
        build_in_process(write_model(tmp_path / "m.onnx"), "fp16", options, None)


def test_a_refused_graph_is_told_by_node(fake_cuda: ModuleType, tmp_path: Path) -> None:
    own = write_model(tmp_path / "own.onnx", "Fold", "com.example")
    with pytest.raises(EngineError, match=r"TensorRT 10\.3\.0 cannot read it: Fold layer/Node_3: Plugin not"):
        build_in_process(own, "fp16", DEFAULTS, None)
    samples = write_model(tmp_path / "samples.onnx", "GridSample")
    with pytest.raises(EngineError, match=r"in layer/Node_3; export the package with --target tensorrt"):
        build_in_process(samples, "fp16", DEFAULTS, None)


def test_a_failing_builder_costs_an_error_and_no_more(
    fake_cuda: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "m.onnx")
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "crash")
    with pytest.raises(EngineError, match=r"m\.onnx: .* ended by SIGKILL, .* ARGUS_TENSORRT=workspace=256"):
        build_engine(model, "fp16", DEFAULTS)
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "no-engine")
    with pytest.raises(EngineError, match=r"m\.onnx: TensorRT .*: Could not find .* for node MatMul_3\.$"):
        build_engine(model, "fp16", DEFAULTS)


def test_no_memory_for_a_context_is_an_error(
    fake_cuda: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "no-context")
    with pytest.raises(EngineError, match="cannot run it"):
        open_engine("tensorrt", write_model(tmp_path / "m.onnx"), threads=1, precision="fp16")
    assert not fake_cuda.live


def test_status_says_what_is_wrong(fake_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_status("tensorrt").version == "10.3.0"
    monkeypatch.setenv("FAKE_CUDA_DRIVER", "0")
    assert engine_status("tensorrt").reason == (
        "TensorRT 10.3.0 finds no device: CUDA: cudaGetDeviceProperties failed: cudaErrorNoDevice"
    )
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "8.6.1")
    assert "too old; 10.3 (JetPack 6)" in (engine_status("tensorrt").reason or "")


def test_auto_leaves_packages_for_cpus_to_cpus(fake_cuda: ModuleType) -> None:
    assert choose_engine("auto", "tensorrt")[0].name == "tensorrt"
    status, why = choose_engine("auto", "cpu")
    assert status.name in ("openvino", "onnxruntime")
    assert why[0] == "tensorrt: the package is for cpu; export it with --target tensorrt"
    assert choose_engine("tensorrt", "cpu")[0].name == "tensorrt"  # whoever names it, tries it


def test_a_whole_package_runs_where_it_is_named(fake_cuda: ModuleType, tiny_package: ModelPackage) -> None:
    with Runtime(tiny_package, engine="tensorrt", threads=1) as runtime:
        assert runtime.engine == "tensorrt"
        errors = runtime.golden_errors()
        assert errors
        assert max(errors.values()) <= 1e-5
    assert not fake_cuda.live
    with Runtime(tiny_package, threads=1) as runtime:
        assert runtime.engine != "tensorrt"
        assert runtime.why[0].startswith("tensorrt: the package is for cpu")


def test_without_it_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineMissingError, match=r"pip install 'argus-edge\[tensorrt\]'"):
        choose_engine("tensorrt")


def test_options_come_from_the_environment() -> None:
    text = "workspace=512, dla=0,version_compatible=1,hardware=ampere+"
    expected = BuildOptions(512, version_compatible=True, hardware="ampere+", dla=0)
    assert options_from_environment({VARIABLE: text}) == expected
    assert options_from_environment({}) == DEFAULTS
    for wrong in ("workspace", "workspace=0", "dla=-1", "fp16=1", "hardware=all", "version_compatible=yes"):
        with pytest.raises(InputError, match=VARIABLE):
            options_from_environment({VARIABLE: wrong})


def test_the_same_engine_by_hand() -> None:
    plain = trtexec_command("a b/model.onnx", "det.plan", "fp32", DEFAULTS)
    assert shlex.join(plain) == (
        "trtexec '--onnx=a b/model.onnx' --saveEngine=det.plan --stronglyTyped --memPoolSize=workspace:1024 "
        "--timingCacheFile=timing.cache --noTF32"
    )
    options = BuildOptions(64, version_compatible=True, hardware="sameComputeCapability", dla=1)
    assert trtexec_command("m", "p", "int8", options)[-4:] == [
        "--versionCompatible",
        "--hardwareCompatibilityLevel=sameComputeCapability",
        "--useDLACore=1",
        "--allowGPUFallback",
    ]


def test_the_bindings_have_what_is_called_of_them(fake_cuda: ModuleType) -> None:
    """The stand-in's functions are all that an engine calls, and the real module has each of them."""
    called = {name for name in vars(fake_cuda) if name.startswith("cuda")}
    sys.path.remove(next(path for path in sys.path if path.endswith("fakes")))
    for name in [name for name in sys.modules if name.partition(".")[0] == "cuda"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        real = importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        pytest.skip("needs cuda-bindings")
    assert called <= set(dir(real))
    assert set(fake_cuda.cudaMemcpyKind.__members__) <= set(real.cudaMemcpyKind.__members__)
    assert real.cudaError_t.cudaSuccess.value == 0
