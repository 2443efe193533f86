"""Pose on regions in half precision: persons stay where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from argus_edge.export.precision import to_fp16
from argus_edge.export.trace import Graph, trace_decoder
from argus_edge.runtime.engines import open_engine
from argus_edge.spec import TensorSpec
from argus_edge.train.model.decoders.dpt import DPTPose
from argus_edge.train.model.roi import PoseOnRegions

WIDTH, SIZE = 32, 96


@pytest.fixture(scope="module")
def traced() -> Graph:
    torch.manual_seed(0)
    decoder = DPTPose(WIDTH, 16)
    torch.nn.init.normal_(decoder.get_parameter("head.2.weight"), std=0.1)
    maps = tuple(
        TensorSpec(f"f{i}", "float32", (1, WIDTH, SIZE // s, SIZE // s), "NCHW")
        for i, s in enumerate((4, 8, 16, 32))
    )
    return trace_decoder("pose", PoseOnRegions(decoder), Graph(onnx.ModelProto(), (), maps), 2)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_half_precision_reads_the_same_places(traced: Graph, engine: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inputs = {t.name: rng.standard_normal(t.shape).astype(np.float32) for t in traced.inputs}
    inputs["persons"] = np.array([[0.11, 0.07, 0.43, 0.93], [0.5, 0.2, 0.9, 0.71]], np.float32)
    answers = []
    for precision, model in (("fp32", traced.model), ("fp16", to_fp16(traced.model))):
        file = tmp_path / f"{precision}.onnx"
        onnx.save(model, file)
        opened = open_engine(engine, file, threads=1, precision="fp16" if precision == "fp16" else "fp32")
        answers.append(opened.run(inputs)["heatmaps"].copy())
        opened.close()
    exact, half = answers
    assert np.abs(half - exact).max() < 0.05 * np.abs(exact).max()
