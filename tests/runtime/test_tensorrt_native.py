"""TensorRT run by the C++ core: our library for it, compiled against a fake of its C++ API."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from argus_edge import Runtime
from argus_edge.geometry import Letterbox
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import tensorrt_native
from argus_edge.runtime.engines.native import Built
from argus_edge.spec import ComponentSpec

ROOT = Path(__file__).parents[2]
IMAGE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    file = tmp_path_factory.mktemp("tensorrt") / "_tensorrt.so"
    headers = ["-isystem", str(ROOT / "tests/native/fakes"), "-I", str(ROOT / "runtime/native")]
    source = str(ROOT / "runtime/native/tensorrt_engine.cpp")
    subprocess.run(
        [compiler, "-std=c++17", "-shared", "-fPIC", *headers, source, "-o", str(file)], check=True
    )
    return file


def fake_plan(component: ComponentSpec, file: Path) -> Built:
    """A "plan" as the fake has it: every output byte is the sum of the inputs' at its place, and one."""
    types = {"float32": "float", "uint8": "byte"}
    file.write_text(
        "".join(
            f"{tensor.name} {kind} {types[tensor.dtype]} {' '.join(map(str, tensor.shape))}\n"
            for kind, tensors in (("in", component.inputs), ("out", component.outputs))
            for tensor in tensors
        )
    )
    return Built(file, {"HOST_CODE": "0"})


def test_features_and_answers_pass_through_the_core(
    fake_cuda: ModuleType,
    tiny_package: ModelPackage,
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del fake_cuda
    components = tiny_package.spec.components

    def find(_: object, model_file: Path) -> Built:
        name = model_file.parents[1].name
        return fake_plan(components[name], tmp_path / f"{name}.plan")

    monkeypatch.setattr(tensorrt_native, "LIBRARY", library)
    monkeypatch.setattr(tensorrt_native.PlansOnDisk, "find", find)
    decoder = components[tiny_package.spec.tasks["depth"].component]
    answer = np.ones(decoder.outputs[0].shape, np.float32)
    levels = answer.view(np.uint8).reshape(-1)
    levels[:] = 1
    for feature in decoder.inputs:  # of a black image all bytes are one
        levels[: int(np.prod(feature.shape)) * 4] += 1
    expected = Letterbox(*IMAGE.shape[:2], *answer.shape[1:]).map_to_image(answer[0], "bilinear")
    with Runtime(tiny_package, engine="tensorrt", tasks=("depth",), threads=1) as runtime:
        assert runtime.why == ()
        for _ in range(3):  # the second run is captured, the third a launch
            np.testing.assert_allclose(runtime(IMAGE).depth.values, expected, rtol=1e-3)


def test_engines_that_do_not_load_are_left_to_python(
    fake_cuda: ModuleType, tiny_package: ModelPackage, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_native, "LIBRARY", library)
    with Runtime(tiny_package, engine="tensorrt", threads=1) as runtime:
        (why,) = runtime.why  # the stand-in of the Python package writes plans that this one does not know
        assert why.startswith("tensorrt: frames pass through Python: ")
        assert why.endswith("TensorRT does not take the engine: magic tag does not match")
        assert runtime(IMAGE).depth.values.shape == IMAGE.shape[:2]
    assert not fake_cuda.live


def test_without_the_library_python_calls_it(fake_cuda: ModuleType, tiny_package: ModelPackage) -> None:
    with Runtime(tiny_package, engine="tensorrt", threads=1) as runtime:
        assert runtime.why[0].startswith("tensorrt: frames pass through Python: our library for TensorRT is")
    assert not fake_cuda.live
