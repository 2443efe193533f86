"""The gate on small graphs: the layer that int8 breaks is found and returned to float."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from argus_edge.export.engines import opened
from argus_edge.export.gate import Loss, as_json, hold_gate, missed, missed_by
from argus_edge.export.precision import int8_products, to_int8
from argus_edge.export.sensitivity import Layer, layers_of, rank_layers, return_to_float
from argus_edge.spec import TensorSpec

IMAGE = TensorSpec("x", "float32", (1, 4, 16, 16), "NCHW")
OUTPUT = TensorSpec("y", "float32", (1, 4, 16, 16), "NCHW")
LAYERS = 5
BROKEN = "layers.2/Conv"
Graphs = Mapping[str, onnx.ModelProto]


@pytest.fixture(scope="module")
def original(new_graph: type[Any]) -> onnx.ModelProto:
    """Five convolutions of four channels. Before the third one channel becomes 1000 times larger than the
    others, which it takes back: with one scale for all channels, int8 leaves nothing of the others.
    """
    g = new_graph()
    rng = np.random.default_rng(0)
    large = np.array([1000, 1, 1, 1], np.float32)
    x = "x"
    for index in range(LAYERS):
        weights = rng.normal(0, 0.5, (4, 4, 1, 1)).astype(np.float32)
        if index == 2:
            x = g.add("Mul", x, g.constant(large.reshape(1, 4, 1, 1)))
            weights /= large.reshape(1, 4, 1, 1)
            weights[:, 0] *= 0.01
        bias = g.constant(rng.normal(0, 0.1, 4))
        x = g.add("Conv", x, g.constant(weights), bias, output="y" if index == LAYERS - 1 else None)
        g.nodes[-1].name = f"layers.{index}/Conv"
        if index < LAYERS - 1:
            x = g.add("Tanh", x)
    return onnx.load_from_string(g.model((IMAGE,), (OUTPUT,)))


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return [rng.normal(0, 1, IMAGE.shape).astype(np.float32) for _ in range(4)]


@pytest.fixture(scope="module")
def quantised(original: onnx.ModelProto, images: list[NDArray[np.float32]]) -> onnx.ModelProto:
    graph = to_int8(original, ({"x": image} for image in images))
    assert int8_products(graph) == [f"layers.{index}/Conv" for index in range(LAYERS)]
    return graph


Noise = Callable[[onnx.ModelProto], float]


@pytest.fixture(scope="module")
def noise(
    original: onnx.ModelProto, images: list[NDArray[np.float32]], tmp_path_factory: pytest.TempPathFactory
) -> Noise:
    """What a graph's answers are off by, on ONNX Runtime."""
    folder = tmp_path_factory.mktemp("graphs")

    def answers(graph: onnx.ModelProto) -> NDArray[np.float32]:
        with opened("onnxruntime", graph, "int8", folder) as engine:
            return np.stack([engine.run({"x": image})["y"] for image in images])

    expected = answers(original)
    return lambda graph: float(np.linalg.norm(answers(graph) - expected) / np.linalg.norm(expected))


def loss_of(value: float, limit: float) -> dict[str, Loss]:
    return {"depth": Loss(value, limit, "noise by signal", "onnxruntime")}


def test_the_broken_layer_is_found_and_the_gate_then_holds(
    original: onnx.ModelProto, quantised: onnx.ModelProto, noise: Noise
) -> None:
    with_one_bad, limit = noise(quantised), 0.1
    assert with_one_bad > 0.3

    def rank(tasks: Sequence[str]) -> list[Layer]:
        assert list(tasks) == ["depth"]
        graphs = {"net": quantised}
        return rank_layers(layers_of(graphs), graphs, {"net": original}, lambda _, graph: noise(graph))

    outcome = hold_gate(
        {"net": quantised},
        {"net": original},
        lambda graphs: loss_of(noise(graphs["net"]), limit),
        rank,
    )
    assert outcome.returned == (Layer("net", BROKEN),)
    assert outcome.before["depth"].loss == pytest.approx(with_one_bad)
    assert not missed(outcome.after)
    left = int8_products(outcome.graphs["net"])
    assert left == [name for name in int8_products(quantised) if name != BROKEN]
    onnx.checker.check_model(outcome.graphs["net"], full_check=True)


def test_returning_all_layers_gives_the_original_and_none_the_same(
    original: onnx.ModelProto, quantised: onnx.ModelProto, noise: Noise
) -> None:
    everything = return_to_float(quantised, original, set(int8_products(quantised)))
    assert noise(everything) == 0
    assert {node.op_type for node in everything.graph.node} == {n.op_type for n in original.graph.node}
    constants = {tensor.name for tensor in original.graph.initializer}
    assert {tensor.name for tensor in everything.graph.initializer} == constants
    nothing = return_to_float(quantised, original, ())
    assert noise(nothing) == noise(quantised)


