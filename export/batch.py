"""Graphs for several images at once, beside those for one: the same weights, rounded in the same places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx

from argus_edge.errors import ExportError, TaskError
from argus_edge.export.components import Answers
from argus_edge.export.precision import int8_products, to_fp16
from argus_edge.export.rewrite import GraphView, copied, drop_unread, sort_nodes
from argus_edge.export.rounding import QUANTIZED, merge_twins
from argus_edge.runtime.engines import Array
from argus_edge.spec import Precision

__all__ = ["check_batches", "in_batches", "in_precision", "one_by_one", "quantised_like"]

Node: TypeAlias = onnx.NodeProto
Graphs: TypeAlias = Mapping[str, onnx.ModelProto]  # component -> graph


def check_batches(batches: Sequence[int], tasks: Iterable[str]) -> None:
    """Raise TaskError where a task cannot answer several images at once."""
    if batches and "pose" in tasks:
        raise TaskError(
            "task 'pose' reads the persons of one image, and --batch is for several at once; leave it out "
            "with --tasks, or export it to a package of its own"
        )


def in_batches(frames: Sequence[Array], count: int) -> list[Array]:
    """Network inputs (1, H, W, 3) as (`count`, H, W, 3), in order; the last is filled with the first ones."""
    places = range(-(-len(frames) // count) * count)
    filled = [frames[place % len(frames)] for place in places]
    return [np.concatenate(filled[start : start + count]) for start in places[::count]]


def one_by_one(answers: Sequence[Answers], frames: int) -> list[Answers]:
    """Answers to so many frames, each with a first axis of 1, of answers to `in_batches` of them."""
    single = [
        {
            component: {name: values[index : index + 1] for name, values in outputs.items()}
            for component, outputs in answer.items()
        }
        for answer in answers
        for index in range(_images(answer))
    ]
    return single[:frames]


def in_precision(
    precision: Precision, fp32: Graphs, one: Graphs, one_in_fp32: Graphs
) -> dict[str, onnx.ModelProto]:
    """Graphs for several images, `fp32`, in `precision`, as those for one image are. Raises ExportError."""
    match precision:
        case "fp32":
            return dict(fp32)
        case "fp16":
            return {component: to_fp16(graph) for component, graph in fp32.items()}
        case "int8":
            return {
                component: quantised_like(one[component], one_in_fp32[component], graph)
                for component, graph in fp32.items()
            }


def quantised_like(
    quantised: onnx.ModelProto, its_original: onnx.ModelProto, original: onnx.ModelProto
) -> onnx.ModelProto:
    """The float graph `original` with the products in int8 that are so in `quantised`, and with its scales.

    `quantised` was made of `its_original`, which is the same network for another number of images. Nothing is
    calibrated again. Raises ExportError where the products of the two do not match.
    """
    model = copied(original)
    writer = _Writer(quantised)
    for node, name in _pairs(model, its_original):
        if name in writer.int8:
            writer.round(node, writer.int8[name])
    made = {name for node in writer.nodes for name in node.output}
    kept = [copied(t) for t in model.graph.initializer if t.name not in made | writer.constants.keys()]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *writer.constants.values()])
    model.graph.node.extend(writer.nodes)
    sort_nodes(model.graph)
    merge_twins(model)
    drop_unread(model.graph)
    return model


def _pairs(model: onnx.ModelProto, other: onnx.ModelProto) -> list[tuple[Node, str]]:
    """The products of a graph, each with the name of its like in that of the same network for another number
    of images: torch traces them in the same order.
    """
    mine, theirs = ([n for n in m.graph.node if n.op_type in QUANTIZED] for m in (model, other))
    if [_origin(node) for node in mine] != [_origin(node) for node in theirs]:
        raise ExportError(
            f"{model.graph.name}: torch traced other products for several images than for one, so that int8 "
            f"cannot be taken over; leave out int8 or --batch"
        )
    return [(node, its.name) for node, its in zip(mine, theirs, strict=True)]


def _origin(node: Node) -> tuple[str, str]:
    """The module that a node came from, and what it does."""
    return node.name.rpartition("/")[0], node.op_type


class _Writer:
    """Collects what products read in int8, as `quantised` has it."""

    def __init__(self, quantised: onnx.ModelProto) -> None:
        names = set(int8_products(quantised))
        self.int8 = {node.name: node for node in quantised.graph.node if node.name in names}
        self.nodes: list[Node] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._view = GraphView(quantised.graph)
        self._initializers = {tensor.name: tensor for tensor in quantised.graph.initializer}
        self._brought: set[str] = set()

    def round(self, node: Node, partner: Node) -> None:
        """Let `node` read weights and bias as `partner` does, and its data rounded with the same scale."""
        for place, name in enumerate(partner.input):
            if place:
                self._bring(name)
                node.input[place] = name
        back = self._view.producers.get(partner.input[0])
        there = self._view.producers.get(back.input[0]) if back is not None else None
        if back is None or there is None or there.op_type != "QuantizeLinear":
            return
        data = node.input[0]
        for step in (there, back):
            new = copied(step)
            new.name = f"{node.name}/{step.op_type}"
            new.input[0], new.output[0] = data, new.name
            for scale in new.input[1:]:
                self._bring(scale)
            self.nodes.append(new)
            data = new.name
        node.input[0] = data

    def _bring(self, name: str) -> None:
        """Have a constant of the quantised graph, and the nodes that it is made by."""
        if not name or name in self._brought:
            return
        self._brought.add(name)
        if name in self._initializers:
            self.constants[name] = self._initializers[name]
            return
        node = self._view.producers[name]
        for source in node.input:
            self._bring(source)
        self.nodes.append(copied(node))


def _images(answer: Answers) -> int:
    return next(len(values) for outputs in answer.values() for values in outputs.values())
