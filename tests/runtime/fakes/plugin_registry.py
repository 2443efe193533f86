"""What TensorRT does with Python plugins when it parses, builds and runs, on kernels that the host runs."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

FIELDS = {np.int32: "INTS", np.float32: "FLOATS"}  # of the parser, for arrays that a plugin declares


def registered() -> dict[str, Any]:
    plugin = sys.modules.get("tensorrt.plugin")
    return {} if plugin is None else dict(plugin.QDP_REGISTRY)


def is_plugin(node: onnx.NodeProto) -> bool:
    """As the parser finds it: by name and namespace, both told by the node; an old one takes the function."""
    if os.environ.get("FAKE_TENSORRT_FAULT") == "functions-first":
        return False
    return f"{_attributes(node).get('plugin_namespace', b'').decode()}::{node.op_type}" in registered()


def build(model: onnx.ModelProto) -> dict[str, Any]:
    """The kernel of each plugin node, by the name of its output, as the plan keeps it."""
    nodes = [node for node in model.graph.node if is_plugin(node)]
    tensors = _tensors(model) if nodes else {}
    return {node.output[0]: _kernel(node, tensors) for node in nodes}


def _kernel(node: onnx.NodeProto, tensors: dict[str, tuple[Any, tuple[int, ...]]]) -> dict[str, Any]:
    plugin, trt = sys.modules["tensorrt.plugin"], importlib.import_module("tensorrt")
    definition = registered()[f"argus::{node.op_type}"]
    attributes = _attributes(node)
    assert attributes["aot"] == 1, "no implementation but the one ahead of time"
    values = [np.asarray(attributes[name], kind) for name, kind in definition.attributes.items()]
    inputs = [
        plugin.TensorDesc(
            plugin.ShapeExprs(tensors[name][1]), trt.DataType[trt._TYPES[tensors[name][0].name]]
        )
        for name in node.input
    ]
    assert len(inputs) == len(definition.inputs)
    output = definition.describe(*inputs, *values)
    dtype, shape = tensors[node.output[0]]
    assert (output.dtype, tuple(output.shape_expr)) == (trt.DataType[trt._TYPES[dtype.name]], shape)
    for each in (*inputs, output):
        each.shape = tuple(each.shape_expr)
    name, code, launch, numbers = definition.build(*inputs, *values, (output,), 0)
    assert isinstance(launch, plugin.KernelLaunchParams)
    assert isinstance(numbers, plugin.SymIntExprs)
    source, macros = json.loads(code)
    return {
        "node": node.name, "kernel": name, "source": source, "macros": macros,
        "grid": [launch.grid_x, launch.grid_y], "block": [launch.block_x, launch.block_y],
        "numbers": [each.value for each in numbers],
    }  # fmt: skip


def compute(model: onnx.ModelProto, kernels: dict[str, Any], inputs: dict[str, Any]) -> list[Any]:
    """ONNX's reference runs the graph; what a plugin computes, its kernel does."""

    def run_kernel(self: Any, *arrays: Any, **_: Any) -> tuple[Any, ...]:
        kernel = kernels[self.onnx_node.output[0]]
        shape = tuple(dim.dim_value for dim in shapes[self.onnx_node.output[0]])
        answer = np.empty(shape, arrays[0].dtype)
        pointers = [np.ascontiguousarray(each) for each in arrays]
        given = [ctypes.c_void_p(each.ctypes.data) for each in pointers]
        numbers = [ctypes.c_int(number) for number in kernel["numbers"]]
        host_kernels = importlib.import_module("host_kernels")
        loaded = host_kernels.library(kernel["source"], tuple(kernel["macros"]))
        host_kernels.run(
            loaded, kernel["kernel"], kernel["grid"], kernel["block"],
            [*given, *numbers, ctypes.c_void_p(answer.ctypes.data)],
        )  # fmt: skip
        return (answer,)

    values = onnx.shape_inference.infer_shapes(model).graph
    shapes = {v.name: v.type.tensor_type.shape.dim for v in (*values.value_info, *values.output)}
    names = {node.op_type for node in model.graph.node if node.output[0] in kernels}
    operations = [type(name, (OpRun,), {"op_domain": "argus", "_run": run_kernel}) for name in sorted(names)]
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.functions[:]
    return list(ReferenceEvaluator(bare, new_ops=operations).run(None, inputs))


def _tensors(model: onnx.ModelProto) -> dict[str, tuple[Any, tuple[int, ...]]]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {
        value.name: (
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
            tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim),
        )
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    constants = {
        tensor.name: (onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims))
        for tensor in graph.initializer
    }
    return found | constants


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
