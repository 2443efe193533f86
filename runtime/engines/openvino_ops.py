"""Our own operation for OpenVINO, DeformableSampling: where its library is, and how it gets into a graph.

torch's exporter writes deformable attention as a GridSample for each level, products with the attention
and sums, between transpositions of everything to channels first and back. `replace_samplings` looks for just
that in a graph which OpenVINO has read, and puts one node in its place (native/openvino_ops.cpp) that reads
rows of channels where they lie. What it does not know in full stays as it is. Packages hold the portable
graph alone.

The library is built for one version of OpenVINO, which stands in its name (cmake/OpenVINOOps.cmake).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from argus_edge.errors import EngineMissingError

OPERATION: Final = "DeformableSampling"
FOLDER: Final = Path(__file__).parents[1]  # where the build puts the library
LIBRARY: Final = "_openvino_ops-{}.so"
FLOATS: Final = {"f16", "f32"}
GRID_SAMPLE: Final = {"align_corners": False, "mode": "bilinear", "padding_mode": "zeros"}

# OpenVINO's own: a node, one of its results, and what makes a node of a type, with inputs and attributes.
Node: TypeAlias = Any
Value: TypeAlias = Any
Create: TypeAlias = Callable[[str, Sequence[Value], Mapping[str, Any]], Node]


def ops_library(version: str) -> Path:
    """The library of our operations for OpenVINO `version`. Raises EngineMissingError where there is none."""
    library = FOLDER / LIBRARY.format(version)
    if library.is_file():
        return library
    before, after = LIBRARY.split("{}")
    built = sorted(path.name[len(before) : -len(after)] for path in FOLDER.glob(LIBRARY.format("*")))
    state = f"is built for OpenVINO {', '.join(built)}" if built else "is not built"
    raise EngineMissingError(
        f"our operation for it {state}, and OpenVINO is {version}; docs/openvino.md tells how to build it"
    )


def replace_samplings(model: Any, create: Create) -> int:
    """Put DeformableSampling wherever `model`, an openvino.Model, has the whole core of deformable attention.

    Returns how many it has put.
    """
    count = 0
    for node in model.get_ordered_ops():
        try:
            found = _match(node)
        except _OtherGraphError:
            continue
        inputs = [_converted(value, "f32", create) for value in (found.value, found.places, found.weights)]
        shapes = [side for shape in found.shapes for side in shape]
        new = create(OPERATION, inputs, {"shapes": shapes})
        new.set_friendly_name(node.get_friendly_name())
        result = node.output(0)
        result.replace(_converted(new.output(0), _type(result), create))
        count += 1
    return count


class _OtherGraphError(Exception):
    """What was looked at is not the core of deformable attention as we know it."""


@dataclass(frozen=True)
class _Attention:
    """What the core of deformable attention reads: B images, Q queries, M heads, L levels, P points."""

    value: Value  # (B, N, M, D), N the cells of all levels
    places: Value  # (B, Q, M, L, P, 2), -1 to 1
    weights: Value  # (B, Q, M, L, P)
    shapes: list[tuple[int, int]]  # (h, w) of each level


@dataclass(frozen=True)
class _Level:
    """One level's share of the sum. Each of the three it reads is part `index` of a tensor of all levels."""

    index: int
    value: Value  # (B, N, M, D)
    grids: Value  # (L, B * M, P, Q, 2)
    weights: Value  # (L, B * M, 1, P, Q)
    shape: tuple[int, int]


def _match(last: Node) -> _Attention:
    """Read a graph upwards from `last`, which gives (B, Q, M * D). Raises _OtherGraphError."""
    _expect(last.get_type_name() == "Transpose")
    merged = _transposed(last.output(0), 0, 2, 1)
    total = _reshaped(merged)
    levels = _levels(total)
    value, grids, all_weights = levels[0].value, levels[0].grids, levels[0].weights
    for index, level in enumerate(levels):
        _expect(level.index == index)
        _expect(_same(level.value, value) and _same(level.grids, grids) and _same(level.weights, all_weights))
    places = _transposed(_reshaped(grids), 3, 0, 2, 4, 1, 5)
    weights = _transposed(_reshaped(all_weights), 3, 0, 2, 4, 1)
    images, cells, heads, depth = _shape(value)
    queries, points = _shape(places)[1], _shape(places)[-2]
    count, rows = len(levels), images * heads
    _expect(cells == sum(level.shape[0] * level.shape[1] for level in levels))
    for tensor, shape in (
        (places, (images, queries, heads, count, points, 2)),
        (weights, (images, queries, heads, count, points)),
        (grids, (count, rows, points, queries, 2)),
        (all_weights, (count, rows, 1, points, queries)),
        (total, (rows, depth, queries)),
        (merged, (images, heads * depth, queries)),
    ):
        _expect(_shape(tensor) == shape)
    return _Attention(value, places, weights, [level.shape for level in levels])


