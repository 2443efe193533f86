"""Whether a graph keeps to what TensorRT's ONNX parser is published to read.

`support/tensorrt-*.json` hold, for one version each, the operators with their types and those restrictions
that a program can check, and name where that is published. A rule of an operator is one of

    attributes       name -> values that are allowed; of a list, for each element
    constant_inputs  inputs that have to be constants
    below            input -> what a constant there has to be less than
    zero_inputs      inputs that have to be 0 throughout where they are given
    absent_inputs    inputs that may not be given
    outputs          how many outputs there may be
    ranks            how many axes the first input may have

An operator that is not listed is not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper

from argus_edge.errors import ExportError, first_line
from argus_edge.export.rewrite import GraphView, copied

__all__ = ["Miss", "Support", "find_misses", "support_tables"]

FOLDER: Final = Path(__file__).with_name("support")
TYPES: Final = {
    TensorProto.FLOAT: "FP32", TensorProto.FLOAT16: "FP16", TensorProto.BFLOAT16: "BF16",
    TensorProto.FLOAT8E4M3FN: "FP8", TensorProto.INT4: "INT4",
}  # fmt: skip
DATA_INPUT: Final = {"Where": 1}  # the input whose type the table means, where that is not the first
DEFAULT_DOMAINS: Final = ("", "ai.onnx")


@dataclass(frozen=True)
class Support:
    """What one version of TensorRT reads."""

    tensorrt: str
    opset: tuple[int, int]  # oldest and newest
    types: frozenset[str]  # of tensors
    operators: Mapping[str, Mapping[str, Any]]  # operator -> its types and rules


@dataclass(frozen=True, order=True)
class Miss:
    """One thing in a graph that does not fit."""

    operation: str
    expected: str
    where: str  # node


@cache
def support_tables() -> tuple[Support, ...]:
    """Every table there is, oldest version first."""
    tables = []
    for file in FOLDER.glob("tensorrt-*.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        oldest, newest = content["opset"]
        types, operators = frozenset(content["types"]), content["operators"]
        tables.append(Support(content["tensorrt"], (oldest, newest), types, operators))
    return tuple(sorted(tables, key=lambda table: [int(part) for part in table.tensorrt.split(".")]))


def find_misses(model: onnx.ModelProto, table: Support) -> list[Miss]:
    """Everything in `model` that the table has no place for, in the graph's order.

    Raises ExportError for a graph whose types contradict one another.
    """
    checker = _Checker(model, table)
    return list(
        dict.fromkeys(
            (*checker.opset(), *checker.boundary(), *(m for n in model.graph.node for m in checker.node(n)))
        )
    )


class _Checker:
    def __init__(self, model: onnx.ModelProto, table: Support) -> None:
        self._model, self._table = model, table
        self._view = GraphView(model.graph)
        bare = copied(model)
        del bare.graph.value_info[:]  # what a conversion to fp16 left there may be out of date
        try:
            graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
        except onnx.shape_inference.InferenceError as error:
            raise ExportError(f"{bare.graph.name}: it has no types that fit: {first_line(error)}") from error
        values = (*graph.value_info, *graph.input, *graph.output)
        self._values = {value.name: value.type.tensor_type for value in values}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._io = {value.name for value in (*graph.input, *graph.output)}

    def opset(self) -> Iterator[Miss]:
        oldest, newest = self._table.opset
        for entry in self._model.opset_import:
            if entry.domain in DEFAULT_DOMAINS and not oldest <= entry.version <= newest:
                yield Miss("opset", f"{oldest} to {newest}, not {entry.version}", "the graph")

    def boundary(self) -> Iterator[Miss]:
        for value in self._model.graph.input:
            yield from self._tensor("input", value.name, value.name)

    def node(self, node: NodeProto) -> Iterator[Miss]:
        rules = self._table.operators.get(node.op_type)
        if node.domain not in DEFAULT_DOMAINS:
            yield Miss(f"{node.domain}.{node.op_type}", "an operator of ONNX itself", node.name)
            return
        if rules is None:
            yield Miss(node.op_type, f"an operator that TensorRT {self._table.tensorrt} reads", node.name)
            return
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            yield Miss(node.op_type, "no graphs within the graph", node.name)
        for name in filter(None, node.output):
            yield from self._tensor(node.op_type, name, node.name)
        for expected in (*self._types(node, rules["types"]), *self._broken(node, rules)):
            yield Miss(node.op_type, expected, node.name)

    def _tensor(self, operation: str, name: str, where: str) -> Iterator[Miss]:
        """What holds for every tensor: a type of the table, and a shape that is fixed."""
        kind = self._type(name)
        if kind is None:
            yield Miss(operation, f"a type of {name} that can be inferred", where)
        elif kind not in self._table.types:
            yield Miss(operation, f"no {kind} ({name})", where)
        elif kind == "UINT8" and name not in self._io:
            yield Miss(operation, f"UINT8 at the graph's inputs and outputs only ({name})", where)
        if self._rank(name) is None:
            yield Miss(operation, f"a fixed shape of {name}", where)

    def _types(self, node: NodeProto, allowed: list[str]) -> Iterator[str]:
        place = DATA_INPUT.get(node.op_type, 0)
        names = [node.input[place] if len(node.input) > place else node.output[0]]
        if node.op_type.startswith("Cast"):
            names.append(node.output[0])
        for kind in (self._type(name) for name in names):
            if kind is not None and kind not in allowed:
                yield f"{', '.join(allowed)}, not {kind}"

    def _broken(self, node: NodeProto, rules: Mapping[str, Any]) -> Iterator[str]:
        """What each rule that the node breaks expects."""
        given = {index: name for index, name in enumerate(node.input) if name}
        for attribute in node.attribute:
            allowed = rules.get("attributes", {}).get(attribute.name)
            values = _listed(helper.get_attribute_value(attribute))
            if allowed is not None and not all(value in allowed for value in values):
                yield f"{attribute.name} {' or '.join(map(str, allowed))}, not {values}"
        for index in rules.get("constant_inputs", ()):
            if index in given and self._view.constant(given[index]) is None:
                yield f"a constant as input {index}"
        for index, limit in rules.get("below", {}).items():
            constant = self._view.constant(given.get(int(index), ""))
            if constant is not None and not (constant < limit).all():
                yield f"input {index} below {limit}, not {constant.tolist()}"
        for index in rules.get("zero_inputs", ()):
            constant = self._view.constant(given.get(index, ""))
            if index in given and (constant is None or constant.any()):
                yield f"constant zeros as input {index}"
        for index in rules.get("absent_inputs", ()):
            if index in given:
                yield f"no input {index}"
        outputs = sum(map(bool, node.output))
        if outputs > rules.get("outputs", outputs):
            yield f"at most {rules['outputs']} output, not {outputs}"
        rank = self._rank(given.get(0, ""))
        if "ranks" in rules and rank is not None and rank not in rules["ranks"]:
            yield f"{' or '.join(map(str, rules['ranks']))} axes, not {rank}"

    def _type(self, name: str) -> str | None:
        """In the table's words; None where it is not known."""
        known = self._constants[name].data_type if name in self._constants else None
        if known is None and name in self._values:
            known = self._values[name].elem_type
        return (TYPES.get(known) or TensorProto.DataType.Name(known)) if known else None

    def _rank(self, name: str) -> int | None:
        """The number of axes; None where one of them is not fixed."""
        if name in self._constants:
            return len(self._constants[name].dims)
        kind = self._values.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        axes = kind.shape.dim
        return len(axes) if all(axis.HasField("dim_value") for axis in axes) else None


def _listed(value: Any) -> list[Any]:
    """An attribute's values as JSON would have them."""
    values = value if isinstance(value, list) else [value]
    return [each.decode() if isinstance(each, bytes) else each for each in values]
