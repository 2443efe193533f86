"""The functions of cuda.bindings.runtime that are called, on one device whose memory is the host's.

Every pointer has to be one that was allocated, on the right side, and not freed. While a stream is captured,
what is put into it is kept for the graph and not done. FAKE_CUDA_DRIVER is the
version of the driver; 0 means that there is no device.
"""

from __future__ import annotations

import ctypes
import enum
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

live: dict[int, tuple[str, Any]] = {}  # pointer -> side and memory
streams: set[int] = set()
capturing: dict[int, list[Callable[[], object]]] = {}  # stream -> what was put into it
graphs: dict[int, list[Callable[[], object]]] = {}  # captured, or ready to be launched
launches: list[int] = []


class cudaError_t(enum.IntEnum):  # noqa: N801
    cudaSuccess = 0  # noqa: N815
    cudaErrorInvalidValue = 1  # noqa: N815
    cudaErrorNoDevice = 100  # noqa: N815
    cudaErrorStreamCaptureInvalidated = 901  # noqa: N815


class cudaMemcpyKind(enum.IntEnum):  # noqa: N801
    cudaMemcpyHostToDevice = 1  # noqa: N815
    cudaMemcpyDeviceToHost = 2  # noqa: N815


class cudaStreamCaptureMode(enum.IntEnum):  # noqa: N801
    cudaStreamCaptureModeGlobal = 0  # noqa: N815
    cudaStreamCaptureModeThreadLocal = 1  # noqa: N815


def submit(stream: int, work: Callable[[], object]) -> None:
    """What a library does with its own work: now, or when the graph being captured is launched."""
    assert stream in streams
    if stream in capturing:
        capturing[stream].append(work)
    else:
        work()


def _version() -> int:
    return int(os.environ.get("FAKE_CUDA_DRIVER", "12060"))


def cudaGetDeviceProperties(device: int) -> tuple[Any, ...]:  # noqa: N802
    if not _version():
        return cudaError_t.cudaErrorNoDevice, None
    return cudaError_t.cudaSuccess, SimpleNamespace(name=b"Orin (nvgpu)\0", major=8, minor=7)


def cudaDriverGetVersion() -> tuple[Any, ...]:  # noqa: N802
    return cudaError_t.cudaSuccess, _version()


def cudaSetDevice(device: int) -> tuple[Any, ...]:  # noqa: N802
    assert device == 0
    return (cudaError_t.cudaSuccess,)


def cudaMalloc(size: int) -> tuple[Any, ...]:  # noqa: N802
    return _allocate("device", size)


def cudaMallocHost(size: int) -> tuple[Any, ...]:  # noqa: N802
    return _allocate("host", size)


def cudaFree(pointer: int) -> tuple[Any, ...]:  # noqa: N802
    return _release("device", pointer)


def cudaFreeHost(pointer: int) -> tuple[Any, ...]:  # noqa: N802
    return _release("host", pointer)


def cudaStreamCreate() -> tuple[Any, ...]:  # noqa: N802
    streams.add(len(streams) + 1)
    return cudaError_t.cudaSuccess, max(streams)


def cudaStreamSynchronize(stream: int) -> tuple[Any, ...]:  # noqa: N802
    usable = stream in streams and stream not in capturing
    return (cudaError_t.cudaSuccess if usable else cudaError_t.cudaErrorInvalidValue,)


def cudaStreamBeginCapture(stream: int, mode: cudaStreamCaptureMode) -> tuple[Any, ...]:  # noqa: N802
    assert isinstance(mode, cudaStreamCaptureMode)
    assert stream in streams
    capturing[stream] = []
    return (cudaError_t.cudaSuccess,)


def cudaStreamEndCapture(stream: int) -> tuple[Any, ...]:  # noqa: N802
    work = capturing.pop(stream)
    if os.environ.get("FAKE_CUDA_FAULT") == "capture":
        return cudaError_t.cudaErrorStreamCaptureInvalidated, 0
    return cudaError_t.cudaSuccess, _graph(work)


def cudaGraphInstantiate(graph: int, flags: int) -> tuple[Any, ...]:  # noqa: N802
    return cudaError_t.cudaSuccess, _graph(graphs[graph])


def cudaGraphLaunch(graph: int, stream: int) -> tuple[Any, ...]:  # noqa: N802
    assert stream in streams
    launches.append(graph)
    for work in graphs[graph]:
        work()
    return (cudaError_t.cudaSuccess,)


def cudaGraphDestroy(graph: int) -> tuple[Any, ...]:  # noqa: N802
    del graphs[graph]
    return (cudaError_t.cudaSuccess,)


def cudaGraphExecDestroy(graph: int) -> tuple[Any, ...]:  # noqa: N802
    return cudaGraphDestroy(graph)


def cudaStreamDestroy(stream: int) -> tuple[Any, ...]:  # noqa: N802
    streams.remove(stream)
    return (cudaError_t.cudaSuccess,)


def cudaMemcpyAsync(  # noqa: N802
    target: int, source: int, count: int, kind: cudaMemcpyKind, stream: int
) -> tuple[Any, ...]:
    sides = ["host", "device"] if kind is cudaMemcpyKind.cudaMemcpyHostToDevice else ["device", "host"]
    if [live[source][0], live[target][0]] != sides or stream not in streams:
        return (cudaError_t.cudaErrorInvalidValue,)
    ctypes.memmove(target, source, count)
    return (cudaError_t.cudaSuccess,)


def _graph(work: list[Callable[[], object]]) -> int:
    graphs[max(graphs, default=0) + 1] = work
    return max(graphs)


def _allocate(side: str, size: int) -> tuple[Any, ...]:
    memory = (ctypes.c_uint8 * size)()
    live[ctypes.addressof(memory)] = (side, memory)
    return cudaError_t.cudaSuccess, ctypes.addressof(memory)


def _release(side: str, pointer: int) -> tuple[Any, ...]:
    if live.pop(pointer)[0] != side:
        return (cudaError_t.cudaErrorInvalidValue,)
    return (cudaError_t.cudaSuccess,)
