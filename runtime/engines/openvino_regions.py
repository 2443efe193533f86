"""Regions cut out of maps for pose (RoIAlign), by our own operation instead of OpenVINO's GridSample.

GridSample reads a channel at a time; `DeformableSampling` with a single point of weight 1 reads all channels
of a place at once, and gives them side by side, as the convolutions that follow want them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from argus_edge.runtime.engines.openvino_graph import (
    Constant,
    Create,
    Node,
    OtherGraphError,
    Value,
    converted,
    expect,
    made_by,
    reshape,
    reshaped,
    shape_of,
    transpose,
    transposed,
    type_of,
)
from argus_edge.runtime.engines.openvino_ops import GRID_SAMPLE, OPERATION

__all__ = ["replace_regions"]


def replace_regions(model: Any, create: Create, constant: Constant) -> int:
    """Put the operation wherever `model`, an openvino.Model, cuts regions out of one image's map as
    `roi_align` in train/model/roi.py is exported with one read for each cell.

    Returns how many it has put.
    """
    count = 0
    for node in model.get_ordered_ops():
        try:
            maps, grid = _match(node)
        except OtherGraphError:
            continue
        regions, channels, rows, columns = shape_of(node.output(0))
        _, _, height, width = shape_of(maps)
        reads = regions * rows * columns
        cells = transpose(converted(maps, "f32", create), (0, 2, 3, 1), create, constant)
        inputs = [
            reshape(cells, (1, height * width, 1, channels), create, constant),
            reshape(converted(grid, "f32", create), (1, reads, 1, 1, 1, 2), create, constant),
            constant(np.ones((1, reads, 1, 1, 1), np.float32)).output(0),
        ]
        read = create(OPERATION, inputs, {"shapes": [height, width]}).output(0)
        cut = reshape(read, (regions, rows, columns, channels), create, constant)
        cut = converted(transpose(cut, (0, 3, 1, 2), create, constant), type_of(node.output(0)), create)
        cut.get_node().set_friendly_name(node.get_friendly_name())
        node.output(0).replace(cut)
        count += 1
    return count


def _match(last: Node) -> tuple[Value, Value]:
    """What regions are cut from and with, (1, C, H, W) and (1, P * h, w, 2), where `last` gives them as
    (P, C, h, w). Raises OtherGraphError.
    """
    expect(last.get_type_name() == "Reshape")
    sample = made_by(reshaped(transposed(last.input_value(0), 0, 2, 1, 3, 4)), "GridSample")
    expect(sample.get_attributes() == GRID_SAMPLE)
    maps, grid = sample.input_values()
    shape = shape_of(last.output(0))
    expect(shape_of(last.input_value(0)) == (1, *shape))  # which has five axes
    regions, channels, rows, columns = shape
    expect(shape_of(maps)[:2] == (1, channels))
    expect(shape_of(grid) == (1, regions * rows, columns, 2))
    return maps, grid
