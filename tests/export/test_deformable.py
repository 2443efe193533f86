"""Deformable attention as the exporter writes it, and our operation for OpenVINO in its place."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from argus_edge.export import parity
from argus_edge.export.trace import trace_module
from argus_edge.package import ModelPackage
from argus_edge.runtime.commands import doctor
from argus_edge.runtime.engines import (
    choose_engine,
    engine_status,
    open_engine,
    openvino_engine,
    openvino_ops,
)
from argus_edge.spec import Precision
from argus_edge.train.model.deformable import sample_values

STATUS = engine_status("openvino")
pytestmark = [
    pytest.mark.openvino,
    pytest.mark.skipif(
        not STATUS.available or STATUS.note is not None, reason=f"{STATUS.reason or STATUS.note}"
    ),
]
Shapes = tuple[tuple[int, int], ...]
Array = NDArray[Any]


class Sampling(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.shapes = shapes

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return sample_values(value, self.shapes, locations, weights)


@dataclass(frozen=True)
class Traced:
    file: Path
    inputs: dict[str, Array]
    wanted: Array  # what torch answers, in double precision


def trace(shapes: Shapes, folder: Path) -> Traced:
    """The core by itself for two images, with places inside, at the rim and beyond."""
    generator = torch.Generator().manual_seed(0)
    cells, form = sum(h * w for h, w in shapes), (2, 37, 3, len(shapes), 4)
    locations = torch.rand(*form, 2, generator=generator) * 1.8 - 0.4
    corners = torch.tensor([[0.0, 0], [1, 1], [0, 1], [-50, 0.5], [0.5, 50], [1e6, -1e6], [0.5, 0.5]])
    locations.view(-1, 2)[: len(corners)] = corners
    inputs = {
        "value": torch.randn(2, cells, 3, 13, generator=generator),
        "locations": locations,
        "weights": torch.rand(*form, generator=generator),
    }
    module = Sampling(shapes)
    wanted = module(*(tensor.double() for tensor in inputs.values()))
    layouts = {"value": "NKMC", "locations": "NQMLPX", "weights": "NQMLP", "sampled": "NQC"}
    file = folder / "model.onnx"
    onnx.save(trace_module("sampling", module, inputs, {"sampled": wanted}, layouts).model, file)
    return Traced(file, {name: tensor.numpy() for name, tensor in inputs.items()}, wanted.numpy())


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    return trace(((6, 5), (3, 4), (1, 1)), tmp_path_factory.mktemp("levels"))


@pytest.fixture(scope="module")
def level(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    return trace(((5, 7),), tmp_path_factory.mktemp("level"))


def run(
    file: Path,
    inputs: dict[str, Array],
    precision: Precision = "fp32",
    threads: int = 1,
    engine: str = "openvino",
) -> dict[str, Array]:
    opened = open_engine(engine, file, threads=threads, precision=precision)
    outputs = {name: np.array(values) for name, values in opened.run(inputs).items()}
    opened.close()
    return outputs


def replaced(file: Path) -> tuple[int, int]:
    """How many nodes of ours a graph gets, and how many GridSamples stay."""
    model = openvino_engine._core().read_model(file)
    count = openvino_ops.replace_samplings(model, openvino_engine.create_operation())
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert kinds.count(openvino_ops.OPERATION) == count
    return count, kinds.count("GridSample")


@contextlib.contextmanager
def library_in(folder: Path) -> Iterator[None]:
    """As if the build had put the library there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_ops, "FOLDER", folder)
        yield


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("fixture", ["level", "levels"])
def test_operation_answers_as_torch(fixture: str, threads: int, request: pytest.FixtureRequest) -> None:
    traced: Traced = request.getfixturevalue(fixture)
    assert replaced(traced.file) == (1, 0)
    answer = run(traced.file, traced.inputs, threads=threads)["sampled"]
    np.testing.assert_allclose(answer, traced.wanted, atol=1e-5)


