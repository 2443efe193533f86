"""TensorRT 10.3 (JetPack 6) and later, from one strongly typed graph.

Precision is in the graph's types alone, since TensorRT 11 has no other way: fp16 through types, int8 through
Q/DQ. The graphs keep to opset 20 and to what both ends of that range of versions are published to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

import onnx
from onnx import TensorProto

from argus_edge.errors import ExportError
from argus_edge.export.precision import KEPT_FLOAT, to_fp16
from argus_edge.export.rewrite import NodeWriter, Replacement, replace_nodes
from argus_edge.export.targets.placement import find_misplaced
from argus_edge.export.targets.support import Miss, find_misses, support_tables
from argus_edge.export.targets.target import Graphs, Target

__all__ = ["TENSORRT", "check_graphs", "spell_equalities"]

# Published as supported, and yet:
REFUSED: Final = {
    # wrong inside deformable attention, 10.13 to 11.1: github.com/NVIDIA/TensorRT/issues/4813
    "GridSample": "Gather in its place, as some versions sample wrongly",
    # 10.7 does not import that of opset 21 (issue 4336), 10.16 takes one group for one per channel (4756)
    "GroupNormalization": "InstanceNormalization of groups in its place, as some versions group wrongly",
}


def spell_equalities(model: onnx.ModelProto) -> int:
    """Rewrite every Equal of BOOLs, which torch writes for `//` and TensorRT is not published to read, as Not
    of Xor, and say how many there are.
    """
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    bools = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.BOOL}
    replacements = []
    for node in model.graph.node:
        if node.op_type == "Equal" and bools & set(node.input):
            writer = NodeWriter(node.output[0], node)
            other = writer.add("Xor", *node.input, name=f"Xor_{node.output[0]}")
            writer.add("Not", other, name=f"Not_{node.output[0]}", result=node.output[0])
            replacements.append(Replacement([node], writer.nodes))
    replace_nodes(model.graph, replacements)
    return len(replacements)


def check_graphs(graphs: Graphs) -> None:
    """Raise ExportError when a graph has something that TensorRT would refuse or is known to get wrong.

    Everything is named at once: component, version, operation, what is expected, and the nodes.
    """
    found = [f"{component}: {each}" for component, graph in graphs.items() for each in _misses(graph)]
    if found:
        raise ExportError(f"{len(found)} things do not fit TensorRT: {'; '.join(found)}")


def _misses(graph: onnx.ModelProto) -> Iterator[str]:
    own = [Miss(n.op_type, REFUSED[n.op_type], n.name) for n in graph.graph.node if n.op_type in REFUSED]
    yield from _told(own + find_misplaced(graph, KEPT_FLOAT))
    for table in support_tables():
        for each in _told(find_misses(graph, table)):
            yield f"{each} (TensorRT {table.tensorrt})"


def _told(misses: Iterable[Miss]) -> Iterator[str]:
    """One sentence for all nodes that miss the same."""
    for (operation, expected), same in groupby(sorted(misses), lambda miss: (miss.operation, miss.expected)):
        yield f"{operation} {', '.join(miss.where for miss in same)}: expected {expected}"


TENSORRT: Final = Target(
    "tensorrt",
    ("tensorrt", "onnxruntime"),
    "instance",
    "gather",
    opset=min(table.opset[1] for table in support_tables()),
    symmetric=True,
    rest=to_fp16,
    respell=spell_equalities,
    check=check_graphs,
)
