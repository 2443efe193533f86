"""Operations against numbers that are counted by hand, and against torch's counter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from argus_edge.errors import ExportError
from argus_edge.export.operations import work_of
from argus_edge.export.precision import to_int8
from argus_edge.export.trace import trace_module


def graph_of(
    op: str, shape: Sequence[int], weights: Sequence[int], out: Sequence[int], **attributes: Any
) -> Any:
    node = helper.make_node(op, ["x", "w"], ["y"], name=f"layer/{op}", **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, out)
    constant = numpy_helper.from_array(np.ones(weights, np.float32), "w")
    graph = helper.make_graph([node], "one", [x], [y], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(
    ("op", "shape", "weights", "out", "attributes", "multiplications"),
    [
        ("MatMul", (2, 5, 3), (3, 7), (2, 5, 7), {}, 2 * 5 * 3 * 7),
        ("Gemm", (5, 3), (7, 3), (5, 7), {"transB": 1}, 5 * 3 * 7),
        ("Gemm", (3, 5), (3, 7), (5, 7), {"transA": 1}, 5 * 3 * 7),
        ("Conv", (1, 8, 10, 10), (6, 4, 3, 3), (1, 6, 8, 8), {"group": 2}, 6 * 64 * 4 * 9),
        ("ConvTranspose", (1, 8, 5, 5), (8, 6, 2, 2), (1, 6, 10, 10), {"strides": [2, 2]}, 8 * 25 * 6 * 4),
    ],
)
def test_products_are_counted(
    op: str,
    shape: Sequence[int],
    weights: Sequence[int],
    out: Sequence[int],
    attributes: dict[str, Any],
    multiplications: int,
) -> None:
    work = work_of(graph_of(op, shape, weights, out, **attributes))
    assert (work.float_flop, work.int8_flop) == (2 * multiplications, 0)
    assert work.bytes == 4 * sum(int(np.prod(each)) for each in (shape, weights, out))


def test_products_between_q_and_dq_are_in_int8() -> None:
    model = graph_of("MatMul", (4, 32), (32, 16), (4, 16))
    int8 = to_int8(model, [{"x": np.ones((4, 32), np.float32)}])
    work = work_of(int8)
    assert (work.float_flop, work.int8_flop) == (0, 2 * 4 * 32 * 16)
    assert work.bytes < work_of(model).bytes - 2 * 32 * 16  # weights are a quarter


def test_network_is_as_torch_counts_it() -> None:
    layers = [
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.GELU(),
        nn.ConvTranspose2d(8, 4, 2, 2),
        nn.Flatten(2),
        nn.Linear(256, 5),
    ]
    module = nn.Sequential(*layers).eval()
    image = torch.zeros(1, 3, 16, 16)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        answer = module(image)
    traced = trace_module("network", module, {"image": image}, {"y": answer}, {})
    assert work_of(traced.model).flop == counter.get_total_flops()


def test_shapes_that_are_unknown_are_an_error() -> None:
    model = graph_of("MatMul", ("rows", 3), (3, 7), ("rows", 7))  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="static shapes"):
        work_of(onnx.load_from_string(model.SerializeToString()))
