"""What OpenVINO is given in the place of regions, ArgMax and features; its answers stay what they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from argus_edge.export.precision import to_fp16
from argus_edge.export.trace import Graph, trace_decoder, trace_module
from argus_edge.runtime.engines import engine_status, open_engine, openvino_engine
from argus_edge.runtime.engines.openvino_argmax import MOST, spell_argmax
from argus_edge.runtime.engines.openvino_layout import channels_first, channels_last
from argus_edge.runtime.engines.openvino_ops import OPERATION
from argus_edge.runtime.engines.openvino_regions import replace_regions
from argus_edge.spec import Precision, TensorSpec
from argus_edge.train.model.decoders.dpt import DPTPose
from argus_edge.train.model.roi import STRIDES, PoseOnRegions

STATUS = engine_status("openvino")
pytestmark = [
    pytest.mark.openvino,
    pytest.mark.skipif(not STATUS.available, reason=f"{STATUS.reason}"),
]
Array = NDArray[Any]
CHANNELS, PERSONS = 8, 3


def kinds_after(file: Path, change: Callable[[Any, Any], object]) -> list[str]:
    """The operations of a graph after `change` of the model, which is given what makes constants as well."""
    from openvino.op import Constant

    model = openvino_engine._core().read_model(file)
    change(model, Constant)
    return [node.get_type_name() for node in model.get_ops()]


def run(file: Path, inputs: dict[str, Array], engine: str, precision: Precision = "fp32") -> Array:
    opened = open_engine(engine, file, threads=1, precision=precision)
    (answer,) = (np.array(values) for values in opened.run(inputs).values())
    opened.close()
    return answer


def pose(samples: int) -> onnx.ModelProto:
    """A small decoder of poses, on regions of maps of an image of 96 px."""
    torch.manual_seed(0)
    decoder = DPTPose(CHANNELS, 8, hidden=4)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.2)
    maps = tuple(
        TensorSpec(f"f{level}", "float32", (1, CHANNELS, 96 // stride, 64 // stride), "NCHW")
        for level, stride in enumerate(STRIDES)
    )
    head = PoseOnRegions(decoder, size=(64, 32), samples=samples)
    return trace_decoder("pose", head, Graph(onnx.ModelProto(), (), maps), PERSONS).model


def pose_inputs() -> dict[str, Array]:
    random = np.random.default_rng(0)
    inputs = {
        f"f{level}": random.normal(size=(1, CHANNELS, 96 // stride, 64 // stride)).astype(np.float32)
        for level, stride in enumerate(STRIDES)
    }
    inside, partly, outside = [0.2, 0.1, 0.6, 0.9], [-0.3, 0.5, 0.4, 1.4], [2.0, 2.0, 3.0, 3.0]
    return {**inputs, "persons": np.array([inside, partly, outside], np.float32)}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_regions_are_cut_by_our_operation(precision: Precision, tmp_path: Path) -> None:
    graph = pose(samples=1)
    onnx.save(graph if precision == "fp32" else to_fp16(graph), tmp_path / "pose.onnx")
    make = openvino_engine.create_operation()
    kinds = kinds_after(
        tmp_path / "pose.onnx", lambda model, constant: replace_regions(model, make, constant)
    )
    assert (kinds.count(OPERATION), kinds.count("GridSample")) == (4, 0)
    answer = run(tmp_path / "pose.onnx", pose_inputs(), "openvino", precision)
    wanted = run(tmp_path / "pose.onnx", pose_inputs(), "onnxruntime", precision)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(answer, wanted, atol=1e-4 if precision == "fp32" else 0.02)


def test_regions_of_several_reads_a_cell_stay(tmp_path: Path) -> None:
    onnx.save(pose(samples=2), tmp_path / "pose.onnx")
    make = openvino_engine.create_operation()
    kinds = kinds_after(
        tmp_path / "pose.onnx", lambda model, constant: replace_regions(model, make, constant)
    )
    assert (kinds.count(OPERATION), kinds.count("GridSample")) == (0, 4)


class Handed(nn.Module):
    """A map, and what is made of it: one that is no feature, as its name says."""

    def forward(self, image: Tensor, f1: Tensor) -> tuple[Tensor, Tensor]:
        return image.mean(3).unsqueeze(1) + f1, f1.amax(1, keepdim=True)


def test_features_go_through_with_their_channels_last(tmp_path: Path) -> None:
    inputs = {"image": torch.rand(1, 4, 6, 3), "f1": torch.rand(1, 5, 4, 6)}
    f0, masks = Handed()(*inputs.values())
    graph = trace_module("handed", Handed(), inputs, {"f0": f0, "masks": masks}, {"image": "NHWC"}).model
    onnx.save(graph, tmp_path / "handed.onnx")
    engine = open_engine("openvino", tmp_path / "handed.onnx", threads=1, precision="fp32")
    for f1 in (inputs["f1"].numpy(), channels_first(channels_last(inputs["f1"].numpy()))):
        answers = engine.run({"image": inputs["image"].numpy(), "f1": f1})
        np.testing.assert_allclose(answers["f0"], f0.numpy(), atol=1e-6)
        np.testing.assert_array_equal(answers["masks"], masks.numpy())
        assert answers["masks"].flags.c_contiguous
        assert np.shares_memory(channels_last(answers["f0"]), answers["f0"])  # no decoder copies it
    engine.close()


def argmax(file: Path, shape: tuple[int, ...], **attributes: Any) -> list[str]:
    """Write a graph of one ArgMax; returns the operations that OpenVINO has in its place."""
    node = helper.make_node("ArgMax", ["x"], ["y"], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), file)
    from openvino.utils.node_factory import NodeFactory

    make = NodeFactory().create
    return kinds_after(file, lambda model, constant: spell_argmax(model, make, constant))


@pytest.mark.parametrize(
    ("shape", "axis", "keepdims"),
    [((1, 9, 6, 5), 1, 0), ((2, 7, 3), -1, 1), ((4, MOST), 1, 0), ((5, 3), 0, 1), ((1, 1, 4), 1, 0)],
)
def test_the_greatest_is_the_first_of_equals(
    shape: tuple[int, ...], axis: int, keepdims: int, tmp_path: Path
) -> None:
    kinds = argmax(tmp_path / "argmax.onnx", shape, axis=axis, keepdims=keepdims)
    assert "TopK" not in kinds
    values = np.random.default_rng(0).integers(0, 4, shape).astype(np.float32)  # many are equal
    for x in (values, np.full(shape, -1e38, np.float32), np.where(values > 2, np.inf, values)):
        answer = run(tmp_path / "argmax.onnx", {"x": x.astype(np.float32)}, "openvino")
        np.testing.assert_array_equal(answer, np.argmax(x, axis, keepdims=bool(keepdims)))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_what_is_no_number_gives_a_place_that_there_is(value: float, tmp_path: Path) -> None:
    argmax(tmp_path / "argmax.onnx", (1, 9, 2), axis=1, keepdims=0)
    answer = run(tmp_path / "argmax.onnx", {"x": np.full((1, 9, 2), value, np.float32)}, "openvino")
    assert ((answer >= 0) & (answer < 9)).all()


def test_the_last_of_equals_is_given_where_that_is_asked_for(tmp_path: Path) -> None:
    argmax(tmp_path / "argmax.onnx", (1, 9, 2), axis=1, keepdims=0, select_last_index=1)
    x = np.random.default_rng(0).integers(0, 4, (1, 9, 2)).astype(np.float32)
    wanted = 8 - np.argmax(x[:, ::-1], axis=1)
    np.testing.assert_array_equal(run(tmp_path / "argmax.onnx", {"x": x}, "openvino"), wanted)


def test_more_places_than_bfloat16_tells_apart_stay_a_sort(tmp_path: Path) -> None:
    assert "TopK" in argmax(tmp_path / "argmax.onnx", (1, MOST + 1, 2), axis=1, keepdims=0)
