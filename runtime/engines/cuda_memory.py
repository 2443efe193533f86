"""The calls of the CUDA runtime that a TensorRT engine needs: the only file that imports cuda.

They are made as NVIDIA's Python samples make them since TensorRT 10.14, by way of `cuda.bindings`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.dependencies import require
from argus_edge.errors import EngineError

__all__ = ["Buffer", "Cuda", "Device"]

DEVICE: Final = 0
KERNEL_DRIVER: Final = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Device:
    """What a built engine depends on."""

    name: str
    compute_capability: str
    driver: str


class Cuda:
    """The first CUDA device of this machine.

    Raises EngineMissingError when the bindings are not installed; a call that fails raises EngineError.
    """

    def __init__(self) -> None:
        self._runtime: Final[Any] = require("cuda.bindings.runtime", "tensorrt")

    def call(self, function: str, *arguments: Any) -> Any:
        """One function of the runtime: what it returns beside its error code."""
        error, *values = getattr(self._runtime, function)(*arguments)
        if error.value:
            raise EngineError(f"CUDA: {function} failed: {error.name}")
        return values[0] if values else None

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

    def destroy(self, stream: Any) -> None:
        """Free a stream."""
        self.call("cudaStreamDestroy", stream)


class Buffer:
    """One tensor, on the device and in pinned memory of the host."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._cuda = cuda
        self._bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._host = cuda.call("cudaMallocHost", self._bytes)
        try:
            self.device_pointer: Final = int(cuda.call("cudaMalloc", self._bytes))
        except EngineError:
            cuda.call("cudaFreeHost", self._host)
            raise
        memory = (ctypes.c_uint8 * self._bytes).from_address(int(self._host))
        self.values: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def upload(self, stream: Any) -> None:
        """Begin to copy from the host to the device."""
        self._cuda.copy(self.device_pointer, int(self._host), self._bytes, "cudaMemcpyHostToDevice", stream)

    def download(self, stream: Any) -> None:
        """Begin to copy from the device to the host."""
        self._cuda.copy(int(self._host), self.device_pointer, self._bytes, "cudaMemcpyDeviceToHost", stream)

    def free(self) -> None:
        """Give both back; `values` are gone then."""
        self.values = np.empty(0)
        self._cuda.call("cudaFree", self.device_pointer)
        self._cuda.call("cudaFreeHost", self._host)
