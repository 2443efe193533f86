"""Reading and rewriting openvino.Model: what made a value, step by step upwards, or OtherGraphError."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FLOATS", "Constant", "Create", "Node", "OtherGraphError", "Value", "converted", "expect", "made_by",
    "numbers", "reshape", "reshaped", "same", "shape_of", "transpose", "transposed", "type_of", "unconverted",
]  # fmt: skip

FLOATS: Final = {"f16", "f32"}

# OpenVINO's own: a node, one of its results, and what makes a node of a type, with inputs and attributes.
Node: TypeAlias = Any
Value: TypeAlias = Any
Create: TypeAlias = Callable[[str, Sequence[Value], Mapping[str, Any]], Node]
Constant: TypeAlias = Callable[[NDArray[Any]], Node]


class OtherGraphError(Exception):
    """What was looked at is not what was looked for."""


def transposed(value: Value, *order: int) -> Value:
    """What was transposed to this order of axes to give `value`."""
    node = made_by(value, "Transpose")
    expect(numbers(node.input_value(1)) == list(order))
    return unconverted(node.input_value(0))


def reshaped(value: Value) -> Value:
    """What was reshaped to give `value`."""
    return unconverted(made_by(value, "Reshape").input_value(0))


def made_by(value: Value, kind: str) -> Node:
    """The node that gives `value`, which is of this kind."""
    node = unconverted(value).get_node()
    expect(node.get_type_name() == kind)
    return node


def unconverted(value: Value) -> Value:
    """The same before it went from one type of float to another, as in fp16 graphs."""
    while value.get_node().get_type_name() == "Convert":
        source = value.get_node().input_value(0)
        if not {type_of(value), type_of(source)} <= FLOATS:
            break
        value = source
    return value


def converted(value: Value, kind: str, create: Create) -> Value:
    """`value` as numbers of the type `kind`."""
    return (
        value if type_of(value) == kind else create("Convert", [value], {"destination_type": kind}).output(0)
    )


def numbers(value: Value) -> list[int]:
    """The elements of a constant."""
    return [int(number) for number in made_by(value, "Constant").get_data().flatten()]


def shape_of(value: Value) -> tuple[int, ...]:
    """The fixed shape of a float tensor."""
    expect(value.get_partial_shape().is_static and type_of(value) in FLOATS)
    return tuple(value.get_shape())


def type_of(value: Value) -> str:
    """The type of its elements, such as "f32"."""
    return str(value.get_element_type().get_type_name())


def same(one: Value, other: Value) -> bool:
    """Whether the two are the same result of the same node."""
    # Python has several objects for one node, and == would make a node that compares.
    return (one.get_node().get_name(), one.get_index()) == (other.get_node().get_name(), other.get_index())


def expect(condition: bool) -> None:
    """Raises OtherGraphError where it does not hold."""
    if not condition:
        raise OtherGraphError


def reshape(value: Value, shape: Sequence[int], create: Create, constant: Constant) -> Value:
    """`value` with another shape."""
    return create("Reshape", [value, constant(np.array(shape))], {"special_zero": False}).output(0)


def transpose(value: Value, order: Sequence[int], create: Create, constant: Constant) -> Value:
    """`value` with its axes in this order."""
    return create("Transpose", [value, constant(np.array(order))], {}).output(0)
