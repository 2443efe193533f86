"""ONNX Runtime on CUDA: the engine as it is, on a provider and a device that are stood in for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from argus_edge import Runtime
from argus_edge.errors import EngineError, EngineMissingError
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import choose_engine, engine_status, open_engine
from argus_edge.runtime.engines.cuda_memory import DeviceArray

GPU_ENGINES = ["cuda", "tensorrt"]


@pytest.fixture
def small_graph(tmp_path: Path) -> Path:
    """y = max(x, 0) of any two numbers."""
    return write_graph(tmp_path / "small.onnx", [helper.make_node("Relu", ["x"], ["y"])], [2])


def write_graph(path: Path, nodes: list[onnx.NodeProto], shape: list[int | str]) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph(nodes, "small", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_features_stay_on_the_device(name: str, fake_gpu: ModuleType, tiny_package: ModelPackage) -> None:
    golden = tiny_package.golden()
    assert golden is not None
    backbone = open_engine(name, tiny_package.model_file("backbone", "fp32"), threads=1, precision="fp32")
    det = open_engine(name, tiny_package.model_file("det", "fp32"), threads=1, precision="fp32")
    features: dict[str, np.ndarray] = {}
    answers: dict[str, np.ndarray] = {}
    for _ in range(3):  # the first is run, and captured; the others are replayed
        features = backbone.run({"image": golden.image})
        answers = det.run({each: features[each] for each in ("f1", "f2", "f3")})
        np.testing.assert_allclose(answers["boxes"], golden.outputs["det"]["boxes"], rtol=1e-5, atol=1e-5)
    assert all(isinstance(values, DeviceArray) for values in features.values())
    assert all(type(values) is np.ndarray for values in answers.values())
    # One image was uploaded and three outputs were downloaded: nothing else was ever on the host.
    pinned = sorted(len(memory) for side, memory in fake_gpu.live.values() if side == "host")
    assert pinned == sorted([golden.image.nbytes, *(values.nbytes for values in answers.values())])
    det.close()
    backbone.close()
    assert not fake_gpu.live
    assert not fake_gpu.streams
    assert not fake_gpu.graphs


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_features_are_arrays_to_whoever_asks(
    name: str, fake_gpu: ModuleType, tiny_package: ModelPackage
) -> None:
    golden = tiny_package.golden()
    assert golden is not None
    engine = open_engine(name, tiny_package.model_file("backbone", "fp32"), threads=1, precision="fp32")
    given, expected = engine.run({"image": golden.image})["f0"], golden.outputs["backbone"]["f0"]
    assert (given.shape, given.dtype) == (expected.shape, expected.dtype)
    kept = given.copy()
    np.testing.assert_allclose(np.asarray(given), expected, rtol=1e-5, atol=1e-5)
    assert float(np.abs(given - expected).max()) <= 1e-5
    assert np.asarray(given, np.float64).dtype == np.float64
    engine.run({"image": np.zeros_like(golden.image)})
    assert not np.allclose(given, kept)  # the engine's own memory
    np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-5)
    engine.close()
    with pytest.raises(EngineError, match="closed engine"):
        np.asarray(given)


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_each_place_of_the_inputs_has_a_cuda_graph_of_its_own(
    name: str, fake_gpu: ModuleType, tiny_package: ModelPackage
) -> None:
    """A captured graph reads where it read: features of another backbone must not give the first one's."""
    golden = tiny_package.golden()
    assert golden is not None
    file = tiny_package.model_file("backbone", "fp32")
    backbones = [open_engine(name, file, threads=1, precision="fp32") for _ in range(2)]
    depth = open_engine(name, tiny_package.model_file("depth", "fp32"), threads=1, precision="fp32")
    images = [golden.image, 255 - golden.image]
    sources = [b.run({"image": image}) for b, image in zip(backbones, images, strict=True)]
    sources.append(dict(golden.outputs["backbone"]))  # and from the host
    for _ in range(3):
        first, other, uploaded = (depth.run(source)["depth"].copy() for source in sources)
        np.testing.assert_allclose(first, golden.outputs["depth"]["depth"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(uploaded, first, rtol=1e-5, atol=1e-5)
        assert not np.allclose(other, first)
    backbones[0].close()
    with pytest.raises(EngineError, match=r"model\.onnx: f0 comes from an engine that was closed"):
        depth.run(sources[0])


@pytest.mark.parametrize("name", GPU_ENGINES)
def test_a_decoder_takes_its_frame_s_part_of_the_features(
    name: str, fake_gpu: ModuleType, tiny_batches: ModelPackage
) -> None:
    golden, two = tiny_batches.golden(), tiny_batches.at(64, 64, 2)
    assert golden is not None
    backbone = open_engine(name, two.model_file("backbone", "fp32"), threads=1, precision="fp32")
    one_by_one = open_engine(name, tiny_batches.model_file("depth", "fp32"), threads=1, precision="fp32")
    at_once = open_engine(name, two.model_file("depth", "fp32"), threads=1, precision="fp32")
    features = backbone.run({"image": np.concatenate([255 - golden.image, golden.image])})
    uploaded = sum(len(memory) for side, memory in fake_gpu.live.values() if side == "host")
    parts = [{each: values[i : i + 1] for each, values in features.items()} for i in range(2)]
    depth: list[np.ndarray] = []
    for _ in range(3):
        depth = [one_by_one.run(part)["depth"].copy() for part in parts]
        np.testing.assert_allclose(depth[1], golden.outputs["depth"]["depth"], rtol=1e-5, atol=1e-5)
        assert not np.allclose(depth[0], depth[1])
        both = at_once.run({each: values[:2] for each, values in features.items()})["depth"]
        np.testing.assert_allclose(both, np.concatenate(depth), rtol=1e-5, atol=1e-5)
    pinned = sum(len(memory) for side, memory in fake_gpu.live.values() if side == "host")
    assert pinned == uploaded + 3 * depth[0].nbytes  # no features were ever on the host
    backbone.close()
    with pytest.raises(EngineError, match="comes from an engine that was closed"):
        one_by_one.run(parts[1])


def test_tensorrt_replays_what_it_has_captured(
    fake_cuda: ModuleType,
    small_graph: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = open_engine("tensorrt", small_graph, threads=1, precision="fp16")
    for number in range(4):
        x = np.array([number, -number], np.float32)
        np.testing.assert_array_equal(engine.run({"x": x})["y"], [number, 0])
    assert len(fake_cuda.launches) == 3
    engine.close()
    monkeypatch.setenv("FAKE_CUDA_FAULT", "capture")
    caplog.clear()
    engine = open_engine("tensorrt", small_graph, threads=1, precision="fp16")
    for number in range(4):
        np.testing.assert_array_equal(engine.run({"x": np.full(2, number, np.float32)})["y"], [number] * 2)
    assert len(fake_cuda.launches) == 3
    assert "without a CUDA graph: CUDA: cudaStreamEndCapture failed" in caplog.text
    assert len(caplog.records) == 1


def test_onnxruntime_is_asked_for_a_cuda_graph(
    fake_onnxruntime_gpu: ModuleType, small_graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = fake_onnxruntime_gpu.opened
    open_engine("cuda", small_graph, threads=1, precision="fp16").close()
    assert opened[-1].given.items() >= {"enable_cuda_graph": "1", "use_tf32": "1"}.items()
    open_engine("cuda", small_graph, threads=1, precision="fp32").close()
    assert opened[-1].given["use_tf32"] == "0"
    assert not caplog.records
    nodes = [
        helper.make_node("Constant", [], ["grid"], value_floats=[0.0] * 8),
        helper.make_node("Constant", [], ["sides"], value_ints=[1, 2, 2, 2]),
        helper.make_node("Reshape", ["grid", "sides"], ["places"]),
        helper.make_node("GridSample", ["x", "places"], ["y"]),
    ]
    file = write_graph(tmp_path / "sampled.onnx", nodes, [1, 1, 2, 2])
    engine = open_engine("cuda", file, threads=1, precision="fp32")
    assert "enable_cuda_graph" not in opened[-1].given
    assert "sampled.onnx: ONNX Runtime cannot load it: This session cannot use the graph" in caplog.text
    y = engine.run({"x": np.array([[[[1, 2], [3, 4]]]], np.float32)})["y"]
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), 2.5))


def test_wrong_inputs_and_a_closed_engine(fake_onnxruntime_gpu: ModuleType, small_graph: Path) -> None:
    engine = open_engine("cuda", small_graph, threads=1, precision="fp16")
    x = np.array([1, -1], np.float32)
    for wrong in ({}, {"z": x}, {"x": x[:1]}, {"x": x.astype(np.float64)}):
        with pytest.raises(EngineError, match=r"small\.onnx"):
            engine.run(wrong)
    np.testing.assert_array_equal(engine.run({"x": x})["y"], [1, 0])
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run({"x": x})


def test_a_file_that_cannot_be_taken_leaves_nothing_behind(
    fake_onnxruntime_gpu: ModuleType, fake_cuda: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineError, match=r"broken\.onnx: ONNX Runtime cannot load it"):
        open_engine("cuda", tmp_path / "broken.onnx", threads=1, precision="fp32")
    loose = write_graph(tmp_path / "loose.onnx", [helper.make_node("Relu", ["x"], ["y"])], ["n"])
    with pytest.raises(EngineError, match=r"loose\.onnx: x has the shape \('n',\), which is not fixed"):
        open_engine("cuda", loose, threads=1, precision="fp32")
    assert not fake_cuda.live
    assert not fake_cuda.streams


def test_a_whole_package(fake_gpu: ModuleType, tiny_package: ModelPackage) -> None:
    with Runtime(tiny_package, engine="cuda", threads=1) as runtime:
        errors = runtime.golden_errors()
        assert errors
        assert max(errors.values()) <= 1e-5
        sides = runtime.package.spec.input.tensor.shape[1:]  # so that nothing is resized, by whomever
        image = np.random.default_rng(0).integers(0, 256, sides, dtype=np.uint8)
        frame = runtime(image)
    with Runtime(tiny_package, engine="onnxruntime", threads=1) as runtime:
        expected = runtime(image)
    np.testing.assert_allclose(frame.depth.values, expected.depth.values, rtol=1e-5)
    np.testing.assert_array_equal(frame.seg.labels, expected.seg.labels)
    assert not fake_gpu.live


def test_auto_takes_it_after_tensorrt_and_before_the_cpu(fake_gpu: ModuleType) -> None:
    status, why = choose_engine("auto", "cpu")
    assert status.name == "cuda"
    assert [line.partition(":")[0] for line in why] == ["tensorrt"]
    assert choose_engine("auto", "tensorrt")[0].name == "tensorrt"


def test_status_says_what_is_missing(fake_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is installed")
    reason = engine_status("cuda").reason or ""
    assert "without CUDA; run: pip uninstall onnxruntime, then pip install 'argus-edge[cuda]'" in reason
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    # The device is there; the library that is installed then says itself that it has no CUDA.
    assert "cannot use a CUDA device: Can't allocate memory on the CUDA device" in (
        engine_status("cuda").reason or ""
    )
    monkeypatch.setenv("FAKE_CUDA_DRIVER", "0")
    assert "cannot use a CUDA device: CUDA: cudaGetDeviceProperties failed: cudaErrorNoDevice" in (
        engine_status("cuda").reason or ""
    )
    with pytest.raises(EngineMissingError, match="engine 'cuda'"):
        choose_engine("cuda")
    with monkeypatch.context() as without:  # undone before the stand-in is taken away
        without.setitem(sys.modules, "cuda.bindings.runtime", None)
        assert "pip install 'argus-edge[cuda]'" in (engine_status("cuda").reason or "")


QUIET = """
import onnxruntime
onnxruntime.preload_dlls = lambda: print("Failed to load libcublas.so.13")
onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider"]
from argus_edge.runtime.engines import engine_status
engine_status("cuda")
"""


def test_what_onnxruntime_prints_is_kept_from_stdout(fake_cuda: ModuleType) -> None:
    """`argus-doctor --json` has JSON there."""
    pytest.importorskip("onnxruntime")
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "libcublas" in done.stderr
