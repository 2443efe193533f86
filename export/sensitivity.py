"""Which int8 layers cost most, and how one is returned to float.

A layer here is one product with constant weights: a node of the quantised graph, which has the name that it
has in the float one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx

from argus_edge.export.precision import int8_products
from argus_edge.export.rewrite import copied
from argus_edge.export.rounding import keep_from_others

__all__ = ["Layer", "layers_of", "rank_layers", "return_to_float", "without"]

Graphs = Mapping[str, onnx.ModelProto]  # component -> graph


@dataclass(frozen=True)
class Layer:
    """One quantised product of one component."""

    component: str
    name: str


def layers_of(quantised: Graphs, components: Collection[str] | None = None) -> list[Layer]:
    """The int8 layers of some components, or of all, in the order of the graphs."""
    return [
        Layer(component, name)
        for component, graph in quantised.items()
        if components is None or component in components
        for name in int8_products(graph)
    ]


def rank_layers(
    layers: Sequence[Layer],
    quantised: Graphs,
    original: Graphs,
    effect: Callable[[str, onnx.ModelProto], float],
    advance: Callable[[], None] = lambda: None,
) -> list[Layer]:
    """The layers, those first that do most harm when they alone are in int8 and all the rest is in float.

    Alone, because then one bad layer does not hide the others. One run of the graph for each layer is what
    it costs, as would the other way round.

    Args:
        layers: to be ranked.
        quantised: the graphs with their int8 layers, by component.
        original: the same in float.
        effect: (component, its graph with one int8 layer) -> noise that it makes, more is worse.
        advance: called after every layer.
    """
    noise = {}
    for layer in layers:
        graph = quantised[layer.component]
        others = set(int8_products(graph)) - {layer.name}
        noise[layer] = effect(layer.component, return_to_float(graph, original[layer.component], others))
        advance()
    return sorted(layers, key=lambda layer: noise[layer], reverse=True)


def without(quantised: Graphs, original: Graphs, layers: Collection[Layer]) -> dict[str, onnx.ModelProto]:
    """The quantised graphs with some layers returned to float."""
    graphs = dict(quantised)
    for component in {layer.component for layer in layers}:
        names = {layer.name for layer in layers if layer.component == component}
        graphs[component] = return_to_float(quantised[component], original[component], names)
    return graphs


def return_to_float(
    quantised: onnx.ModelProto, original: onnx.ModelProto, names: Collection[str]
) -> onnx.ModelProto:
    """A copy of a Q/DQ graph in which the products `names` are as in the graph it was made from.

    What they read is rounded no more, unless it is for another int8 product that reads it, too.
    """
    model = copied(quantised)
    float_nodes = {node.name: node for node in original.graph.node}
    own = set(int8_products(model)) & set(names)
    constants = set()
    for node in model.graph.node:
        if node.name in own:
            data, result = node.input[0], node.output[0]
            node.CopyFrom(float_nodes[node.name])
            node.input[0], node.output[0] = data, result
            constants |= set(node.input[1:])
    _bring_back(model.graph, [t for t in original.graph.initializer if t.name in constants])
    keep_from_others(model.graph)
    return model


def _bring_back(graph: onnx.GraphProto, constants: Sequence[onnx.TensorProto]) -> None:
    """Have these among the graph's constants. A bias has its name in int8 too, as what comes of int32."""
    names = {tensor.name for tensor in constants}
    for index in reversed(range(len(graph.node))):
        if not names.isdisjoint(graph.node[index].output):
            del graph.node[index]
    there = {tensor.name for tensor in graph.initializer}
    graph.initializer.extend(tensor for tensor in constants if tensor.name not in there)
