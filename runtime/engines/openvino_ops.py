"""Our own operation for OpenVINO, DeformableSampling: where its library is, and how it gets into a graph.

torch's exporter writes deformable attention as a GridSample for each level, products with the attention
and sums, between transpositions of everything to channels first and back. `replace_samplings` looks for just
that in a graph which OpenVINO has read, and puts one node in its place (native/openvino_ops.cpp) that reads
rows of channels where they lie. What it does not know in full stays as it is. Packages hold the portable
graph alone.

The library is built for one version of OpenVINO, which stands in its name (cmake/OpenVINOOps.cmake).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from argus_edge.errors import EngineMissingError
from argus_edge.runtime.engines.openvino_graph import (
    Create,
    Node,
    OtherGraphError,
    Value,
    converted,
    expect,
    made_by,
    numbers,
    reshaped,
    same,
    shape_of,
    transposed,
    type_of,
    unconverted,
)

OPERATION: Final = "DeformableSampling"
FOLDER: Final = Path(__file__).parents[1]  # where the build puts the library
LIBRARY: Final = "_openvino_ops-{}.so"
GRID_SAMPLE: Final = {"align_corners": False, "mode": "bilinear", "padding_mode": "zeros"}


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
        except OtherGraphError:
            continue
        inputs = [converted(value, "f32", create) for value in (found.value, found.places, found.weights)]
        shapes = [side for shape in found.shapes for side in shape]
        new = create(OPERATION, inputs, {"shapes": shapes})
        new.set_friendly_name(node.get_friendly_name())
        result = node.output(0)
        result.replace(converted(new.output(0), type_of(result), create))
        count += 1
    return count


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
    """Read a graph upwards from `last`, which gives (B, Q, M * D). Raises OtherGraphError."""
    expect(last.get_type_name() == "Transpose")
    merged = transposed(last.output(0), 0, 2, 1)
    total = reshaped(merged)
    levels = _levels(total)
    value, grids, all_weights = levels[0].value, levels[0].grids, levels[0].weights
    for index, level in enumerate(levels):
        expect(level.index == index)
        expect(same(level.value, value) and same(level.grids, grids) and same(level.weights, all_weights))
    places = transposed(reshaped(grids), 3, 0, 2, 4, 1, 5)
    weights = transposed(reshaped(all_weights), 3, 0, 2, 4, 1)
    images, cells, heads, depth = shape_of(value)
    queries, points = shape_of(places)[1], shape_of(places)[-2]
    count, rows = len(levels), images * heads
    expect(cells == sum(level.shape[0] * level.shape[1] for level in levels))
    for tensor, shape in (
        (places, (images, queries, heads, count, points, 2)),
        (weights, (images, queries, heads, count, points)),
        (grids, (count, rows, points, queries, 2)),
        (all_weights, (count, rows, 1, points, queries)),
        (total, (rows, depth, queries)),
        (merged, (images, heads * depth, queries)),
    ):
        expect(shape_of(tensor) == shape)
    return _Attention(value, places, weights, [level.shape for level in levels])


def _levels(total: Value) -> list[_Level]:
    """What adds up to `total`, level after level."""
    levels = []
    while unconverted(total).get_node().get_type_name() == "Add":
        total, term = made_by(total, "Add").input_values()
        levels.append(_level(term))
    return [_level(total), *reversed(levels)]


def _level(term: Value) -> _Level:
    """Read upwards from the sum over the points of one level, (B * M, D, Q). Raises OtherGraphError."""
    points = made_by(term, "ReduceSum")
    expect(not points.get_attributes()["keep_dims"] and numbers(points.input_value(1)) in ([2], [-2]))
    factors = [unconverted(factor) for factor in made_by(points.input_value(0), "Multiply").input_values()]
    samples, weights = sorted(factors, key=lambda factor: factor.get_node().get_type_name() != "GridSample")
    sample = made_by(samples, "GridSample")
    expect(sample.get_attributes() == GRID_SAMPLE)
    maps, grid = sample.input_values()
    part = transposed(reshaped(maps), 0, 2, 3, 1)
    split = made_by(part, "VariadicSplit")
    expect(numbers(split.input_value(1)) == [1])
    index, value = part.get_index(), unconverted(split.input_value(0))
    _, depth, height, width = shape_of(maps)
    images, _, heads, _ = shape_of(value)
    expect(shape_of(part) == (images, height * width, heads, depth))
    return _Level(index, value, _whole(grid, index), _whole(weights, index), (height, width))


def _whole(part: Value, index: int) -> Value:
    """What `part` is element `index` of, along the first axis."""
    gather = made_by(part, "Gather")
    expect(numbers(gather.input_value(1)) == [index] and numbers(gather.input_value(2)) == [0])
    return unconverted(gather.input_value(0))
