"""The fused graph answers what the components answer one after another."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest

from argus_edge.errors import ExportError
from argus_edge.export.components import CROP_BACKBONE
from argus_edge.export.fuse import fuse, fused_name
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import open_engine
from argus_edge.spec import BACKBONE, IMAGE_TENSOR, Precision


def graphs_of(package: ModelPackage, precision: Precision) -> dict[str, onnx.ModelProto]:
    return {name: onnx.load(package.model_file(name, precision)) for name in package.spec.components}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_answers_are_those_of_the_components(
    exported: ModelPackage, precision: Precision, tmp_path: Path
) -> None:
    golden = exported.golden()
    assert golden is not None
    file = tmp_path / "fused.onnx"
    onnx.save(fuse(graphs_of(exported, precision)), file)
    with closing(open_engine("onnxruntime", file, threads=1, precision=precision)) as fused:
        answers = fused.run({IMAGE_TENSOR: golden.image})

    def run(component: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        file = exported.model_file(component, precision)
        with closing(open_engine("onnxruntime", file, threads=1, precision=precision)) as engine:
            return {name: values.copy() for name, values in engine.run(inputs).items()}

    features = run(BACKBONE, {IMAGE_TENSOR: golden.image})
    expected = {
        fused_name(name, output): values
        for name, component in exported.spec.components.items()
        if name != BACKBONE
        for output, values in run(name, {t.name: features[t.name] for t in component.inputs}).items()
    }
    assert set(answers) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, rtol=1e-4, atol=1e-5)


def test_nothing_but_the_decoders_outputs_leaves_it(exported: ModelPackage) -> None:
    graph = fuse(graphs_of(exported, "fp32")).graph
    assert [tensor.name for tensor in graph.input] == [IMAGE_TENSOR]
    outputs = {tensor.name for tensor in graph.output}
    assert outputs == {"det.boxes", "det.scores", "det.classes", "seg.labels", "depth.depth"}


def test_crops_cannot_be_fused(exported: ModelPackage) -> None:
    graphs = graphs_of(exported, "fp32")
    with pytest.raises(ExportError, match="--pose roi or --layout split"):
        fuse({**graphs, CROP_BACKBONE: graphs[BACKBONE]})
