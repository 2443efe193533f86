"""Frames resized on a GPU: the kernel's own source, run by the fake device, against what the CPU makes."""

from __future__ import annotations

import gc
import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge import Runtime
from argus_edge.errors import EngineError, ImageError
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import cuda_kernels
from argus_edge.runtime.engines.cuda_kernels import SOURCES, compile_kernel
from argus_edge.runtime.engines.device_frames import DeviceFrames
from argus_edge.runtime.preprocess import PixelFormat, preprocess
from argus_edge.spec import ImageSpec
from tests.runtime.references.preprocess import preprocess_reference

SPEC = ImageSpec(48, 64)
SIZES = [(96, 128), (61, 203), (48, 64), (20, 17), (1, 1), (1, 90), (70, 2), (270, 480)]

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="needs g++, which compiles the kernel for this machine"
)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@needs_compiler
@pytest.mark.parametrize("extra", ["cuda", "tensorrt"])
def test_the_input_is_the_cpus_to_one_level(extra: str, fake_cuda: ModuleType) -> None:
    frames = DeviceFrames(SPEC, extra)
    formats: list[PixelFormat] = ["rgb", "bgr"]
    for (height, width), pixel_format in itertools.product(SIZES, formats):
        image = noise(height, width)
        frame = frames.upload(image, pixel_format)
        made = np.asarray(frames.network_input(frame)).astype(int)
        expected, letterbox = preprocess(image, SPEC, pixel_format)
        assert frame.letterbox == letterbox
        assert made.shape == expected.shape
        assert np.abs(made - expected).max() <= 1, (height, width, pixel_format)
        rgb = image if pixel_format == "rgb" else image[:, :, ::-1]
        reference = preprocess_reference(rgb, SPEC)[0]
        assert np.abs(made - reference).max() <= 1
        assert np.mean(made != reference) <= 5e-3  # at halves, which either may round up
        assert (made[0, letterbox.resized_height :] == SPEC.pad_color).all()
        assert (made[0, :, letterbox.resized_width :] == SPEC.pad_color).all()
    frames.close()
    frames.close()
    assert not fake_cuda.live
    assert not fake_cuda.streams


@needs_compiler
def test_views_of_any_strides_and_what_is_no_image(fake_cuda: ModuleType) -> None:
    frames = DeviceFrames(SPEC, "cuda")
    image = noise(120, 160)
    for view in (image[::-1, ::2], image[5:90, 7:120], image[:, :, ::-1], image.transpose(1, 0, 2)):
        made = np.asarray(frames.network_input(frames.upload(view))).astype(int)
        assert np.abs(made - preprocess(view, SPEC)[0]).max() <= 1
    with pytest.raises(ImageError, match="RGB array, got an array of 4x4 uint8"):
        frames.upload(np.zeros((4, 4), np.uint8))
    frames.close()


@needs_compiler
def test_memory_is_used_again_and_grows_to_what_is_needed(fake_cuda: ModuleType) -> None:
    frames = DeviceFrames(SPEC, "cuda")

    def device_bytes() -> list[int]:
        return sorted(len(memory) for side, memory in fake_cuda.live.values() if side == "device")

    network_input = 48 * 64 * 3
    for height in (200, 300, 100):  # one after the other: one place, of the largest
        frames.network_input(frames.upload(noise(height, 200)))
    assert device_bytes() == [network_input, 300 * 200 * 3]
    first = frames.upload(noise(10, 10))
    dropped = frames.upload(noise(20, 20))  # both wait
    assert len(device_bytes()) == 3
    del dropped
    gc.collect()
    second = frames.upload(noise(20, 20))
    assert len(device_bytes()) == 3
    for frame, size in ((first, 10), (second, 20)):
        made = np.asarray(frames.network_input(frame)).astype(int)
        assert np.abs(made - preprocess(noise(size, size), SPEC)[0]).max() <= 1
    frames.close()
    assert not fake_cuda.live
    with pytest.raises(EngineError, match="after it was closed"):
        frames.network_input(first)


@needs_compiler
def test_frames_come_from_several_threads(fake_cuda: ModuleType) -> None:
    frames = DeviceFrames(SPEC, "cuda")
    images = [noise(60, width) for width in range(60, 90)]
    with ThreadPoolExecutor(4) as pool:
        for image, frame in zip(images, pool.map(frames.upload, images), strict=True):
            made = np.asarray(frames.network_input(frame)).astype(int)
            assert np.abs(made - preprocess(image, SPEC)[0]).max() <= 1
    frames.close()


