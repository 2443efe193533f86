"""Where kernels run: on CUDA devices, if Triton is there. This is the one switch between them and torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

import torch
from torch import Tensor

FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32)
INTERPRETED: Final = os.environ.get("TRITON_INTERPRET") == "1"  # Triton runs on the CPU, to test kernels
# a * b + c in one instruction, which Triton 3.10 stops doing unasked.
OPTIONS: Final = {"enable_fp_fusion": True}

_enabled = find_spec("triton") is not None  # torch's own wheels for CUDA bring it


def runs_kernels(x: Tensor) -> bool:
    """Whether our kernels compute on `x`: on CUDA, in at most single precision, and never in an export, whose
    graphs keep to torch's operations.
    """
    return (
        _enabled
        and (x.is_cuda or INTERPRETED)
        and x.dtype in FLOATS
        and x.numel() > 0
        and not torch.compiler.is_exporting()
    )


@contextmanager
def without_kernels() -> Iterator[None]:
    """torch's own operations alone, on every device."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def processors(device: torch.device) -> int:
    """Streaming multiprocessors of a device: what a launch has to fill."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).multi_processor_count
    return 2  # in the interpreter: enough to split work


def power_of_two(number: int) -> int:
    """The least power of two that is at least `number`."""
    return 1 << (number - 1).bit_length()
