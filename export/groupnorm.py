"""GroupNorm: found in any spelling that exporters write, written as an engine is fast and right with it.

Statistics are those of a group of channels over all places of one image (arXiv 1803.08494), in fp32 whatever
the spelling. Which one an engine gets is decided by `benchmarks/groupnorm.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from argus_edge.export.rewrite import (
    GraphView,
    NodeWriter,
    Replacement,
    attribute,
    float_shapes,
    replace_nodes,
)

__all__ = ["STATISTICS", "GroupNorm", "NormForm", "find_group_norms", "spell_group_norms"]

NormForm = Literal["native", "instance", "algebraic"]
Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

STATISTICS: Final = "/GroupStatistics"  # in the names of nodes that stay in single precision


@dataclass(frozen=True)
class GroupNorm:
    """One GroupNorm of a graph: y = (x - mean) / sqrt(variance + epsilon) * scale + shift."""

    nodes: tuple[NodeProto, ...]  # that it is made of
    x: str
    y: str
    shape: tuple[int, ...]  # (N, C, H, W) of both
    groups: int
    epsilon: float
    scale: Array  # (C,)
    shift: Array  # (C,)


def spell_group_norms(model: onnx.ModelProto, form: NormForm) -> int:
    """Rewrite every GroupNorm of `model` in one spelling, and say how many there are.

    - "native": one GroupNormalization (opset 21);
    - "instance": InstanceNormalization of the groups, then one multiplication and addition;
    - "algebraic": mean and length of each channel as a vector of its places, brought together by group; then
      one multiplication and addition per channel. Here x keeps the memory layout that the convolution
      before it gave it; a CPU engine reorders it for the other two.
    """
    found = find_group_norms(model)
    replacements = []
    for norm in found:
        writer = _Writer(norm)
        _FORMS[form](writer)
        replacements.append(Replacement(norm.nodes, writer.nodes, writer.constants))
    replace_nodes(model.graph, replacements)
    return len(found)


def find_group_norms(model: onnx.ModelProto) -> list[GroupNorm]:
    """All of a graph in its order. One whose input has no fixed shape (N, C, H, W), is not in single
    precision, or has a scale or shift that is no constant, is passed over.
    """
    view, shapes = GraphView(model.graph), float_shapes(model)
    found = []
    for node in model.graph.node:
        for finder in _FINDERS.get(node.op_type, ()):
            norm = finder(view, shapes, node)
            if norm is not None and _is_closed(view, norm):
                found.append(norm)
                break
    return found


def _is_closed(view: GraphView, norm: GroupNorm) -> bool:
    """Whether nobody but the norm's own nodes reads what comes about on the way to y."""
    own = {id(node) for node in norm.nodes}
    inner = [name for node in norm.nodes for name in node.output if name != norm.y]
    return all(
        name not in view.outputs and all(id(reader) in own for reader in view.readers(name)) for name in inner
    )


# -- finding -------------------------------------------------------------------------------------------------


def _find_native(view: GraphView, shapes: Shapes, node: NodeProto) -> GroupNorm | None:
    """GroupNormalization; before opset 21 scale and shift were by group."""
    shape, groups = shapes.get(node.input[0], ()), attribute(node, "num_groups")
    scale, shift = (view.constant(name) for name in node.input[1:3])
    if len(shape) != 4 or scale is None or shift is None:
        return None
    repeats = shape[1] // scale.size
    epsilon = attribute(node, "epsilon", 1e-5)
    return GroupNorm(
        (node,), node.input[0], node.output[0], shape, groups, epsilon,
        scale.repeat(repeats), shift.repeat(repeats),
    )  # fmt: skip


def _find_instance(view: GraphView, shapes: Shapes, node: NodeProto) -> GroupNorm | None:
    """Reshape to groups, InstanceNormalization, Reshape back; then Mul, Add, both or neither."""
    before = _groups_of(view, shapes, node.input[0])
    scale, shift = (view.constant(name) for name in node.input[1:3])
    if before is None or scale is None or shift is None:
        return None
    reshape, groups = before
    tail = _tail(view, shapes, node.output[0], shapes[reshape.input[0]])
    if tail is None:
        return None
    nodes, y, outer_scale, outer_shift = tail
    repeats = len(outer_scale) // groups
    epsilon = attribute(node, "epsilon", 1e-5)
    return GroupNorm(
        (reshape, node, *nodes), reshape.input[0], y, shapes[reshape.input[0]], groups, epsilon,
        scale.repeat(repeats) * outer_scale, shift.repeat(repeats) * outer_scale + outer_shift,
    )  # fmt: skip


