"""Calls in the place of what TensorRT may compute by kernels of ours: GroupNorm, and the sampling in
deformable attention.

A call is of a function that the graph brings along (a local function of ONNX), whose body is the standard
spelling. An engine that knows nothing of ours computes that; so does TensorRT, unless the process that builds
has a plugin of the same name and namespace registered (`runtime/engines/tensorrt_plugins.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper

from argus_edge.export.groupnorm import STATISTICS
from argus_edge.export.rewrite import GraphView, Replacement, attribute, copied, replace_nodes
from argus_edge.runtime.engines.tensorrt_options import NORM_PLUGIN, PLUGINS, SAMPLE_PLUGIN

__all__ = ["call_plugins"]

# How TensorRT's parser finds the plugin, and that its machine code is to be in the plan.
LOOKED_UP: Final[dict[str, Any]] = {"plugin_namespace": PLUGINS, "plugin_version": "1", "aot": 1}


@dataclass
class _Call:
    """One operation in the standard spelling, as it stands in the graph."""

    plugin: str
    nodes: list[NodeProto]
    inputs: list[str]  # in the plugin's order
    output: str
    told: dict[str, Any]  # attributes that the plugin reads
    constants: dict[str, TensorProto] = field(default_factory=dict)  # name in the body -> values

    def body(self) -> list[NodeProto]:
        """The nodes, in names of their own: what differs from call to call are the attributes alone."""
        names = {name for node in self.nodes for name in (*node.input, *node.output)}
        known = {name: name.removeprefix(f"{self.output}/") for name in names}
        known |= {name: f"input{index}" for index, name in enumerate(self.inputs)} | {self.output: "output"}
        nodes = [copied(node) for node in self.nodes]
        for node in nodes:
            node.name = ""
            node.input[:] = [known[name] for name in node.input]
            node.output[:] = [known[name] for name in node.output]
        return nodes


def call_plugins(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a finished graph with such calls; what is spelled otherwise stays as it is."""
    model = copied(model)
    calls = [*_norms(model), *_samplings(model)]
    functions: dict[str, FunctionProto] = {}
    replacements = []
    for call in calls:
        function = _function(call, model)
        if functions.setdefault(call.plugin, function).SerializeToString() == function.SerializeToString():
            replacements.append(Replacement(call.nodes, [_node(call)]))
    replace_nodes(model.graph, replacements)
    if functions:
        model.functions.extend(functions.values())
        model.opset_import.append(helper.make_opsetid(PLUGINS, 1))
    return model


def _norms(model: onnx.ModelProto) -> Iterator[_Call]:
    view, types = GraphView(model.graph), _types(model)
    for node in model.graph.node:
        if node.op_type != "InstanceNormalization" or STATISTICS not in node.output[0]:
            continue
        result = node.output[0].partition(STATISTICS)[0]
        nodes = _inside(model.graph, result)
        shape, grouped = view.constant(f"{result}/shape"), view.constant(f"{result}/groups")
        if shape is None or grouped is None:
            continue
        images, channels, height, width = map(int, shape)
        groups = int(grouped[1])
        inputs = [nodes[0].input[0], f"{result}/scale", f"{result}/shift"]
        told = {
            "sizes": [images * groups, channels, channels // groups, height * width],
            "epsilon": [float(attribute(node, "epsilon", 1e-5))],
        }
        yield from _checked(_Call(NORM_PLUGIN, nodes, inputs, result, told), model, types)


def _samplings(model: onnx.ModelProto) -> Iterator[_Call]:
    types = _types(model)
    for node in model.graph.node:
        if "/ChannelsLast" not in node.output[0]:
            continue
        result = node.output[0].partition("/ChannelsLast")[0]
        nodes = _inside(model.graph, result)
        (grid,) = {each.input[0] for each in nodes if "/SamplingPlacesPlacesX" in each.output[0]}
        if types.get(grid) != TensorProto.FLOAT:
            continue
        yield from _checked(_Call(SAMPLE_PLUGIN, nodes, [node.input[0], grid], result, {}), model, types)


def _checked(call: _Call, model: onnx.ModelProto, types: dict[str, int]) -> Iterator[_Call]:
    """The call, with its constants, if it reads nothing else and gives the type that it reads."""
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {name for node in call.nodes for name in node.output}
    read = dict.fromkeys(name for node in call.nodes for name in node.input)
    others = [name for name in read if name not in made and name not in call.inputs]
    if types.get(call.inputs[0]) != types.get(call.output) or not all(name in known for name in others):
        return
    call.constants = {name.removeprefix(f"{call.output}/"): known[name] for name in others}
    yield call


def _inside(graph: onnx.GraphProto, result: str) -> list[NodeProto]:
    """The nodes that make `result`, by the names that `NodeWriter` gives."""
    return [n for n in graph.node if n.output[0] == result or n.output[0].startswith(f"{result}/")]


def _types(model: onnx.ModelProto) -> dict[str, int]:
    bare = copied(model)
    del bare.graph.value_info[:]  # the conversion to half precision leaves those of single precision
    graph = onnx.shape_inference.infer_shapes(bare).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _function(call: _Call, model: onnx.ModelProto) -> FunctionProto:
    constants = []
    for name in call.constants:
        node = helper.make_node("Constant", [], [name])
        refers = AttributeProto(name="value", type=AttributeProto.TENSOR, ref_attr_name=name)
        node.attribute.append(refers)
        constants.append(node)
    own = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    inputs = [f"input{index}" for index in range(len(call.inputs))]
    attributes = [*LOOKED_UP, *call.told, *call.constants]
    return helper.make_function(
        PLUGINS, call.plugin, inputs, ["output"], [*constants, *call.body()], own, attributes
    )


def _node(call: _Call) -> NodeProto:
    node = helper.make_node(
        call.plugin, call.inputs, [call.output], f"{call.nodes[0].name}/Call", domain=PLUGINS,
        **LOOKED_UP, **call.told,
    )  # fmt: skip
    for name, tensor in call.constants.items():
        node.attribute.append(AttributeProto(name=name, type=AttributeProto.TENSOR, t=tensor))
    return node