def test_layers_that_share_their_weights_are_returned_one_by_one(
    new_graph: type[Any], images: list[NDArray[np.float32]], tmp_path: Path
) -> None:
    """As the depthwise convolution of the adapter's three levels."""
    g = new_graph()
    weights, bias = g.weights(4, 4, 1, 1), g.constant(np.linspace(-0.2, 0.2, 4))
    middle = g.add("Tanh", g.add("Conv", "x", weights, bias))
    g.add("Conv", middle, weights, bias, output="y")
    for index in (0, 2):
        g.nodes[index].name = f"shared.{index}/Conv"
    model = onnx.load_from_string(g.model((IMAGE,), (OUTPUT,)))
    graph = to_int8(model, ({"x": image} for image in images))
    assert int8_products(graph) == ["shared.0/Conv", "shared.2/Conv"]
    answers = []
    for names in ((), ("shared.0/Conv",), ("shared.2/Conv",), ("shared.0/Conv", "shared.2/Conv")):
        returned = return_to_float(graph, model, names)
        assert set(int8_products(returned)) == set(int8_products(graph)) - set(names)
        with opened("onnxruntime", returned, "int8", tmp_path) as engine:
            answers.append(engine.run({"x": images[0]})["y"])
    with opened("onnxruntime", model, "fp32", tmp_path) as engine:
        expected = engine.run({"x": images[0]})["y"]
    off = [float(np.linalg.norm(answer - expected)) for answer in answers]
    assert off[3] == 0
    assert 0 < max(off[1:3]) <= off[0] * 1.5


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_one_layer_alone_in_int8_runs_on_both_engines(
    engine: str,
    original: onnx.ModelProto,
    quantised: onnx.ModelProto,
    images: list[NDArray[np.float32]],
    tmp_path: Path,
) -> None:
    for name in ("layers.0/Conv", f"layers.{LAYERS - 1}/Conv"):  # those at the graph's ends
        alone = return_to_float(quantised, original, set(int8_products(quantised)) - {name})
        assert int8_products(alone) == [name]
        answers = []
        for graph in (original, alone):
            with opened(engine, graph, "int8", tmp_path) as opened_graph:
                answers.append(opened_graph.run({"x": images[0]})["y"].copy())
        assert 0 < np.abs(answers[1] - answers[0]).max() < 0.1 * np.abs(answers[0]).max()


def test_layers_are_doubled_and_then_halved(original: onnx.ModelProto, quantised: onnx.ModelProto) -> None:
    """Three layers are needed: 1, 2 and 4 are tried, and then 3."""
    ranked = layers_of({"net": quantised})
    tried: list[int] = []

    def measure(graphs: Graphs) -> dict[str, Loss]:
        tried.append(LAYERS - len(int8_products(graphs["net"])))
        return loss_of(0.0 if tried[-1] >= 3 else 0.5, 0.1)

    outcome = hold_gate({"net": quantised}, {"net": original}, measure, lambda _: ranked)
    assert tried == [0, 1, 2, 4, 3]
    assert outcome.returned == tuple(ranked[:3])
    assert len(int8_products(outcome.graphs["net"])) == LAYERS - 3


def test_a_gate_that_cannot_hold_returns_all_and_says_by_how_much(
    original: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    ranked = layers_of({"net": quantised})
    found = {
        "det": Loss(0.0323, 0.01, "AP", "openvino", 0.3, 0.2903),
        "seg": Loss(0.0, 0.01, "mIoU", "openvino", 0.5, 0.5),
        "depth": Loss(math.nan, 0.1, "noise by signal, as amplitudes", "onnxruntime"),
    }
    outcome = hold_gate({"net": quantised}, {"net": original}, lambda _: found, lambda _: ranked)
    assert outcome.returned == tuple(ranked)
    assert missed(outcome.after) == ["det", "depth"]
    assert missed_by(outcome.after).startswith(
        "det loses 3.23 % of its AP on openvino (0.3000 to 0.2903), at most 1 %; depth (noise"
    )
    rows = as_json(found)
    assert isinstance(rows, dict)
    assert rows["seg"] == {
        "figure": "mIoU", "engine": "openvino", "holds": True, "fp32": 0.5, "value": 0.5, "loss": 0.0,
        "limit": 0.01,
    }  # fmt: skip


def test_where_nothing_is_missed_nothing_is_ranked(
    original: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    def rank(_: Sequence[str]) -> list[Layer]:
        raise AssertionError("ranking takes minutes")

    outcome = hold_gate({"net": quantised}, {"net": original}, lambda _: loss_of(0.05, 0.1), rank)
    assert outcome.graphs["net"] is quantised
    assert not outcome.returned
