"""How the activations of an int8 graph are spread, and what rounding does to them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from argus_edge.export.rewrite import GraphView, copied
from argus_edge.runtime.engines import Array, default_threads, open_engine

__all__ = ["ActivationRange", "Grid", "activation_ranges", "grids"]

BINS: Final = 48
MOST_VALUES: Final = 2**20  # of an activation in one image that are looked at, evenly spaced
MARGIN: Final = 0.25  # of a grid's span that its histogram shows on either side of it


@dataclass(frozen=True)
class Grid:
    """An activation's 8-bit grid: the values `scale` x (n - `zero`), n from `low` to `high`."""

    tensor: str
    layer: str  # the product that reads it
    scale: float
    zero: int
    low: int
    high: int

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest value that it has."""
        return self.scale * (self.low - self.zero), self.scale * (self.high - self.zero)

    def rounded(self, values: Array) -> Array:
        """The same values as the int8 graph has them."""
        steps = np.clip(np.round(values / self.scale) + self.zero, self.low, self.high)
        rounded: Array = ((steps - self.zero) * self.scale).astype(values.dtype)
        return rounded


@dataclass(frozen=True)
class ActivationRange:
    """How an activation is spread over the images, in the float graph."""

    grid: Grid
    sqnr_db: float  # of the rounded values against the float ones, over all images; infinite without a loss
    clipped: float  # share of the values that lie outside the grid
    edges: tuple[float, float]  # of the histogram
    counts: tuple[int, ...]  # of values in BINS of equal width


def grids(quantised: onnx.ModelProto) -> list[Grid]:
    """The grids of all activations of a Q/DQ graph, in the order of the layers that read them."""
    view = GraphView(quantised.graph)
    found = []
    for node in quantised.graph.node:
        if node.op_type != "QuantizeLinear" or view.constant(node.input[0]) is not None:
            continue
        scale, zero = view.constant(node.input[1]), view.constant(node.input[2])
        if scale is None or zero is None or scale.size != 1:
            continue
        readers = [
            r for dequantise in view.readers(node.output[0]) for r in view.readers(dequantise.output[0])
        ]
        limits = np.iinfo(zero.dtype)
        found.append(
            Grid(
                node.input[0], readers[0].name,
                float(scale.reshape(())), int(zero.reshape(())), int(limits.min), int(limits.max),
            )
        )  # fmt: skip
    return found


def activation_ranges(
    graph: onnx.ModelProto, quantised: onnx.ModelProto, samples: Iterable[Mapping[str, Array]]
) -> list[ActivationRange]:
    """Every quantised activation, the worst SQNR first.

    graph: the float graph that `quantised` was made from. samples: its inputs, once per image, whose
    activations are all in memory together.
    """
    seen = {grid.tensor: _Sums(grid) for grid in grids(quantised)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "activations.onnx"
        onnx.save(_giving(graph, seen), file)
        engine = open_engine("onnxruntime", file, threads=default_threads(), precision="fp32")
        for sample in samples:
            answers = {**engine.run(sample), **sample}
            for name, sums in seen.items():
                sums.add(answers[name])
        engine.close()
    return sorted((sums.told() for sums in seen.values()), key=lambda each: each.sqnr_db)


def _giving(graph: onnx.ModelProto, tensors: Container[str]) -> onnx.ModelProto:
    """A copy whose outputs are those of the tensors that its nodes make."""
    model = copied(graph)
    del model.graph.output[:]
    for node in model.graph.node:
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name in tensors)
    return model


class _Sums:
    """What is added up over the images for one activation."""

    def __init__(self, grid: Grid) -> None:
        low, high = grid.limits
        margin = MARGIN * (high - low)
        self.grid, self.edges = grid, (low - margin, high + margin)
        self.counts = np.zeros(BINS, np.int64)
        self.signal = self.noise = 0.0
        self.clipped = self.values = 0

    def add(self, values: Array) -> None:
        low, high = self.grid.limits
        # An odd distance, so that it is not the same columns of every row.
        exact = values.reshape(-1)[:: math.ceil(values.size / MOST_VALUES) | 1].astype(np.float64)
        self.signal += float((exact**2).sum())
        self.noise += float(((self.grid.rounded(exact) - exact) ** 2).sum())
        self.clipped += int(
            ((exact < low - self.grid.scale / 2) | (exact > high + self.grid.scale / 2)).sum()
        )
        self.values += exact.size
        # What lies beyond the edges counts in the first and the last bin.
        self.counts += np.histogram(exact.clip(*self.edges), BINS, self.edges)[0]

    def told(self) -> ActivationRange:
        ratio = self.signal / self.noise if self.noise and self.signal else math.inf
        return ActivationRange(
            self.grid,
            10 * math.log10(ratio) if math.isfinite(ratio) else math.inf,
            self.clipped / max(self.values, 1),
            self.edges,
            tuple(self.counts.tolist()),
        )
