"""What is rounded in an int8 graph is for the int8 products alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from argus_edge.export.precision import int8_products, to_int8
from argus_edge.export.rewrite import GraphView
from argus_edge.export.rounding import keep_from_others, merge_twins


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """x -> first -> tanh -> t, of which second and third make products, and y = t + second(t) + third(t)."""
    random = np.random.default_rng(0)
    weights = [random.standard_normal((8, 8)).astype(np.float32) for _ in range(3)]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "a"], ["m"], "first/MatMul"),
            helper.make_node("Tanh", ["m"], ["t"], "tanh"),
            helper.make_node("MatMul", ["t", "b"], ["s"], "second/MatMul"),
            helper.make_node("MatMul", ["t", "c"], ["u"], "third/MatMul"),
            helper.make_node("Add", ["t", "s"], ["v"], "residual"),
            helper.make_node("Add", ["v", "u"], ["y"], "sum"),
        ],
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 8])],
        [numpy_helper.from_array(w, name) for w, name in zip(weights, "abc", strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_additions_and_outputs_are_not_rounded(model: onnx.ModelProto) -> None:
    random = np.random.default_rng(1)
    graph = to_int8(model, ({"x": random.standard_normal((4, 8)).astype(np.float32)} for _ in range(4)))
    assert int8_products(graph) == ["first/MatMul", "second/MatMul", "third/MatMul"]
    nodes, view = {node.name: node for node in graph.graph.node}, GraphView(graph.graph)
    assert list(nodes["residual"].input) == ["t", "s"]
    assert list(nodes["sum"].input) == ["v", "u"]
    assert list(nodes["tanh"].input) == ["m"]
    read = {nodes[f"{name}/MatMul"].input[0] for name in ("second", "third")}
    (rounded,) = read  # one pair for both
    assert view.producers[rounded].op_type == "DequantizeLinear"
    activations = [n for n in graph.graph.node if n.op_type == "QuantizeLinear"]
    assert [n.input[0] for n in activations] == ["x", "t"]
    onnx.checker.check_model(graph, full_check=True)


def test_doing_it_again_changes_nothing(model: onnx.ModelProto) -> None:
    random = np.random.default_rng(1)
    graph = to_int8(model, ({"x": random.standard_normal((4, 8)).astype(np.float32)} for _ in range(4)))
    before = graph.SerializeToString(deterministic=True)
    keep_from_others(graph.graph)
    merge_twins(graph)
    assert graph.SerializeToString(deterministic=True) == before
