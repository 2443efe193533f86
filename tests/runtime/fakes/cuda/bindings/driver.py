"""The functions of cuda.bindings.driver that are called: modules of what the stand-in of NVRTC gave."""

from __future__ import annotations

import ctypes
import enum
import importlib
import json
from typing import Any

host_kernels = importlib.import_module("host_kernels")
runtime = importlib.import_module("cuda.bindings.runtime")
modules: dict[int, ctypes.CDLL] = {}
functions: dict[int, tuple[int, str]] = {}


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_NOT_FOUND = 500


OK = CUresult.CUDA_SUCCESS


def cuModuleLoadData(image: bytes) -> tuple[Any, ...]:  # noqa: N802
    source, definitions = json.loads(image.rstrip(b"\0"))
    modules[max(modules, default=0) + 1] = host_kernels.library(source, tuple(definitions))
    return OK, max(modules)


def cuModuleGetFunction(hmod: int, name: bytes) -> tuple[Any, ...]:  # noqa: N802
    if not hasattr(modules[hmod], f"run_{name.decode()}"):
        return CUresult.CUDA_ERROR_NOT_FOUND, None
    functions[len(functions) + 1] = (hmod, name.decode())
    return OK, len(functions)


def cuModuleUnload(hmod: int) -> tuple[Any, ...]:  # noqa: N802
    del modules[hmod]
    return (OK,)


def cuLaunchKernel(function: int, *sizes_and_more: Any) -> tuple[Any, ...]:  # noqa: N802
    """In the order of the API: sizes of grid and block, bytes of shared memory, stream, parameters, extra."""
    columns, rows, grid_z, block_x, block_y, block_z, shared, stream, parameters, extra = sizes_and_more
    assert (grid_z, block_z, shared, extra) == (1, 1, 0, 0)
    assert stream in runtime.streams
    module, name = functions[function]
    arguments = [kind(value) for value, kind in zip(*parameters, strict=True)]
    for each in arguments:
        if isinstance(each, ctypes.c_void_p):
            assert runtime.live[each.value or 0][0] == "device"
    host_kernels.run(modules[module], name, (columns, rows), (block_x, block_y), arguments)
    return (OK,)
