"""Memory, streams and graphs of a CUDA device; it and `cuda_kernels` are the only files that import cuda.

The calls are made as NVIDIA's Python samples make them since TensorRT 10.14, by way of `cuda.bindings`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from argus_edge.dependencies import require
from argus_edge.errors import EngineError

__all__ = ["DEVICE", "Cuda", "Device", "DeviceArray", "call"]

DEVICE: Final = 0
KERNEL_DRIVER: Final = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Device:
    """What a built engine depends on."""

    name: str
    compute_capability: str
    driver: str


def call(library: Any, function: str, *arguments: Any) -> Any:
    """One function of CUDA's bindings: what it returns beside its error code, which raises EngineError."""
    error, *values = getattr(library, function)(*arguments)
    if error.value:
        raise EngineError(f"CUDA: {function} failed: {error.name}")
    return values[0] if values else None


class Cuda:
    """The first CUDA device of this machine.

    Raises EngineMissingError, with the pip line of `extra`, when the bindings are not installed; a call that
    fails raises EngineError.
    """

    def __init__(self, extra: str) -> None:
        self._runtime: Final[Any] = require("cuda.bindings.runtime", extra)

    def call(self, function: str, *arguments: Any) -> Any:
        """One function of the runtime; see `call`."""
        return call(self._runtime, function, *arguments)

    def device(self) -> Device:
        """Name, compute capability and driver. Raises EngineError when there is no device."""
        facts = self.call("cudaGetDeviceProperties", DEVICE)
        name = facts.name.decode(errors="replace") if isinstance(facts.name, bytes) else str(facts.name)
        version = self.call("cudaDriverGetVersion")
        driver = f"CUDA {version // 1000}.{version % 1000 // 10}"
        if KERNEL_DRIVER.exists():
            driver += f", {KERNEL_DRIVER.read_text(encoding='utf-8', errors='replace').partition(chr(10))[0]}"
        return Device(name.rstrip("\0"), f"{facts.major}.{facts.minor}", driver)

    def stream(self) -> Any:
        """A new stream."""
        return self.call("cudaStreamCreate")

    def wait(self, stream: Any) -> None:
        """Until everything in `stream` is done."""
        self.call("cudaStreamSynchronize", stream)

    def copy(self, target: int, source: int, size: int, kind: str, stream: Any) -> None:
        """Begin to copy `size` bytes; `kind` is a name of cudaMemcpyKind."""
        self.call(
            "cudaMemcpyAsync", target, source, size, getattr(self._runtime.cudaMemcpyKind, kind), stream
        )

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """What `work` puts into `stream`, as a graph to `launch`; nothing is computed yet.

        Other threads may allocate and copy meanwhile. Raises what `work` raises, and EngineError for work
        that no graph can hold.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        finally:
            graph = self.call("cudaStreamEndCapture", stream)
        try:
            return self.call("cudaGraphInstantiate", graph, 0)
        finally:
            self.call("cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: Any) -> None:
        """Begin to run a captured graph."""
        self.call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        """Free a captured graph."""
        self.call("cudaGraphExecDestroy", graph)

    def destroy(self, stream: Any) -> None:
        """Free a stream."""
        self.call("cudaStreamDestroy", stream)


class DeviceArray:
    """One tensor on the device, with pinned memory of the host beside it from when that is first needed.

    What a backbone gives is one: another graph on the device takes it where it is. `np.asarray` and `copy`
    bring its values to the host.
    """

    def __init__(self, cuda: Cuda, stream: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape: Final = shape
        self.dtype: Final = dtype
        self._cuda, self._stream = cuda, stream
        self._bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._pinned: Any = None
        self._host: NDArray[Any] | None = None
        self.pointer = int(cuda.call("cudaMalloc", self._bytes))
        """Its address on the device; 0 once it was freed."""

    @property
    def host(self) -> NDArray[Any]:
        """Pinned memory of the same shape; its values are what was copied there last."""
        if self._host is None:
            self._pinned = self._cuda.call("cudaMallocHost", self._bytes)
            memory = (ctypes.c_uint8 * self._bytes).from_address(int(self._pinned))
            self._host = np.ctypeslib.as_array(memory).view(self.dtype).reshape(self.shape)
        return self._host

    def upload(self, values: NDArray[Any]) -> None:
        """Begin to copy values of the host to the device."""
        np.copyto(self.host, values)
        self._cuda.copy(self.pointer, int(self._pinned), self._bytes, "cudaMemcpyHostToDevice", self._stream)

    def download(self) -> NDArray[Any]:
        """Begin to copy from the device to `host`, and return that. Raises EngineError after `free`."""
        if not self.pointer:
            raise EngineError("an array of a closed engine was asked for its values; copy it before")
        host = self.host
        self._cuda.copy(int(self._pinned), self.pointer, self._bytes, "cudaMemcpyDeviceToHost", self._stream)
        return host

    def copy(self) -> NDArray[Any]:
        """The values, on the host."""
        host = self.download()
        self._cuda.wait(self._stream)
        return np.array(host)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array on the device cannot be seen from the host without a copy")
        values: NDArray[Any] = self.copy().astype(self.dtype if dtype is None else dtype, copy=False)
        return values

    def __getitem__(self, part: slice) -> DevicePart:
        """Neighbours along the first axis, where they are."""
        first, end, _ = part.indices(self.shape[0])
        return DevicePart(self, first, end - first)

    def free(self) -> None:
        """Give the memory back. Harmless when repeated."""
        if self.pointer:
            self._cuda.call("cudaFree", self.pointer)
            self.pointer = 0
        if self._pinned is not None:
            self._cuda.call("cudaFreeHost", self._pinned)
            self._pinned = self._host = None


class DevicePart:
    """Some neighbours along the first axis of an array on the device: the features of some of its frames."""

    def __init__(self, whole: DeviceArray, first: int, count: int) -> None:
        self.shape: Final = (count, *whole.shape[1:])
        self.dtype: Final = whole.dtype
        self._whole = whole
        self._offset = first * int(np.prod(whole.shape[1:], dtype=np.int64)) * whole.dtype.itemsize

    @property
    def pointer(self) -> int:
        """Its address on the device; 0 once the whole was freed."""
        return self._whole.pointer + self._offset if self._whole.pointer else 0
