"""Times of graphs: every engine, precision and component has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from argus_edge.export.latency import graph_times
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import Array, available_engines
from argus_edge.spec import BACKBONE, IMAGE_TENSOR


def test_every_graph_has_a_time(tiny_package: ModelPackage, tmp_path: Path) -> None:
    components = tiny_package.spec.components
    graphs = {name: onnx.load(tiny_package.model_file(name, "fp32")) for name in components}
    random = np.random.default_rng(0)
    inputs = {
        name: {t.name: random.random(t.shape, dtype=np.float32) for t in component.inputs}
        for name, component in components.items()
        if name != BACKBONE
    }
    image: Array = np.zeros(tiny_package.spec.input.tensor.shape, np.uint8)
    engines = [status.name for status in available_engines() if status.available]
    times = graph_times({"fp32": graphs}, {**inputs, BACKBONE: {IMAGE_TENSOR: image}}, engines, tmp_path)
    assert set(times) == set(engines)
    for engine in engines:
        assert set(times[engine]["fp32"]) == set(components)
        assert all(0 < spent < 1e4 for spent in times[engine]["fp32"].values())
