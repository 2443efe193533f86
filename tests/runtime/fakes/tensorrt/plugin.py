"""Stands in for tensorrt.plugin: what is registered is held to what TensorRT checks of signatures."""

from __future__ import annotations

import importlib
import inspect
import os
import typing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

if os.environ.get("FAKE_TENSORRT_VERSION", "10.3.0").startswith("10.3."):
    raise ModuleNotFoundError("No module named 'tensorrt.plugin'", name="tensorrt.plugin")

QDP_REGISTRY: dict[str, PluginDef] = {}


class PluginDef:
    def __init__(self, describe: Callable[..., Any], inputs: list[str], attributes: dict[str, Any]) -> None:
        self.describe, self.inputs, self.attributes = describe, inputs, attributes
        self.build: Callable[..., Any] | None = None


class ShapeExprs:
    def __init__(self, sides: Sequence[int]) -> None:
        self._sides = list(sides)

    def __getitem__(self, index: Any) -> Any:
        return self._sides[index]

    def __len__(self) -> int:
        return len(self._sides)


class TensorDesc:
    """`shape` is known while a kernel is built, and not before."""

    shape: tuple[int, ...]

    def __init__(self, shape_expr: ShapeExprs, dtype: Any) -> None:
        self.shape_expr, self.dtype = shape_expr, dtype

    def like(self) -> TensorDesc:
        return TensorDesc(self.shape_expr, self.dtype)


def from_shape_expr(shape_expr: Any, dtype: Any) -> TensorDesc:
    assert isinstance(shape_expr, (tuple, ShapeExprs))
    return TensorDesc(ShapeExprs([shape_expr[axis] for axis in range(len(shape_expr))]), dtype)


class KernelLaunchParams:
    __slots__ = ("block_x", "block_y", "block_z", "grid_x", "grid_y", "grid_z", "shared_mem")

    def __init__(self) -> None:
        self.grid_x = self.grid_y = self.grid_z = self.block_x = self.block_y = self.block_z = 1
        self.shared_mem = 0


class SymInt32:
    def __init__(self, value: int) -> None:
        assert type(value) is int
        self.value = value


class SymExprs:
    pass


class SymIntExprs(SymExprs):
    def __init__(self, length: int) -> None:
        self._numbers: list[Any] = [None] * length

    @classmethod
    def from_tuple(cls, numbers: Sequence[SymInt32]) -> SymIntExprs:
        made = cls(len(numbers))
        made._numbers = list(numbers)
        return made

    def __iter__(self) -> Any:
        return iter(self._numbers)


def register(plugin_id: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorator(describe: Callable[..., Any]) -> Callable[..., Any]:
        namespace, name = plugin_id.split("::")
        if "." in plugin_id or namespace in ("", "trt", "tensorrt", "std") or plugin_id in QDP_REGISTRY:
            raise ValueError(f"{namespace}::{name} cannot be registered")
        signature = inspect.signature(describe)
        inputs: list[str] = []
        attributes: dict[str, Any] = {}
        for parameter, kind in ((p.name, p.annotation) for p in signature.parameters.values()):
            if kind is TensorDesc and not attributes:
                inputs.append(parameter)
            elif typing.get_origin(kind) is np.ndarray and parameter not in ("outputs", "stream", "tactic"):
                attributes[parameter] = typing.get_args(typing.get_args(kind)[1])[0]
            else:
                raise ValueError(f"{parameter} cannot be an attribute of kind {kind!r}")
        if signature.return_annotation is not TensorDesc:
            raise ValueError(f"Return argument is of type {signature.return_annotation}")
        QDP_REGISTRY[plugin_id] = PluginDef(describe, inputs, attributes)
        return describe

    return decorator


def _aot_impl(plugin_id: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorator(build: Callable[..., Any]) -> Callable[..., Any]:
        definition = QDP_REGISTRY[plugin_id]
        signature = inspect.signature(build)
        if list(signature.parameters) != [*definition.inputs, *definition.attributes, "outputs", "tactic"]:
            raise ValueError(f"Signature of the aot_impl function {signature} does not match")
        kinds = {name: parameter.annotation for name, parameter in signature.parameters.items()}
        assert typing.get_origin(kinds["outputs"]) is tuple
        assert issubclass(kinds["tactic"], int)
        given = typing.get_args(signature.return_annotation)
        if (
            len(given) != 4
            or not issubclass(given[2], KernelLaunchParams)
            or not issubclass(given[3], SymExprs)
        ):
            raise ValueError(f"Return annotation is {signature.return_annotation}")
        definition.build = build
        return build

    return decorator


if importlib.import_module("tensorrt").__version__ != "10.8.0":
    aot_impl = _aot_impl
