"""argus-export with its gate, from the command to the package, on graphs that need no tracing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import nn

from argus_edge.errors import ParityError
from argus_edge.export import package as exporting
from argus_edge.export.commands.export import run
from argus_edge.export.components import Plan, Run
from argus_edge.export.rewrite import copied
from argus_edge.export.trace import Graph
from argus_edge.package import ModelPackage
from argus_edge.runtime.commands.inspection import run as inspect
from argus_edge.runtime.graphs import Graphs
from argus_edge.spec import JsonValue
from argus_edge.train import recipe
from argus_edge.train.model import checkpoint
from argus_edge.train.model.checkpoint import CheckpointInfo

TASKS = ("det", "seg", "depth")


@pytest.fixture(autouse=True)
def tiny_network(tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped checkpoint is read, traced and answers as the tiny package's graphs."""
    classes = {task: entry.classes for task, entry in tiny_plan.entries.items() if entry.classes}
    info = CheckpointInfo("nano", TASKS, classes, tiny_plan.input.height)
    evaluators = {name: ReferenceEvaluator(graph.model) for name, graph in tiny_plan.graphs.items()}

    def answering(_model: nn.Module, _plan: Plan) -> Run:
        def answer(component: str, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
            outputs = evaluators[component].run(None, dict(inputs))
            return dict(zip(evaluators[component].output_names, outputs, strict=True))

        return answer

    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda _: (nn.Module(), info))
    monkeypatch.setattr(recipe, "smallest_size", lambda *_: tiny_plan.input.height)
    monkeypatch.setattr(exporting, "make_plan", lambda *_: tiny_plan)
    monkeypatch.setattr(exporting, "torch_run", answering)


def row(value: JsonValue, *keys: str) -> Any:
    for key in keys:
        assert isinstance(value, dict)
        value = value[key]
    return value


def test_a_miss_leaves_no_package_unless_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.argus"
    arguments = ["--precision", "fp32,fp16", "--max-drop", "0", "--out", str(out)]
    with pytest.raises(ParityError, match=r"fp16: .*depth \(noise.*; no package was written"):
        run(arguments)
    assert not list(tmp_path.iterdir())
    assert run([*arguments, "--keep-failed"]) == 3
    assert "argus-export: warning: fp16: " in capsys.readouterr().err
    package = ModelPackage.open(out)
    assert package.spec.precisions == ("fp32", "fp16")
    (failure,) = row(package.spec.report["failures"])
    assert "no labels to measure with" in row(package.spec.report["gate"], "note")
    assert inspect([str(out)]) == 0
    assert f"\nfailed      {failure[:100]}" in capsys.readouterr().out


def test_int8_is_measured_on_every_engine_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.argus"
    arguments = ["--precision", "int8", "--calibration-images", "6", "--max-drop", "0.05", "--out", str(out)]
    assert run([*arguments, "--parity-images", "3"]) == 0
    told = capsys.readouterr()
    assert "6 calibration images are few, 300 serve better" in told.err
    assert "int8 lost" in told.out
    package = ModelPackage.open(out)
    quantisation = package.spec.components["seg"].variants["int8"].quantization
    assert quantisation is not None
    assert (quantisation.recipe, quantisation.calibration_images) == ("static-u8s7-minmax", 6)
    tasks = row(package.spec.report["gate"], "int8", "tasks")
    assert set(tasks) == set(TASKS)
    for each in tasks.values():
        assert each["holds"]
        assert 0 <= each["loss"] <= each["limit"] == 0.5
    assert set(row(package.spec.report["parity"], "int8")) == {"openvino", "onnxruntime"}
    assert row(package.spec.report["parity"], "frames") == 3


def test_auto_measures_on_labels_and_keeps_fp32_and_the_fastest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.argus"
    images = ["--calibration-images", "4", "--eval-data", "scenes", "--eval-images", "2"]
    assert run(["--precision", "auto", "--max-drop", "0.9", *images, "--out", str(out)]) == 0
    package = ModelPackage.open(out)
    gate, choice = package.spec.report["gate"], package.spec.report["choice"]
    assert row(gate, "measured_on") == ["scenes 10000000 to 10000001, 320x320"]
    assert row(gate, "fp16", "tasks", "seg", "figure") == "mIoU"
    assert set(package.spec.precisions) == {"fp32", row(choice, "precision")}
    kept = {"fp32", *(p for p in ("fp16", "int8") if all(t["holds"] for t in row(gate, p, "tasks").values()))}
    assert set(row(choice, "frame_ms")) == kept
    assert "fastest: " in capsys.readouterr().out
    assert onnx.load(package.model_file("seg", "fp32")).graph.node


def test_several_images_at_once(
    tmp_path: Path, tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = {count: for_images(tiny_plan, count) for count in (1, 2)}
    monkeypatch.setattr(exporting, "make_plan", lambda *arguments, **_: plans[arguments[3].batch])
    out = tmp_path / "batch.argus"
    options = ["--precision", "fp32,int8", "--calibration-images", "3", "--max-drop", "1", "--no-report"]
    assert run(["--tasks", "seg,depth", "--batch", "2", *options, "--out", str(out)]) == 0
    package = ModelPackage.open(out)
    assert [image.size for image in package.spec.inputs] == ["64x64", "2x64x64"]
    side = package.spec.input.height
    several = package.at(side, side, 2)
    assert several.spec.precisions == ("fp32", "int8")
    found = row(package.spec.report["other_sizes"], "2x64x64", "parity", "int8", "onnxruntime")
    assert {"seg.labels", "depth.depth"} <= found.keys()
    golden = package.golden()
    assert golden is not None
    for engine in ("openvino", "onnxruntime"):
        with closing(Graphs(several, ("seg", "depth"), engine, "fp32", 1)) as graphs:
            for component, outputs in graphs.run_all(golden.image.repeat(2, axis=0), {}):
                for name, values in golden.outputs[component].items():
                    for image in range(2):
                        np.testing.assert_allclose(outputs[name][image], values[0], rtol=1e-4, atol=1e-5)
    assert inspect([str(out)]) == 0
    assert "graphs at 2 images of 64 x 64 px: fp32, int8" in capsys.readouterr().out


def for_images(plan: Plan, count: int) -> Plan:
    """The graphs of seg and depth for so many images."""
    graphs = {}
    for name in ("backbone", "seg", "depth"):
        graph = plan.graphs[name]
        model = copied(graph.model)
        for tensor in (*model.graph.input, *model.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_value = count
        for index, constant in enumerate(model.graph.initializer):
            values = onnx.numpy_helper.to_array(constant)
            if values.dtype == np.int64 and values.size == 4:  # the size that Resize gives
                resized = np.array([count, *values[1:]])
                model.graph.initializer[index].CopyFrom(onnx.numpy_helper.from_array(resized, constant.name))
        boundary = [
            tuple(replace(tensor, shape=(count, *tensor.shape[1:])) for tensor in tensors)
            for tensors in (graph.inputs, graph.outputs)
        ]
        graphs[name] = Graph(model, *boundary)
    entries = {task: plan.entries[task] for task in ("seg", "depth")}
    return Plan(graphs, entries, replace(plan.input, batch=count))
