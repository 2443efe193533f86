"""Frames through the runtime from several threads: order, drops, errors, ends."""

from __future__ import annotations

import gc
import json
import multiprocessing
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge import ModelPackage, Runtime
from argus_edge.errors import EngineError, FrameDroppedError, InputError, SourceError, TaskError
from argus_edge.results import Frame
from argus_edge.runtime.device import Load, PythonDevice
from tests.runtime.engines import before_each_run, needs_engine


@pytest.fixture(params=["openvino", "onnxruntime"])
def engine(request: pytest.FixtureRequest) -> str:
    return needs_engine(request.param)


def picture(level: int) -> NDArray[np.uint8]:
    return np.full((48, 64, 3), level % 256, np.uint8)


def test_a_stream_of_arrays_gives_every_frame_in_order(engine: str, tiny_package: ModelPackage) -> None:
    images = [picture(5 * level) for level in range(40)]
    with Runtime(tiny_package, engine, threads=1) as runtime:
        expected = [runtime(image).depth.values for image in images]
        got = [(item.index, frame.depth.values) for item, frame in runtime.stream(images)]
        assert runtime.stats().frames["done"] == 80
    assert [index for index, _ in got] == list(range(40))
    for (_, values), wanted in zip(got, expected, strict=True):
        np.testing.assert_array_equal(values, wanted)


def test_rates_hold_in_a_stream(engine: str, tiny_package: ModelPackage) -> None:
    with Runtime(tiny_package, engine, threads=1, rates={"seg": 5.0, "depth": 2.5}) as runtime:

        def camera() -> Iterator[NDArray[np.uint8]]:
            for level in range(60):
                time.sleep(0.02)
                yield picture(level)

        frames = [frame for _, frame in runtime.stream(camera())]
        stats = runtime.stats()
    seconds = 60 * 0.02
    assert len(frames) == 60
    assert all("det" in frame.results for frame in frames)
    assert 0.5 * 5 * seconds <= sum("seg" in frame.results for frame in frames) <= 30
    assert stats.tasks["seg"].done == sum("seg" in frame.results for frame in frames)
    without = next(frame for frame in frames if "depth" not in frame.results)
    assert without.missing["depth"] == "not due"
    with pytest.raises(TaskError, match="not due"):
        _ = without.depth


