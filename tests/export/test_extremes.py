"""Ranges of activations over a calibration set, against numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from argus_edge.export.extremes import extremes
from argus_edge.runtime.engines import Array

SHAPE = (1, 3, 5)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """squared = x * x; y = squared - x, of which nobody asked for the range."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["squared"], "square"),
        helper.make_node("Sub", ["squared", "x"], ["y"], "less"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy")
    graph = helper.make_graph(nodes, "small", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture(scope="module")
def values() -> Array:
    return np.random.default_rng(0).standard_normal((7, *SHAPE)).astype(np.float32)


def samples(values: Array) -> Iterator[dict[str, Array]]:
    yield from ({"x": each} for each in values)


def test_over_all_samples(model: onnx.ModelProto, values: Array) -> None:
    found = extremes(model, ["x", "squared"], samples(values))
    assert found["x"] == (values.min(), values.max())
    squared = values * values
    assert found["squared"] == (squared.min(), squared.max())
    assert [output.name for output in model.graph.output] == ["y"]


def test_what_is_no_number_is_passed_over(model: onnx.ModelProto, values: Array) -> None:
    spoilt = np.concatenate([np.full((1, *SHAPE), np.nan, np.float32), values])
    assert extremes(model, ["x"], samples(spoilt))["x"] == (values.min(), values.max())


def test_nothing_to_watch_runs_nothing(model: onnx.ModelProto) -> None:
    assert extremes(model, [], iter(())) == {}
