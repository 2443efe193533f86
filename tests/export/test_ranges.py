"""Activations and their grids, on a graph whose numbers are known."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from argus_edge.export import ranges
from argus_edge.export.precision import to_int8
from argus_edge.export.ranges import BINS, Grid, activation_ranges, grids


def two_products() -> onnx.ModelProto:
    """x -> first -> second; one column of the first is 1000 times larger than the rest."""
    random = np.random.default_rng(0)
    first, second = (random.standard_normal((8, 8)).astype(np.float32) for _ in range(2))
    first[:, 0] *= 1000
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "a"], ["middle"], "first/MatMul"),
            helper.make_node("MatMul", ["middle", "b"], ["y"], "second/MatMul"),
        ],
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 8])],
        [numpy_helper.from_array(first, "a"), numpy_helper.from_array(second, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def samples(count: int = 6) -> Iterator[dict[str, NDArray[np.float32]]]:
    random = np.random.default_rng(1)
    for _ in range(count):
        yield {"x": random.standard_normal((4, 8)).astype(np.float32)}


def test_the_worst_layer_comes_first() -> None:
    graph = two_products()
    found = activation_ranges(graph, to_int8(graph, samples()), samples())
    layers = {each.grid.tensor: each.grid.layer for each in found}
    assert layers == {"x": "first/MatMul", "middle": "second/MatMul"}
    assert [each.sqnr_db for each in found] == sorted(each.sqnr_db for each in found)
    for each in found:
        assert sum(each.counts) == 6 * 4 * 8
        assert len(each.counts) == BINS
        assert each.clipped == 0  # MinMax calibration on these very images
        assert each.edges[0] < each.grid.limits[0] < each.grid.limits[1] < each.edges[1]


def test_sqnr_is_that_of_rounding() -> None:
    graph = two_products()
    quantised = to_int8(graph, samples())
    x = np.concatenate([sample["x"] for sample in samples()]).astype(np.float64)
    (grid,) = [each for each in grids(quantised) if each.tensor == "x"]
    noise = grid.rounded(x) - x
    expected = 10 * math.log10((x**2).sum() / (noise**2).sum())
    (found,) = [each for each in activation_ranges(graph, quantised, samples()) if each.grid.tensor == "x"]
    assert found.sqnr_db == pytest.approx(expected, abs=1e-6)
    assert 35 < found.sqnr_db < 60  # 8 bits


def test_what_lies_outside_is_clipped() -> None:
    grid = Grid("x", "layer", 0.5, 128, 0, 255)
    assert grid.limits == (-64.0, 63.5)
    np.testing.assert_allclose(grid.rounded(np.array([-100.0, 0.2, 0.3, 100.0])), [-64, 0, 0.5, 63.5])
    graph = two_products()
    quantised = to_int8(graph, samples())
    louder = [{"x": 10 * sample["x"]} for sample in samples()]
    (found,) = [each for each in activation_ranges(graph, quantised, louder) if each.grid.tensor == "x"]
    assert 0.2 < found.clipped < 1
    assert found.counts[0] + found.counts[-1] > 0


def test_of_large_activations_some_values_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = two_products()
    quantised = to_int8(graph, samples())
    every = {each.grid.tensor: each for each in activation_ranges(graph, quantised, samples())}
    monkeypatch.setattr(ranges, "MOST_VALUES", 8)  # of 32: the distance would be 4, and is 5
    some = {each.grid.tensor: each for each in activation_ranges(graph, quantised, samples())}
    assert {sum(each.counts) for each in some.values()} == {6 * 7}
    for tensor, each in some.items():
        assert each.sqnr_db == pytest.approx(every[tensor].sqnr_db, abs=6)
