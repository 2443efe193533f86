"""The place of the greatest, as OpenVINO is fast at: it reads ArgMax as a sort of which it keeps the first.

The greatest by ReduceMax, the places of all that equal it, and the least of these by ReduceMin take a third
of the time on maps of classes (docs/openvino.md). Packages hold the portable graph alone.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from argus_edge.runtime.engines.openvino_graph import (
    FLOATS,
    Constant,
    Create,
    Node,
    OtherGraphError,
    expect,
    numbers,
    type_of,
)

__all__ = ["spell_argmax"]

MOST: Final = 256  # places, which bfloat16 tells apart


def spell_argmax(model: Any, create: Create, constant: Constant) -> int:
    """Replace all ArgMax of `model`, an openvino.Model, that take the first of equals. Returns how many."""
    count = 0
    for node in model.get_ordered_ops():
        try:
            _expect_argmax(node)
        except OtherGraphError:
            continue
        values, places = node.input_value(0), node.output(1)
        shape = values.get_partial_shape()
        axis = node.get_attributes()["axis"] % len(shape)  # -1 is the last
        length = shape[axis].get_length()
        numbered = np.arange(length, dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1 - axis))
        along = constant(np.array([axis]))
        greatest = create("ReduceMax", [values, along], {"keep_dims": True})
        equal = create("Equal", [values, greatest], {})
        last = constant(np.array(length - 1, np.float32))  # where nothing equals it, for it is no number
        where = create("Select", [equal, constant(numbered), last], {})
        first = create("ReduceMin", [where, along], {"keep_dims": True})
        found = create("Convert", [first], {"destination_type": type_of(places)})
        found.set_friendly_name(node.get_friendly_name())
        places.replace(found.output(0))
        count += 1
    return count


def _expect_argmax(node: Node) -> None:
    """Raises OtherGraphError where the node is no ArgMax over a known, short axis of floats."""
    expect(node.get_type_name() == "TopK")
    attributes, shape = node.get_attributes(), node.input_value(0).get_partial_shape()
    expect(shape.rank.is_static)
    expect(attributes["mode"] == "max" and attributes["sort"] == "value" and attributes.get("stable"))
    expect(numbers(node.input_value(1)) == [1] and not node.output(0).get_target_inputs())
    expect(type_of(node.input_value(0)) in FLOATS and shape[attributes["axis"]].is_static)
    expect(shape[attributes["axis"]].get_length() <= MOST)
