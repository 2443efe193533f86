"""A graph of a GroupNorm and of sampling, what it is run on, and its exact answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
CHANNELS, GROUPS, EPSILON = 24, 4, 1e-5


def norm_and_samples(height: int, width: int) -> onnx.ModelProto:
    """A GroupNorm of x (1, 24, height, width), sampled at grid (1, 5, 7, 2), and ReLU, as traced."""
    rng = np.random.default_rng(0)
    scale, shift = rng.normal(1, 0.3, (2, CHANNELS)).astype(np.float32)
    nodes = [
        helper.make_node(
            "GroupNormalization", ["x", "scale", "shift"], ["normed"], "norm/GroupNormalization",
            num_groups=GROUPS, epsilon=EPSILON,
        ),
        helper.make_node("GridSample", ["normed", "grid"], ["sampled"], "attention/GridSample"),
        helper.make_node("Relu", ["sampled"], ["y"], "attention/Relu"),
    ]  # fmt: skip
    values = {"x": (1, CHANNELS, height, width), "grid": (1, 5, 7, 2), "y": (1, CHANNELS, 5, 7)}
    kinds = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()
    }
    constants = [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(shift, "shift")]
    graph = helper.make_graph(nodes, "small", [kinds["x"], kinds["grid"]], [kinds["y"]], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def some_inputs(height: int, width: int) -> dict[str, Array]:
    """Values far from 0, as sums over them lose places; places in the image, at its rim and far outside."""
    rng = np.random.default_rng(1)
    grid = rng.uniform(-1.3, 1.3, (1, 5, 7, 2))
    grid[0, 0, :3, 0] = -1, 1, 1e4
    return {
        "x": rng.normal(20, 2, (1, CHANNELS, height, width)).astype(np.float32),
        "grid": grid.astype(np.float16).astype(np.float32),  # places that fp16 graphs have as well
    }


def exact(model: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    """In double precision."""
    scale, shift = (numpy_helper.to_array(t).astype(float)[:, None] for t in model.graph.initializer)
    x, grid = inputs["x"].astype(float), inputs["grid"].astype(float)[0]
    _, channels, height, width = x.shape
    groups = x.reshape(GROUPS, -1)
    normed = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + EPSILON)
    image = (normed.reshape(channels, -1) * scale + shift).reshape(channels, height, width)
    column, row = ((grid[..., 0] + 1) * width - 1) / 2, ((grid[..., 1] + 1) * height - 1) / 2
    total = np.zeros((channels, *column.shape))
    for left in (np.floor(column), np.floor(column) + 1):
        for top in (np.floor(row), np.floor(row) + 1):
            inside = (left >= 0) & (left < width) & (top >= 0) & (top < height)
            share = (1 - np.abs(column - left)) * (1 - np.abs(row - top)) * inside
            at = top.clip(0, height - 1).astype(int), left.clip(0, width - 1).astype(int)
            total += image[:, at[0], at[1]] * share
    return np.maximum(total, 0)[None]