def _find_means(view: GraphView, shapes: Shapes, node: NodeProto) -> GroupNorm | None:
    """Reshape to groups, mean, variance as the mean of squares of the differences, division by its root."""
    before = _groups_of(view, shapes, node.input[0])
    if before is None or not _is_mean_of_groups(view, shapes, node):
        return None
    reshape, groups = before
    differences = view.readers(node.output[0])
    if any(n.op_type != "Sub" or list(n.input) != [node.input[0], node.output[0]] for n in differences):
        return None
    centred = {n.output[0] for n in differences}
    for square in (n for name in centred for n in view.readers(name)):
        variance = _variance(view, shapes, square, centred)
        if variance is None:
            continue
        inner, root, epsilon = variance
        last = _divided(view, root, centred)
        tail = _tail(view, shapes, last[-1].output[0], shapes[reshape.input[0]]) if last else None
        if tail is not None:
            nodes, y, scale, shift = tail
            parts = (reshape, node, *differences, *inner, *last, *nodes)
            shape = shapes[reshape.input[0]]
            return GroupNorm(parts, reshape.input[0], y, shape, groups, epsilon, scale, shift)
    return None


def _groups_of(view: GraphView, shapes: Shapes, name: str) -> tuple[NodeProto, int] | None:
    """The Reshape that makes tensor `name` (N, G, ...) of one (N, C, H, W), and G."""
    node = view.producers.get(name)
    if node is None or node.op_type != "Reshape":
        return None
    before, after = shapes.get(node.input[0], ()), shapes.get(name, ())
    if len(before) != 4 or len(after) < 3 or before[0] != after[0] or before[1] % after[1]:
        return None
    return node, after[1]


def _is_mean_of_groups(view: GraphView, shapes: Shapes, node: NodeProto) -> bool:
    """Whether a ReduceMean is over all axes but those of images and groups, which it keeps."""
    rank = len(shapes.get(node.input[0], ()))
    axes = view.constant(node.input[1]) if len(node.input) > 1 else attribute(node, "axes")
    over = sorted(int(axis) % rank for axis in axes) if axes is not None and rank else []
    return (
        node.op_type == "ReduceMean" and over == list(range(2, rank)) and attribute(node, "keepdims", 1) == 1
    )


def _variance(
    view: GraphView, shapes: Shapes, square: NodeProto, centred: set[str]
) -> tuple[list[NodeProto], NodeProto, float] | None:
    """Nodes from the square of the differences to the root of their mean, that root, and epsilon."""
    squares = square.op_type == "Mul" and square.input[0] == square.input[1]
    squares |= square.op_type == "Pow" and square.input[0] in centred and view.scalar(square.input[1]) == 2
    mean = view.only_reader(square.output[0]) if squares else None
    if mean is None or not _is_mean_of_groups(view, shapes, mean):
        return None
    plus = view.only_reader(mean.output[0])
    if plus is None or plus.op_type != "Add":
        return None
    epsilon = view.scalar(next(name for name in plus.input if name != mean.output[0]))
    root = view.only_reader(plus.output[0])
    if epsilon is None or root is None or root.op_type != "Sqrt":
        return None
    return [square, mean, plus, root], root, epsilon


def _divided(view: GraphView, root: NodeProto, centred: set[str]) -> list[NodeProto]:
    """Nodes that divide the differences by the root, at once or by way of its inverse; none if none do."""
    divide = view.only_reader(root.output[0])
    if divide is None:
        return []
    if divide.op_type == "Div" and divide.input[0] in centred and divide.input[1] == root.output[0]:
        return [divide]
    inverse = divide.op_type == "Reciprocal"
    inverse |= divide.op_type == "Div" and view.scalar(divide.input[0]) == 1
    times = view.only_reader(divide.output[0]) if inverse else None
    if times is None or times.op_type != "Mul" or not centred & set(times.input):
        return []
    return [divide, times]


def _tail(
    view: GraphView, shapes: Shapes, name: str, shape: tuple[int, ...]
) -> tuple[list[NodeProto], str, Array, Array] | None:
    """Reshape back to `shape`, then what scales and shifts channels: nodes, result, scale and shift (C,)."""
    reshape = view.only_reader(name)
    if reshape is None or reshape.op_type != "Reshape" or shapes.get(reshape.output[0]) != shape:
        return None
    nodes, y = [reshape], reshape.output[0]
    factors = {"Mul": np.ones(shape[1], np.float32), "Add": np.zeros(shape[1], np.float32)}
    for operation in factors:
        node = view.only_reader(y)
        values = _by_channel(view, node, y, shape[1]) if node and node.op_type == operation else None
        if node is not None and values is not None:
            factors[operation] = values
            nodes.append(node)
            y = node.output[0]
    return nodes, y, factors["Mul"], factors["Add"]


