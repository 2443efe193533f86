"""Looking at and changing ONNX graphs: who makes a tensor, who reads it, what is constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

__all__ = [
    "GraphView",
    "NodeWriter",
    "Replacement",
    "attribute",
    "copied",
    "drop_unread",
    "float_shapes",
    "replace_nodes",
    "sort_nodes",
]


Proto = TypeVar("Proto", onnx.ModelProto, NodeProto)


class GraphView:
    """The tensors of a graph as it is now; make a new one after a change."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.outputs = {tensor.name for tensor in graph.output}
        self._readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._readers[name].append(node)
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}

    def readers(self, name: str) -> list[NodeProto]:
        """The nodes that read a tensor, each once."""
        return self._readers.get(name, [])

    def only_reader(self, name: str) -> NodeProto | None:
        """The one node that reads a tensor; None where there are none or several, or it leaves the graph."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def constant(self, name: str) -> NDArray[Any] | None:
        """The values of a tensor that is the same in every run; None for any other."""
        if name in self._initializers:
            return numpy_helper.to_array(self._initializers[name])
        node = self.producers.get(name)
        value = attribute(node, "value") if node is not None and node.op_type == "Constant" else None
        return None if value is None else numpy_helper.to_array(value)

    def scalar(self, name: str) -> float | None:
        """The same of a tensor with one element."""
        values = self.constant(name)
        return float(values.reshape(())) if values is not None and values.size == 1 else None


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, `default` where it has none of this name."""
    found = (helper.get_attribute_value(a) for a in node.attribute if a.name == name)
    return next(found, default)


def float_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in single precision that have a fixed one, constants left out."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes: dict[str, tuple[int, ...]] = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type
        fixed = kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)
        if fixed and kind.elem_type == onnx.TensorProto.FLOAT:
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return shapes


class NodeWriter:
    """Collects nodes that take the place of others, and the constants they read.

    Tensors are named after `result`, the last of them; nodes after the module that `first`, the first of
    those that go, came from, and `suffix`, which tells several of one module apart.
    """

    def __init__(self, result: str, first: NodeProto, suffix: str = "") -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._result, self._path = result, (first.name or result).partition("/")[0]
        self._suffix = suffix

    def add(self, operation: str, *inputs: str, name: str, result: str = "", **attributes: Any) -> str:
        """One node, called PATH/`name`SUFFIX; the name of its result, `result` where that is given."""
        output = result or f"{self._result}/{name}"
        called = f"{self._path}/{name}{self._suffix}"
        node = helper.make_node(operation, list(inputs), [output], called, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, name: str, values: Any) -> str:
        """A constant; its name."""
        self.constants[f"{self._result}/{name}"] = np.asarray(values)
        return f"{self._result}/{name}"


@dataclass(frozen=True)
class Replacement:
    """Nodes of a graph, and what does the same in their place."""

    old: Sequence[NodeProto]  # of the graph itself, no copies
    new: Sequence[NodeProto]
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # that the new ones read


def replace_nodes(graph: onnx.GraphProto, replacements: Sequence[Replacement]) -> None:
    """Put new nodes where the last of the old ones stood; constants that nobody reads any more go as well.

    Nothing else may read what the old nodes made, other than what the new ones make again.
    """
    all_nodes = list(graph.node)
    place = {id(node): index for index, node in enumerate(all_nodes)}
    gone = {place[id(node)] for each in replacements for node in each.old}
    last = {max(place[id(node)] for node in each.old): each for each in replacements}
    nodes: list[NodeProto] = []
    for index, node in enumerate(all_nodes):
        if index in last:
            nodes.extend(last[index].new)
        if index not in gone:
            nodes.append(node)
    kept = [copied(node) for node in nodes]  # clearing the list frees those in it
    del graph.node[:]
    graph.node.extend(kept)
    for each in replacements:
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(values, order="C"), name)
            for name, values in each.constants.items()
        )
    drop_unread(graph)


def drop_unread(graph: onnx.GraphProto) -> None:
    """Leave out the nodes and constants that no output of the graph comes from."""
    producers = GraphView(graph).producers
    wanted: set[str] = set()
    waiting = [tensor.name for tensor in graph.output]
    while waiting:
        name = waiting.pop()
        if name and name not in wanted:
            wanted.add(name)
            waiting.extend(producers[name].input if name in producers else ())
    for index in reversed(range(len(graph.node))):
        if wanted.isdisjoint(graph.node[index].output):
            del graph.node[index]
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in wanted:
            del graph.initializer[index]


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put every node behind those whose results it reads, as ONNX asks for, and else keep their order."""
    nodes = [copied(node) for node in graph.node]
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    waits_for = [{maker[name] for name in node.input if name in maker} for node in nodes]
    readers: dict[int, list[int]] = defaultdict(list)
    for index, sources in enumerate(waits_for):
        for source in sources:
            readers[source].append(index)
    ready = [index for index, sources in enumerate(waits_for) if not sources]
    del graph.node[:]
    while ready:
        index = heappop(ready)
        graph.node.append(nodes[index])
        for reader in readers[index]:
            waits_for[reader].discard(index)
            if not waits_for[reader]:
                heappush(ready, reader)


def copied(original: Proto) -> Proto:
    """A model or node of its own with the same content."""
    copy = type(original)()
    copy.CopyFrom(original)
    return copy
