"""A nano with random weights for a small input, exported once, by the command."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import onnx
import pytest
import torch

from argus_edge.export.calibration import CalibrationSet, scene_set
from argus_edge.export.commands.export import run
from argus_edge.export.components import Plan
from argus_edge.export.trace import Graph
from argus_edge.package import ModelPackage
from argus_edge.spec import ImageSpec
from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.build import build_model
from argus_edge.train.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint

SIZE = 96
TASKS = ("det", "seg", "depth")


@pytest.fixture(scope="session")
def info() -> CheckpointInfo:
    return CheckpointInfo("nano", TASKS, {"det": DET_CLASSES, "seg": SEG_CLASSES}, SIZE)


@pytest.fixture(scope="session")
def model(info: CheckpointInfo) -> Argus:
    """Its zero-initialised parts are random too: an adapter that does nothing would hide mistakes."""
    torch.manual_seed(0)
    model = build_model("nano", info.tasks, info.classes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="session")
def calibration() -> CalibrationSet:
    return scene_set(8, ImageSpec(SIZE, SIZE), lambda: None)


@pytest.fixture(scope="session")
def checkpoint(model: Argus, info: CheckpointInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "random"
    save_checkpoint(folder, model, info)
    return folder


@pytest.fixture(scope="session")
def model_as_saved(checkpoint: Path) -> Argus:
    """With the weights' rounding of the file."""
    return load_checkpoint(checkpoint)[0]


@pytest.fixture(scope="session")
def printed_and_exported(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ModelPackage]:
    out = tmp_path_factory.mktemp("export") / "tiny.argus"
    # Random weights: what is lost against fp32 says nothing, and to keep it would take long.
    precisions = ["--precision", "int8,fp16,fp32", "--calibration-images", "8", "--max-drop", "1"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run([str(checkpoint), *precisions, "--out", str(out)]) == 0
    return printed.getvalue(), ModelPackage.open(out)


@pytest.fixture(scope="session")
def exported(printed_and_exported: tuple[str, ModelPackage]) -> ModelPackage:
    return printed_and_exported[1]


@pytest.fixture(scope="session")
def tiny_plan(tiny_package: ModelPackage) -> Plan:
    """The graphs of the tiny package, as if they had been traced, which of real ones takes a minute."""
    spec = tiny_package.spec
    graphs = {}
    for name, component in spec.components.items():
        model = onnx.load(tiny_package.model_file(name, "fp32"))
        for index, node in enumerate(model.graph.node):
            node.name = f"{name}/{node.op_type}_{index}"
        graphs[name] = Graph(model, component.inputs, component.outputs)
    return Plan(graphs, spec.tasks, spec.input)
