"""Bilinear sampling, as deformable attention needs it: GridSample, spelled as an engine is fast and right.

TensorRT takes GridSample, but its engines have given wrong numbers with it in mixed precision; there it is
spelled with Gather, which every engine has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from argus_edge.export.rewrite import NodeWriter, Replacement, attribute, float_shapes, replace_nodes

__all__ = ["PLACES", "Sampling", "SamplingForm", "find_samplings", "spell_samplings"]

SamplingForm = Literal["gridsample", "gather"]

PLACES: Final = "/SamplingPlaces"  # in the names of nodes that reckon in pixels, which half precision cannot


@dataclass(frozen=True)
class Sampling:
    """One GridSample of a graph: bilinear, zeros outside, -1 and 1 at the edges of the outer pixels."""

    node: NodeProto
    shape: tuple[int, ...]  # (N, C, H, W) of the values


def spell_samplings(model: onnx.ModelProto, form: SamplingForm) -> int:
    """Rewrite every GridSample of `model` that `find_samplings` finds, and say how many there are.

    - "gridsample": as it is;
    - "gather": the four neighbours of each place are gathered as rows of channels and mixed. Values get a rim
      of zeros, so that what lies outside needs no mask.
    """
    found = find_samplings(model)
    if form == "gridsample":
        return len(found)
    replacements = []
    for index, sampling in enumerate(found):
        writer = NodeWriter(sampling.node.output[0], sampling.node, f"_{index}")
        _gather(writer, sampling)
        replacements.append(Replacement([sampling.node], writer.nodes, writer.constants))
    replace_nodes(model.graph, replacements)
    return len(found)


def find_samplings(model: onnx.ModelProto) -> list[Sampling]:
    """All of a graph in its order; those of another kind, or without fixed shapes, are passed over."""
    shapes = float_shapes(model)
    found = []
    for node in model.graph.node:
        if node.op_type != "GridSample":
            continue
        values, grid = (shapes.get(name, ()) for name in node.input)
        linear = attribute(node, "mode", b"linear") in (b"linear", b"bilinear")
        zeros = attribute(node, "padding_mode", b"zeros") == b"zeros"
        if (
            len(values) == 4
            and len(grid) == 4
            and linear
            and zeros
            and not attribute(node, "align_corners", 0)
        ):
            found.append(Sampling(node, values))
    return found


def _gather(w: NodeWriter, sampling: Sampling) -> None:
    images, channels, height, width = sampling.shape
    values, grid = sampling.node.input
    rim = w.constant("rim", np.array([0, 1, 1, 0, 0, 1, 1, 0], np.int64))
    rows = w.add("Pad", w.add("Transpose", values, name="ChannelsLast", perm=[0, 2, 3, 1]), rim, name="Rim")
    table = w.constant("table", np.array([images * (height + 2) * (width + 2), channels], np.int64))
    rows = w.add("Reshape", rows, table, name="Rows")
    x, y = (_neighbours(w, grid, axis, size) for axis, size in enumerate((width, height)))
    step = w.constant("step", np.array(width + 2, np.int32))
    starts = np.arange(images, dtype=np.int32).reshape(-1, 1, 1) * ((height + 2) * (width + 2))
    start = w.constant("start", starts)

    def between_columns(row: str, name: str) -> str:
        """(N, h, w, C) of one row, mixed from the columns on both sides of each place."""
        begin = w.add("Add", w.add("Mul", row, step, name=f"{name}Begin"), start, name=f"{name}Row")
        near = w.add(
            "Gather", rows, w.add("Add", begin, x.near, name=f"{name}Near"), name=f"{name}NearValues"
        )
        far = w.add("Gather", rows, w.add("Add", begin, x.far, name=f"{name}Far"), name=f"{name}FarValues")
        return _mixed(w, near, far, x.share, name)

    above, below = between_columns(y.near, "Above"), between_columns(y.far, "Below")
    mixed = _mixed(w, above, below, y.share, "Places")
    w.add("Transpose", mixed, name="ChannelsFirst", result=sampling.node.output[0], perm=[0, 3, 1, 2])


@dataclass(frozen=True)
class _Neighbours:
    """Along one axis: the pixels on both sides of each place (N, h, w), and how far it lies on the way from
    one to the other (N, h, w, 1).
    """

    near: str
    far: str
    share: str


def _neighbours(w: NodeWriter, grid: str, axis: int, size: int) -> _Neighbours:
    """Of places in [-1, 1] among `size` pixels with a rim around them, which is pixel 0 and `size` + 1.

    What lies beyond the rim is nothing, as the rim is, and moved there.
    """
    of = "XY"[axis]

    def node(operation: str, *inputs: str, name: str, **attributes: Any) -> str:
        return w.add(operation, *inputs, name=f"{PLACES[1:]}{name}{of}", **attributes)

    place = node("Gather", grid, w.constant(f"axis{of}", np.array(axis, np.int64)), name="Places", axis=3)
    place = node("Mul", place, w.constant(f"scale{of}", np.float32(size / 2)), name="Scaled")
    place = node("Add", place, w.constant(f"centre{of}", np.float32((size + 1) / 2)), name="Pixels")
    place = node("Max", place, w.constant(f"first{of}", np.float32(0)), name="FromRim")
    place = node("Min", place, w.constant(f"last{of}", np.float32(size + 1)), name="ToRim")
    floor = node("Floor", place, name="Floor")
    share = node("Sub", place, floor, name="Share")
    share = w.add("Unsqueeze", share, w.constant("channels", np.array([3], np.int64)), name=f"Mix{of}")
    near = node("Cast", floor, name="Near", to=TensorProto.INT32)
    following = node("Add", near, w.constant("one", np.array(1, np.int32)), name="Following")
    far = node("Min", following, w.constant(f"rim{of}", np.array(size + 1, np.int32)), name="Far")
    return _Neighbours(near, far, share)


def _mixed(w: NodeWriter, near: str, far: str, share: str, name: str) -> str:
    way = w.add("Sub", far, near, name=f"{name}Way")
    return w.add("Add", near, w.add("Mul", way, share, name=f"{name}Step"), name=f"{name}Mixed")