def test_the_newest_frame_wins(tiny_package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_runtime(tiny_package, monkeypatch, seconds=0.05) as runtime:
        pending = [runtime.submit(picture(level)) for level in range(6)]
        kept = [each for each in pending if not isinstance(_outcome(each), FrameDroppedError)]
        assert kept[-1] is pending[-1]
        assert 1 <= len(kept) <= 3
        assert pending[1].dropped() is not None
        stats = runtime.stats()
    assert stats.frames["overflow"] == 6 - len(kept)
    assert stats.offered == sum(stats.frames.values()) == 6


def test_a_slow_consumer_gets_what_is_new_and_holds_up_nothing(tiny_package: ModelPackage) -> None:
    with Runtime(tiny_package, "onnxruntime", threads=1) as runtime:
        images = (picture(level) for level in range(300))
        seen = []
        for item, _ in runtime.stream(images, overflow="latest"):
            seen.append(item.index)
            if len(seen) < 5:
                time.sleep(0.05)
    assert seen == sorted(set(seen))
    assert seen[-1] == 299
    assert len(seen) < 300


def test_a_failing_stage_costs_its_task_and_its_frame_only(
    tiny_package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = threading.Event()

    def fail(file: Path) -> None:
        if failing.is_set() and "seg" in str(file):
            raise EngineError("out of memory")

    before_each_run(monkeypatch, fail)
    with Runtime(tiny_package, "onnxruntime", threads=1) as runtime:
        failing.set()
        with pytest.raises(EngineError, match="out of memory"):
            runtime(picture(1))
        frames = [frame for _, frame in runtime.stream([picture(2)])]
        assert set(frames[0].results) == {"det", "depth"}
        assert frames[0].missing == {"seg": "failed: out of memory"}
        failing.clear()
        assert "seg" in runtime(picture(3)).results
        assert runtime.stats().tasks["seg"].failed == 2


def test_frames_are_freed_at_once(
    engine: str, tiny_package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the garbage collector, which comes seldom where much else lives: frames are large."""
    failing = threading.Event()
    loads: list[weakref.ref[Load]] = []
    frames: list[weakref.ref[Frame]] = []
    load = PythonDevice.load

    def fail(file: Path) -> None:
        if failing.is_set() and "seg" in str(file):
            raise EngineError("out of memory")

    def noted(self: PythonDevice, *arguments: Any) -> Load:
        made = load(self, *arguments)
        loads.append(weakref.ref(made))
        return made

    def lost_camera() -> str:
        def camera() -> Iterator[NDArray[np.uint8]]:
            yield picture(1)
            raise SourceError("unplugged")

        try:
            for _, frame in runtime.stream(camera()):
                frames.append(weakref.ref(frame))
        except SourceError as error:
            return str(error)
        return ""

    def failing_call() -> str:
        pending = runtime.submit(picture(1))
        try:
            pending.result()
        except EngineError as error:
            return str(error)
        return ""

    before_each_run(monkeypatch, fail)
    monkeypatch.setattr(PythonDevice, "load", noted)
    with Runtime(tiny_package, engine, threads=1, cache=False) as runtime:
        gc.collect()
        gc.disable()
        try:
            runtime(picture(1))
            for _ in runtime.stream([picture(level) for level in range(5)]):
                pass
            assert lost_camera() == "unplugged"
            failing.set()
            assert failing_call() == "out of memory"
            held = sum(ref() is not None for ref in loads) + sum(ref() is not None for ref in frames)
        finally:
            gc.enable()
    assert (len(loads), len(frames)) == (8, 1)
    assert held == 0


def test_a_source_that_dies_is_told_after_its_frames(tiny_package: ModelPackage) -> None:
    def dying() -> Iterator[NDArray[np.uint8]]:
        yield picture(1)
        yield picture(2)
        raise SourceError("the camera was unplugged")

    with Runtime(tiny_package, "onnxruntime", threads=1) as runtime:
        frames = runtime.stream(dying())
        assert [next(frames)[0].index, next(frames)[0].index] == [0, 1]
        with pytest.raises(SourceError, match="unplugged"):
            next(frames)
        assert len(runtime(picture(3)).results) == 3


def test_a_consumer_that_leaves_ends_the_stream(tiny_package: ModelPackage) -> None:
    def endless() -> Iterator[NDArray[np.uint8]]:
        while True:
            yield picture(1)

    before = threading.active_count()
    with Runtime(tiny_package, "onnxruntime", threads=1) as runtime:
        for number, _ in enumerate(runtime.stream(endless())):
            if number == 3:
                break
        gc.collect()
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_closing_ends_whatever_waits(tiny_package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = slow_runtime(tiny_package, monkeypatch, seconds=0.2)
    outcomes: list[Exception | None] = []

    def wait(pending: Any) -> None:
        outcomes.append(_outcome(pending))

    threads = [threading.Thread(target=wait, args=(runtime.submit(picture(n)),)) for n in range(3)]
    for thread in threads:
        thread.start()
    runtime.close()
    runtime.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert any(isinstance(outcome, FrameDroppedError) for outcome in outcomes)
    for use in (runtime, runtime.submit, runtime.stream):
        with pytest.raises(EngineError, match="closed"):
            use(picture(1))
    stats = runtime.stats()
    assert sum(stats.frames.values()) == stats.offered == 3


def test_an_engine_that_hangs_is_told(tiny_package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = slow_runtime(tiny_package, monkeypatch, seconds=0.5, timeout=0.1)
    with runtime, pytest.raises(EngineError, match=r"within 0\.1 s"):
        runtime(picture(1))


def test_a_forgotten_runtime_ends_its_thread(engine: str, tiny_package: ModelPackage) -> None:
    before = threading.active_count()
    runtime = Runtime(tiny_package, engine, threads=1)
    runtime(picture(1))
    assert threading.active_count() == before + 1
    del runtime
    gc.collect()
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_opens_its_own(tiny_package: ModelPackage) -> None:
    with Runtime(tiny_package, "onnxruntime", threads=1) as runtime:
        runtime(picture(1))
        context = multiprocessing.get_context("fork")
        answer = context.SimpleQueue()
        child = context.Process(target=_use_in_child, args=(runtime, answer))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert "forked" in answer.get()
        assert len(runtime(picture(2)).results) == 3


def test_settings_change_while_running(tiny_package: ModelPackage) -> None:
    with Runtime(tiny_package, "onnxruntime", threads=1, overflow="wait") as runtime:
        runtime.set_enabled("seg", False)
        assert runtime(picture(1)).missing == {"seg": "not due"}
        runtime.set_enabled("seg", True)
        runtime.set_priority("depth", 5)
        runtime.set_deadline("det", 1e-3)
        frame = runtime(picture(1))
        assert "depth" in frame.results
        assert frame.missing == {"det": "late"}
        runtime.set_deadline("det", None)
        runtime.set_rate("det", 1000)
        assert "det" in runtime(picture(1)).results
        assert runtime.stats().tasks["depth"].priority == 5
        with pytest.raises(InputError, match="'det'"):
            runtime.set_rate("det", 0)
        with pytest.raises(InputError, match="'det'"):
            runtime.set_deadline("det", -1)
        with pytest.raises(TaskError, match="pose"):
            runtime.set_rate("pose", 1)
    for settings in ({"rates": {"pose": 1}}, {"priorities": {"no": 1}}, {"deadline_ms": {"cls": 1}}):
        with pytest.raises(TaskError):
            Runtime(tiny_package, "onnxruntime", threads=1, **settings)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="overflow"):
        Runtime(tiny_package, "onnxruntime", threads=1, overflow="drop")  # type: ignore[arg-type]


def test_what_ran_is_told(engine: str, tiny_package: ModelPackage, tmp_path: Path) -> None:
    with Runtime(tiny_package, engine, threads=1) as runtime:
        for level in range(5):
            runtime(picture(level))
        stats = runtime.stats()
        runtime.trace(tmp_path / "trace.json")
        with pytest.raises(InputError, match="cannot be written"):
            runtime.trace(tmp_path / "none" / "trace.json")
    assert stats.stages["backbone"].count == stats.stages["det.decode"].count == 5
    assert 0 < stats.stages["backbone"].p50_ms <= stats.stages["backbone"].max_ms
    json.dumps(stats.to_json())
    lines = stats.to_prometheus().splitlines()
    assert 'argus_frames_total{end="done"} 5' in lines
    assert 'argus_stage_seconds_count{stage="backbone"} 5' in lines
    assert all(line.startswith(("# HELP argus_", "# TYPE argus_", "argus_")) for line in lines)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert sum(event["name"] == "backbone" for event in spans) == 5
    assert all(event["dur"] >= 0 for event in spans)


def slow_runtime(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch, *, seconds: float, timeout: float = 20.0
) -> Runtime:
    """A runtime whose backbone takes so long, once it is open."""
    opened = threading.Event()

    def wait(file: Path) -> None:
        if opened.is_set() and "backbone" in str(file):
            time.sleep(seconds)

    before_each_run(monkeypatch, wait)
    runtime = Runtime(package, "onnxruntime", threads=1, timeout=timeout)
    opened.set()
    return runtime


def _outcome(pending: Any) -> Exception | None:
    try:
        pending.result()
    except EngineError as error:
        return error
    return None


def _use_in_child(runtime: Runtime, answer: Any) -> None:
    try:
        runtime(picture(1))
    except EngineError as error:
        answer.put(str(error))
    runtime.close()
