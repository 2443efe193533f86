"""Opens a package on an engine, the fastest way that there is here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import cast

import numpy as np

from argus_edge.errors import EngineError
from argus_edge.package import ModelPackage
from argus_edge.runtime.device import Device, PersonFinder, PythonDevice
from argus_edge.runtime.engines import Array
from argus_edge.runtime.engines.device_frames import DeviceFrames
from argus_edge.runtime.engines.native import NATIVE, NativeCache, native_cache
from argus_edge.runtime.graphs import Graphs
from argus_edge.runtime.native_device import NativeDevice, built_graphs, keep_built
from argus_edge.runtime.selection import Selection
from argus_edge.spec import Precision

__all__ = ["open_device"]


def open_device(
    packages: Mapping[int, ModelPackage],
    selection: Selection,
    engine: str,
    precision: Precision,
    threads: int,
    score_threshold: float,
    cache: bool,
) -> tuple[Device, tuple[str, ...]]:
    """The device that runs the stages of `selection`, and why it is not the fastest one where it could be.

    `packages` are the package as it is for one frame, and for each number of frames that may run at once.
    OpenVINO and TensorRT are run by the C++ core, where built graphs may be kept. They are built by way of
    Python when they are new to this user's cache, and checked on a blank frame. On a GPU that Python calls,
    frames are resized there. Raises EngineError, PackageError.
    """
    finder = PersonFinder(packages[1], selection, score_threshold)
    notes: tuple[str, ...] = ()
    native: NativeCache | None = None
    if engine in NATIVE and cache:
        try:
            native = native_cache(engine, threads, precision)
            built = built_graphs(packages, selection, precision, native)
            if built is not None:
                return NativeDevice(packages[1], selection, native.library, built, finder), ()
        except EngineError as error:
            notes = (f"{engine}: frames pass through Python: {error}",)
    with ExitStack() as stack:
        graphs = {
            frames: stack.enter_context(closing(Graphs(package, selection.tasks, engine, precision, threads)))
            for frames, package in packages.items()
        }
        if native is not None and not notes:
            try:
                built = keep_built(graphs, packages, selection, precision, native)
                if built is not None:
                    return NativeDevice(packages[1], selection, native.library, built, finder), ()
            except EngineError as error:
                notes = (f"{engine}: frames pass through Python: {error}",)
        frames = None
        if engine in ("cuda", "tensorrt") and len(packages) == 1:  # several at once lie one after the other
            try:
                frames = _device_frames(packages[1], graphs[1], engine)
            except EngineError as error:
                notes = (*notes, f"{engine}: frames are resized on the CPU: {error}")
        device = PythonDevice(packages[1], selection, graphs, finder, frames)
        stack.pop_all()
    return device, notes


def _device_frames(package: ModelPackage, graphs: Graphs, engine: str) -> DeviceFrames:
    """Frames on the device. The backbone has read one then, as its CUDA graph is bound to where that lies."""
    frames = DeviceFrames(package.spec.input, engine)
    try:
        blank = frames.upload(np.zeros((1, 1, 3), np.uint8))
        graphs.features(cast("Array", frames.network_input(blank)))
    except BaseException:
        frames.close()
        raise
    return frames
