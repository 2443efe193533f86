"""A tiny Argus, exported once: 64 px input, random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from argus_edge.export.calibration import CalibrationSet, scene_set
from argus_edge.export.package import ExportSettings, export
from argus_edge.package import ModelPackage
from argus_edge.spec import ImageSpec
from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.build import build_model
from argus_edge.train.model.checkpoint import CheckpointInfo

SIZE = 96
TASKS = ("det", "seg", "depth")


@pytest.fixture(scope="session")
def info() -> CheckpointInfo:
    return CheckpointInfo("nano", TASKS, {"det": DET_CLASSES, "seg": SEG_CLASSES}, SIZE)


@pytest.fixture(scope="session")
def model(info: CheckpointInfo) -> Argus:
    """nano with random weights, its zero-initialised parts too: an adapter that does nothing would hide mistakes."""
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
def exported(
    model: Argus, info: CheckpointInfo, calibration: CalibrationSet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelPackage]:
    settings = ExportSettings(
        TASKS, ("fp32", "fp16", "int8"), "tiny", ImageSpec(SIZE, SIZE), "argus-export tiny"
    )
    out: Path = tmp_path_factory.mktemp("export") / "tiny.argus"
    yield export(model, info, settings, calibration, out)