def make_library(folder: Path, kind: str) -> None:
    assert STATUS.version is not None
    name = openvino_ops.LIBRARY.format(STATUS.version)
    if kind == "other version":
        shutil.copy(openvino_ops.FOLDER / name, folder / openvino_ops.LIBRARY.format("2020.1.0"))
    elif kind == "broken":
        (folder / name).write_text("not a library")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"is not built, and OpenVINO is \d"),
        ("other version", r"is built for OpenVINO 2020\.1\.0, and OpenVINO is \d"),
        ("broken", "does not load"),
    ],
)
def test_without_a_fitting_library_gridsample_serves_and_a_line_tells_why(
    levels: Traced, kind: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_library(tmp_path, kind)
    with library_in(tmp_path):
        status, why = choose_engine("openvino")
        answer = run(levels.file, levels.inputs)["sampled"]
        assert doctor.run([]) == 0
    assert status.available
    np.testing.assert_allclose(answer, levels.wanted, atol=1e-5)
    (line,) = why
    assert re.search(f"^openvino: deformable attention is slower .*{message}", line)
    assert "\n" not in line
    assert line.removeprefix("openvino: ") in capsys.readouterr().out
    assert choose_engine("openvino")[1] == ()


def _other_corners(nodes: dict[str, onnx.NodeProto]) -> None:
    (corners,) = (a for a in nodes["GridSample_10"].attribute if a.name == "align_corners")
    corners.i = 1


def _border(nodes: dict[str, onnx.NodeProto]) -> None:
    (padding,) = (a for a in nodes["GridSample_17"].attribute if a.name == "padding_mode")
    padding.s = b"border"


def _weights_of_another_level(nodes: dict[str, onnx.NodeProto]) -> None:
    first, second = nodes["Gather_11"], nodes["Gather_18"]
    first.input[1], second.input[1] = second.input[1], first.input[1]


def _one_level_left_out(nodes: dict[str, onnx.NodeProto]) -> None:
    nodes["Reshape_30"].input[0] = nodes["Add_21"].output[0]


def _one_level_twice(nodes: dict[str, onnx.NodeProto]) -> None:
    nodes["Add_29"].input[1] = nodes["ReduceSum_20"].output[0]


def _no_product(nodes: dict[str, onnx.NodeProto]) -> None:
    nodes["Mul_12"].op_type = "Max"


def _no_sum(nodes: dict[str, onnx.NodeProto]) -> None:
    nodes["Add_29"].op_type = "Sub"


@pytest.mark.parametrize(
    "edit",
    [
        _other_corners,
        _border,
        _weights_of_another_level,
        _one_level_left_out,
        _one_level_twice,
        _no_product,
        _no_sum,
    ],
)
def test_what_is_not_quite_deformable_attention_stays(
    levels: Traced, edit: Callable[[dict[str, onnx.NodeProto]], None], tmp_path: Path
) -> None:
    model = onnx.load(levels.file)
    edit({node.name.rpartition("/")[2]: node for node in model.graph.node})
    file = tmp_path / "edited.onnx"
    onnx.save(model, file)
    assert replaced(file)[0] == 0
    answer = run(file, levels.inputs)["sampled"]
    assert np.abs(answer - levels.wanted).max() > 0.01  # the change matters
    reference = run(file, levels.inputs, engine="onnxruntime")["sampled"]
    np.testing.assert_allclose(answer, reference, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("component", ["backbone", "det"])
def test_nano_answers_the_same_with_it(
    exported: ModelPackage, component: str, precision: Precision, tmp_path: Path
) -> None:
    file = exported.model_file(component, precision)
    count, left = replaced(file)
    assert (count, left) == ({"backbone": 10, "det": 5}[component], 0)
    random = np.random.default_rng(0)
    inputs = {
        tensor.name: random.integers(0, 256, tensor.shape, np.uint8)
        if tensor.dtype == "uint8"
        else random.normal(size=tensor.shape).astype(np.float32)
        for tensor in exported.spec.components[component].inputs
    }
    with_it = run(file, inputs, precision)
    with library_in(tmp_path):
        without = run(file, inputs, precision)
    for name, deviation in parity.compare([without], [with_it], precision).items():
        assert deviation.error <= (1e-5 if precision == "fp32" else 0.1), name
