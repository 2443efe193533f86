"""Kernels of our own: CUDA C++ in `runtime/kernels`, compiled by NVRTC for the device that runs them.

So no compiler is needed where the package is built or installed, and no machine code is shipped for each
device. NVRTC is a library of CUDA; it needs no device itself. `cuda_memory` and this are the only files that
import cuda.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_int, c_void_p
from pathlib import Path
from typing import Any, Final, Literal

from argus_edge.dependencies import require
from argus_edge.errors import EngineError, EngineMissingError
from argus_edge.runtime.engines.cuda_memory import DEVICE, Cuda, call

__all__ = ["Kernel", "compile_kernel"]

SOURCES: Final = Path(__file__).parents[1] / "kernels"


def compile_kernel(
    source: str, capability: str, form: Literal["CUBIN", "PTX"], extra: str, definitions: Sequence[str] = ()
) -> bytes:
    """Machine code ("CUBIN", for this capability alone) or PTX of a file in `runtime/kernels`.

    Args:
        source: the file's name.
        capability: the device's, such as "8.7".
        form: what is wanted.
        extra: of this distribution, which brings the bindings.
        definitions: macros, as NAME=VALUE.

    Raises EngineMissingError where NVRTC is not found, EngineError with its log where it refuses the source.
    """
    nvrtc = require("cuda.bindings.nvrtc", extra)
    options = [f"--gpu-architecture={_architecture(capability, form)}"]
    options += [f"--define-macro={each}" for each in definitions]
    content = (SOURCES / source).read_bytes()
    headers = sorted(SOURCES.glob("*.cuh"))
    texts, names = [each.read_bytes() for each in headers], [each.name.encode() for each in headers]
    try:
        program = call(nvrtc, "nvrtcCreateProgram", content, source.encode(), len(names), texts, names)
    except RuntimeError as error:  # as the bindings tell that they do not find the library
        raise EngineMissingError(
            f"NVRTC, a library of CUDA that compiles kernels, is not found: {error}"
        ) from error
    try:
        try:
            call(nvrtc, "nvrtcCompileProgram", program, len(options), [each.encode() for each in options])
        except EngineError as error:
            told = " ".join(_text(nvrtc, program, "ProgramLog").decode(errors="replace").split())
            raise EngineError(f"{source} for compute capability {capability}: {error}: {told}") from error
        return _text(nvrtc, program, form)
    finally:
        call(nvrtc, "nvrtcDestroyProgram", program)


class Kernel:
    """One kernel, loaded onto the device.

    Raises EngineMissingError and EngineError, as `compile_kernel` does and where the device refuses it.
    """

    def __init__(self, cuda: Cuda, source: str, name: str, extra: str) -> None:
        self._cuda = cuda
        self._driver: Final = require("cuda.bindings.driver", extra)
        code = compile_kernel(source, cuda.device().compute_capability, "CUBIN", extra)
        cuda.call("cudaSetDevice", DEVICE)  # modules belong to the context, which this makes the thread's
        self._module: Any = call(self._driver, "cuModuleLoadData", code)
        self._function: Final = call(self._driver, "cuModuleGetFunction", self._module, name.encode())

    def launch(
        self, grid: tuple[int, int], block: tuple[int, int], stream: Any, *arguments: c_int | c_void_p
    ) -> None:
        """Begin a run in `stream`: columns and rows of blocks, and of threads in each."""
        parameters = tuple(each.value for each in arguments), tuple(type(each) for each in arguments)
        self._cuda.call("cudaSetDevice", DEVICE)
        call(
            self._driver, "cuLaunchKernel", self._function, *grid, 1, *block, 1, 0, int(stream), parameters, 0
        )

    def unload(self) -> None:
        """Free its code. Harmless when repeated."""
        if self._module is not None:
            call(self._driver, "cuModuleUnload", self._module)
            self._module = None


def _architecture(capability: str, form: str) -> str:
    return ("sm_" if form == "CUBIN" else "compute_") + capability.replace(".", "")


def _text(nvrtc: Any, program: Any, what: str) -> bytes:
    """What the compiler has for us, whose size is asked first. Text ends with a 0."""
    content = bytes(call(nvrtc, f"nvrtcGet{what}Size", program))
    call(nvrtc, f"nvrtcGet{what}", program, content)
    return content
