"""Several cameras in one runtime: their frames run at once, and each gets what it would get alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge import Frame, ModelPackage, Runtime
from argus_edge.errors import EngineError, InputError
from tests.runtime.engines import before_each_run, needs_engine

CAMERAS = 4
Images = list[list[NDArray[np.uint8]]]


@pytest.fixture(params=["openvino", "onnxruntime"])
def engine(request: pytest.FixtureRequest) -> str:
    return needs_engine(request.param)


@pytest.fixture(scope="module")
def images() -> Images:
    """40 of each camera."""
    random = np.random.default_rng(0)
    return [[random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(40)] for _ in range(CAMERAS)]


def run_cameras(runtime: Runtime, images: Sequence[Sequence[NDArray[np.uint8]]]) -> list[list[Frame]]:
    """Stream each camera's images from a thread of its own."""
    frames: list[list[Frame]] = [[] for _ in images]

    def run(camera: int) -> None:
        frames[camera] += [frame for _, frame in runtime.stream(images[camera])]

    threads = [threading.Thread(target=run, args=(camera,)) for camera in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return frames


def at_once(runtime: Runtime, stage: str) -> int:
    """How often a stage ran on several frames."""
    stages = runtime.stats().stages
    return sum(stages[f"{stage} x{frames}"].count for frames in runtime.batches[1:])


def test_each_camera_gets_what_it_would_get_alone(
    engine: str, tiny_batches: ModelPackage, images: Images, tmp_path: Path
) -> None:
    with Runtime(tiny_batches, engine, threads=1) as runtime:
        assert runtime.batches == (1,)
        expected = [[runtime(image) for image in camera] for camera in images]
    with Runtime(tiny_batches, engine, threads=1, batch=3, rates={"seg": 100.0}) as runtime:
        assert runtime.batches == (1, 2, 3)
        assert not runtime.why
        got = run_cameras(runtime, images)
        assert min(at_once(runtime, stage) for stage in ("backbone", "det", "depth")) > 0
        stats = runtime.stats()
        runtime.trace(tmp_path / "trace.json")
    for one, other in zip(chain(*expected), chain(*got), strict=True):
        np.testing.assert_allclose(other.depth.values, one.depth.values, rtol=1e-5)
        np.testing.assert_allclose(other.det.boxes, one.det.boxes, atol=1e-3)
        np.testing.assert_array_equal(other.det.classes, one.det.classes)
        if "seg" in other.results:
            assert np.mean(other.seg.labels == one.seg.labels) > 0.999
        else:
            assert other.missing == {"seg": "not due"}
    assert stats.frames["done"] == stats.offered == 40 * CAMERAS
    assert stats.tasks["seg"].done == sum("seg" in frame.results for frame in chain(*got))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    several = [event["args"]["frames"] for event in events if event["name"] == "backbone x3"]
    assert all(len(set(frames)) == 3 for frames in several)
    assert len(several) == stats.stages["backbone x3"].count


def test_a_stage_that_fails_on_several_frames_costs_each_of_them(
    tiny_batches: ModelPackage, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    opened = threading.Event()

    def fail_once(file: Path) -> None:
        if opened.is_set() and file.parent.name == "fp32" and file.parts[-3] == "backbone":
            time.sleep(0.005)  # so that frames meet in the queues
        if opened.is_set() and file.parent.name == "fp32-2" and "det" in str(file) and not failed.is_set():
            failed.set()
            raise EngineError("out of memory")

    before_each_run(monkeypatch, fail_once)
    with Runtime(tiny_batches, "onnxruntime", threads=1, batch=2) as runtime:
        opened.set()
        frames = list(chain(*run_cameras(runtime, images[:2])))
        stats = runtime.stats()
    missing = [frame.missing for frame in frames if frame.missing]
    assert missing == [{"det": "failed: out of memory"}] * 2
    assert stats.tasks["det"].failed == 2
    assert stats.frames["done"] == 80


def test_only_packages_with_such_graphs_take_several(
    tiny_package: ModelPackage, tiny_batches: ModelPackage
) -> None:
    with Runtime(tiny_batches, "onnxruntime", threads=1, batch=2) as runtime:
        assert runtime.batches == (1, 2)
    with pytest.raises(InputError, match="has graphs for no frames of 64x64 px at once, asked for up to 4"):
        Runtime(tiny_package, "onnxruntime", batch=4)
    with pytest.raises(InputError, match="batch must be at least 1, got 0"):
        Runtime(tiny_batches, "onnxruntime", batch=0)
