"""The functions of cuda.bindings.nvrtc that are called; machine code is the source, with what it depends on.

Where there is no compiler of C++ to run that with, CUDA's is not found either.
"""

from __future__ import annotations

import ctypes
import enum
import importlib
import json
import re
from typing import Any

host_kernels = importlib.import_module("host_kernels")


class nvrtcResult(enum.IntEnum):  # noqa: N801
    NVRTC_SUCCESS = 0
    NVRTC_ERROR_COMPILATION = 6


programs: dict[int, dict[str, Any]] = {}
OK = nvrtcResult.NVRTC_SUCCESS


def nvrtcCreateProgram(  # noqa: N802
    src: bytes, name: bytes, count: int, headers: list[bytes], names: list[bytes]
) -> tuple[Any, ...]:
    if host_kernels.COMPILER is None:
        raise RuntimeError("Failed to dlopen libnvrtc")
    assert name.endswith(b".cu")
    assert count == len(headers) == len(names)
    for header, included in zip(headers, names, strict=True):
        src = src.replace(b'#include "%s"' % included, header.replace(b"#pragma once", b""))
    programs[max(programs, default=0) + 1] = {"source": src.decode(), "options": []}
    return OK, max(programs)


def nvrtcCompileProgram(prog: int, count: int, options: list[bytes]) -> tuple[Any, ...]:  # noqa: N802
    assert count == len(options)
    programs[prog]["options"] = [each.decode() for each in options]
    if "#error" in programs[prog]["source"]:
        return (nvrtcResult.NVRTC_ERROR_COMPILATION,)
    return (OK,)


def nvrtcDestroyProgram(prog: int) -> tuple[Any, ...]:  # noqa: N802
    del programs[prog]
    return (OK,)


def nvrtcGetProgramLogSize(prog: int) -> tuple[Any, ...]:  # noqa: N802
    return OK, len(_log(prog))


def nvrtcGetProgramLog(prog: int, log: bytes) -> tuple[Any, ...]:  # noqa: N802
    return _fill(log, _log(prog))


def nvrtcGetCUBINSize(prog: int) -> tuple[Any, ...]:  # noqa: N802
    return OK, len(_code(prog, "sm_"))


def nvrtcGetCUBIN(prog: int, cubin: bytes) -> tuple[Any, ...]:  # noqa: N802
    return _fill(cubin, _code(prog, "sm_"))


def nvrtcGetPTXSize(prog: int) -> tuple[Any, ...]:  # noqa: N802
    return OK, len(_code(prog, "compute_"))


def nvrtcGetPTX(prog: int, ptx: bytes) -> tuple[Any, ...]:  # noqa: N802
    return _fill(ptx, _code(prog, "compute_"))


def _log(prog: int) -> bytes:
    return b"kernel.cu(1): error: #error directive\0"


def _code(prog: int, kind: str) -> bytes:
    options = programs[prog]["options"]
    assert re.fullmatch(rf"--gpu-architecture={kind}\d+", options[0])
    definitions = [each.removeprefix("--define-macro=") for each in options[1:]]
    return json.dumps([programs[prog]["source"], definitions]).encode() + b"\0"


def _fill(target: bytes, content: bytes) -> tuple[Any, ...]:
    """As the bindings do, into the caller's memory."""
    assert len(target) == len(content)
    memory = ctypes.cast(ctypes.c_char_p(target), ctypes.c_void_p)
    ctypes.memmove(memory, content, len(content))
    return (OK,)
