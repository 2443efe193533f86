"""Bilinear sampling spelled with Gather answers as GridSample does, inside, at the rim and beyond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional

from argus_edge.export.sampling import find_samplings, spell_samplings
from argus_edge.runtime.engines import open_engine

VALUES, GRID = (3, 5, 6, 9), (3, 7, 4, 2)


def model_of(
    values: tuple[int, ...] = VALUES, grid: tuple[int, ...] = GRID, **attributes: Any
) -> onnx.ModelProto:
    outcome = (values[0], values[1], *grid[1:3])
    graph = helper.make_graph(
        [helper.make_node("GridSample", ["values", "grid"], ["y"], "attention/GridSample_7", **attributes)],
        "test",
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, values),
            helper.make_tensor_value_info("grid", TensorProto.FLOAT, grid),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, outcome)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("values", "grid"), [(VALUES, GRID), ((1, 32, 20, 20), (1, 300, 4, 2)), ((2, 1, 1, 1), GRID)]
)
def test_gather_answers_as_torch(
    engine: str, values: tuple[int, ...], grid: tuple[int, ...], tmp_path: Path
) -> None:
    grid = (values[0], *grid[1:])
    model = model_of(values, grid)
    assert spell_samplings(model, "gather") == 1
    onnx.checker.check_model(model, full_check=True)
    assert "GridSample" not in {node.op_type for node in model.graph.node}
    assert all(node.name.startswith("attention/") for node in model.graph.node)
    rng = np.random.default_rng(0)
    inputs = {
        "values": rng.normal(size=values).astype(np.float32),
        "grid": rng.uniform(-1.6, 1.6, grid).astype(np.float32),
    }
    corners = np.array([[-1, -1], [1, 1], [-1, 1], [-50, 0], [0, 50], [1e6, -1e6], [0, 0]], np.float32)
    inputs["grid"][0].reshape(-1, 2)[: len(corners)] = corners
    file = tmp_path / "model.onnx"
    onnx.save(model, file)
    opened = open_engine(engine, file, threads=1, precision="fp32")
    answer = np.array(opened.run(inputs)["y"])
    opened.close()
    exact_values, exact_grid = (torch.from_numpy(inputs[name]).double() for name in ("values", "grid"))
    wanted = functional.grid_sample(exact_values, exact_grid, align_corners=False).numpy()
    np.testing.assert_allclose(answer, wanted, atol=1e-5)


def test_gridsample_stays_where_it_serves() -> None:
    model = model_of()
    before = model.SerializeToString(deterministic=True)
    assert spell_samplings(model, "gridsample") == 1
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("other", [{"mode": "nearest"}, {"padding_mode": "border"}, {"align_corners": 1}])
def test_sampling_of_another_kind_is_passed_over(other: dict[str, Any]) -> None:
    model = model_of(**other)
    assert find_samplings(model) == []
    assert spell_samplings(model, "gather") == 0
    assert [node.op_type for node in model.graph.node] == ["GridSample"]