def _levels(total: Value) -> list[_Level]:
    """What adds up to `total`, level after level."""
    levels = []
    while _unconverted(total).get_node().get_type_name() == "Add":
        total, term = _made_by(total, "Add").input_values()
        levels.append(_level(term))
    return [_level(total), *reversed(levels)]


def _level(term: Value) -> _Level:
    """Read upwards from the sum over the points of one level, (B * M, D, Q). Raises _OtherGraphError."""
    points = _made_by(term, "ReduceSum")
    _expect(not points.get_attributes()["keep_dims"] and _numbers(points.input_value(1)) in ([2], [-2]))
    factors = [_unconverted(factor) for factor in _made_by(points.input_value(0), "Multiply").input_values()]
    samples, weights = sorted(factors, key=lambda factor: factor.get_node().get_type_name() != "GridSample")
    sample = _made_by(samples, "GridSample")
    _expect(sample.get_attributes() == GRID_SAMPLE)
    maps, grid = sample.input_values()
    part = _transposed(_reshaped(maps), 0, 2, 3, 1)
    split = _made_by(part, "VariadicSplit")
    _expect(_numbers(split.input_value(1)) == [1])
    index, value = part.get_index(), _unconverted(split.input_value(0))
    _, depth, height, width = _shape(maps)
    images, _, heads, _ = _shape(value)
    _expect(_shape(part) == (images, height * width, heads, depth))
    return _Level(index, value, _whole(grid, index), _whole(weights, index), (height, width))


def _whole(part: Value, index: int) -> Value:
    """What `part` is element `index` of, along the first axis."""
    gather = _made_by(part, "Gather")
    _expect(_numbers(gather.input_value(1)) == [index] and _numbers(gather.input_value(2)) == [0])
    return _unconverted(gather.input_value(0))


def _transposed(value: Value, *order: int) -> Value:
    """What was transposed to this order of axes to give `value`."""
    node = _made_by(value, "Transpose")
    _expect(_numbers(node.input_value(1)) == list(order))
    return _unconverted(node.input_value(0))


def _reshaped(value: Value) -> Value:
    """What was reshaped to give `value`."""
    return _unconverted(_made_by(value, "Reshape").input_value(0))


def _made_by(value: Value, kind: str) -> Node:
    """The node that gives `value`, which is of this kind."""
    node = _unconverted(value).get_node()
    _expect(node.get_type_name() == kind)
    return node


def _unconverted(value: Value) -> Value:
    """The same before it went from one type of float to another, as in fp16 graphs."""
    while value.get_node().get_type_name() == "Convert":
        source = value.get_node().input_value(0)
        if not {_type(value), _type(source)} <= FLOATS:
            break
        value = source
    return value


def _converted(value: Value, kind: str, create: Create) -> Value:
    return value if _type(value) == kind else create("Convert", [value], {"destination_type": kind}).output(0)


def _numbers(value: Value) -> list[int]:
    """The elements of a constant."""
    return [int(number) for number in _made_by(value, "Constant").get_data().flatten()]


def _shape(value: Value) -> tuple[int, ...]:
    """The fixed shape of a float tensor."""
    _expect(value.get_partial_shape().is_static and _type(value) in FLOATS)
    return tuple(value.get_shape())


def _type(value: Value) -> str:
    return str(value.get_element_type().get_type_name())


def _same(one: Value, other: Value) -> bool:
    # Python has several objects for one node, and == would make a node that compares.
    return (one.get_node().get_name(), one.get_index()) == (other.get_node().get_name(), other.get_index())


def _expect(condition: bool) -> None:
    if not condition:
        raise _OtherGraphError
