"""Features between graphs with their channels last, as OpenVINO's convolutions give and take them.

ONNX graphs hand over (B, C, H, W). OpenVINO computes with channels last, so that the backbone would turn its
features around and every decoder would turn them back: some 4 % of a frame with five tasks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from argus_edge.runtime.engines.openvino_graph import Constant, Create, Node, Value, transpose

__all__ = ["as_given", "channels_first", "channels_last", "features_last"]

FEATURES: Final = re.compile(r"f\d+")  # what a backbone gives and decoders read, of four axes
RANK: Final = 4

MakeInput: TypeAlias = Callable[[Any, Any], Node]  # element type, shape -> an input of that kind


def features_last(model: Any, create: Create, constant: Constant, make_input: MakeInput) -> set[str]:
    """Let `model`, an openvino.Model, read and give features as (B, H, W, C). Returns their names."""
    found: set[str] = set()
    for parameter in model.get_parameters():
        name = _feature(parameter.output(0))
        if name is None or _is_given(parameter.output(0)):
            continue
        shape = parameter.output(0).get_partial_shape()
        last_shape = type(shape)([shape[axis] for axis in (0, 2, 3, 1)])
        new = make_input(parameter.output(0).get_element_type(), last_shape)
        first = transpose(new.output(0), (0, 3, 1, 2), create, constant)
        for reader in parameter.output(0).get_target_inputs():
            reader.replace_source_output(first)
        new.set_friendly_name(parameter.get_friendly_name())
        new.output(0).set_names({name})
        model.replace_parameter(model.get_parameter_index(parameter), new)
        found.add(name)
    for result in model.get_results():
        value = result.input_value(0)
        name = _feature(value)
        if name is None or name in found or value.get_node().get_type_name() == "Parameter":
            continue
        last = transpose(value, (0, 2, 3, 1), create, constant)
        value.set_names(value.get_names() - {name})
        last.set_names({name})
        result.input(0).replace_source_output(last)
        found.add(name)
    if found:
        model.validate_nodes_and_infer_types()
    return found


def channels_last(features: NDArray[Any]) -> NDArray[Any]:
    """(B, C, H, W) -> (B, H, W, C), C-contiguous; no copy of what `channels_first` gave."""
    last: NDArray[Any] = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    return last


def channels_first(features: NDArray[Any]) -> NDArray[Any]:
    """(B, H, W, C) -> a view (B, C, H, W)."""
    first: NDArray[Any] = features.transpose(0, 3, 1, 2)
    return first


def as_given(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A graph's inputs, its features as a backbone on OpenVINO gives them: these it reads without a copy."""
    return {
        name: channels_first(channels_last(values))
        if FEATURES.fullmatch(name) and values.ndim == RANK
        else values
        for name, values in inputs.items()
    }


def _is_given(value: Value) -> bool:
    """Whether the model gives it as it is."""
    return any(reader.get_node().get_type_name() == "Result" for reader in value.get_target_inputs())


def _feature(value: Value) -> str | None:
    """The name of the feature map that `value` is; None for anything else."""
    shape = value.get_partial_shape()
    if not shape.is_static or len(shape) != RANK:
        return None
    return next((str(name) for name in sorted(value.get_names()) if FEATURES.fullmatch(name)), None)
