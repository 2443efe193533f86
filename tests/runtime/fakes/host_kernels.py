"""Compiles a CUDA kernel's source for the host, and runs its grid there."""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COMPILER = shutil.which("g++")
HEADER = Path(__file__).with_suffix(".hpp")
ENTRY = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\(\w+\)\s*)?(\w+)\(')


@functools.cache
def library(source: str, definitions: tuple[str, ...] = ()) -> ctypes.CDLL:
    """A library with `run_NAME` for each kernel of the source."""
    assert COMPILER is not None
    waits = "true" if "__syncthreads" in source else "false"
    runs = "".join(
        f'extern "C" void run_{name}(const int* sizes, void** arguments) {{\n'
        f"    run_grid({name}, {{sizes[0], sizes[1], 1}}, {{sizes[2], sizes[3], 1}}, {waits}, arguments);\n"
        f"}}\n"
        for name in ENTRY.findall(source)
    )
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernel.so"
        command = [
            COMPILER,
            "-std=c++20",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unknown-pragmas",
            "-shared",
        ]
        command += ["-fPIC", "-pthread", "-include", str(HEADER), "-x", "c++", "-", "-o", str(made)]
        command += [f"-D{each}" for each in definitions]
        subprocess.run(command, input=source + runs, text=True, check=True)
        return ctypes.CDLL(str(made))


def run(
    loaded: ctypes.CDLL, name: str, grid: tuple[int, int], block: tuple[int, int], arguments: Sequence[Any]
) -> None:
    """One launch; `arguments` are ctypes values."""
    pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(each) for each in arguments))
    getattr(loaded, f"run_{name}")((ctypes.c_int * 4)(*grid, *block), pointers)
