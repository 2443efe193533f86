"""What the parts share: the device that is measured, how a time is taken, and the row that tells it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from argus_edge.train.kernels.launch import without_kernels

WARM_UP: Final = 3  # calls
COLD: Final = 256 << 20  # bytes that are gone through before any are read again, more than a cache holds
DTYPES: Final = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Row:
    """One line of the table: figures by their names, or the reason why there are none."""

    part: str
    what: str
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    reached: bool | None = None  # whether what is wanted is reached, where something is


@dataclass(frozen=True)
class Card:
    """The device. `smoke`: every part in sizes that the CPU does in seconds; its times mean nothing."""

    device: torch.device
    smoke: bool
    rounds: int

    def size(self, full: Any, small: Any) -> Any:
        """`full`, or in a smoke test `small`."""
        return small if self.smoke else full

    def kernels(self, wanted: bool) -> AbstractContextManager[None]:
        """Whole models with or without our kernels; without in a smoke test, whose interpreter is slow."""
        return nullcontext() if wanted and not self.smoke else without_kernels()

    def times(self, call: Callable[[], object]) -> list[float]:
        """Milliseconds of each round; on a GPU those of a CUDA graph of the call, by the GPU's own clock."""
        if self.device.type != "cuda":
            return [timed(call) for _ in range(self.rounds)]
        graph = captured(call)
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(self.rounds + 1)]
        for _ in range(WARM_UP):
            graph.replay()
        marks[0].record()
        for mark in marks[1:]:
            graph.replay()
            mark.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in pairwise(marks)]

    def cold_ms(self, call: Callable[..., object], *tensors: Tensor) -> float:
        """Median time [ms] of one call on tensors that are not in the cache: copies take turns."""
        size = sum(tensor.nbytes for tensor in tensors)
        count = 1 if self.smoke else max(2, COLD // size)
        copies = [[tensor.clone() for tensor in tensors] for _ in range(count)]

        def all_of_them() -> None:
            for each in copies:
                call(*each)

        return float(np.median(self.times(all_of_them))) / count


def captured(call: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """A CUDA graph of the call, after some calls that compile and choose what it runs."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def percentiles(times: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99)}