@needs_compiler
@pytest.mark.parametrize("engine", ["cuda", "tensorrt"])
def test_a_runtime_uploads_frames_as_they_come(
    engine: str, fake_gpu: ModuleType, tiny_package: ModelPackage
) -> None:
    image = noise(480, 640)
    with Runtime(tiny_package, engine=engine, threads=1) as runtime:
        assert not [line for line in runtime.why if "resized on the CPU" in line]
        captured = len(fake_gpu.graphs)
        frame, swapped = runtime(image), runtime(np.ascontiguousarray(image[:, :, ::-1]), "bgr")
        on_device = [len(memory) for side, memory in fake_gpu.live.values() if side == "device"]
        assert on_device.count(image.size) == 1  # neither was resized before it went up
        assert len(fake_gpu.graphs) == captured  # the first frame is replayed already
        again = [pending.result() for pending in [runtime.submit(image)]]
    np.testing.assert_array_equal(swapped.depth.values, frame.depth.values)
    np.testing.assert_array_equal(again[0].depth.values, frame.depth.values)
    with Runtime(tiny_package, engine="onnxruntime", threads=1) as runtime:
        expected = runtime(image)
    np.testing.assert_allclose(frame.depth.values, expected.depth.values, rtol=0.02)
    assert np.mean(frame.seg.labels != expected.seg.labels) <= 0.02
    assert not fake_gpu.live
    assert not fake_gpu.streams


@needs_compiler
def test_a_camera_format_is_resized_on_the_cpu(fake_gpu: ModuleType, tiny_package: ModelPackage) -> None:
    yuyv = np.random.default_rng(0).integers(16, 236, (48, 64, 2), dtype=np.uint8)
    with Runtime(tiny_package, engine="cuda", threads=1) as runtime:
        frame = runtime(yuyv, "yuyv")
    with Runtime(tiny_package, engine="onnxruntime", threads=1) as runtime:
        expected = runtime(yuyv, "yuyv")
    np.testing.assert_allclose(frame.depth.values, expected.depth.values, rtol=1e-5)


@needs_compiler
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("", "#error", r"letterbox\.cu .* 8\.7: .* NVRTC_ERROR_COMPILATION: kernel\.cu\(1\): error"),
        ("+ 0.5F, 255", "+ 9.5F, 255", "grey levels off what the CPU makes"),
        ("void letterbox(", "void other(", "cuModuleGetFunction failed: CUDA_ERROR_NOT_FOUND"),
    ],
    ids=["refused", "wrong", "absent"],
)
def test_a_kernel_that_is_of_no_use_is_told_and_leaves_nothing_behind(
    old: str, new: str, reason: str, fake_cuda: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_source(old, new, tmp_path, monkeypatch)
    with pytest.raises(EngineError, match=reason):
        DeviceFrames(SPEC, "cuda")
    assert not fake_cuda.live
    assert not fake_cuda.streams


def change_source(old: str, new: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (SOURCES / "letterbox.cu").read_text(encoding="utf-8")
    (folder / "letterbox.cu").write_text(source.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(cuda_kernels, "SOURCES", folder)


@needs_compiler
def test_then_the_cpu_resizes(
    fake_gpu: ModuleType, tiny_package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_source("", "#error", tmp_path, monkeypatch)
    image = noise(60, 80)
    with Runtime(tiny_package, engine="cuda", threads=1) as runtime:
        (told,) = runtime.why
        assert told.startswith("cuda: frames are resized on the CPU: letterbox.cu")
        frame = runtime(image)
    with Runtime(tiny_package, engine="onnxruntime", threads=1) as runtime:
        np.testing.assert_allclose(frame.depth.values, runtime(image).depth.values, rtol=1e-5)
    assert not fake_gpu.live


@pytest.mark.parametrize("capability", ["8.7", "9.0"], ids=["Orin", "H100"])
def test_cudas_own_compiler_takes_the_kernel(capability: str) -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs cuda-bindings")
    try:
        code = compile_kernel("letterbox.cu", capability, "CUBIN", "cuda")
    except EngineError as error:
        pytest.skip(str(error))
    assert code.startswith(b"\x7fELF")
    assert b"letterbox" in code
