"""Products in int8 as export writes them, and the convolutions that OpenVINO is given in their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from argus_edge.export.precision import to_int8
from argus_edge.export.trace import trace_module
from argus_edge.runtime.engines import engine_status, open_engine, openvino_engine
from argus_edge.runtime.engines.openvino_products import spell_products
from argus_edge.runtime.machine import this_machine

STATUS = engine_status("openvino")
pytestmark = [
    pytest.mark.openvino,
    pytest.mark.skipif(not STATUS.available, reason=f"{STATUS.reason}"),
]
Array = NDArray[Any]
ROWS, CHANNELS = 11, 8


class Block(nn.Module):
    """Four products of rows with weights, one of them without a bias, and one of rows with rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(CHANNELS, 24)
        self.query = nn.Linear(24, CHANNELS, bias=False)
        self.key = nn.Linear(24, CHANNELS)
        self.last = nn.Linear(ROWS, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.first(x))
        scores: Tensor = self.query(hidden) @ self.key(hidden).transpose(1, 2)
        answer: Tensor = self.last(scores)
        return answer


@pytest.fixture(scope="module", params=[1, 2], ids=["one image", "two images"])
def quantised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Array]:
    """An int8 graph, and what to run it on."""
    x = torch.randn(request.param, ROWS, CHANNELS, generator=torch.Generator().manual_seed(0))
    file = tmp_path_factory.mktemp("products") / "model.onnx"
    onnx.save(to_int8(traced(x), [{"x": x.numpy()}]), file)
    return file, x.numpy()


def traced(x: Tensor) -> onnx.ModelProto:
    torch.manual_seed(0)
    module = Block()
    layouts = {"x": "NRC", "y": "NRC"}
    return trace_module("block", module, {"x": x}, {"y": module(x)}, layouts).model


def replaced(file: Path) -> int:
    model = openvino_engine._core().read_model(file)
    from openvino.op import Constant
    from openvino.utils.node_factory import NodeFactory

    return spell_products(model, NodeFactory().create, Constant)


def answers(file: Path, x: Array) -> Array:
    engine = open_engine("openvino", file, threads=1, precision="int8")
    answer = np.array(engine.run({"x": x})["y"])
    engine.close()
    return answer


def test_answers_stay_what_they_were(quantised: tuple[Path, Array], monkeypatch: pytest.MonkeyPatch) -> None:
    file, x = quantised
    assert replaced(file) == 4
    found = []
    for features in (("avx2",), ("avx2", "avx_vnni"), ("asimddp",)):
        machine = replace(this_machine(), features=features)
        monkeypatch.setattr(openvino_engine, "this_machine", lambda machine=machine: machine)
        found.append(answers(file, x))
    as_convolutions, with_vnni, on_arm = found
    np.testing.assert_array_equal(with_vnni, on_arm)
    np.testing.assert_allclose(as_convolutions, with_vnni, rtol=1e-5, atol=1e-5)
    assert np.abs(with_vnni).max() > 0.1


def _zero_point(model: onnx.ModelProto) -> onnx.TensorProto:
    """That of the first weights."""
    constants: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = [node.input for node in model.graph.node if node.op_type == "DequantizeLinear"]
    return next(constants[zero] for levels, _, zero in inputs if levels in constants)


def test_weights_around_another_zero_stay(quantised: tuple[Path, Array], tmp_path: Path) -> None:
    model = onnx.load(quantised[0])
    zero = _zero_point(model)
    zero.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(zero) + np.int8(1), zero.name))
    onnx.save(model, tmp_path / "model.onnx")
    assert replaced(tmp_path / "model.onnx") == 3


def test_float_products_stay(quantised: tuple[Path, Array], tmp_path: Path) -> None:
    x = torch.from_numpy(quantised[1])
    onnx.save(traced(x), tmp_path / "model.onnx")
    assert replaced(tmp_path / "model.onnx") == 0