def _by_channel(view: GraphView, node: NodeProto, tensor: str, channels: int) -> Array | None:
    """The constant (C,) that `node` applies to the channels of `tensor`; None when it does something else."""
    other = [name for name in node.input if name != tensor]
    values = view.constant(other[0]) if len(other) == 1 else None
    if values is None:
        return None
    shape = (1,) * (4 - values.ndim) + values.shape
    return values.reshape(-1) if shape == (1, channels, 1, 1) else None


_FINDERS: Final[Mapping[str, tuple[Callable[[GraphView, Shapes, NodeProto], GroupNorm | None], ...]]] = {
    "GroupNormalization": (_find_native,),
    "InstanceNormalization": (_find_instance,),
    "ReduceMean": (_find_means,),
}


# -- writing -------------------------------------------------------------------------------------------------


class _Writer(NodeWriter):
    """Collects the nodes of one norm."""

    def __init__(self, norm: GroupNorm) -> None:
        super().__init__(norm.y, norm.nodes[0])
        self.norm = norm

    def statistic(self, operation: str, *inputs: str, name: str, **attributes: Any) -> str:
        """One node on the way to the statistics, which stays in single precision."""
        return self.add(operation, *inputs, name=f"{STATISTICS[1:]}{name}", **attributes)

    def by_channel(self, name: str, values: Array) -> str:
        return self.constant(name, values.reshape(1, -1, 1, 1).astype(np.float32))


def _native(w: _Writer) -> None:
    norm = w.norm
    scale, shift = w.constant("scale", norm.scale), w.constant("shift", norm.shift)
    attributes = {"num_groups": norm.groups, "epsilon": norm.epsilon, "stash_type": 1}
    w.add("GroupNormalization", norm.x, scale, shift, name="GroupNormalization", result=norm.y, **attributes)


def _instance(w: _Writer) -> None:
    norm = w.norm
    images, channels, height, width = norm.shape
    grouped = np.array([images, norm.groups, channels // norm.groups * height * width], np.int64)
    ones, zeros = np.ones(norm.groups, np.float32), np.zeros(norm.groups, np.float32)
    x = w.add("Reshape", norm.x, w.constant("groups", grouped), name="Groups")
    units = w.constant("ones", ones), w.constant("zeros", zeros)
    # An engine reckons the statistics in the type of x.
    x = w.statistic("InstanceNormalization", x, *units, name="Normalised", epsilon=norm.epsilon)
    x = w.add("Reshape", x, w.constant("shape", np.array(norm.shape, np.int64)), name="Channels")
    x = w.add("Mul", x, w.by_channel("scale", norm.scale), name="Scale")
    w.add("Add", x, w.by_channel("shift", norm.shift), name="Shift", result=norm.y)


def _algebraic(w: _Writer) -> None:
    norm = w.norm
    channels, places = norm.shape[1], norm.shape[2] * norm.shape[3]
    size = channels // norm.groups
    rows_and_columns = w.constant("rows_and_columns", np.array([2, 3], np.int64))

    def by_group(sums: str, what: str, places: int) -> str:
        """Of sums over so many places of each channel, the mean of its group, at each channel."""
        share = np.kron(np.eye(norm.groups), np.full((size, size), 1 / (size * places)))
        weights = w.constant(f"share_of_{places}", share.reshape(channels, channels, 1, 1).astype(np.float32))
        return w.statistic("Conv", sums, weights, name=what, kernel_shape=[1, 1])

    means = w.statistic("ReduceMean", norm.x, rows_and_columns, name="ChannelMean", keepdims=1)
    mean = by_group(means, "Mean", 1)
    # The norm of a channel as a vector is read off in one go; its square is the sum of squares.
    length = w.statistic("ReduceL2", norm.x, rows_and_columns, name="ChannelLength", keepdims=1)
    squares = by_group(w.statistic("Mul", length, length, name="SumOfSquares"), "MeanOfSquares", places)
    square = w.statistic("Mul", mean, mean, name="SquareOfMean")
    variance = w.statistic("Sub", squares, square, name="Variance")
    # The difference of two large numbers, which rounding may leave below 0.
    variance = w.statistic("Relu", variance, name="VarianceFrom0")
    epsilon = w.constant("epsilon", np.array(norm.epsilon, np.float32))
    deviation = w.statistic("Sqrt", w.statistic("Add", variance, epsilon, name="Epsilon"), name="Deviation")
    scale = w.statistic("Div", w.by_channel("scale", norm.scale), deviation, name="Scale")
    moved = w.statistic("Mul", mean, scale, name="MovedMean")
    shift = w.statistic("Sub", w.by_channel("shift", norm.shift), moved, name="Shift")
    w.add("Add", w.add("Mul", norm.x, scale, name="Scaled"), shift, name="Shifted", result=norm.y)


_FORMS: Final[Mapping[NormForm, Callable[[_Writer], None]]] = {
    "native": _native,
    "instance": _instance,
    "algebraic": _algebraic,
}
